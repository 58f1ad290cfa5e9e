"""Paths that a formula must not see, determined again for every run.

A mount over a file hides that file and not its name: once the file is replaced by ``rename(2)``, as
agents and certificate tools do, or a link is switched, or a missing file is created, the new file
is visible. So it is the *directory* of a credential that gets a mount: inside, it holds its entries
from when the run started, without the credential and without anything added later.
"""

from __future__ import annotations

import errno
import os
import pwd
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from dispatcher.engines.local.settings import LocalSettings
from dispatcher.errors import Misconfigured

if TYPE_CHECKING:
    from dispatcher.settings import Settings

ROOT = Path("/")
_MAX_LINKS = 40  # as the kernel; path_resolution(7)
_MAX_ENTRIES = 1000
"""Limit for a directory shown without its credential: each entry is a mount of its own, and
bubblewrap accepts 9000 arguments."""

_COMPATIBLE = (ROOT, Path("/usr"), Path("/var"))
"""Directories whose links to other directories belong to the system, such as /var/run."""


@dataclass(frozen=True, kw_only=True)
class Hidden:
    """Hidden paths, all resolved.

    Attributes:
        directories: shown empty.
        withheld: missing names by directory. Such a directory shows its entries from when the run
            started, and nothing added later.
    """

    directories: set[Path] = field(default_factory=set)
    withheld: dict[Path, set[str]] = field(default_factory=dict)

    def add(self, path: Path) -> None:
        """Hide a path: the links along it and their targets, now or later."""
        for place, name in _hops(path):
            self.withheld.setdefault(place, set()).update([name] if name else [])
        target = _target(path)
        if target is not None and target.is_dir():
            self.directories.add(target)
        elif target is not None:
            self.withheld.setdefault(target.parent, set()).add(target.name)

    def holds(self, path: Path) -> bool:
        """Whether a resolved path is hidden or lies below a hidden one."""
        if any(path.is_relative_to(directory) for directory in self.directories):
            return True
        return any(
            part.name in self.withheld.get(part.parent, ()) for part in (path, *path.parents)
        )

    def mounts(
        self, source: Path, target: Path, *, covered: Collection[Path] = (), bind: str
    ) -> tuple[list[str], list[str]]:
        """Arguments for bubblewrap that hide paths within a directory.

        Args:
            source: the directory, as it is outside.
            target: where it appears inside.
            covered: directories whose contents do not appear inside anyway.
            bind: the option that shows an entry, such as ``--ro-bind-try``.

        Returns:
            Those to pass right after the directory itself, and those to pass at the very end.

        Raises:
            Misconfigured: a credential is in a directory with too many other entries.
        """
        begin: list[str] = []
        end: list[str] = []
        emptied = [*covered]
        for path in sorted({*self.directories, *self.withheld}, key=lambda p: len(p.parts)):
            inside = path.is_relative_to(source) and path != ROOT
            if not inside or any(path.is_relative_to(e) for e in emptied):
                continue
            place = target / path.relative_to(source)
            begin += ("--tmpfs", str(place))
            if path in self.directories:
                emptied.append(path)
            else:
                begin += self.entries(path, place, bind)
                end += ("--remount-ro", str(place))
        return begin, end

    def entries(self, path: Path, place: Path, bind: str) -> Iterator[str]:
        """Arguments that show the current entries of a directory, except withheld ones.

        Raises:
            Misconfigured: see ``mounts``.
        """
        withheld = self.withheld.get(path, set())
        try:
            names = sorted(os.listdir(path))  # noqa: PTH208 - names, not paths
        except OSError:
            return  # a formula cannot list it either; what it could open by name is hidden
        if len(names) > _MAX_ENTRIES:
            raise Misconfigured(
                f"{path} holds a credential or a link of the dispatcher "
                f"({', '.join(sorted(withheld))}) and has {len(names)} entries, too many to expose "
                "the others to a formula",
                remedy="Keep credentials in a directory of their own.",
            )
        for name in names:
            if name in withheld:
                continue
            try:
                link = os.readlink(path / name)  # noqa: PTH115 - the text as it is
            except OSError:
                yield from (bind, str(path / name), str(place / name))
            else:
                yield from ("--symlink", link, str(place / name))


def own(settings: Settings) -> Hidden:
    """The dispatcher's state and its credentials, which no mount may show."""
    from dispatcher.settings import credential_files  # reading logs needs no settings

    result = Hidden()
    result.add(settings.state_dir)
    for path in (*credential_files(settings), *(home / ".vault-token" for home in homes())):
        result.add(path)
    return result


def hidden(settings: Settings, requested: Collection[Path]) -> Hidden:
    """Everything that a run must not see.

    Args:
        requested: resolved directories of the mounts it requested.
    """
    result = own(settings)
    for directory in settings.section(LocalSettings).mounts.values():
        # A directory may be offered under two names; one of them is enough to see it.
        if _target(directory) not in requested:
            result.add(directory)
    if settings.section(LocalSettings).hide_home:
        for home in homes():
            result.add(home)
    return result


def homes() -> Iterator[Path]:
    """Accessible home directories of the dispatcher's user: from ``$HOME`` and from passwd."""
    named = [os.environ.get("HOME", "")]
    with suppress(KeyError):  # a user without an entry, as in many containers
        named.append(pwd.getpwuid(os.geteuid()).pw_dir)
    for home in dict.fromkeys(named):
        # What we cannot access (``ProtectHome=`` of systemd), a formula cannot either.
        if home != "/" and os.path.isabs(home) and os.path.isdir(home):  # noqa: PTH112, PTH117
            yield Path(home)


def _hops(path: Path) -> Iterator[tuple[Path, str]]:
    """Resolved directories that determine where a path leads; with the name in them if it is
    missing or is the final link. Links along the path that are in ``_COMPATIBLE`` are omitted.
    """
    place, rest, links = ROOT, list(path.absolute().parts[1:]), 0
    while rest:
        name = rest.pop(0)
        if name == "..":
            place = place.parent
            continue
        try:
            target = (place / name).readlink()
        except OSError as error:
            if error.errno == errno.EINVAL:  # not a link
                place /= name
                continue
            if error.errno == errno.ENOENT:
                yield place, name
            return  # not accessible to us, nor to a formula
        if not rest:
            yield place, name
        elif place not in _COMPATIBLE:
            yield place, ""
        links += 1
        if links > _MAX_LINKS:
            return
        if target.is_absolute():
            place, target = ROOT, target.relative_to(ROOT)
        rest = [*target.parts, *rest]


def _target(path: Path) -> Path | None:
    """The resolved path; None if nothing is there or it is not accessible."""
    try:
        return path.resolve(strict=True)
    except (OSError, RuntimeError):  # RuntimeError: a loop of links
        return None
