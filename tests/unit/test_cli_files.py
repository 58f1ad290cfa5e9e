"""The commands that need no server: validate, schema, init, completion, help, audit."""

from __future__ import annotations

import json
import os
import subprocess
import time
from pathlib import Path

import pytest

from dispatcher.assembly import open_repo
from dispatcher.audit import AuditLog
from dispatcher.cli.dispatch import is_file
from dispatcher.cli.edge import run
from dispatcher.errors import Exit
from dispatcher.settings import load_settings
from dispatcher.status.overview import OpenAction, Overview, State
from dispatcher.status.status_file import StatusFile

GOOD = 'id = "{id}"\nformula = "hello"\ncontext = "c"\nsecrets = ["TOKEN"]\n'


@pytest.fixture(autouse=True)
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty directory as the current one, and no settings of this machine."""
    home = tmp_path / "desk"
    home.mkdir()
    monkeypatch.chdir(home)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in ("DISINTO_CONFIG", "XDG_CONFIG_HOME", "VAULT_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    return home


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_a_good_file_is_valid(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(desk / "a.toml", GOOD.format(id="a"))
    assert run(["validate", "a.toml"]) == Exit.OK
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == "1 action file, all valid\n"


def test_all_problems_are_named_at_once(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(desk / "a.toml", 'id = "b"\nformula = 3\nsecrets = ["x"]\nnosuch = 1\n')
    write(desk / "b.toml", "id = \n")
    assert run(["validate", "a.toml", "b.toml"]) == Exit.DATAERR
    out = capsys.readouterr().out
    for place in ("a.toml:1:6:", "a.toml:2:11:", "a.toml:3:12:", "a.toml:4:1:", "b.toml:1:6:"):
        assert place in out


def test_validate_json_tells_the_same(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(desk / "a.toml", GOOD.format(id="a"))
    write(desk / "b.toml", GOOD.format(id="other"))
    assert run(["validate", "--json", "."]) == Exit.DATAERR
    told = json.loads(capsys.readouterr().out)
    assert told["valid"] is False
    by_id = {file["id"]: file for file in told["files"]}
    assert by_id["a"]["valid"] is True
    assert by_id["b"]["problems"][0]["line"] == 1


def test_validate_knows_the_formulas_where_there_are_settings(
    desk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(desk / "disinto.toml", '[formulas]\npath = "mine"\n')
    write(desk / "mine" / "own.sh", "true\n")
    write(desk / "ops" / "formulas" / "theirs.sh", "true\n")
    for name in ("own", "theirs", "nosuch"):
        text = GOOD.format(id=name).replace("hello", name)
        write(desk / "ops" / "vault" / "actions" / f"{name}.toml", text)
    assert run(["validate", "ops"]) == Exit.DATAERR
    out = capsys.readouterr().out
    assert out.count("\n") == 1
    assert 'there is no formula "nosuch"' in out


def test_a_misspelled_formula_beside_the_settings_is_named(
    desk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Once the ops repo has been fetched; before that, validate reports that it could not check."""
    assert run(["init", "new"]) == Exit.OK
    action = write(desk / "new" / "mine.toml", GOOD.format(id="mine").replace("hello", "helo"))
    config = ["--config", "new/disinto.toml"]
    capsys.readouterr()
    assert run([*config, "validate", str(action)]) == Exit.OK
    assert 'not checked: formula "helo"' in capsys.readouterr().err
    settings = load_settings(desk / "new" / "disinto.toml", {})
    open_repo(settings, {}).fetch()
    assert run([*config, "validate", str(action)]) == Exit.DATAERR
    out = capsys.readouterr().out
    assert 'there is no formula "helo"' in out
    assert "hello" in out


