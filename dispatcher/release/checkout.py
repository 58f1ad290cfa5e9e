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
from dispatcher.release.layout import Layout
from dispatcher.release.records import replace_file
from dispatcher.release.settings import ReleaseSettings

_LOCAL_TIMEOUT_S = 300.0
_SHOWN = 10
_LOCKS = ("index.lock", "HEAD.lock", "config.lock", "packed-refs.lock", "shallow.lock")
_SAFE_REFS = "refs/disinto/safe"
_OPTIONS = (
    "-c", "core.hooksPath=/dev/null",
    "-c", "advice.detachedHead=false",
    "-c", "gc.auto=0",
    "-c", "maintenance.auto=false",
    "-c", "core.fsync=committed,index",
    "-c", "fetch.unpackLimit=1",
)  # fmt: skip


class Dirty(PermanentError):
    """The checkout has changes that git cannot remove."""


class Checkout:
    """The checkout.

    Args:
        commands: run what belongs in the log.
    """

    def __init__(self, settings: ReleaseSettings, layout: Layout, commands: Commands) -> None:
        self._settings = settings
        self._path = layout.source
        self._commands = commands
        self._environ = base_environment() | {
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_SSH_COMMAND": "ssh -o BatchMode=yes -o ConnectTimeout=20",
            "GIT_OPTIONAL_LOCKS": "0",
            "LC_ALL": "C",
        }

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
        git = self._path / ".git"
        for lock in (*(git / name for name in _LOCKS), *(git / "refs").rglob("*.lock")):
            with suppress(FileNotFoundError):
                lock.unlink()

    def fetch(self) -> str:
        """Fetch the branch; returns its head.

        Raises:
            Unavailable: the remote cannot be reached.
            Misconfigured: it has no such branch.
        """
        branch = self._settings.branch
        tracking = f"refs/remotes/origin/{branch}"
        self._ask("fetch", "--quiet", "--no-tags", self._settings.remote, f"+refs/heads/{branch}:{tracking}")  # fmt: skip
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

    def switch(self, commit: str, *, rewrite: bool) -> None:
        """Check out exactly this commit.

        Args:
            rewrite: write every file anew, because files may have been lost in a power cut.

        Raises:
            Dirty: something could not be removed or changed; names the files.
            CommandFailed: git failed.
        """
        excludes = "".join(f"{pattern}\n" for pattern in self._settings.keep)
        (self._path / ".git" / "info").mkdir(exist_ok=True)
        file = self._path / ".git" / "info" / "exclude"
        if not file.exists() or file.read_text("utf-8", "replace") != excludes:
            replace_file(file, excludes)
        if rewrite:
            (self._path / ".git" / "index").unlink(missing_ok=True)
        try:
            self._switch(commit)
        except CommandFailed:
            # What a full disk cut off is removed. A power cut can damage the index, which is made anew.
            with suppress(CommandFailed):
                self._git("clean", "--quiet", "-fd")
            (self._path / ".git" / "index").unlink(missing_ok=True)
            self._switch(commit)
        if dirty := self._dirty():
            raise self._still_dirty(dirty, commit)

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
        self._git("clean", "--quiet", "-fd")

    def _dirty(self) -> list[str]:
        try:
            listed = self._read("status", "--porcelain=v1", "-z", "--untracked-files=normal")
        except CommandFailed:
            return []
        return [entry[3:] for entry in listed.split("\0") if entry]

    def _still_dirty(self, files: list[str], commit: str) -> Dirty:
        shown = ", ".join(files[:_SHOWN]) + (" and more" if len(files) > _SHOWN else "")
        behind = self._behind(commit)
        return Dirty(
            f"{self._path} has changes that git cannot remove: {shown}{behind}",
            remedy="Remove them, or name files to keep under keep in release.toml.",
        )

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
            environ=self._environ,
            timeout_s=_LOCAL_TIMEOUT_S,
            name=f"git {args[0]}",
        )

    def _read(self, *args: str) -> str:
        """The output of a local command that changes nothing."""
        return self._captured(args, self._path, _LOCAL_TIMEOUT_S)

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
            environ=self._environ,
        )
        if done.returncode:
            first = (done.stderr.strip().splitlines() or [""])[0]
            what = f"{name}: exit code {done.returncode}: {first}"
            raise CommandFailed(what, output=done.stderr)
        return done.stdout.strip()

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
