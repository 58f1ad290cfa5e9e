"""Reads the secrets of sinks, and all others of this process that no text may contain."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

from dispatcher.errors import Misconfigured
from dispatcher.host.held_secrets import held_secrets
from dispatcher.notify.text import unused
from dispatcher.settings import NotifySettings, Settings, SinkKind, credential_files
from dispatcher.settings.addresses import is_http

FILE_LIMIT = 65_536
"""Bytes of a secret's file."""

_TOKENS = ("VAULT_TOKEN", "NOMAD_TOKEN")


def secret_of(sink: NotifySettings, environ: Mapping[str, str]) -> str:
    """The secret of a sink, read at each use, so that it can be changed at any time.

    Raises:
        Misconfigured: it is missing, or its file cannot be read.
    """
    place = f"[[notify]] {sink.name}"
    if sink.secret_env:
        value = environ.get(sink.secret_env, "").strip()
        if not value:
            raise Misconfigured(
                f"{place}: the variable {sink.secret_env} is not set",
                remedy="Set it where serve runs, or use secret_file.",
            )
        return _usable(sink, value)
    file = sink.secret_file
    assert file is not None  # noqa: S101 - asked only of sinks that have a secret
    try:
        with file.open("rb") as stream:
            data = stream.read(FILE_LIMIT)
        value = data.decode().strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8"
        raise Misconfigured(f"{place}: secret_file {file} cannot be read: {reason}") from None
    if not value:
        raise Misconfigured(f"{place}: secret_file {file} is empty")
    return _usable(sink, value)


def _usable(sink: NotifySettings, value: str) -> str:
    """The secret, if its use can hold it: an error about it further on might show it."""
    in_header = sink.kind in (SinkKind.SLACK, SinkKind.MATRIX)
    if not value.isprintable() or (in_header and not value.isascii()):
        raise Misconfigured(
            f"[[notify]] {sink.name}: the secret has a character that cannot be sent",
            remedy="Write it on one line, without quotes; it is not shown here.",
        )
    return value


def has_secret(sink: NotifySettings) -> bool:
    """Whether a sink has one."""
    return bool(sink.secret_env) or sink.secret_file is not None


def known_secrets(settings: Settings, environ: Mapping[str, str]) -> dict[str, str]:
    """Values that no notification may hold, by a name that may be shown: tokens and credentials of
    this process, as far as it has read them. What an action's secrets are it does not know; the
    runner has taken these out.
    """
    named = [settings.ops_repo.token_env, settings.forge.token_env]
    named += [settings.sidecars.token_env, settings.sidecars.report_token_env]
    named += [settings.http.webhook_secret_env, settings.web.client_secret_env]
    named += [*(sink.secret_env for sink in settings.notify)]
    values = {name: environ[name].strip() for name in (*_TOKENS, *named) if environ.get(name)}
    for file in credential_files(settings):
        try:
            with file.open("rb") as stream:
                value = stream.read(FILE_LIMIT).decode(errors="replace").strip()
        except OSError:
            continue  # reported where it is used
        values[unused(file.name, values)] = value  # files of several directories share a name
    for name, value in held_secrets():
        if value not in values.values():
            values[unused(name, values)] = value
    paths = {name: urlsplit(text).path for name, text in values.items() if is_http(text)}
    return {**values, **{f"{name} (path)": path for name, path in paths.items()}}
