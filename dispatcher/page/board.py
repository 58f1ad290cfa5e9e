"""What the overview shows: of the status of ``serve`` what is open, of the index what has ended."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from dispatcher.model.times import known_time
from dispatcher.page.chart import DAYS, Chart, chart
from dispatcher.page.index import Index, Row
from dispatcher.page.index_queries import DAY_S, Filter
from dispatcher.page.live import Live
from dispatcher.status.action_record import FINISHED, ActionRecord, of_open
from dispatcher.status.overview import OpenAction, State, down

RESULTS = 50
"""Results on a page."""

SHOWN = 25
"""Open actions of a kind that are listed beside the others; all of them if only these are wanted."""

LONGEST = 200
"""Open actions of a kind that are listed at most."""

TERM_LIMIT = 200
"""Characters of a filter that count."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """What the visitor filters by; what is empty asks for nothing.

    Attributes:
        state: a state of an open action, ``finished``, or a verdict.
    """

    state: str = ""
    formula: str = ""
    author: str = ""
    text: str = ""
    before: tuple[float, str] | None = None

    def __bool__(self) -> bool:
        return bool(self.state or self.formula or self.author or self.text)

    @property
    def of_open(self) -> bool:
        """Whether only open actions are wanted."""
        return self.state in set(State)

    @property
    def of_ended(self) -> bool:
        """Whether only ended ones are."""
        return bool(self.state) and not self.of_open

    def filter(self) -> Filter:
        """For the index."""
        verdicts = (self.state,) if self.of_ended and self.state != FINISHED else ()
        return Filter(verdicts=verdicts, formula=self.formula, author=self.author, text=self.text)


@dataclass(frozen=True, kw_only=True, slots=True)
class Listed:
    """One action in a list: its record, who claims to have written it, and how long it took."""

    action: ActionRecord
    author: str | None = None
    duration_s: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Group:
    """A list of open actions, and how many more there are."""

    actions: tuple[Listed, ...] = ()
    more: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Down:
    """A dependency that is down."""

    dependency: str
    since: str | None
    error: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Board:
    """The overview.

    Attributes:
        serving: whether a ``serve`` runs here.
        as_of: when it last had a round.
        leader, head: who it is, and the commit that it has seen.
        running, waiting: open actions.
        results: the newest that are wanted.
        total: how many are wanted; None if that takes long to count.
        older: what ``before`` gets for the next page; "" if there is none.
        down, warnings: what deserves attention.
        days: results over time; None beside a search, which would take too long.
        unread: results in git that are not listed yet.
        trouble: why the list does not follow git; "" if it does.
    """

    serving: bool
    as_of: str | None
    leader: str
    head: str
    running: Group
    waiting: Group
    results: tuple[Listed, ...]
    total: int | None
    older: str
    down: tuple[Down, ...]
    warnings: tuple[str, ...]
    days: Chart | None
    unread: int
    trouble: str


def board(live: Live | None, wanted: Wanted, *, now: float) -> Board:
    """The overview of this moment."""
    status = live.status if live is not None else None
    index = live.index if live is not None else None
    overview = status.overview if status is not None else None
    opened = overview.open if overview is not None else _unknown(index)
    running, waiting = _groups(opened, wanted, index)
    rows = _rows(index, wanted)
    last = rows[RESULTS - 1] if len(rows) > RESULTS else None
    return Board(
        serving=status is not None and status.fresh,
        as_of=known_time(overview.at) if overview else None,
        leader=overview.leader if overview else "",
        head=overview.head if overview else index.commit if index else "",
        running=running,
        waiting=waiting,
        results=tuple(_ended(row) for row in rows[:RESULTS]),
        total=index.count(wanted.filter()) if index is not None and not wanted.text else None,
        older=f"{last.at!r}~{last.id}" if last is not None else "",
        down=tuple(
            Down(dependency=each.dependency.value, since=known_time(each.since), error=each.error)
            for each in down(overview.dependencies if overview else ())
        ),
        warnings=overview.warnings if overview else (),
        days=_chart(index, wanted, now),
        unread=index.unread if index is not None else 0,
        trouble=live.trouble if live is not None else "",
    )


def cursor(text: str) -> tuple[float, str] | None:
    """What ``Board.older`` stands for; None if it is something else."""
    at, _, action_id = text.partition("~")
    try:
        return (float(at), action_id) if action_id else None
    except ValueError:
        return None


def _rows(index: Index | None, wanted: Wanted) -> list[Row]:
    if index is None or wanted.of_open:
        return []
    return index.runs(wanted.filter(), before=wanted.before, count=RESULTS + 1)


def _chart(index: Index | None, wanted: Wanted, now: float) -> Chart | None:
    if index is None or wanted.of_open or wanted.text or wanted.before is not None:
        return None
    since = (now // DAY_S - DAYS + 1) * DAY_S
    return chart(index.days(wanted.filter(), since=since), now=now)


def _unknown(index: Index | None) -> tuple[OpenAction, ...]:
    """Open actions where no ``serve`` ever ran: only that they are there is known."""
    ids = index.open_ids(count=LONGEST) if index is not None else ()
    return tuple(OpenAction(id=action_id, state=State.OPEN) for action_id in ids)


def _groups(
    opened: Iterable[OpenAction], wanted: Wanted, index: Index | None
) -> tuple[Group, Group]:
    if wanted.of_ended or wanted.before is not None:
        return Group(), Group()
    named = [(action, index.author(action.id) if index else "") for action in opened]
    fitting = [(action, author) for action, author in named if _fits(action, author, wanted)]
    active = (State.STARTING, State.PENDING, State.RUNNING, State.ENDED)
    limit = LONGEST if wanted.of_open else SHOWN
    return (
        _group([each for each in fitting if each[0].state in active], limit),
        _group([each for each in fitting if each[0].state not in active], limit),
    )


def _group(fitting: Sequence[tuple[OpenAction, str]], limit: int) -> Group:
    listed = (Listed(action=of_open(a), author=author or None) for a, author in fitting[:limit])
    return Group(actions=tuple(listed), more=max(0, len(fitting) - limit))


def _fits(action: OpenAction, author: str, wanted: Wanted) -> bool:
    text = wanted.text.casefold()
    return (
        wanted.state in ("", action.state)
        and wanted.formula in ("", action.formula)
        and wanted.author in ("", author)
        and (not text or text in action.id or text in action.reason.casefold())
    )


def _ended(row: Row) -> Listed:
    record = ActionRecord(
        id=row.id,
        state=FINISHED,
        verdict=row.verdict or None,
        exit_code=row.exit_code,
        reason=row.reason or None,
        since=known_time(row.at),
        formula=row.formula or None,
        tier=row.tier or None,
    )
    return Listed(action=record, author=row.author or None, duration_s=row.duration_s)
