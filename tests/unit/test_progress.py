"""What a run reports about itself: its lines, how they are passed on, and how often they are read."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Collection
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.cli.following import Viewer
from dispatcher.cli.live import bar
from dispatcher.loop.progress_poll import (
    AT_ONCE,
    EVERY_S,
    FIRST_S,
    LONGEST_PAUSE_S,
    SILENT,
    SOONEST_S,
    ProgressPoll,
)
from dispatcher.model.payload import NotAuthentic, check_authentic
from dispatcher.model.progress import (
    DETAIL_CHARACTERS,
    FILE_BYTES,
    LINE_BYTES,
    STAGE_CHARACTERS,
    Progress,
    decode_progress,
    encode_progress,
    in_words,
    progress_words,
    read_line,
)
from dispatcher.model.run import Claim, FormulaKind, FormulaRef, Phase, RunKey
from dispatcher.runner.progress import ProgressFile
from dispatcher.runner.redact import Secrets
from dispatcher.status.overview import plain_progress
from tests.support.progress_polls import progress_poll

HALF = Progress(stage="installing", percent=50.0, detail="vim", at=7.0)


def read(text: str) -> Progress | None:
    return read_line(text.encode(), at=7.0, clean=str)


def test_a_line() -> None:
    assert read('{"stage": "installing", "percent": 50, "detail": "vim", "more": []}') == HALF
    assert read('{"percent": 0}') == Progress(percent=0.0, at=7.0)
    assert read('{"stage": "a\\nb\\t c"}') == Progress(stage="a b c", at=7.0)


def test_what_no_utf_8_has_is_replaced() -> None:
    """A program that escapes the bytes of a path writes such; nothing that shows progress could send it."""
    line = '{"stage": "a\\ud800b", "detail": "\\udc80"}'
    assert read(line) == Progress(stage="a?b", detail="?", at=7.0)
    passed_on = {"stage": "\udfff", "percent": 1.0, "detail": "x", "at": 7.0}
    assert decode_progress(json.dumps(passed_on).encode()) == Progress(
        stage="?", percent=1.0, detail="x", at=7.0
    )


@pytest.mark.parametrize(
    "line",
    [
        "", "nonsense", "[]", "1", "{}", '{"stage": 1}', '{"percent": "50"}', '{"percent": -1}',
        '{"percent": 100.1}', '{"percent": true}', '{"percent": NaN}', '{"percent": 1e999}',
        '{"detail": ["a"]}', "[" * 4_000, '{"stage": "' + "a" * LINE_BYTES + '"}',
    ],
)  # fmt: skip
def test_what_is_no_progress(line: str) -> None:
    assert read(line) is None


def test_texts_are_cut() -> None:
    long = read(json.dumps({"stage": "s" * 1_000, "detail": "d" * 1_000}))
    assert long is not None
    assert (len(long.stage), len(long.detail)) == (STAGE_CHARACTERS, DETAIL_CHARACTERS)


@given(st.text(max_size=300), st.text(max_size=300), st.none() | st.floats(0, 100))
def test_what_is_encoded_is_decoded_in_its_bounds(
    stage: str, detail: str, percent: float | None
) -> None:
    line = json.dumps({"stage": stage, "detail": detail, "percent": percent})
    progress = read(line)
    if progress is None:
        return
    text = encode_progress(progress)
    assert len(text) <= FILE_BYTES
    again = decode_progress(text)
    assert again is None or again == progress
    assert again == progress or not (progress.stage or progress.detail or percent is not None)


@given(st.binary(max_size=200))
def test_no_bytes_raise(data: bytes) -> None:
    decode_progress(data)


@pytest.mark.parametrize("at", ["NaN", "Infinity", "true", '"x"', "null"])
def test_an_odd_time_is_no_progress(at: str) -> None:
    assert decode_progress(f'{{"stage": "a", "at": {at}}}'.encode()) is None


def test_in_words() -> None:
    assert in_words(HALF) == "50 % installing: vim"
    assert progress_words(plain_progress(HALF)) == "50 % installing: vim"
    assert progress_words(None) == ""
    assert bar(HALF) == "██████████░░░░░░░░░░ 50 % installing: vim"
    assert bar(Progress(stage="a")) == "a"


class TestRunner:
    KEY = "key of the run"

    def file(self, folder: Path) -> ProgressFile:
        return ProgressFile(
            str(folder / "progress"),
            str(folder / "progress.json"),
            secrets=Secrets({"TOKEN": b"correct-horse"}),
            key=self.KEY,
        )

    @pytest.mark.parametrize("odd", ["\\ud800", "\\udc80"])
    def test_what_no_utf_8_has_costs_no_run(self, tmp_path: Path, odd: str) -> None:
        (tmp_path / "progress").write_text(f'{{"stage": "copy", "detail": "{odd}"}}\n')
        self.file(tmp_path).look()
        progress = self.passed_on(tmp_path)
        assert progress is not None
        assert (progress.stage, progress.detail) == ("copy", "?")

    def passed_on(self, folder: Path) -> Progress | None:
        try:
            data = (folder / "progress.json").read_bytes()
        except FileNotFoundError:
            return None
        check_authentic(data, self.KEY)
        with pytest.raises(NotAuthentic):
            check_authentic(data, "another")
        return decode_progress(data)

    def test_the_last_complete_line_counts_redacted(self, tmp_path: Path) -> None:
        file = self.file(tmp_path)
        file.look()
        assert self.passed_on(tmp_path) is None
        with (tmp_path / "progress").open("a") as lines:
            lines.write('{"stage": "a"}\n{"stage": "b correct-horse"}\n{"stage": "c')
        file.look()
        passed_on = self.passed_on(tmp_path)
        assert passed_on
        assert passed_on.stage == "b [redacted:TOKEN]"
        (tmp_path / "progress").write_text('{"stage": "begun anew"}\n')
        file.look()
        assert (again := self.passed_on(tmp_path))
        assert again.stage == "begun anew"

    def test_a_gigabyte_costs_as_much_as_a_line(self, tmp_path: Path) -> None:
        path = tmp_path / "progress"
        path.touch()
        os.truncate(path, 1024**3)
        with path.open("a") as lines:
            lines.write('\n{"percent": 99}\n')
        self.file(tmp_path).look()
        assert (passed_on := self.passed_on(tmp_path))
        assert passed_on.percent == 99

    @pytest.mark.parametrize("odd", ["pipe", "link", "directory"])
    def test_nothing_is_opened_that_is_no_file(self, tmp_path: Path, odd: str) -> None:
        path = tmp_path / "progress"
        {
            "pipe": lambda: os.mkfifo(path),
            "link": lambda: path.symlink_to("/dev/zero"),
            "directory": path.mkdir,
        }[odd]()
        self.file(tmp_path).look()
        assert self.passed_on(tmp_path) is None

    def test_what_lies_in_the_way_is_replaced_or_left(self, tmp_path: Path) -> None:
        outside = tmp_path / "outside"
        outside.write_text("untouched")
        (tmp_path / "progress.json").symlink_to(outside)
        (tmp_path / "progress.json.new").symlink_to(outside)
        (tmp_path / "progress").write_text('{"percent": 1}\n')
        self.file(tmp_path).look()
        assert self.passed_on(tmp_path)
        assert outside.read_text() == "untouched"


class Engine:
    """Counts what is read."""

    def __init__(self, *, report: bool) -> None:
        self.reads: list[list[str]] = []
        self._report = report

    def progress(self, claims: Collection[Claim]) -> dict[RunKey, Progress]:
        self.reads.append([claim.key.action_id for claim in claims])
        changing = Progress(stage=f"read {len(self.reads)}")
        return {claim.key: changing for claim in claims} if self._report else {}


def poll(engine: Engine, runs: int, clock: list[float]) -> ProgressPoll:
    keys = [RunKey(action_id=f"a{n:03}", blob="b" * 40) for n in range(runs)]
    claims = [Claim(key=key, phase=Phase.SUBMITTED, commit="c" * 40) for key in keys]
    return progress_poll(engine.progress, claims, clock)


def reads_within(seconds: float, runs: int, *, report: bool) -> list[list[str]]:
    engine, clock = Engine(report=report), [0.0]
    polled = poll(engine, runs, clock)
    while clock[0] < seconds:
        polled.work()
        pause = polled.next_in()
        assert pause is not None
        assert math.isfinite(pause)
        clock[0] += max(pause, 0.01)
    return engine.reads


def test_a_run_that_reports_is_read_every_few_seconds() -> None:
    assert len(reads_within(100, 1, report=True)) == pytest.approx(100 / EVERY_S, abs=2)


def test_a_run_that_reports_nothing_is_read_rarely() -> None:
    hour = reads_within(3_600, 1, report=False)
    assert len(hour) <= 3_600 / LONGEST_PAUSE_S + 10


def test_many_runs_are_read_in_turn_a_few_at_once() -> None:
    passes = reads_within(100, 200, report=True)
    assert max(len(names) for names in passes) == AT_ONCE
    assert len({name for names in passes for name in names}) == 200
    assert sum(map(len, passes)) <= AT_ONCE * (100 / EVERY_S + 1)


def test_what_a_run_reports_first_is_seen_soon() -> None:
    """A run has reported nothing yet when it is read for the first time."""
    engine, clock = Engine(report=False), [0.0]
    polled = poll(engine, 3, clock)
    for clock[0] in (0.0, FIRST_S):
        polled.work()
    engine._report, clock[0] = True, FIRST_S + SOONEST_S
    polled.work()
    assert (len(engine.reads), len(polled.progress)) == (2, 3)


def test_many_runs_that_report_nothing_are_hardly_read() -> None:
    names = [name for names in reads_within(LONGEST_PAUSE_S, 200, report=False) for name in names]
    assert len(set(names)) == SILENT
    assert len(names) < 10 * SILENT


def test_once_one_has_reported_the_others_are_read() -> None:
    engine, clock = Engine(report=False), [0.0]
    polled = poll(engine, 2 * SILENT, clock)
    for clock[0] in (0.0, FIRST_S):
        polled.work()
    assert [len(names) for names in engine.reads] == [SILENT]
    engine._report = True
    for clock[0] in (FIRST_S + SOONEST_S, FIRST_S + 2 * SOONEST_S):
        polled.work()
    assert len(polled.progress) == 2 * SILENT


def test_a_run_of_a_second_or_two_is_not_read() -> None:
    engine, clock = Engine(report=True), [0.0]
    polled = poll(engine, 3, clock)
    for clock[0] in (0.0, 1.0, 2.0, 2.9):
        polled.work()
    assert engine.reads == []
    assert polled.next_in() == pytest.approx(0.1)


def reads_of_runs(formula: str, reports: list[bool]) -> list[int]:
    """How often each of some runs is read that last half a minute each, one after the other."""
    engine, clock = Engine(report=False), [0.0]
    claims: list[Claim] = []
    ref = FormulaRef(name=formula, kind=FormulaKind.SHELL, blob="b" * 40, sha256="0" * 64)
    polled = progress_poll(engine.progress, claims, clock)
    reads = []
    for number, engine._report in enumerate(reports):
        key = RunKey(action_id=f"a{number}", blob="b" * 40)
        claims[:] = [Claim(key=key, phase=Phase.SUBMITTED, commit="c" * 40, formula=ref)]
        before = len(engine.reads)
        for _ in range(30):
            polled.work()
            clock[0] += 1
        reads.append(len(engine.reads) - before)
    return reads


def test_a_formula_that_never_reports_is_hardly_read() -> None:
    first, *_, last, after = reads_of_runs("silent", [False] * (SILENT + 2))
    assert first > 1
    assert (last, after) == (0, 0)


def test_a_formula_that_has_reported_is_read() -> None:
    assert min(reads_of_runs("talks", [False, True, *[False] * (SILENT + 2)])) > 1


def test_nothing_runs_and_nothing_is_read() -> None:
    engine = Engine(report=True)
    polled = poll(engine, 0, [0.0])
    polled.work()
    assert (engine.reads, polled.next_in()) == ([], None)


def test_in_a_pipe_a_stage_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    viewer = Viewer("a", quiet=False, clock=lambda: 0.0)
    for percent in range(3):
        viewer.standing("running", Progress(stage="one\x1b[2J", percent=float(percent)))
    viewer.standing("running", Progress(stage="two"))
    lines = capsys.readouterr().err.splitlines()
    assert [line.startswith("a: running: ") for line in lines] == [True, True]
    assert "\x1b" not in "".join(lines)
