"""What is looked at when a story is over: live grants, and what is left in Nomad."""

from __future__ import annotations

from collections.abc import Collection

import hvac.exceptions

from dispatcher.devservers.scene import Scene
from dispatcher.engines.nomad.api import NomadApi
from tests.servers.bao import Bao

_actions: dict[tuple[str, str], dict[str, str]] = {}
"""By server, whose grant an accessor is; a session's server collects thousands, and none ever changes."""


def live_grants(
    server: Bao, action_ids: Collection[str], *, blobs: Collection[str] = ()
) -> list[str]:
    """Accessors of run tokens that Vault still honours.

    Args:
        blobs: if given, of these action files alone: other scenes may have the same ids.
    """
    client = server.client()
    alive = []
    actions = _actions.setdefault((server.addr, server.root_token), {})
    for accessor in client.list("auth/token/accessors")["data"]["keys"]:
        if actions.get(accessor, "") not in {"", *action_ids}:
            continue
        try:
            token = client.auth.token.lookup_accessor(accessor)["data"]
        except (hvac.exceptions.InvalidRequest, hvac.exceptions.Forbidden):
            continue  # it ended between the two questions, or before a restart that kept its accessor
        meta = token.get("meta") or {}
        actions[accessor] = meta.get("action_id") or "none"
        if meta.get("action_id") in action_ids and (not blobs or meta.get("blob") in blobs):
            alive.append(accessor)
    return alive


def operator_api(scene: Scene) -> NomadApi:
    """The scene's Nomad, with every right."""
    return NomadApi(scene.open_settings().nomad, scene.operator)


def children(scene: Scene) -> list[str]:
    """IDs of dispatched jobs of this scene that Nomad still knows."""
    api = operator_api(scene)
    try:
        listed = api.jobs(prefix=f"{scene.open_settings().nomad.ledger_prefix}-")
    finally:
        api.close()
    return [job["ID"] for job in listed if job["ParentID"]]


def variables(scene: Scene) -> set[str]:
    """Paths of the scene's variables, below its prefix."""
    prefix = f"{scene.open_settings().nomad.ledger_prefix}/"
    api = operator_api(scene)
    try:
        return {stub["Path"].removeprefix(prefix) for stub in api.variables(prefix)}
    finally:
        api.close()


RESTING_VARIABLES = frozenset({"claims/_ledger", "leader", "notes/lead", "notes/seen"})
"""What an idle dispatcher leaves: the ledger's mark, the notes of who leads and of what was
seen, and the free lock."""
