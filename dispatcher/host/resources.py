"""The text files that ship with the program: jobspecs, policies, roles, example actions.

In a checkout (also an editable install) they are the top-level directories ``jobs``, ``vault`` and
``actions``; in a wheel the build puts the same directories below ``dispatcher/_files``. Names are
relative to either, with forward slashes: ``resources.text("vault/policies/runner.hcl.j2")``.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

from dispatcher.errors import Misconfigured

FOLDERS = ("jobs", "vault", "actions")
"""The directories that are shipped; ``pyproject.toml`` lists them under ``force-include``."""

_PACKAGE = Path(__file__).resolve().parents[1]


@cache
def root() -> Path:
    """The directory that contains ``FOLDERS``."""
    shipped = _PACKAGE / "_files"
    return shipped if shipped.is_dir() else _PACKAGE.parent


def path(name: str) -> Path:
    """Path of a shipped file or directory, such as ``jobs/runner.nomad.hcl.j2``.

    Raises:
        Misconfigured: it does not exist, or the name leads out of the shipped directories.
    """
    parts = Path(name).parts
    if not parts or parts[0] not in FOLDERS or ".." in parts:
        raise Misconfigured(f"{name!r} is not a name below {', '.join(FOLDERS)}")
    file = root() / name
    if not file.exists():
        raise Misconfigured(
            f"the file {name} is missing from this installation",
            remedy="Install the package again: its data files belong to it.",
        )
    return file


def text(name: str) -> str:
    """The text of a shipped file, UTF-8.

    Raises:
        Misconfigured: there is none of this name.
    """
    return path(name).read_text(encoding="utf-8")


def names(folder: str) -> tuple[str, ...]:
    """Names of the files directly in a shipped directory, sorted, each valid for ``text``.

    Raises:
        Misconfigured: there is no such directory.
    """
    directory = path(folder)
    return tuple(
        sorted(f"{folder}/{entry.name}" for entry in directory.iterdir() if entry.is_file())
    )
