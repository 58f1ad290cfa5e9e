"""Repeats an action that has ended: its file once more, under a new id, with a link to it.

A repetition is an action like any other: it is checked, approved and run by the same rules. The link
(``again_of``) is for people, and decides nothing.

Each action is repeated at most once, and its repetition after that, so that two people who do the same
at once do not start two runs.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, replace
from pathlib import Path

from dispatcher.errors import Conflict, Exit, InvalidInput, NotFound, PermanentError
from dispatcher.ledger.base import Ledger
from dispatcher.model.action import Action, InvalidAction, parse_action
from dispatcher.model.source import TABLE
from dispatcher.model.verdicts import Verdict
from dispatcher.operate.files import ACTION_LIMIT, read_action, read_result
from dispatcher.operate.lookup import no_such
from dispatcher.operate.repetitions import again_of, is_used, numbered, root_of
from dispatcher.ops_repo import OpsRepo, Tree
from dispatcher.toml.source import TomlSource

LAST = 9_999
"""Highest number that a repetition gets."""

_STRING = re.compile(r"\"\"\".*?\"\"\"|'''.*?'''|\"[^\"\n]*\"|'[^'\n]*'", re.DOTALL)
"""A string of TOML that contains no quote, as an id; from where it begins."""


class NotEnded(Conflict):
    """The action may still succeed."""

    exit_code = Exit.TEMPFAIL


class RepeatedAlready(Conflict):
    """There is a repetition of the action already."""

    exit_code = Exit.CANTCREAT


class NeedsEdit(PermanentError):
    """The same file would end without a run."""

    exit_code = Exit.DATAERR


@dataclass(frozen=True, kw_only=True, slots=True)
class Draft:
    """The file of a repetition, before it is edited or sent.

    Attributes:
        of: the id that it repeats.
        id: the new one.
        text: of the file.
        objection: why it would not run as it is, with the remedy; None if nothing is known to be wrong.
    """

    of: str
    id: str
    text: bytes
    objection: PermanentError | None = None

    @property
    def name(self) -> str:
        """Name of its file."""
        return f"{self.id}.toml"

    def checked(self, text: bytes) -> bytes:
        """The text that a person made of it.

        Raises:
            InvalidInput: it is not an action of this id that names its predecessor.
        """
        action = parse_action(text, path=self.name, stem=self.id)
        if isinstance(action, InvalidAction):
            raise InvalidInput(action.problems)
        if action.again_of != self.of:
            source = TomlSource.parse(text, path=self.name)
            raise InvalidInput(
                [
                    source.problem(
                        f"it does not name the action that it repeats, {self.of}",
                        ("again_of",),
                        remedy=f"Write again_of = {_string(self.of)}",
                    )
                ]
            )
        return text


def draft(action_id: str, *, repo: OpsRepo, tree: Tree, ledger: Ledger | None) -> Draft:
    """The repetition of an action.

    Args:
        tree: at the present head.
        ledger: None if it is out of reach; then git alone says whether it has ended.

    Raises:
        NotFound: there is no such action, or its file is gone.
        NotEnded: it has no result yet, or a run of it is still under way.
        RepeatedAlready: it was repeated; the error names the repetition.
        Unavailable: the ledger cannot be read.
    """
    path, result = tree.action_path(action_id), read_result(repo, tree, action_id)
    if not path and result is None:
        raise no_such(action_id)
    claim = ledger.get(action_id) if ledger is not None else None
    if result is None or (claim is not None and claim.in_flight):
        raise NotEnded(
            f"{action_id} has not ended: it may still succeed",
            remedy=f"'disinto watch {action_id}' follows it, 'disinto cancel {action_id}' ends it. "
            "Repeat it after that.",
        )
    data = read_action(repo, tree, action_id)
    if not isinstance(data, bytes):
        raise NotFound(
            f"the file of action {action_id} is gone, or is not a regular file",
            remedy="Write a new action, under a new id.",
        )
    action = parse_action(data, path=path or "", stem=action_id, limit=ACTION_LIMIT)
    new_id = _free_id(action_id, action, repo=repo, tree=tree)
    verdict = result.verdict
    objection: PermanentError | None = None
    if isinstance(action, InvalidAction):
        text = _to_mend(data, of=action_id, new_id=new_id)
    else:
        text = repeated(data, action, new_id=new_id)
        objection = _objection(action, repo=repo, tree=tree)
    if isinstance(action, InvalidAction) or verdict is Verdict.INVALID:
        objection = _invalid(action_id)
    return Draft(of=action_id, id=new_id, text=text, objection=objection)


def repeated(data: bytes, action: Action, *, new_id: str) -> bytes:
    """The text of an action with another id and a link to it; all else stays as it is, but for the
    table that the dispatcher appends to what it writes itself: it would have no effect.

    Raises:
        ValueError: the text cannot be changed; a defect.
    """
    if action.source is not None:
        return repeated(_by_a_person(data), replace(action, source=None), new_id=new_id)
    source = TomlSource.parse(data, path=action.id)
    text, links = data.decode(), "again_of" in source.data
    changes = {"id": new_id, **({"again_of": action.id} if links else {})}
    offsets = {key: _offset(text, *source.locate((key,))) for key in changes}
    for key in sorted(changes, key=lambda key: -offsets[key]):
        begin = offsets[key]
        old = _STRING.match(text, begin)
        if old is None:
            raise ValueError(f"no text stands at {key}")
        text = f"{text[:begin]}{_string(changes[key])}{text[old.end() :]}"
    if not links:
        line, _ = source.locate(("id",), key=True)
        begin = _offset(text, line, 1)
        text = f"{text[:begin]}again_of = {_string(action.id)}\n{text[begin:]}"
    made = parse_action(text.encode(), path=new_id, stem=new_id, limit=2 * ACTION_LIMIT)
    if made != replace(action, id=new_id, again_of=action.id):
        raise ValueError("the text does not say what it should")
    return text.encode()


def _string(action_id: str) -> str:
    """An id as a TOML string, however long it is; messages shorten what they quote."""
    return f'"{action_id}"'


def _by_a_person(data: bytes) -> bytes:
    """The text of an action without its last table, ``[source]``."""
    line, _ = TomlSource.parse(data, path="").locate((TABLE,), key=True)
    lines = data.split(b"\n")[: line - 1]
    return b"\n".join(lines).rstrip() + b"\n"


def _offset(text: str, line: int, column: int) -> int:
    """Index of a place. Lines end at a line feed alone, as in TOML."""
    begin = 0
    for _ in range(line - 1):
        begin = text.index("\n", begin) + 1
    return begin + column - 1


def _to_mend(data: bytes, *, of: str, new_id: str) -> bytes:
    """An invalid file, with what has to be in it."""
    head = f"# Repeats {of}: it needs id = {_string(new_id)} and again_of = {_string(of)}\n"
    return head.encode() + data


def _free_id(action_id: str, action: Action | InvalidAction, *, repo: OpsRepo, tree: Tree) -> str:
    """The first id of the form ``<id>-2`` that is free.

    Raises:
        RepeatedAlready: one of those that are not repeats this action.
    """
    root, number = root_of(action_id, action.again_of if isinstance(action, Action) else None)
    while number < LAST:
        number += 1
        new_id = numbered(root, number)
        if not is_used(tree, new_id):
            return new_id
        if again_of(repo, tree, new_id) == action_id:
            raise RepeatedAlready(
                f"{action_id} was repeated already, as {new_id}",
                remedy=f"'disinto status {new_id}' shows it. To repeat that one: disinto again {new_id}",
            )
    raise Conflict(
        f"all ids from {root}-2 to {root}-{LAST} are used",
        remedy="Copy the file under another id, and send it with 'disinto dispatch'.",
    )


def _invalid(action_id: str) -> NeedsEdit:
    return NeedsEdit(
        f"{action_id} is invalid, and so would the same file be under another id",
        remedy=f"'disinto status {action_id}' names what is wrong. Correct it: disinto again --edit "
        f"{action_id}",
    )


def _objection(action: Action, *, repo: OpsRepo, tree: Tree) -> PermanentError | None:
    """Why the same file would end without a run."""
    edit = f"disinto again --edit {action.id}"
    if action.expires_at is not None and action.expires_at <= time.time():
        return NeedsEdit(
            f"{action.id} expired at {action.expires} (expires), and so would its repetition",
            remedy=f"Change or remove it: {edit}",
        )
    for other in action.after:
        result = read_result(repo, tree, other)
        if result is not None and result.verdict is not Verdict.SUCCEEDED:
            return NeedsEdit(
                f"{action.id} runs after {other}, which ended as {result.verdict}, so its repetition would "
                "be refused",
                remedy=f"Repeat {other} first, and name its repetition in after: {edit}",
            )
    return None


def target(new: Draft) -> Path:
    """The file of a repetition as messages name it. It is not written: the work tree that we are in is
    the one whose git signs.
    """
    return Path.cwd() / new.name
