"""Remotes that are paths and belong to somebody else: they may be read, and no command of theirs runs."""

from __future__ import annotations

import os
import pwd
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dispatcher.assembly import doctor_openers
from dispatcher.errors import Denied, Dependency, Misconfigured
from dispatcher.operate.doctor import diagnose
from dispatcher.ops_repo import NewFile, OpsRepo, begin
from dispatcher.ops_repo.ownership import foreign
from dispatcher.settings import OpsRepoSettings, Settings
from tests.servers.git_remote import GitRemote

FILE = NewFile(path="vault/actions/x.result.json", data=b"{}")
NOBODY = pwd.getpwnam("nobody").pw_uid
AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")


@pytest.fixture
def remote(tmp_path: Path) -> GitRemote:
    made = GitRemote(tmp_path / "served" / "ops.git")
    made.commit({"vault/actions/x.toml": b"x"})
    return made


@pytest.fixture
def over(tmp_path: Path) -> Iterator[Callable[[object], OpsRepo]]:
    made: list[OpsRepo] = []

    def make(remote: object) -> OpsRepo:
        settings = OpsRepoSettings(remote=str(remote), timeout_s=20)
        made.append(OpsRepo(git_dir=tmp_path / "state" / f"{len(made)}.git", settings=settings))
        return made[-1]

    yield make
    for repo in made:
        repo.close()


def give(*paths: Path) -> None:
    """Give files to nobody, directories with all that is in them."""
    for top in paths:
        for path in (top, *top.rglob("*")):
            os.chown(path, NOBODY, -1, follow_symlinks=False)


class Trap:
    """A command that leaves a trace."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "sprung"
        self.command = f"touch {self.file};"

    @property
    def sprung(self) -> bool:
        return self.file.exists()


@pytest.fixture
def trap(tmp_path: Path) -> Trap:
    return Trap(tmp_path)


# --- pushing --------------------------------------------------------------------------------


@AS_ROOT
def test_a_repository_of_somebody_else_is_read_and_not_pushed_to(
    remote: GitRemote, over: Callable[[object], OpsRepo], trap: Trap
) -> None:
    for hook in ("pre-receive", "update", "post-receive", "post-update", "reference-transaction"):
        remote.hook(hook, trap.command)
    give(remote.path)
    head = remote_head(remote)
    repo = over(remote.path)
    assert repo.fetch().commit == head
    for push in (
        lambda: repo.publish([FILE], message="m"),
        lambda: repo.propose([FILE], branch="b", message="m"),
        repo.try_push,
    ):
        with pytest.raises(Denied, match=r"belongs to user nobody.*chown -R .*ssh://") as refused:
            push()
        assert refused.value.dependency is Dependency.REMOTE
        assert str(remote.path) in refused.value.what
    assert not trap.sprung
    assert remote_head(remote) == head
    assert repo.fetch().commit == head


def remote_head(remote: GitRemote) -> str:
    """Read from the file: git itself would not look into somebody else's repository."""
    return (remote.path / "refs" / "heads" / "main").read_text().strip()


@AS_ROOT
@pytest.mark.parametrize("what", ["hooks", "hooks/post-receive", "config", "objects/.."])
def test_a_part_of_somebody_else_is_enough(
    remote: GitRemote, over: Callable[[object], OpsRepo], trap: Trap, what: str
) -> None:
    remote.hook("post-receive", trap.command)
    os.chown(remote.path / what, NOBODY, -1)
    repo = over(remote.path)
    with pytest.raises(Denied, match="belongs to user nobody"):
        repo.publish([FILE], message="m")
    assert not trap.sprung
    os.chown(remote.path / what, os.geteuid(), -1)
    assert repo.publish([FILE], message="m").written
    assert trap.sprung, "our own hooks run, by design"


@AS_ROOT
def test_a_directory_above_of_somebody_else(
    remote: GitRemote, over: Callable[[object], OpsRepo]
) -> None:
    """Its owner can put another repository in the place of ours."""
    os.chown(remote.path.parent, NOBODY, -1)
    with pytest.raises(Denied, match="served belongs to user nobody"):
        over(remote.path).publish([FILE], message="m")


def test_what_everybody_may_write(remote: GitRemote, over: Callable[[object], OpsRepo]) -> None:
    repo = over(remote.path)
    for place in (remote.path / "hooks", remote.path, remote.path.parent):
        place.mkdir(exist_ok=True)
        mode = place.stat().st_mode
        place.chmod(0o777)
        with pytest.raises(Denied, match="may be written by everybody"):
            repo.publish([FILE], message="m")
        place.chmod(mode)
    remote.path.parent.chmod(0o1777)
    assert repo.publish([FILE], message="m").written, "as in /tmp, nobody can exchange it there"


