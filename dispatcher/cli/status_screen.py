"""What ``disinto status`` shows of an overview and of one action, for people and as JSON."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from dispatcher.cli import console
from dispatcher.cli.tables import table_lines
from dispatcher.model.progress import progress_words
from dispatcher.model.times import epoch, known_time, rfc3339, took
from dispatcher.status.action_record import ActionRecord, of_open

if TYPE_CHECKING:
    from dispatcher.cli.screen import Screen
    from dispatcher.model.cancel_request import CancelNote
    from dispatcher.model.health import ForeignResult
    from dispatcher.operate.lookup import Account
    from dispatcher.status.overview import OpenAction, Overview


ALIKE = 20
"""Open actions of the same state and formula that a terminal shows, unless they were asked for."""


def overview_lines(
    overview: Overview,
    results: Sequence[ActionRecord],
    screen: Screen,
    *,
    for_author: bool = False,
    chosen: bool = False,
) -> list[str]:
    """The overview for people.

    Args:
        chosen: whether its actions were asked for by filters: then all are shown.
    """
    now = time.time()
    lines = [
        _who_leads(overview, for_author=for_author),
        f"head {overview.head[:12] or '(unknown)'}; {overview.open_actions} open, "
        f"{overview.finished_actions} finished, {overview.archived_actions} archived",
    ]
    for entry in overview.dependencies:
        if not entry.up:
            since = f" for {console.ago(entry.since, now=now)}" if entry.since else ""
            lines.append(
                f"{console.styled('down', 'red')}  {entry.dependency}{since}: {entry.error}"
            )
    lines += [f"{console.styled('warning', 'yellow')}  {each}" for each in overview.warnings]
    lines += foreign_lines(overview.foreign)
    lines += _open_lines(overview.open, screen, now=now, chosen=chosen)
    hidden = sum(overview.waiting.values()) - sum(a.state == "waiting" for a in overview.open)
    if hidden > 0:
        lines.append(f"… and {hidden} more waiting")
    lines += cancel_lines(overview.cancels, screen)
    if results:
        lines.append("\nlast results:")
    columns = ("ID", "VERDICT", "EXIT", "TOOK", "WHEN", "ERROR")
    return [*lines, *table_lines(columns, [_result_row(r, now=now) for r in results], screen)]


def _who_leads(overview: Overview, *, for_author: bool) -> str:
    if for_author:
        return (
            "author client: shows what git and the forge show; only the dispatcher's host shows "
            "what has started or waits for placement"
        )
    if overview.leader:
        return f"served by {overview.leader}, last round {console.ago(overview.at)} ago"
    if overview.standby:
        return (
            f"no dispatcher leads here: {overview.standby.name} runs, and waits for the lead, which "
            f"{overview.standby.holder} has (if that one died, until its lease expires)"
        )
    return "no dispatcher runs here: 'disinto serve' starts one"


def _result_row(record: ActionRecord, *, now: float) -> tuple[str, ...]:
    return (
        record.id,
        record.verdict or "",
        str(record.exit_code),
        _took(record),
        f"{console.ago(_finished_at(record), now=now)} ago",
        _linked((record.reason or "").partition("\n")[0], record.again_of),
    )


def _open_lines(
    actions: Sequence[OpenAction], screen: Screen, *, now: float, chosen: bool
) -> list[str]:
    shown, left_out = actions, Counter[tuple[str, str]]()
    if screen.terminal and not chosen:
        shown, left_out = _without_crowds(actions)
    rows = [
        (
            action.id,
            action.state.value,
            console.ago(action.since, now=now) if action.since else "",
            action.formula,
            action.tier,
            _linked(_about(action), action.again_of),
        )
        for action in shown
    ]
    columns = ("ID", "STATE", "FOR", "FORMULA", "TIER", "REASON")
    crowds = [
        f"… and {number} more {state} with formula {formula}: 'disinto status --formula {formula}'"
        for (state, formula), number in left_out.items()
    ]
    return [*([""] if actions else []), *table_lines(columns, rows, screen), *crowds]


def _without_crowds(
    actions: Sequence[OpenAction],
) -> tuple[tuple[OpenAction, ...], Counter[tuple[str, str]]]:
    """The first ``ALIKE`` of each state and formula, and how many were left out of each."""
    found = Counter[tuple[str, str]]()
    shown: list[OpenAction] = []
    for action in actions:
        kind = (action.state.value, action.formula)
        found[kind] += 1
        if found[kind] <= ALIKE or not action.formula:
            shown.append(action)
    left_out = {kind: n - ALIKE for kind, n in found.items() if n > ALIKE and kind[1]}
    return tuple(shown), Counter(left_out)


def _about(action: OpenAction) -> str:
    """Why an action is in its state, how far it is, or at least where."""
    return (
        action.reason
        or progress_words(action.progress)
        or (f"on {action.node}" if action.node else "")
    )


PUBLIC = (
    "at",
    "head",
    "leader",
    "standby",
    "open",
    "waiting",
    "dependencies",
    "foreign",
    "cancels",
    "warnings",
    "rules",
    "open_actions",
    "finished_actions",
    "archived_actions",
)
"""What ``status --json`` has of an overview: a field is public once it stands here and in
``docs/json.md``.
"""


def plain_overview(
    overview: Overview, results: Sequence[ActionRecord], *, role: str
) -> dict[str, Any]:
    """The overview as plain data: actions as records, times as RFC 3339.

    Args:
        role: of the installation that was asked, as in ``Listing``.
    """
    plain = overview.to_json()
    return {
        **{name: plain[name] for name in PUBLIC},
        "at": known_time(overview.at),
        "open": [of_open(action).to_json() for action in overview.open],
        "dependencies": [
            {**entry, "since": known_time(entry["since"])} for entry in plain["dependencies"]
        ],
        "results": [result.to_json() for result in results],
        "role": role,
    }


def plain_account(account: Account) -> dict[str, Any]:
    """An account as plain data: the action's record, and what its file says."""
    from dataclasses import asdict

    return {
        **account.record().to_json(),
        "path": account.path or None,
        "result_path": account.result_path or None,
        "archived": account.archived,
        "action": asdict(account.action) if account.action else None,
        "problems": [asdict(problem) for problem in account.problems],
        "repeats": [asdict(link) for link in account.repeats],
        "repeated_as": [asdict(link) for link in account.repeated_as],
    }


