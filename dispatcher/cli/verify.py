"""``disinto verify``: is a result as its dispatcher signed it?"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from dispatcher.cli import console
from dispatcher.cli.complete import finished_ids
from dispatcher.cli.options import config_option, json_option, key_option
from dispatcher.cli.session import Session
from dispatcher.errors import Exit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    from dispatcher.attestation import Verification
    from dispatcher.operate.evidence import Evidence
    from dispatcher.ops_repo import OpsRepo


@click.command("verify")
@click.argument("target", metavar="ID|FILE", shell_complete=finished_ids)
@key_option("")
@json_option
@config_option
@click.pass_obj
def command(session: Session, target: str, keys: tuple[Path, ...], *, as_json: bool) -> int:
    """Check that a result, and the action beside it, are as the dispatcher signed them.

    A FILE is <id>.result.json with its action beside it; with --key nothing else is needed, no
    server and no settings. An ID is looked up in the ops repo, with its formula, and with the run's
    whole output if the result names any that is still kept.

    Exits with 1 if any check fails, and reports which.
    """
    evidence, repo = _evidence(session, target)
    verification = evidence.check(_trusted(session, keys))
    output = ""
    if repo is not None and verification.verified:
        verification, output = _with_output(repo, evidence, verification)
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
                "output": output or None,
                "statement": dict(verification.predicate),
            }
        )
    elif verification.verified:
        console.say(f"{evidence.path}: verified, signed by {verification.keyid[:16]}")
    for finding in () if as_json else verification.findings:
        console.say(f"{evidence.path}: {finding}")
    if output and not as_json:
        console.say(f"output of {evidence.action_id}: {output}")
    return Exit.OK if verification.verified else Exit.FAILED


def _with_output(
    repo: OpsRepo, evidence: Evidence, verification: Verification
) -> tuple[Verification, str]:
    """The verification with that of the output, and what became of it in words; "" without one."""
    from dispatcher.model.result import Result
    from dispatcher.operate.kept_output import check_output

    output = Result.model_validate_json(evidence.data).output
    if output is None:
        return verification, ""
    words, finding = check_output(repo, output)
    return verification if finding is None else replace(verification, findings=(finding,)), words


def _evidence(session: Session, target: str) -> tuple[Evidence, OpsRepo | None]:
    """The evidence, and the ops repo if it is from there."""
    from dispatcher.operate import evidence

    if "/" in target or "." in target:
        return evidence.of_file(Path(target)), None
    from dispatcher.assembly import open_repo
    from dispatcher.ops_repo import Tree

    repo = open_repo(session.settings, os.environ)
    tree = Tree()
    repo.advance(tree, repo.fetch().commit)
    return evidence.of_action(target, repo=repo, tree=tree), repo


def _trusted(session: Session, keys: tuple[Path, ...]) -> Sequence[Ed25519PublicKey]:
    from dispatcher.operate.evidence import trusted_keys

    if keys:
        return trusted_keys(keys, None, None)
    from dispatcher.assembly import open_vault
    from dispatcher.vault.transit import TransitKey

    settings = session.settings
    transit = TransitKey(open_vault(settings, os.environ), settings)
    return trusted_keys((), settings, transit)
