"""``deploy.env``, which the operator may have beside release.toml."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from dispatcher.errors import Problem
from dispatcher.release import env_file
from dispatcher.toml.explain import did_you_mean

FILE = "deploy.env"
REPO_ROOT = "REPO_ROOT"
RUN_SMOKE = "DEPLOY_RUN_SMOKE"
VERSION = "APP_VERSION"

_TRUE, _FALSE = ("1", "true", "yes", "on"), ("", "0", "false", "no", "off")


@dataclass(frozen=True, kw_only=True, slots=True)
class _Assignment:
    name: str
    value: str
    number: int


@dataclass(frozen=True, kw_only=True, slots=True)
class DeployEnv:
    """The contents of ``deploy.env``.

    Attributes:
        repo_root: the checkout, if not ``src`` in the root.
        run_smoke: whether to run the smoke test; None if the file does not say.
        env_files: env file by service, for those that the file names.
    """

    repo_root: Path | None = None
    run_smoke: bool | None = None
    env_files: Mapping[str, Path]


def env_key(service: str) -> str:
    """The key of ``deploy.env`` that names the env file of a service: ``ENV_BACKEND_FILE``."""
    return f"ENV_{service.upper().replace('-', '_')}_FILE"


def parse(
    text: str, *, path: str, root: Path, services: Iterable[str]
) -> DeployEnv | tuple[Problem, ...]:
    """Parse ``deploy.env``.

    Args:
        text: of the file; "" if there is none.
        path: the file as messages name it.
        root: of the application; relative paths begin here.
        services: their names.

    Returns:
        The contents, or all problems.
    """
    lines, problems = _assignments(text, path)
    by_key = {env_key(name): name for name in services}
    given = {line.name: line for line in lines}
    problems += _unknown(lines, {REPO_ROOT, RUN_SMOKE, VERSION, *by_key}, path)
    smoke = None
    if (line := given.get(RUN_SMOKE)) is not None:
        smoke = line.value.lower() in _TRUE
        if not smoke and line.value.lower() not in _FALSE:
            what = f"{RUN_SMOKE} is neither 1 nor 0"
            problems.append(_problem(what, path, line.number, f"Write {RUN_SMOKE}=1"))
    for key in (REPO_ROOT, *by_key):
        if key in given and not given[key].value:
            what = f"{key} is empty"
            problems.append(_problem(what, path, given[key].number, "Write a path, or remove it"))
    if problems:
        return tuple(problems)
    repo_root = given[REPO_ROOT].value if REPO_ROOT in given else None
    return DeployEnv(
        repo_root=root / repo_root if repo_root else None,
        run_smoke=smoke,
        env_files={name: root / given[key].value for key, name in by_key.items() if key in given},
    )


def _assignments(text: str, path: str) -> tuple[list[_Assignment], list[Problem]]:
    """The assignments, and what is wrong with other lines. No problem shows a value."""
    given, problems = [], []
    for line in env_file.lines(text):
        if line.value is None or not env_file.NAME.fullmatch(line.name):
            remedy = "Write NAME=VALUE, without export"
            problems.append(_problem("not an assignment", path, line.number, remedy))
            continue
        given.append(_Assignment(name=line.name, value=line.value, number=line.number))
    return given, problems


def _unknown(lines: list[_Assignment], known: set[str], path: str) -> Iterator[Problem]:
    names = sorted(known)
    for line in lines:
        if line.name not in known:
            remedy = did_you_mean(line.name, names) or f"Known here: {', '.join(names)}"
            yield _problem(f"unknown key {line.name}", path, line.number, remedy)


def _problem(message: str, path: str, line: int, remedy: str) -> Problem:
    return Problem(message=message, path=path, line=line, remedy=remedy)
