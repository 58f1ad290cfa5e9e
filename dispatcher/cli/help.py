"""``disinto help``: a command's help, or what the exit codes mean."""

from __future__ import annotations

import click

from dispatcher.errors import Exit
from dispatcher.run import VERDICT_EXIT, Verdict

MEANINGS: dict[Exit, str] = {
    Exit.OK: "done",
    Exit.FAILED: "something that was checked is not as it should be",
    Exit.USAGE: "the command was called in a wrong way",
    Exit.DATAERR: "an action, a formula or the settings are wrong",
    Exit.NOINPUT: "there is no such action, file or log",
    Exit.UNAVAILABLE: "a server cannot be reached",
    Exit.SOFTWARE: "a defect of disinto",
    Exit.CANTCREAT: "a file or folder cannot be made",
    Exit.IOERR: "reading or writing failed",
    Exit.TEMPFAIL: "it still waits; ask again later",
    Exit.NOPERM: "a server refused us, or the approval was refused",
    Exit.CONFIG: "a setting is missing or wrong",
}

VERDICTS: dict[Verdict, str] = {
    Verdict.SUCCEEDED: "the formula ended with 0",
    Verdict.FAILED: "the formula's own exit code; 1 where it gave none",
    Verdict.TIMED_OUT: "killed at its timeout",
    Verdict.CANCELLED: "stopped by a person",
    Verdict.LOST: "it may have started; nobody knows how it ended",
    Verdict.UNPLACEABLE: "the engine found no place for it in time",
    Verdict.REFUSED: "a gate said no for good",
    Verdict.INVALID: "the action file, or what it names, is wrong",
    Verdict.ERROR: "the formula never started",
}

OTHERS = {
    130: "interrupted by Ctrl-C; a run goes on without the command",
    141: "whoever read the output went away",
}

EXIT_CODES = "exit-codes"


def exit_codes() -> str:
    """The exit codes in words: of every command, then of ``dispatch`` by verdict."""
    lines = ["Exit codes of every command:", ""]
    lines += [f"  {code.value:>3}  {meaning}" for code, meaning in MEANINGS.items()]
    lines += [f"  {code:>3}  {meaning}" for code, meaning in OTHERS.items()]
    lines += ["", "'disinto dispatch' exits as the action did; by its verdict:", ""]
    lines += [f"  {VERDICT_EXIT[v]:>3}  {v:<12} {meaning}" for v, meaning in VERDICTS.items()]
    return "\n".join(lines)


@click.command("help")
@click.argument("topic", required=False)
@click.pass_context
def command(ctx: click.Context, topic: str | None) -> None:
    """Explain a command; 'disinto help exit-codes' explains the exit codes."""
    above = ctx.find_root()
    if topic is None:
        click.echo(above.get_help())
        return
    if topic == EXIT_CODES:
        click.echo(exit_codes())
        return
    from dispatcher.cli.root import root

    found = root.get_command(above, topic)
    if found is None:
        raise click.UsageError(f"there is no help on {topic!r}.", ctx)
    click.echo(found.get_help(click.Context(found, info_name=topic, parent=above)))
