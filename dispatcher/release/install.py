"""Installs an application on this system, and uninstalls it: first what would change, then the changes."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from dispatcher.errors import Conflict
from dispatcher.model.checks import Change, Step
from dispatcher.release import manifest
from dispatcher.release.installation import Directory, File, Installation
from dispatcher.release.manifest import Manifest, digest
from dispatcher.release.system import Owned, System, SystemFailed

ENV_MODE = 0o640
"""Of env files, which contain secrets."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Task:
    """A change, and what makes it."""

    change: Change
    carry_out: Callable[[], None]


class Installer:
    """Brings a machine to what an installation says. Doing it again changes nothing.

    Args:
        wanted: what belongs on the system.
        system: as root.
    """

    def __init__(self, wanted: Installation, system: System) -> None:
        self._wanted = wanted
        self._system = system
        self._manifest = manifest.read(system, wanted.app) or Manifest(
            app=wanted.app, account=wanted.account.name
        )

    def tasks(self) -> list[Task]:
        """What differs, in the order in which it has to be changed.

        Raises:
            Conflict: a file is there that no installation made.
            SystemFailed: the machine cannot be examined, or the rights are not valid.
        """
        return [
            *self._account(),
            *self._directories(),
            *self._env_files(),
            *self._files(),
            *self._units(),
        ]

    def apply(self, tasks: list[Task]) -> None:
        """Carry out the changes; what was made until an error stays recorded.

        Raises:
            SystemFailed: a change failed.
        """
        self._record()
        for task in tasks:
            task.carry_out()
        manifest.write(self._system, self._manifest_after())

    def _account(self) -> Iterator[Task]:
        account = self._wanted.account
        if self._system.ids(account.name) is None:
            lines = (f"+ system user without a password, home {account.home}",)
            change = Change(kind="user", name=account.name, step=Step.CREATE, difference=lines)
            yield Task(change=change, carry_out=partial(self._system.create_user, account))

    def _directories(self) -> Iterator[Task]:
        for each in self._wanted.directories:
            now = self._system.owned(each.path)
            change = self._owner_change("directory", each.path, now, each.mode)
            if change is not None:
                yield Task(change=change, carry_out=partial(self._make, each))

    def _env_files(self) -> Iterator[Task]:
        for path in self._wanted.env_files:
            now = self._system.owned(path)
            change = self._owner_change("env file", path, now, ENV_MODE)
            if now is not None and change is not None:
                yield Task(change=change, carry_out=partial(self._give, path))

    def _owner_change(self, kind: str, path: Path, now: Owned | None, mode: int) -> Change | None:
        """What has to change for the deploy user to own it, with this mode."""
        account = self._wanted.account.name
        if now is not None and (now.uid, now.gid, now.mode) == (
            *(self._system.ids(account) or ()),
            mode,
        ):
            return None
        before = () if now is None else (f"- {now}",)
        return Change(
            kind=kind,
            name=str(path),
            step=Step.CREATE if now is None else Step.UPDATE,
            difference=(*before, f"+ {account}:{account} {mode:04o}"),
        )

    def _make(self, directory: Directory) -> None:
        self._system.make_directory(directory, self._ids())

    def _give(self, path: Path) -> None:
        self._system.give(path, self._ids(), ENV_MODE)

    def _ids(self) -> tuple[int, int]:
        ids = self._system.ids(self._wanted.account.name)
        if ids is None:
            raise SystemFailed(f"there is no user {self._wanted.account.name}")
        return ids

    def _files(self) -> Iterator[Task]:
        for file in self._wanted.files:
            if file.kind == "sudoers file" and (problem := self._system.sudoers_problem(file.text)):
                raise SystemFailed(f"{file.path} would not be valid: {problem}")
            now = self._system.read(file.path)
            mode = self._system.owned(file.path)
            if now is not None and str(file.path) not in self._manifest.files and now != file.text:
                raise Conflict(
                    f"{file.path} exists, and 'disinto release install' did not write it",
                    remedy="Move it away, or choose another name for the application.",
                )
            if now == file.text and mode is not None and mode.mode == file.mode and mode.uid == 0:
                continue
            yield Task(
                change=_file_change(file, now),
                carry_out=partial(self._system.write, file.path, file.text, file.mode),
            )
        wanted = {str(file.path) for file in self._wanted.files}
        for stale in sorted(set(self._manifest.files) - wanted):
            yield from _removal(self._system, Path(stale))

    def _units(self) -> Iterator[Task]:
        """Start what does not run; start again a service whose file changes."""
        texts = {file.path.name: file for file in self._wanted.files}
        changed = [
            name for name, file in texts.items() if self._system.read(file.path) != file.text
        ]
        stale = set(self._manifest.files) - {str(file.path) for file in self._wanted.files}
        if changed or stale:
            yield _quiet(partial(self._system.systemctl, "daemon-reload"))
        for unit in self._wanted.started:
            if unit not in changed and self._system.started(unit):
                continue
            change = Change(
                kind="unit state", name=unit, step=Step.UPDATE, difference=("+ enabled, active",)
            )
            yield Task(change=change, carry_out=partial(self._start, unit))

    def _start(self, unit: str) -> None:
        self._system.systemctl("enable", "--quiet", unit)
        self._system.systemctl("restart", unit)

    def _record(self) -> None:
        """Record what is about to be made."""
        system, before = self._system, self._manifest
        files = {
            str(file.path): (*before.files.get(str(file.path), ()), digest(file.text))
            for file in self._wanted.files
        }
        created = [
            str(each.path) for each in self._wanted.directories if system.owned(each.path) is None
        ]
        self._manifest = before.model_copy(
            update={
                "account": self._wanted.account.name,
                "created_account": before.created_account
                or system.ids(self._wanted.account.name) is None,
                "files": {**before.files, **files},
                "directories": tuple(dict.fromkeys((*before.directories, *created))),
            }
        )
        manifest.write(system, self._manifest)

    def _manifest_after(self) -> Manifest:
        files = {str(file.path): (digest(file.text),) for file in self._wanted.files}
        self._manifest = self._manifest.model_copy(update={"files": files})
        return self._manifest


