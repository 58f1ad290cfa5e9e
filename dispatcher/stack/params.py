"""What a run reads: its params, the settings beside its formula, and its environment.

The params were checked against the formula's schema before anything was minted. Here is checked what a
schema cannot say, such as names that are reserved.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, field_validator, model_validator

from dispatcher.provision.http import check_url
from dispatcher.provision.params import BadParams, Strict, Time, read_settings
from dispatcher.stack.environment import NAME as VARIABLE
from dispatcher.stack.environment import encoded
from dispatcher.stack.lifecycle import TOTAL_S
from dispatcher.stack.platform import NAME, TOKEN
from dispatcher.stack.registry import IMAGE

SETTINGS_FILE = "stack-settings.json"
"""The settings, beside the formulas: a file that each of them reads, so it is approved with them."""

RESERVED = "admin,api,www,root,system,test,demo,portal,deploy"
_DOMAIN = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*")
_LABEL = re.compile(r"[a-z0-9][a-z0-9-]{0,62}", re.ASCII)
_OURS = re.compile(r"DISINTO_|VAULT_")


def _url(text: str) -> str:
    return check_url(text) if text else ""


def _whole(value: object) -> object:
    """For JSON Schema, by which params were checked, 8080.0 is an integer."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


Port = Annotated[int, BeforeValidator(_whole), Field(ge=1, le=65535)]


class StackParams(Strict):
    """``[params]`` of ``stack``; docs/stacks.md explains them."""

    name: str
    image: str = ""
    port: Port = 8080
    environment: dict[str, str] = Field(default_factory=dict)
    environment_secrets: tuple[str, ...] = ()
    volume: bool = True
    mount_path: str = "/workspace"
    suffix: str = ""
    certificate: str = "letsencrypt"
    https: bool = True
    health: str = "http"
    expected_text: str = ""
    expected_path: str = "/"


class UpdateParams(Strict):
    """``[params]`` of ``stack-update``."""

    id: str
    image: str = ""
    environment: dict[str, str] | None = None
    environment_secrets: tuple[str, ...] = ()
    health: str = "http"
    expected_text: str = ""
    expected_path: str = "/"
    without_return: bool = False

    @model_validator(mode="after")
    def _something(self) -> UpdateParams:
        if not self.image and self.environment is None:
            raise ValueError("neither image nor environment is given: nothing would change")
        if self.environment_secrets and self.environment is None:
            raise ValueError("environment_secrets needs environment, which is replaced as a whole")
        return self


class DestroyParams(Strict):
    """``[params]`` of ``stack-destroy``."""

    id: str


class ReapParams(Strict):
    """``[params]`` of ``stack-reap``."""

    listed_at: Time
    known_runs: tuple[str, ...] = ()
    remove: bool = False


class StackSettings(Strict):
    """``stack-settings.json``; the names in capitals are those of the system that this one follows."""

    url: Annotated[str, AfterValidator(_url)] = Field(default="", alias="DOKPLOY_URL")
    suffix: str = Field(default="", alias="STACK_DOMAIN_SUFFIX")
    image: str = Field(default="", alias="STACK_IMAGE")
    reserved_names: str = Field(default=RESERVED, alias="RESERVED_NAMES")
    project: str = Field(default="disinto", pattern=r"^[a-z][a-z0-9-]{0,30}$")
    probe_address: str = ""
    probe_authorities: str = ""
    http_port: Port = 80
    https_port: Port = 443
    limit_s: Annotated[float, Field(ge=60, le=7200)] = TOTAL_S

    @field_validator("reserved_names")
    @classmethod
    def _names(cls, text: str) -> str:
        """One that no stack could have would reserve nothing, such as two names with a space between them."""
        for name in _split(text):
            if not _LABEL.fullmatch(name):
                raise ValueError(f"{name[:40]!r} is not a name: separate names by commas")
        return text

    @property
    def reserved(self) -> frozenset[str]:
        """Names, in lower case as those of stacks are."""
        return frozenset(_split(self.reserved_names))


def _split(names: str) -> list[str]:
    return [name for each in names.split(",") if (name := each.strip().lower())]


def settings_of(environ: Mapping[str, str]) -> StackSettings:
    """The settings beside the formula.

    Raises:
        BadParams: they cannot be used.
    """
    settings = read_settings(StackSettings, environ, SETTINGS_FILE)
    if not settings.url:
        raise BadParams(
            f"{SETTINGS_FILE}: DOKPLOY_URL is not set",
            remedy="Set it beside the formulas, to https://… without /api.",
        )
    return settings


def host_of(params: StackParams, settings: StackSettings) -> str:
    """The host name of a stack.

    Raises:
        BadParams: the name or the suffix cannot be used.
    """
    if not NAME.fullmatch(params.name) or "--" in params.name[2:4]:
        raise BadParams(
            "[params]: name is not 3 to 20 lower-case letters, digits and -, beginning with a letter"
        )
    if params.name in settings.reserved:
        raise BadParams(f"[params]: the name {params.name} is reserved", remedy="Choose another.")
    suffix = params.suffix or settings.suffix
    if not _DOMAIN.fullmatch(suffix) or len(suffix) > 200:
        raise BadParams(
            f"{SETTINGS_FILE}: STACK_DOMAIN_SUFFIX, or suffix in [params], is not a domain"
        )
    return f"{params.name}.{suffix}"


def image_of(given: str, settings: StackSettings) -> str:
    """The image of a stack.

    Raises:
        BadParams: there is none, or it has neither tag nor digest.
    """
    image = given or settings.image
    match = IMAGE.fullmatch(image)
    if match is None or not (match["tag"] or match["digest"]):
        raise BadParams(
            f"[params]: the image {image[:300]!r} has neither a tag nor a digest, or is none",
            remedy="Such as ghcr.io/team/workspace:1.2, or STACK_IMAGE in the settings.",
        )
    return image


def environment_of(
    plain: Mapping[str, str], secrets: tuple[str, ...], environ: Mapping[str, str]
) -> str:
    """The environment as the server wants it.

    Raises:
        BadParams: a secret is not among those of the action, or must not be handed out.
    """
    values = dict(plain)
    for name in secrets:
        if name == TOKEN or _OURS.match(name) or not VARIABLE.fullmatch(name):
            raise BadParams(f"[params]: {name[:100]} is not handed to a stack")
        if name in values:
            where = "in environment and in" if name in plain else "twice in"
            raise BadParams(f"[params]: {name} is {where} environment_secrets")
        if not environ.get(name):
            raise BadParams(
                f"[params]: the run has no secret {name}",
                remedy=f'Name it in the action: secrets = ["{TOKEN}", "{name}"].',
            )
        values[name] = environ[name]
    return encoded(values)
