"""Which command lines ``serve`` is asked about: those that click reads in the same way."""

from __future__ import annotations

from collections.abc import Iterator

import click
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dispatcher.cli import by_serve
from dispatcher.cli.reference import root_context
from dispatcher.cli.root import root
from dispatcher.cli.session import Session

WORDS = st.sampled_from(
    ["status", "plan", "logs", "again", "--config", "a.toml", "--config=b", "--no-color", "--json", "-n", "--last",
     "3", "+3", "03", "-1", "1_0", "", "--tail", "-f", "--follow", "-fn", "an-id", "--", "--help", "-w", "--fresh", "--since"]
)  # fmt: skip


@pytest.fixture(autouse=True, scope="module")
def in_colour() -> Iterator[None]:
    """Whatever the environment of the tests says."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("NO_COLOR", raising=False)
        patch.setenv("TERM", "xterm")
        yield


@given(arguments=st.lists(WORDS, max_size=7))
@example(["--config", "a", "status", "--config", "b", "-n", "03", "an-id", "--json"])
@example(["--no-color", "logs", "--tail", "3", "an-id", "-f"])
@example(["status", "--config", "--json"])
def test_what_is_asked_is_what_click_reads(arguments: list[str]) -> None:
    asked = by_serve.parsed(arguments)
    if asked is None:
        return
    session = Session()
    outer = root.make_context("disinto", list(arguments), obj=session)
    name, command, rest = root.resolve_command(outer, [*outer._protected_args, *outer.args])
    assert name == asked.command
    assert command is not None
    context = command.make_context(name, rest, parent=outer)
    assert asked.about["id"] == (context.params.get("action_id") or "")
    assert asked.about.get("json", False) == context.params.get("as_json", False)
    assert asked.about.get("follow", False) == context.params.get("follow", False)
    assert asked.about.get("lines") == context.params.get("lines")
    assert asked.about.get("last", 10) == context.params.get("last", 10)
    config = session.config or outer.params["config"]
    assert asked.config == (str(config) if config else None)
    assert asked.coloured == (not outer.params["no_color"])


def test_a_command_line_that_is_answered_has_no_option_that_serve_is_not_told_of() -> None:
    for name, options in by_serve.OPTIONS.items():
        command = root.get_command(root_context(), name)
        assert command is not None
        known = {
            opt for param in command.params if isinstance(param, click.Option) for opt in param.opts
        }
        assert set(options) <= known


@pytest.mark.parametrize(
    "arguments",
    [["status", "--formula", "x"], ["plan", "--fresh"], ["logs"], ["logs", "a", "b"], ["status", "-w"], ["logs", "a", "--since", "1h"],
     ["status", "-n"], ["status", "--config"], ["cancel", "a"], [], ["--json", "status"]],
)  # fmt: skip
def test_what_serve_does_not_answer_is_for_click(arguments: list[str]) -> None:
    assert by_serve.parsed(arguments) is None
