"""The ledger in Nomad: variables with check-and-set, and a variable lock for the leader.

Claims are in ``<prefix>/claims/<id>``, notes in ``<prefix>/notes/<name>``, the lock on
``<prefix>/leader``. The token needs ``read``,
``list``, ``write`` and ``destroy`` on ``<prefix>/*``. Without permission, Nomad answers a list
with status 200 and no entries, which would read as "nothing runs"; so the first claim leaves a
marker beside it, and a list without the marker is verified. A claim holds accessors and a redacted
log tail, never a token or a secret.
"""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import random
import re
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from dispatcher.engines.nomad.api import NomadApi, Variable, VariableConflict
from dispatcher.engines.nomad.lease import LEADER_POLL_S, NomadLease
from dispatcher.engines.nomad.settings import NomadSettings
from dispatcher.errors import (
    Conflict,
    Denied,
    Dependency,
    Misconfigured,
    PermanentError,
    TemporaryError,
    Unavailable,
)
from dispatcher.ledger.base import AlreadyClaimed, ClaimTooLarge, Lease, Note
from dispatcher.ledger.codec import UnreadableClaim, decode, encode
from dispatcher.model.run import Claim

PLAIN_LIMIT = 48_000
"""Characters of a claim kept as plain text. A variable holds 65,536 bytes; longer claims (a result
with much output) are compressed."""

READERS = 8
"""Concurrent reads when many claims have to be read."""

ATTEMPTS = 5
"""Attempts to write a claim while the conflicting one is released at the same moment."""

MARK = "_ledger"
"""Name of the marker among the claims; no action id starts with an underscore."""

_PREFIX = re.compile(r"[a-zA-Z0-9_~-]+(/[a-zA-Z0-9_~-]+)*")