class Uninstaller:
    """Removes what an installation made, and nothing else.

    Args:
        made: the record of it.
        system: as root.
    """

    def __init__(self, made: Manifest, system: System) -> None:
        self._made = made
        self._system = system
        self.kept: list[str] = []
        """What is not removed, with the reason."""

    def tasks(self) -> list[Task]:
        """What would be removed.

        Raises:
            SystemFailed: the machine cannot be examined.
        """
        self.kept = []
        return [
            *self._files(),
            *self._directories(),
            *self._account(),
            _quiet(partial(manifest.forget, self._system, self._made.app)),
        ]

    def apply(self, tasks: list[Task]) -> None:
        """Carry out the removals.

        Raises:
            Conflict: a deploy runs.
            SystemFailed: a removal failed; run it again.
        """
        for task in tasks:
            task.carry_out()

    def _files(self) -> Iterator[Task]:
        # What starts a deploy goes first, and what deploys goes last.
        ordered = sorted(self._made.files, key=lambda name: name.endswith("-deploy.service"))
        for name in ordered:
            text = self._system.read(Path(name))
            if text is not None and digest(text) not in self._made.files[name]:
                self.kept.append(f"{name}: it was changed by hand")
                continue
            yield from _removal(self._system, Path(name))
        yield _quiet(partial(self._system.systemctl, "daemon-reload"))

    def _directories(self) -> Iterator[Task]:
        for name in reversed(self._made.directories):
            path = Path(name)
            if self._system.owned(path) is None:
                continue
            if not self._system.is_empty(path):
                self.kept.append(f"{name}: it is not empty")
                continue
            change = Change(kind="directory", name=name, step=Step.DELETE)
            yield Task(change=change, carry_out=partial(self._system.remove_directory, path))

    def _account(self) -> Iterator[Task]:
        name = self._made.account
        if not self._made.created_account or self._system.ids(name) is None:
            return
        heirs = [m for m in manifest.others(self._system, self._made.app) if m.account == name]
        if heirs:
            self.kept.append(f"user {name}: still used by {heirs[0].app}")
            heir = heirs[0].model_copy(update={"created_account": True})
            yield _quiet(partial(manifest.write, self._system, heir))
            return
        change = Change(kind="user", name=name, step=Step.DELETE)
        yield Task(change=change, carry_out=partial(self._system.remove_user, name))


def _removal(system: System, path: Path) -> Iterator[Task]:
    """Stop a unit, and remove its file; or remove the sudoers file."""
    text = system.read(path)
    if text is None:
        return
    kind = "unit" if path.suffix else "sudoers file"
    change = Change(kind=kind, name=str(path), step=Step.DELETE)
    yield Task(change=change, carry_out=partial(_remove, system, path))


def _remove(system: System, path: Path) -> None:
    if path.name.endswith("-deploy.service"):
        state = system.property(path.name, "ActiveState")
        if state in ("activating", "deactivating"):
            raise Conflict(
                "a deploy runs", remedy="Run this again when it has ended: nothing starts another."
            )
        if state == "failed":  # such a unit cannot be cleaned
            system.systemctl("reset-failed", path.name)
        system.systemctl("clean", "--what=cache", path.name)
    elif path.suffix:
        system.systemctl("disable", "--quiet", "--now", path.name)
    system.remove(path)


def _file_change(file: File, now: str | None) -> Change:
    lines = difflib.unified_diff(
        (now or "").splitlines(), file.text.splitlines(), "", "", lineterm="", n=2
    )
    shown = tuple(line for line in lines if not line.startswith(("--- ", "+++ ")))
    step = Step.CREATE if now is None else Step.UPDATE
    if not shown:
        shown = (f"+ root, mode {file.mode:04o}",)
    return Change(kind=file.kind, name=str(file.path), step=step, difference=shown)


def _quiet(carry_out: Callable[[], None]) -> Task:
    """A task that people need not be shown."""
    return Task(
        change=Change(kind="", name="", step=Step.NOTHING),
        carry_out=carry_out,
    )
