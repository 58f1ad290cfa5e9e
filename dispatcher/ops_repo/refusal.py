"""Errors for a remote that rejects our credentials, with their remedies."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from dispatcher.errors import Denied, Dependency
from dispatcher.settings import OpsRepoSettings

LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
"""Hosts to which a token is sent without TLS."""

_PROMPT = re.compile(r"could not read (Username|Password)|terminal prompts disabled")

SCOPE = "with the scope write:repository on Forgejo and Gitea"


def carries_token(remote: str) -> bool:
    """Whether a token is sent to this http:// or https:// address."""
    url = urlsplit(remote)
    return url.scheme == "https" or url.hostname in LOOPBACK


def refused_http(settings: OpsRepoSettings, where: str, message: str, *, token: bool) -> Denied:
    """The error for a remote over HTTP.

    Args:
        settings: of the ops repo.
        where: the remote, without credentials.
        message: git's message, without credentials.
        token: whether there is a token.
    """
    source = _source(settings)
    if not carries_token(settings.remote):
        return Denied(
            Dependency.REMOTE,
            f"the ops repository {where} requires credentials, and none are sent over plain http",
            remedy="Use an https:// address in [ops_repo] remote.",
        )
    if token:
        # git prompts for a password if a server answers 401; that does not help the reader.
        why = "the token was rejected" if _PROMPT.search(message) else message
        return Denied(
            Dependency.REMOTE,
            f"the ops repository {where} denied access: {why}",
            remedy=f"Check the token in {source or 'use'}: it must be valid, {SCOPE}, and its "
            "account must be able to read and write the repository.",
        )
    if not source:
        return Denied(
            Dependency.REMOTE,
            f"the ops repository {where} requires credentials, but no token is configured",
            remedy="Name the environment variable that holds one in [ops_repo] token_env, such as "
            f"DISINTO_FORGE_TOKEN, or set token_secret; the token must be one {SCOPE}.",
        )
    return Denied(
        Dependency.REMOTE,
        f"the ops repository {where} requires credentials, but there is no token in {source}",
        remedy=f"Set it to a token {SCOPE}.",
    )


def refused(where: str, message: str) -> Denied:
    """The error for a remote over SSH, or on this machine."""
    return Denied(
        Dependency.REMOTE,
        f"the ops repository {where} denied access: {message}",
        remedy="Check the ssh key or the files' owner, and that it can read and write the "
        "repository.",
    )


def _source(settings: OpsRepoSettings) -> str:
    """The source of the token; "" if the settings name none."""
    named = []
    if settings.token_env:
        named.append(f"the environment variable {settings.token_env} ([ops_repo] token_env)")
    if settings.token_secret:
        named.append(f"the secret {settings.token_secret} ([ops_repo] token_secret)")
    return " or ".join(named)
