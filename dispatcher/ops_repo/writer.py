"""Bringing files to the remote: one commit, made without a work tree and without an index.

``git fast-import`` reads only the folders on the way to the files that are added, so the cost of a
commit does not depend on what lies elsewhere (in ``vault/done``).
"""

from __future__ import annotations

import itertools
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress

from tenacity import RetryError, Retrying, retry_if_exception_type, stop_after_attempt
from tenacity.wait import wait_random_exponential

from dispatcher.errors import Conflict, Denied, Dependency, Misconfigured, Unavailable
from dispatcher.ops_repo.clone import HEAD, OUTGOING, PUSH, SEEN, Clone
from dispatcher.ops_repo.git import GitFailed
from dispatcher.ops_repo.reader import entries_at
from dispatcher.ops_repo.records import Entry, Move, NewFile, Published
from dispatcher.settings import OpsRepoSettings

TRIES = 30
"""Pushes that may lose against others before a publish is given up for now."""

_PUSHES = itertools.count(1)

_LOST_RACE = re.compile(
    r"fetch first|non-fast-forward|stale info|failed to update ref|cannot lock ref"
    r"|incorrect old value|reference already exists|failed to lock|is at [0-9a-f]{40}",
)


class _LostRace(Exception):
    """Somebody else pushed in between."""


