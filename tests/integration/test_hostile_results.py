"""Results that somebody else wrote, edited or deleted: nothing of theirs is ever signed, and the
genuine outcome of a run is what stands in git in the end.

Each attack is carried out from a second clone, with a real remote, a real OpenBao and real
signatures; only the engine is a fake.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Mapping
from typing import Any

import pytest

from dispatcher.assembly import build_view
from dispatcher.model.times import rfc3339
from dispatcher.operate.evidence import of_action, trusted_keys
from dispatcher.operate.forecast import forecast
from dispatcher.ops_repo import Tree
from tests.servers.git_remote import FileSpec, GitRemote
from tests.support.stage import Stage, action, eventually, path

FORGED: Mapping[str, Any] = {
    "id": "risky",
    "exit_code": 0,
    "timestamp": rfc3339(time.time()),  # an old one would be archived
    "logs": "all is well",
    "verdict": "succeeded",
    "approved_by": ["ada"],
    "tier": "high",
}


@pytest.fixture
def remote(stage: Stage) -> GitRemote:
    return GitRemote(stage.scene.remote)


def result_file(action_id: str) -> str:
    return f"vault/actions/{action_id}.result.json"


def forged(action_id: str, **changes: object) -> bytes:
    return json.dumps({**FORGED, "id": action_id, **changes}, indent=2).encode() + b"\n"


def verified(stage: Stage, action_id: str) -> bool:
    """What ``disinto verify`` finds."""
    tree = Tree()
    stage.components.repo.advance(tree, stage.components.repo.fetch().commit)
    keys = trusted_keys((), stage.scene.open_settings(), None)
    return of_action(action_id, repo=stage.components.repo, tree=tree).check(keys).verified


def audited(stage: Stage, event: str) -> list[dict[str, Any]]:
    file = stage.scene.open_settings().state_dir / "audit.jsonl"
    lines = file.read_text().splitlines() if file.exists() else []
    return [r for line in lines if (r := json.loads(line))["event"] == event]


@eventually
def looked_at(stage: Stage, commit: str) -> None:
    assert stage.watch.last is not None
    assert stage.watch.last.head == commit


def run_one(stage: Stage, action_id: str) -> dict[str, object]:
    stage.scene.merge({path(action_id): action(action_id)}, f"Add {action_id}")
    stage.once()
    return stage.result(action_id)


# -- made up, edited, deleted --------------------------------------------------------------------


@pytest.mark.parametrize("serving", [True, False])
def test_a_made_up_result_that_is_deleted_does_not_come_back_signed(
    stage: Stage, remote: GitRemote, *, serving: bool
) -> None:
    stage.scene.merge({path("risky"): action("risky", formula="danger")}, "Add risky")
    run_one(stage, "other")  # so that there is a key
    if serving:
        stage.start()
    made_up = remote.commit({result_file("risky"): forged("risky")})
    if serving:
        looked_at(stage, made_up)
    else:
        stage.once()
    remote.commit(remove=[result_file("risky")])
    if not serving:
        stage.once()
    result = stage.result("risky")
    assert result["verdict"] == "invalid", "it stays used, and nobody says that it succeeded"
    assert verified(stage, "risky")
    assert [s.key.action_id for s in stage.scheduler.submitted] == ["other"]


@pytest.mark.parametrize("seen", [True, False])
def test_an_edited_result_that_is_deleted_does_not_come_back(
    stage: Stage, remote: GitRemote, *, seen: bool
) -> None:
    """The genuine one does, byte for byte, if a dispatcher saw the edit; else it is unknown."""
    genuine = run_one(stage, "one")
    edited = {**genuine, "verdict": "failed", "exit_code": 3, "approved_by": ["eve"]}
    remote.commit({result_file("one"): json.dumps(edited, indent=2).encode() + b"\n"})
    if seen:
        stage.once()
        assert not verified(stage, "one"), "nothing overwrites it: people may have edited it"
    remote.commit(remove=[result_file("one")])
    stage.once()
    assert stage.result("one") == genuine
    assert verified(stage, "one")
    assert len(stage.scheduler.submitted) == 1


def test_a_genuine_result_that_is_deleted_comes_back_byte_for_byte(
    stage: Stage, remote: GitRemote
) -> None:
    run_one(stage, "one")
    before = remote.files("vault/actions")[result_file("one")]
    remote.commit(remove=[result_file("one")])
    stage.once()
    assert remote.files("vault/actions")[result_file("one")] == before
    assert verified(stage, "one")


def test_a_genuine_result_of_another_action_is_not_put_back(
    stage: Stage, remote: GitRemote
) -> None:
    """Signed by us, and not for this id."""
    run_one(stage, "one")
    stage.scene.merge({path("risky"): action("risky", formula="danger")}, "Add risky")
    stage.once()
    remote.commit({result_file("risky"): remote.files("vault")[result_file("one")]})
    stage.once()
    remote.commit(remove=[result_file("risky")])
    stage.once()
    assert stage.result("risky")["verdict"] == "invalid"
    assert verified(stage, "risky")


def test_a_genuine_result_does_not_come_back_beside_another_content(
    stage: Stage, remote: GitRemote
) -> None:
    run_one(stage, "one")
    remote.commit({path("one"): action("one", more="priority = 3").encode()})
    stage.once()
    remote.commit(remove=[result_file("one")])
    stage.once()
    assert stage.result("one")["verdict"] == "invalid"
    assert len(stage.scheduler.submitted) == 1


def test_a_tombstone_keeps_the_genuine_result_for_the_day_its_action_is_back(
    stage: Stage, remote: GitRemote
) -> None:
    run_one(stage, "one")
    before = remote.files("vault/actions")
    remote.commit(remove=[path("one"), result_file("one")])
    stage.once()
    assert result_file("one") not in remote.files("vault")
    remote.commit({path("one"): action("one").encode()})
    stage.once()
    assert remote.files("vault/actions")[result_file("one")] == before[result_file("one")]
    assert not stage.components.ledger.open_runs()
    assert len(stage.scheduler.submitted) == 1


def test_an_archived_id_that_is_added_again_gets_no_second_result(
    stage: Stage, remote: GitRemote
) -> None:
    run_one(stage, "one")
    files = remote.files("vault/actions")
    remote.commit(
        {
            "vault/done/2026-01/one.toml": files[path("one")],
            "vault/done/2026-01/one.result.json": files[result_file("one")],
        },
        remove=[path("one"), result_file("one")],
    )
    stage.once()
    remote.commit({path("one"): files[path("one")]})
    stage.once()
    assert result_file("one") not in remote.files("vault")
    waits = forecast(stage.components, build_view(stage.components)).plan.waits
    assert [("one", "vault/done" in w.reason) for w in waits] == [("one", True)]
    assert len(stage.scheduler.submitted) == 1


# -- through the remote's memory -----------------------------------------------------------------


@pytest.mark.parametrize("rewritten", [True, False])
def test_a_made_up_result_in_the_remotes_memory_neither_comes_back_nor_suppresses(
    stage: Stage, remote: GitRemote, *, rewritten: bool
) -> None:
    """refs/disinto/seen is pushed by whoever may push: a fresh clone believes none of it."""
    run_one(stage, "other")
    stage.scene.merge({path("risky"): action("risky", formula="danger")}, "Add risky")
    stage.once()
    head = remote.head
    made_up = remote.commit({result_file("risky"): forged("risky")}, branch="evil", parents=[head])
    if rewritten:
        remote.git("update-ref", "refs/disinto/seen", made_up)
    else:
        remote.commit({result_file("risky"): forged("risky")})
        remote.commit(remove=[result_file("risky")])
        remote.git("update-ref", "refs/disinto/seen", "main")
    remote.git("update-ref", "-d", "refs/heads/evil")
    state = stage.scene.open_settings().state_dir
    shutil.rmtree(state / "ops.git")
    for file in [*state.glob("ledger.db*"), state / "leader.lock"]:
        file.unlink()
    remote.git("update-ref", "-d", "refs/disinto/lead")  # as ``disinto takeover`` would
    stage.components = stage._components()
    stage.once()
    assert set(stage.scene.results()) == {"other"}, "risky goes on waiting for its approval"
    assert len(stage.scheduler.submitted) == 1


def test_a_genuine_result_that_the_history_lost_is_learned_from_the_remotes_memory(
    stage: Stage, remote: GitRemote
) -> None:
    stage.scene.merge({path("one"): action("one")}, "Add one")
    before = remote.head
    stage.once()
    genuine = remote.files("vault")[result_file("one")]
    remote.point(before)
    state = stage.scene.open_settings().state_dir
    shutil.rmtree(state / "ops.git")
    for file in [*state.glob("ledger.db*"), state / "leader.lock"]:
        file.unlink()
    remote.git("update-ref", "-d", "refs/disinto/lead")  # as ``disinto takeover`` would
    stage.components = stage._components()
    stage.once()
    assert remote.files("vault")[result_file("one")] == genuine
    assert len(stage.scheduler.submitted) == 1


# -- in the place of a genuine one ---------------------------------------------------------------

IN_THE_WAY: dict[str, FileSpec | dict[str, FileSpec]] = {
    "forged": forged("one", verdict="failed", exit_code=1),
    "empty": b"",
    "no JSON": b"\xff\x00 garbage",
    "symlink": (0o120000, b"../../../etc/passwd"),
    "submodule": (0o160000, "1" * 40),
    "directory": {"inside": b"x", "deeper/one": b"y"},
    "archived": {},
}


@pytest.mark.parametrize("kind", IN_THE_WAY)
def test_the_genuine_outcome_takes_the_place_of_what_was_put_there(
    stage: Stage, remote: GitRemote, kind: str
) -> None:
    stage.scene.merge({path("one"): action("one")}, "Add one")
    stage.start()
    stage.runs(1)
    spec = IN_THE_WAY[kind]
    at = result_file("one")
    if kind == "archived":
        files: Mapping[str, FileSpec] = {"vault/done/2020-01/one.result.json": forged("one")}
    elif isinstance(spec, dict):
        files = {f"{at}/{name}": data for name, data in spec.items()}
    else:
        files = {at: spec}
    looked_at(stage, remote.commit(files))
    assert len(stage.scheduler.running()) == 1, "a push does not stop a run"
    assert stage.scheduler.cancelled == []
    for key in stage.scheduler.running():
        stage.scheduler.end(key)

    @eventually
    def genuine() -> None:
        data = remote.files("vault").get(at)
        assert data is not None
        assert json.loads(data)["verdict"] == "succeeded"

    genuine()
    stage.at_rest()
    assert verified(stage, "one")
    assert [r["action"] for r in audited(stage, "foreign_result")][:1] == ["one"]
    if kind != "archived":
        body = remote.git("log", "-1", "--format=%B", "main", "--", at)
        assert "one.result.json" in body
        assert "not sign" in body, "the commit says what it replaces"


def test_a_forged_result_that_comes_just_before_ours_does_not_stay(
    stage: Stage, remote: GitRemote
) -> None:
    """It arrives between the last fetch and the push, so that the push meets it."""
    stage.scene.merge({path("one"): action("one")}, "Add one")
    (remote.path / "forged").write_bytes(forged("one", verdict="failed", exit_code=1))
    stage.start()
    stage.runs(1)
    once = remote.hook(
        "pre-receive",
        'rm "$0"\nunset GIT_QUARANTINE_PATH\nexport GIT_INDEX_FILE=forged.index\n'
        "git read-tree main\n"
        f"git update-index --add --cacheinfo 100644,$(git hash-object -w forged),"
        f"{result_file('one')}\n"
        "commit=$(git -c user.name=eve -c user.email=e@x commit-tree -p main -m Mine"
        " $(git write-tree))\n"
        "git update-ref refs/heads/main $commit",
    )
    for key in stage.scheduler.running():
        stage.scheduler.end(key)

    @eventually
    def genuine() -> None:
        assert stage.scene.results()["one"]["verdict"] == "succeeded"

    genuine()
    stage.at_rest()
    assert not once.exists()
    assert "Mine" in remote.log(), "history keeps the other"
    assert verified(stage, "one")


def test_a_foreign_result_of_an_action_that_never_ran_is_told_and_starts_nothing(
    stage: Stage, remote: GitRemote
) -> None:
    stage.scene.merge({path("risky"): action("risky", formula="danger")}, "Add risky")
    stage.start()
    looked_at(stage, remote.head)
    commit = remote.commit({result_file("risky"): forged("risky")})

    @eventually
    def told() -> None:
        (foreign,) = [f for what, f in stage.watch.events if what == "foreign_result"]
        assert foreign["action"] == "risky"
        assert stage.watch.last is not None
        assert [(f.action_id, f.commit) for f in stage.watch.last.foreign] == [("risky", commit)]

    told()
    assert [r["action"] for r in audited(stage, "foreign_result")] == ["risky"]
    remote.commit({path("other"): action("other").encode()})
    stage.runs(1)
    assert [s.key.action_id for s in stage.scheduler.submitted] == ["other"]
    remote.commit(remove=[result_file("risky"), path("risky")])

    @eventually
    def over() -> None:
        assert stage.watch.last is not None
        assert stage.watch.last.foreign == ()

    over()


def test_our_own_results_are_not_foreign(stage: Stage, remote: GitRemote) -> None:
    stage.scheduler.ends_at_once = True
    names = [f"many{n}" for n in range(5)]
    stage.scene.merge({path(n): action(n) for n in names}, "Add five")
    stage.scene.merge({path("odd"): "nonsense"}, "Add one that is no action")
    stage.start()
    for name in (*names, "odd"):
        stage.result(name)
    stage.at_rest()
    stage.scene.merge({path(names[0]): action(names[0], more="priority = 1")}, "Edit one")
    head = remote.commit({"README": b""})
    looked_at(stage, head)
    assert audited(stage, "foreign_result") == []
    assert not [f for what, f in stage.watch.events if what == "foreign_result"]
