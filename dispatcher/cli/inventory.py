"""``disinto inventory``: what exists because a run created it."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

import click

from dispatcher.cli import console
from dispatcher.cli.options import config_option, json_option
from dispatcher.cli.session import Session
from dispatcher.cli.tables import table

if TYPE_CHECKING:
    from dispatcher.loop.inventory import InventoryEntry
    from dispatcher.operate.probe import Probed

    Probes = dict[tuple[str, str], tuple[Probed, ...]]


@click.command("inventory")
@click.argument("kind", required=False)
@click.option(
    "--probe", is_flag=True, help="Check whether the addresses of entries can be reached."
)
@json_option
@config_option
@click.pass_obj
def command(session: Session, kind: str | None, *, probe: bool, as_json: bool) -> None:
    """List what exists because a run created it, by kind, from the ops repo.

    An entry is what the last signed result says that wrote it. A file that somebody changed or
    removed is named, and not followed. Files that no result of this dispatcher wrote are listed with
    the reason, and nothing is done about them: they are not probed, and they do not expire.

    --probe connects to the addresses that an entry gives, and sends nothing. A TLS certificate must
    be the one whose fingerprint the entry has.
    """
    entries, edited = _read(session, kind)
    probes: Probes = {}
    if probe:
        from dispatcher.operate.probe import probe as probed

        probes = probed(entries)
    if as_json:
        plain = [plain_entry(entry, probes) for entry in entries]
        console.emit({"entries": plain, "edited_results": list(edited)})
        return
    _show(entries, probes, probe=probe)
    console.note_edited(edited)


def _read(session: Session, kind: str | None) -> tuple[list[InventoryEntry], tuple[str, ...]]:
    """The entries, and the ids of results that somebody edited or removed."""
    from dispatcher.assembly import open_inventory, open_ledger, open_repo, open_vault
    from dispatcher.loop.kept_results import kept_by
    from dispatcher.loop.signing import result_verifier
    from dispatcher.ops_repo import Tree

    settings = session.settings
    vault = open_vault(settings, os.environ)
    repo = open_repo(settings, os.environ, vault)
    tree = Tree()
    repo.advance(tree, repo.fetch().commit)
    reader = open_inventory(settings, repo, result_verifier(settings, vault))
    ledger = None if session.is_author else open_ledger(settings, os.environ)
    return reader.all(tree, kind=kind, kept=kept_by(ledger)), reader.edited


def plain_entry(entry: InventoryEntry, probes: Probes) -> dict[str, Any]:
    """An entry as plain data, for ``--json``."""
    from dataclasses import asdict

    probed = probes.get((entry.kind, entry.id))
    return {
        "kind": entry.kind,
        "id": entry.id,
        "believed": not entry.problem,
        "problem": entry.problem or None,
        "missing": entry.missing,
        "forged": entry.forged or None,
        "path": entry.path,
        "result": entry.result or None,
        "since": entry.at or None,
        "tier": entry.tier or None,
        "approved_by": entry.approved_by,
        "destroyed_by": entry.destroyed_by or None,
        "expires_at": entry.expires_at or None,
        "entry": entry.entry,
        "probes": None if probed is None else [asdict(each) for each in probed],
    }


def _show(entries: list[InventoryEntry], probes: Probes, *, probe: bool) -> None:
    now = time.time()
    believed = [entry for entry in entries if not entry.problem]
    table(
        ("KIND", "ID", "SINCE", "EXPIRES", "RESULT", *(["REACHABLE"] if probe else [])),
        [
            (
                each.kind,
                each.id,
                each.at[:19].replace("T", " "),
                _expiry(each, now),
                each.result,
                *([_reached(probes.get((each.kind, each.id), ()))] if probe else []),
            )
            for each in believed
        ],
    )
    for entry in entries:
        if entry.problem:
            console.say(
                f"{console.styled('not believed', 'yellow')}  {entry.path}: "
                f"{console.clean(entry.problem)}"
            )
        elif entry.missing:
            console.say(
                f"{console.styled('missing', 'yellow')}  {entry.path}: somebody removed the file; "
                f"shown as the result of {entry.result} has it"
            )
        elif entry.forged:
            console.say(
                f"{console.styled('forged', 'yellow')}  {entry.path}: "
                f"{console.clean(entry.forged)}; shown as the result of {entry.result} has it"
            )
    for (_kind, entry_id), each in probes.items():
        for one in each:
            if not one.reachable:
                console.say(
                    f"{entry_id}: {console.clean(one.address)}: {console.clean(one.reason)}"
                )
    console.note(f"{len(believed)} entries" if len(believed) != 1 else "1 entry")


def _expiry(entry: InventoryEntry, now: float) -> str:
    """The time at which it is destroyed, UTC."""
    at = entry.expires_s
    if at is None:
        return "never"
    from dispatcher.model.times import rfc3339

    shown = rfc3339(at)[:19].replace("T", " ") + "Z"
    return f"{shown} (over)" if at <= now else shown


def _reached(probed: tuple[Probed, ...]) -> str:
    if not probed:
        return "no address"
    reached = sum(each.reachable for each in probed)
    return "yes" if reached == len(probed) else f"{reached} of {len(probed)}"
