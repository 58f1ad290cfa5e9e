"""An action that cannot be submitted ends, and holds up no other."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dispatcher.assembly import build_service
from dispatcher.engines.base import CannotSubmit
from dispatcher.engines.local.scheduler import LocalScheduler
from dispatcher.errors import Misconfigured
from dispatcher.loop.components import Components
from dispatcher.model.run import RunSpec, WrappedGrant
from dispatcher.model.verdicts import Verdict
from tests.servers.bao import Bao
from tests.support.evidence import live_grants
from tests.support.stage import Stage, action, eventually, path, set_stage

pytestmark = pytest.mark.needs("bao")

BAD = ("bad-1", "bad-2")


class Picky:
    """A scheduler that fails for some actions, each time in the same way."""

    def __init__(self, inner: Any, error: Exception) -> None:
        self._inner, self._error = inner, error
        self.tries: dict[str, int] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def submit(self, spec: RunSpec, grant: WrappedGrant, *, again: bool = False) -> str:
        if spec.key.action_id in BAD:
            self.tries[spec.key.action_id] = self.tries.get(spec.key.action_id, 0) + 1
            raise self._error
        return str(self._inner.submit(spec, grant, again=again))


@pytest.fixture
def stage(bao_server: Bao, tmp_path: Path) -> Iterator[Stage]:
    stage = set_stage(tmp_path, bao_server, limits={"max_in_flight": 2})
    yield stage
    stage.stop()


def picky(stage: Stage, error: Exception) -> Picky:
    scheduler = Picky(stage.scheduler, error)

    def change(components: Components) -> Components:
        return replace(components, scheduler=scheduler)

    stage.change = change
    return scheduler


def ask_for(stage: Stage) -> None:
    stage.scene.merge({path(i): action(i, more="priority = 1") for i in BAD}, "Ask")
    stage.scene.merge({path("good"): action("good")}, "Ask")


def test_two_that_can_never_be_submitted(stage: Stage, bao_server: Bao) -> None:
    """They take both places; a third goes on all the same, and nothing of them is left."""
    scheduler = picky(stage, ValueError("embedded null byte, and who knows what"))
    stage.scheduler.ends_at_once = True
    ask_for(stage)
    stage.start()
    assert stage.result("good")["verdict"] == Verdict.SUCCEEDED
    for action_id in BAD:
        result = stage.result(action_id)
        assert result["verdict"] == Verdict.ERROR
        assert "could not be submitted 3 times in a row: ValueError" in str(result["error"])
        assert "who knows" not in str(result["error"])
    assert scheduler.tries == dict.fromkeys(BAD, 3)
    stage.at_rest()
    assert live_grants(bao_server, BAD) == []


def test_what_is_wrong_with_the_input_is_said_at_once(stage: Stage, bao_server: Bao) -> None:
    error = CannotSubmit("too long", verdict=Verdict.INVALID)
    scheduler = picky(stage, error)
    stage.scheduler.ends_at_once = True
    ask_for(stage)
    stage.once()
    for action_id in BAD:
        assert stage.result(action_id)["verdict"] == Verdict.INVALID
    assert stage.result("good")["verdict"] == Verdict.SUCCEEDED
    assert scheduler.tries == dict.fromkeys(BAD, 1)
    assert live_grants(bao_server, BAD) == []


def test_no_grant_waits_for_the_person_who_mends_a_setting(stage: Stage, bao_server: Bao) -> None:
    scheduler = picky(stage, Misconfigured("mend me"))
    stage.scene.merge({path(i): action(i) for i in BAD}, "Ask")
    stage.start()

    @eventually
    def tried_again() -> None:
        assert all(scheduler.tries.get(i, 0) >= 2 for i in BAD)
        # Not the grant itself; of its wrapping one for each says that it was never used.
        assert live_grants(bao_server, BAD) == []

    tried_again()
    stage.stop()
    stage.change = lambda components: components
    stage.once()
    for action_id in BAD:
        assert stage.result(action_id)["verdict"] == Verdict.SUCCEEDED


def test_tools_that_make_a_long_name(bao_server: Bao, tmp_path: Path) -> None:
    """What an action fills into the agent command is looked at by no one as a path."""
    agent = tmp_path / "agent"
    agent.write_text('#!/bin/sh\ncat >/dev/null; echo "$#"\n')
    agent.chmod(0o755)
    command = [str(agent), "--tools", "/tmp/{tools}", "{model}"]
    stage = set_stage(
        tmp_path / "stage", bao_server, limits={"max_in_flight": 2}, agent={"command": command}
    )
    (stage.scene.formulas / "agent.toml").write_text("x = 1\n")
    policy = stage.components.settings.policy.file
    assert policy is not None
    policy.write_text('[tiers]\nhello = "low"\nagent = "low"\n')
    tools = ", ".join(f'"{letter * 150}"' for letter in "ab")
    more = f'model = "/tmp/../etc/hostname"\ntools = [{tools}]'
    stage.scene.merge({path(i): action(i, formula="agent", more=more) for i in BAD}, "Ask")
    stage.scene.merge({path("good"): action("good")}, "Ask")

    def change(components: Components) -> Components:
        return replace(
            components, scheduler=LocalScheduler(components.settings, wake=components.wake)
        )

    stage.change = change
    build_service(stage._components(), stage.watch).run(once=True)
    for action_id in (*BAD, "good"):
        result = stage.result(action_id)
        assert result["verdict"] == Verdict.SUCCEEDED, result
