"""``disinto dispatch`` and ``watch`` on an author's machine, where the main branch of a real forge is
protected: what is proposed already, what is changed, and what needs no approval.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from dispatcher.errors import Exit
from tests.servers.bao import Bao
from tests.servers.forgejo import Forgejo
from tests.support.approval_story import Story, told
from tests.support.cli_process import started
from tests.support.desk_stage import AuthorsDesk
from tests.support.stage import action

pytestmark = pytest.mark.needs("bao", "forgejo", "git")


@pytest.fixture
def story(forge: Forgejo, bao_server: Bao, tmp_path: Path) -> Iterator[Story]:
    with told(forge, bao_server, tmp_path) as story:
        story.forge.protect_main()
        yield story


@pytest.fixture
def alice(story: Story, tmp_path: Path) -> AuthorsDesk:
    return desk_of_alice(story, tmp_path / "alice")


def desk_of_alice(story: Story, folder: Path) -> AuthorsDesk:
    return AuthorsDesk.on_forge(story.stage.scene, folder, story.forge, story.forge.alice)


def written(desk: AuthorsDesk, *, formula: str, more: str = "") -> str:
    file = desk.folder / "x.toml"
    file.write_text(action("x", formula=formula, more=more))
    return str(file)


def the_request(story: Story) -> int:
    (request,) = story.forge.repo(story.forge.owner, "GET", "/pulls", state="open")
    assert request["head"]["ref"] == "disinto/x"
    return int(request["number"])


def test_what_is_proposed_already_is_shown_and_followed(
    story: Story, alice: AuthorsDesk, tmp_path: Path
) -> None:
    people = story.forge
    file = written(alice, formula="danger")
    first = alice("dispatch", "--json", file)
    assert first.code == Exit.TEMPFAIL, first.err
    url = first.json["request"]["url"]
    assert first.json["state"] == "proposed"
    (row,) = alice("status", "--json").json["open"]
    assert (row["id"], row["state"]) == ("x", "proposed")

    again = alice("dispatch", "--json", file)
    assert again.code == Exit.TEMPFAIL, again.err
    assert f"x is already proposed, and waits for approval by an administrator: {url}" in again.err
    assert (again.json["request"], again.json["commit"]) == (
        first.json["request"],
        first.json["commit"],
    )
    assert alice("dispatch", "--no-follow", file).code == Exit.OK
    number = the_request(story)

    changed = alice("dispatch", written(alice, formula="danger", more="# changed"))
    assert changed.code == Exit.SOFTWARE
    assert f"x is already proposed with other content: {url}" in changed.err
    assert "git push origin --delete disinto/x" in changed.err
    assert the_request(story) == number

    file = written(alice, formula="danger")
    with started(
        "--config", str(alice.config), "dispatch", "--wait-merge", file,
        env=alice.environ, cwd=alice.folder,
    ) as process:  # fmt: skip
        assert process.stderr is not None
        for line in process.stderr:
            if f"waits until pull request {number} is merged" in line:
                break
        people.land(people.alice, number)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert out == story.result("x")["logs"]
    assert story.submitted() == ["x"]


def test_another_machine_sees_that_the_request_was_closed(
    story: Story, alice: AuthorsDesk, tmp_path: Path
) -> None:
    assert alice("dispatch", written(alice, formula="danger")).code == Exit.TEMPFAIL
    number, other = the_request(story), desk_of_alice(story, tmp_path / "other")
    with started(
        "--config", str(other.config), "watch", "--wait-merge", "x",
        env=other.environ, cwd=other.folder,
    ) as process:  # fmt: skip
        assert process.stderr is not None
        for line in process.stderr:
            if f"waits until pull request {number} is merged" in line:
                break
        story.forge.repo(story.forge.alice, "PATCH", f"/pulls/{number}", {"state": "closed"})
        _, err = process.communicate(timeout=60)
    assert "closed without being merged" in err
    assert process.returncode == Exit.SOFTWARE, err

    reopened = alice("dispatch", "--json", written(alice, formula="danger"))
    assert reopened.json["request"]["number"] != number
    assert "already" not in reopened.err


def test_a_request_of_a_fork_is_not_taken_for_ours(story: Story, alice: AuthorsDesk) -> None:
    """Whoever may read may open one, from a branch of the same name."""
    people, reader = story.forge, story.forge.passer_by
    name = f"fork-of-{people.repository.replace('/', '-')}"
    fork = people.repo(reader, "POST", "/forks", {"name": name})
    clone = people.clone(people.alice)
    clone.git("checkout", "-q", "-B", "theirs")
    clone.commit({"vault/actions/x.toml": action("x", formula="danger", more="# theirs")})
    clone.git("push", "-q", reader.remote(fork["full_name"]), "theirs:refs/heads/disinto/x")
    head = f"{reader.login}:disinto/x"
    wanted = {"head": head, "base": "main", "title": "theirs"}
    theirs = people.repo(reader, "POST", "/pulls", wanted)["number"]
    sent = alice("dispatch", "--json", written(alice, formula="danger"))
    assert sent.code == Exit.TEMPFAIL, sent.err
    assert sent.json["request"]["number"] != theirs
    again = alice("dispatch", "--json", written(alice, formula="danger"))
    assert again.json["request"] == sent.json["request"]


def test_at_tier_low_the_merge_is_enough(story: Story, alice: AuthorsDesk) -> None:
    sent = alice("dispatch", "--json", written(alice, formula="hello"))
    assert sent.code == Exit.TEMPFAIL, sent.err
    assert (sent.json["state"], sent.json["tier"]) == ("proposed", "low")
    assert "x waits until it is merged: " in sent.err
    number = the_request(story)
    body = story.forge.repo(story.forge.owner, "GET", f"/pulls/{number}")["body"]
    assert "when this pull request is merged." in body
    story.forge.merge(story.forge.alice, number)
    assert story.result("x")["verdict"] == "succeeded"
