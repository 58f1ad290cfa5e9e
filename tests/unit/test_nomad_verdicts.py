"""What Nomad's records amount to, on the real bytes of a server (``nomad_answers``)."""

from __future__ import annotations

import copy
import itertools
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.engines.nomad import verdicts
from dispatcher.engines.nomad.differences import differences
from dispatcher.engines.nomad.verdicts import Ended
from dispatcher.model.run import Outcome
from dispatcher.model.verdicts import Verdict

ANSWERS = Path(__file__).parent / "nomad_answers"


def answer(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((ANSWERS / f"{name}.json").read_text())
    return found


def ended(name: str, **more: Any) -> Ended:
    found = answer(name)
    return Ended(
        **{
            "allocations": found["allocations"],
            "evaluations": found["evaluations"],
            "stopped": bool(found["stub"]["Stop"]),
            "memory_mb": 32,
            "authentic": True,
            **more,
        }
    )


def word(verdict: Verdict, **more: Any) -> Outcome:
    return Outcome(
        **{"verdict": verdict, "exit_code": verdict.exit_code, "formula_started": True, **more}
    )


@pytest.mark.parametrize(
    ("name", "verdict", "exit_code", "error"),
    [
        ("ok", Verdict.SUCCEEDED, 0, ""),
        ("exit3", Verdict.FAILED, 3, "exited with 3 before reporting"),
        ("oom", Verdict.FAILED, 137, "out of memory (limit 32 MiB)"),
        ("noimage", Verdict.ERROR, 70, "the image is missing: Failed to pull `disinto-nowhere"),
        ("nocmd", Verdict.ERROR, 70, "the task driver failed: Failed to start container"),
        ("rawno", Verdict.ERROR, 70, 'binary "/no/such" could not be found'),
        ("rawvol", Verdict.ERROR, 70, "does not support host volumes"),
        ("stop", Verdict.CANCELLED, 130, "stopped in Nomad, or by 'disinto cancel'"),
    ],
)
def test_without_the_runners_word_nomads_records_decide(
    name: str, verdict: Verdict, exit_code: int, error: str
) -> None:
    outcome = verdicts.outcome(ended(name))
    assert (outcome.verdict, outcome.exit_code) == (verdict, exit_code)
    assert error in outcome.error


def test_a_run_that_started_says_when() -> None:
    outcome = verdicts.outcome(ended("exit3"))
    assert outcome.formula_started
    assert 0 < outcome.started_at <= outcome.finished_at
    assert not verdicts.outcome(ended("noimage")).formula_started


def test_the_last_event_is_never_asked() -> None:
    run = ended("exit3")
    last = run.allocations[0]["TaskStates"]["runner"]["Events"][-1]
    assert last["Type"] == "Not Restarting"


def test_of_two_ends_the_later_one_counts_in_any_order() -> None:
    def end(code: str, time: int) -> dict[str, Any]:
        return {"Type": "Terminated", "Time": time, "Details": {"exit_code": code}}

    for events in ([end("4", 1), end("5", 2)], [end("5", 2), end("4", 1)]):
        allocation: Any = {"ClientStatus": "failed", "TaskStates": {"runner": {"Events": events}}}
        assert verdicts.outcome(Ended(allocations=[allocation])).exit_code == 5


def test_the_runners_own_word_goes_first() -> None:
    mine = word(Verdict.TIMED_OUT, error="after 5 s", logs="x")
    assert verdicts.outcome(ended("exit3", outcome=mine)) == mine


def test_a_word_of_an_older_release_needs_the_exit_code_that_nomad_reports() -> None:
    forged = word(Verdict.SUCCEEDED, logs="unredacted")
    outcome = verdicts.outcome(ended("exit3", outcome=forged, authentic=False))
    assert (outcome.verdict, outcome.exit_code, outcome.logs) == (Verdict.FAILED, 3, "")
    assert "not written by this run's runner" in outcome.error
    honest = word(Verdict.FAILED, exit_code=3, logs="redacted")
    assert verdicts.outcome(ended("exit3", outcome=honest, authentic=False)) == honest


@pytest.mark.parametrize(
    ("name", "verdict"),
    [("ok", Verdict.FAILED), ("exit3", Verdict.FAILED), ("stop", Verdict.CANCELLED)],
)
def test_a_forged_outcome_is_no_success_and_shows_nothing(name: str, verdict: Verdict) -> None:
    outcome = verdicts.outcome(ended(name, outcome=None, authentic=False, forged=True))
    assert outcome.verdict is verdict
    assert outcome.exit_code != 0
    assert outcome.logs == ""
    assert outcome.error.endswith("its logs and outputs were discarded")


def test_the_runner_cannot_know_that_the_memory_ran_out() -> None:
    mine = word(Verdict.FAILED, exit_code=137, signal=9, logs="kept")
    outcome = verdicts.outcome(ended("oom", outcome=mine))
    assert outcome.error == "out of memory (limit 32 MiB)"
    assert outcome.logs == "kept"
    assert verdicts.outcome(ended("exit3", outcome=mine)) == mine


def test_our_reason_for_a_stop_is_told() -> None:
    outcome = verdicts.outcome(ended("stop", reason="cancelled by anna"))
    assert outcome.error == "cancelled by anna"
    mine = word(Verdict.CANCELLED, exit_code=143, error="TERM")
    assert verdicts.outcome(ended("stop", outcome=mine, reason="by anna")).error == "by anna"


def test_a_second_start_by_the_engine_is_lost() -> None:
    run = ended("exit3", outcome=word(Verdict.ERROR, formula_started=False, error="used token"))
    assert verdicts.outcome(run).verdict is Verdict.ERROR
    twice = copy.deepcopy(run.allocations)
    events = twice[0]["TaskStates"]["runner"]["Events"]
    events.insert(0, next(event for event in events if event["Type"] == "Started"))
    outcome = verdicts.outcome(ended("exit3", allocations=twice, outcome=run.outcome))
    assert outcome.verdict is Verdict.LOST
    assert "second time" in outcome.error
    assert "used token" in outcome.error


@pytest.mark.parametrize("status", ["lost", "unknown"])
def test_a_node_that_vanished_loses_its_run(status: str) -> None:
    run = ended("ok")
    allocation = {**run.allocations[0], "ClientStatus": status}
    outcome = verdicts.outcome(ended("ok", allocations=[allocation]))
    assert outcome.verdict is Verdict.LOST
    assert "node-1" in outcome.error


def test_a_time_limit_of_nomad_is_read_from_the_description() -> None:
    run = ended("ok")
    told = "allocation exceeded max_run_duration"
    allocation = {**run.allocations[0], "ClientDescription": told}
    outcome = verdicts.outcome(ended("ok", allocations=[allocation]))
    assert outcome.verdict is Verdict.TIMED_OUT


def test_a_stop_before_a_place_was_found() -> None:
    stopped = verdicts.outcome(ended("novol", stopped=True))
    assert stopped.verdict is Verdict.CANCELLED
    expired = verdicts.outcome(ended("novol", stopped=True, expired=True))
    assert expired.verdict is Verdict.UNPLACEABLE
    assert expired.error == (
        "not placed in time: 1 node evaluated, 1 filtered: missing compatible host volumes"
    )


def test_an_evaluation_that_gave_up_is_unplaceable() -> None:
    gave_up = {"Status": "failed", "StatusDescription": "maximum attempts reached (5)"}
    outcome = verdicts.outcome(Ended(evaluations=[gave_up]))
    assert outcome.verdict is Verdict.UNPLACEABLE
    assert "maximum attempts reached (5)" in outcome.error


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("novol", "1 node evaluated, 1 filtered: missing compatible host volumes"),
        ("toobig", "1 node evaluated, 1 exhausted: memory"),
        ("noconstraint", "1 node evaluated, 1 filtered: ${attr.kernel.name} = windows"),
        ("ok", ""),
    ],
)
def test_nomads_own_numbers_in_words(name: str, words: str) -> None:
    assert verdicts.placement(answer(name)["evaluations"]) == words


