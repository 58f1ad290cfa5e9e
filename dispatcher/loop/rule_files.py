"""The files of the rules, as the settings name them, and whether a ``serve`` has loaded them."""

from __future__ import annotations

import errno
import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dispatcher.settings import Settings

MAX_RULES_BYTES = 1024 * 1024

POLICY = "[policy] file"
ALLOWED = "[signed] allowed_signers"
REVOKED = "[signed] revoked_keys"
KEYRING = "[signed] gpg_home"
SIDECARS = "[sidecars] file"
WEBHOOK = "[http] webhook_secret_file"


def watched(settings: Settings) -> dict[str, Path]:
    """The files whose digests an overview contains, by their setting."""
    named = {
        POLICY: settings.policy.file,
        SIDECARS: settings.sidecars.file,
        ALLOWED: settings.signed.allowed_signers,
        REVOKED: settings.signed.revoked_keys,
    }
    return {setting: path for setting, path in named.items() if path is not None}


def superseded(
    digests: Mapping[str, str], named: Mapping[str, Path], *, refused: Iterable[str] = ()
) -> list[str]:
    """Warnings about files that a ``serve`` with these digests in force has not loaded yet.

    Args:
        digests: see ``Overview.rules``.
        named: see ``watched``.
        refused: warnings of that ``serve``; a file that it refused is not named a second time.
    """
    warnings = []
    for setting, sha256 in digests.items():
        path = named.get(setting)
        if path is None or any(warning.startswith(f"{setting}: ") for warning in refused):
            continue
        try:
            now = digest(read_rules(path))
        except OSError as error:
            now = error.strerror or "unreadable"
        if now != sha256:
            warnings.append(
                f"'disinto serve' still applies an older version of {setting} {path} (SHA-256 "
                f"{sha256[:12]}…). It loads a correct file within 30 s, and at once on SIGHUP"
            )
    return warnings


def digest(data: bytes) -> str:
    """SHA-256, hex."""
    return hashlib.sha256(data).hexdigest()


def read_rules(path: Path) -> bytes:
    """The content of a file. Raises ``OSError``, also if it is larger than ``MAX_RULES_BYTES``."""
    with path.open("rb") as file:
        data = file.read(MAX_RULES_BYTES + 1)
    if len(data) > MAX_RULES_BYTES:
        raise OSError(errno.EFBIG, f"it has more than {MAX_RULES_BYTES:,} bytes", str(path))
    return data
