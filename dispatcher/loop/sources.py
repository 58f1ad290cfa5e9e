"""Has the actions written that sources want, each once.

A look: the sources are asked on another thread, with the branch's head, what the ledger keeps for them
(their *marks*), and functions that say which ids are used. What they want is signed and pushed as new
files (``dispatcher.loop.result_writer``), in one commit with whatever results there are. Only when all
of it is in git are the marks stored. So a crash at any point leads to the same wishes again, under the
same ids, and to no second file: one that exists is never replaced.

An id is used, and not written again, while git has an action or a result of it, anywhere, or the
ledger a claim or tombstone; what somebody deletes before it ran leaves a tombstone
(``dispatcher.loop.withdrawn``). Nothing is written before the head is followed and recorded and the
lead confirmed, so that these records are complete.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Collection, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field

from dispatcher.errors import Conflict, Dependency, Misconfigured
from dispatcher.ledger.base import Note
from dispatcher.loop.components import Components
from dispatcher.loop.looks import Ids, look_of
from dispatcher.loop.outgoing import NewAction, Pushed
from dispatcher.loop.pollers import Pauses, Pollers
from dispatcher.loop.view import View
from dispatcher.model.run import Claim
from dispatcher.sources import Look, Source, SourceNote, Wants, action_text, problems_of
from dispatcher.sources.base import (
    ENDED_LIMIT,
    MARK_CHARACTERS,
    MARKS_CHARACTERS,
    WANTED_LIMIT,
)
from dispatcher.status.tracker import Tracker
from dispatcher.toml.source import quoted

NAME = "sources"
"""Of the poller that asks the sources, and of the one that stores their marks."""

PAUSES_S = (1.0, 60.0)
"""First and longest pause after a source failed, or its actions were not written."""

LEAST_S = 1.0
"""Seconds between two looks, however often the branch moves."""

HURRIED_S = 0.1
"""The same, if a source has news."""

MOST_S = 60.0
"""Seconds after which the sources are asked in any case: their servers and the clock may have changed."""

State = tuple[str, int, int]


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """The answer of one source.

    Attributes:
        kind: of the source.
        wants: what it wants; nothing if it failed.
        marks, version: its marks and the version of their note, as the ledger had them.
        error: why it failed.
    """

    kind: str
    wants: Wants = field(default_factory=Wants)
    marks: Mapping[str, str] = field(default_factory=dict)
    version: int = 0
    error: Exception | None = None


@dataclass
class _Unfinished:
    """An answer whose actions are on their way to git."""

    answer: Answer
    ids: set[str]


def note_name(kind: str) -> str:
    """Name of the ledger's note with the marks of a kind of source."""
    return f"source-{kind}"


def ask(
    source: Source,
    components: Components,
    look: Callable[[Mapping[str, str]], Look],
    *,
    known: MutableMapping[str, Note | None] | None = None,
) -> Answer:
    """Ask one source, and check its answer. Reads the ledger.

    Args:
        look: makes the look from the source's marks.
        known: notes by kind, as the ledger has them; it is read for others only.

    Raises:
        Unavailable: the ledger cannot be read.
    """
    known = {} if known is None else known
    if source.kind not in known:
        known[source.kind] = components.ledger.note(note_name(source.kind))
    note = known[source.kind]
    marks = _marks(note.text if note else "")
    try:
        wants = source.look(look(marks))
        _check(source.kind, wants, limit=components.settings.limits.max_action_bytes)
    except Exception as error:  # noqa: BLE001 - one source's; it must hold up no other
        return Answer(kind=source.kind, error=error)
    version = note.version if note else 0
    return Answer(kind=source.kind, wants=wants, marks=marks, version=version)


def _marks(text: str) -> Mapping[str, str]:
    try:
        marks = json.loads(text) if text else {}
    except ValueError:
        return {}
    return {str(k): str(v) for k, v in marks.items()} if isinstance(marks, dict) else {}


def _check(kind: str, wants: Wants, *, limit: int) -> None:
    """Refuse what must not get into git or the ledger: a defect of the source."""
    if len(wants.actions) > WANTED_LIMIT:
        raise ValueError(f"source {kind} wants {len(wants.actions)} actions at once")
    if len(wants.ended) > ENDED_LIMIT:
        raise ValueError(f"source {kind} names {len(wants.ended)} ended actions")
    for wanted in wants.actions:
        if problems := problems_of(kind, wanted, limit=limit):
            raise ValueError(f"source {kind} wants an invalid action: {problems[0].message}")
    longest = max(map(len, wants.marks.values()), default=0)
    if longest > MARK_CHARACTERS or len(_stored(wants.marks)) > MARKS_CHARACTERS:
        raise ValueError(f"the marks of source {kind} are too large")


