"""How an action came to the branch: looked up once per commit, with few calls."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from dispatcher.forge.records import Request
from dispatcher.gate.landing import SETTLE_TRIES, Landing, Landings
from tests.unit.test_gate_forgejo import MERGE, PATH, FakeForge, FakeHistory, request

HEAD_COMMIT = "d" * 40


@dataclass
class Counting(FakeForge):
    """Knows the request from the n-th lookup on."""

    known_from: int = 1
    lookups: int = 0
    pages: list[int] = field(default_factory=list)

    def request_of(self, commit: str) -> Request | None:
        self.lookups += 1
        return request() if self.lookups >= self.known_from else None

    def closed_requests(self, page: int) -> list[Request]:
        self.pages.append(page)
        return []


def landings(forge: Counting, *, age_s: float = 60.0) -> Landings:
    return Landings(forge, FakeHistory(), branch="main", wall=lambda: age_s, pause_s=0.0)


def test_the_request_is_asked_for_once() -> None:
    forge = Counting()
    looked_up = landings(forge)
    for _ in range(3):
        assert looked_up.of(path=PATH, commit=HEAD_COMMIT) == Landing(commit=MERGE, request=5)
    assert (forge.lookups, forge.pages) == (1, [])


def test_a_direct_push_costs_two_calls() -> None:
    forge = Counting(known_from=100)
    looked_up = landings(forge)
    for _ in range(3):
        assert looked_up.of(path=PATH, commit=HEAD_COMMIT) == Landing(commit=MERGE)
    assert (forge.lookups, forge.pages) == (1, [1])


@pytest.mark.parametrize("known_from", [2, SETTLE_TRIES])
def test_a_fresh_merge_is_looked_up_again(known_from: int) -> None:
    forge = Counting(known_from=known_from)
    found = landings(forge, age_s=1.0).of(path=PATH, commit=HEAD_COMMIT)
    assert found == Landing(commit=MERGE, request=5)
    assert forge.lookups == known_from


def test_a_request_into_another_branch_is_none() -> None:
    class Elsewhere(Counting):
        def request_of(self, commit: str) -> Request | None:
            return request(base=request().base.model_copy(update={"ref": "release"}))

    found = landings(Elsewhere()).of(path=PATH, commit=HEAD_COMMIT)
    assert found == Landing(commit=MERGE)
