"""Trees as only somebody makes who writes the objects themselves: what is not ours stays as it is, and what
we add is where git finds it.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from dispatcher.ops_repo import Move, NewFile, OpsRepo, by_trees
from dispatcher.ops_repo.clone import Clone
from dispatcher.settings import OpsRepoSettings
from tests.servers.git_remote import GitRemote

pytestmark = pytest.mark.needs("git")

RESULT = "vault/actions/x.result.json"
WHO = "Disinto <disinto@example.org>"
PERSON = "Ann <ann@example.org> 1700000000 +0000"

Tree = Mapping[bytes, "tuple[bytes, str | Tree]"]
"""Mode as it is written, and a hash or another tree, by name."""


@pytest.fixture
def remote(tmp_path: Path) -> GitRemote:
    return GitRemote(tmp_path / "remote.git")


@pytest.fixture
def repo(tmp_path: Path, remote: GitRemote) -> Iterator[OpsRepo]:
    settings = OpsRepoSettings(remote=str(remote.path), timeout_s=20)
    made = OpsRepo(git_dir=tmp_path / "clone.git", settings=settings)
    yield made
    made.close()


def is_directory(mode: bytes) -> bool:
    return int(mode, 8) & 0o170000 == 0o040000


def blob(remote: GitRemote, data: bytes) -> str:
    return remote.git("hash-object", "-w", "--stdin", stdin=data)


def written(remote: GitRemote, tree: Tree) -> str:
    """Write a tree in git's order; returns its hash."""
    rows = []
    for name, (mode, what) in tree.items():
        oid = what if isinstance(what, str) else written(remote, what)
        rows.append((name + b"/" * is_directory(mode), mode + b" " + name + b"\0", oid))
    data = b"".join(head + bytes.fromhex(oid) for _, head, oid in sorted(rows))
    return remote.git("hash-object", "-t", "tree", "-w", "--literally", "--stdin", stdin=data)


def push(remote: GitRemote, tree: Tree) -> str:
    text = f"tree {written(remote, tree)}\nauthor {PERSON}\ncommitter {PERSON}\n\nodd\n"
    commit = remote.git("hash-object", "-t", "commit", "-w", "--stdin", stdin=text.encode())
    remote.git("update-ref", "refs/heads/main", commit)
    return commit


def as_git_reads(remote: GitRemote, commit: str) -> dict[str, tuple[str, str]]:
    """Mode and hash of every file, by path."""
    rows = remote.git("ls-tree", "-r", "-z", commit).split("\0")
    split = (row.partition("\t") for row in rows if row)
    return {path: (facts.split()[0], facts.split()[2]) for facts, _, path in split}


def in_directories_of_odd_modes(remote: GitRemote, mode: bytes) -> Tree:
    x = blob(remote, b"x")
    # git sorts a directory as if its name ended with a slash, whatever its mode's other bits are.
    actions: Tree = {
        b"x.toml": (b"100644", x),
        b"x.result": (mode, {b"kept": (b"100644", x)}),
        b"x.result-": (b"100644", x),
    }
    vault: Tree = {b"actions": (mode, actions), b"actions.old": (b"100644", x)}
    return {b"vault": (mode, vault), b"vault.md": (b"100644", x), b"README.md": (b"100644", x)}


ODD_DIRECTORIES = [b"40755", b"47777", b"040000", b"1040000", b"40000000000040000"]


@pytest.mark.parametrize("mode", ODD_DIRECTORIES)
def test_a_result_is_written_below_a_directory_of_an_odd_mode(
    repo: OpsRepo, remote: GitRemote, mode: bytes
) -> None:
    """git reads a directory in it, so the action runs, and its result must be written."""
    pushed = push(remote, in_directories_of_odd_modes(remote, mode))
    before = as_git_reads(remote, pushed)
    commit = repo.fetch().commit
    assert "x.toml" in repo.directory(commit, "vault/actions")
    published = repo.publish([NewFile(path=RESULT, data=b"{}\n")], message="Result of x")
    assert published.written == (RESULT,)
    ours = as_git_reads(remote, published.commit)
    assert ours.pop(RESULT)[0] == "100644"
    assert ours == before
    assert repo.fetch().commit == published.commit


