"""The digest of all that decides what the settings are, and whether two processes share it.

Apart from ``dispatcher.settings_origin``, which makes the record, because a command that ``serve``
answers for needs only this. So it imports little.
"""

from __future__ import annotations

import json
import os

from dispatcher import __version__
from dispatcher.settings_file import CONFIG_VARIABLE, ENV_PREFIX

TYPE_CHECKING = False  # ``typing`` takes long to load
if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from typing import Any


def is_same(origin: Mapping[str, Any], file: str | None, environ: Mapping[str, str]) -> bool:
    """Whether this file and this environment make the settings of this origin, without reading what
    they mean.

    Args:
        origin: an ``Origin`` as plain data.

    Raises:
        OSError: the file cannot be read.
        KeyError, TypeError: the data is something else.
    """
    present = variables(environ, origin["customary"])
    used = [name for name in present if name not in origin["others"]]
    return used == list(origin["variables"]) and digest(file, environ, used) == origin["digest"]


def variables(environ: Mapping[str, str], customary: Collection[str]) -> tuple[str, ...]:
    """Names of the variables that may set a key, or be misspelt for one that does.

    Args:
        customary: names of variables of other programs that set a key.
    """
    return tuple(
        name
        for name in sorted(environ)
        if (name.startswith(ENV_PREFIX) and name != CONFIG_VARIABLE)
        or (name in customary and environ[name])
    )


def digest(file: str | None, environ: Mapping[str, str], used: Collection[str]) -> str:
    """SHA-256 (hex) of this program's version, the file, and these variables.

    Raises:
        OSError: the file cannot be read.
    """
    from hashlib import sha256

    place = os.path.realpath(file) if file else None
    values = {name: environ[name] for name in used}
    relative = any(
        not value.startswith("/") and not name.endswith(_NO_PATHS) for name, value in values.items()
    )
    here = os.getcwd() if relative or file is None else None
    parts = json.dumps([__version__, place, here, environ.get("HOME"), values], sort_keys=True)
    content = b""
    if file:
        with open(file, "rb") as opened:
            content = opened.read()
    return sha256(parts.encode() + b"\0" + content).hexdigest()


_NO_PATHS = ("_ADDR", "_NAMESPACE", "_REGION", "_SERVER_NAME")
"""Endings of variables that hold no path. Any other may hold one, relative to the current directory."""
