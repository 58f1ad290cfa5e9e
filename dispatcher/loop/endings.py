"""Endings: how the actions ended that others run after (``after``).

The result in git is read, and counts only if we signed it for that action; where results are not
signed, any file counts (see ``dispatcher.loop.foreign``). Read on another thread, a few at a time,
and only what an open action names.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from dispatcher.decide.world import Candidate, Ended
from dispatcher.loop.components import Components
from dispatcher.loop.foreign import InGit, in_git, read_in_git
from dispatcher.loop.pollers import Pauses, Pollers
from dispatcher.loop.view import View
from dispatcher.model.verdicts import Verdict
from dispatcher.ops_repo import Tree

BATCH = 50
"""Results that one errand reads."""

PAUSES_S = (0.5, 30.0)
"""First and longest pause after results could not be read."""

FOREIGN = "its result is not one that this dispatcher signed"

ERRAND = "endings"


class Endings:
    """Reads the results that open actions wait for. Used by the loop's thread only.

    Args:
        components: the clone and the keys that are asked.
        tree: of the view.
        pollers: who reads.
        pauses_s: first and longest pause after a failure.
    """

    def __init__(
        self,
        components: Components,
        tree: Tree,
        *,
        pollers: Pollers,
        pauses_s: tuple[float, float] = PAUSES_S,
    ) -> None:
        self._components, self._tree, self._pollers = components, tree, pollers
        self._read: dict[str, tuple[InGit, Ended]] = {}
        self._named: dict[str, None] = {}
        self._unread = False
        self._pauses = Pauses(*pauses_s)

    @property
    def ended(self) -> Mapping[str, Ended]:
        """What was read and is still what stands there, by id."""
        return {i: ended for i, (file, ended) in self._read.items() if self._stands(file, ended)}

    def next_try_in(self) -> float | None:
        """Seconds until what could not be read is retried; None if nothing waits."""
        return self._pauses.left() or None if self._unread else None

    def look(self, candidates: Mapping[str, Candidate]) -> None:
        """Read some of what open actions wait for."""
        named = set(_named(candidates.values()))
        for action_id in self._read.keys() - named:
            del self._read[action_id]
        files = [file for i in sorted(named) if (file := self._due(i)) is not None][:BATCH]
        self._unread = bool(files)
        if not files or self._pauses.left() or not self._pollers.free(None, ERRAND):
            return

        def learned(found: list[tuple[InGit, Ended]]) -> None:
            self._pauses.succeeded()
            self._read.update((file.action_id, (file, ended)) for file, ended in found)

        self._pollers.run(
            None,
            lambda: [(file, ending(self._components, file)) for file in files],
            learned,
            name=ERRAND,
            failed=self._pauses.failed,
        )

    def _due(self, action_id: str) -> InGit | None:
        """Its result, if it is there and was not read yet."""
        known = self._read.get(action_id)
        if known is not None and self._stands(*known):
            return None
        return in_git(self._tree, action_id)

    def _stands(self, file: InGit, ended: Ended) -> bool:
        """Whether what was read is there still. What we signed is the only result that an id can
        have, so that one stands wherever it is moved to.
        """
        if ended.verdict is not None:
            return self._tree.has_result(file.action_id)
        now = in_git(self._tree, file.action_id)
        return (
            now is not None
            and (now.path, now.blob) == (file.path, file.blob)
            and (bool(now.blob) or now.commit == file.commit)
        )


def read_endings(components: Components, view: View) -> dict[str, Ended]:
    """All that open actions wait for, here and now: for whoever has no loop.

    Raises:
        Unavailable, Denied: Vault has the key and cannot be asked.
    """
    files = (in_git(view.tree, i) for i in set(_named(view.candidates().values())))
    return {file.action_id: ending(components, file) for file in files if file is not None}


def ending(components: Components, file: InGit) -> Ended:
    """How an action ended, by the file that stands in git as its result.

    Raises:
        Unavailable, Denied: Vault has the key and cannot be asked.
    """
    from pydantic import ValidationError

    from dispatcher.model.result import Result  # 'status' only shows what was found

    data = read_in_git(components, file)
    verifier = components.verifier
    if data is None or (
        verifier.signs and not verifier.ours(data, action_id=file.action_id, blob=None)
    ):
        return Ended(problem=FOREIGN)
    try:
        return Ended(verdict=Verdict(Result.model_validate_json(data).verdict))
    except (ValidationError, ValueError):
        return Ended(problem="its result cannot be read")


def _named(candidates: Iterable[Candidate]) -> Iterator[str]:
    for candidate in candidates:
        if candidate.action is not None:
            yield from candidate.action.after
