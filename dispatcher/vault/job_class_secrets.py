"""Whether Vault has what the job classes give to runs: their secrets, and the tokens of bots. By hvac."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from dispatcher.model.checks import Check
from dispatcher.settings import Settings
from dispatcher.settings.jobs import job_classes
from dispatcher.vault.apply import bot_keys, secret_keys

if TYPE_CHECKING:
    import hvac


def check_job_classes(name: str, client: hvac.Client, settings: Settings) -> Check:
    """What a class names and Vault does not have: a run of that class would be refused.

    Raises:
        Unavailable, Denied: as Vault answers.
    """
    named = list(_named(settings))
    stored = (
        {*secret_keys(client, settings), *settings.vault.dynamic, *settings.vault.derived}
        if named
        else set()
    )
    bots = set(bot_keys(client, settings)) if any(bot for _, _, bot in named) else set()
    missing = [
        (key, what, bot) for key, what, bot in named if what not in (bots if bot else stored)
    ]
    commands = dict.fromkeys(
        f"`disinto secrets put {'--bot ' if bot else ''}{what}`" for _, what, bot in missing
    )
    listed = ", ".join(f"{'bot' if bot else 'secret'} {what} ({key})" for key, what, bot in missing)
    return Check(
        name=name,
        ok=not missing,
        detail=f"not stored: {listed}" if missing else f"{len(named)} secrets and bots, all stored",
        remedy=f"Store what is missing: {', '.join(commands)}." if missing else "",
    )


def _named(settings: Settings) -> Iterator[tuple[str, str, bool]]:
    """Key of the settings, name, and whether it is a bot's."""
    for name, each in sorted(job_classes(settings).by_name.items()):
        for secret in each.secrets:
            yield f"[jobs.{name}] secrets", secret, False
        for project, bot in sorted(each.bots.items()):
            yield f"[jobs.{name}] bots.{project}", bot, True
