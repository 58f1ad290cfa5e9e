"""Makes the dispatcher's own files private to its account.

The state directory contains claims with their outcome keys, accessors of grants, the signing key and
the whole ops repo. The process's umask is not changed, because it also applies to a push to a remote
by path, and to what formulas write into mounts.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

OTHERS = 0o077
"""The permission bits of everybody but the owner."""


def make_private(directory: Path) -> None:
    """Create a private directory, or make an existing one private if it is ours.

    Raises:
        OSError: it cannot be created.
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    take_from_others(directory.resolve())


def take_from_others(path: Path) -> None:
    """Remove the permissions of all others from a file or directory that is ours.

    Not changed are links, missing files and those of other owners; and the root, a home directory and
    directories such as ``/tmp`` (sticky), which a wrong setting must not close to everybody.
    """
    try:
        about = path.lstat()
    except OSError:
        return
    owned = about.st_uid == os.geteuid() and (
        stat.S_ISREG(about.st_mode) or (stat.S_ISDIR(about.st_mode) and not _is_common(path, about))
    )
    if owned and about.st_mode & OTHERS:
        path.chmod(stat.S_IMODE(about.st_mode) & ~OTHERS)


def open_to_others(directory: Path) -> bool:
    """Whether any account but the owner's has permissions on an existing directory."""
    try:
        return bool(directory.stat().st_mode & OTHERS)
    except OSError:
        return False


def _is_common(directory: Path, about: os.stat_result) -> bool:
    absolute = directory.absolute()
    is_home = absolute == Path(os.environ.get("HOME") or "/").absolute()
    return bool(about.st_mode & stat.S_ISVTX) or is_home or absolute == absolute.parent
