"""What every ledger keeps to. Subclass ``LedgerContract`` and give it an opener.

Another process takes part through ``tests.contract.ledger_process``, which opens the same store by
the words of ``address``.
"""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings

from dispatcher.errors import Conflict
from dispatcher.ledger.base import AlreadyClaimed, Lease, Ledger, Note
from dispatcher.model.run import Claim, Phase
from tests.contract.claims import claim, claims, submitted


class GaveUp(Exception):
    """Raised by a ``waiting`` callback."""


class Process:
    """A second process on the same store."""

    def __init__(self, *words: str, env: dict[str, str] | None = None) -> None:
        self.popen = subprocess.Popen(
            [sys.executable, "-m", "tests.contract.ledger_process", *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=env,
        )

    def line(self) -> str:
        """Its next line; "" when it has ended."""
        assert self.popen.stdout is not None
        return self.popen.stdout.readline().strip()

    def line_after(self, *passed_over: str) -> str:
        """Its next line that is none of these."""
        while (line := self.line()) in passed_over:
            pass
        return line

    def finish(self) -> int:
        """Let it leave by itself."""
        self.popen.communicate()
        return self.popen.returncode

    def kill(self) -> None:
        self.popen.kill()
        self.popen.communicate()


class LedgerContract:
    """Fixtures to give: ``opener`` opens the test's store as one more process would;
    ``address`` are the words that let another process open it."""

    @pytest.fixture
    def opener(self) -> Callable[[], Ledger]:
        raise NotImplementedError

    @pytest.fixture
    def address(self) -> tuple[str, ...]:
        raise NotImplementedError

    @pytest.fixture
    def ledger(self, opener: Callable[[], Ledger]) -> Ledger:
        return opener()

    @pytest.fixture
    def start(self, address: tuple[str, ...]) -> Iterator[Callable[..., Process]]:
        """Start a second process; whatever is left of it is killed at the end."""
        with ExitStack() as stack:

            def start(*words: str) -> Process:
                process = Process(*address, *words)
                stack.callback(process.kill)
                return process

            yield start

    # Claims

    def test_a_new_ledger_is_empty(self, ledger: Ledger) -> None:
        assert list(ledger.open_runs()) == []

    def test_a_claim_is_seen_by_others(self, ledger: Ledger, opener: Callable[[], Ledger]) -> None:
        written = ledger.claim(claim("one"))
        assert written.version > 0
        assert written == replace(claim("one"), version=written.version)
        assert list(opener().open_runs()) == [written]

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
        max_examples=25,
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

    def test_a_ledger_says_where_it_is(self, ledger: Ledger, opener: Callable[[], Ledger]) -> None:
        ledger.claim(claim("one"))
        assert ledger.place() == opener().place()

    # Leadership

    def test_a_free_lead_is_taken_at_once(self, ledger: Ledger) -> None:
        with ledger.leader(name="first", waiting=_never) as lease:
            assert lease.held()
        assert not lease.held()

    def test_the_lead_can_be_taken_again(self, ledger: Ledger) -> None:
        for _ in range(3):
            with ledger.leader(name="first", waiting=_never) as lease:
                assert lease.held()

    def test_a_leader_may_write_claims(self, ledger: Ledger) -> None:
        with ledger.leader(name="first", waiting=_never):
            ledger.release(ledger.claim(claim("one")))

    def test_others_wait_and_are_told_for_whom(
        self, ledger: Ledger, opener: Callable[[], Ledger]
    ) -> None:
        told: list[str] = []

        def give_up(holder: str) -> None:
            told.append(holder)
            raise GaveUp

        with ledger.leader(name="host-a:17", waiting=_never) as lease:
            with pytest.raises(GaveUp), opener().leader(name="host-b:18", waiting=give_up):
                pytest.fail("two leaders")
            assert lease.held()
        assert told == ["host-a:17"]

    def test_who_gave_up_waiting_holds_nothing(
        self, ledger: Ledger, opener: Callable[[], Ledger]
    ) -> None:
        with (
            ledger.leader(name="first", waiting=_never),
            pytest.raises(GaveUp),
            opener().leader(name="second", waiting=_give_up),
        ):
            pytest.fail("two leaders")
        with ledger.leader(name="first", waiting=_never) as lease:
            assert lease.held()

    def test_the_lead_is_free_after_an_error_in_it(self, ledger: Ledger) -> None:
        with pytest.raises(GaveUp), ledger.leader(name="first", waiting=_never):
            raise GaveUp
        with ledger.leader(name="second", waiting=_never) as lease:
            assert lease.held()

    def test_never_two_leaders(self, opener: Callable[[], Ledger]) -> None:
        leading: list[Lease] = []
        turns: list[int] = []

        def lead(number: int) -> None:
            with opener().leader(name=f"thread-{number}", waiting=_ignore) as lease:
                assert not any(other.held() for other in leading)
                leading.append(lease)
                assert lease.held()
                turns.append(number)
                leading.remove(lease)

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lead, range(4)))
        assert sorted(turns) == [0, 1, 2, 3]

    def test_of_two_processes_one_leads_and_the_next_follows_its_clean_end(
        self, start: Callable[..., Process]
    ) -> None:
        first = start("lead", "first")
        assert first.line() == "leading"
        second = start("lead", "second")
        assert second.line() == "waiting for first"
        assert first.finish() == 0
        assert second.line_after("waiting for first") == "leading"

    @pytest.mark.slow
    def test_a_killed_leader_is_followed_by_the_next(self, start: Callable[..., Process]) -> None:
        first = start("lead", "first")
        assert first.line() == "leading"
        second = start("lead", "second")
        assert second.line() == "waiting for first"
        first.kill()
        assert second.line_after("waiting for first") == "leading"

    # Crashes

    def test_a_killed_writer_leaves_whole_claims_and_all_it_acknowledged(
        self, start: Callable[..., Process], opener: Callable[[], Ledger]
    ) -> None:
        for turn in range(3):
            writer = start("write", f"turn-{turn}")
            acknowledged = [writer.line() for _ in range(20)]
            writer.popen.kill()
            rest, _ = writer.popen.communicate()
            acknowledged += [line for line in rest.splitlines() if line.endswith(".")]
            found = {each.key.action_id: each for each in opener().open_runs()}
            steps = [line.rstrip(".").split() for line in acknowledged]
            last = {id_: int(step) for id_, step in steps}
            for id_, step in last.items():
                # The next step may have been written and not yet told.
                assert found[id_].priority in (step, step + 1)
                assert found[id_].result == str(found[id_].priority) * 2_000


def _never(holder: str) -> None:
    raise AssertionError(f"waits for {holder}, though nobody leads")


def _ignore(holder: str) -> None:
    assert holder


def _give_up(holder: str) -> None:
    raise GaveUp


@contextmanager
def leading(ledger: Ledger, name: str) -> Iterator[Lease]:
    """The lead of a ledger on which nobody else leads."""
    with ledger.leader(name=name, waiting=_never) as lease:
        yield lease
