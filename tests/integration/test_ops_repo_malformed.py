"""Objects that git's own checks call malformed: those that harm nobody stop nobody either."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dispatcher.errors import Misconfigured
from dispatcher.ops_repo import Move, NewFile, OpsRepo, Tree
from dispatcher.settings import OpsRepoSettings
from tests.servers.git_remote import ENV, GitRemote

X = "vault/actions/x.toml"
Y = "vault/actions/y.toml"
MODULES = b'[submodule "x"]\n\tpath = -x\n\turl = -u./evil\n'
NULL = bytes(20)


@pytest.fixture
def remote(tmp_path: Path) -> GitRemote:
    made = GitRemote(tmp_path / "remote.git")
    made.commit({"README.md": b"ops\n", "vault/actions/old.toml": b"old"})
    return made


@pytest.fixture
def repo(tmp_path: Path, remote: GitRemote) -> Iterator[OpsRepo]:
    settings = OpsRepoSettings(remote=str(remote.path), timeout_s=20)
    made = OpsRepo(git_dir=tmp_path / "clone.git", settings=settings)
    made.fetch()
    yield made
    made.close()


def written(remote: GitRemote, kind: str, data: bytes) -> str:
    return remote.git("hash-object", "-t", kind, "-w", "--stdin", "--literally", stdin=data)


def entries(remote: GitRemote, treeish: str) -> list[bytes]:
    """A tree's entries as they are stored."""
    listed = remote.git("ls-tree", "-z", treeish).split("\0")
    found = []
    for line in filter(None, listed):
        facts, _, name = line.partition("\t")
        mode, _, oid = facts.split(" ")
        found.append(entry(mode.lstrip("0"), name, bytes.fromhex(oid)))
    return found


def entry(mode: str, name: str, oid: bytes) -> bytes:
    return f"{mode} {name}\0".encode() + oid


def commit(remote: GitRemote, tree: str, *, who: str = "", head: str = "") -> str:
    """A commit of a tree on the branch's head, with a malformed identity or more header lines."""
    plain = "Ann <ann@example.org> 1700000000 +0000"
    text = (
        f"tree {tree}\nparent {remote.head}\nauthor {who or plain}\n"
        f"committer {who or plain}\n{head}\nbad\n"
    )
    made = written(remote, "commit", text.encode())
    remote.point(made)
    return made


def root_with(remote: GitRemote, *more: bytes) -> str:
    """The branch's tree with more entries at its top, in git's order."""
    kept = [*entries(remote, "main"), *more]
    kept.sort(key=_order)
    return written(remote, "tree", b"".join(kept))


def _order(raw: bytes) -> bytes:
    facts, _, _ = raw.partition(b"\0")
    mode, _, name = facts.partition(b" ")
    return name + (b"/" if mode.lstrip(b"0") == b"40000" else b"\0")


def blob(remote: GitRemote, data: bytes = b"x") -> bytes:
    return bytes.fromhex(written(remote, "blob", data))


def actions_with(remote: GitRemote, *more: bytes) -> str:
    """The branch's tree with more entries in ``vault/actions``."""
    actions = sorted([*entries(remote, "main:vault/actions"), *more], key=_order)
    tree = bytes.fromhex(written(remote, "tree", b"".join(actions)))
    vault = bytes.fromhex(written(remote, "tree", entry("40000", "actions", tree)))
    kept = [e for e in entries(remote, "main") if b" vault\0" not in e[:14]]
    return written(
        remote, "tree", b"".join(sorted([*kept, entry("40000", "vault", vault)], key=_order))
    )


def _modules(remote: GitRemote) -> None:
    commit(remote, root_with(remote, entry("100644", ".gitmodules", blob(remote, MODULES))))


def _modules_symlink(remote: GitRemote) -> None:
    commit(remote, root_with(remote, entry("120000", ".gitmodules", blob(remote, b"/etc"))))


def _modules_tree(remote: GitRemote) -> None:
    tree = bytes.fromhex(written(remote, "tree", entry("100644", "a", blob(remote))))
    commit(remote, root_with(remote, entry("40000", ".gitmodules", tree)))