def _stored(marks: Mapping[str, str]) -> str:
    return json.dumps(marks, sort_keys=True, separators=(",", ":"))


def store(
    components: Components,
    answer: Answer,
    *,
    led: Callable[[], None],
    known: MutableMapping[str, Note | None] | None = None,
) -> None:
    """Store the marks of an answer whose actions are in git.

    Args:
        known: notes by kind, as the ledger has them.

    Raises:
        Unavailable: the ledger cannot be written.
        LeadLost: another process may lead by now.
    """
    for wanted in answer.wants.actions:
        components.audit.append(
            "action_written",
            action=wanted.action_id,
            source=f"{answer.kind} {wanted.name}",
            occasion=wanted.occasion,
            blob=wanted.blob,
        )
    if answer.wants.marks == answer.marks:
        return
    led()
    for passed in answer.wants.passed:
        components.audit.append(
            "occasion_passed",
            source=f"{answer.kind} {passed.name}",
            occasion=passed.occasion,
            reason=passed.reason,
        )
    text = _stored(answer.wants.marks)
    known = {} if known is None else known
    known.pop(answer.kind, None)  # after a failure it is unknown what was written
    try:
        note = components.ledger.write_note(note_name(answer.kind), text, version=answer.version)
    except Conflict:
        return  # changed meanwhile; the next look starts from what is there
    known[answer.kind] = note


