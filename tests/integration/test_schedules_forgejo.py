"""Schedules with gate ``forgejo``, on a real forge: whose approval a slot's action has, and what it needs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from math import ceil
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from dispatcher.cli.root import root
from dispatcher.cli.session import Session
from dispatcher.gate.caching import KEPT_S
from dispatcher.gate.forgejo import FRESH_S
from dispatcher.loop.sources import note_name
from dispatcher.model.slots import Slots
from tests.servers.bao import Bao
from tests.servers.forgejo import Forgejo
from tests.support.approval_story import Story, hooked, set_story
from tests.support.forge_stage import Stage
from tests.support.slot_ids import slot_id
from tests.support.stage import action, eventually, path

pytestmark = pytest.mark.needs("bao", "forgejo", "git")

FILE = "vault/schedules/yearly.toml"
JANUARY, APRIL, JULY = 1, 4, 7


def schedule(month: int = JANUARY, *, more: str = "") -> str:
    """Of tier high; its last slot is months ago, so that no test sees a slot pass."""
    return (
        f'cron = "0 0 2 {month} *"\ntimezone = "UTC"\ncatch_up = "last"\n\n[action]\n'
        f'formula = "danger"\ncontext = "{{slot}}"\nsecrets = []\n{more}\n'
    )


def last_slot(story: Story, month: int = JANUARY) -> str:
    """The id of its action."""
    slots = Slots(cron=f"0 0 2 {month} *", zone="UTC")
    now = datetime.now(UTC).timestamp()
    slot = slots.until(now, since=0.0, limit=1)[0]
    return slot_id(story.stage.components.settings, "yearly", slot)


@pytest.fixture
def story(forge: Forgejo, bao_server: Bao, tmp_path: Path) -> Iterator[Story]:
    story = set_story(forge, bao_server, tmp_path, attested=True)
    yield story
    story.stage.stop()


def down_for_a_year(story: Story) -> None:
    """As if the dispatcher had last looked so long ago."""
    then = datetime.now(UTC) - timedelta(days=370)
    ledger, name = story.stage.components.ledger, note_name("schedule")
    note = ledger.note(name)
    marks = json.dumps({"yearly": f"{then:%Y-%m-%dT%H:%M:%SZ}"})
    ledger.write_note(name, marks, version=note.version if note else 0)


def missed_slots_come(story: Story) -> None:
    """The dispatcher looks, and ends when there is nothing left to do."""
    down_for_a_year(story)
    story.stage.once()


def command(story: Story, *args: str) -> Any:
    session = Session(config=story.stage.scene.config)
    done = CliRunner().invoke(
        root,
        ["--config", str(story.stage.scene.config), *args],
        obj=session,
        env=story.stage.scene.environ,
    )
    assert done.exception is None or isinstance(done.exception, SystemExit), done.output
    return json.loads(done.stdout)


def listed(story: Story) -> tuple[str, str]:
    """State and reason, as ``schedule list`` has them."""
    (found,) = command(story, "schedule", "list", "--json")
    return found["state"], found["reason"] or ""


def pushed_an_hour_ago(people: Stage, files: Mapping[str, str]) -> None:
    """Straight to the main branch, and by its date so old that no request is expected for it any
    more: the gate looks for that of a fresh commit for seconds.
    """
    clone = people.clone(people.alice)
    clone.at, clone.tick = clone.at - 3600, 1
    people.push_main(people.alice, files)
    clone.use_real_time()


def in_git(story: Story) -> list[str]:
    """Names of the action files, and of their results."""
    clone = story.forge.clone(story.forge.owner)
    return clone.git("ls-tree", "-r", "--name-only", "HEAD", "vault/actions").split()


def test_a_slot_runs_by_the_approval_of_the_request_that_brought_the_schedule(
    story: Story,
) -> None:
    people = story.forge
    number = people.propose(people.alice, {FILE: schedule()})
    people.land(people.alice, number)
    missed_slots_come(story)
    first = last_slot(story)
    assert story.submitted() == [first]
    result = story.result(first)
    assert (result["tier"], result["approved_by"]) == ("high", [people.boss.login])
    assert listed(story) == ("active", "")

    # Changed past the requests, by one who may push.
    pushed_an_hour_ago(people, {FILE: schedule(APRIL)})
    missed_slots_come(story)
    assert story.submitted() == [first]
    assert path(last_slot(story, APRIL)) not in in_git(story)
    state, reason = listed(story)
    assert state == "waiting"
    assert "without a merged pull request" in reason

    number = people.propose(people.alice, {FILE: schedule(JULY)}, branch="again")
    people.land(people.alice, number)
    missed_slots_come(story)
    assert story.submitted() == [first, last_slot(story, JULY)]
    assert story.result(last_slot(story, JULY))["approved_by"] == [people.boss.login]


def test_a_schedule_merged_without_approval_starts_nothing_until_it_is_approved(
    story: Story,
) -> None:
    people = story.forge
    number = people.propose(people.alice, {FILE: schedule()})
    people.merge(people.alice, number)
    missed_slots_come(story)
    assert story.submitted() == []
    assert not in_git(story)
    state, reason = listed(story)
    assert state == "waiting"
    assert f"pull request #{number} was merged without an approval" in reason
    (warning,) = [w for w in command(story, "plan", "--json")["warnings"] if "yearly" in w]
    assert "schedule yearly starts nothing" in warning
    assert f"pull request #{number} was merged without an approval" in warning

    people.review(people.boss, number)
    story.stage.once()
    assert story.submitted() == [], "a slot from before the approval"
    missed_slots_come(story)
    assert story.submitted() == [last_slot(story)]
    assert story.result(last_slot(story))["approved_by"] == [people.boss.login]


def test_an_action_whose_schedule_is_rejected_before_it_runs_waits(story: Story) -> None:
    people, stage, lock = story.forge, story.stage, 'lock = "web"'
    number = people.propose(people.alice, {FILE: schedule(more=lock)})
    people.land(people.alice, number)
    people.push_main(people.alice, {path("c"): action("c", more=lock)})
    down_for_a_year(story)
    stage.scheduler.ends_at_once = False
    stage.start()
    waits_for(story, "held by c")

    people.next_second()
    people.review(people.boss, number, "REQUEST_CHANGES")
    for _ in range(ceil(FRESH_S + KEPT_S) + 1):
        people.next_second()  # for so long an approval that was looked up before may still count
    (key,) = stage.scheduler.running()
    stage.scheduler.end(key)
    story.result("c")
    waits_for(story, "rejected it")
    assert story.submitted() == ["c"]

    people.next_second()
    with hooked(people, stage.service):
        people.review(people.boss, number)
        submitted(story, last_slot(story))


@eventually
def submitted(story: Story, action_id: str) -> None:
    assert action_id in story.submitted()


@eventually
def waits_for(story: Story, words: str) -> None:
    """The slot's action is in git, and does not start for this reason."""
    status = story.stage.watch.last
    assert status is not None
    reasons = [w.reason for w in status.plan.waits if w.action_id == last_slot(story)]
    assert words in "\n".join(reasons)
