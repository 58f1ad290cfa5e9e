"""The view: the open actions of the ops repo at its present head, vetted and judged.

``serve`` moves one view from head to head; ``disinto plan`` and ``status`` make a temporary one. It
holds nothing that cannot be rebuilt from git, the vault's list of names and the gate.

Vetting reads files, so it runs on another thread (``dispatcher.loop.vetting``). Until then a new or
changed action is not a candidate, so that nothing is decided about outdated content. Gate decisions
are kept in ``dispatcher.loop.answers``.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Collection, Container, Iterable, Mapping
from dataclasses import dataclass, replace
from heapq import nsmallest

from dispatcher.decide.policy import Policy
from dispatcher.decide.steps import Wait
from dispatcher.decide.world import Candidate, GateState
from dispatcher.errors import TemporaryError
from dispatcher.gate.base import Answer, Decision, Question
from dispatcher.loop.answers import Answers, same
from dispatcher.loop.components import Components
from dispatcher.loop.intake import Intake
from dispatcher.loop.vetting import Vetting, VettingQueue
from dispatcher.model.formula_files import schema_name
from dispatcher.model.health import WaitingFor
from dispatcher.model.names import ID_RULE, is_id
from dispatcher.model.paths import FORMULAS_PATH
from dispatcher.ops_repo import Changes, Delta, Formulas, Tree, escaped

UNREAD = "reading its file"
"""Why a new or changed action waits until it is vetted."""

NAMES_LISTED = 5
"""Names of ignored files that a warning lists; beyond them only their number."""

ARRIVED = 100
"""Number of the latest arrived results that are kept."""


@dataclass(frozen=True, slots=True)
class WithResult(Container[str]):
    """Ids with a result anywhere in a tree, for ``World.published``."""

    tree: Tree

    def __contains__(self, action_id: object) -> bool:
        # Nothing may be published for an invalid id; a claim that an earlier version made for
        # one is released.
        return isinstance(action_id, str) and (
            self.tree.has_result(action_id) or not is_id(action_id)
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Opened:
    """When an action was opened.

    Attributes:
        order: position in commit order; smaller came first.
        order_known: False if it came before everything whose place in that order is known.
        since: when it came to the branch, or was first seen there; seconds since the epoch.
        seen_at: when this view first showed it, monotonic seconds.
    """

    order: int
    order_known: bool
    since: float
    seen_at: float


class View:
    """Open actions at one head. Not thread-safe: the loop owns it.

    Attributes:
        tree: at that head.
        vetted: open actions by id, without the gate's decision.
        arrived: blobs of the latest results that arrived while this view followed the branch.
        failed: unexpected errors that keep anything from being decided about an action, by id;
            the caller that removes one reports it.
        warnings: problems with the files of this head, for people.
        revision: of the rules by which all of it is judged; see ``dispatcher.loop.fence``.
    """

    def __init__(self, *, components: Components, intake: Intake, revision: int = 0) -> None:
        self.components, self.intake = components, intake
        self.tree = Tree()
        self.vetted: dict[str, Candidate] = {}
        self.failed: dict[str, Exception] = {}
        self.arrived: deque[str] = deque(maxlen=ARRIVED)
        self.warnings: tuple[str, ...] = ()
        self.revision = revision
        self._answers = Answers()
        self._queue = VettingQueue()
        self._formulas = Formulas(commit="", formulas={})
        self._candidates: dict[str, Candidate] = {}
        self._opened: dict[str, Opened] = {}
        self._arrivals = 0

    # -- following the branch -------------------------------------------------------------

    def advance(self, commit: str) -> Changes:
        """Move to another head; new and changed files are queued for vetting. Runs git."""
        return self.enter(self.components.repo.difference(self.tree, commit))

    def enter(self, delta: Delta) -> Changes:
        """Move to another head by a delta that was computed before; does no I/O."""
        following = bool(self.tree.commit)
        changes = self.tree.enter(delta)
        if following:
            finished = (self.tree.finished.get(i) for i in changes.finished)
            self.arrived.extend(pair.result.blob for pair in finished if pair)
        for action_id in changes.opened:
            self._arrivals += 1
            path = self.tree.open[action_id].path
            self._opened[action_id] = Opened(
                order=self._arrivals,
                order_known=delta.arrived_at.get(path) != 0.0,
                since=delta.arrived_at.get(path, time.time()),
                seen_at=time.monotonic(),
            )
        self._formulas = self._formulas_now(changes)
        self._vet_again((*changes.opened, *changes.changed))
        if changes.formulas:
            self._vet_again(i for i, c in self.vetted.items() if _names(c, changes.formulas))
            self._vet_again(i for i, c in self.vetted.items() if c.formula is None)
            self._vet_again(self._queue.running)
        if changes.formula_inputs:
            self._vet_again(i for i, c in self.vetted.items() if _reads(c, changes.formula_inputs))
            self._vet_again(self._queue.running)
        for action_id in (*changes.finished, *changes.withdrawn, *changes.archived):
            if action_id not in self.tree.open:
                self._drop(action_id)
        self.warnings = _of_names(self.tree)
        return changes

    def _formulas_now(self, changes: Changes) -> Formulas:
        tree, before = self.tree, self._formulas
        changed = changes.formula_inputs
        return Formulas(
            commit=tree.commit,
            formulas=dict(tree.formulas) if changes.formulas else before.formulas,
            formula_inputs=dict(tree.formula_inputs) if changed else before.formula_inputs,
        )

    # -- vetting --------------------------------------------------------------------------

    def begin_vetting(self, *, resting: Container[str] = frozenset()) -> Vetting | None:
        """A batch to be vetted on another thread; None if nothing waits, or if a batch is being
        vetted already. End it with ``vetted_now`` or ``not_vetted``.

        Args:
            resting: ids to skip for now.
        """
        return self._queue.begin(
            self.tree.open,
            intake=self.intake,
            formulas=self._formulas,
            order=lambda action_id: self._opened[action_id].order,
            resting=resting,
        )

    def vetted_now(self, vetted: Mapping[str, Candidate | Exception]) -> list[str]:
        """Enter the vetted batch; files that changed meanwhile are vetted again.

        Returns:
            The ids about which something can be decided now.
        """
        self._queue.done()
        entered = []
        for action_id, answer in vetted.items():
            if self._queue.changed_meanwhile(action_id) or action_id not in self.tree.open:
                continue
            if isinstance(answer, Exception):
                self._fail(action_id, answer)
                continue
            self._queue.done([action_id])
            self.vetted[action_id] = answer
            self._judge(action_id)
            entered.append(action_id)
        return entered

    def not_vetted(self) -> None:
        """End a failed batch: its files are queued again."""
        self._queue.put_back(self.tree.open)

    def vet(self) -> None:
        """Vet what waits, synchronously: for commands without a loop.

        Raises:
            DirectoryGone: the operator's formulas directory cannot be read.
            Unavailable: the clone cannot be read.
        """
        vetting = self.begin_vetting()
        if vetting is None:
            return
        try:
            self.vetted_now(vetting.read())
        except TemporaryError:
            self.not_vetted()
            raise

    @property
    def unread(self) -> frozenset[str]:
        """Ids that wait to be vetted, or are being vetted: nothing can be decided about them."""
        return self._queue.ids

    def unread_orders(self) -> dict[str, int]:
        """Those of ``unread`` that are no candidates now, with their positions in commit order."""
        return {
            i: self._opened[i].order
            for i in self.unread
            if i not in self._candidates and i in self._opened
        }

    def waits(self) -> list[Wait]:
        """Those of ``unread`` that are not candidates now, for people."""
        return [
            Wait(action_id=i, waiting_for=WaitingFor.DEPENDENCY, reason=UNREAD)
            for i in sorted(self.unread)
            if i not in self._candidates
        ]

    def invalidate(self, action_id: str) -> None:
        """Vet an action again, because its formula changed."""
        self._vet_again([action_id])

    def unresolved(self) -> tuple[str, ...]:
        """Candidates that wait for the list of secret names."""
        return tuple(i for i, c in self.vetted.items() if c.unvetted and i not in self._queue)

    def learn_secrets(self, names: frozenset[str], action_ids: Collection[str]) -> None:
        """Enter the vault's list of names for the candidates that existed when it was requested: a
        later one must not be rejected by an older list. A candidate that names an unknown secret
        is vetted again, which finds the place in its file.
        """
        for action_id in action_ids:
            candidate = self.vetted.get(action_id)
            if candidate is None or action_id in self._queue:
                continue
            if candidate.action and names.issuperset(candidate.action.secrets):
                self.vetted[action_id] = replace(candidate, unvetted="")
                self._judge(action_id)
            else:
                self._queue.add_for_names(action_id, names)

    # -- judging --------------------------------------------------------------------------

    def candidates(self) -> Mapping[str, Candidate]:
        """Open actions for ``reconcile``, in the order of their arrival.

        Kept between rounds, so that a round does not copy everything that waits.
        """
        for action_id in self._answers.take_due():
            self._judge(action_id)
        return self._candidates

    def question(self, action_id: str) -> Question:
        """The question to the gate about a vetted action.

        Raises:
            ValueError: the action is invalid.
        """
        return Question.about(self.vetted[action_id], commit=self.tree.commit)

    def last_answer(self, action_id: str) -> Decision | None:
        """The gate's last decision about an action; None if there is none."""
        return self._answers.last(action_id)

    def learn(self, question: Question, decision: Decision, *, asked_at: float) -> None:
        """Enter a gate's decision; dropped if file, tier or formula changed since the question.

        Args:
            asked_at: monotonic time.
        """
        action_id = question.action_id
        opened = self._opened.get(action_id)
        if opened is not None and asked_at < opened.seen_at:
            return  # about an earlier action of that id that was withdrawn meanwhile
        candidate = self.vetted.get(action_id)
        if candidate is None or candidate.tier_decision is None:
            return  # it is gone, or invalid
        if not same(self.question(action_id), question):
            return
        if self._answers.learn(question, decision, asked_at=asked_at):
            self._judge(action_id)

    @property
    def invalidated(self) -> int:
        """How often all gate decisions were dropped."""
        return self._answers.invalidated

    def invalidate_answers(self, *, keep_approvals: bool = False) -> None:
        """Drop all gate decisions, because something may have changed (a webhook).

        Args:
            keep_approvals: whether approvals stay until they are due.
        """
        self.components.gate.invalidate(keep_approvals=keep_approvals)
        self.drop_answers(keep_approvals=keep_approvals)

    def drop_answers(self, *, keep_approvals: bool) -> None:
        """The same of what is known here. The gate keeps what it keeps."""
        self._judge_all(self._answers.invalidate(keep_approvals=keep_approvals))

    def rewritten(self) -> None:
        """Drop all gate decisions, those in progress included, because the branch is not a
        descendant of the previous head.
        """
        self.components.gate.invalidate()
        self._judge_all(self._answers.void())

    def adopt(self, policy: Policy, *, revision: int) -> None:
        """Judge everything again under new rules: tiers and gate decisions. A decision in progress
        under the old rules is dropped.
        """
        self.intake.policy, self.revision = policy, revision
        self._vet_again(list(self.tree.open))
        self.rewritten()

    @property
    def policy(self) -> Policy:
        """The policy by which all of it is judged."""
        return self.intake.policy

    def next_question_in(self) -> float | None:
        """Seconds until a gate must be checked again; None if none must be."""
        return self._answers.next_due_in()

    def _judge_all(self, action_ids: Iterable[str]) -> None:
        for action_id in action_ids:
            self._judge(action_id)

    def _judge(self, action_id: str) -> None:
        """Combine the vetted file with the gate's decision into a candidate."""
        if action_id not in self.vetted or self._queue.is_new(action_id):
            return
        try:
            self._candidates[action_id] = self._judged(action_id)
        except Exception as error:  # noqa: BLE001 - one action's; it is reported with the action
            self._fail(action_id, error)

    def _judged(self, action_id: str) -> Candidate:
        opened = self._opened.get(action_id)
        candidate = replace(
            self.vetted[action_id],
            since=opened.since if opened else 0.0,
            order_known=opened.order_known if opened else False,
        )
        if candidate.tier_decision is None or self._answers.last(action_id) is None:
            return candidate
        decision = self._answers.counting(self.question(action_id))
        if decision is None:
            return candidate
        return replace(
            candidate,
            gate_state=_gate_state(decision),
            reason=decision.reason,
            gate=decision.gate,
            approved_by=decision.approved_by,
            approved_at=decision.landed_at or candidate.since,
        )

    def _vet_again(self, action_ids: Iterable[str]) -> None:
        # One that is being vetted may have been withdrawn.
        ids = [i for i in action_ids if i in self.tree.open]
        self._queue.add(ids)
        for action_id in ids:
            self._candidates.pop(action_id, None)

    def _fail(self, action_id: str, error: Exception) -> None:
        """Note an unexpected error about an action, and vet it again."""
        self._vet_again([action_id])
        self.failed[action_id] = error

    def _drop(self, action_id: str) -> None:
        self.vetted.pop(action_id, None)
        self.failed.pop(action_id, None)
        self._candidates.pop(action_id, None)
        self._opened.pop(action_id, None)
        self._answers.drop(action_id)
        self._queue.drop(action_id)


