"""The notifier over states of a service, with a clock: what is made of them, once."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import tenacity

from dispatcher.decide.steps import Plan, Wait
from dispatcher.decide.world import Candidate
from dispatcher.errors import Dependency
from dispatcher.model.health import ForeignResult, Outage, WaitingFor
from dispatcher.model.notice import Condition, Notice
from dispatcher.model.run import Claim, Phase, RunKey
from dispatcher.model.verdicts import Verdict
from dispatcher.notify.conditions import DOWN_AFTER_S
from dispatcher.notify.notifier import Notifier
from dispatcher.notify.store import Store
from dispatcher.status.tracker import Silent, Status, waiting_status
from tests.support.notices import NOTICES, result, sink

START = 1_772_366_400.0
SINK = sink(on=[condition.value for condition in Condition], per_minute=600)

eventually = tenacity.retry(
    stop=tenacity.stop_after_delay(20), wait=tenacity.wait_fixed(0.02), reraise=True
)


class World:
    """A notifier, what its sink took, and the state that it is shown.

    Attributes:
        now: the clock.
        state: laid over by ``show``.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.now, self.sent = folder, START, list[Notice]()
        self.state = replace(waiting_status("me", {}), head="c" * 40)

    def send(self, notice: Notice) -> str:
        self.sent.append(notice)
        return ""

    def notifier(self, store: Store | None = None) -> Notifier:
        return Notifier(
            [SINK],
            store=store or Store(self.folder),
            notices=NOTICES,
            open_sink=lambda _settings: self,
            tracker=Silent(),
            wall=lambda: self.now,
        )

    def show(self, *states: Status) -> list[str]:
        """Show states to a new notifier, as a process that starts, and ends when all is sent; the
        titles of what it sent.
        """
        self.sent = []
        for state in states or (self.state,):
            with self.notifier() as notifier:
                notifier.event("leading", name="me")
                notifier.status(state)
        return [each.title for each in self.sent]


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def down(since: float) -> dict[Dependency, Outage]:
    return {Dependency.VAULT: Outage(since=since, error="refused", tries=1, again_at=0.0)}


def waits(*action_ids: str, blob: str = "b" * 40) -> dict[str, object]:
    keys = [RunKey(action_id=i, blob=blob) for i in action_ids]
    return {
        "plan": Plan(
            steps=(),
            waits=tuple(
                Wait(action_id=i, waiting_for=WaitingFor.APPROVAL, reason="by ada")
                for i in action_ids
            ),
        ),
        "candidates": {key.action_id: Candidate(key=key, order=1) for key in keys},
    }


def test_a_wait_is_told_once_for_each_content(world: World) -> None:
    first = replace(world.state, **waits("a", "b"))
    other = replace(world.state, **waits("a", blob="c" * 40))
    assert sorted(world.show(first, first)) == ["a waits for approval", "b waits for approval"]
    assert world.show(first, other) == ["a waits for approval"]


def test_other_waits_are_nobodys_business(world: World) -> None:
    wait = Wait(action_id="a", waiting_for=WaitingFor.PLACE, reason="full")
    state = replace(world.state, **{**waits("a"), "plan": Plan(steps=(), waits=(wait,))})
    assert world.show(state) == []


def test_an_emergency_is_told_once_also_after_a_restart(world: World) -> None:
    key = RunKey(action_id="deploy-1", blob="b" * 40)
    plain = Claim(key=replace(key, action_id="other"), phase=Phase.CLAIMED, commit="c")
    marked = Claim(key=key, phase=Phase.CLAIMED, commit="c", emergency="shop is down (overrides x)")
    first = replace(world.state, claims={"deploy-1": marked, "other": plain})
    later = replace(first, claims={"deploy-1": replace(marked, phase=Phase.SUBMITTED)})
    assert world.show(first, later) == ["deploy-1 starts in a freeze, as an emergency"]
    assert world.show(later) == []


def test_an_ended_run_and_a_foreign_result_are_told_once(world: World) -> None:
    text = result(verdict=Verdict.LOST).to_json()
    key = RunKey(action_id="deploy-1", blob="b" * 40)
    claim = Claim(key=key, phase=Phase.ENDED, commit="c", result=text)
    closed = replace(
        claim,
        key=replace(key, action_id="closed"),
        result=result("closed", Verdict.LOST).to_json(),
        stopped=True,
    )
    odd = replace(claim, key=replace(key, action_id="odd"), result="{}")
    foreign = ForeignResult(action_id="x", path="p", commit="c", oid="o", reason="r")
    state = replace(
        world.state,
        claims={each.key.action_id: each for each in (claim, closed, odd)},
        foreign=(foreign,),
    )
    told = world.show(state, state)
    assert len(told) == 2
    assert "deploy-1 is lost" in "".join(told)
    assert "x in git is not signed" in "".join(told)


def test_an_outage_is_told_once_across_restarts_and_its_end_when_it_is_known(
    world: World,
) -> None:
    outage = replace(world.state, outages=down(START))
    world.now += DOWN_AFTER_S
    assert world.show(outage, outage) == ["vault is down"]
    blind = waiting_status("me", {})
    for _ in range(3):
        world.now += DOWN_AFTER_S
        assert world.show(blind) == [], "nothing was asked yet"
    assert world.show(world.state) == []
    world.now += DOWN_AFTER_S
    assert world.show(world.state) == ["vault is up again"]
    assert world.show(world.state) == []


def test_who_does_not_lead_tells_nothing(world: World) -> None:
    with world.notifier() as notifier:
        notifier.status(replace(world.state, **waits("a")))
    assert world.sent == []
    assert Store(world.folder).states() == {}


class Broken(Store):
    """A store that fails until it is mended."""

    broken = True

    def add(self, *args: object, **kwargs: object) -> int:
        if self.broken:
            raise sqlite3.OperationalError("disk I/O error")
        add: Callable[..., int] = super().add
        return add(*args, **kwargs)


def test_what_could_not_be_written_down_is_written_down_later(world: World) -> None:
    store = Broken(world.folder)
    with world.notifier(store) as notifier:
        notifier.event("leading", name="me")
        notifier.record(result())
        assert "disk I/O error" in notifier.warnings()[-1]
        store.broken = False

        @eventually
        def sent() -> None:
            assert [each.action for each in world.sent] == ["deploy-1"]
            assert notifier.warnings() == ()

        sent()
