"""Leadership: which installation may start runs for an ops repo.

The ledger's lock elects one leader among the processes that share a ledger. Two installations with
separate ledgers do not see each other there, and would run everything twice: a state directory that
was restored while the old dispatcher still runs, or a copied configuration. So the leader also keeps
a record on the remote (``dispatcher.ops_repo.lead``), and an installation that finds another's record
there starts nothing until a person runs ``disinto takeover``.

Only the ledger proves which records are ours: it holds the text of each that the ref may hold. Each
is written there before it is pushed, so a crash in between locks nobody out. Earlier records are
dropped once a newer one is set, because each push is a compare-and-set and theirs can no longer
succeed. The remote is trusted only for "this record is ours" or "it is not": anybody with push rights
may write the ref. They can stop launches that way, and nothing else.

A copied ledger is recognised by its place, even if the ref is gone.
"""

from __future__ import annotations

import secrets
import socket
import threading
import time
import uuid
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from dispatcher.audit import AuditLog
from dispatcher.errors import Conflict, Denied, Dependency, Misconfigured, Unavailable
from dispatcher.ledger.base import Ledger
from dispatcher.loop.lead_note import LeadNote
from dispatcher.ops_repo.lead import LeadRecord, LeadRef, shown

NOTE = "lead"
"""Name of the ledger's note."""

KEPT = 8
"""Records kept in the note. There is more than one only while pushes get no answer."""

TRIES = 3
"""Pushes that may lose against another writer before the ref counts as one that cannot be held."""

FIRST_RETRY_S = 30.0
LONGEST_RETRY_S = 600.0
"""Seconds until the push to a remote that cannot hold the ref is retried; they double."""

REMEDY = (
    "Stop one of the two. If this one is to lead, make sure that the other is stopped, then run: "
    "disinto takeover"
)


class LedBySomeoneElse(Unavailable):
    """Another installation leads the ops repo.

    Attributes:
        value: of the ref (hex).
        record: its content, for people; None if it is not a record.
    """

    def __init__(self, value: str, record: LeadRecord | None) -> None:
        if record is None:
            what = (
                f"refs/disinto/lead on the ops repo holds {value[:12]}, which this installation "
                "did not write and which is not a dispatcher's record"
            )
        else:
            what = (
                f"another installation leads this ops repo: instance {record.instance} on host "
                f"{record.host}, since {record.since}; nothing is started here"
            )
        super().__init__(Dependency.LEAD, what, remedy=REMEDY)
        self.value = value
        self.record = record