def test_no_node_at_all() -> None:
    metric = {"NodesEvaluated": 0, "NodePool": "gpu", "ConstraintFiltered": None}
    evaluation = {"FailedTGAllocs": {"run": metric}}
    assert verdicts.placement([evaluation]) == "no node evaluated in the node pool gpu"


def test_of_several_allocations_the_first_that_started_counts() -> None:
    first = {**answer("exit3")["allocations"][0], "CreateIndex": 5}
    second = {**answer("ok")["allocations"][0], "CreateIndex": 9}
    unstarted = {**answer("noimage")["allocations"][0], "CreateIndex": 1}
    for order in itertools.permutations([first, second, unstarted]):
        assert verdicts.main_allocation(order) == first
    assert verdicts.main_allocation([]) is None


_texts = st.text(max_size=8)
_event = st.fixed_dictionaries(
    {"Type": st.sampled_from(["Started", "Terminated", "Killing", "Driver Failure", "Template"])},
    optional={
        "Time": st.integers(0, 10),
        "DisplayMessage": st.none() | _texts,
        "Details": st.none() | st.dictionaries(st.sampled_from(["exit_code", "signal"]), _texts),
    },
)
_allocation = st.fixed_dictionaries(
    {"ID": _texts},
    optional={
        "ClientStatus": st.sampled_from(["pending", "complete", "failed", "lost", "unknown", ""]),
        "DesiredStatus": st.sampled_from(["run", "stop", "evict"]),
        "CreateIndex": st.integers(0, 9),
        "TaskStates": st.none()
        | st.fixed_dictionaries(
            {
                "runner": st.none()
                | st.fixed_dictionaries(
                    {},
                    optional={
                        "Events": st.none() | st.lists(_event, max_size=4),
                        "StartedAt": st.none() | _texts,
                    },
                )
            }
        ),
    },
)
_words = st.none() | st.builds(
    word, st.sampled_from([Verdict.SUCCEEDED, Verdict.FAILED, Verdict.ERROR, Verdict.CANCELLED])
)


