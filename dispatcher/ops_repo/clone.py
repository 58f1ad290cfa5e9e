"""The bare clone on disk: made, guarded, mended and tidied.

The clone is a cache of the remote. Whatever is wrong with it, it is made anew beside the old one
and takes its place by a rename. Only one thing in it is our own: ``refs/disinto/seen``, which is
carried over. The remote's ref of that name is anybody's, and never becomes ours.

Refs:
    refs/disinto/head      the branch, as last fetched or pushed
    refs/disinto/seen      last head whose consequences are recorded
    refs/disinto/remote/seen  the remote's refs/disinto/seen, as found when it was last asked for
    refs/disinto/outgoing  the commit that is being published
    refs/disinto/asked     what ``OpsRepo.fetch_ref`` brought last
    refs/disinto/push/*    what is being pushed, each as it is to be called below refs/ there
    refs/disinto/lead-*    our record of who leads, and what the remote's ref held; see ``lead``

Files beside the clone: ``<name>.lock``, held (flock) by whoever changes it, and by the git
processes that do so on behalf of a dispatcher that was killed; ``<name>.upkeep.lock``, held while it
is packed; ``<name>.new-*`` and ``<name>.old-*``, left by a death in the middle, are tidied away;
``withdrawn-approvals/``, see ``rewrites`` and ``viewed``.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from dispatcher.errors import Denied, Dependency, DisintoError, Misconfigured, Unavailable
from dispatcher.ops_repo.failure import GitFailed
from dispatcher.ops_repo.git import Git
from dispatcher.ops_repo.holders import Holder, holder_of
from dispatcher.ops_repo.objects import Objects
from dispatcher.ops_repo.records import Seen, escaped
from dispatcher.ops_repo.transport import Transport
from dispatcher.ops_repo.upkeep import Upkeep

HEAD = "refs/disinto/head"
SEEN = "refs/disinto/seen"
REMOTE_SEEN = "refs/disinto/remote/seen"
OUTGOING = "refs/disinto/outgoing"
ASKED = "refs/disinto/asked"
PUSH = "refs/disinto/push/"
LEAD = "refs/disinto/lead"
LEAD_OURS = "refs/disinto/lead-ours"
LEAD_FOUND = "refs/disinto/lead-found"
SEEN_LOST = "disinto-seen-lost"
"""File in the clone: the hash of a seen commit that could not be carried over."""

LOOK_FOR_HOLDER_S = 2.0
"""Seconds of waiting for the lock after which its holder is looked at: one that is stopped by a
signal lets go of nothing, however long it is waited for."""

MEND_PAUSE_S = 60.0
"""Seconds in which the same failure does not make the clone anew twice."""

_OID = re.compile(r"^(?:[0-9a-f]{40}|[0-9a-f]{64})$")


class Clone:
    """One bare clone. Thread-safe; several processes may use one folder."""

    def __init__(self, path: Path, git: Git) -> None:
        self.path = path.expanduser().absolute()
        self.git = git
        self.objects = Objects(git, self.path)
        self.upkeep = Upkeep(git, self.path)
        self._thread_lock = threading.RLock()
        self._depth = 0
        self._lock_file: int | None = None
        self._ready = False
        self._mended_for = ("", 0.0)
        self._lead_ours: str | None = None
        self._lead_failed = False
        self.lead_strayed = False

    # --- guard ---------------------------------------------------------------------------

    @contextmanager
    def held(self) -> Iterator[tuple[int, ...]]:
        """Hold the clone for changing it; yields the file descriptors that git must keep open.

        Raises:
            Unavailable: another process held it for longer than a fetch may take.
        """
        with self._thread_lock:
            if self._depth == 0:
                self._flock()
            self._depth += 1
            try:
                assert self._lock_file is not None  # noqa: S101 - for the type checker
                yield (self._lock_file,)
            finally:
                self._depth -= 1
                if self._depth == 0 and self._lock_file is not None:
                    fcntl.flock(self._lock_file, fcntl.LOCK_UN)

    def _flock(self) -> None:
        if self._lock_file is None:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            name = self.path.with_name(self.path.name + ".lock")
            self._lock_file = os.open(name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        deadline = time.monotonic() + self.git.settings.timeout_s + 5
        look_at = time.monotonic() + LOOK_FOR_HOLDER_S
        pause = 0.005
        while True:
            try:
                fcntl.flock(self._lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if self.git.conversations.stopped:
                    raise self.git.given_up() from None
                now = time.monotonic()
                if now > min(look_at, deadline):
                    look_at = now + LOOK_FOR_HOLDER_S
                    self._give_up_on(holder_of(self._lock_file), patient=now <= deadline)
                time.sleep(pause)
                pause = min(pause * 1.5, 0.1)
            else:
                return

    def _give_up_on(self, holder: Holder | None, *, patient: bool) -> None:
        """Raise where waiting for the lock is of no use, or, unless ``patient``, has been in vain."""
        if patient and not (holder and holder.stopped):
            return
        if holder is None:
            what = f"another process keeps the clone {self.path} locked"
            remedy = "Look for a git process that hangs."
        else:
            named = f"process {holder.pid} ({escaped(self.git.redacted(holder.command))})"
            stopped = " and is stopped" if holder.stopped else ""
            what = f"{named} keeps the clone {self.path} locked{stopped}"
            go_on = f"Let it go on (kill -CONT {holder.pid}), or end" if stopped else "End"
            remedy = f"{go_on} it if it hangs."
        raise Unavailable(Dependency.REMOTE, what, remedy=remedy)

    # --- opening and mending -------------------------------------------------------------

    def ensure(self) -> bool:
        """Make the clone usable; True where it had to be made. Costs nothing once it is open."""
        if self._ready and (self.path / "HEAD").exists():
            return False
        with self.held():
            self._tidy()
            made = not self.sound()
            if made:
                self._make()
            self._ready = True
            return made

    @property
    def generation(self) -> int:
        """Changes when the clone is made anew, by whichever process; 0 where there is none."""
        try:
            return self.path.stat().st_ino
        except OSError:
            return 0

    def mend(self, failed: GitFailed, generation: int) -> bool:
        """Make the clone anew after a failure in the given generation of it.

        The old clone stays where the remote cannot be asked. False where the same failure was
        answered so a short while ago: then it is not the clone that is wrong.
        """
        with self.held():
            if self.generation not in (0, generation):
                return True  # another thread or process has done it
            now = time.monotonic()
            if failed.text == self._mended_for[0] and now - self._mended_for[1] < MEND_PAUSE_S:
                return False
            self._tidy()
            self._make()
            self._mended_for = (failed.text, now)
            self._ready = True
            return True

    def remove_stale_locks(self) -> None:
        """Remove git's lock files: whoever holds the clone knows that they are nobody's."""
        with self.held():
            self._tidy()

    def close(self) -> None:
        self.objects.close()
        with self._thread_lock:
            self._ready = False
            if self._lock_file is not None and self._depth == 0:
                os.close(self._lock_file)
                self._lock_file = None

    def _tidy(self) -> None:
        for left in self.path.parent.glob(self.path.name + ".new-*"):
            shutil.rmtree(left, ignore_errors=True)
        if not self.path.is_dir():
            return
        self._remove("*.lock", "refs/**/*.lock", "fast_import_crash_*", "gc.pid")
        with self.upkeep.exclusive() as nobody_packs:
            if nobody_packs is not None:
                self._remove("objects/info/**/*.lock", "objects/pack/*.lock", "objects/**/tmp_*")

    def _remove(self, *patterns: str) -> None:
        for pattern in patterns:
            for stale in self.path.glob(pattern):
                with suppress(OSError):
                    stale.unlink()

    def sound(self) -> bool:
        """Whether the head of an existing clone, and the tree it names, can be read."""
        if not (self.path / "HEAD").exists():
            return False
        try:
            self.git.run(self.path, "rev-parse", "--verify", "--quiet", f"{HEAD}^{{tree}}")
            self.git.run(self.path, "cat-file", "-e", f"{HEAD}^{{tree}}")
        except GitFailed:
            return False
        return True

    def _make(self) -> None:
        seen = self._saved_seen()
        new = self.path.with_name(f"{self.path.name}.new-{os.getpid()}-{time.monotonic_ns()}")
        try:
            self._fill(new, seen)
            self.objects.close()
            old = self.path.with_name(f"{self.path.name}.old-{os.getpid()}-{time.monotonic_ns()}")
            if self.path.exists():
                self.path.rename(old)
            new.chmod(0o700)
            new.rename(self.path)
        except OSError as failed:
            raise Misconfigured(
                f"the clone {self.path} cannot be made: {failed.strerror or failed}",
                remedy="Check `state_dir`, its owner and the space left.",
            ) from failed
        finally:
            shutil.rmtree(new, ignore_errors=True)
        for left in self.path.parent.glob(self.path.name + ".old-*"):
            shutil.rmtree(left, ignore_errors=True)

    def _fill(self, new: Path, seen: str | None) -> None:
        branch = self.git.settings.branch
        try:
            self.git.run(
                new, "init", "--quiet", "--bare", "--template=", f"--initial-branch={branch}"
            )
            with self.held() as fds:
                self.git.ask(
                    new,
                    "fetch", "--quiet", "--no-tags", "--no-write-fetch-head",
                    *self.git.path_options("fetch"),
                    "--", self.git.remote,
                    f"+refs/heads/{branch}:{HEAD}",
                    keep_fds=fds,
                    timeout_s=max(600.0, self.git.settings.timeout_s),
                )  # fmt: skip
            self.git.run(new, "commit-graph", "write", "--reachable", "--changed-paths")
            if seen is None:
                return
            if self.git.run(new, "cat-file", "-t", seen, ok=(0, 1, 128)).line == "commit":
                self.git.run(new, "update-ref", SEEN, seen)
            else:
                (new / SEEN_LOST).write_text(seen)
        except GitFailed as failed:
            raise self.unusable(failed) from None

    def unusable(self, failed: GitFailed) -> DisintoError:
        """The error for a clone that could not be mended."""
        return Unavailable(
            Dependency.REMOTE,
            f"the clone {self.path} is damaged and could not be made anew: {failed.reason}",
            remedy="Check the remote with `git fsck`, and the disk.",
        )

    def _saved_seen(self) -> str | None:
        places = [self.path, *self.path.parent.glob(self.path.name + ".old-*")]
        for place in places:
            found = self.ref(SEEN, git_dir=place) or self._lost(place)
            if found:
                return found
        return None

    # --- refs ----------------------------------------------------------------------------

    def ref(self, name: str, *, git_dir: Path | None = None) -> str | None:
        """The hash that a ref holds, read from its file: it works in a damaged clone, too."""
        return self._ref_file(git_dir or self.path, name)

    @staticmethod
    def _ref_file(git_dir: Path, name: str) -> str | None:
        if loose := Clone._loose(git_dir / name):
            return loose
        with suppress(OSError):  # the names of other refs may be anything
            for line in (git_dir / "packed-refs").read_bytes().split(b"\n"):
                oid, _, ref = line.partition(b" ")
                if ref == name.encode() and _OID.match(oid.decode("ascii", "replace")):
                    return oid.decode("ascii")
        return None

    def set_ref(self, name: str, new: str, *, old: str | None = None) -> bool:
        """Point a ref at a commit; with ``old`` only if it still points there. True on success."""
        with self.held() as fds:
            expected = () if old is None else (old,)
            ok = (0,) if old is None else (0, 1, 128)
            done = self.git.run(
                self.path, "update-ref", "--no-deref", name, new, *expected, ok=ok, keep_fds=fds
            )
            return done.code == 0

    def set_refs(self, refs: Mapping[str, str]) -> None:
        """Set these refs whatever they hold; those with "" are removed."""
        lines = [f"update {n} {v}\n" if v else f"delete {n}\n" for n, v in refs.items()]
        with self.held() as fds:
            self.git.run(
                self.path, "update-ref", "--stdin", stdin="".join(lines).encode(), keep_fds=fds
            )

    def seen(self) -> Seen:
        """What ``refs/disinto/seen`` says, and what is wrong with it. Believes nothing of it."""
        lost = self._lost(self.path)
        commit = lost or self.ref(SEEN)
        file = self.path / SEEN
        if not lost and file.exists() and self._loose(file) is None:
            return Seen(commit=self._commit(commit), damage=f"{SEEN} of the clone cannot be read")
        if not commit:
            return Seen()
        known = self._commit(commit)
        damage = (
            "" if known else f"{SEEN} of the clone names {commit[:12]}, which is no commit here"
        )
        return Seen(commit=known, names=commit, damage=damage)

    def has_commit(self, oid: str) -> bool:
        """Whether the clone has this very commit. Anything else of the name is none."""
        (info,) = self.objects.info([oid]) if _OID.match(oid) else (None,)
        return info is not None and info.kind == "commit"

    def set_seen(self, commit: str) -> None:
        with self.held():
            file = self.path / SEEN
            if file.is_dir():
                shutil.rmtree(file)
            elif file.exists() and self._loose(file) is None:
                file.unlink()  # git writes over no ref that it cannot read
            self.set_ref(SEEN, commit)
            (self.path / SEEN_LOST).unlink(missing_ok=True)

    def _commit(self, oid: str | None) -> str:
        return oid if oid and self.has_commit(oid) else ""

    @staticmethod
    def _loose(file: Path) -> str | None:
        with suppress(OSError, UnicodeDecodeError):
            value = file.read_text("ascii").strip()
            if _OID.match(value):
                return value
        return None

    @staticmethod
    def _lost(git_dir: Path) -> str | None:
        with suppress(OSError, UnicodeDecodeError):
            value = (git_dir / SEEN_LOST).read_text("ascii").strip()
            if _OID.match(value):
                return value
        return None

    # --- fetching ------------------------------------------------------------------------

    def fetch_head(self) -> str:
        """Bring the branch; returns its head.

        For a path, ``fetch-pack`` is used: with nothing new it costs as little as ``ls-remote``,
        and it leaves out the walk over the whole tree with which ``fetch`` makes sure that
        nothing is missing (45 ms beside 100,000 archived actions). Arriving objects and the links
        between them are checked all the same, by ``fetch.fsckObjects``. Over a network one round
        trip matters more, and ``fetch`` needs one connection fewer.
        """
        branch = f"refs/heads/{self.git.settings.branch}"
        with self.held() as fds:
            head = self.ref(HEAD)
            commit = self._bring_with_lead(branch, fds)
            if commit is None:
                self._fetch(fds, f"+{branch}:{HEAD}")
                commit = self.ref(HEAD)
            if commit is None:
                raise GitFailed("fetch", 0, f"bad object {HEAD}")
            if commit != head:
                self.upkeep.changed()
            return commit

    def fetch_ref(self, ref: str) -> str:
        """Bring any other ref of the remote; returns its commit. Errors as ``fetch_head``."""
        with self.held() as fds:
            self.fetch_to(ref, ASKED, fds)
            return self.ref(ASKED) or ""

    def fetch_remote_seen(self) -> str:
        """Bring the remote's ``refs/disinto/seen``; its commit, or "" if it has none that is usable.

        Raises:
            Unavailable: the remote cannot be asked.
        """
        with self.held() as fds:
            try:
                self.fetch_to(SEEN, REMOTE_SEEN, fds)
            except (Misconfigured, Denied):
                return ""  # it has none, or what it names is malformed
            return self._commit(self.ref(REMOTE_SEEN))

    def fetch_to(self, ref: str, ours: str, fds: Sequence[int]) -> None:
        """Bring one ref of the remote to one of ours. Errors as ``fetch_ref``."""
        self._fetch(fds, f"+{ref}:{ours}")

    def watch_lead(self, value: str | None) -> None:
        """From now on each fetch sees whether the remote's lead holds this value; see
        ``lead_strayed``. None: it is not looked at.
        """
        self._lead_ours, self._lead_failed, self.lead_strayed = value, False, False

    def _bring_with_lead(self, branch: str, fds: Sequence[int]) -> str | None:
        """Bring the branch, and see in the same conversation whether the lead is ours. Whatever
        somebody put into that ref, the branch is brought: at the second try without it.
        """
        ours = self._lead_ours
        if ours is None or self.lead_strayed or self._lead_failed:
            commit = self._bring(branch, (), fds)[0]
            self.lead_strayed = self.lead_strayed or self._lead_failed
            self._lead_failed = False
            return commit
        try:
            commit, lead = self._bring(branch, (LEAD,), fds)
        except Unavailable:
            self._lead_failed = True  # the remote is away, or never done with what the ref holds
            raise
        except (Denied, Misconfigured):
            commit, lead = self._bring(branch, (), fds)[0], None
        self.lead_strayed = lead != ours
        return commit

    def _bring(
        self, branch: str, more: Sequence[str], fds: Sequence[int]
    ) -> tuple[str | None, ...]:
        """Bring the branch to ``HEAD``, and another ref if there is ``more``; their values."""
        if self.git.transport is Transport.PATH:
            values = self._fetch_pack((branch, *more), fds)
            if values[0] != self.ref(HEAD):
                self.set_ref(HEAD, values[0])
            return tuple(values)
        self._fetch(fds, f"+{branch}:{HEAD}", *(f"+{ref}:{LEAD_FOUND}" for ref in more))
        return (self.ref(HEAD), *(self.ref(LEAD_FOUND) for _ in more))

    def _fetch_pack(self, refs: Sequence[str], fds: Sequence[int]) -> list[str]:
        """Bring refs with ``fetch-pack``, which changes none of ours; returns their values."""
        done = self.git.ask(
            self.path,
            "fetch-pack",
            "--quiet",
            "--no-progress",
            *self.git.path_options("fetch"),
            self.git.remote,
            *refs,
            # Packs of this size and above would be left with a .keep file; git 2.39 dies of it.
            config={"fetch.unpackLimit": str(2**31 - 1)},
            keep_fds=fds,
        )
        told = {ref: value for value, _, ref in (x.partition(" ") for x in done.line.splitlines())}
        for ref in refs:
            if not _OID.match(told.get(ref, "")):
                raise Misconfigured(f"the ops repository did not report the value of {ref}")
        return [told[ref] for ref in refs]

    def _fetch(self, fds: Sequence[int], *refspecs: str) -> None:
        self.git.ask(
            self.path,
            "fetch",
            "--quiet",
            "--no-progress",
            "--no-tags",
            "--no-write-fetch-head",
            *self.git.path_options("fetch"),
            "--",
            self.git.remote,
            *refspecs,
            keep_fds=fds,
        )
