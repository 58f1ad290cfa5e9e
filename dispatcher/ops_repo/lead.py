"""The ref on the remote that records which installation leads: ``refs/disinto/lead``.

It points to a commit with an empty tree whose message is a ``LeadRecord`` in JSON. Its hash
follows from the record alone, so that the ref's value can be derived from a stored record,
whatever happens to the clone. Anybody who may push can write this ref: a value is ours only if we
stored its text.

A record is never fetched to be compared: ``read`` lists refs and fetches no object, so that a ref
pointing to something huge costs nothing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Final, Protocol, TypeVar

from dispatcher.errors import Dependency, DisintoError, Misconfigured, Unavailable
from dispatcher.ops_repo.clone import Clone
from dispatcher.ops_repo.failure import GitFailed
from dispatcher.ops_repo.refs import LEAD, LEAD_FOUND, LEAD_OURS
from dispatcher.ops_repo.writer import Writer

T = TypeVar("T")

RECORD_LIMIT: Final = 4_096
"""Bytes read of a record in a ref that is not ours."""

_UNSHOWN = re.compile(r"[^\x20-\x7e]")


def shown(text: str) -> str:
    """A text without terminal control characters."""
    return _UNSHOWN.sub("?", text)


@dataclass(frozen=True, kw_only=True, slots=True)
class LeadRecord:
    """The leader as recorded on the remote.

    Attributes:
        instance: id of the installation; all that share a ledger have the same.
        epoch: random, new each time a process takes the lead.
        host: name of its machine.
        since: when that process took the lead, RFC 3339 with seconds and offset.
    """

    instance: str
    epoch: str
    host: str
    since: str

    def to_json(self) -> str:
        """The text that is stored and pushed."""
        return json.dumps(asdict(self), sort_keys=True, separators=(",", ":"))

    @classmethod
    def of(cls, text: str) -> LeadRecord | None:
        """Parse a record that anybody may have written; None if it is not one."""
        try:
            values = json.loads(text)
            fields = [values[name] for name in ("instance", "epoch", "host", "since")]
        except (ValueError, KeyError, TypeError, RecursionError):
            return None
        if not all(isinstance(value, str) and len(value) <= 200 for value in fields):
            return None
        instance, epoch, host, since = map(shown, fields)
        return cls(instance=instance, epoch=epoch, host=host, since=since)


class Mended(Protocol):
    """Runs an action on a clone that works; see ``OpsRepo``."""

    def __call__(self, action: Callable[[], T], /) -> T: ...


class LeadRef:
    """Reads and writes the ref. Thread-safe as the clone is.

    Every method but ``strayed`` may raise ``Unavailable`` (remote), as those of ``OpsRepo``.
    """

    def __init__(self, clone: Clone, writer: Writer, *, repairing: Mended) -> None:
        self._clone, self._writer, self._repairing = clone, writer, repairing

    def read(self) -> str | None:
        """The ref's value on the remote (hex), or None if there is no such ref.

        Raises:
            Unavailable, Denied: the remote cannot be reached, or is not there.
        """
        try:
            return self._repairing(self._read)
        except Misconfigured as error:  # a missing remote says nothing about the lead
            raise Unavailable(Dependency.REMOTE, error.what, remedy=error.remedy) from None

    def value_of(self, record: LeadRecord) -> str:
        """The value that the ref has while it contains this record (hex)."""
        return self._repairing(lambda: self._make(record))

    def push(self, record: LeadRecord, *, expected: str | None) -> bool:
        """Replace the expected value (None: no value) by a record.

        Returns:
            Whether it was written. False if the ref's value was another one, or if the remote
            cannot hold the ref; ``read`` tells the two apart.

        Raises:
            Denied: the remote refused it.
            Unavailable, Misconfigured: the remote cannot be reached; the push may have arrived.
        """
        return self._repairing(
            lambda: self._writer.push_if(LEAD, self._make(record), expected=expected)
        )

    def follow(self, record: LeadRecord | None) -> None:
        """From now on each fetch checks whether the ref still contains this record; see
        ``strayed``."""
        value = None if record is None else self._repairing(lambda: self._keep(record))
        self._clone.fetcher.watch_lead(value)

    def strayed(self) -> bool:
        """Whether a fetch since ``follow`` found something else there. Never blocks."""
        return self._clone.fetcher.lead_strayed

    def fetch_record(self, value: str) -> LeadRecord | None:
        """The record in a foreign value, for people; None if it is not a record."""
        with suppress(DisintoError, GitFailed):  # its content cannot be determined
            return LeadRecord.of(self._message(value))
        return None

    def _read(self) -> str | None:
        git = self._clone.git
        done = git.ask(
            self._clone.path,
            "ls-remote", "--quiet", *git.path_options("fetch"), "--", git.remote, LEAD,
        )  # fmt: skip
        for line in done.line.splitlines():
            value, _, ref = line.partition("\t")
            if ref == LEAD:  # a branch called refs/disinto/lead would be listed as well
                return value
        return None

    def _message(self, value: str) -> str:
        clone = self._clone
        with clone.lock.held() as fds:
            clone.fetcher.bring(LEAD, LEAD_FOUND, fds)
            if clone.refs.value(LEAD_FOUND) != value:
                return ""
        if int(clone.git.run(clone.path, "cat-file", "-s", value).line) > RECORD_LIMIT:
            return ""
        text = clone.git.run(clone.path, "cat-file", "commit", value).out
        return text.decode("utf-8", "replace").partition("\n\n")[2]

    def _keep(self, record: LeadRecord) -> str:
        value = self._make(record)
        self._clone.refs.set(LEAD_OURS, value)  # so that upkeep does not remove it
        return value

    def _make(self, record: LeadRecord) -> str:
        """Write the record's commit into the clone; returns its hash."""
        tree = self._write("tree", b"")
        when = int(datetime.fromisoformat(record.since).timestamp())
        who = f"disinto <disinto@localhost> {when} +0000"
        text = f"tree {tree}\nauthor {who}\ncommitter {who}\n\n{record.to_json()}\n"
        return self._write("commit", text.encode())

    def _write(self, kind: str, content: bytes) -> str:
        return self._clone.git.run(
            self._clone.path, "hash-object", "-t", kind, "-w", "--stdin", stdin=content
        ).line