class Writer:
    """Publishes on one clone. Thread-safe; the push itself does not keep others from fetching."""

    def __init__(self, clone: Clone) -> None:
        self._clone = clone
        self._git = clone.git
        self._follows = False
        self._seen_waits = False
        self._seen_refused = False

    def seen_changed(self) -> None:
        """The next push takes ``refs/disinto/seen`` along. Who never calls this never pushes it."""
        self._follows = True
        self._seen_waits = True

    def publish(
        self,
        files: Sequence[NewFile],
        moves: Sequence[Move],
        message: str,
        check: Callable[[], None] = lambda: None,
    ) -> Published:
        """See ``OpsRepo.publish``."""
        retrying = Retrying(
            retry=retry_if_exception_type(_LostRace),
            wait=wait_random_exponential(multiplier=0.02, max=1.0),
            stop=stop_after_attempt(TRIES),
        )
        try:
            for attempt in retrying:
                with attempt:
                    if attempt.retry_state.attempt_number > 1:
                        self._clone.fetch_head()
                    return self._once(files, moves, message, check)
        except RetryError:
            raise Unavailable(
                Dependency.REMOTE,
                f"others pushed to {self._where} {TRIES} times in a row before us",
            ) from None
        raise AssertionError

    def propose(self, files: Sequence[NewFile], branch: str, message: str) -> str:
        """See ``OpsRepo.propose``."""
        clone = self._clone
        with clone.held() as fds:
            base = clone.ref(HEAD)
            if base is None:
                raise GitFailed("fast-import", 0, f"bad object {HEAD}")
            commit = self._commit(base, added(paths_checked(files)), message, fds)
        ref = f"refs/heads/{branch}"
        try:
            self._push_refs(ref, f"{commit}:{ref}")
        except _LostRace:
            raise Conflict(
                f"{self._where} has a branch {branch} already",
                remedy="Look at its pull request, or remove the branch.",
            ) from None
        return commit

    def try_push(self) -> None:
        """See ``OpsRepo.try_push``."""
        commit = self._clone.ref(HEAD)
        if commit is None:
            raise GitFailed("push", 0, f"bad object {HEAD}")
        branch = f"refs/heads/{self._git.settings.branch}"
        with suppress(_LostRace):  # somebody pushed since the fetch: we were heard all the same
            self._push_refs(branch, f"{commit}:{branch}", options=("--dry-run",))

    def push_if(self, ref: str, value: str, *, expected: str | None) -> bool:
        """Put a value into a ref in the place of the expected one (None: of none); False if the
        remote holds another, or cannot hold this ref. Raises what ``propose`` raises otherwise.
        """
        lease = f"--force-with-lease={ref}:{expected or ''}"
        try:
            self._push_refs(ref, f"{value}:{ref}", options=(lease,))
        except _LostRace:
            return False
        return True

    @property
    def _where(self) -> str:
        return self._git.redacted(self._git.settings.remote)

    def _once(
        self,
        files: Sequence[NewFile],
        moves: Sequence[Move],
        message: str,
        check: Callable[[], None],
    ) -> Published:
        clone = self._clone
        with clone.held() as fds:
            base = clone.ref(HEAD)
            if base is None:
                raise GitFailed("fast-import", 0, f"bad object {HEAD}")
            there = entries_at(clone, base, _paths_to_know(files, moves))
            _refuse_blocked(there, files, moves)
            new = [f for f in paths_checked(files) if f.path not in there]
            taken = {f.path for f in new}
            moved = [
                m for m in moves
                if m.source in there and m.target not in there and m.target not in taken
            ]  # fmt: skip
            skipped = [f.path for f in files if f.path in there]
            skipped += [m.target for m in moves if m not in moved]
            if not new and not moved:
                return Published(commit=base, written=(), skipped=tuple(skipped))
            stream = [*_moved(moved, there), *added(new)]
            commit = self._commit(base, stream, message, fds)
        check()
        self._push(commit, base)
        clone.set_ref(HEAD, commit, old=base)
        clone.upkeep.changed()
        written = [f.path for f in new] + [m.target for m in moved]
        return Published(commit=commit, written=tuple(written), skipped=tuple(skipped))

    def _commit(self, base: str, stream: Iterable[bytes], message: str, fds: Sequence[int]) -> str:
        """Make a commit on ``base`` from fast-import's file commands; returns its hash."""
        done = self._git.run(
            self._clone.path,
            "fast-import",
            "--quiet",
            "--done",
            "--force",
            "--date-format=raw",
            stdin=commit_stream(self._git.settings, OUTGOING, stream, message, base=base),
            keep_fds=fds,
        )
        return done.line

    def _push(self, commit: str, base: str) -> None:
        """Push a commit, and what was seen with it.

        Where all of ``base`` was seen, the commit is as well: it holds nothing but our own files.
        So a result is known to have been there from the moment on at which it is.

        Raises:
            _LostRace, and what ``Git.ask`` raises.
        """
        branch = f"refs/heads/{self._git.settings.branch}"
        seen = self._seen_with(commit, base)
        if seen is None:
            self._push_refs(branch, f"{commit}:{branch}")
            return
        self._seen_waits = False
        try:
            # Both or none: a seen commit that never came to the branch would look like a
            # rewritten history.
            self._push_refs(branch, f"{commit}:{branch}", f"+{seen}:{SEEN}", options=("--atomic",))
        except (Denied, Unavailable) as refused:
            self._seen_waits = True
            if not isinstance(refused, Denied) and "--atomic" not in refused.what:
                raise
            # The ref may be what it does not take.
            self._push_refs(branch, f"{commit}:{branch}")
            self._seen_refused = True
        except BaseException:
            self._seen_waits = True
            raise

    def _seen_with(self, commit: str, base: str) -> str | None:
        if self._seen_refused or not self._follows:
            return None
        seen = self._clone.ref(SEEN)
        if seen == base:
            return commit
        return seen if self._seen_waits else None

    @contextmanager
    def _exactly(self, refspecs: Iterable[str]) -> Iterator[list[str]]:
        """The same refspecs with patterns, for as long as the block takes. git takes the right side
        of a plain one for the end of a name: beside a branch called ``refs/heads/main``, which
        anybody may push, ``refs/heads/main`` would be ambiguous and every push refused. The right
        side of a pattern is the whole name.
        """
        space = f"{PUSH}{os.getpid()}-{next(_PUSHES)}"
        refs, exact = {}, []
        for refspec in refspecs:
            value, _, target = refspec.rpartition(":")
            kind = "forced" if value.startswith("+") else "plain"
            refs[f"{space}/{kind}/{target.removeprefix('refs/')}"] = value.removeprefix("+")
            pattern = f"{'+' * (kind == 'forced')}{space}/{kind}/*:refs/*"
            exact += [pattern] if pattern not in exact else []
        self._clone.set_refs(refs)
        try:
            yield exact
        finally:
            self._drop(refs)

    def _drop(self, refs: Iterable[str]) -> None:
        """Remove refs of ours. What was pushed is pushed: a failure here must not look like one of
        the push. A clone that is damaged is noticed by the next command.
        """
        gone = dict.fromkeys(refs, "")
        with suppress(GitFailed):
            try:
                self._clone.set_refs(gone)
            except GitFailed as failed:
                if not failed.stale_lock:
                    raise
                self._clone.remove_stale_locks()
                self._clone.set_refs(gone)

    def _push_refs(self, branch: str, *refspecs: str, options: Sequence[str] = ()) -> None:
        with self._exactly(refspecs) as exact:
            done = self._git.ask(
                self._clone.path, "push", "--porcelain", "--no-verify",
                *self._git.path_options("push"), *options, "--", self._git.remote, *exact,
                ok=(0, 1),
            )  # fmt: skip
        lines = [x.split("\t") for x in done.line.splitlines() if x.count("\t") == 2]
        status = {
            names.rpartition(":")[2]: (flag.strip(), summary) for flag, names, summary in lines
        }
        flag, summary = status.get(branch, ("!", ""))
        if flag != "!":
            return
        if _LOST_RACE.search(summary) or _LOST_RACE.search(done.err):
            raise _LostRace
        failed = GitFailed("push", done.code, done.err)
        if not status:
            if failed.clone_broken:
                raise failed
            raise self._git.meaning(failed)
        said = "; ".join(
            x.removeprefix("remote:").strip()
            for x in done.err.splitlines()
            if x.startswith("remote:")
        )
        raise Denied(
            Dependency.REMOTE,
            f"the ops repository {self._where} refused the push to {branch.removeprefix('refs/heads/')}"
            f": {summary}{': ' + said[:400] if said else ''}",
            remedy="Check hooks, branch protection and the rights of our token or key.",
        )


