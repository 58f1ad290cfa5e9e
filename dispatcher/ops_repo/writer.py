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
from typing import TYPE_CHECKING

from dispatcher.errors import Conflict, Denied, Dependency, Misconfigured, Unavailable
from dispatcher.model.result import RESULT_LIMIT as REPLACED_LIMIT
from dispatcher.ops_repo import by_trees
from dispatcher.ops_repo.by_trees import stored
from dispatcher.ops_repo.clone import HEAD, OUTGOING, PUSH, SEEN, Clone
from dispatcher.ops_repo.failure import GitFailed
from dispatcher.ops_repo.reader import entries_at, read
from dispatcher.ops_repo.records import TREE_MODE, Entry, Move, NewFile, Published, Replaced
from dispatcher.ops_repo.refusals import BranchExists, PushRefused, Why, refusal
from dispatcher.settings import OpsRepoSettings

if TYPE_CHECKING:
    from tenacity import RetryCallState

TRIES = 30
"""Pushes that may lose against others before a publish is given up for now."""

_PUSHES = itertools.count(1)

LOCK_TRIES = 8
"""Pushes that may meet a lock file of the remote before it counts as one that somebody left behind;
with the pauses between them about three seconds."""

SEEN_PAUSES_S = (60.0, 3_600.0)
"""First and longest pause before ``refs/disinto/seen`` is pushed again to a remote that refused it."""

FEW_CHANGES = 50
"""Names of one folder that are moved one by one."""


class _LostRace(Exception):
    """Somebody else pushed in between, or is about to: a lock file of theirs is there.

    Attributes:
        lock: the lock file, or "".
    """

    def __init__(self, lock: str = "") -> None:
        super().__init__(lock)
        self.lock = lock


class _Blocked(Denied):
    """The remote cannot hold a ref of this name beside another that it has."""


