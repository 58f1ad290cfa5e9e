"""Desktops for tests: machines with all that they may have, and what a user data consists of."""

from __future__ import annotations

import base64
import gzip
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import yaml

from dispatcher.desktop.apps import App, choose, read_catalogue
from dispatcher.desktop.certificate import Certificate, make_certificate
from dispatcher.desktop.credentials import Credentials
from dispatcher.desktop.machine import Machine, Vigilance
from dispatcher.host import resources

SSH_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJfJq0NwZ3y0pF6rY1n3jv3m2m9w7v5n1b8k4t6c2x0a someone@example"
CREDENTIALS = Credentials(vnc_password="Canary_8", guacamole_key=b"canary-key-of-16", key_version=1)


@cache
def catalogue() -> dict[str, App]:
    return read_catalogue(resources.path("actions/desktop/formulas/desktop-apps.json").read_bytes())


@cache
def certificate() -> Certificate:
    return make_certificate("desk-1", now=time.time())


def machine(*, apps: tuple[str, ...] = (), name: str = "desk-1", vigilance: Vigilance | None = None,
            ssh_keys: tuple[str, ...] = (SSH_KEY,)) -> Machine:  # fmt: skip
    """A machine with known credentials.

    Args:
        apps: of the shipped catalogue.
    """
    return Machine(
        desktop_id="desk-1",
        run_key="desk-1." + "a" * 40,
        name=name,
        credentials=CREDENTIALS,
        certificate=certificate(),
        apps=choose(catalogue(), apps),
        ssh_keys=ssh_keys,
        vigilance=vigilance,
    )


def full_machine() -> Machine:
    """A machine with every app, and Vigilance."""
    return machine(apps=tuple(catalogue()), vigilance=Vigilance(screenshots=True))


@dataclass(frozen=True, kw_only=True, slots=True)
class Written:
    """A file as cloud-init writes it."""

    content: bytes
    mode: int


def written(user_data: str) -> Mapping[str, Written]:
    """The files of a user data, by path, as a YAML parser sees them."""
    found = {}
    for file in yaml.load(user_data, yaml.CSafeLoader)["write_files"]:
        assert file["encoding"] == "gz+b64"
        assert file["owner"] == "root:root"
        content = gzip.decompress(base64.b64decode(file["content"], validate=True))
        found[file["path"]] = Written(content=content, mode=int(file["permissions"], 8))
    return found


def lay_down(user_data: str, root: Path) -> None:
    """Write the files below a directory, as if it were ``/``."""
    for path, file in written(user_data).items():
        place = root / path.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(file.content)
        place.chmod(file.mode)
