"""Where text for people is shown: what its layout depends on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dispatcher.cli import console, terminal

WIDEST = 10_000
"""Columns of the widest terminal of another process."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Screen:
    """Standard output of a command, which another process may be.

    Attributes:
        terminal: whether it is a capable terminal.
        columns: of it.
        coloured: whether it shows colours.
    """

    terminal: bool
    columns: int
    coloured: bool = True

    @classmethod
    def here(cls) -> Screen:
        """That of this process. Whether it has colours is decided when text is printed."""
        return cls(terminal=console.interactive(), columns=terminal.columns())

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Screen:
        """That of another process; see ``terminal.screen``.

        Raises:
            KeyError, TypeError, ValueError: the data is something else.
        """
        columns = int(data["columns"])
        if not 0 < columns <= WIDEST:
            raise ValueError("no number of columns")
        return cls(
            terminal=bool(data["terminal"]), columns=columns, coloured=bool(data["coloured"])
        )
