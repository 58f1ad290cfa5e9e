"""Runs on a real Nomad, with the real runner and grants of a real OpenBao."""

from __future__ import annotations

import json
import os
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import tenacity

from dispatcher.engines.base import CannotSubmit, Stream
from dispatcher.engines.nomad.api import NomadApi
from dispatcher.engines.nomad.run_cache import LIST_LASTS_S
from dispatcher.engines.nomad.scheduler import NomadScheduler
from dispatcher.errors import Denied, Unavailable
from dispatcher.model.job_class import JobVariant
from dispatcher.model.mounts import Mount
from dispatcher.model.run import Phase, RunState
from dispatcher.model.verdicts import Verdict
from dispatcher.settings import settings_model
from tests.contract.scheduler import SchedulerContract
from tests.servers.grants import Minter, formula_ref
from tests.servers.nomad import Nomad
from tests.support.nomad_stage import NomadStage, nomad_stage

pytestmark = pytest.mark.needs("nomad", "bao")

UNTIL_TERM = "#!/bin/bash\necho up\nsleep 300\n"


class TestRawExec(SchedulerContract):
    """The contract, with runs as plain processes of Nomad's client."""

    @pytest.fixture
    def scheduler(self, on_raw_exec: NomadStage) -> NomadScheduler:
        return on_raw_exec.scheduler


@pytest.mark.needs("docker")
class TestDocker(SchedulerContract):
    """The contract, with runs in containers."""

    @pytest.fixture
    def scheduler(self, on_docker: NomadStage) -> NomadScheduler:
        return on_docker.scheduler


# -- a run from end to end -----------------------------------------------------------------


def test_a_run_with_two_secrets(on_nomad: NomadStage, minter: Minter) -> None:
    minter.put("FIRST", "first-value-1")
    minter.put("SECOND", "second-value-2")
    text = '#!/bin/bash\necho "${#FIRST} ${#SECOND}"\necho "$FIRST" >&2\nexit 3\n'
    claim = on_nomad.submit(minter.spec(text, secrets=("FIRST", "SECOND")))
    seen = on_nomad.end(claim)
    assert seen.outcome is not None
    assert (seen.outcome.verdict, seen.outcome.exit_code) == (Verdict.FAILED, 3)
    assert "13 14" in seen.outcome.logs
    assert "first-value-1" not in seen.outcome.logs
    assert seen.engine.kind == "nomad"
    assert seen.engine.job == claim.engine_id
    assert seen.engine.alloc
    assert seen.engine.node
    assert seen.outcome.finished_at >= seen.outcome.started_at > 0
    on_nomad.scheduler.forget(claim)
    assert on_nomad.observe(claim) is None
    assert on_nomad.api.job(claim.engine_id) is None


def test_what_nomad_stores_holds_no_credential_but_the_wrapping_token(
    on_raw_exec: NomadStage, minter: Minter
) -> None:
    minter.put("FIRST", "first-value-1")
    spec = minter.spec("#!/bin/bash\ntrue\n", secrets=("FIRST",), approved_by=("anna", "ben"))
    wrapped = minter.mint("FIRST")
    claim = on_raw_exec.submit(spec, wrapped)
    on_raw_exec.end(claim)
    job = on_raw_exec.api.job(claim.engine_id)
    assert job is not None
    meta = job["Meta"] or {}
    meta.pop("disinto_spec")
    assert meta == {
        "action_id": spec.key.action_id,
        "blob": spec.key.blob,
        "formula": "probe.sh",
        "commit": spec.commit,
        "grant_accessor": wrapped.grant.accessor,
        "approved_by": "anna, ben",
        "tier": "low",
    }
    stored = json.dumps([job, on_raw_exec.api.allocations(claim.engine_id)])
    assert "first-value-1" not in stored
    assert wrapped.token not in stored  # it is compressed in the payload, and used up
    assert spec.key.action_id in claim.engine_id


