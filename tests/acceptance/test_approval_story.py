"""The whole of approval, with a real forge, git over HTTP, OpenBao, webhook and service; and an
author who sends an action by the command.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.servers.bao import Bao
from tests.servers.forgejo import Forgejo
from tests.support.approval_story import Story, told
from tests.support.cli_process import started
from tests.support.stage import HELLO, action, eventually, path

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.needs("bao", "forgejo", "git")


@pytest.fixture
def story(forge: Forgejo, bao_server: Bao, tmp_path: Path) -> Iterator[Story]:
    with told(forge, bao_server, tmp_path) as story:
        yield story


def test_an_approved_request_runs_once_and_says_who_approved(story: Story) -> None:
    people = story.forge
    number = people.propose(people.alice, {path("x"): action("x", formula="danger")})
    people.land(people.alice, number)
    result = story.result("x")
    assert result["verdict"] == "succeeded"
    assert result["approved_by"] == [people.boss.login]
    assert result["tier"] == "high"
    assert story.submitted() == ["x"]


def test_an_unapproved_merge_waits_is_told_and_runs_when_it_is_approved(story: Story) -> None:
    people = story.forge
    number = people.propose(people.alice, {path("x"): action("x", formula="danger")})
    people.merge(people.alice, number)
    assert "| `x` | waiting |" in story.comment(number)
    low = people.propose(people.alice, {path("y"): action("y")}, branch="low")
    people.merge(people.alice, low)
    story.result("y")  # low needs nobody, and the one that waits holds nobody up
    assert story.submitted() == ["y"]
    people.review(people.boss, number)
    assert story.result("x")["approved_by"] == [people.boss.login]
    assert "| `x` | succeeded |" in eventually(lambda: _ended(story, number))()
    assert story.submitted() == ["y", "x"]


def _ended(story: Story, number: int) -> str:
    body = story.comment(number)
    assert "succeeded" in body
    return body


def test_a_direct_push_never_runs(story: Story) -> None:
    people = story.forge
    people.push_main(people.boss, {path("x"): action("x", formula="danger")})
    low = people.propose(people.alice, {path("y"): action("y")})
    people.merge(people.alice, low)
    story.result("y")
    assert story.submitted() == ["y"]
    head = people.clone(people.owner).git("rev-parse", "HEAD")
    assert "x.result.json" not in people.clone(people.owner).git(
        "ls-tree", "-r", "--name-only", head
    )


@contextmanager
def sent_by_alice(story: Story, folder: Path) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Alice's ``disinto dispatch --wait-merge``, up to where it waits, and its pull request. Her
    settings name no vault, and her folder is not the dispatcher's.
    """
    people = story.forge
    (folder / "formulas").mkdir(parents=True)
    (folder / "formulas" / "danger.sh").write_text(HELLO)
    (folder / "x.toml").write_text(action("x", formula="danger"))
    (folder / "disinto.toml").write_text(f"""
[ops_repo]
remote = "{people.server.url}/{people.repository}.git"
token_env = "FORGE_TOKEN"
poll_interval_s = 0.2
[formulas]
path = "formulas"
[policy]
gate = "forgejo"
[forge]
url = "{people.server.url}"
repository = "{people.repository}"
token_env = "FORGE_TOKEN"
""")
    env = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "PYTHONPATH": str(ROOT),
        "FORGE_TOKEN": people.alice.token,
    }
    with started("dispatch", "--wait-merge", "x.toml", env=env, cwd=folder) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "waits until pull request" in line:
                break
        (request,) = people.repo(people.owner, "GET", "/pulls", state="open")
        assert request["user"]["login"] == people.alice.login
        yield process, request["number"]


def test_dispatch_waits_for_review_and_merge_and_ends_as_the_run_does(
    story: Story, tmp_path: Path
) -> None:
    with sent_by_alice(story, tmp_path / "desk") as (process, number):
        story.forge.land(story.forge.alice, number)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert "x: succeeded" in err
    assert out == story.result("x")["logs"]
    assert story.result("x")["approved_by"] == [story.forge.boss.login]
    assert story.submitted() == ["x"]


def test_dispatch_ends_where_its_request_is_closed(story: Story, tmp_path: Path) -> None:
    with sent_by_alice(story, tmp_path / "desk") as (process, number):
        story.forge.repo(story.forge.alice, "PATCH", f"/pulls/{number}", {"state": "closed"})
        _, err = process.communicate(timeout=60)
    assert process.returncode == 70, err
    assert "closed without being merged" in err
