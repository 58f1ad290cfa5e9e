"""The clock of the programs behind formulas."""

from __future__ import annotations

import time

import pytest

from dispatcher.provision.waiting import SystemClock


def test_a_clock_that_jumps_shortens_no_duration(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SystemClock()
    begun = clock.now()
    assert abs(begun - time.time()) < 5
    real = time.time
    for jump_s in (86_400.0, -86_400.0):
        monkeypatch.setattr(time, "time", lambda jump_s=jump_s: real() + jump_s)
        assert 0 <= clock.now() - begun < 60
