"""Runs git on a repository, locally or against its remote."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from dispatcher.errors import Denied, Dependency, DisintoError, Unavailable
from dispatcher.ops_repo import environment, failure, transport
from dispatcher.ops_repo.credential import Token
from dispatcher.ops_repo.failure import GitFailed
from dispatcher.ops_repo.processes import Conversations, end_group
from dispatcher.ops_repo.transport import Transport, transport_of
from dispatcher.settings import OpsRepoSettings

LOCAL_TIMEOUT_S = 300.0
"""Time limit of a local command in seconds; reached only on an overloaded machine."""

_LIMITED = ("/bin/sh", "-c", 'ulimit -f "$0" && exec "$@"')
"""Runs a command that may write no larger files than the next argument says, in blocks."""

_BLOCK = 512
"""Bytes of a block of POSIX ``ulimit -f``."""


@dataclass(frozen=True, slots=True)
class Done:
    """A command that ended as expected."""

    code: int
    out: bytes
    err: str

    @property
    def line(self) -> str:
        return self.out.decode("utf-8", "replace").strip()


class Git:
    """Runs git on one repository, for one remote. Thread-safe.

    Args:
        settings: remote, user name and time limit.
        credential: returns the token for an HTTPS remote; called once, and again after a rejection.

    Attributes:
        conversations: running commands with the remote.
    """

    def __init__(self, settings: OpsRepoSettings, credential: Callable[[], str | None]) -> None:
        self.settings = settings
        self.transport = transport_of(settings.remote)
        self.remote = settings.remote
        if self.transport is Transport.PATH and "://" not in self.remote:
            self.remote = str(Path(self.remote).expanduser().absolute())
        self.conversations = Conversations()
        self._token = Token(settings, credential)
        self._environment = environment.base(self.transport, settings.timeout_s)

    def run(
        self,
        git_dir: Path,
        *args: str,
        stdin: bytes = b"",
        ok: Sequence[int] = (0,),
        timeout_s: float = LOCAL_TIMEOUT_S,
        config: Mapping[str, str] | None = None,
        variables: Mapping[str, str] | None = None,
        keep_fds: Sequence[int] = (),
        stoppable: bool = False,
    ) -> Done:
        """Run a local subcommand, with additional configuration keys or environment variables.

        Args:
            stoppable: whether it ends with the ``conversations``.

        Raises:
            GitFailed: any exit code that is not in ``ok``.
            Unavailable: it did not end within ``timeout_s`` seconds.
        """
        environment = self.environment(config) | dict(variables or {})
        return self._run(
            git_dir,
            args,
            environment=environment,
            ok=ok,
            timeout_s=timeout_s,
            stdin=stdin,
            keep_fds=keep_fds,
            asks=stoppable,
        )

    def ask(
        self,
        git_dir: Path,
        *args: str,
        ok: Sequence[int] = (0,),
        config: Mapping[str, str] | None = None,
        keep_fds: Sequence[int] = (),
        timeout_s: float | None = None,
        file_limit: int = 0,
    ) -> Done:
        """Run a subcommand that talks to the remote.

        Args:
            file_limit: maximum bytes of a file that it writes; 0 for no limit.

        Raises:
            GitFailed: the local repository is damaged or locked, or the remote refused a push.
            Unavailable, Denied, Misconfigured: by the remote's or the network's failure;
                Unavailable also once ``conversations`` were stopped.
        """
        limit = timeout_s or self.settings.timeout_s
        for attempt in (1, 2):
            if self.conversations.stopped:
                raise self.given_up()
            environment = self.environment({**(config or {}), **self._token.config()})
            try:
                return self._run(
                    git_dir,
                    args,
                    environment=environment,
                    ok=ok,
                    timeout_s=limit,
                    keep_fds=keep_fds,
                    asks=True,
                    file_limit=file_limit,
                )
            except GitFailed as failed:
                if self.conversations.stopped:
                    raise self.given_up() from None
                if failed.clone_broken or failed.stale_lock:
                    raise
                error = self.meaning(failed)
                if attempt == 1 and isinstance(error, Denied) and self._token.forget():
                    continue
                raise error from None
        raise AssertionError

    def start_helper(self, git_dir: Path) -> subprocess.Popen[bytes]:
        """Start git's helper for a remote over HTTP, in a process group of its own, which its caller ends. It
        talks on its standard input and output.

        Raises:
            OSError: it cannot be started.
        """
        scheme = self.remote.partition("://")[0]
        return subprocess.Popen(
            ["git", f"--git-dir={git_dir}", f"remote-{scheme}", "origin", self.remote],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=self.environment(self._token.config()),
            cwd="/",
            start_new_session=True,
        )

    def start_receiver(self) -> subprocess.Popen[bytes]:
        """Start ``git receive-pack`` for a remote that is a path, as ``git push`` does, in a process group of
        its own, which its caller ends. It talks on its standard input and output, and changes nothing unless
        it is sent commands.

        Raises:
            Denied: a push would run commands of other users.
            OSError: it cannot be started.
        """
        safe, path = transport.receive_pack(self.remote)
        return subprocess.Popen(
            ["git", "-c", f"safe.directory={safe}", "receive-pack", path],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment.of_remote(self._environment),
            cwd="/",
            start_new_session=True,
        )

    def path_options(self, verb: str) -> tuple[str, ...]:
        """See ``transport.path_options``; () for a remote that is no path."""
        on_path = self.transport is Transport.PATH
        return transport.path_options(self.remote, verb) if on_path else ()

    def meaning(self, failed: GitFailed) -> DisintoError:
        """The error for a failed command with the remote."""
        return failure.meaning(failed, self.settings, where=self.where, token=self._token.given)

    def given_up(self) -> Unavailable:
        """The error for a command not run, or not completed, because ``conversations`` were
        stopped."""
        return Unavailable(
            Dependency.REMOTE,
            f"the ops repository {self.where} is no longer contacted: shutting down",
        )

    def not_in_time(self, verb: str, timeout_s: float) -> Unavailable:
        """The error for a command that did not end within so many seconds."""
        return Unavailable(
            Dependency.REMOTE, f"git {verb} for {self.where} did not end in {timeout_s:g} s"
        )

    @property
    def where(self) -> str:
        """The remote, without credentials."""
        return self.redacted(self.settings.remote)

    def redacted(self, text: str) -> str:
        """The text without user information of addresses and without the token."""
        return self._token.redacted(text)

    def environment(self, config: Mapping[str, str] | None = None) -> dict[str, str]:
        """The environment of a git process; ``config`` holds more configuration keys."""
        return self._environment | environment.configured(config or {})

    def _run(
        self,
        git_dir: Path,
        args: Sequence[str],
        *,
        environment: Mapping[str, str],
        ok: Sequence[int],
        timeout_s: float,
        stdin: bytes = b"",
        keep_fds: Sequence[int] = (),
        asks: bool = False,
        file_limit: int = 0,
    ) -> Done:
        limited = [*_LIMITED, str(max(1, file_limit // _BLOCK))] if file_limit else []
        try:
            process = subprocess.Popen(
                [*limited, "git", f"--git-dir={git_dir}", *args],
                stdin=subprocess.PIPE if stdin else subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=environment,
                cwd="/",
                start_new_session=True,
                pass_fds=keep_fds,
            )
        except OSError as error:  # not installed, no memory, or a name that no command line holds
            raise Unavailable(
                Dependency.REMOTE, f"git {args[0]} cannot be started: {error.strerror}"
            ) from error
        try:
            with self.conversations.one(process) if asks else nullcontext():
                out, err = process.communicate(stdin or None, timeout=timeout_s)
        except subprocess.TimeoutExpired:
            end_group(process)
            raise self.not_in_time(args[0], timeout_s) from None
        except BaseException:
            end_group(process)
            raise
        text = self.redacted(err.decode("utf-8", "replace"))
        if process.returncode not in ok:
            raise GitFailed(args[0], process.returncode, text)
        return Done(process.returncode, out, text)
