"""What is on its way to git: results, ``<id>.result.json`` beside each action, and the actions that the
dispatcher writes itself.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from dispatcher.model.paths import ACTION_ENDING, ACTIONS_PATH, result_name
from dispatcher.model.result import ResultOutput, ended_result
from dispatcher.model.run import Claim
from dispatcher.ops_repo import Published


def result_path(action_id: str) -> str:
    """The path of an action's result in the ops repo."""
    return f"{ACTIONS_PATH}/{result_name(action_id)}"


def action_path(action_id: str) -> str:
    """The path of an action in the ops repo."""
    return f"{ACTIONS_PATH}/{action_id}{ACTION_ENDING}"


@dataclass(frozen=True, kw_only=True, slots=True)
class NewAction:
    """An action that the dispatcher writes itself, on its way to git; never replaces a file.

    Attributes:
        action_id: its id.
        text: the file without its signature.
        origin: what it is written for, for the commit's message: ``schedule nightly``.
    """

    action_id: str
    text: str
    origin: str

    @property
    def path(self) -> str:
        """In the ops repo."""
        return action_path(self.action_id)

    @property
    def output(self) -> None:
        """It has none yet."""
        return


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """One result on its way to git.

    Attributes:
        action_id: whose it is.
        text: the file's text, as the ledger has it.
        policies: of the grant, for the attestation.
        output: that the result names, and that is not on the remote yet.
        blob: git blob hash (hex) of the action, if the text is the result of a claim: it then
            replaces a file that is not ours. "" for an action that was never claimed: then an
            existing file stays.
        restored: whether it is a result that was in git before: then the inventory's files are
            restored for themselves, because later results may have changed them.
    """

    action_id: str
    text: str
    policies: tuple[str, ...] = ()
    blob: str = ""
    output: ResultOutput | None = None
    restored: bool = False

    @property
    def path(self) -> str:
        """In the ops repo."""
        return result_path(self.action_id)

    @classmethod
    def of(cls, claim: Claim) -> Entry:
        """The result that a claim holds."""
        return cls(
            action_id=claim.key.action_id,
            text=claim.result,
            policies=claim.grant.policies if claim.grant else (),
            blob=claim.key.blob,
            output=_output(claim),
            restored=claim.formula is None,
        )


def _output(claim: Claim) -> ResultOutput | None:
    """What a claim's result names and is to be pushed; nothing of a tombstone, whose result is
    restored as it was.
    """
    result = ended_result(claim) if claim.formula else None
    output = result.output if result is not None else None
    return output if output is not None and output.month else None


@dataclass(frozen=True, kw_only=True, slots=True)
class Pushed:
    """The outcome of a batch: ``published`` on success, else ``error``."""

    entries: tuple[Entry | NewAction, ...]
    published: Published | None = None
    error: Exception | None = None

    def of(self, path: str) -> str:
        """The id whose result is at a path; "" if it is none of this batch."""
        return next((e.action_id for e in self.entries if e.path == path), "")

    @property
    def results(self) -> list[Entry]:
        """Those that are results."""
        return [e for e in self.entries if isinstance(e, Entry)]

    @property
    def actions(self) -> list[NewAction]:
        """Those that are actions."""
        return [e for e in self.entries if isinstance(e, NewAction)]

    def refused(self) -> tuple[str, ...]:
        """Ids of the actions in whose place something was."""
        skipped = frozenset(self.published.skipped if self.published else ())
        return tuple(action.action_id for action in self.actions if action.path in skipped)

    def brought(self) -> tuple[str, ...]:
        """Ids of the actions that it brought to the branch; not of those whose place was taken."""
        written = frozenset(self.published.written if self.published else ())
        return tuple(action.action_id for action in self.actions if action.path in written)


Sign = Callable[[Entry], str]
"""Makes the file's final text: signs it, if results are signed. Only for results that we made."""

SignAction = Callable[[str], str]
"""Signs the text of an action that we made."""
