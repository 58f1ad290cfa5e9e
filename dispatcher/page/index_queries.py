"""Which runs a list is about, as queries of the index. Each reads one index of SQLite, and no row of the table that
it does not list: with 100,000 runs a look-up for each takes longer than a page may.
"""

from __future__ import annotations

from dataclasses import dataclass

DAY_S = 86_400


@dataclass(frozen=True, kw_only=True, slots=True)
class Filter:
    """Which runs are wanted; what is empty asks for nothing."""

    verdicts: tuple[str, ...] = ()
    formula: str = ""
    author: str = ""
    text: str = ""

    def __bool__(self) -> bool:
        return bool(self.verdicts or self.formula or self.author or self.text)

    def where(self) -> tuple[list[str], list[object]]:
        """Conditions of SQL, and their values."""
        conditions: list[str] = []
        values: list[object] = []
        if self.verdicts:
            conditions.append(f"verdict IN ({', '.join('?' * len(self.verdicts))})")
            values += self.verdicts
        if self.formula:
            conditions.append("formula = ?")
            values.append(self.formula)
        if self.author:
            conditions.append("id IN (SELECT id FROM authors WHERE author = ?)")
            values.append(self.author)
        if self.text:
            conditions.append("instr(words, ?)")
            values.append(self.text.casefold())
        return conditions, values


def listing(
    wanted: Filter, *, before: tuple[float, str] | None = None, count: int
) -> tuple[str, tuple[object, ...]]:
    """The query of ``Index.runs``, and its values. What is wanted is found in one index, the newest first; only
    what is listed is looked up in the table.
    """
    matching, values = _matching(wanted, "(at, id) < (?, ?)" if before is not None else "")
    query = (
        "SELECT r.id, verdict, formula, tier, at, exit_code, duration_s, reason, "  # noqa: S608 - ours
        "(SELECT author FROM authors a WHERE a.id = r.id) FROM runs r WHERE id IN "
        f"(SELECT id FROM {matching} ORDER BY at DESC, id DESC LIMIT ?) ORDER BY at DESC, id DESC"
    )
    return query, (*values, *(before or ()), count)


def counting(wanted: Filter) -> tuple[str, tuple[object, ...]]:
    """The query of ``Index.count``, and its values."""
    matching, values = _matching(wanted)
    return f"SELECT count(*) FROM {matching}", values  # noqa: S608 - ours


def daily(wanted: Filter, *, since: float) -> tuple[str, tuple[object, ...]]:
    """The query of ``Index.days``, and its values."""
    matching, values = _matching(wanted, "at >= ?")
    day = f"CAST(at / {DAY_S} AS INTEGER)"
    query = f"SELECT {day}, verdict, count(*) FROM {matching} GROUP BY 1, 2"  # noqa: S608 - ours
    return query, (*values, since)


def _matching(wanted: Filter, condition: str = "") -> tuple[str, tuple[object, ...]]:
    """The runs that are wanted, and on one more condition, for a query; and the values of what is wanted."""
    conditions, values = wanted.where()
    conditions += [condition] if condition else []
    where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    by = " INDEXED BY runs_newest" if wanted else ""
    return f"runs{by}{where}", tuple(values)
