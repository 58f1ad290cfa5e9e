"""Whatever happens on the forge, to the runs and to the process: one open run per issue and rule, and
one successful run per state of an issue. And what we write ourselves starts nothing.
"""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import pytest

from dispatcher.model.verdicts import Verdict
from tests.support.issue_stage import IssueStage

RULES = """
[projects.app]
repository = "own/app"
bot = "reader"
runs_per_day = 1000
[rules.triage]
formula = "triage"
labels = ["bug"]
without_labels = ["blocked"]
add_labels = ["done"]
attempts = 1000
cool_down = "1s"
max_concurrent = 10
[rules.verify]
formula = "verify"
labels = ["bug"]
condition = "sub_issues_closed"
attempts = 1000
cool_down = "1s"
max_concurrent = 10
"""


def checked(stage: IssueStage) -> None:
    open_runs, done = Counter[tuple[object, ...]](), Counter[tuple[object, ...]]()
    for run in stage.runs.values():
        params = run.action.params
        key = (params["issue_number"], params["rule"])
        if run.result is None:
            open_runs[key] += 1
        elif run.result.verdict is Verdict.SUCCEEDED:
            done[(*key, params["digest"])] += 1
    assert set(open_runs.values()) <= {1}
    assert set(done.values()) <= {1}


def event(stage: IssueStage, rng: random.Random) -> None:
    number = rng.choice([1, 2, 3])
    label = rng.choice(["bug", "bug", "blocked", "other"])
    open_ones = [i for i, run in stage.runs.items() if run.result is None]
    match rng.randrange(9):
        case 0:
            stage.edit(number, title=rng.choice(["a", "b"]))
        case 1:
            stage.label(number, label)
        case 2:
            stage.unlabel(number, label)
        case 3:
            stage.edit(rng.choice([4, 5]), state=rng.choice(["open", "closed"]))
        case 4:
            stage.edit(number, state=rng.choice(["open", "open", "closed"]))
        case 5:
            stage.now += rng.choice([10.0, 1e4])
        case 6:
            stage.restart()
        case _ if open_ones:
            ended = rng.choice(open_ones)
            verdict = rng.choice([Verdict.SUCCEEDED, Verdict.SUCCEEDED, Verdict.FAILED])
            stage.end(ended, verdict)
            issue = stage.runs[ended].action.params["issue_number"]
            assert isinstance(issue, int)
            stage.comment(issue, str(verdict))  # as the reporter does
            if verdict is Verdict.SUCCEEDED:
                stage.label(issue, "done")


@pytest.mark.parametrize("seed", range(6))
def test_whatever_happens(seed: int, tmp_path: Path) -> None:
    rng, stage = random.Random(seed), IssueStage(tmp_path, rules=RULES)
    for _ in range(3):
        stage.issue("bug")
    for parent in (1, 2):
        stage.issue(body=f"Decomposed from #{parent}")
    for _ in range(100):
        event(stage, rng)
        if rng.random() < 0.2:
            stage.passes()  # and it dies before anything is written
            stage.restart()
        stage.write()
        checked(stage)
    assert len(stage.runs) > 3


def test_our_own_writes_start_nothing(tmp_path: Path) -> None:
    heard: list[bytes] = []
    stage = IssueStage(tmp_path)
    number = stage.issue("bug")
    stage.forge.hook = lambda _headers, body: heard.append(body)
    stage.write()
    stage.end("triage-app-1-1")
    stage.comment(number, "the verdict")
    stage.label(number, "done")
    stage.unlabel(number, "done")
    stage.now += 1e6
    assert len(heard) == 3
    for body in heard:
        assert b'"issue"' in body
        assert stage.wanted() == []
