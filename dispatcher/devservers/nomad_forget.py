"""Removes what one installation left on a Nomad."""

from __future__ import annotations

import httpx

from dispatcher.devservers.nomad import DevAgent
from dispatcher.engines.nomad.api import NomadApi
from dispatcher.engines.nomad.render import acl_policies, runner_prefix
from dispatcher.engines.nomad.settings import NomadSettings, dispatcher_name, page_name


def forget(agent: DevAgent, nomad: NomadSettings) -> None:
    """Remove what one installation left: its jobs, variables, ACL policies and tokens.

    The installation is identified by ``[nomad] ledger_prefix``.
    """
    api = NomadApi(nomad, agent.environ)
    try:
        prefixes = (runner_prefix(nomad), dispatcher_name(nomad), page_name(nomad))
        for name in prefixes:
            for job in api.jobs(prefix=name):
                api.stop(job["ID"], purge=True)
        free_lead(agent, nomad)
        for stub in api.variables(f"{nomad.ledger_prefix}/"):
            api.delete_variable(stub["Path"])
        policies = [policy.name for policy in acl_policies(nomad)]
        for name in policies:
            _delete_tokens(agent, name)
            if api.acl_policy(name) is not None:
                api.delete_acl_policy(name)
    finally:
        api.close()


def free_lead(agent: DevAgent, nomad: NomadSettings) -> None:
    """Release the lead held by another process, as its expiry does if the holder is dead."""
    headers = {"X-Nomad-Token": agent.token}
    path = f"/var/{nomad.ledger_prefix}/leader"
    with httpx.Client(base_url=f"{agent.addr}/v1", headers=headers, trust_env=False) as client:
        answer = client.get(path, params={"namespace": nomad.namespace})
        lock = answer.json().get("Lock") if answer.status_code == httpx.codes.OK else None
        if lock:
            client.put(
                path,
                params={"namespace": nomad.namespace, "lock-release": ""},
                json={"Lock": {"ID": lock["ID"]}},
            ).raise_for_status()


def _delete_tokens(agent: DevAgent, name: str) -> None:
    headers = {"X-Nomad-Token": agent.token}
    with httpx.Client(base_url=f"{agent.addr}/v1", headers=headers, trust_env=False) as client:
        for token in client.get("/acl/tokens").raise_for_status().json():
            if token["Name"] == name:
                client.delete(f"/acl/token/{token['AccessorID']}").raise_for_status()
