"""Whatever goes wrong with one action, the loop goes on and the action beside it gets its result.

An error that nobody expected is raised for one action in every step of every kind, and wherever else
the loop handles single actions. The kinds of steps come from the code: a new one without a case
here fails.
"""

from __future__ import annotations

import sqlite3
import typing
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from dispatcher.assembly import build_view
from dispatcher.decide import reconcile
from dispatcher.decide.steps import Step
from dispatcher.errors import Dependency, Unavailable
from dispatcher.loop import answers, intake, steps
from dispatcher.loop.components import Components
from dispatcher.loop.effects import ending, launching
from dispatcher.loop.effects.cancelling import Cancelling
from dispatcher.loop.effects.ending import Ending
from dispatcher.loop.effects.judging import Judging
from dispatcher.loop.effects.launching import Launching
from dispatcher.loop.steps import Steps
from dispatcher.model.run import Outcome, Verdict
from dispatcher.ops_repo import NewFile
from dispatcher.status.snapshot import Trackers
from dispatcher.status.tracker import Silent, Status
from tests.servers.bao import Bao
from tests.support.stage import Stage, action, eventually, path, set_stage

BAD, GOOD = "bad", "good"

ERRORS: tuple[Exception, ...] = (
    RuntimeError("a defect"),
    UnicodeEncodeError("utf-8", "\udcff", 0, 1, "surrogates not allowed"),
    KeyError("bad"),
    RecursionError("too deep"),
    sqlite3.OperationalError("disk I/O error"),
    OSError(28, "No space left on device"),
    ZeroDivisionError(),
    ValueError("\udcff is no text"),
    AssertionError(),
)

KINDS = [kind.__name__ for kind in typing.get_args(Step)]


@pytest.fixture
def stage(bao_server: Bao, tmp_path: Path) -> Iterator[Stage]:
    stage = set_stage(tmp_path, bao_server)
    yield stage
    stage.stop()


class Broken:
    """A function that raises for the bad action for as long as it is armed."""

    def __init__(
        self, call: Callable[..., Any], about: Callable[..., str], error: Exception
    ) -> None:
        self.call, self.about, self.error = call, about, error
        self.armed, self.hits = True, 0

    def __get__(self, instance: Any, owner: Any) -> Any:
        return self if instance is None else lambda *a, **k: self(instance, *a, **k)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self.armed and self.about(*args, **kwargs) == BAD:
            self.hits += 1
            raise self.error
        return self.call(*args, **kwargs)


def of_step(_self: Any, step: Step, **_: Any) -> str:
    return step.action_id


EFFECTS: dict[str, tuple[Any, str, Callable[..., str]]] = {
    "Ask": (Judging, "ask", lambda _self, question, **_: question.action_id),
    "Reject": (Judging, "reject", lambda _self, result, **_: result.id),
    "Launch": (Launching, "launch", of_step),
    "ResolveOrphan": (Launching, "resolve_orphan", of_step),
    "Conclude": (Ending, "conclude", of_step),
    "Revoke": (Ending, "revoke", of_step),
    "StopSuperseded": (Cancelling, "stop_superseded", of_step),
    "Cancel": (Cancelling, "cancel", of_step),
    "Retire": (Ending, "retire", of_step),
    "Inspect": (steps, "inspect", lambda _components, claim, *_: claim.key.action_id),
    "Restore": (Ending, "restore", of_step),
}
"""Where the function stands that carries out a kind, and whose action a call is about."""

PUBLISHED = {"Publish"}
"""Kinds that the writer of results carries out: see the tests of ``publish``."""


def test_every_kind_of_step_has_a_case() -> None:
    assert set(KINDS) == EFFECTS.keys() | PUBLISHED


def text_for(kind: str) -> str:
    """The bad action's file, such that a step of this kind comes up."""
    return "id = 1\n" if kind == "Reject" else action(BAD)


def bring_about(stage: Stage, kind: str) -> None:
    """Whatever this kind needs beside a launched action."""
    if kind in ("Ask", "Reject", "Launch"):
        return

    @eventually
    def running() -> None:
        assert BAD in {key.action_id for key in stage.scheduler.running()}

    running()
    key = next(k for k in stage.scheduler.running() if k.action_id == BAD)
    if kind == "ResolveOrphan":
        stage.scheduler.lose(key)
    elif kind == "StopSuperseded":
        stage.scene.git("pull", "--quiet", "--rebase", "origin", "main")
        stage.scene.merge(
            {f"vault/actions/{BAD}.result.json": stage.signed_result(BAD)}, "As it was"
        )
    elif kind == "Cancel":
        stage.scene.git("pull", "--quiet", "--rebase", "origin", "main")
        blob = stage.scene.git("hash-object", f"vault/actions/{BAD}.toml")
        asked = f'id = "{BAD}"\nblob = "{blob}"\n'
        stage.scene.merge({f"vault/actions/{BAD}.cancel.toml": asked}, "Cancel it")
    elif kind == "Restore":
        stage.scheduler.end(key)
        stage.result(BAD)
        released(stage)
        stage.scene.remove(f"vault/actions/{BAD}.result.json")
    elif kind == "Inspect":
        stage.scene.git("pull", "--quiet", "--rebase", "origin", "main")
        stage.scene.merge({f"vault/actions/{BAD}.result.json": "{}"}, "Forge a result")
    else:
        stage.scheduler.end(key)


@eventually
def released(stage: Stage) -> None:
    """Its result is in git and remembered, so its claim is let go."""
    assert BAD not in {c.key.action_id for c in stage.components.ledger.open_runs()}


