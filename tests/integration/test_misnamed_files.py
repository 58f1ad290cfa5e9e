"""File names that are no ids: no result, no claim, no memory; only a warning, and they harm nobody."""

from __future__ import annotations

import os

import pytest

from dispatcher.ops_repo import Tree
from tests.servers.git_remote import GitRemote
from tests.support.cli_process import Said, disinto
from tests.support.stage import Stage, action, eventually, path

STEMS = (
    b"\xff",  # not UTF-8
    b"\xed\xa0\x80",  # a surrogate, encoded
    b"line\nfeed",
    b"\x1b[2J",
    b"n" * 101,  # one more than an id may have
    b"n" * 243,  # with .result.json in place of .toml it could not be checked out
    b"Deploy",
    b"..",
    b"",
    "caf\u00e9".encode(),
    b'quo"ted\\',
)
NAMES = [os.fsdecode(stem) for stem in STEMS]


@pytest.fixture
def remote(stage: Stage) -> GitRemote:
    return GitRemote(stage.scene.remote)


def one_good(stage: Stage, action_id: str) -> None:
    """Beside whatever else is there, an action becomes a run and a result."""
    stage.once()
    assert stage.result(action_id)["verdict"] == "succeeded"
    assert not stage.components.ledger.open_runs()


def called(stage: Stage, *words: str) -> Said:
    scene = stage.scene
    done = disinto("--config", str(scene.config), *words, env=scene.environ, cwd=scene.root)
    assert done.code == 0, done.err
    return done


def only_these_results(remote: GitRemote, *ids: str) -> None:
    found = {p for p in remote.files("vault") if p.endswith(".result.json")}
    assert found == {f"vault/actions/{i}.result.json" for i in ids}


def test_names_that_are_no_ids_get_no_result(stage: Stage, remote: GitRemote) -> None:
    remote.commit({path(name): action("x").encode() for name in NAMES})
    remote.commit({path("good"): action("good").encode()})
    one_good(stage, "good")
    only_these_results(remote, "good")
    assert [s.key.action_id for s in stage.scheduler.submitted] == ["good"]


def test_results_of_such_names_that_come_and_go_leave_no_memory(
    stage: Stage, remote: GitRemote
) -> None:
    files = [f"vault/actions/{name}.result.json" for name in NAMES if len(name) < 200]
    files += [f"vault/done/2026-01/{name}.result.json" for name in NAMES if len(name) < 200]
    files += [f"vault/done/2026-01/{name}.toml" for name in NAMES]
    remote.commit({path("early"): action("early").encode(), **dict.fromkeys(files, b"{}")})
    one_good(stage, "early")
    stage.start()
    remote.commit({path("late"): action("late").encode()}, remove=files)
    stage.result("late")
    stage.at_rest()
    only_these_results(remote, "early", "late")


def test_formulas_of_such_names_are_not_offered(stage: Stage, remote: GitRemote) -> None:
    remote.commit({f"formulas/{n}.{e}": b"true\n" for n in NAMES for e in ("sh", "toml")})
    (stage.scene.formulas / os.fsdecode(b"hell\xff.sh")).write_text("true\n")
    remote.commit({path("typo"): action("typo", formula="hell").encode()})
    remote.commit({path("good"): action("good").encode()})
    one_good(stage, "good")
    assert stage.result("typo")["verdict"] == "invalid"


def test_authors_and_refs_of_such_names(stage: Stage, remote: GitRemote) -> None:
    """Who committed is no UTF-8, and the remote has refs whose names are none."""
    remote.commit(
        {path("good"): action("good").encode(), path("risky"): action("risky", formula="danger").encode()},
        who=os.fsdecode(b"A\xffnn <ann\xfe@example.org>"),
    )  # fmt: skip
    head = remote.head
    refs = (b"refs/disinto/\xff", b"refs/heads/\xff", b"refs/tags/\xfe")
    for ref in refs:
        remote.git("update-ref", os.fsdecode(ref), head)
    one_good(stage, "good")
    only_these_results(remote, "good")


def test_a_clone_whose_packed_refs_hold_such_a_name(stage: Stage, remote: GitRemote) -> None:
    remote.commit({path("good"): action("good").encode()})
    one_good(stage, "good")
    clone = stage.scene.open_settings().state_dir / "ops.git"
    own = GitRemote(clone)
    own.git(
        "update-ref",
        os.fsdecode(b"refs/disinto/remote/\xff"),
        own.git("rev-parse", "refs/disinto/head"),
    )
    own.git("pack-refs", "--all")
    head = stage.components.repo.local_head()
    assert head is not None
    assert head.seen is not None


def test_status_and_plan_name_them_escaped(stage: Stage, remote: GitRemote) -> None:
    remote.commit({path(name): b"x" for name in NAMES})
    remote.commit({path(os.fsdecode(b"y\xff")): b"x"})

    @eventually
    def served() -> None:
        last = stage.watch.last
        assert last is not None
        assert any("12 files" in w for w in last.warnings), last.warnings

    stage.start()
    served()
    stage.stop()
    for command in ("status", "plan"):
        told = called(stage, command)
        assert "12 files" in told.out
        assert r"vault/actions/\x1b[2J.toml" in told.out
        plain = called(stage, command, "--json").json
        assert any("12 files" in warning for warning in plain["warnings"])


def test_a_result_in_such_a_directory_is_not_read_and_its_id_stays_used(
    stage: Stage, remote: GitRemote
) -> None:
    remote.commit({path("x"): action("x").encode()})
    one_good(stage, "x")
    there = f"vault/done/{NAMES[0]}"
    files = remote.files("vault/actions")
    remote.commit(
        {f"{there}/{name.rpartition('/')[2]}": data for name, data in files.items()},
        remove=list(files),
    )
    remote.commit({path("good"): action("good").encode()})
    stage.once()
    assert stage.result("good")["verdict"] == "succeeded"
    remote.commit({path("x"): action("x").encode()})
    stage.once()
    assert [s.key.action_id for s in stage.scheduler.submitted] == ["x", "good"]


def test_the_warning_goes_with_the_last_of_them(stage: Stage, remote: GitRemote) -> None:
    repo, tree, bad = stage.components.repo, Tree(), path(NAMES[0])
    remote.commit({bad: b"x"})
    repo.advance(tree, repo.fetch().commit)
    assert tree.misnamed == {bad}
    remote.commit({path("x"): b""}, remove=[bad])
    repo.advance(tree, repo.fetch().commit)
    assert tree.misnamed == set()