@given(st.lists(_allocation, max_size=3), _words, st.booleans(), st.booleans())
def test_any_records_make_an_outcome(
    allocations: list[Any], said: Outcome | None, stopped: bool, expired: bool
) -> None:
    run = Ended(allocations=allocations, outcome=said, stopped=stopped, expired=expired)
    outcome = verdicts.outcome(run)
    assert (outcome.exit_code == 0) == (outcome.verdict is Verdict.SUCCEEDED)
    if outcome.verdict is not Verdict.SUCCEEDED and said is None:
        assert outcome.error


def test_a_plan_in_lines() -> None:
    plan = {
        "Type": "Edited",
        "Fields": [{"Type": "Edited", "Name": "Priority", "Old": "50", "New": "60"}],
        "Objects": [{"Type": "Added", "Name": "Constraint"}],
        "TaskGroups": [
            {
                "Type": "Edited",
                "Name": "run",
                "Fields": [{"Type": "None", "Name": "Count", "Old": "1", "New": "1"}],
                "Tasks": [
                    {
                        "Type": "Edited",
                        "Name": "runner",
                        "Objects": [
                            {
                                "Type": "Edited",
                                "Name": "Resources",
                                "Fields": [
                                    {"Type": "Edited", "Name": "CPU", "Old": "1", "New": "2"}
                                ],
                            }
                        ],
                    }
                ],
            }
        ],
    }
    assert differences(plan) == [
        '~ Priority: "50" => "60"',
        "+ Constraint",
        '~ group run: task runner: Resources: CPU: "1" => "2"',
    ]
    assert differences({"Type": "Added"}) == ["+ the whole job"]
    assert differences({"Type": "None"}) == []
