"""Open pull requests that would add an action or request its cancellation.

Listing them takes one bounded call to the forge, cached for a few seconds, because ``status`` may be
run in a loop. They are recognised by the branch that ``disinto dispatch`` and ``disinto cancel`` push;
a pull request from a branch of another name is not listed, because that would take a call for each.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Callable, Container, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

from dispatcher.errors import DisintoError
from dispatcher.forge.records import Request
from dispatcher.model.names import is_id
from dispatcher.status.overview import OpenAction, State

BRANCHES = "disinto/"
CANCEL = "cancel/"
FRESH_S = 10.0
NAME = "proposed.json"


class Forge(Protocol):
    """The part of ``dispatcher.forge.ForgeApi`` that is used."""

    def open_requests(self) -> Sequence[Request]: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Proposed:
    """An open pull request.

    Attributes:
        action_id: the action that it would add or cancel.
        cancels: whether it requests a cancellation.
        number, url, by: of the request; ``by`` is who opened it.
    """

    action_id: str
    cancels: bool
    number: int
    url: str
    by: str

    def row(self) -> OpenAction:
        """The entry for an overview."""
        what = "requests its cancellation" if self.cancels else "not merged yet"
        opened = f" by {self.by}" if self.by else ""
        where = f": {self.url}" if self.url else ""
        return OpenAction(
            id=self.action_id,
            state=State.PROPOSED,
            reason=f"{what}: pull request #{self.number}{opened}{where}",
            request={"number": self.number, "url": self.url},
        )


def branch_of(action_id: str, *, cancels: bool = False) -> str:
    """The branch of the pull request for an action."""
    return f"{BRANCHES}{CANCEL if cancels else ''}{action_id}"


def proposed(
    forge: Callable[[], Forge], *, branch: str, state_dir: Path
) -> tuple[tuple[Proposed, ...], str]:
    """Open requests of the branch, the latest first, and the error if they cannot be listed, else "".

    Args:
        forge: opens the forge.
        branch: the branch whose files are actions.
        state_dir: where the answer is cached for ``FRESH_S``.
    """
    file = state_dir / NAME
    cached = _read(file)
    if cached is not None:
        return cached, ""
    try:
        requests = forge().open_requests()
    except DisintoError as error:
        return (), f"cannot list open pull requests: {error}"
    proposals = tuple(p for r in requests if (p := _of(r, branch)) is not None)
    _write(file, proposals)
    return proposals, ""


def unmerged(
    proposals: Sequence[Proposed], *, actions: Container[str], cancels: Container[str]
) -> tuple[Proposed, ...]:
    """Those that are not merged: the cached answer of the forge may be older than the branch that is
    shown beside it.

    Args:
        actions, cancels: ids of the actions, and of the requests to cancel, that are on the branch.
    """
    return tuple(p for p in proposals if p.action_id not in (cancels if p.cancels else actions))


def forget(state_dir: Path) -> None:
    """Invalidate the cache, because a request was opened from here."""
    with suppress(OSError):
        (state_dir / NAME).unlink()


def _of(request: Request, branch: str) -> Proposed | None:
    ref = request.head.ref
    if request.base.ref != branch or not ref.startswith(BRANCHES):
        return None
    name = ref.removeprefix(BRANCHES)
    action_id = name.removeprefix(CANCEL)
    if not is_id(action_id):
        return None
    return Proposed(
        action_id=action_id,
        cancels=name.startswith(CANCEL),
        number=request.number,
        url=request.html_url,
        by=request.user.login if request.user else "",
    )


def _read(file: Path) -> tuple[Proposed, ...] | None:
    try:
        if not 0 <= time.time() - file.stat().st_mtime < FRESH_S:
            return None
        return tuple(Proposed(**entry) for entry in json.loads(file.read_bytes()))
    except (OSError, ValueError, TypeError):
        return None


def _write(file: Path, proposals: Sequence[Proposed]) -> None:
    """Write the cache atomically; if that fails, the next call asks the forge again."""
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=file.parent, delete=False) as unfinished:
            json.dump([asdict(each) for each in proposals], unfinished)
        os.replace(unfinished.name, file)  # noqa: PTH105
    except OSError:
        return
