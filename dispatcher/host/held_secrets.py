"""Secrets that this process has read for itself, in memory, so that no text that leaves the machine
contains one.

What reads a credential hands it in here; nothing takes one from here to use it.
"""

from __future__ import annotations

import threading

_KEPT = 100
"""Values; those handed in longest ago are forgotten beyond it. A token that was replaced may still be
valid for a while."""

_lock = threading.Lock()
_names: dict[str, str] = {}  # by value, the latest last


def hold(name: str, secret: str) -> str:
    """Hand in a secret; returns it.

    Args:
        name: what it is; may be shown.
        secret: the value; "" is ignored.
    """
    with _lock:
        _names.pop(secret, None)
        if secret:
            _names[secret] = name
        while len(_names) > _KEPT:
            del _names[next(iter(_names))]
    return secret


def held_secrets() -> list[tuple[str, str]]:
    """Names and values."""
    with _lock:
        return [(name, secret) for secret, name in _names.items()]
