"""By which clock what has a lifetime is destroyed: never because of one look at a clock that jumped."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dispatcher.errors import Dependency, Unavailable
from dispatcher.loop.steady_clock import (
    ALONE_S,
    FEW_MINUTES_S,
    GAP_S,
    RECORDED_S,
    SLACK_S,
    ClockRecord,
    SteadyClock,
)
from tests.support.thorough import tries

DAY_S, YEAR_S = 86_400.0, 365 * 86_400.0
NOW = 1_800_000_000.0
LOOK_S = 60.0


@dataclass
class Machine:
    """A machine and its Vault over time.

    Attributes:
        true: the time, seconds since the epoch.
        wrong, vault_wrong: seconds by which the machine's clock and Vault's are ahead of it.
        down: whether Vault does not answer.
    """

    directory: Path
    same_machine: bool = False
    true: float = NOW
    wrong: float = 0.0
    vault_wrong: float = 0.0
    down: bool = False
    boots: int = 1
    booted: float = NOW - 5_000
    clock: SteadyClock = field(init=False)

    def __post_init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        record = ClockRecord(
            self.directory / "clock.json",
            boot=lambda: (f"boot-{self.boots}", self.true - self.booted),
        )
        self.clock = SteadyClock(
            record, vault=self.vault, same_machine=self.same_machine, clock=lambda: self.shown
        )

    def reboot(self, *, down_s: float) -> None:
        self.true += down_s
        self.boots, self.booted = self.boots + 1, self.true
        self.restart()

    @property
    def shown(self) -> float:
        return self.true + self.wrong

    def vault(self) -> float:
        if self.down:
            raise Unavailable(Dependency.VAULT, "no answer")
        return self.shown if self.same_machine else self.true + self.vault_wrong

    def run(self, for_s: float, *, every_s: float = LOOK_S) -> None:
        """Look each minute, as ``serve`` does."""
        end = self.true + for_s
        while self.true < end:
            self.true = min(end, self.true + every_s)
            self.clock.look()

    def destroys(self, at: float, *, written_at: float) -> bool:
        return self.clock.sure().is_over(at, written_at=written_at)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    machine = Machine(tmp_path)
    machine.run(FEW_MINUTES_S + 1)
    return machine


def test_in_the_normal_case_a_lifetime_ends_at_once(machine: Machine) -> None:
    at = machine.true + 3_600
    assert not machine.destroys(at, written_at=NOW)
    machine.run(3_600)
    assert machine.destroys(at, written_at=NOW)
    machine.restart()
    assert machine.destroys(at, written_at=NOW), "a restart changes nothing"
    machine.reboot(down_s=GAP_S / 2)
    assert machine.destroys(at, written_at=NOW), "nor does a boot"


def test_what_was_written_under_a_new_clock_ends_by_it_at_once(tmp_path: Path) -> None:
    new = Machine(tmp_path)
    new.clock.look()
    written = new.true + 1
    new.true += 10
    assert new.destroys(written + 5, written_at=written)
    assert not new.destroys(written + 5, written_at=NOW - 1), "who knows by which clock that was"
    new.run(FEW_MINUTES_S)
    assert new.destroys(written + 5, written_at=NOW - 1)


@pytest.mark.parametrize("restarted", [False, True])
def test_a_clock_that_jumps_destroys_nothing_before_vault_agrees(
    machine: Machine, *, restarted: bool
) -> None:
    at = machine.true + DAY_S
    machine.wrong = YEAR_S
    if restarted:
        machine.restart()
    assert not machine.destroys(at, written_at=NOW)
    assert "jumped by 8760 h" in machine.clock.sure().doubt
    machine.run(2 * FEW_MINUTES_S)
    assert not machine.destroys(at, written_at=NOW)
    assert "ahead of Vault's" in machine.clock.sure().doubt
    machine.wrong = 0.0
    machine.run(DAY_S, every_s=3_600)
    assert machine.destroys(at, written_at=NOW)


def test_a_vault_on_the_same_machine_proves_nothing_for_a_day(tmp_path: Path) -> None:
    machine = Machine(tmp_path, same_machine=True)
    machine.run(FEW_MINUTES_S + 1)
    at = machine.true + YEAR_S / 2
    machine.wrong = YEAR_S
    machine.clock.look()
    machine.run(ALONE_S - LOOK_S, every_s=3_600)
    assert not machine.destroys(at, written_at=NOW)
    machine.run(2 * LOOK_S)
    assert machine.destroys(at, written_at=NOW), "it is taken for the time: nobody set it back"


def test_without_vault_nothing_is_destroyed(machine: Machine) -> None:
    machine.down = True
    assert not machine.destroys(NOW, written_at=NOW)
    assert "Vault's clock is unknown" in machine.clock.sure().doubt


def test_a_machine_that_was_off_for_long_waits_minutes(machine: Machine) -> None:
    at = machine.true + DAY_S
    machine.reboot(down_s=9 * DAY_S)
    assert not machine.destroys(at, written_at=NOW)
    machine.run(FEW_MINUTES_S)
    assert machine.destroys(at, written_at=NOW)


def test_looks_are_not_written_down_again_and_again(tmp_path: Path) -> None:
    at = 0.0
    record = ClockRecord(tmp_path / "clock.json", boot=lambda: ("b", at))
    record.look(NOW)
    first = (tmp_path / "clock.json").stat().st_ino
    at = RECORDED_S - 1
    assert record.look(NOW + at).since == NOW
    assert (tmp_path / "clock.json").stat().st_ino == first
    assert record.look(NOW + at + SLACK_S + 2).jumped_s == pytest.approx(SLACK_S + 2)


def test_a_record_of_an_older_release_counts(tmp_path: Path) -> None:
    old = {"since": NOW - 9 * DAY_S, "seen": NOW - 3_600}
    (tmp_path / "clock.json").write_text(json.dumps(old))
    record = ClockRecord(tmp_path / "clock.json", boot=lambda: ("b", 5.0))
    assert record.steady_for(NOW) == 9 * DAY_S


jumps = st.sampled_from([-YEAR_S, -DAY_S, -600.0, 30.0, 600.0, DAY_S, YEAR_S, 40 * YEAR_S])
steps = st.one_of(
    st.tuples(st.just("jump"), jumps),
    st.tuples(st.just("right"), st.just(0.0)),
    st.tuples(st.just("run"), st.sampled_from([30.0, 600.0, 7_200.0])),
    st.tuples(st.just("restart"), st.just(0.0)),
    st.tuples(st.just("reboot"), st.sampled_from([20.0, 3_600.0, 3 * DAY_S])),
    st.tuples(st.just("down"), st.just(0.0)),
    st.tuples(st.just("up"), st.just(0.0)),
)


@settings(max_examples=tries(60, 400), deadline=None)
@given(history=st.lists(steps, max_size=12), lifetime_s=st.sampled_from([60.0, 5_000.0, DAY_S]))
def test_whatever_happens_to_the_clock_nothing_is_destroyed_early_and_all_in_the_end(
    history: list[tuple[str, float]], lifetime_s: float
) -> None:
    """Vault is another machine, and its clock is right."""
    with TemporaryDirectory() as directory:
        machine = Machine(Path(directory))
        machine.run(FEW_MINUTES_S + 1)
        written, at = machine.true, machine.true + lifetime_s
        for what, value in history:
            match what:
                case "jump":
                    machine.wrong += value
                case "right":
                    machine.wrong = 0.0
                case "run":
                    machine.run(value, every_s=max(LOOK_S, value / 10))
                case "restart":
                    machine.restart()
                case "reboot":
                    machine.reboot(down_s=value)
                case _:
                    machine.down = what == "down"
            early = machine.true < at
            assert not (early and machine.destroys(at, written_at=written)), "never early"
        machine.wrong, machine.down = 0.0, False
        machine.clock.look()
        machine.run(at - machine.true, every_s=3_600)
        machine.run(FEW_MINUTES_S + LOOK_S)
        assert machine.destroys(at, written_at=written), "and a few minutes late at most"
