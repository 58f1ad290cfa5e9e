"""Leadership: which installation may start runs for an ops repo.

The ledger's lock chooses one leader among the processes that share a ledger. Two installations with
a ledger each do not see each other there, and would run everything twice: a state directory that
was restored while the old dispatcher still runs, a copied configuration. So the leader also keeps
its name on the remote (``dispatcher.ops_repo.lead``), and whoever finds another name there starts
nothing until a person decides by ``disinto takeover``.

What is ours is known by the ledger alone, which holds the text of every record of ours that the ref
may hold. Each is written there before it is pushed, so a death in between locks nobody out; those
of before are dropped once a newer one stands, since each push is a compare-and-set and can succeed
no more. What the remote says is never believed further than "this is ours" or "it is not": who may
push may write the ref. They can stop launches by it, and nothing else.

A ledger that was copied is known by its place, even if the ref is gone.
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
from dispatcher.loop.own_lead import Own
from dispatcher.ops_repo.lead import LeadRecord, LeadRef, shown

NOTE = "lead"
"""Name of the ledger's note."""

KEPT = 8
"""Records kept in the note. More than one only while pushes fail to be answered."""

TRIES = 3
"""Pushes that lose against another writer of the ref before it counts as one that cannot be held."""

FIRST_RETRY_S = 30.0
LONGEST_RETRY_S = 600.0
"""Seconds until a remote that cannot hold the ref is asked for it again; they double."""

REMEDY = (
    "Stop one of the two. If this one is to lead, make sure that the other is stopped, then run: "
    "disinto takeover"
)


