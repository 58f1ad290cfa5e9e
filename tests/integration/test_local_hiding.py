"""What a formula in bubblewrap sees of credentials, whatever their files are and become."""

from __future__ import annotations

import os
import shlex
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from dispatcher.engines.base import CannotSubmit
from dispatcher.engines.local.sandbox import Sandbox, find
from dispatcher.engines.local.scheduler import LocalScheduler
from dispatcher.engines.local.spool import Spool
from dispatcher.model.mounts import Mount
from dispatcher.model.run import FormulaKind, FormulaRef, Grant, RunKey, RunSpec, Tier, WrappedGrant
from dispatcher.settings import Settings, settings_model

pytestmark = pytest.mark.needs("bwrap")

SECRET = "the-credential"


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A directory outside of /tmp, which a formula would see."""
    parent = Path(__file__).resolve().parent
    if parent.parts[1] == "tmp":
        pytest.skip("the tests lie in /tmp, which no formula sees")
    with tempfile.TemporaryDirectory(dir=parent, prefix="hiding-") as folder:
        monkeypatch.setenv("HOME", f"{folder}/home")
        Path(folder, "home").mkdir()
        yield Path(folder)


def settings_of(place: Path, **sections: Any) -> Settings:
    local = {"hide_home": False, **sections.pop("local", {})}
    return settings_model().model_validate(
        {"state_dir": place / "state", "local": local, **sections}
    )


def command(settings: Settings, *mounts: Mount, agent: bool = False) -> list[str]:
    box, reason = find(settings)
    assert isinstance(box, Sandbox), reason
    spool = Spool(settings.state_dir.resolve() / "runs", RunKey(action_id="a", blob="b"))
    spool.path.mkdir(parents=True, exist_ok=True)
    spool.prepare()
    return box.command(spool, mounts, agent=agent)


def run(settings: Settings, script: str, *mounts: Mount, agent: bool = False) -> str:
    done = subprocess.run(
        [*command(settings, *mounts, agent=agent), "bash", "-c", script],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
        timeout=60,
    )
    return done.stdout.decode()


@contextmanager
def running(settings: Settings, *mounts: Mount) -> Iterator[subprocess.Popen[str]]:
    """A shell inside, which reads commands."""
    shell = subprocess.Popen(
        [*command(settings, *mounts), "bash"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        said(shell, "true")
        yield shell
    finally:
        shell.kill()
        shell.communicate()


def said(shell: subprocess.Popen[str], script: str) -> str:
    assert shell.stdin is not None
    assert shell.stdout is not None
    shell.stdin.write(f"{script}\necho; echo done\n")
    shell.stdin.flush()
    lines = list(iter(shell.stdout.readline, "done\n"))
    return "".join(lines)


def write(path: Path, text: str = SECRET) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def search(place: Path) -> str:
    """A command that reads every file, and tries what is said."""
    return f"grep -rsh . {shlex.quote(str(place))}; true"


@pytest.mark.parametrize(
    ("section", "key"),
    [
        ("vault", "token_file"),
        ("vault", "secret_id_file"),
        ("vault", "jwt_file"),
        ("nomad", "token_file"),
        ("nomad", "client_key"),
        ("http", "webhook_secret_file"),
    ],
)
def test_every_credential_of_the_settings(place: Path, section: str, key: str) -> None:
    file = write(place / "keys" / "file")
    write(place / "keys" / "beside", "seen")
    settings = settings_of(place, **{section: {key: file}})
    assert run(settings, search(place)) == "seen\n"


def test_a_file_that_is_replaced_while_a_formula_runs(place: Path) -> None:
    file = write(place / "keys" / "token")
    settings = settings_of(place, vault={"token_file": file})
    with running(settings) as shell:
        write(place / "keys" / "new").rename(file)
        assert SECRET not in said(shell, f"cat {file}; {search(place)}")


def test_a_file_that_is_made_while_a_formula_runs(place: Path) -> None:
    (place / "keys").mkdir()
    settings = settings_of(place, vault={"token_file": place / "keys" / "token"})
    with running(settings) as shell:
        write(place / "keys" / "token")
        assert SECRET not in said(shell, search(place))


def test_a_file_whose_directory_is_made_while_a_formula_runs(place: Path) -> None:
    settings = settings_of(place, vault={"token_file": place / "keys" / "of" / "token"})
    with running(settings) as shell:
        write(place / "keys" / "of" / "token")
        assert SECRET not in said(shell, search(place))


def test_a_file_made_between_two_runs(place: Path) -> None:
    """Hidden paths are looked for at each run."""
    settings = settings_of(place, vault={"token_file": place / "keys" / "token"})
    box, _ = find(settings)
    assert box is not None
    spool = Spool(settings.state_dir / "runs", RunKey(action_id="a", blob="b"))
    spool.path.mkdir(parents=True)
    spool.prepare()
    for text in ("", SECRET):
        write(place / "keys" / "token", text)
        line = [*box.command(spool, ()), "bash", "-c", search(place)]
        assert subprocess.run(line, capture_output=True, check=False).stdout == b""


def test_a_link_that_is_switched_while_a_formula_runs(place: Path) -> None:
    """As certificate tools do."""
    keys = place / "live"
    write(place / "archive" / "key1")
    keys.mkdir()
    (keys / "key").symlink_to("../archive/key1")
    settings = settings_of(place, nomad={"client_key": keys / "key"})
    with running(settings) as shell:
        assert SECRET not in said(shell, search(place))
        write(place / "archive" / "key2")
        (keys / "new").symlink_to("../archive/key2")
        (keys / "new").rename(keys / "key")
        assert SECRET not in said(shell, f"cat {keys}/key; {search(place)}")


def test_a_mounted_volume_that_is_switched_while_a_formula_runs(place: Path) -> None:
    """As Kubernetes does: token -> ..data/token, ..data -> ..1, and later ..data -> ..2."""
    volume = place / "volume"
    write(volume / "..1" / "token")
    (volume / "..data").symlink_to("..1")
    (volume / "token").symlink_to("..data/token")
    settings = settings_of(place, vault={"jwt_file": volume / "token"})
    with running(settings) as shell:
        assert SECRET not in said(shell, f"cat {volume}/token; {search(place)}")
        write(volume / "..2" / "token")
        (volume / "..new").symlink_to("..2")
        (volume / "..new").rename(volume / "..data")
        assert SECRET not in said(shell, f"cat {volume}/token; {search(place)}")


def test_mounts_not_asked_for(place: Path) -> None:
    write(place / "real" / "key")
    (place / "link").symlink_to(place / "real")
    mounts = {Mount.SSH: place / "link", Mount.GPG: place / "later"}
    settings = settings_of(place, local={"mounts": mounts})
    with running(settings) as shell:
        write(place / "later" / "key")
        assert SECRET not in said(shell, f"cat {place}/link/key; {search(place)}")
    assert run(settings, 'cat "$PWD/.ssh/key"', Mount.SSH) == SECRET


def test_both_homes(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What ``$HOME`` says, and what passwd says."""
    other = write(place / "passwd-home" / ".ssh" / "key").parents[1]
    write(place / "home" / ".ssh" / "key")
    entry = type("Entry", (), {"pw_dir": str(other)})
    monkeypatch.setattr("pwd.getpwuid", lambda _uid: entry)
    assert run(settings_of(place), search(place)).count(SECRET) == 2
    assert run(settings_of(place, local={"hide_home": True}), search(place)) == ""


