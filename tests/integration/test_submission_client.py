"""Sending an action by the way that its tier asks for, on a real git remote."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dispatcher import assembly
from dispatcher.devservers.scene import Scene
from dispatcher.errors import Conflict, Dependency, Misconfigured, NotFound, Unavailable
from dispatcher.loop.formulas import FormulaStore
from dispatcher.loop.rules import signers
from dispatcher.operate.submission import AlreadyThere
from dispatcher.operate.submission_client import NeedsSignature, SubmissionClient
from dispatcher.ops_repo import NewFile, SignatureStatus
from dispatcher.settings import GateKind, Settings
from tests.servers.bao import Bao


class FakeForge:
    """A forge that remembers what it was asked to open."""

    def __init__(self) -> None:
        self.opened: list[Mapping[str, str]] = []
        self.state = SimpleNamespace(state="open", merged=False)

    def open_request(self, **wanted: str) -> Any:
        self.opened.append(wanted)
        return self._request()

    def open_request_from(self, *, head: str, base: str) -> Any:
        known = [(each["head"], each["base"]) for each in self.opened]
        return self._request() if self.state.state == "open" and (head, base) in known else None

    @staticmethod
    def _request() -> Any:
        return SimpleNamespace(number=7, html_url="https://forge.example/pulls/7")

    def request(self, number: int) -> Any:
        assert number == 7
        return self.state


@pytest.fixture
def scene(vault: Bao, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scene:
    scene = Scene.set(
        tmp_path,
        vault,
        values={"TOKEN_A": "value-a"},
        settings={"vault": {"kv_mount": vault.kv_mount}},
        tiers={"hello": "low"},
        formulas={"hello.sh": "echo hello\n", "danger.sh": "echo danger\n"},
    )
    for name, value in scene._git_identity().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("HOME", str(tmp_path))
    return scene


def desk_of(scene: Scene, forge: FakeForge | None = None) -> SubmissionClient:
    settings = scene.open_settings()
    if forge is not None:
        policy = settings.policy.model_copy(update={"gate": GateKind.FORGEJO})
        settings = settings.model_copy(update={"policy": policy})
    return _desk(settings, scene, forge)


def _desk(settings: Settings, scene: Scene, forge: FakeForge | None) -> SubmissionClient:
    repo = assembly.open_repo(settings, scene.environ)
    return SubmissionClient(
        settings=settings,
        repo=repo,
        formula_store=FormulaStore(folder=settings.formulas.path, repo=repo),
        policy=assembly.open_policy(settings),
        secrets=lambda: {"TOKEN_A"},
        ledger=None,
        scheduler=None,
        forge=lambda: forge,  # type: ignore[arg-type, return-value]
    )


def write(scene: Scene, action_id: str, formula: str) -> Path:
    path = scene.root / f"{action_id}.toml"
    path.write_text(
        f'id = "{action_id}"\nformula = "{formula}"\ncontext = "c"\nsecrets = ["TOKEN_A"]\n'
    )
    return path


def head(scene: Scene, ref: str = "main") -> str:
    return scene.git("rev-parse", ref, cwd=scene.remote)


def shown(scene: Scene, path: str, ref: str = "main") -> str:
    return scene.git("show", f"{ref}:{path}", cwd=scene.remote)


def test_tier_low_goes_to_the_branch(scene: Scene) -> None:
    sent = desk_of(scene).send(write(scene, "a", "hello"), sign=False)
    assert not sent.stuck
    assert head(scene)[:12] in sent.summary
    assert 'id = "a"' in shown(scene, "vault/actions/a.toml")


def test_the_same_file_again_is_taken_up_and_another_is_refused(scene: Scene) -> None:
    desk = desk_of(scene)
    file = write(scene, "a", "hello")
    desk.send(file, sign=False)
    before = head(scene)
    assert "in the ops repo already" in desk.send(file, sign=False).summary
    file.write_text(file.read_text().replace('"c"', '"other"'))
    with pytest.raises(AlreadyThere):
        desk.send(file, sign=False)
    assert head(scene) == before


@pytest.mark.parametrize("place", ["vault/actions", "vault/done/2026-01"])
def test_an_id_that_ran_is_refused(scene: Scene, place: str) -> None:
    scene.merge({f"{place}/a.result.json": json.dumps({"id": "a"})}, "Ran")
    with pytest.raises(AlreadyThere, match=f"has already run: {place}/a"):
        desk_of(scene).send(write(scene, "a", "hello"), sign=False)


def test_a_gate_for_signatures_is_not_sent_unsigned_commits(scene: Scene) -> None:
    before = head(scene)
    with pytest.raises(NeedsSignature, match="nothing was sent") as refused:
        desk_of(scene).send(write(scene, "a", "danger"), sign=False)
    assert "--sign" in str(refused.value)
    assert (
        "git commit -S -m 'Ask for a (danger)' -m 'Disinto-Approve: example/ops@main a'"
    ) in str(refused.value)
    assert head(scene) == before


@pytest.mark.parametrize("by_config", [True, False])
def test_a_signed_commit_is_good_for_the_gate(
    scene: Scene, by_config: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if by_config:
        (scene.root / ".gitconfig").write_text("[commit]\n\tgpgSign = true\n")
    desk = desk_of(scene)
    sent = desk.send(write(scene, "a", "danger"), sign=not by_config)
    assert "signed by you" in sent.summary
    desk.repo.fetch()
    signature = desk.repo.signature(head(scene), signers(desk.settings))
    assert signature.status is SignatureStatus.GOOD
    assert signature.approves == ("example/ops@main a",)


@pytest.mark.parametrize("inside", [True, False], ids=["its file", "the person"])
@pytest.mark.parametrize("by_config", [True, False])
def test_it_is_signed_as_in_the_work_tree_that_holds(
    scene: Scene, by_config: bool, inside: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was set there with ``git config --local`` counts, as for ``git commit -S``."""
    for name in list(scene._git_identity()):
        monkeypatch.delenv(name)
    (scene.root / ".gitconfig").write_text(
        "[user]\nname = Other\nemail = other@example.org\nsigningkey = /nosuch\n"
        "[gpg]\nformat = openpgp\nprogram = /nosuch\n"
    )
    (scene.desk / "keys").mkdir()
    (scene.root / "ada").rename(scene.desk / "keys" / "mine")
    local = {
        "user.name": "Ada at this desk",
        "user.email": "ada@example.org",
        "user.signingKey": "keys/mine",
        "gpg.format": "ssh",
        "commit.gpgSign": str(by_config).lower(),
    }
    for key, value in local.items():
        subprocess.run(["git", "config", "--local", key, value], cwd=scene.desk, check=True)
    file = write(scene, "a", "danger")
    if inside:
        file = file.rename(scene.desk / "keys" / file.name)
        monkeypatch.chdir(scene.root)
    else:
        monkeypatch.chdir(scene.desk / "keys")
    desk = desk_of(scene)
    desk.send(file, sign=not by_config)
    desk.repo.fetch()
    signature = desk.repo.signature(head(scene), signers(desk.settings))
    assert signature.status is SignatureStatus.GOOD
    assert desk.repo.commit(head(scene)).author_name == "Ada at this desk"