def the_other_one_ends(stage: Stage) -> None:
    @eventually
    def running() -> None:
        assert GOOD in {key.action_id for key in stage.scheduler.running()}

    running()
    key = next(k for k in stage.scheduler.running() if k.action_id == GOOD)
    stage.scheduler.end(key)
    assert stage.result(GOOD)["verdict"] == "succeeded"


def is_told(stage: Stage, error: Exception) -> None:
    """The bad one is shown with the error; it backs off, and no dependency is called down."""

    @eventually
    def told() -> None:
        last = stage.watch.last
        assert last is not None
        assert type(error).__name__ in last.failures[BAD]
        assert last.outages == {}

    told()
    defects = [facts for name, facts in stage.watch.events if name == "defect"]
    assert any(facts["error"] is error and facts.get("action", BAD) == BAD for facts in defects)


def goes_through(stage: Stage, broken: Broken) -> None:
    """Once the defect is gone, so is the trouble."""
    assert broken.hits
    broken.armed = False
    broken_ends(stage)


@eventually
def broken_ends(stage: Stage) -> None:
    for key in stage.scheduler.running():
        stage.scheduler.end(key)
    assert BAD in stage.scene.results()
    last = stage.watch.last
    assert last is not None
    assert BAD not in last.failures


def start_with(stage: Stage, bad: str) -> None:
    stage.scene.merge({path(BAD): bad, path(GOOD): action(GOOD)}, "Add two")
    stage.start()


@pytest.mark.parametrize("kind", sorted(EFFECTS))
@pytest.mark.parametrize("error", ERRORS[:2], ids=lambda e: type(e).__name__)
def test_a_step_that_fails_on_its_thread(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, kind: str, error: Exception
) -> None:
    place, name, about = EFFECTS[kind]
    broken = Broken(getattr(place, name), about, error)
    monkeypatch.setattr(place, name, broken)
    if kind == "Revoke":
        stage.change = lambda components: replace(
            components, grants=_cannot_revoke_at_once(components)
        )
    start_with(stage, text_for(kind))
    bring_about(stage, kind)
    the_other_one_ends(stage)
    is_told(stage, error)
    goes_through(stage, broken)


def _cannot_revoke_at_once(components: Components) -> Any:
    """Vault is away for one revocation, so that a step of its own is needed."""

    class Grants:
        def __init__(self) -> None:
            self.left = 1

        def __getattr__(self, name: str) -> Any:
            return getattr(components.grants, name)

        def revoke(self, grant: Any) -> None:
            if self.left:
                self.left -= 1
                raise Unavailable(Dependency.VAULT, "vault is away")
            components.grants.revoke(grant)

    return Grants()


@pytest.mark.parametrize("error", ERRORS, ids=lambda e: type(e).__name__)
def test_any_error_of_a_step(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    broken = Broken(Launching.launch, of_step, error)
    monkeypatch.setattr(Launching, "launch", broken)
    start_with(stage, action(BAD))
    the_other_one_ends(stage)
    is_told(stage, error)
    goes_through(stage, broken)


@pytest.mark.parametrize("kind", sorted({*EFFECTS, *PUBLISHED}))
def test_a_step_that_fails_before_it_begins(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """On the loop's own thread."""
    error = RuntimeError("a defect")
    broken = Broken(
        Steps._begin,
        lambda _self, step: step.action_id if type(step).__name__ == kind else "",
        error,
    )
    monkeypatch.setattr(Steps, "_begin", broken)
    if kind == "Revoke":
        stage.change = lambda components: replace(
            components, grants=_cannot_revoke_at_once(components)
        )
    start_with(stage, text_for(kind))
    bring_about(stage, kind)
    the_other_one_ends(stage)
    is_told(stage, error)
    goes_through(stage, broken)


@dataclass(frozen=True)
class Place:
    """A function that handles single actions, outside the steps."""

    module: Any
    name: str
    about: Callable[..., str]


PLACES = {
    "parse": Place(intake, "parse_action", lambda *_, stem, **__: stem),
    "vet": Place(intake, "effective_tier", lambda _policy, action: action.id),
    "judge": Place(answers, "same", lambda now, _asked: now.action_id),
    "judged": Place(steps.Steps, "_judged", lambda _self, question, *_: question.action_id),
    "know": Place(steps.Steps, "know", lambda _self, claim: claim.key.action_id),
    "reconcile": Place(reconcile, "_of_candidate", lambda c, **_: c.key.action_id),
    "reconcile claim": Place(reconcile, "_of_claim", lambda _world, claim: claim.key.action_id),
    "spec": Place(launching, "spec_of", lambda candidate, **_: candidate.key.action_id),
    "result": Place(ending, "of_run", lambda claim, *_, **__: claim.key.action_id),
    "rejection": Place(steps, "of_rejection", lambda step, **_: step.action_id),
}


@pytest.mark.parametrize("where", sorted(PLACES))
def test_an_action_that_fails_elsewhere(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    place, error = PLACES[where], RuntimeError("a defect")
    broken = Broken(getattr(place.module, place.name), place.about, error)
    monkeypatch.setattr(place.module, place.name, broken)
    start_with(stage, "id = 1\n" if where == "rejection" else action(BAD))
    if where == "result":
        bring_about(stage, "Conclude")
    the_other_one_ends(stage)
    is_told(stage, error)
    goes_through(stage, broken)


def test_a_result_that_cannot_be_signed(stage: Stage) -> None:
    error = KeyError("no key")
    sealed: list[Broken] = []

    def change(components: Components) -> Components:
        sealed.append(Broken(components.seal, lambda entry: entry.action_id, error))
        return replace(components, seal=sealed[-1])

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
