"""Vetting: which open files wait for it, and the work itself, which reads files on another thread."""

from __future__ import annotations

from collections.abc import Callable, Collection, Container, Iterable, Mapping
from dataclasses import dataclass

from dispatcher.decide.world import Candidate
from dispatcher.loop.intake import Intake
from dispatcher.ops_repo import ActionFile, Formulas


@dataclass(frozen=True, kw_only=True)
class Vetting:
    """Files to be vetted.

    Attributes:
        files: by id.
        formulas: those of the head at which they stand.
        secrets: the names of secrets for files that name one which is not there.
        order: position in commit order by id.
        gone: ids whose files are not open any more.
    """

    intake: Intake
    files: Mapping[str, ActionFile]
    formulas: Formulas
    secrets: Mapping[str, frozenset[str]]
    order: Mapping[str, int]
    gone: Collection[str]

    def read(self) -> dict[str, Candidate | Exception]:
        """Read and vet them. Reads the clone and the operator's formulas.

        Raises:
            DirectoryGone: the operator's formulas are not there.
            Unavailable: the clone cannot be read.
        """
        self.intake.forget(self.gone)
        vetted: dict[str, Candidate | Exception] = {}
        for names in {None, *self.secrets.values()}:
            files = {i: f for i, f in self.files.items() if self.secrets.get(i) == names}
            if files:
                vetted |= self.intake.vet(
                    files, tree=self.formulas, secrets=names, order=self.order
                )
        return vetted


class VettingQueue:
    """Open files that wait to be vetted, or are being vetted. Used by the loop's thread only."""

    def __init__(self) -> None:
        self._waiting: set[str] = set()
        self._in_hand: frozenset[str] = frozenset()
        self._gone: set[str] = set()
        self._names: dict[str, frozenset[str]] = {}

    def __contains__(self, action_id: object) -> bool:
        return action_id in self._waiting or action_id in self._in_hand

    @property
    def ids(self) -> frozenset[str]:
        """All of them."""
        return self._in_hand.union(self._waiting)

    @property
    def in_hand(self) -> frozenset[str]:
        """Those that are being vetted."""
        return self._in_hand

    def changed_meanwhile(self, action_id: str) -> bool:
        """Whether one that was in hand waits again."""
        return action_id in self._waiting

    def is_new(self, action_id: str) -> bool:
        """Whether it waits because it is not what it was; not if only the names of its secrets are
        to be checked.
        """
        return action_id in self and action_id not in self._names

    def add(self, action_ids: Iterable[str]) -> None:
        """They are new, or not what they were."""
        for action_id in action_ids:
            self._waiting.add(action_id)
            self._names.pop(action_id, None)

    def add_for_names(self, action_id: str, names: frozenset[str]) -> None:
        """One that names a secret which is not among those of the vault."""
        self._waiting.add(action_id)
        self._names[action_id] = names

    def drop(self, action_id: str) -> None:
        """Its file is not open any more."""
        self._waiting.discard(action_id)
        self._names.pop(action_id, None)
        self._gone.add(action_id)

    def begin(
        self,
        open_files: Mapping[str, ActionFile],
        *,
        intake: Intake,
        formulas: Formulas,
        order: Callable[[str], int],
        resting: Container[str],
    ) -> Vetting | None:
        """What waits; None if there is nothing, or if some is in hand already.

        Args:
            order: position in commit order of an id.
            resting: ids to leave for now.
        """
        if self._in_hand:
            return None
        files = {i: open_files[i] for i in self._waiting if i not in resting}
        if not files:
            return None
        self._in_hand = frozenset(files)
        self._waiting -= self._in_hand
        gone, self._gone = self._gone, set()
        return Vetting(
            intake=intake,
            files=files,
            formulas=formulas,
            secrets={i: self._names[i] for i in files if i in self._names},
            order={i: order(i) for i in files},
            gone=gone - files.keys(),
        )

    def done(self, action_ids: Iterable[str] = ()) -> None:
        """Nothing is in hand any more; these are vetted."""
        self._in_hand = frozenset()
        for action_id in action_ids:
            self._names.pop(action_id, None)

    def put_back(self, open_ids: Container[str]) -> None:
        """A vetting came to nothing: what was in hand waits again, if it is still open."""
        self._waiting.update(i for i in self._in_hand if i in open_ids)
        self._in_hand = frozenset()
