"""Cancelling through the ops repo: a request that the dispatcher obeys when it is approved."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from dispatcher.model.cancel_request import CancelRequest
from tests.servers.bao import Bao
from tests.support.stage import Stage, action, eventually, path, set_stage


@pytest.fixture
def stage(bao_server: Bao, tmp_path: Path) -> Iterator[Stage]:
    stage = set_stage(tmp_path, bao_server, ops_repo={"poll_interval_s": 0.2})
    yield stage
    stage.stop()


def request_path(action_id: str) -> str:
    return f"vault/actions/{action_id}.cancel.toml"


def blob_of(stage: Stage, action_id: str) -> str:
    return stage.scene.git("hash-object", path(action_id))


def request(stage: Stage, action_id: str, *, reason: str = "wrong cluster") -> dict[str, str]:
    said = CancelRequest(action_id=action_id, blob=blob_of(stage, action_id), reason=reason)
    return {request_path(action_id): said.to_toml().decode()}


def pull(stage: Stage) -> None:
    stage.scene.git("pull", "--quiet", "--rebase", "origin", "main")


def state_of(stage: Stage, action_id: str) -> tuple[str, str]:
    last = stage.watch.last
    assert last is not None
    (note,) = [note for note in last.cancels if note.id == action_id]
    return note.state, note.reason


def test_a_run_is_stopped_and_its_result_says_who_asked(stage: Stage) -> None:
    stage.scene.merge({path("one"): action("one")}, "Add one")
    stage.start()
    stage.runs(1)
    stage.scene.merge(request(stage, "one"), "Cancel one")
    assert stage.result("one")["verdict"] == "cancelled"
    assert [key.action_id for key in stage.scheduler.cancelled] == ["one"]
    stage.at_rest()
    audit = (stage.scene.config.parent / "state" / "audit.jsonl").read_text()
    (line,) = [line for line in audit.splitlines() if '"cancelled"' in line and "by" in line]
    assert "wrong cluster" in line
    assert "Ada" in line


def test_a_waiting_action_never_starts(stage: Stage) -> None:
    """Approved as the action itself would have to be: by a signed commit that names the request."""
    stage.scene.merge({path("high"): action("high", formula="danger")}, "Add high")
    stage.start()

    @eventually
    def waiting() -> None:
        assert stage.watch.last is not None
        assert [w.action_id for w in stage.watch.last.plan.waits] == ["high"]

    waiting()
    stage.scene.merge(request(stage, "high"), "Cancel high", sign=True)
    result = stage.result("high")
    assert result["verdict"] == "cancelled"
    assert "before it started" in str(result["error"])
    assert "approved by" in str(result["error"])
    assert "wrong cluster" in str(result["error"])
    assert not stage.scheduler.submitted


def test_a_request_that_came_with_its_action_wins(stage: Stage) -> None:
    (stage.scene.desk / "vault" / "actions").mkdir(parents=True, exist_ok=True)
    (stage.scene.desk / path("both")).write_text(action("both"))
    stage.scene.merge({path("both"): action("both"), **request(stage, "both")}, "Both")
    stage.once()
    assert stage.result("both")["verdict"] == "cancelled"
    assert not stage.scheduler.submitted


def test_what_is_not_approved_stops_nothing_and_holds_up_nothing(stage: Stage) -> None:
    """Whoever may push, and no more, cannot cancel what needs an approval to run."""
    stage.scene.merge({path("high"): action("high", formula="danger")}, "Add high", sign=True)
    stage.start()
    stage.runs(1)
    stage.scene.merge(request(stage, "high"), "Cancel high")

    @eventually
    def pending() -> None:
        state, reason = state_of(stage, "high")
        assert state == "waiting"
        assert "is not signed" in reason
        assert "high.cancel" in reason

    pending()
    assert not stage.scheduler.cancelled
    (key,) = stage.scheduler.running()
    stage.scheduler.end(key)
    assert stage.result("high")["verdict"] == "succeeded"


def test_an_approval_of_the_action_does_not_approve_its_cancellation(stage: Stage) -> None:
    stage.scene.merge({path("high"): action("high", formula="danger")}, "Add high", sign=True)
    stage.start()
    stage.runs(1)
    place = "Disinto-Approve: example/ops@main high"
    (stage.scene.desk / request_path("high")).write_text(
        request(stage, "high")[request_path("high")]
    )
    stage.scene.git("add", "--all")
    stage.scene.git("commit", "-S", "-m", "Replayed", "-m", place)
    stage.scene.git("push", "origin", "HEAD:main")

    @eventually
    def pending() -> None:
        state, reason = state_of(stage, "high")
        assert (state, "does not approve it here" in reason) == ("waiting", True)

    pending()
    assert not stage.scheduler.cancelled


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("garbage", "not TOML"),
        ('id = "other"\nblob = "{blob}"\n', "the file name implies one"),
        ('id = "one"\nblob = "' + "c" * 40 + '"\n', "another version"),
        ("#" * 100_000, "100,000 bytes"),
        ("\0" * 3, "NUL"),
    ],
)
def test_a_hostile_request_is_ignored(stage: Stage, text: str, why: str) -> None:
    stage.scene.merge({path("one"): action("one")}, "Add one")
    stage.start()
    stage.runs(1)
    filled = text.replace("{blob}", blob_of(stage, "one"))
    stage.scene.merge({request_path("one"): filled}, "Hostile")

    @eventually
    def ignored() -> None:
        state, reason = state_of(stage, "one")
        assert state == "ignored"
        assert why in reason

    ignored()
    assert not stage.scheduler.cancelled
    (key,) = stage.scheduler.running()
    stage.scheduler.end(key)
    assert stage.result("one")["verdict"] == "succeeded"


def test_requests_without_an_action_or_after_a_result_mean_nothing(stage: Stage) -> None:
    stage.scene.merge({path("one"): action("one")}, "Add one")
    stage.once()
    pull(stage)
    many = {
        request_path(f"none-{number}"): CancelRequest(action_id=f"none-{number}", blob="c" * 40)
        .to_toml()
        .decode()
        for number in range(3_000)
    }
    stage.scene.merge({**many, **request(stage, "one")}, "Too late, and many")
    stage.scene.merge({path("two"): action("two")}, "Add two")
    stage.once()
    results = stage.scene.results()
    assert {i: r["verdict"] for i, r in results.items()} == {"one": "succeeded", "two": "succeeded"}
    assert stage.watch.last is not None
    assert not stage.watch.last.cancels


def test_a_request_that_is_taken_back_in_time_cancels_nothing(stage: Stage) -> None:
    stage.scene.merge({path("high"): action("high", formula="danger")}, "Add high", sign=True)
    stage.start()
    stage.runs(1)
    stage.scene.merge(request(stage, "high"), "Cancel high")

    @eventually
    def pending() -> None:
        assert state_of(stage, "high")[0] == "waiting"

    pending()
    stage.scene.remove(request_path("high"))

    @eventually
    def gone() -> None:
        assert stage.watch.last is not None
        assert not stage.watch.last.cancels

    gone()
    assert not stage.scheduler.cancelled


def test_a_run_whose_file_was_withdrawn_can_be_cancelled(stage: Stage) -> None:
    """The claim knows what runs; the file need not be there."""
    stage.scene.merge({path("one"): action("one")}, "Add one")
    stage.start()
    stage.runs(1)
    asked = request(stage, "one")
    stage.scene.remove(path("one"))
    stage.scene.merge(asked, "Cancel one")
    assert stage.result("one")["verdict"] == "cancelled"


def test_the_archive_takes_the_request_along(stage: Stage) -> None:
    from dispatcher.loop.archive import Archive

    stage.scene.merge({path("high"): action("high", formula="danger")}, "Add high")
    stage.scene.merge(request(stage, "high"), "Cancel high", sign=True)
    stage.once()
    repo = stage.components.repo
    from dispatcher.ops_repo import Tree

    tree = Tree()
    repo.advance(tree, repo.fetch().commit)
    archive = Archive(repo, after_days=0)
    due = archive.due(tree, now=4e9)
    (published,) = archive.move(due)
    assert sorted(p.rpartition("/")[2] for p in published.written) == [
        "high.cancel.toml",
        "high.result.json",
        "high.toml",
    ]
    repo.advance(tree, repo.fetch().commit)
    assert not tree.cancels
    assert not tree.misnamed
