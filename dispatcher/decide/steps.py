"""The steps that ``reconcile`` can decide on, each a self-contained record.

``dispatcher.loop.steps`` carries them out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from dispatcher.decide.world import Candidate
from dispatcher.errors import Dependency
from dispatcher.model.health import LockPlace, WaitingFor
from dispatcher.model.run import Claim, Observation, RunKey, RunState, Tier
from dispatcher.model.verdicts import Verdict


@dataclass(frozen=True, kw_only=True, slots=True)
class _OfCandidate:
    """A step for an action without a claim."""

    candidate: Candidate

    @property
    def action_id(self) -> str:
        return self.candidate.key.action_id


@dataclass(frozen=True, kw_only=True, slots=True)
class _OfClaim:
    """A step for a claim of the ledger."""

    claim: Claim

    @property
    def action_id(self) -> str:
        return self.claim.key.action_id


@dataclass(frozen=True, kw_only=True, slots=True)
class Ask(_OfCandidate):
    """Ask the gate about a candidate."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Reject(_OfCandidate):
    """Write the result of a candidate that never runs.

    Attributes:
        commit: the branch's head (hex) at which that was decided.
    """

    verdict: Verdict
    reason: str
    commit: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Launch(_OfCandidate):
    """Mint, claim and submit.

    Attributes:
        commit: the branch's head (hex) at which the action was judged.
        revision: of the rules by which it was judged.
    """

    commit: str = ""
    revision: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class ResolveOrphan(_OfClaim):
    """Check in the vault whether a claimed run that the engine does not have may have started.

    Attributes:
        candidate: the action as it was claimed, if its file is still there unchanged. Without it a
            run that never started ends as an error, because there is nothing to start.
    """

    candidate: Candidate | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Conclude(_OfClaim):
    """Revoke the grant of an ended run and record its verdict."""

    observation: Observation


@dataclass(frozen=True, kw_only=True, slots=True)
class Revoke(_OfClaim):
    """Revoke a grant whose run was recorded while the vault was down."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Publish(_OfClaim):
    """Bring a recorded verdict to git."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Inspect(_OfClaim):
    """Check whether the file in git at the path of this claim's result is ours."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Restore(_OfClaim):
    """Turn a tombstone into a verdict: its action is there again, and the text that it keeps is
    proven to be ours. One that is not loses its text.
    """


@dataclass(frozen=True, kw_only=True, slots=True)
class Cancel:
    """Stop a run, or take the one claim of an action that waits with the verdict in it.

    Attributes:
        key: the action, or the run.
        claim: of the run that is to be stopped; None for an action that has not started.
        by: who asked, in words.
        commit: the branch's head (hex) at which that was decided.
    """

    key: RunKey
    claim: Claim | None
    by: str
    commit: str = ""

    @property
    def action_id(self) -> str:
        return self.key.action_id


@dataclass(frozen=True, kw_only=True, slots=True)
class StopSuperseded(_OfClaim):
    """Stop a run whose result, signed by us, is in git already, and revoke its grant: a result ends
    a run forever. How it ended is recorded once the engine reports it, as for any other run.
    """


@dataclass(frozen=True, kw_only=True, slots=True)
class Retire(_OfClaim):
    """Release the claim and let the engine forget the run."""


Step = (
    Ask
    | Reject
    | Launch
    | ResolveOrphan
    | Conclude
    | Revoke
    | Publish
    | Inspect
    | Restore
    | Cancel
    | StopSuperseded
    | Retire
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Wait:
    """An action for which no step is taken now, and why.

    Attributes:
        reason: in words; "" if there is nothing to report about a run.
        run: the state of its run as the engine reports it; None if it has none, or if unknown.
        until: when it ends by itself, seconds since the epoch; None if that is not known.
        lock: its place at its lock; None if it waits for something else.
    """

    action_id: str
    waiting_for: WaitingFor
    reason: str
    run: RunState | None = None
    until: float | None = None
    lock: LockPlace | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """Steps to carry out now, in order, and what waits. Each id is in at most one of them.

    Attributes:
        next_at: when a time passes that may change the plan, seconds since the epoch; None if none
            will.
    """

    steps: tuple[Step, ...]
    waits: tuple[Wait, ...]
    next_at: float | None = None


NEEDS: Mapping[type, frozenset[Dependency]] = {
    Ask: frozenset(),  # see ``needs``
    Reject: frozenset({Dependency.REMOTE, Dependency.LEAD}),
    Launch: frozenset({Dependency.VAULT, Dependency.SCHEDULER, Dependency.LEDGER, Dependency.LEAD}),
    ResolveOrphan: frozenset(  # it may submit again
        {Dependency.VAULT, Dependency.SCHEDULER, Dependency.LEDGER, Dependency.LEAD}
    ),
    Conclude: frozenset({Dependency.LEDGER}),
    Revoke: frozenset({Dependency.VAULT, Dependency.LEDGER}),
    Publish: frozenset({Dependency.REMOTE}),
    Inspect: frozenset(),
    Restore: frozenset({Dependency.LEDGER}),
    Cancel: frozenset({Dependency.LEDGER}),  # see ``needs``
    StopSuperseded: frozenset({Dependency.SCHEDULER, Dependency.LEDGER}),  # see ``needs``
    Retire: frozenset({Dependency.SCHEDULER, Dependency.LEDGER}),
}
"""The dependencies that must be up for a kind of step to be worth trying."""


def needs(step: Step) -> frozenset[Dependency]:
    """The dependencies that must be up for this step to be worth trying. The forge is needed for
    everything that needs an approval: an action of tier medium or high, and a formula of the ops repo;
    and again when it starts. A run is stopped without the vault; the rest of ``StopSuperseded`` needs
    the vault.
    """
    if isinstance(step, Ask | Launch):
        formula = step.candidate.formula
        by_people = step.candidate.tier is not Tier.LOW or (formula and formula.ref.commit)
        return NEEDS[type(step)] | ({Dependency.FORGE} if by_people else frozenset())
    if isinstance(step, Cancel):
        other = Dependency.SCHEDULER if step.claim else Dependency.LEAD
        return NEEDS[Cancel] | {other}
    if isinstance(step, StopSuperseded) and step.claim.stopped:
        return NEEDS[StopSuperseded] | {Dependency.VAULT}
    return NEEDS[type(step)]
