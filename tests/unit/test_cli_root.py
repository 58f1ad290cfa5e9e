"""The root command: its help, its table of commands, and what it must not import."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import click
import pytest

from dispatcher.cli import HELP_FILE, reference
from dispatcher.cli.help import exit_codes
from dispatcher.cli.root import COMMANDS, root
from dispatcher.errors import Exit
from dispatcher.model.verdicts import Verdict

LINES, COLUMNS = 40, 100

PRINTS_DATA = {
    "validate", "dispatch", "again", "watch", "status", "verify", "inventory", "plan", "archive", "apply", "secrets list",
    "doctor", "audit verify", "notify list", "schedule list", "schedule next", "sidecar plan",
    "sidecar dispatch",
    "desktop create", "desktop list", "desktop show", "desktop open", "desktop destroy", "desktop reap",
    "desktop gateway",
    "stack deploy", "stack list", "stack show", "stack update", "stack destroy", "stack check",
    "stack reap", "release status", "release doctor", "release deploy", "release rollback",
}  # fmt: skip
"""Commands with ``--json``. ``schema`` prints JSON always; ``logs`` hands on what a run wrote."""

commands = pytest.mark.parametrize(
    ("name", "command", "context"),
    [pytest.param(*found, id=found[0]) for found in reference.commands()],
)


def test_the_printed_help_is_what_click_renders() -> None:
    assert Path(HELP_FILE).read_text() == reference.top_help(), "run: make docs"


def test_the_reference_is_current() -> None:
    stale = [
        path.name
        for path, text in reference.files().items()
        if not path.is_file() or path.read_text() != text
    ]
    assert not stale, "run: make docs"


def test_the_root_s_help_fits_a_screen() -> None:
    lines = reference.top_help().splitlines()
    assert len(lines) <= LINES
    assert max(map(len, lines)) <= COLUMNS


@commands
def test_help_fits_a_screen(name: str, command: click.Command, context: click.Context) -> None:
    lines = command.get_help(context).splitlines()
    assert len(lines) <= LINES
    assert max(map(len, lines)) <= COLUMNS


@commands
def test_every_command_says_what_it_does(
    name: str, command: click.Command, context: click.Context
) -> None:
    assert command.help
    for param in command.params:
        if isinstance(param, click.Option):
            assert param.help, f"{name} {param.opts}"


@commands
def test_every_command_and_option_is_in_the_docs(
    name: str, command: click.Command, context: click.Context
) -> None:
    text = (reference.CHECKOUT / "docs" / "reference-cli.md").read_text()
    section = text.partition(f"## disinto {name}\n")[2].partition("\n## ")[0]
    assert section
    for param in command.params:
        if isinstance(param, click.Option):
            assert all(opt in section for opt in (*param.opts, *param.secondary_opts))


@commands
def test_what_prints_data_prints_json(
    name: str, command: click.Command, context: click.Context
) -> None:
    has = any("--json" in param.opts for param in command.params)
    assert has == (name in PRINTS_DATA)


@commands
def test_no_option_takes_a_secret(
    name: str, command: click.Command, context: click.Context
) -> None:
    options = {opt for param in command.params for opt in param.opts}
    assert not options & {"--value", "--token", "--password", "--secret"}


def test_each_entry_of_the_table_is_a_module_with_that_command() -> None:
    context = reference.root_context()
    for name in COMMANDS:
        command = root.get_command(context, name)
        assert command is not None
        assert command.name == name


def test_every_exit_code_and_verdict_is_explained() -> None:
    text = exit_codes()
    for code in Exit:
        assert f"  {code.value:>3}  {code.meaning}\n" in text
    for verdict in Verdict:
        assert re.search(rf"^ +{verdict.exit_code}  {verdict} +\S", text, re.MULTILINE)


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"], ["--version"]])
def test_the_fast_path_imports_no_library(arguments: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "dispatcher", *arguments],
        capture_output=True,
        text=True,
        check=True,
    )
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "dispatcher.cli" in imported
    assert not imported & {"click", "rich", "pydantic", "dispatcher.cli.root", "dispatcher.errors"}


def test_a_command_imports_no_other() -> None:
    program = (
        "import sys; from dispatcher.cli.edge import run; run(['completion', '--help']);"
        "print(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    imported = set(done.stderr.split())
    assert "dispatcher.cli.completion" in imported
    assert not imported & {"dispatcher.cli.serve", "pydantic", "rich", "hvac", "structlog"}
