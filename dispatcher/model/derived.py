"""Derived secrets: an HMAC by a transit key over a run's own name, so that nothing is stored.

Imports only the standard library, because the runner loads it in every job.
"""

from __future__ import annotations

import base64
import re

from dispatcher.model.run import RunKey

DERIVED_FIELD = "hmac"
"""Field of Vault's answer that holds it: ``vault:v<version>:<base64>``."""

_HMAC = re.compile(r"vault:v([1-9][0-9]{0,8}):([A-Za-z0-9+/]{43}=)")


def derivation_input(key: RunKey) -> str:
    """What Vault makes the HMAC of, as the ``input`` of its request: base64 of id and blob.

    A blob is the hash of the action's bytes and an id is used once, so no two runs share an input.
    """
    return base64.b64encode(key.token.encode()).decode()


def split_hmac(value: str) -> tuple[int, bytes]:
    """The version of the key, and the 32 bytes of the HMAC (SHA-256).

    Raises:
        ValueError: it is not what Vault's transit engine answers. The text holds no part of it.
    """
    parsed = _HMAC.fullmatch(value)
    if parsed is None:
        raise ValueError(
            "this is not an HMAC of Vault's transit engine (vault:v<version>:<base64>)"
        )
    return int(parsed[1]), base64.b64decode(parsed[2])
