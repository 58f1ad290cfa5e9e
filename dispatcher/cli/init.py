"""``disinto init``: a directory to begin with."""

from __future__ import annotations

from pathlib import Path

import click

from dispatcher.cli import console


@click.command("init")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path, file_okay=False))
@click.option("--remote", default="", metavar="URL", help="Empty repository for the actions.")
@click.option(
    "--token-env",
    default="",
    metavar="NAME",
    help="Environment variable with an HTTPS token for --remote.",
)
@click.option("--branch", default="main", show_default=True, help="Branch that holds the actions.")
@click.option(
    "--with",
    "parts",
    type=click.Choice(("sidecars", "desktops")),
    multiple=True,
    help="Also write what sidecars (issues of a forge start runs) or desktops need; repeatable.",
)
@click.option(
    "--author", is_flag=True, help="Make an author client for --remote, an existing ops repo."
)
def command(
    folder: Path,
    remote: str,
    token_env: str,
    branch: str,
    parts: tuple[str, ...],
    *,
    author: bool,
) -> None:
    """Make a directory with settings, policy, example formulas and a new ops repo.

    \b
      DIR/disinto.toml     settings           DIR/ops.git   the ops repo, unless --remote
      DIR/policy.toml      tiers              DIR/ops       its work tree, with examples
      DIR/formulas         your own formulas                and editor set-up

    With --author, only settings with role "author", which sends and cancels actions through the
    ops repo only: copy the dispatcher's policy.toml and formulas into DIR.

    Nothing that exists is overwritten.
    """
    if author:
        _desk(folder, remote=remote, branch=branch, token_env=token_env)
        return
    from dispatcher.operate.scaffold import scaffold

    scaffolded = scaffold(
        folder,
        remote=remote,
        branch=branch,
        token_env=token_env,
        sidecars="sidecars" in parts,
        desktops="desktops" in parts,
    )
    console.say(f"Made {scaffolded.folder}:")
    for name in scaffolded.written:
        console.say(f"  {name}")
    if scaffolded.no_work_tree:
        console.say(f"The ops repo is {scaffolded.remote}.")
        console.note(f"{scaffolded.work_tree} is not there: {scaffolded.no_work_tree}")
        console.note(f"  Clone the ops repo there, or anywhere: git clone {scaffolded.remote}")
    else:
        console.say(
            f"The ops repo is {scaffolded.remote}; {scaffolded.work_tree} is a work tree of it."
        )
    console.say()
    console.say("Next:")
    steps = [
        (f"cd {folder}", ""),
        ("disinto apply", "write policies and roles, with an operator's VAULT_TOKEN"),
        ("disinto serve", "in another terminal"),
    ]
    if not scaffolded.no_work_tree:
        steps.append(("disinto dispatch ops/examples/hello.toml", ""))
    for step, why in steps:
        console.say(f"  {step:<42}{why and '# ' + why}".rstrip())
    if "sidecars" in parts:
        _sidecar_steps(remote=remote)
    if "desktops" in parts:
        _desktop_steps()


def _sidecar_steps(*, remote: str) -> None:
    """What remains to be done by hand, in this order."""
    description = "projects/app.toml in the ops repo" if remote else "ops/projects/app.toml"
    steps = [
        "In disinto.toml set [forge] url, and remove the # before [sidecars] file and [agent] command",
        "In sidecars.toml remove the # from [projects.app], repository and bot, and set these two",
        f"In {description} describe the project for its agents; commit and push it",
        "Clone the project: git clone --bare URL mounts/project-repos/app.git",
        "Set DISINTO_SIDECAR_TOKEN, and DISINTO_SIDECAR_REPORT_TOKEN to have outcomes on the issues",
        "disinto apply; disinto secrets put --bot app-reader; disinto doctor; disinto sidecar plan",
    ]
    if remote:
        clone = f"git clone --mirror {remote} mounts/ops-repo, and fetch there regularly"
        steps.insert(3, f"Clone the ops repo: {clone}")
    _numbered(
        "For sidecars, before that (docs/sidecars.md has the tokens and their scopes):", steps
    )


def _desktop_steps() -> None:
    """The same for desktops."""
    steps = [
        "In policy.toml decide who approves a desktop: see its end, and [policy] gate in disinto.toml",
        "In formulas/desktop-settings.json set SSH keys and image, if the defaults do not suit you",
        "disinto apply, with an operator's VAULT_TOKEN",
        "disinto secrets put DIGITALOCEAN_API_TOKEN; disinto doctor",
        "After 'disinto serve' has started: disinto desktop create alice --lifetime 8h",
        "To open desktops, a person needs a token with the policy that 'disinto apply' names",
    ]
    _numbered("For desktops (docs/desktops.md has the token's scopes):", steps)


def _numbered(title: str, steps: list[str]) -> None:
    console.say()
    console.say(title)
    for number, step in enumerate(steps, 1):
        console.say(f"  {number}. {step}")


def _desk(folder: Path, *, remote: str, branch: str, token_env: str) -> None:
    from dispatcher.operate.scaffold import scaffold_author

    if not remote:
        raise click.UsageError("--author needs --remote, the ops repo of the dispatcher.")
    made = scaffold_author(folder, remote=remote, branch=branch, token_env=token_env)
    console.say(f"Made {made.folder}, an author client for {made.remote}:")
    for name in made.written:
        console.say(f"  {name}")
    console.say()
    console.say("Next:")
    console.say("  copy policy.toml, formulas/, [policy], [gate] and [forge] from the dispatcher")
    console.say(f"  cd {folder} && disinto doctor")