@AS_ROOT
def test_a_link_is_followed(
    remote: GitRemote, over: Callable[[object], OpsRepo], tmp_path: Path
) -> None:
    give(remote.path)
    link = tmp_path / "link.git"
    link.symlink_to(remote.path)
    for address in (link, f"file://{link}", remote.path.with_suffix(""), f"file://{remote.path}"):
        with pytest.raises(Denied, match="belongs to user nobody"):
            over(address).publish([FILE], message="m")


@AS_ROOT
def test_a_hook_that_is_a_link(
    remote: GitRemote, over: Callable[[object], OpsRepo], tmp_path: Path, trap: Trap
) -> None:
    theirs = tmp_path / "theirs"
    theirs.write_text(f"#!/bin/sh\n{trap.command}\n")
    theirs.chmod(0o755)
    (remote.path / "hooks").mkdir(exist_ok=True)
    (remote.path / "hooks" / "update").symlink_to(theirs)
    give(theirs)
    with pytest.raises(Denied, match="theirs belongs to user nobody"):
        over(remote.path).publish([FILE], message="m")
    assert not trap.sprung


@AS_ROOT
def test_repositories_that_a_file_points_to(remote: GitRemote, tmp_path: Path) -> None:
    pointer = tmp_path / "work"
    pointer.mkdir()
    (pointer / ".git").write_text(f"gitdir: {remote.path}\n")
    tree = tmp_path / "tree"
    remote.git("worktree", "add", "--detach", tree)
    assert foreign(pointer) is None
    assert foreign(tree) is None
    os.chown(remote.path / "hooks", NOBODY, -1)
    assert foreign(pointer) is not None
    assert foreign(tree) is not None


def test_what_is_no_repository_is_left_to_git(tmp_path: Path) -> None:
    assert foreign(tmp_path / "nothing") is None
    (tmp_path / ".git").write_bytes(b"\xff")
    assert foreign(tmp_path) is None


@AS_ROOT
def test_a_repository_of_roots_may_be_pushed_to_by_another(remote: GitRemote) -> None:
    """Root can do as it likes in any case."""
    assert foreign(remote.path, uid=NOBODY) is None


@AS_ROOT
def test_doctor_tells_of_it(remote: GitRemote, tmp_path: Path) -> None:
    give(remote.path)
    settings = Settings(
        state_dir=tmp_path / "state", ops_repo=OpsRepoSettings(remote=str(remote.path))
    )
    checks = {c.name: c for c in diagnose(settings, doctor_openers(settings, os.environ), {})}
    push = checks["ops repo: push"]
    assert checks["ops repo"].ok
    assert not push.ok
    assert "belongs to user nobody" in f"{push.detail}{push.remedy}"
    assert "ssh://" in f"{push.detail}{push.remedy}"


@AS_ROOT
def test_a_first_commit_is_not_pushed_there_either(tmp_path: Path, trap: Trap) -> None:
    remote = GitRemote(tmp_path / "served" / "new.git")
    remote.hook("post-receive", trap.command)
    give(remote.path)
    with pytest.raises(Denied, match="belongs to user nobody"):
        begin(OpsRepoSettings(remote=str(remote.path)), [FILE], message="m")
    assert not trap.sprung


