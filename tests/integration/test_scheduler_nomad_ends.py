"""How runs on a real Nomad end when something is wrong: jobs, places, memory, people, nodes."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import tenacity

from dispatcher.engines.base import CannotSubmit
from dispatcher.errors import Misconfigured, Unavailable
from dispatcher.model.mounts import Mount
from dispatcher.model.run import Claim, RunState
from dispatcher.model.verdicts import Verdict
from tests.servers.grants import Minter
from tests.servers.nomad import Nomad
from tests.servers.nomad_client import second_client as another_client
from tests.support.nomad_stage import NomadStage, nomad_stage

pytestmark = pytest.mark.needs("nomad", "bao")

UNTIL_TERM = "#!/bin/bash\necho up\nsleep 300\n"


# -- jobs that are not as rendered ---------------------------------------------------------


def test_a_mount_is_unplaceable_at_once_on_raw_exec(
    on_raw_exec: NomadStage, minter: Minter
) -> None:
    with pytest.raises(CannotSubmit, match="raw_exec has no host volumes") as never:
        on_raw_exec.submit(minter.spec("#!/bin/bash\n", mounts=(Mount.SSH,)))
    assert never.value.verdict == Verdict.UNPLACEABLE
    assert not on_raw_exec.wire.calls


def test_a_job_that_is_not_registered_may_be_mended_in_time(
    on_raw_exec: NomadStage, minter: Minter
) -> None:
    on_raw_exec.api.stop(f"{on_raw_exec.settings.nomad.ledger_prefix}-runner", purge=True)
    spec, grant = minter.spec("#!/bin/bash\n"), minter.mint()
    with pytest.raises(Misconfigured, match=r"not registered.*disinto apply"):
        on_raw_exec.submit(spec, grant)
    on_raw_exec.ahead_s = on_raw_exec.settings.nomad.placement_wait_s + 1
    with pytest.raises(CannotSubmit, match="not registered") as never:
        on_raw_exec.submit(spec, grant)
    assert never.value.verdict == Verdict.UNPLACEABLE
    on_raw_exec.apply()
    on_raw_exec.end(on_raw_exec.submit(spec, grant))


def test_a_dispatch_on_a_changed_job_says_so(
    on_raw_exec: NomadStage, minter: Minter, capsys: pytest.CaptureFixture[str]
) -> None:
    on_raw_exec.submit(minter.spec("#!/bin/bash\n"))
    assert on_raw_exec.scheduler.drifted() == {}
    name = f"{on_raw_exec.settings.nomad.ledger_prefix}-runner"
    registered = on_raw_exec.api.job(name)
    assert registered is not None
    changed = json.loads(json.dumps(registered))
    changed["TaskGroups"][0]["Tasks"][0]["Resources"]["CPU"] = 51
    on_raw_exec.api.register(changed)
    told = {name: '~ group run: task runner: Resources: CPU: "51" => "50"'}

    @tenacity.retry(stop=tenacity.stop_after_delay(30), wait=tenacity.wait_fixed(0.1), reraise=True)
    def noticed(claim: Claim) -> None:
        on_raw_exec.observe(claim)
        assert on_raw_exec.scheduler.drifted() == told

    noticed(on_raw_exec.submit(minter.spec("#!/bin/bash\n")))
    assert "job_drifted" in capsys.readouterr().out
    on_raw_exec.apply()
    on_raw_exec.submit(minter.spec("#!/bin/bash\n"))
    assert on_raw_exec.scheduler.drifted() == {}
    assert "job_drifted" not in capsys.readouterr().out


# -- places --------------------------------------------------------------------------------


def test_no_place_is_told_in_nomads_numbers_and_then_given_up(nomad: Nomad, minter: Minter) -> None:
    nowhere = [{"attribute": "${attr.kernel.name}", "value": "plan9"}]
    with nomad_stage(nomad, minter, constraints=nowhere, placement_wait_s=600) as stage:
        claim = stage.submit(minter.spec("#!/bin/bash\n"))
        seen = stage.until(claim, lambda seen: bool(seen.reason))
        assert seen.state is RunState.PENDING
        assert seen.reason == "1 node evaluated, 1 filtered: ${attr.kernel.name} = plan9"
        with stage.counted() as calls:
            for _ in range(3):
                stage.observe(claim)
        assert calls["jobs.statuses"] <= 1, "nothing was said meanwhile"
        assert calls["evaluations.list"] <= 1
        stage.ahead_s = 601
        outcome = stage.end(claim).outcome
        assert outcome is not None
        assert outcome.verdict is Verdict.UNPLACEABLE
        assert "1 filtered: ${attr.kernel.name} = plan9" in outcome.error


def test_a_dispatcher_that_was_started_anew_says_the_same(nomad: Nomad, minter: Minter) -> None:
    nowhere = [{"attribute": "${attr.kernel.name}", "value": "plan9"}]
    with nomad_stage(nomad, minter, constraints=nowhere, placement_wait_s=1.5) as stage:
        claim = stage.submit(minter.spec("#!/bin/bash\n"))

        @tenacity.retry(stop=tenacity.stop_after_delay(30), wait=tenacity.wait_fixed(0.2))
        def until_stopped() -> None:
            stage.observe(claim)
            job = stage.api.job(claim.engine_id)
            assert job is not None
            assert job["Stop"]

        until_stopped()
        stage.start_anew()
        outcome = stage.end(claim).outcome
        assert outcome is not None
        assert outcome.verdict is Verdict.UNPLACEABLE


def test_a_stop_by_hand_of_a_run_without_a_place(nomad: Nomad, minter: Minter) -> None:
    nowhere = [{"attribute": "${attr.kernel.name}", "value": "plan9"}]
    with nomad_stage(nomad, minter, constraints=nowhere) as stage:
        claim = stage.submit(minter.spec("#!/bin/bash\n"))
        stage.until(claim, lambda seen: bool(seen.reason))
        stage.api.stop(claim.engine_id)
        stage.start_anew()
        outcome = stage.end(claim).outcome
        assert outcome is not None
        assert (outcome.verdict, outcome.formula_started) == (Verdict.CANCELLED, False)
        assert outcome.error == "stopped in Nomad, or by 'disinto cancel'"


@pytest.mark.needs("docker")
def test_a_missing_volume_is_named(nomad: Nomad, minter: Minter, runner_image: str) -> None:
    with nomad_stage(nomad, minter, image=runner_image) as stage:
        name = f"{stage.settings.nomad.ledger_prefix}-runner-ssh"
        stage.apply({Mount.SSH})
        job = json.loads(json.dumps(stage.api.job(name)))
        job["TaskGroups"][0]["Volumes"]["ssh"]["Source"] = "nobody-has-this"
        stage.api.register(job)
        claim = stage.submit(minter.spec("#!/bin/bash\n", mounts=(Mount.SSH,)))
        seen = stage.until(claim, lambda seen: bool(seen.reason))
        assert seen.reason == "1 node evaluated, 1 filtered: missing compatible host volumes"


# -- ends that the runner cannot tell ------------------------------------------------------


@pytest.mark.needs("docker")
def test_out_of_memory_is_named(on_docker: NomadStage, minter: Minter) -> None:
    eat = "#!/bin/bash\nexec python3 -c 'x = bytearray(400 * 1024 * 1024)'\n"
    outcome = on_docker.end(on_docker.submit(minter.spec(eat))).outcome
    assert outcome is not None
    assert (outcome.verdict, outcome.exit_code) == (Verdict.FAILED, 137)
    assert outcome.error == "out of memory (limit 128 MiB)"


@pytest.mark.needs("docker")
def test_a_missing_image_is_named(nomad: Nomad, minter: Minter) -> None:
    with nomad_stage(nomad, minter, image="disinto-nowhere:absent") as stage:
        outcome = stage.end(stage.submit(minter.spec("#!/bin/bash\n"))).outcome
        assert outcome is not None
        assert (outcome.verdict, outcome.formula_started) == (Verdict.ERROR, False)
        assert "the image is missing: Failed to pull `disinto-nowhere:absent`" in outcome.error


def test_a_runner_that_cannot_start_is_an_error(nomad: Nomad, minter: Minter) -> None:
    with nomad_stage(nomad, minter, runner_command=["/no/such/python"]) as stage:
        outcome = stage.end(stage.submit(minter.spec("#!/bin/bash\n"))).outcome
        assert outcome is not None
        assert outcome.verdict is Verdict.ERROR
        assert "/no/such/python" in outcome.error


def test_a_runner_that_dies_without_a_word(on_raw_exec: NomadStage, minter: Minter) -> None:
    claim = on_raw_exec.submit(minter.spec("#!/bin/bash\necho up; kill -KILL $PPID\n"))
    outcome = on_raw_exec.end(claim).outcome
    assert outcome is not None
    assert outcome.verdict is Verdict.FAILED
    assert outcome.exit_code != 0
    assert "before reporting" in outcome.error


def test_a_used_grant_stops_before_the_formula(on_raw_exec: NomadStage, minter: Minter) -> None:
    wrapped = minter.mint()
    minter.unwrap(wrapped)
    outcome = on_raw_exec.end(
        on_raw_exec.submit(minter.spec("#!/bin/bash\necho no\n"), wrapped)
    ).outcome
    assert outcome is not None
    assert (outcome.verdict, outcome.formula_started) == (Verdict.ERROR, False)
    assert "interce" in outcome.error


# -- stops ---------------------------------------------------------------------------------


def test_a_cancelled_run_ends_with_our_reason(on_nomad: NomadStage, minter: Minter) -> None:
    claim = on_nomad.submit(minter.spec(UNTIL_TERM))
    on_nomad.until_logged(claim, "up")
    on_nomad.scheduler.cancel(claim, reason="anna said so")
    on_nomad.scheduler.cancel(claim, reason="and again")
    outcome = on_nomad.end(claim).outcome
    assert outcome is not None
    assert (outcome.verdict, outcome.error) == (Verdict.CANCELLED, "anna said so")
    assert "up" in outcome.logs


def test_a_stop_by_hand_is_a_cancellation(on_nomad: NomadStage, minter: Minter) -> None:
    claim = on_nomad.submit(minter.spec(UNTIL_TERM))
    on_nomad.until_logged(claim, "up")
    on_nomad.api.stop(claim.engine_id)
    outcome = on_nomad.end(claim).outcome
    assert outcome is not None
    assert outcome.verdict is Verdict.CANCELLED
    assert outcome.error == "stopped in Nomad, or by 'disinto cancel'"


def test_a_cancellation_after_the_end_changes_nothing(
    on_raw_exec: NomadStage, minter: Minter
) -> None:
    claim = on_raw_exec.submit(minter.spec("#!/bin/bash\necho done\n"))
    on_raw_exec.until_logged(claim, "done")
    on_raw_exec.end(claim)
    on_raw_exec.start_anew()
    on_raw_exec.scheduler.cancel(claim, reason="too late")
    outcome = on_raw_exec.end(claim).outcome
    assert outcome is not None
    assert outcome.verdict is Verdict.SUCCEEDED


def test_a_stopped_job_is_not_over_while_its_task_runs(
    on_raw_exec: NomadStage, minter: Minter
) -> None:
    stubborn = "#!/bin/bash\ntrap '' TERM\necho up\nfor _ in {1..40}; do sleep 0.1; done\n"
    claim = on_raw_exec.submit(minter.spec(stubborn, kill_grace_s=2.0))
    on_raw_exec.until_logged(claim, "up")
    on_raw_exec.scheduler.cancel(claim, reason="stop")
    seen = on_raw_exec.observe(claim)
    assert seen is not None
    assert (seen.state, seen.reason) == (RunState.RUNNING, "stopping")
    outcome = on_raw_exec.end(claim).outcome
    assert outcome is not None
    assert outcome.verdict is Verdict.CANCELLED


# -- what Nomad forgets --------------------------------------------------------------------


def test_a_collected_run_is_absent(on_raw_exec: NomadStage, minter: Minter) -> None:
    claim = on_raw_exec.submit(minter.spec("#!/bin/bash\ntrue\n"))
    on_raw_exec.end(claim)
    on_raw_exec.start_anew()
    on_raw_exec.nomad.collect_garbage()

    @tenacity.retry(stop=tenacity.stop_after_delay(30), wait=tenacity.wait_fixed(0.2))
    def until_gone() -> None:
        assert on_raw_exec.api.job(claim.engine_id) is None

    until_gone()
    assert on_raw_exec.observe(claim) is None
    assert list(on_raw_exec.scheduler.logs(claim)) == []
    on_raw_exec.scheduler.cancel(claim, reason="x")
    on_raw_exec.scheduler.forget(claim)


# -- the agent dies ------------------------------------------------------------------------


@pytest.mark.slow
def test_a_run_goes_on_while_the_agent_is_killed(minter: Minter, tmp_path: Path) -> None:
    from tests.servers.nomad import serve

    gate = tmp_path / "gate"
    os.mkfifo(gate)
    with serve(keeps_state=True) as nomad, nomad_stage(nomad, minter) as stage:
        claim = stage.submit(minter.spec(f"#!/bin/bash\necho up\nread word <{gate}\nexit 7\n"))
        stage.until_logged(claim, "up")
        nomad.kill()
        with pytest.raises(Unavailable):
            stage.observe(claim)
        gate.open("w").write("go\n")
        nomad.restart()
        outcome = stage.end(claim).outcome
        assert outcome is not None
        assert (outcome.verdict, outcome.exit_code) == (Verdict.FAILED, 7)


@pytest.fixture
def second_client(nomad: Nomad) -> Iterator[subprocess.Popen[bytes]]:
    """A client of its own node pool, in a process that may be killed."""
    if nomad.process is None or not nomad.runs_here:
        pytest.skip("needs a Nomad whose ports are known")
    with another_client(nomad, node_pool="second") as process:
        yield process


@pytest.mark.slow
def test_a_node_that_vanishes_loses_its_run_and_nomad_starts_no_second(
    nomad: Nomad, minter: Minter, second_client: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    with nomad_stage(nomad, minter, node_pool="second", node_wait_s=60) as stage:
        claim = stage.submit(minter.spec(f"#!/bin/bash\necho up\nread word <{gate}\n"))
        stage.until_logged(claim, "up")
        stage.running(claim)  # the servers hear of it later than the client's log does
        second_client.kill()
        seen = stage.until(claim, lambda seen: "is down" in seen.reason)
        assert seen.state is RunState.RUNNING
        assert seen.reason.startswith("node second is down since ")
        stage.ahead_s = 61
        outcome = stage.end(claim).outcome
        assert outcome is not None
        assert outcome.verdict is Verdict.LOST
        assert "the node second stopped responding" in outcome.error
        assert len(stage.api.allocations(claim.engine_id)) == 1
        gate.open("w").close()