def _attributes_long(remote: GitRemote) -> None:
    long = b"*.x " + b"a" * 5000 + b"\n"
    commit(remote, root_with(remote, entry("100644", ".gitattributes", blob(remote, long))))


def _attributes_tree(remote: GitRemote) -> None:
    tree = bytes.fromhex(written(remote, "tree", entry("100644", "a", blob(remote))))
    commit(remote, root_with(remote, entry("40000", ".gitattributes", tree)))


def _padded_mode(remote: GitRemote) -> None:
    commit(remote, actions_with(remote, entry("0100644", "padded.toml", blob(remote))))


def _dot(remote: GitRemote) -> None:
    commit(remote, actions_with(remote, entry("100644", ".", blob(remote))))


def _dotdot(remote: GitRemote) -> None:
    tree = bytes.fromhex(written(remote, "tree", entry("100644", "z.toml", blob(remote))))
    commit(remote, actions_with(remote, entry("40000", "..", tree)))


def _dotgit(remote: GitRemote) -> None:
    commit(remote, actions_with(remote, entry("100644", ".git", blob(remote))))


def _null_submodule(remote: GitRemote) -> None:
    commit(remote, actions_with(remote, entry("160000", "null.toml", NULL)))


def _long_name(remote: GitRemote) -> None:
    commit(remote, actions_with(remote, entry("100644", "n" * 60_000, blob(remote))))


def _identity(who: str) -> Callable[[GitRemote], object]:
    return lambda remote: commit(remote, actions_with(remote), who=who)


HARMLESS: dict[str, Callable[[GitRemote], object]] = {
    "gitmodules with an option for an address": _modules,
    "gitmodules that is a symlink": _modules_symlink,
    "gitmodules that is a directory": _modules_tree,
    "gitattributes with a long line": _attributes_long,
    "gitattributes that is a directory": _attributes_tree,
    "a padded mode": _padded_mode,
    "the name .": _dot,
    "the name ..": _dotdot,
    "the name .git": _dotgit,
    "a submodule at no commit": _null_submodule,
    "a long name": _long_name,
    "no time zone": _identity("Ann <ann@example.org> 1700000000"),
    "an odd time zone": _identity("Ann <ann@example.org> 1700000000 +17"),
    "no date": _identity("Ann <ann@example.org>"),
    "no space before the date": _identity("Ann <ann@example.org>1700000000 +0000"),
    "a padded date": _identity("Ann <ann@example.org> 01700000000 +0000"),
    "a date that is a word": _identity("Ann <ann@example.org> today +0000"),
    "a date too large": _identity(f"Ann <ann@example.org> {'9' * 30} +0000"),
    "a date of 5,000 digits": _identity(f"Ann <ann@example.org> {'9' * 5000} +0000"),
    "not a valid address": _identity("Ann 1700000000 +0000"),
    "no name": _identity("<ann@example.org> 1700000000 +0000"),
    "no space before the address": _identity("Ann<ann@example.org> 1700000000 +0000"),
    "an open address": _identity("Ann <ann 1700000000 +0000"),
    "a bracket in the name": _identity("A>nn <ann@example.org> 1700000000 +0000"),
}


@pytest.mark.parametrize("what", HARMLESS)
def test_what_harms_nobody_stops_nobody(remote: GitRemote, repo: OpsRepo, what: str) -> None:
    """A fetch, what is asked about the commit, a result beside it, and a clone made anew."""
    tree = Tree()
    repo.advance(tree, repo.fetch().commit)
    HARMLESS[what](remote)
    bad = remote.head
    remote.commit({X: b"x"})
    head = repo.fetch().commit
    assert repo.advance(tree, head).opened[-1] == "x"
    fresh = Tree()
    repo.advance(fresh, head)
    assert set(fresh.open) == set(tree.open)
    info = repo.commit(bad)
    assert info.committed_at in (0, 1_700_000_000)
    assert [c.sha for c in repo.commits_between(f"{bad}^", head)] == [head, bad]
    for path in tree.paths():
        found = repo.lineage(head, path)
        assert found
        assert found.last.committed_at in (0, 1_700_000_000)
        assert repo.last_change(head, path)
    result = [NewFile(path="vault/actions/x.result.json", data=b"{}")]
    assert repo.publish(result, message="result of x").written == (result[0].path,)
    moves = [
        Move(source=f"vault/actions/x{e}", target=f"vault/done/2026-01/x{e}")
        for e in (".toml", ".result.json")
    ]
    repo.publish((), moves=moves, message="archive")
    repo.advance(tree, repo.fetch().commit)
    assert "x" in tree.archived


