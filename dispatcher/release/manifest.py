"""What an installation made on this system, so that uninstalling removes exactly that.

It is written before anything is made: what is in it may be missing, and nothing that is missing in it
was made.
"""

from __future__ import annotations

import hashlib
from contextlib import suppress
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from dispatcher.release.system import System, SystemFailed

DIRECTORY = Path("/var/lib/disinto-release")
_VERSION = 1


class Manifest(BaseModel):
    """The record of one application.

    Attributes:
        app: its name.
        account: the deploy user.
        created_account: whether an installation created that user.
        files: digests of the text of each file, by path; several while one is being replaced.
        directories: those that were created, in this order.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: int = _VERSION
    app: str
    account: str
    created_account: bool = False
    files: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    directories: tuple[str, ...] = ()


def digest(text: str) -> str:
    """As a manifest has it."""
    return hashlib.sha256(text.encode()).hexdigest()


def path(app: str) -> Path:
    """Where the manifest of an application is."""
    return DIRECTORY / f"{app}.json"


def read(system: System, app: str) -> Manifest | None:
    """The manifest of an application, or None if it is not installed.

    Raises:
        SystemFailed: it cannot be read.
    """
    text = system.read(path(app))
    if text is None:
        return None
    try:
        return Manifest.model_validate_json(text)
    except ValidationError:
        raise SystemFailed(
            f"{path(app)} is damaged",
            remedy="Move it away: install then takes over what is as it would make it.",
        ) from None


def others(system: System, app: str) -> list[Manifest]:
    """The manifests of the other applications.

    Raises:
        SystemFailed: one cannot be read.
    """
    names = sorted(each.stem for each in system.at(DIRECTORY).glob("*.json"))
    found = [read(system, name) for name in names if name != app]
    return [each for each in found if each is not None]


def write(system: System, manifest: Manifest) -> None:
    """Record it durably."""
    system.at(DIRECTORY).mkdir(mode=0o700, parents=True, exist_ok=True)
    system.write(path(manifest.app), manifest.model_dump_json(indent=2) + "\n", 0o600)


def forget(system: System, app: str) -> None:
    """Remove the manifest of an application, and the directory with the last one."""
    system.remove(path(app))
    with suppress(OSError):
        system.at(DIRECTORY).rmdir()