# -- exactly once --------------------------------------------------------------------------


def test_concurrent_submits_of_one_run_are_told_of_one_job(
    on_raw_exec: NomadStage, minter: Minter
) -> None:
    spec, grant = minter.spec(UNTIL_TERM), minter.mint()
    on_raw_exec.scheduler._parents.get(JobVariant())  # so that all dispatches go out together
    submit = on_raw_exec.scheduler.submit
    with ThreadPoolExecutor(20) as pool:
        told = set(pool.map(lambda _: submit(spec, grant, again=True), range(20)))
    assert len(told) == 1
    children = [
        job
        for job in on_raw_exec.api.jobs(prefix=on_raw_exec.settings.nomad.ledger_prefix)
        if job["ParentID"]
    ]
    assert [child["ID"] for child in children] == list(told)


def test_a_run_is_found_again_by_what_its_job_says(on_raw_exec: NomadStage, minter: Minter) -> None:
    claim = on_raw_exec.submit(minter.spec(UNTIL_TERM))
    on_raw_exec.start_anew()
    nameless = replace(claim, engine_id="", phase=Phase.CLAIMED)
    seen = on_raw_exec.running(nameless)
    assert seen.engine_id == claim.engine_id
    other = replace(nameless, key=replace(claim.key, blob="0" * 40))
    assert on_raw_exec.observe(other) is None
    on_raw_exec.scheduler.cancel(nameless, reason="enough")
    assert on_raw_exec.end(nameless).outcome.error == "enough"  # type: ignore[union-attr]


def test_the_calls_of_a_run_are_counted(on_raw_exec: NomadStage, minter: Minter) -> None:
    on_raw_exec.end(on_raw_exec.submit(minter.spec("#!/bin/bash\ntrue\n")))
    with on_raw_exec.counted() as submitting:
        claims = [on_raw_exec.submit(minter.spec("#!/bin/bash\necho up\n")) for _ in range(3)]
    assert submitting == {"job.dispatch": 3}
    with on_raw_exec.counted() as again:
        on_raw_exec.scheduler.submit(spec := minter.spec("true\n"), minter.mint(), again=True)
        on_raw_exec.scheduler.submit(spec, minter.mint(), again=True)
    assert again == {"job.dispatch": 2, "job.read": 2}
    waiting = [on_raw_exec.submit(minter.spec(UNTIL_TERM)) for _ in range(3)]
    for claim in waiting:
        on_raw_exec.running(claim)
    for claim in claims:
        on_raw_exec.until(claim, lambda seen: seen.state is RunState.ENDED)
    on_raw_exec.start_anew()
    on_raw_exec.scheduler.observe(waiting[:1])  # learns the names of nodes
    with on_raw_exec.counted() as ending:
        on_raw_exec.scheduler.observe([*claims, *waiting])
    assert ending == {"jobs.statuses": 1, "fs.list": 3, "fs.read": 3}
    on_raw_exec.ahead_s += (
        LIST_LASTS_S  # until then the last list answers, if nothing was told since
    )
    with on_raw_exec.counted() as resting:
        on_raw_exec.scheduler.observe([*claims, *waiting])
    assert resting == {"jobs.statuses": 1}
    with on_raw_exec.counted() as forgetting:
        on_raw_exec.scheduler.forget(claims[0])
    assert forgetting == {"job.purge": 1}
    with on_raw_exec.counted() as nothing:
        on_raw_exec.scheduler.observe([])
    assert nothing == {}


# -- payload -------------------------------------------------------------------------------


def noise(size: int) -> str:
    return "#!/bin/bash\n# " + os.urandom(size).hex() + "\necho ok\n"


