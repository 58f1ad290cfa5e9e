"""Runners on a real Nomad say themselves that they have ended, before Nomad does; and what a short run costs."""

from __future__ import annotations

import base64
import queue
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from dispatcher.engines.nomad.settings import NomadSettings
from dispatcher.listener.app import App
from dispatcher.listener.serving import Listener
from dispatcher.model.health import Health
from dispatcher.model.run import Claim, RunState
from dispatcher.model.verdicts import Verdict
from dispatcher.status.metrics import Metrics
from tests.servers.grants import Minter
from tests.servers.nomad import Nomad
from tests.support.nomad_stage import NomadStage, nomad_stage
from tests.support.stage import eventually

pytestmark = pytest.mark.needs("nomad", "bao")

Answers = queue.SimpleQueue[bool]


@pytest.fixture
def told(nomad: Nomad, minter: Minter) -> Iterator[tuple[NomadStage, Answers]]:
    """A stage whose runners reach a listener, and what the scheduler answered to each notice."""
    answers: Answers = queue.SimpleQueue()
    stages: list[NomadStage] = []

    def hear(notice: bytes) -> bool:
        heard = stages[0].scheduler.told(notice)
        answers.put(heard)
        return heard

    app = App(
        health=lambda: Health(leader=True, beat_at=0, started_at=0),
        metrics=Metrics(),
        wake=lambda: None,
        hook=None,
        ended=hear,
    )
    with ExitStack() as stack:
        listener = stack.enter_context(Listener(app, listen="127.0.0.1:0"))
        url = f"http://127.0.0.1:{listener.port}"
        stages.append(stack.enter_context(nomad_stage(nomad, minter, listener_url=url)))
        yield stages[0], answers


def test_the_outcome_is_read_as_soon_as_the_runner_says_so(
    told: tuple[NomadStage, Answers], minter: Minter
) -> None:
    stage, answers = told
    claim = stage.submit(minter.spec("#!/bin/bash\necho done\n"))
    assert answers.get(timeout=90)
    with stage.counted() as calls:
        seen = stage.observe(claim)
    assert seen is not None
    assert seen.state is RunState.ENDED
    assert seen.outcome is not None
    assert seen.outcome.short_output == {"stdout": "ZG9uZQo="}
    assert seen.engine.node
    (allocation,) = stage.api.allocations(claim.engine_id)
    assert seen.engine.alloc == allocation["ID"]
    assert not calls.keys() & {"jobs.statuses", "fs.list", "fs.read"}
    assert not stage.scheduler.told(b"{}")


def test_output_is_read_without_asking_where_it_is(
    told: tuple[NomadStage, Answers], minter: Minter
) -> None:
    stage, answers = told
    claim = stage.submit(minter.spec("#!/bin/bash\nseq 3000\n"))
    assert answers.get(timeout=90)
    seen = stage.end(claim)
    assert seen.outcome is not None
    assert not seen.outcome.short_output
    with stage.counted() as calls:
        until_it_is_there(stage, claim)
    assert calls["job.allocations"] == 0


@eventually
def until_it_is_there(stage: NomadStage, claim: Claim) -> None:
    """Nomad collects the output by a process of its own, which may be behind."""
    assert stage.log(claim).startswith("1\n2\n")


LIAR = r"""#!/bin/bash
say() {  # a notice, as a runner sends it, but for the key
    exec 3<>/dev/tcp/127.0.0.1/PORT
    printf 'POST /runs/ended HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s' "${#1}" "$1" >&3
    head -n 1 <&3
    exec 3>&-
}
until [ -s NAMES ]; do sleep 0.05; done
read -r job alloc < NAMES
for job in OTHER "$job" "disinto-runner/dispatch-x"; do
    say "{\"job\": \"$job\", \"alloc\": \"$alloc\"}"
    say "{\"mac\":\"0000000000000000000000000000000000000000000000000000000000000000\",\"job\": \"$job\", \"alloc\": \"a\"}"
done
printf 'secret %s\n' "$TOKEN"
printf '%s' "$TOKEN" | base64
printf 'split %s' "${TOKEN:0:7}"; printf '\n%s\n' "${TOKEN:7}"
printf '\033[2J\xff\xfe\0end\n'
exit 3
"""


def test_a_formula_can_neither_say_that_a_run_has_ended_nor_lie_in_short_output(
    told: tuple[NomadStage, Answers], minter: Minter, tmp_path: Path
) -> None:
    """Not even one that knows the names of all jobs and allocations."""
    stage, answers = told
    names = tmp_path / "names"
    minter.put("TOKEN", "hvs.verySecretValue123")
    other = stage.submit(minter.spec("#!/bin/bash\nsleep 300\n"))
    stage.running(other)
    port = stage.settings.section(NomadSettings).listener_url.rpartition(":")[2]
    text = LIAR.replace("PORT", port).replace("OTHER", other.engine_id).replace("NAMES", str(names))
    claim = stage.submit(minter.spec(text, secrets=("TOKEN",)))
    names.write_text(f"{claim.engine_id} {stage.running(claim).engine.alloc}\n")
    assert [answers.get(timeout=90) for _ in range(7)] == [False] * 6 + [True]
    seen = stage.end(claim)
    assert seen.outcome is not None
    assert (seen.outcome.verdict, seen.outcome.exit_code) == (Verdict.FAILED, 3)
    short = base64.b64decode(seen.outcome.short_output["stdout"])
    assert short.count(b" 403 Forbidden") == 6
    assert short.endswith(b"\x1b[2J\xff\xfe\0end\n")
    assert b"verySecretValue123" not in short.replace(b"\n", b"")
    assert base64.b64encode(b"hvs.verySecretValue123") not in short
    assert stage.running(other).outcome is None
    assert answers.empty()
