"""The agent command's template."""

from __future__ import annotations

import pytest

from dispatcher.decide.agent import fill_command

CLAUDE = ("claude", "-p", "--model", "{model}", "--allowedTools", "{tools}")


@pytest.mark.parametrize(
    ("template", "model", "tools", "filled"),
    [
        (CLAUDE, "m1", ("Bash", "Read"), "claude -p --model m1 --allowedTools Bash,Read"),
        (CLAUDE, "", ("Bash",), "claude -p --allowedTools Bash"),
        (CLAUDE, "m1", (), "claude -p --model m1"),
        (CLAUDE, "", (), "claude -p"),
        (("agent", "--model={model}"), "m1", (), "agent --model=m1"),
        (("agent", "{model}"), "", (), "agent"),
    ],
)
def test_filled(template: tuple[str, ...], model: str, tools: tuple[str, ...], filled: str) -> None:
    assert fill_command(template, model=model, tools=tools) == tuple(filled.split())


def test_a_value_stays_one_argument_and_is_not_filled_again() -> None:
    assert fill_command(("a", "{model}"), model="x; rm -rf {tools}", tools=()) == (
        "a",
        "x; rm -rf {tools}",
    )
