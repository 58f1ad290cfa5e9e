"""What the tokens of sidecars may do: those of the dispatcher for ``doctor``, a bot's when it is stored.

The dispatcher cannot read a bot's token, so ``doctor`` cannot check it: ``disinto secrets`` does, with an
operator's rights. The forge is asked without writing anything (``forge.token_rights``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from pydantic import TypeAdapter

from dispatcher.decide.sidecar_rules import Sidecars
from dispatcher.errors import DisintoError
from dispatcher.forge.exchange import Exchange
from dispatcher.forge.issue_board import REPORT_ACCESS
from dispatcher.forge.issues import IssuesApi
from dispatcher.forge.token_rights import Part, Right, may_label, may_write
from dispatcher.model.checks import Check, looked
from dispatcher.settings import Settings

READING, REPORTS, BOTS = "sidecars: reading token", "sidecars: report token", "sidecars: bots"
_RECORD: TypeAdapter[object] = TypeAdapter(object)


@dataclass(frozen=True, kw_only=True, slots=True)
class Tokens:
    """Opens the forge with the dispatcher's tokens for sidecars; each may raise a ``DisintoError``.

    Attributes:
        reading: of ``[sidecars] token_env`` or ``token_secret``.
        reports: of ``report_token_env`` or ``report_token_secret``; None without one.
    """

    reading: Callable[[], Exchange]
    reports: Callable[[], Exchange | None]


@dataclass(frozen=True, kw_only=True, slots=True)
class BotToken:
    """What is known of a bot's token.

    Attributes:
        ok: whether its runs should have it, and can read with it.
        writes: whether it may write, and no rule asks for that.
        detail: what was found, as a clause without a full stop.
    """

    ok: bool
    detail: str
    writes: bool = False


def check_tokens(settings: Settings, sidecars: Sidecars, tokens: Tokens) -> Iterator[Check]:
    """Whether the dispatcher's own tokens may do what they have to, and no more."""
    if not sidecars.projects:
        return
    yield from looked(READING, lambda: _reading(sidecars, tokens.reading()))
    yield from looked(REPORTS, lambda: _reports(settings, sidecars, tokens.reports()))
    yield Check(
        name=BOTS,
        ok=True,
        detail="not checked, because the dispatcher must not read their tokens; an operator runs "
        "'disinto secrets list --bots --check'",
    )


def _reading(sidecars: Sidecars, exchange: Exchange) -> Iterator[Check]:
    repository = next(iter(sidecars.projects.values())).repository
    more = _writable(exchange, repository)
    yield Check(
        name=READING,
        ok=True,
        detail=f"it may write ({', '.join(more)}), and only has to read"
        if more
        else "it only reads",
        remedy="Replace it by one with the scopes read:repository and read:issue." if more else "",
    )


def _reports(settings: Settings, sidecars: Sidecars, exchange: Exchange | None) -> Iterator[Check]:
    if exchange is None:
        yield Check(
            name=REPORTS,
            ok=True,
            detail="there is none, so nothing is reported on issues, and no label is changed",
            remedy=f"Set {settings.sidecars.report_token_env} to {REPORT_ACCESS}.",
        )
        return
    for path in ("/user", "/user/orgs"):
        exchange.get(path, _RECORD)
    repositories = {name: entry.repository for name, entry in sidecars.projects.items()}
    for name, repository in repositories.items():
        yield from looked(f"{REPORTS}: {name}", partial(_report_to, name, repository, exchange))
    more = _writable(exchange, next(iter(repositories.values())), needed=(Part.ISSUE,))
    if more:
        yield Check(
            name=REPORTS,
            ok=True,
            detail=f"it may write more than issues: {', '.join(more)}",
            remedy=f"Replace it by {REPORT_ACCESS}.",
        )


def _report_to(name: str, repository: str, exchange: Exchange) -> Iterator[Check]:
    right = may_label(exchange, repository)
    wrong = {
        Right.NO_SCOPE: "the token lacks the scope write:issue",
        Right.NO_RIGHT: f"the token's account may not write in {repository}",
    }.get(right, "")
    yield Check(
        name=f"{REPORTS}: {name}",
        ok=not wrong,
        detail=wrong or f"it may write the issues of {repository}",
        remedy=f"Replace it by {REPORT_ACCESS}." if wrong else "",
    )


def _writable(exchange: Exchange, repository: str, needed: tuple[Part, ...] = ()) -> list[str]:
    """What a token may write beyond what it needs. An account that is no administrator's cannot use
    that scope.
    """
    rights = may_write(exchange, repository, [part for part in Part if part not in needed])
    if rights.get(Part.ADMIN) is Right.NO_RIGHT:
        del rights[Part.ADMIN]
    return [part for part, right in rights.items() if right is not Right.NO_SCOPE]


def projects_of(sidecars: Sidecars, bot: str) -> list[str]:
    """The projects whose runs get a bot's token."""
    return [name for name, entry in sidecars.projects.items() if entry.bot == bot]


def check_bot(
    sidecars: Sidecars, bot: str, token: str, opened: Callable[[str], Exchange]
) -> BotToken | None:
    """Whether a bot's token reads the issues of its projects, and writes nothing.

    A rule may ask for a writing token (``writing_token``).

    Args:
        opened: opens the forge with a token.

    Returns:
        None if no project of ``sidecars.toml`` has this bot.

    Raises:
        Misconfigured: the forge's address or CA certificate cannot be right.
    """
    projects = projects_of(sidecars, bot)
    if not projects:
        return None
    exchange = opened(token)
    try:
        for name in projects:
            IssuesApi(exchange, sidecars.projects[name].repository).page(1, state="open")
        more = _writable(exchange, sidecars.projects[projects[0]].repository)
    except DisintoError as error:
        return BotToken(ok=False, detail=f"it cannot be checked: {error.what}")
    if not more:
        return BotToken(ok=True, detail="it only reads")
    what = f"it may write ({', '.join(more)})"
    for project in projects:
        for name, rule in sidecars.rules_of(project).items():
            if rule.writing_token:
                return BotToken(ok=True, detail=f"{what}, as rule {name} asks for")
    what = f"{what}, which a run that reads text of strangers must not"
    return BotToken(ok=False, detail=what, writes=True)
