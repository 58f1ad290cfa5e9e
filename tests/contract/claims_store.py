"""What every store of claims and notes keeps to, a ledger's or a fake's."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from dispatcher.errors import Conflict
from dispatcher.ledger.base import AlreadyClaimed, Ledger, Note
from dispatcher.model.run import Claim, Phase
from tests.contract.claims import claim, claims, submitted
from tests.support.thorough import tries


class ClaimsContract:
    """What every store of claims and notes keeps to; fakes keep it as well.

    The fixture to give: ``opener`` opens the test's store as one more process would.
    """

    @pytest.fixture
    def opener(self) -> Callable[[], Any]:
        raise NotImplementedError

    @pytest.fixture
    def ledger(self, opener: Callable[[], Any]) -> Any:
        return opener()

    # Claims

    def test_a_new_ledger_is_empty(self, ledger: Ledger) -> None:
        assert list(ledger.open_runs()) == []

    def test_a_claim_is_seen_by_others(self, ledger: Ledger, opener: Callable[[], Ledger]) -> None:
        written = ledger.claim(claim("one"))
        assert written.version > 0
        assert written == replace(claim("one"), version=written.version)
        assert list(opener().open_runs()) == [written]

    def test_a_claim_is_found_by_its_id(self, ledger: Ledger, opener: Callable[[], Ledger]) -> None:
        assert ledger.get("one") is None
        one, other = ledger.claim(claim("one")), ledger.claim(claim("one-a"))
        assert [opener().get(i) for i in ("one", "one-a", "on")] == [one, other, None]
        ended = ledger.update(replace(one, phase=Phase.ENDED, result="{}" * 9_000))
        assert opener().get("one") == ended
        ledger.release(ended)
        assert ledger.get("one") is None

    def test_an_id_is_claimed_once_whatever_its_blob_or_phase(self, ledger: Ledger) -> None:
        first = ledger.claim(claim("one"))
        ended = ledger.update(replace(first, phase=Phase.ENDED, result="{}"))
        with pytest.raises(AlreadyClaimed) as caught:
            ledger.claim(claim("one", blob="0" * 40))
        assert caught.value.existing == ended
        assert list(ledger.open_runs()) == [ended]

    def test_ids_near_each_other_are_different(self, ledger: Ledger) -> None:
        ids = ["a", "a-", "a_", "a0", "aa", "z" * 100]
        for id_ in ids:
            ledger.claim(claim(id_))
        assert [found.key.action_id for found in ledger.open_runs()] == sorted(ids)

    def test_of_twenty_racing_for_an_id_one_wins(self, opener: Callable[[], Ledger]) -> None:
        opened = [opener(), opener()]
        start = threading.Barrier(20)

        def race(number: int) -> Claim | AlreadyClaimed:
            start.wait()
            try:
                return opened[number % 2].claim(replace(claim("one"), priority=number))
            except AlreadyClaimed as refused:
                return refused

        with ThreadPoolExecutor(20) as pool:
            outcomes = list(pool.map(race, range(20)))
        winners = [each for each in outcomes if isinstance(each, Claim)]
        losers = [each for each in outcomes if isinstance(each, AlreadyClaimed)]
        assert len(winners) == 1
        assert len(losers) == 19
        assert all(loser.existing == winners[0] for loser in losers)

    def test_an_update_needs_the_version_read(self, ledger: Ledger) -> None:
        first = ledger.claim(claim("one"))
        second = ledger.update(submitted(first))
        assert second.version != first.version
        with pytest.raises(Conflict):
            ledger.update(replace(first, phase=Phase.ENDED))
        assert list(ledger.open_runs()) == [second]

    def test_an_update_does_not_create(self, ledger: Ledger) -> None:
        with pytest.raises(Conflict):
            ledger.update(replace(claim("one"), version=1))
        with pytest.raises(Conflict):
            ledger.update(claim("one"))
        assert list(ledger.open_runs()) == []

    def test_a_release_needs_the_version_read(self, ledger: Ledger) -> None:
        first = ledger.claim(claim("one"))
        second = ledger.update(submitted(first))
        with pytest.raises(Conflict):
            ledger.release(first)
        assert list(ledger.open_runs()) == [second]
        ledger.release(second)
        assert list(ledger.open_runs()) == []

    def test_releasing_what_is_gone_is_fine(self, ledger: Ledger) -> None:
        written = ledger.claim(claim("one"))
        ledger.release(written)
        ledger.release(written)

    def test_a_claim_made_anew_is_not_the_old_one(self, ledger: Ledger) -> None:
        old = ledger.claim(claim("one"))
        ledger.release(old)
        new = ledger.claim(claim("one"))
        with pytest.raises(Conflict):
            ledger.update(submitted(old))
        with pytest.raises(Conflict):
            ledger.release(old)
        assert list(ledger.open_runs()) == [new]

    def test_of_many_updates_at_once_each_version_is_replaced_once(
        self, ledger: Ledger, opener: Callable[[], Ledger]
    ) -> None:
        written = ledger.claim(claim("one"))
        opened = [ledger, opener()]

        def update(number: int) -> bool:
            try:
                opened[number % 2].update(replace(written, priority=number))
            except Conflict:
                return False
            return True

        with ThreadPoolExecutor(8) as pool:
            assert sum(pool.map(update, range(16))) == 1

    @settings(
        max_examples=tries(10, 25),
        deadline=None,
        suppress_health_check=[
            HealthCheck.function_scoped_fixture,
            HealthCheck.differing_executors,
        ],
    )
    @given(any_claim=claims())
    def test_every_field_comes_back(self, ledger: Ledger, any_claim: Claim) -> None:
        written = ledger.claim(any_claim)
        try:
            assert list(ledger.open_runs()) == [written]
            assert replace(written, version=0) == any_claim
        finally:
            ledger.release(written)

    def test_a_long_result_fits(self, ledger: Ledger) -> None:
        written = ledger.claim(claim("one"))
        ended = ledger.update(replace(written, phase=Phase.ENDED, result="\x1b" * 6_000))
        assert list(ledger.open_runs()) == [ended]

    def test_many_claims_come_back(self, ledger: Ledger) -> None:
        written = [ledger.claim(claim(f"many-{number:03}")) for number in range(120)]
        assert list(ledger.open_runs()) == written

    # Notes

    def test_a_note_is_seen_by_others(self, ledger: Ledger, opener: Callable[[], Ledger]) -> None:
        assert ledger.note("lead") is None
        written = ledger.write_note("lead", "Grüße", version=0)
        assert written == Note(text="Grüße", version=written.version)
        assert opener().note("lead") == written
        assert ledger.note("other") is None
        assert list(ledger.open_runs()) == [], "a note is no claim"

    def test_a_note_needs_the_version_read(
        self, ledger: Ledger, opener: Callable[[], Ledger]
    ) -> None:
        first = ledger.write_note("lead", "1", version=0)
        second = opener().write_note("lead", "2", version=first.version)
        for stale in (0, first.version):
            with pytest.raises(Conflict):
                ledger.write_note("lead", "3", version=stale)
        assert ledger.note("lead") == second
        with pytest.raises(Conflict):
            ledger.write_note("absent", "1", version=first.version)
        assert ledger.note("absent") is None
