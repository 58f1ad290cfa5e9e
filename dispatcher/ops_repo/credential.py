"""The token for an HTTPS remote.

It travels as an ``http.<server>.extraHeader`` in environment variables (``GIT_CONFIG_COUNT``), never
in arguments, in a file or in an error text. It is offered to the remote's own server only; redirects
are refused.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from urllib.parse import urlsplit

from dispatcher.ops_repo.refusal import carries_token
from dispatcher.settings import OpsRepoSettings

_USERINFO = re.compile(r"(?<=://)[^/@\s']*@")


class Token:
    """The remote's token, loaded when first needed and kept until it is rejected.

    Args:
        settings: remote and user name.
        load: returns the token, or None; its exceptions are passed on.
    """

    def __init__(self, settings: OpsRepoSettings, load: Callable[[], str | None]) -> None:
        self._settings = settings
        self._load = load
        self._value: str | None = None
        self._loaded = False

    def config(self) -> dict[str, str]:
        """The configuration of git that carries the token to the remote's own server; {} if
        there is none, or if the remote must not get it.
        """
        url = urlsplit(self._settings.remote)
        if url.scheme not in ("http", "https") or not carries_token(self._settings.remote):
            return {}
        if not self._loaded:
            self._value = self._load()
            self._loaded = True
        if not self._value:
            return {}
        server = f"{url.scheme}://{url.netloc.rpartition('@')[2]}/"
        return {f"http.{server}.extraHeader": f"Authorization: Basic {self._basic()}"}

    @property
    def given(self) -> bool:
        """Whether a token was sent."""
        return bool(self._value)

    def forget(self) -> bool:
        """Load it again at the next use, because it may have changed; False if it was never loaded."""
        was_used, self._loaded = self._loaded, False
        return was_used

    def redacted(self, text: str) -> str:
        """The text without user information of addresses and without the token."""
        text = _USERINFO.sub("", text)
        for secret in (self._basic(), self._value) if self._value else ():
            text = text.replace(secret, "[token]")
        return text

    def _basic(self) -> str:
        user = urlsplit(self._settings.remote).username or self._settings.username
        return base64.b64encode(f"{user}:{self._value}".encode()).decode()
