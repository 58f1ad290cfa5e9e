"""Plan, apply and checks on a real Nomad."""

from __future__ import annotations

import os
import shutil
import subprocess
import unicodedata
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from dispatcher.engines.nomad import apply as nomad_apply
from dispatcher.engines.nomad import render
from dispatcher.engines.nomad.api import NomadApi
from dispatcher.engines.nomad.apply import apply_nomad, drift, plan_nomad, rendered_jobs
from dispatcher.engines.nomad.checks import check_nomad, offers
from dispatcher.errors import Conflict, Denied, Misconfigured
from dispatcher.model.checks import Check, Step
from dispatcher.model.job_class import JobVariant
from dispatcher.model.mounts import Mount
from dispatcher.settings import Settings, settings_model
from tests.servers.nomad import Nomad
from tests.support.thorough import tries

pytestmark = pytest.mark.needs("nomad")

CONFIG = 'state_dir = "x"\n[agent]\ncommand = ["claude", "-p", "{model}"]\n'


@pytest.fixture
def api(nomad: Nomad) -> Iterator[NomadApi]:
    connection = nomad.api()
    yield connection
    connection.close()


@pytest.fixture
def mine(nomad: Nomad, api: NomadApi) -> Iterator[Settings]:
    """Settings whose jobs no other test uses."""
    settings = made(nomad)
    yield settings
    prefix = settings.nomad.ledger_prefix
    for job in api.jobs(prefix=prefix):
        api.stop(job["ID"], purge=True)


def made(nomad: Nomad, **more: Any) -> Settings:
    return settings_model().model_validate(
        {
            "scheduler": "nomad",
            "ops_repo": {"remote": "https://git.example/ops.git"},
            "nomad": {
                "addr": nomad.addr,
                "ledger_prefix": nomad.unique("apply"),
                "image": "disinto:test",
                **more,
            },
        }
    )


AWKWARD = {
    "image": 'registry.example/a:"b"\\${x}%{if true}\n',
    "runner_command": ["python3", "${NOMAD_TASK_DIR}", "$${x}", "%%{y}", "\u00e4\u2028\x07"],
    "constraints": [
        {"attribute": "${attr.kernel.name}", "value": "linux"},
        {"attribute": "${node.class}", "operator": "!=", "value": 'a "quoted" ${thing}'},
        {"operator": "distinct_hosts", "value": "true"},
    ],
    "memory_max_mb": 512,
    "network_mode": "bridge",
}


