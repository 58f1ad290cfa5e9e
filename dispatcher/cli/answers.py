"""What ``serve`` answers to other commands: what they would print after finding out by themselves.

See ``dispatcher.status.questions``; ``by_serve`` asks. ``None`` leaves the question to the command. Each
question comes with the id or "", the values of the command's options, and its ``screen``.

* ``status``, ``plan``: ``text``, all that they print
* ``logs``: ``files`` of the streams, by name; without any, ``end``; and ``source`` for people
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from dispatcher.cli import listing
from dispatcher.cli.console import json_text, printed
from dispatcher.cli.plan import plan_lines
from dispatcher.cli.screen import Screen
from dispatcher.cli.status_screen import account_lines, plain_account
from dispatcher.engines import registry
from dispatcher.engines.local.output import kept_files
from dispatcher.errors import DisintoError
from dispatcher.loop.components import Components
from dispatcher.model.run import RunKey
from dispatcher.operate import planned
from dispatcher.operate.ended_output import ended_output, never_started
from dispatcher.operate.files import read_result
from dispatcher.operate.lookup import Account, look_up
from dispatcher.ops_repo import Tree
from dispatcher.settings import GateKind
from dispatcher.status.asking import LOGS, PLAN, STATUS
from dispatcher.status.questions import Answer
from dispatcher.status.snapshot import Snapshots
from dispatcher.status.status_file import FRESH_S, Seen

T = TypeVar("T")

BLOB = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


def answers(
    components: Components,
    snapshots: Snapshots,
    written: Callable[[], Seen | None],
    environ: Mapping[str, str],
) -> dict[str, Answer]:
    """The answers of this ``serve``, by question.

    Args:
        snapshots: of its rounds.
        written: see ``StatusFile.written``.
        environ: for tokens.
    """
    made = _Answers(components, snapshots, written, environ)
    by_question = {STATUS: made.status, PLAN: made.plan, LOGS: made.logs}
    return {question: _read(answer) for question, answer in by_question.items()}


@dataclass(frozen=True, kw_only=True, slots=True)
class _Asked:
    """The details of a question.

    Attributes:
        id: of an action, or "".
        as_json: whether JSON is wanted.
        last: results to list.
        screen: where the answer is shown.
    """

    id: str
    as_json: bool
    last: int
    screen: Screen

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> _Asked:
        """The details as plain data.

        Raises:
            KeyError, TypeError, ValueError: the data is something else.
        """
        return cls(
            id=str(data["id"]),
            as_json=bool(data.get("json")),
            last=max(0, int(data.get("last", listing.LAST))),
            screen=Screen.from_json(data["screen"]),
        )


def _read(answer: Callable[[_Asked], Mapping[str, Any] | None]) -> Answer:
    def of_plain(about: Mapping[str, Any]) -> Mapping[str, Any] | None:
        try:
            asked = _Asked.from_json(about)
        except (KeyError, TypeError, ValueError):
            return None  # a command of another version
        return answer(asked)

    return of_plain


class _Answers:
    def __init__(
        self,
        components: Components,
        snapshots: Snapshots,
        written: Callable[[], Seen | None],
        environ: Mapping[str, str],
    ) -> None:
        self._components, self._snapshots = components, snapshots
        self._written, self._environ = written, environ

    def status(self, asked: _Asked) -> Mapping[str, Any] | None:
        """The list, or all about one action."""
        if asked.id:
            account = self._found(asked.id, lambda tree: self._look_up(tree, asked.id))
            if account is None:
                return None
            return _text(asked, lambda: plain_account(account), lambda: account_lines(account))
        status = self._written()
        if status is None or self._snapshots.last(within_s=FRESH_S) is None:
            return None
        shown = listing.written(status, asked.last)
        if shown is None:
            return None
        return _text(asked, shown.plain, lambda: shown.lines(asked.screen))

    def plan(self, asked: _Asked) -> Mapping[str, Any] | None:
        """See ``planned``."""
        last = self._snapshots.last(within_s=FRESH_S)
        plan = planned.of_status(last, self._components, self._environ)
        if plan is None:
            return None
        return _text(asked, lambda: plan.plain, lambda: plan_lines(plan, asked.screen))

    def logs(self, asked: _Asked) -> Mapping[str, Any] | None:
        """Where the output of an ended run is."""
        action_id, status = asked.id, self._written()
        if "/" in action_id or status is None or status.given is None:
            return None
        given = status.given
        if given.kept_logs is None or status.overview.find(action_id):
            return None
        result = next((each.result for each in status.results or () if each.id == action_id), None)
        files = self._files(action_id, str((result or {}).get("blob")))
        return _output(files, source=given.kept) if files else self._ended(action_id)

    def _ended(self, action_id: str) -> Mapping[str, Any] | None:
        """The same for a run whose result has to be read."""
        result = self._found(
            action_id, lambda tree: read_result(self._components.repo, tree, action_id)
        )
        if result is None:
            return None
        if never := never_started(result):
            return _output({}, source=never)
        settings = self._components.settings
        found = ended_output(result, lambda: self._components.scheduler, settings)
        if found.chunks is not None:
            files = self._files(action_id, result.blob)
            return _output(files, source=found.source) if files else None
        if result.output is not None:
            return None  # the ops repository may keep it, which the command fetches
        return _output({}, end=result.logs, source=found.source)

    def _files(self, action_id: str, blob: str) -> dict[str, str]:
        """Files of the full log by stream; {} if there are none. The blob may be anybody's words."""
        settings = self._components.settings
        kept = registry.get(settings.scheduler).kept_logs(settings)
        if kept is None or not BLOB.fullmatch(blob):
            return {}
        found = kept_files(kept, RunKey(action_id=action_id, blob=blob))
        return {stream.value: str(path) for stream, path in found.items()}

    def _found(self, action_id: str, read: Callable[[Tree], T]) -> T | None:
        """What is read about an action; None if that takes more than the last round and the clone."""
        last = self._snapshots.last(within_s=FRESH_S)
        if last is None or not last.head:
            return None
        if self._components.settings.policy.gate is GateKind.FORGEJO:
            return None  # an open pull request may hold it
        repo = self._components.repo
        try:
            head = repo.local_head()
            return read(repo.tree_of(head.commit, action_id)) if head is not None else None
        except DisintoError:
            return None  # the command reports it

    def _look_up(self, tree: Tree, action_id: str) -> Account:
        return look_up(
            action_id,
            repo=self._components.repo,
            tree=tree,
            standing=self._snapshots.overview().find(action_id),
        )


def _text(
    asked: _Asked, plain: Callable[[], Mapping[str, Any]], lines: Callable[[], list[str]]
) -> Mapping[str, Any]:
    if asked.as_json:
        return {"text": json_text(plain())}
    return {"text": printed(lines(), coloured=asked.screen.coloured)}


def _output(files: Mapping[str, str], *, end: str = "", source: str) -> Mapping[str, Any]:
    return {"files": files, "end": end, "source": source}
