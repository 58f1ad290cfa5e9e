"""What is destroyed, and what counts as left over, by what is proven alone."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from dispatcher.errors import Conflict
from dispatcher.loop.inventory import InventoryEntry
from dispatcher.operate.desktops import Desktops, destroying
from dispatcher.operate.provisioned import Unverified
from dispatcher.operate.provisioned_actions import destroying_formula, destruction
from dispatcher.ops_repo import Tree

USUAL = "desktop-destroy"
EDITED, RAN, OTHER, OLD = "e" * 40, "a" * 40, "b" * 40, "d" * 40


def entry(destroyed_by: str, *, problem: str = "") -> InventoryEntry:
    return InventoryEntry(
        kind="desktop", id="web", blob=OTHER, destroyed_by=destroyed_by, problem=problem
    )


def desktops(
    *, verifies: bool = True, entries: Sequence[InventoryEntry] = (), **repo: Any
) -> Desktops:
    ended = {"old"}
    reader = SimpleNamespace(
        verifies=verifies,
        all=lambda *_args, **_more: list(entries),
        ended=lambda _tree, ids: ended & set(ids),
    )
    made = SimpleNamespace(read=lambda *_args, **_more: {}, **repo)
    return Desktops(repo=cast(Any, made), tree=Tree(), reader=cast(Any, reader))


def test_the_formula_that_an_entry_names_destroys_it_if_a_signature_proves_it() -> None:
    assert destroying_formula(desktops(), entry("other")) == "other"
    for odd in (entry(""), entry(USUAL), entry("other", problem="forged")):
        assert destroying_formula(desktops(verifies=False), odd) == USUAL
    with pytest.raises(Unverified, match='names "other" as the formula'):
        destruction(desktops(verifies=False), entry("other"), destroying)
    action = destruction(desktops(), entry("other"), destroying)
    assert b'formula = "other"' in action.data


def test_the_usual_formula_is_told_what_the_entry_says_of_the_machine() -> None:
    made = {"project": "desks", "droplet_id": 7, "name": "web"}
    usual, other = replace(entry(USUAL), entry=made), replace(entry("other"), entry=made)
    params = tomllib.loads(destruction(desktops(), usual, destroying).data.decode())["params"]
    assert params == {"id": "web", "project": "desks", "droplet_id": 7}
    for odd in (other, replace(usual, problem="forged"), entry(USUAL)):
        action = destruction(desktops(), odd, destroying)
        assert tomllib.loads(action.data.decode())["params"] == {"id": "web"}


@pytest.mark.parametrize("odd", [None, [7], {"a": None}, 7.5, float("nan")])
def test_an_entry_with_an_odd_value_can_be_destroyed(odd: object) -> None:
    made = {"project": "desks", "droplet_id": odd}
    action = destruction(desktops(), replace(entry(USUAL), entry=made), destroying)
    assert tomllib.loads(action.data.decode())["params"] == {"id": "web", "project": "desks"}


def action(action_id: str, formula: str) -> bytes:
    return f'id = "{action_id}"\nformula = "{formula}"\ncontext = "c"\nsecrets = []\n'.encode()


def test_a_creation_counts_as_running_until_a_signed_result_ends_it() -> None:
    """Whatever somebody does to its file: it is edited, it is removed, or a result is put beside it."""
    files = {
        RAN: action("web", "desktop"),
        EDITED: action("web", "something-else"),
        OTHER: action("desktop-x", "hello"),
        OLD: action("old", "desktop"),
    }
    history = {
        "web": {RAN: None, EDITED: None},
        "desktop-x": {OTHER: None},
        "old": {OLD: None},
    }
    found = desktops(
        action_versions=lambda _commit: history,
        read_present=lambda blobs, *, limit: {blob: files[blob] for blob in blobs},
    )
    assert found.reap_params(now=1.0)["known_runs"] == [f"web.{RAN}"]
    assert found.reap_params(now=1.0, run_keys=["w.x"])["known_runs"] == ["w.x"], "by the ledger"
    assert found.reap_params(now=1.0, run_keys=[])["known_runs"] == []


def test_an_escape_in_its_file_hides_no_running_creation() -> None:
    text = action("web", "desktop").replace(b"desktop", rb"deskt\u006fp")
    found = desktops(
        action_versions=lambda _commit: {"web": {RAN: None}},
        read_present=lambda blobs, *, limit: dict.fromkeys(blobs, text),
    )
    assert found.reap_params(now=1.0)["known_runs"] == [f"web.{RAN}"]


def test_a_push_of_many_creations_does_not_block_reaping_where_the_ledger_is() -> None:
    """They were removed by the next commit, before anything ran."""
    blobs = {f"e{number}": f"{number:040x}" for number in range(1_001)}
    files = {blob: action(i, "desktop") for i, blob in blobs.items()}
    found = desktops(
        action_versions=lambda _commit: {i: {blob: None} for i, blob in blobs.items()},
        read_present=lambda wanted, *, limit: {blob: files[blob] for blob in wanted},
    )
    with pytest.raises(Conflict, match="1,001 runs may have made something"):
        found.reap_params(now=1.0)
    assert found.reap_params(now=1.0, run_keys=["w.x"])["known_runs"] == ["w.x"]


def test_a_desktop_whose_machine_is_named_is_not_named_again_by_its_run() -> None:
    entries = [
        replace(entry(USUAL), entry={"run_key": f"web.{RAN}", "droplet_id": 7}),
        replace(entry(USUAL), entry={"run_key": f"new.{RAN}", "droplet_id": None}),
    ]
    found = desktops(entries=entries, action_versions=lambda _commit: {})
    params = found.reap_params(now=1.0)
    assert (params["known_droplets"], params["known_runs"]) == ([7], [f"new.{RAN}"])
