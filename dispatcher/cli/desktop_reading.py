"""What the commands about desktops and stacks read: the ops repo, and the inventory in it, verified."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import click

from dispatcher.cli import console
from dispatcher.cli.complete import desktop_ids
from dispatcher.cli.options import key_option

if TYPE_CHECKING:
    from dispatcher.cli.session import Session
    from dispatcher.ledger.base import Ledger
    from dispatcher.loop.verifying import Verifier
    from dispatcher.operate.desktops import Desktops
    from dispatcher.operate.provisioned import Resources
    from dispatcher.operate.submission_client import SubmissionClient
    from dispatcher.status.overview import Overview

T = TypeVar("T", bound="Resources[Any]")

ID = click.argument("desktop_id", metavar="ID", shell_complete=desktop_ids)
KEYS = key_option(" of results")


@dataclass(frozen=True, kw_only=True)
class Reading(Generic[T]):
    """The ops repo at its present head.

    Attributes:
        client: sends actions.
        resources: desktops, or stacks.
        claimed: run keys of the runs that the ledger has, from before the ops repo was read; None if that was not
            asked for, or there is no ledger within reach.
    """

    client: SubmissionClient
    resources: T
    claimed: Collection[str] | None = None

    def note_edited(self) -> None:
        """Name the results that somebody edited or removed, as far as what was read comes from them."""
        console.note_edited(self.resources.reader.edited)


def read(
    session: Session,
    keys: tuple[Path, ...] = (),
    *,
    strict: bool = False,
    claims: bool = False,
    kind: Callable[..., T],
) -> Reading[T]:
    """Fetch, and read.

    Args:
        keys: public keys that count, instead of this dispatcher's.
        strict: whether nothing may be believed that no key verifies.
        claims: whether to read the claims of the ledger as well.
        kind: makes what reads them: ``Desktops``, or ``Stacks``.

    Raises:
        Misconfigured: (when an entry is read) strict, and there is no key.
        Unavailable, Denied: the remote, Vault if it has the key, or the ledger if its claims are read.
    """
    from dispatcher.assembly import open_inventory
    from dispatcher.cli.following import open_client
    from dispatcher.loop.kept_results import kept_by

    client = open_client(session)
    verifier = _verifier(session, keys, strict=strict)
    # Claims first: a run that ends meanwhile is among them, or among the results.
    claimed = _claimed(client.ledger) if claims else None
    client.repo.advance(client.tree, client.repo.fetch().commit)
    reader = open_inventory(session.settings, client.repo, verifier)
    return Reading(
        client=client,
        claimed=claimed,
        resources=kind(
            repo=client.repo,
            tree=client.tree,
            reader=reader,
            overview=_overview(session),
            kept=kept_by(client.ledger),
        ),
    )


def read_desktops(
    session: Session,
    keys: tuple[Path, ...] = (),
    *,
    strict: bool = False,
    claims: bool = False,
) -> Reading[Desktops]:
    """Fetch, and read the desktops. See ``read``."""
    from dispatcher.operate.desktops import Desktops

    return read(session, keys, strict=strict, claims=claims, kind=Desktops)


def _claimed(ledger: Ledger | None) -> Collection[str] | None:
    from dispatcher.model.run import Phase

    if ledger is None:
        return None
    claims = ledger.open_runs()
    return {claim.key.token for claim in claims if claim.phase is not Phase.TOMBSTONE}


def _overview(session: Session) -> Overview | None:
    """What a dispatcher on this machine wrote a moment ago."""
    from dispatcher.status import status_file

    status = status_file.read(session.settings.state_dir)
    return status.overview if status is not None and status.fresh else None


def _verifier(session: Session, keys: tuple[Path, ...], *, strict: bool) -> Verifier:
    from dispatcher.attestation import SignatureVerifier
    from dispatcher.loop.signing import result_verifier
    from dispatcher.loop.verifying import Unsigned
    from dispatcher.operate.evidence import trusted_keys
    from dispatcher.vault import Vault
    from dispatcher.vault.transit import TransitKey

    settings = session.settings
    if keys or strict:
        vault = Vault.of_operator(settings.vault, environ=os.environ)
        # Looked for when there is something to verify: before the first result there is none.
        return SignatureVerifier(lambda: trusted_keys(keys, settings, TransitKey(vault, settings)))
    if session.is_author and not settings.attestation.transit_key:
        console.note("the inventory is shown as it is in git, unverified: pass --key FILE")
        return Unsigned()
    from dispatcher.assembly import open_vault

    return result_verifier(settings, open_vault(settings, os.environ))
