"""What ``disinto desktop`` shows of a desktop: how far one is that is being created, and what failed."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from dispatcher.errors import PermanentError
from dispatcher.host import resources
from dispatcher.loop.inventory import InventoryEntry
from dispatcher.operate import provisioned
from dispatcher.operate.desktops import CREATE, Desktop, Desktops, creating
from dispatcher.status.overview import State

PROGRESS = {"stage": "waiting-for-ip", "percent": 35.0, "detail": "", "at": 1.0}


def listed(monkeypatch: pytest.MonkeyPatch, action: Any) -> Desktop:
    opened = SimpleNamespace(id="desk-1", formula=CREATE)
    monkeypatch.setattr(provisioned, "valid_open_actions", lambda _repo, _tree: [opened])
    reader = SimpleNamespace(all=lambda _tree, **_more: [])
    overview = SimpleNamespace(find=lambda action_id: action if action_id == "desk-1" else None)
    found: Any = Desktops(repo=None, tree=None, reader=reader, overview=overview)  # type: ignore[arg-type]
    (desktop,) = found.all()
    assert isinstance(desktop, Desktop)
    return desktop


def test_a_desktop_that_is_being_created_shows_how_far_it_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    desktop = listed(monkeypatch, SimpleNamespace(state=State.RUNNING, progress=PROGRESS))
    assert desktop.shown_state == "CREATING waiting-for-ip 35 %"
    assert desktop.as_json()["state"] == "CREATING"
    assert desktop.as_json()["progress"] == PROGRESS


def test_one_that_has_not_started_shows_that(monkeypatch: pytest.MonkeyPatch) -> None:
    waiting = listed(monkeypatch, SimpleNamespace(state=State.WAITING, progress=None))
    assert waiting.shown_state == "CREATING (waiting)"
    unknown = listed(monkeypatch, None)
    assert unknown.shown_state == "CREATING"
    assert unknown.as_json()["progress"] is None


def test_what_a_killed_run_left_is_told_from_one_that_is_being_created() -> None:
    entry = InventoryEntry(kind="desktop", id="desk-1", blob="0" * 40)
    left = Desktop(id="desk-1", state="PROVISIONING", entry=entry)
    assert (left.unfinished, left.shown_state) == (True, "PROVISIONING (abandoned)")
    assert left.as_json()["unfinished"] is True
    assert not Desktop(id="desk-1", state="ACTIVE", entry=entry).unfinished
    assert not Desktop(id="desk-1", state="CREATING").unfinished


@pytest.mark.parametrize(
    ("params", "said"),
    [({"name": "Bob"}, '"Bob" cannot be the name of a desktop'),
     ({"name": "bob", "apps": ["gmp"]}, 'unknown app gmp. Did you mean "gimp"'),
     ({"name": "bob", "lifetime": "1m"}, "lifetime is not between 10m and 366d"),
     ({"name": "bob", "keep_on_error": True}, "keep_on_error needs lifetime")],
)  # fmt: skip
def test_what_a_run_would_refuse_is_not_sent(params: dict[str, Any], said: str) -> None:
    catalogue = resources.path("actions/desktop/formulas")
    with pytest.raises(PermanentError) as caught:
        creating("desktop-bob", params, catalogue=catalogue)
    assert said in str(caught.value)
    assert b'name = "bob"' in creating("a", {"name": "bob", "apps": ["gimp"]})


def test_apps_that_failed_are_shown_if_the_entry_is_believed() -> None:
    fields: dict[str, Any] = {
        "kind": "desktop", "id": "desk-1", "blob": "0" * 40, "entry": {"state": "ACTIVE", "apps_failed": ["gimp"]},
    }  # fmt: skip
    believed = Desktop(id="desk-1", state="ACTIVE", entry=InventoryEntry(**fields))
    assert believed.as_json()["apps_failed"] == ["gimp"]
    forged = Desktop(id="desk-1", state="UNKNOWN", problem="forged", entry=InventoryEntry(**fields))
    assert forged.apps_failed == ()
