"""Whether the clock of this machine can be relied on for what cannot be undone.

A clock that is wrong for an hour must not remove output or destroy what lives until a certain time. So
each look at the clock is recorded in a file, with the time since the machine's boot: a clock that
differs from that by more than its drift has jumped, and only the time since then counts as steady.
Across boots it is only known that it must not go back, nor ahead by more than ``GAP_S``.

How long it must have been steady depends on what is at stake: ``OutputRetention`` waits for days. What
has a lifetime is destroyed (``SteadyClock``) after minutes, and never before Vault's clock agrees;
if Vault is on the same machine, its clock proves nothing, and a clock that went ahead must have been
steady for as long as it went ahead, a day at most.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from dispatcher.errors import DisintoError
from dispatcher.host.boot_clock import boot_clock
from dispatcher.model.sure_time import SureTime
from dispatcher.model.times import rfc3339, took

CLOCK_RECORD = "clock.json"
"""Name of the file below the state directory."""

GAP_S = 86_400.0
"""Longest time in seconds between two looks across a boot of a clock that runs steadily."""

SLACK_S = 60.0
"""Seconds by which a clock may differ from the time since boot; more is a jump."""

DRIFT = 0.001
"""The same, as a part of the time between two looks: twice what NTP's slewing takes at most."""

RECORDED_S = 20.0
"""Seconds between two looks that are written down, if the clock did not jump."""

STEADY_S = 3 * 86_400.0
"""Seconds that a clock must have run steadily before output is removed: longer than a weekend."""

FEW_MINUTES_S = 180.0
"""Seconds that a clock must have been steady before anything is destroyed by it."""

ALONE_S = 86_400.0
"""The same, at most, after it went ahead and no other clock can be compared."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Steadiness:
    """How long a clock has been steady. Times are seconds since the epoch, by that clock.

    Attributes:
        since: when it was first looked at after its last jump.
        jumped_s: by how much it jumped then; 0.0 if that is not known.
    """

    since: float
    jumped_s: float = 0.0


class ClockRecord:
    """When this installation looked at the clock, in a file, so that a jump is found after a restart.
    Thread-safe.

    Args:
        path: of the file; without it, or if it cannot be read, the clock counts as just set.
        boot: the machine's boot, "" if unknown, and the seconds since then.
    """

    def __init__(self, path: Path, *, boot: Callable[[], tuple[str, float]] = boot_clock) -> None:
        self._path, self._boot = path, boot
        self._turn = threading.Lock()

    def look(self, now: float) -> Steadiness:
        """Record a look at the clock.

        Args:
            now: what it shows, seconds since the epoch.

        Raises:
            OSError: it could not be recorded.
        """
        with self._turn:
            boot, ran = self._boot()
            before = self._read()
            steady = Steadiness(since=now)
            if before is not None:
                jumped_s = before.jump(now, boot=boot, ran=ran)
                steady = before.steady if not jumped_s else Steadiness(since=now, jumped_s=jumped_s)
                same_boot = bool(boot) and before.boot == boot
                if not jumped_s and same_boot and 0 <= ran - before.ran < RECORDED_S:
                    return steady
            self._write(_Look(seen=now, boot=boot, ran=ran, steady=steady))
            return steady

    def steady_for(self, now: float) -> float:
        """The same; returns for how many seconds the clock has run without a jump."""
        return max(0.0, now - self.look(now).since)

    def _read(self) -> _Look | None:
        with suppress(OSError, ValueError, TypeError, KeyError):
            plain = json.loads(self._path.read_bytes())
            since, jumped_s = float(plain["since"]), float(plain.get("jumped", 0.0))
            return _Look(
                seen=float(plain["seen"]),
                boot=str(plain.get("boot", "")),
                ran=float(plain.get("ran", 0.0)),
                steady=Steadiness(since=since, jumped_s=jumped_s),
            )
        return None

    def _write(self, look: _Look) -> None:
        plain = {
            "since": look.steady.since,
            "seen": look.seen,
            "jumped": look.steady.jumped_s,
            "boot": look.boot,
            "ran": look.ran,
        }
        new = self._path.with_suffix(".new")
        new.write_text(json.dumps(plain))
        new.replace(self._path)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Look:
    """A look that was recorded.

    Attributes:
        seen: what the clock showed.
        boot, ran: the machine's boot, and the seconds since then.
        steady: what was known then.
    """

    seen: float
    boot: str
    ran: float
    steady: Steadiness

    def jump(self, now: float, *, boot: str, ran: float) -> float:
        """By how many seconds the clock jumped since; 0.0 if it did not."""
        elapsed = now - self.seen
        if boot and boot == self.boot and ran >= self.ran:
            ahead = elapsed - (ran - self.ran)
            return ahead if abs(ahead) > SLACK_S + DRIFT * (ran - self.ran) else 0.0
        return 0.0 if 0 <= elapsed <= GAP_S else elapsed


class SteadyClock:
    """The clock by which what has a lifetime is destroyed. Thread-safe.

    Args:
        record: of the looks; public, because what else has to find a jump reads it too.
        vault: Vault's clock, seconds since the epoch. Raises ``DisintoError``.
        same_machine: whether Vault may have the same clock.
        clock: of this machine, seconds since the epoch.
    """

    def __init__(
        self,
        record: ClockRecord,
        *,
        vault: Callable[[], float],
        same_machine: bool,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.record, self._vault = record, vault
        self._same_machine, self._clock = same_machine, clock

    def look(self) -> None:
        """Look at the clock, so that a jump is found; calls no server."""
        with suppress(OSError):  # ``sure`` reports it
            self.record.look(self._clock())

    def sure(self) -> SureTime:
        """The time, as far as it can be relied on. Calls Vault."""
        now = self._clock()
        try:
            steady, vault = self.record.look(now), self._vault()
        except OSError as error:
            return SureTime(now=0.0, doubt=f"the clock's record cannot be kept: {error.strerror}")
        except DisintoError as error:
            return SureTime(now=0.0, doubt=f"Vault's clock is unknown: {error.what}")
        return sure_time(now, vault=vault, steady=steady, same_machine=self._same_machine)


def sure_time(now: float, *, vault: float, steady: Steadiness, same_machine: bool) -> SureTime:
    """The time, as far as it can be relied on. Pure.

    Args:
        now, vault: what the clocks of this machine and of Vault show, seconds since the epoch.
        same_machine: whether they may be one.
    """
    ahead_s = min(steady.jumped_s, ALONE_S) if same_machine else 0.0
    until = steady.since + max(FEW_MINUTES_S, ahead_s)
    if now < until:
        sign, by = ("-" if steady.jumped_s < 0 else ""), took(abs(steady.jumped_s))
        what = f"it jumped by {sign}{by}" if steady.jumped_s else "nothing shows that it is steady"
        doubt = f"the clock of this machine is not relied on before {_shown(until)}: {what}"
        return SureTime(now=min(now, vault), since=steady.since, doubt=doubt)
    ahead = f"the clock of this machine is {took(now - vault)} ahead of Vault's"
    return SureTime(now=min(now, vault), doubt=ahead if now - vault > SLACK_S else "")


def _shown(at: float) -> str:
    try:
        return f"{rfc3339(at)[:19]}Z"
    except (ValueError, OverflowError, OSError):
        return "its end"