@pytest.mark.parametrize("more", [{}, AWKWARD, {"driver": "raw_exec"}], ids=str)
def test_nomads_own_command_accepts_every_rendered_file(
    nomad: Nomad, tmp_path: Path, more: dict[str, Any]
) -> None:
    if shutil.which("nomad") is None:
        pytest.skip("`nomad` is not on PATH")
    settings = made(nomad, **more)
    in_use = [] if more.get("driver") else [mounting(Mount.SSH, Mount.GPG), mounting(*Mount)]
    files = {"disinto.toml": CONFIG, "policy.toml": "[tiers]\n"}
    for job in rendered_jobs(settings, in_use, config_files=files, page_files=files):
        path = tmp_path / f"{job.name}.nomad.hcl"
        path.write_text(job.hcl)
        done = subprocess.run(
            ["nomad", "job", "validate", str(path)],
            env={"PATH": os.environ["PATH"], **nomad.environ},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr


@hypothesis_settings(
    max_examples=tries(15, 60),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@example(text='$${a} ${b} %%{c} %{d} $$$${e} \\${f} "\n\t\x07 $')
@given(text=st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=40))
def test_what_a_setting_holds_comes_out_of_the_servers_parser(api: NomadApi, text: str) -> None:
    # HCL text is normalized (NFC) by the language.
    parsed = api.parse(f'job "x" {{\n  meta {{\n    k = {render.hcl(text)}\n  }}\n}}\n')
    assert (parsed.get("Meta") or {})["k"] == unicodedata.normalize("NFC", text)


def mounting(*mounts: Mount) -> JobVariant:
    return JobVariant(mounts=frozenset(mounts))


def test_variants_are_the_sets_in_use_each_with_the_ops_repo() -> None:
    settings = settings_model().model_validate({})
    ssh, ops = Mount.SSH, Mount.OPS_REPO
    assert nomad_apply.variants(settings, [mounting(ssh), mounting(ssh)]) == (
        mounting(),
        mounting(ssh),
        mounting(ops),
        mounting(ssh, ops),
    )
    named = settings_model().model_validate({"nomad": {"mount_sets": [["ssh"]]}})
    assert nomad_apply.variants(named, []) == nomad_apply.variants(settings, [mounting(ssh)])
    raw = settings_model().model_validate({"nomad": {"driver": "raw_exec"}})
    assert nomad_apply.variants(raw, [mounting(ssh)]) == (mounting(),)


def test_the_second_plan_finds_nothing_to_do(nomad: Nomad, api: NomadApi, mine: Settings) -> None:
    jobs = rendered_jobs(mine, [mounting(Mount.SSH)], config_files={"disinto.toml": CONFIG})
    jobs = tuple(job for job in jobs if not job.name.endswith("dispatcher"))  # it would start
    policies = nomad_apply.policies_for(mine)
    first = plan_nomad(api, jobs, policies)
    assert {change.step for change in first.changes} == {Step.CREATE}
    by_name = {change.name: change.difference for change in first.changes}
    for job in jobs:
        assert by_name[job.name] == tuple(f"+ {line}" for line in job.hcl.splitlines())
    assert first.drifted
    apply_nomad(api, first)
    held = nomad_apply.registered(api, mine)
    assert mounting(Mount.SSH) in held.variants
    assert (len(held.variants), held.left_over) == (len(jobs), ())
    second = plan_nomad(api, jobs, policies)
    assert [change.difference for change in second.changes] == [()] * len(second.changes)
    assert not second.drifted


def test_drift_is_shown_and_mended(nomad: Nomad, api: NomadApi, mine: Settings) -> None:
    jobs = rendered_jobs(mine)
    apply_nomad(api, plan_nomad(api, jobs))
    edited = api.parse(jobs[0].hcl.replace("cpu    = 200", "cpu    = 77"))
    api.register(edited)
    policies = nomad_apply.policies_for(mine)
    apply_nomad(api, plan_nomad(api, (), policies))
    api.put_acl_policy(policies[0].name, 'namespace "*" { policy = "write" }')

    plan = plan_nomad(api, jobs, policies)
    by_name = {change.name: change for change in plan.changes}
    job = by_name[jobs[0].name]
    assert job.step is Step.UPDATE
    assert job.difference == ('~ group run: task runner: Resources: CPU: "77" => "200"',)
    policy = by_name[policies[0].name]
    assert policy.step is Step.UPDATE
    assert '-namespace "*" { policy = "write" }' in policy.difference
    apply_nomad(api, plan)
    assert not plan_nomad(api, jobs, policies).drifted


def test_a_stopped_job_is_started_again(api: NomadApi, mine: Settings) -> None:
    jobs = rendered_jobs(mine)
    apply_nomad(api, plan_nomad(api, jobs))
    api.stop(jobs[0].name)
    plan = plan_nomad(api, jobs)
    assert plan.drifted
    apply_nomad(api, plan)
    assert not plan_nomad(api, jobs).drifted


def test_a_job_that_changed_since_the_plan_is_left_alone(api: NomadApi, mine: Settings) -> None:
    jobs = rendered_jobs(mine)
    apply_nomad(api, plan_nomad(api, jobs))
    apply_nomad(api, plan_nomad(api, jobs))  # nothing to do, and nothing done
    wanted = rendered_jobs(
        mine.model_copy(update={"nomad": mine.nomad.model_copy(update={"cpu_mhz": 300})})
    )
    plan = plan_nomad(api, wanted)
    api.register(api.parse(jobs[0].hcl.replace("cpu    = 200", "cpu    = 77")))
    with pytest.raises(Conflict, match="changed while it was being applied"):
        apply_nomad(api, plan)


def lacking(nomad: Nomad) -> set[str]:
    """What is wrong of itself: a machine without Docker has no healthy driver for it."""
    answer = httpx.get(f"{nomad.addr}/v1/nodes", headers={"X-Nomad-Token": nomad.token})
    healthy = [node["Drivers"].get("docker", {}).get("Healthy") for node in answer.json()]
    return set() if any(healthy) else {"nomad: driver docker"}


def failing(checks: Iterable[Check]) -> set[str]:
    return {check.name for check in checks if not check.ok}


def test_the_policies_give_what_is_needed_and_no_more(
    nomad: Nomad, api: NomadApi, mine: Settings
) -> None:
    jobs = rendered_jobs(mine)
    policies = nomad_apply.policies_for(mine)
    apply_nomad(api, plan_nomad(api, (), policies))
    dispatcher, page, operator = (token_with(nomad, policy.name) for policy in policies)

    as_operator = NomadApi(mine.nomad, {"NOMAD_TOKEN": operator})
    apply_nomad(as_operator, plan_nomad(as_operator, jobs))
    with pytest.raises(Denied):
        as_operator.dispatch(jobs[0].name)

    as_dispatcher = NomadApi(mine.nomad, {"NOMAD_TOKEN": dispatcher})
    job = as_dispatcher.parse(jobs[0].hcl)
    with pytest.raises(Denied):
        as_dispatcher.register(job)
    assert failing(check_nomad(as_dispatcher, mine)) == lacking(nomad)
    with pytest.raises(Denied):
        as_dispatcher.put_variable("elsewhere/x", {"a": "b"})

    as_page = NomadApi(mine.nomad, {"NOMAD_TOKEN": page})
    assert as_page.job(jobs[0].name) is not None
    assert list(as_page.variables(mine.nomad.ledger_prefix)) == []
    for forbidden in (
        lambda: as_page.dispatch(jobs[0].name),
        lambda: as_page.register(job),
        lambda: as_page.stop(jobs[0].name, purge=True),
        lambda: as_page.put_variable(f"{mine.nomad.ledger_prefix}/x", {"a": "b"}),
    ):
        with pytest.raises(Denied):
            forbidden()

    newer = rendered_jobs(made(nomad, ledger_prefix=mine.nomad.ledger_prefix, memory_mb=512))
    assert {c.name for c in drift(as_dispatcher, newer, policies)} == {job.name for job in newer}
    assert drift(as_dispatcher, jobs, policies) == ()
    api.put_acl_policy(policies[1].name, 'namespace "default" {}', description="edited")
    assert [c.name for c in drift(api, jobs, policies)] == [policies[1].name]


def token_with(nomad: Nomad, policy: str) -> str:
    answer = httpx.put(
        f"{nomad.addr}/v1/acl/token",
        headers={"X-Nomad-Token": nomad.token},
        json={"Name": policy, "Type": "client", "Policies": [policy], "ExpirationTTL": "1h"},
    )
    answer.raise_for_status()
    token: str = answer.json()["SecretID"]
    return token


def test_checks_say_what_is_missing(nomad: Nomad, api: NomadApi, mine: Settings) -> None:
    checks = {check.name: check for check in check_nomad(api, mine, [mounting(Mount.SSH)])}
    missing = checks[f"nomad: job {render.runner_name(mine.nomad, [Mount.SSH])}"]
    assert (missing.ok, missing.detail, missing.remedy) == (
        False,
        "not registered",
        "Run `disinto apply`.",
    )
    apply_nomad(api, plan_nomad(api, rendered_jobs(mine, [mounting(Mount.SSH)])))
    assert failing(check_nomad(api, mine, [mounting(Mount.SSH)])) == lacking(nomad)
    latest = made(nomad, image="disinto:latest")
    image = next(c for c in check_nomad(api, latest) if c.name == "nomad: image")
    assert not image.ok
    assert "a unique tag" in image.remedy
    denied = check_nomad(NomadApi(mine.nomad, {"NOMAD_TOKEN": ""}), mine)
    assert {c.name for c in denied if c.name.startswith("nomad: right") and c.ok} == set()


def test_checks_without_a_server_say_so_at_once() -> None:
    settings = settings_model().model_validate(
        {"nomad": {"addr": "http://127.0.0.1:9", "timeout_s": 2}}
    )
    checks = check_nomad(NomadApi(settings.nomad, {}), settings)
    assert [(c.name, c.ok) for c in checks] == [("nomad: reachable", False)]
    assert "NOMAD_ADDR" in checks[0].remedy


def test_which_node_offers_which_volume(api: NomadApi) -> None:
    found = offers(api)
    assert set(found) == set(Mount)
    assert len(found[Mount.SSH]) == 1


def test_a_contradiction_in_the_settings_is_told_before_anything_is_asked(nomad: Nomad) -> None:
    with pytest.raises(Misconfigured, match="disk_mb"):
        rendered_jobs(made(nomad, disk_mb=20))
