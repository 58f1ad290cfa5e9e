"""What results say about one entry of the inventory, against its file in git. Pure."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from dispatcher.loop.inventory_facts import Fact, Named, latest
from dispatcher.model.inventory_entry import entry_path
from dispatcher.model.names import is_id
from dispatcher.ops_repo import Entry


@dataclass(frozen=True, kw_only=True, slots=True)
class Altered:
    """A file of the inventory that is not what results say.

    Attributes:
        path: in the ops repo.
        genuine: what it should be; b"" if there should be none.
        reason: how it differs, in words.
    """

    path: str
    genuine: bytes
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Standing:
    """What results of ours say about one entry.

    Attributes:
        file: in git at its path; None if there is none.
        written: what wrote it last; None if nothing did.
        ended_by: id of the action that destroyed it; "" if none did.
        problem: why the file is not followed, in words; "" if it was not compared.
        claimed_by: id of the action that the file names as its writer; "" if it was not read.
    """

    file: Entry | None
    written: Fact | None = None
    ended_by: str = ""
    problem: str = ""
    claimed_by: str = ""

    @property
    def reason(self) -> str:
        """Why the file is not followed, in words."""
        if self.ended_by:
            return f"{self.ended_by} destroyed it; its file was brought back"
        return self.problem

    @property
    def decided(self) -> bool:
        """Whether nothing that the file says can change how it is shown."""
        return bool(self.ended_by or self.problem)

    @property
    def odd(self) -> bool:
        """Whether what the file says of its writer is needed: results that are known explain neither the file,
        nor what was destroyed.
        """
        unexplained = self.written is None or not self.decided
        return self.file is not None and not self.genuine and unexplained

    @property
    def genuine(self) -> bool:
        """Whether the file is what was written last."""
        file, written = self.file, self.written
        return (
            file is not None and file.regular and written is not None and file.oid == written.blob
        )


def standing_of(file: Entry | None, facts: Sequence[Fact]) -> Standing:
    """What results say. What was destroyed before it was made still exists: a destruction of an id that had
    nothing yet succeeds, and must not end what comes later.
    """
    written = latest(facts)
    ended_by = next((fact.action_id for fact in facts if _ends(fact, facts, written)), "")
    return Standing(file=file, written=written, ended_by=ended_by)


def _ends(fact: Fact, facts: Sequence[Fact], written: Fact | None) -> bool:
    """Whether a result ends the entry. Its run may have destroyed nothing long before it was signed, so what
    was created after that run was claimed still exists.
    """
    if not fact.destroys or (written is not None and fact.order < written.order):
        return False
    created = latest(each for each in facts if each.creates) or written
    return not (fact.claim_sequence and created and fact.claim_sequence < created.order)


def altered_of(named: Named, standing: Standing) -> Altered | None:
    """How the file of an entry differs from what it should be; None if it does not."""
    file, written = standing.file, standing.written
    path = entry_path(*named)
    if standing.ended_by:
        return Altered(path=path, genuine=b"", reason=standing.reason) if file else None
    if written is None or standing.genuine:
        return None
    reason = standing.problem if file else f"it was removed; {written.action_id} wrote it"
    return Altered(path=path, genuine=written.file.encode(), reason=reason)


def writer_of(named: Named, data: bytes | int | None) -> tuple[str, str]:
    """The action that a file names as its writer, and why it is no entry, in words."""
    if not isinstance(data, bytes):
        return "", "it is too large" if isinstance(data, int) else "it is not a regular file"
    odd = "it is not an entry of disinto"
    try:
        plain = json.loads(data)
        ours, writer = (plain["kind"], plain["id"]) == named, plain["result"]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return "", odd
    # The writer gets into the message of a commit, where a line of its own would count.
    return (writer, "") if ours and isinstance(writer, str) and is_id(writer) else ("", odd)


def difference(standing: Standing, own: Sequence[Fact], *, known: bool) -> str:
    """Why a file is not what its entry is, in words; "" if it is.

    Args:
        own: what the result that the file names says about the entry.
        known: whether there is such a result of ours.
    """
    named, written = standing.claimed_by[:100], standing.written
    wrote = latest(own)
    if standing.genuine:
        return ""
    if not known:
        return f"there is no result {named} of this dispatcher"
    if wrote is None:
        return f"the result of {named} did not write it"
    if standing.file is None or written is None or standing.file.oid != wrote.blob:
        return f"it differs from what the result of {named} wrote"
    return f"it is older than what {written.action_id} wrote"
