"""The checkout of an application, by git. It belongs to the deploys: nobody else works in it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from dispatcher.errors import (
    Dependency,
    DisintoError,
    Misconfigured,
    NotFound,
    PermanentError,
    Unavailable,
)
from dispatcher.release.captured import captured
from dispatcher.release.commands import CommandFailed, Commands, base_environment
from dispatcher.release.kept_files import KeptFiles, few, make_writable, occupied
from dispatcher.release.layout import Layout
from dispatcher.release.settings import ReleaseSettings

_LOCAL_TIMEOUT_S = 300.0
_PLACES = 200  # in one command
_OF_BRANCHES = ("refs/heads", "refs/remotes/origin")
_SAFE_REFS = "refs/disinto/safe"
_OPTIONS = (
    "-c", "core.bare=false",
    "-c", "core.sparseCheckout=false",
    "-c", "core.fsmonitor=false",
    "-c", "core.untrackedCache=false",
    "-c", "core.hooksPath=/dev/null",
    "-c", "advice.detachedHead=false",
    "-c", "gc.auto=0",
    "-c", "maintenance.auto=false",
    "-c", "core.fsync=committed,index",
    "-c", "fetch.unpackLimit=1",
)  # fmt: skip


class Dirty(PermanentError):
    """The checkout has changes that git cannot remove."""


class Overwrites(PermanentError):
    """A commit contains files in the place of files to keep."""


class Checkout:
    """The checkout.

    Args:
        commands: run what belongs in the log.
    """

    def __init__(self, settings: ReleaseSettings, layout: Layout, commands: Commands) -> None:
        self._settings = settings
        self._path = layout.source
        self._keep = KeptFiles(settings, layout)
        self._commands = commands
        self._environ = base_environment() | {
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_SSH_COMMAND": "ssh -o BatchMode=yes -o ConnectTimeout=20",
            "GIT_OPTIONAL_LOCKS": "0",
            "LC_ALL": "C",
        }
        # Whatever a command wrote into .git/config, and no repository in a directory above is meant.
        self._inside = {"GIT_DIR": str(self._path / ".git"), "GIT_WORK_TREE": str(self._path)}

    @property
    def exists(self) -> bool:
        return (self._path / ".git").is_dir()

    def prepare(self) -> None:
        """Make the repository if there is none, and remove what a killed git left behind.

        Raises:
            Misconfigured: the directory contains something else.
            CommandFailed: git failed.
        """
        if not self.exists:
            if self._path.is_dir() and any(self._path.iterdir()):
                raise Misconfigured(
                    f"{self._path}: not empty, and not a git repository",
                    remedy="Move it away; the deploy clones the repository there.",
                )
            self._path.mkdir(parents=True, exist_ok=True)
            self._git("init", "--quiet", "--initial-branch", self._settings.branch)
        self._remove_locks()

    def fetch(self) -> str:
        """Fetch the branch; returns its head.

        Raises:
            Unavailable: the remote cannot be reached.
            Misconfigured: it has no such branch.
        """
        branch = self._settings.branch
        tracking = f"refs/remotes/origin/{branch}"
        options = ("--quiet", "--no-tags", "--no-recurse-submodules")
        wanted = (self._settings.remote, f"+refs/heads/{branch}:{tracking}")
        try:
            self._ask("fetch", *options, *wanted)
        except Unavailable as error:
            if "cannot lock ref" not in error.what:
                raise
            # Also if the fetch of a deploy that was killed has ended only now.
            self._forget_branches_in_the_way()
            self._ask("fetch", *options, *wanted)
        return self._read("rev-parse", "--verify", f"{tracking}^{{commit}}")

    def remote_head(self) -> str:
        """The branch's head, without a repository here.

        Raises:
            Unavailable, Misconfigured: see ``fetch``.
        """
        ref = f"refs/heads/{self._settings.branch}"
        listed = self._ask("ls-remote", self._settings.remote, ref).split()
        if not listed:
            raise self._no_branch()
        return listed[0]

    def has(self, commit: str) -> bool:
        """Whether the commit is here."""
        try:
            self._read("cat-file", "-e", f"{commit}^{{commit}}")
        except CommandFailed:
            return False
        return True

    def obtain(self, commit: str) -> None:
        """Fetch the branch if a commit is not here: only if the checkout was damaged or replaced.

        Raises:
            NotFound: the branch does not have it either.
            Unavailable, Misconfigured: see ``fetch`` and ``prepare``.
        """
        if self.exists and self.has(commit):
            return
        self.prepare()
        self.fetch()
        if not self.has(commit):
            raise NotFound(
                f"{self._path} and {self._settings.branch} have no commit {commit[:12]}",
                remedy="Push it, or remove run/journal.json, then 'disinto release deploy --force'.",
            )

    def refuse_to_overwrite(self, commit: str) -> None:
        """Check that a commit has no file where a file under ``keep`` is.

        Raises:
            Overwrites: it has; names the files.
        """
        self._drop_misleading_index()
        tracked = set(self._files_of(head)) if (head := self.head()) else set()
        new = (name for name in self._files_of(commit) if name not in tracked)
        places = sorted({place for name in new if (place := occupied(self._path, name))})
        kept = [name for name in self._kept_in(places) if name not in tracked]
        if kept:
            raise Overwrites(
                f"{commit[:12]} contains files where {self._path} has files to keep: {few(kept)}",
                remedy="Remove them from the branch, or change keep in release.toml.",
            )

    def _files_of(self, commit: str) -> list[str]:
        return self._listed("ls-tree", "-r", "-z", "--name-only", commit)

    def _kept_in(self, places: Sequence[str]) -> list[str]:
        """Files to keep at these places and below them."""
        options = ("--others", "--ignored", *self._keep.as_options())
        found = []
        for at in range(0, len(places), _PLACES):
            named = (f":(literal){place}" for place in places[at : at + _PLACES])
            found += self._listed("ls-files", "-z", *options, "--", *named)
        return found

    def switch(self, commit: str, *, rewrite: bool, leftovers: bool = False) -> list[str]:
        """Check out exactly this commit.

        Args:
            rewrite: write every file anew, because files may have been lost in a power cut.
            leftovers: files that git does not track and cannot remove are no failure; they are returned.

        Raises:
            Dirty: something could not be removed or changed; names the files.
            CommandFailed: git failed.
        """
        self._remove_locks()
        self._keep.write_exclude(self._path / ".git" / "info")
        index, failure = self._path / ".git" / "index", None
        self._drop_misleading_index(certainly=rewrite)
        try:
            self._switch(commit)
        except CommandFailed:
            # What a full disk cut off is removed. A power cut can damage the index, which is made anew.
            # A command may have made directories that cannot be written.
            make_writable(self._path)
            with suppress(CommandFailed):
                self._clean()
            index.unlink(missing_ok=True)
            try:
                self._switch(commit)
            except CommandFailed as error:
                failure = error
        changed, untracked = self._changed(), self._untracked()
        exact = not changed and self.head() == commit
        if exact and untracked and not leftovers:
            raise self._still_dirty(untracked, commit)
        if failure is not None and not (exact and leftovers):
            raise failure
        if not exact:
            raise self._still_dirty(changed, commit)
        return untracked

    def head(self) -> str:
        """The commit that is checked out; "" if none is."""
        try:
            return self._read("rev-parse", "--verify", "--quiet", "HEAD^{commit}")
        except CommandFailed:
            return ""

    def contains(self, commit: str, earlier: str) -> bool:
        """Whether a commit is, or has among its ancestors, an earlier one."""
        try:
            self._read("merge-base", "--is-ancestor", earlier, commit)
        except CommandFailed:
            return False
        return True

    def of_branch(self, commit: str, head: str) -> str:
        """The full hash of a commit of the branch, which was fetched.

        Args:
            commit: hexadecimal digits, the beginning of its hash.
            head: of the branch.

        Raises:
            NotFound: the branch has no such commit.
        """
        with suppress(CommandFailed):
            found = self._read("rev-parse", "--verify", "--quiet", f"{commit}^{{commit}}")
            if self.contains(head, found):
                return found
        raise NotFound(
            f"{self._settings.branch} has no commit {commit[:12]}",
            remedy=f"Push it, or name another; the head is {head[:12]}.",
        )

    def commits_between(self, old: str, new: str) -> list[str]:
        """Short hash and subject of the commits that ``new`` has and ``old`` lacks, newest first."""
        if not old or not self.has(old):
            return [self._read("log", "-1", "--format=%h %s", new)]
        return self._read("log", "--format=%h %s", "-100", f"{old}..{new}").splitlines()

    def added(self, old: str, new: str, paths: Sequence[str]) -> list[str]:
        """Files in ``paths`` that ``new`` has and ``old`` lacks."""
        if not paths:
            return []
        if not old or not self.has(old):
            return self._read("ls-tree", "-r", "--name-only", new, "--", *paths).splitlines()
        options = ("--name-only", "--no-renames", "--diff-filter=A")
        return self._read("diff", *options, old, new, "--", *paths).splitlines()

    def protect(self, commits: Iterable[str]) -> None:
        """Keep these commits, whatever the branch does, and no longer others."""
        wanted = set(commits)
        lines = self._read("for-each-ref", "--format=%(refname)", _SAFE_REFS).splitlines()
        kept = {line.rpartition("/")[2] for line in lines}
        for commit in wanted - kept:
            self._git("update-ref", f"{_SAFE_REFS}/{commit}", commit)
        for commit in kept - wanted:
            self._git("update-ref", "-d", f"{_SAFE_REFS}/{commit}")

    def _switch(self, commit: str) -> None:
        self._git("checkout", "--quiet", "--force", "-B", self._settings.branch, commit)
        self._git("reset", "--quiet", "--hard", commit)
        self._clean()

    def _clean(self) -> None:
        """Twice -f: also repositories that a command cloned."""
        self._git("clean", "--quiet", "-ffd", *self._keep.as_options())

    def _remove_locks(self) -> None:
        """Remove what a git that was killed left; none of ours runs."""
        git = self._path / ".git"
        for lock in (*git.glob("*.lock"), *(git / "refs").rglob("*.lock")):
            with suppress(OSError):
                lock.unlink()

    def _drop_misleading_index(self, *, certainly: bool = False) -> None:
        """Have every file compared and written if the index is damaged, or has entries that git was told
        not to compare or not to write.
        """
        try:
            certainly |= any(line[:1] != "H" for line in self._listed("ls-files", "-v", "-z"))
        except CommandFailed:
            certainly = True
        if certainly:
            (self._path / ".git" / "index").unlink(missing_ok=True)

    def _changed(self) -> list[str]:
        """Files of the commit that differ."""
        return [entry[3:] for entry in self._listed("status", "--porcelain=v1", "-z", "--untracked-files=no")]  # fmt: skip

    def _untracked(self) -> list[str]:
        """Files that are neither of the commit nor ignored nor to be kept."""
        options = ("--directory", "--no-empty-directory", "--exclude-standard")
        return self._listed("ls-files", "-z", "--others", *options, *self._keep.as_options())

    def _still_dirty(self, files: list[str], commit: str) -> Dirty:
        behind = self._behind(commit)
        return Dirty(
            f"{self._path} has changes that git cannot remove: {few(files)}{behind}",
            remedy="Remove them, or name files to keep under keep in release.toml.",
        )

    def _forget_branches_in_the_way(self) -> None:
        """Delete local branches that cannot be beside the followed one, such as ``main`` beside ``main/x``;
        release.toml named another one before.
        """
        listed = self._read("for-each-ref", "--format=%(refname)", *_OF_BRANCHES).splitlines()
        wanted = [f"{each}/{self._settings.branch}" for each in _OF_BRANCHES]
        stale = [
            ref
            for ref in listed
            if any(ref.startswith(f"{each}/") or each.startswith(f"{ref}/") for each in wanted)
        ]
        for ref in stale:
            self._git("update-ref", "-d", ref)

    def _behind(self, commit: str) -> str:
        tracking = f"refs/remotes/origin/{self._settings.branch}"
        try:
            count = self._read("rev-list", "--count", f"{self.head() or commit}..{tracking}")
        except CommandFailed:
            return ""
        return f"; {count} commits behind {self._settings.branch}"

    def _git(self, *args: str) -> None:
        """Run a local command; its output goes to the log."""
        self._commands.run(
            ("git", *_OPTIONS, *args),
            cwd=self._path,
            environ=self._environ | self._inside,
            timeout_s=_LOCAL_TIMEOUT_S,
            name=f"git {args[0]}",
        )

    def _read(self, *args: str) -> str:
        """The output of a local command that changes nothing."""
        return self._captured(args, self._path, _LOCAL_TIMEOUT_S).strip()

    def _listed(self, *args: str) -> list[str]:
        """The entries, each ended by NUL, that such a command prints."""
        return [each for each in self._captured(args, self._path, _LOCAL_TIMEOUT_S).split("\0") if each]  # fmt: skip

    def _ask(self, *args: str) -> str:
        """The output of a command that connects to the remote."""
        cwd = self._path if self.exists else self._path.parent
        try:
            return self._captured(args, cwd, self._settings.fetch_timeout)
        except CommandFailed as error:
            raise self._meaning(error) from None

    def _captured(self, args: Sequence[str], cwd: Path, timeout_s: float) -> str:
        name = f"git {args[0]}"
        done = captured(
            ("git", *_OPTIONS, *args),
            timeout_s=timeout_s,
            failure=CommandFailed,
            name=name,
            cwd=cwd,
            environ=self._environ | (self._inside if self.exists else {}),
        )
        if done.returncode:
            first = (done.stderr.strip().splitlines() or [""])[0]
            what = f"{name}: exit code {done.returncode}: {first}"
            raise CommandFailed(what, output=done.stderr)
        return done.stdout

    def _meaning(self, error: CommandFailed) -> DisintoError:
        if "couldn't find remote ref" in error.output:
            return self._no_branch()
        if "No space left" in error.output:
            return error
        return Unavailable(
            Dependency.REMOTE,
            f"{self._settings.remote}: {error.what}",
            remedy="The next deploy tries again.",
        )

    def _no_branch(self) -> Misconfigured:
        settings = self._settings
        return Misconfigured(
            f"{settings.remote} has no branch {settings.branch}",
            remedy="Correct branch in release.toml, or push it.",
        )
