"""The tree in memory: steps by difference end where a look at everything ends."""

from __future__ import annotations

import os
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.model.run import FormulaKind
from dispatcher.ops_repo import Delta, Tree, escaped
from dispatcher.ops_repo.records import Entry

FILE, LINK, FOLDER = 0o100644, 0o120000, 0o040000


def entry(oid: str = "a", mode: int = FILE) -> Entry:
    return Entry(mode=mode, oid=oid)


def action(name: str) -> str:
    return f"vault/actions/{name}.toml"


def result(name: str) -> str:
    return f"vault/actions/{name}.result.json"


def test_an_action_is_open_until_its_result_comes() -> None:
    tree = Tree()
    assert tree.step("1", [(action("x"), entry())]).opened == ("x",)
    assert tree.open["x"].blob == "a"

    changes = tree.step("2", [(result("x"), entry("r"))])

    assert changes.finished == {"x"}
    assert not tree.open
    assert tree.finished["x"].result.blob == "r"
    assert tree.commit == "2"


def test_a_changed_file_stays_in_its_place_in_the_queue() -> None:
    tree = Tree()
    tree.step("1", [(action("b"), entry()), (action("a"), entry())])

    changes = tree.step("2", [(action("b"), entry("new"))])

    assert changes.changed == {"b"}
    assert list(tree.open) == ["b", "a"]


def test_moving_a_pair_to_the_archive_is_no_loss() -> None:
    tree = Tree()
    tree.step("1", [(action("x"), entry()), (result("x"), entry())])

    changes = tree.step(
        "2",
        [
            (action("x"), None),
            (result("x"), None),
            ("vault/done/2026-01/x.toml", entry()),
            ("vault/done/2026-01/x.result.json", entry()),
        ],
    )

    assert changes.archived == {"x"}
    assert not changes.vanished
    assert tree.result_path("x") == "vault/done/2026-01/x.result.json"
    assert tree.action_path("x") == "vault/done/2026-01/x.toml"


def test_an_archived_id_put_back_is_seen_as_both() -> None:
    tree = Tree()
    tree.step("1", [("vault/done/2026-01/x.result.json", entry())])

    changes = tree.step("2", [(action("x"), entry())])

    assert changes.opened == ("x",)
    assert "x" in tree.open
    assert "x" in tree.archived


def test_a_deleted_result_vanishes_and_reopens_its_action() -> None:
    tree = Tree()
    tree.step("1", [(action("x"), entry()), (result("x"), entry())])

    changes = tree.step("2", [(result("x"), None)])

    assert changes.vanished == {"x": result("x")}
    assert changes.opened == ("x",)


DONE = "vault/done/2026-01/x.result.json"
LATER = "vault/done/2026-02/x.result.json"


@pytest.mark.parametrize(
    ("had", "step", "former"),
    [
        ([result("x")], [(result("x"), entry("e"))], result("x")),
        ([action("x"), result("x")], [(action("x"), None), (result("x"), entry("e"))], result("x")),
        ([DONE], [(DONE, entry("e"))], DONE),
        ([result("x")], [(result("x"), None), (DONE, entry("e"))], result("x")),
        ([result("x"), DONE], [(result("x"), None)], result("x")),
        ([DONE, LATER], [(DONE, None)], DONE),
        ([result("x")], [(result("x"), None), (DONE, entry())], ""),
        ([action("x"), result("x")], [(action("x"), entry("e"))], ""),
        ([result("x")], [(result("x"), entry())], ""),
        ([action("x")], [(result("x"), entry("e"))], ""),
        ([result("x")], [(result("x"), None)], ""),
    ],
)
def test_a_result_is_replaced_if_another_file_counts(
    had: list[str], step: list[tuple[str, Entry | None]], former: str
) -> None:
    tree = Tree()
    tree.step("1", [(path, entry()) for path in had])
    assert tree.step("2", step).replaced == ({"x": former} if former else {})


def test_one_of_two_archived_copies_may_go() -> None:
    tree = Tree()
    both = ["vault/done/2026-01/x.result.json", "vault/done/2026-02/x.result.json"]
    tree.step("1", [(p, entry()) for p in both])

    assert not tree.step("2", [(both[0], None)]).vanished
    assert tree.step("3", [(both[1], None)]).vanished == {"x": both[1]}
    assert not tree.archived


def test_of_the_archive_only_directories_of_months_and_days_count() -> None:
    tree = Tree()
    odd = ["vault/done/2026", "vault/done/2026-02-28-1", "vault/done/2026-2-3"]
    tree.step("1", [(path, entry(mode=FOLDER)) for path in odd])
    day = "vault/done/2026-02-28"
    tree.step("2", [(day, entry(mode=FOLDER)), (f"{day}/x.toml", entry())])
    tree.step("3", [(f"{day}/x.result.json", entry("r"))])
    assert tree.result_path("x") == f"{day}/x.result.json"
    assert tree.misnamed == set(odd)