def _of_names(tree: Tree) -> tuple[str, ...]:
    """The warning about files whose names are not valid ids; () if there are none."""
    count = len(tree.misnamed)
    if not count:
        return ()
    listed = ", ".join(escaped(path) for path in nsmallest(NAMES_LISTED, tree.misnamed))
    more = f" and {count - NAMES_LISTED} more" if count > NAMES_LISTED else ""
    files = "1 file is" if count == 1 else f"{count} files are"
    return (
        f"{files} ignored because the name is not a valid id: {listed}{more}. {ID_RULE}; of "
        "the directories in vault/done only YYYY-MM and YYYY-MM-DD are read; rename or delete what is named otherwise.",
    )


def _gate_state(decision: Decision) -> GateState:
    """Only a final refusal becomes a result; one that a later change can lift is held."""
    match decision.answer:
        case Answer.APPROVED:
            return GateState.APPROVED
        case Answer.WAITING:
            return GateState.WAITING
        case Answer.REFUSED:
            return GateState.REFUSED if decision.final else GateState.HELD


def _reads(candidate: Candidate, paths: Collection[str]) -> bool:
    """Whether an action's formula may read one of these files: its schema by its name, and what
    the schema names. Without a formula (something of it is invalid) that is not known.
    """
    formula, action = candidate.formula, candidate.action
    if formula is None or action is None:
        return True
    names = {each.name for each in formula.ref.inputs} | {schema_name(action.formula)}
    return any(f"{FORMULAS_PATH}/{name}" in paths for name in names)


def _names(candidate: Candidate, formulas: Collection[str]) -> bool:
    action = candidate.action
    return action is not None and action.formula in formulas
