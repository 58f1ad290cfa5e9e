"""The machine as an installation changes it: accounts, directories, files of root, units. Needs root.

The deploy user writes in the directories that are given to it. So no path is followed through a link
here, and an owner is changed only by an open descriptor.
"""

from __future__ import annotations

import grp
import os
import pwd
import stat
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from dispatcher.errors import PermanentError, reason_of
from dispatcher.release.captured import captured, ended_wrongly
from dispatcher.release.installation import Account, Directory
from dispatcher.release.units import SYSTEMCTL

_TIMEOUT_S = 120.0
_SHELL = "/bin/sh"


class SystemFailed(PermanentError):
    """The machine could not be changed or queried."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Owned:
    """Who owns a file or directory, and its permission bits."""

    uid: int
    gid: int
    mode: int

    def __str__(self) -> str:
        return f"{_user(self.uid)}:{_group(self.gid)} {self.mode:04o}"


class System:
    """This system.

    Args:
        root: where its file system begins; tests have another.
    """

    def __init__(self, root: Path = Path("/")) -> None:
        self._root = root

    def at(self, path: Path) -> Path:
        """Where a path of the machine is."""
        return self._root / path.relative_to("/")

    # Accounts

    def ids(self, name: str) -> tuple[int, int] | None:
        """The uid and gid of a user, or None if there is none of this name."""
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            return None
        return entry.pw_uid, entry.pw_gid

    def home(self, name: str) -> Path | None:
        """The home of a user, or None if there is none of this name."""
        try:
            return Path(pwd.getpwnam(name).pw_dir)
        except KeyError:
            return None

    def create_user(self, account: Account) -> None:
        """Create a system user without a password, and its group. Its home is not created."""
        options = ["--system", "--user-group", "--no-create-home", "--shell", _SHELL]
        self._run(["useradd", *options, "--home-dir", str(account.home), account.name])

    def remove_user(self, name: str) -> None:
        """Remove a user and its group, but not its files."""
        self._run(["userdel", name])

    # Files

    def owned(self, path: Path) -> Owned | None:
        """Owner and mode; None if there is nothing.

        Raises:
            SystemFailed: it is a link, or cannot be examined.
        """
        try:
            about = self.at(path).lstat()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise SystemFailed(f"{path}: {reason_of(error)}") from None
        if stat.S_ISLNK(about.st_mode):
            raise SystemFailed(
                f"{path} is a symbolic link", remedy="Remove it, and run this again."
            )
        return Owned(uid=about.st_uid, gid=about.st_gid, mode=stat.S_IMODE(about.st_mode))

    def make_directory(self, directory: Directory, ids: tuple[int, int]) -> None:
        """Create a directory if it is missing, and set its owner and mode."""
        path = self.at(directory.path)
        with self._failing(directory.path):
            with suppress(FileExistsError):
                path.mkdir(mode=0o700)
            descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                os.fchown(descriptor, *ids)
                os.fchmod(descriptor, directory.mode)
            finally:
                os.close(descriptor)

    def give(self, path: Path, ids: tuple[int, int], mode: int) -> None:
        """Set owner and mode of a file that is there.

        Raises:
            SystemFailed: it is not a regular file, or has a second name: then another file of root
                could be meant.
        """
        with self._failing(path):
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            descriptor = os.open(self.at(path), flags)
            try:
                about = os.fstat(descriptor)
                if not stat.S_ISREG(about.st_mode) or about.st_nlink != 1:
                    raise SystemFailed(
                        f"{path} is not a regular file with one name",
                        remedy="Remove it, and write it again.",
                    )
                os.fchown(descriptor, *ids)
                os.fchmod(descriptor, mode)
            finally:
                os.close(descriptor)

    def read(self, path: Path) -> str | None:
        """The text of a file of root, or None if it is missing."""
        try:
            return self.at(path).read_text("utf-8", errors="replace")
        except FileNotFoundError:
            return None
        except OSError as error:
            raise SystemFailed(f"{path}: {reason_of(error)}") from None

    def write(self, path: Path, text: str, mode: int) -> None:
        """Write a file of root, as a whole or not at all."""
        place = self.at(path)
        with self._failing(path):
            # The dot keeps sudo and systemd from reading it before it has its name.
            descriptor, name = tempfile.mkstemp(dir=place.parent, prefix=".disinto.")
            try:
                with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                    file.write(text)
                    os.fchmod(file.fileno(), mode)
                    file.flush()
                    os.fsync(file.fileno())
                Path(name).replace(place)
            except BaseException:
                with suppress(OSError):
                    Path(name).unlink()
                raise

    def remove(self, path: Path) -> None:
        """Remove a file, if it is there."""
        with self._failing(path):
            self.at(path).unlink(missing_ok=True)

    def is_empty(self, path: Path) -> bool:
        """Whether a directory has no entries."""
        with self._failing(path):
            return not any(self.at(path).iterdir())

    def remove_directory(self, path: Path) -> None:
        """Remove an empty directory."""
        with self._failing(path):
            self.at(path).rmdir()

    # Programs

    def sudoers_problem(self, text: str) -> str | None:
        """What visudo finds wrong with the text of a sudoers file; None if nothing."""
        with tempfile.TemporaryDirectory() as directory:
            file = Path(directory) / "sudoers"
            file.write_text(text, "utf-8")
            file.chmod(0o440)
            command = ["visudo", "--check", "--file", str(file)]
            done = captured(command, timeout_s=_TIMEOUT_S, failure=SystemFailed)
        output = (done.stdout + done.stderr).replace(str(file), "line").strip()
        return None if done.returncode == 0 else output or f"visudo exits with {done.returncode}"

    def may(self, user: str, command: Sequence[str]) -> bool:
        """Whether sudo lets a user run a command as root without a password."""
        listed = ["sudo", "-n", "-l", "-l", "-U", user, *command]
        return captured(listed, timeout_s=_TIMEOUT_S, failure=SystemFailed).returncode == 0

    def systemctl(self, *words: str) -> None:
        """Run systemctl."""
        self._run([SYSTEMCTL, "--no-ask-password", *words])

    def property(self, unit: str, name: str) -> str:
        """A property of a unit, "" if systemd has none."""
        shown = self._run([SYSTEMCTL, "show", f"--property={name}", "--value", unit])
        return shown.strip()

    def started(self, unit: str) -> bool:
        """Whether a unit is enabled and runs."""
        enabled = self.property(unit, "UnitFileState") == "enabled"
        return enabled and self.property(unit, "ActiveState") == "active"

    def _run(self, command: Sequence[str]) -> str:
        done = captured(command, timeout_s=_TIMEOUT_S, failure=SystemFailed)
        if done.returncode:
            raise SystemFailed(ended_wrongly(done))
        return done.stdout

    @contextmanager
    def _failing(self, path: Path) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise SystemFailed(f"{path}: {reason_of(error)}") from None


def distrust(path: Path, *, trusted: frozenset[int] = frozenset({0})) -> str | None:
    """Why a path may be changed by others than the trusted users; None if it may not.

    Examines the file and every directory above it, after links.

    Args:
        path: of this system.
        trusted: their uids.
    """
    try:
        real = path.resolve(strict=True)
        for each in (real, *real.parents):
            about = each.stat()
            if about.st_uid not in trusted:
                return f"{each} belongs to {_user(about.st_uid)}"
            sticky = stat.S_ISDIR(about.st_mode) and about.st_mode & stat.S_ISVTX
            if about.st_mode & 0o022 and not sticky:
                return f"{each} can be written by others (mode {stat.S_IMODE(about.st_mode):04o})"
    except OSError as error:
        return f"{path}: {reason_of(error)}"
    return None


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"


def _group(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return f"gid {gid}"