def test_of_a_folder_only_open_actions_are_checked(
    desk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(desk / "disinto.toml", '[formulas]\npath = "mine"\n')
    write(desk / "mine" / "hello.sh", "true\n")
    write(desk / "policy.toml", "")
    write(desk / "a.toml", GOOD.format(id="a"))
    write(desk / "spent.toml", "wrong = ")
    write(desk / "spent.result.json", "{}")
    assert run(["validate", "."]) == Exit.OK
    assert capsys.readouterr().err.endswith("1 action file, all valid; 1 finished, not checked\n")
    assert run(["validate", "--json", "."]) == Exit.OK
    assert json.loads(capsys.readouterr().out)["finished"] == ["spent.toml"]
    assert run(["validate", "spent.toml"]) == Exit.DATAERR, "a file that is named is checked"


def test_validate_shows_what_raises_a_tier(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(desk / "disinto.toml", '[policy]\nfile = "policy.toml"\n')
    write(desk / "policy.toml", '[tiers]\nhello = "low"\n[secrets]\nOTHER = "low"\n')
    write(desk / "a.toml", GOOD.format(id="a"))
    write(desk / "b.toml", GOOD.format(id="b").replace("TOKEN", "OTHER"))
    assert run(["validate", "a.toml", "b.toml"]) == Exit.OK
    assert capsys.readouterr().out == (
        'a.toml: tier high: the policy gives "hello" the tier low; secret TOKEN raises it to high '
        "(not named in [secrets])\n"
    )
    assert run(["validate", "--json", "a.toml"]) == Exit.OK
    (file,) = json.loads(capsys.readouterr().out)["files"]
    assert file["tier"]["tier"] == "high"
    assert [c["tier"] for c in file["tier"]["contributions"]] == ["low", "high"]


@pytest.mark.parametrize("kind", ["missing", "link", "folder", "ending", "huge", "binary"])
def test_odd_files_are_problems_and_never_tracebacks(
    desk: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = desk / ("odd.txt" if kind == "ending" else "odd.toml")
    match kind:
        case "link":
            path.symlink_to(write(desk / "elsewhere", GOOD))
        case "folder":
            path.mkdir()
        case "ending":
            path.write_text(GOOD)
        case "huge":
            path.write_bytes(b"#" * 1_000_000)
        case "binary":
            path.write_bytes(b"\xff\x00\xfe")
    code = run(["validate", str(path)])
    said = capsys.readouterr()
    assert code == (Exit.NOINPUT if kind == "missing" else Exit.DATAERR)
    assert path.name in said.out + said.err
    assert "Traceback" not in said.err


@pytest.mark.parametrize("kind", ["action", "result", "settings", "policy"])
def test_schemas_are_json(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["schema", kind]) == Exit.OK
    assert json.loads(capsys.readouterr().out)["type"] == "object"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts_name_the_command(
    shell: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["completion", shell]) == Exit.OK
    assert "_DISINTO_COMPLETE" in capsys.readouterr().out


def test_init_makes_a_folder_that_is_valid(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["init", "new"]) == Exit.OK
    new = desk / "new"
    assert (new / "disinto.toml").is_file()
    assert 'remote = "ops.git"' in (new / "disinto.toml").read_text()
    log = subprocess.run(
        ["git", "-C", str(new / "ops.git"), "ls-tree", "-r", "--name-only", "main"],
        capture_output=True, text=True, check=True,
    ).stdout.split()  # fmt: skip
    assert "vault/actions/.gitkeep" in log
    assert not [name for name in log if name.startswith("vault/actions/") and name.endswith("toml")]
    assert (new / "ops" / "examples" / "hello.toml").is_file()
    capsys.readouterr()
    assert run(["--config", "new/disinto.toml", "validate", "new/ops/examples/hello.toml"]) == 0


def test_init_overwrites_nothing(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kept = write(desk / "new" / "disinto.toml", "# mine\n")
    assert run(["init", "new"]) == Exit.CANTCREAT
    assert kept.read_text() == "# mine\n"
    assert [path.name for path in (desk / "new").iterdir()] == ["disinto.toml"]
    assert "new already exists" in capsys.readouterr().err


def test_init_that_failed_can_be_tried_again(
    desk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["init", "new", "--remote", "ssh://127.0.0.1:1/nosuch"]) in (69, 77, 78)
    assert run(["init", "new"]) == Exit.OK


@pytest.mark.parametrize("option", ["--no-follow", "--sign"])
def test_an_id_is_followed_or_nothing(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["dispatch", option, "some-id"]) == Exit.USAGE
    assert "some-id is an id" in capsys.readouterr().err


def test_an_id_is_one_where_the_folder_may_not_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """As with ``sudo -u disinto`` in root's home directory."""

    def refused(path: object, **_: object) -> os.stat_result:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "stat", refused)
    assert not is_file("some-id")


def test_help_explains_the_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["help", "exit-codes"]) == Exit.OK
    out = capsys.readouterr().out
    assert "65  an action, a formula or the policy is invalid" in out
    assert "124  timed_out" in out
    assert run(["help", "nosuch"]) == Exit.USAGE
    assert run(["help", "status"]) == Exit.OK


def test_audit_verify_finds_a_change_and_a_new_chain(
    desk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = desk / ".disinto" / "audit.jsonl"
    log = AuditLog(path)
    for number in range(3):
        log.append("claimed", action=f"a{number}")
    assert run(["audit", "verify", "--json"]) == Exit.OK
    digest = json.loads(capsys.readouterr().out)["digest"]
    log.append("ended", action="a0")
    assert run(["audit", "verify", "--expect", digest]) == Exit.OK
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines).replace(b"a1", b"a9"))
    capsys.readouterr()
    assert run(["audit", "verify"]) == Exit.FAILED
    assert "audit.jsonl:" in capsys.readouterr().out
    # All of it written anew is a whole chain; only the digest that was kept tells.
    for file in path.parent.iterdir():
        file.unlink()
    log.append("claimed", action="b")
    assert run(["audit", "verify"]) == Exit.OK
    assert run(["audit", "verify", "--expect", digest]) == Exit.FAILED


def test_audit_verify_without_a_log(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["audit", "verify"]) == Exit.NOINPUT
    assert "audit.jsonl" in capsys.readouterr().err


def test_ids_of_open_actions_are_completed(
    desk: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    actions = tuple(OpenAction(id=name, state=State.WAITING) for name in ("deploy-1", "other"))
    overview = Overview(at=time.time(), open=actions)
    (desk / ".disinto").mkdir()
    with StatusFile(desk / ".disinto", lambda: overview) as file:
        file.status(None)  # type: ignore[arg-type]
    monkeypatch.setenv("_DISINTO_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", "disinto status dep")
    monkeypatch.setenv("COMP_CWORD", "2")
    run([])
    assert capsys.readouterr().out == "plain,deploy-1\n"
    write(desk / "disinto.toml", "state_dir = [broken")
    run([])
    assert capsys.readouterr().out.strip() == ""
