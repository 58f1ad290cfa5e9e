"""What a forge shows of how a run ended, with a real forge and a service that follows it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from dispatcher.errors import Dependency, DisintoError, Unavailable
from dispatcher.gate.base import Decision, Question
from dispatcher.gate.ended import Ended
from dispatcher.gate.report import Queued
from dispatcher.loop.components import Components
from dispatcher.model.run import Outcome
from dispatcher.model.verdicts import Verdict
from tests.servers.bao import Bao
from tests.servers.forgejo import Account, Forgejo
from tests.support.approval_story import Story, told
from tests.support.stage import action, eventually, path

pytestmark = pytest.mark.needs("bao", "forgejo", "git")


NOTED = "; at first it waited for lock web, held by c |"


@pytest.fixture
def story(forge: Forgejo, bao_server: Bao, tmp_path: Path) -> Iterator[Story]:
    with told(forge, bao_server, tmp_path) as story:
        story.stage.scheduler.ends_at_once = False
        yield story


class Deaf:
    """A reporter whose forge is down."""

    def report(self, question: Question, decision: Decision) -> None:
        raise Unavailable(Dependency.FORGE, "no answer")

    def report_queued(self, queued: Sequence[Queued]) -> None:
        raise Unavailable(Dependency.FORGE, "no answer")

    def report_ended(self, ended: Sequence[Ended]) -> Mapping[str, DisintoError]:
        return {e.result.id: Unavailable(Dependency.FORGE, "no answer") for e in ended}

    def forget(self) -> None:
        """There is nothing to forget."""

    def leads_from(self, commit: str) -> None:
        """It reports nothing, whoever leads."""


def failed(logs: str) -> Outcome:
    return Outcome(
        verdict=Verdict.FAILED,
        exit_code=3,
        formula_started=True,
        started_at=1000.0,
        finished_at=1002.1,
        logs=logs,
    )


@eventually
def end(story: Story, outcome: Outcome) -> None:
    (key,) = story.stage.scheduler.running()
    story.stage.scheduler.end(key, outcome)


@eventually
def shows(story: Story, commit: str, states: dict[str, str]) -> None:
    assert story.states(commit) == states


@eventually
def ended(story: Story, number: int, verdict: str) -> str:
    """The comment, as soon as it names the verdict."""
    body = story.comment(number)
    assert f"| {verdict} |" in body
    return body


def rendered(account: Account, repository: str, body: str) -> str:
    """A comment as the forge shows it, in HTML."""
    wanted = {"Text": body, "Mode": "comment", "Context": f"/{repository}"}
    answer = httpx.post(
        f"{account.url}/api/v1/markdown",
        json=wanted,
        headers={"Authorization": f"token {account.token}"},
    )
    answer.raise_for_status()
    return answer.text


def mentions(account: Account) -> list[str]:
    """Subjects of all that this account was notified of."""
    found = account.call("GET", "/notifications", all="true")
    return [each["subject"]["title"] for each in found]


def test_a_run_that_failed_is_red_with_one_comment_that_notifies_nobody(story: Story) -> None:
    people = story.forge
    number = people.propose(people.alice, {path("x"): action("x", formula="danger")})
    merge = people.land(people.alice, number)
    shows(story, merge, {"disinto/x/approval": "success", "disinto/x": "pending"})
    before = mentions(people.carol)
    end(story, failed(f"```\n</details>\n@{people.carol.login} look: closes #{number}\nit broke"))
    shows(story, merge, {"disinto/x/approval": "success", "disinto/x": "failure"})

    body = ended(story, number, "failed")
    assert "| `x` | failed | exit code 3 after 2.1 s; [result](" in body
    assert body.index("<details>") < body.index("    it broke\n") < body.rindex("</details>")
    html = rendered(people.owner, people.repository, body)
    assert html.count("<details>") == html.count("</details>") == 1
    assert "&lt;/details&gt;" in html
    combined = people.repo(people.owner, "GET", f"/commits/{merge}/status")
    (run,) = [s for s in combined["statuses"] if s["context"] == "disinto/x"]
    assert run["description"] == "failed: exit code 3 after 2.1 s"
    at = re.fullmatch(
        f"{people.server.url}/{people.repository}/src/commit/([0-9a-f]+)/(.*)", run["target_url"]
    )
    assert at is not None
    linked = people.repo(people.owner, "GET", f"/contents/{at[2]}", ref=at[1])
    assert linked["name"] == "x.result.json"

    assert mentions(people.carol) == before
    people.repo(
        people.owner, "POST", f"/issues/{number}/comments", {"body": f"@{people.carol.login}"}
    )
    assert eventually(lambda: _longer(people.carol, before))(), "else nothing was shown above"


def _longer(account: Account, before: list[str]) -> bool:
    assert len(mentions(account)) > len(before)
    return True


def test_what_the_forge_missed_is_completed_by_the_next_dispatcher(story: Story) -> None:
    people, stage = story.forge, story.stage
    number = people.propose(people.alice, {path("x"): action("x", formula="danger")})
    merge = people.merge(people.alice, number)
    assert "| `x` | waiting |" in story.comment(number)
    stage.stop()
    people.review(people.boss, number)

    def silent(components: Components) -> Components:
        return replace(components, reporter=Deaf())

    stage.change = silent
    stage.scheduler.ends_at_once = True
    stage.start()
    story.result("x")
    stage.at_rest()  # a forge that is down holds no claim
    stage.stop()
    assert story.states(merge) == {"disinto/x/approval": "pending", "disinto/x": "pending"}

    stage.change = lambda components: components
    stage.start()
    shows(story, merge, {"disinto/x/approval": "success", "disinto/x": "success"})
    ended(story, number, "succeeded")


def test_an_approved_action_that_waits_for_its_lock_names_the_holder_once(story: Story) -> None:
    people, lock = story.forge, 'lock = "web"'
    people.push_main(people.alice, {path("c"): action("c", more=lock)})
    eventually(lambda: story.stage.scheduler.running()[0])()
    number = people.propose(people.alice, {path("x"): action("x", formula="danger", more=lock)})
    people.merge(people.alice, number)
    assert "| `x` | waiting |" in story.comment(number)
    people.review(people.boss, number)
    assert "| `x` | approved |" in eventually(lambda: _noted(story, number))()
    end(story, failed("no"))
    eventually(lambda: _submitted(story, "x"))()
    assert NOTED in story.comment(number)
    end(story, failed("no"))
    assert "waited for lock" not in ended(story, number, "failed")


def _noted(story: Story, number: int) -> str:
    body = story.comment(number)
    assert NOTED in body
    return body


def _submitted(story: Story, action_id: str) -> None:
    assert action_id in story.submitted()


def test_an_action_of_tier_low_gets_its_status_however_it_came(story: Story) -> None:
    people = story.forge
    story.stage.scheduler.ends_at_once = True
    commit = people.push_main(people.alice, {path("direct"): action("direct")})
    shows(story, commit, {"disinto/direct": "success"})
    number = people.propose(people.alice, {path("low"): action("low")})
    merge = people.merge(people.alice, number)
    shows(story, merge, {"disinto/low": "success"})
    ended(story, number, "succeeded")


def test_an_action_that_can_never_run_is_red(story: Story) -> None:
    people = story.forge
    number = people.propose(people.alice, {path("bad"): "formula = 1\n"})
    merge = people.merge(people.alice, number)
    shows(story, merge, {"disinto/bad": "failure"})
    ended(story, number, "invalid")
