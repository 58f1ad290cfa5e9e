"""Repeating actions, on a real git remote: from an author's machine, and what is refused."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from dispatcher.errors import Exit
from dispatcher.model.run import Claim, Phase, RunKey
from dispatcher.model.times import rfc3339
from dispatcher.operate.again import Draft, NeedsEdit, NotEnded, RepeatedAlready, draft, target
from dispatcher.operate.submission import AlreadyThere
from dispatcher.operate.submission_client import NeedsSignature, SubmissionClient
from dispatcher.settings import GateKind
from tests.integration.test_submission_client import FakeForge, _desk, shown
from tests.servers.bao import Bao
from tests.support.cli_process import Said
from tests.support.desk_stage import AuthorsDesk
from tests.support.serving import ROOT
from tests.support.stage import Stage, action, path, set_stage


@pytest.fixture
def stage(bao_server: Bao, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    stage = set_stage(tmp_path / "scene", bao_server, ops_repo={"poll_interval_s": 0.2})
    for name, value in stage.scene._git_identity().items():
        monkeypatch.setenv(name, value)
    yield stage
    stage.stop()


@pytest.fixture
def desk(stage: Stage, tmp_path: Path) -> AuthorsDesk:
    desk = AuthorsDesk.of(stage.scene, tmp_path / "author")
    desk.environ["PYTHONPATH"] = str(ROOT)
    return desk


def client_of(stage: Stage, forge: FakeForge | None = None) -> SubmissionClient:
    settings = stage.scene.open_settings()
    if forge is not None:
        policy = settings.policy.model_copy(update={"gate": GateKind.FORGEJO})
        settings = settings.model_copy(update={"policy": policy})
    return _desk(settings, stage.scene, forge)


def drafted(stage: Stage, action_id: str, client: SubmissionClient | None = None) -> Draft:
    client = client or client_of(stage)
    client.repo.advance(client.tree, client.repo.fetch().commit)
    return draft(action_id, repo=client.repo, tree=client.tree, ledger=client.ledger)


def merged(stage: Stage, action_id: str, **facts: str) -> None:
    stage.scene.merge({path(action_id): action(action_id, **facts)}, f"Add {action_id}")


def ended(stage: Stage, *action_ids: str, **facts: str) -> None:
    for action_id in action_ids:
        merged(stage, action_id, **facts)
    stage.once()


def again(desk: AuthorsDesk, action_id: str, *words: str) -> Said:
    return desk("again", action_id, "--no-follow", "--json", *words)


def test_a_chain_of_repetitions_from_an_authors_machine(stage: Stage, desk: AuthorsDesk) -> None:
    merged(stage, "deploy", more="# kept\npriority = 5")
    early = again(desk, "deploy")
    assert early.code == Exit.TEMPFAIL
    assert "deploy has not ended: it may still succeed" in early.err
    stage.once()
    sent = again(desk, "deploy")
    assert sent.code == Exit.OK, sent.err
    assert (sent.json["id"], sent.json["tier"]) == ("deploy-2", "low")
    text = shown(stage.scene, path("deploy-2"))
    assert text.startswith('again_of = "deploy"\nid = "deploy-2"\n')
    assert "# kept\npriority = 5" in text
    twice = again(desk, "deploy")
    assert twice.code == Exit.CANTCREAT
    assert "deploy was repeated already, as deploy-2" in twice.err
    assert again(desk, "deploy-2").code == Exit.TEMPFAIL
    stage.once()
    assert stage.result("deploy-2")["again_of"] == "deploy"
    assert again(desk, "deploy-2").json["id"] == "deploy-3"
    rows = {row["id"]: row["again_of"] for row in desk("status", "--json").json["results"]}
    assert rows == {"deploy-2": "deploy", "deploy": None}
    middle = desk("status", "deploy-2", "--json").json
    assert middle["repeats"] == [{"id": "deploy", "verdict": "succeeded"}]
    assert middle["repeated_as"] == [{"id": "deploy-3", "verdict": ""}]
    last = desk("status", "deploy-3").out
    assert "repeats     deploy (succeeded), deploy-2 (succeeded)" in last
    assert not desk.opened()


def test_an_invalid_one_is_repeated_only_with_an_edit(
    stage: Stage, desk: AuthorsDesk, tmp_path: Path
) -> None:
    ended(stage, "typo", formula="helo")
    stage.scene.merge({path("broken"): "id = \n"}, "Add broken")
    stage.once()
    for action_id in ("typo", "broken"):
        refused = again(desk, action_id)
        assert refused.code == Exit.DATAERR
        assert f"disinto again --edit {action_id}" in refused.err
    desk.environ["EDITOR"] = "sed -i s/helo/hello/"
    assert again(desk, "typo", "--edit").json["id"] == "typo-2"
    desk.environ["EDITOR"] = "true"
    unchanged = again(desk, "broken", "--edit")
    assert unchanged.code == Exit.CONFIG
    assert "nothing was changed, so nothing was sent" in unchanged.err
    desk.environ["EDITOR"] = "sed -i s/^id.*/lines/"
    kept = again(desk, "broken", "--edit")
    assert kept.code == Exit.DATAERR
    place = next(w.strip("'") for w in kept.err.split() if "broken-2.toml" in w and "/" in w)
    whole = action("broken-2", more='again_of = "broken"')
    Path(place).write_text(whole)
    assert desk("dispatch", place, "--no-follow").code == Exit.OK
    stage.once()
    assert stage.result("typo-2")["verdict"] == "succeeded"
    assert stage.result("broken-2")["again_of"] == "broken"


def test_what_would_end_without_a_run_needs_an_edit(stage: Stage) -> None:
    soon = rfc3339(time.time() + 3_600)
    past = rfc3339(time.time() - 3_600)
    ended(stage, "over", more=f'expires = "{past}"')
    ended(stage, "fine", more=f'expires = "{soon}"\nnot_before = "{past}"')
    ended(stage, "next", more='after = ["over"]')
    ended(stage, "good", more='after = ["fine"]')
    assert stage.result("over")["verdict"] == "expired"
    assert stage.result("next")["verdict"] == "refused"
    for action_id, words in (("over", "expired at"), ("next", "over, which ended as expired")):
        objection = drafted(stage, action_id).objection
        assert isinstance(objection, NeedsEdit)
        assert words in str(objection)
        assert f"disinto again --edit {action_id}" in str(objection.remedy)
    assert drafted(stage, "fine").objection is None
    assert drafted(stage, "good").objection is None


def test_archived_actions_and_names_that_others_took(stage: Stage) -> None:
    ended(stage, "deploy", "deploy-2", "deploy-4")
    stage.scene.git("pull", "--quiet")
    (stage.scene.desk / "vault/done/2026-01").mkdir(parents=True)
    for name in ("deploy.toml", "deploy.result.json", "deploy-2.toml", "deploy-2.result.json"):
        stage.scene.git("mv", f"vault/actions/{name}", f"vault/done/2026-01/{name}")
    stage.scene.merge({}, "Archive")
    merged(stage, "deploy-3", more='again_of = "else"')
    new = drafted(stage, "deploy")
    assert new.id == "deploy-5"
    client = client_of(stage)
    client.send(target(new), sign=False, data=new.text)
    assert 'again_of = "deploy"' in shown(stage.scene, path("deploy-5"))
    with pytest.raises(RepeatedAlready, match="as deploy-5"):
        drafted(stage, "deploy")


def test_of_two_people_at_once_one_sends_and_the_other_is_told(stage: Stage) -> None:
    ended(stage, "deploy")
    one, other = client_of(stage), client_of(stage)
    first, second = drafted(stage, "deploy", one), drafted(stage, "deploy", other)
    changed = second.text.replace(b'"c"', b'"changed"')
    one.send(target(first), sign=False, data=first.text)
    with pytest.raises(AlreadyThere, match="deploy-2 already exists"):
        other.send(target(second), sign=False, data=changed)
    assert "is in the ops repo already" in (
        other.send(target(second), sign=False, data=second.text).summary
    )
    with pytest.raises(RepeatedAlready):
        drafted(stage, "deploy", other)


def test_a_signed_push_never_overwrites_what_somebody_sent_meanwhile(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended(stage, "deploy")
    client = client_of(stage)
    new = drafted(stage, "deploy", client)
    fetch = client.repo.fetch

    def then_another() -> object:
        head = fetch()
        monkeypatch.undo()
        merged(stage, "deploy-2")
        return head

    monkeypatch.setattr(client.repo, "fetch", then_another)
    for name, value in stage.scene._git_identity().items():
        monkeypatch.setenv(name, value)
    with pytest.raises(AlreadyThere, match="somebody else has just sent it"):
        client.send(target(new), sign=True, data=new.text)
    assert "again_of" not in shown(stage.scene, path("deploy-2"))


def test_it_is_sent_in_the_way_that_its_tier_asks_for(stage: Stage) -> None:
    merged(stage, "big", formula="danger")
    stage.once()
    stage.scene.merge({path("big"): action("big", formula="danger", more="#")}, "x", sign=True)
    stage.once()
    new = drafted(stage, "big")
    with pytest.raises(NeedsSignature, match="nothing was sent"):
        client_of(stage).send(target(new), sign=False, data=new.text)
    forge = FakeForge()
    client = client_of(stage, forge)
    sent = client.send(target(new), sign=False, data=new.text)
    assert sent.state == "proposed"
    assert forge.opened[0]["head"] == "disinto/big-2"
    again_ = client.send(target(new), sign=False, data=new.text)
    assert "is already proposed" in again_.summary


def test_one_whose_run_goes_on_is_not_repeated_whatever_git_says(stage: Stage) -> None:
    """A forged result must not make anybody start a second run beside the first."""
    ended(stage, "deploy")
    key = RunKey(action_id="deploy", blob="b" * 40)
    running = Claim(key=key, phase=Phase.SUBMITTED, commit="c")
    client = client_of(stage)
    client.ledger = SimpleNamespace(get=lambda _id: running)  # type: ignore[assignment]
    with pytest.raises(NotEnded, match="it may still succeed"):
        drafted(stage, "deploy", client)


def test_an_unknown_id_and_a_file_that_is_gone(stage: Stage, desk: AuthorsDesk) -> None:
    assert again(desk, "nobody").code == Exit.NOINPUT
    ended(stage, "deploy")
    stage.scene.git("pull", "--quiet")
    stage.scene.git("rm", "--quiet", path("deploy"))
    stage.scene.git("commit", "--quiet", "-m", "Gone")
    stage.scene.git("push", "--quiet", "origin", "HEAD:main")
    gone = again(desk, "deploy")
    assert gone.code == Exit.NOINPUT
    assert "is gone" in gone.err