class CopiedLedger(Unavailable):
    """The ledger was copied, moved or restored since it was last used to lead."""

    def __init__(self, *, was: str, now: str) -> None:
        super().__init__(
            Dependency.LEAD,
            f"this ledger was last used at {was} and is now at {now}: it is a copy, and the "
            "original may still be in use; nothing is started here",
            remedy=REMEDY,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class LeadReport:
    """The state of the lead, found without changing anything.

    Attributes:
        instance: this installation's id; "" before it first led.
        value: of the ref on the remote, or None.
        record: content of the ref; None if there is none, or if it is not a record.
        ours: whether the ref holds one of our records.
        copied: why the ledger counts as a copy, or None.
    """

    instance: str
    value: str | None
    record: LeadRecord | None
    ours: bool
    copied: CopiedLedger | None

    def obstacle(self) -> Unavailable | None:
        """Why this installation must not start anything, or None."""
        if self.copied is not None:
            return self.copied
        if self.value is None or self.ours:
            return None
        return LedBySomeoneElse(self.value, self.record)


class Leadership:
    """Holds the lead of the ops repo. ``confirm`` and ``take_over`` block on network and ledger.

    Args:
        ref: the lead's ref on the remote.
        ledger: the caller of ``confirm`` holds its lock.
        audit: records each change.
    """

    def __init__(self, *, ref: LeadRef, ledger: Ledger, audit: AuditLog) -> None:
        self._ref, self._ledger, self._audit = ref, ledger, audit
        self._turn = threading.Lock()
        self._current: LeadRecord | None = None
        self._last_foreign: tuple[str, LeadRecord | None] | None = None
        self._unprotected = ""
        self._retry_at = self._pause_s = 0.0

    def confirm(self) -> None:
        """Make sure that this installation leads; renews its record once per process.

        Raises:
            CopiedLedger, LedBySomeoneElse: it does not, until a person decides.
            Unavailable, Denied, Conflict: remote or ledger could not be reached.
        """
        with self._turn:
            lead_note = self._named(self._read_note())
            self._check_place(lead_note)
            standing: LeadRecord | None = None
            for _ in range(TRIES):
                value = self._ref.read()
                standing = self._standing(lead_note, value)
                if value is not None and standing is None:
                    raise self._foreign(value)
                if standing is not None and standing == self._current:
                    self._holds(standing)
                    return
                lead_note, done = self._renew(lead_note, value, standing)
                if done:
                    return
            self._cannot_hold(standing, "the remote does not keep refs/disinto/lead")

    def check_ledger(self) -> None:
        """Check that the ledger is at the place where it last led. Reads the ledger only.

        Raises:
            CopiedLedger: it is not, so its runs may be those of another dispatcher.
            Unavailable: it cannot be reached.
        """
        self._check_place(self._read_note())

    def check(self) -> None:
        """Check that this installation may start runs. Changes nothing.

        Raises:
            CopiedLedger, LedBySomeoneElse: not until a person decides.
            Unavailable, Denied, Misconfigured: remote or ledger cannot be reached.
        """
        obstacle = self.report().obstacle()
        if obstacle is not None:
            raise obstacle

    def strayed(self) -> bool:
        """Whether a fetch found another value than ours since ``confirm``. Never blocks."""
        return self._ref.strayed()

    def due(self) -> bool:
        """Whether to retry a remote that could not hold the ref. Never blocks."""
        return bool(self._unprotected) and time.monotonic() >= self._retry_at

    def warnings(self) -> tuple[str, ...]:
        """Warnings that do not keep runs from starting. Never blocks."""
        if not self._unprotected:
            return ()
        return (
            f"nothing prevents a second dispatcher on this ops repo: {self._unprotected}. Allow "
            "the dispatcher's account, and nobody else, to write refs/disinto/*; until then make "
            "sure that only one installation is started.",
        )

    def report(self) -> LeadReport:
        """Read the state of the lead. Changes nothing.

        Raises:
            Unavailable, Denied, Misconfigured: remote or ledger cannot be reached.
        """
        lead_note = self._read_note()
        copied = None
        try:
            self._check_place(lead_note)
        except CopiedLedger as error:
            copied = error
        value = self._ref.read()
        standing = self._standing(lead_note, value)
        record = standing or (self._ref.fetch_record(value) if value else None)
        return LeadReport(
            instance=lead_note.instance,
            value=value,
            record=record,
            ours=standing is not None,
            copied=copied,
        )

    def take_over(self, expected: str | None, *, who: str) -> LeadRecord | None:
        """Take the lead, whoever held it before; a ``serve`` that waits here continues by itself.

        Args:
            expected: value of the ref that the person was shown, or None.
            who: the person.

        Returns:
            The record that is now set; None if the remote cannot hold the ref.

        Raises:
            Conflict: the ref, or the ledger's note, has changed meanwhile: check again.
            Unavailable, Denied, Misconfigured: remote or ledger cannot be reached.
        """
        with self._turn:
            lead_note = self._read_note()
            if self._ref.read() != expected:
                raise Conflict(
                    "the lead of the ops repo changed while you were prompted",
                    remedy="Check again.",
                )
            place = self._ledger.place()
            copied = bool(lead_note.place) and lead_note.place != place
            new = _record(
                uuid.uuid4().hex if copied or not lead_note.instance else lead_note.instance
            )
            lead_note = self._write(
                LeadNote(
                    instance=new.instance,
                    place=place,
                    records=(*lead_note.records[-KEPT:], new) if not copied else (new,),
                    version=lead_note.version,
                )
            )
            self._audit.append(
                "lead_taken_over",
                who=who,
                instance=new.instance,
                epoch=new.epoch,
                before=expected or "",
                ledger="copied" if copied else "",
            )
            try:
                is_set = self._push_and_read(new, expected)
            except Denied:
                return None
            if is_set:
                self._write(replace(lead_note, records=(new,)))
                return new
            if self._ref.read() != expected:
                raise Conflict("another installation took the lead just now", remedy="Check again.")
            return None

    # -- inside ---------------------------------------------------------------------------

    def _read_note(self) -> LeadNote:
        note = self._ledger.note(NOTE)
        if note is None:
            return LeadNote()
        try:
            return LeadNote.of(note.text, version=note.version)
        except (ValueError, KeyError, TypeError) as error:
            raise Misconfigured(
                f"the note {NOTE!r} of the ledger cannot be read ({error})",
                remedy="Another version of disinto wrote it: use that one, or restore the ledger.",
            ) from error

    def _named(self, lead_note: LeadNote) -> LeadNote:
        """The same, with a new id if it has none; not written."""
        if lead_note.instance:
            return lead_note
        return replace(lead_note, instance=uuid.uuid4().hex)

    def _write(self, lead_note: LeadNote) -> LeadNote:
        note = self._ledger.write_note(NOTE, lead_note.to_json(), version=lead_note.version)
        return replace(lead_note, version=note.version)

    def _check_place(self, lead_note: LeadNote) -> None:
        place = self._ledger.place()
        if lead_note.place and lead_note.place != place:
            raise CopiedLedger(was=lead_note.place, now=place)

    def _standing(self, lead_note: LeadNote, value: str | None) -> LeadRecord | None:
        """Which of our records the ref holds, or None."""
        return next((r for r in lead_note.records if self._ref.value_of(r) == value), None)

    def _renew(
        self, lead_note: LeadNote, value: str | None, standing: LeadRecord | None
    ) -> tuple[LeadNote, bool]:
        """Replace the ref with a record of this process; the second value is True if that is done."""
        new = self._current if self._current in lead_note.records else _record(lead_note.instance)
        assert new is not None  # noqa: S101 - for the type checker
        others = [r for r in lead_note.records if r not in (standing, new)][-KEPT:]
        records = (*others, *filter(None, (standing,)), new)
        lead_note = self._write(replace(lead_note, place=self._ledger.place(), records=records))
        self._current = new
        try:
            is_set = self._push_and_read(new, value)
        except Denied as refused:
            self._cannot_hold(standing, refused.what)
            return lead_note, True
        except Unavailable:
            if standing is None:
                raise
            self._ref.follow(standing)  # still ours: pushes that hang must not stop launches
            return lead_note, True
        if is_set:
            lead_note = self._write(replace(lead_note, records=(new,)))
            self._audit.append(
                "lead_taken", instance=new.instance, epoch=new.epoch, before=value or ""
            )
            self._holds(new)
        return lead_note, is_set

    def _push_and_read(self, record: LeadRecord, expected: str | None) -> bool:
        """Push the record; whether the remote then returns it. A remote that hides the ref from
        readers accepts the push nevertheless.
        """
        pushed = self._ref.push(record, expected=expected)
        return pushed and self._ref.read() == self._ref.value_of(record)

    def _holds(self, record: LeadRecord) -> None:
        self._unprotected, self._pause_s = "", 0.0
        self._ref.follow(record)

    def _cannot_hold(self, standing: LeadRecord | None, why: str) -> None:
        """Continue without the ref, with a warning: refusing it must not stop results and runs."""
        if not self._unprotected:
            self._audit.append("lead_unprotected", reason=why)
        self._unprotected = why
        self._pause_s = min(LONGEST_RETRY_S, max(FIRST_RETRY_S, 2 * self._pause_s))
        self._retry_at = time.monotonic() + self._pause_s
        self._ref.follow(standing)

    def _foreign(self, value: str) -> LedBySomeoneElse:
        record = (
            self._last_foreign[1] if self._last_foreign and self._last_foreign[0] == value else None
        )
        if record is None and (self._last_foreign is None or self._last_foreign[0] != value):
            record = self._ref.fetch_record(value)
            self._audit.append(
                "lead_foreign",
                value=value,
                instance=record.instance if record else "",
                host=record.host if record else "",
            )
            self._last_foreign = (value, record)
        return LedBySomeoneElse(value, record)


def _record(instance: str) -> LeadRecord:
    return LeadRecord(
        instance=instance,
        epoch=secrets.token_hex(8),
        host=shown(socket.gethostname()),
        since=datetime.now(UTC).isoformat(timespec="seconds"),
    )
