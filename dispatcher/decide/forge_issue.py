"""An issue of a forge, as far as rules look at it, and the digest of that. Pure.

Title, body and labels are text of strangers: they are compared and digested, and kept nowhere else.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass

_PARENT = re.compile(r"(?<![\w/])Decomposed from #([1-9][0-9]{0,9})(?![\w])", re.ASCII)
_MAX_PARENTS = 20


@dataclass(frozen=True, kw_only=True, slots=True)
class SubIssue:
    """An issue whose body contains ``Decomposed from #<parent>``."""

    number: int
    closed: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Issue:
    """What rules look at of an open issue.

    Attributes:
        number: in its repository.
        content: digest of title and body, see ``content_digest``.
        labels: their names, whatever bytes they have.
        sub_issues: None if they have not been read.
    """

    number: int
    content: str
    labels: frozenset[str]
    sub_issues: tuple[SubIssue, ...] | None = None


def content_digest(title: str, body: str) -> str:
    """SHA-256 (hex) of title and body, whatever bytes they have."""
    return _digest([title, body])


def digest_of(issue: Issue, *, settable: frozenset[str]) -> str:
    """SHA-256 (hex) of what rules look at: title, body, labels and sub-issues. Labels that an outcome
    may set do not count, nor do comments: else a run would cause the next one. "" if the sub-issues
    have not been read.
    """
    if issue.sub_issues is None:
        return ""
    subs = sorted((sub.number, sub.closed) for sub in issue.sub_issues)
    return _digest([issue.content, sorted(issue.labels - settable), subs])


def parents_of(body: str) -> tuple[int, ...]:
    """The issues that a body names as ``Decomposed from #N``, in the same repository."""
    found = (int(number) for number in _PARENT.findall(body))
    return tuple(dict.fromkeys(found))[:_MAX_PARENTS]


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, separators=(",", ":")).encode()).hexdigest()
