"""``[[notify]]``: where notifications go, and about what."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path

from pydantic import Field

from dispatcher.model.notice import Condition
from dispatcher.model.run import Tier
from dispatcher.settings.section import PositiveSeconds, Section, credential

MAX_SINKS = 20
MAX_ENTRIES = 100


class SinkKind(StrEnum):
    """How a sink is spoken to."""

    WEBHOOK = "webhook"
    SLACK = "slack"
    MATRIX = "matrix"
    SMTP = "smtp"


class BodyKind(StrEnum):
    """What a webhook's template makes."""

    JSON = "application/json"
    TEXT = "text/plain"


class MailTls(StrEnum):
    """How the connection to a mail server is encrypted."""

    STARTTLS = "starttls"
    TLS = "tls"
    NONE = "none"


class NotifySettings(Section):
    """A sink of notifications; as many tables as there are sinks. Read at the start of serve."""

    name: str = Field(
        pattern=r"^[a-z0-9][a-z0-9-]{0,31}$",
        description="Name of this sink: a-z, 0-9 and -, at most 32 characters.",
        examples=["ops"],
    )
    kind: SinkKind = Field(
        description="webhook, slack (and what takes its incoming webhooks), matrix or smtp.",
        examples=["webhook"],
    )
    on: tuple[Condition, ...] = Field(
        min_length=1,
        max_length=MAX_ENTRIES,
        description="What to notify of; see docs/controls/notifications.md.",
        examples=[["failed", "lost"]],
    )
    formulas: tuple[str, ...] = Field(
        default=(),
        max_length=MAX_ENTRIES,
        description="Leave out actions of other formulas; empty: of none.",
    )
    tiers: tuple[Tier, ...] = Field(
        default=(), max_length=3, description="Leave out actions of other tiers; empty: of none."
    )
    include_output: bool = Field(
        default=False,
        description="Add the end of the formula's redacted output, at most 500 characters.",
    )
    per_minute: int = Field(
        default=20,
        ge=1,
        le=600,
        description="Messages a minute; what goes beyond is counted in one summary.",
    )
    url: str = Field(
        default="",
        max_length=2_000,
        description="webhook: address that gets a POST. matrix: address of the homeserver.",
    )
    secret_env: str = Field(
        default="",
        max_length=200,
        description="Environment variable with the secret: of a webhook the key of its signatures, "
        "of slack the whole address, of matrix the access token, of smtp the password.",
    )
    secret_file: Path | None = credential("File with the secret, instead of secret_env.")
    template: Path | None = Field(
        default=None, description="webhook: Jinja template of the body; default: a JSON object."
    )
    content_type: BodyKind = Field(
        default=BodyKind.JSON, description="webhook: what the template makes."
    )
    room: str = Field(
        default="", max_length=255, description="matrix: ID of the room, such as !id:server."
    )
    host: str = Field(default="", max_length=255, description="smtp: mail server.")
    port: int = Field(
        default=0, ge=0, le=65_535, description="smtp: port; 0: 587, 465 with tls, 25 with none."
    )
    tls: MailTls = Field(default=MailTls.STARTTLS, description="smtp: starttls, tls or none.")
    username: str = Field(
        default="", max_length=255, description="smtp: user name; empty: no login."
    )
    sender: str = Field(default="", max_length=320, description="smtp: address in From.")
    recipients: tuple[str, ...] = Field(
        default=(), max_length=MAX_ENTRIES, description="smtp: addresses in To."
    )
    cacert: Path | None = Field(
        default=None, description="CA certificate file; default: those of the system."
    )
    timeout_s: PositiveSeconds = Field(
        default=10.0, le=120, description="Seconds to wait for an answer; thrice that in all."
    )