def test_a_payload_too_large_says_by_how_much(on_raw_exec: NomadStage, minter: Minter) -> None:
    with pytest.raises(CannotSubmit, match=r"\d+ bytes over Nomad's 16384.*operator's own") as own:
        on_raw_exec.submit(minter.spec(noise(16_000)))
    assert own.value.verdict == Verdict.INVALID
    spec = minter.spec(noise(16_000))
    bound = replace(spec, formula=replace(spec.formula, commit="c" * 40))
    with pytest.raises(CannotSubmit, match="raw_exec has no mounted ops repo"):
        on_raw_exec.submit(bound)
    wordy = minter.spec("#!/bin/bash\n", context=os.urandom(16_000).hex())
    wordy = replace(wordy, formula=replace(wordy.formula, commit="c" * 40))
    with pytest.raises(CannotSubmit) as still:
        on_raw_exec.submit(wordy)
    assert still.value.verdict == Verdict.INVALID
    assert on_raw_exec.wire.calls["job.dispatch"] == 0


def test_the_largest_payload_that_fits_is_dispatched(
    on_raw_exec: NomadStage, minter: Minter
) -> None:
    sizes = range(15_000, 16_384, 64)
    largest = None
    for size in sizes:
        spec = minter.spec("#!/bin/bash\necho ok\n", context="")
        spec = replace(spec, context=os.urandom(size).hex()[:size])
        try:
            claim = on_raw_exec.submit(spec)
        except CannotSubmit:
            break
        largest = claim
        on_raw_exec.scheduler.cancel(claim, reason="only tried")
    assert largest is not None


@pytest.mark.needs("docker", "git")
def test_a_large_formula_is_read_from_the_mounted_ops_repo(
    nomad: Nomad, minter: Minter, runner_image: str
) -> None:
    if Mount.OPS_REPO not in nomad.volumes:
        pytest.skip("needs a Nomad whose volumes are ours")
    import subprocess

    folder = nomad.volumes[Mount.OPS_REPO]
    text = noise(30_000).encode()

    def git(*words: str, data: bytes = b"") -> str:
        done = subprocess.run(
            ["git", "-C", str(folder), *words], input=data, capture_output=True, check=True
        )
        return done.stdout.decode().strip()

    git("init", "--bare", "--quiet", ".")
    blob = git("hash-object", "-w", "--stdin", data=text)
    subprocess.run(["chmod", "-R", "a+rX", str(folder)], check=True)
    with nomad_stage(nomad, minter, image=runner_image) as stage:
        spec = minter.spec(text)
        ref = replace(formula_ref(text), blob=blob, commit="c" * 40)
        claim = stage.submit(replace(spec, formula=ref))
        assert claim.engine_id.startswith(f"{stage.settings.nomad.ledger_prefix}-runner-ops-repo/")
        outcome = stage.end(claim).outcome
        assert outcome is not None
        assert (outcome.verdict, outcome.logs) == (Verdict.SUCCEEDED, "ok\n")


# -- logs ----------------------------------------------------------------------------------


def test_logs_are_followed_to_the_end_and_taken_up_again(
    on_nomad: NomadStage, minter: Minter
) -> None:
    text = "#!/bin/bash\nfor i in 1 2 3 4 5; do echo out $i; echo err $i >&2; sleep 0.3; done\n"
    claim = on_nomad.submit(minter.spec(text))
    followed = list(on_nomad.scheduler.logs(claim, follow=True))
    said = {
        stream: b"".join(chunk.data for chunk in followed if chunk.stream is stream)
        for stream in Stream
    }
    lines = range(1, 6)
    assert said[Stream.STDOUT].decode().splitlines() == [f"out {i}" for i in lines]
    assert said[Stream.STDERR].decode().splitlines() == [f"err {i}" for i in lines]
    assert max(chunk.offset for chunk in followed if chunk.stream is Stream.STDOUT) == 30
    rest = list(on_nomad.scheduler.logs(claim, offsets={Stream.STDOUT: 24, Stream.STDERR: 30}))
    assert [(chunk.stream, chunk.data, chunk.offset) for chunk in rest] == [
        (Stream.STDOUT, b"out 5\n", 30)
    ]


