"""Empty repositories beside the clone, each for one push or one fetch of the output of runs, and removed
afterwards: nothing of it is written into the clone.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from shutil import rmtree

from dispatcher.host.private import make_private
from dispatcher.ops_repo import loose_objects
from dispatcher.ops_repo.clone import Clone

LEFTOVER_S = 86_400.0
"""Age in seconds at which such a repository counts as left by a killed process. Each of them lives for less
than git's time limits; another process may be using it."""

_PREFIX = "output-"


class ScratchRepositories:
    """Makes them, and removes what killed processes left of them.

    Args:
        clone: beside which they are made.
    """

    def __init__(self, clone: Clone) -> None:
        self._clone = clone
        self._tidied = False

    @contextmanager
    def empty(self) -> Iterator[Clone]:
        """A repository without objects, for as long as the context lasts.

        Raises:
            OSError: it cannot be made.
        """
        parent = self._clone.path.parent
        make_private(parent)
        self.tidy()
        with tempfile.TemporaryDirectory(
            dir=parent, prefix=_PREFIX, ignore_cleanup_errors=True
        ) as directory:
            path = Path(directory) / "push.git"
            loose_objects.make_repository(path)
            scratch = Clone(path, self._clone.git)
            try:
                yield scratch
            finally:
                scratch.close()

    def share(self, scratch: Clone, *, boundary: Iterable[bytes]) -> None:
        """Let a repository have the objects of the clone, and some commits without what is behind them.

        Args:
            boundary: texts of those commits.

        Raises:
            OSError, GitFailed: it cannot be written.
        """
        commits = [
            loose_objects.write(scratch.path, "commit", text, like=loose_objects.NULL)
            for text in boundary
        ]
        (scratch.path / "shallow").write_text("".join(f"{commit}\n" for commit in commits))
        info = scratch.path / "objects" / "info"
        info.mkdir(exist_ok=True)
        (info / "alternates").write_text(f"{self._clone.path / 'objects'}\n")

    def tidy(self) -> None:
        """Remove what killed processes left behind; done once."""
        if self._tidied:
            return
        self._tidied = True
        for directory in self._clone.path.parent.glob(f"{_PREFIX}*"):
            with suppress(OSError):
                if time.time() - directory.lstat().st_mtime > LEFTOVER_S:
                    rmtree(directory)
