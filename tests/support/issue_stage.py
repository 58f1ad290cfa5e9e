"""A project on the small forge, watched: what the source wants, look after look."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from dispatcher.decide.policy import Policy
from dispatcher.decide.sidecar_rules import Sidecars, parse_sidecars
from dispatcher.decide.tiers import effective_tier
from dispatcher.devservers.issue_forge import IssueForge
from dispatcher.gate.base import Answer, Decision
from dispatcher.model.action import Action, parse_action
from dispatcher.model.result import Result
from dispatcher.model.sure_time import SureTime
from dispatcher.model.times import rfc3339
from dispatcher.model.verdicts import Verdict
from dispatcher.ops_repo import Formulas
from dispatcher.sidecar.runs import KIND
from dispatcher.sidecar.source import SidecarSource
from dispatcher.sidecar.watcher import Watcher
from dispatcher.sources import Look, Wanted, Wants, WrittenRun, action_text
from tests.support.issue_place import caller, reads_of

RULES = """
[projects.app]
repository = "own/app"
bot = "reader"
[rules.triage]
formula = "triage"
labels = ["bug"]
without_labels = ["blocked"]
add_labels = ["done"]
cool_down = "10m"
max_concurrent = 3
[rules.verify]
formula = "verify"
labels = ["parent"]
condition = "sub_issues_closed"
"""
REPOSITORY = "own/app"


@dataclass
class IssueStage:
    """A watched project; time and git are the test's.

    Attributes:
        runs: what git proves of our runs, by id.
        taken: ids that others used.
        theirs: ids of open actions that others pushed, and may delete again.
    """

    state_dir: Path
    rules: str = RULES
    now: float = 1_800_000_000.0
    runs: dict[str, WrittenRun] = field(default_factory=dict)
    taken: set[str] = field(default_factory=set)
    theirs: set[str] = field(default_factory=set)
    news: int = 0
    forge: IssueForge = field(init=False)
    watcher: Watcher = field(init=False)
    source: SidecarSource = field(init=False)

    def __post_init__(self) -> None:
        self.forge = IssueForge(clock=lambda: self.now)
        self.forge.repository(REPOSITORY, will="write")
        self.owner, self.will = caller(self.forge, "own"), caller(self.forge, "will")
        self.stranger = caller(self.forge, "strange")
        self.labels = {n: self._label(n) for n in ("bug", "blocked", "done", "parent", "other")}
        self.restart()

    def restart(self) -> None:
        """Another process: nothing but forge and git is left."""
        self.sidecars: Sidecars = parse_sidecars(self.rules.encode(), path="sidecars.toml")
        self.watcher = Watcher(
            lambda repository: reads_of(self.forge, repository, "own"),
            changed=self._changed,
            poll_interval_s=60.0,
            clock=lambda: self.now,
        )
        self.source = SidecarSource(lambda: self.sidecars, self.watcher, state_dir=self.state_dir)

    # -- the forge

    def issue(self, *labels: str, body: str = "b", by: Callable[..., Any] | None = None) -> int:
        """Open an issue as a stranger, and label it (``by``: as whom)."""
        fields = {"title": "t", "body": body}
        made = self.stranger("POST", f"/repos/{REPOSITORY}/issues", fields)
        for label in labels:
            self.label(made["number"], label, by=by)
        return int(made["number"])

    def label(self, number: int, label: str, *, by: Callable[..., Any] | None = None) -> None:
        path = f"/repos/{REPOSITORY}/issues/{number}/labels"
        (by or self.will)("POST", path, {"labels": [self.labels[label]]})

    def unlabel(self, number: int, label: str) -> None:
        path = f"/repos/{REPOSITORY}/issues/{number}/labels/{self.labels[label]}"
        self.will("DELETE", path, None)

    def edit(self, number: int, **fields: object) -> None:
        self.owner("PATCH", f"/repos/{REPOSITORY}/issues/{number}", fields)

    def comment(self, number: int, text: str = "hello") -> None:
        self.owner("POST", f"/repos/{REPOSITORY}/issues/{number}/comments", {"body": text})

    # -- the dispatcher

    def look(self) -> Wants:
        """One look of the loop."""
        return self.source.look(self.seen())

    def seen(self) -> Look:
        return Look(
            now=self.now,
            commit="c" * 40,
            tier_of=lambda action: effective_tier(Policy(), action),
            formulas=Formulas(commit="c" * 40, formulas={}),
            marks={},
            down=frozenset(),
            is_open=lambda i: i in self.theirs or (i in self.runs and self.runs[i].result is None),
            is_used=lambda i: i in self.runs or i in self.taken or i in self.theirs,
            ended=lambda _id: None,
            check=lambda _question: Decision(answer=Answer.APPROVED, reason="", gate="test"),
            ids=lambda: {*self.runs, *self.taken, *self.theirs},
            written=self.runs.get,
            problems=lambda *_: (),
            sure=lambda: SureTime(now=0.0),
            result_file=lambda _id: None,
            kept_results=dict,
        )

    def passes(self) -> Wants:
        """Look, let the watcher read what changed, and look again."""
        self.now += 7  # beyond what passes overlap, so that times of different passes differ
        self.look()
        self.watcher.hurry()
        self.watcher.work()
        return self.look()

    def wanted(self) -> list[str]:
        """Ids of what it wants now; nothing is written."""
        return sorted(each.action_id for each in self.passes().actions)

    def write(self) -> list[str]:
        """Have what it wants written to git; the ids."""
        wants = self.passes()
        for each in wants.actions:
            assert each.action_id not in self.runs
            assert each.action_id not in self.taken
            self.runs[each.action_id] = WrittenRun(action=parsed(each), result=None)
        return sorted(each.action_id for each in wants.actions)

    def end(self, action_id: str, verdict: Verdict = Verdict.SUCCEEDED, **outputs: object) -> None:
        """A run ends."""
        result = Result(
            id=action_id,
            exit_code=verdict.exit_code,
            timestamp=rfc3339(self.now),
            verdict=verdict,
            outputs=outputs,
        )
        self.runs[action_id] = replace(self.runs[action_id], result=result)

    def _changed(self) -> None:
        self.news += 1

    def _label(self, name: str) -> int:
        fields = {"name": name, "color": "#ff0000"}
        return int(self.owner("POST", f"/repos/{REPOSITORY}/labels", fields)["id"])


def parsed(wanted: Wanted) -> Action:
    """The action that a wish becomes."""
    text = action_text(KIND, wanted) + f'signature = "{"0" * 64}:{"A" * 86}=="\n'
    action = parse_action(text.encode(), path="", stem=wanted.action_id)
    assert isinstance(action, Action), action
    return action
