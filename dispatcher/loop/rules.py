"""The rules by which actions are judged: files that may change while ``serve`` runs.

They are the policy, the files of trusted and revoked keys, sidecars.toml, and the webhook's secret. ``serve`` checks
them for changes in each round; a changed file is validated, then replaces the old one atomically (see
``dispatcher.loop.fence``). A file that is invalid or missing replaces nothing: the old one stays in
force, with a warning. The other commands read the files themselves, at each call.
"""

from __future__ import annotations

import fcntl
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from dispatcher.audit import AuditLog
from dispatcher.decide.policy import Policy, parse_policy, read_policy
from dispatcher.decide.sidecar_rules import Sidecars, parse_sidecars, read_sidecars
from dispatcher.errors import DisintoError, InvalidInput, Misconfigured, Problem
from dispatcher.loop.fence import Fence
from dispatcher.loop.own_settings import SETTINGS, STAYS_IN_FORCE, NeedsRestart, OwnSettings
from dispatcher.loop.rule_files import (
    ALLOWED,
    KEYRING,
    POLICY,
    REVOKED,
    SIDECARS,
    WEBHOOK,
    digest,
    read_rules,
)
from dispatcher.ops_repo import Signers
from dispatcher.ops_repo.trusted_keys import read_allowed_signers, revocation_problems
from dispatcher.settings import SHORTEST_SECRET, GateKind, Settings

QUIET_S = 1.0
"""Seconds a file must stay unchanged before it is read: an editor may still be writing it, and a part
of a policy can be a valid policy."""

Stamp = tuple[int, ...] | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Reloaded:
    """A file that was put in force.

    Attributes:
        setting: the setting that names it.
        before, now: SHA-256 of its content, hex; "" for a secret, and for what was not in force.
    """

    setting: str
    path: Path
    before: str
    now: str


@dataclass(kw_only=True)
class _File:
    """One file of the rules, and its state.

    Attributes:
        apply: puts the content in force; raises ``DisintoError`` before it changes anything.
        begin: the same if nothing of the file is in force yet, even if it has errors.
        public: whether its digest may be shown.
        optional: whether it may be missing.
        judged_by: whether actions are judged by it; else it is only checked.
        fallback: what is in force while it is invalid, for people; "" for its previous content.
        restart: whether it is valid, and takes effect at a restart.
        error: why its present content is not in force; ``instead`` is what is.
        stamp: of the file when it was last read; the empty tuple before.
        pending: a later stamp, and ``pending_at`` when it was first found (monotonic).
    """

    setting: str
    path: Path
    apply: Callable[[bytes], None]
    begin: Callable[[bytes], None] | None = None
    public: bool = True
    optional: bool = False
    judged_by: bool = True
    fallback: str = ""
    restart: bool = False
    sha256: str = ""
    read: bool = False
    error: str = ""
    instead: str = ""
    stamp: Stamp = ()
    pending: Stamp = ()
    pending_at: float = 0.0


