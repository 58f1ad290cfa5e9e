"""Ends of ids that nobody can guess before they are in git, so that nobody can take one first. Pure."""

from __future__ import annotations

import base64
import hashlib
import hmac

CODE_CHARACTERS = 9
"""Of an id, 5 bits each."""

CODE_PATTERN = f"[a-z2-7]{{{CODE_CHARACTERS}}}"


def id_code(secret: bytes, about: str) -> str:
    """The end of the id of an action: always the same for the same occasion.

    Args:
        secret: known to the dispatcher alone, and the same after every restart.
        about: names the occasion; unlike any other that the secret is used for.
    """
    code = hmac.digest(secret, about.encode(), hashlib.sha256)
    return base64.b32encode(code)[:CODE_CHARACTERS].decode().lower()
