"""The command ``disinto``.

What people type most while they look around (``disinto``, ``disinto --help``, ``disinto --version``)
is answered from a text file, without the libraries that every other command needs: importing click
alone costs three times as much as starting Python. Ids at a press of TAB (``cli.ids``), and what a
running ``serve`` answers (``cli.by_serve``), need none of them either.
"""

import os
import sys

from dispatcher.cli import COMPLETE_VARIABLE, HELP_FILE

TYPE_CHECKING = False  # ``typing`` takes long to load
if TYPE_CHECKING:
    from collections.abc import Sequence


def main() -> int:
    """Run the command line of this process; returns its exit code."""
    arguments = sys.argv[1:]
    if COMPLETE_VARIABLE not in os.environ:
        if arguments in ([], ["--help"], ["-h"]):
            return _print_help()
        if arguments == ["--version"]:
            from dispatcher import __version__

            return _write(f"disinto {__version__}\n".encode())
    try:
        if instruction := os.environ.get(COMPLETE_VARIABLE):
            from dispatcher.cli.ids import completed

            answer = completed(instruction)
            if answer is not None:
                return _write(answer)
        else:
            code = _by_serve(arguments)
            if code is not None:
                return code
        from dispatcher.cli.edge import run

        return run(arguments)
    except KeyboardInterrupt:  # before the commands were there to answer it
        return 130


def _by_serve(arguments: "Sequence[str]") -> int | None:
    """Print what a running ``serve`` answers; None if this command finds out by itself."""
    from dispatcher.cli.by_serve import answered

    try:
        return 0 if answered(arguments) else None
    except OSError as error:
        return _failed(error)
    except KeyboardInterrupt:
        sys.stderr.write("\ndisinto: interrupted\n")  # after the terminal's ^C
        return 130


def _print_help() -> int:
    with open(HELP_FILE, "rb") as file:  # noqa: PTH123 - pathlib would cost a third more
        return _write(file.read())


def _write(text: bytes) -> int:
    if sys.stdout is None:  # closed by whoever called
        return 0
    try:
        sys.stdout.buffer.write(text)
        sys.stdout.buffer.flush()
    except OSError as error:
        return _failed(error)
    return 0


def _failed(error: OSError) -> int:
    """The exit code where nothing can be printed, or what is to be printed cannot be read."""
    # The interpreter flushes once more at its end, which must not complain.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if isinstance(error, BrokenPipeError):
        return 141
    where = f"{error.filename}: " if error.filename else ""
    sys.stderr.write(f"disinto: error: {where}{error.strerror}\n")
    return 74


if __name__ == "__main__":
    sys.exit(main())
