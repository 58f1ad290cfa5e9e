"""The checks of ``disinto doctor`` for sidecars: what rules start, and the forge they read."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from functools import partial
from pathlib import Path

from dispatcher.decide.placing import SIDECAR, place
from dispatcher.decide.policy import Policy
from dispatcher.decide.sidecar_rules import Sidecars, load_sidecars
from dispatcher.decide.tiers import effective_tier
from dispatcher.model.action import Action
from dispatcher.model.checks import Check, looked
from dispatcher.model.job_class import RUNNER
from dispatcher.model.paths import FORMULAS_PATH
from dispatcher.model.run import FormulaKind, Tier
from dispatcher.operate.token_checks import Tokens, check_tokens
from dispatcher.ops_repo import OpsRepo
from dispatcher.settings import Settings
from dispatcher.settings.jobs import job_classes
from dispatcher.sidecar.reading import IssueReads
from dispatcher.toml.explain import did_you_mean

Listed = Callable[[str], Collection[str]]
"""Names of the files in a directory of the ops repo."""


def check_sidecars(
    settings: Settings,
    policy: Policy,
    reads: Callable[[str], IssueReads],
    listed: Listed,
    tokens: Tokens | None = None,
) -> Iterator[Check]:
    """Whether the rules start what they should, and the issues of each project can be read."""
    file = settings.sidecars.file
    if file is None:
        return
    sidecars = load_sidecars(file)
    counts = f"projects: {len(sidecars.projects)}, rules: {len(sidecars.rules)}"
    yield Check(
        name="sidecars",
        ok=True,
        detail=f"{file}; {counts}",
        remedy="" if sidecars.projects else "Add [projects.<name>], or no issue starts anything.",
    )
    if not settings.attestation.enabled:
        yield Check(
            name="sidecars: signatures",
            ok=False,
            detail="nothing is started, because nothing is signed",
            remedy="Set [attestation] enabled = true.",
        )
    yield from _formulas(settings, sidecars, listed)
    for project in sidecars.projects:
        yield from _description(sidecars.file_of(project), project, listed)
        for name in sidecars.rules_of(project):
            yield from _tier(settings, policy, sidecars, project, name)
    for name, entry in sidecars.projects.items():
        yield from looked(f"sidecars: {name}", partial(_forge, name, entry.repository, reads))
    if tokens is not None:
        yield from check_tokens(settings, sidecars, tokens)


def files_in(repo: OpsRepo) -> Listed:
    """Lists directories of the ops repo as the clone has it."""
    head = repo.local_head()
    return lambda folder: repo.directory(head.commit, folder) if head is not None else ()


def _formulas(settings: Settings, sidecars: Sidecars, listed: Listed) -> Iterator[Check]:
    """Whether the formulas exist, what runs them, and whether they get a token."""
    kinds = _kinds(listed(FORMULAS_PATH))
    folder = settings.formulas.path
    if folder is not None and folder.is_dir():
        kinds |= _kinds([path.name for path in folder.iterdir() if path.is_file()])
    used = {name for project in sidecars.projects for name in sidecars.rules_of(project)}
    for name, rule in sidecars.rules.items():
        about, formula = f"sidecars: rule {name}", rule.formula
        if formula not in kinds:
            yield Check(
                name=about,
                ok=False,
                detail=f"there is no formula {formula}, so its runs are invalid",
                remedy=did_you_mean(formula, sorted(kinds))
                or f"Add {formula}.sh or {formula}.toml to {folder or FORMULAS_PATH}.",
            )
        elif kinds[formula] is FormulaKind.AGENT and not settings.agent.command:
            yield Check(
                name=about,
                ok=False,
                detail=f"formula {formula} is for an agent, and no agent command is configured",
                remedy="Set [agent] command; see docs/sidecar-agents.md.",
            )
        elif name in used and settings.formulas.classes.get(formula, RUNNER) == RUNNER:
            yield Check(
                name=about,
                ok=True,
                detail=f"formula {formula} gets no bot's token in the job class {RUNNER}",
                remedy=f'Set [formulas.classes] {formula} = "sidecar", if it is to read the issue.',
            )


def _kinds(files: Collection[str]) -> dict[str, FormulaKind]:
    """The kinds of formulas, by name."""
    paths = [Path(name) for name in files]
    return {
        path.stem: FormulaKind(path.suffix[1:])
        for path in paths
        if path.suffix[1:] in set(FormulaKind)
    }


def _description(path: str, project: str, listed: Listed) -> Iterator[Check]:
    """Whether the ops repo has what describes a project. Formulas read it, not the dispatcher."""
    folder, _, name = path.rpartition("/")
    if name not in listed(folder or "."):
        yield Check(
            name=f"sidecars: {project}",
            ok=True,
            detail=f"{path}, which describes the project for its formulas, is not in the ops repo",
            remedy=f"Add {path}, or correct [projects.{project}] file.",
        )


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
        mounts = ", ".join(f'"{mount}"' for mount in placing.all_mounts(action))
        trusted = f" and mounts = [{mounts}]" if mounts else ""
        yield Check(
            name=about,
            ok=True,
            detail=f"each run waits for approval at tier {decision.tier}: {decision.reason}",
            remedy=f'Make it low in policy.toml: [formulas.{rule.formula}] tier = "low"{trusted}.',
        )


def _forge(name: str, repository: str, reads: Callable[[str], IssueReads]) -> Iterator[Check]:
    issues = reads(repository)
    page = issues.page(1, state="open")
    total = "" if page.total is None else f", {page.total} open issues"
    issues.permission(repository.partition("/")[0])  # raises if the token may not ask for rights
    yield Check(name=f"sidecars: {name}", ok=True, detail=f"{repository} can be read{total}")
