"""What every ledger keeps to. Subclass ``LedgerContract`` and give it an opener.

Another process takes part through ``tests.contract.ledger_process``, which opens the same store by
the words of ``address``.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager

import pytest

from dispatcher.ledger.base import Lease, Ledger
from tests.contract.claims import claim
from tests.contract.claims_store import ClaimsContract


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


class LedgerContract(ClaimsContract):
    """What every ledger keeps to beside that: it lasts, and one process leads.

    One more fixture to give: ``address`` are the words that let another process open the store.
    """

    @pytest.fixture
    def address(self) -> tuple[str, ...]:
        raise NotImplementedError

    @pytest.fixture
    def start(self, address: tuple[str, ...]) -> Iterator[Callable[..., Process]]:
        """Start a second process; whatever is left of it is killed at the end."""
        with ExitStack() as stack:

            def start(*words: str) -> Process:
                process = Process(*address, *words)
                stack.callback(process.kill)
                return process

            yield start

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