def test_a_run_without_a_place_has_no_log(nomad: Nomad, minter: Minter) -> None:
    nowhere = [{"attribute": "${attr.kernel.name}", "value": "plan9"}]
    with nomad_stage(nomad, minter, constraints=nowhere) as stage:
        claim = stage.submit(minter.spec("#!/bin/bash\n"))
        assert list(stage.scheduler.logs(claim)) == []
        done = threading.Event()
        threading.Thread(
            target=lambda: (list(stage.scheduler.logs(claim, follow=True)), done.set()), daemon=True
        ).start()
        stage.scheduler.cancel(claim, reason="x")
        assert done.wait(30)


# -- hints and troubles --------------------------------------------------------------------


def test_the_event_stream_wakes_at_an_end(on_raw_exec: NomadStage, minter: Minter) -> None:
    claim = on_raw_exec.submit(minter.spec("#!/bin/bash\necho up\nsleep 1\n"))
    on_raw_exec.running(claim)
    retry = tenacity.retry(
        stop=tenacity.stop_after_delay(20),
        wait=tenacity.wait_fixed(0.05),
        retry=tenacity.retry_if_result(lambda met: not met),
    )
    events = on_raw_exec.scheduler._events
    assert events is not None
    retry(lambda: events.connected)()
    on_raw_exec.wakes.clear()
    retry(lambda: bool(on_raw_exec.wakes))()


def test_nomad_away_is_unavailable(minter: Minter) -> None:
    settings = settings_model().model_validate(
        {"nomad": {"addr": "http://127.0.0.1:9", "timeout_s": 2}}
    )
    scheduler = NomadScheduler(NomadApi(settings.nomad, {}), settings)
    claim_key = minter.spec("#!/bin/bash\n")
    with pytest.raises(Unavailable):
        scheduler.submit(claim_key, minter.mint())


def test_a_token_without_rights_is_denied(on_raw_exec: NomadStage, minter: Minter) -> None:
    claim = on_raw_exec.submit(minter.spec("#!/bin/bash\n"))
    api = NomadApi(on_raw_exec.settings.nomad, {"NOMAD_TOKEN": ""})
    scheduler = NomadScheduler(api, on_raw_exec.settings)
    asks: list[Callable[[], Any]] = [
        lambda: scheduler.observe([claim]),
        lambda: scheduler.submit(minter.spec("#!/bin/bash\n"), minter.mint()),
        lambda: scheduler.cancel(claim, reason="x"),
        lambda: list(scheduler.logs(claim)),
    ]
    for ask in asks:
        with pytest.raises(Denied):
            ask()


# -- mounts --------------------------------------------------------------------------------


@pytest.mark.needs("docker")
def test_keys_can_be_read_and_not_written(nomad: Nomad, minter: Minter, runner_image: str) -> None:
    if not nomad.volumes:
        pytest.skip("needs a Nomad whose volumes are ours")
    for mount, folder in nomad.volumes.items():
        _offer(folder, mount.value)
    everything = tuple(Mount)
    tries = "\n".join(
        f'cat "{mount.target}/name" && (echo x >"{mount.target}/new") 2>/dev/null '
        f"&& echo wrote {mount.value}"
        for mount in everything
    )
    with nomad_stage(nomad, minter, image=runner_image) as stage:
        stage.apply(set(everything))
        claim = stage.submit(minter.spec(f"#!/bin/bash\n{tries}\nexit 0\n", mounts=everything))
        outcome = stage.end(claim).outcome
        assert outcome is not None
        assert outcome.verdict is Verdict.SUCCEEDED
        said = Counter(outcome.logs.splitlines())
        assert all(said[mount.value] == 1 for mount in everything)
        assert {line for line in said if line.startswith("wrote")} == {
            f"wrote {mount.value}" for mount in everything if not mount.read_only
        }


def _offer(folder: Path, name: str) -> None:
    (folder / "name").write_text(f"{name}\n")
    folder.chmod(0o777)
