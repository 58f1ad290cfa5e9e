"""Texts of actions, right and wrong."""

from __future__ import annotations

from dispatcher.model.action import (
    Action,
    InvalidAction,
    parse_action,
)

MINIMAL = """\
id = "a"
formula = "hello"
context = "why"
secrets = []
"""


def parse(text: str | bytes, stem: str = "a") -> Action | InvalidAction:
    data = text.encode() if isinstance(text, str) else text
    return parse_action(data, path=f"vault/actions/{stem}.toml", stem=stem)


def problems(text: str | bytes, stem: str = "a") -> list[str]:
    parsed = parse(text, stem)
    assert isinstance(parsed, InvalidAction)
    assert parsed.id == stem
    assert all(problem.line and problem.column for problem in parsed.problems)
    return [str(problem).removeprefix(f"vault/actions/{stem}.toml:") for problem in parsed.problems]


def replaced(key: str, value: str) -> str:
    lines = [line for line in MINIMAL.splitlines() if not line.startswith(f"{key} ")]
    return "\n".join([*lines, f"{key} = {value}"])
