"""Generic webhooks, signed according to Standard Webhooks (standardwebhooks.com, specification 1.0).

Three headers: ``webhook-id``, the notice's id, the same at every repetition; ``webhook-timestamp``,
when this attempt was made, so that a receiver can refuse an old request that somebody sends again;
``webhook-signature``, ``v1,`` and the base64 of HMAC-SHA256 over ``<id>.<timestamp>.<body>``.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import time
from collections.abc import Callable

from dispatcher.errors import Misconfigured
from dispatcher.model.notice import Notice
from dispatcher.notify.http import HttpSink
from dispatcher.notify.template import Body
from dispatcher.settings import SHORTEST_SECRET

PREFIX = "whsec_"
"""Prefix of a secret that is encoded in base64."""


class WebhookSink:
    """A POST for each notice.

    Args:
        http: sends it.
        url: where to.
        body: makes the body.
        secret: gives the key of the signatures; None without signatures.
        clock: seconds since the epoch.
    """

    def __init__(
        self,
        http: HttpSink,
        *,
        url: str,
        body: Body,
        secret: Callable[[], str] | None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._http, self._url, self._body = http, url, body
        self._secret, self._clock = secret, clock

    def send(self, notice: Notice) -> str:
        """See ``Sink``."""
        body, stamp = self._body.make(notice), str(int(self._clock()))
        headers = {
            "Content-Type": f"{self._body.kind}; charset=utf-8",
            "webhook-id": notice.id,
            "webhook-timestamp": stamp,
        }
        if self._secret is not None:
            key = key_of(self._http.sink, self._secret())
            headers["webhook-signature"] = signature(key, notice.id, stamp, body)
        self._http.exchange("POST", self._url, headers=headers, body=body)
        return ""


def signature(key: bytes, message_id: str, stamp: str, body: bytes) -> str:
    """The value of ``webhook-signature``."""
    signed = b".".join([message_id.encode(), stamp.encode(), body])
    return "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()


def key_of(sink: str, secret: str) -> bytes:
    """The key that a secret stands for: base64 after ``whsec_``, else its own bytes.

    Raises:
        Misconfigured: it is too short, or not base64.
    """
    key = secret.encode()
    if secret.startswith(PREFIX):
        try:
            key = base64.b64decode(secret.removeprefix(PREFIX), validate=True)
        except binascii.Error:
            raise Misconfigured(
                f"[[notify]] {sink}: the secret begins with {PREFIX} and is not base64 after it"
            ) from None
    if len(key) < SHORTEST_SECRET:
        raise Misconfigured(
            f"[[notify]] {sink}: the secret has {len(key)} bytes",
            remedy=f"Use {SHORTEST_SECRET} bytes or more, e.g. from `openssl rand -hex 32`.",
        )
    return key
