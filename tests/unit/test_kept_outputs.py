"""What is kept of a run's output: which bytes, for how long it may take, and what a failure leaves."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.attestation import git_blob
from dispatcher.engines.base import LogChunk, Stream
from dispatcher.errors import Dependency, Unavailable
from dispatcher.loop import outputs as output_files
from dispatcher.loop.outputs import (
    DIRECTORY,
    LATE_S,
    LEFTOVER_S,
    PAUSES_S,
    SLOW_READS,
    KeptOutputs,
)
from dispatcher.loop.steady_clock import STEADY_S, ClockRecord
from dispatcher.model.result import Result, ResultOutput
from dispatcher.model.run import Claim, Outcome, Phase, RunKey
from dispatcher.model.verdicts import Verdict
from dispatcher.settings import Settings

CLAIM = Claim(key=RunKey(action_id="x", blob="b" * 40), phase=Phase.SUBMITTED, commit="c")
Chunks = list[tuple[Stream, bytes]]


def outcome_of(chunks: Chunks, **more: Any) -> Outcome:
    """The outcome of a runner that wrote these chunks."""
    whole = {s.value: b"".join(d for stream, d in chunks if stream is s) for s in Stream}
    written = {name: (len(data), hashlib.sha256(data).hexdigest()) for name, data in whole.items()}
    more = {"logs": "some", "written": written, **more}
    return Outcome(verdict=Verdict.SUCCEEDED, exit_code=0, formula_started=True, **more)


WROTE = outcome_of([(Stream.STDOUT, b"x")])


class Engine:
    """Sends these chunks; ``wait`` is called before each.

    Attributes:
        outcome: of the runner that wrote them.
        late: per call, how many of the chunks are in the log by then; all of them afterwards.
    """

    def __init__(
        self,
        chunks: Chunks,
        wait: Callable[[], object] = lambda: None,
        *,
        late: Sequence[int] = (),
    ) -> None:
        self.chunks, self.wait, self.calls, self.late = chunks, wait, 0, late
        self.outcome = outcome_of(chunks)

    def logs(
        self, _claim: Claim, *, offsets: Mapping[Stream, int] | None = None
    ) -> Iterator[LogChunk]:
        there = self.late[self.calls] if self.calls < len(self.late) else len(self.chunks)
        self.calls += 1
        at, after = dict.fromkeys(Stream, 0), offsets or {}
        for stream, data in self.chunks[:there]:
            self.wait()
            skip = max(0, after.get(stream, 0) - at[stream])
            at[stream] += len(data)
            if data[skip:]:
                yield LogChunk(stream=stream, offset=at[stream], data=data[skip:])


def outputs(state: Path, engine: Engine, *, max_kb: int = 64, **more: Any) -> KeptOutputs:
    settings = Settings.model_validate({"state_dir": state, "output": {"max_kb": max_kb}})
    scheduler: Any = engine
    more = {"late_s": 0.0, "record": ClockRecord(state.parent / "clock.json"), **more}
    return KeptOutputs(settings, scheduler, **more)


def bytes_of(kept: KeptOutputs, output: ResultOutput) -> dict[str, bytes]:
    return {
        file.name.split(".")[1]: gzip.decompress(file.path.read_bytes())
        for file in kept.files("x", output)
    }


def test_both_streams_are_kept_by_digests_that_can_be_checked(tmp_path: Path) -> None:
    engine = Engine([(Stream.STDERR, b"oh"), (Stream.STDOUT, b"a" * 9_000)])
    kept = outputs(tmp_path, engine)
    output = kept.collect(CLAIM, engine.outcome)
    assert output is not None
    assert output.stdout is not None
    assert bytes_of(kept, output) == {"stdout": b"a" * 9_000, "stderr": b"oh"}
    (packed, _) = (file.path.read_bytes() for file in kept.files("x", output))
    assert output.stdout.sha256 == hashlib.sha256(packed).hexdigest()
    assert (output.stdout.object, output.stdout.packed) == (git_blob(packed), len(packed))
    assert (output.stdout.bytes, output.stdout.omitted) == (9_000, 0)
    assert kept.missing("x", output) == ""
    again = outputs(tmp_path / "other", engine).collect_again(CLAIM, output)
    assert again == output, "the same bytes give the same digest, by another dispatcher too"


def test_files_that_go_meanwhile_cost_no_output(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of other runs: one is finished, and renamed, or removed after its push, while files are counted."""
    listed = output_files._listed
    monkeypatch.setattr(
        output_files, "_listed", lambda folder: [*listed(folder), folder / "new-gone"]
    )
    engine = Engine([(Stream.STDOUT, b"x")])
    kept = outputs(tmp_path, engine)
    output = kept.collect(CLAIM, engine.outcome)
    assert output is not None
    assert output.missing == ""
    assert bytes_of(kept, output) == {"stdout": b"x"}


