"""A real forge keeps the contract that the board in memory keeps."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.contract.board import BoardContract, Place
from tests.servers.forgejo import Forgejo
from tests.support.forge_stage import Stage

pytestmark = pytest.mark.needs("forgejo", "git")


class TestForgejo(BoardContract):
    @pytest.fixture
    def place(self, forge: Forgejo, tmp_path: Path) -> Place:
        stage = Stage.build(forge, tmp_path)
        number = stage.propose(stage.alice, {"notes": "1\n"})
        return Place(board=stage.api, commit=stage.merge(stage.alice, number), request=number)
