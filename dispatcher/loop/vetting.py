"""Vetting of open files: the queue, and the batches that are vetted on another thread."""

from __future__ import annotations

from collections.abc import Callable, Collection, Container, Iterable, Mapping
from dataclasses import dataclass

from dispatcher.decide.world import Candidate
from dispatcher.loop.intake import Intake
from dispatcher.ops_repo import ActionFile, Formulas


@dataclass(frozen=True, kw_only=True)
class Vetting:
    """A batch of files to be vetted.

    Attributes:
        files: by id.
        formulas: those of the files' head.
        secrets: the names of all secrets, for files that name an unknown one.
        order: position in commit order by id.
        withdrawn: ids whose files are no longer open.
    """

    intake: Intake
    files: Mapping[str, ActionFile]
    formulas: Formulas
    secrets: Mapping[str, frozenset[str]]
    order: Mapping[str, int]
    withdrawn: Collection[str]

    def read(self) -> dict[str, Candidate | Exception]:
        """Read and vet the files. Reads the clone and the operator's formulas.

        Raises:
            DirectoryGone: the operator's formulas directory cannot be read.
            Unavailable: the clone cannot be read.
        """
        self.intake.forget(self.withdrawn)
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
        self._running: frozenset[str] = frozenset()
        self._withdrawn: set[str] = set()
        self._names: dict[str, frozenset[str]] = {}

    def __contains__(self, action_id: object) -> bool:
        return action_id in self._waiting or action_id in self._running

    @property
    def ids(self) -> frozenset[str]:
        """Ids that wait or are being vetted."""
        return self._running.union(self._waiting)

    @property
    def running(self) -> frozenset[str]:
        """Ids that are being vetted."""
        return self._running

    def changed_meanwhile(self, action_id: str) -> bool:
        """Whether an id that was being vetted waits again."""
        return action_id in self._waiting

    def is_new(self, action_id: str) -> bool:
        """Whether an id waits because its file is new or changed; False if only the names of its
        secrets are to be checked.
        """
        return action_id in self and action_id not in self._names

    def add(self, action_ids: Iterable[str]) -> None:
        """Queue ids whose files are new or changed."""
        for action_id in action_ids:
            self._waiting.add(action_id)
            self._names.pop(action_id, None)

    def add_for_names(self, action_id: str, names: frozenset[str]) -> None:
        """Queue an id whose file names a secret that the vault does not have."""
        self._waiting.add(action_id)
        self._names[action_id] = names

    def drop(self, action_id: str) -> None:
        """Remove an id whose file is no longer open."""
        self._waiting.discard(action_id)
        self._names.pop(action_id, None)
        self._withdrawn.add(action_id)

    def begin(
        self,
        open_files: Mapping[str, ActionFile],
        *,
        intake: Intake,
        formulas: Formulas,
        order: Callable[[str], int],
        resting: Container[str],
    ) -> Vetting | None:
        """Begin a batch; None if nothing waits, or if a batch is being vetted already.

        Args:
            order: position in commit order of an id.
            resting: ids to skip for now.
        """
        if self._running:
            return None
        ids = sorted((i for i in self._waiting if i not in resting), key=order)
        files = {i: open_files[i] for i in ids}
        if not files:
            return None
        self._running = frozenset(files)
        self._waiting -= self._running
        withdrawn, self._withdrawn = self._withdrawn, set()
        return Vetting(
            intake=intake,
            files=files,
            formulas=formulas,
            secrets={i: self._names[i] for i in files if i in self._names},
            order={i: order(i) for i in files},
            withdrawn=withdrawn - files.keys(),
        )

    def done(self, action_ids: Iterable[str] = ()) -> None:
        """End the batch; these ids are vetted."""
        self._running = frozenset()
        for action_id in action_ids:
            self._names.pop(action_id, None)

    def put_back(self, open_ids: Container[str]) -> None:
        """End a failed batch: its ids wait again if they are still open."""
        self._waiting.update(i for i in self._running if i in open_ids)
        self._running = frozenset()
