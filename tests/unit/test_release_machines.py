"""The formula ``release``: several machines, one after another."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from dispatcher.errors import Exit
from dispatcher.provision.params import BadParams, read_record
from dispatcher.provision.reporting import Stage
from dispatcher.provision.waiting import Cancelled
from dispatcher.release.machines import (
    OUTPUT_LIMIT,
    Answer,
    MachineFailed,
    MachineUnreachable,
    ReleaseParams,
    bounded,
    release,
)

FORMULAS = Path(__file__).parents[2] / "actions" / "release" / "formulas"
COMMIT, OTHER = "a" * 40, "b" * 40


def said(outcome: str, code: int = 0, **more: object) -> Answer:
    record = {"outcome": outcome, "commit": COMMIT, "message": "why", **more}
    return Answer(code=code, out=json.dumps(record).encode())


class Machines:
    """Machines that answer in turn, and what was reported."""

    def __init__(self, **answers: Sequence[Answer]) -> None:
        self.answers = {name: list(each) for name, each in answers.items()}
        self.calls: list[tuple[str, str]] = []
        self.given: Mapping[str, Any] = {}
        self.lines: list[str] = []
        self.stages: list[tuple[str, str]] = []
        self.time = 0.0
        self.cancel_in_pause = False

    def call(self, machine: str, command: Sequence[str]) -> Answer:
        self.calls.append((machine, " ".join(command)))
        answers = self.answers[machine]
        return answers.pop(0) if len(answers) > 1 else answers[0]

    def progress(self, stage: Stage, detail: str = "") -> None:
        self.stages.append((stage.value, detail))

    def say(self, text: str) -> None:
        self.lines.append(text)

    def outputs(self, value: Mapping[str, object] | None) -> None:
        self.given = value or {}

    def now(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.time += seconds
        if seconds and self.cancel_in_pause:
            raise Cancelled

    def chance(self) -> float:
        return 0.5

    def run(self, **params: object) -> None:
        wanted = {"app": "shop", "machines": list(self.answers), **params}
        release(read_record(ReleaseParams, json.dumps(wanted), "[params]"), self.call, self, self)


def test_one_after_another_the_canary_first() -> None:
    machines = Machines(
        a=[said("deployed", down_s=1.5)], b=[said("up-to-date")], c=[said("deployed")]
    )
    machines.run(canary="c", force=True)
    command, pin = "disinto release deploy --app shop --json", f"--commit {COMMIT}"
    assert machines.calls == [
        ("c", f"{command} --force"),
        ("a", f"{command} {pin} --force"),
        ("b", f"{command} {pin} --force"),
    ]
    assert list(machines.given["machines"]) == ["c", "a", "b"]
    assert machines.given["machines"]["a"] == {
        "outcome": "deployed", "commit": COMMIT, "message": "why", "down_s": 1.5, "exit_code": 0,
    }  # fmt: skip
    assert machines.given["not_tried"] == []


@pytest.mark.parametrize(
    ("answer", "error", "told"),
    [
        (said("rolled-back", 1), MachineFailed, "b: rolled-back; not tried: c"),
        (said("broken", 70), MachineFailed, "b: broken; not tried: c"),
        (said("deployed", 1), MachineFailed, "b: 'disinto release deploy' ended with 1; not tried: c"),
        (Answer(code=0, out=b"welcome"), MachineFailed, "ended with 0"),
        (Answer(code=127, out=b""), MachineFailed, "ended with 127"),
        (said("deployed", commit=OTHER), MachineFailed, f"b: deployed {OTHER[:12]}, in place of {COMMIT[:12]}; not tried: c"),
        (said("up-to-date", commit=OTHER), MachineFailed, f"b: up-to-date {OTHER[:12]}, in place of"),
        (said("deployed", commit="--force"), MachineFailed, "ended with 0"),
        (Answer(code=255, out=b""), MachineUnreachable, "b: the connection by SSH failed; not tried: c"),
    ],
)  # fmt: skip
def test_the_first_failure_ends_it(answer: Answer, error: type[Exception], told: str) -> None:
    machines = Machines(a=[said("deployed")], b=[answer], c=[said("deployed")])
    with pytest.raises(error, match=told):
        machines.run()
    assert [name for name, _ in machines.calls] == ["a", "b"]
    assert list(machines.given["machines"]) == ["a", "b"]
    assert machines.given["not_tried"] == ["c"]


def test_a_machine_that_is_further_already_is_up_to_date() -> None:
    """Its own timer deployed a later commit of the branch: the machine knows, and says what was asked for."""
    machines = Machines(
        a=[said("deployed")],
        b=[said("up-to-date", commit=OTHER, wanted=COMMIT)],
        c=[said("up-to-date")],
    )
    machines.run()
    shown = machines.given["machines"]["b"]
    assert (shown["commit"], shown["wanted"]) == (OTHER, COMMIT)
    assert f"--commit {COMMIT}" in machines.calls[2][1]


def test_the_commit_of_the_params_is_that_of_every_machine() -> None:
    machines = Machines(a=[said("deployed")], b=[said("deployed")])
    machines.run(commit=COMMIT)
    assert all(f"--commit {COMMIT}" in command for _, command in machines.calls)
    other = Machines(a=[said("deployed")], b=[said("deployed")])
    with pytest.raises(MachineFailed, match=r"a: deployed a+, in place of b+; not tried: b"):
        other.run(commit=OTHER)


def test_after_the_canary_there_is_a_pause() -> None:
    machines = Machines(a=[said("deployed")], b=[said("deployed")])
    machines.run(canary="b", canary_wait=30)
    assert machines.time == 1800
    assert ("waiting", "30 min") in machines.stages
    alone = Machines(a=[said("deployed")])
    alone.run(canary="a", canary_wait=30)
    assert alone.time == 0, "nothing follows it"
    cancelled = Machines(a=[said("deployed")], b=[said("deployed")])
    cancelled.cancel_in_pause = True
    with pytest.raises(Cancelled):
        cancelled.run(canary="b", canary_wait=30)
    assert [name for name, _ in cancelled.calls] == ["b"]
    assert cancelled.given["not_tried"] == ["a"]


def test_a_deploy_that_runs_already_is_waited_for() -> None:
    held = Answer(code=Exit.TEMPFAIL, out=b"")
    machines = Machines(a=[held, held, said("up-to-date")])
    machines.run()
    assert len(machines.calls) == 3
    for_ever = Machines(a=[held])
    with pytest.raises(MachineFailed, match="ended with 75"):
        for_ever.run()
    assert for_ever.time <= 1000


def test_what_a_machine_answers_is_bounded() -> None:
    machines = Machines(a=[said("deployed", message="x" * 10_000, steps=["y"] * 1000, down_s="z")])
    machines.run()
    result = machines.given["machines"]["a"]
    assert len(result["message"]) == 500
    assert set(result) == {"outcome", "commit", "message", "exit_code"}


@pytest.mark.parametrize(
    ("out", "result"),
    [
        (b"[" * 200_000, {"outcome": "unknown", "exit_code": 0}),
        (b'{"outcome": "stopped", "down_s": 1e999}', {"outcome": "unknown", "exit_code": 0}),
        (
            b'{"outcome": "broken", "message": "a\\u001b[2J\\nb", "down_s": NaN}',
            {"outcome": "unknown", "message": "a [2J b", "exit_code": 0},
        ),
    ],
)
def test_an_answer_cannot_break_the_outputs(out: bytes, result: Mapping[str, object]) -> None:
    machines = Machines(a=[Answer(code=0, out=out)])
    with pytest.raises(MachineFailed):
        machines.run()
    assert machines.given["machines"]["a"] == result


def test_endless_output_of_a_machine_is_dropped() -> None:
    answer = bounded(["sh", "-c", "head -c 3000000 /dev/zero; exit 7"], timeout_s=60)
    assert (answer.code, len(answer.out)) == (7, OUTPUT_LIMIT)


@pytest.mark.parametrize(
    "params",
    [
        {"machines": []},
        {"machines": ["-oProxyCommand=x"]},
        {"machines": ["a b"]},
        {"machines": ["a", "a"]},
        {"app": "../x"},
        {"machines": ["a\n"]},
        {"colour": 1},
        {"canary": "a", "canary_wait": 1441},
        {"canary": "a", "canary_wait": -1},
        {"commit": "main"},
        {"commit": "a" * 12},
    ],
)
def test_bad_params(params: Mapping[str, object]) -> None:
    wanted = {"app": "shop", "machines": ["a"], **params}
    schema = json.loads((FORMULAS / "release.schema.json").read_text())
    with pytest.raises(BadParams):
        read_record(ReleaseParams, json.dumps(wanted), "[params]")
    if wanted["machines"] != ["a\n"]:  # a pattern's $ allows a line end in Python alone
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(wanted, schema)


def test_the_canary_is_one_of_the_machines() -> None:
    with pytest.raises(BadParams, match="the canary is none of the machines"):
        Machines(a=[said("deployed")]).run(canary="b")
    with pytest.raises(BadParams, match="canary_wait without a canary"):
        Machines(a=[said("deployed")]).run(canary_wait=5)


def test_the_schema_names_the_keys_of_the_params() -> None:
    schema = json.loads((FORMULAS / "release.schema.json").read_text())
    assert set(schema["properties"]) == set(ReleaseParams.model_fields)
    jsonschema.validate({"app": "shop", "machines": ["deploy@web1.example"]}, schema)
