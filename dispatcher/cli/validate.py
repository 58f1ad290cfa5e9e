"""``disinto validate``: everything that is wrong with action files, at once."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from dispatcher.cli import console
from dispatcher.cli.options import config_option, json_option
from dispatcher.cli.session import Session
from dispatcher.errors import Exit

if TYPE_CHECKING:
    from dispatcher.operate.operator_files import Own
    from dispatcher.operate.params_check import Find
    from dispatcher.operate.preflight import Checked, Names


@click.command("validate")
@click.argument("paths", type=click.Path(path_type=Path), nargs=-1, metavar="[PATH…]")
@click.option(
    "--online",
    is_flag=True,
    help="Also check secrets in Vault and formulas on the remote.",
)
@json_option
@config_option
@click.pass_obj
def command(session: Session, paths: tuple[Path, ...], *, online: bool, as_json: bool) -> int:
    """Check action files and schedules, or those of an ops repo; settings and a policy too.

    Of a directory, its open actions are checked; of an ops repo, its open actions and its schedules.
    Without a PATH, that is the current directory.

    Every problem is reported with its file, line and column. Names in an action are checked as
    far as possible from here: formulas and mounts if there are settings, secrets with --online.
    With settings, it also shows what raises an action's tier above its formula's.

    In a directory, files that have a result beside them are skipped: their ids are used up. So are
    disinto.toml, policy.toml and sidecars.toml, which are judged as what they are if they are named,
    as is the schema of a formula.

    Exits with 65 if anything is wrong.
    """
    from dispatcher.operate.operator_files import OF_ACTIONS
    from dispatcher.operate.preflight import Names, action_files, check_files

    files = action_files(paths or (Path(),))
    own = _own(session, files.files)
    actions = not files.files or any(own.kind_of(file) in OF_ACTIONS for file in files.files)
    names = known_names(session, online=online) if actions else Names()
    checked = check_files(files.files, names, own=own, environ=os.environ)
    wrong = [file for file in checked if file.problems]
    if as_json:
        console.emit(
            {
                "valid": not wrong,
                "finished": [str(path) for path in files.finished],
                "files": [
                    {
                        "path": file.path,
                        "id": file.id or None,
                        "kind": file.kind,
                        "valid": not file.problems,
                        "problems": [asdict(problem) for problem in file.problems],
                        "tier": _plain_tier(file),
                        "unchecked": file.unchecked,
                        "odd": [asdict(problem) for problem in file.odd],
                    }
                    for file in checked
                ],
            }
        )
    else:
        _show(checked, len(files.finished))
    return Exit.DATAERR if wrong else Exit.OK


def _show(checked: Sequence[Checked], finished: int) -> None:
    """For people: problems to standard output, everything else to standard error."""
    from dispatcher.operate.operator_files import FileKind

    for file in checked:
        for problem in file.problems:
            console.say(str(problem))
    for file in checked:
        if file.tier is not None and file.tier.raised:
            console.say(f"{file.path}: tier {file.tier.tier}: {file.tier.reason}")
    for file in checked:
        for odd in file.odd:
            console.note(str(odd))
        if file.unchecked:
            console.note(f"{file.path}: {file.unchecked}")
        if file.kind is not FileKind.ACTION:
            console.note(f"{file.path}: {_about(file)}")
    of_actions = [file for file in checked if file.kind is FileKind.ACTION]
    if of_actions or not checked:
        invalid = sum(bool(file.problems) for file in of_actions)
        console.note(_summary(len(of_actions), invalid, finished))


def _own(session: Session, files: Collection[Path]) -> Own:
    """The operator's own files. The settings are read only if a file is neither by its name, so that
    settings that are wrong can be judged themselves.
    """
    from dispatcher.operate.operator_files import OF_ACTIONS, Own
    from dispatcher.settings import find_settings

    own = Own(settings=find_settings(session.config, os.environ))
    if own.settings is None or all(own.kind_of(file) not in OF_ACTIONS for file in files):
        return own
    settings = session.settings
    return Own(
        settings=own.settings,
        policy=settings.policy.file,
        sidecars=settings.sidecars.file,
        formulas=settings.formulas.path,
    )


def _about(file: Checked) -> str:
    """What a file is that is no action, and whether it is valid."""
    from dispatcher.operate.operator_files import FileKind

    if file.kind is FileKind.FORMULA:
        return "a formula, not an action; there is nothing to check"
    names = {FileKind.SCHEMA: "schema of a formula", FileKind.PROJECT: "description of a project"}
    what = names.get(file.kind, file.kind)
    return f"{what}, not an action: {'invalid' if file.problems else 'valid'}"


def _plain_tier(file: Checked) -> dict[str, object] | None:
    """The tier with everything that contributes to it, as plain data; None if unknown."""
    if file.tier is None:
        return None
    contributions = [asdict(contribution) for contribution in file.tier.contributions]
    return {
        "tier": file.tier.tier,
        "reason": file.tier.reason,
        "contributions": contributions,
    }


def known_names(session: Session, *, online: bool) -> Names:
    """The names available here that an action may use."""
    from dispatcher.operate.preflight import Names
    from dispatcher.settings import find_settings

    if not online and find_settings(session.config, os.environ) is None:
        return Names()
    known, find = _repo_formulas(session, fetch=online)
    return Names.of(
        session.settings,
        repo_formulas=known,
        find_in_repo=find,
        secrets=_secret_names(session) if online else None,
    )


def _repo_formulas(session: Session, *, fetch: bool) -> tuple[Collection[str] | None, Find | None]:
    """Names of the formulas in the ops repo, and what finds one; None if it was never fetched here."""
    from dispatcher.assembly import open_repo
    from dispatcher.loop.formulas import FormulaStore
    from dispatcher.ops_repo import Tree

    settings = session.settings
    if not settings.ops_repo.remote:
        return None, None
    repo = open_repo(settings, os.environ)
    head = repo.fetch() if fetch else repo.local_head()
    if head is None:
        return None, None
    tree = Tree()
    repo.advance(tree, head.commit)
    store = FormulaStore(folder=None, repo=repo)
    return tuple(tree.formulas), lambda name: store.find(name, tree)


def _secret_names(session: Session) -> Collection[str]:
    from dispatcher.assembly import open_vault
    from dispatcher.vault import Grants

    return Grants(open_vault(session.settings, os.environ), session.settings).secret_names()


def _summary(files: int, wrong: int, finished: int) -> str:
    noun = "action file" if files == 1 else "action files"
    skipped = f"; {finished} finished, not checked" if finished else ""
    verdict = f"{wrong} of them invalid" if wrong else "all valid"
    return f"{files} {noun}, {verdict}{skipped}"
