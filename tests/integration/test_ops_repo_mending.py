"""A clone that went bad is made anew; what was seen is kept."""

from __future__ import annotations

import fcntl
import itertools
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dispatcher.errors import Misconfigured, Unavailable
from dispatcher.ops_repo import NewFile, OpsRepo, Tree, push
from dispatcher.ops_repo import upkeep as upkeep_module
from dispatcher.ops_repo.direct_push import DirectPush
from dispatcher.settings import OpsRepoSettings
from tests.servers.git_remote import GitRemote

X = "vault/actions/x.toml"
RESULT = NewFile(path="vault/actions/x.result.json", data=b"{}")


@pytest.fixture
def remote(tmp_path: Path) -> GitRemote:
    made = GitRemote(tmp_path / "remote.git")
    made.commit({X: b"id = 'x'\n", "formulas/f.sh": b"true\n"})
    return made


@pytest.fixture
def git_dir(tmp_path: Path) -> Path:
    return tmp_path / "state" / "clone.git"


@pytest.fixture
def opened(remote: GitRemote, git_dir: Path) -> Iterator[Callable[[], OpsRepo]]:
    made: list[OpsRepo] = []

    def make() -> OpsRepo:
        settings = OpsRepoSettings(remote=str(remote.path), timeout_s=10)
        made.append(OpsRepo(git_dir=git_dir, settings=settings))
        return made[-1]

    yield make
    for repo in made:
        repo.close()


def loose(git_dir: Path) -> list[Path]:
    return [p for p in git_dir.glob("objects/??/*") if p.is_file()]


def overwrite(path: Path, data: bytes) -> None:
    path.chmod(0o644)
    path.write_bytes(data)


def garble(path: Path) -> None:
    overwrite(path, b"garbage")


def no_objects(git_dir: Path) -> None:
    shutil.rmtree(git_dir / "objects")


def empty_objects(git_dir: Path) -> None:
    for path in loose(git_dir) + list(git_dir.glob("objects/pack/*")):
        overwrite(path, b"")


def garbled_objects(git_dir: Path) -> None:
    for path in loose(git_dir) + list(git_dir.glob("objects/pack/*.pack")):
        overwrite(path, b"garbage" + path.read_bytes()[7:])


def no_head(git_dir: Path) -> None:
    (git_dir / "HEAD").unlink()


def garbled_config(git_dir: Path) -> None:
    (git_dir / "config").write_text("[core\nnonsense")


def garbled_ref(git_dir: Path) -> None:
    (git_dir / "refs/disinto/head").write_text("nonsense\n")


def half_made(git_dir: Path) -> None:
    shutil.rmtree(git_dir)
    (git_dir / "refs").mkdir(parents=True)


DAMAGES = [
    no_objects, empty_objects, garbled_objects, no_head, garbled_config, garbled_ref, half_made,
]  # fmt: skip


@pytest.mark.parametrize("reopen", [True, False], ids=["found at start", "found at work"])
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_clone_is_made_anew(
    remote: GitRemote,
    git_dir: Path,
    opened: Callable[[], OpsRepo],
    damage: Callable[[Path], None],
    reopen: bool,
) -> None:
    repo = opened()
    tree = Tree()
    repo.advance(tree, repo.fetch().commit)
    repo.mark_seen(tree.commit)
    damage(git_dir)
    if reopen:
        repo = opened()

    remote.commit({"vault/actions/y.toml": b"id = 'y'\n"})
    head = repo.fetch()
    assert repo.advance(tree, head.commit).opened == ("y",)
    assert repo.read([tree.open["x"].blob], limit=100) == {tree.open["x"].blob: b"id = 'x'\n"}
    assert repo.publish([RESULT], message="r").written
    if damage is not half_made:
        assert head.seen is not None
    assert sorted(p.name for p in git_dir.parent.iterdir() if ".lock" not in p.name) == [
        "clone.git"
    ]


@pytest.mark.parametrize("damage", [Path.unlink, garble], ids=["missing", "corrupt"])
def test_one_bad_object_is_noticed_when_it_is_read(
    remote: GitRemote,
    git_dir: Path,
    opened: Callable[[], OpsRepo],
    damage: Callable[[Path], None],
) -> None:
    repo = opened()
    tree = Tree()
    repo.publish([NewFile(path="vault/actions/y.toml", data=b"id = 'y'\n")], message="y")
    repo.advance(tree, repo.fetch().commit)
    blob = tree.open["y"].blob
    path = git_dir / "objects" / blob[:2] / blob[2:]
    damage(path)
    repo.close()
    assert repo.read([blob], limit=100) == {blob: b"id = 'y'\n"}


def test_the_old_clone_stays_while_the_remote_is_away(
    remote: GitRemote, git_dir: Path, opened: Callable[[], OpsRepo]
) -> None:
    repo = opened()
    repo.mark_seen(repo.fetch().commit)
    seen = remote.head
    no_objects(git_dir)
    remote.path.rename(remote.path.with_name("away"))
    with pytest.raises(Misconfigured):
        repo.fetch()
    assert (git_dir / "refs/disinto/seen").read_text().strip() == seen
    remote.path.with_name("away").rename(remote.path)
    assert repo.fetch().seen == seen


def test_seen_survives_a_damage_after_the_history_was_rewritten(
    remote: GitRemote, git_dir: Path, opened: Callable[[], OpsRepo]
) -> None:
    repo = opened()
    base = repo.fetch().commit
    remote.commit({RESULT.path: RESULT.data})
    seen = repo.fetch().commit
    repo.mark_seen(seen)
    remote.point(base)
    remote.commit({"other": b""})
    repo.close()
    no_objects(git_dir)

    repo = opened()
    head = repo.fetch()
    assert (head.seen, head.rewritten, head.seen_readable) == (seen, True, False)
    repo.mark_seen(head.commit)
    head = repo.fetch()
    assert (head.seen, head.rewritten, head.seen_readable) == (head.commit, False, True)


