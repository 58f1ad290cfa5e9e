"""The gate that joins action and formula, and its memory."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

import pytest

from dispatcher.errors import Dependency, Unavailable
from dispatcher.gate import Answer, Decision, NoGate, Question, TieredGate
from dispatcher.gate.caching import KEPT_S, MAX_CHECKS_PER_HEAD, CachingGate
from dispatcher.model.approval_need import PLAIN
from dispatcher.model.run import FormulaKind, FormulaRef, Tier

FORMULA = FormulaRef(
    name="f", kind=FormulaKind.SHELL, blob="f" * 40, sha256="0" * 64, commit="c" * 40
)
PATH = "vault/actions/x.toml"
FORMULA_PATH = "formulas/f.sh"


def question(tier: Tier = Tier.HIGH, *, own: bool = False, commit: str = "c" * 40) -> Question:
    return Question(
        action_id="x",
        path=PATH,
        blob="a" * 40,
        commit=commit,
        tier=tier,
        need=PLAIN,
        formula_need=PLAIN,
        formula=FORMULA,
        formula_path="" if own else FORMULA_PATH,
    )


def said(answer: Answer, *, final: bool = False) -> Decision:
    by = ("boss",) if answer is Answer.APPROVED else ()
    return Decision(answer=answer, reason=f"so {answer}", gate="fake", approved_by=by, final=final)


@dataclass
class FakeGate:
    """Answers by path, and keeps what it was asked."""

    answers: dict[str, Decision | Exception]
    asked: list[Question] = field(default_factory=list)
    forgotten: int = 0

    def check(self, question: Question) -> Decision:
        self.asked.append(question)
        answer = self.answers[question.path]
        if isinstance(answer, Exception):
            raise answer
        return answer

    def invalidate(self, *, keep_approvals: bool = False) -> None:
        self.forgotten += 1


def keeper(
    action: Decision | Exception, formula: Decision | Exception
) -> tuple[TieredGate, FakeGate]:
    gate = FakeGate({PATH: action, FORMULA_PATH: formula})
    return TieredGate(gate), gate


OK, WAIT, NO = said(Answer.APPROVED), said(Answer.WAITING), said(Answer.REFUSED)
NEVER = said(Answer.REFUSED, final=True)


def test_low_with_the_operators_formula_asks_nobody() -> None:
    found, gate = keeper(NO, NO)
    decision = found.check(question(Tier.LOW, own=True))
    assert decision.answer is Answer.APPROVED
    assert decision.gate == "main_branch"
    assert gate.asked == []


@pytest.mark.parametrize("tier", [Tier.MEDIUM, Tier.HIGH])
def test_medium_and_high_ask_the_configured_gate(tier: Tier) -> None:
    for answer in (OK, WAIT, NO, NEVER):
        found, gate = keeper(answer, NO)
        assert found.check(question(tier, own=True)) == answer
        assert [q.tier for q in gate.asked] == [tier]


@pytest.mark.parametrize("tier", list(Tier))
def test_a_formula_of_the_ops_repo_is_asked_for_at_tier_high(tier: Tier) -> None:
    found, gate = keeper(OK, OK)
    assert found.check(question(tier)).answer is Answer.APPROVED
    about = gate.asked[-1]
    assert (about.path, about.blob, about.tier) == (FORMULA_PATH, FORMULA.blob, Tier.HIGH)


@pytest.mark.parametrize("tier", list(Tier))
@pytest.mark.parametrize("answer", [WAIT, NO, NEVER])
def test_a_formula_that_is_not_approved_holds_the_action(tier: Tier, answer: Decision) -> None:
    found, _ = keeper(OK, answer)
    decision = found.check(question(tier))
    assert decision.answer is answer.answer
    assert not decision.final  # the next version of the formula may be approved
    assert decision.approved_by == ()
    assert decision.reason.startswith("formula formulas/f.sh needs approval at tier high: so ")


def test_an_action_refused_for_good_stays_so_whatever_its_formula() -> None:
    found, _ = keeper(NEVER, WAIT)
    assert found.check(question()).final


def test_a_gate_that_cannot_be_asked_is_an_exception() -> None:
    down = Unavailable(Dependency.FORGE, "no answer")
    for action, formula in ((down, OK), (OK, down)):
        found, _ = keeper(action, formula)
        with pytest.raises(Unavailable):
            found.check(question())


@pytest.mark.parametrize("tier", [Tier.MEDIUM, Tier.HIGH])
def test_without_a_gate_it_waits_and_says_what_to_do(tier: Tier) -> None:
    decision = TieredGate(NoGate()).check(question(tier, own=True))
    assert decision.answer is Answer.WAITING
    assert decision.reason == (
        f"tier {tier} needs approval and no gate is configured; set [policy] gate"
    )


def test_without_a_gate_a_formula_of_the_ops_repo_waits_too() -> None:
    decision = TieredGate(NoGate()).check(question(Tier.LOW))
    assert decision.answer is Answer.WAITING
    assert "formulas/f.sh" in decision.reason


def test_only_a_refusal_can_be_final() -> None:
    with pytest.raises(ValueError, match="only a refusal"):
        Decision(answer=Answer.WAITING, reason="", gate="", final=True)


# --- memory -----------------------------------------------------------------------------------


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def remembering(answer: Decision | Exception, clock: Clock) -> tuple[CachingGate, FakeGate]:
    gate = FakeGate({PATH: answer})
    return CachingGate(gate, clock=clock), gate


@pytest.mark.parametrize("answer", [OK, WAIT, NO])
def test_an_answer_serves_for_its_time(answer: Decision, clock: Clock) -> None:
    memory, gate = remembering(answer, clock)
    memory.check(question())
    clock.now += KEPT_S * 0.9
    memory.check(question())
    assert len(gate.asked) == 1
    clock.now += KEPT_S
    memory.check(question())
    assert len(gate.asked) == 2


@pytest.mark.parametrize("part", ["path", "blob", "commit"])
def test_another_file_content_or_head_is_another_question(part: str, clock: Clock) -> None:
    memory, gate = remembering(OK, clock)
    gate.answers["other"] = WAIT
    memory.check(question())
    memory.check(replace(question(), **{part: "other"}))
    assert len(gate.asked) == 2


def test_what_waits_for_weeks_costs_nothing(clock: Clock) -> None:
    memory, gate = remembering(WAIT, clock)
    for _ in range(10_000):
        clock.now += 600
        assert memory.check(question()) == WAIT
    assert len(gate.asked) == MAX_CHECKS_PER_HEAD
    gate.answers[PATH] = OK
    assert memory.check(question()) == WAIT
    memory.invalidate()
    assert gate.forgotten == 1
    assert memory.check(question()) == OK


def test_a_new_head_asks_again_after_all_those_weeks(clock: Clock) -> None:
    memory, gate = remembering(WAIT, clock)
    for _ in range(100):
        clock.now += 600
        memory.check(question())
    memory.check(question(commit="d" * 40))
    assert len(gate.asked) == MAX_CHECKS_PER_HEAD + 1


def test_a_final_refusal_is_never_asked_again(clock: Clock) -> None:
    memory, gate = remembering(NEVER, clock)
    for _ in range(5):
        clock.now += 10**6
        memory.check(question())
    assert len(gate.asked) == 1


def test_a_failure_is_not_remembered(clock: Clock) -> None:
    memory, gate = remembering(Unavailable(Dependency.FORGE, "no answer"), clock)
    with pytest.raises(Unavailable):
        memory.check(question())
    gate.answers[PATH] = OK
    assert memory.check(question()) == OK


def test_many_who_ask_the_same_at_once_are_one_question(clock: Clock) -> None:
    inside, go_on = threading.Event(), threading.Event()

    class Slow(FakeGate):
        def check(self, question: Question) -> Decision:
            inside.set()
            assert go_on.wait(10)
            return super().check(question)

    gate = Slow({PATH: OK})
    memory = CachingGate(gate, clock=clock)
    with ThreadPoolExecutor(8) as pool:
        ask: Callable[[], Decision] = lambda: memory.check(question())  # noqa: E731
        futures = [pool.submit(ask) for _ in range(8)]
        assert inside.wait(10)
        go_on.set()
        assert {f.result(10) for f in futures} == {OK}
    assert len(gate.asked) == 1


@pytest.mark.parametrize(("answer", "asked"), [(OK, 1), (WAIT, 2), (NO, 2), (NEVER, 1)])
def test_a_push_has_what_is_not_approved_asked_again(
    answer: Decision, asked: int, clock: Clock
) -> None:
    memory, gate = remembering(answer, clock)
    memory.check(question())
    memory.invalidate(keep_approvals=True)
    memory.check(question())
    assert len(gate.asked) == asked
    clock.now += KEPT_S
    memory.check(question())
    assert len(gate.asked) == (1 if answer.final else asked + 1)


@pytest.mark.parametrize(("answer", "asked"), [(OK, 1), (WAIT, 2)])
def test_an_answer_that_was_under_way_at_a_push_serves_if_it_approves(
    answer: Decision, asked: int, clock: Clock
) -> None:
    class Pushed(FakeGate):
        def check(self, question: Question) -> Decision:
            if not self.asked:
                memory.invalidate(keep_approvals=True)
            return super().check(question)

    gate = Pushed({PATH: answer})
    memory = CachingGate(gate, clock=clock)
    memory.check(question())
    memory.check(question())
    assert len(gate.asked) == asked