class Rules:
    """The rules in force. Thread-safe, except ``changed``, which only the loop calls.

    Args:
        settings: name the files.
        audit: records each change.
        webhook: whether the webhook's secret comes from its file.
        own: the settings file, which is checked but not reloaded.

    Raises:
        InvalidInput: the policy, or sidecars.toml, is invalid.
        Misconfigured: it cannot be read.
    """

    def __init__(
        self,
        settings: Settings,
        audit: AuditLog,
        *,
        webhook: bool = False,
        own: OwnSettings | None = None,
    ) -> None:
        self._audit = audit
        self._turn = threading.Lock()
        self.fence = Fence()
        self._policy = Policy()
        self._sidecars = Sidecars()
        self._signers = signers(settings)
        self._snapshots: dict[str, list[int]] = {}
        self._unrecorded: list[Reloaded] = []
        self._take_secret: Callable[[bytes], None] = lambda _secret: None
        self._files = [*self._named(settings, webhook=webhook), *_checked_only(own)]
        self._now = time.monotonic
        for file in self._files:
            if file.setting in (POLICY, SIDECARS):
                self._begin(file)

    @property
    def policy(self) -> Policy:
        """The policy in force."""
        return self._policy

    @property
    def sidecars(self) -> Sidecars:
        """The projects and rules of sidecars in force."""
        return self._sidecars

    @property
    def signers(self) -> Signers:
        """The trusted signers. After the first ``reload``, the files named are copies in memory of
        what is in force.
        """
        return self._signers

    def digests(self) -> Mapping[str, str]:
        """SHA-256 (hex) of each file in force, by its setting; secrets are left out."""
        return {f.setting: f.sha256 for f in self._files if f.read and f.public}

    def warnings(self) -> tuple[str, ...]:
        """Files that changed and could not be put in force, for people."""
        return tuple(warning for _, warning in self._warned())

    def waits_for_restart(self) -> tuple[str, ...]:
        """Those of ``warnings`` about a valid file that takes effect at a restart."""
        return tuple(w for f, w in self._warned() if f.restart)

    def _warned(self) -> list[tuple[_File, str]]:
        return [(f, f"{f.setting}: {_placed(f)}. {f.instead}") for f in self._files if f.error]

    def on_webhook_secret(self, take: Callable[[bytes], None]) -> None:
        """Call ``take`` with each new secret of the webhook."""
        self._take_secret = take

    def changed(self) -> bool:
        """Whether a file changed and was then left unchanged for ``QUIET_S``. One ``stat`` per file."""
        now, due = self._now(), bool(self._unrecorded)
        for file in self._files:
            stamp = _stamp(file.path)
            if stamp == file.stamp:
                file.pending = stamp
            elif stamp != file.pending:
                file.pending, file.pending_at = stamp, now
            due = due or (stamp != file.stamp and now - file.pending_at >= QUIET_S)
        return due

    def pending(self) -> bool:
        """Whether a changed file has yet to be read, as of the last ``changed``."""
        return any(file.pending != file.stamp for file in self._files)

    def reload(self) -> Sequence[Reloaded]:
        """Read the files that changed, and put the valid ones in force. Returns when claims under
        the old rules are no longer possible.

        Raises:
            TemporaryError: a change is in force and could not be put on record; the next call
                retries that.
        """
        with self._turn:
            reloaded, any_taken = [], False
            for file in self._files:
                before, first = file.sha256, not file.read
                if not _taken(file) or not file.judged_by:
                    continue
                any_taken = True
                if not first or file.setting == KEYRING:
                    reloaded.append(
                        Reloaded(
                            setting=file.setting,
                            path=file.path,
                            before=before if file.public else "",
                            now=file.sha256 if file.public else "",
                        )
                    )
            if any_taken:
                self.fence.advance()
            self._unrecorded += reloaded
        while self._unrecorded:
            change = self._unrecorded[0]
            self._audit.append(
                "policy_reloaded",
                setting=change.setting,
                file=str(change.path),
                before=change.before,
                now=change.now,
            )
            self._unrecorded.pop(0)
        return reloaded

    def _named(self, settings: Settings, *, webhook: bool) -> list[_File]:
        signed = settings.signed
        files = []
        if settings.policy.file is not None:
            path = settings.policy.file
            files.append(_File(setting=POLICY, path=path, apply=partial(self._take_policy, path)))
        if settings.sidecars.file is not None:
            path = settings.sidecars.file
            take = partial(self._take_sidecars, path)
            files.append(_File(setting=SIDECARS, path=path, apply=take))
        if settings.policy.gate is GateKind.SIGNED:
            for setting, path_, key in (
                (ALLOWED, signed.allowed_signers, "allowed_signers"),
                (REVOKED, signed.revoked_keys, "revoked_keys"),
            ):
                if path_ is not None:
                    take = partial(self._take_keys, path_, key)
                    begin = partial(self._use_keys, path_, key)
                    files.append(_File(setting=setting, path=path_, apply=take, begin=begin))
            for name in ("pubring.kbx", "pubring.gpg") if signed.gpg_home else ():
                ring = Path(signed.gpg_home or "") / name
                files.append(_File(setting=KEYRING, path=ring, apply=_nothing, optional=True))
        if webhook and settings.http.webhook_secret_file is not None:
            path = settings.http.webhook_secret_file
            files.append(_File(setting=WEBHOOK, path=path, apply=self._take_webhook, public=False))
        return files

    def _begin(self, file: _File) -> None:
        """Read the policy, or the sidecars, at the start: there are none before to fall back to."""
        reads = read_policy if file.setting == POLICY else read_sidecars
        stamp, data = _stamp(file.path), reads(file.path)
        file.apply(data)
        _entered(file, data, stamp)

    def _take_policy(self, path: Path, data: bytes) -> None:
        self._policy = parse_policy(data, path=str(path))

    def _take_sidecars(self, path: Path, data: bytes) -> None:
        self._sidecars = parse_sidecars(data, path=str(path))

    def _take_keys(self, path: Path, key: str, data: bytes) -> None:
        problems = key_problems(key, data, path=str(path))
        if problems:
            raise InvalidInput(problems)
        self._use_keys(path, key, data)

    def _use_keys(self, path: Path, key: str, data: bytes) -> None:
        place = self._snapshot(key, data)
        named = place or path
        if key == "allowed_signers":
            self._signers = replace(self._signers, allowed_signers=named)
        else:
            self._signers = replace(self._signers, revoked_keys=named)

    def _take_webhook(self, data: bytes) -> None:
        secret = data.strip()
        if len(secret) < SHORTEST_SECRET:
            raise Misconfigured(
                f"the webhook's secret has {len(secret)} bytes, but needs {SHORTEST_SECRET}"
            )
        self._take_secret(secret)

    def _snapshot(self, key: str, data: bytes) -> Path | None:
        """A sealed file in memory for ssh-keygen to read; None if the system has no memfd. The last
        two stay open, because a check in progress may still read the previous one.
        """
        try:
            fd = os.memfd_create(f"disinto-{key}", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        except OSError:
            return None
        with os.fdopen(fd, "wb", closefd=False) as file:
            file.write(data)
        seals = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seals)
        open_ = self._snapshots.setdefault(key, [])
        open_.append(fd)
        for old in open_[:-2]:
            os.close(old)
        del open_[:-2]
        return Path(f"/proc/{os.getpid()}/fd/{fd}")


