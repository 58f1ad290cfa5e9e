"""An action has one shape wherever it is printed, and that shape is written down."""

from __future__ import annotations

import re
from pathlib import Path

from dispatcher.cli import status
from dispatcher.cli.status import STATES, Wanted
from dispatcher.model.health import WaitingFor
from dispatcher.model.result import Result, ResultEngine, ResultFormula
from dispatcher.model.run import Tier
from dispatcher.model.verdicts import Verdict
from dispatcher.status.action_record import FINISHED, ActionRecord, of_open, of_result, undecided
from dispatcher.status.overview import OpenAction, State

DOCS = Path(__file__).parents[2] / "docs" / "json.md"
ROW = re.compile(r"^\| `(\w+)` \| (.*) \|$", re.MULTILINE)

OPEN = OpenAction(
    id="a",
    state=State.WAITING,
    reason="no approval yet",
    waiting_for=WaitingFor.APPROVAL,
    formula="deploy",
    tier="high",
    since=1_772_366_400.0,
)
RESULT = Result(
    id="b",
    exit_code=3,
    timestamp="2026-03-01T12:00:00.000Z",
    verdict=Verdict.FAILED,
    error="it broke",
    tier=Tier.LOW,
    formula=ResultFormula(name="deploy"),
    engine=ResultEngine(kind="nomad", job="j", alloc="x", node="n"),
    outputs={"url": "http://x"},
)


def rows() -> dict[str, str]:
    section = DOCS.read_text().partition("## An action")[2].partition("| command |")[0]
    return dict(ROW.findall(section))


def test_each_key_is_written_down_in_its_order() -> None:
    assert list(rows()) == list(ActionRecord.__dataclass_fields__)


def test_each_state_and_each_verdict_is_written_down() -> None:
    assert set(re.findall(r"`(\w+)`", rows()["state"])) == {*State, FINISHED, "reason"}
    assert "[verdicts](actions.md#the-result)" in rows()["verdict"]  # a table of all of them
    assert set(re.findall(r"`(\w+)`", rows()["waiting_for"])) == set(WaitingFor)


def test_the_options_name_every_state_and_verdict() -> None:
    assert set(STATES) == {*State, FINISHED}
    choices = {param.name: param.type for param in status.command.params}
    for verdict in Verdict:
        assert choices["verdicts"].convert(verdict.value, None, None) == verdict.value


def test_every_record_has_every_key() -> None:
    keys = set(ActionRecord.__dataclass_fields__)
    for record in (of_open(OPEN), of_result(RESULT), undecided("c")):
        assert set(record.to_json()) == keys


def test_what_waits_has_a_time_and_no_verdict() -> None:
    record = of_open(OPEN)
    assert (record.state, record.verdict, record.waiting_for) == ("waiting", None, "approval")
    assert record.since == "2026-03-01T12:00:00.000Z"
    assert record.engine_id is None


def test_what_finished_has_its_verdict_apart_from_its_state() -> None:
    record = of_result(RESULT)
    assert (record.state, record.verdict, record.exit_code) == ("finished", "failed", 3)
    assert (record.reason, record.engine_id, record.node) == ("it broke", "x", "n")
    assert record.result is not None
    assert record.result["outputs"] == {"url": "http://x"}


def test_filters_take_what_fits_all_of_them() -> None:
    assert Wanted(states=("waiting",), formula="deploy", text="APPROVAL").open(OPEN)
    assert not Wanted(states=("running",)).open(OPEN)
    assert not Wanted(verdicts=("failed",)).open(OPEN)
    assert Wanted(verdicts=("failed",), text="broke").finished(RESULT)
    assert not Wanted(formula="other").finished(RESULT)
    assert not Wanted(text="nowhere").finished(RESULT)
    assert not Wanted()
