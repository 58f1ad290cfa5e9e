"""Two installations on one ops repo, each with a ledger of its own: one of them starts runs."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from dispatcher.errors import Conflict, Dependency, Unavailable
from dispatcher.loop.leader import CopiedLedger, LedBySomeoneElse
from dispatcher.ops_repo import LeadRef
from tests.servers.bao import Bao
from tests.support.lead_stage import LEAD, followed, lead, led, outage, refuses, starts, waits
from tests.support.stage import Stage, action, eventually, path, set_stage


@pytest.fixture
def stages(bao_server: Bao, tmp_path: Path) -> Iterator[list[Stage]]:
    """One installation; tests add others to the list, and all are stopped."""
    stages = [set_stage(tmp_path, bao_server, ops_repo={"poll_interval_s": 0.2})]
    yield stages
    for stage in stages:
        stage.stop()


@pytest.fixture
def first(stages: list[Stage]) -> Stage:
    return stages[0]


@pytest.fixture
def second(stages: list[Stage], tmp_path: Path) -> Stage:
    """Another installation on the same ops repo, as a copied configuration makes it."""
    stages.append(stages[0].beside(tmp_path / "second"))
    return stages[1]


def test_of_two_with_separate_state_one_starts_each_action(first: Stage, second: Stage) -> None:
    names = [f"a{n}" for n in range(30)]
    for stage in (first, second):
        stage.scheduler.ends_at_once = True
        stage.start()
    first.scene.merge({path(n): action(n) for n in names}, "Add thirty")
    for name in names:
        first.result(name)
    assert starts(first, second) == dict.fromkeys(names, 1)


def test_who_comes_second_starts_nothing_and_says_who_leads(first: Stage, second: Stage) -> None:
    first.start()
    led(first)
    second.start()
    refuses(second)
    record = first.components.repo.lead.fetch_record(lead(first))
    assert record is not None
    for known in (record.instance, record.host, record.since, "disinto takeover"):
        assert known in outage(second)
    first.scene.merge({path("one"): action("one"), path("bad"): "no TOML"}, "Add two")
    waits(second, "one", "bad")
    first.runs(1)
    assert starts(second) == {}
    assert first.result("bad")["verdict"] == "invalid"


def test_whoever_takes_over_leads_and_the_other_only_finishes(first: Stage, second: Stage) -> None:
    first.start()
    led(first)
    first.scene.merge({path("long"): action("long")}, "Add long")
    first.runs(1)
    second.start()
    refuses(second)
    second.components.leadership.take_over(lead(first), who="ada")
    refuses(first)
    led(second)
    first.scheduler.end(first.scheduler.running()[0])
    assert first.result("long")["verdict"] == "succeeded", "what runs is finished and published"
    second.scheduler.ends_at_once = True
    first.scene.merge({path("late"): action("late")}, "Add late")
    assert first.result("late")["verdict"] == "succeeded"
    assert (starts(first)["late"], starts(second)["late"]) == (0, 1)


def test_who_lost_the_lead_does_not_lead_again_after_a_restart(first: Stage, second: Stage) -> None:
    first.start()
    led(first)
    first.stop()
    second.components.leadership.take_over(lead(first), who="ada")
    second.start()
    led(second)
    second.stop()
    first.start()
    refuses(first)
    first.stop()
    second.start()
    led(second)


def test_restarts_and_replicas_of_one_installation_need_no_takeover(first: Stage) -> None:
    values = [""]
    for _ in range(3):
        first.start()

        @eventually
        def led_anew() -> None:
            assert lead(first) not in values, "each process has an epoch of its own"

        led_anew()
        led(first)
        values.append(lead(first))
        first.stop()


def test_replicas_that_share_a_ledger_follow_each_other(first: Stage, stages: list[Stage]) -> None:
    replica = Stage(first.scene)
    replica.scheduler = first.scheduler
    stages.append(replica)
    first.start()
    led(first)
    replica.start()
    first.stop()
    led(replica)


def test_a_copied_state_directory_touches_nothing(
    first: Stage, stages: list[Stage], tmp_path: Path
) -> None:
    """Also not what its ledger says is running: that belongs to the original."""
    first.scene.merge({path("long"): action("long"), path("x"): action("x")}, "Add two")
    first.start()
    first.runs(2)
    state = first.components.settings.state_dir
    # It is written meanwhile: a journal may be gone before it is copied.
    shutil.copytree(state, tmp_path / "copy", ignore=shutil.ignore_patterns("*-journal"))
    copy = first.beside(tmp_path / "copy")
    stages.append(copy)
    before = copy.components.ledger.open_runs()
    copy.start()
    refuses(copy, "it is a copy")
    assert str(state) in outage(copy)
    first.scheduler.end(first.scheduler.running()[0])
    first.runs(1)
    assert (starts(copy), copy.scheduler.cancelled, copy.scheduler.observe_calls) == ({}, [], 0)
    assert copy.components.ledger.open_runs() == before
    with pytest.raises(CopiedLedger):
        copy.components.leadership.check()


def test_a_copy_stays_one_if_the_ref_is_gone(
    first: Stage, stages: list[Stage], tmp_path: Path
) -> None:
    first.start()
    led(first)
    first.stop()
    shutil.copytree(first.components.settings.state_dir, tmp_path / "copy")
    first.scene.git("update-ref", "-d", LEAD, cwd=first.scene.remote)
    copy = first.beside(tmp_path / "copy")
    stages.append(copy)
    copy.start()
    refuses(copy, "it is a copy")
    copy.components.leadership.take_over(None, who="ada")
    led(copy)
    first.start()
    refuses(first)


def test_an_old_copy_that_is_put_back_in_its_place_does_not_lead(
    first: Stage, tmp_path: Path
) -> None:
    """Written over the newer files, so that path and inodes are the same."""
    state = first.components.settings.state_dir
    first.start()
    led(first)
    first.stop()
    with closing(sqlite3.connect(state / "ledger.db")) as ledger:
        old = sqlite3.connect(tmp_path / "old.db")
        ledger.backup(old)
        followed(first.start(), first)
        first.stop()
        old.backup(ledger)
        old.close()
    first.start()
    refuses(first)


def test_an_ops_repo_of_before_needs_no_takeover(first: Stage, second: Stage) -> None:
    """Its results were made by somebody else, and no ref says so."""
    first.scheduler.ends_at_once = True
    first.scene.merge({path("old"): action("old")}, "Add old")
    first.once()
    first.scene.git("update-ref", "-d", LEAD, cwd=first.scene.remote)
    second.start()
    led(second)
    first.scene.merge({path("new"): action("new")}, "Add new")
    second.runs(1)
    assert starts(second) == {"new": 1}


@pytest.mark.parametrize("answered", [True, False])
@pytest.mark.parametrize("refs", [0, 1])
def test_a_death_around_the_push_locks_nobody_out(
    first: Stage, monkeypatch: pytest.MonkeyPatch, refs: int, *, answered: bool
) -> None:
    """Killed between record and push, and between push and its record, at the first start and later."""

    class Killed(BaseException):
        pass

    leadership = first.components.leadership
    for _ in range(refs):
        Stage(first.scene).components.leadership.confirm()
    push = type(leadership._ref).push

    def killed(*args: object, **facts: object) -> bool:
        if answered:
            push(*args, **facts)  # type: ignore[arg-type]
        raise Killed

    for _ in range(3):
        with monkeypatch.context() as patched:
            patched.setattr(type(leadership._ref), "push", killed)
            with pytest.raises(Killed):
                Stage(first.scene).components.leadership.confirm()
    first.start()
    led(first)


def test_two_that_begin_at_once_do_not_both_lead(first: Stage, second: Stage) -> None:
    """The second one's look came before the first one's push."""
    read = second.components.repo.lead.read

    def late() -> str | None:
        value = read()
        first.components.leadership.confirm()
        return value

    second.components.repo.lead.read = late  # type: ignore[method-assign]
    with pytest.raises(LedBySomeoneElse):
        second.components.leadership.confirm()


def test_a_takeover_on_the_word_of_an_old_look_changes_nothing(first: Stage, second: Stage) -> None:
    first.components.leadership.confirm()
    with pytest.raises(Conflict):
        second.components.leadership.take_over(None, who="ada")
    first.components.leadership.check()


def test_without_the_remote_nothing_is_said_of_the_lead(first: Stage) -> None:
    first.scene.remote.rename(first.scene.remote.with_name("away.git"))
    first.start()

    @eventually
    def down() -> None:
        assert first.watch.last is not None
        assert set(first.watch.last.outages) == {Dependency.REMOTE}

    down()
    first.scene.remote.with_name("away.git").rename(first.scene.remote)
    led(first)


def test_a_remote_that_goes_away_later_stops_no_launch(first: Stage) -> None:
    """What was approved before is started, as ever; only its result has to wait."""
    first.start()
    led(first)
    names = [f"a{n}" for n in range(5)]
    first.scene.merge({path(n): action(n) for n in names}, "Add five")
    first.runs(3)
    first.scene.remote.rename(first.scene.remote.with_name("away.git"))

    @eventually
    def down() -> None:
        assert first.watch.last is not None
        assert first.watch.last.outages[Dependency.REMOTE].tries > 2

    down()
    for key in first.scheduler.running():
        first.scheduler.end(key)
    first.runs(2)
    first.scene.remote.with_name("away.git").rename(first.scene.remote)


def test_pushes_that_never_end_stop_no_launch_of_who_led_before(
    first: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    first.components.leadership.confirm()
    value = lead(first)

    def hangs(*_args: object, **_facts: object) -> bool:
        raise Unavailable(Dependency.REMOTE, "git push did not end in 60 s")

    monkeypatch.setattr(LeadRef, "push", hangs)
    first.scene.merge({path("one"): action("one")}, "Add one")
    first.start()
    first.runs(1)
    assert lead(first) == value


def test_check_changes_nothing(first: Stage, second: Stage) -> None:
    first.components.leadership.check()
    assert lead(first) == ""
    assert first.components.ledger.note("lead") is None
    first.components.leadership.confirm()
    with pytest.raises(Unavailable, match="another installation leads"):
        second.components.leadership.check()
    assert second.components.ledger.note("lead") is None
