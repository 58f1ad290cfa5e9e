"""The root command: names every subcommand, and imports one only when it is called."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from pathlib import Path

import click

from dispatcher import __version__
from dispatcher.cli.session import Session

WIDTH = 88
"""Columns of every help text, whatever the terminal: so that the docs can hold the same text."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """A subcommand as the root's help shows it; its module below ``dispatcher.cli`` bears its
    name."""

    summary: str
    section: str
    hidden: bool = False


ACTIONS, OPERATION = "Actions", "Operation"

COMMANDS: dict[str, Entry] = {
    "init": Entry(section=ACTIONS, summary="Make a new ops repo, with examples and a policy"),
    "validate": Entry(section=ACTIONS, summary="Check action files; report where each problem is"),
    "dispatch": Entry(section=ACTIONS, summary="Send an action file, and follow it"),
    "watch": Entry(section=ACTIONS, summary="Follow an action to its end"),
    "again": Entry(section=ACTIONS, summary="Repeat an action that has ended, under a new id"),
    "status": Entry(section=ACTIONS, summary="Show what runs, what waits and why, what ended"),
    "inventory": Entry(section=ACTIONS, summary="List what exists because a run created it"),
    "desktop": Entry(section=ACTIONS, summary="Create, open and destroy remote desktops"),
    "stack": Entry(section=ACTIONS, summary="Deploy, change and destroy people's applications"),
    "logs": Entry(section=ACTIONS, summary="Show the output of a run"),
    "cancel": Entry(section=ACTIONS, summary="Stop a run, or an action that still waits"),
    "web": Entry(section=ACTIONS, summary="Serve the web page: see all of this in a browser"),
    "verify": Entry(section=ACTIONS, summary="Check the signature of a result"),
    "serve": Entry(section=OPERATION, summary="Run the dispatcher"),
    "plan": Entry(section=OPERATION, summary="Show what the next tick would do, and what waits"),
    "archive": Entry(section=OPERATION, summary="Move finished actions to vault/done/"),
    "apply": Entry(
        section=OPERATION, summary="Write policies, roles and mounts to Vault, jobs to Nomad"
    ),
    "release": Entry(
        section=OPERATION, summary="Deploy a branch on this machine; return to the safe commit"
    ),
    "takeover": Entry(
        section=OPERATION, summary="Make this installation the leader, after a restore or a move"
    ),
    "secrets": Entry(section=OPERATION, summary="Manage the actions' secrets"),
    "schedule": Entry(section=OPERATION, summary="List the schedules, and their next slots"),
    "sidecar": Entry(section=OPERATION, summary="Show which issues start runs; start one by hand"),
    "notify": Entry(section=OPERATION, summary="List the sinks of notifications; try one"),
    "doctor": Entry(section=OPERATION, summary="Check every dependency, permission and setting"),
    "audit": Entry(section=OPERATION, summary="Check that the audit log is intact"),
    "schema": Entry(section=OPERATION, summary="Print a JSON Schema, for editors"),
    "completion": Entry(
        section=OPERATION, summary="Print the completion script of a shell", hidden=True
    ),
    "help": Entry(section=OPERATION, summary="Explain a command, or exit-codes"),
}


NAME_COLUMNS = max(map(len, COMMANDS))


class LazyGroup(click.Group):
    """A group whose subcommands are imported when they are needed."""

    def list_commands(self, _ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, _ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"dispatcher.cli.{cmd_name}")
        command = module.command
        assert isinstance(command, click.Command)  # noqa: S101 - a defect, found by any test
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            raise click.UsageError(f"unknown command {args[0]!r}.{_similar(args[0])}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, _ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for section in (ACTIONS, OPERATION):
            shown = [
                (name.ljust(NAME_COLUMNS), entry.summary)
                for name, entry in COMMANDS.items()
                if entry.section == section and not entry.hidden
            ]
            with formatter.section(section):
                formatter.write_dl(shown, col_spacing=3)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        self.format_commands(ctx, formatter)
        click.Command.format_options(self, ctx, formatter)


def _similar(name: str) -> str:
    from difflib import get_close_matches

    close = get_close_matches(name, COMMANDS, n=1)
    return f" Did you mean {close[0]!r}?" if close else " 'disinto --help' lists all commands."


@click.group(
    cls=LazyGroup,
    name="disinto",
    invoke_without_command=True,
    subcommand_metavar="COMMAND [ARGS]...",
    context_settings={
        "help_option_names": ["-h", "--help"],
        "terminal_width": WIDTH,
        "max_content_width": WIDTH,
    },
)
@click.option(
    "--config",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Settings file; default: DISINTO_CONFIG, or disinto.toml here or above.",
)
@click.option("--no-color", is_flag=True, help="No colours; same as NO_COLOR in the environment.")
@click.version_option(__version__, prog_name="disinto", message="%(prog)s %(version)s")
@click.pass_context
def root(ctx: click.Context, config: Path | None, *, no_color: bool) -> None:
    """A merged action file becomes exactly one run, and exactly one result beside it."""
    if no_color:
        ctx.color = False
    ctx.ensure_object(Session).config = config
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())
