"""Opens the sink that a table ``[[notify]]`` describes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from dispatcher.model.notice import Notice
from dispatcher.notify.base import Sink
from dispatcher.notify.chat import MatrixSink, SlackSink, slack_address
from dispatcher.notify.conditions import Notices
from dispatcher.notify.http import HttpSink, trust
from dispatcher.notify.mail import MailSink
from dispatcher.notify.secrets import has_secret, known_secrets, secret_of
from dispatcher.notify.template import Body
from dispatcher.notify.text import Cleaner
from dispatcher.notify.webhook import WebhookSink, key_of
from dispatcher.settings import NotifySettings, Settings, SinkKind
from dispatcher.settings.repository import repository_name


def open_sink(settings: NotifySettings, environ: Mapping[str, str]) -> Sink:
    """Open the sink; contacts no server.

    Raises:
        Misconfigured: a template cannot be used.
    """
    http = HttpSink(sink=settings.name, cacert=settings.cacert, timeout_s=settings.timeout_s)
    secret: Callable[[], str] = partial(secret_of, settings, environ)
    match settings.kind:
        case SinkKind.WEBHOOK:
            return WebhookSink(
                http,
                url=settings.url,
                body=Body(settings.name, file=settings.template, kind=settings.content_type),
                secret=secret if has_secret(settings) else None,
            )
        case SinkKind.SLACK:
            return SlackSink(http, address=secret)
        case SinkKind.MATRIX:
            return MatrixSink(http, url=settings.url, room=settings.room, token=secret)
        case SinkKind.SMTP:
            return MailSink(settings, password=secret if has_secret(settings) else None)


def check_sink(settings: NotifySettings, environ: Mapping[str, str], sample: Notice) -> None:
    """Check all that can be checked without contacting the server.

    Raises:
        Misconfigured: a secret, template or certificate cannot be used.
    """
    open_sink(settings, environ)
    trust(settings.name, settings.cacert)
    if settings.kind is SinkKind.WEBHOOK:
        Body(settings.name, file=settings.template, kind=settings.content_type).make(sample)
    if not has_secret(settings):
        return
    secret = secret_of(settings, environ)
    if settings.kind is SinkKind.WEBHOOK:
        key_of(settings.name, secret)
    elif settings.kind is SinkKind.SLACK:
        slack_address(settings.name, secret)


def notices_of(settings: Settings, environ: Mapping[str, str]) -> Notices:
    """The factory of an ops repo's notices, which redacts all secrets that this process knows."""
    return Notices(
        repository=repository_name(settings),
        cleaner=Cleaner(lambda: known_secrets(settings, environ)),
    )
