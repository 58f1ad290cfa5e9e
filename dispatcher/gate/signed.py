"""Gate ``signed``: the commit that last touched a file is signed by an allowed key.

It needs no forge: the signature travels in the commit, and the keys lie outside the ops repo.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Protocol

from dispatcher.gate.base import Answer, Decision, Question
from dispatcher.gate.history import Broken, History, origin, short

REMEDY = "change the file again in a commit signed by an allowed key"

REVOKED = "is signed by a key that was revoked"
"""The one thing that no later event makes right: neither the commit nor the revocation goes away."""

FOR_NOW = {
    "bad": "carries a signature that does not fit it",
    "unsigned": "is not signed",
    "expired": "is signed outside the time in which its key is allowed",
    "unknown_key": "is signed by a key that is not allowed",
}

REMEMBERED = 10_000
FRESH_S = 60.0
"""Commits whose signature is remembered, and for how long: the lists of keys may change."""


class Signature(Protocol):
    """What ``OpsRepo.signature`` says of one commit."""

    @property
    def status(self) -> str:
        """good, bad, unsigned, unknown_key, expired or revoked."""
        ...

    @property
    def principal(self) -> str:
        """Who signed, as the list of keys names them; "" where it is not known."""
        ...


class SignedGate:
    """Asks the commit itself.

    Args:
        history: the ops repo's history.
        verify: the signature of a commit (hex); raises ``Misconfigured`` where the list of keys
            is missing.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        *,
        history: History,
        verify: Callable[[str], Signature],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._history = history
        self._verify = verify
        self._clock = clock
        self._lock = threading.Lock()
        self._known: dict[str, tuple[float, Signature]] = {}

    def check(self, question: Question) -> Decision:
        found = origin(
            self._history, commit=question.commit, path=question.path, blob=question.blob
        )
        if isinstance(found, Broken):
            return _decision(Answer.WAITING, f"{found.reason}; {REMEDY}", found.commit)
        commit = found.last.sha
        what = f"commit {short(commit)}, which last changed {question.path},"
        signature = self._signature(commit)
        who = signature.principal
        status = str(signature.status)
        if status == "good" and who:
            return Decision(
                answer=Answer.APPROVED,
                reason=f"{what} is signed by {who}",
                gate="signed",
                approved_by=(who,),
                commit=commit,
                landed=found.mainline.sha,
            )
        if status == "revoked":
            return _decision(Answer.REFUSED, f"{what} {REVOKED}", commit, final=True)
        reason = f"{what} {FOR_NOW.get(status, FOR_NOW['unknown_key'])}; {REMEDY}"
        answer = Answer.REFUSED if status == "bad" else Answer.WAITING
        return _decision(answer, reason, commit)

    def look_again(self) -> None:
        """Judge signatures anew: the lists of keys may have changed."""
        with self._lock:
            self._known.clear()

    def _signature(self, commit: str) -> Signature:
        now = self._clock()
        with self._lock:
            known = self._known.get(commit)
        if known is not None and now - known[0] < FRESH_S:
            return known[1]
        signature = self._verify(commit)
        with self._lock:
            if len(self._known) >= REMEMBERED:
                self._known.clear()
            self._known[commit] = (now, signature)
        return signature


def _decision(answer: Answer, reason: str, commit: str, *, final: bool = False) -> Decision:
    return Decision(answer=answer, reason=reason, gate="signed", commit=commit, final=final)
