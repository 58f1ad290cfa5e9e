"""The list that ``disinto status`` shows: its content, wherever it was found, and its two forms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from dispatcher.cli.status_screen import overview_lines, plain_overview

if TYPE_CHECKING:
    from dispatcher.cli.screen import Screen
    from dispatcher.status.action_record import ActionRecord
    from dispatcher.status.overview import Overview
    from dispatcher.status.status_file import Seen

LAST = 10
"""Results that are listed by default."""

AUTHOR = "author"
"""``settings.Role.AUTHOR``; its module takes long to load."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Listing:
    """What a list shows: the overview, the last results, and the role of this installation."""

    overview: Overview
    results: Sequence[ActionRecord]
    role: str

    def lines(self, screen: Screen, *, chosen: bool = False) -> list[str]:
        """For people.

        Args:
            chosen: whether its actions were asked for by filters: then all are shown.
        """
        for_author = self.role == AUTHOR
        return overview_lines(
            self.overview, self.results, screen, for_author=for_author, chosen=chosen
        )

    def plain(self) -> dict[str, Any]:
        """For ``--json``."""
        return plain_overview(self.overview, self.results, role=self.role)


def written(status: Seen, last: int) -> Listing | None:
    """What a ``serve`` has written down, with the files of the rules as they are now.

    Args:
        last: results to list.

    Returns:
        None if it is not all that a list shows.
    """
    from dispatcher.loop.rule_files import superseded

    configured, results = status.given, status.results
    if configured is None or configured.proposals or results is None or not status.overview.head:
        return None
    if last > len(results) and len(results) < len(status.overview.newest or ()):
        return None
    older = superseded(status.overview.rules, configured.rules, refused=status.overview.warnings)
    overview = replace(status.overview, warnings=(*status.overview.warnings, *older))
    return Listing(overview=overview, results=results[:last], role=configured.role)
