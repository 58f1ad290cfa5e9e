"""What people on the forge are told of how a run ended: once, whatever dies, and with no say for
what a run prints.
"""

from __future__ import annotations

import contextlib
import re

import pytest

from dispatcher.errors import Dependency, DisintoError, Unavailable
from dispatcher.forge import ForgeRefused
from dispatcher.gate import Answer, Decision, Question
from dispatcher.gate.ended import Ended
from dispatcher.gate.markdown import indented, inert
from dispatcher.gate.request_comment import ROWS, TAILS
from dispatcher.model.approval_need import PLAIN
from dispatcher.model.result import Result
from dispatcher.model.run import Tier
from dispatcher.model.verdicts import Verdict
from tests.fakes.board import LANDED, WEB_URL, FakeBoard, reporter_of

HEAD = "e" * 40


def result(
    action_id: str = "x",
    verdict: Verdict = Verdict.FAILED,
    *,
    logs: str = "a\nb\n",
    error: str = "",
    exit_code: int | None = None,
) -> Result:
    return Result(
        id=action_id,
        exit_code=verdict.exit_code if exit_code is None else exit_code,
        timestamp="2026-01-01T00:00:00Z",
        verdict=verdict,
        logs=logs,
        error=error,
        duration_s=2.1,
        commit="d" * 40,
        approved_by=("boss",),
    )


def ended(result: Result, head: str = HEAD) -> Ended:
    return Ended(result=result, commit=head, path=f"vault/actions/{result.id}.result.json")


def decided(answer: Answer, action_id: str = "x") -> tuple[Question, Decision]:
    return (
        Question(
            action_id=action_id,
            path=f"vault/actions/{action_id}.toml",
            blob="b" * 40,
            commit="d" * 40,
            tier=Tier.HIGH,
            need=PLAIN,
            formula_need=PLAIN,
        ),
        Decision(answer=answer, reason="so it is", gate="forgejo", request=5, landed=LANDED),
    )


def body_of(board: FakeBoard) -> str:
    (comment,) = board.said.values()
    return comment.body


def test_a_run_that_failed_is_red_and_its_approval_green() -> None:
    board = FakeBoard()
    reporter = reporter_of(board)
    reporter.report(*decided(Answer.APPROVED))
    assert board.states == {"disinto/x/approval": "success", "disinto/x": "pending"}
    assert not reporter.report_ended([ended(result(exit_code=3))])
    assert board.states == {"disinto/x/approval": "success", "disinto/x": "failure"}
    last = board.shown[-1]
    assert last.description == "failed: exit code 3 after 2.1 s"
    assert last.target_url == f"{WEB_URL}/src/commit/{HEAD}/vault/actions/x.result.json"
    lines = body_of(board).splitlines()
    assert f"| `x` | failed | exit code 3 after 2.1 s; [result]({last.target_url}) |" in lines
    start = lines.index("<details><summary>End of the output of x</summary>")
    assert lines[start : start + 5] == [lines[start], "", "    a", "    b", "</details>"]


@pytest.mark.parametrize("verdict", Verdict)
def test_only_success_is_green_and_has_no_output(verdict: Verdict) -> None:
    board = FakeBoard()
    reporter_of(board).report_ended([ended(result(verdict=verdict))])
    succeeded = verdict is Verdict.SUCCEEDED
    assert board.states == {"disinto/x": "success" if succeeded else "failure"}
    assert ("<details>" in body_of(board)) is not succeeded
    assert f"| `x` | {verdict} |" in body_of(board)


def test_an_ended_action_costs_three_calls_more_than_its_approval_did_alone() -> None:
    board = FakeBoard()
    reporter = reporter_of(board)
    reporter.report(*decided(Answer.APPROVED))
    reporter.report_ended([ended(result())])
    # statuses, approval, run; who we are, comments; run, comment
    assert board.calls == 7
    assert board.writes == ["status success", "status pending", "status failure", "add"]


def test_what_came_by_a_direct_push_gets_a_status_only() -> None:
    board = FakeBoard()
    reporter_of(board, request=0).report_ended([ended(result())])
    assert board.writes == ["status failure"]


def test_a_restart_reports_nothing_twice_though_the_branch_moved_on() -> None:
    board = FakeBoard()
    for n in range(3):
        reporter_of(board).report_ended([ended(result(), head=str(n) * 40)])
    assert board.writes == ["status failure", "add"]


def test_a_crash_anywhere_leaves_one_comment_and_the_right_status() -> None:
    for crash_at in range(1, 8):
        board = FakeBoard()
        board.crash_at = crash_at
        reporter = reporter_of(board)
        with contextlib.suppress(KeyboardInterrupt):
            reporter.report(*decided(Answer.APPROVED))
            reporter.report_ended([ended(result())])
        assert board.calls == crash_at
        board.crash_at = 0
        assert not reporter_of(board).report_ended([ended(result())])
        assert board.states["disinto/x"] == "failure"
        assert board.states.get("disinto/x/approval", "success") == "success"
        assert len(board.said) == 1


def test_an_approval_that_was_left_pending_is_completed() -> None:
    board = FakeBoard()
    reporter_of(board).report(*decided(Answer.WAITING))
    reporter_of(board).report_ended([ended(result())])
    assert board.states == {"disinto/x/approval": "success", "disinto/x": "failure"}
    assert len(board.said) == 1


