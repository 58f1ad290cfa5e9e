"""The bots of the projects in ``sidecars.toml``, as part of the settings. Pure.

A project's bot belongs to the job classes of the formulas that its rules name. The class ``runner`` is
left out: its formulas are everybody's. Both files are the operator's; nothing here comes from git.
"""

from __future__ import annotations

from dispatcher.decide.sidecar_rules import Sidecars
from dispatcher.errors import Misconfigured
from dispatcher.model.job_class import RUNNER
from dispatcher.settings import Settings
from dispatcher.settings.jobs import JobClassSettings, own_bots


def with_project_bots(settings: Settings, sidecars: Sidecars) -> Settings:
    """The settings, with each project's bot in ``[jobs.NAME.bots]``; what stands there already counts
    more.

    Raises:
        Misconfigured: a project's bot is a secret that the dispatcher itself reads.
    """
    own, jobs = own_bots(settings), dict(settings.jobs)
    for project, entry in sidecars.projects.items():
        if entry.bot in own:
            raise Misconfigured(
                f"the bot {entry.bot} of projects.{project} in {settings.sidecars.file} is the "
                f"dispatcher's own secret ({own[entry.bot]}), which no run may get",
                remedy="Give the project a bot of its own.",
            )
        formulas = {rule.formula for rule in sidecars.rules_of(project).values()}
        classes = {settings.formulas.classes.get(formula, RUNNER) for formula in formulas}
        for name in sorted(classes - {RUNNER}):
            table = jobs.get(name, JobClassSettings())
            bots = {project: entry.bot, **table.bots}
            jobs[name] = table.model_copy(update={"bots": bots})
    return settings.model_copy(update={"jobs": jobs})
