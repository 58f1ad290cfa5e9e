"""One machine, and the user data that makes it a desktop at its first boot.

The user data is cloud-init's YAML. All it has are files, whose contents are base64, and two commands
without values: so no value is ever read as YAML, by a shell or by nginx. What the files do is in
``templates/``, and in docs/desktops.md.
"""

from __future__ import annotations

import base64
import gzip
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import jinja2

from dispatcher.desktop.apps import App, app_files
from dispatcher.desktop.certificate import Certificate
from dispatcher.desktop.credentials import Credentials
from dispatcher.errors import InvalidValue

USER_DATA_LIMIT = 64 * 1024
"""Bytes of user data that the provider accepts."""

GUACD_IMAGE = "docker.io/guacamole/guacd:1.6.0@sha256:8974eaa9ba32f713daf311e7cc8cd7e4cdfba1edea39eed75524e78ef4b08f4f"
GUACAMOLE_IMAGE = "docker.io/guacamole/guacamole:1.6.0@sha256:f344085e618bb05e22b964b0208dbd06d3468275bac70206f93805245e067b40"

ETC = "/etc/disinto-desktop"
LIB = "/usr/local/lib/disinto-desktop"
UNITS = "/etc/systemd/system"
SCREENSHOTS = "/var/lib/vigilance/screenshots"

_TEMPLATES = Path(__file__).parent / "templates"
_HOST_NAME = re.compile(r"(?=.{1,253}\Z)[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*", re.ASCII)  # fmt: skip
_PASSWORD = re.compile(r"[!-~]{8}", re.ASCII)
_SSH_KEY = re.compile(
    r"(?:sk-)?(?:ssh|ecdsa)-[a-z0-9@.-]{1,60} [A-Za-z0-9+/]{16,6000}={0,2}(?: [ -~]{0,2000})?",
    re.ASCII,
)

