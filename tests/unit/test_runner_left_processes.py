"""A runner vouches for its outcome only if nobody is left who could put something in its place."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dispatcher.model.run import Outcome
from dispatcher.model.verdicts import Verdict
from dispatcher.runner import program

ENDED = Outcome(verdict=Verdict.SUCCEEDED, exit_code=0, formula_started=True)


def unknown() -> bool:
    raise OSError


@pytest.mark.parametrize(
    ("end_all", "clean"), [(lambda: True, True), (lambda: False, False), (unknown, False)]
)
def test_the_notice_says_whether_a_process_is_left(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, end_all: Callable[[], bool], *, clean: bool
) -> None:
    sent: list[bool] = []

    def carry_out(run: Any) -> Outcome:
        run.outcome_key, run._started_at = "k", 1.0
        return ENDED

    class Unheard:
        def mute(self) -> None:
            pass

    monkeypatch.setattr(program, "Signals", Unheard)
    monkeypatch.setattr(program, "guard_runner", lambda: None)
    monkeypatch.setattr(program, "end_all", end_all)
    monkeypatch.setattr(program._Run, "carry_out", carry_out)
    monkeypatch.setattr(
        program, "send_end_notice", lambda _to, *, outcome, key, clean: sent.append(clean)
    )
    assert program.main(["--spool", str(tmp_path)]) == 0
    assert sent == [clean]
