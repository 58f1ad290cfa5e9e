"""Turns events into notices, and selects the sinks that want them. Pure.

A notice's id is made from what it is about (an outage's from when it began), so that a restart
makes the same one, and for actions another dispatcher of the same ops repo too.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from dispatcher.model.health import ForeignResult
from dispatcher.model.notice import Condition, Notice
from dispatcher.model.times import rfc3339
from dispatcher.notify.text import Cleaner

if TYPE_CHECKING:
    from dispatcher.decide.steps import Wait
    from dispatcher.decide.world import Candidate
    from dispatcher.model.result import Result
    from dispatcher.model.run import Claim
    from dispatcher.settings import NotifySettings

DOWN_AFTER_S = 60.0
"""Seconds that a dependency must be down, or up again, before anybody is notified."""


def stable_id(repository: str, *parts: object) -> str:
    """The id of a notice about these parts."""
    text = "\0".join(["disinto notice 1", repository, *map(str, parts)])
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]


@dataclass(frozen=True, kw_only=True)
class Notices:
    """Makes notices.

    Attributes:
        repository: the ops repo's name, as in approvals.
        cleaner: makes texts fit to be sent.
    """

    repository: str
    cleaner: Cleaner

    def of_result(self, result: Result) -> Notice:
        """How an action ended. Each verdict is a condition of the same name."""
        condition = Condition(result.verdict.value)
        return self._notice(
            condition,
            self._id(condition, result.id, result.blob),
            action=result.id,
            blob=result.blob,
            detail=result.error,
            output=result.logs,
            formula=result.formula.name if result.formula else "",
            tier=result.tier.value if result.tier else "",
            at=_epoch(result.timestamp),
            exit_code=result.exit_code,
        )

    def of_wait(self, wait: Wait, candidate: Candidate, *, now: float) -> Notice:
        """An action that waits for approval."""
        action, condition = candidate.action, Condition.WAITS_FOR_APPROVAL
        return self._notice(
            condition,
            self._id(condition, wait.action_id, candidate.key.blob),
            action=wait.action_id,
            blob=candidate.key.blob,
            detail=wait.reason,
            formula=action.formula if action else "",
            tier=candidate.tier.value if candidate.tier else "",
            at=candidate.since
            if 0 < candidate.since <= now
            else now,  # a commit's date is its maker's
        )

    def of_emergency(self, claim: Claim) -> Notice:
        """An action that started although a freeze is in force."""
        action_id, blob = claim.key.action_id, claim.key.blob
        return self._notice(
            Condition.EMERGENCY,
            self._id(Condition.EMERGENCY, action_id, blob),
            action=action_id,
            blob=blob,
            detail=claim.emergency,
            formula=claim.formula.name if claim.formula else "",
            tier=claim.tier.value if claim.tier else "",
            at=claim.claimed_at,
        )

    def of_foreign(self, foreign: ForeignResult, *, now: float) -> Notice:
        """A file in the place of a result that this dispatcher did not sign."""
        line = self.cleaner.line
        where = f"{line(foreign.path)}, added by commit {line(foreign.commit, 64)}"
        return self._notice(
            Condition.FOREIGN_RESULT,
            stable_id(
                self.repository,
                Condition.FOREIGN_RESULT,
                foreign.action_id,
                foreign.commit,
                foreign.oid,
            ),
            at=now,
            action=foreign.action_id,
            detail=f"{where}: {foreign.reason}",
        )

    def of_dependency(
        self, condition: Condition, dependency: str, *, since: float, detail: str, now: float
    ) -> Notice:
        """A dependency that is down, or up again.

        Args:
            since: when the outage began; part of the id.
        """
        return self._notice(
            condition,
            stable_id(self.repository, condition, dependency, f"{since:.3f}"),
            at=now,
            dependency=dependency,
            detail=detail,
        )

    def of_unsent(self, sink: str, unsent: Mapping[str, int], *, serial: int, now: float) -> Notice:
        """The summary of what was not sent to a sink.

        Args:
            unsent: how many, by condition; "" for summaries that were not sent themselves.
            serial: number of the summary, so that each has an id of its own.
        """
        total = sum(unsent.values())
        counts = ", ".join(f"{n} {condition or 'summaries'}" for condition, n in unsent.items())
        return Notice(
            id=stable_id(self.repository, "unsent", sink, serial, f"{now:.3f}"),
            condition=None,
            at=now,
            repository=self.cleaner.line(self.repository),
            title=f"{total} more {'was' if total == 1 else 'were'} not sent",
            detail=f"{counts}. 'disinto status' and the results in git have them all.",
        )

    def test(self, sink: str, *, now: float) -> Notice:
        """A test message that a person requested."""
        return Notice(
            id=stable_id(self.repository, "test", sink, f"{now:.3f}"),
            condition=None,
            at=now,
            repository=self.cleaner.line(self.repository),
            title=f"test of the sink {sink}",
            detail="Sent by 'disinto notify test'. Nothing happened.",
        )

    def _id(self, condition: Condition, action: str, blob: str) -> str:
        return stable_id(self.repository, condition, action, blob)

    def _notice(
        self,
        condition: Condition,
        notice_id: str,
        *,
        at: float,
        action: str = "",
        blob: str = "",
        formula: str = "",
        tier: str = "",
        detail: str = "",
        output: str = "",
        exit_code: int | None = None,
        dependency: str = "",
    ) -> Notice:
        clean = self.cleaner
        names = {"action": action or "an action", "exit_code": exit_code, "dependency": dependency}
        return Notice(
            id=notice_id,
            condition=condition,
            at=at,
            repository=clean.line(self.repository),
            title=clean.line(condition.headline.format(**names)),
            detail=clean.block(detail),
            output=clean.end(output),
            action=clean.line(action),
            blob=clean.line(blob),
            formula=clean.line(formula),
            tier=tier,
            verdict="" if exit_code is None else condition.value,
            exit_code=exit_code,
        )


def wants(sink: NotifySettings, notice: Notice) -> bool:
    """Whether a sink is to get a notice. Filters exclude only what is known not to match: a message
    too many does less harm than one too few.
    """
    if notice.condition is None:
        return True
    if notice.condition not in sink.on:
        return False
    if sink.formulas and notice.formula and notice.formula not in sink.formulas:
        return False
    return not (sink.tiers and notice.tier and notice.tier not in sink.tiers)


@dataclass(frozen=True, kw_only=True, slots=True)
class Episode:
    """An outage that people were notified of.

    Attributes:
        since: when it began, seconds since the epoch.
        up_since: since when the dependency was not seen down, 0.0 while it is.
    """

    since: float
    up_since: float = 0.0


def outages(
    notices: Notices,
    down: Mapping[str, tuple[float, str]],
    episodes: Mapping[str, Episode],
    *,
    now: float,
) -> tuple[dict[str, Episode], list[Notice]]:
    """Update the episodes of outages.

    Args:
        down: dependencies that are down: since when (seconds since the epoch), and the last error.
        episodes: outages that people were notified of, by dependency.
        now: seconds since the epoch.

    Returns:
        The episodes now, and the notices to send. One ends only after the dependency was up for
        ``DOWN_AFTER_S``, so that neither a relapse nor a restart makes it a new one.
    """
    after: dict[str, Episode] = {}
    notices_made: list[Notice] = []
    for dependency, episode in episodes.items():
        if dependency in down:
            after[dependency] = Episode(since=episode.since)
            continue
        up_since = min(episode.up_since or now, now)
        if now - up_since < DOWN_AFTER_S:
            after[dependency] = Episode(since=episode.since, up_since=up_since)
            continue
        detail = f"It was down since {rfc3339(episode.since)}."
        notices_made.append(
            notices.of_dependency(
                Condition.DEPENDENCY_UP, dependency, since=episode.since, detail=detail, now=now
            )
        )
    for dependency, (since, error) in down.items():
        if dependency in episodes or now - since < DOWN_AFTER_S:
            continue
        after[dependency] = Episode(since=since)
        detail = f"Since {rfc3339(since)}: {error}"
        notices_made.append(
            notices.of_dependency(
                Condition.DEPENDENCY_DOWN, dependency, since=since, detail=detail, now=now
            )
        )
    return after, notices_made


def wanted(
    sinks: Collection[NotifySettings], notices: Collection[Notice]
) -> Iterator[tuple[str, Notice]]:
    """Each notice with each sink that wants it, by its name; with output if the sink wants that."""
    for notice in notices:
        for sink in sinks:
            if wants(sink, notice):
                with_output = sink.include_output or not notice.output
                yield sink.name, notice if with_output else replace(notice, output="")


def _epoch(timestamp: str) -> float:
    from dispatcher.model.times import epoch

    try:
        return epoch(timestamp)
    except ValueError:
        return 0.0
