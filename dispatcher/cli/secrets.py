"""``disinto secrets``: what actions may name."""

from __future__ import annotations

import os
import re
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from dispatcher.cli import console
from dispatcher.cli.complete import secret_names
from dispatcher.cli.options import config_option, json_option
from dispatcher.cli.session import Session
from dispatcher.cli.tables import table
from dispatcher.errors import Exit, Misconfigured, NotFound

if TYPE_CHECKING:
    from collections.abc import Callable

    from dispatcher.forge.exchange import Exchange
    from dispatcher.operate.token_checks import BotToken
    from dispatcher.settings import Settings
    from dispatcher.vault.secrets import Secrets, StoredSecret


VALUE_GIVEN = (
    "values are not accepted as arguments: the shell keeps them in its history, and others on this "
    "machine can read them. Enter the value at the prompt, or pipe it in. If it was a real one, "
    "replace it."
)


@click.group("secrets")
def command() -> None:
    """Manage secrets that actions may name. Requires an operator's VAULT_TOKEN.

    Values come from a prompt or from standard input, never from arguments, and are never shown.
    """


@command.command("put")
@click.argument("name", metavar="NAME")
@click.argument("rest", metavar="", nargs=-1)
@click.option("--bot", is_flag=True, help="NAME is a bot: a token below [vault] bots_prefix.")
@click.option("--keep-newline", is_flag=True, help="Keep the newline at the end of standard input.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask if no settings file is found.")
@config_option
@click.pass_obj
def put(
    session: Session, name: str, rest: tuple[str, ...], *, bot: bool, keep_newline: bool, yes: bool
) -> None:
    """Write a secret, and the policy that lets a run read it.

    \b
      disinto secrets put DEPLOY_TOKEN                 asks for the value, twice
      disinto secrets put SSH_KEY < ~/.ssh/deploy      takes it from standard input
      disinto secrets put --bot acme-bot               the token of a bot, see docs/jobs.md
    """
    session.on_host("secrets")
    if rest or "=" in name:
        raise click.UsageError(VALUE_GIVEN)
    _check_name(name, bot=bot)  # before anybody types a value in vain
    if not yes:
        _settings_or_consent(session, name, bot=bot)
    if sys.stdin.isatty():
        value = click.prompt(
            f"Value of {name}", hide_input=True, confirmation_prompt=True, err=True
        )
    else:
        value = sys.stdin.buffer.read().decode("utf-8")
        value = value if keep_newline else value.removesuffix("\n")
    found = _checked(session.settings, name, value) if bot else ""
    secrets = _secrets(session)
    version = secrets.put_bot(name, value) if bot else secrets.put(name, value)
    console.say(f"{name}: version {version}")
    if found:
        console.note(found)
    if bot and (note := _use_of_bot(session.settings, name)):
        console.note(note)


@command.command("list")
@click.option("--bots", is_flag=True, help="List the bots with a token, and who gets it.")
@click.option(
    "--check", is_flag=True, help="With --bots: ask the forge what sidecars' bots may do."
)
@json_option
@config_option
@click.pass_obj
def list_(session: Session, *, bots: bool, check: bool, as_json: bool) -> int:
    """List the secrets: names, versions and times; never values.

    With --bots --check, exits with 1 if a token should be replaced. The forge is asked without writing
    anything.
    """
    from dispatcher.model.times import epoch

    if check and not bots:
        raise click.UsageError("--check needs --bots.")
    if bots:
        return _list_bots(session, check=check, as_json=as_json)
    stored = _secrets(session).list()
    if as_json:
        console.emit([asdict(secret) for secret in stored])
        return Exit.OK
    table(
        ("NAME", "VERSION", "WRITTEN", "NOTE"),
        [
            (
                s.name,
                str(s.version) if s.version else "-",
                f"{console.ago(epoch(s.updated_at))} ago" if s.updated_at else "-",
                _note(s),
            )
            for s in stored
        ],
    )
    console.note(f"{len(stored)} secrets" if stored else "no secrets yet")
    return Exit.OK


@command.command("rm")
@click.argument("name", metavar="NAME", shell_complete=secret_names)
@click.option("--bot", is_flag=True, help="NAME is a bot: a token below [vault] bots_prefix.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask for confirmation.")
@config_option
@click.pass_obj
def rm(session: Session, name: str, *, bot: bool, yes: bool) -> int:
    """Remove all versions of a secret, and its policy."""
    _check_name(name, bot=bot)
    if not yes and not console.confirmed(f"Remove {name}, all versions?", to="remove it"):
        console.note("nothing was changed")
        return Exit.FAILED
    secrets = _secrets(session)
    if not (secrets.rm_bot(name) if bot else secrets.rm(name)):
        raise NotFound(f"there is no {'bot' if bot else 'secret'} {name}")
    console.say(f"{name}: removed")
    return Exit.OK


def _list_bots(session: Session, *, check: bool, as_json: bool) -> int:
    """The bots with a token, and those of the settings that have none yet."""
    checks = _check_bots(session) if check else {}
    wrong = any(not each.ok for each in checks.values())
    stored = _secrets(session).bots()
    uses = {
        name: _use_of_bot(session.settings, name)
        for name in sorted({*stored, *_bots_of_settings(session.settings)})
    }
    rows: list[dict[str, object]] = [
        {"name": n, "stored": n in stored, "use": use} for n, use in uses.items()
    ]
    if check:
        for row in rows:
            found = checks.get(str(row["name"]))
            row["check"] = asdict(found) if found else None
    if as_json:
        console.emit(rows)
        return Exit.FAILED if wrong else Exit.OK
    table(
        ("BOT", "TOKEN", "USE"),
        [(n, "stored" if n in stored else "missing", use) for n, use in uses.items()],
    )
    for name, found in checks.items():
        console.say(f"{'ok   ' if found.ok else 'FAIL '}  {name}: {found.detail}")
    console.note(f"{len(rows)} bots" if rows else "no bots yet")
    return Exit.FAILED if wrong else Exit.OK


