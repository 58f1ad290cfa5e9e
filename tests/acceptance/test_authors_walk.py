"""What docs/operations.md says of an author client, done word by word on another machine: a second
clone, a token with the scope ``write:repository`` alone, and neither Vault nor Nomad.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from dispatcher.errors import Exit
from tests.servers.bao import Bao
from tests.servers.forgejo import Forgejo
from tests.support.approval_story import Story, told
from tests.support.cli_process import Said, disinto, started
from tests.support.desk_stage import AuthorsDesk
from tests.support.stage import HELLO, action, path

pytestmark = pytest.mark.needs("bao", "forgejo", "git")


@pytest.fixture
def story(forge: Forgejo, bao_server: Bao, tmp_path: Path) -> Iterator[Story]:
    with told(forge, bao_server, tmp_path) as story:
        story.forge.protect_main()
        yield story


@pytest.fixture
def environ(story: Story, tmp_path: Path) -> dict[str, str]:
    """Of Alice's machine; FORGE_TOKEN is her own token."""
    own = story.forge.alice.with_scopes("write:repository")
    desk = AuthorsDesk.on_forge(story.stage.scene, tmp_path / "unused", story.forge, own)
    kept = {k: v for k, v in desk.environ.items() if k not in ("AUTHORS_TOKEN", "VAULT_ADDR")}
    return {**kept, "FORGE_TOKEN": own.token, "DISINTO_FORGE_TOKEN": own.token}


@pytest.fixture
def desk(story: Story, environ: dict[str, str], tmp_path: Path) -> Path:
    """Made as the text says."""
    people, folder = story.forge, tmp_path / "actions-desk"
    remote = f"{people.server.url}/{people.repository}.git"
    words = ("init", "--author", "--remote", remote, "--token-env", "FORGE_TOKEN", str(folder))
    made = disinto(*words, env=environ, cwd=tmp_path)
    assert made.code == Exit.OK, made.err
    known = story.stage.scene.open_settings()
    assert known.policy.file is not None
    (folder / "policy.toml").write_bytes(known.policy.file.read_bytes())
    (folder / "formulas").mkdir(exist_ok=True)
    for name in ("hello.sh", "danger.sh"):
        (folder / "formulas" / name).write_text(HELLO)
    settings = folder / "disinto.toml"
    text = settings.read_text()
    assert 'role = "author"' in text
    url, repository = people.server.url, people.repository
    for old, new in (
        ('#gate = "none"', 'gate = "forgejo"'),
        ('#url = ""\n#repository = ""', f'url = "{url}"\nrepository = "{repository}"'),
    ):
        assert old in text
        text = text.replace(old, new)
    settings.write_text(text)
    return folder


def test_the_walk(story: Story, desk: Path, environ: dict[str, str], tmp_path: Path) -> None:
    people = story.forge

    def say(*words: str) -> Said:
        return disinto(*words, env=environ, cwd=desk)

    checked = say("doctor", "--json")
    assert checked.code == Exit.OK, checked.out
    (desk / "x.toml").write_text(action("x", formula="danger"))
    assert say("validate", "x.toml").code == Exit.OK
    for command in (["serve"], ["plan"], ["apply"], ["secrets", "list"], ["archive"],
                    ["audit", "verify"], ["takeover"]):  # fmt: skip
        assert say(*command).code == Exit.CONFIG, command

    # A clone of the ops repo, in which the file lies untracked where it goes.
    clone = tmp_path / "clone"
    git = ["git", "-c", "core.hooksPath=/dev/null"]
    subprocess.run(
        [*git, "clone", "-q", people.alice.remote(people.repository), str(clone)],
        check=True, env=environ,
    )  # fmt: skip
    file = clone / path("x")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(action("x", formula="danger"))
    sent = say("dispatch", "--json", str(file))
    assert sent.code == Exit.TEMPFAIL
    assert {"id", "state", "tier", "commit", "request"} <= sent.json.keys()
    number = sent.json["request"]["number"]
    (row,) = say("status", "--json").json["open"]
    assert (row["id"], row["state"]) == ("x", "proposed")
    assert "not merged yet: pull request #" in say("status", "x").out
    assert say("logs", "x").code == Exit.NOINPUT

    with started("watch", "--wait-merge", "x", env=environ, cwd=desk) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if f"waits until pull request {number} is merged" in line:
                break
        people.merge(people.alice, number)
        assert "| `x` | waiting |" in story.comment(number)
        (row,) = say("status", "--json").json["open"]
        assert (row["id"], row["state"]) == ("x", "waiting"), "the request is merged"
        people.review(people.boss, number)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert out == story.result("x")["logs"]
    subprocess.run([*git, "pull", "-q", "--ff-only"], check=True, env=environ, cwd=clone)
    assert (clone / "vault/actions/x.result.json").exists()
    ended = say("logs", "x")
    assert (ended.code, ended.out) == (Exit.OK, story.result("x")["logs"])
    assert say("status", "x", "--json").json["verdict"] == "succeeded"
    assert say("cancel", "x").code == Exit.FAILED
