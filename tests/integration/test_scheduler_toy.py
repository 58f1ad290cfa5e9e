"""An engine from outside the package keeps the contract of schedulers."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from dispatcher.engines.base import Scheduler
from dispatcher.settings import Settings
from tests.contract.scheduler import SchedulerContract
from tests.support.toy_engine import ENGINE

pytestmark = pytest.mark.needs("bao")


class TestToy(SchedulerContract):
    @pytest.fixture
    def scheduler(self, tmp_path: Path) -> Iterator[Scheduler]:
        settings = Settings(state_dir=tmp_path / "state")
        yield ENGINE.scheduler(settings, {}, wake=lambda: None)
        for pid in tmp_path.glob("state/toy/*/pid"):
            with suppress(ProcessLookupError):
                os.killpg(int(pid.read_text()), signal.SIGKILL)
