"""The inventory: written and removed with results, believed only if they say so, and what expires."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dispatcher.loop import expiry_attempts
from dispatcher.loop.expiry import stem_of
from dispatcher.loop.inventory import InventoryEntry, InventoryReader
from dispatcher.loop.kept_results import kept_by, kept_in
from dispatcher.model.run import Outcome, RunKey
from dispatcher.model.times import rfc3339
from dispatcher.model.verdicts import Verdict
from dispatcher.operate.provisioned import Kind, Resource, Resources
from dispatcher.ops_repo import Tree
from tests.servers.bao import Bao
from tests.support.stage import HELLO, Stage, action, eventually, path, set_stage

pytestmark = pytest.mark.needs("bao", "git")

ENTRY = "vault/inventory/machine/web.json"
SCHEMAS = {
    "make": {"x-disinto": {"creates": "machine", "destroyed_by": "unmake"}},
    "change": {"x-disinto": {"updates": "machine", "destroyed_by": "unmake"}},
    "unmake": {
        "properties": {"id": {"type": "string"}},
        "required": ["id"],
        "x-disinto": {"destroys": "machine", "given": ["n", "address"]},
    },
    "plain": {},
}


@pytest.fixture
def stage(bao_server: Bao, tmp_path: Path) -> Iterator[Stage]:
    stage = set_stage(tmp_path, bao_server)
    policy = stage.scene.config.parent / "policy.toml"
    tiers = "".join(f'{name} = "low"\n' for name in SCHEMAS)
    policy.write_text(policy.read_text().replace("[tiers]\n", f"[tiers]\n{tiers}"))
    for name, schema in SCHEMAS.items():
        (stage.scene.formulas / f"{name}.sh").write_text(HELLO)
        (stage.scene.formulas / f"{name}.schema.json").write_text(json.dumps(schema))
    stage = Stage(stage.scene)
    stage.start()
    yield stage
    stage.stop()


@eventually
def running(stage: Stage, action_id: str) -> RunKey:
    (key,) = [key for key in stage.scheduler.running() if key.action_id == action_id]
    return key


def run(
    stage: Stage, action_id: str, formula: str, inventory: object, *, code: int = 0, more: str = ""
) -> dict[str, Any]:
    """Have an action run that leaves this; its result."""
    merge(stage, {path(action_id): action(action_id, formula=formula, more=more)}, action_id)
    stage.components.wake()
    return finish(stage, action_id, inventory, code=code)


def finish(stage: Stage, action_id: str, inventory: object, *, code: int = 0) -> dict[str, Any]:
    """A running action ends and leaves this; its result."""
    stage.scheduler.end(
        running(stage, action_id),
        Outcome(
            verdict=Verdict.FAILED if code else Verdict.SUCCEEDED,
            exit_code=code,
            formula_started=True,
            outputs={} if inventory is None else {"inventory": inventory, "other": 1},
        ),
    )
    return stage.result(action_id)


def merge(stage: Stage, files: dict[str, Any], message: str) -> None:
    """Somebody pushes these files on top of what is there."""
    stage.scene.git("pull", "--quiet", "--rebase", "origin", "main")
    stage.scene.merge(files, message)


def inventory(stage: Stage) -> list[InventoryEntry]:
    components, tree = stage.components, Tree()
    components.repo.advance(tree, components.repo.fetch().commit)
    reader = InventoryReader(components.repo, components.verifier)
    return reader.all(tree, kept=kept_by(components.ledger))


def by_author(stage: Stage) -> None:
    """On a machine that has the public key alone, neither ledger nor cache, an edit hides nothing."""
    components, tree = stage.components, Tree()
    components.repo.advance(tree, components.repo.fetch().commit)
    reader = InventoryReader(components.repo, components.verifier)
    assert [(each.id, each.problem) for each in reader.all(tree, kind="machine")] == [("web", "")]
    assert reader.edited == ("web",)


def known_runs(stage: Stage) -> list[str]:
    """What an author, who has no ledger, would have reaping spare."""
    components, tree = stage.components, Tree()
    components.repo.advance(tree, components.repo.fetch().commit)
    machines = Resources(
        repo=components.repo,
        tree=tree,
        reader=InventoryReader(components.repo, components.verifier),
        kind=Kind(name="machine", create="make", destroy="unmake"),
        make=Resource,
    )
    runs: list[str] = machines.reap_params(now=time.time(), remove=True)["known_runs"]
    return runs


def believed(stage: Stage) -> dict[str, InventoryEntry]:
    return {each.id: each for each in inventory(stage) if not each.problem}


def file_of(stage: Stage) -> bytes:
    return stage.scene.git("show", f"main:{ENTRY}", cwd=stage.scene.remote).strip().encode() + b"\n"


@eventually
def restored(stage: Stage, data: bytes) -> None:
    stage.components.wake()
    assert file_of(stage) == data


@eventually
def kept_for(stage: Stage, action_id: str) -> None:
    assert action_id in kept_in(stage.components.ledger.open_runs())


@eventually
def audited(stage: Stage) -> None:
    audit = (stage.scene.open_settings().state_dir / "audit.jsonl").read_text()
    assert audit.count('"inventory_restored"') == 1


@eventually
def held_back(stage: Stage) -> None:
    """What was written back a moment ago is not written back again at once."""
    stage.components.wake()
    assert stage.watch.last is not None
    assert any(
        f"{ENTRY} was altered" in warning and "written back once" in warning
        for warning in stage.watch.last.warnings
    ), stage.watch.last.warnings


def test_from_creation_to_the_end_and_what_is_not_believed(stage: Stage) -> None:
    result = run(stage, "web", "make", {"address": "198.51.100.7"})
    assert result["outputs"] == {"other": 1}
    assert result["inventory"]["entry"] == {"address": "198.51.100.7"}
    entry = believed(stage)["web"]
    assert (entry.kind, entry.result, entry.entry) == (
        "machine",
        "web",
        result["inventory"]["entry"],
    )
    assert (entry.destroyed_by, entry.expires_at, entry.tier) == ("unmake", "", "low")
    touched = ("log", "--format=%H", "main", "--", ENTRY, "vault/actions/web.result.json")
    assert len(stage.scene.git(*touched, cwd=stage.scene.remote).split()) == 1, "one commit"
    created = file_of(stage)

    # Forged, and put in the way of what is to come.
    forged = json.loads(created) | {"entry": {"address": "203.0.113.66"}}
    other = json.loads(created) | {"id": "other"}
    merge(
        stage,
        {
            ENTRY: json.dumps(forged),
            "vault/inventory/machine/other.json": json.dumps(other, indent=2),
            "vault/inventory/machine/plain.json": json.dumps(
                {**other, "id": "plain", "result": "x"}
            ),
            "vault/inventory/machine/deep.json": "[" * 9_000,
            "vault/inventory/machine/large.json": created + b" " * 40_000,
            "vault/inventory/machine/folder.json/x": "x",
            "vault/inventory/machine/UPPER.json": created,
            "vault/inventory/machine/new.json": "in the way",
            "vault/inventory/disk": "a file where a directory belongs",
        },
        "Forge",
    )
    shown = {each.id: each for each in inventory(stage)}
    assert set(shown) == {"web", "other", "plain", "deep", "large", "folder", "new"}
    assert {each.id for each in shown.values() if not each.problem} == {"web"}
    assert shown["web"].entry == {"address": "198.51.100.7"}, "what its result says"
    assert shown["other"].problem == "the result of web did not write it"
    restored(stage, created)

    # A failed run that left something is entered; what lay in the way gives way.
    failed = run(stage, "new", "make", {"half": True}, code=3)
    assert failed["verdict"] == "failed"
    assert believed(stage)["new"].entry == {"half": True}

    # An update replaces what somebody forged; a failed destruction removes nothing.
    run(stage, "resize", "change", {"id": "web", "address": "198.51.100.8"})
    assert believed(stage)["web"].result == "resize"
    updated = file_of(stage)
    run(stage, "end-1", "unmake", {"id": "web"}, code=1, more='[params]\nid = "web"')
    assert "web" in believed(stage)

    # An older content that our own result once wrote is not the present one.
    merge(stage, {ENTRY: created}, "Bring back what was")
    assert believed(stage)["web"].forged == "it is older than what resize wrote"
    assert believed(stage)["web"].result == "resize"
    held_back(stage)

    # Somebody removes the file first: the destruction is on record all the same.
    stage.scene.git("pull", "--quiet", "--rebase", "origin", "main")
    stage.scene.remove(ENTRY)
    assert believed(stage)["web"].missing
    assert believed(stage)["web"].result == "resize"
    run(stage, "end-2", "unmake", {"id": "web"}, more='[params]\nid = "web"')
    merge(stage, {ENTRY: updated}, "Bring it back")
    assert {each.id: each.problem for each in inventory(stage)}["web"] == (
        "end-2 destroyed it; its file was brought back"
    )
    stage.scene.git("pull", "--quiet", "--rebase", "origin", "main")
    stage.scene.remove(ENTRY)
    assert "web" not in believed(stage), "and removed, it is gone for good"


def test_a_file_that_somebody_removes_is_written_back_once(stage: Stage) -> None:
    run(stage, "web", "make", {"address": "198.51.100.7"})
    created = file_of(stage)
    stage.scene.git("pull", "--quiet", "--rebase", "origin", "main")
    stage.scene.remove(ENTRY)
    stage.components.wake()
    restored(stage, created)
    message = stage.scene.git("log", "-1", "--format=%B", "main", cwd=stage.scene.remote)
    assert f"{ENTRY}: it was removed; web wrote it" in message
    audited(stage)

    # Its result is edited: what that was is in the ledger, and counts.
    many = {f"vault/inventory/a{number:03}/x.json": "x" for number in range(250)}
    many["vault/actions/" + "d/" * 500 + "x"] = "x"
    merge(stage, many, "Hide it behind many kinds\n\nInventory: web updates machine/web")
    assert believed(stage)["web"].missing is False
    results = "vault/actions/web.result.json"
    stage.scene.git("pull", "--quiet", "--rebase", "origin", "main")
    stage.scene.merge({results: "{}"}, "Edit the result")
    stage.components.wake()
    kept_for(stage, "web")
    assert believed(stage)["web"].entry == {"address": "198.51.100.7"}
    by_author(stage)

    # A file in the place of its directory, at once afterwards: nobody fights about it.
    stage.scene.git("pull", "--quiet", "--rebase", "origin", "main")
    stage.scene.remove(ENTRY)
    merge(stage, {"vault/inventory/machine": "in the way"}, "In the way")
    by_author(stage)
    assert believed(stage)["web"].missing
    held_back(stage)


def test_what_a_formula_may_not_do(stage: Stage) -> None:
    assert "is not own" in run(stage, "own", "make", {"id": "another"})["error"]
    assert "does not name an entry" in run(stage, "up", "change", {"id": "../x"})["error"]
    assert "is not an object" in run(stage, "list", "make", ["x"])["error"]
    assert "no RFC 3339 time" in run(stage, "time", "make", {"expires_at": "soon"})["error"]
    assert "more than 16384 bytes" in run(stage, "big", "make", {"x": "y" * 20_000})["error"]
    assert "have no inventory" in run(stage, "none", "make", None)["error"]
    undeclared = run(stage, "plain", "plain", {"id": "plain"})
    assert undeclared["outputs"]["inventory"] == {"id": "plain"}, "an output like any other"
    assert "inventory" not in undeclared
    assert set(believed(stage)) == {"time", "big"}
    assert believed(stage)["big"].entry == {}


def test_what_expires_is_destroyed_once_and_a_forged_lifetime_does_nothing(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    soon, later = rfc3339(time.time() + 2), rfc3339(time.time() + 3_600)
    run(stage, "lasting", "make", {"expires_at": later})
    entry = "vault/inventory/machine/lasting.json"
    text = stage.scene.git("show", f"main:{entry}", cwd=stage.scene.remote)
    merge(stage, {entry: text.replace(later, rfc3339(time.time() - 60))}, "Have it destroyed")
    run(stage, "web", "make", {"expires_at": soon, "n": 1})

    @eventually
    def expiring() -> str:
        stage.components.wake()
        (key,) = stage.scheduler.running()
        return key.action_id

    first = expiring()
    assert first.startswith("expire-web-")
    monkeypatch.setattr(expiry_attempts, "FIRST_PAUSE_S", 0.5)
    assert finish(stage, first, {"id": "web"}, code=1)["verdict"] == "failed"
    action_id = expiring()
    assert action_id != first, "what failed is repeated, under an id that nobody can guess"
    assert action_id.rpartition("-")[0] == first.rpartition("-")[0]
    assert any("attempt 2" in w for w in stage.watch.last.warnings)  # type: ignore[union-attr]
    result = finish(stage, action_id, {"id": "web"})
    assert (result["verdict"], result["inventory"]["change"]) == ("succeeded", "destroys")
    listed = stage.scene.git("ls-tree", "-r", "--name-only", "main", cwd=stage.scene.remote)
    assert ENTRY not in listed.split()
    assert listed.count("expire-") == 4, "two actions, and their results"
    submitted = [s for s in stage.scheduler.submitted if s.key.action_id == action_id]
    assert [s.params for s in submitted] == [{"id": "web", "n": 1}]

    # Brought back, it is not destroyed again.
    before = len(stage.scheduler.submitted)
    commits = stage.scene.git("rev-list", "main", "--", ENTRY, cwd=stage.scene.remote).split()
    old = stage.scene.git("show", f"{commits[-1]}:{ENTRY}", cwd=stage.scene.remote)
    merge(stage, {ENTRY: old}, "Bring it back")
    run(stage, "after", "plain", None)
    assert len(stage.scheduler.submitted) == before + 1, "the last action alone"


def test_nobody_who_may_push_keeps_anything_from_expiring(stage: Stage) -> None:
    """Neither by ids that the destroying action might get, nor by an edit of the one that created it, which
    gives its destruction no secret either.
    """
    merge(stage, {path("web"): action("web", formula="make")}, "web")
    stage.components.wake()
    creation = running(stage, "web")
    changed = action("web", formula="plain", secrets='"TOKEN_A"')
    merge(stage, {path("web"): changed}, "To have it destroyed with a secret, or not at all")
    assert creation.token in known_runs(stage), "and by an author it would be reaped"
    expires = time.time() + 3
    finish(stage, "web", {"expires_at": rfc3339(expires)})
    assert creation.token not in known_runs(stage), "it has ended"
    stem = stem_of(believed(stage)["web"])
    taken = [stem, *(f"{stem}-{number}" for number in range(2, expiry_attempts.ATTEMPTS + 1))]
    results = {f"vault/actions/{i}.result.json": "{}" for i in taken}
    merge(stage, results | {path(taken[0]): action(taken[0], formula="plain")}, "Take the ids")
    assert time.time() < expires, "too late to show anything"

    @eventually
    def expiring() -> RunKey:
        stage.components.wake()
        (key,) = stage.scheduler.running()
        return key

    key = expiring()
    assert key.action_id.startswith(f"{stem}-")
    assert key.action_id not in taken
    finish(stage, key.action_id, {"id": "web"})
    assert "web" not in believed(stage)
    assert [each.secrets for each in stage.scheduler.submitted] == [(), ()]
    run(stage, "after", "plain", None)
    assert len(stage.scheduler.submitted) == 3, "it is written once"


def test_a_destruction_that_is_signed_late_ends_nothing(stage: Stage) -> None:
    """Its run was over before that of the creation began: the engine, or serve, was away."""
    merge(
        stage, {path("end"): action("end", formula="unmake", more='[params]\nid = "web"\n')}, "End"
    )
    stage.components.wake()
    running(stage, "end")
    run(stage, "web", "make", {"n": 1})
    result = finish(stage, "end", {"id": "web"})
    assert result["inventory"]["claim_sequence"] < result["inventory"]["sequence"]
    assert believed(stage)["web"].entry == {"n": 1}
    run(stage, "end-2", "unmake", {"id": "web"}, more='[params]\nid = "web"')
    assert believed(stage) == {}


@eventually
def entered(stage: Stage, created: bytes) -> None:
    """Result and entry are in git."""
    stage.components.wake()
    listed = stage.scene.git("ls-tree", "-r", "--name-only", "main", cwd=stage.scene.remote)
    assert {ENTRY, "vault/actions/web.result.json"} <= set(listed.split())
    assert file_of(stage) == created


def test_a_rewritten_history_brings_back_result_and_entry(stage: Stage) -> None:
    """Also if the action is gone as well, and on a machine that knows nothing."""
    base = stage.scene.git("rev-parse", "main", cwd=stage.scene.remote).strip()
    run(stage, "web", "make", {"n": 1})
    created = file_of(stage)
    stage.at_rest()
    stage.scene.git("update-ref", "refs/heads/main", base, cwd=stage.scene.remote)
    entered(stage, created)
    assert [(each.id, each.problem) for each in inventory(stage)] == [("web", "")]

    # With the next result the remote learns which head was recorded.
    run(stage, "other", "plain", None)
    stage.at_rest()
    stage.stop()
    stage.scene.git("update-ref", "refs/heads/main", base, cwd=stage.scene.remote)
    state = stage.scene.open_settings().state_dir
    for file in list(state.iterdir()):
        if not file.name.startswith("attestation"):
            shutil.rmtree(file) if file.is_dir() else file.unlink()
    stage.scene.git("update-ref", "-d", "refs/disinto/lead", cwd=stage.scene.remote)  # taken over
    stage.components = stage._components()
    stage.start()
    entered(stage, created)
    assert [(each.id, each.problem) for each in inventory(stage)] == [("web", "")]
    assert [each.key.action_id for each in stage.scheduler.submitted] == ["web", "other"]
