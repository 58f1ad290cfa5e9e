"""A runner vouches for its outcome only if nobody is left who could put something in its place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dispatcher.model.run import Outcome
from dispatcher.model.verdicts import Verdict
from dispatcher.runner import program

ENDED = Outcome(verdict=Verdict.SUCCEEDED, exit_code=0, formula_started=True)


@pytest.mark.parametrize("in_notice", [True, False])
@pytest.mark.parametrize("all_ended", [True, False])
def test_a_notice_without_its_outcome_says_that_no_process_is_left(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *, in_notice: bool, all_ended: bool
) -> None:
    sent: list[bool] = []

    def carry_out(run: Any) -> Outcome:
        run.notice_has_outcome, run.outcome_key, run._started_at = in_notice, "k", 1.0
        return ENDED

    class Unheard:
        def mute(self) -> None:
            pass

    monkeypatch.setattr(program, "Signals", Unheard)
    monkeypatch.setattr(program, "guard_runner", lambda: None)
    monkeypatch.setattr(program, "end_all", lambda: all_ended)
    monkeypatch.setattr(program._Run, "carry_out", carry_out)
    monkeypatch.setattr(
        program, "send_end_notice", lambda _to, *, outcome, key: sent.append(bool(outcome))
    )
    assert program.main(["--spool", str(tmp_path)]) == 0
    assert sent == ([in_notice] if in_notice or all_ended else [])
