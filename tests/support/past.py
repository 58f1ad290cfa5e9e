"""What happened to the actions of a model of the service, and what may therefore be in their results."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from dispatcher.model.verdicts import Verdict
from tests.fakes.actions_with_rules import AFTER, LOCKED, SUPERSEDING, TIMED


@dataclass(kw_only=True)
class Past:
    """Written by the model; fails when something is begun, signed or published that must not be.

    Attributes:
        starts: how often each formula began.
        started: ids in the order in which their formulas began.
        lossy: ids whose run was lost by the engine, or waited too long.
        disturbed: ids for which something did not go as it should.
        attacked: ids whose files somebody tampered with.
        cancelled: ids that an approved request was about.
        succeeded: ids with a signed result that says so.
        late: whether a clock showed a time at which the action that has times expires.
        froze: whether a dispatcher lost its lead without knowing.
        refused_output: whether the remote ever refused output.
    """

    starts: Counter[str] = field(default_factory=Counter)
    started: list[str] = field(default_factory=list)
    lossy: set[str] = field(default_factory=set)
    disturbed: set[str] = field(default_factory=set)
    attacked: set[str] = field(default_factory=set)
    cancelled: set[str] = field(default_factory=set)
    succeeded: set[str] = field(default_factory=set)
    late: bool = False
    froze: bool = False
    refused_output: bool = False

    def began(self, action_id: str, order: Callable[[], Mapping[str, int]]) -> None:
        """A formula begins.

        Args:
            order: positions of the actions on the branch.
        """
        self.starts[action_id] += 1
        early = set(AFTER.get(action_id, ())) - self.succeeded
        assert not early, f"{action_id} runs before {early} succeeded"
        if action_id in LOCKED and not self.attacked:
            at = order()
            newer = {i for i in self.started if i in SUPERSEDING and at[i] > at[action_id]}
            assert not newer, f"{action_id} runs after {newer}, which superseded it"
        self.started.append(action_id)

    def signed(self, facts: Mapping[str, Any]) -> None:
        """A result is signed, with these facts."""
        if facts["verdict"] in (Verdict.SUCCEEDED, Verdict.FAILED):
            assert self.starts[facts["id"]] == 1, "nothing is signed that did not happen"
        if facts["verdict"] == Verdict.SUCCEEDED:
            self.succeeded.add(facts["id"])

    def fits(self, action_id: str, ours: bytes | None, *, results: Mapping[str, bytes]) -> None:
        """What git has in the end as a result is what happened.

        Args:
            ours: the result; None if it is not ours.
            results: all files of results, ours or not.
        """
        if ours is None:
            assert action_id in self.attacked
            return
        result = json.loads(ours)
        verdict = result["verdict"]
        if verdict == Verdict.SUCCEEDED:
            assert self.starts[action_id] == 1
        if verdict == Verdict.SUPERSEDED:
            assert not self.starts[action_id], "what ran was not superseded"
            assert action_id in LOCKED
            return
        if verdict == Verdict.EXPIRED:
            assert action_id == TIMED
            assert self.late, "no clock showed that it was over"
            assert not self.starts[action_id], "what ran has not expired"
            return
        if action_id in AFTER and verdict in (Verdict.INVALID, Verdict.REFUSED):
            ended = {i: results.get(i, b"") for i in AFTER[action_id]}
            fine = {i for i, each in ended.items() if b'"succeeded"' in each} - self.attacked
            assert verdict == Verdict.INVALID or not fine, "nothing that it runs after failed"
            return
        if verdict == Verdict.CANCELLED:
            assert action_id in self.cancelled | self.attacked, "nobody cancelled it"
        if verdict == Verdict.LOST:
            # Or the late dispatch of a leader that thawed used the wrapping of a dead grant.
            assert action_id in self.lossy or self.froze, "what nobody lost is not lost"
        if action_id not in self.lossy | self.disturbed | self.attacked:
            assert verdict == Verdict.SUCCEEDED, "without any trouble it succeeds"
            assert self.refused_output or result["output"]["stdout"], "and its output is kept"
