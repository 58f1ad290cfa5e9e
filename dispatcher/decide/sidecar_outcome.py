"""What a sidecar's run asks to be done to its issue, and how much of it its rule allows. Pure.

A formula reports in its outputs::

    {"outcome": "reproduced", "labels": {"add": ["in-triage"], "remove": []}}

The outputs are untrusted: an agent wrote them that read text of strangers. Whatever is not allowed is
dropped, and named with the reason.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass, replace

from dispatcher.decide.placing import SIDECAR
from dispatcher.decide.sidecar_rules import Rule
from dispatcher.decide.sidecars import run_id
from dispatcher.model.action import Action
from dispatcher.model.result import Result

MAX_LABELS = 20
"""Maximum labels that a run may ask to add, and to remove."""

MAX_NAME = 200
"""Characters of a label, at most."""

_OUTCOME = re.compile(r"[a-z0-9_-]{1,40}")


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
        label: its name, which the rule or the repository has too: one that nobody knows could carry text
            of the run to the issue. "" if this is about the outputs as a whole, or about such labels.
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
    """The value of ``outcome`` in a run's outputs, as it may be shown on an issue: one short word, so that
    it carries no text of the run there. "not shown" for any other; "" without one.
    """
    outcome = outputs.get("outcome", "")
    if outcome == "":
        return ""
    shown = isinstance(outcome, str) and _OUTCOME.fullmatch(outcome)
    return str(outcome) if shown else "not shown"


def changes_of(
    result: Result,
    rule: Rule | None,
    *,
    present: frozenset[str],
    known: Mapping[str, str],
    closed: bool,
) -> Changes:
    """What a run's result changes about the labels of its issue. Partly done, with additions before
    removals, it gives the same answer: so it can be worked out again after a crash.

    Args:
        rule: None if it does not apply to the project any more.
        present: the issue's labels now.
        known: all labels of the repository, each with the scope within which it is exclusive, or "".
        closed: whether the issue is closed.
    """
    asked = result.outputs.get("labels")
    if asked is None:
        return Changes()
    add, remove, wrong = _asked(asked)
    if wrong:
        return Changes(dropped=(Dropped(label="", why=wrong),))
    refused: dict[str, str] = {}
    if rule is not None:
        for label in (*add, *remove):
            why = _refusal(label, rule, add=add, remove=remove, known=known)
            why = why or _displaces(label, rule, present, add=add, remove=remove, known=known)
            if why:
                refused.setdefault(label, why)
    allowed = Changes(
        add=tuple(label for label in add if label not in refused),
        remove=tuple(label for label in remove if label not in refused),
    )
    obstacle = _obstacle(result, rule, present=present, closed=closed, own=_own(allowed, present))
    if obstacle:
        refused, allowed = dict.fromkeys((*add, *remove), obstacle), Changes()
    named = {*known, *present, *_labels_of(rule)}
    return replace(allowed, dropped=tuple(_dropped(refused, named)))


def _own(allowed: Changes, present: Set[str]) -> set[str]:
    """Labels whose state may be this outcome's own doing, a part of which may have been done before a
    crash. Nothing was removed by us before everything was added.
    """
    added = all(label in present for label in allowed.add)
    return {*allowed.add, *(allowed.remove if added else ())}


def _labels_of(rule: Rule | None) -> set[str]:
    if rule is None:
        return set()
    return {*rule.labels, *rule.without_labels, *rule.add_labels, *rule.remove_labels}


def _dropped(refused: Mapping[str, str], named: Set[str]) -> Iterator[Dropped]:
    yield from (Dropped(label=label, why=why) for label, why in refused.items() if label in named)
    unknown = sum(label not in named for label in refused)
    if unknown:
        labels = "one label" if unknown == 1 else f"{unknown} labels"
        yield Dropped(label="", why=f"{labels} that neither the rule nor the repository has")


def _obstacle(
    result: Result, rule: Rule | None, *, present: Set[str], closed: bool, own: Set[str]
) -> str:
    """Why no label is changed at all; "" if some may be."""
    if not result.verdict.success:
        return "the run did not succeed"
    if rule is None:
        return "the rule does not apply to this project any more"
    if closed:
        return "the issue is closed"
    lacks = [label for label in rule.labels if label not in present and label not in own]
    has = [label for label in rule.without_labels if label in present and label not in own]
    if lacks or has:
        return "the issue's labels were changed meanwhile, so the rule does not apply any more"
    return ""


def _refusal(
    label: str,
    rule: Rule,
    *,
    add: tuple[str, ...],
    remove: tuple[str, ...],
    known: Mapping[str, str],
) -> str:
    if label in add and label in remove:
        return "it was to be both added and removed"
    if label in add and label not in rule.add_labels:
        return "the rule does not allow adding it"
    if label in remove and label not in rule.remove_labels:
        return "the rule does not allow removing it"
    if label in add and label not in known:
        return "the repository has no such label"
    return ""


def _displaces(
    label: str,
    rule: Rule,
    present: Set[str],
    *,
    add: tuple[str, ...],
    remove: tuple[str, ...],
    known: Mapping[str, str],
) -> str:
    """Why a label is not added: the forge would remove another one of its scope, which this outcome does
    not, or may not, remove.
    """
    scope = known.get(label, "")
    if label not in add or label in present or not scope:
        return ""
    others = {each for each in {*present, *add} - {label} if known.get(each) == scope}
    if others - (set(remove) & set(rule.remove_labels)):
        return "it is exclusive and would replace another label"
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
