"""Untracked files in the checkout that a deploy leaves alone: those under ``keep``, and env files there."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path, PurePosixPath

from dispatcher.release.env_copies import REJECTED
from dispatcher.release.layout import Layout
from dispatcher.release.records import replace_file
from dispatcher.release.settings import ReleaseSettings

_SHOWN = 10


class KeptFiles:
    """The patterns of these files.

    A ``.gitignore`` of the repository may contradict .git/info/exclude, and not the command line. So
    commands that remove or compare get them there.
    """

    def __init__(self, settings: ReleaseSettings, layout: Layout) -> None:
        inside = [
            path.relative_to(layout.source)
            for path in layout.env_files.values()
            if path.is_relative_to(layout.source)
        ]
        files = [f"/{_literal(str(path))}" for path in inside]
        self._patterns = (*settings.keep, *files, *(f"{each}{REJECTED}" for each in files))

    def as_options(self) -> list[str]:
        """For ``git clean`` and ``git ls-files``."""
        return [f"--exclude={pattern}" for pattern in self._patterns]

    def write_exclude(self, directory: Path) -> None:
        """Have git ignore them in what people run, too.

        Args:
            directory: ``.git/info``.
        """
        directory.mkdir(exist_ok=True)
        file, text = directory / "exclude", "".join(f"{each}\n" for each in self._patterns)
        if not file.exists() or file.read_text("utf-8", "replace") != text:
            replace_file(file, text)


def occupied(top: Path, name: str) -> str:
    """What is in the place of a file that a commit adds, or of a directory above it; "" for nothing.

    Args:
        top: of the checkout; ``name`` is relative to it.
    """
    for above in reversed(PurePosixPath(name).parents[:-1]):
        place = top / above
        if place.is_symlink() or (place.exists() and not place.is_dir()):
            return str(above)
    return name if os.path.lexists(top / name) else ""


def few(files: Sequence[str]) -> str:
    """The first of them, for a message."""
    return ", ".join(files[:_SHOWN]) + (" and more" if len(files) > _SHOWN else "")


def make_writable(top: Path) -> None:
    """Let us write in our directories, whatever mode a command gave them. Links are not followed."""
    for path, below, _ in os.walk(top):
        for name in ("", *below):
            directory = Path(path, name)
            with suppress(OSError):
                mode = directory.lstat().st_mode
                if stat.S_ISDIR(mode) and mode & stat.S_IRWXU != stat.S_IRWXU:
                    directory.chmod(stat.S_IMODE(mode) | stat.S_IRWXU)


def _literal(path: str) -> str:
    """A pattern that matches exactly this path."""
    return re.sub(r"([\\*?\[ ])", r"\\\1", path)
