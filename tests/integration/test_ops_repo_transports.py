"""Remotes by HTTPS with a token, and by SSH; the token is seen by nobody else."""

from __future__ import annotations

import base64
import getpass
import os
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dispatcher.assembly import doctor_openers
from dispatcher.errors import Denied, Misconfigured, Unavailable
from dispatcher.operate.doctor import diagnose
from dispatcher.ops_repo import NewFile, OpsRepo, Tree, begin
from dispatcher.settings import OpsRepoSettings, Settings
from tests.servers import git_https
from tests.servers.git_https import GitHttps
from tests.servers.git_remote import GitRemote

TOKEN = "canary-d41d8cd98f00"
FILE = NewFile(path="vault/actions/x.result.json", data=b"{}")


@pytest.fixture
def remote(tmp_path: Path) -> GitRemote:
    made = GitRemote(tmp_path / "served" / "ops.git")
    made.commit({"vault/actions/x.toml": b"x"})
    return made


@pytest.fixture
def https(remote: GitRemote, monkeypatch: pytest.MonkeyPatch) -> Iterator[GitHttps]:
    with git_https.serve(remote.path.parent, user="bot", token=TOKEN) as server:
        monkeypatch.setenv("GIT_SSL_CAINFO", str(server.ca))
        yield server


@pytest.fixture
def over(tmp_path: Path) -> Iterator[Callable[..., OpsRepo]]:
    made: list[OpsRepo] = []

    def make(url: str, token: Callable[[], str | None] = lambda: TOKEN, **more: str) -> OpsRepo:
        settings = OpsRepoSettings(remote=url, username="bot", timeout_s=20, **more)
        made.append(OpsRepo(git_dir=tmp_path / "clone.git", settings=settings, credential=token))
        return made[-1]

    yield make
    for repo in made:
        repo.close()


def test_https_with_a_token(
    https: GitHttps, over: Callable[..., OpsRepo], remote: GitRemote
) -> None:
    repo = over(f"{https.url}/ops.git")
    tree = Tree()
    assert repo.advance(tree, repo.fetch().commit).opened == ("x",)
    https.seen.clear()
    assert repo.fetch().commit == remote.head
    assert len(https.seen) == 1, "an idle look asks for the ref alone"
    repo.mark_seen(tree.commit)
    assert repo.publish([FILE], message="r").written == (FILE.path,)
    assert remote.files("vault")[FILE.path] == b"{}"
    assert remote.git("rev-parse", "refs/disinto/seen") == remote.head
    remote.commit({"vault/actions/y.toml": b""})
    assert repo.publish([NewFile(path="z", data=b"")], message="race").written == ("z",)


def test_a_tried_push_finds_a_remote_that_may_only_be_read(
    https: GitHttps, over: Callable[..., OpsRepo], remote: GitRemote, tmp_path: Path
) -> None:
    repo = over(f"{https.url}/ops.git")
    head = repo.fetch().commit
    repo.try_push()
    remote.git("config", "http.receivepack", "false")
    with pytest.raises(Denied, match=r"denied access.*able to read and write"):
        repo.try_push()
    assert repo.fetch().commit == head
    settings = Settings(ops_repo=OpsRepoSettings(remote=https.url), state_dir=tmp_path)
    found = diagnose(settings, doctor_openers(settings, os.environ, repo=repo), {})
    checks = {check.name: check for check in found}
    assert checks["ops repo"].ok
    assert not checks["ops repo: push"].ok


def test_a_first_commit_by_https(https: GitHttps, tmp_path: Path) -> None:
    GitRemote(tmp_path / "served" / "empty.git")
    settings = OpsRepoSettings(remote=f"{https.url}/empty.git", username="bot")
    commit = begin(settings, [FILE], message="Begin", credential=lambda: TOKEN)
    assert len(commit) == 40


@pytest.mark.parametrize("token", [None, "canary-wrong"])
def test_a_wrong_token_is_denied_without_being_told(
    https: GitHttps, over: Callable[..., OpsRepo], token: str | None
) -> None:
    asked = []

    def credential() -> str | None:
        asked.append(1)
        return token

    with pytest.raises(Denied) as caught:
        over(f"{https.url}/ops.git", credential).fetch()
    assert "canary" not in str(caught.value)
    assert len(asked) == 2, "asked again once, since it may have been renewed"


@pytest.mark.parametrize(
    ("token", "more", "remedy"),
    [
        (None, {}, r"no token is configured.*\[ops_repo\] token_env.*write:repository"),
        (None, {"token_env": "OPS_TOKEN"}, r"no token in .*OPS_TOKEN.*write:repository"),
        (None, {"token_secret": "ops"}, r"no token in the secret ops .*write:repository"),
        ("wrong", {"token_env": "OPS_TOKEN"}, r"Check the token in .*OPS_TOKEN.*write:repository"),
    ],
)
def test_who_lacks_a_token_reads_which_variable_and_which_scope(
    https: GitHttps,
    over: Callable[..., OpsRepo],
    token: str | None,
    more: dict[str, str],
    remedy: str,
) -> None:
    with pytest.raises(Denied, match=remedy) as caught:
        over(f"{https.url}/ops.git", lambda: token, **more).fetch()
    assert "terminal prompts" not in str(caught.value)


def test_a_renewed_token_is_taken_up(https: GitHttps, over: Callable[..., OpsRepo]) -> None:
    tokens = [TOKEN]
    repo = over(f"{https.url}/ops.git", lambda: tokens[-1])
    repo.fetch()
    https.token = "canary-new"
    tokens.append("canary-new")
    repo.fetch()
    assert repo.publish([FILE], message="r").written


