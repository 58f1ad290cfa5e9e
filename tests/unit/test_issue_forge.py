"""The small forge keeps the contract that a real one keeps."""

from __future__ import annotations

import pytest

from dispatcher.devservers.issue_forge import IssueForge
from tests.contract.issues import IssuePlace, IssuesContract
from tests.support.issue_place import board_of, caller, reads_of


class TestIssueForge(IssuesContract):
    @pytest.fixture
    def place(self) -> IssuePlace:
        now = [1_800_000_000.0]

        def later() -> None:
            now[0] += 2

        forge = IssueForge(clock=lambda: now[0])
        forge.repository("own/app", will="write")
        forge.repository("own/other")
        return IssuePlace(
            name="own/app",
            other="own/other",
            reads=reads_of(forge, "own/app", "own"),
            stranger_reads=reads_of(forge, "own/app", "strange"),
            board=board_of(forge, "own/app", "will"),
            owner=caller(forge, "own"),
            writer=caller(forge, "will"),
            stranger=caller(forge, "strange"),
            logins=("own", "will", "strange"),
            later=later,
        )