def short_of(chunks: Chunks) -> dict[str, str]:
    return {stream.value: base64.b64encode(data).decode() for stream, data in chunks}


def test_short_output_is_taken_from_the_outcome(tmp_path: Path) -> None:
    engine = Engine([(Stream.STDERR, b"oh"), (Stream.STDOUT, b"\xff a line\n")])
    kept = outputs(tmp_path, engine)
    output = kept.collect(CLAIM, replace(engine.outcome, short_output=short_of(engine.chunks)))
    assert output is not None
    assert bytes_of(kept, output) == {"stdout": b"\xff a line\n", "stderr": b"oh"}
    assert engine.calls == 0
    assert output == outputs(tmp_path / "read", engine).collect(CLAIM, engine.outcome)
    assert engine.calls == 1


@pytest.mark.parametrize(
    "short",
    [
        {"stdout": "not base64!"},
        short_of([(Stream.STDOUT, b"other")]),
        short_of([(Stream.STDERR, b"some")]),
        {"stdout": 5},
    ],
)
def test_short_output_that_is_not_what_was_written_is_read(
    tmp_path: Path, short: dict[str, str]
) -> None:
    engine = Engine([(Stream.STDOUT, b"some")])
    kept = outputs(tmp_path, engine)
    output = kept.collect(CLAIM, replace(engine.outcome, short_output=short))
    assert output is not None
    assert bytes_of(kept, output) == {"stdout": b"some"}
    assert engine.calls == 1


@given(
    sizes=st.lists(st.integers(1, 3_000), min_size=1, max_size=30),
    cuts=st.randoms(use_true_random=False),
)
def test_of_large_output_both_ends_are_kept(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], cuts: Any
) -> None:
    written = [cuts.randbytes(size) for size in sizes]
    whole = b"".join(written)
    engine = Engine([(Stream.STDOUT, data) for data in written])
    kept = outputs(tmp_path_factory.mktemp("state"), engine, max_kb=8)
    output = kept.collect(CLAIM, engine.outcome)
    assert output is not None
    assert output.stdout is not None
    data, omitted = bytes_of(kept, output)["stdout"], output.stdout.omitted
    assert output.stdout.bytes == len(whole)
    assert omitted == max(0, len(whole) - 8 * 1024)
    if omitted:
        note = f"\n[{omitted} bytes left out here]\n".encode()
        assert data == whole[:4_096] + note + whole[-4_096:]
    else:
        assert data == whole


LATE: Chunks = [
    (Stream.STDOUT, b"a" * 9_000),
    (Stream.STDERR, b"oh"),
    (Stream.STDOUT, b"b" * 9_000),
    (Stream.STDERR, b" no"),
]


@pytest.mark.parametrize("late", [(0,), (1, 2, 3), (3, 3, 3), (2, 2, 4)])
def test_what_comes_into_the_engines_log_after_the_end_is_waited_for(
    tmp_path: Path, late: tuple[int, ...]
) -> None:
    """Nomad's log collector is a process of its own, and may be behind when the task has ended."""
    engine = Engine(LATE, late=late)
    kept = outputs(tmp_path, engine, late_s=LATE_S)
    output = kept.collect(CLAIM, engine.outcome)
    assert output is not None
    assert output.missing == ""
    assert bytes_of(kept, output) == {"stdout": b"a" * 9_000 + b"b" * 9_000, "stderr": b"oh no"}
    assert output == outputs(tmp_path / "prompt", Engine(LATE)).collect(CLAIM, engine.outcome)


