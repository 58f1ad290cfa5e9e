"""The reference of the command line, rendered from the commands themselves.

``python -m dispatcher.cli.reference`` writes ``docs/reference-cli.md``, ``dispatcher/cli/help.txt``, the
schema of actions, and the parts of other files in ``dispatcher.cli.sections``; with ``--check`` it
only reports whether they are current. ``make docs`` calls it, a test checks it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import click

from dispatcher.cli import HELP_FILE, sections
from dispatcher.cli.help import exit_codes
from dispatcher.cli.root import COMMANDS, root
from dispatcher.operate.schema import schema

CHECKOUT = Path(__file__).resolve().parents[2]

ACTION_SCHEMA = "actions/repo/.schema/action.schema.json"
"""Where editors find the schema of actions in an ops repo."""

HEAD = """\
# Reference: the command line

Rendered from the commands by `make docs`; the text is what `--help` shows. Settings are in
[reference-settings.md](reference-settings.md).
"""


def top_help() -> str:
    """What ``disinto --help`` prints."""
    return _help(root, root_context()) + "\n"


def root_context() -> click.Context:
    """A context as a call makes it, whatever terminal this is."""
    return root.context_class(root, info_name="disinto", **root.context_settings)


def commands() -> Iterator[tuple[str, click.Command, click.Context]]:
    """Every command with its full name, subcommands included."""
    above = root_context()
    for name in COMMANDS:
        command = root.get_command(above, name)
        assert command is not None  # noqa: S101 - COMMANDS names it
        yield from _below(name, command, above)


def _below(
    name: str, command: click.Command, above: click.Context
) -> Iterator[tuple[str, click.Command, click.Context]]:
    context = command.context_class(command, info_name=name.rpartition(" ")[2], parent=above)
    yield name, command, context
    if isinstance(command, click.Group):
        for inner in command.list_commands(context):
            subcommand = command.get_command(context, inner)
            assert subcommand is not None  # noqa: S101 - it was listed
            yield from _below(f"{name} {inner}", subcommand, context)


def reference() -> str:
    """The text of ``docs/reference-cli.md``."""
    parts = [HEAD, f"```\n{top_help()}```\n"]
    for name, command, context in commands():
        parts.append(f"## disinto {name}\n\n```\n{_help(command, context)}\n```\n")
    parts.append(f"## Exit codes\n\n```\n{exit_codes()}\n```\n")
    return "\n".join(parts)


def _help(command: click.Command, context: click.Context) -> str:
    """The help as it is printed, without the blanks that wrapping leaves at line ends."""
    return "\n".join(line.rstrip() for line in command.get_help(context).splitlines())


def files() -> dict[Path, str]:
    """The rendered files by their paths."""
    return {
        Path(HELP_FILE): top_help(),
        CHECKOUT / "docs" / "reference-cli.md": reference(),
        CHECKOUT / ACTION_SCHEMA: json.dumps(schema("action"), indent=2) + "\n",
        **sections.files(CHECKOUT),
    }


def main(arguments: list[str]) -> int:
    """Write the files, or with ``--check`` name those that are out of date."""
    stale = []
    for path, text in files().items():
        if path.is_file() and path.read_text(encoding="utf-8") == text:
            continue
        stale.append(path)
        if "--check" not in arguments:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    for path in stale:
        click.echo(
            f"{path.name}: {'out of date; run make docs' if '--check' in arguments else 'written'}"
        )
    return 1 if stale and "--check" in arguments else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
