"""The fakes that other tests rely on keep the contracts of what they stand for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import count

import pytest

from dispatcher.gate import Question
from dispatcher.model.approval_need import PLAIN
from dispatcher.model.run import (
    Claim,
    FormulaKind,
    FormulaRef,
    Grant,
    Observation,
    RunKey,
    RunSpec,
    RunState,
    Tier,
    WrappedGrant,
)
from tests.contract.board import BoardContract, Place
from tests.contract.claims_store import ClaimsContract
from tests.contract.gate import Case, GateContract
from tests.contract.grants import GrantsContract, VaultCase
from tests.contract.runs import Runs, RunsContract
from tests.fakes.board import LANDED, FakeBoard
from tests.fakes.forge import BLOB, HEAD, OTHER, PATH, Scene
from tests.fakes.outside import MemoryEngine, MemoryLedger, MemoryVault
from tests.fakes.scheduler import FakeScheduler

FORMULA = FormulaRef(name="hello", kind=FormulaKind.SHELL, blob="f" * 40, sha256="0" * 64)


class TestMemoryLedger(ClaimsContract):
    @pytest.fixture
    def opener(self) -> Callable[[], MemoryLedger]:
        """Every process opens the one that there is."""
        ledger = MemoryLedger()
        return lambda: ledger


class FakeRuns:
    """Ids and specs of runs that nothing executes."""

    def __init__(self) -> None:
        self._numbers = count(1)
        self.lasting: set[RunKey] = set()

    def spec(self, *, lasts: bool) -> RunSpec:
        key = RunKey(action_id=f"run-{next(self._numbers)}", blob="b" * 40)
        if lasts:
            self.lasting.add(key)
        return RunSpec(key=key, commit="c" * 40, tier=Tier.LOW, formula=FORMULA, formula_text=b"")


class RunsOfFakeScheduler(FakeRuns):
    def __init__(self) -> None:
        super().__init__()
        self.scheduler = FakeScheduler()

    def mint(self) -> WrappedGrant:
        number = next(self._numbers)
        grant = Grant(wrapping_accessor=f"w{number}", accessor=f"a{number}")
        return WrappedGrant(grant=grant, token=f"t{number}", creation_path="")

    def submit(self, spec: RunSpec, grant: WrappedGrant, *, again: bool = False) -> str:
        return self.scheduler.submit(spec, grant, again=again)

    def until_under_way(self, claim: Claim) -> None:
        assert claim.key in self.scheduler.running()

    def end(self, claim: Claim) -> Observation:
        if claim.key in self.scheduler.running() and claim.key not in self.lasting:
            self.scheduler.end(claim.key)
        return self.scheduler.observe([claim])[claim.key]

    def starts(self, claim: Claim) -> int:
        return [spec.key for spec in self.scheduler.submitted].count(claim.key)

    def took(self, grants: Sequence[WrappedGrant]) -> list[bool]:
        return [grant in self.scheduler.granted for grant in grants]


class TestFakeScheduler(RunsContract):
    @pytest.fixture
    def runs(self) -> Runs:
        return RunsOfFakeScheduler()


class RunsOfMemoryEngine(FakeRuns):
    def __init__(self) -> None:
        super().__init__()
        self.scheduler = MemoryEngine()
        self.vault = MemoryVault()
        self.begun: list[RunKey] = []

    def mint(self) -> WrappedGrant:
        return self.vault.mint(RunKey(action_id="a", blob="b" * 40), (), lifetime_s=60)

    def submit(self, spec: RunSpec, grant: WrappedGrant, *, again: bool = False) -> str:
        return self.scheduler.submit(spec, grant, again=again)

    def until_under_way(self, claim: Claim) -> None:
        run = self.scheduler.runs[claim.key]
        while not run.started:
            self._step(claim)

    def end(self, claim: Claim) -> Observation:
        self.until_under_way(claim)
        run = self.scheduler.runs[claim.key]
        assert claim.key not in self.lasting or run.cancelled
        while self.scheduler.observe([claim])[claim.key].state is not RunState.ENDED:
            self._step(claim)
        return self.scheduler.observe([claim])[claim.key]

    def _step(self, claim: Claim) -> None:
        if self.scheduler.runs[claim.key].step(self.vault):
            self.begun.append(claim.key)

    def starts(self, claim: Claim) -> int:
        return self.begun.count(claim.key)

    def took(self, grants: Sequence[WrappedGrant]) -> list[bool]:
        tokens = {run.token for run in self.scheduler.runs.values()}
        return [grant.token in tokens for grant in grants]


class TestMemoryEngine(RunsContract):
    @pytest.fixture
    def runs(self) -> Runs:
        return RunsOfMemoryEngine()


class TestMemoryVault(GrantsContract):
    @pytest.fixture
    def vault_case(self) -> VaultCase:
        vault = MemoryVault()
        return VaultCase(
            grants=vault,
            unwrap=lambda wrapped: vault.unwrap(wrapped.token),
            lives=lambda grant: grant.accessor in vault.alive,
        )


class TestFakeBoard(BoardContract):
    @pytest.fixture
    def place(self) -> Place:
        return Place(board=FakeBoard(), commit=LANDED, request=5)


class TestFakeForge(GateContract):
    """The gate over the forge and the history in memory."""

    @pytest.fixture
    def case(self) -> Case:
        def question(path: str, blob: str) -> Question:
            return Question(
                action_id="x",
                path=path,
                blob=blob,
                commit=HEAD,
                tier=Tier.HIGH,
                need=PLAIN,
                formula_need=PLAIN,
            )

        return Case(
            gate=Scene().gate,
            approved=question(PATH, BLOB),
            unapproved=question("vault/actions/y.toml", OTHER),
        )