def cancel_lines(cancels: tuple[CancelNote, ...], screen: Screen) -> list[str]:
    """Requests to cancel, and why those that do not count do not."""
    rows = [(each.id, each.state, each.by, each.reason.partition("\n")[0]) for each in cancels]
    table = table_lines(("ID", "STATE", "REQUESTED BY", "REASON"), rows, screen)
    return ["\nrequests to cancel:", *table] if cancels else []


def foreign_lines(foreign: tuple[ForeignResult, ...]) -> list[str]:
    """Results that this dispatcher did not sign, and what to do about them."""
    if not foreign:
        return []  # as nearly always; the module takes long to load
    from dispatcher.loop.foreign import REMEDY

    lines = [
        f"{console.styled('foreign result', 'yellow')}  {each.path}, added by commit "
        f"{each.commit[:12]}: {each.reason}"
        for each in foreign
    ]
    return [*lines, f"{REMEDY}."]


def account_lines(account: Account) -> list[str]:
    """An account for people: facts line by line, then the end of the output."""
    lines = [f"{name:<12}{value}" for name, value in _facts(account)]
    lines += [str(problem) for problem in account.problems]
    result = account.result
    if result is not None and result.logs:
        lines.append("\noutput (its last 1,000 characters):")
        lines += [f"  {line}" for line in result.logs.rstrip("\n").split("\n")]
    return lines


def _facts(account: Account) -> list[tuple[str, str]]:
    action, standing, result = account.action, account.standing, account.result
    facts = [("id", account.id), ("state", account.state)]
    if standing is not None:
        facts += [
            ("verdict", standing.verdict),
            ("since", _moment(standing.since)),
            ("reason", standing.reason),
            ("progress", progress_words(standing.progress)),
            ("run", standing.engine_id),
            ("node", standing.node),
            ("job class", standing.job_class),
            ("bot", standing.bot),
            ("approved by", ", ".join(standing.approved_by)),
        ]
    if result is not None:
        facts += [
            ("verdict", result.verdict.value),
            ("exit code", str(result.exit_code)),
            ("error", result.error),
            ("started", result.started_at or ""),
            ("finished", result.finished_at or result.timestamp),
            ("took", "" if result.duration_s is None else took(result.duration_s)),
            ("approved by", ", ".join(result.approved_by)),
            ("emergency", result.emergency),
            ("engine", " ".join(part for part in result.engine.model_dump().values() if part)),
            *(("output", f"{name} = {_shown(value)}") for name, value in result.outputs.items()),
        ]
    tier = (standing.tier if standing else "") or (result.tier if result else "") or ""
    if action is not None:
        facts += [
            ("formula", action.formula),
            ("tier", tier),
            ("secrets", ", ".join(action.secrets)),
            ("mounts", ", ".join(action.mounts)),
            ("timeout", f"{action.timeout_minutes} min"),
            ("emergency", "" if result else action.emergency or ""),
            ("context", action.context.strip()),
        ]
    facts += [
        ("repeats", ", ".join(map(str, account.repeats))),
        ("repeated as", ", ".join(map(str, account.repeated_as))),
    ]
    facts += [("file", account.path), ("result", account.result_path)]
    return [(name, value.replace("\n", "\n" + " " * 12)) for name, value in facts if value]


def _linked(reason: str, again_of: str | None) -> str:
    """A reason, with the action that this one repeats."""
    link = f"repeats {again_of}" if again_of else ""
    return "; ".join(part for part in (reason, link) if part)


def _took(record: ActionRecord) -> str:
    duration_s = (record.result or {}).get("duration_s")
    return took(duration_s) if isinstance(duration_s, (int, float)) else ""


def _finished_at(record: ActionRecord) -> float:
    try:
        return epoch(str((record.result or {}).get("timestamp")))
    except ValueError:
        return time.time()  # no result of ours


def _moment(at: float) -> str:
    return f"{rfc3339(at)} ({console.ago(at)} ago)" if at else ""


def _shown(value: object) -> str:
    """An output as TOML writes it, so that a text and a number are told apart; never a secret."""
    from dispatcher.toml.explain import toml_value

    return toml_value(value, limit=sys.maxsize)  # an address that is cut is none