def test_a_log_that_stays_short_is_not_waited_for_again_and_again(tmp_path: Path) -> None:
    """A formula may shorten its own log: that must not hold up the results of others."""
    now, calls = [0.0], []

    def clock() -> float:
        now[0] += 1.0
        return now[0]

    engine = Engine(LATE, late=[2] * 1_000)
    kept = outputs(tmp_path, engine, late_s=2.0, clock=clock)
    for _ in range(SLOW_READS + 2):
        engine.calls = 0
        output = kept.collect(CLAIM, engine.outcome)
        assert output is not None
        assert "has only 9,000 of its 18,000 bytes" in output.missing
        assert kept.trouble == "", "others are still read"
        calls.append(engine.calls)
    assert min(calls[:SLOW_READS]) > 1
    assert calls[SLOW_READS:] == [1, 1]
    engine.late, engine.calls = (), 0
    assert kept.collect(CLAIM, engine.outcome)
    engine.late = (2,)
    engine.calls = 0
    output = kept.collect(CLAIM, engine.outcome)
    assert output is not None
    assert not output.missing, "after one that was there, others are waited for again"


def test_an_engine_that_does_not_answer_delays_a_few_results_and_no_more(tmp_path: Path) -> None:
    release = threading.Event()
    now = [0.0]
    engine = Engine([(Stream.STDOUT, b"late")], wait=release.wait)
    kept = outputs(tmp_path, engine, read_s=0.01, clock=lambda: now[0])
    try:
        for _ in range(6):
            output = kept.collect(CLAIM, engine.outcome)
            assert output is not None
            assert "did not send it within" in output.missing
        assert engine.calls == SLOW_READS, "it is left alone for a while"
        assert "did not send it" in kept.trouble
    finally:
        release.set()
    now[0] += PAUSES_S[0]
    engine.wait = lambda: None
    output = kept.collect(CLAIM, engine.outcome)
    assert output is not None
    assert not output.missing


def test_one_log_that_cannot_be_read_costs_no_other_run_its_output(tmp_path: Path) -> None:
    release = threading.Event()
    engine = Engine([(Stream.STDOUT, b"x")], wait=release.wait)
    kept = outputs(tmp_path, engine, read_s=0.01)
    try:
        output = kept.collect(CLAIM, engine.outcome)
        assert output is not None
        assert output.missing
        assert kept.trouble == ""
    finally:
        release.set()


def test_only_what_the_runner_wrote_is_kept(tmp_path: Path) -> None:
    """A formula may write into the engine's log, past the redaction."""
    wrote: Chunks = [(Stream.STDOUT, b"[redacted:X]"), (Stream.STDERR, b"fine")]
    outcome = outcome_of(wrote)
    secret = b"hunter2hunter2"
    cases = (
        ("appended", [(Stream.STDOUT, b"[redacted:X]" + secret), (Stream.STDERR, b"fine")], ""),
        ("later", [*wrote, (Stream.STDOUT, secret), (Stream.STDERR, b"disinto: ended")], ""),
        ("first", [(Stream.STDOUT, secret), *wrote], "is not what the runner wrote"),
        ("replaced", [(Stream.STDOUT, secret), wrote[1]], "is not what the runner wrote"),
        ("cut off", [(Stream.STDOUT, b"[redac"), wrote[1]], "has only 6 of its 12 bytes"),
        ("gone", [], "has only 0 of its 12 bytes"),
    )
    for name, chunks, words in cases:
        state = tmp_path / name
        kept = outputs(state, Engine(chunks))
        output = kept.collect(CLAIM, outcome)
        assert output is not None
        assert words in output.missing
        for file in (state / "outputs").iterdir():
            assert secret not in gzip.decompress(file.read_bytes()), name
        if not words:
            assert bytes_of(kept, output) == {"stdout": b"[redacted:X]", "stderr": b"fine"}, name
    unreported = outputs(tmp_path / "old", Engine(wrote)).collect(CLAIM, outcome_of([], written={}))
    assert unreported is not None
    assert "did not report" in unreported.missing
    for made_up in ({"stdout": 3}, {"else": (1, "x")}, [1]):
        odd = outputs(tmp_path / "odd", Engine(wrote)).collect(
            CLAIM, outcome_of([], written=made_up)
        )
        assert odd is not None
        assert odd.missing


