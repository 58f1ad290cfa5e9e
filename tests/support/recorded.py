"""Recordings of what a real forge and a real history answered, and their replay.

``DISINTO_RECORD=tests/recordings/forgejo pytest tests/acceptance/test_attacks.py`` makes them anew.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import httpx
from pydantic import TypeAdapter

from dispatcher.gate import Decision, Question
from dispatcher.model.approval_need import PLAIN, Need
from dispatcher.model.run import FormulaKind, FormulaRef, Tier
from dispatcher.ops_repo.lineage import Change, Lineage

_NEED, _NEEDS = TypeAdapter(Need), ("need", "formula_need")
"""Recordings of before have none: one approval was enough."""

FOLDER = Path(__file__).parents[1] / "recordings" / "forgejo"

WANTED_OF_A_REPOSITORY = ("id", "full_name")
"""A request's answer holds its repository twice, 150 lines each; this is kept of it."""


@dataclass(kw_only=True)
class Recording:
    """Everything that one decision was told, and the decision."""

    question: dict[str, Any] = field(default_factory=dict)
    approvers: dict[str, Any] = field(default_factory=dict)
    history: dict[str, Any] = field(default_factory=dict)
    forge: dict[str, Any] = field(default_factory=dict)
    decision: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def load(cls, path: Path) -> Recording:
        return cls(**json.loads(path.read_text()))

    def save(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self), indent=1, sort_keys=True) + "\n")

    def asked(self) -> Question:
        said = dict(self.question)
        formula = said.pop("formula")
        ref = FormulaRef(**{**formula, "kind": FormulaKind(formula["kind"])}) if formula else None
        needs = {k: _NEED.validate_python(said.pop(k)) if k in said else PLAIN for k in _NEEDS}
        return Question(**{**said, **needs, "tier": Tier(said["tier"]), "formula": ref})

    def note(self, question: Question, decision: Decision) -> None:
        self.question, self.decision = asdict(question), asdict(decision)


class RecordingTransport(httpx.BaseTransport):
    """Hands on to the network, and keeps each GET with its answer."""

    def __init__(self, forge: dict[str, Any]) -> None:
        self._forge = forge
        self._network = httpx.HTTPTransport()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        answer = self._network.handle_request(request)
        answer.read()
        if request.method == "GET":
            try:
                body: Any = _without_repositories(answer.json())
            except ValueError:
                body = answer.text
            self._forge[request.url.raw_path.decode()] = {
                "status": answer.status_code,
                "body": body,
            }
        return httpx.Response(answer.status_code, headers=_plain(answer), content=answer.content)


class ReplayTransport(httpx.BaseTransport):
    """Answers as the forge did; 599 to what it was not asked then."""

    def __init__(self, forge: dict[str, Any]) -> None:
        self._forge = forge

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        known = self._forge.get(request.url.raw_path.decode())
        if known is None:
            return httpx.Response(599, json={"message": f"not recorded: {request.url}"})
        return httpx.Response(known["status"], content=json.dumps(known["body"]))


def _plain(answer: httpx.Response) -> dict[str, str]:
    return {"Content-Type": answer.headers.get("Content-Type", "application/json")}


def _without_repositories(body: Any) -> Any:
    if isinstance(body, list):
        return [_without_repositories(entry) for entry in body]
    if not isinstance(body, dict):
        return body
    if "clone_url" in body:
        return {key: body[key] for key in WANTED_OF_A_REPOSITORY}
    return {key: _without_repositories(value) for key, value in body.items()}


class RecordingHistory:
    """Hands on to a real history, and keeps each answer."""

    def __init__(self, history: Any, answers: dict[str, Any]) -> None:
        self._history = history
        self._answers = answers

    def lineage(self, commit: str, path: str) -> Lineage | None:
        found = self._history.lineage(commit, path)
        self._answers[f"lineage {commit} {path}"] = asdict(found) if found else None
        return found  # type: ignore[no-any-return]

    def blob_at(self, commit: str, path: str) -> str | None:
        answer: str | None = self._history.blob_at(commit, path)
        self._answers[f"blob {commit} {path}"] = answer
        return answer

    def is_ancestor(self, ancestor: str, commit: str) -> bool:
        answer: bool = self._history.is_ancestor(ancestor, commit)
        self._answers[f"ancestor {ancestor} {commit}"] = answer
        return answer

    def mainline(self, commit: str, *, since: str, limit: int) -> Sequence[str]:
        answer = self._history.mainline(commit, since=since, limit=limit)
        self._answers[f"mainline {commit} {since}"] = list(answer)
        return answer  # type: ignore[no-any-return]

    def withdrawn(self, commit: str, path: str) -> Collection[str]:
        answer: Collection[str] = self._history.withdrawn(commit, path)
        self._answers[f"withdrawn {commit} {path}"] = sorted(answer)
        return answer

    def forgotten(self, approval: str, *, at: float | None = None) -> str:
        answer: str = self._history.forgotten(approval, at=at)
        self._answers[f"forgotten {approval}"] = answer
        return answer

    def arrived_at(self, change: Change) -> float:
        answer: float = self._history.arrived_at(change)
        self._answers[f"arrived {change.sha}"] = answer
        return answer

    def names_request(self, commit: str) -> int:
        answer: int = self._history.names_request(commit)
        self._answers[f"names {commit}"] = answer
        return answer


class ReplayHistory:
    """Answers as the history did; a question that was not asked then is an error of the test."""

    def __init__(self, answers: dict[str, Any]) -> None:
        self._answers = answers

    def lineage(self, commit: str, path: str) -> Lineage | None:
        found = self._answers[f"lineage {commit} {path}"]
        if found is None:
            return None
        return Lineage(
            last=_change(found["last"]),
            rivals=tuple(found["rivals"]),
            mainline=_change(found["mainline"]),
        )

    def blob_at(self, commit: str, path: str) -> str | None:
        found: str | None = self._answers[f"blob {commit} {path}"]
        return found

    def is_ancestor(self, ancestor: str, commit: str) -> bool:
        # What was not asked when this was recorded: as a clone that lacks the commit.
        return bool(self._answers.get(f"ancestor {ancestor} {commit}", False))

    def mainline(self, commit: str, *, since: str, limit: int) -> Sequence[str]:
        return tuple(self._answers[f"mainline {commit} {since}"])[:limit]

    def withdrawn(self, commit: str, path: str) -> Collection[str]:
        # Recordings of before have no such answer, and no history that was rewritten as one looked.
        return tuple(self._answers.get(f"withdrawn {commit} {path}", ()))

    def forgotten(self, approval: str, *, at: float | None = None) -> str:
        return str(self._answers.get(f"forgotten {approval}", ""))

    def arrived_at(self, change: Change) -> float:
        return float(self._answers.get(f"arrived {change.sha}", change.committed_at))

    def names_request(self, commit: str) -> int:
        # Recordings of before asked for the request by its commit.
        return int(self._answers.get(f"names {commit}", 0))


def _change(said: dict[str, Any]) -> Change:
    return Change(
        sha=said["sha"], parents=tuple(said["parents"]), committed_at=said["committed_at"]
    )
