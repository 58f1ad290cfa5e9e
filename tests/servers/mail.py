"""A real SMTP server on the loopback, by aiosmtpd, that keeps the mails it takes."""

from __future__ import annotations

import queue
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword


@dataclass(kw_only=True)
class Mails:
    """The server.

    Attributes:
        port: of the loopback.
        refused: recipients that it does not know.
        answer: to each mail.
        sent: mails that it took, with the login's name and whether TLS was on.
    """

    port: int = 0
    refused: set[str] = field(default_factory=set)
    answer: str = "250 taken"
    sent: queue.Queue[tuple[EmailMessage, str, bool]] = field(default_factory=queue.Queue)

    def next(self) -> tuple[EmailMessage, str, bool]:
        """The next mail that was not read yet; waits for it."""
        return self.sent.get(timeout=20)


@contextmanager
def serve(
    *,
    tls: ssl.SSLContext | None = None,
    implicit: bool = False,
    login: tuple[str, str] | None = None,
) -> Iterator[Mails]:
    """Serve until the block ends.

    Args:
        tls: the certificate; without one there is no TLS.
        implicit: TLS from the start instead of STARTTLS.
        login: the one name and password.
    """
    mails = Mails()

    class Handler:
        async def handle_RCPT(  # noqa: N802 - as aiosmtpd has it
            self, server: Any, session: Any, envelope: Any, address: str, options: Any
        ) -> str:
            if address in mails.refused:
                return "550 no such mailbox"
            envelope.rcpt_tos.append(address)
            return "250 known"

        async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802
            if mails.answer.startswith("250"):
                message = message_from_bytes(envelope.content, policy=default)
                name = session.auth_data.login.decode() if session.auth_data else ""
                assert isinstance(message, EmailMessage)
                mails.sent.put((message, name, session.ssl is not None or implicit))
            return mails.answer

    def authenticate(
        _server: Any, _session: Any, _envelope: Any, _mechanism: str, data: Any
    ) -> AuthResult:
        given = (
            (data.login.decode(), data.password.decode())
            if isinstance(data, LoginPassword)
            else None
        )
        return AuthResult(success=given == login, handled=False, auth_data=data)

    options: dict[str, Any] = {"hostname": "127.0.0.1"}
    if login is not None:
        options |= {
            "authenticator": authenticate,
            "auth_required": True,
            "auth_require_tls": tls is not None and not implicit,
        }

    class Here(Controller):
        def factory(self) -> SMTP:
            starttls = tls if not implicit else None
            return SMTP(
                Handler(), tls_context=starttls, require_starttls=starttls is not None, **options
            )

        def _trigger_server(self) -> None:
            assert self.server is not None
            self.port = self.server.sockets[0].getsockname()[1]  # 0 was asked for
            super()._trigger_server()

    controller = Here(
        Handler(), hostname="127.0.0.1", port=0, ssl_context=tls if implicit else None
    )
    controller.start()
    try:
        mails.port = controller.port
        yield mails
    finally:
        controller.stop()