def test_a_failure_never_reaches_the_result(tmp_path: Path) -> None:
    def fails(error: Exception) -> Engine:
        def wait() -> None:
            raise error

        return Engine([(Stream.STDOUT, b"")], wait=wait)

    cases = (
        (Unavailable(Dependency.SCHEDULER, "away"), "away"),
        (ValueError("secret text"), "ValueError"),
    )
    for number, (error, words) in enumerate(cases):
        output = outputs(tmp_path / str(number), fails(error)).collect(CLAIM, WROTE)
        assert output is not None
        assert words in output.missing
        assert "secret text" not in output.missing
        assert not list((tmp_path / str(number) / "outputs").iterdir())
    silent = outcome_of([], logs="")
    assert outputs(tmp_path / "silent", Engine([])).collect(CLAIM, silent) is None
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "outputs").touch()
    full = outputs(tmp_path / "full", Engine([(Stream.STDOUT, b"x")])).collect(CLAIM, WROTE)
    assert full is not None
    assert "could not be written" in full.missing


def test_a_remote_that_refuses_is_asked_again_after_a_growing_pause(tmp_path: Path) -> None:
    now = [0.0]
    engine = Engine([(Stream.STDOUT, b"x")])
    kept = outputs(tmp_path, engine, clock=lambda: now[0])
    for pause_s in (60.0, 120.0):
        kept.refused("no logs here")
        output = kept.collect(CLAIM, WROTE)
        assert output is not None
        assert "no logs here" in output.missing
        now[0] += pause_s - 1
        assert kept.collect(CLAIM, WROTE) == output
        now[0] += 1
        fresh = kept.collect(CLAIM, WROTE)
        assert fresh is not None
        assert fresh.month
        assert kept.missing("x", fresh) == ""
    kept.pushed()
    assert kept.trouble == ""


def test_a_file_that_is_gone_or_changed_is_not_pushed(tmp_path: Path) -> None:
    kept = outputs(tmp_path, Engine([(Stream.STDOUT, b"x")]))
    output = kept.collect(CLAIM, WROTE)
    assert output is not None
    (file,) = kept.files("x", output)
    file.path.write_bytes(b"other")
    assert "is gone" in kept.missing("x", output)
    restated = kept.collect_again(CLAIM, output)
    assert restated == output
    assert kept.missing("x", output) == ""
    kept.forget("x")
    assert "is gone" in kept.missing("x", output)
    assert not list(file.path.parent.iterdir())


def test_a_result_without_output_reads_as_before() -> None:
    result = Result(id="x", exit_code=0, timestamp="t", verdict=Verdict.SUCCEEDED)
    assert '"output"' not in result.to_json()
    kept = result.model_copy(update={"output": ResultOutput(missing="why")})
    assert Result.model_validate_json(kept.to_json()) == kept


@pytest.mark.parametrize("steady_s", [STEADY_S + 1, STEADY_S - 60])
def test_what_nobody_pushed_is_removed_only_by_a_steady_clock(
    tmp_path: Path, steady_s: float
) -> None:
    record = {"since": time.time() - steady_s, "seen": time.time() - 1}
    (tmp_path / "clock.json").write_text(json.dumps(record))
    directory = tmp_path / DIRECTORY
    directory.mkdir(mode=0o700)
    for name, age_s in (("old", LEFTOVER_S + 60), ("new", LEFTOVER_S - 60)):
        (directory / name).write_text("waits for its push")
        os.utime(directory / name, (0, time.time() - age_s))
    engine = Engine([(Stream.STDOUT, b"x")])
    outputs(tmp_path, engine, record=ClockRecord(tmp_path / "clock.json")).collect(
        CLAIM, engine.outcome
    )
    assert (directory / "new").exists()
    assert (directory / "old").exists() == (steady_s < STEADY_S)
