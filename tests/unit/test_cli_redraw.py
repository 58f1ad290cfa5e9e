"""A screen that is drawn again: no more than fits, and the shell's own screen at the end."""

from __future__ import annotations

import click
import pytest

from dispatcher.cli import redraw
from dispatcher.errors import Dependency, Unavailable


def test_what_fits_is_shown_whole() -> None:
    assert redraw.fitting(["a", "b", "c"], width=10, height=3) == ["a", "b", "c"]
    assert redraw.fitting([], width=10, height=3) == [""]


def test_what_does_not_fit_is_counted() -> None:
    lines = [str(n) for n in range(10)]
    assert redraw.fitting(lines, width=10, height=4) == ["0", "1", "2", "… and 7 more lines"]


def test_a_line_that_the_terminal_folds_takes_more_room() -> None:
    assert redraw.fitting(["a" * 25, "b", "c"], width=10, height=4) == [
        "a" * 25,
        "… and 2 more lines",
    ]
    coloured = click.style("a" * 10, fg="red")
    assert redraw.fitting([coloured, "b"], width=10, height=2) == [coloured, "b"]


def test_an_outage_is_shown_and_asked_again(capsys: pytest.CaptureFixture[str]) -> None:
    shown: list[int] = []

    def show() -> None:
        shown.append(1)
        if len(shown) == 1:
            raise Unavailable(Dependency.VAULT, "Vault does not answer")
        click.echo("all is well")

    def sleep(_seconds: float) -> None:
        if len(shown) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        redraw.redraw(show, sleep=sleep)
    out = capsys.readouterr().out
    assert out.startswith(redraw.ALTERNATE)
    assert out.endswith(redraw.ORIGINAL)
    assert out.index("Vault does not answer") < out.index("all is well")
    assert out.count(redraw.HOME) == 2