def _checked_only(own: OwnSettings | None) -> list[_File]:
    if own is None:
        return []
    return [
        _File(
            setting=SETTINGS,
            path=own.path,
            apply=own.check,
            judged_by=False,
            fallback=STAYS_IN_FORCE,
        )
    ]


def signers(settings: Settings) -> Signers:
    """The trusted signers, by the files themselves."""
    return Signers(
        allowed_signers=settings.signed.allowed_signers,
        revoked_keys=settings.signed.revoked_keys,
        gpg_home=settings.signed.gpg_home,
        gpg_fingerprints=settings.signed.gpg_fingerprints,
    )


def key_problems(key: str, data: bytes, *, path: str) -> tuple[Problem, ...]:
    """The problems of a file of ``[signed]``, the key ``allowed_signers`` or ``revoked_keys``.
    A file that names nobody is not a problem: it withdraws trust, and must take effect.
    """
    if key == "revoked_keys":
        return revocation_problems(data, path=path)
    return read_allowed_signers(data, path=path, now=datetime.now(UTC)).problems


def _taken(file: _File) -> bool:
    """Put a file's content in force, if it is new and valid; True if that was done. Otherwise
    ``file.error`` has the reason.
    """
    stamp, data = _stamp(file.path), b""
    if stamp == file.stamp:
        return False
    try:
        data = read_rules(file.path)
        if _stamp(file.path) != stamp:
            return False  # it is being written; the next round reads it again
        if file.read and digest(data) == file.sha256:
            _entered(file, data, stamp)
            return False
        file.apply(data)
    except OSError as error:
        missing = file.optional and isinstance(error, FileNotFoundError)
        _refused(file, "" if missing else f"it cannot be read: {error.strerror}", stamp)
        return False
    except DisintoError as error:
        _refused(file, "; ".join(str(error).split("\n")), stamp)
        file.restart = isinstance(error, NeedsRestart)
        return _apply_anyway(file, data)
    _entered(file, data, stamp)
    return True


def _apply_anyway(file: _File, data: bytes) -> bool:
    """Put an invalid file in force if there is nothing else and its valid lines may count."""
    if file.read or file.begin is None:
        return False
    file.begin(data)
    file.sha256, file.read = digest(data), True
    file.instead = "Its other lines count"
    return True


def _placed(file: _File) -> str:
    """The error with the file's path in front, which most errors begin with already."""
    error, path = file.error, str(file.path)
    return error if error.startswith(path) else f"{path}: {error}"


def _refused(file: _File, error: str, stamp: Stamp) -> None:
    file.error, file.stamp, file.restart = error, stamp, False
    file.instead = file.fallback or (
        f"Its previous content stays in force (SHA-256 {file.sha256[:12]}…)"
        if file.read and file.public
        else "Its previous content stays in force"
        if file.read
        else "Nothing of it is in force"
    )


def _entered(file: _File, data: bytes, stamp: Stamp) -> None:
    file.sha256, file.read, file.error, file.stamp = digest(data), True, "", stamp


def _nothing(_data: bytes) -> None:
    """Do nothing: gpg reads its keyring itself; only the decisions by the old one are dropped."""


def _stamp(path: Path) -> Stamp:
    """Changes when the file is written, replaced or reached by another link; None if it is missing."""
    try:
        stat = path.stat()
    except OSError:
        return None
    return (stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)
