"""``[web]``: where the web page listens, and how people log in to it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from pydantic import Field

from dispatcher.settings.addresses import is_http, is_loopback, is_plain_http
from dispatcher.settings.section import Contradiction, Section, credential, wrong
from dispatcher.toml.source import quoted

if TYPE_CHECKING:
    from dispatcher.settings.models import Settings

LOGIN_BACK = "/login/forge/back"
"""Where the forge sends people back to, after the page's origin: registered there."""

_LISTEN = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\[\]:\s]+):([0-9]{1,5})")


class WebSettings(Section):
    """The web page, `disinto web`."""

    listen: str = Field(
        default="127.0.0.1:8490", description="host:port; --port overrides the port."
    )
    origin: str = Field(
        default="",
        description="Address by which browsers reach the page, such as https://runs.example; "
        "empty: http:// and what it listens on.",
    )
    client_id: str = Field(
        default="",
        description="Client ID of the page's OAuth2 application on the forge. With it people log "
        "in with their accounts there; without it one link lets the operator in.",
    )
    client_secret_file: Path | None = credential("File with the application's client secret.")
    client_secret_env: str = Field(
        default="",
        description="Name of the environment variable that holds the client secret, for a page in a container.",
    )
    client_secret_name: str = Field(
        default="",
        description="Name of the secret below [vault] bots_prefix that holds the client secret.",
    )

    def origin_at(self, port: int) -> str:
        """The address of the page if it listens on a port: scheme, host and port."""
        host = self.host_and_port[0]
        return self.origin or f"http://{f'[{host}]' if ':' in host else host}:{port}"

    @property
    def host_and_port(self) -> tuple[str, int]:
        """Where to listen; the host without brackets."""
        host, _, port = self.listen.rpartition(":")
        return host.strip("[]"), int(port)


def web_contradictions(settings: Settings) -> Iterator[Contradiction]:
    """What of ``[web]`` contradicts itself or other sections."""
    web = settings.web
    match = _LISTEN.fullmatch(web.listen)
    if match is None or int(match[2]) > 65_535:
        what = f"web.listen is {quoted(web.listen)}, which is not host:port"
        yield wrong(what, "web", "listen", remedy='Write for example listen = "127.0.0.1:8490"')
        return
    yield from _origin(web)
    if not web.client_id:
        if not is_loopback(web.host_and_port[0]):
            yield wrong(
                "the page would be reachable from other machines, and nobody can log in there "
                "without web.client_id",
                "web",
                "listen",
                remedy="Set client_id, or listen on 127.0.0.1",
            )
        return
    yield from _login(settings)


def _origin(web: WebSettings) -> Iterator[Contradiction]:
    if not web.origin:
        return
    parts = urlsplit(web.origin) if is_http(web.origin) else None
    if parts is None or parts.path or parts.query or parts.fragment or "@" in parts.netloc:
        what = f"web.origin is {quoted(web.origin)}, which is not scheme, host and port alone"
        yield wrong(what, "web", "origin", remedy='Write for example "https://runs.example"')
    elif is_plain_http(web.origin):
        yield wrong(
            "web.origin is plain http: cookies and pages would cross the network unencrypted",
            "web",
            "origin",
            remedy="Put a proxy with TLS before the page, and write its https:// address",
        )


def _login(settings: Settings) -> Iterator[Contradiction]:
    web, forge = settings.web, settings.forge
    for key, example in (("url", "https://forge.example"), ("repository", "owner/name")):
        if not getattr(forge, key):
            remedy = f'Set it in [forge], for example {key} = "{example}"'
            yield wrong(f"web.client_id needs forge.{key}", "web", "client_id", remedy=remedy)
    if is_plain_http(forge.url):
        yield wrong(
            "people would log in at the forge over plain http",
            "forge",
            "url",
            remedy="Serve the forge over TLS and use https://",
        )
    if not (web.client_secret_file or web.client_secret_env or web.client_secret_name):
        yield wrong(
            "web.client_id needs the application's client secret",
            "web",
            "client_id",
            remedy="Set client_secret_file or client_secret_env, or client_secret_name for a secret in "
            "Vault",
        )
    if not web.origin and not is_loopback(web.host_and_port[0]):
        yield wrong(
            "web.origin is missing: browsers elsewhere need an https:// address",
            "web",
            "listen",
            remedy='Set origin in [web], for example "https://runs.example"',
        )