def commit_stream(
    settings: OpsRepoSettings,
    ref: str,
    commands: Iterable[bytes],
    message: str,
    *,
    base: str | None,
) -> bytes:
    """What fast-import reads for one commit, whose hash it is asked to print."""
    who = f"{_plain(settings.author_name)} <{_plain(settings.author_email)}>"
    text = message.encode("utf-8", "replace")
    return b"".join(
        (
            f"commit {ref}\nmark :1\n".encode(),
            f"committer {who} {int(time.time())} +0000\n".encode(),
            b"data %d\n%b\n" % (len(text), text),
            f"from {base}\n".encode() if base else b"",
            *commands,
            b"\nget-mark :1\ndone\n",
        )
    )


def added(files: Iterable[NewFile]) -> Iterator[bytes]:
    """fast-import's commands for new files."""
    for file in files:
        yield b"M 100644 inline " + _quoted(file.path)
        yield b"data %d\n%b\n" % (len(file.data), file.data)


def _moved(moves: Iterable[Move], there: Mapping[str, Entry]) -> Iterator[bytes]:
    for move in moves:
        entry = there[move.source]
        yield f"M {entry.mode:o} {entry.oid} ".encode() + _quoted(move.target)
        yield b"D " + _quoted(move.source)


def _paths_to_know(files: Sequence[NewFile], moves: Sequence[Move]) -> set[str]:
    paths = {f.path for f in files} | {m.source for m in moves} | {m.target for m in moves}
    return paths | _folders(paths)


def _folders(paths: Iterable[str]) -> set[str]:
    folders: set[str] = set()
    for path in paths:
        while "/" in path:
            path = path.rpartition("/")[0]  # noqa: PLW2901 - goes up
            folders.add(path)
    return folders


def _refuse_blocked(
    there: dict[str, Entry], files: Sequence[NewFile], moves: Sequence[Move]
) -> None:
    """fast-import would put a folder in the place of a file that is in the way."""
    for folder in _folders([f.path for f in files] + [m.target for m in moves]):
        if folder in there and there[folder].mode != 0o040000:
            raise Conflict(
                f"{folder} is no folder in the ops repository",
                remedy="Remove it, so that results can be written below it.",
            )


def paths_checked(files: Sequence[NewFile]) -> list[NewFile]:
    """The files, the first of each path; Misconfigured for what is no path in a repository."""
    seen: dict[str, NewFile] = {}
    for file in files:
        if file.path.startswith("/") or {"", ".", "..", ".git"} & set(file.path.split("/")):
            raise Misconfigured(f"{file.path!r} is no path in a repository")
        seen.setdefault(file.path, file)
    return list(seen.values())


def _plain(name: str) -> str:
    """A name without what git's identity line cannot hold."""
    return re.sub(r"[<>\n\0]", "", name).strip()


def _quoted(path: str) -> bytes:
    """A path as fast-import wants it, in C style, with the line's end."""
    out = bytearray(b'"')
    for byte in os.fsencode(path):
        if byte in b'"\\':
            out += b"\\" + bytes((byte,))
        elif byte < 0x20 or byte >= 0x7F:
            out += b"\\%03o" % byte
        else:
            out.append(byte)
    return bytes(out) + b'"\n'
