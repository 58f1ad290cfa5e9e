"""The charts of docs/scale.md show what was measured last."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from bench import year
from bench.year import charts

PAGE = Path(__file__).parents[2] / "docs" / "scale.md"


@pytest.mark.parametrize("chart", charts.CHARTS, ids=lambda chart: chart.name)
def test_a_chart_is_drawn_from_the_data(chart: charts.Chart) -> None:
    file = charts.IMAGES / f"{chart.name}.svg"
    assert file.read_text() == charts.drawn(chart, year.read()) + "\n", "run make bench-scale"
    ElementTree.fromstring(file.read_text())
    assert f"images/{chart.name}.svg" in PAGE.read_text()


def test_every_chart_of_the_page_is_one_of_these() -> None:
    shown = set(re.findall(r"images/(scale-[a-z]+)\.svg", PAGE.read_text()))
    assert shown == {chart.name for chart in charts.CHARTS}
