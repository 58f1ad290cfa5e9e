"""Copies of the env files as they were when a commit became safe, so that a return to it finds them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from dispatcher.release.layout import Layout
from dispatcher.release.records import replace_file
from dispatcher.release.settings import ReleaseSettings
from dispatcher.release.units import Units

REJECTED = ".rejected"
"""Suffix of the file that was replaced by a copy; nothing is lost."""


class EnvCopies:
    """The copies of one application, readable only by the deploy user."""

    def __init__(self, settings: ReleaseSettings, layout: Layout) -> None:
        self._settings = settings
        self._layout = layout
        self._directory = layout.run / "env"

    def files(self, commit: str) -> list[Path]:
        """The env files and the copies of a commit: whatever may appear in an output."""
        copies = [self._copy(commit, name) for name in self._settings.services] if commit else []
        return [*self._layout.env_files.values(), *copies]

    def save(self, commit: str, services: Iterable[str] | None = None) -> None:
        """Copy the env files as those of a commit.

        Raises:
            OSError: a copy could not be written.
        """
        self._directory.mkdir(mode=0o700, exist_ok=True)
        for name in self._settings.services if services is None else services:
            copy = self._copy(commit, name)
            copy.parent.mkdir(mode=0o700, exist_ok=True)
            try:
                text = self._layout.env_files[name].read_text("utf-8", "surrogateescape")
            except FileNotFoundError:
                copy.unlink(missing_ok=True)
            else:
                replace_file(copy, text, mode=0o600)

    def refresh(self, commit: str, units: Units) -> None:
        """Copy what a service already runs with: the file is older than the service's start, so a person
        has changed it and restarted the service since the commit became safe. Called only if all
        services are healthy.
        """
        for name, unit in self._settings.units.items():
            with suppress(OSError):
                changed = self._layout.env_files[name].stat().st_mtime
                if changed < units.state(unit).since:
                    self.save(commit, [name])

    def restore(self, commit: str) -> list[str]:
        """Put the copies of a commit back; returns what was done, for the log."""
        done = []
        for name in self._settings.services:
            copy, file = self._copy(commit, name), self._layout.env_files[name]
            try:
                text = copy.read_text("utf-8", "surrogateescape")
                now = file.read_text("utf-8", "surrogateescape") if file.exists() else None
                if now == text:
                    continue
                if now is not None:
                    replace_file(file.with_name(file.name + REJECTED), now, mode=0o600)
                mode = file.stat().st_mode & 0o777 if now is not None else 0o600
                replace_file(file, text, mode=mode)
                done.append(f"{file}: restored; the former file is {file.name}{REJECTED}")
            except FileNotFoundError:
                continue
            except OSError as error:
                done.append(f"{file}: differs from that of the safe commit, and cannot be restored: {os.strerror(error.errno or 0)}")  # fmt: skip
        return done

    def prune(self, keep: Iterable[str]) -> None:
        """Remove the copies of all other commits."""
        wanted = set(keep)
        with suppress(FileNotFoundError):
            for path in self._directory.iterdir():
                if path.name not in wanted:
                    shutil.rmtree(path, ignore_errors=True)

    def _copy(self, commit: str, service: str) -> Path:
        return self._directory / commit / f"{service}.env"
