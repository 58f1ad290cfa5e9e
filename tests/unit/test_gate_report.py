"""What people on the forge are told: once, in one comment, that nobody else can take over."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dispatcher.decide.policy import Policy
from dispatcher.decide.tiers import Contribution, Item, TierDecision, effective_tier
from dispatcher.errors import Dependency, Unavailable
from dispatcher.forge.records import Comment, User
from dispatcher.gate import Answer, Decision, Question
from dispatcher.gate.markdown import cell, fence_of
from dispatcher.gate.report import SKEW_S
from dispatcher.gate.request_comment import MARKER
from dispatcher.model.action import Action
from dispatcher.model.approval_need import PLAIN
from dispatcher.model.mounts import Mount
from dispatcher.model.run import FormulaKind, FormulaRef, Tier
from dispatcher.operate.pull_request_text import TEXT_LIMIT, pull_request_text
from tests.fakes.board import EARLIER, LANDED, ME, OTHER, FakeBoard, reporter_of


def question(action_id: str = "x") -> Question:
    return Question(
        action_id=action_id,
        path=f"vault/actions/{action_id}.toml",
        blob="b" * 40,
        commit="d" * 40,
        tier=Tier.HIGH,
        need=PLAIN,
        formula_need=PLAIN,
    )


def decision(answer: Answer, reason: str = "so it is", *, request: int = 5) -> Decision:
    return Decision(answer=answer, reason=reason, gate="forgejo", request=request, landed=LANDED)


WAITING, REFUSED = decision(Answer.WAITING), decision(Answer.REFUSED, "it was changed")
APPROVED = decision(Answer.APPROVED, "approved by boss")


def test_waiting_is_told_by_a_status_and_a_comment() -> None:
    board = FakeBoard()
    reporter_of(board).report(question(), WAITING)
    assert board.writes == ["status pending", "status pending", "add"]
    assert board.states == {"disinto/x/approval": "pending", "disinto/x": "pending"}
    body = board.said[1].body
    assert body.startswith(MARKER)
    assert "| `x` | waiting | so it is |" in body.splitlines()


def test_the_same_decision_costs_no_call() -> None:
    board = FakeBoard()
    reporter = reporter_of(board)
    reporter.report(question(), WAITING)
    calls = board.calls
    for _ in range(100):
        reporter.report(question(), WAITING)
    assert board.calls == calls


def test_a_restart_tells_nothing_twice() -> None:
    board = FakeBoard()
    for _ in range(3):
        reporter_of(board).report(question(), WAITING)
    assert board.writes == ["status pending", "status pending", "add"]


def test_the_one_comment_is_edited_as_things_go_on() -> None:
    board = FakeBoard()
    reporter = reporter_of(board)
    reporter.report(question("x"), WAITING)
    reporter.report(question("a"), REFUSED)
    reporter.report(question("x"), APPROVED)
    assert len(board.said) == 1
    rows = [line for line in board.said[1].body.splitlines() if line.startswith("| `")]
    assert rows == ["| `a` | refused | it was changed |", "| `x` | approved | approved by boss |"]
    assert board.states == {
        "disinto/x/approval": "success",
        "disinto/x": "pending",
        "disinto/a/approval": "failure",
        "disinto/a": "failure",
    }


@pytest.mark.parametrize(
    ("head", "after_s", "calls"),
    [
        ("", 0.0, 5),  # the two lists and our account are read first
        (LANDED, 0.0, 5),
        (EARLIER, 0.0, 2),
        (EARLIER, -2 * SKEW_S, 5),
        ("", 2 * SKEW_S, 2),
    ],
)
def test_what_came_since_we_lead_can_have_no_report_of_anybody_else(
    head: str, after_s: float, calls: int
) -> None:
    board = FakeBoard()
    reporter = reporter_of(board, clock=lambda: 1000.0)
    if head:
        reporter.leads_from(head)
    reporter.report(question(), replace(APPROVED, landed_at=1000.0 + after_s))
    assert board.calls == calls
    assert board.writes == ["status success", "status pending"]


def test_good_news_alone_make_no_comment() -> None:
    board = FakeBoard()
    reporter_of(board).report(question(), APPROVED)
    assert board.writes == ["status success", "status pending"]


def test_somebody_elses_marker_is_not_our_comment() -> None:
    board = FakeBoard()
    board.said[1] = Comment(id=1, user=OTHER, body=f"{MARKER}\nmine now")
    board.said[2] = Comment(id=2, user=None, body=MARKER)
    board.said[3] = Comment(id=3, user=ME, body="a word from the bot's own account")
    reporter_of(board).report(question(), WAITING)
    assert board.writes == ["status pending", "status pending", "add"]
    assert board.said[1].body.endswith("mine now")


def test_the_account_is_found_whatever_its_case_and_line_ends() -> None:
    board = FakeBoard()
    reporter_of(board).report(question("a"), WAITING)
    board.said[1] = Comment(
        id=1, user=User(id=1, login="disINTO"), body=board.said[1].body.replace("\n", "\r\n")
    )
    reporter_of(board).report(question("x"), WAITING)
    assert board.writes[-1] == "edit"
    assert sum(line.startswith("| `") for line in board.said[1].body.splitlines()) == 2


def test_a_low_action_is_not_spoken_of() -> None:
    board = FakeBoard()
    plain = Decision(answer=Answer.APPROVED, reason="low", gate="main_branch", landed=LANDED)
    reporter_of(board).report(question(), plain)
    assert board.calls == 0


def test_without_a_request_there_is_a_status_only() -> None:
    board = FakeBoard()
    reporter_of(board).report(question(), decision(Answer.REFUSED, request=0))
    assert board.writes == ["status failure", "status failure"]


@pytest.mark.parametrize(
    ("status", "comment", "writes"), [(False, True, ["add"]), (True, False, ["status pending"] * 2)]
)
def test_each_can_be_turned_off(status: bool, comment: bool, writes: list[str]) -> None:
    board = FakeBoard()
    reporter_of(board, status=status, comment=comment).report(question(), WAITING)
    assert board.writes == writes


def test_what_could_not_be_told_is_told_next_time() -> None:
    board = FakeBoard(fault=Unavailable(Dependency.FORGE, "no answer"))
    reporter = reporter_of(board)
    with pytest.raises(Unavailable):
        reporter.report(question(), WAITING)
    board.fault = None
    reporter.report(question(), WAITING)
    assert board.writes == ["status pending", "status pending", "add"]


def test_a_reason_stays_in_its_cell() -> None:
    board = FakeBoard()
    evil = "a|b\n| `y` | approved | fake |\n<!-- x --> @everyone <img src=x>"
    reporter_of(board).report(question(), decision(Answer.WAITING, evil))
    rows = [line for line in board.said[1].body.splitlines() if line.startswith("| `")]
    assert len(rows) == 1
    assert rows[0].count("|") == 4
    assert "<img" not in rows[0]
    assert "@" not in rows[0]


def test_cell_and_fence() -> None:
    assert cell("a | b\n<c> & @d") == "a &#124; b &lt;c> &amp; &#64;\u200bd"
    assert fence_of("no ticks") == "```"
    assert fence_of("````` five") == "``````"


# --- the request that dispatch opens ------------------------------------------------------------

ACTION = Action(
    id="x", formula="deploy", context="go", secrets=("TOKEN", "KEY"), mounts=(Mount.SSH,)
)
FORMULA = FormulaRef(name="deploy", kind=FormulaKind.SHELL, blob="b" * 40, sha256="5" * 64)


GIVEN = TierDecision(
    contributions=(
        Contribution(item=Item.FORMULA, name="deploy", tier=Tier.HIGH, source="the policy"),
    ),
    reason="the policy gives it | <b>high</b>",
    need=PLAIN,
    formula_need=PLAIN,
)


def text_of(
    formula_text: str = "echo hello\n",
    *,
    formula_path: str = "",
    tier: TierDecision | None = None,
) -> str:
    return pull_request_text(
        action=ACTION,
        path="vault/actions/x.toml",
        action_text='id = "x"\n',
        tier=tier or GIVEN,
        formula=FORMULA,
        formula_path=formula_path,
        formula_text=formula_text,
    ).body


def test_a_reviewer_sees_what_they_approve() -> None:
    body = text_of()
    for part in (
        "| tier | high: the policy gives it &#124; &lt;b>high&lt;/b> |",
        "| secrets | `TOKEN`, `KEY` |",
        "| mounts | `ssh` (read-only) |",
        f"| formula's SHA-256 | `{'5' * 64}` |",
        "| formula | `deploy.sh`, from the operator's own directory |",
        "| timeout | 60 minutes |",
        "echo hello",
        'id = "x"',
    ):
        assert part in body
    assert "`formulas/deploy.sh` of this repository" in text_of(formula_path="formulas/deploy.sh")


def test_a_reviewer_sees_what_raised_the_tier() -> None:
    policy = Policy(
        tiers={"deploy": Tier.LOW}, secrets={"TOKEN": Tier.LOW}, mounts={Mount.SSH: Tier.MEDIUM}
    )
    body = text_of(tier=effective_tier(policy, ACTION))
    for part in (
        '| tier | high: the policy gives "deploy" the tier low; secret KEY raises it to high '
        "(not named in [secrets]) |",
        "| secrets | `TOKEN` (low), `KEY` (high) |",
        "| mounts | `ssh` (read-only, medium) |",
    ):
        assert part in body


def test_the_formulas_text_cannot_leave_its_fence() -> None:
    body = text_of("```\n</details>\n| tier | low |\n````\n")
    lines = body.splitlines()
    start = lines.index("`````bash")
    assert "| tier | low |" in lines[start : lines.index("`````", start)]


def test_a_long_formula_is_cut_and_says_so() -> None:
    body = text_of("x" * TEXT_LIMIT)
    assert len(body) < 65_535
    assert "more characters" in body
