"""How a program behind a formula begins and ends."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Mapping

from dispatcher.errors import DisintoError, Exit
from dispatcher.provision.waiting import Cancelled, SystemClock

_CANCELLED = 143  # 128 + SIGTERM, as a shell has it

Program = Callable[[SystemClock], None]


def run_program(
    module: str, programs: Mapping[str, Program], argv: list[str], *, undone: Collection[str]
) -> int:
    """Run the program that the command line names. Returns its exit code.

    Args:
        module: as ``python -m`` has it.
        undone: names of the programs that leave nothing behind when they are cancelled.
    """
    if len(argv) != 1 or argv[0] not in programs:
        _tell(f"usage: python -m {module} {'|'.join(programs)}")
        return Exit.USAGE
    clock = SystemClock()
    clock.listen()
    try:
        programs[argv[0]](clock)
    except Cancelled:
        left = "nothing is left" if argv[0] in undone else "it may not be finished"
        _tell(f"cancelled: {left}")
        return _CANCELLED
    except DisintoError as error:
        _tell(str(error))
        return error.exit_code
    return Exit.OK


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)  # noqa: T201 - the output of a formula
