"""``disinto help``: a command's help, or what the exit codes mean."""

from __future__ import annotations

import click

from dispatcher.errors import Exit
from dispatcher.model.verdicts import Verdict

OTHERS = {
    130: "interrupted by Ctrl-C; the run keeps running",
    141: "the reader of the output closed the pipe",
}

EXIT_CODES = "exit-codes"


def exit_codes() -> str:
    """The exit codes in words: of every command, then of those that follow an action, by verdict."""
    lines = ["Exit codes of every command:", ""]
    lines += [f"  {code.value:>3}  {code.meaning}" for code in Exit]
    lines += [f"  {code:>3}  {meaning}" for code, meaning in OTHERS.items()]
    lines += ["", "'dispatch', 'watch' and 'again' exit as the action did; by its verdict:", ""]
    width = max(map(len, Verdict))
    lines += [f"  {v.exit_code:>3}  {v:<{width}}  {v.meaning}{_own_code(v)}" for v in Verdict]
    return "\n".join(lines)


def _own_code(verdict: Verdict) -> str:
    if verdict.success or not verdict.own_code:
        return ""
    return f"; its own code, or {verdict.exit_code}"


@click.command("help")
@click.argument("topic", nargs=-1)
@click.pass_context
def command(ctx: click.Context, topic: tuple[str, ...]) -> None:
    """Explain a command, such as 'secrets put'; 'disinto help exit-codes' explains exit codes."""
    target: click.Command = ctx.find_root().command
    context = ctx.find_root()
    if topic == (EXIT_CODES,):
        click.echo(exit_codes())
        return
    for name in topic:
        below = target.get_command(context, name) if isinstance(target, click.Group) else None
        if below is None:
            raise click.UsageError(f"no help topic {' '.join(topic)!r}.", ctx)
        context = click.Context(below, info_name=name, parent=context)
        target = below
    click.echo(target.get_help(context))