class Sources:
    """Asks the sources, and has their actions written. Used by the loop's thread only.

    Args:
        components: the sources, ledger and gate.
        view: of the ops repo.
        claims: the open claims, by id; a live view.
        pollers: run what may block.
        tracker: notified of what is written.
        write: hands actions to the writer, for one commit; their outcome comes back by ``pushed``.
        led: raises if the lead is lost.
        resting: names the dependencies that are backing off.
        ended: called with the ids of ended actions that people are to see; see ``Wants.ended``.
        clock: seconds since the epoch.

    Attributes:
        notes: the sources, for people; of the last look.
    """

    def __init__(
        self,
        components: Components,
        view: View,
        claims: Mapping[str, Claim],
        *,
        pollers: Pollers,
        tracker: Tracker,
        write: Callable[[Sequence[NewAction]], None],
        led: Callable[[], None],
        resting: Callable[[], Collection[Dependency]] = frozenset,
        ended: Callable[[Collection[str]], object],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._ended = ended
        self._components, self._view = components, view
        self._refused: set[str] = set()
        self._ids = Ids(tree=view.tree, claims=claims, refused=self._refused)
        self._pollers, self._tracker = pollers, tracker
        self._write, self._led, self._resting, self._clock = write, led, resting, clock
        self._unfinished: dict[str, _Unfinished] = {}
        self._known: dict[str, Note | None] = {}  # only the leader writes these notes
        self._state: State | None = None
        self._due_at = 0.0
        self._asked_at = float("-inf")
        self._hurried = False
        self._pauses = Pauses(*PAUSES_S)
        self.notes: tuple[SourceNote, ...] = ()

    def hurry(self) -> None:
        """Have the sources asked at once, because a source has news."""
        self._due_at, self._hurried = 0.0, True

    def hasten(self) -> None:
        """If the sources are to be asked, have that done soon: nothing else is left to do."""
        self._hurried = self._hurried or self._due()

    @property
    def warnings(self) -> tuple[str, ...]:
        """What keeps sources from starting anything, for people."""
        return tuple(note.warning for note in self.notes if note.warning)

    @property
    def pending(self) -> bool:
        """Whether a look is due, or actions are on their way; a source that failed is not waited for."""
        return bool(self._unfinished) or (self._due() and not self._pauses.left())

    def work(self, *, ready: bool) -> None:
        """Ask the sources, if that is due.

        Args:
            ready: whether the head is followed and recorded, and the lead confirmed.
        """
        if not ready or self._unfinished or not self._due() or self._wait_s() > 0:
            return
        if not self._pollers.free(Dependency.LEDGER, NAME):
            return
        self._state, self._asked_at = self._now(), time.monotonic()
        self._hurried = False
        now, down = self._clock(), frozenset(self._resting())
        self._due_at = now + MOST_S
        look = self._look(now, down)
        self._pollers.run(
            Dependency.LEDGER,
            lambda: self._ask(look),
            self._asked,
            name=NAME,
            failed=self._failed,
        )

    def pushed(self, pushed: Pushed) -> None:
        """Take note of the outcome of a batch with actions of ours."""
        ids = {action.action_id for action in pushed.actions}
        for kind, unfinished in list(self._unfinished.items()):
            if not ids & unfinished.ids:
                continue
            if pushed.error is not None:
                del self._unfinished[kind]  # wanted again at the next look
                self._failed(pushed.error)
                continue
            if taken := unfinished.ids.intersection(pushed.refused()):
                self._refused |= taken
                del self._unfinished[kind]  # its source decides what that means
                self._due_at = 0.0
                continue
            unfinished.ids -= ids
            if not unfinished.ids:
                self._store(unfinished.answer)
        if pushed.error is None:
            self._tracker.event("written", actions=len(ids))

    def next_in(self) -> float | None:
        """Seconds until the sources are asked again; None if nothing falls due by itself."""
        if not self._sources or self._unfinished or not self._pollers.free(Dependency.LEDGER, NAME):
            return None
        return max(self._wait_s(), 0.0 if self._due() else self._due_at - self._clock())

    @property
    def _sources(self) -> Sequence[Source]:
        return self._components.sources

    def _now(self) -> State:
        return (self._view.tree.commit, self._view.revision, self._view.invalidated)

    def _due(self) -> bool:
        if not self._sources:
            return False
        return self._state != self._now() or self._clock() >= self._due_at

    def _wait_s(self) -> float:
        least_s = HURRIED_S if self._hurried else LEAST_S
        return max(self._pauses.left(), self._asked_at + least_s - time.monotonic())

    def _look(
        self, now: float, down: Collection[Dependency]
    ) -> Callable[[Mapping[str, str]], Look]:
        components, view, ids = self._components, self._view, self._ids
        return lambda marks: look_of(components, view, ids=ids, now=now, marks=marks, down=down)

    def _ask(self, look: Callable[[Mapping[str, str]], Look]) -> list[Answer]:
        self._components.steady_clock.look()
        known = self._known
        return [ask(source, self._components, look, known=known) for source in self._sources]

    def _asked(self, answers: Sequence[Answer]) -> None:
        if not any(answer.error for answer in answers):
            self._pauses.succeeded()
        self.notes = tuple(note for answer in answers for note in answer.wants.notes)
        self._ended([action_id for answer in answers for action_id in answer.wants.ended])
        for answer in answers:
            if answer.error is None:
                self._hand_in(answer)
            else:
                self._pollers.trouble(answer.error, where=f"source {answer.kind}")
                self._failed(answer.error)

    def _hand_in(self, answer: Answer) -> None:
        if answer.wants.next_at is not None:
            self._due_at = min(self._due_at, answer.wants.next_at)
        actions = [a for a in answer.wants.actions if not self._ids.is_used(a.action_id)]
        if self._components.sign_action is None and actions:
            self._failed(Misconfigured("actions cannot be signed"))
            return
        self._unfinished[answer.kind] = _Unfinished(answer, {a.action_id for a in actions})
        if not actions:
            self._store(answer)
            return
        self._write(
            [
                NewAction(
                    action_id=wanted.action_id,
                    text=action_text(answer.kind, wanted),
                    origin=f"{answer.kind} {wanted.name}",
                )
                for wanted in actions
            ]
        )

    def _store(self, answer: Answer) -> None:
        if answer.wants.marks == answer.marks and not answer.wants.actions:
            del self._unfinished[answer.kind]
            return

        def over(_answer: object) -> None:
            self._unfinished.pop(answer.kind, None)

        def failed(error: Exception) -> None:
            over(error)
            self._failed(error)

        name = f"{NAME} {quoted(answer.kind)}"
        if self._pollers.free(Dependency.LEDGER, name):
            self._pollers.run(
                Dependency.LEDGER,
                lambda: store(self._components, answer, led=self._led, known=self._known),
                over,
                name=name,
                failed=failed,
            )
        else:
            failed(Conflict("the ledger is unavailable"))

    def _failed(self, error: Exception) -> None:
        self._pauses.failed(error)
        self._state = None
