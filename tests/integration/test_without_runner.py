"""A runner that ended without a word: Vault says whether the formula can have started."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import hvac
import pytest

from dispatcher.engines.base import LogChunk, Stream
from dispatcher.loop.without_runner import last_stderr, may_not_have_started
from dispatcher.model.run import Claim, Outcome, RunKey, RunSpec, WrappedGrant
from dispatcher.model.verdicts import Verdict
from tests.fakes.scheduler import FakeScheduler
from tests.servers.bao import Bao
from tests.servers.grants import Minter
from tests.servers.nomad import Nomad
from tests.support.nomad_stage import nomad_stage
from tests.support.stage import Stage, action, path, set_stage

pytestmark = pytest.mark.needs("bao")

FAILED = Outcome(
    verdict=Verdict.FAILED,
    exit_code=1,
    formula_started=True,
    error="the runner ended by exit code 1 and left no outcome",
)
SUCCEEDED = Outcome(verdict=Verdict.SUCCEEDED, exit_code=0, formula_started=True)


class WithoutWord(FakeScheduler):
    """Its runs end as the engine's records say, and their runner left nothing.

    Attributes:
        outcome: what the records amount to.
        unwraps_at: address of the Vault where the grant is used; "" if nobody uses it.
    """

    outcome = FAILED
    unwraps_at = ""

    def submit(self, spec: RunSpec, grant: WrappedGrant, *, again: bool = False) -> str:
        named = super().submit(spec, grant, again=again)
        if self.unwraps_at:
            hvac.Client(url=self.unwraps_at, token=grant.token).sys.unwrap()
        return named

    def end(self, key: RunKey, outcome: Outcome = SUCCEEDED) -> None:
        super().end(key, self.outcome)
        with self._lock:
            self._runs[key] = replace(self._runs[key], reported=False)

    def logs(
        self,
        claim: Claim,
        *,
        follow: bool = False,
        offsets: Mapping[Stream, int] | None = None,
    ) -> Iterator[LogChunk]:
        text = b"Traceback\n\n/usr/bin/python3: No module named \x1b[31mdispatcher\n"
        yield LogChunk(stream=Stream.STDOUT, offset=3, data=b"out")
        for at in range(0, len(text), 7):
            yield LogChunk(stream=Stream.STDERR, offset=at + 7, data=text[at : at + 7])


@pytest.fixture
def stage(bao_server: Bao, tmp_path: Path) -> Iterator[Stage]:
    stage = set_stage(tmp_path, bao_server)
    stage.scheduler = WithoutWord()
    stage.scene.merge({path("x"): action("x")}, "Add x")
    yield stage
    stage.stop()


@pytest.mark.parametrize("outcome", [FAILED, SUCCEEDED])
def test_a_formula_that_never_started_has_not_failed(stage: Stage, outcome: Outcome) -> None:
    assert isinstance(stage.scheduler, WithoutWord)
    stage.scheduler.outcome = outcome
    stage.once()
    result = stage.result("x")
    assert (result["verdict"], result["exit_code"]) == (Verdict.ERROR, 70)
    assert str(result["error"]).startswith("the formula never started: ")
    assert "No module named \ufffd[31mdispatcher" in str(result["error"])
    assert result["logs"] == ""


def test_standard_error_of_a_formula_never_reaches_a_result(stage: Stage) -> None:
    """The grant was used, so the formula may have written there, and nobody took secrets out."""
    assert isinstance(stage.scheduler, WithoutWord)
    stage.scheduler.unwraps_at = stage.scene.server.addr
    stage.once()
    result = stage.result("x")
    assert (result["verdict"], result["error"]) == (Verdict.FAILED, FAILED.error)


@pytest.mark.needs("nomad")
@pytest.mark.parametrize(
    ("command", "words"),
    [
        ([sys.executable, "-m", "no_such_module"], "No module named no_such_module"),
        ([sys.executable, "-c", "import sys; sys.exit('a bad start')"], "a bad start"),
        ([sys.executable, "-c", "import sys; sys.stderr.write('did nothing')"], "did nothing"),
    ],
)
def test_on_nomad_its_last_words_are_known(
    nomad: Nomad, minter: Minter, command: list[str], words: str
) -> None:
    with nomad_stage(nomad, minter, runner_command=command) as stage:
        claim = stage.submit(minter.spec("#!/bin/bash\ntrue\n"))
        seen = stage.end(claim)
        assert seen.outcome is not None
        assert may_not_have_started(seen.outcome, reported=seen.reported)
        assert words in last_stderr(stage.scheduler, claim)


@pytest.mark.needs("nomad")
def test_on_nomad_the_runner_starts_by_this_interpreter(nomad: Nomad, minter: Minter) -> None:
    with nomad_stage(nomad, minter) as stage:
        assert stage.settings.nomad.runner_command == ()
        seen = stage.end(stage.submit(minter.spec("#!/bin/bash\nexit 3\n")))
        assert seen.outcome is not None
        assert (seen.outcome.verdict, seen.outcome.exit_code) == (Verdict.FAILED, 3)
        assert seen.reported
