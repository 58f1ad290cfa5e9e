"""``[jobs.NAME]``: job classes, and what comes with the dispatcher of them.

Which formula belongs to which class is in ``[formulas.classes]``. A class is in use if it has a table
or a formula. What a table leaves out is as the built-in class of that name has it, if there is one;
else as the engine's own section has it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from pydantic import Field

from dispatcher.model.dynamic import clashes
from dispatcher.model.job_class import FORGE_TOKEN, RUNNER, JobClass, JobClasses
from dispatcher.model.mounts import Mount
from dispatcher.model.names import name_problem, secret_problem
from dispatcher.model.run import Tier
from dispatcher.settings.section import Contradiction, Section, wrong
from dispatcher.toml.explain import did_you_mean, one_of
from dispatcher.toml.source import quoted

if TYPE_CHECKING:
    from dispatcher.settings.models import Settings

MAX_CLASSES = 32
MAX_LIST = 64

_CLASS_NAME = re.compile(r"[a-z][a-z0-9-]{0,31}")
_META_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")
_OWN_META = frozenset(
    {"action_id", "formula", "commit", "grant_accessor", "blob", "tier", "approved_by"}
)
"""Meta that every job has."""


class JobClassSettings(Section):
    """A job class: a named kind of place to run, with its resources and what its runs get."""

    driver: str = Field(default="", description="Task driver of its jobs; empty: that of [nomad].")
    image: str = Field(default="", description="Image (docker driver); empty: that of [nomad].")
    command: tuple[str, ...] = Field(
        default=(),
        description="Command that starts the runner inside a job; empty: that of [nomad].",
    )
    network_mode: str = Field(
        default="", description="Docker network mode; empty: that of [nomad]."
    )
    node_pool: str = Field(default="", description="Node pool; empty: that of [nomad].")
    constraints: tuple[dict[str, str], ...] = Field(
        default=(),
        description="Constraints: attribute, operator and value; empty: those of [nomad].",
    )
    cpu_mhz: int = Field(default=0, ge=0, description="CPU share, MHz; 0: that of [nomad].")
    memory_mb: int = Field(default=0, ge=0, description="Memory reserved, MiB; 0: that of [nomad].")
    memory_max_mb: int = Field(
        default=0,
        ge=0,
        description="Memory limit if oversubscription is on, MiB; 0: that of [nomad], or none if "
        "memory_mb is given.",
    )
    disk_mb: int = Field(default=0, ge=0, description="Ephemeral disk, MiB; 0: that of [nomad].")
    mounts: tuple[Mount, ...] = Field(
        default=(),
        max_length=MAX_LIST,
        description="Mounts of every run of the class. They count for the tier like an action's.",
    )
    fixed_mounts: bool = Field(
        default=False, description="Refuse actions that name mounts the class does not have."
    )
    secrets: tuple[str, ...] = Field(
        default=(),
        max_length=MAX_LIST,
        description="Secrets that every run of the class gets. They count for the tier like an "
        "action's.",
    )
    meta: tuple[str, ...] = Field(
        default=(),
        max_length=MAX_LIST,
        description="Names of [params] that each action of the class must have; on Nomad they are "
        "required meta of the job.",
    )
    kill_grace_s: float = Field(
        default=0.0,
        ge=0,
        le=900,
        description="Seconds between TERM and KILL; 0: as the engine has it. On Nomad, the "
        "clients' max_kill_timeout has to be 5 s longer.",
    )
    bots: dict[str, str] = Field(
        default_factory=dict,
        description="By project: name of the secret below [vault] bots_prefix that its runs get as "
        "FORGE_TOKEN.",
    )
    bot_tier: Tier | None = Field(
        default=None,
        description="Tier of an action that names a project with a bot, but was not written by a "
        "source of the dispatcher; without it, such an action is invalid.",
    )


RESOURCES = (
    "driver",
    "image",
    "command",
    "network_mode",
    "node_pool",
    "constraints",
    "cpu_mhz",
    "memory_mb",
    "memory_max_mb",
    "disk_mb",
)
"""Keys that an engine applies or ignores; the dispatcher itself applies the others."""

BUILT_IN: Mapping[str, JobClassSettings] = {
    RUNNER: JobClassSettings(),
    "sidecar": JobClassSettings(
        cpu_mhz=500,
        memory_mb=1024,
        mounts=tuple(mount for mount in Mount if mount.sidecar),
        fixed_mounts=True,
        meta=("issue_number", "project_toml"),
    ),
    # A creation that is cancelled removes what it made, and looks for 90 s until nothing is listed.
    "provision": JobClassSettings(
        cpu_mhz=100, memory_mb=256, fixed_mounts=True, kill_grace_s=150.0
    ),
}
"""Classes that a formula can be assigned to without a table of their own."""


def class_settings(settings: Settings, name: str) -> JobClassSettings:
    """The keys of a class: the built-in one's with those of its table over them.

    Args:
        name: of any class; one that neither is built in nor has a table has the defaults.
    """
    given = settings.jobs.get(name, JobClassSettings())
    keys = {key: getattr(given, key) for key in given.model_fields_set}
    return BUILT_IN.get(name, JobClassSettings()).model_copy(update=keys)


def class_names(settings: Settings) -> tuple[str, ...]:
    """The classes in use, ``runner`` first."""
    names = sorted({*settings.jobs, *settings.formulas.classes.values()} - {RUNNER})
    return (RUNNER, *names)


def job_classes(settings: Settings) -> JobClasses:
    """The classes in use, as far as they do not depend on the engine."""
    return JobClasses(
        by_name={name: _job_class(name, settings) for name in class_names(settings)},
        of_formula=settings.formulas.classes,
    )


def own_bots(settings: Settings) -> Mapping[str, str]:
    """The secrets below ``[vault] bots_prefix`` that the dispatcher itself reads: their names, and
    the key of the settings that names each.
    """
    keys = {
        settings.ops_repo.token_secret: "[ops_repo] token_secret",
        settings.forge.token_secret: "[forge] token_secret",
        settings.sidecars.token_secret: "[sidecars] token_secret",
        settings.sidecars.report_token_secret: "[sidecars] report_token_secret",
    }
    return {name: key for name, key in keys.items() if name}


def _job_class(name: str, settings: Settings) -> JobClass:
    keys = class_settings(settings, name)
    return JobClass(
        name=name,
        mounts=tuple(mount for mount in Mount if mount in keys.mounts),
        fixed_mounts=keys.fixed_mounts,
        secrets=tuple(dict.fromkeys(keys.secrets)),
        meta=keys.meta,
        bots=keys.bots,
        bot_tier=keys.bot_tier,
    )


def class_contradictions(settings: Settings) -> Iterator[Contradiction]:
    """What is wrong with the classes, and with the formulas assigned to them."""
    if len(settings.jobs) > MAX_CLASSES:
        what = f"[jobs] has {len(settings.jobs)} classes, more than {MAX_CLASSES}"
        yield wrong(what, "jobs", remedy="Remove those that no formula belongs to")
    for name in settings.jobs:
        yield from _name(name)
        yield from _secrets(settings, name)
        yield from _meta(settings, name)
        yield from _bots(settings, name)
    yield from _formulas(settings)


def _name(name: str) -> Iterator[Contradiction]:
    if not _CLASS_NAME.fullmatch(name):
        yield wrong(
            f"{quoted(name)} cannot be the name of a job class",
            "jobs",
            name,
            remedy="Use a-z, 0-9 and -, the first a letter, at most 32",
        )
    # A parent job is named after class and mounts, and the name must say which is which.
    elif mount := next((m for m in Mount if f"-{m}-" in f"-{name}-"), None):
        yield wrong(
            f"the name of a job class cannot contain that of the mount {mount}",
            "jobs",
            name,
            remedy="Choose another name",
        )


def _secrets(settings: Settings, name: str) -> Iterator[Contradiction]:
    table, here = settings.jobs[name], ("jobs", name, "secrets")
    variables = {key: tuple(made.fields) for key, made in settings.vault.fetched.items()}
    for index, secret in enumerate(table.secrets):
        if problem := secret_problem(secret):
            yield wrong(problem[0], *here, index, remedy=problem[1])
        if FORGE_TOKEN in variables.get(secret, (secret,)) and table.bots:
            what = f"{FORGE_TOKEN} is the token of the project's bot in this class"
            yield wrong(what, *here, index, remedy="Remove it here, or remove bots")
    for clash in clashes(table.secrets, variables):
        yield wrong(
            f"{table.secrets[clash.first]} and {table.secrets[clash.second]} both become "
            f"{clash.variable}",
            *here,
            clash.second,
            remedy="Name one of them, or rename the variable in [vault.dynamic]",
        )


def _meta(settings: Settings, name: str) -> Iterator[Contradiction]:
    for index, key in enumerate(settings.jobs[name].meta):
        here = ("jobs", name, "meta", index)
        if not _META_NAME.fullmatch(key):
            what = f"{quoted(key)} cannot be a parameter that is shown as meta"
            yield wrong(what, *here, remedy="Use a-z, 0-9 and _, the first a letter, at most 64")
        elif key in _OWN_META:
            what = f"every job has meta {quoted(key)} already"
            yield wrong(what, *here, remedy="Remove it, or rename the parameter")


def _bots(settings: Settings, name: str) -> Iterator[Contradiction]:
    own = own_bots(settings)
    for project, bot in settings.jobs[name].bots.items():
        here = ("jobs", name, "bots", project)
        if problem := name_problem(project, "the name of a project"):
            yield wrong(problem[0], *here, remedy=problem[1])
        # Part of the name of a policy, which has no upper case, and no dot after the installation.
        if problem := name_problem(bot, "the name of a bot"):
            yield wrong(problem[0], *here, remedy=problem[1])
        elif bot in own:
            yield wrong(
                f"{quoted(bot)} is the dispatcher's own secret ({own[bot]}), which no run may get",
                *here,
                remedy="Give the project a bot of its own",
            )


def _formulas(settings: Settings) -> Iterator[Contradiction]:
    known = sorted({*BUILT_IN, *settings.jobs})
    for formula, name in settings.formulas.classes.items():
        here = ("formulas", "classes", formula)
        if problem := name_problem(formula, "a formula's name"):
            yield wrong(problem[0], *here, remedy=problem[1])
        if name not in known:
            yield wrong(
                f"there is no job class {quoted(name)}",
                *here,
                remedy=did_you_mean(name, known) or f"Add [jobs.{name}], or use {one_of(known)}",
            )
