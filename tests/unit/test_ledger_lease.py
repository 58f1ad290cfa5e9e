"""A lease by a clock of ours: when it is believed, and when not any more."""

from __future__ import annotations

import pytest

from dispatcher.engines.nomad.api import Lock
from dispatcher.engines.nomad.lease import NomadLease
from dispatcher.errors import Conflict, Denied, Dependency, DisintoError, Unavailable

LOCK = Lock(path="disinto/leader", id="1")


class FakeNomad:
    """Answers renewals; each takes ``takes_s`` of the clock."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self.takes_s = 0.0
        self.answer: DisintoError | None = None
        self.released: list[Lock] = []

    def renew_lock(self, lock: Lock, *, timeout_s: float | None = None) -> None:
        assert timeout_s == 5.0
        self.now += self.takes_s
        if self.answer is not None:
            raise self.answer

    def release_lock(self, lock: Lock) -> None:
        self.released.append(lock)
        if self.answer is not None:
            raise self.answer


@pytest.fixture
def nomad() -> FakeNomad:
    return FakeNomad()


@pytest.fixture
def lease(nomad: FakeNomad) -> NomadLease:
    return NomadLease(nomad, LOCK, ttl_s=15, began=1_000.0, clock=lambda: nomad.now)  # type: ignore[arg-type]


def test_it_is_believed_for_four_fifths_of_its_time(lease: NomadLease, nomad: FakeNomad) -> None:
    nomad.now = 1_011.99
    assert lease.held()
    nomad.now = 1_012.0
    assert not lease.held()


def test_a_renewal_counts_from_when_it_was_sent(lease: NomadLease, nomad: FakeNomad) -> None:
    nomad.now, nomad.takes_s = 1_005.0, 4.0
    lease.renew()
    nomad.now = 1_016.99
    assert lease.held()
    nomad.now = 1_017.0
    assert not lease.held()


def test_what_was_lost_stays_lost(lease: NomadLease, nomad: FakeNomad) -> None:
    nomad.now = 1_012.0
    assert not lease.held()
    lease.renew()
    assert not lease.held()


def test_a_renewal_that_is_answered_too_late_does_not_help(
    lease: NomadLease, nomad: FakeNomad
) -> None:
    nomad.now, nomad.takes_s = 1_011.0, 2.0
    lease.renew()
    nomad.now = 1_011.5  # whatever the clock says now
    assert not lease.held()


@pytest.mark.parametrize(
    "answer", [Conflict("held by another"), Denied(Dependency.SCHEDULER, "rights were taken")]
)
def test_a_refused_renewal_ends_it_at_once(
    lease: NomadLease, nomad: FakeNomad, answer: DisintoError
) -> None:
    nomad.answer = answer
    lease.renew()
    assert not lease.held()


def test_a_renewal_without_an_answer_leaves_the_rest_of_its_time(
    lease: NomadLease, nomad: FakeNomad
) -> None:
    nomad.answer = Unavailable(Dependency.SCHEDULER, "down")
    nomad.now = 1_010.0
    with pytest.raises(Unavailable):
        lease.renew()
    assert lease.held()
    nomad.now = 1_012.0
    assert not lease.held()


@pytest.mark.parametrize("answer", [None, Unavailable(Dependency.SCHEDULER, "down")])
def test_giving_up_frees_the_lock_if_it_can(
    lease: NomadLease, nomad: FakeNomad, answer: DisintoError | None
) -> None:
    nomad.answer = answer
    lease.give_up()
    assert not lease.held()
    assert nomad.released == [LOCK]
