"""``plan``, ``status ID`` and ``logs`` beside a living ``serve``: it answers, and never wrongly.

Quick means here that the command loads nothing that takes long; ``bench/startup.py`` measures.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from dispatcher.__main__ import main
from dispatcher.devservers.scene import Scene
from dispatcher.engines.base import LogChunk
from dispatcher.errors import Exit
from dispatcher.loop.nudge import nudge
from dispatcher.status.asking import NAME, PLAN, ask
from tests.servers.bao import Bao
from tests.servers.git_remote import GitRemote
from tests.support.cli_process import Said
from tests.support.quick_calls import NOT_FOR_AN_ANSWER, called
from tests.support.serving import Served, all_results, serving
from tests.support.stage import HELLO, action, eventually, path

OLD = [f"old-{number:02}" for number in range(12)]
"""More finished actions than the status file lists."""


@dataclass
class Beside:
    """A scene with a ``serve`` that polls only when it is nudged."""

    scene: Scene
    served: Served

    @property
    def state_dir(self) -> Path:
        return self.scene.open_settings().state_dir

    def push(self, *names: str, formula: str = "hello") -> None:
        files = {path(name): action(name, formula=formula).encode() for name in names}
        GitRemote.there(self.scene.remote).commit(files)

    def __call__(self, *words: str) -> Said:
        """The command in a process of its own, which must be quick."""
        done, slow = called(
            *words,
            "--config",
            str(self.scene.config),
            env=self.scene.environ,
            cwd=self.scene.root,
            slow=NOT_FOR_AN_ANSWER,
        )
        assert not slow
        assert done.returncode == 0, done.stderr
        return Said(code=0, out=done.stdout, err=done.stderr)

    def worked_out(self, *words: str, settings: str = "info") -> Said:
        """The command in this process, with settings that ``serve`` does not have: the default for the
        log level, but named. ``""``: with the same settings.
        """
        environ = {**self.scene.environ, **({"DISINTO_LOG_LEVEL": settings} if settings else {})}
        out, err = io.StringIO(), io.StringIO()
        with (
            patch.dict(os.environ, environ, clear=True),
            patch.object(sys, "argv", ["disinto", *words, "--config", str(self.scene.config)]),
            redirect_stdout(out),
            redirect_stderr(err),
        ):
            code = main()
        return Said(code=code, out=out.getvalue(), err=err.getvalue())

    @eventually
    def at_rest(self) -> None:
        """It answers again: nothing is done about any action."""
        assert self.answers_a_plan()

    def answers_a_plan(self, *, within_s: float = 10) -> bool:
        about = {"id": "", "screen": {"terminal": False, "columns": 80, "coloured": False}}
        return ask(str(self.state_dir), PLAN, about, within_s=within_s) is not None


@pytest.fixture(scope="module")
def beside(bao_server: Bao, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Beside]:
    server = bao_server.with_own_mount()
    scene = Scene.set(
        tmp_path_factory.mktemp("beside"),
        server,
        values={"TOKEN_A": "value-a"},
        settings={
            "vault": {"kv_mount": server.kv_mount},
            "ops_repo": {"poll_interval_s": 3_600},
            "archive": {"automatic": False},
            "output": {"keep": False},
        },
        tiers={"hello": "low", "danger": "high"},
        formulas={"hello.sh": HELLO, "danger.sh": HELLO},
    )
    with serving(scene) as served:
        beside = Beside(scene, served)
        beside.push(*OLD)
        all_results(scene, pushed(beside, OLD))
        beside.push("waits", formula="danger")
        beside.push("last")
        all_results(scene, pushed(beside, ["last"]))
        beside.at_rest()
        yield beside


def pushed(beside: Beside, names: list[str]) -> list[str]:
    served_leads(beside)
    nudge(beside.state_dir)
    return names


@eventually
def served_leads(beside: Beside) -> None:
    assert (beside.state_dir / NAME).exists()


def facts(plan: dict[str, Any]) -> dict[str, Any]:
    """Without who found them, and when."""
    return {key: value for key, value in plan.items() if key not in ("at", "leader")}


def test_both_plans_are_the_same_and_the_quick_one_names_its_age(beside: Beside) -> None:
    answered = beside("plan", "--json").json
    fresh = beside.worked_out("plan", "--fresh", "--json", settings="").json
    assert facts(answered) == facts(fresh)
    assert [(wait["id"], wait["waiting_for"], wait["gate"]) for wait in answered["waits"]] == [
        ("waits", "approval", "signed")
    ]
    assert (bool(answered["leader"]), fresh["leader"]) == (True, "")

    title, source, *rest = beside("plan").out.splitlines()
    assert f"from {answered['leader']}, last round " in source
    assert "disinto plan --fresh" in source
    assert [title, *rest] == beside.worked_out("plan").out.splitlines()


def test_right_after_a_push_the_plan_has_it_and_starts_nothing(beside: Beside) -> None:
    beside.push("new")
    plan = beside.worked_out("plan", "--json", settings="").json
    assert [(step["id"], step["step"]) for step in plan["steps"]] == [("new", "launch")]
    assert plan["leader"] == ""
    assert "new" not in beside.scene.results()
    nudge(beside.state_dir)
    all_results(beside.scene, ["new"])
    beside.at_rest()
    assert beside("plan", "--json").json["steps"] == []


@pytest.mark.parametrize("name", ["old-00", "waits"])
@pytest.mark.parametrize("words", [["--json"], []], ids=["json", "for people"])
def test_one_action_is_shown_the_same(beside: Beside, name: str, words: list[str]) -> None:
    answered = beside("status", name, *words).out
    assert name in answered
    assert without_ages(answered) == without_ages(beside.worked_out("status", name, *words).out)


def without_ages(text: str) -> list[str]:
    return [line.partition(" (")[0] for line in text.splitlines()]


@pytest.mark.parametrize("kept", [True, False])
def test_the_log_of_an_older_run_is_shown_the_same(beside: Beside, *, kept: bool) -> None:
    name = "old-01" if kept else "old-02"
    if not kept:
        for file in (beside.state_dir / "logs").glob(f"{name}.*"):
            file.unlink()
    answered = beside("logs", name, "--tail", "1")
    assert answered.out == "hello\n"
    assert ("from the result" in answered.err) is not kept
    with patch("dispatcher.cli.logs.write", in_text):
        gathered = beside.worked_out("logs", name, "--tail", "1")
    assert (answered.out, answered.err) == (gathered.out, gathered.err)


def in_text(chunk: LogChunk) -> None:
    """``logs.write`` where the streams are replaced by texts."""
    print(chunk.data.decode(), end="", file=sys.stdout if chunk.stream == "stdout" else sys.stderr)


@pytest.mark.parametrize(
    "words", [["status", "nobody"], ["logs", "nobody"], ["logs", "waits"], ["status", "../a"]]
)
def test_what_serve_cannot_tell_is_found_out(beside: Beside, words: list[str]) -> None:
    said = beside.worked_out(*words, settings="")
    assert said.code == Exit.NOINPUT
    assert words[1] in said.err


def test_other_settings_and_rules_not_loaded_yet_are_not_answered_for(beside: Beside) -> None:
    assert beside.worked_out("plan", "--json").json["leader"] == ""
    policy = beside.scene.open_settings().policy.file
    assert policy is not None
    before = policy.read_text()
    policy.write_text(before.replace('danger = "high"', 'danger = "low"'))
    try:
        plan = beside.worked_out("plan", "--json", settings="").json
        assert [(step["id"], step["step"]) for step in plan["steps"]] == [("waits", "launch")]
    finally:
        policy.write_text(before)


def test_a_remote_that_is_away_is_reported(beside: Beside) -> None:
    remote = beside.scene.remote
    away = remote.rename(remote.with_name("away.git"))
    try:
        said = beside.worked_out("plan", settings="")
    finally:
        away.rename(remote)
    assert said.code == Exit.CONFIG
    assert "there is no ops repository" in said.err


def test_a_serve_that_died_answers_nothing_and_the_next_takes_its_place(beside: Beside) -> None:
    with frozen(beside.served):
        assert not beside.answers_a_plan(within_s=0.2)
    beside.at_rest()
    beside.served.kill()
    assert (beside.state_dir / NAME).exists()
    assert beside.worked_out("plan", "--json", settings="").json["leader"] == ""
    with serving(beside.scene, name="second"):
        beside.at_rest()
        assert beside("plan", "--json").json["leader"]
    assert not (beside.state_dir / NAME).exists()


@contextmanager
def frozen(served: Served) -> Iterator[None]:
    served.freeze()
    try:
        yield
    finally:
        served.thaw()