def test_what_is_written_beside_them_is_in_gits_order(
    repo: OpsRepo, remote: GitRemote, tmp_path: Path
) -> None:
    """A tree out of order is malformed: no clone would take it any more, the dispatcher's own neither."""
    tree = in_directories_of_odd_modes(remote, b"40000")
    vault = tree[b"vault"][1]
    assert not isinstance(vault, str)
    actions = vault[b"actions"][1]
    assert not isinstance(actions, str)
    push(remote, {
        **tree,
        b"vault": (b"40000", {b"actions": (b"40000", {
            **actions, b"x.result": (b"40755", actions[b"x.result"][1]),
        })}),
    })  # fmt: skip
    repo.fetch()
    published = repo.publish([NewFile(path=RESULT, data=b"{}\n")], message="Result of x")
    remote.git("fsck", "--strict", "--no-dangling")
    settings = OpsRepoSettings(remote=str(remote.path), timeout_s=20)
    another = OpsRepo(git_dir=tmp_path / "another.git", settings=settings)
    assert another.fetch().commit == published.commit
    another.close()


@pytest.mark.parametrize("mode", [b"100664", b"100600", b"104755", b"100001"])
def test_a_file_of_an_odd_mode_is_moved(repo: OpsRepo, remote: GitRemote, mode: bytes) -> None:
    """Otherwise one such action, finished, would keep the whole archive where it is."""
    actions: Tree = {b"x.toml": (mode, blob(remote, b"x"))}
    pushed = push(remote, {b"vault": (b"40000", {b"actions": (b"40000", actions)})})
    before = as_git_reads(remote, pushed)
    repo.fetch()
    move = Move(source="vault/actions/x.toml", target="vault/done/2025-01/x.toml")
    published = repo.publish([], message="Archive", moves=[move])
    assert published.written == (move.target,)
    assert as_git_reads(remote, published.commit) == {move.target: before[move.source]}


NAMES = (
    b"a", b"a.b", b"a-b", b"a0", b"ab", b"A", b"a\nb", b"\xff\xfe", b'"', b"\x01", b"-r", b":(top)",
    b".gitmodules", b".gitignore", b"\xc3\xa4", b"a\xcc\x88", b"x.result", b"x.result.json.", b"x", b"z" * 400,
)  # fmt: skip

FILES = (b"100644", b"100755", b"100664", b"120000")
DIRECTORIES = (b"40000", b"40755", b"040000")


def made_up(dice: random.Random, blobs: Sequence[str], depth: int = 3) -> Tree:
    tree: dict[bytes, tuple[bytes, str | Tree]] = {}
    for name in dice.sample(NAMES, k=dice.randrange(1, 9)):
        if depth and dice.random() < 0.5:
            tree[name] = (dice.choice(DIRECTORIES), made_up(dice, blobs, depth - 1))
        elif dice.random() < 0.2:
            tree[name] = (b"160000", "1" * 40)
        else:
            tree[name] = (dice.choice(FILES), dice.choice(blobs))
    return tree


def complaints(clone: Clone, commit: str) -> set[str]:
    """Kinds of what ``git fsck`` has to say."""
    done = clone.git.run(clone.path, "fsck", "--strict", "--no-dangling", commit, ok=range(256))
    return {line.split(": ")[1] for line in done.err.splitlines() if line.count(": ") > 1}


@pytest.mark.parametrize("seed", range(8))
def test_nothing_but_our_own_changes_in_any_tree_that_git_reads(
    repo: OpsRepo, remote: GitRemote, seed: int
) -> None:
    dice = random.Random(seed)
    blobs = [blob(remote, b"%d" % number) for number in range(4)]
    remote.commit({"README.md": b"x"})
    repo.fetch()
    clone: Clone = repo._clone
    for _ in range(4):
        base = push(remote, {**made_up(dice, blobs), b"top": (b"100644", blobs[0])})
        lenient = {"fetch.fsckObjects": "false", "transfer.fsckObjects": "false"}
        refspec = "+refs/heads/main:refs/disinto/asked"
        clone.git.run(clone.path, "fetch", "-q", str(remote.path), refspec, config=lenient)
        expected = as_git_reads(remote, base)
        gone = dice.sample(sorted(expected), k=min(3, len(expected) - 1))
        below = dice.choice([path.rpartition("/")[0] for path in expected])
        new = f"{below}/x.result.json".lstrip("/")
        found = by_trees.found(clone, base, [*expected, new], limit=10**9)
        assert {path: (f"{e.mode:06o}", e.oid) for path, e in found.items()} == expected
        file = by_trees.stored(clone, [NewFile(path=new, data=b"{}")], like=base)
        ours = by_trees.commit(
            clone, base, {**dict.fromkeys(gone), **file}, message="m\n", who=WHO, limit=None
        )
        target = f"+{ours}:refs/heads/ours"
        clone.git.run(clone.path, "push", "-q", str(remote.path), target)
        after = {path: facts for path, facts in expected.items() if path not in gone}
        assert as_git_reads(remote, ours) == after | {new: ("100644", file[new].oid)}
        assert complaints(clone, ours) <= complaints(clone, base)
