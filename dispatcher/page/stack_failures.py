"""What kind of failure a deployment ended with, by the words of its run. Pure.

The words are those of docs/stacks.md, which a test compares. What the page says to each kind is in ``words``.
"""

from __future__ import annotations

from dispatcher.model.verdicts import Verdict

_BY_VERDICT = {Verdict.CANCELLED: "stopped", Verdict.LOST: "vanished"}

LATE, NOT_BEGUN, OTHER = "late", "not_begun", "other"

_KINDS = (
    # What was left comes first: whoever reads it has something to do.
    ("left", ("left behind", "the stack is not removed", "may still make service")),
    ("name", ("is reserved", "name is not 3 to 20")),
    ("taken", ("is taken, by",)),
    ("image", ("neither a tag nor a digest",)),
    ("settings", ("STACK_DOMAIN_SUFFIX", "DOKPLOY_URL is not set", "stack-settings.json")),
    ("secret", ("the run has no secret", "is not handed to a stack")),
    ("environment", ("environment: ", "in environment and in environment_secrets")),
    ("key", ("rejected the API key", "the API key may not use")),
    ("pull", ("failed; the server's log ends with",)),
    ("queue", ("the server's queue is stuck",)),
    ("crash", ("the container ends by itself", "the new version does not stay")),
    ("unreachable", (": no connection to",)),
    ("no_answer", ("health-check took more than",)),
    ("value", ("Dokploy refused",)),
    ("server", ("cannot be reached", "the server does not answer", "the server does not ")),
    (LATE, ("took more than", "not running after")),
)
"""Kinds, each with phrases that show it; the first that fits counts."""

KINDS = frozenset((*(kind for kind, _ in _KINDS), *_BY_VERDICT.values(), NOT_BEGUN, OTHER))
"""All kinds."""


def failure_of(said: str, verdict: Verdict) -> str:
    """The kind of a failure; ``other`` if its words are not known.

    Args:
        said: the error of the result, and the end of the run's output.
    """
    found = (kind for kind, phrases in _KINDS if any(phrase in said for phrase in phrases))
    if kind := next(found, "") or _BY_VERDICT.get(verdict, ""):
        return kind
    if verdict is Verdict.TIMED_OUT:
        return LATE
    return OTHER if verdict.ran or verdict is Verdict.ERROR else NOT_BEGUN
