"""Gate ``signed``: a signed commit by an allowed key names the file as approved.

It needs no forge: signature and approval travel in the commit, and the keys lie outside the ops
repo. Either of two commits may approve a file: the one that last changed it, and the one by which
that change came to the branch, such as an approver's merge. Each must contain exactly the content
in question.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol

from dispatcher.gate.approval_commits import LIMIT, ApprovalCommits
from dispatcher.gate.base import Answer, Decision, Question
from dispatcher.gate.history import Broken, SignedHistory, origin, short
from dispatcher.gate.tally import Vote, count, in_words
from dispatcher.gate.trailer import Place
from dispatcher.model.approval_need import Rule
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

SIGNED_AUTHORS = 50
"""Commits of one change whose signers are determined, to find out who wrote it."""

FULL = (
    f"{LIMIT} signed commits or more name this content, and no further one is read, so that it has to be changed "
    "and approved anew"
)

UNPROVEN = "no trusted key signed the last change, so that any approver may have written it"

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
    def key_fingerprint(self) -> str:
        """Of the key that signed; "" if unknown."""
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


@dataclass(frozen=True, kw_only=True, slots=True)
class _Judged:
    """What one of the two commits is worth."""

    rank: _Rank
    decision: Decision
    signature: Signature


@dataclass(frozen=True, kw_only=True, slots=True)
class _Authors:
    """Who wrote the present content.

    Attributes:
        identities: e-mail addresses, as the commits claim them, and principals that signed.
        keys: fingerprints of those principals' keys.
        unknown: whether no trusted key signed the last change: addresses are mere claims.
    """

    identities: frozenset[str] = frozenset()
    keys: frozenset[str] = frozenset()
    unknown: bool = False


class SignedGate:
    """Decides by the signatures of commits.

    Args:
        history: the ops repo's history.
        verify: the signature of a commit (hex); raises ``Misconfigured`` if the list of keys is
            missing.
        place: the repository and branch that approvals must name.
        trusted: principals whose keys are trusted now, for messages.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        *,
        history: SignedHistory,
        verify: Callable[[str], Signature],
        place: Place,
        trusted: Callable[[], Sequence[str]] = tuple,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._history = history
        self._verify = verify
        self._place = place
        self._trusted = trusted
        self._approval_commits = ApprovalCommits(history)
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
        best = min(judged, key=lambda entry: entry.rank)
        if question.need.plain:
            return best.decision
        return self._counted(question, lineage, judged, best)

    def invalidate(self, *, keep_approvals: bool = False) -> None:
        """Drop cached signatures: the lists of keys may have changed."""
        with self._lock:
            self._cache = {
                commit: (at, signature)
                for commit, (at, signature) in self._cache.items()
                if keep_approvals and str(signature.status) == "good"
            }
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

    def _judge(self, commit: str, what: str, question: Question, lineage: Lineage) -> _Judged:
        signature = self._signature(commit)
        rank, decision = self._weigh(signature, commit, what, question, lineage)
        return _Judged(rank=rank, decision=decision, signature=signature)

    def _weigh(
        self, signature: Signature, commit: str, what: str, question: Question, lineage: Lineage
    ) -> tuple[_Rank, Decision]:
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
            landed_at=self._history.arrived_at(lineage.mainline),
        )
        return _Rank.APPROVED, approved

    def _missing(self, commit: str, signature: Signature, question: Question) -> str:
        """Why a good signature does not approve the file, as a clause; "" if it does."""
        values = {
            self._place.value(question.path),
            self._place.value(question.path, blob=question.blob),
        }
        if values.isdisjoint(signature.approves):
            named = ", ".join(quoted(value) for value in signature.approves[:3])
            instead = f" (it names {named})" if named else ""
            line = self._place.trailer(question.path)
            return f'its message does not approve it here: the line "{line}" is missing{instead}'
        if commit in self._history.withdrawn(question.commit, question.path):
            return "the branch was rewritten since, which dropped a later change of the file"
        return self._history.forgotten(commit)

    def _decision(
        self,
        answer: Answer,
        reason: str,
        commit: str,
        question: Question,
        *,
        final: bool = False,
        command: str = "",
    ) -> Decision:
        if not final:
            reason = f"{reason}; {command or f'to approve it: {self._command(question)}'}"
        return Decision(answer=answer, reason=reason, gate="signed", commit=commit, final=final)

    def _command(self, question: Question) -> str:
        if question.need.plain:
            return self._place.command(question.path)
        return self._place.further_command(question.path, blob=question.blob)

    # --- several approvals ----------------------------------------------------------------------

    def _counted(
        self, question: Question, lineage: Lineage, judged: Sequence[_Judged], best: _Judged
    ) -> Decision:
        """The decision where one approval by anybody is not enough."""
        authors = self._authors(question, lineage)
        signatures = [each.signature for each in judged if each.rank is _Rank.APPROVED]
        later, full = self._later(question, lineage)
        signatures += later
        if not signatures and best.rank is _Rank.REVOKED:
            return best.decision
        people = question.need.people

        def wrote(identity: str, key: str = "") -> bool:
            return key in authors.keys or people.same(identity, authors.identities)

        votes = [
            Vote(
                name=signature.principal,
                key=signature.key_fingerprint,
                author=wrote(signature.principal, signature.key_fingerprint),
            )
            for signature in signatures
        ]
        tally = count(question.need, votes, author_unknown=authors.unknown)
        commit = lineage.last.sha
        if not tally.lacks:
            return Decision(
                answer=Answer.APPROVED,
                reason=f"commit {short(commit)}, which last changed {question.path}, is approved by "
                f"{', '.join(tally.approved_by)}",
                gate="signed",
                approved_by=tally.approved_by,
                commit=commit,
                landed=lineage.mainline.sha,
                landed_at=self._history.arrived_at(lineage.mainline),
            )

        def possible(rule: Rule) -> Sequence[str]:
            return [
                name
                for name in self._trusted()
                if (rule.author_may_sign or not wrote(name))
                and Vote(name=name).may_count_for(rule, people)
            ]

        lacking = in_words(tally, people, possible, unknown=UNPROVEN)
        excluded = {v.name: None for v in votes if v.author}
        if excluded and not all(lack.rule.author_may_sign for lack in tally.lacks):
            lacking = f"{lacking}; not counted, as an author: {', '.join(excluded)}"
        command = f"{FULL}: {self._place.command(question.path)}" if full else ""
        return self._decision(Answer.WAITING, lacking, commit, question, command=command)

    def _later(self, question: Question, lineage: Lineage) -> tuple[list[Signature], bool]:
        """Good signatures of later commits that approve exactly this content, in order. And
        whether so many commits name it that no further one is read.

        None counts once the branch was rewritten so that it lost a later change of the file: that
        may have been made to take them back, and git does not tell when they were given.
        """
        withdrawn = self._history.withdrawn(question.commit, question.path)
        if lineage.last.sha in withdrawn:
            return [], False
        value = self._place.value(question.path, blob=question.blob)
        commits = self._approval_commits.of(
            lineage, path=question.path, blob=question.blob, head=question.commit
        )
        approving = []
        for commit in commits:
            if commit in (lineage.last.sha, lineage.mainline.sha, *withdrawn):
                continue  # the two that were judged, and what no longer counts
            signature = self._signature(commit)
            good = str(signature.status) == "good" and signature.principal
            if good and value in signature.approves and not self._history.forgotten(commit):
                approving.append(signature)
        return approving, len(commits) >= LIMIT

    def _authors(self, question: Question, lineage: Lineage) -> _Authors:
        """Who wrote the content, if the policy asks for it."""
        if all(rule.author_may_sign for rule in question.need.rules):
            return _Authors()
        written = self._history.contributions(lineage, question.path)
        identities = {address for each in written for address in each.addresses}
        keys = set()
        last = self._signature(lineage.last.sha)
        commits = (each.commit for each in written[:SIGNED_AUTHORS])
        for signature in (last, *map(self._signature, commits)):
            if str(signature.status) == "good" and signature.principal:
                identities.add(signature.principal)
                keys.add(signature.key_fingerprint)
        return _Authors(
            identities=frozenset(identities),
            keys=frozenset(keys - {""}),
            unknown=str(last.status) != "good" or not last.principal,
        )

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
