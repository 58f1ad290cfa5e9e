"""The dispatcher's own secrets, such as the token of the ops repo's remote."""

from __future__ import annotations

from dispatcher.errors import Misconfigured
from dispatcher.host.held_secrets import hold
from dispatcher.vault import names
from dispatcher.vault.session import Vault


def bot_token(vault: Vault, name: str) -> str:
    """Field ``value`` at ``<bots_prefix>/<name>``.

    Raises:
        Misconfigured: there is none of this name, or it is empty.
        Unavailable, Denied: as ``Vault.call``.
    """
    settings = vault.settings
    path = names.kv_path(settings, "data", names.bot_name(name), bots=True)
    reply = vault.call("GET", path, allow=(404,))
    value = (reply.data.get("data") or {}).get(names.VALUE_FIELD) if reply.ok else None
    if not isinstance(value, str) or not value.strip():
        raise Misconfigured(
            f"Vault has no text at {path}, field {names.VALUE_FIELD}",
            remedy=f"Write it with `disinto secrets put --bot {name}`.",
        )
    return hold(f"secret {name}", value.strip())
