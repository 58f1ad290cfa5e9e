"""Rendered text: pure checks here, the real parser in ``integration/test_nomad_apply``."""

from __future__ import annotations

import json
import re
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.engines.nomad import render
from dispatcher.errors import Misconfigured
from dispatcher.model.mounts import Mount
from dispatcher.settings import Settings, settings_model
from dispatcher.settings.checks import contradictions


def settings(**nomad: Any) -> Settings:
    return settings_model().model_validate({"nomad": nomad})


def test_the_order_of_mounts_does_not_matter() -> None:
    nomad = settings().nomad
    assert render.runner_name(nomad, ()) == "disinto-runner"
    assert render.runner_name(nomad, [Mount.GPG, Mount.SSH]) == "disinto-runner-ssh-gpg"
    assert render.runner_name(nomad, [Mount.SSH, Mount.GPG, Mount.SSH]) == "disinto-runner-ssh-gpg"
    one = render.runner_job(settings(), [Mount.GPG, Mount.SSH])
    assert one == render.runner_job(settings(), [Mount.SSH, Mount.GPG])


def test_two_installations_on_one_cluster_have_names_of_their_own() -> None:
    own = settings(ledger_prefix="team-a").nomad
    assert render.runner_name(own, ()) == "team-a-runner"
    other = settings(ledger_prefix="team/a", job_prefix="team-a2").nomad
    assert render.runner_name(other, ()) == "team-a2-runner"
    assert render.dispatcher_name(other) == "team-a2-dispatcher"
    names = [{policy.name for policy in render.acl_policies(each)} for each in (own, other)]
    assert not names[0] & names[1]


@pytest.mark.parametrize("prefix", ["team/a", "team_a", "team~a", "-team-a", "team-a-"])
def test_a_prefix_that_names_cannot_begin_with_needs_one_for_names(prefix: str) -> None:
    """What would be made of it is what another installation's prefix may be."""

    def wrong(scheduler: str = "nomad", **nomad: str) -> list[str]:
        table = {"scheduler": scheduler, "nomad": {"ledger_prefix": prefix, **nomad}}
        made = settings_model().model_validate(table)
        found = [each for each in contradictions(made) if each.path == ("nomad", "job_prefix")]
        return [each.remedy for each in found]

    (remedy,) = wrong()
    assert remedy.endswith('job_prefix = "team-a" keeps the names that earlier releases gave')
    assert wrong(job_prefix="team-a") == wrong(scheduler="local") == []
    assert render.runner_name(settings(ledger_prefix=prefix, job_prefix="team-a").nomad, ()) == (
        "team-a-runner"
    )


def test_what_holds_keys_is_read_only_twice() -> None:
    text = render.runner_job(settings(), [Mount.SSH, Mount.AGENT_DATA]).hcl
    blocks = re.findall(r"volume(?:_mount)? .*?\{(.*?)\}", text, re.DOTALL)
    assert [("ssh" in b, "read_only = true" in b or "read_only   = true" in b) for b in blocks] == [
        (True, True),
        (False, False),
        (True, True),
        (False, False),
    ]


def test_a_run_starts_once() -> None:
    text = render.runner_job(settings()).hcl
    assert re.search(r'restart \{\s+attempts = 0\s+mode     = "fail"', text)
    assert re.search(r"reschedule \{\s+attempts  = 0\s+unlimited = false", text)
    assert re.search(r'disconnect \{\s+lost_after = "86400s"\s+replace    = false', text)


def test_a_container_has_no_privileges() -> None:
    text = render.runner_job(settings()).hcl
    assert "privileged   = false" in text
    assert 'cap_drop     = ["all"]' in text
    assert 'security_opt = ["no-new-privileges"]' in text


def test_raw_exec_takes_no_mounts() -> None:
    with pytest.raises(Misconfigured, match="raw_exec has no host volumes"):
        render.runner_job(settings(driver="raw_exec"), [Mount.SSH])
    assert "image" not in render.runner_job(settings(driver="raw_exec")).hcl


def test_logs_must_fit_the_disk() -> None:
    with pytest.raises(Misconfigured, match=r"disk_mb = 50 is too small.*take 60 MiB"):
        render.runner_job(settings(disk_mb=50))


def test_the_digest_follows_the_text() -> None:
    one, same = render.runner_job(settings()), render.runner_job(settings())
    other = render.runner_job(settings(cpu_mhz=300))
    assert one.spec == same.spec != other.spec
    assert f'disinto_spec = "{one.spec}"' in one.hcl


