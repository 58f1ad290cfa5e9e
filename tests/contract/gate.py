"""What every gate promises that asks somebody. Subclasses give the fixture ``case``."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from dispatcher.gate import Answer, Gate, Question


@dataclass(frozen=True, kw_only=True)
class Case:
    """A gate, a question that it approves, and one about another file that it does not."""

    gate: Gate
    approved: Question
    unapproved: Question


class GateContract:
    """Subclass in a module whose name begins with ``test_``."""

    def test_it_approves_and_says_who_and_what(self, case: Case) -> None:
        decision = case.gate.check(case.approved)
        assert decision.answer is Answer.APPROVED, decision.reason
        assert decision.approved_by
        assert len(decision.commit) == 40
        assert decision.reason
        assert not decision.reason.endswith(".")

    def test_it_does_not_approve_without_somebodys_word(self, case: Case) -> None:
        decision = case.gate.check(case.unapproved)
        assert decision.answer is not Answer.APPROVED
        assert decision.approved_by == ()
        assert decision.reason
        assert not decision.final

    def test_an_approval_is_of_these_bytes(self, case: Case) -> None:
        other = replace(case.approved, blob=case.unapproved.blob)
        assert case.gate.check(other).answer is not Answer.APPROVED

    def test_an_approval_is_of_this_file(self, case: Case) -> None:
        for path in (case.unapproved.path, "no/such/file", case.approved.path.upper()):
            other = replace(case.approved, path=path)
            assert case.gate.check(other).answer is not Answer.APPROVED

    def test_many_may_ask_at_once(self, case: Case) -> None:
        questions = [case.approved, case.unapproved] * 8
        with ThreadPoolExecutor(8) as pool:
            answers = [d.answer for d in pool.map(case.gate.check, questions)]
        assert {*answers[::2]} == {Answer.APPROVED}
        assert Answer.APPROVED not in answers[1::2]
