"""Mail by SMTP: RFC 5321, STARTTLS by RFC 3207, TLS from the start by RFC 8314."""

from __future__ import annotations

import smtplib
import socket
import ssl
from collections.abc import Callable
from datetime import UTC, datetime
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from typing import BinaryIO

from dispatcher.errors import reason_of
from dispatcher.host.deadline import PARTS, Deadline, deadline
from dispatcher.model.notice import Notice
from dispatcher.notify.base import MessageRefused, SinkUnavailable
from dispatcher.notify.chat import details, one_line
from dispatcher.notify.http import trust
from dispatcher.settings import MailTls, NotifySettings

ANSWER_LIMIT = 65_536
"""Maximum bytes of an answer to one command."""

PORTS = {MailTls.STARTTLS: 587, MailTls.TLS: 465, MailTls.NONE: 25}


class MailSink:
    """A mail for each notice, over a connection of its own.

    Args:
        settings: of the sink.
        password: gives the password; None without a login.
    """

    def __init__(self, settings: NotifySettings, *, password: Callable[[], str] | None) -> None:
        self._settings, self._password = settings, password

    def send(self, notice: Notice) -> str:
        """See ``Sink``."""
        settings, message = self._settings, mail(notice, self._settings)
        context = trust(settings.name, settings.cacert)
        password = self._password() if self._password is not None else None
        try:
            with deadline(PARTS * settings.timeout_s) as limit:
                refused = self._deliver(message, context, password, limit)
        except smtplib.SMTPRecipientsRefused as error:
            codes = sorted({code for code, _ in error.recipients.values()})
            raise _of_code(codes[0], "refused all recipients") from None
        except smtplib.SMTPAuthenticationError as error:
            raise SinkUnavailable(
                f"the mail server refused the login ({error.smtp_code})",
                remedy="Check username and secret.",
            ) from None
        except (smtplib.SMTPSenderRefused, smtplib.SMTPDataError) as error:
            raise _of_code(error.smtp_code, "refused the message") from None
        except smtplib.SMTPNotSupportedError as error:
            raise SinkUnavailable(f"the mail server cannot do this: {error}") from None
        except smtplib.SMTPResponseException as error:
            raise SinkUnavailable(f"the mail server answered {error.smtp_code}") from None
        except (smtplib.SMTPException, OSError) as error:  # ssl.SSLError is an OSError
            raise SinkUnavailable(f"no connection to the mail server: {reason_of(error)}") from None
        one = refused == 1
        return (
            f"{refused} recipient{'' if one else 's'} {'was' if one else 'were'} refused"
            if refused
            else ""
        )

    def _deliver(
        self,
        message: EmailMessage,
        context: ssl.SSLContext,
        password: str | None,
        limit: Deadline,
    ) -> int:
        """Send it; how many of the recipients were refused."""
        settings = self._settings
        port = settings.port or PORTS[settings.tls]
        tls = context if settings.tls is MailTls.TLS else None
        with _Watched(limit, settings.host, port, timeout=settings.timeout_s, tls=tls) as server:
            if settings.tls is MailTls.STARTTLS:
                server.starttls(context=context)
            if password is not None:
                server.login(settings.username, password)
            refused = server.send_message(message, settings.sender, list(settings.recipients))
        return len(refused)


def mail(notice: Notice, settings: NotifySettings) -> EmailMessage:
    """The message. Its Message-ID is the notice's id, so that repetitions can be recognized."""
    message = EmailMessage(policy=SMTP)
    message["From"] = settings.sender
    message["To"] = ", ".join(settings.recipients)
    message["Subject"] = f"[{notice.repository}] {one_line(notice.title)}"
    message["Date"] = format_datetime(datetime.fromtimestamp(notice.at, UTC))
    message["Message-ID"] = f"<{notice.id}@{settings.sender.rpartition('@')[2]}>"
    message["Auto-Submitted"] = "auto-generated"  # RFC 3834: nobody is to reply to it by machine
    message.set_content(f"{notice.title}\n\n{details(notice)}\n", cte="quoted-printable")
    return message


def _of_code(code: int, what: str) -> SinkUnavailable | MessageRefused:
    """RFC 5321, 4.2.1: 4yz is worth another attempt, 5yz is not."""
    text = f"the mail server {what} ({code})"
    return MessageRefused(text) if code >= 500 else SinkUnavailable(text)


class _Watched(smtplib.SMTP):
    """A connection that is watched before its first byte, with TLS from the start if there is a
    context.
    """

    def __init__(
        self, limit: Deadline, host: str, port: int, *, timeout: float, tls: ssl.SSLContext | None
    ) -> None:
        self._limit, self._tls = limit, tls
        super().__init__(host, port, timeout=timeout)

    def getreply(self) -> tuple[int, bytes]:
        """As in ``smtplib``, which keeps all lines of an answer, however many a server sends."""
        if self.file is None and self.sock is not None:
            self.file = _Bounded(self.sock.makefile("rb"))
        if self.file is not None:
            self.file.left = ANSWER_LIMIT
        return super().getreply()

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        """As ``smtplib.SMTP_SSL`` has it."""
        connection = socket.create_connection((host, port), timeout)
        self._limit.watch(connection)
        return self._tls.wrap_socket(connection, server_hostname=host) if self._tls else connection


class _Bounded:
    """The lines of one answer.

    Attributes:
        left: how many bytes of it may still be read.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.left = 0

    def readline(self, limit: int) -> bytes:
        """Raises ``OSError``, as for a connection that broke, if the answer is too long."""
        line = self._file.readline(limit)
        self.left -= len(line)
        if self.left < 0:
            raise OSError(f"the answer is longer than {ANSWER_LIMIT:,} bytes")
        return line

    def close(self) -> None:
        self._file.close()