def test_an_address_with_a_password_is_no_link() -> None:
    secret = settings_model().model_validate(
        {"ops_repo": {"remote": "https://bot:hunter2@git.example/o/r.git"}}
    )
    assert "hunter2" not in render.runner_job(secret).hcl
    plain = settings_model().model_validate({"ops_repo": {"remote": "https://git.example/o/r.git"}})
    assert '"https://git.example/o/r.git"' in render.runner_job(plain).hcl
    local = settings_model().model_validate({"ops_repo": {"remote": "/srv/ops.git"}})
    assert "link {" not in render.runner_job(local).hcl


def test_the_dispatchers_job_stores_no_token() -> None:
    text = render.dispatcher_job(settings(), config_files={"disinto.toml": "x = 1\n"}).hcl
    assert 'aud  = ["vault.io"]' in text
    assert "nomad_vault.jwt" in text
    assert not re.search(r"(NOMAD|VAULT)_TOKEN\b", text)


def test_the_pages_job_logs_in_by_its_own_role_and_stores_no_token() -> None:
    text = render.page_job(settings(), config_files={"disinto.toml": "x = 1\n"}).hcl
    assert 'DISINTO_VAULT__JWT_ROLE   = "disinto.default.page"' in text
    assert not re.search(r"(NOMAD|VAULT)_TOKEN\b", text)
    with pytest.raises(Misconfigured, match=r"web page's job needs disinto\.toml"):
        render.page_job(settings(), config_files={})


def test_the_page_may_only_look() -> None:
    (page,) = [each for each in render.acl_policies(settings().nomad) if each.job == "disinto-page"]
    rights = set(re.findall(r'"([a-z-]+)"', page.rules)) - {"default"}
    assert rights == {"list-jobs", "read-job", "read-fs", "read-logs", "read", "list"}


def test_files_of_the_dispatcher_are_taken_as_they_are() -> None:
    awkward = 'a = "<<disinto {{ x }} ${y} disinto>>"\n'
    text = render.dispatcher_job(settings(), config_files={"disinto.toml": awkward}).hcl
    assert '"<<disinto-"' in text
    assert render.hcl(awkward) in text
    for bad in ("../x", "a/b", ".x", ""):
        with pytest.raises(Misconfigured, match="not the name of a file"):
            render.dispatcher_job(settings(), config_files={"disinto.toml": "", bad: ""})
    with pytest.raises(Misconfigured, match=r"needs disinto\.toml"):
        render.dispatcher_job(settings(), config_files={})


def test_the_dispatcher_may_not_register_or_open_a_shell() -> None:
    by_name = {policy.name: policy for policy in render.acl_policies(settings().nomad)}
    dispatcher, operator = by_name["disinto-dispatcher"], by_name["disinto-operator"]
    for right in (
        "submit-job",
        "register-job",
        "alloc-exec",
        "alloc-lifecycle",
        'policy = "write"',
    ):
        assert f'"{right}"' not in dispatcher.rules
    assert 'path "disinto/*"' in dispatcher.rules
    assert dispatcher.job == "disinto-dispatcher"
    assert "dispatch-job" not in operator.rules
    assert operator.job == ""


def test_the_client_configuration_offers_every_mount() -> None:
    text = render.client_config(settings().nomad, base="/data")
    for mount in Mount:
        assert f'host_volume "{mount.value}" {{\n    path      = "/data/{mount.value}"' in text


@given(st.text())
def test_any_text_stays_one_string(text: str) -> None:
    rendered = render.hcl(text)
    assert "\n" not in rendered
    assert "${" not in rendered
    assert "%{" not in rendered
    assert json.loads(rendered) == text


def test_values_of_other_types() -> None:
    assert render.hcl(True) == "true"
    assert render.hcl(7) == "7"
    assert render.hcl(("a", 'b"')) == '["a", "b\\""]'
    with pytest.raises(TypeError):
        render.hcl(1.5)


def test_raw_exec_starts_the_runner_by_this_interpreter() -> None:
    """``python3`` on a node's PATH is seldom the one that disinto was installed for."""
    assert render.runner_command(settings(driver="raw_exec").nomad)[0] == sys.executable
    assert render.runner_command(settings().nomad) == ("python3", "-m", "dispatcher.runner")
    own = settings(driver="raw_exec", runner_command=["/opt/run"]).nomad
    assert render.runner_command(own) == ("/opt/run",)
    assert sys.executable in render.runner_job(settings(driver="raw_exec")).hcl
