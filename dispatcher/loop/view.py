"""The view: what the ops repo asks for at its present head, vetted and judged.

Vetting reads files, so it is done on another thread: ``begin_vetting`` hands out what waits for
it, ``Vetting.read`` does it, ``vetted_now`` enters what came of it. Until then an action that is
new or changed is no candidate: nothing is decided about content that is not there any more.

``serve`` moves one view along from head to head; ``disinto plan`` and ``status`` make one for a
moment. It holds nothing that cannot be made anew from git, the vault's list of names and the gate.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Collection, Container, Iterable, Mapping
from dataclasses import dataclass, field, replace
from heapq import nsmallest
from itertools import chain

from dispatcher.decide.policy import Policy
from dispatcher.decide.reconcile import Candidate, GateState, Wait
from dispatcher.errors import TemporaryError
from dispatcher.gate.base import Answer, Decision, Question
from dispatcher.loop.components import Components
from dispatcher.loop.intake import Intake, Vetted, Vetting
from dispatcher.model.health import WaitingFor
from dispatcher.model.names import ID_RULE, is_id
from dispatcher.model.run import Tier
from dispatcher.ops_repo import Changes, Delta, Formulas, Tree, escaped

ASK_AGAIN_S = (30.0, 600.0)
"""First and longest pause before a gate that said *waiting* is asked again at an unchanged head."""

UNREAD = "its file is being read"
"""Why an action waits that is new or changed, for the moment until it is vetted."""

NAMES_LISTED = 5
"""Names of ignored files that a warning lists; beyond them only their number."""

ARRIVED = 100
"""Results that are remembered as the last that arrived."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """A gate's answer, and when it is worth asking again (monotonic seconds)."""

    question: Question
    decision: Decision
    again_at: float
    pause_s: float


@dataclass(frozen=True, slots=True)
class WithResult(Container[str]):
    """Ids with a result anywhere in a tree, for ``World.published``."""

    tree: Tree

    def __contains__(self, action_id: object) -> bool:
        # Nothing may be published for a name that is no id; what an earlier version claimed for
        # one is let go.
        return isinstance(action_id, str) and (
            self.tree.has_result(action_id) or not is_id(action_id)
        )


