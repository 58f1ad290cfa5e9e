"""Reads ``outcome.json`` from an allocation, where the formula may have written as well.

A formula can put anything in its place and kill its runner. So nothing is opened that is not a
regular file (Nomad's client waits forever for the writer of a FIFO): the directory is listed before, unless
the runner has just said that it left the file there, which it does when it has ended all of the formula's
processes. Since a process that the formula left may swap it at
any time, listing and reading have a deadline each.
"""

from __future__ import annotations

from dataclasses import dataclass

from dispatcher.engines.nomad.api import NomadApi, Rejected
from dispatcher.engines.nomad.render import OUTCOME_FILE
from dispatcher.model.payload import MAX_OUTCOME_BYTES, NotAuthentic, decode_outcome
from dispatcher.model.run import Outcome

READ_WITHIN_S = 5.0
"""For each of the two calls; an outcome has 16 MiB at most, and a healthy node takes milliseconds."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """What a runner reported in its ``outcome.json``.

    Attributes:
        outcome: None if there is no readable one.
        authentic: it verified with the run's key.
        forged: the file was not written by the run's runner.
    """

    outcome: Outcome | None = None
    authentic: bool = False
    forged: bool = False


NO_REPORT = Report()
_FORGED = Report(forged=True)


def read(api: NomadApi, alloc_id: str, *, key: str, vouched: bool = False) -> Report:
    """The runner's report in an allocation.

    Args:
        key: the run's ``outcome_key``; "" for a run of an older release.
        vouched: whether the runner said, with that key, that the file is there: it is read without a look.

    Raises:
        TemporaryError: its node does not answer in time.
        Denied: the token may not read files.
    """
    try:
        if not vouched:
            info = api.file(alloc_id, OUTCOME_FILE, within_s=READ_WITHIN_S)
            if info is None:
                return NO_REPORT
            if not info.get("FileMode", "").startswith("-"):
                return _FORGED
        data = api.cat(alloc_id, OUTCOME_FILE, limit=MAX_OUTCOME_BYTES, within_s=READ_WITHIN_S)
    except Rejected:
        return _FORGED  # a link that leads out of the allocation
    return NO_REPORT if data is None else decoded(data, key=key)


def decoded(data: bytes, *, key: str) -> Report:
    """What these bytes of an ``outcome.json`` report.

    Args:
        key: see ``read``.
    """
    try:
        return Report(outcome=decode_outcome(data, key=key), authentic=bool(key))
    except NotAuthentic:
        return _FORGED
    except ValueError:
        return NO_REPORT
