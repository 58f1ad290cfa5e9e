"""Following a real remote: heads, differences, odd files, histories."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dispatcher.errors import Conflict, Denied, Dependency, Misconfigured, Unavailable
from dispatcher.ops_repo import NewFile, OpsRepo, Tree, begin
from dispatcher.settings import OpsRepoSettings
from tests.servers.git_remote import GitRemote

X = "vault/actions/x.toml"
X_RESULT = "vault/actions/x.result.json"


@pytest.fixture
def remote(tmp_path: Path) -> GitRemote:
    made = GitRemote(tmp_path / "remote.git")
    made.commit({"README.md": b"ops\n"})
    return made


@pytest.fixture
def clone(tmp_path: Path, remote: GitRemote) -> Iterator[Callable[[str], OpsRepo]]:
    made: list[OpsRepo] = []

    def make(name: str = "clone.git") -> OpsRepo:
        settings = OpsRepoSettings(remote=str(remote.path), timeout_s=20)
        made.append(OpsRepo(git_dir=tmp_path / "state" / name, settings=settings))
        return made[-1]

    yield make
    for repo in made:
        repo.close()


@pytest.fixture
def repo(clone: Callable[[str], OpsRepo]) -> OpsRepo:
    return clone("clone.git")


def test_fetch_answers_the_head_of_the_branch(remote: GitRemote, repo: OpsRepo) -> None:
    assert repo.local_head() is None
    assert repo.fetch().commit == remote.head
    new = remote.commit({X: b"id = 'x'\n"})
    head = repo.fetch()
    assert (head.commit, head.seen, head.rewritten) == (new, None, False)
    local = repo.local_head()
    assert local is not None
    assert local.commit == new


def test_the_tree_moves_by_differences(remote: GitRemote, repo: OpsRepo) -> None:
    remote.commit(
        {X: b"1", "formulas/f.sh": b"true\n", "vault/done/2026-01/old.result.json": b"{}"}
    )
    tree = Tree()
    changes = repo.advance(tree, repo.fetch().commit)
    assert changes.opened == ("x",)
    assert changes.formulas == {"f"}
    assert tree.archived == {"old"}

    remote.commit({X: b"2"})
    assert repo.advance(tree, repo.fetch().commit).changed == {"x"}
    remote.commit({X_RESULT: b"{}"})
    assert repo.advance(tree, repo.fetch().commit).finished == {"x"}
    remote.commit(remove=[X_RESULT])
    changes = repo.advance(tree, repo.fetch().commit)
    assert changes.vanished == {"x": X_RESULT}
    assert changes.opened == ("x",)
    assert not repo.advance(tree, repo.fetch().commit)


def test_new_actions_come_in_the_order_of_their_commits(remote: GitRemote, repo: OpsRepo) -> None:
    def push(*names: str) -> None:
        for name in names:
            remote.commit({f"vault/actions/{name}.toml": b""})

    push("c", "a", "b")
    tree = Tree()
    assert repo.advance(tree, repo.fetch().commit).opened == ("c", "a", "b")
    push("z", "y")
    assert repo.advance(tree, repo.fetch().commit).opened == ("z", "y")


def test_merged_actions_arrive_with_their_merge(remote: GitRemote, repo: OpsRepo) -> None:
    base = remote.head
    side = remote.commit({"vault/actions/early.toml": b""}, branch="side", parents=[base])
    main = remote.commit({"vault/actions/late.toml": b""})
    remote.commit({"vault/actions/early.toml": b""}, parents=[main, side])
    assert repo.advance(Tree(), repo.fetch().commit).opened == ("late", "early")


def test_odd_files_are_kept_and_never_crash(remote: GitRemote, repo: OpsRepo) -> None:
    strange = os.fsdecode(b"vault/actions/\xff\xfe.toml")
    newline = 'vault/actions/new\nline "q".toml'
    remote.commit(
        {
            "vault/actions/link.toml": (0o120000, b"/etc/passwd"),
            "vault/actions/folder.toml/inside.toml": b"",
            "vault/actions/module.toml": (0o160000, "1" * 40),
            "vault/actions/run.toml": (0o100755, b""),
            newline: b"",
            "vault/actions/A.toml": b"",
            "vault/actions/a.toml": b"",
            strange: b"x",
        }
    )
    tree = Tree()
    repo.advance(tree, repo.fetch().commit)
    modes = {i: f.mode for i, f in tree.open.items()}
    assert modes == {
        "link": 0o120000,
        "folder": 0o040000,
        "module": 0o160000,
        "run": 0o100755,
        "a": 0o100644,
    }
    assert tree.misnamed == {strange, newline, "vault/actions/A.toml"}
    head = tree.commit
    assert repo.blob_at(head, strange) == remote.git("rev-parse", f"{head}:{strange}")
    assert repo.blob_at(head, "vault/actions/link.toml") is None
    assert repo.blob_at(head, "vault/actions/folder.toml") is None
    odd = repo.last_change(head, strange)
    assert odd is not None
    assert odd.sha == head

    answer = os.fsdecode(b"vault/actions/\xff\xfe.result.json")
    repo.publish([NewFile(path=answer, data=b"{}")], message="result")
    remote.commit(
        {"vault/actions/folder.toml": b"now a file"}, remove=["vault/actions/folder.toml"]
    )
    changes = repo.advance(tree, repo.fetch().commit)
    assert changes.changed == {"folder"}
    assert answer in tree.misnamed
    assert tree.open["folder"].mode == 0o100644


def test_a_file_where_the_folder_should_be_holds_no_actions(
    remote: GitRemote, repo: OpsRepo
) -> None:
    remote.commit({"vault/actions": b"a file", "formulas": (0o120000, b"elsewhere")})
    tree = Tree()
    assert not repo.advance(tree, repo.fetch().commit)
    with pytest.raises(Conflict, match="vault/actions is not a directory"):
        repo.publish([NewFile(path=X_RESULT, data=b"")], message="r")


def test_five_thousand_actions_in_one_push(remote: GitRemote, repo: OpsRepo) -> None:
    tree = Tree()
    repo.advance(tree, repo.fetch().commit)
    names = [f"vault/actions/a{n:04}.toml" for n in range(5_000)]
    remote.commit({name: b"id = %d\n" % n for n, name in enumerate(names)})

    changes = repo.advance(tree, repo.fetch().commit)

    assert len(changes.opened) == 5_000
    read = repo.read([f.blob for f in tree.open.values()], limit=100)
    assert len(read) == 5_000
    assert read[tree.open["a0042"].blob] == b"id = 42\n"


def test_large_blobs_are_told_by_size_and_not_read(remote: GitRemote, repo: OpsRepo) -> None:
    remote.commit(
        {X: b"x" * 3_000_000, "vault/actions/y.toml": b"", "vault/actions/z.toml": b"abc"}
    )
    tree = Tree()
    repo.advance(tree, repo.fetch().commit)
    blobs = {i: f.blob for i, f in tree.open.items()}
    read = repo.read(blobs.values(), limit=3)
    assert read == {blobs["x"]: 3_000_000, blobs["y"]: b"", blobs["z"]: b"abc"}


# --- history ------------------------------------------------------------------------------


def test_last_change_names_the_commit_that_brought_the_content(
    remote: GitRemote, repo: OpsRepo
) -> None:
    first = remote.commit({X: b"1"}, message="first", who="Bo <bo@example.org>", date=1_600_000_000)
    remote.commit({"README.md": b"other\n"})
    head = repo.fetch().commit
    info = repo.last_change(head, X)
    assert info is not None
    assert info.sha == first
    assert info.subject == "first"
    assert info.committer_email == "bo@example.org"
    assert info.committed_at == 1_600_000_000
    assert repo.last_change(head, "vault/actions/none.toml") is None
    with pytest.raises(Conflict, match="not in the clone"):
        repo.last_change("1" * 40, X)


@pytest.mark.parametrize(
    ("subject", "number"),
    [
        ("Merge pull request 'see (#3)' (#17) from topic into main", 17),
        ("squashed (#6)\n\nbody (#7)", 6),
        ("no number, #8", 0),
        ("(#1234567890)", 0),
        ("\x01 (#2)", 2),
    ],
)
def test_a_commit_names_its_request(
    remote: GitRemote, repo: OpsRepo, subject: str, number: int
) -> None:
    commit = remote.commit({X: b"1"}, message=subject)
    repo.fetch()
    assert repo.names_request(commit) == number


def test_an_evil_merge_is_the_last_change(remote: GitRemote, repo: OpsRepo) -> None:
    base = remote.commit({X: b"good"})
    side = remote.commit({"a.txt": b""}, branch="side", parents=[base])
    main = remote.commit({"b.txt": b""})
    honest = remote.commit({"a.txt": b""}, parents=[main, side])
    info = repo.last_change(repo.fetch().commit, X)
    assert info is not None
    assert info.sha == base

    other = remote.commit({"c.txt": b""}, branch="side2", parents=[honest])
    main = remote.commit({"d.txt": b""})
    evil = remote.commit({X: b"evil", "c.txt": b""}, parents=[main, other])
    info = repo.last_change(repo.fetch().commit, X)
    assert info is not None
    assert info.sha == evil
    assert info.parents == (main, other)


def test_a_revert_is_the_last_change_though_the_content_is_old(
    remote: GitRemote, repo: OpsRepo
) -> None:
    remote.commit({X: b"1"})
    remote.commit({X: b"2"})
    revert = remote.commit({X: b"1"})
    info = repo.last_change(repo.fetch().commit, X)
    assert info is not None
    assert info.sha == revert


def test_commits_between_names_everybody(remote: GitRemote, repo: OpsRepo) -> None:
    base = remote.head
    side = remote.commit({"a": b""}, branch="side", parents=[base], who="Cy <cy@example.org>")
    main = remote.commit({"b": b""}, who="Di <di@example.org>")
    merge = remote.commit(
        {"a": b""},
        parents=[main, side],
        message="merge\n\nbody\n\nCo-authored-by: Ed <ed@example.org>\nCo-authored-by: F <f@x>",
    )
    repo.fetch()
    found = repo.commits_between(base, merge)
    assert {c.sha for c in found} == {merge, main, side}
    assert {c.author_email for c in found} == {
        "cy@example.org",
        "di@example.org",
        "ann@example.org",
    }
    assert found[0].co_authors == ("Ed <ed@example.org>", "F <f@x>")
    assert repo.is_ancestor(side, merge)
    assert not repo.is_ancestor(merge, side)
    assert not repo.is_ancestor("1" * 40, merge)


def test_another_ref_can_be_brought(remote: GitRemote, repo: OpsRepo) -> None:
    repo.fetch()
    pull = remote.commit({"p": b""}, branch="topic", parents=[remote.head])
    remote.git("update-ref", "refs/pull/7/head", pull)
    assert repo.fetch_ref("refs/pull/7/head") == pull
    assert repo.commit(pull).sha == pull
    with pytest.raises(Misconfigured):
        repo.fetch_ref("refs/pull/8/head")


# --- rewritten history --------------------------------------------------------------------


def test_a_force_push_is_noticed_and_tells_what_vanished(remote: GitRemote, repo: OpsRepo) -> None:
    base = remote.head
    remote.commit({X: b"1", X_RESULT: b"{}"})
    tree = Tree()
    repo.advance(tree, repo.fetch().commit)
    repo.mark_seen(tree.commit)
    remote.point(base)
    rewritten = remote.commit({X: b"1"})

    head = repo.fetch()

    assert head.rewritten
    assert head.seen == tree.commit
    changes = repo.advance(tree, head.commit)
    assert changes.vanished == {"x": X_RESULT}
    assert changes.opened == ("x",)
    repo.mark_seen(rewritten)
    assert not repo.fetch().rewritten


def test_a_fresh_clone_learns_from_the_remote_what_was_seen(
    remote: GitRemote, clone: Callable[[str], OpsRepo]
) -> None:
    first = clone("one.git")
    base = remote.head
    remote.commit({X: b"1"})
    first.fetch()
    first.mark_seen(first.publish([NewFile(path=X_RESULT, data=b"{}")], message="r").commit)
    first.publish([NewFile(path="vault/actions/y.result.json", data=b"{}")], message="r")
    seen = remote.git("rev-parse", "refs/disinto/seen")
    remote.point(base)
    remote.commit({X: b"1"})

    second = clone("two.git")
    head = second.fetch()

    assert head.seen is None, "whoever may push may have written it: it is asked for, not adopted"
    assert second.remote_seen() == seen
    tree = Tree()
    second.advance(tree, seen)
    assert set(second.advance(tree, head.commit).vanished) == {"x", "y"}


# --- what is wrong with a remote ----------------------------------------------------------


def _repo(tmp_path: Path, remote: str, branch: str = "main") -> OpsRepo:
    settings = OpsRepoSettings(remote=remote, branch=branch, timeout_s=5)
    return OpsRepo(git_dir=tmp_path / "c.git", settings=settings)


def test_a_remote_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="no ops repository at"):
        _repo(tmp_path, str(tmp_path / "none.git")).fetch()
    assert not (tmp_path / "c.git").exists()


def test_a_branch_that_is_not_there(tmp_path: Path, remote: GitRemote) -> None:
    with pytest.raises(Misconfigured, match="no branch 'other'"):
        _repo(tmp_path, str(remote.path), "other").fetch()


def test_a_branch_that_was_removed(remote: GitRemote, repo: OpsRepo) -> None:
    repo.fetch()
    remote.git("update-ref", "-d", "refs/heads/main")
    with pytest.raises(Misconfigured, match="no branch 'main'"):
        repo.fetch()


def test_a_network_that_is_down(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="cannot be reached") as caught:
        _repo(tmp_path, "http://127.0.0.1:1/x.git").fetch()
    assert caught.value.dependency is Dependency.REMOTE


@pytest.mark.parametrize(
    "said",
    [
        "ERROR: Permission to ops/actions.git denied to bot.",
        "ERROR: The key you are authenticating with has been marked as read only.",
        "remote: ERROR: This deploy key does not have write access to this project.",
        "remote: You are not allowed to push code to this project.",
        "Forgejo: Deploy Key: 7:bot is not authorized to write to ops/actions.",
        "FATAL: W any actions bot DENIED by fallthru",
    ],
)
def test_a_key_that_may_only_read_is_refused_and_not_unreachable(tmp_path: Path, said: str) -> None:
    """What servers say before they close an SSH connection."""
    ssh = tmp_path / "ssh"
    ssh.write_text(f"#!/bin/sh\necho '{said}' >&2\nexit 128\n")
    ssh.chmod(0o755)
    settings = OpsRepoSettings(remote="ssh://git@forge.example/ops/actions.git")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GIT_SSH", str(ssh))
        repo = OpsRepo(git_dir=tmp_path / "clone.git", settings=settings)
    with pytest.raises(Denied, match="denied access"):
        repo.fetch()


@pytest.mark.parametrize(
    "remote",
    ["", "ext::sh -c true", "ftp://h/x", "-oProxyCommand=x", "https://me:secret@h/x.git"],
)
def test_addresses_that_are_refused(tmp_path: Path, remote: str) -> None:
    with pytest.raises(Misconfigured) as caught:
        _repo(tmp_path, remote)
    assert "secret" not in str(caught.value)


# --- a new repository ---------------------------------------------------------------------


def test_a_new_repository_begins_with_its_files(tmp_path: Path) -> None:
    settings = OpsRepoSettings(remote=str(tmp_path / "new" / "ops.git"))
    commit = begin(settings, [NewFile(path="README.md", data=b"hi\n")], message="Begin")
    repo = OpsRepo(git_dir=tmp_path / "c.git", settings=settings)
    assert repo.fetch().commit == commit
    assert repo.commit(commit).parents == ()
    with pytest.raises(Conflict, match="has a branch 'main' already"):
        begin(settings, [NewFile(path="a", data=b"")], message="again")
    repo.close()
