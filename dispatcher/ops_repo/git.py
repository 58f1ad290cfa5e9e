"""Running git: its environment, its time limits, and what its messages mean.

git runs with an environment of its own making: of the dispatcher's variables only those that
reach a server (proxies, certificates, ssh agent) are handed on, and none of these for a remote that
is a path, so that no token of the dispatcher's is seen by git, by ssh or by the hooks of such a
remote. The user's and the system's git configuration are not read.

A remote that is a path may belong to somebody else for reading. To push there would run its owner's
hooks as our user; see ``ownership``.

A token for an HTTPS remote travels as an ``http.<server>.extraHeader`` in environment variables
(``GIT_CONFIG_COUNT``), never in arguments, in a file or in an error text. It is offered to the
remote's own server only; redirects are refused.
"""

from __future__ import annotations

import base64
import os
import re
import shlex
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from urllib.parse import unquote, urlsplit

from dispatcher.errors import Denied, Dependency, DisintoError, Misconfigured, Unavailable
from dispatcher.ops_repo import fsck
from dispatcher.ops_repo.ownership import foreign, repository
from dispatcher.ops_repo.processes import Conversations, end_group
from dispatcher.ops_repo.records import escaped
from dispatcher.ops_repo.refusal import carries_token, refused, refused_http
from dispatcher.settings import OpsRepoSettings

LOCAL_TIMEOUT_S = 300.0
"""Seconds for a command that asks nobody else; reached only when the machine is in trouble."""

_HANDED_ON = ("PATH", "HOME", "USER", "LOGNAME", "TMPDIR", "GIT_EXEC_PATH")

_TO_REACH_SERVERS = (
    "SSH_AUTH_SOCK", "SSL_CERT_FILE", "SSL_CERT_DIR", "GIT_SSL_CAINFO", "GIT_SSL_CAPATH", "GIT_SSH",
    "http_proxy", "https_proxy", "no_proxy", "all_proxy",
    "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY",
)  # fmt: skip

_CONFIG: Mapping[str, str] = {
    # Nothing of a repository's own may run.
    "core.hooksPath": "/dev/null",
    "core.fsmonitor": "false",
    "credential.helper": "",
    "core.askPass": "",
    # Housekeeping is ours (``clone.py``): never in the way of a fetch or a commit.
    "gc.auto": "0",
    "maintenance.auto": "false",
    # What arrives is checked, and only known transports are used.
    "transfer.fsckObjects": "true",
    "fetch.fsckObjects": "true",
    **fsck.ACCEPTED,
    "protocol.allow": "never",
    "protocol.file.allow": "always",
    "protocol.ssh.allow": "always",
    "protocol.https.allow": "always",
    "protocol.http.allow": "always",
    "protocol.version": "2",
    "http.followRedirects": "false",
    # A remote that has stopped talking is given up, also by a git whose dispatcher was killed.
    "http.lowSpeedLimit": "1",
    "http.lowSpeedTime": "30",
    "core.compression": "1",
    # The clone can be made anew at any time; waiting for the disk at each object is not worth it.
    # Its refs are another matter: one of them is part of the memory of what ran.
    "core.fsync": "reference",
    "core.logAllRefUpdates": "false",
    "core.quotePath": "false",
    "fastimport.unpackLimit": "100",
    "fetch.writeCommitGraph": "false",
    "log.showSignature": "false",
    "log.mailmap": "false",
    "push.gpgSign": "false",
    "push.recurseSubmodules": "no",
    "submodule.recurse": "false",
    "fetch.recurseSubmodules": "false",
    "gpg.x509.program": "false",
    "i18n.logOutputEncoding": "UTF-8",
}

_READER = "GIT_ALLOW_PROTOCOL=none GIT_NO_LAZY_FETCH=1 git -c safe.directory='*' upload-pack"
"""What reads a remote that is a path; a shell runs it."""

_USERINFO = re.compile(r"(?<=://)[^/@\s']*@")


class Transport(StrEnum):
    PATH = "path"
    SSH = "ssh"
    HTTP = "http"


