"""What ``disinto sidecar`` does: shows what rules would start, and asks for a run by hand.

Everything is read anew: the rules, the head of the ops repo, and the issues of the projects.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from dispatcher.decide.forge_issue import Issue, digest_of
from dispatcher.decide.sidecar_rules import Sidecars
from dispatcher.decide.sidecars import (
    Decision,
    Runs,
    Why,
    decide_by_hand,
    decide_project,
    next_attempt,
)
from dispatcher.errors import Exit, Misconfigured, NotFound, PermanentError
from dispatcher.loop.components import Components
from dispatcher.loop.looks import Ids, look_of
from dispatcher.loop.nudge import nudge
from dispatcher.loop.view import View
from dispatcher.model.times import known_time
from dispatcher.sidecar.reading import IssueReads, ProjectIssues
from dispatcher.sidecar.requests import RunRequest, ask_for
from dispatcher.sidecar.runs import RunIndex
from dispatcher.sidecar.watcher import Watcher
from dispatcher.sources import Look
from dispatcher.status import status_file
from dispatcher.toml.explain import did_you_mean
from dispatcher.toml.source import quoted

MAX_PASSES = 20
"""Passes of one project that ``plan`` makes; what is not known then is shown as that."""

Reads = Callable[[str], IssueReads]


class StillOpen(PermanentError):
    """A run of the rule on the issue is open."""

    exit_code = Exit.TEMPFAIL


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """A rule and an issue, as ``plan`` shows them."""

    project: str
    issue: int
    rule: str
    why: str
    reason: str
    action: str
    again_at: str | None

    def as_json(self) -> dict[str, object]:
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


@dataclass(frozen=True, kw_only=True, slots=True)
class Planned:
    """What the rules would start now.

    Attributes:
        rows: each rule of each open issue, by project.
        problems: what could not be read, by project.
    """

    rows: tuple[Row, ...]
    problems: dict[str, str]


def plan(components: Components, view: View, reads: Reads, *, project: str = "") -> Planned:
    """Decide about every open issue of the projects, or of one.

    Raises:
        NotFound: there is no such project.
        Misconfigured: there are no sidecars.
        Unavailable: the remote, the ledger, or Vault if it has our key.
    """
    sidecars, look, runs = _known(components, view)
    if project:
        _check_project(sidecars, project)
    names = [project] if project else list(sidecars.projects)
    watcher = Watcher(reads, changed=lambda: None, poll_interval_s=3600.0, every_issue=True)
    watcher.learn(sidecars, runs, look.is_used)
    for _ in range(MAX_PASSES):
        if watcher.work() > 0:
            break
    rows, problems = [], {}
    for name in names:
        state = watcher.state(name)
        if state.problem:
            problems[name] = state.problem
        decisions = decide_project(
            sidecars,
            name,
            state.issues.values(),
            runs,
            now=look.now,
            is_used=look.is_used,
            refused=state.refused(sidecars.rules),
        )
        rows += [_row(made) for made in decisions]
    return Planned(rows=tuple(rows), problems=problems)


@dataclass(frozen=True, kw_only=True, slots=True)
class Requested:
    """A run that was asked for.

    Attributes:
        action: id of the action that it becomes.
        despite: why the rule by itself would not start it now, or "".
        served: whether a ``serve`` runs on this host.
    """

    action: str
    despite: str
    served: bool


def dispatch(
    components: Components, view: View, reads: Reads, *, project: str, number: int, rule: str
) -> Requested:
    """Ask ``serve`` for a run of a rule on an issue, whatever its labels are.

    Raises:
        NotFound: there is no such project, rule or issue.
        StillOpen: a run of the rule on the issue is open.
        Misconfigured: there are no sidecars, or the request cannot be written.
        Unavailable, Denied: the forge, the remote, the ledger, or Vault if it has our key.
    """
    sidecars, look, runs = _known(components, view)
    _check_project(sidecars, project)
    rules = sidecars.rules_of(project)
    if rule not in rules:
        raise NotFound(
            f"project {project} has no rule {quoted(rule)}",
            remedy=did_you_mean(rule, list(rules)) or f"Its rules: {', '.join(rules) or 'none'}",
        )
    issues = ProjectIssues(
        reads=reads(sidecars.projects[project].repository), relevant=lambda _labels: True
    )
    if issues.refresh(number) is None:
        raise NotFound(
            f"{sidecars.projects[project].repository} has no open issue #{number}",
            remedy="Pull requests and closed issues do not count.",
        )
    issues.time_line(number)
    issue = issues.issues[number]
    made = decide_by_hand(
        Decision(
            project=project,
            issue=number,
            rule=rule,
            why=Why.START,
            digest=digest_of(issue, settable=sidecars.settable),
            attempt=next_attempt(project, number, rule, runs, look.is_used),
        ),
        runs,
    )
    if made.why is not Why.START:
        raise StillOpen(made.reason, remedy="Wait for it, or stop it with 'disinto cancel'.")
    request = RunRequest(
        project=project, issue=number, rule=rule, attempt=made.attempt, digest=made.digest
    )
    state_dir = components.settings.state_dir
    try:
        ask_for(state_dir, request)
    except OSError as error:
        raise Misconfigured(
            f"the request cannot be written to {state_dir}: {error.strerror}",
            remedy="Run it as the user of 'disinto serve'.",
        ) from error
    nudge(state_dir)
    status = status_file.read(state_dir)
    return Requested(
        action=made.action_id,
        despite=_despite(sidecars, look, issue, made, runs),
        served=status is not None and status.fresh,
    )


def _despite(sidecars: Sidecars, look: Look, issue: Issue, wish: Decision, runs: Runs) -> str:
    decisions = decide_project(
        sidecars, wish.project, [issue], runs, now=look.now, is_used=look.is_used
    )
    by_rule = next(each for each in decisions if each.rule == wish.rule)
    return "" if by_rule.why is Why.START else by_rule.reason


def _known(components: Components, view: View) -> tuple[Sidecars, Look, Runs]:
    if components.settings.sidecars.file is None:
        raise Misconfigured(
            "no sidecars are configured", remedy="Set [sidecars] file in disinto.toml."
        )
    sidecars = components.rules.sidecars
    view.advance(components.repo.fetch().commit)
    claims = {claim.key.action_id: claim for claim in components.ledger.open_runs()}
    ids = Ids(tree=view.tree, claims=claims)
    look = look_of(components, view, ids=ids, now=time.time(), marks={})
    return sidecars, look, RunIndex().read(look, sidecars)


def _check_project(sidecars: Sidecars, project: str) -> None:
    if project not in sidecars.projects:
        names = list(sidecars.projects)
        raise NotFound(
            f"there is no project {quoted(project)}",
            remedy=did_you_mean(project, names) or f"Projects: {', '.join(names) or 'none'}",
        )


def _row(made: Decision) -> Row:
    return Row(
        project=made.project,
        issue=made.issue,
        rule=made.rule,
        why=made.why,
        reason=made.reason,
        action=made.action_id if made.why is Why.START else "",
        again_at=known_time(made.again_at or 0.0),
    )
