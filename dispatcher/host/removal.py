"""Removes a directory tree that a formula may have created: of any depth, with any modes in it.

``shutil.rmtree`` recurses before Python 3.13, and a path longer than PATH_MAX (4096 bytes) cannot be
named. So the tree is walked through directory descriptors, one open at a time, down by name and up
by "..". Links are not followed, and mounts in the tree are left alone.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from dataclasses import dataclass

_SEARCH = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


def remove_tree(path: str | os.PathLike[str]) -> str:
    """Remove a directory and what is in it, as far as possible.

    Returns:
        Why something is left, or "" (also if there was no such directory). Without file names,
        which a formula chose and which may contain anything.
    """
    parent, name = os.path.split(os.path.abspath(path))  # noqa: PTH100 - pathlib is slow to load
    try:
        fd = os.open(parent, _READ)
    except FileNotFoundError:
        return ""
    except OSError as error:
        return _why(error)
    walk = _Walk(fd)
    try:
        return walk.remove(name)
    finally:
        os.close(walk.fd)


@dataclass(slots=True)
class _Directory:
    """A directory on the way down.

    Attributes:
        name: in the directory above.
        above: device and inode of the directory above.
        below: names of its directories that are still there.
    """

    name: str
    above: tuple[int, int]
    below: list[str]


class _Walk:
    """Attributes:
    fd: the directory that the walk is in.
    """

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._device = os.fstat(fd).st_dev
        self._trouble = ""

    def remove(self, name: str) -> str:
        """Remove a directory of the one that the walk begins in; see ``remove_tree``."""
        down: list[_Directory] = []
        self._enter(name, down)
        while down:
            directory = down[-1]
            if directory.below:
                self._enter(directory.below.pop(), down)
                continue
            down.pop()
            try:
                self._leave(directory)
            except OSError as error:
                self._failed(error)
                break
        return self._trouble

    def _enter(self, name: str, down: list[_Directory]) -> None:
        """Go into a directory and remove its files."""
        try:
            fd = self._opened(name)
        except FileNotFoundError:
            return
        except OSError as error:
            self._failed(error)
            return
        above = _identity(self.fd)
        os.close(self.fd)
        self.fd = fd
        down.append(_Directory(name, above, self._emptied()))

    def _opened(self, name: str) -> int:
        """Open a directory, made accessible first: a formula may have taken its modes away."""
        place = os.open(name, _SEARCH, dir_fd=self.fd)
        try:
            state = os.fstat(place)
            if state.st_dev != self._device:
                raise OSError(None, "something is mounted in it")
            if stat.S_IMODE(state.st_mode) & 0o700 != 0o700:
                with suppress(OSError):
                    os.chmod(f"/proc/self/fd/{place}", 0o700)  # noqa: PTH101
            return os.open(".", _READ, dir_fd=place)
        finally:
            os.close(place)

    def _emptied(self) -> list[str]:
        """Remove the files of the directory; returns the names of its directories."""
        below: list[str] = []
        try:
            with os.scandir(self.fd) as entries:
                for entry in entries:
                    try:
                        if entry.is_dir(follow_symlinks=False):
                            below.append(entry.name)
                        else:
                            os.unlink(entry.name, dir_fd=self.fd)
                    except FileNotFoundError:
                        continue
                    except OSError as error:
                        self._failed(error)
        except OSError as error:
            self._failed(error)
        return below

    def _leave(self, directory: _Directory) -> None:
        """Go up again and remove the directory.

        Raises:
            OSError: the parent is another directory; a directory was moved meanwhile.
        """
        fd = os.open("..", _READ, dir_fd=self.fd)
        os.close(self.fd)
        self.fd = fd
        if _identity(fd) != directory.above:
            raise OSError(None, "a directory was moved meanwhile")
        try:
            os.rmdir(directory.name, dir_fd=fd)
        except FileNotFoundError:
            return
        except OSError as error:
            self._failed(error)

    def _failed(self, error: OSError) -> None:
        """The first failure is the cause; a directory that is not empty only follows from it."""
        self._trouble = self._trouble or _why(error)


def _identity(fd: int) -> tuple[int, int]:
    state = os.fstat(fd)
    return state.st_dev, state.st_ino


def _why(error: OSError) -> str:
    return error.strerror or type(error).__name__
