"""The view of an author client, from git and, if there is one, the forge; never ledger or engine.

So whether an approved action waits for placement, runs or has ended without its result in git is
unknown here, and reported as unknown.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice

from dispatcher.decide.approvals import need_of
from dispatcher.decide.world import Candidate
from dispatcher.errors import Dependency, DisintoError, Unavailable
from dispatcher.gate.base import Answer, Decision, Gate, Question
from dispatcher.loop.cancel_requests import Subject, judge
from dispatcher.loop.intake import Intake
from dispatcher.model.cancel_request import CancelNote
from dispatcher.model.health import DependencyHealth, WaitingFor
from dispatcher.model.run import RunKey, Tier
from dispatcher.ops_repo import OpsRepo, Tree
from dispatcher.status.overview import LISTED, OpenAction, Overview, State

CHECKED = 50
"""Open actions whose approval is checked; each may take a dozen calls to the forge."""

UNKNOWN = "only the dispatcher's host shows whether it has started"


class AsClaimed:
    """Believes every action that says the dispatcher wrote it: an author client has no key to check it,
    and runs nothing."""

    def wrote(self, data: bytes, *, action_id: str) -> bool:  # noqa: ARG002
        """Always."""
        return True


@dataclass(kw_only=True)
class AuthorView:
    """Makes an overview from what an author client can reach.

    Args:
        repo: the clone.
        intake: reads the files.
        gate: opens the gate as configured here; raises if it cannot be reached.
    """

    repo: OpsRepo
    intake: Intake
    gate: Callable[[], Gate]

    def look(self) -> tuple[Overview, Tree]:
        """Fetch, and make the overview. A remote that is down is reported in it, and it then shows what
        was fetched last.

        Raises:
            Denied, Misconfigured: the remote cannot be read.
        """
        tree, trouble = self.fetched()
        remote = DependencyHealth(dependency=Dependency.REMOTE, up=not trouble, error=trouble)
        gate = self.lazy_gate()
        rows = self._open(tree, gate)
        waiting = sum(row.state is State.WAITING for row in rows)
        return Overview(
            at=time.time(),
            head=tree.commit,
            open=rows,
            waiting={WaitingFor.APPROVAL: waiting} if waiting else {},
            dependencies=(remote,),
            cancels=self._cancels(tree, rows, gate),
            open_actions=len(tree.open),
            finished_actions=len(tree.finished),
            archived_actions=len(tree.archived),
        ), tree

    def fetched(self) -> tuple[Tree, str]:
        """The branch as it is now; with an error, as it was fetched last.

        Raises:
            Denied, Misconfigured: the remote cannot be read.
            Unavailable: nothing was fetched yet.
        """
        trouble = ""
        try:
            head = self.repo.fetch()
        except Unavailable as error:
            local = self.repo.local_head()
            if local is None:
                raise
            head, trouble = local, str(error)
        tree = Tree()
        self.repo.advance(tree, head.commit)
        return tree, trouble

    def lazy_gate(self) -> _Lazily:
        """The gate, opened when it is first needed."""
        return _Lazily(self.gate)

    def _cancels(
        self, tree: Tree, rows: tuple[OpenAction, ...], gate: _Lazily
    ) -> tuple[CancelNote, ...]:
        """Requests to cancel open actions, judged as far as possible here."""
        by_id = {row.id: row for row in rows}

        def subject(action_id: str) -> Subject:
            row, file = by_id.get(action_id), tree.open[action_id]
            tier = Tier(row.tier) if row and row.tier else Tier.HIGH
            return Subject(
                file=tree.cancels[action_id],
                key=RunKey(action_id=action_id, blob=file.blob),
                tier=tier,
                need=need_of(self.intake.policy, tier, row.formula if row else ""),
            )

        subjects = [subject(i) for i in sorted(tree.cancels.keys() & tree.open.keys())[:CHECKED]]
        return tuple(
            judge(subject, repo=self.repo, gate=gate, commit=tree.commit).note(subject)
            for subject in subjects
        )

    def _open(self, tree: Tree, gate: _Lazily) -> tuple[OpenAction, ...]:
        files = dict(islice(tree.open.items(), LISTED))
        vetted = self.intake.vet(files, tree=tree, secrets=None, order={})
        return tuple(self._row(i, answer, tree, gate) for i, answer in vetted.items())

    def _row(
        self, action_id: str, answer: Candidate | Exception, tree: Tree, gate: _Lazily
    ) -> OpenAction:
        if isinstance(answer, Exception):
            return OpenAction(id=action_id, state=State.OPEN, reason=f"cannot be read: {answer}")
        action, tier = answer.action, answer.tier
        if action is None or tier is None or answer.problem:
            # The dispatcher's own formulas and mounts decide, and may differ from ours.
            reason = f"invalid, as checked from here: {answer.problem}"
            return OpenAction(id=action_id, state=State.OPEN, reason=reason)
        question = Question.about(answer, commit=tree.commit)
        state, reason, approved_by = gate.standing(question)
        return OpenAction(
            id=action_id,
            state=state,
            reason=reason,
            waiting_for=WaitingFor.APPROVAL if state is State.WAITING else None,
            formula=action.formula,
            tier=tier,
            approved_by=approved_by,
        )


class _Lazily:
    """A gate that is opened when it is first needed, with a limited number of checks."""

    def __init__(self, opened: Callable[[], Gate]) -> None:
        self._open = opened
        self._gate: Gate | None = None
        self._trouble = ""
        self._checked = 0

    def check(self, question: Question) -> Decision:
        """As ``Gate.check``."""
        self._gate = self._gate or self._open()
        return self._gate.check(question)

    def invalidate(self, *, keep_approvals: bool = False) -> None:
        """Do nothing: there is no cache."""

    def standing(self, question: Question) -> tuple[State, str, tuple[str, ...]]:
        """State, reason and approvers."""
        by_people = question.tier is not Tier.LOW or question.formula_path
        self._checked += bool(by_people)
        if self._checked > CHECKED:
            return State.OPEN, f"its approval was not checked; {UNKNOWN}", ()
        if self._trouble:
            return State.OPEN, self._trouble, ()
        try:
            decision = self.check(question)
        except DisintoError as error:
            why = f"its approval cannot be checked from here: {error.what}"
            if isinstance(error, Unavailable):
                self._trouble = why
            return State.OPEN, why, ()
        if decision.answer is Answer.APPROVED:
            return State.APPROVED, f"{decision.reason}; {UNKNOWN}", decision.approved_by
        return State.WAITING, decision.reason, ()
