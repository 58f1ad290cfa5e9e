"""Directories nested deeper than git can walk, and paths longer than a command line holds."""

from __future__ import annotations

import hashlib
import resource
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from dispatcher.errors import Unavailable
from dispatcher.ops_repo import Move, NewFile, OpsRepo, Tree
from dispatcher.settings import OpsRepoSettings
from tests.servers.git_remote import GitRemote

STACK_BYTES = 2 * 1024 * 1024
"""The stack git gets here; with the usual 8 MiB it dies as well, and takes sixteen times as long."""

DEPTH = 5_500
"""Levels; git 2.39 dies at about 4,300 with this stack, and at about 17,000 with 8 MiB."""

X = "vault/actions/x.toml"
LONG = "/".join(["n" * 50_000] * 3)
"""A path longer than a command line may hold."""


@pytest.fixture(autouse=True)
def small_stack() -> Iterator[None]:
    """Every process started here inherits the limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_STACK)
    resource.setrlimit(resource.RLIMIT_STACK, (STACK_BYTES, hard))
    yield
    resource.setrlimit(resource.RLIMIT_STACK, (soft, hard))


@pytest.fixture
def remote(tmp_path: Path) -> GitRemote:
    made = GitRemote(tmp_path / "remote.git")
    made.commit({"README.md": b"ops\n", "vault/actions/old.toml": b"old"})
    return made


@pytest.fixture(params=["path", "file"])
def repo(tmp_path: Path, remote: GitRemote, request: pytest.FixtureRequest) -> Iterator[OpsRepo]:
    prefix = "file://" if request.param == "file" else ""
    settings = OpsRepoSettings(remote=f"{prefix}{remote.path}", timeout_s=60)
    made = OpsRepo(git_dir=tmp_path / "clone.git", settings=settings)
    made.fetch()
    yield made
    made.close()


def pack_of_deep_tree(depth: int) -> tuple[bytes, str]:
    """A pack with a tree of so many levels, each of one name; and the tree's hash (hex)."""
    parts: list[bytes] = []

    def add(code: int, kind: str, data: bytes) -> bytes:
        size, first = len(data) >> 4, (code << 4) | (len(data) & 15)
        header = bytearray()
        while size:
            header.append(first | 0x80)
            first, size = size & 0x7F, size >> 7
        header.append(first)
        parts.append(bytes(header) + zlib.compress(data, 1))
        return hashlib.sha1(b"%b %d\0%b" % (kind.encode(), len(data), data)).digest()

    oid = add(2, "tree", b"100644 z.toml\0" + add(3, "blob", b"deep"))
    for _ in range(depth):
        oid = add(2, "tree", b"40000 d\0" + oid)
    body = b"PACK" + struct.pack(">II", 2, len(parts)) + b"".join(parts)
    return body + hashlib.sha1(body).digest(), oid.hex()


def blob(data: bytes) -> str:
    """git's hash of a file's contents."""
    return hashlib.sha1(b"blob %d\0%b" % (len(data), data)).hexdigest()


def push_deep(remote: GitRemote, where: str) -> str:
    """A commit on the branch with the deep tree at a path."""
    pack, tree = pack_of_deep_tree(DEPTH)
    remote.git("index-pack", "--stdin", "--fix-thin", stdin=pack)
    return remote.commit({where: (0o040000, tree)})


@pytest.mark.parametrize(
    "where",
    [
        "vault/done/2026-01",
        "vault/done/deep",
        "vault/done/2026-01/x.toml",
        "vault/actions/deep",
        "vault/actions/deep.toml",
        "formulas/deep",
        "elsewhere",
    ],
)
def test_a_deep_tree_stops_nobody(
    remote: GitRemote, repo: OpsRepo, tmp_path: Path, where: str
) -> None:
    git_dir, tree = tmp_path / "clone.git", Tree()
    repo.advance(tree, repo.fetch().commit)
    inode = git_dir.stat().st_ino
    deep = push_deep(remote, where)
    remote.commit({X: b"x", "vault/actions/w.toml": b"w"})
    head = repo.fetch().commit
    opened = repo.advance(tree, head).opened
    assert {"w", "x"} <= set(opened)
    repo.mark_seen(head)
    fresh = Tree()
    repo.advance(fresh, head)
    assert (set(fresh.open), fresh.archived) == (set(tree.open), tree.archived)
    assert repo.tree_of(head, "x").open.keys() == {"x"}
    for action in ("x", "w", "old"):
        assert repo.lineage(head, f"vault/actions/{action}.toml")
    result = [NewFile(path="vault/actions/x.result.json", data=b"{}")]
    repo.publish(result, message="result of x")
    if not where.startswith("vault/done/2026-01"):
        moves = [
            Move(source=f"vault/actions/x{e}", target=f"vault/done/2026-01/x{e}")
            for e in (".toml", ".result.json")
        ]
        repo.publish((), moves=moves, message="archive")
    remote.commit(remove=[where])
    repo.advance(tree, repo.fetch().commit)
    assert "deep" not in tree.open
    assert repo.commits_between(deep, repo.fetch().commit)
    assert git_dir.stat().st_ino == inode  # it was not made anew


