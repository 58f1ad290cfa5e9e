"""The refs on the remote with the whole output of runs: ``refs/disinto/logs/YYYY-MM``.

Clones do not fetch them, ours neither. A month is a chain of commits, each with a tree of only the
files that were pushed together, so a push costs the same however long the month is
(``output_commits``). What is pushed is built in a directory of its own that is removed afterwards
(``scratch_repository``); of what was pushed before, only the last commit is there, as the boundary of a
shallow repository.

Anybody who may push can move, fill or delete these refs. So an object is fetched by the hash that
a result names, never a ref, and with a limit to what git may write; a commit that is not ours is
fetched without its tree, if the remote can do that, and with the same limit.

A ref is removed by ``--prune`` with a pattern: the right side of a plain refspec would also match a
branch of that name (see ``push``).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress

from dispatcher.errors import Dependency, DisintoError, NotFound, PermanentError, Unavailable
from dispatcher.ops_repo.clone import Clone
from dispatcher.ops_repo.failure import GitFailed
from dispatcher.ops_repo.output_commits import OutputCommits, OutputFile, Prepared
from dispatcher.ops_repo.push import LostRace, Pusher
from dispatcher.ops_repo.records import is_oid
from dispatcher.ops_repo.refusals import NotWritable, OutputsRefused, no_room
from dispatcher.ops_repo.scratch_repository import ScratchRepositories

OUTPUT_REFS = "refs/disinto/logs/"

TIP_LIMIT = 1024 * 1024
"""Bytes that git may write for a commit that is not ours, with its tree."""

DIRECT_BYTES = 1024 * 1024
"""Bytes of files that are held in memory for one push."""

_OVERHEAD = 64 * 1024
"""Bytes of a pack or an index beside the object that was asked for."""

_NOT_SERVED = re.compile(
    r"not our ref|unadvertised object|did not send all necessary objects|index-pack"
)
"""What git says of an object that is not there, or is not served alone, or is too large."""

_MONTH = re.compile(r"^\d{4}-(0[1-9]|1[0-2])$")
_SOURCE = "source"
"""Name of the remote where git wants one: a filter needs it."""

_PROBE = "doctor"


class OutputRefs:
    """Pushes, fetches and removes output of runs. Thread-safe, but for pushes.

    Args:
        clone: names the remote; nothing is written into it.
    """

    def __init__(self, clone: Clone) -> None:
        self._clone, self._git = clone, clone.git
        self._tips_file = clone.path.with_name(f"{clone.path.name}.output-tips.json")
        self._scratch = ScratchRepositories(clone)

    # --- pushing -------------------------------------------------------------------------

    @contextmanager
    def prepared(self, files: Sequence[OutputFile], *, direct: bool = False) -> Iterator[Prepared]:
        """Commits with these files, on the last known values of their months; removed afterwards.

        Args:
            direct: whether no repository is made for them before one is needed.

        Raises:
            OutputsRefused: a file cannot be read.
            NotWritable: the disk is full.
        """
        by_ref: dict[str, list[OutputFile]] = {}
        for file in files:
            by_ref.setdefault(OUTPUT_REFS + file.month, []).append(file)
        tips = self._tips()
        known = {ref: tips[ref] for ref in by_ref if ref in tips}
        commits = OutputCommits(self._git)
        self._scratch.tidy()
        with ExitStack() as stack:

            def repository() -> Clone:
                with _preparing():
                    scratch = stack.enter_context(self._scratch.empty())
                    self._scratch.share(scratch, boundary=(text for _, text in known.values()))
                    commits.move_to(scratch)
                    return scratch

            with _preparing():
                small = sum(file.path.stat().st_size for file in files) <= DIRECT_BYTES
                scratch = None if direct and small else repository()
                months = tuple(
                    commits.month(ref, of_month, known.get(ref, ("", b""))[0])
                    for ref, of_month in by_ref.items()
                )
            yield Prepared(
                months=months,
                objects=tuple(commits.kept),
                repository=lambda: scratch or repository(),
            )

    def stored(self, prepared: Prepared) -> None:
        """Record that these commits were pushed: the next ones are made on top of them. Where that cannot be
        written, the remote is asked the next time.
        """
        tips = self._tips()
        tips.update({month.ref: (month.commit, month.text) for month in prepared.months})
        with suppress(OSError):
            self._keep_tips(tips)

    def look_again(self, refs: Sequence[str]) -> None:
        """Learn the present values of these months' refs from the remote.

        Raises:
            OutputsRefused: a value is not a commit that can be built on.
            Unavailable, Denied, Misconfigured: the remote cannot be reached.
        """
        values, tips = self._listed(), self._tips()
        for ref in refs:
            value = values.get(ref, "")
            if not value:
                tips.pop(ref, None)
            elif tips.get(ref, ("",))[0] != value:
                tips[ref] = (value, self._commit(ref, value))
        self._keep_tips(tips)

    def forget(self) -> None:
        """Forget the last known values, so that the next push learns them."""
        self._tips_file.unlink(missing_ok=True)

    def push_alone(self, prepared: Prepared) -> None:
        """Push the months, without the branch. Raises what ``Pusher.push`` raises."""
        first = prepared.months[0].ref
        prepared.pusher.push(first, *prepared.refspecs, options=prepared.leases)

    # --- reading and removing ------------------------------------------------------------

    def months(self) -> dict[str, str]:
        """Values of the months on the remote (hex), by month.

        Raises:
            Unavailable, Denied, Misconfigured: the remote cannot be reached.
        """
        months = ((ref.removeprefix(OUTPUT_REFS), value) for ref, value in self._listed().items())
        return {month: value for month, value in months if _MONTH.match(month)}

    def fetch(self, oid: str, *, limit: int) -> bytes:
        """One object of the remote, by its hash.

        Args:
            limit: maximum bytes of it.

        Raises:
            NotFound: the remote does not have it or does not serve single objects, or it is larger.
            Unavailable, Denied: the remote cannot be reached.
        """
        with self._scratch.empty() as scratch:
            try:
                self._bring(scratch, oid, limit=limit + _OVERHEAD)
                size = int(self._git.run(scratch.path, "cat-file", "-s", oid).line)
                if size <= limit:
                    return self._git.run(scratch.path, "cat-file", "blob", oid).out
            except GitFailed as failed:
                raise NotFound(
                    f"the remote did not send object {oid[:12]}: {failed.reason}"
                ) from None
            except Unavailable as error:
                if _NOT_SERVED.search(error.what):
                    raise NotFound(
                        f"the remote does not have object {oid[:12]}, or does not send it alone",
                        remedy="Over ssh, the server must accept the variable GIT_PROTOCOL, or set "
                        "uploadpack.allowReachableSHA1InWant.",
                    ) from None
                raise
            raise NotFound(
                f"object {oid[:12]} has {size:,} bytes, more than the {limit:,} expected"
            )

    def remove(self, month: str) -> None:
        """Remove a month from the remote. Raises what ``Git.ask`` raises, and ``PermanentError`` if
        the remote refuses it.
        """
        git, ref = self._git, OUTPUT_REFS + month
        done = git.ask(
            self._clone.path, "push", "--porcelain", "--no-verify", "--prune",
            *git.path_options("push"), "--", git.remote, f"refs/disinto/none/{month}*:{ref}*",
            ok=(0, 1),
        )  # fmt: skip
        if ref in self._listed():
            why = "; ".join(line for line in done.line.splitlines() if line.startswith("!"))
            raise PermanentError(
                f"the ops repository {git.where} did not remove {ref}: {git.redacted(why)}",
                remedy="Allow the dispatcher to delete it (hooks, protections).",
            )

    def probe(self) -> None:
        """Push a ref like those of the months, and remove it.

        Raises:
            Unavailable, Denied, Misconfigured, PermanentError: what the remote objected to.
        """
        ref = f"{OUTPUT_REFS}{_PROBE}"
        with self._scratch.empty() as scratch:
            commits = OutputCommits(self._git)
            commits.move_to(scratch)
            commit, _text = commits.commit([], "", "Written and removed by a check")
            with suppress(LostRace):  # it is there already; that it can be removed is what matters
                Pusher(scratch, scratch=True).push(ref, f"+{commit}:{ref}")
        self.remove(_PROBE)

    # --- inside --------------------------------------------------------------------------

    def _listed(self) -> dict[str, str]:
        """Values (hex) of all refs below ``OUTPUT_REFS`` on the remote."""
        git = self._git
        done = git.ask(
            self._clone.path,
            "ls-remote", "--quiet", *git.path_options("fetch"), "--", git.remote, f"{OUTPUT_REFS}*",
        )  # fmt: skip
        pairs = (line.partition("\t") for line in done.line.splitlines())
        # A branch called refs/disinto/logs/… would be listed as well.
        return {ref: value for value, _, ref in pairs if ref.startswith(OUTPUT_REFS)}

    def _raise_if_unavailable(self) -> None:
        """Raise ``Unavailable``, ``Denied`` or ``Misconfigured`` if the remote cannot be listed now."""
        self._listed()

    def _keep_tips(self, tips: Mapping[str, tuple[str, bytes]]) -> None:
        """Keep those of the last two months."""
        newest = sorted(tips.items())[-2:]
        text = {ref: [value, text.decode("latin-1")] for ref, (value, text) in newest}
        new = self._tips_file.with_suffix(".new")
        new.write_text(json.dumps(text))
        new.replace(self._tips_file)

    def _tips(self) -> dict[str, tuple[str, bytes]]:
        """Value and text of the last commit of months, as far as known, by ref."""
        with suppress(OSError, ValueError, AttributeError):
            read = json.loads(self._tips_file.read_bytes())
            return {
                ref: (value, text.encode("latin-1"))
                for ref, (value, text) in read.items()
                if is_oid(value)
            }
        return {}

    def _commit(self, ref: str, value: str) -> bytes:
        """The text of a commit that anybody may have put on the remote. Raises what ``look_again`` raises."""
        why = "it is not a commit"
        with self._scratch.empty() as scratch:
            try:
                self._bring(
                    scratch, value, limit=TIP_LIMIT, options=("--depth=1", "--filter=tree:0")
                )
                done = self._git.run(scratch.path, "cat-file", "commit", value)
                if len(done.out) <= TIP_LIMIT:
                    return done.out
            except GitFailed as failed:
                why = failed.reason
            except DisintoError as error:
                # A hostile commit and an outage fail alike. An outage that is still there is told by this; one
                # that has ended meanwhile costs the output, which is better than results held up without end.
                self._raise_if_unavailable()
                why = error.what
        raise OutputsRefused(
            f"{ref} of {self._git.where} is at {value[:12]}, which cannot be built on: {why}",
            remedy=f"If no dispatcher put that there, remove the ref: git push <remote> :{ref}",
        )

    def _bring(self, scratch: Clone, what: str, *, limit: int, options: Sequence[str] = ()) -> None:
        """Fetch an object by its hash; git may write files of at most ``limit`` bytes."""
        git = self._git
        git.ask(
            scratch.path,
            "fetch", "--quiet", "--no-progress", "--no-tags", "--no-write-fetch-head", *options,
            *git.path_options("fetch"), "--", _SOURCE, what,
            # Large blobs are not held in memory, and all that arrives is written, to count.
            config={
                f"remote.{_SOURCE}.url": git.remote,
                "core.bigFileThreshold": "1m",
                "fetch.unpackLimit": "1",
            },
            file_limit=limit,
        )  # fmt: skip


@contextmanager
def _preparing() -> Iterator[None]:
    """Raises ``OutputsRefused`` if what a push needs cannot be made; ``NotWritable`` if that is because the disk is
    full: result and output wait for room.
    """
    try:
        yield
    except (GitFailed, OSError) as error:
        if no_room(str(error)):
            raise NotWritable(
                Dependency.REMOTE,
                f"the push of output cannot be prepared: {error}",
                remedy="Free space in `state_dir`; pushes are retried.",
            ) from None
        raise OutputsRefused(f"it cannot be prepared for the push: {error}") from None
