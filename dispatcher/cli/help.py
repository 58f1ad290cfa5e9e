"""``disinto help``: a command's help, or what the exit codes mean."""

from __future__ import annotations

import click

from dispatcher.errors import Exit
from dispatcher.model.run import VERDICT_EXIT, Verdict

MEANINGS: dict[Exit, str] = {
    Exit.OK: "done",
    Exit.FAILED: "a check failed, or a prompt was answered with no",
    Exit.USAGE: "usage error",
    Exit.DATAERR: "an action, a formula or the policy is invalid",
    Exit.NOINPUT: "no such action, file or log",
    Exit.UNAVAILABLE: "a server cannot be reached",
    Exit.SOFTWARE: "internal error in disinto",
    Exit.CANTCREAT: "cannot create a file or directory",
    Exit.IOERR: "reading or writing failed",
    Exit.TEMPFAIL: "still waiting; try again later",
    Exit.NOPERM: "permission denied by a server, or approval refused",
    Exit.CONFIG: "the settings are invalid or incomplete",
}

VERDICTS: dict[Verdict, str] = {
    Verdict.SUCCEEDED: "the formula ended with 0",
    Verdict.FAILED: "the formula's own exit code; 1 if it has none",
    Verdict.TIMED_OUT: "killed at its timeout",
    Verdict.CANCELLED: "stopped by a person",
    Verdict.LOST: "it may have started; its outcome is unknown",
    Verdict.UNPLACEABLE: "the engine did not place it in time",
    Verdict.REFUSED: "refused by a gate, finally",
    Verdict.INVALID: "the action file, or a name in it, is invalid",
    Verdict.ERROR: "the formula never started",
}

OTHERS = {
    130: "interrupted by Ctrl-C; the run keeps running",
    141: "the reader of the output closed the pipe",
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
@click.argument("topic", nargs=-1)
@click.pass_context
def command(ctx: click.Context, topic: tuple[str, ...]) -> None:
    """Explain a command, such as 'secrets put'; 'disinto help exit-codes' explains exit codes."""
    found: click.Command = ctx.find_root().command
    context = ctx.find_root()
    if topic == (EXIT_CODES,):
        click.echo(exit_codes())
        return
    for word in topic:
        below = found.get_command(context, word) if isinstance(found, click.Group) else None
        if below is None:
            raise click.UsageError(f"no help topic {' '.join(topic)!r}.", ctx)
        context = click.Context(below, info_name=word, parent=context)
        found = below
    click.echo(found.get_help(context))
