"""Job classes on a real Nomad: registered, dispatched, with their resources, changed and removed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from dispatcher.engines.base import CannotSubmit
from dispatcher.engines.nomad import removal
from dispatcher.engines.nomad.administration import NomadAdministration
from dispatcher.engines.nomad.api import Job
from dispatcher.engines.nomad.apply import registered
from dispatcher.engines.nomad.checks import check_nomad, obstacle
from dispatcher.engines.nomad.render import parent_name
from dispatcher.errors import Conflict
from dispatcher.model.checks import Step
from dispatcher.model.job_class import FORGE_TOKEN, JobVariant
from dispatcher.model.mounts import Mount
from dispatcher.model.run import Phase
from dispatcher.model.verdicts import Verdict
from dispatcher.settings import Settings
from dispatcher.settings.jobs import JobClassSettings
from tests.servers.grants import Minter
from tests.servers.nomad import Nomad
from tests.support.nomad_stage import NomadStage, nomad_stage

pytestmark = pytest.mark.needs("nomad", "bao")

UNTIL_TERM = "#!/bin/bash\necho up\nsleep 300\n"
META = {"issue_number": "7", "project_toml": "projects/acme.toml"}
SIDECAR: dict[str, Any] = {
    "jobs": {"sidecar": {"mounts": [], "cpu_mhz": 60, "memory_mb": 96}},
    "formulas": {"classes": {"reproduce": "sidecar"}},
}


@pytest.fixture
def staged(nomad: Nomad, minter: Minter) -> Iterator[NomadStage]:
    """raw_exec, with a sidecar class without mounts."""
    with nomad_stage(nomad, minter, tables=SIDECAR) as stage:
        yield stage


def sidecar_job(stage: NomadStage) -> Job:
    job = stage.api.job(parent_name(stage.settings, JobVariant(job_class="sidecar")))
    assert job is not None
    return job


def resources(job: Job) -> dict[str, Any]:
    found: dict[str, Any] = job["TaskGroups"][0]["Tasks"][0]["Resources"]
    return found


def without_class(settings: Settings) -> Settings:
    formulas = settings.formulas.model_copy(update={"classes": {}})
    return settings.model_copy(update={"jobs": {}, "formulas": formulas})


def changes(stage: NomadStage, settings: Settings, **more: Any) -> dict[str, Any]:
    """What ``apply`` would do with jobs, by name; nothing is written."""
    planned = NomadAdministration(stage.api, settings).plan(config_files=None, in_use=tuple, **more)
    return {c.name: (c.kind, c.step) for c in planned if "job" in c.kind}


def test_each_class_is_a_job_with_its_own_resources_and_meta(
    staged: NomadStage, minter: Minter
) -> None:
    prefix = staged.settings.nomad.ledger_prefix
    assert sidecar_job(staged)["ID"] == f"{prefix}-runner-sidecar"
    assert (resources(sidecar_job(staged))["CPU"], resources(sidecar_job(staged))["MemoryMB"]) == (
        60,
        96,
    )
    runner = staged.api.job(f"{prefix}-runner")
    assert runner is not None
    assert (resources(runner)["CPU"], resources(runner)["MemoryMB"]) == (50, 128)
    required = sidecar_job(staged)["ParameterizedJob"]["MetaRequired"]
    assert {"issue_number", "formula", "project_toml"} <= set(required)

    claim = staged.submit(minter.spec("echo ran\n", job_class="sidecar", meta=META))
    assert claim.engine_id.startswith(f"{prefix}-runner-sidecar/dispatch-")
    seen = staged.end(claim)
    assert seen.outcome is not None
    assert seen.outcome.verdict is Verdict.SUCCEEDED
    child = staged.api.job(claim.engine_id)
    assert child is not None
    assert resources(child)["MemoryMB"] == 96
    assert {key: child["Meta"][key] for key in META} == META
    plain = staged.submit(minter.spec("echo ran\n"))
    assert plain.engine_id.startswith(f"{prefix}-runner/dispatch-")
    staged.end(plain)
    assert not staged.scheduler.drifted()


def test_meta_that_a_class_requires_cannot_be_missing(staged: NomadStage, minter: Minter) -> None:
    with pytest.raises(CannotSubmit, match="project_toml"):
        staged.submit(minter.spec("true\n", job_class="sidecar", meta={"issue_number": "7"}))


def test_a_bots_token_reaches_the_formula_and_nothing_that_nomad_stores(
    staged: NomadStage, minter: Minter
) -> None:
    token = "the-t0ken-of-acme-bot"
    minter.put("acme-bot", token)
    wrapped = minter.mint("acme-bot")
    text = f'#!/bin/bash\necho "got ${{#{FORGE_TOKEN}}} ${FORGE_TOKEN}"\n'
    spec = minter.spec(
        text,
        job_class="sidecar",
        meta=META,
        secrets=(FORGE_TOKEN,),
        bot="acme-bot",
        bots_prefix=minter.prefix,
    )
    claim = staged.submit(spec, wrapped)
    seen = staged.end(claim)
    assert seen.outcome is not None
    assert seen.outcome.logs.strip() == f"got {len(token)} [redacted:{FORGE_TOKEN}]"
    stored = json.dumps([staged.api.job(claim.engine_id), staged.api.allocations(claim.engine_id)])
    assert token not in stored
    assert "acme-bot" not in json.dumps(staged.api.job(claim.engine_id)["Meta"])  # type: ignore[index]


def test_apply_shows_registers_and_removes(staged: NomadStage, minter: Minter) -> None:
    name = sidecar_job(staged)["ID"]
    assert changes(staged, staged.settings)[name] == ("nomad job", Step.NOTHING)
    bigger = staged.settings.model_copy(
        update={"jobs": {"sidecar": JobClassSettings(mounts=(), memory_mb=111)}}
    )
    assert changes(staged, bigger)[name] == ("nomad job", Step.UPDATE)
    more = {**staged.settings.jobs, "gpu": JobClassSettings(cpu_mhz=70)}
    added = changes(staged, staged.settings.model_copy(update={"jobs": more}))
    assert added[name.replace("sidecar", "gpu")] == ("nomad job", Step.CREATE)

    gone = without_class(staged.settings)
    assert changes(staged, gone)[name] == ("left over nomad job", Step.NOTHING)
    claim = staged.submit(minter.spec(UNTIL_TERM, job_class="sidecar", meta=META))
    staged.running(claim)
    assert changes(staged, gone, remove_stale=True)[name][1] is Step.NOTHING, "a run is in progress"
    with pytest.raises(Conflict, match=name):
        removal.plan_removal(staged.api, staged.settings)
    staged.scheduler.cancel(claim, reason="enough")
    staged.end(claim)
    administration = NomadAdministration(staged.api, gone)
    administration.plan(config_files=None, in_use=tuple, remove_stale=True)
    administration.carry_out()
    assert staged.api.job(name) is None
    assert registered(staged.api, gone).left_over == ()
    assert "is not registered" in obstacle(
        staged.api, staged.settings, JobVariant(job_class="sidecar")
    )


def test_a_job_of_another_installation_is_not_left_over(nomad: Nomad, minter: Minter) -> None:
    with nomad_stage(nomad, minter, tables=SIDECAR) as one:
        prefix = one.settings.nomad.ledger_prefix
        other = one.settings.nomad.model_copy(update={"ledger_prefix": f"{prefix}-runner"})
        # Its names begin as those of the first.
        settings = one.settings.model_copy(update={"nomad": other})
        beside = NomadStage(nomad=nomad, minter=minter, settings=settings, api=one.api)
        try:
            beside.apply()
            assert registered(one.api, one.settings).left_over == ()
            assert registered(one.api, without_class(one.settings)).left_over == (
                f"{prefix}-runner-sidecar",
            )
        finally:
            beside.scheduler.close()


def test_a_changed_job_of_a_class_is_drift(staged: NomadStage, minter: Minter) -> None:
    job = dict(sidecar_job(staged))
    job["TaskGroups"][0]["Tasks"][0]["Resources"]["MemoryMB"] = 97
    staged.api.register(job)
    checks = {check.name: check for check in check_nomad(staged.api, staged.settings)}
    assert "MemoryMB" in checks[f"nomad: job {job['ID']}"].detail
    claim = staged.submit(minter.spec("true\n", job_class="sidecar", meta=META))
    assert "MemoryMB" in staged.scheduler.drifted()[job["ID"]]
    staged.end(claim)


def test_a_run_is_followed_after_its_formula_moved_to_a_class(nomad: Nomad, minter: Minter) -> None:
    """Dispatched by the settings of an earlier release, and found by those of now."""
    with nomad_stage(nomad, minter) as before:
        claim = before.submit(minter.spec(UNTIL_TERM))
        before.running(claim)
        tables = settings_of_now(before.settings)
        now = NomadStage(nomad=nomad, minter=minter, settings=tables, api=before.api)
        try:
            assert now.running(claim).engine_id == claim.engine_id
            nameless = replace(claim, engine_id="", phase=Phase.CLAIMED)
            now.start_anew()
            assert now.running(nameless).engine_id == claim.engine_id
            now.scheduler.cancel(claim, reason="enough")
            seen = now.end(claim)
            assert seen.outcome is not None
            assert seen.outcome.verdict is Verdict.CANCELLED
        finally:
            now.scheduler.close()


def settings_of_now(settings: Settings) -> Settings:
    formulas = settings.formulas.model_copy(update={"classes": {"probe": "sidecar"}})
    jobs = {"sidecar": JobClassSettings(mounts=())}
    return settings.model_copy(update={"jobs": jobs, "formulas": formulas})


@pytest.mark.needs("docker")
def test_a_sidecar_in_a_container_has_its_volumes(
    nomad: Nomad, minter: Minter, runner_image: str
) -> None:
    if not nomad.volumes:
        pytest.skip("needs a Nomad whose volumes are ours")
    tables = {
        "formulas": {"classes": {"reproduce": "sidecar"}},
        "jobs": {"sidecar": {"memory_mb": 200}},
    }
    with nomad_stage(nomad, minter, tables=tables, image=runner_image) as stage:
        mounts = frozenset(mount for mount in Mount if mount.sidecar)
        group = sidecar_job(stage)["TaskGroups"][0]
        assert {v["Source"]: v["ReadOnly"] for v in group["Volumes"].values()} == {
            "project-repos": False,
            "agent-data": False,
            "ops-repo": True,
        }
        nomad.volumes[Mount.AGENT_DATA].chmod(0o777)
        text = (
            "#!/bin/bash\ntouch ~/data/kept && echo wrote\n"
            "touch ~/ops-repo/x 2>/dev/null || echo read-only\n"
            "cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null\n"
        )
        spec = minter.spec(text, job_class="sidecar", meta=META, mounts=tuple(mounts))
        seen = stage.end(stage.submit(spec))
        assert seen.outcome is not None
        assert seen.outcome.logs.split() == ["wrote", "read-only", str(200 * 1024 * 1024)]
        (nomad.volumes[Mount.AGENT_DATA] / "kept").unlink()
