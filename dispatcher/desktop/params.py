"""What a run reads: its params, the settings beside its formula, and its environment.

The params were checked against the formula's schema before anything was minted. Here they become
records, and what a schema cannot say is checked: a lifetime, for example.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from dispatcher.desktop.gateway import ID_RULE, host_at, is_gateway_host
from dispatcher.desktop.machine import Vigilance
from dispatcher.model.times import parse_duration
from dispatcher.provision.params import BadParams, Strict, Time, Url, read_record
from dispatcher.provision.params import read_settings as from_file

SETTINGS_FILE = "desktop-settings.json"
"""The settings, beside the formulas: a file that each of them reads, so it is approved with them."""

VIGILANCE_SIZE = "s-4vcpu-8gb"
DEFAULT_SIZE = "s-2vcpu-4gb"
_KEY_OF_ACCOUNT = re.compile(
    r"[0-9]{1,18}|[0-9a-f]{2}(:[0-9a-f]{2}){15}|SHA256:[A-Za-z0-9+/]{43}=?"
)
_SLUG = re.compile(r"[a-z0-9][a-z0-9-]{0,99}")
_SHORTEST_LIFE_S = 600.0
_LONGEST_LIFE_S = 366 * 86400.0


class CreateParams(Strict):
    """``[params]`` of ``desktop``; docs/desktops.md explains them."""

    name: str
    region: str = "sfo3"
    size: str = ""
    image: str = ""
    apps: tuple[str, ...] = ()
    ssh_keys: tuple[str, ...] = ()
    lifetime: str = ""
    keep_on_error: bool = False
    vigilance: bool = False
    vigilance_model: str = "qwen3:0.6b"
    vigilance_screenshots: bool = False

    @model_validator(mode="after")
    def _together(self) -> CreateParams:
        if self.lifetime:
            seconds = parse_duration(self.lifetime)
            if not _SHORTEST_LIFE_S <= seconds <= _LONGEST_LIFE_S:
                raise ValueError("lifetime is not between 10m and 366d")
        if self.keep_on_error and not self.lifetime:
            raise ValueError(
                "keep_on_error needs lifetime: a machine that is kept is billed until it expires"
            )
        if self.vigilance and self.size not in ("", VIGILANCE_SIZE):
            raise ValueError(f"vigilance needs the size {VIGILANCE_SIZE}")
        return self

    @property
    def chosen_size(self) -> str:
        return self.size or (VIGILANCE_SIZE if self.vigilance else DEFAULT_SIZE)

    @property
    def life_s(self) -> float | None:
        """Seconds until it expires; None for never."""
        return parse_duration(self.lifetime) if self.lifetime else None

    @property
    def watched(self) -> Vigilance | None:
        if not self.vigilance:
            return None
        return Vigilance(model=self.vigilance_model, screenshots=self.vigilance_screenshots)


class DestroyParams(Strict):
    """``[params]`` of ``desktop-destroy``; ``project`` and ``droplet_id`` are those of the inventory entry."""

    id: str
    project: str = ""
    droplet_id: int | None = Field(default=None, gt=0, lt=2**63)


class ReapParams(Strict):
    """``[params]`` of ``desktop-reap``."""

    listed_at: Time
    known_droplets: tuple[int, ...] = ()
    known_runs: tuple[str, ...] = ()
    remove: bool = False


def _ssh_key(text: str) -> str:
    if not _KEY_OF_ACCOUNT.fullmatch(text):
        raise ValueError(
            "it is neither the number nor the fingerprint of a key, such as 512190 or 3b:16:bf:…"
        )
    return text


def _image(text: str) -> str:
    if text and not _SLUG.fullmatch(text):
        raise ValueError(
            "it is neither a slug such as ubuntu-24-04-x64 nor the number of a snapshot"
        )
    return text


_Port = Annotated[int, Field(ge=1, le=65535)]
_Image = Annotated[str, AfterValidator(_image)]
_SshKey = Annotated[str, AfterValidator(_ssh_key)]


class DesktopSettings(Strict):
    """``desktop-settings.json``; the names in capitals are those of DigitalOcean's own tools."""

    image_slug: _Image = Field(default="", alias="DIGITALOCEAN_IMAGE_SLUG")
    latest_ubuntu: bool = Field(default=True, alias="DIGITALOCEAN_USE_LATEST_UBUNTU_IMAGE")
    ssh_keys: tuple[_SshKey, ...] = Field(default=(), alias="DIGITALOCEAN_SSH_KEYS")
    api_url: Url = Field(default="https://api.digitalocean.com", alias="DIGITALOCEAN_API_URL")
    project: str = Field(default="disinto", pattern=r"^[a-z][a-z0-9-]{0,30}$")
    gateway_host: str = ""
    http_port: _Port = 80
    https_port: _Port = 443

    @model_validator(mode="after")
    def _image(self) -> DesktopSettings:
        if not self.image_slug and not self.latest_ubuntu:
            raise ValueError(
                "DIGITALOCEAN_USE_LATEST_UBUNTU_IMAGE is false, so DIGITALOCEAN_IMAGE_SLUG is needed"
            )
        return self

    @model_validator(mode="after")
    def _gateway(self) -> DesktopSettings:
        if self.gateway_host and not is_gateway_host(self.gateway_host):
            raise ValueError(
                "gateway_host is not a domain in lower case, such as desks.example.com"
            )
        return self

    def check_id(self, desktop_id: str) -> None:
        """Check that a desktop of this id can be reached.

        Raises:
            BadParams: it cannot have a host name at the gateway.
        """
        if self.gateway_host and not host_at(self.gateway_host, desktop_id):
            raise BadParams(
                f"{desktop_id} cannot be a host name at the gateway {self.gateway_host}",
                remedy=ID_RULE,
            )


def check_create(params: Mapping[str, object]) -> None:
    """Whether a run would accept these params, as far as no schema says it.

    Raises:
        BadParams: it would not; names each problem.
    """
    read_record(CreateParams, json.dumps(params), "[params]")


def read_settings(environ: Mapping[str, str]) -> DesktopSettings:
    """The settings beside the formula; all have defaults, and the file may be missing.

    Raises:
        BadParams: they cannot be used; names each.
    """
    return from_file(DesktopSettings, environ, SETTINGS_FILE)


def parse_settings(text: str | bytes) -> DesktopSettings:
    """The settings in the text of their file.

    Raises:
        BadParams: they cannot be used; names each.
    """
    return read_record(DesktopSettings, text, SETTINGS_FILE)
