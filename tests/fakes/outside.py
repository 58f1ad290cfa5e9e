"""Ledger, vault and engine in memory, each call a micro-step (``tests.fakes.actors``)."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from typing import TypeVar

from dispatcher.errors import Conflict, Dependency, Unavailable
from dispatcher.ledger.base import AlreadyClaimed, Note
from dispatcher.model.run import (
    Claim,
    Grant,
    Observation,
    Outcome,
    Placement,
    RunKey,
    RunSpec,
    RunState,
    WrappedGrant,
)
from dispatcher.model.verdicts import Verdict
from dispatcher.vault import GrantGone
from tests.fakes.actors import micro

T = TypeVar("T")

SUCCEEDED = Outcome(verdict=Verdict.SUCCEEDED, exit_code=0, formula_started=True)
CANCELLED = Outcome(verdict=Verdict.CANCELLED, exit_code=130)
NO_GRANT = Outcome(verdict=Verdict.ERROR, exit_code=70, error="no grant")


class MemoryLedger:
    """Claims with versions that are never used twice.

    Args:
        releases: told of each claim just before it is let go.
    """

    def __init__(self, releases: Callable[[Claim], None] = lambda _claim: None) -> None:
        self.releases = releases
        self.claims: dict[str, Claim] = {}
        self.notes: dict[str, Note] = {}
        self._versions = itertools.count(1)

    def claim(self, claim: Claim) -> Claim:
        return micro(Dependency.LEDGER, lambda: self._claim(claim))

    def update(self, claim: Claim) -> Claim:
        return micro(Dependency.LEDGER, lambda: self._update(claim))

    def release(self, claim: Claim) -> None:
        return micro(Dependency.LEDGER, lambda: self._release(claim))

    def get(self, action_id: str) -> Claim | None:
        return micro(Dependency.LEDGER, lambda: self.claims.get(action_id))

    def open_runs(self) -> list[Claim]:
        return micro(Dependency.LEDGER, lambda: [self.claims[i] for i in sorted(self.claims)])

    def note(self, name: str) -> Note | None:
        return micro(Dependency.LEDGER, lambda: self.notes.get(name))

    def write_note(self, name: str, text: str, *, version: int) -> Note:
        def write() -> Note:
            known = self.notes.get(name)
            if (known.version if known else 0) != version:
                raise Conflict("the note changed")
            self.notes[name] = Note(text=text, version=next(self._versions))
            return self.notes[name]

        return micro(Dependency.LEDGER, write)

    def _claim(self, claim: Claim) -> Claim:
        if claim.key.action_id in self.claims:
            raise AlreadyClaimed(self.claims[claim.key.action_id])
        return self._write(claim)

    def _update(self, claim: Claim) -> Claim:
        self._same(claim)
        return self._write(claim)

    def _release(self, claim: Claim) -> None:
        if claim.key.action_id in self.claims:
            self._same(claim)
            self.releases(claim)
            del self.claims[claim.key.action_id]

    def _same(self, claim: Claim) -> None:
        known = self.claims.get(claim.key.action_id)
        if known is None or known.version != claim.version:
            raise Conflict("it changed or is gone")

    def _write(self, claim: Claim) -> Claim:
        written = replace(claim, version=next(self._versions))
        self.claims[claim.key.action_id] = written
        return written


class MemoryVault:
    """Grants and their wrappings, by accessor. ``away`` from dispatchers, not from runners."""

    def __init__(self) -> None:
        self.alive: set[str] = set()
        self.provisional: set[str] = set()
        self.wrapped: dict[str, str] = {}  # unused wrappings
        self.away = False
        self._numbers = itertools.count(1)

    def mint(
        self, key: RunKey, secrets: Collection[str], *, bot: str = "", lifetime_s: int
    ) -> WrappedGrant:
        return self._micro(self._mint)

    def _mint(self) -> WrappedGrant:
        number = next(self._numbers)
        grant = Grant(wrapping_accessor=f"w{number}", accessor=f"g{number}")
        self.alive.add(grant.accessor)
        self.provisional.add(grant.accessor)
        self.wrapped[grant.wrapping_accessor] = grant.accessor
        return WrappedGrant(grant=grant, token=grant.wrapping_accessor, creation_path="")

    def extend(self, grant: Grant, *, lifetime_s: int) -> None:
        def extend() -> None:
            if grant.accessor not in self.alive:
                raise GrantGone("the grant ended before")
            self.provisional.discard(grant.accessor)

        self._micro(extend)

    def withdraw(self, grant: Grant) -> bool:
        self._micro(lambda: self.kill(grant.accessor))
        return self._micro(lambda: grant.wrapping_accessor in self.wrapped)

    def revoke(self, grant: Grant) -> None:
        self._micro(lambda: self.kill(grant.accessor))
        self._micro(lambda: self.wrapped.pop(grant.wrapping_accessor, None))

    def forget(self) -> None:
        """It restarted empty: no token of before is known any more."""
        self.alive.clear()
        self.provisional.clear()
        self.wrapped.clear()

    def kill(self, accessor: str) -> None:
        self.alive.discard(accessor)
        self.provisional.discard(accessor)

    def _micro(self, do: Callable[[], T]) -> T:
        def ask() -> T:
            if self.away:
                raise Unavailable(Dependency.VAULT, "it is away")
            return do()

        return micro(Dependency.VAULT, ask)

    def unwrap(self, token: str) -> str | None:
        return self.wrapped.pop(token, None)


@dataclass
class Run:
    """A run as the engine has it.

    Attributes:
        token: of the grant's wrapping.
        accessor: what came out of it once it was unwrapped.
        cancelled: the reason, if it is to stop.
    """

    token: str
    unwrapped: bool = False
    accessor: str | None = None
    started: bool = False
    cancelled: str = ""
    outcome: Outcome | None = None

    def step(self, vault: MemoryVault) -> bool:
        """A micro-step of its runner; True if its formula begins with it."""
        if self.outcome is not None:
            return False
        if not self.unwrapped:
            self.unwrapped, self.accessor = True, vault.unwrap(self.token)
        elif self.started:
            stopped = replace(CANCELLED, error=self.cancelled)
            self.outcome = stopped if self.cancelled else SUCCEEDED
        elif self.accessor in vault.alive:
            self.started = True
            return True
        else:
            self.outcome = NO_GRANT
        return False


class MemoryEngine:
    """Runs by key; idempotent."""

    def __init__(self) -> None:
        self.runs: dict[RunKey, Run] = {}

    def submit(
        self,
        spec: RunSpec,
        grant: WrappedGrant,
        *,
        again: bool = False,
    ) -> str:
        def submit() -> str:
            self.runs.setdefault(spec.key, Run(token=grant.token))
            return spec.key.token

        return micro(Dependency.SCHEDULER, submit)

    def cancel(self, claim: Claim, *, reason: str) -> None:
        def cancel() -> None:
            run = self.runs.get(claim.key)
            if run is not None:
                run.cancelled = reason

        micro(Dependency.SCHEDULER, cancel)

    def forget(self, claim: Claim) -> None:
        def forget() -> None:
            run = self.runs.pop(claim.key, None)
            assert run is None or run.outcome or not run.started, "forgotten while it ran"

        micro(Dependency.SCHEDULER, forget)

    def observe(self, claims: Collection[Claim]) -> dict[RunKey, Observation]:
        wanted = {claim.key for claim in claims}
        return micro(
            Dependency.SCHEDULER, lambda: {k: o for k, o in self.seen().items() if k in wanted}
        )

    def seen(self) -> dict[RunKey, Observation]:
        """All runs, at once."""
        return {
            key: Observation(
                state=RunState.ENDED if run.outcome else RunState.RUNNING,
                engine_id=key.token,
                engine=Placement(kind="local"),
                outcome=run.outcome,
                since=1.0,
            )
            for key, run in self.runs.items()
        }
