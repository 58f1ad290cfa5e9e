"""``release.toml``, beside the checkout in the application's root: what is deployed, and how.

The operator of the machine writes it; it never comes from the repository, so that a push cannot change
which branch is followed or which units are restarted.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, model_validator

from dispatcher.toml.explain import Reader, complaint

FILE = "release.toml"

_APP = re.compile(r"[a-z][a-z0-9-]{0,30}", re.ASCII)
_UNIT = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.@-]{0,200}\.service", re.ASCII)
_USER = re.compile(r"[a-z_][a-z0-9_-]{0,31}", re.ASCII)
_URL = re.compile(r"https?://[^\s/]+(/\S*)?", re.ASCII)
_LISTEN = re.compile(r"([A-Za-z0-9.-]+|\[[0-9A-Fa-f:]+\]):[0-9]{1,5}", re.ASCII)
_ABSOLUTE = re.compile(r"(/[A-Za-z0-9_+-][A-Za-z0-9_.+-]*)+", re.ASCII)
_BRANCH = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_./-]{0,200}", re.ASCII)

Seconds = Annotated[float, Field(gt=0, le=86_400)]


def _matching(pattern: re.Pattern[str], what: str, remedy: str) -> AfterValidator:
    def check(value: str) -> str:
        if not pattern.fullmatch(value):
            raise complaint(f"not {what}", remedy=remedy)
        return value

    return AfterValidator(check)


def _inside(value: str) -> str:
    parts = value.split("/")
    if value.startswith("/") or ".." in parts:
        raise complaint(
            "the path leaves the checkout", remedy="Write it relative to the repository's top"
        )
    return value


def _remote(value: str) -> str:
    if not value or value.startswith("-") or any(not c.isprintable() for c in value):
        raise complaint("not a remote", remedy="Write a URL or a path that git can fetch from")
    if re.match(r"https?://[^/]*:[^/]*@", value):
        raise complaint(
            "the remote contains a password",
            remedy="Store it with a git credential helper of the deploy user, or use a deploy key",
        )
    return value


def _branch(value: str) -> str:
    if not _BRANCH.fullmatch(value) or ".." in value or value.endswith((".lock", "/", ".")):
        raise complaint("not the name of a branch", remedy='Write for example branch = "main"')
    return value


InRepo = Annotated[str, AfterValidator(_inside)]
Name = Annotated[
    str,
    _matching(
        _APP, "a name", "Use lower-case letters, digits and -, beginning with a letter; at most 31"
    ),
]
Unit = Annotated[
    str,
    _matching(_UNIT, "the name of a service unit", 'Write for example "shop-backend.service"'),
]


AbsolutePath = Annotated[
    str,
    _matching(
        _ABSOLUTE,
        "an absolute path",
        "Write it in full, of letters, digits and _ . + -, without ..",
    ),
]


def is_name(text: str) -> bool:
    """Whether a text can be the name of an application."""
    return _APP.fullmatch(text) is not None


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, defer_build=True)


class Service(_Table):
    """One program of the application, which systemd runs."""

    directory: InRepo = Field(
        default=".",
        description="Directory of the service, relative to the repository's top.",
        examples=["backend"],
    )
    install: str = Field(
        default="uv sync --frozen",
        min_length=1,
        description=(
            "Command that installs the dependencies, by /bin/sh in that directory. "
            "UV_PROJECT_ENVIRONMENT and VIRTUAL_ENV name the new environment, which the command has to "
            "create."
        ),
        examples=["uv sync --frozen --no-dev"],
    )
    unit: Unit | None = Field(
        default=None,
        description="systemd unit of the service; default: <app>-<service>.service.",
        examples=["shop-backend.service"],
    )
    health: (
        Annotated[str, _matching(_URL, "a URL", "It begins with http:// or https://")] | None
    ) = Field(
        default=None,
        description=(
            "URL that answers with a status from 200 to 299 as soon as the service is healthy. "
            "Without it, the unit has to stay active for [health] settle seconds."
        ),
        examples=["http://127.0.0.1:8000/healthz"],
    )


class Migrations(_Table):
    """Changes of the database, before the services restart."""

    command: str = Field(
        min_length=1,
        description="Command that applies all new migrations, by /bin/sh.",
        examples=["alembic upgrade head"],
    )
    service: Name = Field(
        description="Service whose directory, environment and env file the commands use.",
        examples=["backend"],
    )
    paths: tuple[InRepo, ...] = Field(
        default=(),
        description="Where new files mean new migrations, so that a plan can announce them.",
        examples=[["backend/migrations"]],
    )
    revision: str | None = Field(
        default=None,
        description="Command that prints the database's revision, for down.",
        examples=["alembic current"],
    )
    down: str | None = Field(
        default=None,
        description=(
            "Command that undoes migrations after a failed deploy, with that commit's code. The first "
            "word that revision printed before the migrations is in RELEASE_REVISION. Without it, "
            "migrations are not undone."
        ),
        examples=['alembic downgrade "$RELEASE_REVISION"'],
    )
    timeout: Seconds = Field(
        default=1800.0, description="Seconds after which a command is stopped and has failed."
    )


class Smoke(_Table):
    """A test of the new code before the services restart."""

    command: str = Field(
        min_length=1,
        description="Command, by /bin/sh; an exit code other than 0 stops the release.",
        examples=["python -m shop.smoke"],
    )
    service: Name = Field(
        description="Service whose directory, environment and env file it uses.",
        examples=["backend"],
    )
    run: bool = Field(
        default=True, description="Whether to run it; DEPLOY_RUN_SMOKE in deploy.env overrides it."
    )
    timeout: Seconds = Field(default=600.0, description="Seconds after which it has failed.")


class Health(_Table):
    """When services count as healthy after a restart."""

    timeout: Seconds = Field(
        default=60.0, description="Seconds within which all services must be healthy."
    )
    settle: Annotated[float, Field(ge=0, le=3600)] = Field(
        default=2.0,
        description="Seconds for which a unit without a health URL must stay active, without a restart.",
    )


class Webhook(_Table):
    """A listener that forges call after a push, as a unit of its own. Without this table there is none."""

    listen: Annotated[str, _matching(_LISTEN, "host:port", 'Write "127.0.0.1:9009"')] = Field(
        default="127.0.0.1:9009",
        description=(
            "Where it listens; on the loopback, a proxy with TLS is in front of it. Each application of "
            "a machine needs its own port."
        ),
    )


class ReleaseSettings(_Table):
    """The keys before the first table."""

    app: Name = Field(description="Name of the application.", examples=["shop"])
    remote: Annotated[str, AfterValidator(_remote)] = Field(
        description="Repository, as git fetches it.", examples=["git@forge.example:team/shop.git"]
    )
    branch: Annotated[str, AfterValidator(_branch)] = Field(
        default="main", description="Branch that is followed.", examples=["main"]
    )
    automatic: bool = Field(
        default=True,
        description=(
            "Whether the timer deploys new commits. If false, it only repairs a deploy that was "
            "interrupted; a person or an action deploys."
        ),
    )
    user: Annotated[str, _matching(_USER, "a user's name", 'Write for example "deploy"')] = Field(
        default="deploy", description="User that deploys, and that owns the directories."
    )
    keep: tuple[str, ...] = Field(
        default=(),
        description="Untracked files in the checkout that are never removed, as in .gitignore.",
        examples=[["/backend/uploads/", "*.sqlite3"]],
    )
    history: Annotated[int, Field(ge=1, le=20)] = Field(
        default=3, description="Safe commits whose environments are kept, for a rollback."
    )
    free_mb: Annotated[int, Field(ge=0)] = Field(
        default=200, description="Megabytes that must be free before anything is changed."
    )
    install_timeout: Seconds = Field(
        default=1800.0, description="Seconds after which an install command has failed."
    )
    fetch_timeout: Seconds = Field(
        default=120.0, description="Seconds after which the remote counts as unreachable."
    )
    poll_interval: Annotated[int, Field(ge=5, le=86_400)] = Field(
        default=60, description="Seconds between two looks of the timer at the branch."
    )
    writable: tuple[AbsolutePath, ...] = Field(
        default=(),
        description=(
            "Further directories that commands of a deploy write, such as that of a SQLite database. To "
            "the timer's deploys everything else is read-only."
        ),
        examples=[["/var/lib/shop"]],
    )
    services: dict[Name, Service] = Field(
        min_length=1, description="The services by name, in the order of their restart."
    )
    migrations: Migrations | None = Field(default=None, description="Migrations, if there are any.")
    smoke: Smoke | None = Field(default=None, description="Smoke test, if there is one.")
    health: Health = Field(default=Health(), description="The wait for health.")
    webhook: Webhook | None = Field(default=None, description="The webhook, if there is one.")

    def unit(self, service: str) -> str:
        """The systemd unit of a service."""
        return self.services[service].unit or f"{self.app}-{service}.service"

    @property
    def units(self) -> Mapping[str, str]:
        """The unit of each service, in the order of their restart."""
        return {name: self.unit(name) for name in self.services}

    @model_validator(mode="after")
    def _consistent(self) -> ReleaseSettings:
        for key, table in (("migrations", self.migrations), ("smoke", self.smoke)):
            if table is not None and table.service not in self.services:
                raise complaint(
                    f"unknown service {table.service}",
                    remedy=f"Services here: {', '.join(self.services)}",
                    inside=(key, "service"),
                )
        if self.webhook is not None and not self.automatic:
            raise complaint(
                "a webhook, and automatic = false",
                remedy="Remove one of them: what the webhook requests would not be deployed",
                inside=("webhook",),
            )
        if self.migrations is not None and self.migrations.down and not self.migrations.revision:
            raise complaint(
                "down without revision",
                remedy='Add the command that prints the revision, such as revision = "alembic current"',
                inside=("migrations", "down"),
            )
        own = {f"{self.app}-{suffix}.service" for suffix in ("deploy", "deployhook")}
        seen: dict[str, str] = {}
        for name, unit in self.units.items():
            if unit in own:
                raise complaint(
                    f"the unit {unit} is that of the deploy itself",
                    remedy="Give the service another name or unit",
                    inside=("services", name),
                )
            if unit in seen:
                raise complaint(
                    f"services {seen[unit]} and {name} have the same unit {unit}",
                    remedy="Give each service its own unit",
                    inside=("services", name),
                )
            seen[unit] = name
        return self


READER = Reader(adapter=TypeAdapter(ReleaseSettings), subject="release.toml")
