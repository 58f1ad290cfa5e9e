"""The index: what is in git, whatever the order in which it came."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping
from contextlib import closing
from pathlib import Path

import pytest

from dispatcher.model.result import Result, ResultFormula
from dispatcher.model.verdicts import Verdict
from dispatcher.ops_repo import Delta, Entry
from dispatcher.page.index import NAME, Index
from dispatcher.page.index_queries import Filter, counting, daily, listing

NOW = 2_000_000_000.0
DAY = 86_400


class Git:
    """Commits as differences, and the contents they name."""

    def __init__(self, index: Index) -> None:
        self.index, self.blobs = index, dict[str, bytes]()
        self.head = ""

    def commit(self, files: Mapping[str, bytes | None], *, complete: bool = False) -> None:
        """Commit these files, None for those that are removed; have the index read them."""
        events = tuple((path, self._entry(data)) for path, data in files.items())
        base, self.head = self.head, f"c{len(self.blobs)}{len(files)}{self.head}"
        self.index.enter(Delta(commit=self.head, events=events, complete=complete), base=base)
        while self.index.read_some(self._read):
            pass

    def _entry(self, data: bytes | None) -> Entry | None:
        if data is None:
            return None
        oid = f"{hash(data):040x}"
        self.blobs[oid] = data
        return Entry(mode=0o100644, oid=oid)

    def _read(self, blobs: Iterable[str]) -> Mapping[str, bytes | int]:
        return {blob: self.blobs[blob] for blob in blobs}


@pytest.fixture
def index(tmp_path: Path) -> Index:
    return Index(tmp_path, now=lambda: NOW)


@pytest.fixture
def git(index: Index) -> Git:
    return Git(index)


def _result(
    action_id: str,
    *,
    day: int = 0,
    verdict: Verdict = Verdict.SUCCEEDED,
    formula: str = "deploy",
    error: str = "",
) -> bytes:
    from datetime import UTC, datetime

    at = datetime.fromtimestamp(NOW - day * DAY - 10, UTC).isoformat()
    result = Result(
        id=action_id,
        exit_code=0 if verdict.success else 1,
        timestamp=at,
        verdict=verdict,
        error=error,
        formula=ResultFormula(name=formula),
    )
    return result.to_json().encode()


def _pair(action_id: str, directory: str = "vault/actions", **facts: object) -> dict[str, bytes]:
    return {
        f"{directory}/{action_id}.toml": b"x",
        f"{directory}/{action_id}.result.json": _result(action_id, **facts),  # type: ignore[arg-type]
    }


def _ids(index: Index, wanted: Filter | None = None) -> list[str]:
    return [row.id for row in index.runs(wanted or Filter(), count=100)]


def test_results_are_listed_the_newest_first(index: Index, git: Git) -> None:
    git.commit({**_pair("old", day=2), **_pair("new"), **_pair("middle", day=1)}, complete=True)
    assert _ids(index) == ["new", "middle", "old"]
    git.commit({"vault/actions/open.toml": b"x"})
    assert index.open_ids(count=9) == ["open"]
    git.commit({"vault/actions/open.result.json": _result("open")})
    assert index.open_ids(count=9) == []
    assert set(_ids(index)[:2]) == {"open", "new"}


def test_a_move_to_the_archive_changes_nothing_one_sees(index: Index, git: Git) -> None:
    git.commit(_pair("a"), complete=True)
    before = index.runs(Filter(), count=9)
    git.commit({**dict.fromkeys(_pair("a"), None), **_pair("a", "vault/done/2033-05")})
    assert index.runs(Filter(), count=9) == before
    assert index.open_ids(count=9) == []


def test_what_vanishes_is_gone(index: Index, git: Git) -> None:
    git.commit({**_pair("a"), **_pair("b")}, complete=True)
    git.commit({"vault/actions/a.result.json": None})
    assert (_ids(index), index.open_ids(count=9)) == (["b"], ["a"])
    git.head = index.commit
    git.commit(_pair("c"), complete=True)  # a rewritten history
    assert _ids(index) == ["c"]


def test_filters(index: Index, git: Git) -> None:
    git.commit(
        {
            **_pair("red", verdict=Verdict.FAILED, error="disk full on Node-7"),
            **_pair("blue", formula="backup", day=1, error="die Größe fehlt"),
            **_pair("green", day=2),
        },
        complete=True,
    )
    index.searched({"red": "Ada", "blue": "Bo"}, None)
    assert _ids(index, Filter(verdicts=("failed", "lost"))) == ["red"]
    assert _ids(index, Filter(formula="backup")) == ["blue"]
    assert _ids(index, Filter(author="Ada")) == ["red"]
    assert _ids(index, Filter(text="NODE-7")) == ["red"]
    assert _ids(index, Filter(text="re")) == ["red", "green"]
    assert _ids(index, Filter(text="100%_'\"")) == []
    assert _ids(index, Filter(text="GRÖSSE")) == ["blue"], "in whatever alphabet"
    assert index.count(Filter(formula="deploy")) == 2
    assert (index.formulas(), index.authors()) == (["backup", "deploy"], ["Ada", "Bo"])
    assert [row.author for row in index.runs(Filter(), count=3)] == ["Ada", "Bo", ""]


def test_pages_follow_each_other(index: Index, git: Git) -> None:
    git.commit({k: v for n in range(7) for k, v in _pair(f"a{n}").items()}, complete=True)
    seen: list[str] = []
    before: tuple[float, str] | None = None
    while rows := index.runs(Filter(), before=before, count=3):
        seen += [row.id for row in rows]
        before = (rows[-1].at, rows[-1].id)
    assert seen == sorted(seen, reverse=True)
    assert len(seen) == 7


def test_days(index: Index, git: Git) -> None:
    git.commit(
        {**_pair("a", day=1), **_pair("b", day=1, verdict=Verdict.LOST), **_pair("c", day=40)},
        complete=True,
    )
    days = index.days(Filter(), since=NOW - 30 * DAY)
    assert list(days.values()) == [{"lost": 1, "succeeded": 1}]


@pytest.mark.parametrize(
    "data", [b"", b"{}", b"[" * 10_000, b"\xff", json.dumps({"id": 1}).encode()]
)
def test_what_is_no_result_has_no_verdict(index: Index, git: Git, data: bytes) -> None:
    git.commit({"vault/actions/x.toml": b"", "vault/actions/x.result.json": data}, complete=True)
    assert [(row.id, row.verdict) for row in index.runs(Filter(), count=9)] == [("x", "")]


def test_nobody_stays_on_top_by_a_date_in_the_future(index: Index, git: Git) -> None:
    git.commit({**_pair("forged", day=-9_999), **_pair("true")}, complete=True)
    assert index.runs(Filter(), count=1)[0].at == NOW


def test_another_process_that_was_here_first_has_done_it(tmp_path: Path, git: Git) -> None:
    git.commit(_pair("a"), complete=True)
    other = Index(tmp_path, now=lambda: NOW)
    assert other.commit == git.head
    stale = Delta(commit="elsewhere", events=(("vault/actions/a.result.json", None),))
    assert other.enter(stale, base="long ago") == ()
    assert _ids(other) == ["a"]


def test_a_broken_or_old_file_is_built_anew(tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(b"no database" * 1000)
    index = Index(tmp_path, now=lambda: NOW)
    assert index.commit == ""
    Git(index).commit(_pair("a"), complete=True)
    assert _ids(index) == ["a"]


FILTERS = [
    Filter(verdicts=verdicts, formula=formula, author=author, text=text)
    for verdicts in ((), ("lost",))
    for formula in ("", "backup")
    for author in ("", "Ada")
    for text in ("", "no-such-word")
]


def _plan(tmp_path: Path, query: tuple[str, tuple[object, ...]]) -> list[str]:
    """Steps of SQLite that read runs."""
    with closing(sqlite3.connect(tmp_path / NAME)) as db:
        steps = [row[3] for row in db.execute(f"EXPLAIN QUERY PLAN {query[0]}", query[1])]
    return [step for step in steps if " runs" in step or " r " in step]


@pytest.mark.parametrize("wanted", FILTERS)
def test_a_filter_that_matches_nothing_reads_no_row(
    index: Index, tmp_path: Path, wanted: Filter
) -> None:
    assert index.runs(wanted, count=51) == []
    for before in (None, (NOW, "x")):
        reading, *looking_up = _plan(tmp_path, listing(wanted, before=before, count=51))[::-1]
        assert "USING COVERING INDEX runs_newest" in reading
        assert looking_up == ["SEARCH r USING PRIMARY KEY (id=?)"], "what is listed only"
    for query in (counting(wanted), daily(wanted, since=NOW)):
        assert ["USING COVERING INDEX" in step for step in _plan(tmp_path, query)] == [True]
