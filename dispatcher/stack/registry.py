"""Asks a registry whether an image can be pulled without a login.

Its answers are not trusted, and bounded in size and in time: all requests together have one deadline.
"""

from __future__ import annotations

import json
import re
import ssl
from typing import NamedTuple
from urllib.parse import urlsplit

import httpx

from dispatcher.errors import reason_of
from dispatcher.host.deadline import PARTS, Deadline, deadline

TIMEOUT_S = 15.0
"""Seconds for each step of a request."""

TOTAL_S = PARTS * TIMEOUT_S
"""Seconds for all requests about one image."""

IMAGE = re.compile(
    r"(?:(?P<host>[A-Za-z0-9.-]+(?::[0-9]{1,5})?)/)?"
    r"(?P<path>[a-z0-9]+(?:[._/-]+[a-z0-9]+)*)"
    r"(?::(?P<tag>[A-Za-z0-9_][A-Za-z0-9._-]{0,127}))?(?:@(?P<digest>sha256:[0-9a-f]{64}))?",
    re.ASCII,
)

_HUB = "registry-1.docker.io"
_MANIFESTS = ", ".join(
    (
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
        "application/vnd.docker.distribution.manifest.v2+json",
    )
)
_PART = re.compile(r'(\w+)="([^"]*)"', re.ASCII)
_LIMIT = 256 * 1024


def why_unavailable(
    image: str, *, total_s: float = TOTAL_S, trusted: ssl.SSLContext | None = None
) -> str:
    """Why an image cannot be pulled, or that this could not be found out; "" if it can.

    Args:
        total_s: see ``TOTAL_S``.
        trusted: TLS with other certificates than the usual ones.
    """
    match = IMAGE.fullmatch(image)
    if match is None:
        return "its name cannot be read"
    with deadline(total_s) as limit:
        try:
            status = _status(_manifest_url(match), limit, trusted)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            late = limit.over or isinstance(error, httpx.TimeoutException)
            why = "no answer in time" if late else reason_of(error)
            return f"its registry cannot be asked: {why}"
    if status == 200:
        return ""
    if status in (401, 403):
        return "its registry wants a login"
    return "its registry does not have it" if status == 404 else f"its registry answers {status}"


class _Answer(NamedTuple):
    status: int
    headers: httpx.Headers
    text: bytes


def _status(url: str, limit: Deadline, trusted: ssl.SSLContext | None) -> int:
    """How the registry answers, perhaps to an anonymous token."""
    with httpx.Client(
        verify=True if trusted is None else trusted,
        timeout=TIMEOUT_S,
        follow_redirects=False,
        trust_env=False,
        # The deadline watches connections that are opened; so none is used again.
        limits=httpx.Limits(max_keepalive_connections=0),
    ) as client:
        headers = {"Accept": _MANIFESTS}
        answer = _exchange(client, limit, "HEAD", url, headers)
        if answer.status != 401:
            return answer.status
        realm = _realm(answer.headers.get("www-authenticate", ""))
        token = _token(_exchange(client, limit, "GET", realm, {})) if realm is not None else ""
        if not token:
            return answer.status
        headers["Authorization"] = f"Bearer {token}"
        return _exchange(client, limit, "HEAD", url, headers).status


def _exchange(
    client: httpx.Client,
    limit: Deadline,
    method: str,
    url: httpx.URL | str,
    headers: dict[str, str],
) -> _Answer:
    """One request; of the answer no more than ``_LIMIT`` bytes.

    Raises:
        httpx.HTTPError: it failed, or it is too late.
    """
    trace = {"trace": limit.trace}
    with client.stream(method, url, headers=headers, extensions=trace) as answer:
        text = b""
        for part in answer.iter_bytes():
            text += part
            if len(text) > _LIMIT:
                break
        if limit.over:  # an answer without a length ends with its connection
            raise httpx.ReadTimeout("too late")
        return _Answer(answer.status_code, answer.headers, text[: _LIMIT + 1])


def _manifest_url(match: re.Match[str]) -> str:
    host, path = match["host"] or "", match["path"]
    if host and "." not in host and ":" not in host and host != "localhost":
        host, path = "", f"{host}/{path}"  # an account at Docker Hub
    if host in ("", "docker.io", "index.docker.io"):
        host, path = _HUB, path if "/" in path else f"library/{path}"
    local = host.partition(":")[0] in ("localhost", "127.0.0.1")
    reference = match["digest"] or match["tag"] or "latest"
    return f"{'http' if local else 'https'}://{host}/v2/{path}/manifests/{reference}"


def _realm(challenge: str) -> httpx.URL | None:
    """Where the registry says that there are anonymous tokens; None without TLS.

    Raises:
        httpx.InvalidURL: it is no address.
    """
    parts = dict(_PART.findall(challenge[:2000]))
    realm = parts.pop("realm", "")
    try:
        secure = urlsplit(realm).scheme == "https"
    except ValueError:
        secure = False
    query = {name: parts[name] for name in ("service", "scope") if name in parts}
    return httpx.URL(realm).copy_merge_params(query) if secure else None


def _token(answer: _Answer) -> str:
    """The token in an answer; "" for none."""
    if answer.status != 200 or len(answer.text) > _LIMIT:
        return ""
    try:
        value = json.loads(answer.text)
    except (ValueError, RecursionError):
        return ""
    token = value.get("token") or value.get("access_token") if isinstance(value, dict) else ""
    return token if isinstance(token, str) and token.isascii() and token.isprintable() else ""
