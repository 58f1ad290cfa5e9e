"""The desktops as the page shows them: of the inventory what exists, of git what is being created or
destroyed, of the status file how far that is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

from dispatcher.desktop.lifecycle import Stage
from dispatcher.desktop.lifecycle import State as LifeCycle
from dispatcher.errors import NotFound
from dispatcher.model.result import Result
from dispatcher.model.times import known_time
from dispatcher.operate.desktops import Desktop
from dispatcher.operate.provisioned import CREATING, DESTROYED, UNKNOWN
from dispatcher.page.desktop_probes import Prober, Probes
from dispatcher.page.desktop_reading import DesktopsView, Reading, open_view
from dispatcher.page.resource_runs import (
    ABANDONED,
    FAILED,
    MOST_FAILURES,
    SAID_LIMIT,
    failure,
    failures,
    run_seen,
)
from dispatcher.page.sessions import Person
from dispatcher.page.site import Site
from dispatcher.status.overview import OpenAction

STATES = (*(state.value for state in LifeCycle), CREATING, FAILED, ABANDONED, UNKNOWN)
"""All states that a desktop may have."""

_STATES = {
    Stage.PROVISIONING_DROPLET.value: LifeCycle.PROVISIONING.value,
    Stage.WAITING_FOR_IP.value: LifeCycle.PROVISIONING.value,
    Stage.INSTALLING_PACKAGES.value: LifeCycle.CONFIGURING.value,
    Stage.STARTING_GUACAMOLE.value: LifeCycle.CONFIGURING.value,
    Stage.CONFIGURING_HTTPS.value: LifeCycle.CONFIGURING.value,
    Stage.FINAL_HEALTH_CHECK.value: LifeCycle.CONFIGURING.value,
    Stage.DELETING_DROPLET.value: LifeCycle.DESTROYING.value,
    Stage.WAITING_UNTIL_GONE.value: LifeCycle.DESTROYING.value,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class DesktopCard:
    """One desktop.

    Attributes:
        id: of the desktop, and of the action that creates it.
        name: for people.
        state: of the life cycle, or ``CREATING`` before its run has reported, ``FAILED`` if its run made
            none, ``ABANDONED`` if its run was killed and there may be a machine, ``UNKNOWN`` if its
            entry is not believed.
        stage, percent, detail: what the run that creates or destroys it last reported; "" and None if
            nothing is known.
        waits: what the action waits for, in words; "" while it runs.
        region, size, image, address, gateway_host: "" if unknown.
        apps, apps_failed: names in the catalogue.
        since: when it was created, or its creation begun, RFC 3339; None if unknown.
        expires_at: when it is destroyed, RFC 3339; None for never.
        owner: name of who created it, "" if unknown.
        yours: whether the person who asks may open it.
        ready: whether it can be opened.
        behind_gateway: whether it can be opened at a gateway, not only at its address.
        problem: why it is not believed, or how its creation failed; "" if all is well.
        said: the end of the output of a creation that failed; "" else.
        destroying: id of the open action that destroys it, or "".
        destroyed_by: id of the action that destroyed it, or "".
        serving: whether a dispatcher runs here; if none does, nothing is known of runs.
        probes: what its machine answered a moment ago; None in lists, and if there is none to ask.
    """

    id: str
    name: str = ""
    state: str
    stage: str = ""
    percent: float | None = None
    detail: str = ""
    waits: str = ""
    region: str = ""
    size: str = ""
    image: str = ""
    address: str = ""
    gateway_host: str = ""
    apps: tuple[str, ...] = ()
    apps_failed: tuple[str, ...] = ()
    since: str | None = None
    expires_at: str | None = None
    owner: str = ""
    yours: bool = False
    ready: bool = False
    behind_gateway: bool = False
    problem: str = ""
    said: str = ""
    destroying: str = ""
    destroyed_by: str = ""
    probes: Probes | None = None
    serving: bool = True


@dataclass(frozen=True, kw_only=True, slots=True)
class DesktopCards:
    """All desktops.

    Attributes:
        desktops: those that exist and are being created, by id.
        failed: creations of the last day that made none, the newest first.
        serving: whether a dispatcher runs here; if none does, what is known of runs is old.
        as_of: when it last wrote, RFC 3339; None for never.
        trouble: why the inventory is shown unverified, in words; "" if it is verified.
    """

    desktops: tuple[DesktopCard, ...]
    failed: tuple[DesktopCard, ...]
    serving: bool
    as_of: str | None
    trouble: str


def desktop_cards(site: Site, person: Person, *, destroyed: bool = False) -> DesktopCards:
    """All desktops.

    Args:
        destroyed: whether those are listed, too.

    Raises:
        Problem: see ``open_view``.
        Unavailable, Denied: our key is in Vault and cannot be read.
    """
    view = site.once(open_view)
    with view.reading() as reading:
        found = reading.desktops.all(destroyed=destroyed)
        listed = tuple(_shown(view, reading, each, person) for each in found)
        known = {each.id for each in found}
        ended = islice(failures(reading, known, now=site.clock()), MOST_FAILURES)
        failed = tuple(_failed(reading, each, result) for each, result in ended)
        status = reading.live.status
        return DesktopCards(
            desktops=listed,
            failed=failed,
            serving=reading.overview is not None,
            as_of=known_time(status.overview.at) if status is not None else None,
            trouble=reading.trouble,
        )


def desktop_card(site: Site, person: Person, desktop_id: str) -> DesktopCard:
    """One desktop, also one that was destroyed, or was never made. Its machine is looked at.

    Raises:
        NotFound: no action of this id creates a desktop.
        Problem, Unavailable, Denied: see ``desktop_cards``.
    """
    view = site.once(open_view)
    with view.reading() as reading:
        try:
            desktop = reading.desktops.get(desktop_id)
        except NotFound:
            result = failure(reading, desktop_id)
            if result is None:
                raise
            return _failed(reading, desktop_id, result)
        shown = _shown(view, reading, desktop, person)
        shown = replace(shown, serving=reading.overview is not None)
    if desktop.entry is None or desktop.ended_by or reading.trouble:
        return shown
    return replace(shown, probes=site.once(_prober).look(desktop.entry))


def _prober(_site: Site) -> Prober:
    return Prober()


def _shown(view: DesktopsView, reading: Reading, desktop: Desktop, person: Person) -> DesktopCard:
    if desktop.state == CREATING:
        return _being_created(reading, desktop)
    entry, destroying = desktop.entry, reading.destroying(desktop.id)
    state = ABANDONED if desktop.unfinished else desktop.state
    owner = None if person.operator else view.owner(reading, desktop)
    standing, active = desktop.state != DESTROYED, state == LifeCycle.ACTIVE
    shown = DesktopCard(
        id=desktop.id,
        name=desktop.text("name"),
        state=state,
        percent=100.0 if active else None,
        stage=Stage.ACTIVE.value if active else "",
        region=desktop.text("region"),
        size=desktop.text("size"),
        image=desktop.text("image"),
        address=desktop.text("address"),
        gateway_host=desktop.text("gateway_host"),
        apps=_texts(desktop, "apps"),
        apps_failed=desktop.apps_failed,
        since=entry.at or None if entry else None,
        expires_at=entry.expires_at or None if entry else None,
        owner=owner.name if owner else reading.live.index.author(desktop.id),
        yours=standing and view.is_of(reading, desktop, person),
        ready=active and not desktop.problem,
        behind_gateway=bool(desktop.text("gateway_host")),
        problem=desktop.problem,
        destroying=destroying,
        destroyed_by=desktop.ended_by,
    )
    return _with_progress(shown, reading.row(destroying)) if destroying and standing else shown


def _being_created(reading: Reading, desktop: Desktop) -> DesktopCard:
    """One without an entry: what its action asks for, and how far its run is."""
    action = reading.open.get(desktop.id)
    params = action.params if action is not None else {}
    row = reading.row(desktop.id)
    apps = params.get("apps")
    shown = DesktopCard(
        id=desktop.id,
        state=CREATING,
        apps=tuple(map(_text, apps)) if isinstance(apps, list) else (),
        since=known_time(row.since) if row is not None else None,
        owner=reading.live.index.author(desktop.id),
        **_asked(params),
    )
    return _with_progress(shown, row)


def _with_progress(shown: DesktopCard, row: OpenAction | None) -> DesktopCard:
    """What the run of an action has reported, or what the action waits for."""
    seen = run_seen(row)
    if not seen.runs:
        return replace(shown, waits=seen.waits)
    return replace(
        shown,
        state=_STATES.get(seen.stage, shown.state),
        stage=seen.stage,
        percent=seen.percent,
        detail=seen.detail,
    )


def _failed(reading: Reading, action_id: str, result: Result) -> DesktopCard:
    """A creation that ended without a desktop."""
    params = reading.params(action_id)
    return DesktopCard(
        id=action_id,
        state=FAILED,
        since=result.timestamp or None,
        owner=reading.live.index.author(action_id),
        problem=result.error,
        said=result.logs[-SAID_LIMIT:],
        **_asked(params),
    )


def _asked(params: Mapping[str, object]) -> dict[str, Any]:
    """What an action asks for, as far as it is text."""
    return {key: _text(params.get(key)) for key in ("name", "region", "size", "image")}


def _texts(desktop: Desktop, key: str) -> tuple[str, ...]:
    entry = desktop.entry
    value = entry.entry.get(key) if entry is not None and not desktop.problem else None
    return tuple(map(_text, value[:50])) if isinstance(value, list) else ()


def _text(value: object) -> str:
    return str(value)[:100] if isinstance(value, str) else ""
