"""Waits until services are healthy."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from dispatcher.errors import PermanentError
from dispatcher.release.settings import ReleaseSettings
from dispatcher.release.units import Units

_PAUSE_S = 0.2
_ANSWER_S = 5.0  # for a connection, or some bytes
_WHOLE_ANSWER_S = 10.0


class Unhealthy(PermanentError):
    """A service is not healthy; names it and what it answered."""


Get = Callable[[str], str]
"""Why a health URL is not healthy; "" if it is."""


@dataclass(frozen=True, kw_only=True, slots=True)
class HealthCheck:
    """Checks the services of one application.

    Args:
        get: see ``Get``.
    """

    settings: ReleaseSettings
    units: Units
    get: Get

    def wait(self) -> None:
        """Return as soon as every service is healthy.

        Raises:
            Unhealthy: one has failed, or the time is over.
            UnitFailed: systemd cannot be queried.
        """
        limit = self.settings.health.timeout
        until = time.monotonic() + limit
        stays: dict[str, tuple[str, float]] = {}
        while True:
            waiting = self._waiting(stays)
            if not waiting:
                return
            if time.monotonic() >= until:
                told = "; ".join(f"{name}: {why}" for name, why in waiting.items())
                raise Unhealthy(f"not healthy within {limit:g} s: {told}")
            time.sleep(_PAUSE_S)

    def now(self) -> str:
        """Why the services are not healthy at this moment; "" if they are. Does not wait for units
        without a URL to settle.
        """
        for name, keys in self.settings.services.items():
            if not self.units.state(self.settings.unit(name)).active:
                return f"{name}: the unit is not active"
            if keys.health is not None and (why := self.get(keys.health)):
                return f"{name}: {why}"
        return ""

    def _waiting(self, stays: dict[str, tuple[str, float]]) -> dict[str, str]:
        """Why each service that is not healthy yet is not."""
        found = {name: self._why(name, stays) for name in self.settings.services}
        return {name: why for name, why in found.items() if why}

    def _why(self, name: str, stays: dict[str, tuple[str, float]]) -> str:
        unit = self.settings.unit(name)
        state = self.units.state(unit)
        if state.failed:
            raise Unhealthy(f"{name}: {unit} failed; 'journalctl -u {unit}' shows why")
        if not state.active:
            return f"{unit} is not active"
        url = self.settings.services[name].health
        if url is not None:
            return self.get(url)
        invocation, since = stays.get(name, ("", 0.0))
        if invocation != state.invocation:
            stays[name] = (state.invocation, time.monotonic())
            since = stays[name][1]
        settled = time.monotonic() - since >= self.settings.health.settle
        return "" if settled else f"{unit} has only just started"


def get(url: str) -> str:
    """Why a URL is not healthy; "" for a status from 200 to 299. Redirects are not followed.

    Returns in time even if the answer comes byte by byte.
    """
    answers: list[str] = []
    asking = threading.Thread(target=lambda: answers.append(_get(url)), daemon=True)
    asking.start()
    asking.join(_WHOLE_ANSWER_S)
    return answers[0] if answers else f"{url}: no whole answer within {_WHOLE_ANSWER_S:g} s"


def _get(url: str) -> str:
    import httpx  # takes longer to load than a deploy that changes nothing

    try:
        with (
            httpx.Client(trust_env=False, timeout=_ANSWER_S) as client,
            client.stream("GET", url) as response,
        ):
            status = response.status_code
    except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
        return f"{url}: {str(error) or type(error).__name__}"
    return "" if 200 <= status < 300 else f"{url}: status {status}"


def states(settings: ReleaseSettings, units: Units) -> dict[str, str]:
    """systemd's id of the present run of each unit that is active."""
    found = {}
    for unit in settings.units.values():
        with suppress(PermanentError):
            state = units.state(unit)
            if state.active:
                found[unit] = state.invocation
    return found
