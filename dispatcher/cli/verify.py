"""``disinto verify``: is a result as its dispatcher signed it?"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from dispatcher.cli import console
from dispatcher.cli.complete import finished_ids
from dispatcher.cli.options import config_option, json_option
from dispatcher.cli.session import Session
from dispatcher.errors import Exit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    from dispatcher.operate.evidence import Evidence


@click.command("verify")
@click.argument("target", metavar="ID|FILE", shell_complete=finished_ids)
@click.option(
    "--key",
    "keys",
    multiple=True,
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Trusted public key (PEM); default: this dispatcher's.",
)
@json_option
@config_option
@click.pass_obj
def command(session: Session, target: str, keys: tuple[Path, ...], *, as_json: bool) -> int:
    """Check that a result, and the action beside it, are as the dispatcher signed them.

    A FILE is <id>.result.json with its action beside it; with --key nothing else is needed, no
    server and no settings. An ID is looked up in the ops repo, with its formula.

    Exits with 1 if any check fails, and reports which.
    """
    evidence = _evidence(session, target)
    verification = evidence.check(_trusted(session, keys))
    if as_json:
        console.emit(
            {
                "id": evidence.action_id,
                "verified": verification.verified,
                "key": verification.keyid,
                "findings": [
                    {"kind": f.kind.value, "message": f.message, "field": f.field}
                    for f in verification.findings
                ],
                "statement": dict(verification.predicate),
            }
        )
    elif verification.verified:
        console.say(f"{evidence.path}: verified, signed by {verification.keyid[:16]}")
    for finding in () if as_json else verification.findings:
        console.say(f"{evidence.path}: {finding}")
    return Exit.OK if verification.verified else Exit.FAILED


def _evidence(session: Session, target: str) -> Evidence:
    from dispatcher.operate import evidence

    if "/" in target or "." in target:
        return evidence.of_file(Path(target))
    from dispatcher.assembly import open_repo
    from dispatcher.ops_repo import Tree

    repo = open_repo(session.settings, os.environ)
    tree = Tree()
    repo.advance(tree, repo.fetch().commit)
    return evidence.of_action(target, repo=repo, tree=tree)


def _trusted(session: Session, keys: tuple[Path, ...]) -> Sequence[Ed25519PublicKey]:
    from dispatcher.operate.evidence import trusted_keys

    if keys:
        return trusted_keys(keys, None, None)
    from dispatcher.assembly import open_vault
    from dispatcher.vault.transit import TransitKey

    settings = session.settings
    transit = TransitKey(open_vault(settings, os.environ), settings)
    return trusted_keys((), settings, transit)
