"""The plan, from a forecast and from what a ``serve`` knows: both say the same."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

from dispatcher.decide.steps import Plan
from dispatcher.operate.forecast import Forecast
from dispatcher.operate.planned import of_forecast, of_status
from dispatcher.ops_repo import Tree
from dispatcher.settings import Settings
from tests.unit.test_overview import status


def test_both_have_the_warnings_about_components_once() -> None:
    settings = Settings()
    repo = SimpleNamespace(unmoved=lambda _commit, timeout_s: timeout_s > 0)
    components: Any = SimpleNamespace(
        warnings=lambda: ("the engine is odd",), settings=settings, repo=repo
    )
    view: Any = SimpleNamespace(components=components, tree=Tree(), warnings=(), failed={})
    found = Forecast(
        at=1.0,
        head=None,
        plan=Plan(steps=(), waits=()),
        view=view,
        candidates={},
        claims={},
        observations={},
        sources=("a schedule is broken",),
    )
    fresh = of_forecast(found, settings, {})
    of_serve = of_status(
        replace(status(), warnings=("a schedule is broken",), quiet=True), components, {}
    )
    assert of_serve is not None
    expected = ["the engine is odd", "a schedule is broken"]
    assert fresh.plain["warnings"] == of_serve.plain["warnings"] == expected
