"""The signing key of results in Vault's transit engine, which never leaves it."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

from dispatcher.errors import Misconfigured
from dispatcher.settings import Settings
from dispatcher.vault import names
from dispatcher.vault.session import Vault


class TransitKey:
    """The ed25519 key of ``[attestation] transit_key``. Thread-safe.

    Every method raises ``Unavailable``, ``Denied`` and ``Rejected`` as ``Vault.call``, and
    ``Misconfigured`` if no key is configured.
    """

    def __init__(self, vault: Vault, settings: Settings) -> None:
        self._vault = vault
        self._settings = settings

    def transit_sign(self, data: bytes) -> tuple[int, bytes]:
        """Sign.

        Returns:
            The version of the key, and the 64 bytes of the signature over ``data``.
        """
        body = {"input": base64.b64encode(data).decode()}
        reply = self._vault.call("POST", self._path("sign"), body)
        _, version, signature = str(reply.data["signature"]).split(":", 2)
        return int(version.removeprefix("v")), base64.b64decode(signature)

    def transit_public_keys(self) -> Mapping[int, bytes]:
        """Every version of the key: version to the 32 bytes of the ed25519 public key.

        Raises:
            Misconfigured: the key is of another type.
        """
        reply = self._vault.call("GET", self._path("keys"))
        if reply.data.get("type") != "ed25519":
            raise Misconfigured(
                f"the transit key {self._settings.attestation.transit_key} is of type "
                f"{reply.data.get('type')}, not ed25519"
            )
        keys: Mapping[str, Mapping[str, Any]] = reply.data["keys"]
        return {int(v): base64.b64decode(key["public_key"]) for v, key in keys.items()}

    def _path(self, part: str) -> str:
        key = self._settings.attestation.transit_key
        if not key:
            raise Misconfigured(
                "no transit key is configured", remedy="Set [attestation] transit_key."
            )
        mount = names.safe_path(self._settings.vault.transit_mount, key="transit_mount")
        return f"{mount}/{part}/{names.safe_path(key, key='transit_key')}"