def test_without_a_key_nothing_is_sent(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(scene._git_identity()):
        monkeypatch.delenv(name)
    (scene.root / ".gitconfig").write_text(
        "[user]\nname = Ada\nemail = ada@example.org\nsigningkey = /nosuch\n[gpg]\nformat = ssh\n"
    )
    before = head(scene)
    with pytest.raises(Misconfigured, match="could not sign") as refused:
        desk_of(scene).send(write(scene, "a", "danger"), sign=True)
    assert "user.signingkey" in str(refused.value)
    assert head(scene) == before


def test_with_a_forge_an_approval_is_asked_for(scene: Scene) -> None:
    forge, before = FakeForge(), head(scene)
    desk = desk_of(scene, forge)
    sent = desk.send(write(scene, "a", "danger"), sign=False)
    assert sent.request is not None
    assert (sent.request.number, sent.request.url) == (7, "https://forge.example/pulls/7")
    assert sent.request.url in sent.summary
    assert (sent.state, sent.tier) == ("proposed", "high")
    assert sent.commit == head(scene, "disinto/a")
    assert head(scene) == before
    assert 'id = "a"' in shown(scene, "vault/actions/a.toml", "disinto/a")
    (opened,) = forge.opened
    assert (opened["head"], opened["base"]) == ("disinto/a", "main")
    assert "echo danger" in opened["body"]
    assert "TOKEN_A" in opened["body"]
    assert "value-a" not in opened["body"]


def test_a_branch_that_is_there_is_not_overwritten(scene: Scene) -> None:
    desk = desk_of(scene, FakeForge())
    desk.repo.fetch()
    theirs = desk.repo.propose(
        [NewFile(path="x", data=b"theirs")], branch="disinto/a", message="Theirs"
    )
    with pytest.raises(Conflict, match="has a branch disinto/a already, with other") as refused:
        desk.send(write(scene, "a", "danger"), sign=False)
    assert "git push origin --delete disinto/a" in str(refused.value)
    assert head(scene, "disinto/a") == theirs


def test_what_is_proposed_already_is_taken_up_and_not_opened_twice(scene: Scene) -> None:
    forge, file = FakeForge(), write(scene, "a", "danger")
    first = desk_of(scene, forge).send(file, sign=False)
    again = desk_of(scene, forge).send(file, sign=False)
    assert (again.request, again.commit, again.state) == (first.request, first.commit, "proposed")
    assert "is already proposed" in again.summary
    assert "https://forge.example/pulls/7" in again.summary
    assert len(forge.opened) == 1


def test_other_content_than_what_is_proposed_is_refused_with_the_remedy(scene: Scene) -> None:
    forge, file = FakeForge(), write(scene, "a", "danger")
    first = desk_of(scene, forge).send(file, sign=False)
    file.write_text(file.read_text().replace('"c"', '"other"'))
    with pytest.raises(Conflict, match="already proposed with other content") as refused:
        desk_of(scene, forge).send(file, sign=False)
    assert "https://forge.example/pulls/7" in str(refused.value)
    assert "push a commit to its branch disinto/a" in str(refused.value)
    assert head(scene, "disinto/a") == first.commit
    assert len(forge.opened) == 1


def test_a_branch_that_was_left_without_a_pull_request_gets_one(scene: Scene) -> None:
    """As after a forge that failed between push and pull request."""

    class Failing(FakeForge):
        def open_request(self, **wanted: str) -> Any:
            raise Unavailable(Dependency.FORGE, "the forge did not answer")

    file = write(scene, "a", "danger")
    with pytest.raises(Unavailable):
        desk_of(scene, Failing()).send(file, sign=False)
    forge = FakeForge()
    sent = desk_of(scene, forge).send(file, sign=False)
    assert sent.request is not None
    assert "already" not in sent.summary
    assert len(forge.opened) == 1


def test_a_branch_that_was_merged_serves_again(scene: Scene) -> None:
    forge, file = FakeForge(), write(scene, "a", "danger")
    desk_of(scene, forge).send(file, sign=False)
    forge.state = SimpleNamespace(state="closed", merged=True)
    scene.git("fetch", "origin", "disinto/a")
    scene.git("merge", "--quiet", "--ff-only", "FETCH_HEAD")
    scene.remove("vault/actions/a.toml")
    sent = desk_of(scene, forge).send(file, sign=False)
    assert "already" not in sent.summary
    assert head(scene, "disinto/a^") == head(scene)
    assert len(forge.opened) == 2


def test_another_watcher_learns_of_the_pull_request_from_the_forge(scene: Scene) -> None:
    forge = FakeForge()
    desk_of(scene, forge).send(write(scene, "a", "danger"), sign=False)
    viewer = Quiet(lambda: setattr(forge, "state", SimpleNamespace(state="closed", merged=False)))
    with pytest.raises(Conflict, match="closed without being merged"):
        desk_of(scene, forge).follower(viewer, wait_merge=True).follow("a")
    assert viewer.told == ["waits until pull request 7 is merged"]


class Quiet:
    """A viewer that keeps what it was told, and may do something then."""

    def __init__(self, then: Any = lambda: None) -> None:
        self.told: list[str] = []
        self._then = then

    def standing(self, text: str, progress: object = None) -> None:
        self.told.append(text)
        self._then()

    def output(self, chunk: object) -> None:
        raise AssertionError("nothing runs here")


RESULT = {"id": "a", "exit_code": 3, "timestamp": "2026-01-01T00:00:00.000Z", "verdict": "failed"}


def test_a_merge_can_be_waited_for(scene: Scene) -> None:
    desk = desk_of(scene, FakeForge())
    desk.send(write(scene, "a", "danger"), sign=False)

    def merged() -> None:
        action = shown(scene, "vault/actions/a.toml", "disinto/a")
        scene.merge(
            {"vault/actions/a.toml": action, "vault/actions/a.result.json": json.dumps(RESULT)},
            "Merge and run",
        )

    viewer = Quiet(merged)
    followed = desk.follower(viewer, wait_merge=True).follow("a")
    assert followed.exit_code == 3
    assert viewer.told == ["waits until pull request 7 is merged"]


def test_a_merge_and_a_result_are_noticed_within_two_seconds(scene: Scene) -> None:
    """However long the dispatcher's own pause between two looks is."""
    desk = desk_of(scene, FakeForge())
    desk.send(write(scene, "a", "danger"), sign=False)
    action = shown(scene, "vault/actions/a.toml", "disinto/a")
    slow = desk.settings.ops_repo.model_copy(update={"poll_interval_s": 60.0})
    desk.settings = desk.settings.model_copy(update={"ops_repo": slow})
    pauses: list[float] = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 3:
            scene.merge({"vault/actions/a.toml": action}, "Merge")
        if len(pauses) == 20:
            scene.merge({"vault/actions/a.result.json": json.dumps(RESULT)}, "Run")

    follower = desk.follower(Quiet(), wait_merge=True)
    follower.sleep = pause
    assert follower.follow("a").exit_code == 3
    assert len(pauses) == 20
    assert max(pauses) <= 2


def test_a_request_that_is_closed_ends_the_waiting(scene: Scene) -> None:
    forge = FakeForge()
    desk = desk_of(scene, forge)
    desk.send(write(scene, "a", "danger"), sign=False)
    forge.state = SimpleNamespace(state="closed", merged=False)
    with pytest.raises(Conflict, match="closed without being merged"):
        desk.follower(Quiet(), wait_merge=True).follow("a")


def test_a_dispatcher_may_run_elsewhere(scene: Scene) -> None:
    """What lies here tells of a dispatcher here alone."""
    ledger = assembly.open_ledger(scene.open_settings(), scene.environ)
    desk = replace(desk_of(scene), ledger=ledger)
    desk.send(write(scene, "a", "hello"), sign=False)

    def ended() -> None:
        scene.merge({"vault/actions/a.result.json": json.dumps(RESULT)}, "Run elsewhere")

    viewer = Quiet(ended)
    assert desk.follower(viewer, wait_merge=False).follow("a").exit_code == 3
    (told,) = viewer.told
    assert told.startswith("nothing will happen until 'disinto serve' runs")


def test_an_unknown_id_is_not_waited_for(scene: Scene) -> None:
    with pytest.raises(NotFound):
        desk_of(scene).follower(Quiet(), wait_merge=False).follow("nosuch")
