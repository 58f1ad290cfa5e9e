"""The one-time link by which the operator comes in, where no forge says who somebody is.

It is printed on the terminal of ``disinto web``. Who can read that terminal, or type there, has the
powers of the operator anyway. A link works once; then the next one is printed, for the next browser.
"""

from __future__ import annotations

import hmac
import secrets
import threading
from collections.abc import Callable

PATH = "/enter"


class OperatorLink:
    """The link that works now. Thread-safe.

    Args:
        origin: of the page, such as ``http://127.0.0.1:8490``.
        announce: called with each link, the first included.
    """

    def __init__(self, origin: str, announce: Callable[[str], None]) -> None:
        self._origin, self._announce = origin, announce
        self._lock = threading.Lock()
        self._token = ""

    def renew(self) -> str:
        """Make and announce a link; the one before works no more."""
        with self._lock:
            self._token = secrets.token_urlsafe(32)
            url = f"{self._origin}{PATH}/{self._token}"
        self._announce(url)
        return url

    def redeem(self, token: str) -> bool:
        """Whether this is the token of the link; it works once."""
        given = token.encode("utf-8", "replace")
        with self._lock:
            if not self._token or not hmac.compare_digest(given, self._token.encode()):
                return False
            self._token = ""
        self.renew()
        return True
