"""Job classes: named kinds of place to run, and what a class gives to every run in it.

A formula belongs to one class. Only the operator's settings say which classes there are, what they
give, and which formula belongs to which; nothing here is read from git.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from dispatcher.model.mounts import Mount
from dispatcher.model.run import Tier

RUNNER = "runner"
"""The class of every formula that the settings assign to no other."""

FORGE_TOKEN = "FORGE_TOKEN"  # noqa: S105 - the name of a variable
"""The environment variable that holds a bot's token."""

PROJECT_PARAM = "project"
"""The parameter of an action that names its project."""


@dataclass(frozen=True, kw_only=True, slots=True)
class JobVariant:
    """What decides which parent job a run is dispatched from: one for each class and set of mounts.

    Attributes:
        job_class: name of the class.
        mounts: all mounts of the run, the class's own included.
    """

    job_class: str = RUNNER
    mounts: frozenset[Mount] = frozenset()


@dataclass(frozen=True, kw_only=True, slots=True)
class ClassSecrets:
    """What the runs of a class get beside the secrets that their action names.

    Attributes:
        secrets: names below ``[vault] kv_prefix``, or of dynamic secrets.
        bot: name below ``[vault] bots_prefix`` of the token that the project's runs get as
            ``FORGE_TOKEN``; "" for none.
    """

    secrets: tuple[str, ...] = ()
    bot: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class JobClass:
    """One class, as far as it does not depend on the engine.

    Attributes:
        name: in the settings.
        mounts: that every run of it has.
        fixed_mounts: whether actions may name no further ones.
        secrets: names that every run of it gets.
        meta: parameters that its actions must give; Nomad shows them as meta of the job.
        bots: name of the bot by project.
        bot_tier: tier of an action that gets the bot's token although no source of ours wrote it;
            None if such an action never gets it.
    """

    name: str = RUNNER
    mounts: tuple[Mount, ...] = ()
    fixed_mounts: bool = False
    secrets: tuple[str, ...] = ()
    meta: tuple[str, ...] = ()
    bots: Mapping[str, str] = field(default_factory=dict)
    bot_tier: Tier | None = None

    def secrets_for(self, project: str) -> ClassSecrets:
        """What a run of this class gets that is for this project; "" if it is for none."""
        return ClassSecrets(secrets=self.secrets, bot=self.bots.get(project, ""))


@dataclass(frozen=True, kw_only=True, slots=True)
class JobClasses:
    """The classes of an installation.

    Attributes:
        by_name: all that the settings or formulas use, ``runner`` among them.
        of_formula: name of the class by formula; others belong to ``runner``.
    """

    by_name: Mapping[str, JobClass] = field(default_factory=lambda: {RUNNER: JobClass()})
    of_formula: Mapping[str, str] = field(default_factory=dict)

    def of(self, formula: str) -> JobClass:
        """The class that a formula belongs to."""
        return self.by_name[self.of_formula.get(formula, RUNNER)]

    @property
    def bots(self) -> frozenset[str]:
        """Names of all bots whose token some run may get."""
        return frozenset(bot for each in self.by_name.values() for bot in each.bots.values())