class GitFailed(Exception):
    """git ended with a code that its caller did not expect. Stays inside this package.

    Attributes:
        verb: the subcommand.
        code: exit code; negative for a signal.
        text: what it said on standard error, without any credential.
    """

    def __init__(self, verb: str, code: int, text: str) -> None:
        super().__init__(f"git {verb} ended with {code}: {text.strip()}")
        self.verb = verb
        self.code = code
        self.text = text

    @property
    def own_text(self) -> str:
        """What git itself said, without the lines that the other side said."""
        return "\n".join(x for x in self.text.splitlines() if not x.startswith("remote: "))

    @property
    def signal(self) -> str:
        """Name of the signal that ended git; "" if none did."""
        return signal.Signals(-self.code).name if self.code < 0 else ""

    @property
    def reason(self) -> str:
        """Why it failed, in words."""
        said = _tail(self.text)
        return f"git {self.verb} was ended by {self.signal}: {said}" if self.signal else said

    @property
    def clone_broken(self) -> bool:
        """Whether the message speaks of a damaged or half-made local repository."""
        return bool(_BROKEN.search(self.own_text))

    @property
    def stale_lock(self) -> bool:
        """Whether a lock file was in the way."""
        return bool(_LOCKED.search(self.own_text))


_BROKEN = re.compile(
    r"is corrupt|corrupt(ed)? (loose )?object|bad object|bad tree object|object file .* is empty"
    r"|unable to (read|parse|unpack|find) |unable to map |could not read [0-9a-f]{8}"
    r"|inflate: |garbage at end of|packfile .* (cannot|does not|claims|is)|index file .* is too"
    r"|missing (blob|tree|commit|object)|failed to traverse|failed to read|hash mismatch"
    r"|not a git repository: '|[Nn]ot a git repository \(or|not a tree object|not a valid object"
    r"|bad config|invalid sha1 pointer|did not send all necessary objects|commit-graph"
    r"|Failed to traverse parents|loose object .* (stored|is)|could not parse commit"
    r"|unresolved deltas|bad signature|wrong index v|not valid: refs/|broken ref|broken link"
    r"|[Bb]ad (revision|source)|reference broken|could not open pack|non-monotonic",
)
_LOCKED = re.compile(r"\.lock': File exists|Another git process seems to be running")
_NO_REPOSITORY = re.compile(
    r"does not appear to be a git repository|repository .* not found|Repository not found"
    r"|returned error: (404|30[12378])|no such repository|does not exist$|not exported|is not a git command"
    r"|unable to update url base from redirection|Unencrypted HTTP",
    re.IGNORECASE | re.MULTILINE,
)
_NO_BRANCH = re.compile(r"couldn't find remote ref|no such remote ref", re.IGNORECASE)
_DENIED = re.compile(
    r"Authentication failed|could not read (Username|Password)|terminal prompts disabled"
    r"|Permission denied|returned error: 40[13]|Host key verification failed|access denied"
    r"|dubious ownership|Insufficient permission|Load key .* bad permissions"
    # What servers say to a key that may only read: GitHub, GitLab, Forgejo and Gitea, Gitolite.
    r"|Permission to \S+ denied|marked as read only|does not have write access|not allowed to push"
    r"|is not authorized to|DENIED by ",
    re.IGNORECASE,
)
_MALFORMED = re.compile(r"fsck error|: zeroPaddedFilemode|error: object [0-9a-f]{40,}: ")