def _check_bots(session: Session) -> dict[str, BotToken]:
    """What is known of the tokens of sidecars' bots, by bot. Tokens that are missing are left out."""
    from dispatcher.decide.sidecar_rules import load_sidecars
    from dispatcher.operate.token_checks import check_bot
    from dispatcher.vault import Vault
    from dispatcher.vault.bot_secrets import bot_token

    settings = session.settings
    vault = Vault.of_operator(settings.vault, environ=os.environ)
    sidecars = load_sidecars(settings.sidecars.file)
    checks = {}
    for bot in sorted({project.bot for project in sidecars.projects.values()}):
        try:
            token = bot_token(vault, bot)
        except Misconfigured:
            continue
        if (found := check_bot(sidecars, bot, token, _opened(settings))) is not None:
            checks[bot] = found
    return checks


def _checked(settings: Settings, bot: str, token: str) -> str:
    """What is known of a new token of a sidecar's bot, in words.

    Raises:
        InvalidValue: its runs should not have it.
    """
    from dispatcher.decide.sidecar_rules import load_sidecars
    from dispatcher.errors import InvalidValue
    from dispatcher.operate.token_checks import check_bot

    if settings.sidecars.file is None:
        return ""
    sidecars = load_sidecars(settings.sidecars.file)
    found = check_bot(sidecars, bot, token.strip(), _opened(settings))
    if found is None or not found.writes:
        return found.detail if found else ""
    raise InvalidValue(
        f"the token is not stored: {found.detail}",
        remedy="Give the bot a token with the scope read:issue, and read:repository if the agent is "
        "to read the forge; or set writing_token = true in a rule of the project.",
    )


def _opened(settings: Settings) -> Callable[[str], Exchange]:
    from dispatcher.sidecar.service import open_exchange

    source, wanted = "the bot's token", "a valid one with the scopes read:issue and read:repository"
    return lambda token: open_exchange(settings, token, source=source, wanted=wanted)


def _bots_of_settings(settings: Settings) -> set[str]:
    from dispatcher.settings.jobs import job_classes, own_bots

    return {*job_classes(settings).bots, *own_bots(settings)}


def _use_of_bot(settings: Settings, name: str) -> str:
    """Who gets a bot's token by the settings, in words."""
    from dispatcher.settings.jobs import job_classes, own_bots

    if key := own_bots(settings).get(name):
        return f"read by the dispatcher itself ({key})"
    uses = [
        f"{project} in {each.name}"
        for each in job_classes(settings).by_name.values()
        for project, bot in each.bots.items()
        if bot == name
    ]
    return f"for runs of {', '.join(uses)}" if uses else "the settings name it nowhere"


def _check_name(name: str, *, bot: bool = False) -> None:
    """Refuse what cannot be a name, without repeating it: it may be a value given by mistake.

    Raises:
        click.UsageError: it cannot.
        InvalidValue: it is reserved.
    """
    from dispatcher.model.names import SECRET_PATTERN
    from dispatcher.vault.names import is_bot_name, secret_name

    if bot:
        if not is_bot_name(name):
            raise click.UsageError(
                "the name of a bot must be letters, digits, dots, hyphens and underscores, at most "
                "100, the first a letter or digit."
            )
        return
    if not re.fullmatch(SECRET_PATTERN, name):
        raise click.UsageError(
            "NAME must be A-Z, 0-9 and _, at most 100 characters, the first a letter."
        )
    secret_name(name)


def _settings_or_consent(session: Session, name: str, *, bot: bool) -> None:
    """In the wrong directory the defaults apply, and a secret would go where no run looks for it.

    Raises:
        Misconfigured: there is no settings file, and nobody agreed to the defaults.
    """
    if session.has_settings_file:
        return
    vault = session.settings.vault
    prefix = vault.bots_prefix if bot else vault.kv_prefix
    where = f"{vault.addr}, {vault.kv_mount}/{prefix}/{name}"
    if sys.stdin.isatty() and click.confirm(
        f"No settings file was found. Write to {where}, taken from the defaults and the "
        "environment?",
        err=True,
    ):
        return
    raise Misconfigured(
        f"no settings file was found, so {name} would be written to {where}",
        remedy="Pass --config FILE, or --yes to write it there.",
    )


def _secrets(session: Session) -> Secrets:
    from dispatcher.vault import Vault
    from dispatcher.vault.secrets import Secrets

    settings = session.on_host("secrets")
    return Secrets(Vault.of_operator(settings.vault, environ=os.environ), settings)


def _note(secret: StoredSecret) -> str:
    notes = []
    if secret.path:
        kind = "derived" if secret.derived else "dynamic"
        notes.append(f"{kind}: {secret.path} becomes {', '.join(secret.variables)}")
    if secret.deleted:
        notes.append("its value is deleted: runs that name it fail")
    elif not secret.has_policy:
        notes.append("no policy: 'disinto apply' writes it")
    return "; ".join(notes)
