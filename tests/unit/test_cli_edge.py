"""The edge: every kind of exception becomes a message and an exit code."""

from __future__ import annotations

import os
import subprocess
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import click
import pytest

from dispatcher.cli.edge import BROKEN_PIPE, INTERRUPTED, guarded, run
from dispatcher.cli.session import Session
from dispatcher.errors import (
    Conflict,
    Denied,
    Dependency,
    DisintoError,
    Exit,
    InvalidInput,
    Misconfigured,
    NotFound,
    Problem,
    Unavailable,
)


def raising(error: BaseException) -> Callable[[], int]:
    def act() -> int:
        raise error

    return act


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (
            Unavailable(Dependency.VAULT, "no answer", remedy="Start it."),
            69,
            ["no answer", "Start"],
        ),
        (Denied(Dependency.REMOTE, "not for you"), 77, ["not for you"]),
        (Misconfigured("a key is wrong", remedy="Mend it."), 78, ["a key is wrong", "Mend it."]),
        (NotFound("there is none"), 66, ["there is none"]),
        (Conflict("it changed"), 70, ["it changed"]),
        (
            InvalidInput(
                [
                    Problem(message="first", path="a.toml", line=3, column=7, remedy="Do this"),
                    Problem(message="second", path="a.toml"),
                ]
            ),
            65,
            ["a.toml:3:7: first", "Do this", "a.toml: second"],
        ),
        (FileNotFoundError(2, "No such file", "/x/y"), 66, ["/x/y: No such file"]),
        (PermissionError(13, "Permission denied", "/x/y"), 74, ["/x/y: Permission denied"]),
        (OSError(28, "No space left on device"), 74, ["No space left"]),
        (click.UsageError("No such option: --x"), 64, ["no such option: --x"]),
        (KeyboardInterrupt(), INTERRUPTED, ["interrupted"]),
        (click.Abort(), INTERRUPTED, ["interrupted"]),
    ],
)
def test_errors_become_messages(
    error: BaseException, code: int, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert guarded(raising(error), Session()) == code
    said = capsys.readouterr()
    assert said.out == ""
    assert "Traceback" not in said.err
    for word in words:
        assert word in said.err
    lines = [line for line in said.err.splitlines() if line]
    assert lines[0].startswith("disinto: ")


def test_an_interrupt_says_what_goes_on(capsys: pytest.CaptureFixture[str]) -> None:
    session = Session(on_interrupt="the run goes on")
    assert guarded(raising(KeyboardInterrupt()), session) == INTERRUPTED
    assert "disinto: the run goes on" in capsys.readouterr().err


def test_a_broken_pipe_passes_through() -> None:
    with pytest.raises(BrokenPipeError):
        guarded(raising(BrokenPipeError()), Session())
    assert BROKEN_PIPE == 141


def test_a_defect_is_written_down(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DISINTO_DEBUG", raising=False)
    session = Session()
    session.__dict__["settings"] = SimpleNamespace(state_dir=tmp_path)
    assert guarded(raising(ValueError("inner")), session) == Exit.SOFTWARE
    said = capsys.readouterr().err
    (log,) = tmp_path.glob("crash-*.log")
    assert str(log) in said
    assert "Traceback" not in said
    assert "ValueError: inner" in log.read_text()
    assert log.stat().st_mode & 0o077 == 0


def test_debug_shows_the_traceback(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DISINTO_DEBUG", "1")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert guarded(raising(ValueError("inner")), Session()) == Exit.SOFTWARE
    assert "Traceback" in capsys.readouterr().err


def test_every_error_class_has_an_exit_code() -> None:
    def below(cls: type[DisintoError]) -> list[type[DisintoError]]:
        return [cls, *(found for sub in cls.__subclasses__() for found in below(sub))]

    assert all(isinstance(cls.exit_code, Exit) for cls in below(DisintoError))


@pytest.mark.parametrize(
    "arguments",
    [["frobnicate"], ["status", "--nosuch"], ["dispatch"], ["schema", "nosuch"], ["--nosuch"]],
)
def test_wrong_usage_exits_64(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(arguments) == Exit.USAGE
    said = capsys.readouterr().err
    assert said.startswith("disinto: error: ")
    assert "Usage: disinto" in said


def test_a_near_miss_is_suggested(capsys: pytest.CaptureFixture[str]) -> None:
    run(["statsu"])
    assert "Did you mean 'status'?" in capsys.readouterr().err


def test_tracebacks_hold_no_values() -> None:
    """What is written down would hold secrets if tracebacks showed local variables."""

    def fails(value: str) -> None:
        raise ValueError

    try:
        fails("s3cr3t")
    except ValueError as error:
        text = "".join(traceback.format_exception(error))
    assert "s3cr3t\n" not in text.replace('fails("s3cr3t")', "")


@pytest.mark.parametrize("words", ["", "help exit-codes", "validate nothing.toml"])
@pytest.mark.parametrize("stdout", ["/dev/full", "&-"])
def test_a_standard_output_that_takes_nothing_ends_without_traceback(
    words: str, stdout: str
) -> None:
    command = f"{sys.executable} -m dispatcher {words} >{stdout}"
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    done = subprocess.run(
        ["sh", "-c", command], capture_output=True, text=True, check=False, env=environ
    )
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr
    if words.startswith("validate"):
        assert done.returncode not in (0, 70)
    elif stdout == "&-":
        assert done.returncode == 0
    else:
        assert done.returncode == 74
        assert done.stderr == "disinto: error: No space left on device\n"
