"""Input that no process can be started with is found before a run is submitted."""

from __future__ import annotations

from typing import Any

import pytest

from dispatcher.engines.base import CannotSubmit, payload_of
from dispatcher.model.action import InvalidAction, parse_action
from dispatcher.model.run import FormulaKind, FormulaRef, Grant, RunKey, RunSpec, Tier, WrappedGrant
from dispatcher.model.verdicts import Verdict


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"params": {"x": "é" * 60_000}}, "params"),
        ({"agent_argv": ("agent", "x" * 200_000)}, "argument 1 of the agent command"),
        ({"context": "a\0b"}, "NUL"),
        ({"params": {"x": object()}}, "cannot be encoded"),
    ],
)
def test_input_that_no_process_can_be_started_with(more: dict[str, Any], why: str) -> None:
    spec = RunSpec(
        key=RunKey(action_id="a", blob="b"),
        commit="",
        tier=Tier.LOW,
        formula=FormulaRef(name="f", kind=FormulaKind.SHELL, blob="b", sha256=""),
        **more,
    )
    grant = WrappedGrant(grant=Grant(wrapping_accessor="", accessor=""), token="", creation_path="")
    with pytest.raises(CannotSubmit, match=why) as caught:
        payload_of(spec, grant)
    assert caught.value.verdict == Verdict.INVALID


def test_params_that_no_variable_can_hold() -> None:
    """Within the size of a file, and too large as JSON."""
    text = f'id = "a"\nformula = "f"\ncontext = "c"\nsecrets = []\n[params]\nx = "{"é" * 25_000}"\n'
    action = parse_action(text.encode(), path="a.toml", stem="a", limit=65_536)
    assert isinstance(action, InvalidAction)
    assert "more than the 131,071 that one environment variable can hold" in str(action.problems[0])
