"""Asking for a cancellation by the way that the action's tier asks for, on a real git remote."""

from __future__ import annotations

import pytest

from dispatcher.devservers.scene import Scene
from dispatcher.errors import Conflict, InvalidInput, Misconfigured, NotFound
from dispatcher.model.cancel_request import CancelRequest, parse_cancel_request
from dispatcher.model.run import Tier
from dispatcher.operate.cancel import EndedAlready
from dispatcher.operate.request_cancel import ask_to_cancel
from dispatcher.operate.submission_client import SubmissionClient
from dispatcher.settings import GateKind
from tests.integration.test_submission_client import FakeForge, desk_of, head, scene, shown, write

__all__ = ["scene"]

PATH = "vault/actions/a.cancel.toml"


def sent(scene: Scene, formula: str) -> None:
    text = write(scene, "a", formula).read_text()
    scene.merge({"vault/actions/a.toml": text}, "Add a")


def asked(scene: Scene, ref: str) -> CancelRequest:
    request = parse_cancel_request(shown(scene, PATH, ref).encode(), path=PATH, action_id="a")
    assert isinstance(request, CancelRequest)
    return request


def test_with_a_forge_a_pull_request_asks(scene: Scene) -> None:
    sent(scene, "danger")
    forge, before = FakeForge(), head(scene)
    told = ask_to_cancel(desk_of(scene, forge), "a", reason="wrong cluster", sign=False)
    assert told.request is not None
    assert (told.request.number, told.tier) == (7, Tier.HIGH)
    assert told.request.url in told.summary
    assert head(scene) == before
    assert told.commit == head(scene, "disinto/cancel/a")
    request = asked(scene, "disinto/cancel/a")
    assert request.blob == scene.git("hash-object", "vault/actions/a.toml")
    assert request.reason == "wrong cluster"
    (opened,) = forge.opened
    assert (opened["head"], opened["base"]) == ("disinto/cancel/a", "main")
    again = ask_to_cancel(desk_of(scene, forge), "a", reason="once more", sign=False)
    assert (again.request, again.commit) == (told.request, told.commit)
    assert "is already proposed" in again.summary
    assert len(forge.opened) == 1


def test_a_request_about_another_version_of_the_action_is_in_the_way(scene: Scene) -> None:
    sent(scene, "danger")
    forge = FakeForge()
    ask_to_cancel(desk_of(scene, forge), "a", reason="", sign=False)
    other = write(scene, "a", "danger").read_text().replace('"c"', '"other"')
    scene.merge({"vault/actions/a.toml": other}, "Change a")
    with pytest.raises(Conflict, match="already proposed with other content") as refused:
        ask_to_cancel(desk_of(scene, forge), "a", reason="", sign=False)
    assert "git push origin --delete disinto/cancel/a" in str(refused.value)


def test_tier_low_goes_to_the_branch_in_the_persons_name(scene: Scene) -> None:
    sent(scene, "hello")
    told = ask_to_cancel(desk_of(scene, FakeForge()), "a", reason="", sign=False)
    assert (told.request, told.tier, told.commit) == (None, Tier.LOW, head(scene))
    assert asked(scene, "main").reason == ""
    again = ask_to_cancel(desk_of(scene, FakeForge()), "a", reason="", sign=False)
    assert "already" in again.summary


def test_without_a_gate_nothing_is_sent_in_vain(scene: Scene) -> None:
    sent(scene, "danger")
    before = head(scene)
    desk = without_a_gate(desk_of(scene))
    with pytest.raises(Misconfigured, match="nothing can approve") as refused:
        ask_to_cancel(desk, "a", reason="", sign=False)
    assert "on the dispatcher's host" in str(refused.value)
    assert head(scene) == before


def test_what_is_unknown_or_over_is_not_asked_about(scene: Scene) -> None:
    desk = desk_of(scene)
    with pytest.raises(NotFound):
        ask_to_cancel(desk, "a", reason="", sign=False)
    sent(scene, "hello")
    with pytest.raises(InvalidInput, match="one line"):
        ask_to_cancel(desk, "a", reason="two\nlines", sign=False)
    scene.merge({"vault/actions/a.result.json": "{}"}, "It ran")
    with pytest.raises(EndedAlready):
        ask_to_cancel(desk, "a", reason="", sign=False)


def without_a_gate(desk: SubmissionClient) -> SubmissionClient:
    policy = desk.settings.policy.model_copy(update={"gate": GateKind.NONE})
    desk.settings = desk.settings.model_copy(update={"policy": policy})
    return desk
