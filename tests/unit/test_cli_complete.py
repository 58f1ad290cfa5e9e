"""Completion of ids: what a shell is offered, and what may be loaded for that."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import click
import pytest

from dispatcher.assembly import open_repo
from dispatcher.cli import COMPLETE_VARIABLE, ids
from dispatcher.cli.edge import run
from dispatcher.cli.root import root
from dispatcher.settings import load_settings
from dispatcher.settings_file import state_dir
from dispatcher.status import status_file

SLOW_TO_LOAD = (
    "pydantic", "httpx", "urllib3", "hvac", "structlog", "rich", "jinja2", "tenacity", "asyncio",
    "cryptography", "tomli", "logging", "tempfile", "shutil", "traceback", "getpass", "hashlib",
    "dispatcher.settings", "dispatcher.ops_repo",
)  # fmt: skip

NOT_FOR_AN_ID = (
    *SLOW_TO_LOAD, "click", "dispatcher.cli.edge", "dispatcher.errors", "dataclasses", "inspect", "typing",
    "pathlib", "tomllib", "subprocess", "threading", "socket", "shutil", "contextlib",
)  # fmt: skip
"""Besides, after a command alone: most presses of TAB."""


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A new installation, as the current directory, whose clone is up to date."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in ("DISINTO_CONFIG", "DISINTO_STATE_DIR", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    assert run(["init", "new"]) == 0
    desk = tmp_path / "new"
    monkeypatch.chdir(desk)
    subprocess.run(["git", "clone", "-q", "ops.git", "work"], check=True)
    actions = desk / "work" / "vault" / "actions"
    for name in ("deploy-1.toml", "deploy-1.result.json", "deploy-2.toml", "report.toml"):
        (actions / name).write_text("x")
    identity = ("-c", "user.name=t", "-c", "user.email=t@example.org")
    for words in (("add", "-A"), ("commit", "-qm", "m"), ("push", "-q")):
        subprocess.run(["git", "-C", str(desk / "work"), *identity, *words], check=True)
    settings = load_settings(None, {})
    open_repo(settings, {}).fetch()
    status = {"overview": {"open": [{"id": "deploy-3"}, {"id": "report"}]}}
    (settings.state_dir / ids.STATUS_FILE).write_text(json.dumps(status))
    return desk


def offered(*words: str, slow: tuple[str, ...] = SLOW_TO_LOAD) -> list[str]:
    """What bash is offered for the last of these words, and nothing slow is loaded for it."""
    program = (
        "import sys; from dispatcher.__main__ import main; main();"
        f"slow = [m for m in {slow!r} if m in sys.modules];"
        "sys.exit(f'loaded: {slow}' if slow else 0)"
    )
    environ = {
        **os.environ,
        COMPLETE_VARIABLE: "bash_complete",
        "COMP_WORDS": " ".join(("disinto", *words)),
        "COMP_CWORD": str(len(words)),
    }
    done = subprocess.run(
        [sys.executable, "-c", program], env=environ, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return [line.partition(",")[2] for line in done.stdout.splitlines() if line]


def test_each_command_offers_the_ids_it_can_use(desk: Path) -> None:
    assert offered("cancel", "d") == ["deploy-3"]
    assert offered("verify", "d") == ["deploy-1"]
    assert offered("logs", "d") == ["deploy-1", "deploy-2", "deploy-3"]
    assert offered("status", "rep") == ["report"]


@pytest.mark.parametrize("command", sorted(ids.AFTER))
def test_an_id_right_after_its_command_needs_no_click(desk: Path, command: str) -> None:
    quick = offered(command, "", slow=NOT_FOR_AN_ID)
    assert quick == offered("--no-color", command, "")  # as click has it
    assert quick


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
@pytest.mark.parametrize("begin", ["", "deploy"])
def test_click_gives_each_shell_the_same(
    desk: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    shell: str, begin: str,
) -> None:  # fmt: skip
    monkeypatch.setenv(COMPLETE_VARIABLE, f"{shell}_complete")
    monkeypatch.setenv("COMP_WORDS", f"disinto logs {begin}".strip())
    monkeypatch.setenv("COMP_CWORD", begin if shell == "fish" else "2")
    quick = ids.completed(f"{shell}_complete")
    assert quick is not None
    assert quick.count(b"deploy") == 3
    capsys.readouterr()
    assert run([]) == 0
    assert capsys.readouterr().out == quick.decode()


@pytest.mark.parametrize(
    "line",
    ["logs --", "logs -", "logs a b", "plan", "log", "", "logs 'd", "secrets rm", "--no-color logs d",
     "logs d\\ e"],
)  # fmt: skip
@pytest.mark.parametrize("shell", ["bash", "zsh", "fish", "powershell", "source"])
def test_any_other_question_is_for_click(line: str, shell: str) -> None:
    last = line.rpartition(" ")[2]
    environ = {
        "COMP_WORDS": f"disinto {line}",
        "COMP_CWORD": last if shell == "fish" else str(len(line.split())),
    }
    assert ids.completed(f"{shell}_complete", environ) is None
    assert ids.completed("bash_source", environ) is None


def test_the_ids_after_each_command_are_those_of_its_argument() -> None:
    found = {}
    for name in root.list_commands(None):  # type: ignore[arg-type]
        command = root.get_command(None, name)  # type: ignore[arg-type]
        assert command is not None
        first = next((p for p in command.params if isinstance(p, click.Argument)), None)
        by = first._custom_shell_complete if first is not None else None
        if by is not None:
            found[name] = getattr(ids, by.__name__)
    assert found == ids.AFTER


def test_the_settings_that_config_names_count(desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(desk.parent)
    assert offered("logs", "d") == []
    assert offered("--config", "new/disinto.toml", "logs", "deploy-1") == ["deploy-1"]


@pytest.mark.parametrize("damage", ["no clone", "no status", "nonsense", "wrong settings"])
def test_damage_offers_less_and_complains_of_nothing(desk: Path, damage: str) -> None:
    state = desk / ".disinto"
    match damage:
        case "no clone":
            (state / "ops.git").rename(desk / "gone")
        case "no status":
            (state / ids.STATUS_FILE).unlink()
        case "nonsense":
            (state / ids.STATUS_FILE).write_text('{"overview": []}')
        case "wrong settings":
            (desk / "disinto.toml").write_text("state_dir = ")
    assert set(offered("logs", "deploy")) < {"deploy-1", "deploy-2", "deploy-3"}


@pytest.mark.parametrize(
    ("text", "environ"),
    [
        ("", {}),
        ('state_dir = "~/state"\n', {}),
        ('state_dir = "../elsewhere/./x"\n', {}),
        ("", {"DISINTO_STATE_DIR": "named"}),
        ("", {"DISINTO_STATE_DIR": "~/named"}),
    ],
)
def test_the_state_directory_is_the_one_of_the_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, environ: dict[str, str]
) -> None:
    file = tmp_path / "etc" / "disinto.toml"
    file.parent.mkdir()
    file.write_text(text)
    monkeypatch.chdir(tmp_path)
    environ = {**environ, "HOME": str(tmp_path / "home")}
    assert state_dir(file, environ) == load_settings(file, environ).state_dir


def test_the_name_of_the_status_file_is_said_twice_and_the_same() -> None:
    assert ids.STATUS_FILE == status_file.NAME


def children() -> set[str]:
    """Pids of the processes that this one has started and not yet waited for."""
    tasks = Path("/proc/self/task").iterdir()
    return {pid for task in tasks for pid in (task / "children").read_text().split()}


@pytest.mark.parametrize(
    "command",
    [("sleep", "60"), ("no-such-program",), ("false",), ("sh", "-c", "echo something; exit 1")],
    ids=["slow", "missing", "failing", "failing later"],
)
def test_a_git_that_fails_or_hangs_offers_nothing(
    monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    monkeypatch.setattr(ids, "TIMEOUT_S", 0.1 if command[0] == "sleep" else 60.0)
    before = children()
    assert ids._printed(*command) == b""
    assert children() <= before, "none is left"


def test_a_program_is_read_in_a_process_with_many_open_files() -> None:
    output, end = os.pipe()
    many = fcntl.fcntl(output, fcntl.F_DUPFD, 2000)
    os.write(end, b"deploy")
    os.close(end)
    try:
        assert ids._all_of(many, by=time.monotonic() + 60) == b"deploy"
    finally:
        os.close(output)
        os.close(many)


def test_all_that_a_program_prints_is_read() -> None:
    size = 3 * ids.PIECE
    assert len(ids._printed("head", "-c", str(size), "/dev/zero")) == size
