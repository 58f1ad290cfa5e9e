"""``disinto completion``: the script that teaches a shell our commands and options."""

from __future__ import annotations

import click

from dispatcher.cli import COMPLETE_VARIABLE


@click.command("completion")
@click.argument("shell", type=click.Choice(("bash", "zsh", "fish")))
@click.pass_context
def command(ctx: click.Context, shell: str) -> None:
    """Print the completion script of a shell.

    \b
      bash   disinto completion bash > ~/.local/share/bash-completion/completions/disinto
      zsh    disinto completion zsh  > "${fpath[1]}/_disinto"
      fish   disinto completion fish > ~/.config/fish/completions/disinto.fish

    The directory must exist: mkdir -p ~/.local/share/bash-completion/completions
    """
    from click.shell_completion import get_completion_class

    completion = get_completion_class(shell)
    if completion is None:
        raise click.UsageError(f"click has no completion for {shell}", ctx)
    click.echo(completion(ctx.find_root().command, {}, "disinto", COMPLETE_VARIABLE).source())