def test_a_clone_lost_between_two_renames_keeps_what_was_seen(
    remote: GitRemote, git_dir: Path, opened: Callable[[], OpsRepo]
) -> None:
    repo = opened()
    repo.mark_seen(repo.fetch().commit)
    repo.close()
    git_dir.rename(git_dir.with_name("clone.git.old-1-1"))
    shutil.copytree(git_dir.with_name("clone.git.old-1-1"), git_dir.with_name("clone.git.new-1-1"))
    assert opened().fetch().seen == remote.head


def test_refs_that_a_power_cut_broke_keep_nothing_from_being_published(
    opened: Callable[[], OpsRepo], remote: GitRemote, git_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(DirectPush, "usable", False)  # it needs no refs
    repo = opened()
    repo.fetch()
    for number, ref in ((1, "outgoing"), (2, f"push/{os.getpid()}-2/plain/heads/main")):
        file = git_dir / "refs" / "disinto" / ref
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"")  # renamed, and never written
        monkeypatch.setattr(push, "_PUSHES", itertools.count(2))
        result = NewFile(path=f"vault/actions/x{number}.result.json", data=b"{}")
        assert repo.publish([result], message="result").written == (result.path,)
        assert remote.files()[result.path] == b"{}"


@pytest.mark.parametrize(
    "name",
    ["HEAD.lock", "packed-refs.lock", "config.lock", "refs/disinto/head.lock",
     "refs/disinto/outgoing.lock", "refs/disinto/seen.lock"],
)  # fmt: skip
@pytest.mark.parametrize("reopen", [True, False], ids=["found at start", "found at work"])
def test_a_stale_lock_is_removed(
    remote: GitRemote, git_dir: Path, opened: Callable[[], OpsRepo], name: str, reopen: bool
) -> None:
    repo = opened()
    repo.fetch()
    (git_dir / name).touch()
    if reopen:
        repo = opened()
    remote.commit({"new": b""})
    assert repo.fetch().commit == remote.head
    repo.mark_seen(remote.head)
    assert repo.publish([RESULT], message="r").written


def test_a_clone_that_another_process_holds_is_waited_for_and_then_given_up(
    remote: GitRemote, git_dir: Path, opened: Callable[[], OpsRepo]
) -> None:
    opened().fetch()
    settings = OpsRepoSettings(remote=str(remote.path), timeout_s=0.2)
    repo = OpsRepo(git_dir=git_dir, settings=settings)
    fd = os.open(git_dir.with_name("clone.git.lock"), os.O_RDWR)
    fcntl.flock(fd, fcntl.LOCK_EX)
    with pytest.raises(Unavailable, match=r"keeps the clone .* locked"):
        repo.fetch()
    os.close(fd)
    assert repo.fetch().commit == remote.head
    repo.close()


def test_a_clone_made_anew_by_another_process_goes_on(
    remote: GitRemote, git_dir: Path, opened: Callable[[], OpsRepo]
) -> None:
    one, two = opened(), opened()
    tree = Tree()
    one.advance(tree, one.fetch().commit)
    two.fetch()
    no_objects(git_dir)
    two.fetch()
    remote.commit({"vault/actions/y.toml": b"y"})
    two.fetch()
    assert one.advance(tree, one.fetch().commit).opened == ("y",)
    assert one.read([tree.open["y"].blob], limit=9) == {tree.open["y"].blob: b"y"}


def test_killed_while_cloning(tmp_path: Path, remote: GitRemote, git_dir: Path) -> None:
    code = (
        "import sys; from pathlib import Path; import os;"
        "from dispatcher.ops_repo import OpsRepo; from dispatcher.settings import OpsRepoSettings;"
        "real = Path.rename;"
        "Path.rename = lambda self, other: os.kill(os.getpid(), 9);"
        "OpsRepo(git_dir=Path(sys.argv[2]), settings=OpsRepoSettings(remote=sys.argv[1])).fetch()"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", code, str(remote.path), str(git_dir)], check=False, cwd=root
    )
    assert done.returncode == -9
    assert list(git_dir.parent.glob("clone.git.new-*"))
    repo = OpsRepo(git_dir=git_dir, settings=OpsRepoSettings(remote=str(remote.path)))
    assert repo.fetch().commit == remote.head
    assert not list(git_dir.parent.glob("clone.git.new-*"))
    repo.close()


def test_the_clone_is_packed_while_it_is_used(
    remote: GitRemote, git_dir: Path, opened: Callable[[], OpsRepo], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upkeep_module, "EVERY", 5)
    monkeypatch.setattr(upkeep_module, "LOOSE_LIMIT", 20)
    monkeypatch.setattr(upkeep_module.Upkeep, "needed", lambda self: len(loose(git_dir)) > 20)
    repo = opened()
    base = repo.fetch().commit
    for n in range(12):
        repo.publish([NewFile(path=f"vault/actions/n{n}.result.json", data=b"%d" % n)], message="r")
        repo._clone.upkeep.join()
    assert list(git_dir.glob("objects/pack/*.pack"))
    assert len(loose(git_dir)) < 40
    tree = Tree()
    repo.advance(tree, repo.fetch().commit)
    assert len(tree.stray_results) == 12
    assert len(repo.commits_between(base, tree.commit)) == 12
