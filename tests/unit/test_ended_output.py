"""Where 'disinto logs' finds the output of a run that has ended."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from dispatcher.engines.base import LogChunk, Stream, TimesNotKept
from dispatcher.engines.local.scheduler import LocalScheduler
from dispatcher.engines.local.spool import Spool
from dispatcher.errors import Dependency, Unavailable
from dispatcher.model.result import Result
from dispatcher.model.run import Claim, RunKey
from dispatcher.model.verdicts import Verdict
from dispatcher.operate.ended_output import ended_output
from dispatcher.settings import Settings
from tests.fakes.scheduler import FakeScheduler

BLOB = "b" * 40
KEY = RunKey(action_id="x", blob=BLOB)


def result(*, blob: str = BLOB, logs: str = "the end\n") -> Result:
    return Result(
        id="x", exit_code=3, timestamp="2026-11-21T00:00:00Z", verdict=Verdict.FAILED,
        logs=logs, blob=blob,
    )  # fmt: skip


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings.model_validate({"state_dir": tmp_path / "state"})


def keep(settings: Settings, stream: Stream, data: bytes) -> None:
    place = Spool(settings.state_dir / "runs", KEY).kept_log(settings.state_dir / "logs", stream)
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(data)


def test_the_full_log_is_shown_for_as_long_as_it_is_kept(settings: Settings) -> None:
    whole = b"line\n" * 10_000
    keep(settings, Stream.STDOUT, whole)
    keep(settings, Stream.STDERR, b"oh\n")
    output = ended_output(result(), lambda: LocalScheduler(settings), settings)
    assert output.chunks is not None
    chunks = list(output.chunks)
    for stream, wanted in ((Stream.STDOUT, whole), (Stream.STDERR, b"oh\n")):
        assert b"".join(c.data for c in chunks if c.stream is stream) == wanted
    assert "state/logs, the full log" in output.source


def test_then_the_result_says_what_is_missing(settings: Settings) -> None:
    output = ended_output(result(), lambda: LocalScheduler(settings), settings)
    assert output.chunks is None
    assert "the last 1,000 characters" in output.source
    assert "[local] keep_logs_s" in output.source


@pytest.mark.parametrize("blob", ["", "../../secret", "b" * 39, "B" * 40])
def test_a_result_cannot_choose_the_file_that_is_read(settings: Settings, blob: str) -> None:
    """Whoever may push can write a result; its hash must not lead out of the state directory."""
    keep(settings, Stream.STDOUT, b"another's\n")
    (settings.state_dir / "secret.stdout").write_bytes(b"a secret\n")
    output = ended_output(result(blob=blob), lambda: LocalScheduler(settings), settings)
    assert output.chunks is None


def test_an_engine_that_is_away_is_named(settings: Settings) -> None:
    class Away(FakeScheduler):
        def logs(
            self,
            claim: Claim,
            *,
            follow: bool = False,
            offsets: Mapping[Stream, int] | None = None,
        ) -> Iterator[LogChunk]:
            raise Unavailable(Dependency.SCHEDULER, "no answer from Nomad")

    output = ended_output(result(), Away, settings)
    assert output.chunks is None
    assert "the engine is unavailable: no answer from Nomad" in output.source


def test_a_result_without_output_says_so(settings: Settings) -> None:
    output = ended_output(result(logs=""), lambda: LocalScheduler(settings), settings)
    assert "no output" in output.source


def keep_times(settings: Settings, stream: Stream, index: bytes) -> None:
    Spool(settings.state_dir / "runs", KEY).kept_times(
        settings.state_dir / "logs", stream
    ).write_bytes(index)


def test_of_a_kept_log_what_was_written_since(settings: Settings) -> None:
    keep(settings, Stream.STDOUT, b"early\nlate\n")
    keep_times(settings, Stream.STDOUT, b"1000000 0\n1060000 6\n")

    def since(at: float) -> bytes | None:
        output = ended_output(result(), lambda: LocalScheduler(settings), settings, since=at)
        return None if output.chunks is None else b"".join(c.data for c in output.chunks)

    assert since(0.0) == b"early\nlate\n"
    assert since(1030.0) == b"late\n"
    assert since(2000.0) == b""


def test_a_kept_log_without_times_is_an_error(settings: Settings) -> None:
    keep(settings, Stream.STDOUT, b"whole\n")
    with pytest.raises(TimesNotKept, match="time at which stdout was written is unknown"):
        ended_output(result(), lambda: LocalScheduler(settings), settings, since=0.0)
