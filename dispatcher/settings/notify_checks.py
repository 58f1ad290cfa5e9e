"""Finds ``[[notify]]`` tables whose keys are each valid, but contradict each other. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from dispatcher.settings.addresses import has_password, is_http, is_loopback
from dispatcher.settings.notify import MailTls, NotifySettings, SinkKind
from dispatcher.toml.source import quoted

_KEYS: Mapping[SinkKind, tuple[str, ...]] = {
    SinkKind.WEBHOOK: ("url", "template", "content_type"),
    SinkKind.SLACK: (),
    SinkKind.MATRIX: ("url", "room"),
    SinkKind.SMTP: ("host", "port", "tls", "username", "sender", "recipients"),
}
"""Keys that only some kinds have."""

_NEEDED: Mapping[SinkKind, Mapping[str, str]] = {
    SinkKind.WEBHOOK: {"url": 'url = "https://hooks.example/disinto"'},
    SinkKind.SLACK: {},
    SinkKind.MATRIX: {
        "url": 'url = "https://matrix.example"',
        "room": 'room = "!AbCdEf:matrix.example"',
    },
    SinkKind.SMTP: {
        "host": 'host = "mail.example"',
        "sender": 'sender = "disinto@example.org"',
        "recipients": 'recipients = ["ops@example.org"]',
    },
}

_ADDRESS = re.compile(r"[^\s@<>,;\"\x00-\x1f\x7f]+@[^\s@<>,;\"\x00-\x1f\x7f]+")
_ROOM = re.compile(r"![^\s\x00-\x1f\x7f]+")


@dataclass(frozen=True, kw_only=True, slots=True)
class Mistake:
    """One such contradiction.

    Attributes:
        message: what is wrong, without a full stop.
        key: of the table; several parts if it is inside a list.
        remedy: what to write instead.
    """

    message: str
    key: tuple[str | int, ...]
    remedy: str


def mistakes(sink: NotifySettings) -> Iterator[Mistake]:
    """All mistakes of one table."""
    yield from _of_other_kinds(sink)
    yield from _missing(sink)
    yield from _secret(sink)
    if sink.url and sink.kind in (SinkKind.WEBHOOK, SinkKind.MATRIX):
        yield from _url(sink)
    if sink.kind is SinkKind.MATRIX and sink.room and not _ROOM.fullmatch(sink.room):
        what = f"{quoted(sink.room)} cannot be the ID of a room"
        yield _at(what, "room", remedy="Write the ID that begins with !, not an alias with #")
    if sink.kind is SinkKind.SMTP:
        yield from _mail(sink)


def _at(message: str, *key: str | int, remedy: str) -> Mistake:
    return Mistake(message=message, key=key, remedy=remedy)


def _of_other_kinds(sink: NotifySettings) -> Iterator[Mistake]:
    foreign_keys = {key for keys in _KEYS.values() for key in keys} - set(_KEYS[sink.kind])
    for key in NotifySettings.model_fields:
        if key in foreign_keys and key in sink.model_fields_set:
            kinds = " and ".join(kind for kind, keys in _KEYS.items() if key in keys)
            what = f"{key} is not a key of kind {sink.kind}"
            yield _at(what, key, remedy=f"Remove it; it belongs to {kinds}")


def _missing(sink: NotifySettings) -> Iterator[Mistake]:
    for key, example in _NEEDED[sink.kind].items():
        if not getattr(sink, key):
            what = f"{key} is missing, which kind {sink.kind} needs"
            yield _at(what, "kind", remedy=f"Add {example}")


def _secret(sink: NotifySettings) -> Iterator[Mistake]:
    if sink.secret_env and sink.secret_file is not None:
        what = "both secret_env and secret_file are set"
        yield _at(what, "secret_file", remedy="Remove one of them")
    given = bool(sink.secret_env) or sink.secret_file is not None
    if sink.kind in (SinkKind.SLACK, SinkKind.MATRIX) and not given:
        what = "the whole address" if sink.kind is SinkKind.SLACK else "the access token"
        yield _at(
            f"kind {sink.kind} needs a secret: {what}",
            "kind",
            remedy="Set secret_file to the file that holds it, or secret_env",
        )
    if sink.kind is SinkKind.SMTP and bool(sink.username) != given:
        wrong = "username is set without a password" if sink.username else "username is missing"
        yield _at(
            wrong,
            "username" if sink.username else "kind",
            remedy="A login needs both: username, and secret_file or secret_env",
        )


def _url(sink: NotifySettings) -> Iterator[Mistake]:
    if has_password(sink.url):
        yield _at(
            "url contains a password", "url", remedy="Remove it; a webhook can check its signature"
        )
    elif not is_http(sink.url):
        what = "url must start with http:// or https://"
        yield _at(what, "url", remedy="Write for example https://hooks.example/disinto")


def _mail(sink: NotifySettings) -> Iterator[Mistake]:
    addresses: list[tuple[tuple[str | int, ...], str]] = [
        *((("recipients", index), each) for index, each in enumerate(sink.recipients)),
        *([(("sender",), sink.sender)] if sink.sender else []),
    ]
    for key, address in addresses:
        if not _ADDRESS.fullmatch(address):
            what = f"{quoted(address)} cannot be a mail address"
            yield _at(what, *key, remedy="Write name@host alone, without a display name")
    if sink.tls is MailTls.NONE and sink.username and not is_loopback(sink.host):
        yield _at(
            'tls = "none" would send the password unencrypted',
            "tls",
            remedy='Write tls = "starttls" or "tls"',
        )


def plain_address(sink: NotifySettings) -> str:
    """The address of a sink that is reached without TLS over a network; "" for any other."""
    if sink.kind is SinkKind.SMTP:
        plain = sink.tls is MailTls.NONE and sink.host and not is_loopback(sink.host)
        return f"smtp://{sink.host}" if plain else ""
    return sink.url
