"""Whatever goes wrong with one action, the loop goes on and the action beside it gets its result.

An error that nobody expected is raised for one action in every step of every kind, and wherever else
the loop handles single actions. The kinds of steps come from the code: a new one without a case
here fails.
"""

from __future__ import annotations

import sqlite3
import typing
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest

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
from tests.support.broken_step import (
    BAD,
    Broken,
    bring_about,
    goes_through,
    is_told,
    start_with,
    the_other_one_ends,
)
from tests.support.stage import Stage, action, eventually, path
from tests.support.thorough import some

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


@pytest.mark.parametrize("kind", sorted(EFFECTS))
@pytest.mark.parametrize(
    "error", some(ERRORS[:2], always=ERRORS[:1]), ids=lambda e: type(e).__name__
)
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
    """Vault is away for the first revocation of the bad one's grant, so that a step of its own is needed."""

    class Grants:
        def __init__(self) -> None:
            self.left = 1

        def __getattr__(self, name: str) -> Any:
            return getattr(components.grants, name)

        def revoke(self, grant: Any) -> None:
            claim = components.ledger.get(BAD)
            if self.left and claim is not None and claim.grant == grant:
                self.left -= 1
                raise Unavailable(Dependency.VAULT, "vault is away")
            components.grants.revoke(grant)

    return Grants()


@pytest.mark.parametrize("error", some(ERRORS, always=ERRORS[1:4]), ids=lambda e: type(e).__name__)
def test_any_error_of_a_step(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    broken = Broken(Launching.launch, of_step, error)
    monkeypatch.setattr(Launching, "launch", broken)
    start_with(stage, action(BAD))
    the_other_one_ends(stage)
    is_told(stage, error)
    goes_through(stage, broken)


@pytest.mark.parametrize(
    "kind", some(sorted({*EFFECTS, *PUBLISHED}), always=["Launch", "Publish", "Reject", "Revoke"])
)
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
    "vet": Place(intake, "effective_tier", lambda _policy, action, *_: action.id),
    "judge": Place(answers, "same", lambda now, _asked: now.action_id),
    "judged": Place(steps.Steps, "_judged", lambda _self, question, *_: question.action_id),
    "know": Place(steps.Steps, "know", lambda _self, claim: claim.key.action_id),
    "reconcile": Place(reconcile, "_of_candidate", lambda c, **_: c.key.action_id),
    "reconcile claim": Place(reconcile, "_of_claim", lambda _world, claim: claim.key.action_id),
    "spec": Place(launching, "spec_of", lambda candidate, **_: candidate.key.action_id),
    "result": Place(ending, "of_run", lambda claim, *_, **__: claim.key.action_id),
    "rejection": Place(steps, "of_rejection", lambda step, **_: step.action_id),
}


def test_one_that_cannot_be_vetted_keeps_no_newer_one_from_its_lock(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = PLACES["vet"]
    broken = Broken(getattr(place.module, place.name), place.about, RuntimeError("a defect"))
    monkeypatch.setattr(place.module, place.name, broken)
    stage.scheduler.ends_at_once = True
    stage.scene.merge({path(BAD): action(BAD, more='lock = "web"')}, "One of which vetting fails")
    stage.start()

    @eventually
    def failed_twice() -> None:
        assert [what for what, _ in stage.watch.events].count("defect") >= 2

    failed_twice()
    stage.scene.merge({path("good"): action("good", more='lock = "web"')}, "A newer one")
    assert stage.result("good")["verdict"] == "succeeded"


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