def test_the_token_of_a_home_that_is_not_hidden(place: Path) -> None:
    write(place / "home" / "tool", "seen")
    settings = settings_of(place)
    with running(settings) as shell:
        write(place / "home" / ".vault-token")
        assert said(shell, search(place)).strip() == "seen"


def test_a_credential_directly_below_the_root(place: Path) -> None:
    """It may be made later, and the whole machine is still there."""
    settings = settings_of(place, vault={"token_file": "/disinto-absent/token"})
    said_all = run(settings, "ls -d /usr/bin/env /disinto-absent; touch /x; touch /etc/x; ls /tmp")
    assert said_all.startswith("ls: cannot access '/disinto-absent'")
    assert "\n/usr/bin/env\n" in said_all
    assert said_all.count("Read-only file system") == 2


def test_what_is_beside_a_credential_cannot_be_written(place: Path) -> None:
    file = write(place / "keys" / "token")
    settings = settings_of(place, vault={"token_file": file})
    assert "Read-only file system" in run(settings, f"echo x > {file}")


def test_too_much_beside_a_credential(place: Path) -> None:
    for number in range(1001):
        write(place / "keys" / f"file-{number}")
    settings = settings_of(place, vault={"token_file": place / "keys" / "token"})
    with pytest.raises(Exception, match="a directory of their own"):
        command(settings)


# Mounts that would show what is hidden


@pytest.mark.parametrize("where", ["state", "state/runs", "home", "keys", "link"])
def test_a_mount_never_shows_what_is_hidden(place: Path, where: str) -> None:
    write(place / "keys" / "token")
    (place / "link").symlink_to(place / "keys")
    (place / "state" / "runs").mkdir(parents=True)
    settings = settings_of(
        place,
        vault={"token_file": place / "link" / "token"},
        local={"mounts": {Mount.AGENT_DATA: place / where}},
    )
    with pytest.raises(CannotSubmit, match="must not see") as caught:
        command(settings, Mount.AGENT_DATA)
    assert caught.value.verdict == "unplaceable"


def test_a_mount_below_a_hidden_home_is_shown(place: Path) -> None:
    """Keys of the dispatcher's user may be offered."""
    write(place / "home" / ".ssh" / "id")
    mounts = {Mount.SSH: place / "home" / ".ssh"}
    settings = settings_of(place, local={"hide_home": True, "mounts": mounts})
    assert run(settings, 'cat "$PWD/.ssh/id"', Mount.SSH) == SECRET
    assert SECRET not in run(settings, f"cat {place}/home/.ssh/id", Mount.SSH)