def test_a_late_decision_does_not_bring_back_the_pending_status() -> None:
    board = FakeBoard()
    reporter = reporter_of(board)
    reporter.report_ended([ended(result())])
    reporter.report(*decided(Answer.APPROVED))
    reporter_of(board).report(*decided(Answer.APPROVED))
    assert board.states["disinto/x"] == "failure"


def test_actions_of_one_request_share_the_comment_and_one_edit() -> None:
    board = FakeBoard()
    reporter = reporter_of(board)
    reporter.report_ended(
        [ended(result("a")), ended(result("b", Verdict.SUCCEEDED)), ended(result("c"))]
    )
    assert [w for w in board.writes if "status" not in w] == ["add"]
    reporter.report_ended([ended(result("d"))])
    assert [w for w in board.writes if "status" not in w] == ["add", "edit"]
    rows = re.findall(r"^\| `(\w)` \| (\w+)", body_of(board), re.MULTILINE)
    assert rows == [("a", "failed"), ("b", "succeeded"), ("c", "failed"), ("d", "failed")]
    assert re.findall(r"output of (\w)<", body_of(board)) == ["a", "c", "d"]


def test_a_comment_that_somebody_deleted_is_made_anew() -> None:
    board = FakeBoard()
    reporter = reporter_of(board)
    reporter.report_ended([ended(result("a"))])
    board.said.clear()
    assert not reporter.report_ended([ended(result("b"))])
    assert len(board.said) == 1


def test_another_leader_in_between_is_noticed() -> None:
    board = FakeBoard()
    reporter = reporter_of(board)
    reporter.report(*decided(Answer.APPROVED))
    reporter_of(board).report_ended([ended(result("y"))])
    reporter.forget()
    reporter.report_ended([ended(result("x"))])
    assert len(board.said) == 1
    assert "| `y` | failed |" in body_of(board)


def test_a_forge_that_is_down_costs_three_calls_and_names_all() -> None:
    board = FakeBoard(fault=Unavailable(Dependency.FORGE, "no answer"))
    failures = reporter_of(board).report_ended([ended(result(f"r{n}")) for n in range(50)])
    assert len(failures) == 50
    assert board.calls == 3


def test_a_request_that_is_gone_holds_up_no_other() -> None:
    board = FakeBoard()
    refused: DisintoError = ForgeRefused("the forge answered 404", status=404)
    board.no_comments = refused
    failures = reporter_of(board).report_ended([ended(result())])
    assert failures == {"x": refused}
    assert board.states == {"disinto/x": "failure"}


# --- what a run prints is only text -------------------------------------------------------------

EVIL = (
    "```\n````\n~~~\n</details>\n<img src=x onerror=alert(1)>\n<!-- disinto: approval -->\n"
    "| `y` | succeeded | all is well |\n@boss fixes #5 !7\r</details>\r\n\n\n"
    "<details><summary>End of the output of z</summary>\n\x1b[31m\u202ered\x00\n\t# heading\n"
    "\x85</details>\u2028</details>"
)


def test_no_line_of_an_output_stands_outside_its_block() -> None:
    board = FakeBoard()
    reporter = reporter_of(board)
    for action_id in ("x", "a"):  # twice: what was written is read back
        reporter.report_ended([ended(result(action_id, logs=EVIL))])
    lines = body_of(board).splitlines()
    assert lines.count("</details>") == 2
    assert sum(line.startswith("<details>") for line in lines) == 2
    assert sum(line.startswith("| `") for line in lines) == 2
    assert not any("@boss" in line or "#5" in line or "!7" in line for line in lines)
    outside = [line for line in lines if not line.startswith("    ")]
    assert not any(word in line for line in outside for word in ("```", "~~~", "<img", "heading"))
    assert not re.search(r"[\x00-\x08\x0b-\x1f\u202e\u2028\x85]", body_of(board))


def test_an_error_is_text_too() -> None:
    board = FakeBoard()
    evil = "a|b\n| `y` | <b> [click](http://evil) ![i](x) `c` @boss #5 http://evil \\| end"
    reporter_of(board).report_ended([ended(result(verdict=Verdict.INVALID, error=evil))])
    (row,) = [line for line in body_of(board).splitlines() if line.startswith("| `")]
    assert row.count("|") == 4
    assert row.count("[") == row.count("](") == 1  # the link to the result
    assert "http" not in row.replace("](https://", "").replace("http&#58;\u200b//", "")
    assert "@" not in row
    assert not re.search(r"(?<!&)#", row)


def test_everything_is_bounded() -> None:
    board = FakeBoard()
    reporter = reporter_of(board)
    long = "|" * 5_000
    many = [ended(result(f"r{n:04}", logs=f"{'`x' * 50_000}\n", error=long)) for n in range(200)]
    for start in range(0, 200, 50):
        reporter.report_ended(many[start : start + 50])
    body = body_of(board)
    assert len(body) < 65_535
    assert sum(line.startswith("| `") for line in body.splitlines()) == ROWS
    assert body.count("<details>") == TAILS
    assert "End of the output of r0199" in body
    assert max(len(status.description) for status in board.shown) <= 250


def test_the_parts_of_markdown() -> None:
    assert indented("\n\n a \n\nb\n\n", lines=40, characters=1000) == "     a\n\n    b\n"
    assert indented(" \n", lines=40, characters=1000) == ""
    assert indented("1\n2\n3", lines=2, characters=1000) == "    2\n    3\n"
    assert inert("||||", 13) == "&#124;&#124;\u2026"
    assert inert("plain text", 10) == "plain text"
