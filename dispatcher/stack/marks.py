"""The mark by which what we made is found: in the description of a project and of its application."""

from __future__ import annotations

import re
from dataclasses import dataclass

_MARK = re.compile(
    r"disinto:([a-z][a-z0-9-]{0,30}):([a-z0-9][a-z0-9_-]{0,99}):([0-9a-f]{8,64})", re.ASCII
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Mark:
    """Whose it is.

    Attributes:
        project: of the installation; installations that share a server need one each.
        stack_id: id of the action that made it.
        blob: the other half of that run's key.
    """

    project: str
    stack_id: str
    blob: str

    @classmethod
    def of_run(cls, project: str, run_key: str) -> Mark:
        """The mark of what one run makes; a run key is ``<id>.<blob>``."""
        stack_id, _, blob = run_key.partition(".")
        return cls(project=project, stack_id=stack_id, blob=blob)

    @classmethod
    def read(cls, description: str) -> Mark | None:
        """The mark in a description, if there is one."""
        match = _MARK.search(description[:1000])
        if match is None:
            return None
        return cls(project=match[1], stack_id=match[2], blob=match[3])

    def is_of_stack(self, description: str) -> bool:
        """Whether a description has a mark of the same stack, of whichever run."""
        other = Mark.read(description)
        return other is not None and (other.project, other.stack_id) == (
            self.project,
            self.stack_id,
        )

    @property
    def run_key(self) -> str:
        return f"{self.stack_id}.{self.blob}"

    def __str__(self) -> str:
        return f"disinto:{self.project}:{self.stack_id}:{self.blob}"
