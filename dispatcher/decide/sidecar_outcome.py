"""What a sidecar's run asks to be done to its issue, and how much of it its rule allows. Pure.

A formula reports in its outputs::

    {"outcome": "reproduced", "labels": {"add": ["in-triage"], "remove": []}}

The outputs are untrusted: an agent wrote them that read text of strangers. Whatever is not allowed is
dropped, and named with the reason.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from dispatcher.decide.placing import SIDECAR
from dispatcher.decide.sidecar_rules import Rule
from dispatcher.decide.sidecars import run_id
from dispatcher.model.action import Action
from dispatcher.model.result import Result

MAX_LABELS = 20
"""Maximum labels that a run may ask to add, and to remove."""

MAX_NAME = 200
"""Characters of an outcome or label, at most."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Subject:
    """Which attempt of which rule on which issue an action is.

    Attributes:
        repository: owner/name on the forge, as it was when the action was written.
    """

    rule: str
    project: str
    repository: str
    issue: int
    attempt: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Dropped:
    """A change of a label that is not made.

    Attributes:
        label: its name, untrusted; "" if it is about the outputs as a whole.
        why: a clause without a full stop; contains no untrusted text.
    """

    label: str
    why: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Changes:
    """What becomes of an issue's labels.

    Attributes:
        add: labels that the issue is to have; those it has already included.
        remove: labels that it is not to have; those it lacks already included.
        dropped: what was asked for and is not done.
    """

    add: tuple[str, ...] = ()
    remove: tuple[str, ...] = ()
    dropped: tuple[Dropped, ...] = ()


def subject_of(action: Action) -> Subject | None:
    """What an action of a sidecar is about; None for any other action. It proves nothing: the action's
    signature does.
    """
    if action.source is None or action.source.kind != SIDECAR:
        return None
    rule, project = action.params.get("rule"), action.params.get("project")
    repository, issue = action.params.get("repository"), action.params.get("issue_number")
    texts = isinstance(rule, str) and isinstance(project, str) and isinstance(repository, str)
    if not texts or not isinstance(issue, int) or isinstance(issue, bool) or issue < 1:
        return None
    attempt = action.id.rpartition("-")[2]
    number = int(attempt) if attempt.isascii() and attempt.isdecimal() else 0
    if number < 1 or action.id != run_id(str(rule), str(project), issue, number):
        return None
    return Subject(
        rule=str(rule),
        project=str(project),
        repository=str(repository),
        issue=issue,
        attempt=number,
    )


def outcome_of(outputs: Mapping[str, object]) -> str:
    """The value of ``outcome`` in a run's outputs, untrusted; "" without one."""
    outcome = outputs.get("outcome", "")
    return outcome[:MAX_NAME] if isinstance(outcome, str) else ""


def changes_of(
    result: Result, rule: Rule | None, *, present: frozenset[str], closed: bool
) -> Changes:
    """What a run's result changes about the labels of its issue. Partly done, it gives the same answer:
    so it can be worked out again after a crash.

    Args:
        rule: None if it does not apply to the project any more.
        present: the issue's labels now.
        closed: whether the issue is closed.
    """
    asked = result.outputs.get("labels")
    if asked is None:
        return Changes()
    add, remove, wrong = _asked(asked)
    if wrong:
        return Changes(dropped=(Dropped(label="", why=wrong),))
    obstacle = _obstacle(result, rule, present=present, closed=closed, own={*add, *remove})
    if obstacle or rule is None:
        return Changes(dropped=tuple(Dropped(label=each, why=obstacle) for each in (*add, *remove)))
    dropped: list[Dropped] = []
    for label in (*add, *remove):
        why = _refusal(label, rule, add=add, remove=remove)
        if why and label not in {each.label for each in dropped}:
            dropped.append(Dropped(label=label, why=why))
    left_out = {each.label for each in dropped}
    return Changes(
        add=tuple(label for label in add if label not in left_out),
        remove=tuple(label for label in remove if label not in left_out),
        dropped=tuple(dropped),
    )


def _obstacle(
    result: Result, rule: Rule | None, *, present: frozenset[str], closed: bool, own: set[str]
) -> str:
    """Why no label is changed at all; "" if some may be."""
    if not result.verdict.success:
        return "the run did not succeed"
    if rule is None:
        return "the rule does not apply to this project any more"
    if closed:
        return "the issue is closed"
    # What this outcome itself changes does not count: a part of it may have been done before a crash.
    lacks = [label for label in rule.labels if label not in present and label not in own]
    has = [label for label in rule.without_labels if label in present and label not in own]
    if lacks or has:
        return "the issue's labels were changed meanwhile, so the rule does not apply any more"
    return ""


def _refusal(label: str, rule: Rule, *, add: tuple[str, ...], remove: tuple[str, ...]) -> str:
    if label in add and label in remove:
        return "it was to be both added and removed"
    if label in add and label not in rule.add_labels:
        return "the rule does not allow adding it"
    if label in remove and label not in rule.remove_labels:
        return "the rule does not allow removing it"
    return ""


def _asked(asked: object) -> tuple[tuple[str, ...], tuple[str, ...], str]:
    """Labels to add and to remove, and what is wrong with the outputs."""
    if not isinstance(asked, dict) or asked.keys() - {"add", "remove"}:
        return (), (), '"labels" in the outputs must be an object with "add" and "remove"'
    lists = [asked.get("add", []), asked.get("remove", [])]
    for each in lists:
        if not isinstance(each, list) or not all(isinstance(label, str) for label in each):
            return (), (), '"add" and "remove" in the outputs must be lists of strings'
        if len(each) > MAX_LABELS:
            return (), (), f"the outputs name more than {MAX_LABELS} labels"
        if any(not 0 < len(label) <= MAX_NAME for label in each):
            return (), (), f"a label in the outputs is empty or over {MAX_NAME} characters long"
    add, remove = (tuple(dict.fromkeys(_texts(each))) for each in lists)
    return add, remove, ""


def _texts(labels: object) -> Iterator[str]:
    if isinstance(labels, list):
        yield from (label for label in labels if isinstance(label, str))
