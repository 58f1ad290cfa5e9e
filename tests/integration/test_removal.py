"""``disinto apply --remove`` undoes what ``apply`` made, and touches nothing else."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from dispatcher.engines.nomad.removal import plan_removal
from dispatcher.errors import Conflict, Exit
from dispatcher.model.checks import Step
from dispatcher.settings import settings_model
from tests.servers.bao import Bao
from tests.servers.nomad import Nomad
from tests.support.cli_process import disinto


@pytest.fixture
def environ(tmp_path: Path, vault: Bao) -> dict[str, str]:
    config = tmp_path / "disinto.toml"
    config.write_text(
        f'[ops_repo]\nremote = "{tmp_path}/ops.git"\n[vault]\ninstallation = "leaving"\n'
        f'kv_mount = "{vault.kv_mount}"\n'
    )
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "DISINTO_CONFIG": str(config),
        "VAULT_ADDR": vault.addr,
        "VAULT_TOKEN": vault.root_token,
    }


def policies(vault: Bao) -> set[str]:
    return set(vault.client().sys.list_policies()["data"]["policies"])


@pytest.mark.needs("bao")
def test_in_vault_only_what_is_ours_goes(environ: dict[str, str], vault: Bao) -> None:
    before = policies(vault)
    applied = disinto("apply", "--yes", env=environ)
    assert applied.code == Exit.OK, applied
    assert disinto("secrets", "put", "KEPT", env=environ, stdin="value").code == Exit.OK
    client = vault.client()
    client.sys.create_or_update_policy("disinto.leaving.runner.foreign", 'path "a" {}')
    assert len(policies(vault) - before) > 3
    assert disinto("apply", "--remove", "--check", env=environ).code == Exit.FAILED
    assert disinto("apply", "--remove", env=environ).code == Exit.USAGE, "there is no terminal"
    removed = disinto("apply", "--remove", "--yes", env=environ)
    assert removed.code == Exit.OK, removed
    assert re.search(r"^\d+ removed$", removed.err, re.MULTILINE), removed.err
    assert "written" not in removed.err
    assert policies(vault) - before == {"disinto.leaving.runner.foreign"}
    roles = client.list("auth/token/roles") or {"data": {"keys": []}}
    assert not [role for role in roles["data"]["keys"] if "leaving" in role]
    kept = client.secrets.kv.v2.read_secret_version(
        path="disinto/runner/KEPT", mount_point=vault.kv_mount, raise_on_deleted_version=True
    )
    assert kept["data"]["data"]["value"] == "value"
    assert disinto("apply", "--remove", "--check", env=environ).code == Exit.OK, "nothing is left"
    client.sys.delete_policy("disinto.leaving.runner.foreign")


@pytest.mark.needs("bao")
def test_removing_goes_with_nothing_that_writes(environ: dict[str, str]) -> None:
    for option in ("--remove-stale", "--adopt", "--dispatcher"):
        assert disinto("apply", "--remove", option, env=environ).code == Exit.USAGE


@pytest.mark.needs("nomad", "bao")
def test_on_nomad_jobs_go_once_no_run_is_in_progress(environ: dict[str, str], nomad: Nomad) -> None:
    prefix = nomad.unique("leaving")
    environ = {
        **environ,
        **nomad.environ,
        "DISINTO_SCHEDULER": "nomad",
        "DISINTO_NOMAD__LEDGER_PREFIX": prefix,
        "DISINTO_NOMAD__DRIVER": "raw_exec",
    }
    settings = settings_model().model_validate(
        {"scheduler": "nomad", "nomad": {"ledger_prefix": prefix, "driver": "raw_exec"}}
    )
    applied = disinto("apply", "--yes", env=environ)
    assert applied.code == Exit.OK, applied
    api = nomad.api()
    try:
        api.put_variable(f"{prefix}/kept", {"a": "b"}, cas=0)
        plan = plan_removal(api, settings)
        assert {change.step for change in plan} == {Step.DELETE}
        names = {change.name for change in plan}
        assert any(name.startswith(f"{prefix}-runner") for name in names)

        class Busy:
            """The same Nomad, with a child that has not ended."""

            def __getattr__(self, name: str) -> object:
                return getattr(api, name)

            def jobs(self, *, prefix: str = "", meta: bool = False) -> list[dict[str, object]]:
                found = list(api.jobs(prefix=prefix, meta=meta))
                child = {"ID": f"{found[0]['ID']}/dispatch-a-1-b", "Status": "running"}
                return [*found, child]  # type: ignore[list-item]

        with pytest.raises(Conflict, match="1 run is in progress, "):
            plan_removal(Busy(), settings)  # type: ignore[arg-type]
        removed = disinto("apply", "--remove", "--yes", env=environ)
        assert removed.code == Exit.OK, removed
        assert api.jobs(prefix=prefix) == []
        assert plan_removal(api, settings) == ()
        assert [stub["Path"] for stub in api.variables(f"{prefix}/")] == [f"{prefix}/kept"]
        api.delete_variable(f"{prefix}/kept")
    finally:
        api.close()
