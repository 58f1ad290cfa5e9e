"""The tags by which machines are found: the only thing that the provider keeps for us.

DigitalOcean's tags have letters, digits, ``_``, ``-`` and ``:``, at most 255, and no dot.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

_RUN = re.compile(r"[a-z0-9][a-z0-9_-]{0,99}:[0-9a-f]{40}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Tags:
    """The tags of one project; installations that share an account need a project each.

    Attributes:
        project: lower-case letters, digits and ``-``.
    """

    project: str

    @property
    def all(self) -> str:
        """On every machine of the project."""
        return f"{self.project}:desktops"

    def desktop(self, desktop_id: str) -> str:
        """On the machines of one desktop: by it they are removed."""
        return f"{self.project}:desktop:{desktop_id}"

    def run(self, run_key: str) -> str:
        """On what one run created; a run key is ``<id>.<blob>``."""
        return f"{self.project}:run:{run_key.replace('.', ':')}"

    def for_run(self, desktop_id: str, run_key: str) -> tuple[str, ...]:
        """All tags of a new machine."""
        return (self.all, self.desktop(desktop_id), self.run(run_key))

    def run_key(self, tags: Iterable[str]) -> str:
        """The run key that the tags of a machine name; "" for none, or for what is no run key."""
        begin = f"{self.project}:run:"
        for tag in tags:
            if tag.startswith(begin) and _RUN.fullmatch(run := tag.removeprefix(begin)):
                return run.replace(":", ".")
        return ""
