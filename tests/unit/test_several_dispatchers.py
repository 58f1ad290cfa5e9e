"""Several dispatchers, each with an ops repo of its own, on one Vault and one Nomad: no name of one is a
name of another, nor within its patterns, if their names differ as docs/scale.md says.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import permutations

from dispatcher.engines.nomad.render import acl_policies, parent_name
from dispatcher.engines.nomad.settings import NomadSettings, dispatcher_name, page_name
from dispatcher.model.job_class import RUNNER, JobVariant
from dispatcher.model.mounts import Mount
from dispatcher.settings import Settings, settings_model
from dispatcher.vault import names

CLASSES = {"dispatcher": {}, "page": {}, "runner-x": {}}
"""Classes of jobs with awkward names."""


def installed(name: str) -> Settings:
    return settings_model().model_validate(
        {
            "scheduler": "nomad",
            "ops_repo": {"remote": f"https://git.example/{name}.git"},
            "vault": {"installation": name, "kv_prefix": f"{name}/runner"},
            "nomad": {"ledger_prefix": name, "image": "disinto:test"},
            "jobs": CLASSES,
        }
    )


def in_vault(settings: Settings) -> Iterator[str]:
    """Names and beginnings of names."""
    vault = settings.vault
    yield names.dispatcher_policy(vault)
    yield names.runner_prefix(vault)
    yield names.derive_prefix(vault)
    yield names.token_role(vault)
    yield names.page_policy(vault)
    yield names.approle_role(vault)
    yield names.kv_path(vault, "data") + "/"


def in_nomad(settings: Settings) -> Iterator[str]:
    nomad = settings.section(NomadSettings)
    for job_class in (RUNNER, *CLASSES):
        for mounts in (frozenset[Mount](), frozenset({Mount.SSH})):
            yield parent_name(settings, JobVariant(job_class=job_class, mounts=mounts))
    yield dispatcher_name(nomad)
    yield page_name(nomad)
    yield from (policy.name for policy in acl_policies(nomad))


def variables(settings: Settings) -> Iterator[str]:
    """Beginnings of paths of the ledger's variables."""
    yield f"{settings.section(NomadSettings).ledger_prefix}/"


def test_no_two_dispatchers_share_a_name() -> None:
    """One name begins with another, and some are words that names of jobs and policies have as well."""
    settings = [installed(name) for name in ("ops", "ops2", "runner", "page", "dispatcher")]
    for place in (in_vault, variables):
        for theirs, ours in permutations([tuple(place(each)) for each in settings], 2):
            assert not [name for name in ours if name.startswith(theirs)]
    for one, other in permutations([{*in_nomad(each)} for each in settings], 2):
        assert not one & other
