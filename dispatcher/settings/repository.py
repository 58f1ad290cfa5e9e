"""The name of the ops repository in approvals."""

from __future__ import annotations

from urllib.parse import urlsplit

from dispatcher.settings.models import Settings


def repository_name(settings: Settings) -> str:
    """``[gate] repository``, or the default that the remote's address gives."""
    return settings.gate.repository or name_from_remote(settings.ops_repo.remote)


def name_from_remote(remote: str) -> str:
    """The last two components of a remote's path, without ``.git``: ``acme/ops``.

    Args:
        remote: a path, an ``ssh://`` or ``https://`` address, or ``host:path``.
    """
    if "://" in remote:
        path = urlsplit(remote).path
    elif ":" in remote and "/" not in remote.partition(":")[0]:
        path = remote.partition(":")[2]
    else:
        path = remote
    parts = [part for part in path.split("/") if part]
    if parts and parts[-1] == ".git":
        parts.pop()
    return "/".join(parts[-2:]).removesuffix(".git")
