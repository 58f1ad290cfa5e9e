"""Whether what an action names exists: its formula, its secrets, its mounts. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from dispatcher.errors import Problem
from dispatcher.model.action import Action
from dispatcher.model.dynamic import clashes
from dispatcher.model.mounts import Mount
from dispatcher.toml.explain import did_you_mean, one_of
from dispatcher.toml.source import TomlSource, quoted


def check_names(
    action: Action,
    source: bytes,
    *,
    path: str,
    formulas: Collection[str],
    secrets: Collection[str] | None,
    mounts: Collection[Mount] | None,
    variables: Mapping[str, Collection[str]] | None = None,
) -> tuple[Problem, ...]:
    """Names in the action that do not exist: formula, secrets, mounts; and secrets that become the
    same environment variable. Pure.

    Args:
        action, source, path: the parsed file, its bytes (for places) and its name in messages.
        formulas: names that exist.
        secrets: names that exist in the vault; None if that cannot be known here.
        mounts: those that the scheduler offers; None if that cannot be known here.
        variables: those that each dynamic secret becomes.
    """
    clashing = tuple(clashes(action.secrets, variables or {}))
    if _names_exist(action, formulas, secrets, mounts) and not clashing:
        return ()
    toml = TomlSource.parse(source, path=path)
    problems = []
    if action.formula not in formulas:
        problems.append(
            toml.problem(
                f"there is no formula {quoted(action.formula)}",
                ("formula",),
                remedy=did_you_mean(action.formula, sorted(formulas))
                or f"Add formulas/{action.formula}.sh, or name one that exists",
            )
        )
    for index, name in enumerate(action.secrets):
        if secrets is not None and name not in secrets:
            problems.append(
                toml.problem(
                    f"there is no secret {name}",
                    ("secrets", index),
                    remedy=_secret_hint(name, sorted(secrets)),
                )
            )
    for clash in clashing:
        other = action.secrets[clash.first]
        problems.append(
            toml.problem(
                f"{action.secrets[clash.second]} becomes the variable {clash.variable}, and so does "
                f"{other}",
                ("secrets", clash.second),
                remedy="Name one of them, or have the operator rename the variable in "
                "[vault.dynamic]",
            )
        )
    for index, mount in enumerate(action.mounts):
        if mounts is not None and mount not in mounts:
            offered = one_of(sorted(mounts)) if mounts else "none"
            problems.append(
                toml.problem(
                    f"the mount {quoted(mount)} is not offered here",
                    ("mounts", index),
                    remedy=f"Offered: {offered}",
                )
            )
    return tuple(sorted(problems, key=_place))


def _names_exist(
    action: Action,
    formulas: Collection[str],
    secrets: Collection[str] | None,
    mounts: Collection[Mount] | None,
) -> bool:
    return (
        action.formula in formulas
        and (secrets is None or all(name in secrets for name in action.secrets))
        and (mounts is None or all(mount in mounts for mount in action.mounts))
    )


def _secret_hint(name: str, secrets: list[str]) -> str:
    twin = next((other for other in secrets if other.casefold() == name.casefold()), None)
    if twin is not None:
        return f"Vault has {quoted(twin)}, which differs in case; store it as {name}"
    return did_you_mean(name, secrets) or f"Store it with: disinto secrets put {name}"


def _place(problem: Problem) -> tuple[int, int]:
    return problem.line or 0, problem.column or 0
