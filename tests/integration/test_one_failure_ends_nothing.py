"""Whatever fails for one action or for an observer, the others get their results, and the loop goes on."""

from __future__ import annotations

import typing
from dataclasses import replace
from typing import Any

import pytest

from dispatcher.assembly import build_view
from dispatcher.decide.steps import Step
from dispatcher.loop.components import Components
from dispatcher.model.run import Outcome
from dispatcher.model.verdicts import Verdict
from dispatcher.ops_repo import NewFile
from dispatcher.status.snapshot import Trackers
from dispatcher.status.tracker import Silent, Status
from tests.support.broken_step import (
    BAD,
    GOOD,
    Broken,
    bring_about,
    goes_through,
    is_told,
    start_with,
    the_other_one_ends,
)
from tests.support.stage import Stage, action, eventually

KINDS = [kind.__name__ for kind in typing.get_args(Step)]


def test_a_result_that_cannot_be_signed(stage: Stage) -> None:
    error = KeyError("no key")
    sealed: list[Broken] = []

    def change(components: Components) -> Components:
        sealed.append(Broken(components.sign_result, lambda entry: entry.action_id, error))
        return replace(components, sign_result=sealed[-1])

    stage.change = change
    start_with(stage, action(BAD))
    bring_about(stage, "Publish")
    the_other_one_ends(stage)
    is_told(stage, error)
    goes_through(stage, sealed[-1])


def test_a_result_that_cannot_be_written_holds_up_no_other_of_its_commit(stage: Stage) -> None:
    """Both are handed in together, again and again."""
    error = RuntimeError("a defect")
    published: list[Broken] = []

    def change(components: Components) -> Components:
        class Repo:
            def __getattr__(self, name: str) -> Any:
                return getattr(components.repo, name)

            def publish(self, files: tuple[NewFile, ...], **more: Any) -> Any:
                return published[-1](files, **more)

        def about(files: tuple[NewFile, ...], **_: Any) -> str:
            return BAD if any(f"/{BAD}." in file.path for file in files) else ""

        published.append(Broken(components.repo.publish, about, error))
        return replace(components, repo=Repo())

    stage.change = change
    start_with(stage, action(BAD))
    stage.runs(2)
    for key in stage.scheduler.running():
        stage.scheduler.end(key)
    assert stage.result(GOOD)["verdict"] == "succeeded"
    is_told(stage, error)
    goes_through(stage, published[-1])


def test_an_audit_log_that_fails_for_one_action(stage: Stage) -> None:
    error = RuntimeError("a defect")
    logs: list[Broken] = []

    def change(components: Components) -> Components:
        class Audit:
            def __getattr__(self, name: str) -> Any:
                return getattr(components.audit, name)

            def append(self, event: str, **facts: Any) -> None:
                logs[-1](event, **facts)

        logs.append(
            Broken(components.audit.append, lambda _event, **f: str(f.get("action")), error)
        )
        return replace(components, audit=Audit())

    stage.change = change
    start_with(stage, action(BAD))
    the_other_one_ends(stage)
    is_told(stage, error)
    goes_through(stage, logs[-1])


def test_a_run_that_ends_in_what_no_record_holds(stage: Stage) -> None:
    """Whatever an engine reports, it is that run's trouble alone."""
    start_with(stage, action(BAD))
    bring_about(stage, "Launch")

    @eventually
    def running() -> None:
        assert len(stage.scheduler.running()) == 2

    running()
    key = next(k for k in stage.scheduler.running() if k.action_id == BAD)
    odd = Outcome(
        verdict=Verdict.SUCCEEDED, exit_code=0, logs="\udcff", outputs={"x": object()},
        formula_started=True,
    )  # fmt: skip
    stage.scheduler.end(key, odd)
    the_other_one_ends(stage)


class Failing(Silent):
    """Somebody who looks on, and fails at everything."""

    def status(self, status: Status) -> None:
        raise RuntimeError("cannot count")

    def event(self, what: str, /, **facts: object) -> None:
        raise RuntimeError("cannot write")


def test_whoever_looks_on_may_fail(stage: Stage) -> None:
    """The status file, metrics and the log are told of the work; they do not stop it."""
    follower = stage.watch
    stage.watch = Trackers(Failing(), follower)  # type: ignore[assignment]
    start_with(stage, action(BAD))
    the_other_one_ends(stage)
    assert any(
        name == "defect" and facts["where"] == "watch Failing" for name, facts in follower.events
    )


def test_an_error_of_the_loop_itself_begins_it_anew(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No action is to blame: the loop starts over from what is written, as a restart would."""
    error = RuntimeError("a defect")
    start_with(stage, action(BAD))
    stage.runs(2)
    made = build_view(stage.components)
    once = iter([error])

    def candidates(self: Any) -> Any:
        for raised in once:
            raise raised
        return original(self)

    original = type(made).candidates
    monkeypatch.setattr(type(made), "candidates", candidates)
    the_other_one_ends(stage)
    assert ("defect", {"where": "loop", "error": error}) in stage.watch.events
    assert [name for name, _ in stage.watch.events].count("leading") == 2
