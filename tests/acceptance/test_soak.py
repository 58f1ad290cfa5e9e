"""A short soak on each engine; see ``tests.soak``, which also makes long ones (``make soak``).

``DISINTO_SOAK_SEED`` repeats one weather; ``DISINTO_SOAK_S`` makes it longer.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.soak import vault
from tests.soak.report import Report, conclude
from tests.soak.stage import stage
from tests.soak.vault import LastingBao
from tests.soak.weather import Weather
from tests.support.thorough import some, tries

STORM_S = float(os.environ.get("DISINTO_SOAK_S") or tries(8, 35))
CALM_S = 180

pytestmark = [pytest.mark.needs("bao", "git"), pytest.mark.slow]


@pytest.fixture
def lasting() -> Iterator[LastingBao]:
    with vault.serve() as made:
        yield made


@pytest.mark.timeout(int(STORM_S) + CALM_S + 180)
@pytest.mark.parametrize("hostile", some([False, True], always=[True]))
def test_soak(lasting: LastingBao, tmp_path: Path, *, hostile: bool) -> None:
    seed = int(os.environ.get("DISINTO_SOAK_SEED", "0")) or random.SystemRandom().randint(1, 10**6)
    report = Report(engine="local", seed=seed, duration_s=STORM_S)
    with stage(tmp_path, lasting) as played:
        Weather(played, duration_s=STORM_S, seed=seed, hostile=hostile).rage()
        conclude(played, report, calm_s=CALM_S)
    print(f"\n{report.text()}")
    assert report.problems == [], report.text()
    assert report.starts.get(1, 0) > 0
    if not hostile:
        assert report.unsigned == []
        assert set(report.without_result.values()) <= {"danger"}
