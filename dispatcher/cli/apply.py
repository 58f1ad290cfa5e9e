"""``disinto apply``: bring Vault and Nomad to what the settings say."""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

import click

from dispatcher.cli import console
from dispatcher.cli.changes import show_changes
from dispatcher.cli.options import config_option, json_option
from dispatcher.cli.session import Session
from dispatcher.engines import registry
from dispatcher.errors import Exit

if TYPE_CHECKING:
    from dispatcher.model.checks import Change
    from dispatcher.model.job_class import JobVariant

_SERVERS = ("vault", *(engine.name for engine in registry.engines() if engine.administers))


@click.command("apply")
@click.option("--check", is_flag=True, help="Change nothing; exit with 1 if anything differs.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask before writing.")
@click.option("--only", type=click.Choice(_SERVERS), help="Only this server.")
@click.option(
    "--remove-stale",
    is_flag=True,
    help="Delete policies of secrets that are gone, and jobs of classes no longer used.",
)
@click.option(
    "--adopt", is_flag=True, help="Take over policies with our names from another ops repo."
)
@click.option("--remove", is_flag=True, help="Delete what apply wrote; see below.")
@click.option(
    "--dispatcher", is_flag=True, help="Also apply the Nomad job that runs 'disinto serve'."
)
@click.option("--page", is_flag=True, help="Also apply the Nomad job that runs 'disinto web'.")
@json_option
@config_option
@click.pass_obj
def command(
    session: Session,
    *,
    check: bool,
    yes: bool,
    only: str | None,
    remove_stale: bool,
    adopt: bool,
    remove: bool,
    dispatcher: bool,
    page: bool,
    as_json: bool,
) -> int:
    """Write policies, roles and mounts to Vault; with Nomad, jobs and ACL policies.

    Shows the difference and asks before writing. Applying again changes nothing. Requires
    an operator's VAULT_TOKEN and, with Nomad, a management token in NOMAD_TOKEN.

    --remove deletes the policies and roles that carry this installation's mark and its Nomad jobs,
    once no run is in progress. Secrets, mounts, the transit key and Nomad's variables (the memory
    of which ids ran) stay.
    """
    from dispatcher.model.checks import Step
    from dispatcher.operate.apply import Administration

    administration = Administration(session.on_host("apply"), os.environ)
    if remove and (remove_stale or adopt or dispatcher or page):
        raise click.UsageError("--remove can be combined only with --only, --check and --yes.")
    if remove:
        changes = administration.plan_removal(only=only or "")
    else:
        changes = administration.plan(
            only=only or "",
            remove_stale=remove_stale,
            adopt=adopt,
            config_files=_config_files(session) if dispatcher else None,
            page_files=_config_files(session) if page else None,
            in_use=lambda: _variants_in_use(session),
        )
    differing = [change for change in changes if change.step is not Step.NOTHING]
    checking = "'disinto apply --remove --check'" if remove else "'disinto apply --check'"
    session.on_interrupt = f"interrupted; {checking} shows what is left to do"
    if advice := administration.advice():
        console.note(advice)
    if check or not differing:
        _report(changes, differing, written=False, warnings=(), as_json=as_json)
        return Exit.FAILED if check and differing else Exit.OK
    if not as_json:
        show_changes(changes)
    if not yes and not console.confirmed("Delete this?" if remove else "Write this?"):
        console.note("nothing was changed")
        return Exit.FAILED
    warnings = administration.carry_out()
    _report((), differing, written=True, warnings=warnings, as_json=as_json)
    return Exit.OK


def _variants_in_use(session: Session) -> Collection[JobVariant]:
    """The classes and mounts of open actions; without a reachable ops repo, those known locally. Its
    token is read from Vault with the operator's rights, because `serve` may be able to log in
    where we cannot.
    """
    from dispatcher.assembly import open_repo
    from dispatcher.errors import DisintoError
    from dispatcher.operate.mounts_in_use import variants_in_use
    from dispatcher.settings.jobs import job_classes
    from dispatcher.vault import Vault

    settings = session.settings
    if not settings.ops_repo.remote:
        return ()
    vault = Vault.of_operator(settings.vault, environ=os.environ)
    repo = open_repo(settings, os.environ, vault)
    try:
        return variants_in_use(repo, job_classes(settings))
    except DisintoError as error:
        console.note(
            f"cannot determine the job classes and mounts that open actions need: {error.what}"
        )
        return ()
    finally:
        repo.close()


def _report(
    changes: tuple[Change, ...],
    differing: list[Change],
    *,
    written: bool,
    warnings: tuple[str, ...],
    as_json: bool,
) -> None:
    from dataclasses import asdict

    if as_json:
        console.emit(
            {
                "drift": bool(differing) and not written,
                "written": written,
                "changes": [asdict(change) for change in differing],
                "warnings": warnings,
            }
        )
        return
    if not written:
        show_changes(changes)
    for warning in warnings:
        console.note(warning)
    if written:
        console.note(_done(differing))


def _done(changes: list[Change]) -> str:
    """What was done with so many things: ``2 written, 1 removed``."""
    from dispatcher.model.checks import Step

    removed = sum(change.step is Step.DELETE for change in changes)
    counts = {"written": len(changes) - removed, "removed": removed}
    return ", ".join(f"{count} {what}" for what, count in counts.items() if count)


def _config_files(session: Session) -> dict[str, str]:
    """The files included in the jobs of dispatcher and page: those beside the settings file."""
    from dispatcher.errors import Misconfigured
    from dispatcher.settings import find_settings

    settings = session.settings
    file = find_settings(session.config, os.environ)
    if file is None:
        raise Misconfigured(
            "the jobs of dispatcher and page need a settings file", remedy="Pass it with --config."
        )
    named: tuple[Path | None, ...] = (
        file.resolve(),
        settings.policy.file,
        settings.signed.allowed_signers,
        settings.signed.revoked_keys,
    )
    return {path.name: path.read_text(encoding="utf-8") for path in named if path is not None}
