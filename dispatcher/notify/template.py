"""Renders the body of a webhook: a Jinja template in a sandbox, with escaped values. Pure.

The template is the operator's. The values may be anybody's, so in JSON every value is escaped
automatically as part of a string: ``{"text": "{{ title }}"}`` stays one string whatever the title
contains. ``tojson`` makes a whole value, as usual.
"""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path

from jinja2 import StrictUndefined, TemplateError, Undefined
from jinja2.sandbox import ImmutableSandboxedEnvironment
from markupsafe import Markup

from dispatcher.errors import Misconfigured
from dispatcher.model.notice import Notice
from dispatcher.model.times import rfc3339
from dispatcher.notify.base import MessageRefused
from dispatcher.settings import BodyKind

TEMPLATE_LIMIT = 65_536
BODY_LIMIT = 65_536
"""Maximum bytes of a template, and of a body."""


class Body:
    """Renders bodies from one template.

    Args:
        sink: the sink's name, for messages.
        file: the template; None for the one that is shipped.
        kind: what it makes.

    Raises:
        Misconfigured: the template cannot be read, or is wrong.
    """

    def __init__(self, sink: str, *, file: Path | None, kind: BodyKind) -> None:
        self._place = f"[[notify]] {sink}: template {file or 'webhook.json.j2'}"
        self.kind = BodyKind.JSON if file is None else kind
        json_body = self.kind is BodyKind.JSON
        environment = ImmutableSandboxedEnvironment(
            undefined=StrictUndefined,
            autoescape=False,
            finalize=_in_json if json_body else None,
        )
        try:
            self._template = environment.from_string(self._text(file))
        except (TemplateError, RecursionError) as error:
            raise self._wrong(f"{type(error).__name__}: {error}") from error

    def make(self, notice: Notice) -> bytes:
        """The body for a notice.

        Raises:
            MessageRefused: the template uses what is not there, or makes no JSON, or too much. For
                another notice it may be right.
        """
        try:
            text = self._template.render(values(notice))
        except Exception as error:
            raise self._refused(f"{type(error).__name__}: {error}") from error
        body = text.encode()
        if len(body) > BODY_LIMIT:
            raise self._refused(f"it makes {len(body):,} bytes, at most {BODY_LIMIT:,}")
        if self.kind is BodyKind.JSON:
            try:
                json.loads(text)
            except (ValueError, RecursionError) as error:
                raise self._refused(f"it does not make JSON: {error}") from None
        return body

    def _text(self, file: Path | None) -> str:
        if file is None:
            shipped = resources.files("dispatcher.notify").joinpath("webhook.json.j2")
            return shipped.read_text(encoding="utf-8")
        try:
            with file.open("rb") as stream:
                data = stream.read(TEMPLATE_LIMIT + 1)
            if len(data) > TEMPLATE_LIMIT:
                raise self._wrong(f"it is larger than {TEMPLATE_LIMIT:,} bytes")
            return data.decode()
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "it is not UTF-8"
            raise self._wrong(f"it cannot be read: {reason}") from error

    def _refused(self, why: str) -> MessageRefused:
        return MessageRefused(f"{self._place}: {why}", remedy=_REMEDY)

    def _wrong(self, why: str) -> Misconfigured:
        return Misconfigured(f"{self._place}: {why}", remedy=_REMEDY)


def values(notice: Notice) -> dict[str, object]:
    """The values that a template can use."""
    return {**notice.to_json(), "condition": notice.condition or "", "at": rfc3339(notice.at)}


NAMES = tuple(Notice.__dataclass_fields__)
_REMEDY = f"It may use: {', '.join(NAMES)}."


def _in_json(value: object) -> object:
    """A value for a JSON template: a text as part of a string, anything else as JSON."""
    if isinstance(value, Undefined):
        return str(value)  # which raises, with the name
    if isinstance(value, Markup):
        return value  # of ``tojson``, which makes it whole
    if isinstance(value, str):
        return json.dumps(str(value))[1:-1]
    return json.dumps(value)
