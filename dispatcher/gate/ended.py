"""How actions ended, as reports on the forge are given it, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from urllib.parse import quote

from dispatcher.errors import DisintoError, Unavailable
from dispatcher.model.result import Result

UNAVAILABLE_LIMIT = 3
"""Actions in a row that could not be reported, after which the forge counts as down."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Ended:
    """An action that has ended.

    Attributes:
        result: as the dispatcher wrote it; never pushed by anybody else.
        commit: of the branch (hex), at which the result file can be read.
        path: of the result file at that commit.
    """

    result: Result
    commit: str
    path: str

    def link(self, web_url: str) -> str:
        """Address of the result file for people.

        Args:
            web_url: of the ops repo, without a slash at the end.
        """
        return f"{web_url}/src/commit/{self.commit}/{quote(self.path)}"


def report_each(
    ended: Iterable[Ended], report: Callable[[Ended], None]
) -> tuple[dict[str, DisintoError], bool]:
    """Report each, and go on after a failure.

    Returns:
        Why some could not be reported, by id; and whether the rest was left out, and counts as failed,
        because the forge is down.
    """
    failures: dict[str, DisintoError] = {}
    in_a_row = 0
    all_of_them = tuple(ended)
    for each in all_of_them:
        try:
            report(each)
        except DisintoError as error:
            failures[each.result.id] = error
            in_a_row += isinstance(error, Unavailable)
            if in_a_row == UNAVAILABLE_LIMIT:
                return {e.result.id: failures.get(e.result.id, error) for e in all_of_them}, True
        else:
            in_a_row = 0
    return failures, False
