"""The page's index follows a real ops repo: commit by commit, through restarts and rewritten histories."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from dispatcher.model.result import Result
from dispatcher.model.verdicts import Verdict
from dispatcher.ops_repo import OpsRepo
from dispatcher.page.index import NAME, Index
from dispatcher.page.index_queries import Filter
from dispatcher.page.live import Live
from tests.servers.git_remote import GitRemote
from tests.support.clone import remote, repo

__all__ = ["remote", "repo"]

ADA, BO = "Ada <ada@example.org>", "Bo <bo@example.org>"


def _action(action_id: str) -> dict[str, bytes]:
    return {f"vault/actions/{action_id}.toml": action_id.encode()}


def _result(action_id: str, directory: str = "vault/actions") -> dict[str, bytes]:
    text = Result(
        id=action_id, exit_code=0, timestamp="2026-03-01T12:00:00Z", verdict=Verdict.SUCCEEDED
    ).to_json()
    return {f"{directory}/{action_id}.result.json": text.encode()}


@pytest.fixture
def live(tmp_path: Path, repo: OpsRepo) -> Live:
    return _started(tmp_path, repo)


def _started(tmp_path: Path, repo: OpsRepo) -> Live:
    return Live(tmp_path / "state", repo, Index(tmp_path / "web", now=time.time), poll_s=60)


def _settle(live: Live) -> dict[str, str]:
    """Let it do all there is to do; the authors of what has ended, by id."""
    while live.follow():
        pass
    assert live.index.search is None
    return {row.id: row.author for row in live.index.runs(Filter(), count=100)}


def test_commit_by_commit(remote: GitRemote, live: Live, tmp_path: Path, repo: OpsRepo) -> None:
    remote.commit(_action("old"), who=ADA)
    remote.commit(_result("old"), who="disinto <d@example.org>")
    assert _settle(live) == {"old": "Ada"}
    remote.commit({**_action("new"), **_action("open")}, who=BO)
    remote.commit(_result("new"))
    assert _settle(live) == {"old": "Ada", "new": "Bo"}
    assert live.index.open_ids(count=9) == ["open"]
    assert live.index.author("open") == "Bo"

    again = _started(tmp_path, repo)
    assert again.index.commit == remote.head
    remote.commit(_result("open"))
    assert _settle(again) == {"old": "Ada", "new": "Bo", "open": "Bo"}


def test_a_merge_takes_over_what_its_author_wrote(remote: GitRemote, live: Live) -> None:
    base = remote.head
    branch = remote.commit(_action("x"), parents=[base], branch="topic", who=ADA)
    remote.commit({**_action("x"), **_result("x")}, parents=[base, branch], who=BO)
    assert _settle(live) == {"x": "Ada"}


def test_a_move_to_the_archive_keeps_the_author(remote: GitRemote, live: Live) -> None:
    remote.commit(_action("x"), who=ADA)
    _settle(live)
    done = "vault/done/2026-03"
    remote.commit(
        {f"{done}/x.toml": b"x", **_result("x", done)},
        remove=["vault/actions/x.toml"],
        who="disinto <d@example.org>",
    )
    assert _settle(live) == {"x": "Ada"}


def test_a_history_that_was_rewritten_is_followed(remote: GitRemote, live: Live) -> None:
    first = remote.head
    remote.commit({**_action("gone"), **_result("gone")}, who=ADA)
    _settle(live)
    remote.point(first)
    remote.commit({**_action("there"), **_result("there")}, who=BO)
    assert _settle(live) == {"there": "Bo"}


def test_without_its_file_it_is_built_anew(
    remote: GitRemote, live: Live, tmp_path: Path, repo: OpsRepo
) -> None:
    remote.commit({**_action("x"), **_result("x")}, who=ADA)
    before = _settle(live)
    for path in (tmp_path / "web").glob(f"{NAME}*"):
        path.unlink()
    assert _settle(_started(tmp_path, repo)) == before