def test_the_environment_of_hooks_holds_nothing_of_ours(
    remote: GitRemote, over: Callable[[object], OpsRepo], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    ours = {
        "VAULT_TOKEN": "canary", "NOMAD_TOKEN": "canary", "DISINTO_X": "canary",
        "https_proxy": "http://user:canary@proxy", "SSH_AUTH_SOCK": "/canary",
        "SSL_CERT_FILE": "/canary", "PYTHONPATH": "/canary",
    }  # fmt: skip
    for name, value in ours.items():
        monkeypatch.setenv(name, value)
    remote.hook("post-receive", f"env > {tmp_path}/env")
    over(remote.path).publish([FILE], message="m")
    seen = (tmp_path / "env").read_text()
    assert "PATH=" in seen
    assert "canary" not in seen


# --- reading --------------------------------------------------------------------------------


def hostile(remote: GitRemote, trap: Trap) -> None:
    """Everything in a repository's configuration that names a command."""
    for key in (
        "uploadpack.packObjectsHook", "core.fsmonitor", "core.sshCommand", "core.alternateRefsCommand",
        "core.gitProxy", "core.askPass", "core.editor", "core.pager", "gpg.program",
        "credential.helper", "diff.external", "gc.recentObjectsHook", "sequence.editor",
        "trailer.x.command", "filter.x.smudge", "filter.x.process", "remote.origin.vcs",
    ):  # fmt: skip
        remote.git("config", key, trap.command)
    hooks = remote.path.parent / "hooks"
    hooks.mkdir()
    for name in ("pre-auto-gc", "reference-transaction", "post-index-change", "pre-push"):
        (hooks / name).write_text(f"#!/bin/sh\n{trap.command}\n")
        (hooks / name).chmod(0o755)
    remote.git("config", "core.hooksPath", str(hooks))
    remote.git("config", "uploadpack.allowFilter", "true")
    other = GitRemote(remote.path.parent / "alternate.git")
    (remote.path / "objects" / "info").mkdir(exist_ok=True)
    (remote.path / "objects" / "info" / "alternates").write_text(f"{other.path}/objects\n")


@AS_ROOT
def test_reading_a_hostile_repository_runs_none_of_its_commands(
    remote: GitRemote, over: Callable[[object], OpsRepo], trap: Trap
) -> None:
    hostile(remote, trap)
    head = remote.head
    if trap.sprung:  # git's own look at the head, as the owner
        trap.file.unlink()
    give(remote.path, remote.path.parent / "alternate.git")
    repo = over(remote.path)
    assert repo.fetch().commit == head
    assert repo.fetch_ref("refs/heads/main") == head
    repo.close()
    assert not trap.sprung


@pytest.mark.parametrize("allowed", ["file", "ext"])
def test_a_partial_clone_fetches_nothing_for_us(
    remote: GitRemote, over: Callable[[object], OpsRepo], trap: Trap, allowed: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """A blob is missing, and the repository says by which command it is to be fetched. git from
    2.39.4 on fetches nothing when it serves; an older one is kept from it by ``GIT_ALLOW_PROTOCOL``.
    """
    url = f"ext::{trap.command}" if allowed == "ext" else str(remote.path)
    for key, value in {
        "core.repositoryFormatVersion": "1", "extensions.partialClone": "evil",
        "remote.evil.promisor": "true", "remote.evil.url": url,
        "remote.evil.uploadpack": trap.command, f"protocol.{allowed}.allow": "always",
    }.items():  # fmt: skip
        remote.git("config", key, value)
    blob = remote.git("rev-parse", "main:vault/actions/x.toml")
    (remote.path / "objects" / blob[:2] / blob[2:]).unlink()
    with monkeypatch.context() as older:
        # As a git before 2.39.4 would: let the lazy fetch happen.
        older.setattr(
            "dispatcher.ops_repo.transport._READER",
            "GIT_ALLOW_PROTOCOL=none GIT_NO_LAZY_FETCH=0 git -c safe.directory='*' upload-pack",
        )
        with pytest.raises(Exception, match=r"corrupt|cannot be reached|malformed"):
            over(remote.path).fetch()
    assert not trap.sprung
    with pytest.raises(Exception, match=r"corrupt|cannot be reached|malformed"):
        over(remote.path).fetch()
    assert not trap.sprung


@pytest.mark.parametrize(
    "address", ["ext::sh -c id", "fd::3", "testgit::/x", "-uexec", "git://h/r"]
)
def test_transports_that_run_commands_are_no_addresses(address: str, tmp_path: Path) -> None:
    with pytest.raises(Misconfigured):
        OpsRepo(git_dir=tmp_path / "c.git", settings=OpsRepoSettings(remote=address))


@AS_ROOT
def test_another_user_may_run_the_check(remote: GitRemote) -> None:
    """By a process of that user: what root owns is pushed to, what a third one owns is not."""
    code = (
        "import os, pwd, sys; from pathlib import Path\n"
        "from dispatcher.ops_repo.ownership import foreign\n"
        "os.setuid(int(sys.argv[2]))\n"
        "print(foreign(Path(sys.argv[1])))"
    )
    third = NOBODY - 1
    for path in remote.path.parents:
        if path.is_relative_to("/tmp") and path != Path("/tmp"):
            path.chmod(0o755)
    done = subprocess.run(
        [sys.executable, "-c", code, str(remote.path), str(third)],
        capture_output=True, text=True, check=True, env={**os.environ, "HOME": "/"},
    )  # fmt: skip
    assert done.stdout.strip() == "None"
    give(remote.path)
    done = subprocess.run(
        [sys.executable, "-c", code, str(remote.path), str(third)],
        capture_output=True, text=True, check=True, env={**os.environ, "HOME": "/"},
    )  # fmt: skip
    assert "belongs to user nobody" in done.stdout