_PROGRAMS = {
    f"{LIB}/setup": "setup.sh",
    f"{LIB}/apt-get": "apt-get.sh",
    f"{LIB}/install-apps": "install-apps.sh",
    f"{LIB}/start-vnc": "start-vnc.sh",
    f"{LIB}/wait-for-display": "wait-for-display.sh",
    f"{LIB}/status": "status.py",
}
_FILES = {
    f"{ETC}/nginx/site.conf": "site.conf",
    f"{ETC}/nginx/guacamole.conf": "guacamole.conf",
    f"{ETC}/guacamole/tomcat.xml": "tomcat.xml",
    f"{ETC}/metadata.nft": "metadata.nft",
    f"{ETC}/packages-first": "packages-first",
    f"{ETC}/packages": "packages",
    f"{ETC}/auto-upgrades": "auto-upgrades",
    f"{ETC}/upgrade-units": "upgrade-units",
    "/etc/logrotate.d/disinto-desktop": "logrotate.conf",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Vigilance:
    """What the desktop keeps ready for the Vigilance agent, which is not installed.

    Attributes:
        model: the classifier's model.
        screenshots: whether they are kept.
    """

    model: str = "qwen3:0.6b"
    screenshots: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Machine:
    """What one machine is made from.

    Attributes:
        desktop_id: id of the action that creates it.
        run_key: ``<id>.<blob>``.
        name: for people, and the host name.
        apps: of the catalogue, by their names; see ``apps.choose``.
        ssh_keys: public keys, as lines of ``authorized_keys`` without options.
        vigilance: None if it is off.
    """

    desktop_id: str
    run_key: str
    name: str
    credentials: Credentials
    certificate: Certificate
    apps: Mapping[str, App] = field(default_factory=dict)
    ssh_keys: tuple[str, ...] = ()
    vigilance: Vigilance | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class File:
    """A file of a machine; its owner is root.

    Attributes:
        mode: permissions.
    """

    path: str
    content: bytes = field(repr=False)
    mode: int = 0o644

    @property
    def encoded(self) -> str:
        """Compressed, in base64."""
        return base64.b64encode(gzip.compress(self.content, mtime=0)).decode()


def user_data(machine: Machine) -> str:
    """The cloud-init document of a machine. It holds credentials.

    Raises:
        InvalidValue: a value cannot be used, or the document is larger than the provider accepts.
    """
    text = _render(
        "cloud-config.yaml.j2",
        name=_checked_name(machine.name),
        files=files(machine),
        upgrade_units=_text("upgrade-units").split(),
    )
    if len(text.encode()) > USER_DATA_LIMIT:
        raise InvalidValue(
            f"the user data of {machine.desktop_id} has more than {USER_DATA_LIMIT} bytes",
            remedy="Choose fewer apps or SSH keys.",
        )
    return text


def files(machine: Machine) -> tuple[File, ...]:
    """Every file that the user data brings.

    Raises:
        InvalidValue: a value cannot be used.
    """
    return (*_shipped(), *_own(machine), *_apps(machine.apps))


def _shipped() -> Iterator[File]:
    for path, name in _PROGRAMS.items():
        yield File(path=path, content=_text(name).encode(), mode=0o755)
    for path, name in _FILES.items():
        yield File(path=path, content=_text(name).encode())
    for unit in sorted((_TEMPLATES / "units").iterdir()):
        name = f"units/{unit.name}"
        text = _render(name, guacd_image=GUACD_IMAGE, guacamole_image=GUACAMOLE_IMAGE)
        yield File(path=f"{UNITS}/{unit.name.removesuffix('.j2')}", content=text.encode())
    for program, image in (("guacd", GUACD_IMAGE), ("guacamole", GUACAMOLE_IMAGE)):
        yield File(path=f"{ETC}/guacamole/{program}.image", content=f"{image}\n".encode())


def _own(machine: Machine) -> Iterator[File]:
    identity = {
        "desktop_id": machine.desktop_id,
        "run_key": machine.run_key,
        "name": machine.name,
    }
    yield File(path=f"{ETC}/machine.json", content=_json(identity))
    certificate = machine.certificate
    yield File(path=f"{ETC}/tls/cert.pem", content=certificate.pem.encode())
    yield File(path=f"{ETC}/tls/key.pem", content=certificate.key_pem.encode(), mode=0o600)
    yield File(path=f"{ETC}/vnc-password", content=_vnc_password(machine.credentials), mode=0o600)
    # Addresses that failed to log in are not banned: nobody guesses 128 bits, and behind a gateway all
    # people have one address.
    environment = (
        "GUACD_HOSTNAME=127.0.0.1\nGUACD_PORT=4822\nBAN_ENABLED=false\n"
        f"JSON_SECRET_KEY={machine.credentials.guacamole_key.hex()}\n"
    )
    yield File(path=f"{ETC}/guacamole/environment", content=environment.encode(), mode=0o600)
    if machine.ssh_keys:
        keys = "".join(f"{_checked_key(key)}\n" for key in machine.ssh_keys)
        yield File(path=f"{ETC}/authorized_keys", content=keys.encode())
    if machine.vigilance is not None:
        settings = {
            "classifier_model": machine.vigilance.model,
            "save_screenshots": machine.vigilance.screenshots,
            "screenshots_directory": SCREENSHOTS,
        }
        yield File(path="/etc/vigilance/config.json", content=_json(settings))


def _apps(apps: Mapping[str, App]) -> Iterator[File]:
    for app_id, app in apps.items():
        for name, text in app_files(app_id, app).items():
            yield File(path=f"{ETC}/apps/{app_id}/{name}", content=text.encode())


def _vnc_password(credentials: Credentials) -> bytes:
    if not _PASSWORD.fullmatch(credentials.vnc_password):
        raise InvalidValue("the VNC password is not eight printable ASCII characters")
    return f"{credentials.vnc_password}\n".encode()


def _checked_name(name: str) -> str:
    if not _HOST_NAME.fullmatch(name):
        raise InvalidValue(
            f"{name!r} cannot be a host name", remedy="Use a-z, 0-9, - and dots between them."
        )
    return name


def _checked_key(key: str) -> str:
    if not _SSH_KEY.fullmatch(key):
        raise InvalidValue(
            f"an SSH key beginning with {key[:20]!r} is not a public key",
            remedy="Give the line of a .pub file, without options.",
        )
    return key


def _json(value: object) -> bytes:
    return (json.dumps(value, indent=2) + "\n").encode()


def _text(name: str) -> str:
    return (_TEMPLATES / name).read_text("utf-8")


def _render(name: str, /, **values: object) -> str:
    return _environment().get_template(name).render(values)


@cache
def _environment() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.FunctionLoader(_text),
        undefined=jinja2.StrictUndefined,
        autoescape=False,  # noqa: S701 - YAML and units, not HTML; see the module's docstring
        keep_trailing_newline=True,
        trim_blocks=True,
    )
