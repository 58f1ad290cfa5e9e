"""The runs of rules that there were, from git: only what we wrote ourselves, and results that we signed.

What has ended does not change, so it is read once; the cache can be lost at any time.
"""

from __future__ import annotations

import re

from dispatcher.decide.sidecar_rules import Sidecars
from dispatcher.decide.sidecars import Runs, SidecarRun, run_id
from dispatcher.model.action import Action
from dispatcher.model.times import epoch
from dispatcher.model.verdicts import Verdict
from dispatcher.sources import Look, WrittenRun

KIND = "sidecar"
"""Of the source, in the table ``[source]`` of its actions."""

_ID = re.compile(r"(?P<prefix>.+)-[1-9][0-9]{0,9}-[1-9][0-9]{0,5}", re.ASCII)


class RunIndex:
    """Reads runs. Not thread-safe."""

    def __init__(self) -> None:
        self._ended: dict[str, SidecarRun | None] = {}

    def read(self, look: Look, sidecars: Sidecars) -> Runs:
        """All runs of the rules and projects that there are now.

        Raises:
            Unavailable, Denied: the key that signs results cannot be read.
        """
        prefixes = {f"{rule}-{project}" for rule in sidecars.rules for project in sidecars.projects}
        runs = []
        for action_id in look.ids():
            match = _ID.fullmatch(action_id)
            if match is None or match["prefix"] not in prefixes:
                continue
            if action_id not in self._ended:
                written = look.written(action_id)
                run = _run_of(action_id, written)
                # A file that somebody else added under the id may still go, and ours may come.
                over = not look.is_open(action_id) if run is None else not run.open
                if over:
                    self._ended[action_id] = run
            else:
                run = self._ended[action_id]
            if run is not None:
                runs.append(run)
        return Runs(tuple(runs))


def _run_of(action_id: str, written: WrittenRun | None) -> SidecarRun | None:
    """The run that an action is; None if this source did not write it."""
    action = written.action if written is not None else None
    if written is None or action is None or not _is_ours(action):
        return None
    params, result = action.params, written.result
    rule, project, issue = params.get("rule"), params.get("project"), params.get("issue_number")
    digest, attempt = params.get("digest"), action_id.rpartition("-")[2]
    if not (isinstance(rule, str) and isinstance(project, str) and isinstance(digest, str)):
        return None
    if not isinstance(issue, int) or run_id(rule, project, issue, int(attempt)) != action_id:
        return None
    verdict, ended_at = None, 0.0
    if result is not None:
        verdict, ended_at = result.verdict, epoch(result.timestamp)
    elif written.withdrawn_at is not None:
        verdict, ended_at = Verdict.CANCELLED, written.withdrawn_at
    outcome = result.outputs.get("outcome") if result is not None else None
    return SidecarRun(
        rule=rule,
        project=project,
        issue=issue,
        attempt=int(attempt),
        digest=digest,
        verdict=verdict,
        outcome=outcome if isinstance(outcome, str) else "",
        ended_at=ended_at,
    )


def _is_ours(action: Action) -> bool:
    return action.source is not None and action.source.kind == KIND
