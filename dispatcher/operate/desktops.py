"""What ``disinto desktop`` shows and sends: desktops of the inventory, and the actions about them.

Creating, destroying and reaping are actions like any other; these functions only write their text.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from dispatcher.desktop.apps import CATALOGUE_FILE, choose, find_catalogue
from dispatcher.desktop.cloud import NAME, TOKEN
from dispatcher.desktop.credentials import VARIABLE
from dispatcher.desktop.lifecycle import State
from dispatcher.desktop.params import check_create
from dispatcher.errors import InvalidValue
from dispatcher.loop.inventory import InventoryEntry
from dispatcher.operate.provisioned import Kind, Resource, Resources, action_text
from dispatcher.operate.provisioned_actions import NewAction
from dispatcher.toml.source import quoted

KIND = "desktop"
CREATE, DESTROY, REAP = "desktop", "desktop-destroy", "desktop-reap"
"""Names of the formulas."""


DESKTOP = Kind(name=KIND, create=CREATE, destroy=DESTROY, given=("project", "droplet_id"))


@dataclass(frozen=True, kw_only=True, slots=True)
class Desktop(Resource):
    """One desktop, as it is shown."""

    UNFINISHED: ClassVar = frozenset({State.PROVISIONING.value, State.CONFIGURING.value})

    @property
    def apps_failed(self) -> tuple[str, ...]:
        """Names of the apps that could not be installed."""
        failed = self.entry.entry.get("apps_failed") if self.entry and not self.problem else None
        return tuple(str(app)[:40] for app in failed[:20]) if isinstance(failed, list) else ()

    def as_json(self) -> dict[str, Any]:
        """The record of a desktop."""
        entry = self.entry
        return {
            **self.record(("name", "region", "size", "address", "gateway_host")),
            "expires_at": entry.expires_at or None if entry else None,
            "apps_failed": list(self.apps_failed),
        }


@dataclass(frozen=True, kw_only=True)
class Desktops(Resources[Desktop]):
    """Reads desktops."""

    kind: Kind = DESKTOP
    make: type[Desktop] = Desktop

    def reap_params(
        self, *, now: float, run_keys: Collection[str] | None = None, remove: bool = False
    ) -> dict[str, Any]:
        """``[params]`` of ``desktop-reap``; see ``Resources``."""
        params = Resources.reap_params(self, now=now, run_keys=run_keys, remove=remove)
        droplets = {
            droplet for entry in self.entries() if (droplet := _droplet_of(entry)) is not None
        }
        return {**params, "known_droplets": sorted(droplets)}

    def needs_run_key(self, entry: InventoryEntry) -> bool:
        """See ``Resources``: one whose machine is named needs none."""
        return _droplet_of(entry) is None and Resources.needs_run_key(self, entry)


def _droplet_of(entry: InventoryEntry) -> int | None:
    """The machine that an entry names."""
    droplet = entry.entry.get("droplet_id")
    return droplet if isinstance(droplet, int) and droplet > 0 else None


def creating(action_id: str, params: Mapping[str, Any], *, catalogue: Path | None = None) -> bytes:
    """The action that creates a desktop.

    Args:
        catalogue: the directory with ``desktop-apps.json``, where it is at hand.

    Raises:
        InvalidValue: the name is none, or the catalogue lacks an app.
        BadParams: a run would refuse the params.
    """
    if not NAME.fullmatch(str(params["name"])):
        raise InvalidValue(
            f"{quoted(str(params['name']))} cannot be the name of a desktop",
            remedy="Use a-z, 0-9 and -, the first a letter, at most 41, such as alice-1.",
        )
    if catalogue is not None and (catalogue / CATALOGUE_FILE).is_file():
        choose(find_catalogue(catalogue), params.get("apps", ()))
    check_create(params)
    return action_text(action_id, CREATE, f"desktop {params['name']}", (TOKEN, VARIABLE), params)


def creation(
    desktops: Desktops, params: Mapping[str, Any], *, action_id: str = "", catalogue: Path | None
) -> NewAction:
    """The action that creates a desktop.

    Args:
        action_id: of the action and the desktop; "" for ``desktop-NAME``, or with a number.
        catalogue: see ``creating``.

    Raises:
        InvalidValue, BadParams: see ``creating``.
        Conflict: no id is free.
    """
    new_id = action_id or desktops.free_id(f"desktop-{params['name']}")
    return NewAction(id=new_id, data=creating(new_id, params, catalogue=catalogue))


def destroying(
    action_id: str, entry_id: str, *, formula: str = "", given: Mapping[str, Any] | None = None
) -> bytes:
    """The action that destroys one, by the formula that its entry names.

    Args:
        given: other params, by the entry.
    """
    params = {"id": entry_id, **(given or {})}
    return action_text(
        action_id, formula or DESTROY, f"destroy desktop {entry_id}", (TOKEN,), params
    )


def reaping(action_id: str, params: Mapping[str, Any]) -> bytes:
    """The action that finds machines that nothing names, and removes them if its params say so."""
    return action_text(action_id, REAP, "find desktops that are left over", (TOKEN,), params)