def test_a_credential_inside_a_mount(place: Path) -> None:
    file = write(place / "data" / "keys" / "token")
    write(place / "data" / "keys" / "beside", "seen")
    settings = settings_of(
        place,
        vault={"token_file": file},
        local={"mounts": {Mount.AGENT_DATA: place / "data"}},
    )
    script = 'echo new > "$PWD/data/file"; cd "$PWD/data"; grep -rh . .'
    assert sorted(run(settings, script, Mount.AGENT_DATA).split()) == ["new", "seen"]
    with running(settings, Mount.AGENT_DATA) as shell:
        write(place / "data" / "keys" / "new").rename(file)
        assert SECRET not in said(shell, f'cd "$PWD/data"; cat keys/*; {search(place)}')


# The agent command


@pytest.fixture
def tmp() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="hiding-") as folder:
        yield Path(folder)


def test_only_the_operators_words_name_programs(place: Path, tmp: Path) -> None:
    """An action's ``model`` and ``tools`` are never looked at as paths."""
    program = write(tmp / "agent", "program")
    token = write(place / "keys" / "token")
    template = [str(program), "--model", "{model}", f"{tmp}/{{tools}}", f"{tmp}/a{{model}}"]
    for name in ("{tools}", "a{model}", "other"):
        write(tmp / name, "not a program")
    settings = settings_of(place, agent={"command": template}, vault={"token_file": token})
    assert run(settings, search(tmp), agent=True) == "program\n"
    assert run(settings, search(tmp)) == ""


@pytest.mark.parametrize("way", ["word", "link", "dots", "directory"])
def test_an_operators_word_shows_nothing_that_is_hidden(place: Path, tmp: Path, way: str) -> None:
    token = write(place / "keys" / "token")
    words = {
        "word": write(tmp / "keys" / "token"),
        "link": tmp / "link",
        "dots": Path(f"/tmp/..{token}"),
        "directory": tmp / "folder" / "token",
    }
    (tmp / "link").symlink_to(token)
    (tmp / "folder").symlink_to(token.parent)
    hidden = words["word"] if way == "word" else token
    settings = settings_of(
        place, agent={"command": ["agent", str(words[way])]}, vault={"token_file": hidden}
    )
    if way == "dots":  # in /tmp by its letters alone
        assert SECRET not in run(settings, f"cat {words[way]}; {search(place)}", agent=True)
        return
    with pytest.raises(CannotSubmit, match="hidden from formulas") as caught:
        command(settings, agent=True)
    assert caught.value.verdict == "error"


# Root


@pytest.mark.skipif(os.geteuid() != 0, reason="root alone may write there")
class TestRoot:
    def test_no_setting_of_the_kernel_can_be_written(self, place: Path) -> None:
        script = (
            "find /proc /sys -xdev -path '/proc/[0-9]*' -prune -o -type f -perm /222 -print0"
            " | while IFS= read -r -d '' file; do"
            ' if { : >>"$file"; } 2>/dev/null; then echo "$file"; fi; done'
        )
        # Opening for writing changes nothing yet.
        assert run(settings_of(place), script) == ""

    def test_not_through_another_proc_either(self, place: Path) -> None:
        name = "/proc/sys/kernel/core_pattern"
        script = (
            f"unshare -rmpf bash -c 'mount -t proc proc /mnt && cat {name} > /mnt/sys/kernel/core_pattern"
            f" && echo written'; mount -o remount,rw /proc/sys && echo remounted; cat {name} > {name}"
        )
        said_all = run(settings_of(place), script)
        assert "written" not in said_all
        assert "remounted" not in said_all
        assert "Read-only file system" in said_all

    def test_no_capability_over_the_machine(self, place: Path) -> None:
        found = run(settings_of(place), "grep ^CapEff /proc/self/status").split()[1]
        kept = [number for number in range(64) if int(found, 16) >> number & 1]
        # capabilities(7): chown, dac_override, fowner, fsetid, kill, setgid, setuid,
        # net_bind_service, net_raw
        assert kept == [0, 1, 3, 4, 5, 6, 7, 10, 13]


def test_a_mount_out_of_reach_is_nobody_elses_trouble(place: Path) -> None:
    """An action that wants it is unplaceable; the engine is not away because of it."""
    (place / "loop").symlink_to("loop")
    settings = settings_of(place, local={"mounts": {Mount.SSH: place / "loop"}})
    spec = RunSpec(
        key=RunKey(action_id="a", blob="b"),
        commit="",
        tier=Tier.LOW,
        formula=FormulaRef(name="f", kind=FormulaKind.SHELL, blob="b", sha256=""),
        mounts=(Mount.SSH,),
    )
    grant = Grant(wrapping_accessor="", accessor="")
    with pytest.raises(CannotSubmit, match="not accessible") as caught:
        LocalScheduler(settings).submit(spec, WrappedGrant(grant=grant, token="", creation_path=""))
    assert caught.value.verdict == "unplaceable"
