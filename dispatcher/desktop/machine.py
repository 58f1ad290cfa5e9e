"""One machine, and the user data that makes it a desktop at its first boot."""

from __future__ import annotations

import json
from dataclasses import dataclass

from dispatcher.desktop.certificate import Certificate
from dispatcher.desktop.credentials import Credentials
from dispatcher.errors import InvalidValue

USER_DATA_LIMIT = 64 * 1024
"""Bytes of user data that the provider accepts."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Vigilance:
    """What the desktop keeps ready for the Vigilance agent.

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
        apps: names in the catalogue.
        ssh_keys: public keys, as lines of ``authorized_keys``.
        vigilance: None if it is off.
    """

    desktop_id: str
    run_key: str
    name: str
    credentials: Credentials
    certificate: Certificate
    apps: tuple[str, ...] = ()
    ssh_keys: tuple[str, ...] = ()
    vigilance: Vigilance | None = None


def user_data(machine: Machine) -> str:
    """The cloud-init document of a machine.

    Raises:
        InvalidValue: it is larger than the provider accepts.
    """
    document = {"hostname": machine.name, "ssh_authorized_keys": list(machine.ssh_keys)}
    text = "#cloud-config\n" + json.dumps(document) + "\n"  # JSON is YAML
    if len(text.encode()) > USER_DATA_LIMIT:
        raise InvalidValue(
            f"the user data of {machine.desktop_id} has more than {USER_DATA_LIMIT} bytes",
            remedy="Choose fewer apps or SSH keys.",
        )
    return text