class NomadLedger:
    """Claims in Nomad; see ``dispatcher.ledger.base.Ledger`` for the methods.

    Args:
        api: with a token that may use the variables below ``settings.ledger_prefix``.
        settings: ``ledger_prefix`` and ``lease_ttl_s``.

    Raises:
        Misconfigured: the prefix cannot be part of a variable's path.
    """

    def __init__(self, api: NomadApi, settings: NomadSettings) -> None:
        prefix = settings.ledger_prefix
        if not _PREFIX.fullmatch(prefix) or len(prefix) > 20 or prefix.split("/")[0] == "nomad":
            raise Misconfigured(
                f"[nomad] ledger_prefix is {prefix!r}",
                remedy="Use at most 20 letters, digits, _, ~, - and single slashes between; it "
                "must not begin with nomad/, which is Nomad's own.",
            )
        self._api = api
        self._claims = f"{prefix}/claims/"
        self._notes = f"{prefix}/notes/"
        self._lock = f"{prefix}/leader"
        self._mark = f"{self._claims}{MARK}"
        self._marked = False
        self._ttl_s = settings.lease_ttl_s
        self._cache: dict[str, Claim] = {}  # by path; an entry of another version is never used
        self._cache_lock = threading.Lock()

    def claim(self, claim: Claim) -> Claim:
        """Write a claim that must not exist yet; raises ``AlreadyClaimed`` if one does."""
        path = self._path(claim)
        with _as_ledger():
            self._leave_mark()
            for _ in range(ATTEMPTS):
                try:
                    return self._write(claim, cas=0)
                except VariableConflict as conflict:
                    current = conflict.current or self._api.variable(path)
                    if current is not None:
                        raise AlreadyClaimed(self._cached(_claim(current))) from None
        raise Unavailable(
            Dependency.LEDGER,
            f"the claim of {claim.key.action_id} is created and released repeatedly",
        )

    def update(self, claim: Claim) -> Claim:
        """Replace a claim whose version is still ``claim.version``; raises ``Conflict`` if not."""
        if claim.version == 0:
            raise Conflict(f"the claim of {claim.key.action_id} was never written")
        with _as_ledger():
            try:
                return self._write(claim, cas=claim.version)
            except VariableConflict:
                raise Conflict(f"the claim of {claim.key.action_id} changed or is gone") from None

    def get(self, action_id: str) -> Claim | None:
        """The claim of an action id, or None."""
        with _as_ledger():
            variable = self._api.variable(f"{self._claims}{action_id}")
        return None if variable is None else _claim(variable)

    def open_runs(self) -> Sequence[Claim]:
        """All claims, ordered by action id: one call, and one more for each written by another
        process since the last call."""
        with _as_ledger():
            listed = {
                stub["Path"]: stub["ModifyIndex"] for stub in self._api.variables(self._claims)
            }
            if listed.pop(self._mark, None) is None:
                self._check_rights()
            with self._cache_lock:
                cached = dict(self._cache)
            claims = {
                path: cached[path]
                for path, version in listed.items()
                if path in cached and cached[path].version == version
            }
            missing = [path for path in listed if path not in claims]
            if missing:
                with ThreadPoolExecutor(min(READERS, len(missing))) as pool:
                    for variable in pool.map(self._api.variable, missing):
                        if variable is not None:  # released since it was listed
                            claims[variable.path] = _claim(variable)
        with self._cache_lock:
            self._cache = claims
        return tuple(claims[path] for path in sorted(claims))

    def release(self, claim: Claim) -> None:
        """Remove a claim whose version is still ``claim.version``; raises ``Conflict`` if not."""
        path = self._path(claim)
        with _as_ledger():
            try:
                self._api.delete_variable(path, cas=claim.version)
            except VariableConflict as conflict:
                if conflict.current is None and self._api.variable(path) is None:
                    return
                raise Conflict(
                    f"the claim of {claim.key.action_id} changed since it was read"
                ) from None
        with self._cache_lock:
            self._cache.pop(path, None)

    def note(self, name: str) -> Note | None:
        """The note of this name, or None."""
        with _as_ledger():
            variable = self._api.variable(f"{self._notes}{name}")
        if variable is None:
            return None
        return Note(text=variable.items.get("note", ""), version=variable.modify_index)

    def write_note(self, name: str, text: str, *, version: int) -> Note:
        """Write a note whose version is still ``version``; raises ``Conflict`` if not."""
        path, items = f"{self._notes}{name}", {"note": text}
        with _as_ledger():
            try:
                new = self._api.put_variable(path, items, cas=version)
            except VariableConflict:
                raise Conflict(f"the Nomad variable {path} changed or is gone") from None
        return Note(text=text, version=new)

    def place(self) -> str:
        """Always "": every dispatcher with this prefix on this Nomad has the same ledger."""
        return ""

    @contextlib.contextmanager
    def leader(self, *, name: str, waiting: Callable[[str], None]) -> Iterator[Lease]:
        """Hold the lock of ``<prefix>/leader``, renewed by a thread.

        A dead leader is succeeded when its lock expires: after the TTL, or (observed) up to twice
        that. ``waiting`` is called at every attempt, about every two seconds.
        """
        lease = self._take(name)
        while lease is None:
            waiting(self._holder())
            time.sleep(LEADER_POLL_S * random.uniform(0.5, 1.5))  # noqa: S311 - jitter
            try:
                lease = self._take(name)
            except TemporaryError:
                continue  # keep waiting while Nomad is unavailable
        try:
            yield lease
        finally:
            lease.give_up()

    def _leave_mark(self) -> None:
        if not self._marked:
            with contextlib.suppress(VariableConflict):
                self._api.put_variable(self._mark, {"holds": "claims of disinto"}, cas=0)
            self._marked = True

    def _check_rights(self) -> None:
        """The marker was not listed: either nothing was ever claimed, or listing is not permitted."""
        if self._api.variable(self._mark) is not None:
            raise Denied(
                Dependency.LEDGER, f"Nomad refused to list the variables below {self._claims}"
            )

    def _take(self, name: str) -> NomadLease | None:
        with _as_ledger():
            return NomadLease.take(self._api, self._lock, name=name, ttl_s=self._ttl_s)

    def _holder(self) -> str:
        try:
            variable = self._api.variable(self._lock)
        except (TemporaryError, PermanentError):
            return "another process (Nomad does not report which)"
        return (variable.items.get("holder") if variable else "") or "another process"

    def _path(self, claim: Claim) -> str:
        return f"{self._claims}{claim.key.action_id}"

    def _write(self, claim: Claim, *, cas: int) -> Claim:
        path = self._path(claim)
        items = _items(claim)
        try:
            version = self._api.put_variable(path, items, cas=cas)
        except Unavailable:
            # Perhaps only the response was lost. If the claim is stored as we wrote it, it is
            # ours: its accessors belong to a grant that only we minted.
            variable = self._api.variable(path)
            if variable is None or variable.items != items or variable.modify_index == cas:
                raise
            version = variable.modify_index
        return self._cached(dataclasses.replace(claim, version=version))

    def _cached(self, claim: Claim) -> Claim:
        with self._cache_lock:
            self._cache[self._path(claim)] = claim
        return claim


def _items(claim: Claim) -> dict[str, str]:
    text = encode(claim)
    if len(text) <= PLAIN_LIMIT:
        return {"claim": text}
    packed = base64.b64encode(zlib.compress(text.encode("ascii"))).decode("ascii")
    if len(packed) > PLAIN_LIMIT:
        raise ClaimTooLarge(
            f"the claim of {claim.key.action_id} has {len(packed)} bytes packed, but a Nomad "
            f"variable holds at most {PLAIN_LIMIT}",
            remedy="Return less in the formula's outputs.",
        )
    return {"claim_zlib": packed}


def _claim(variable: Variable) -> Claim:
    place = f"Nomad variable {variable.path}"
    return decode(_text(variable.items, place), version=variable.modify_index, place=place)


def _text(items: Mapping[str, str], place: str) -> str:
    if "claim_zlib" not in items:
        return items.get("claim", "")
    try:
        return zlib.decompress(base64.b64decode(items["claim_zlib"])).decode("ascii")
    except (ValueError, zlib.error):
        raise UnreadableClaim(f"the claim at {place} cannot be unpacked") from None


@contextlib.contextmanager
def _as_ledger() -> Iterator[None]:
    """Translate Nomad's errors to those of the ledger."""
    try:
        yield
    except Unavailable as error:
        if error.dependency is Dependency.LEDGER:
            raise
        raise Unavailable(Dependency.LEDGER, error.what, remedy=error.remedy) from error
    except Denied as error:
        raise Denied(
            Dependency.LEDGER,
            error.what,
            remedy="Give the token read, list, write and destroy on the variables below "
            "[nomad] ledger_prefix.",
        ) from error
