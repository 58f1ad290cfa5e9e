"""What the values of ``policy.toml`` may be: patterns of names, ages, templates."""

from __future__ import annotations

import re
from collections.abc import Mapping

from dispatcher.decide.locks import template_problem
from dispatcher.model.names import name_problem
from dispatcher.model.run import Tier
from dispatcher.model.times import parse_duration
from dispatcher.toml.explain import complaint
from dispatcher.toml.source import quoted

SECRET_GLOB = "^[A-Z0-9_*?]{1,100}$"  # noqa: S105 - a pattern of names
"""Names of secrets, with the wildcards of ``fnmatch``: ``*`` and ``?``."""

LOCK_GLOB = "^[a-z0-9_*?-]{1,100}$"
"""Names of locks, with the same wildcards."""

MAX_AGE_S = 3_650 * 86_400.0


def checked_formulas(value: dict[str, object]) -> dict[str, object]:
    for name in value:
        if wrong := name_problem(name, "a formula's name"):
            raise complaint(wrong[0], remedy=wrong[1], inside=(name,))
    return value


def checked_globs(value: Mapping[str, Tier] | None) -> Mapping[str, Tier] | None:
    for glob in value or ():
        _check_glob(glob, inside=(glob,))
    return value


def checked_list(value: tuple[str, ...]) -> tuple[str, ...]:
    for index, glob in enumerate(value):
        _check_glob(glob, inside=(index,))
    return value


def checked_locks(value: dict[str, Tier]) -> dict[str, Tier]:
    for glob in value:
        if not re.fullmatch(LOCK_GLOB.strip("^$"), glob):
            raise complaint(
                f"{quoted(glob)} matches no lock",
                remedy="Use a-z, 0-9, - and _, and * or ? as wildcards; for example prod-*",
                inside=(glob,),
            )
    return value


def checked_template(value: str) -> str:
    if wrong := template_problem(value):
        raise complaint(wrong, remedy='Write a name such as "deploy-{host}"')
    return value


def checked_ages(value: dict[Tier, str]) -> dict[Tier, str]:
    for tier, text in value.items():
        try:
            seconds = parse_duration(text)
        except ValueError:
            seconds = 0.0
        if not 0 < seconds <= MAX_AGE_S:
            raise complaint(
                f"{quoted(text)} is not an age that an approval can have",
                remedy='Write for example "7d" or "12h"; at most 3650d',
                inside=(tier,),
            )
    return value


def _check_glob(glob: str, *, inside: tuple[str | int, ...]) -> None:
    if not re.fullmatch(SECRET_GLOB.strip("^$"), glob):
        raise complaint(
            f"{quoted(glob)} matches no secret",
            remedy="Use A-Z, 0-9 and _, and * or ? as wildcards; for example DEPLOY_*",
            inside=inside,
        )
