"""The environments of the services: one per commit and service, kept for a return to it."""

from __future__ import annotations

import os
import pwd
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from dispatcher.errors import Exit, PermanentError
from dispatcher.host.durable import sync_directory
from dispatcher.host.removal import remove_tree
from dispatcher.release.commands import CommandFailed, Commands, base_environment
from dispatcher.release.layout import Layout
from dispatcher.release.settings import ReleaseSettings

_COMPLETE = ".complete"
_DISCARDED = ".discarded-"


class WrongOwner(PermanentError):
    """A file or directory belongs to another user, so a deploy cannot change it."""

    exit_code = Exit.CONFIG


class Venvs:
    """The environments of one application."""

    def __init__(self, settings: ReleaseSettings, layout: Layout, commands: Commands) -> None:
        self._settings = settings
        self._layout = layout
        self._commands = commands

    def path(self, commit: str, service: str) -> Path:
        """The environment of a service at a commit."""
        return self._layout.built_venvs / commit / service

    def check_owner(self) -> None:
        """Check that we can change everything.

        Raises:
            WrongOwner: names what belongs to somebody else.
        """
        for path in self._owned():
            try:
                owner = path.lstat().st_uid
            except FileNotFoundError:
                continue
            if owner != os.geteuid():
                raise WrongOwner(
                    f"{path} belongs to {_user(owner)}, not to {_user(os.geteuid())}",
                    remedy=f"'chown -R {_user(os.geteuid())}: {self._layout.venvs}' repairs it.",
                )

    def _owned(self) -> Iterator[Path]:
        layout = self._layout
        yield from (layout.run, layout.source, layout.venvs, layout.built_venvs)
        if layout.built_venvs.is_dir():
            yield from layout.built_venvs.iterdir()
        for service in self._settings.services:
            yield layout.venvs / service
            yield layout.venvs / service / "pyvenv.cfg"

    def missing(self, commit: str) -> list[str]:
        """Services whose environment has to be built."""
        return [name for name in self._settings.services if not self._complete(commit, name)]

    def build(self, commit: str) -> None:
        """Build what is missing, by the install commands, from the checkout.

        Raises:
            CommandFailed: an install failed; what it left is removed.
            OSError: a directory cannot be written.
        """
        for service in self.missing(commit):
            path = self.path(commit, service)
            keys = self._settings.services[service]
            _remove(path)
            path.parent.mkdir(parents=True, exist_ok=True)
            self._commands.log.line(f"{service}: {keys.install}")
            try:
                self._commands.shell(
                    keys.install,
                    cwd=self._layout.source / keys.directory,
                    environ=base_environment()
                    | {"UV_PROJECT_ENVIRONMENT": str(path), "VIRTUAL_ENV": str(path)},
                    timeout_s=self._settings.install_timeout,
                )
                path.mkdir(exist_ok=True)  # the command of a service may need no environment
                os.sync()
                (path.parent / f"{service}{_COMPLETE}").touch()
                sync_directory(path.parent)
            except BaseException:
                with suppress(OSError, CommandFailed):
                    _remove(path)
                raise

    def activate(self, commit: str, safe: str) -> None:
        """Point ``venv/<service>`` to the environments of a commit.

        Args:
            safe: the safe commit, whose environment is adopted if ``venv/<service>`` is a directory, as
                a script made it; "" if there is none.
        """
        for service in self._settings.services:
            link = self._layout.venvs / service
            target = Path(self._layout.built_venvs.name) / commit / service
            self._adopt(link, safe, service)
            if link.is_symlink() and link.readlink() == target:
                continue
            new = link.with_name(f".{service}.new")
            new.unlink(missing_ok=True)
            new.symlink_to(target)
            new.replace(link)
        sync_directory(self._layout.venvs)

    def adopt(self, safe: str) -> None:
        """Take over environments that a script built in place, as those of the safe commit."""
        for service in self._settings.services:
            link = self._layout.venvs / service
            if safe and link.is_dir() and not link.is_symlink():
                self._adopt(link, safe, service)
                link.symlink_to(Path(self._layout.built_venvs.name) / safe / service)

    def prune(self, keep: Iterable[str]) -> None:
        """Remove the environments of all other commits. One that is removed only in part is never used."""
        wanted = set(keep)
        with suppress(OSError):
            for path in list(self._layout.built_venvs.iterdir()):
                if path.name in wanted:
                    continue
                discarded = path.with_name(_DISCARDED + path.name.removeprefix(_DISCARDED))
                if path != discarded:
                    remove_tree(discarded)
                    path.rename(discarded)
                remove_tree(discarded)

    def _complete(self, commit: str, service: str) -> bool:
        path = self.path(commit, service)
        return path.is_dir() and (path.parent / f"{service}{_COMPLETE}").exists()

    def _adopt(self, link: Path, safe: str, service: str) -> None:
        if link.is_symlink() or not link.is_dir():
            return
        former = safe or f"former-{int(time.time())}"
        place = self.path(former, service)
        if place.exists():
            place = self.path(f"former-{int(time.time())}", service)
        place.parent.mkdir(parents=True, exist_ok=True)
        link.rename(place)
        (place.parent / f"{service}{_COMPLETE}").touch()


def _remove(path: Path) -> None:
    marker = path.parent / f"{path.name}{_COMPLETE}"
    marker.unlink(missing_ok=True)
    if reason := remove_tree(path):
        raise CommandFailed(f"{path}: cannot be removed: {reason}")


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"
