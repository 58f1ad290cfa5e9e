"""The command ``disinto``.

What people type most while they look around (``disinto``, ``disinto --help``, ``disinto --version``)
is answered from a text file, without the libraries that every other command needs: importing click
alone costs three times as much as starting Python.
"""

import os
import sys

from dispatcher.cli import COMPLETE_VARIABLE, HELP_FILE


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
        from dispatcher.cli.edge import run

        return run(arguments)
    except KeyboardInterrupt:  # before the commands were there to answer it
        return 130


def _print_help() -> int:
    with open(HELP_FILE, "rb") as file:  # noqa: PTH123 - pathlib would cost a third more
        return _write(file.read())


def _write(text: bytes) -> int:
    try:
        sys.stdout.buffer.write(text)
        sys.stdout.buffer.flush()
    except OSError as error:
        # The interpreter flushes once more at its end, which must not complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):
            return 141
        sys.stderr.write(f"disinto: error: {error.strerror}\n")
        return 74
    return 0


if __name__ == "__main__":
    sys.exit(main())