class _Companion:
    """A ref that goes along with results and must never keep them back."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._pause_s, self._again_at = 0.0, 0.0
        self.trouble = ""

    @property
    def resting(self) -> bool:
        """Whether it was refused a short while ago."""
        return self._clock() < self._again_at

    def refused(self, reason: str) -> None:
        """The remote took the branch without it."""
        first, longest = SEEN_PAUSES_S
        self._pause_s = min(longest, self._pause_s * 2 or first)
        self._again_at = self._clock() + self._pause_s
        self.trouble = reason

    def taken(self) -> None:
        """It was pushed."""
        self._pause_s, self._again_at, self.trouble = 0.0, 0.0, ""


class Writer:
    """Publishes on one clone. Thread-safe; the push itself does not keep others from fetching."""

    def __init__(self, clone: Clone) -> None:
        self._clone = clone
        self._git = clone.git
        self._follows = False
        self._seen_waits = False
        self._seen = _Companion()

    @property
    def seen_trouble(self) -> str:
        """Why the remote does not take ``refs/disinto/seen``, in its own words; "" while it does."""
        return self._seen.trouble

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
        # Only who publishes needs it, and every command imports this module.
        from tenacity import RetryError, Retrying, retry_if_exception_type
        from tenacity.wait import wait_random_exponential

        retrying = Retrying(
            retry=retry_if_exception_type(_LostRace),
            wait=wait_random_exponential(multiplier=0.02, max=1.0),
            stop=_enough,
        )
        try:
            for attempt in retrying:
                with attempt:
                    if attempt.retry_state.attempt_number > 1:
                        self._clone.fetch_head()
                    return self._once(files, moves, message, check)
        except RetryError as given_up:
            lost = given_up.last_attempt.exception()
            if isinstance(lost, _LostRace) and lost.lock:
                raise Unavailable(
                    Dependency.REMOTE,
                    f"the ops repository {self._where} is locked by the file {lost.lock}",
                    remedy="If no git process is at work there, one was killed: remove the file.",
                ) from None
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
            new = paths_checked(files)
            commit = self._commit(base, added(new), message, fds, lambda: stored(clone, new))
        ref = f"refs/heads/{branch}"
        try:
            self._push_refs(ref, f"{commit}:{ref}")
        except _LostRace:
            raise BranchExists(
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
        except (_LostRace, _Blocked):
            return False
        return True

    @property
    def _where(self) -> str:
        return self._git.where

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
            checked = paths_checked(files)
            new = [f for f in checked if f.path not in there]
            over = [f for f in checked if f.path in there and self._gives_way(there[f.path], f)]
            taken = {f.path for f in new}
            moved = [
                m for m in moves
                if m.source in there and m.target not in there and m.target not in taken
            ]  # fmt: skip
            ours = {f.path for f in (*new, *over)}
            skipped = [f.path for f in files if f.path not in ours]
            going = {m.target for m in moved}
            skipped += [m.target for m in moves if m.target not in going]
            if not ours and not moved:
                return Published(commit=base, written=(), skipped=tuple(skipped))
            replaced = tuple(
                Replaced(path=f.path, commit=base, oid=there[f.path].oid) for f in over
            )
            gone = (b"D " + _quoted(f.path) for f in over)  # a directory is no file to be replaced
            stream = [*self._moved(base, moved, there), *gone, *added([*new, *over])]
            commit = self._commit(
                base,
                stream,
                _told(message, replaced),
                fds,
                lambda: {
                    **{m.source: None for m in moved},
                    **{m.target: there[m.source] for m in moved},
                    **stored(clone, [*new, *over]),
                },
            )
        check()
        self._push(commit, base)
        clone.set_ref(HEAD, commit, old=base)
        clone.upkeep.changed()
        written = [f.path for f in (*new, *over)] + [m.target for m in moved]
        return Published(
            commit=commit, written=tuple(written), skipped=tuple(skipped), replaced=replaced
        )

    def _gives_way(self, there: Entry, file: NewFile) -> bool:
        """Whether what is at a file's path is to be replaced by it."""
        if file.keeps is None:
            return False
        if not there.regular:
            return True
        data = read(self._clone, [there.oid], REPLACED_LIMIT)[there.oid]
        return not isinstance(data, bytes) or (data != file.data and not file.keeps(data))

    def _moved(
        self, base: str, moves: Sequence[Move], there: Mapping[str, Entry]
    ) -> Iterator[bytes]:
        """fast-import's commands for moves.

        It goes through a folder from the start for every name, so a folder in which much changes
        is written anew instead.
        """
        changes: dict[str, dict[str, Entry | None]] = {}
        for move in moves:
            for path, entry in ((move.source, None), (move.target, there[move.source])):
                folder, _, name = path.rpartition("/")
                changes.setdefault(folder, {})[name] = entry
        anew = {f for f, names in changes.items() if f and len(names) > FEW_CHANGES}
        for folder in sorted(anew, key=lambda each: each.count("/")):
            yield from self._written_anew(base, folder, changes[folder])
        for folder in changes.keys() - anew:
            for name, entry in changes[folder].items():
                yield _placed(f"{folder}/{name}" if folder else name, entry)

    def _written_anew(
        self, base: str, folder: str, changes: Mapping[str, Entry | None]
    ) -> Iterator[bytes]:
        there = f"{base}:{folder}" if entries_at(self._clone, base, [folder]) else ""
        tree = by_trees.changed(self._clone, by_trees.listed(self._clone, there), changes)
        entry = Entry(mode=TREE_MODE, oid=tree) if tree else None
        yield _placed(folder, entry)

    def _commit(
        self,
        base: str,
        stream: Iterable[bytes],
        message: str,
        fds: Sequence[int],
        changes: Callable[[], Mapping[str, Entry | None]],
    ) -> str:
        """Make a commit on ``base`` from fast-import's file commands; returns its hash.

        Args:
            changes: the same as entries by path; asked for if fast-import cannot read the base.
        """
        settings = self._git.settings
        try:
            done = self._git.run(
                self._clone.path,
                "fast-import",
                "--quiet",
                "--done",
                "--force",
                "--date-format=raw",
                stdin=commit_stream(settings, OUTGOING, stream, message, base=base),
                keep_fds=fds,
            )
        except GitFailed as failed:
            if not by_trees.is_needed(failed):
                raise
            who = _who(settings)
            return by_trees.commit(self._clone, base, changes(), message=message, who=who)
        return done.line

    def _push(self, commit: str, base: str) -> None:
        """Push a commit, and what was seen with it.

        Where all of ``base`` was seen, the commit is as well: it holds nothing but our own files.
        A remote that does not take what was seen gets the branch without it: results come first.
        Both or none is asked for first, so that what was seen is always on the branch.

        Raises:
            _LostRace, and what ``Git.ask`` raises.
        """
        branch = f"refs/heads/{self._git.settings.branch}"
        seen = self._seen_with(commit, base)
        if seen is None:
            self._push_refs(branch, f"{commit}:{branch}")
            return
        try:
            self._push_refs(branch, f"{commit}:{branch}", f"+{seen}:{SEEN}", options=("--atomic",))
        except _LostRace as lost:
            if not lost.lock:
                raise
            refused = f"it is locked by the file {lost.lock}"
        except (Denied, Unavailable) as error:
            refused = error.what
        else:
            self._seen_waits = False
            self._seen.taken()
            return
        # Which of the two was meant? What refuses the branch alone says so.
        self._push_refs(branch, f"{commit}:{branch}")
        self._seen.refused(refused)

    def _seen_with(self, commit: str, base: str) -> str | None:
        if self._seen.resting or not self._follows:
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
        refused = {ref: summary for ref, (flag, summary) in status.items() if flag == "!"}
        if status and branch in status and not refused:
            return
        if not status:
            failed = GitFailed("push", done.code, done.err)
            if failed.clone_broken:
                raise failed
            raise self._git.meaning(failed)
        self._raise(branch, refused, done.err)

    def _raise(self, branch: str, refused: Mapping[str, str], err: str) -> None:
        """What the refs that were not pushed amount to. Of several the branch is asked first."""
        found = {ref: refusal(summary, err) for ref, summary in refused.items()}
        of_branch = found.get(branch)
        if of_branch is not None and of_branch.why is Why.RACE and len(found) == 1:
            raise _LostRace
        whose = next((r for r in found.values() if r.why is not Why.RACE), None)
        if whose is None:
            raise _LostRace
        if whose.why is Why.LOCKED:
            raise _LostRace(whose.detail)
        refs = " and ".join(sorted(ref.removeprefix("refs/heads/") for ref in found))
        kind = _Blocked if whose.why is Why.BLOCKED else PushRefused
        raise kind(
            Dependency.REMOTE,
            f"the ops repository {self._where} refused the push to {refs}: {whose.detail}",
            remedy="Check hooks, branch protection and the rights of our token or key.",
        )