def test_a_token_is_not_carried_to_another_server(
    https: GitHttps,
    over: Callable[..., OpsRepo],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    other_root = tmp_path / "other"
    other_root.mkdir()
    with git_https.serve(other_root, user="x", token="x") as other:
        both = tmp_path / "both.pem"
        both.write_bytes(https.ca.read_bytes() + other.ca.read_bytes())
        monkeypatch.setenv("GIT_SSL_CAINFO", str(both))
        https.redirect_to = other.url
        with pytest.raises(Misconfigured, match="redirection is not followed"):
            over(f"{https.url}/ops.git").fetch()
        assert other.seen == []


def test_an_unknown_certificate_stops_everything(
    https: GitHttps, over: Callable[..., OpsRepo], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GIT_SSL_CAINFO")
    with pytest.raises(Unavailable, match="certificate"):
        over(f"{https.url}/ops.git").fetch()
    assert https.seen == []


def test_no_such_repository_by_https(https: GitHttps, over: Callable[..., OpsRepo]) -> None:
    with pytest.raises(Misconfigured, match="no ops repository at"):
        over(f"{https.url}/none.git").fetch()


def test_the_token_is_in_no_process_arguments_and_in_no_file(
    https: GitHttps,
    over: Callable[..., OpsRepo],
    remote: GitRemote,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("VAULT_TOKEN", "canary-vault")
    basic = base64.b64encode(f"bot:{TOKEN}".encode()).decode()
    stop, looks, found = threading.Event(), [0], []

    def watch() -> None:
        while not stop.is_set():
            for process in Path("/proc").glob("[0-9]*"):
                try:
                    line = (process / "cmdline").read_bytes().decode("utf-8", "replace")
                    environment = (process / "environ").read_bytes().decode("utf-8", "replace")
                except OSError:
                    continue
                if "git" not in line:
                    continue
                looks[0] += 1
                if "canary" in line or basic in line:
                    found.append(line)
                if str(tmp_path / "clone.git") in line and "canary-vault" in environment:
                    found.append("VAULT_TOKEN in the environment of git")

    thread = threading.Thread(target=watch)
    thread.start()
    repo = over(f"{https.url}/ops.git")
    repo.mark_seen(repo.fetch().commit)
    for n in range(5):
        remote.commit({f"other{n}": b""})
        repo.publish([NewFile(path=f"n{n}", data=b"")], message="m")
        repo.fetch()
    stop.set()
    thread.join()
    assert looks[0] > 20
    assert not found
    for path in [*tmp_path.glob("clone.git*"), *tmp_path.glob("clone.git/**/*")]:
        if path.is_file():
            data = path.read_bytes()
            assert b"canary" not in data
            assert basic.encode() not in data


def test_hooks_of_a_path_remote_see_no_secret(
    remote: GitRemote, over: Callable[..., OpsRepo], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VAULT_TOKEN", "canary-vault")
    remote.hook("post-receive", f"env > {tmp_path}/env")
    repo = over(str(remote.path))
    repo.publish([FILE], message="m")
    seen = (tmp_path / "env").read_text()
    assert "PATH=" in seen
    assert "canary" not in seen


# --- SSH ------------------------------------------------------------------------------------


@pytest.fixture
def sshd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An ssh server on a free port; yields ``ssh://user@host:port``. The right key is offered."""
    folder = tmp_path / "ssh"
    folder.mkdir(mode=0o700)
    for name in ("host", "user"):
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True
        )
    (folder / "authorized").write_bytes((folder / "user.pub").read_bytes())
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (folder / "config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {folder}/host\nPidFile none\n"
        f"AuthorizedKeysFile {folder}/authorized\nStrictModes no\nUsePAM no\n"
        "PasswordAuthentication no\nKbdInteractiveAuthentication no\nPermitRootLogin yes\n"
    )
    public = (folder / "host.pub").read_text().split()
    (folder / "known").write_text(f"[127.0.0.1]:{port} {public[0]} {public[1]}\n")
    Path("/run/sshd").mkdir(exist_ok=True)
    which = subprocess.run(["which", "sshd"], capture_output=True, text=True, check=True)
    server = subprocess.Popen([which.stdout.strip(), "-D", "-e", "-f", folder / "config"])
    deadline = time.monotonic() + 10
    while True:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                break
        assert server.poll() is None, "sshd ended"
        assert time.monotonic() < deadline
        time.sleep(0.02)
    monkeypatch.setenv(
        "GIT_SSH_COMMAND",
        f"ssh -F none -i {folder}/user -o IdentitiesOnly=yes -o UserKnownHostsFile={folder}/known",
    )
    yield f"ssh://{getpass.getuser()}@127.0.0.1:{port}"
    server.terminate()
    server.wait()


@pytest.mark.needs("sshd")
@pytest.mark.skipif(os.geteuid() != 0, reason="sshd wants to be started by root")
def test_ssh(sshd: str, over: Callable[..., OpsRepo], remote: GitRemote, tmp_path: Path) -> None:
    repo = over(f"{sshd}{remote.path}")
    assert repo.fetch().commit == remote.head
    remote.commit({"vault/actions/y.toml": b""})
    tree = Tree()
    assert set(repo.advance(tree, repo.fetch().commit).opened) == {"x", "y"}
    remote.commit({"other": b""})
    assert repo.publish([FILE], message="r").written == (FILE.path,)
    repo.close()

    with pytest.raises(Misconfigured, match="no ops repository"):
        over(f"{sshd}{tmp_path}/none.git").fetch()
    (tmp_path / "ssh" / "authorized").write_text("")
    with pytest.raises(Denied, match="Permission denied"):
        over(f"{sshd}{remote.path}").fetch()
    (tmp_path / "ssh" / "known").write_text("")
    with pytest.raises(Denied, match="Host key verification failed"):
        over(f"{sshd}{remote.path}").fetch()
