"""The gate for actions that the dispatcher wrote itself: approved through what they come from.

Such an action names the file of the ops repo that defines it, a schedule for example, and that file's
blob. Only with our signature over the whole action does that count; any other action is judged as
anybody's file. Then the question is about the definition, at the action's tier: was its last change
approved? The formula is checked as for every action.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Protocol

from dispatcher.gate.base import Answer, Decision, Gate, Question
from dispatcher.gate.expiry import KIND as EXPIRY
from dispatcher.gate.expiry import approved_by_lifetime
from dispatcher.model.run import Tier
from dispatcher.model.source import ActionSource

NAME = "source"
"""Of this gate, in decisions."""


class Files(Protocol):
    """What of the ops repo is read."""

    def blob_at(self, commit: str, path: str) -> str | None:
        """Blob hash (hex) of the regular file at a commit."""
        ...

    def read(self, blobs: Iterable[str], *, limit: int) -> Mapping[str, bytes | int]:
        """Contents by blob hash; the size of one that has more than ``limit`` bytes."""
        ...


class Entries(Protocol):
    """The inventory by signed results; see ``dispatcher.loop.inventory_files``."""

    def genuine(self, commit: str, path: str) -> tuple[str, bytes] | None:
        """Blob hash (hex) and bytes of the entry at a path, whatever its file in git shows; ("", b"")
        if a run destroyed it; None if no signed result says what it is.
        """
        ...


class Written(Protocol):
    """Recognizes what the dispatcher wrote; see ``dispatcher.attestation.written``."""

    def wrote(self, data: bytes, *, action_id: str) -> bool:
        """Whether we wrote exactly these bytes as the action of this id."""
        ...


class SourcedGate:
    """Puts the question about an action of ours to its definition. Thread-safe.

    Args:
        gate: judges files.
        files: the ops repo.
        written: our signature.
        entries: of the inventory.
        limit: maximum bytes of an action file.
    """

    def __init__(
        self, gate: Gate, *, files: Files, written: Written, entries: Entries, limit: int
    ) -> None:
        self._gate, self._files, self._written, self._limit = gate, files, written, limit
        self._entries = entries

    def invalidate(self, *, keep_approvals: bool = False) -> None:
        """See ``Gate``."""
        self._gate.invalidate(keep_approvals=keep_approvals)

    def check(self, question: Question) -> Decision:
        """See ``Gate``. Refuses finally what its source would not write any more, because the
        definition changed or is gone.

        Raises:
            Unavailable, Denied: also if our public key is in Vault and cannot be read.
            Misconfigured: our key cannot be used.
        """
        source = question.source
        if source is None or not source.definition or not self._ours(question):
            return self._gate.check(question)
        origin = f"{source.kind} {source.name} ({source.definition})"
        if source.kind == EXPIRY:
            return self._of_entry(question, source, origin)
        if self._files.blob_at(question.commit, source.definition) != source.blob:
            return _changed(origin)
        decision = self._gate.check(_about(question, source))
        reason = f"written for {origin}: {decision.reason}"
        # Neither the request that brought the definition nor its age is this action's.
        return replace(decision, reason=reason, final=False, request=0, landed="", landed_at=0.0)

    def _of_entry(self, question: Question, source: ActionSource, origin: str) -> Decision:
        """About an action that destroys what has expired. What somebody did to the entry's file changes
        nothing: only a run replaces or ends an entry.
        """
        genuine = self._entries.genuine(question.commit, source.definition)
        if genuine is None:
            unknown = f"{origin}: no signed result in git says what it is"
            return Decision(answer=Answer.REFUSED, reason=unknown, gate=NAME)
        blob, entry = genuine
        if blob != source.blob:
            return _changed(origin)
        decision = approved_by_lifetime(question, entry, origin=origin)
        if decision is None:
            return self._gate.check(replace(question, source=None))
        if not question.formula_path:
            return decision
        # Of the formula alone: at tier low the action itself needs no approval.
        formula = self._gate.check(replace(question, source=None, tier=Tier.LOW))
        return decision if formula.answer is Answer.APPROVED else formula

    def _ours(self, question: Question) -> bool:
        data = self._files.read([question.blob], limit=self._limit)[question.blob]
        return isinstance(data, bytes) and self._written.wrote(data, action_id=question.action_id)


def _changed(origin: str) -> Decision:
    return Decision(
        answer=Answer.REFUSED,
        reason=f"{origin} changed or was removed since it started this action",
        gate=NAME,
        final=True,
    )


def _about(question: Question, source: ActionSource) -> Question:
    return replace(question, path=source.definition, blob=source.blob, source=None)
