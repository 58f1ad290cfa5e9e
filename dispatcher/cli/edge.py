"""The edge: the one place where an exception becomes a message on stderr and an exit code.

No traceback reaches a user. A defect is recorded in a file that the message names, or on stderr
with ``DISINTO_DEBUG=1``.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import click

from dispatcher.cli import COMPLETE_VARIABLE
from dispatcher.cli.root import root
from dispatcher.cli.session import Session
from dispatcher.errors import DisintoError, Exit, InvalidInput, Misconfigured
from dispatcher.settings_file import SEARCHED

PROGRAM = "disinto"
INTERRUPTED = 130
"""As a shell reports an interrupt."""
BROKEN_PIPE = 141
"""As a shell reports a closed pipe."""


EXTRA_ARGUMENTS = "Got unexpected extra argument"
"""Prefix of click's message that repeats the argument."""


def run(arguments: Sequence[str], *, session: Session | None = None) -> int:
    """Run one command line; returns its exit code and never raises."""
    session = session or Session()
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # names of files need not be UTF-8
            stream.reconfigure(errors="backslashreplace")
    code: int = Exit.OK
    try:
        code = guarded(lambda: _invoke(list(arguments), session), session)
        if sys.stdout is not None:  # closed by whoever called
            sys.stdout.flush()
    except OSError as error:
        # The interpreter flushes once more at its end, which must not fail.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):
            return BROKEN_PIPE
        if code == Exit.OK:  # else it was reported
            _tell(f"error: {_in_words(error)}")
            return Exit.IOERR
    return code


def guarded(act: Callable[[], int], session: Session) -> int:  # noqa: PLR0911 - one for each kind
    """Call ``act``; its exceptions become a message and an exit code.

    Raises:
        BrokenPipeError: the reader of the output is gone.
    """
    try:
        return act()
    except click.exceptions.Exit as ended:
        return ended.exit_code
    except click.ClickException as error:
        _tell_usage(error)
        return Exit.USAGE
    except (KeyboardInterrupt, click.Abort):
        click.echo("", err=True)  # after the terminal's ^C
        _tell(session.on_interrupt or "interrupted")
        return INTERRUPTED
    except DisintoError as error:
        tell_error(error)
        if isinstance(error, Misconfigured) and _without_a_file(session):
            click.echo(f"  No settings file was found. {SEARCHED}", err=True)
        return error.exit_code
    except BrokenPipeError:
        raise
    except OSError as error:
        _tell(f"error: {_in_words(error)}")
        return Exit.NOINPUT if isinstance(error, FileNotFoundError) else Exit.IOERR
    except Exception as error:  # noqa: BLE001 - the last net: a user never sees a traceback
        _tell_defect(error, session)
        return Exit.SOFTWARE


def _without_a_file(session: Session) -> bool:
    """Whether the settings were read, and no file was there to read them from."""
    try:
        return "settings" in vars(session) and not session.has_settings_file
    except DisintoError:
        return False


def tell_error(error: DisintoError) -> None:
    """Print one message on stderr: what was wrong, and below it the remedy."""
    if isinstance(error, InvalidInput):
        for problem in error.problems:
            place = (problem.path, problem.line, problem.column)
            where = ":".join(str(part) for part in place if part is not None)
            _tell(f"error: {where}: {problem.message}", remedy=problem.remedy)
        return
    _tell(f"error: {error.what}", remedy=error.remedy)


def _invoke(arguments: list[str], session: Session) -> int:
    instruction = os.environ.get(COMPLETE_VARIABLE)
    if instruction:
        from click.shell_completion import shell_complete

        return shell_complete(root, {"obj": session}, PROGRAM, COMPLETE_VARIABLE, instruction)
    colour = False if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb" else None
    with root.make_context(PROGRAM, arguments, obj=session, color=colour) as context:
        code = root.invoke(context)
    return code if isinstance(code, int) else Exit.OK


def _tell(message: str, *, remedy: str | None = None) -> None:
    click.echo(f"{PROGRAM}: {message.rstrip('.')}", err=True)
    if remedy:
        click.echo(f"  {remedy}", err=True)


def _tell_usage(error: click.ClickException) -> None:
    message = error.format_message()
    if message.startswith(EXTRA_ARGUMENTS):
        message = "too many arguments. They are not shown, in case one is a secret"
    if not message[:2].isupper():  # the name of an argument is kept unchanged
        message = f"{message[:1].lower()}{message[1:]}"
    _tell(f"error: {message}")
    context = error.ctx if isinstance(error, click.UsageError) else None
    if context is not None:
        click.echo(f"  {context.get_usage()}", err=True)
        if context.parent is not None:
            click.echo(f"  '{context.command_path} --help' shows more.", err=True)


def _tell_defect(error: Exception, session: Session) -> None:
    """Record a defect's traceback in a file, and report its path."""
    import traceback

    text = "".join(traceback.format_exception(error))
    if os.environ.get("DISINTO_DEBUG") == "1":
        click.echo(text, err=True, nl=False)
    what = f"internal error in {PROGRAM}: {type(error).__name__}"
    try:
        where = _write_down(text, session.state_dir)
    except OSError:
        _tell(f"error: {what}", remedy="Set DISINTO_DEBUG=1 to see the traceback.")
    else:
        _tell(f"error: {what}", remedy=f"The traceback is in {where}; please report it.")


def _write_down(text: str, state_dir: Path | None) -> Path:
    """Write a traceback, readable only by its owner. It contains no values, so no secrets."""
    import tempfile
    import time

    folder = state_dir if state_dir is not None and state_dir.is_dir() else None
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    descriptor, name = tempfile.mkstemp(prefix=f"crash-{stamp}-", suffix=".log", dir=folder)
    with os.fdopen(descriptor, "w", encoding="utf-8", errors="backslashreplace") as file:
        file.write(text)
    return Path(name)


def _in_words(error: OSError) -> str:
    what = error.strerror or str(error)
    return f"{error.filename}: {what}" if error.filename else what
