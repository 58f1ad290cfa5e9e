"""Preflight: checks action files locally, before they reach git and a dispatcher.

It uses the same parser and name checks as ``serve``. Only the known names differ: on an author's
machine there may be no settings, no vault and no engine, and a name that cannot be checked is no
problem of the file.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from dispatcher.decide.locks import lock_problems
from dispatcher.decide.placing import claimed, place
from dispatcher.decide.policy import Policy, load_policy
from dispatcher.decide.tiers import TierDecision, effective_tier
from dispatcher.engines import registry
from dispatcher.errors import NotFound, Problem
from dispatcher.model.action import (
    MAX_ACTION_BYTES,
    Action,
    InvalidAction,
    oversized_action,
    parse_action,
)
from dispatcher.model.job_class import JobClasses
from dispatcher.model.mounts import Mount
from dispatcher.model.paths import (
    ACTIONS_PATH,
    CANCEL_ENDING,
    FORMULAS_PATH,
    RESULT_ENDING,
    SCHEDULES_PATH,
)
from dispatcher.model.references import check_names
from dispatcher.model.run import FormulaKind
from dispatcher.model.schedule import (
    SCHEDULE_BYTES,
    InvalidSchedule,
    parse_schedule,
    unreplaced,
)
from dispatcher.operate.operator_files import CONFIGURATION, FileKind, Own, problems_of
from dispatcher.operate.params_check import Find, first_of, in_directories, schema_problems
from dispatcher.settings import Settings
from dispatcher.settings.dynamic import variables_of
from dispatcher.settings.jobs import job_classes
from dispatcher.sources.schedules import KIND, Defined, wanted_of
from dispatcher.sources.slot_action import relocated
from dispatcher.sources.text import action_text, parsed
from dispatcher.toml.source import TomlSource

_NO_BLOB = "0" * 40
"""Of a schedule that is not in git; it has the length of a hash."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Names:
    """The names that an action may use; None if they cannot be found from here.

    Attributes:
        formulas: of the operator's directory.
        repo_formulas: of the ops repo that the settings name; for a file inside a checkout, that
            checkout's formulas are used instead.
        secrets: from the vault.
        mounts: those that the engine offers.
        find: finds formulas with their schemas, of the operator's directory first; None if there
            are no settings.
        find_in_repo: the same, of the ops repo that the settings name.
        limit: bytes of an action file.
        policy: tiers.
        variables: those that each dynamic secret becomes, by its name.
        classes: job classes; only ``runner`` if there are no settings.
    """

    formulas: Collection[str] | None = None
    repo_formulas: Collection[str] | None = None
    secrets: Collection[str] | None = None
    mounts: Collection[Mount] | None = None
    find: Find | None = None
    find_in_repo: Find | None = None
    limit: int = MAX_ACTION_BYTES
    policy: Policy | None = None
    variables: Mapping[str, Collection[str]] = field(default_factory=dict)
    classes: JobClasses = field(default_factory=JobClasses)

    @classmethod
    def of(
        cls,
        settings: Settings,
        *,
        repo_formulas: Collection[str] | None = None,
        find_in_repo: Find | None = None,
        secrets: Collection[str] | None = None,
    ) -> Names:
        """The names by the settings, with those of the ops repo and of the vault if they are known.

        Raises:
            InvalidInput, Misconfigured: the policy, see ``load_policy``.
        """
        folder = settings.formulas.path
        return cls(
            formulas=formula_names(folder) if folder else (),
            repo_formulas=repo_formulas,
            find=in_directories((folder,) if folder else ()),
            find_in_repo=find_in_repo,
            secrets=secrets,
            mounts=registry.get(settings.scheduler).mounts(settings),
            limit=settings.limits.max_action_bytes,
            policy=load_policy(settings.policy.file),
            variables=variables_of(settings.vault),
            classes=job_classes(settings),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Checked:
    """One file, with all its problems.

    Attributes:
        tier: which approval the action needs; None if the file is invalid or no policy is known.
        unchecked: what could not be checked although there are settings, in words.
        kind: what the file is; all but an action have no id.
        odd: what may be a mistake, and is valid.
    """

    path: str
    id: str
    problems: tuple[Problem, ...]
    tier: TierDecision | None = None
    unchecked: str = ""
    kind: FileKind = FileKind.ACTION
    odd: tuple[Problem, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class ActionFiles:
    """The files that a command line selects.

    Attributes:
        files: those to check.
        finished: those of a directory that have a result beside them; their ids are used, and their
            problems are reported there.
    """

    files: tuple[Path, ...]
    finished: tuple[Path, ...]


def action_files(paths: Sequence[Path]) -> ActionFiles:
    """The selected files: a file itself, and of a directory every ``.toml`` in it that is an
    open action. Of a directory that is an ops repo, those in its ``vault/actions``, and its
    schedules.

    Raises:
        NotFound: a path does not exist.
    """
    files: list[Path] = []
    finished: list[Path] = []
    missing = []
    for path in paths:
        if path.is_dir() and path.suffix != ".toml":
            schedules = path / SCHEDULES_PATH
            for file in _actions_in(path):
                result = file.with_name(f"{file.stem}{RESULT_ENDING}")
                (finished if result.is_file() else files).append(file)
            files += sorted(schedules.glob("*.toml"))
        elif path.exists() or path.is_symlink():
            files.append(path)
        else:
            missing.append(str(path))
    if missing:
        raise NotFound(f"there is no file or directory {' or '.join(missing)}")
    return ActionFiles(files=tuple(files), finished=tuple(finished))


def _actions_in(directory: Path) -> list[Path]:
    inside = directory / ACTIONS_PATH
    files = sorted((inside if inside.is_dir() else directory).glob("*.toml"))
    actions = [file for file in files if not file.name.endswith(CANCEL_ENDING)]
    return [file for file in actions if file.name not in CONFIGURATION or inside.is_dir()]


def check_files(
    files: Sequence[Path],
    names: Names,
    *,
    own: Own | None = None,
    environ: Mapping[str, str] | None = None,
) -> list[Checked]:
    """Check each file as what it is; a file that cannot be read is a problem like any other.

    Args:
        names: for actions.
        own: tells the operator's files from actions; None: all are actions.
        environ: the environment, which settings are read with.
    """
    checked = []
    for file in files:
        kind = own.kind_of(file) if own is not None else FileKind.ACTION
        if kind is FileKind.ACTION:
            checked.append(_check(file, names))
        elif kind is FileKind.SCHEDULE:
            checked.append(_check_schedule(file, names))
        else:
            problems = problems_of(kind, file, environ or {})
            checked.append(Checked(path=str(file), id="", problems=problems, kind=kind))
    return checked


def formula_names(folder: Path) -> set[str]:
    """Names of the formulas in a directory; none where there is no such folder."""
    if not folder.is_dir():
        return set()
    endings = {f".{kind}" for kind in FormulaKind}
    return {path.stem for path in folder.iterdir() if path.suffix in endings and path.is_file()}


def _check(file: Path, names: Names) -> Checked:
    path = str(file)
    data = _read(file, names.limit)
    if isinstance(data, Problem):
        return Checked(path=path, id=file.stem, problems=(data,))
    size = file.stat().st_size
    if size > names.limit:
        huge = oversized_action(path=path, stem=file.stem, size=size, limit=names.limit)
        return Checked(path=path, id=file.stem, problems=huge.problems)
    action = parse_action(data, path=path, stem=file.stem, limit=names.limit)
    if isinstance(action, InvalidAction):
        return Checked(path=path, id=file.stem, problems=tuple(action.problems))
    return _check_names(action, data, file, names)


def _check_schedule(file: Path, names: Names) -> Checked:
    """A schedule, and the action that it would write now."""
    path = str(file)
    wrong = Checked(path=path, id="", problems=(), kind=FileKind.SCHEDULE)
    data = _read(file, SCHEDULE_BYTES)
    if isinstance(data, Problem):
        return replace(wrong, problems=(data,))
    schedule = parse_schedule(data, path=path, name=file.stem)
    if isinstance(schedule, InvalidSchedule):
        return replace(wrong, problems=schedule.problems)
    source = TomlSource.parse(data, path=path)
    odd = tuple(source.problem(what, at, remedy=how) for at, what, how in unreplaced(schedule))
    defined = Defined(name=file.stem, path=path, blob=_NO_BLOB, schedule=schedule)
    wanted = wanted_of(defined, time.time())
    action = parsed(KIND, wanted, limit=names.limit)
    if isinstance(action, InvalidAction):
        return replace(wrong, problems=relocated(action.problems, source), odd=odd)
    checked = _check_names(action, action_text(KIND, wanted).encode(), file, names)
    problems = relocated(checked.problems, source)
    return replace(checked, id="", problems=problems, kind=FileKind.SCHEDULE, odd=odd)


def _check_names(action: Action, data: bytes, file: Path, names: Names) -> Checked:
    path = str(file)
    formulas, complete = _formulas(file, names)
    unknown = not complete and action.formula not in formulas
    problems = check_names(
        action,
        data,
        path=path,
        formulas=(*formulas, action.formula) if unknown else formulas,
        secrets=names.secrets,
        mounts=tuple(Mount) if names.mounts is None else names.mounts,
        variables=names.variables,
    )
    problems = (
        *problems,
        *schema_problems(action, data, path=path, find=formula_finder(file, names)),
    )
    if names.policy:
        problems = (*problems, *lock_problems(names.policy, action, path=path))
    placing = place(
        names.classes, action, path=path, source=claimed(action), variables=names.variables
    )
    problems = (*problems, *placing.problems)
    tier = effective_tier(names.policy, action, placing) if names.policy and not problems else None
    return Checked(
        path=path,
        id=file.stem,
        problems=tuple(problems),
        tier=tier,
        unchecked=_unchecked(action.formula) if unknown and names.formulas is not None else "",
    )


def _unchecked(formula: str) -> str:
    return (
        f'not checked: formula "{formula}" is not in [formulas] path, and the formulas of the ops '
        "repo are not known here; pass --online"
    )


def _read(file: Path, limit: int) -> bytes | Problem:
    path = str(file)
    if file.is_symlink():
        return Problem(message="this is a symbolic link; an action is a regular file", path=path)
    if not file.is_file():
        return Problem(message="this is not a regular file; an action is a regular file", path=path)
    if file.suffix != ".toml":
        return Problem(
            message="the name does not end in .toml",
            path=path,
            remedy=f"Rename it to {file.stem}.toml; its stem is the action's id.",
        )
    try:
        with file.open("rb") as stream:
            return stream.read(limit + 1)
    except OSError as error:
        return Problem(message=f"it cannot be read: {error.strerror}", path=path)


def _formulas(file: Path, names: Names) -> tuple[set[str], bool]:
    """Formulas that the file may name, and whether these are all."""
    if names.formulas is None:
        return set(), False
    around = ops_repo_around(file)
    repo = names.repo_formulas if around is None else formula_names(around / FORMULAS_PATH)
    return {*names.formulas, *(repo or ())}, repo is not None


def formula_finder(file: Path, names: Names) -> Find:
    """Finds the formulas that a file may name: those of the checkout that it is in, if it is in one."""
    around = ops_repo_around(file)
    beside = in_directories((around / FORMULAS_PATH,)) if around else names.find_in_repo
    return first_of(names.find, beside)


def ops_repo_around(file: Path) -> Path | None:
    """The work tree of an ops repo that holds this file, or None."""
    for folder in file.resolve().parents:
        if (folder / ACTIONS_PATH).is_dir():
            return folder
    return None
