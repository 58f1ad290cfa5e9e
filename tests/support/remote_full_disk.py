"""Pushes to a disk that is full: ``unshare -rm python -m tests.support.remote_full_disk DIR``.

It needs small file systems, which it mounts in namespaces of its own; so it is a program.
"""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from dispatcher.attestation import git_blob
from dispatcher.errors import Unavailable
from dispatcher.ops_repo import NewFile, OpsRepo, OutputFile
from dispatcher.settings import OpsRepoSettings
from tests.servers.git_remote import GitRemote
from tests.support.small_disks import mount, mount_small

DICE = random.Random(1)
OUTPUT = 100_000
"""Bytes of an output."""


class Site:
    """A remote and a clone, each on a small file system of its own."""

    def __init__(self, directory: Path) -> None:
        self.theirs, self.ours = directory / "theirs", directory / "ours"
        for disk in (self.theirs, self.ours):
            disk.mkdir()
            mount_small(disk, "size=4m,nr_inodes=500")
        self.remote = GitRemote(self.theirs / "remote.git")
        self.remote.commit({"README": b"x"})
        settings = OpsRepoSettings(remote=str(self.remote.path), timeout_s=60)
        self.repo = OpsRepo(git_dir=self.ours / "ops.git", settings=settings)
        self.repo.mark_seen(self.repo.fetch().commit)
        self.directory, self.count = directory, 0

    def publish(self, *, output: bool) -> None:
        """Publish the next result; what failed is retried by the next call."""
        file = self.directory / f"{self.count}.output"
        data = random.Random(self.count).randbytes(OUTPUT)
        file.write_bytes(data)
        outputs = [OutputFile(month="2026-11", name=f"r{self.count}.stdout.gz", path=file)]
        path = f"vault/actions/r{self.count}.result.json"
        published = self.repo.publish(
            [NewFile(path=path, data=DICE.randbytes(3_000))],
            message="Result",
            outputs=outputs if output else [],
        )
        assert published.written == (path,)
        assert not output or self.remote.git("cat-file", "-t", git_blob(data)) == "blob"
        self.count += 1


def filled(disk: Path, room: int) -> Callable[[], None]:
    """Fill a disk but for so many bytes; returns what frees it."""
    status = os.statvfs(disk)
    filler = disk / "filler"
    filler.write_bytes(bytes(status.f_bavail * status.f_frsize - room))
    return filler.unlink


def without_inodes(disk: Path, room: int) -> Callable[[], None]:
    """Use all but so many inodes of a disk; returns what frees them."""
    folder = disk / "many"
    folder.mkdir()
    for number in range(os.statvfs(disk).f_favail - room):
        (folder / str(number)).touch()

    def free() -> None:
        for file in folder.iterdir():
            file.unlink()
        folder.rmdir()

    return free


def read_only(disk: Path) -> Callable[[], None]:
    mount("-o", "remount,ro", str(disk))
    return lambda: mount("-o", "remount,rw", str(disk))


def main(directory: Path) -> None:
    site = Site(directory)
    site.publish(output=True)
    for direct in (True, False):
        for fill in (
            *(lambda room=room: filled(site.theirs, room) for room in (0, 4_096, 40_960)),
            *(lambda room=room: without_inodes(site.theirs, room) for room in (0, 1, 6)),
            lambda: read_only(site.theirs),
        ):
            site.repo._writer.branch.direct._rests_until = 0.0 if direct else float("inf")
            free = fill()
            with pytest.raises(Unavailable, match="can store nothing at the moment: "):
                site.publish(output=True)
            free()
            site.publish(output=True)
    for use, room in ((filled, 0), (filled, 8_192), (without_inodes, 0), (without_inodes, 2)):
        free = use(site.ours, room)
        with pytest.raises(Unavailable, match=r"ours/ops\.git cannot be written: "):
            site.publish(output=False)
        free()
        site.publish(output=True)
    site.repo._writer.branch.direct._rests_until = float("inf")
    for room in (20_000, 60_000, 100_000):
        free = filled(site.ours, room)
        with pytest.raises(Unavailable, match="No space left on device"):
            site.publish(output=True)
        free()
        site.publish(output=True)
    site.remote.git("fsck", "--full", "--strict")
    assert site.remote.git("rev-list", "--count", "main") == str(site.count + 1)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
