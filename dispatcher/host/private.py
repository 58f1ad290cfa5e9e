"""Keeping what is the dispatcher's own from other accounts of the machine.

The state directory holds claims with their outcome keys, accessors of grants, the signing key and
the whole ops repo. The process's umask is left as it is: a push to a remote by path, and what
formulas write into mounts, go by it as well.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

OTHERS = 0o077
"""The rights of everybody but the owner."""


def make_private(directory: Path) -> None:
    """Have a directory of our own: made if it is missing, else taken from others if it is ours.

    Raises:
        OSError: it cannot be made.
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    take_from_others(directory.resolve())


def take_from_others(path: Path) -> None:
    """Take the rights of all others away, if a file or directory is ours and ours alone.

    Left as they are: links; what is missing or somebody else's; the root, a home directory and
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
    """Whether an account other than its owner's has any right to a directory that exists."""
    try:
        return bool(directory.stat().st_mode & OTHERS)
    except OSError:
        return False


def _is_common(directory: Path, about: os.stat_result) -> bool:
    absolute = directory.absolute()
    is_home = absolute == Path(os.environ.get("HOME") or "/").absolute()
    return bool(about.st_mode & stat.S_ISVTX) or is_home or absolute == absolute.parent