@dataclass(kw_only=True)
class View:
    """Open actions at one head. Not thread-safe: the loop owns it.

    Attributes:
        arrived: blobs of the results that came last, while this view looked on.
        failed: actions about which an error of ours keeps anything from being decided, by id;
            whoever takes one out tells of it.
        warnings: what people should look at in the files of this head, in words.
        asked_anew: how often all answers of gates were forgotten.
        revision: of the rules by which all of it is judged; see ``dispatcher.loop.fence``.
    """

    components: Components
    intake: Intake
    tree: Tree = field(default_factory=Tree)
    vetted: dict[str, Vetted] = field(default_factory=dict)
    failed: dict[str, Exception] = field(default_factory=dict)
    asked: dict[str, Asked] = field(default_factory=dict)
    _unvetted: set[str] = field(default_factory=set)
    _in_hand: frozenset[str] = frozenset()
    _gone: set[str] = field(default_factory=set)
    _secrets: dict[str, frozenset[str]] = field(default_factory=dict)
    _formulas: Formulas = field(default_factory=lambda: Formulas(commit="", formulas={}))
    _candidates: dict[str, Candidate] = field(default_factory=dict)
    _due_at: float = math.inf
    _anew_at: float = -math.inf
    _order: dict[str, int] = field(default_factory=dict)
    _since: dict[str, float] = field(default_factory=dict)
    _opened_at: dict[str, float] = field(default_factory=dict)  # monotonic
    _arrivals: int = 0
    _rules_at: float = -math.inf
    revision: int = 0
    invalidated: int = 0
    arrived: deque[str] = field(default_factory=lambda: deque(maxlen=ARRIVED))
    warnings: tuple[str, ...] = ()

    def advance(self, commit: str) -> Changes:
        """Move to another head; new and changed files wait to be vetted. Asks git."""
        return self.enter(self.components.repo.difference(self.tree, commit))

    def enter(self, delta: Delta) -> Changes:
        """Move to another head by a way that was worked out before; asks nobody."""
        looking = bool(self.tree.commit)
        changes = self.tree.enter(delta)
        if looking:
            finished = (self.tree.finished.get(i) for i in changes.finished)
            self.arrived.extend(pair.result.blob for pair in finished if pair)
        for action_id in changes.opened:
            self._arrivals += 1
            self._order[action_id] = self._arrivals
            self._opened_at[action_id] = time.monotonic()
            path = self.tree.open[action_id].path
            self._since[action_id] = delta.arrived_at.get(path, time.time())
        formulas = dict(self.tree.formulas) if changes.formulas else self._formulas.formulas
        self._formulas = Formulas(commit=self.tree.commit, formulas=formulas)
        self._vet_again(changes.opened, changes.changed)
        if changes.formulas:
            self._vet_again(i for i, v in self.vetted.items() if _names(v, changes.formulas))
            self._vet_again(i for i, v in self.vetted.items() if v.formula is None)
            self._vet_again(self._in_hand)
        for action_id in (*changes.finished, *changes.withdrawn, *changes.archived):
            if action_id not in self.tree.open:
                self._drop(action_id)
        self.warnings = _of_names(self.tree)
        return changes

    def begin_vetting(self, *, resting: Container[str] = frozenset()) -> Vetting | None:
        """What waits to be vetted, for another thread; None if there is nothing, or if some is in
        hand already. Give it back by ``vetted_now`` or ``not_vetted``.

        Args:
            resting: ids to leave for now.
        """
        if self._in_hand:
            return None
        files = {i: self.tree.open[i] for i in self._unvetted if i not in resting}
        if not files:
            return None
        self._in_hand = frozenset(files)
        self._unvetted -= self._in_hand
        gone, self._gone = self._gone, set()
        return Vetting(
            intake=self.intake,
            files=files,
            formulas=self._formulas,
            secrets={i: self._secrets[i] for i in files if i in self._secrets},
            order={i: self._order.get(i, 0) for i in files},
            gone=gone - files.keys(),
        )

    def vetted_now(self, vetted: Mapping[str, Vetted | Exception]) -> list[str]:
        """Enter what came of a vetting; what changed meanwhile is vetted once more.

        Returns:
            The ids about which something can be decided now.
        """
        self._in_hand = frozenset()
        entered = []
        for action_id, answer in vetted.items():
            if action_id in self._unvetted or action_id not in self.tree.open:
                continue
            if isinstance(answer, Exception):
                self._fail(action_id, answer)
                continue
            self._secrets.pop(action_id, None)
            self.vetted[action_id] = answer
            self._judge(action_id)
            entered.append(action_id)
        return entered

    def not_vetted(self) -> None:
        """A vetting came to nothing: what was in hand waits again."""
        in_hand, self._in_hand = self._in_hand, frozenset()
        self._unvetted.update(i for i in in_hand if i in self.tree.open)

    def vet(self) -> None:
        """Vet what waits, here and now: for whoever has no loop.

        Raises:
            FolderGone: the operator's formulas are not there.
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
        return self._in_hand.union(self._unvetted)

    def waits(self) -> list[Wait]:
        """Those of ``unread`` that are no candidates now, for people."""
        return [
            Wait(action_id=i, waiting_for=WaitingFor.DEPENDENCY, reason=UNREAD)
            for i in sorted(self.unread)
            if i not in self._candidates
        ]

    def invalidate(self, action_id: str) -> None:
        """Vet an action anew: its formula is not what it was."""
        self._vet_again([action_id])

    def unresolved(self) -> tuple[str, ...]:
        """Candidates that wait for the list of secret names."""
        return tuple(
            i for i, v in self.vetted.items() if v.candidate.unvetted and not self._is_unread(i)
        )

    def learn_secrets(self, names: frozenset[str], action_ids: Collection[str]) -> None:
        """The vault's list of names, for the candidates that were there when it was asked: one
        that came later must not be refused by an older list. They are vetted once more.
        """
        for action_id in action_ids:
            if action_id in self.vetted and not self._is_unread(action_id):
                self._secrets[action_id] = names
                self._unvetted.add(action_id)

    def candidates(self) -> Mapping[str, Candidate]:
        """Open actions as ``reconcile`` wants them, in the order of their arrival.

        Kept from round to round: what a round costs must not be a copy of everything that waits.
        """
        if self._due_at <= time.monotonic():
            for action_id, asked in list(self.asked.items()):
                if not _lasts(asked):
                    self._judge(action_id)
            self._reckon()
        return self._candidates

    def question(self, action_id: str) -> Question:
        """What the gate is to be asked about a vetted action."""
        vetted = self.vetted[action_id]
        tier = vetted.tier
        return Question(
            action_id=action_id,
            path=vetted.file.path,
            blob=vetted.file.blob,
            commit=self.tree.commit,
            tier=tier.tier if tier else Tier.HIGH,
            tier_reason=tier.reason if tier else "",
            tier_raised=tier.raised if tier else "",
            formula=vetted.formula.ref if vetted.formula else None,
            formula_path=vetted.formula.path if vetted.formula else "",
        )

    def learn(self, question: Question, decision: Decision, *, asked_at: float) -> None:
        """A gate's answer; dropped where file, tier or formula changed since it was asked.

        Args:
            asked_at: monotonic time. An answer older than the last ``invalidate_answers`` may have missed
                what there was to see, and is asked for again at once.
        """
        opened_at = self._opened_at.get(question.action_id, -math.inf)
        if asked_at < max(self._rules_at, opened_at):
            return  # by other rules, or about one of that id that was withdrawn meanwhile
        if question.action_id not in self.vetted or not self._holds(question):
            return
        before = self.asked.get(question.action_id)
        again = before is not None and before.decision == decision
        pause_s = min(ASK_AGAIN_S[1], before.pause_s * 2) if before and again else ASK_AGAIN_S[0]
        mendable = decision.answer is not Answer.APPROVED and not decision.final
        stale = mendable and asked_at < self._anew_at
        asked = self.asked[question.action_id] = Asked(
            question=question,
            decision=decision,
            again_at=time.monotonic() + (0.0 if stale else pause_s),
            pause_s=pause_s,
        )
        self._judge(question.action_id)
        if not _lasts(asked):
            self._due_at = min(self._due_at, asked.again_at)

    def invalidate_answers(self) -> None:
        """Something may have changed (a webhook, a rewritten history): forget all answers."""
        self.components.gate.invalidate()
        self._anew_at = time.monotonic()
        self.invalidated += 1
        asked, self.asked = self.asked, {}
        for action_id in asked:
            self._judge(action_id)
        self._reckon()

    def rewritten(self) -> None:
        """The branch is no descendant of what was viewed before: no answer that was asked for until
        now counts, not even one that is still to come.
        """
        self._rules_at = time.monotonic()
        self.invalidate_answers()

    def adopt(self, policy: Policy, *, revision: int) -> None:
        """Judge everything anew, by other rules: tiers, and the gate's answers. One that was asked
        for by the old rules and is under way is dropped when it comes.
        """
        self.intake.policy, self.revision = policy, revision
        self._rules_at = time.monotonic()
        self._vet_again(list(self.tree.open))
        self.invalidate_answers()

    def next_question_in(self) -> float | None:
        """Seconds until a waiting answer is worth asking for again."""
        return None if self._due_at == math.inf else max(0.0, self._due_at - time.monotonic())

    def _reckon(self) -> None:
        """When the next waiting answer falls due; those that are due are being asked for."""
        now = time.monotonic()
        waiting = [a.again_at for a in self.asked.values() if not _lasts(a)]
        self._due_at = min((at for at in waiting if at > now), default=math.inf)

    def _judge(self, action_id: str) -> None:
        """Put together what the file says and what the gate said of it."""
        if action_id not in self.vetted or self._waits(action_id):
            return
        try:
            self._candidates[action_id] = self._judged(action_id)
        except Exception as error:  # noqa: BLE001 - one action's; it is told with the action
            self._fail(action_id, error)

    def _judged(self, action_id: str) -> Candidate:
        vetted, asked = self.vetted[action_id], self.asked.get(action_id)
        candidate = replace(vetted.candidate, since=self._since.get(action_id, 0.0))
        if asked is not None and self._holds(asked.question) and _fresh(asked):
            decision = asked.decision
            candidate = replace(
                candidate,
                gate_state=_gate_state(decision),
                reason=decision.reason,
                approved_by=decision.approved_by,
            )
        return candidate

    def _waits(self, action_id: str) -> bool:
        """Whether it is to be vetted once more because what it was is gone; not if only the names
        of the secrets are to be checked.
        """
        return self._is_unread(action_id) and action_id not in self._secrets

    def _is_unread(self, action_id: str) -> bool:
        return action_id in self._unvetted or action_id in self._in_hand

    def _vet_again(self, *action_ids: Iterable[str]) -> None:
        for action_id in chain(*action_ids):
            self._unvetted.add(action_id)
            self._secrets.pop(action_id, None)
            self._candidates.pop(action_id, None)

    def _fail(self, action_id: str, error: Exception) -> None:
        """Nothing can be decided about an action, for a reason of our own: vet it once more."""
        self._vet_again([action_id])
        self.failed[action_id] = error

    def _holds(self, asked: Question) -> bool:
        """Whether an answer is about what would run now: approval goes with the exact bytes of
        the action and of its formula, and with the tier under which it was asked for.
        """
        now = self.question(asked.action_id)
        return replace(now, commit=asked.commit, formula=asked.formula) == asked and (
            _content(now) == _content(asked)
        )

    def _drop(self, action_id: str) -> None:
        for table in (self.vetted, self.asked, self.failed, self._secrets):
            table.pop(action_id, None)
        self._candidates.pop(action_id, None)
        self._order.pop(action_id, None)
        self._since.pop(action_id, None)
        self._opened_at.pop(action_id, None)
        self._unvetted.discard(action_id)
        self._gone.add(action_id)


def _of_names(tree: Tree) -> tuple[str, ...]:
    """The warning about files whose names are no ids; none where there are no such files."""
    count = len(tree.misnamed)
    if not count:
        return ()
    listed = ", ".join(escaped(path) for path in nsmallest(NAMES_LISTED, tree.misnamed))
    more = f" and {count - NAMES_LISTED} more" if count > NAMES_LISTED else ""
    files = "1 file is" if count == 1 else f"{count} files are"
    return (
        f"{files} ignored because the name is not a valid id: {listed}{more}. {ID_RULE}; of "
        "the directories in vault/done only YYYY-MM are read; rename or delete what is named otherwise.",
    )


def _content(question: Question) -> tuple[str, str]:
    """What the formula is, whatever the commit at which it was read."""
    ref = question.formula
    return (ref.blob, ref.sha256) if ref else ("", "")


def _lasts(asked: Asked) -> bool:
    """Whether an answer holds for as long as the files do. An approval that people gave is asked
    for again while the action waits for a place: they may have taken it back.
    """
    by_people = asked.question.tier is not Tier.LOW or asked.question.formula_path != ""
    return asked.decision.answer is Answer.APPROVED and not by_people


def _fresh(asked: Asked) -> bool:
    return _lasts(asked) or asked.again_at > time.monotonic()


def _gate_state(decision: Decision) -> GateState:
    """Only a final refusal becomes a result; one that a change can still mend is held."""
    match decision.answer:
        case Answer.APPROVED:
            return GateState.APPROVED
        case Answer.WAITING:
            return GateState.WAITING
        case Answer.REFUSED:
            return GateState.REFUSED if decision.final else GateState.HELD


def _names(vetted: Vetted, formulas: Collection[str]) -> bool:
    action = vetted.candidate.action
    return action is not None and action.formula in formulas
