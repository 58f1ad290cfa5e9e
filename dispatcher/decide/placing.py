"""Which job class an action runs in, and what it gets from there. Pure.

What a class gives counts for the action's tier (``policy.effective_tier``), so that an approval is
for all that the run gets. A bot's token goes to actions that a source of the dispatcher wrote: anybody
may push an action that names a sidecar's formula and project.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field

from dispatcher.errors import Problem
from dispatcher.model.action import Action
from dispatcher.model.dynamic import clashes
from dispatcher.model.job_class import FORGE_TOKEN, PROJECT_PARAM, JobClass, JobClasses, JobVariant
from dispatcher.model.mounts import Mount
from dispatcher.model.run import Tier
from dispatcher.toml.source import quoted

SIDECAR = "sidecar"
"""The source that writes actions for issues of a forge. Others, such as a schedule, are written by
people, who choose formula and project themselves."""

_META_VALUE = re.compile(r"[A-Za-z0-9._/-]{1,200}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Placing:
    """Where an action runs, and what its class adds.

    Attributes:
        variant: the class, and all mounts.
        secrets: names that the class adds to the action's.
        bot: name of the bot whose token the run gets; "" for none.
        bot_tier: what the bot adds to the tier; None if it adds nothing.
        meta: of the job.
        problems: why the action can never run in its class.
    """

    variant: JobVariant = field(default_factory=JobVariant)
    secrets: tuple[str, ...] = ()
    bot: str = ""
    bot_tier: Tier | None = None
    meta: Mapping[str, str] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()

    def all_secrets(self, action: Action) -> tuple[str, ...]:
        """Names of the run's secrets: those of the action, then those of the class."""
        return (*action.secrets, *self.secrets)

    def all_mounts(self, action: Action) -> tuple[Mount, ...]:
        """The run's mounts: those of the action, then those of the class."""
        added = (m for m in Mount if m in self.variant.mounts and m not in action.mounts)
        return (*action.mounts, *added)


def place(
    classes: JobClasses,
    action: Action,
    *,
    path: str,
    source: str,
    variables: Mapping[str, Collection[str]] | None = None,
) -> Placing:
    """The place of an action.

    Args:
        path: of its file, for problems.
        source: what wrote the action, proven by our own signature; "" for a person, or if nothing
            proves it.
        variables: those that each dynamic secret becomes.
    """
    job_class = classes.of(action.formula)
    project = action.params.get(PROJECT_PARAM)
    given = job_class.secrets_for(project if isinstance(project, str) else "")
    added = tuple(name for name in given.secrets if name not in action.secrets)
    wrong = [
        *_mount_problems(job_class, action),
        *_meta_problems(job_class, action),
        *_secret_problems(job_class, (*action.secrets, *added), given.bot, variables or {}),
    ]
    by_hand = bool(given.bot) and source != SIDECAR
    if by_hand and job_class.bot_tier is None:
        wrong.append(_only_by_source(job_class, action, given.bot))
    return Placing(
        variant=JobVariant(
            job_class=job_class.name, mounts=frozenset((*job_class.mounts, *action.mounts))
        ),
        secrets=added,
        bot=given.bot,
        bot_tier=job_class.bot_tier if by_hand else None,
        meta={} if wrong else {key: str(action.params[key]) for key in job_class.meta},
        problems=tuple(Problem(message=what, path=path, field=name) for name, what in wrong),
    )


def claimed(action: Action) -> str:
    """What an action says wrote it: nothing proves it. For commands that run nothing."""
    return action.source.kind if action.source else ""


def _mount_problems(job_class: JobClass, action: Action) -> Iterator[tuple[str, str]]:
    more = [mount for mount in action.mounts if mount not in job_class.mounts]
    if job_class.fixed_mounts and more:
        yield (
            "mounts",
            f"formula {action.formula} runs in the job class {job_class.name}, which does not have "
            f"the mount {more[0]}. Remove it",
        )


def _meta_problems(job_class: JobClass, action: Action) -> Iterator[tuple[str, str]]:
    for key in job_class.meta:
        value = action.params.get(key)
        if not isinstance(value, str | int) or isinstance(value, bool):
            yield (
                f"params.{key}",
                f"the job class {job_class.name} of formula {action.formula} needs the parameter "
                f"{key}, a string or a whole number. Add it to [params]",
            )
        elif not _META_VALUE.fullmatch(str(value)) or ".." in str(value):
            yield (
                f"params.{key}",
                f"{quoted(str(value))} cannot be the parameter {key} in the job class "
                f"{job_class.name}. Use letters, digits, dots, hyphens, underscores and slashes",
            )


def _secret_problems(
    job_class: JobClass,
    secrets: tuple[str, ...],
    bot: str,
    variables: Mapping[str, Collection[str]],
) -> Iterator[tuple[str, str]]:
    """What the action's secrets and the class's give twice."""
    taken = job_class.secrets
    for clash in clashes(secrets, variables):
        if {secrets[clash.first], secrets[clash.second]} & set(taken):
            yield (
                "secrets",
                f"{secrets[clash.first]} and {secrets[clash.second]} both become {clash.variable}, "
                f"and the job class {job_class.name} gives one of them. Remove the other",
            )
    if bot and any(FORGE_TOKEN in variables.get(name, (name,)) for name in secrets):
        yield (
            "secrets",
            f"{FORGE_TOKEN} comes from the job class {job_class.name}, and no action can name it "
            "there. Remove it",
        )


def _only_by_source(job_class: JobClass, action: Action, bot: str) -> tuple[str, str]:
    return (
        f"params.{PROJECT_PARAM}",
        f"formula {action.formula} runs with the token of the bot {bot}, which only an action gets "
        f"that the dispatcher wrote itself ([jobs.{job_class.name}] bot_tier is not set). Start it "
        "by the sidecar's rule",
    )