@pytest.mark.parametrize("what", HARMLESS)
def test_a_first_clone_of_it(remote: GitRemote, tmp_path: Path, what: str) -> None:
    HARMLESS[what](remote)
    remote.commit({X: b"x"})
    settings = OpsRepoSettings(remote=f"file://{remote.path}", timeout_s=20)
    repo, tree = OpsRepo(git_dir=tmp_path / "first.git", settings=settings), Tree()
    repo.advance(tree, repo.fetch().commit)
    repo.close()
    assert "x" in tree.open


def _slash(remote: GitRemote) -> None:
    commit(remote, root_with(remote, entry("100644", "vault/actions/y.toml", blob(remote))))


def _twice(remote: GitRemote) -> None:
    one, two = blob(remote, b"1"), blob(remote, b"2")
    commit(
        remote, actions_with(remote, entry("100644", "y.toml", one), entry("100644", "y.toml", two))
    )


def _unsorted(remote: GitRemote) -> None:
    listed = list(reversed(entries(remote, root_with(remote, entry("100644", "z", blob(remote))))))
    commit(remote, written(remote, "tree", b"".join(listed)))


def _two_authors(remote: GitRemote) -> None:
    who = "Ann <ann@example.org> 1700000000 +0000\nauthor Bob <bob@example.org> 1700000000 +0000"
    commit(remote, actions_with(remote), who=who)


def _no_author(remote: GitRemote) -> None:
    tree = remote.git("rev-parse", "main^{tree}")
    text = f"tree {tree}\nparent {remote.head}\ncommitter Ann <a@b.c> 1700000000 +0000\n\nbad\n"
    remote.point(written(remote, "commit", text.encode()))


def _nul(remote: GitRemote) -> None:
    tree = remote.git("rev-parse", "main^{tree}")
    who = "Ann <ann@example.org> 1700000000 +0000"
    text = f"tree {tree}\nparent {remote.head}\nauthor {who}\ncommitter {who}\n\nbad\0worse\n"
    remote.point(written(remote, "commit", text.encode()))


TWO_READINGS: dict[str, Callable[[GitRemote], object]] = {
    "a name with a slash": _slash,
    "one name twice": _twice,
    "entries out of order": _unsorted,
    "two authors": _two_authors,
    "no author": _no_author,
    "a message with a NUL": _nul,
}


@pytest.mark.parametrize("what", TWO_READINGS)
def test_what_can_be_read_in_two_ways_stops_the_fetch(
    remote: GitRemote, repo: OpsRepo, what: str
) -> None:
    before = repo.fetch().commit
    TWO_READINGS[what](remote)
    with pytest.raises(Misconfigured, match="malformed object") as caught:
        repo.fetch()
    assert "force-push" in caught.value.remedy
    local = repo.local_head()
    assert local is not None
    assert local.commit == before
    remote.point(before)  # the remedy
    remote.commit({X: b"x"})
    tree = Tree()
    repo.advance(tree, repo.fetch().commit)
    assert "x" in tree.open


def test_housekeeping_of_a_clone_with_all_of_it(remote: GitRemote, tmp_path: Path) -> None:
    base, made = remote.head, []
    for make in HARMLESS.values():
        remote.point(base)
        make(remote)
        made.append(remote.head)
    remote.commit({X: b"x"}, parents=made)
    settings = OpsRepoSettings(remote=str(remote.path), timeout_s=20)
    repo = OpsRepo(git_dir=tmp_path / "packed.git", settings=settings)
    head = repo.fetch().commit
    for args in (["repack", "-q", "-a", "-d"], ["commit-graph", "write", "--reachable"]):
        subprocess.run(["git", "--git-dir", tmp_path / "packed.git", *args], check=True, env=ENV)
    tree = Tree()
    repo.advance(tree, head)
    repo.close()
    assert "old" in tree.open
