"""Following an action where lines stay: each standing once, however often it comes and goes."""

from __future__ import annotations

import pytest

from dispatcher.cli.edge import run
from dispatcher.cli.following import REPEAT_S, Viewer
from dispatcher.errors import Exit


def test_lines_that_alternate_are_printed_once_in_a_while(
    capsys: pytest.CaptureFixture[str],
) -> None:
    now = [1_000.0]
    viewer = Viewer("a", quiet=False, clock=lambda: now[0])
    for _ in range(20):
        viewer.standing("starting")
        viewer.standing("running")
        now[0] += 1
    assert capsys.readouterr().err.splitlines() == ["a: starting", "a: running"]
    now[0] += REPEAT_S
    viewer.standing("starting")
    assert capsys.readouterr().err.splitlines() == ["a: starting"]


@pytest.mark.parametrize("option", ["--sign", "--no-follow"])
def test_what_goes_with_a_file_is_refused_with_an_id(
    option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["dispatch", option, "some-id"]) == Exit.USAGE
    assert option in capsys.readouterr().err
