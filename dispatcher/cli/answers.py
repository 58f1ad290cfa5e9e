"""What ``serve`` answers to other commands: what they would find out by themselves, in the same words.

See ``dispatcher.status.questions``. ``None`` leaves the question to the command.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from dispatcher.cli.status_screen import account_lines, plain_account
from dispatcher.engines import registry
from dispatcher.errors import DisintoError
from dispatcher.loop.components import Components
from dispatcher.operate import planned
from dispatcher.operate.ended_output import ended_output, never_started
from dispatcher.operate.files import read_result
from dispatcher.operate.lookup import Account, look_up
from dispatcher.ops_repo import Tree
from dispatcher.settings import GateKind
from dispatcher.status.questions import Answer, Question
from dispatcher.status.snapshot import Snapshots
from dispatcher.status.status_file import FRESH_S

T = TypeVar("T")


def answers(
    components: Components, snapshots: Snapshots, environ: Mapping[str, str]
) -> dict[str, Answer]:
    """The answers of this ``serve``, by question.

    Args:
        snapshots: of its rounds.
        environ: for tokens.
    """
    made = _Answers(components, snapshots, environ)
    return {
        Question.PLAN: made.plan,
        Question.ACCOUNT: made.account,
        Question.OUTPUT: made.output,
    }


class _Answers:
    def __init__(
        self, components: Components, snapshots: Snapshots, environ: Mapping[str, str]
    ) -> None:
        self._components, self._snapshots, self._environ = components, snapshots, environ

    def plan(self, _about: str) -> Mapping[str, Any] | None:
        """See ``planned``."""
        last = self._snapshots.last(within_s=FRESH_S)
        answer = planned.of_status(last, self._components, self._environ)
        return answer.to_json() if answer is not None else None

    def account(self, action_id: str) -> Mapping[str, Any] | None:
        """All about one action, for ``status ID``: as plain data, and as lines for people."""
        account = self._found(action_id, lambda tree: self._look_up(tree, action_id))
        if account is None:
            return None
        return {"plain": plain_account(account), "lines": account_lines(account)}

    def output(self, action_id: str) -> Mapping[str, Any] | None:
        """Where the output of an ended run is, for ``logs``: ``blob`` if the engine keeps it in a file,
        else ``end``, and ``source`` for people.
        """
        settings = self._components.settings
        if registry.get(settings.scheduler).kept_logs(settings) is None:
            return None
        result = self._found(
            action_id, lambda tree: read_result(self._components.repo, tree, action_id)
        )
        if result is None:
            return None
        if never := never_started(result):
            return {"blob": "", "end": "", "source": never}
        found = ended_output(result, lambda: self._components.scheduler, settings)
        if found.chunks is not None:
            return {"blob": result.blob, "end": "", "source": found.source}
        if result.output is not None:
            return None  # the ops repository may keep it, which the command fetches
        return {"blob": "", "end": result.logs, "source": found.source}

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