def test_an_archived_action_takes_little_memory() -> None:
    count = 5_000
    events = [
        (f"vault/done/2026-01/an-action-of-some-day-{number:05}{ending}", entry())
        for number in range(count)
        for ending in (".toml", ".result.json")
    ]
    tree = Tree()
    tracemalloc.start()
    try:
        tree.step("1", events)
        kept = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert len(tree.archived) == count
    assert kept / count < 250


def test_a_formula_with_both_endings_is_ambiguous() -> None:
    tree = Tree()
    tree.step("1", [("formulas/f.sh", entry("s")), ("formulas/f.toml", entry("t"))])
    assert tree.formulas["f"].ambiguous

    changes = tree.step("2", [("formulas/f.sh", None)])

    assert changes.formulas == {"f"}
    assert not tree.formulas["f"].ambiguous
    assert tree.formulas["f"].kind is FormulaKind.AGENT
    assert tree.formulas["f"].blob == "t"


def test_odd_entries_are_kept_with_their_mode() -> None:
    tree = Tree()
    tree.step(
        "1",
        [
            (action("link"), entry(mode=LINK)),
            (action("folder"), entry(mode=FOLDER)),
            ("vault/actions/sub/x.toml", entry()),
            ("vault/actions/README.md", entry()),
        ],
    )
    assert set(tree.open) == {"link", "folder"}
    assert not tree.open["link"].regular
    assert not tree.open["folder"].regular


def test_a_name_that_is_no_id_is_kept_for_a_warning_alone() -> None:
    tree = Tree()
    odd = [
        action(""), action("X"), action("a.b"), result("X"), "vault/done/2026-01/X.toml",
        "vault/done/X.result.json", "formulas/X.sh", "formulas/.toml",
    ]  # fmt: skip
    assert not tree.step("1", [(path, entry()) for path in odd])
    assert tree.misnamed == set(odd)
    assert not any((tree.open, tree.stray_results, tree.archived, tree.formulas))
    assert not tree.become("2", {action("x.y"): entry()})
    assert tree.misnamed == {action("x.y")}
    assert not tree.step("3", [(action("x.y"), None)])
    assert tree.misnamed == set()


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        (b"plain.toml", "plain.toml"),
        ("caf\u00e9".encode(), "caf\u00e9"),
        (b"\xff", r"\xff"),
        (b"a\nb\x1b[2J", r"a\nb\x1b[2J"),
        ("\u202egp".encode(), r"\u202egp"),
        (b"back\\xff", r"back\\xff"),
        (b"n" * 300, "n" * 120 + "\u2026"),
    ],
)
def test_a_path_is_shown_escaped(raw: bytes, shown: str) -> None:
    assert escaped(os.fsdecode(raw)) == shown
    shown.encode()


def test_saying_again_what_is_known_changes_nothing() -> None:
    tree = Tree()
    events = [(action("x"), entry()), (action("y"), entry()), (result("y"), entry())]
    tree.step("1", events)
    assert not tree.step("2", events)


IDS = st.sampled_from(["a", "b", "c"])
PATHS = st.one_of(
    IDS.map(action),
    IDS.map(result),
    IDS.map(lambda i: f"vault/done/2026-01/{i}.result.json"),
    IDS.map(lambda i: f"vault/done/2026-02/{i}.toml"),
    IDS.map(lambda i: f"vault/done/2026-02-28/{i}.toml"),
    IDS.map(lambda i: f"formulas/{i}.sh"),
    IDS.map(lambda i: f"formulas/{i}.toml"),
)
LISTING = st.dictionaries(PATHS, st.sampled_from(["1", "2"]).map(entry))


@given(st.lists(LISTING, min_size=1, max_size=5))
def test_steps_end_where_a_look_at_everything_ends(listings: list[dict[str, Entry]]) -> None:
    stepping, jumping = Tree(), Tree()
    known: dict[str, Entry] = {}
    for number, listing in enumerate(listings):
        had = {i for i in "abc" if stepping.has_result(i)}
        events: dict[str, Entry | None] = {p: None for p in known if p not in listing}
        events.update({p: e for p, e in listing.items() if known.get(p) != e})
        way = Delta(commit=str(number), events=tuple(events.items()))
        by_steps = stepping.enter(way)
        jump = Delta(commit=str(number), events=tuple(listing.items()), complete=True)
        at_once = jumping.enter(jump)
        known = listing

        fresh = Tree()
        fresh.become(str(number), listing)
        for tree in (stepping, jumping):
            assert tree.open == fresh.open
            assert tree.finished == fresh.finished
            assert tree.stray_results == fresh.stray_results
            assert tree.archived == fresh.archived
            assert +tree.archived_in == +fresh.archived_in
            assert tree.formulas == fresh.formulas
        assert set(by_steps.opened) == set(at_once.opened)
        assert by_steps.vanished == at_once.vanished
        assert set(by_steps.vanished) == {i for i in had if not stepping.has_result(i)}
