"""Gate ``signed``: a signed commit by an allowed key names the file as approved.

It needs no forge: signature and approval travel in the commit, and the keys lie outside the ops
repo. Either of two commits may approve a file: the one that last changed it, and the one by which
that change came to the branch, such as an approver's merge. Each must contain exactly the content
in question.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from enum import IntEnum
from typing import Protocol

from dispatcher.gate.base import Answer, Decision, Question
from dispatcher.gate.history import Broken, History, origin, short
from dispatcher.gate.trailer import Place
from dispatcher.ops_repo.lineage import Lineage
from dispatcher.toml.source import quoted

REVOKED = "is signed by a key that was revoked"
"""The only final refusal: neither the commit nor the revocation can be undone."""

FOR_NOW = {
    "bad": "carries a signature that does not match it",
    "unsigned": "is not signed",
    "expired": "is signed outside the validity period of its key",
    "unknown_key": "is signed by a key that is not allowed",
    "revoked": REVOKED,
}

REMEMBERED = 10_000
FRESH_S = 60.0
"""Maximum of cached signatures, and for how long: the lists of keys may change."""


class Signature(Protocol):
    """The signature of one commit, see ``OpsRepo.signature``."""

    @property
    def status(self) -> str:
        """good, bad, unsigned, unknown_key, expired or revoked."""
        ...

    @property
    def principal(self) -> str:
        """The signer's name in the operator's own lists; "" if unknown."""
        ...

    @property
    def label(self) -> str:
        """The owner named by the signer's key; for people only, not verified."""
        ...

    @property
    def approves(self) -> tuple[str, ...]:
        """Values of the trailers ``Disinto-Approve`` in the signed message."""
        ...


class _Rank(IntEnum):
    """What counts, where two commits may approve a file; the first of these that one has."""

    APPROVED = 0
    REVOKED = 1
    SIGNED = 2  # well, and not for this
    NOT_SIGNED = 3


class SignedGate:
    """Decides by the signatures of commits.

    Args:
        history: the ops repo's history.
        verify: the signature of a commit (hex); raises ``Misconfigured`` if the list of keys is
            missing.
        place: the repository and branch that approvals must name.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        *,
        history: History,
        verify: Callable[[str], Signature],
        place: Place,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._history = history
        self._verify = verify
        self._place = place
        self._clock = clock
        self._lock = threading.Lock()
        self._cache: dict[str, tuple[float, Signature]] = {}
        self._looks = 0

    def check(self, question: Question) -> Decision:
        lineage = origin(
            self._history, commit=question.commit, path=question.path, blob=question.blob
        )
        if isinstance(lineage, Broken):
            return self._decision(Answer.WAITING, lineage.reason, lineage.commit, question)
        judged = [
            self._judge(commit, what, question, lineage)
            for commit, what in self._candidates(lineage, question)
        ]
        return min(judged, key=lambda entry: entry[0])[1]

    def invalidate(self) -> None:
        """Drop cached signatures: the lists of keys may have changed."""
        with self._lock:
            self._cache.clear()
            self._looks += 1

    def _candidates(self, lineage: Lineage, question: Question) -> Iterator[tuple[str, str]]:
        """Commits that may approve the file, each with what it is; the last change comes first."""
        last, arrival, path = lineage.last.sha, lineage.mainline.sha, question.path
        yield last, f"commit {short(last)}, which last changed {path},"
        if (
            arrival != last
            and self._history.is_ancestor(last, arrival)
            and self._history.blob_at(arrival, path) == question.blob
        ):
            yield arrival, f"merge {short(arrival)}, which brought {path},"

    def _judge(
        self, commit: str, what: str, question: Question, lineage: Lineage
    ) -> tuple[_Rank, Decision]:
        signature = self._signature(commit)
        status = str(signature.status)
        if status == "revoked" and commit == lineage.last.sha:
            refused = self._decision(
                Answer.REFUSED, f"{what} {REVOKED}", commit, question, final=True
            )
            return _Rank.REVOKED, refused
        if status != "good" or not signature.principal:
            reason = f"{what} {FOR_NOW.get(status, FOR_NOW['unknown_key'])}"
            answer = Answer.REFUSED if status == "bad" else Answer.WAITING
            return _Rank.NOT_SIGNED, self._decision(answer, reason, commit, question)
        label = f" ({quoted(signature.label)})" if signature.label else ""
        signed = f"{what} is signed by {signature.principal}{label}"
        if missing := self._missing(commit, signature, question):
            reason = f"{signed}, but {missing}"
            return _Rank.SIGNED, self._decision(Answer.WAITING, reason, commit, question)
        approved = Decision(
            answer=Answer.APPROVED,
            reason=signed,
            gate="signed",
            approved_by=(signature.principal,),
            commit=commit,
            landed=lineage.mainline.sha,
            landed_at=lineage.mainline.committed_at,
        )
        return _Rank.APPROVED, approved

    def _missing(self, commit: str, signature: Signature, question: Question) -> str:
        """Why a good signature does not approve the file, as a clause; "" if it does."""
        if self._place.value(question.path) not in signature.approves:
            named = ", ".join(quoted(value) for value in signature.approves[:3])
            instead = f" (it names {named})" if named else ""
            line = self._place.trailer(question.path)
            return f'its message does not approve it here: the line "{line}" is missing{instead}'
        if commit in self._history.withdrawn(question.commit, question.path):
            return "the branch was rewritten since, which dropped a later change of the file"
        return self._history.forgotten(commit)

    def _decision(
        self, answer: Answer, reason: str, commit: str, question: Question, *, final: bool = False
    ) -> Decision:
        if not final:
            reason = f"{reason}; to approve it: {self._place.command(question.path)}"
        return Decision(answer=answer, reason=reason, gate="signed", commit=commit, final=final)

    def _signature(self, commit: str) -> Signature:
        now = self._clock()
        with self._lock:
            cached, looks = self._cache.get(commit), self._looks
        if cached is not None and now - cached[0] < FRESH_S:
            return cached[1]
        signature = self._verify(commit)
        with self._lock:
            if looks != self._looks:
                # it may be based on lists of keys that were replaced in the meantime
                return signature
            if len(self._cache) >= REMEMBERED:
                self._cache.clear()
            self._cache[commit] = (now, signature)
        return signature