def test_a_long_path_is_never_looked_up(remote: GitRemote, repo: OpsRepo) -> None:
    repo.fetch()
    remote.commit({f"vault/done/{LONG}/z.result.json": b"{}", X: b"x"})
    tree, head = Tree(), repo.fetch().commit
    repo.advance(tree, head)
    assert "z" not in tree.archived
    assert tree.misnamed == {f"vault/done/{LONG.partition('/')[0]}"}
    assert repo.blob_at(head, f"vault/done/{LONG}/z.result.json") is None
    assert repo.tree_of(head, "z").archived == set()
    repo.mark_seen(head)
    remote.commit(remove=[f"vault/done/{LONG}"])
    repo.advance(tree, repo.fetch().commit)
    assert tree.misnamed == set()


@pytest.mark.parametrize(
    "where", ["vault/done/2026-01/x.toml", "vault/actions/deep.toml", "formulas/deep"]
)
def test_the_history_of_a_deep_tree_is_read(remote: GitRemote, repo: OpsRepo, where: str) -> None:
    result, archived = "vault/actions/x.result.json", "vault/done/2026-02/y.result.json"
    approval = remote.commit({X: b"x", result: b"r", archived: b"old"})
    deep = push_deep(remote, where)
    withdrawal = remote.commit({archived: b"new"}, remove=[where, X, result])
    seen = repo.fetch().commit
    repo.approach(seen, ())
    dropped = repo.dropped_results([seen])
    blobs = {"x": (blob(b"r"),), "y": (blob(b"old"),)}
    assert dropped == blobs
    remote.point(deep)  # the withdrawal is dropped, and the deep tree is back
    head = repo.fetch().commit
    assert repo.withdrawn(head, X) == {approval, withdrawal}
    repo.mark_seen(head)
    assert repo.approach(head, (seen,)).dropped == (seen,)
    remote.point(approval)
    head = repo.fetch().commit
    assert repo.approach(head, ()).dropped == (deep,)
    assert repo.withdrawn(head, X) == {approval, withdrawal}


def test_names_too_long_for_a_command_line_are_taken_back(remote: GitRemote, repo: OpsRepo) -> None:
    base = repo.fetch().commit
    names = [f"formulas/{number:02}{'n' * 60_000}.sh" for number in range(60)]
    pushed = remote.commit({X: b"x", **dict.fromkeys(names, b"f")})
    repo.approach(repo.fetch().commit, (base,))
    remote.point(base)
    head = repo.fetch().commit
    assert repo.approach(head, ()).dropped == (pushed,)
    assert repo.withdrawn(head, X) == repo.withdrawn(head, names[0]) == {pushed}


def test_a_path_that_no_command_line_holds_is_an_error_about_it(repo: OpsRepo) -> None:
    head = repo.fetch().commit
    with pytest.raises(Unavailable, match="git log cannot be started: Argument list too long"):
        repo.last_change(head, f"vault/actions/{LONG}.toml")


def test_a_git_that_crashes_is_no_damaged_clone(
    remote: GitRemote, repo: OpsRepo, tmp_path: Path
) -> None:
    repo.fetch()
    inode = (tmp_path / "clone.git").stat().st_ino
    push_deep(remote, "vault/done/2026-01")
    remote.commit(remove=["vault/done"])
    head = repo.fetch().commit
    with pytest.raises(Unavailable, match="git log was ended by SIGSEGV"):
        repo.last_change(head, "vault/done/2026-01")
    assert (tmp_path / "clone.git").stat().st_ino == inode