class LedBySomeoneElse(Unavailable):
    """The ops repo's lead is not ours.

    Attributes:
        value: of the ref (hex).
        record: what it says, for people; None if it is no record.
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
    """How the lead stands; nothing was changed to find out.

    Attributes:
        instance: this installation's id; "" before it first led.
        value: of the ref on the remote, or None.
        record: what the ref says; None if nothing, or no record.
        ours: whether the ref holds a record of ours.
        copied: why the ledger counts as a copy, or None.
    """

    instance: str
    value: str | None
    record: LeadRecord | None
    ours: bool
    copied: CopiedLedger | None

    def obstacle(self) -> Unavailable | None:
        """Why nothing may be started from here, or None."""
        if self.copied is not None:
            return self.copied
        if self.value is None or self.ours:
            return None
        return LedBySomeoneElse(self.value, self.record)


class Leadership:
    """Holds the lead of the ops repo. ``confirm`` and ``take_over`` wait on network and ledger.

    Args:
        ref: the remote's.
        ledger: whose lock the caller of ``confirm`` holds.
        audit: gets each change.
    """

    def __init__(self, *, ref: LeadRef, ledger: Ledger, audit: AuditLog) -> None:
        self._ref, self._ledger, self._audit = ref, ledger, audit
        self._turn = threading.Lock()
        self._mine: LeadRecord | None = None
        self._told: tuple[str, LeadRecord | None] | None = None
        self._unprotected = ""
        self._retry_at = self._pause_s = 0.0

    def confirm(self) -> None:
        """Make sure that this installation leads; renews its record once per process.

        Raises:
            CopiedLedger, LedBySomeoneElse: it does not, until a person decides.
            Unavailable, Denied, Conflict: remote or ledger could not be reached.
        """
        with self._turn:
            own = self._named(self._own())
            self._check_place(own)
            standing: LeadRecord | None = None
            for _ in range(TRIES):
                value = self._ref.read()
                standing = self._standing(own, value)
                if value is not None and standing is None:
                    raise self._foreign(value)
                if standing is not None and standing == self._mine:
                    self._holds(standing)
                    return
                own, done = self._renew(own, value, standing)
                if done:
                    return
            self._cannot_hold(standing, "the remote does not keep refs/disinto/lead")

    def check_ledger(self) -> None:
        """Ask the ledger alone whether it is where it last led.

        Raises:
            CopiedLedger: it is not: what it says of runs may be about those of another dispatcher.
            Unavailable: it cannot be reached.
        """
        self._check_place(self._own())

    def check(self) -> None:
        """Look whether anything may be started from here, and change nothing.

        Raises:
            CopiedLedger, LedBySomeoneElse: not until a person decides.
            Unavailable, Denied, Misconfigured: remote or ledger cannot be reached.
        """
        obstacle = self.report().obstacle()
        if obstacle is not None:
            raise obstacle

    def strayed(self) -> bool:
        """Whether a fetch saw another value than ours since ``confirm``. Never blocks."""
        return self._ref.strayed()

    def due(self) -> bool:
        """Whether a remote that could not hold the ref is to be asked again. Never blocks."""
        return bool(self._unprotected) and time.monotonic() >= self._retry_at

    def warnings(self) -> tuple[str, ...]:
        """What a person should know although runs are started. Never blocks."""
        if not self._unprotected:
            return ()
        return (
            f"nothing prevents a second dispatcher on this ops repo: {self._unprotected}. Allow "
            "the dispatcher's account, and nobody else, to write refs/disinto/*; until then make "
            "sure that only one installation is started.",
        )

    def report(self) -> LeadReport:
        """Look, and change nothing.

        Raises:
            Unavailable, Denied, Misconfigured: remote or ledger cannot be reached.
        """
        own = self._own()
        copied = None
        try:
            self._check_place(own)
        except CopiedLedger as error:
            copied = error
        value = self._ref.read()
        standing = self._standing(own, value)
        record = standing or (self._ref.fetch_record(value) if value else None)
        return LeadReport(
            instance=own.instance,
            value=value,
            record=record,
            ours=standing is not None,
            copied=copied,
        )

    def take_over(self, expected: str | None, *, who: str) -> LeadRecord | None:
        """Lead from here, whoever led before; a ``serve`` that waits here goes on by itself.

        Args:
            expected: value of the ref that the person was shown, or None.
            who: the person.

        Returns:
            The record that stands now; None if the remote cannot hold the ref.

        Raises:
            Conflict: the ref, or the ledger's note, is not what it was: look again.
            Unavailable, Denied, Misconfigured: remote or ledger cannot be reached.
        """
        with self._turn:
            own = self._own()
            if self._ref.read() != expected:
                raise Conflict(
                    "the lead of the ops repo changed while you were prompted",
                    remedy="Check again.",
                )
            place = self._ledger.place()
            copied = bool(own.place) and own.place != place
            new = _record(uuid.uuid4().hex if copied or not own.instance else own.instance)
            own = self._write(
                Own(
                    instance=new.instance,
                    place=place,
                    records=(*own.records[-KEPT:], new) if not copied else (new,),
                    version=own.version,
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
                stands = self._stands_after_push(new, expected)
            except Denied:
                return None
            if stands:
                self._write(replace(own, records=(new,)))
                return new
            if self._ref.read() != expected:
                raise Conflict("another installation took the lead just now", remedy="Check again.")
            return None

    # -- inside ---------------------------------------------------------------------------

    def _own(self) -> Own:
        note = self._ledger.note(NOTE)
        if note is None:
            return Own()
        try:
            return Own.of(note.text, version=note.version)
        except (ValueError, KeyError, TypeError) as error:
            raise Misconfigured(
                f"the note {NOTE!r} of the ledger cannot be read ({error})",
                remedy="Another version of disinto wrote it: use that one, or restore the ledger.",
            ) from error

    def _named(self, own: Own) -> Own:
        """The same, with an id where it has none yet; not written."""
        if own.instance:
            return own
        return replace(own, instance=uuid.uuid4().hex)

    def _write(self, own: Own) -> Own:
        note = self._ledger.write_note(NOTE, own.to_json(), version=own.version)
        return replace(own, version=note.version)

    def _check_place(self, own: Own) -> None:
        place = self._ledger.place()
        if own.place and own.place != place:
            raise CopiedLedger(was=own.place, now=place)

    def _standing(self, own: Own, value: str | None) -> LeadRecord | None:
        """Which of our records the ref holds, or None."""
        return next((r for r in own.records if self._ref.value_of(r) == value), None)

    def _renew(self, own: Own, value: str | None, standing: LeadRecord | None) -> tuple[Own, bool]:
        """Put a record of this process in the place of what stands there; True if it does now."""
        new = self._mine if self._mine in own.records else _record(own.instance)
        assert new is not None  # noqa: S101 - for the type checker
        others = [r for r in own.records if r not in (standing, new)][-KEPT:]
        records = (*others, *filter(None, (standing,)), new)
        own = self._write(replace(own, place=self._ledger.place(), records=records))
        self._mine = new
        try:
            stands = self._stands_after_push(new, value)
        except Denied as refused:
            self._cannot_hold(standing, refused.what)
            return own, True
        except Unavailable:
            if standing is None:
                raise
            self._ref.follow(standing)  # ours all the same: that pushes hang must stop no launch
            return own, True
        if stands:
            own = self._write(replace(own, records=(new,)))
            self._audit.append(
                "lead_taken", instance=new.instance, epoch=new.epoch, before=value or ""
            )
            self._holds(new)
        return own, stands

    def _stands_after_push(self, record: LeadRecord, expected: str | None) -> bool:
        """Whether the record stands on the remote for everybody to read: one that hides the ref
        from readers takes it all the same.
        """
        pushed = self._ref.push(record, expected=expected)
        return pushed and self._ref.read() == self._ref.value_of(record)

    def _holds(self, record: LeadRecord) -> None:
        self._unprotected, self._pause_s = "", 0.0
        self._ref.follow(record)

    def _cannot_hold(self, standing: LeadRecord | None, why: str) -> None:
        """Go on without the ref, loudly: nobody may stop results and runs by refusing it."""
        if not self._unprotected:
            self._audit.append("lead_unprotected", reason=why)
        self._unprotected = why
        self._pause_s = min(LONGEST_RETRY_S, max(FIRST_RETRY_S, 2 * self._pause_s))
        self._retry_at = time.monotonic() + self._pause_s
        self._ref.follow(standing)

    def _foreign(self, value: str) -> LedBySomeoneElse:
        record = self._told[1] if self._told and self._told[0] == value else None
        if record is None and (self._told is None or self._told[0] != value):
            record = self._ref.fetch_record(value)
            self._audit.append(
                "lead_foreign",
                value=value,
                instance=record.instance if record else "",
                host=record.host if record else "",
            )
            self._told = (value, record)
        return LedBySomeoneElse(value, record)


def _record(instance: str) -> LeadRecord:
    return LeadRecord(
        instance=instance,
        epoch=secrets.token_hex(8),
        host=shown(socket.gethostname()),
        since=datetime.now(UTC).isoformat(timespec="seconds"),
    )