def transport_of(remote: str) -> Transport:
    """How git would reach this remote.

    Raises:
        Misconfigured: empty, an unknown transport, or an address that holds a password.
    """
    if not remote:
        raise Misconfigured(
            "no ops repository is set", remedy="Set `remote` in [ops_repo] of disinto.toml."
        )
    if remote.startswith("-") or "::" in remote.split("/", 1)[0]:
        raise Misconfigured(
            f"[ops_repo] remote {remote!r} is no address",
            remedy="Give a path, ssh:// or https:// address.",
        )
    if "://" not in remote:
        scp_like = ":" in remote.split("/", 1)[0]
        return Transport.SSH if scp_like else Transport.PATH
    url = urlsplit(remote)
    if url.scheme == "file":
        return Transport.PATH
    if url.scheme in ("ssh", "git+ssh", "ssh+git"):
        return Transport.SSH
    if url.scheme not in ("http", "https"):
        raise Misconfigured(
            f"[ops_repo] remote has the unknown transport {url.scheme!r}",
            remedy="Give a path, ssh:// or https:// address.",
        )
    if url.password is not None:
        raise Misconfigured(
            "[ops_repo] remote holds a password, which would be seen in the list of processes",
            remedy="Leave it out of the address, and name its variable in `token_env`.",
        )
    return Transport.HTTP


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
        credential: gives the token for an HTTPS remote; asked once, and again after a refusal.

    Attributes:
        conversations: those with the remote that are under way.
    """

    def __init__(self, settings: OpsRepoSettings, credential: Callable[[], str | None]) -> None:
        self.settings = settings
        self.transport = transport_of(settings.remote)
        self.remote = settings.remote
        if self.transport is Transport.PATH and "://" not in self.remote:
            self.remote = str(Path(self.remote).expanduser().absolute())
        self._credential = credential
        self._token: str | None = None
        self._token_known = False
        self._environment = self._base_environment()
        self.conversations = Conversations()

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
    ) -> Done:
        """Run a local subcommand, with more configuration keys or environment variables.

        Raises:
            GitFailed: any exit code that is not in ``ok``.
            Unavailable: no end in ``timeout_s`` seconds.
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
        )

    def ask(
        self,
        git_dir: Path,
        *args: str,
        ok: Sequence[int] = (0,),
        config: Mapping[str, str] | None = None,
        keep_fds: Sequence[int] = (),
        timeout_s: float | None = None,
    ) -> Done:
        """Run a subcommand that talks to the remote.

        Raises:
            GitFailed: the local repository is damaged or locked, or the remote refused a push.
            Unavailable, Denied, Misconfigured: what the remote's or the network's answer means;
                Unavailable also once ``conversations`` were stopped.
        """
        limit = timeout_s or self.settings.timeout_s
        for attempt in (1, 2):
            if self.conversations.stopped:
                raise self.given_up()
            environment = self.environment({**(config or {}), **self._secret_config()})
            try:
                return self._run(
                    git_dir,
                    args,
                    environment=environment,
                    ok=ok,
                    timeout_s=limit,
                    keep_fds=keep_fds,
                    asks=True,
                )
            except GitFailed as failed:
                if self.conversations.stopped:
                    raise self.given_up() from None
                if failed.clone_broken or failed.stale_lock:
                    raise
                error = self.meaning(failed)
                if attempt == 1 and isinstance(error, Denied) and self._token_known:
                    self._token_known = False  # it may have been changed since: ask for it again
                    continue
                raise error from None
        raise AssertionError

    def path_options(self, verb: str) -> tuple[str, ...]:
        """Options with which git serves a remote that is a path.

        One that belongs to another user may be read: the operator named it, and git would
        otherwise ask for a ``safe.directory`` in a file we do not read. Whatever its configuration
        says, it may use no transport for that. It may not be pushed to.

        Raises:
            Denied: a push would run commands of other users.
        """
        if self.transport is not Transport.PATH:
            return ()
        if verb != "push":
            return (f"--upload-pack={_READER}",)
        url = self.remote.startswith("file://")
        path = Path(unquote(self.remote.removeprefix("file://")) if url else self.remote)
        if found := foreign(path):
            raise Denied(
                Dependency.REMOTE,
                f"not pushing to {path}: {escaped(str(found.path))} {found.reason}, so hooks or "
                "configuration of others would run as this user",
                remedy=f"Give the repository to this user (chown -R {os.geteuid()}, chmod o-w), or "
                "reach it by ssh:// or https://.",
            )
        # Ours or root's, by our own account; git's would refuse root's.
        safe = shlex.quote(str(repository(path) or path))
        return (f"--receive-pack=git -c safe.directory={safe} receive-pack",)

    def meaning(self, failed: GitFailed) -> DisintoError:
        """What a failed conversation with the remote amounts to."""
        text, where = failed.text, self.redacted(self.settings.remote)
        said = _tail(text)
        if _NO_BRANCH.search(text):
            return Misconfigured(
                f"the ops repository {where} has no branch {self.settings.branch!r}",
                remedy="Set `branch` in [ops_repo], or push a first commit.",
            )
        if _DENIED.search(text):
            if self.transport is Transport.HTTP:
                return refused_http(self.settings, where, said, token=bool(self._token))
            return refused(where, said)
        if _NO_REPOSITORY.search(text):
            return Misconfigured(
                f"there is no ops repository at {where}: {said}",
                remedy="Check `remote` in [ops_repo]; a redirection is not followed.",
            )
        if _MALFORMED.search(text):
            return Misconfigured(
                f"the ops repository {where} sent a malformed object: {said}",
                remedy="Run `git fsck --strict` there, and force-push the branch without the commit "
                "that brought the object; deleting a file in a later commit does not help.",
            )
        cut_off = f"the ops repository {where} cannot be reached: {said}"
        return ended_by_signal(failed) if failed.signal else Unavailable(Dependency.REMOTE, cut_off)

    def given_up(self) -> Unavailable:
        """The error for what is not asked, or not to the end, since the conversations stopped."""
        where = self.redacted(self.settings.remote)
        return Unavailable(
            Dependency.REMOTE, f"the ops repository {where} is not asked any more: we are stopping"
        )

    def redacted(self, text: str) -> str:
        """The text without user information of addresses and without the token."""
        text = _USERINFO.sub("", text)
        for secret in self._forms():
            text = text.replace(secret, "[token]")
        return text

    def environment(self, extra: Mapping[str, str] | None = None) -> dict[str, str]:
        """The environment of a git process; ``extra`` holds more configuration keys."""
        config = {**_CONFIG, **(extra or {})}
        env = dict(self._environment)
        env["GIT_CONFIG_COUNT"] = str(len(config))
        for number, (key, value) in enumerate(config.items()):
            env[f"GIT_CONFIG_KEY_{number}"] = key
            env[f"GIT_CONFIG_VALUE_{number}"] = value
        return env

    def _base_environment(self) -> dict[str, str]:
        reached = () if self.transport is Transport.PATH else _TO_REACH_SERVERS
        names = (*_HANDED_ON, *reached)
        env = {name: os.environ[name] for name in names if name in os.environ}
        connect = max(1, min(15, int(self.settings.timeout_s)))
        ssh = os.environ.get("GIT_SSH_COMMAND", "ssh")
        if "GIT_SSH" not in env:
            env["GIT_SSH_COMMAND"] = (
                f"{ssh} -o BatchMode=yes -o ConnectTimeout={connect}"
                " -o ServerAliveInterval=15 -o ServerAliveCountMax=2"
            )
        env |= {
            "LC_ALL": "C",
            "LANGUAGE": "",
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": "/dev/null",
            "GIT_ATTR_NOSYSTEM": "1",
            "GIT_NO_REPLACE_OBJECTS": "1",
            "GIT_LITERAL_PATHSPECS": "1",
            "GIT_OPTIONAL_LOCKS": "0",
            "GIT_ADVICE": "0",
        }
        return env

    def _secret_config(self) -> dict[str, str]:
        """The header that carries the token, scoped to the remote's own server."""
        if self.transport is not Transport.HTTP:
            return {}
        if not carries_token(self.settings.remote):
            return {}
        url = urlsplit(self.settings.remote)
        if not self._token_known:
            self._token = self._credential()
            self._token_known = True
        if not self._token:
            return {}
        server = f"{url.scheme}://{url.netloc.rpartition('@')[2]}/"
        return {f"http.{server}.extraHeader": f"Authorization: Basic {self._basic()}"}

    def _basic(self) -> str:
        url = urlsplit(self.settings.remote)
        user = url.username or self.settings.username
        return base64.b64encode(f"{user}:{self._token}".encode()).decode()

    def _forms(self) -> tuple[str, ...]:
        return (self._basic(), self._token) if self._token else ()

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
    ) -> Done:
        process = subprocess.Popen(
            ["git", f"--git-dir={git_dir}", *args],
            stdin=subprocess.PIPE if stdin else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
            cwd="/",
            start_new_session=True,
            pass_fds=keep_fds,
        )
        try:
            with self.conversations.one(process) if asks else nullcontext():
                out, err = process.communicate(stdin or None, timeout=timeout_s)
        except subprocess.TimeoutExpired:
            end_group(process)
            where = self.redacted(self.settings.remote)
            raise Unavailable(
                Dependency.REMOTE, f"git {args[0]} for {where} did not end in {timeout_s:g} s"
            ) from None
        except BaseException:
            end_group(process)
            raise
        text = self.redacted(err.decode("utf-8", "replace"))
        if process.returncode not in ok:
            raise GitFailed(args[0], process.returncode, text)
        return Done(process.returncode, out, text)


def ended_by_signal(failed: GitFailed) -> Unavailable:
    """The error for a git that a signal ended."""
    return Unavailable(
        Dependency.REMOTE,
        f"the ops repository cannot be read: {failed.reason}",
        remedy="SIGKILL: too little memory. SIGSEGV: a commit may nest directories deeper than git can "
        "walk; find it with `git log --stat`, and force-push the branch without it.",
    )


def _tail(text: str) -> str:
    """The last lines that say something, as one line."""
    noise = (
        "hint:",
        "Please make sure",
        "and the repository exists",
        "warning: redirecting",
        "warning: Skipping unknown msg id",
    )
    lines = [
        x.strip()
        for x in text.replace("\r", "\n").splitlines()
        if x.strip() and not x.startswith(noise)
    ]
    return "; ".join(lines[-4:])[:600] or "git said nothing"
