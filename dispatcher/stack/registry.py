"""Asks a registry whether an image can be pulled without a login. Its answers are bounded, and not trusted."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

import httpx

from dispatcher.errors import reason_of

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


def why_unavailable(image: str) -> str:
    """Why an image cannot be pulled, or that this could not be found out; "" if it can."""
    match = IMAGE.fullmatch(image)
    if match is None:
        return "its name cannot be read"
    url = _manifest_url(match)
    try:
        with httpx.Client(timeout=15.0, follow_redirects=False, trust_env=False) as client:
            headers = {"Accept": _MANIFESTS}
            answer = client.head(url, headers=headers)
            if answer.status_code == 401:
                token = _token(client, answer.headers.get("www-authenticate", ""))
                if token:
                    headers["Authorization"] = f"Bearer {token}"
                    answer = client.head(url, headers=headers)
    except httpx.HTTPError as error:
        return f"its registry cannot be asked: {reason_of(error)}"
    if answer.status_code == 200:
        return ""
    if answer.status_code in (401, 403):
        return "its registry wants a login"
    return (
        "its registry does not have it"
        if answer.status_code == 404
        else f"its registry answers {answer.status_code}"
    )


def _manifest_url(match: re.Match[str]) -> str:
    host, path = match["host"] or "", match["path"]
    if host and "." not in host and ":" not in host and host != "localhost":
        host, path = "", f"{host}/{path}"  # an account at Docker Hub
    if host in ("", "docker.io", "index.docker.io"):
        host, path = _HUB, path if "/" in path else f"library/{path}"
    local = host.partition(":")[0] in ("localhost", "127.0.0.1")
    reference = match["digest"] or match["tag"] or "latest"
    return f"{'http' if local else 'https'}://{host}/v2/{path}/manifests/{reference}"


def _token(client: httpx.Client, challenge: str) -> str:
    """An anonymous token, from where the registry says."""
    parts = dict(_PART.findall(challenge[:2000]))
    realm = parts.pop("realm", "")
    if urlsplit(realm).scheme != "https":
        return ""
    query = {name: parts[name] for name in ("service", "scope") if name in parts}
    answer = client.get(realm, params=query)
    if answer.status_code != 200 or len(answer.content) > _LIMIT:
        return ""
    try:
        value = answer.json()
    except ValueError:
        return ""
    token = value.get("token") or value.get("access_token") if isinstance(value, dict) else ""
    return token if isinstance(token, str) and token.isascii() and token.isprintable() else ""