def _enough(state: RetryCallState) -> bool:
    """Whether a publish is given up for now."""
    lost = state.outcome.exception() if state.outcome else None
    locked = isinstance(lost, _LostRace) and lost.lock
    return state.attempt_number >= (min(LOCK_TRIES, TRIES) if locked else TRIES)


def _told(message: str, replaced: Sequence[Replaced]) -> str:
    """The commit's message, with what it replaces."""
    if not replaced:
        return message
    lines = "\n".join(f"{r.path} (object {r.oid} of commit {r.commit})" for r in replaced)
    return f"{message}\n\nIn the place of what this dispatcher did not sign:\n{lines}"


def _who(settings: OpsRepoSettings) -> str:
    return f"{_plain(settings.author_name)} <{_plain(settings.author_email)}>"


def commit_stream(
    settings: OpsRepoSettings,
    ref: str,
    commands: Iterable[bytes],
    message: str,
    *,
    base: str | None,
) -> bytes:
    """What fast-import reads for one commit, whose hash it is asked to print."""
    who = _who(settings)
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


def _placed(path: str, entry: Entry | None) -> bytes:
    """fast-import's command for what is to be at a path; None for nothing."""
    if entry is None:
        return b"D " + _quoted(path)
    return f"M {entry.mode:o} {entry.oid} ".encode() + _quoted(path)


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
        if folder in there and not there[folder].directory:
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
