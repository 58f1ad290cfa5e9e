"""Judges webhook calls: a call triggers a poll, or is ignored. The body is trusted for nothing else: it
tells what to ask, and no answer.

Pure: bytes and headers in, an outcome out.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from dispatcher.errors import Misconfigured
from dispatcher.model.merges import LARGEST_NUMBER, named_request
from dispatcher.model.paths import ACTION_ENDING, ACTIONS_PATH
from dispatcher.settings import SHORTEST_SECRET

SIGNATURES = (
    ("X-Forgejo-Signature", ""),
    ("X-Gitea-Signature", ""),
    ("X-Hub-Signature-256", "sha256="),
)
"""Headers that carry the hex HMAC-SHA256 of the raw body, with its prefix."""

_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")

_WITHOUT_PUSH = frozenset({"opened", "edited", "closed", "reopened"})
"""What happens to a pull request that leaves branch and reviews as they are, unless it was merged."""


class Outcome(StrEnum):
    """The outcome of a call; also the label in metrics."""

    LOOK = "look"
    ISSUES = "issues"
    IGNORED = "ignored"
    MALFORMED = "malformed"
    FORGED = "forged"


@dataclass(frozen=True, kw_only=True, slots=True)
class Judgement:
    """An outcome, and its reason as a clause.

    Attributes:
        repository: whose issues changed, ``owner/name`` in lower case; "" unless that is the outcome.
        pushed: whether the call reports a push or a merge, and nothing about reviews.
        head: commit (hex) at which the branch was left by that; "" if the call names none.
        merged: number of the pull request whose merge brought actions, or may have, and the commit (hex)
            that it made; None unless the call reports that.
    """

    outcome: Outcome
    reason: str
    repository: str = ""
    pushed: bool = False
    head: str = ""
    merged: tuple[int, str] | None = None


class PushHook:
    """Judges calls for one branch of one repository.

    Args:
        secret: the shared secret, at least 16 bytes.
        repository: ``owner/name`` on the forge; "" accepts any, where no forge is configured.
        branch: the branch whose files are actions.
        watched: whether a repository's issues are watched, by its name in lower case.
        accepted: what a call for the branch causes, as a clause for the caller.

    Raises:
        Misconfigured: the secret is too short.
    """

    def __init__(
        self,
        *,
        secret: bytes,
        repository: str,
        branch: str,
        watched: Callable[[str], bool] = lambda _repository: False,
        accepted: str = "polling now",
    ) -> None:
        self.renew(secret)
        self._accepted = accepted
        self._watched = watched
        self._repository = repository.lower()
        self._ref = f"refs/heads/{branch}"

    def renew(self, secret: bytes) -> None:
        """Judge by another secret from now on.

        Raises:
            Misconfigured: it is too short; the one before stays.
        """
        if len(secret) < SHORTEST_SECRET:
            raise Misconfigured(
                f"the webhook's secret has {len(secret)} bytes",
                remedy=f"Use {SHORTEST_SECRET} bytes or more, e.g. from `openssl rand -hex 32`.",
            )
        self._secret = secret

    def judge(self, headers: Mapping[str, str], body: bytes) -> Judgement:
        """Judge one call.

        Args:
            headers: by their usual names; ``get`` must return None for an absent one.
            body: the raw body.
        """
        if not self._genuine(headers, body):
            return Judgement(outcome=Outcome.FORGED, reason="the signature is missing or wrong")
        return self._judge(body)

    def _judge(self, body: bytes) -> Judgement:
        try:
            payload = json.loads(body)
        except (ValueError, RecursionError):
            return Judgement(
                outcome=Outcome.MALFORMED,
                reason="the body is not JSON; set the webhook's content type to application/json",
            )
        repository = _text(payload, "repository", "full_name").lower()
        if isinstance(payload, dict) and "issue" in payload and self._watched(repository):
            reason = "reading its issues now"
            return Judgement(outcome=Outcome.ISSUES, reason=reason, repository=repository)
        if self._repository and repository != self._repository:
            return Judgement(outcome=Outcome.IGNORED, reason="another repository")
        if ref := _text(payload, "ref"):
            return self._of_push(ref, payload)
        action = _text(payload, "action")
        if action in _WITHOUT_PUSH and "pull_request" in payload:
            return self._of_request(payload["pull_request"], closed=action == "closed")
        return Judgement(outcome=Outcome.LOOK, reason=self._accepted)

    def _of_push(self, ref: str, payload: object) -> Judgement:
        if ref != self._ref:
            return Judgement(outcome=Outcome.IGNORED, reason="another branch")
        return Judgement(
            outcome=Outcome.LOOK,
            reason=self._accepted,
            pushed=True,
            head=_commit(payload, "after"),
            merged=_merged(payload),
        )

    def _of_request(self, request: object, *, closed: bool) -> Judgement:
        """A call about a pull request that was merged, or only opened, changed or closed. The forge sends
        this one at the end of a merge, on a way of its own: it may be here before that of the push.
        """
        if not closed or not isinstance(request, dict) or request.get("merged") is not True:
            return Judgement(outcome=Outcome.IGNORED, reason="nothing was merged")
        if f"refs/heads/{_text(request, 'base', 'ref')}" != self._ref:
            return Judgement(outcome=Outcome.IGNORED, reason="another branch")
        commit, number = _commit(request, "merge_commit_sha"), request.get("number")
        merged = None
        if commit and type(number) is int and 0 < number <= LARGEST_NUMBER:
            merged = (number, commit)
        return Judgement(
            outcome=Outcome.LOOK, reason=self._accepted, pushed=True, head=commit, merged=merged
        )

    def _genuine(self, headers: Mapping[str, str], body: bytes) -> bool:
        """Every signature that is present must be right, and one must be.

        A forge without a secret sends the header empty; that is no signature.
        """
        wanted = hmac.new(self._secret, body, hashlib.sha256).hexdigest().encode()
        checks = []
        for header, prefix in SIGNATURES:
            given = headers.get(header)
            if given is None:
                continue
            signature = given.strip().removeprefix(prefix).lower().encode("utf-8", "replace")
            checks.append(hmac.compare_digest(signature, wanted))
        return bool(checks) and all(checks)


def _merged(payload: object) -> tuple[int, str] | None:
    """What a push says of a merge: its last commit names a pull request, and brought actions."""
    head = payload.get("head_commit") if isinstance(payload, dict) else None
    if not isinstance(head, dict):
        return None
    commit, number = _commit(payload, "after"), named_request(_text(head, "message"))
    lists = [names for kind in ("added", "modified") if isinstance(names := head.get(kind), list)]
    brought = any(_is_action(name) for names in lists for name in names)
    return (number, commit) if number and brought and commit else None


def _is_action(path: object) -> bool:
    """Whether it is the path of an action's file."""
    folder, _, name = path.rpartition("/") if isinstance(path, str) else ("", "", "")
    return folder == ACTIONS_PATH and name.endswith(ACTION_ENDING)


def _commit(value: object, key: str) -> str:
    """A commit's hash; "" if there is none."""
    commit = _text(value, key)
    return commit if _COMMIT.fullmatch(commit) else ""


def _text(value: object, *keys: str) -> str:
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value if isinstance(value, str) else ""
