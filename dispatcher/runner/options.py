"""Parses the runner's command line without argparse, which costs more than the rest of the start."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dispatcher.errors import Exit, PermanentError

USAGE = """usage: python -m dispatcher.runner --outcome FILE [--payload FILE] [--ops-repo DIR]
       python -m dispatcher.runner --spool DIR [--lock-fd N] [--log-limit BYTES] [-- SANDBOX…]

Runs one formula with its grant. Started by a scheduler, not by hand.

  --payload FILE     where the payload is; it is removed. Without it: standard input
  --outcome FILE     where outcome.json goes
  --ops-repo DIR     the mounted ops repo, for a formula that is not in the payload
  --spool DIR        folder of a local run: logs, outcome and private folder go there
  --lock-fd N        open file whose lock says that this runner lives; gets the process id
  --log-limit BYTES  kept of each stream
  SANDBOX            command line that runs what follows it
"""


class BadUsage(PermanentError):
    """The command line is invalid."""

    exit_code = Exit.USAGE


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """See ``USAGE``. "" and -1 if an option is not given."""

    outcome: str
    payload: str = ""
    ops_repo: str = ""
    spool: str = ""
    lock_fd: int = -1
    log_limit: int = 0
    sandbox: tuple[str, ...] = ()

    @property
    def started_marker(self) -> str:
        """File whose existence means that the grant may be used up, or ""."""
        return f"{self.spool}/started" if self.spool else ""

    @property
    def cancel_reason(self) -> str:
        """File in which a scheduler writes why it sends TERM, or ""."""
        return f"{self.spool}/cancel" if self.spool else ""


_NAMES = ("--payload", "--outcome", "--ops-repo", "--spool", "--lock-fd", "--log-limit")


def parse(argv: Sequence[str]) -> Options:
    """Read the arguments after the program's name.

    Raises:
        BadUsage: they are wrong.
    """
    values: dict[str, str] = {}
    rest = list(argv)
    while rest:
        name = rest.pop(0)
        if name == "--":
            break
        if name not in _NAMES or not rest:
            raise BadUsage(f"unknown or incomplete option {name!r}")
        values[name] = rest.pop(0)
    spool = values.get("--spool", "")
    outcome = values.get("--outcome", f"{spool}/outcome.json" if spool else "")
    if not outcome:
        raise BadUsage("--outcome or --spool is missing")
    try:
        lock_fd, log_limit = int(values.get("--lock-fd", "-1")), int(values.get("--log-limit", "0"))
    except ValueError:
        raise BadUsage("--lock-fd and --log-limit take numbers") from None
    return Options(
        outcome=outcome,
        payload=values.get("--payload", ""),
        ops_repo=values.get("--ops-repo", ""),
        spool=spool,
        lock_fd=lock_fd,
        log_limit=log_limit,
        sandbox=tuple(rest),
    )
