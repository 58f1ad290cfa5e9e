"""How often a file is vetted: once, unless it names a secret that does not exist."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from types import SimpleNamespace
from typing import Any, cast

from dispatcher.decide.policy import Policy
from dispatcher.decide.tiers import effective_tier
from dispatcher.decide.world import Candidate
from dispatcher.gate.base import Answer, Decision
from dispatcher.loop.intake import Intake
from dispatcher.loop.view import View
from dispatcher.model.action import Action
from dispatcher.model.run import RunKey
from dispatcher.ops_repo import ActionFile, Delta, Entry

FILES = {
    i: Entry(mode=0o100644, oid=oid * 40)
    for i, oid in (("none", "1"), ("known", "2"), ("unknown", "3"))
}
SECRETS = {"none": (), "known": ("THERE",), "unknown": ("MISSING",)}


class CountingIntake:
    """Vets without reading, and counts."""

    def __init__(self) -> None:
        self.vetted: Counter[str] = Counter()

    def vet(
        self, files: Mapping[str, ActionFile], *, secrets: Collection[str] | None, **_: Any
    ) -> dict[str, Candidate]:
        self.vetted.update(files.keys())
        return {i: self._candidate(file, secrets) for i, file in files.items()}

    def forget(self, action_ids: Collection[str]) -> None:
        pass

    def _candidate(self, file: ActionFile, secrets: Collection[str] | None) -> Candidate:
        names = SECRETS.get(file.id, ())
        missing = secrets is not None and not set(names) <= set(secrets)
        action = Action(id=file.id, formula="hello", context="", secrets=names)
        return Candidate(
            key=RunKey(action_id=file.id, blob=file.blob),
            order=0,
            path=file.path,
            action=action,
            tier_decision=effective_tier(Policy(), action),
            problem="no such secret" if missing else "",
            unvetted="checking" if names and secrets is None else "",
        )


def view_with(intake: CountingIntake) -> View:
    """An empty view, whose gate keeps nothing."""
    gate = SimpleNamespace(invalidate=lambda: None)
    return View(
        components=cast(Any, SimpleNamespace(gate=gate)), intake=cast(Intake, cast(Any, intake))
    )


def test_a_file_whose_secrets_exist_is_vetted_once() -> None:
    intake = CountingIntake()
    view = view_with(intake)
    events = tuple((f"vault/actions/{i}.toml", entry) for i, entry in FILES.items())
    view.enter(Delta(commit="c" * 40, events=events, complete=True))
    view.vet()
    assert set(view.unresolved()) == {"known", "unknown"}

    view.learn_secrets(frozenset({"THERE"}), view.unresolved())
    assert view.unread == {"unknown"}
    view.vet()

    assert intake.vetted == {"none": 1, "known": 1, "unknown": 2}
    assert not view.unresolved()
    problems = {i: candidate.problem for i, candidate in view.candidates().items()}
    assert problems == {"none": "", "known": "", "unknown": "no such secret"}


def test_what_the_gate_answered_meanwhile_is_kept() -> None:
    intake = CountingIntake()
    view = view_with(intake)
    events = (("vault/actions/known.toml", FILES["known"]),)
    view.enter(Delta(commit="c" * 40, events=events, complete=True))
    view.vet()
    yes = Decision(answer=Answer.APPROVED, reason="so", gate="fake", approved_by=("boss",))
    view.learn(view.question("known"), yes, asked_at=float("inf"))

    view.learn_secrets(frozenset({"THERE"}), view.unresolved())

    candidate = view.candidates()["known"]
    assert (candidate.unvetted, candidate.approved_by) == ("", ("boss",))


def many(number: int) -> tuple[View, list[str]]:
    """A view into which a push of trivial actions came, and their ids in commit order."""
    view = view_with(CountingIntake())
    ids = [f"a{i:05}" for i in range(number)]
    events = tuple((f"vault/actions/{i}.toml", Entry(mode=0o100644, oid="1" * 40)) for i in ids)
    view.enter(Delta(commit="c" * 40, events=events, complete=True))
    return view, ids


def test_what_came_in_one_push_is_vetted_together() -> None:
    """The last of them may supersede the first, or have a higher priority."""
    view, ids = many(1_000)
    vetting = view.begin_vetting()
    assert vetting is not None
    assert list(vetting.files) == ids


def test_one_that_is_withdrawn_while_it_is_vetted_is_not_vetted_again() -> None:
    view, ids = many(3)
    vetting = view.begin_vetting()
    assert vetting is not None
    gone = ((f"vault/actions/{ids[1]}.toml", None),)
    view.enter(Delta(commit="d" * 40, events=gone, complete=False))
    formula = (("formulas/other.sh", Entry(mode=0o100644, oid="2" * 40)),)
    view.enter(Delta(commit="e" * 40, events=formula, complete=False))
    view.vetted_now(vetting.read())
    view.vet()
    assert set(view.candidates()) == {ids[0], ids[2]}
    assert not view.unread
