"""The checks of ``disinto doctor`` for sidecars: what rules start, and the forge they read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from dispatcher.decide.placing import SIDECAR, place
from dispatcher.decide.policy import Policy
from dispatcher.decide.sidecar_rules import Sidecars, load_sidecars
from dispatcher.decide.tiers import effective_tier
from dispatcher.model.action import Action
from dispatcher.model.checks import Check, looked
from dispatcher.model.run import Tier
from dispatcher.settings import Settings
from dispatcher.settings.jobs import job_classes
from dispatcher.sidecar.reading import IssueReads


def check_sidecars(
    settings: Settings, policy: Policy, reads: Callable[[str], IssueReads]
) -> Iterator[Check]:
    """Whether the rules start what they should, and the issues of each project can be read."""
    file = settings.sidecars.file
    if file is None:
        return
    sidecars = load_sidecars(file)
    counts = f"{len(sidecars.projects)} projects, {len(sidecars.rules)} rules"
    yield Check(
        name="sidecars",
        ok=True,
        detail=f"{file} has {counts}",
        remedy="" if sidecars.projects else "Add [projects.<name>], or no issue starts anything.",
    )
    if not settings.attestation.enabled:
        yield Check(
            name="sidecars: signatures",
            ok=False,
            detail="nothing is started, because nothing is signed",
            remedy="Set [attestation] enabled = true.",
        )
    for project in sidecars.projects:
        for name in sidecars.rules_of(project):
            yield from _tier(settings, policy, sidecars, project, name)
    for name, entry in sidecars.projects.items():
        yield from looked(f"sidecars: {name}", partial(_forge, name, entry.repository, reads))


def _tier(
    settings: Settings, policy: Policy, sidecars: Sidecars, project: str, name: str
) -> Iterator[Check]:
    rule = sidecars.rules[name]
    action = Action(
        id=f"{name}-{project}-1-1",
        formula=rule.formula,
        context="",
        secrets=(),
        params={
            "project": project,
            "project_toml": sidecars.file_of(project),
            "issue_number": 1,
        },
    )
    placing = place(job_classes(settings), action, path="", source=SIDECAR)
    about = f"sidecars: {name} on {project}"
    for problem in placing.problems:
        yield Check(name=about, ok=False, detail=problem.message)
    decision = effective_tier(policy, action, placing)
    if decision.tier is not Tier.LOW:
        yield Check(
            name=about,
            ok=True,
            detail=f"each run waits for approval at tier {decision.tier}: {decision.reason}",
            remedy=f'Make it low in policy.toml: [tiers] {rule.formula} = "low", and the mounts of '
            "its job class.",
        )


def _forge(name: str, repository: str, reads: Callable[[str], IssueReads]) -> Iterator[Check]:
    issues = reads(repository)
    page = issues.page(1, state="open")
    total = "" if page.total is None else f", {page.total} open issues"
    issues.permission(repository.partition("/")[0])  # raises if the token may not ask for rights
    yield Check(name=f"sidecars: {name}", ok=True, detail=f"{repository} can be read{total}")
