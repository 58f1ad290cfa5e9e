"""What is destroyed, and what counts as left over, by what is proven alone."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from dispatcher.loop.inventory import InventoryEntry
from dispatcher.operate.desktop_actions import destroying_formula, destruction
from dispatcher.operate.desktops import Desktops, destroying
from dispatcher.operate.provisioned import Unverified
from dispatcher.ops_repo import Tree

USUAL = "desktop-destroy"
EDITED, RAN, OTHER, OLD = "e" * 40, "a" * 40, "b" * 40, "d" * 40


def entry(destroyed_by: str, *, problem: str = "") -> InventoryEntry:
    return InventoryEntry(
        kind="desktop", id="web", blob=OTHER, destroyed_by=destroyed_by, problem=problem
    )


def desktops(*, verifies: bool = True, **repo: Any) -> Desktops:
    ended = {"old"}
    reader = SimpleNamespace(
        verifies=verifies,
        all=lambda *_args, **_more: [],
        ended=lambda _tree, ids: ended & set(ids),
    )
    return Desktops(repo=cast(Any, SimpleNamespace(**repo)), tree=Tree(), reader=cast(Any, reader))


def test_the_formula_that_an_entry_names_destroys_it_if_a_signature_proves_it() -> None:
    assert destroying_formula(desktops(), entry("other")) == "other"
    for odd in (entry(""), entry(USUAL), entry("other", problem="forged")):
        assert destroying_formula(desktops(verifies=False), odd) == USUAL
    with pytest.raises(Unverified, match='names "other" as the formula'):
        destruction(desktops(verifies=False), entry("other"), destroying)
    action = destruction(desktops(), entry("other"), destroying)
    assert b'formula = "other"' in action.data


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
    assert found.reap_params(now=1.0, run_keys=["w.x"])["known_runs"] == ["w.x", f"web.{RAN}"]


def test_an_escape_in_its_file_hides_no_running_creation() -> None:
    text = action("web", "desktop").replace(b"desktop", rb"deskt\u006fp")
    found = desktops(
        action_versions=lambda _commit: {"web": {RAN: None}},
        read_present=lambda blobs, *, limit: dict.fromkeys(blobs, text),
    )
    assert found.reap_params(now=1.0)["known_runs"] == [f"web.{RAN}"]
