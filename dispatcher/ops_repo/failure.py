"""Interprets failures of git by their messages."""

from __future__ import annotations

import re
import signal

from dispatcher.errors import Dependency, DisintoError, Misconfigured, Unavailable
from dispatcher.ops_repo import refusals
from dispatcher.ops_repo.refusal import refused, refused_http
from dispatcher.ops_repo.transport import Transport, transport_of
from dispatcher.settings import OpsRepoSettings

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
    r"|invalid gitfile format|unable to update url base from redirection|Unencrypted HTTP",
    re.IGNORECASE | re.MULTILINE,
)
_OTHER_HASHES = re.compile(r"mismatched algorithms: client \w+; server (\w+)")
_NO_BRANCH = re.compile(r"couldn't find remote ref|no such remote ref", re.IGNORECASE)
_DENIED = re.compile(
    r"Authentication failed|could not read (Username|Password)|terminal prompts disabled"
    r"|Permission denied|returned error: 40[13]|Host key verification failed|access denied"
    r"|dubious ownership|Insufficient permission|Load key .* bad permissions"
    # Messages of servers for a read-only key: GitHub, GitLab, Forgejo and Gitea, Gitolite.
    r"|Permission to \S+ denied|marked as read only|does not have write access|not allowed to push"
    r"|is not authorized to|DENIED by ",
    re.IGNORECASE,
)
_MALFORMED = re.compile(r"fsck error|: zeroPaddedFilemode|error: object [0-9a-f]{40,}: ")


class GitFailed(Exception):
    """git ended with a code that its caller did not expect. Stays inside this package.

    Attributes:
        verb: the subcommand.
        code: exit code; negative for a signal.
        text: its standard error, without credentials.
    """

    def __init__(self, verb: str, code: int, text: str) -> None:
        super().__init__(f"git {verb} ended with {code}: {text.strip()}")
        self.verb = verb
        self.code = code
        self.text = text

    @property
    def own_text(self) -> str:
        """Git's own messages, without those of the remote."""
        return "\n".join(x for x in self.text.splitlines() if not x.startswith("remote: "))

    @property
    def signal(self) -> str:
        """Name of the signal that killed git; "" if none did."""
        return signal.Signals(-self.code).name if self.code < 0 else ""

    @property
    def reason(self) -> str:
        """Why it failed, in words."""
        message = _tail(self.text)
        return f"git {self.verb} was ended by {self.signal}: {message}" if self.signal else message

    @property
    def clone_broken(self) -> bool:
        """Whether the message reports a damaged or incomplete local repository."""
        return bool(_BROKEN.search(self.own_text))

    @property
    def no_room(self) -> bool:
        """Whether git could not write to the local repository because a disk is full or read-only."""
        return refusals.no_room(self.own_text)

    @property
    def stale_lock(self) -> bool:
        """Whether a lock file existed."""
        return bool(_LOCKED.search(self.own_text))


def meaning(
    failed: GitFailed, settings: OpsRepoSettings, *, where: str, token: bool
) -> DisintoError:
    """The error for a failed command with the remote.

    Args:
        where: the remote, without credentials.
        token: whether one was sent.
    """
    text, message = failed.text, _tail(failed.text)
    if wrong := _misconfigured(text, settings, where):
        return wrong
    if failed.verb == "push" and refusals.not_writable(text):
        return not_writable(where, message)
    if _DENIED.search(text):
        over_http = transport_of(settings.remote) is Transport.HTTP
        return (
            refused_http(settings, where, message, token=token)
            if over_http
            else refused(where, message)
        )
    if _NO_REPOSITORY.search(text):
        return Misconfigured(
            f"there is no ops repository at {where}: {message}",
            remedy="Check `remote` in [ops_repo]; a redirection is not followed.",
        )
    if _MALFORMED.search(text):
        return Misconfigured(
            f"the ops repository {where} sent a malformed object: {message}",
            remedy="Run `git fsck --strict` there, and force-push the branch without the commit "
            "that brought the object; deleting a file in a later commit does not help.",
        )
    cut_off = f"the ops repository {where} cannot be reached: {message}"
    return ended_by_signal(failed) if failed.signal else Unavailable(Dependency.REMOTE, cut_off)


def _misconfigured(text: str, settings: OpsRepoSettings, where: str) -> Misconfigured | None:
    """The error for a repository that is there and cannot be used, if it is that."""
    if _NO_BRANCH.search(text):
        return Misconfigured(
            f"the ops repository {where} has no branch {settings.branch!r}",
            remedy="Set `branch` in [ops_repo], or push a first commit.",
        )
    if other := _OTHER_HASHES.search(text):
        return Misconfigured(
            f"the ops repository {where} names its objects by {other[1]}, which is not supported",
            remedy="Use one that was made with `git init --object-format=sha1`, the default.",
        )
    return None


def not_writable(where: str, why: str) -> refusals.NotWritable:
    """The error for a remote that can store nothing.

    Args:
        where: the remote, without credentials.
        why: its message.
    """
    return refusals.NotWritable(
        Dependency.REMOTE,
        f"the ops repository {where} can store nothing at the moment: {why}",
        remedy="Free space there, or make it writable again; pushes are retried.",
    )


def ended_by_signal(failed: GitFailed) -> Unavailable:
    """The error for a git process that was killed by a signal."""
    return Unavailable(
        Dependency.REMOTE,
        f"the ops repository cannot be read: {failed.reason}",
        remedy="SIGKILL: too little memory. SIGSEGV: a commit may nest directories deeper than git can "
        "walk; find it with `git log --stat`, and force-push the branch without it.",
    )


def _tail(text: str) -> str:
    """The last non-empty lines, as one line."""
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
    return "; ".join(lines[-4:])[:600] or "git printed nothing"
