"""Transports of remotes, and git's options for a remote that is a path.

A remote that is a path may belong to another user for reading. A push would run that owner's hooks
as our user; see ``ownership``.
"""

from __future__ import annotations

import os
import shlex
from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from urllib.parse import unquote, urlsplit

from dispatcher.errors import Denied, Dependency, Misconfigured
from dispatcher.ops_repo.ownership import foreign, repository
from dispatcher.ops_repo.records import escaped

_READER = "GIT_ALLOW_PROTOCOL=none GIT_NO_LAZY_FETCH=1 git -c safe.directory='*' upload-pack"
"""The command that reads a remote that is a path; run by a shell."""


class Transport(StrEnum):
    PATH = "path"
    SSH = "ssh"
    HTTP = "http"


def transport_of(remote: str) -> Transport:
    """How git would reach this remote.

    Raises:
        Misconfigured: empty, an unknown transport, or an address that contains a password.
    """
    if not remote:
        raise Misconfigured(
            "no ops repository is set", remedy="Set `remote` in [ops_repo] of disinto.toml."
        )
    if remote.startswith("-") or "::" in remote.split("/", 1)[0]:
        raise Misconfigured(
            f"[ops_repo] remote {remote!r} is not a valid address",
            remedy="Give a path, ssh:// or https:// address.",
        )
    if "://" not in remote:
        scp_like = ":" in remote.split("/", 1)[0]
        return Transport.SSH if scp_like else Transport.PATH
    url = urlsplit(remote)
    if url.scheme == "file":
        return Transport.PATH
    if url.scheme in ("ssh", "git+ssh", "ssh+git"):
        return Transport.SSH
    if url.scheme not in ("http", "https"):
        raise Misconfigured(
            f"[ops_repo] remote has the unknown transport {url.scheme!r}",
            remedy="Give a path, ssh:// or https:// address.",
        )
    if url.password is not None:
        raise Misconfigured(
            "[ops_repo] remote contains a password, which would be seen in the list of processes",
            remedy="Leave it out of the address, and name its variable in `token_env`.",
        )
    return Transport.HTTP


def path_options(remote: str, verb: str) -> tuple[str, ...]:
    """Options with which git serves a remote that is a path.

    One that belongs to another user may be read: the operator named it, and git would
    otherwise ask for a ``safe.directory`` in a file we do not read. Whatever its configuration, it
    may use no transport for that. It may not be pushed to.

    Args:
        remote: an absolute path, or a ``file://`` address.
        verb: the subcommand.

    Raises:
        Denied: a push would run commands of other users.
    """
    if verb != "push":
        return (f"--upload-pack={_READER}",)
    safe, _path = receive_pack(remote)
    # By `exec`, so that the shell that git runs it by is no process more.
    return (f"--receive-pack=exec git -c safe.directory={shlex.quote(safe)} receive-pack",)


def receive_pack(remote: str) -> tuple[str, str]:
    """The directory that git may take for safe, and the one to name to ``git receive-pack``, for a remote
    that is a path.

    Args:
        remote: an absolute path, or a ``file://`` address.

    Raises:
        Denied: a push would run commands of other users.
    """
    path = _path_of(remote)
    if found := foreign(path):
        raise Denied(
            Dependency.REMOTE,
            f"not pushing to {path}: {escaped(str(found.path))} {found.reason}, so hooks or "
            "configuration of others would run as this user",
            remedy=f"Give the repository to this user (chown -R {os.geteuid()}, chmod o-w), or "
            "reach it by ssh:// or https://.",
        )
    # Ours or root's, by our own account; git's would refuse root's.
    return str(repository(path) or path), str(path)


Version = tuple[tuple[int, ...], ...]
"""Which repository a path leads to, and which file configures it."""


def version(remote: str) -> Version:
    """What differs once another repository or configuration is at a remote that is a path; () if there is none.

    Args:
        remote: an absolute path, or a ``file://`` address.
    """
    folder = repository(_path_of(remote))
    parts: list[tuple[int, ...]] = []
    if folder is not None:
        with suppress(OSError):
            there = folder.stat()
            parts.append((there.st_dev, there.st_ino))
            config = (folder / "config").stat()
            parts.append((config.st_ino, config.st_size, config.st_mtime_ns))
    return tuple(parts)


def _path_of(remote: str) -> Path:
    url = remote.startswith("file://")
    return Path(unquote(remote.removeprefix("file://")) if url else remote)
