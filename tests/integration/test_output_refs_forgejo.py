"""The refs with the whole output of runs, on a real Forgejo."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from dispatcher.attestation import git_blob
from dispatcher.errors import NotFound
from dispatcher.ops_repo import NewFile, OpsRepo, OutputFile
from dispatcher.settings import OpsRepoSettings
from tests.servers.forgejo import Forgejo
from tests.support.forge_stage import Stage

pytestmark = pytest.mark.needs("forgejo", "git")


@pytest.fixture
def stage(forge: Forgejo, tmp_path: Path) -> Stage:
    return Stage.build(forge, tmp_path / "stage")


@pytest.fixture
def repos(stage: Stage, tmp_path: Path) -> Iterator[tuple[OpsRepo, OpsRepo]]:
    """Those of two dispatchers."""
    settings = OpsRepoSettings(
        remote=f"{stage.server.url}/{stage.repository}.git", username=stage.owner.login
    )
    made = [
        OpsRepo(
            git_dir=tmp_path / name / "ops.git",
            settings=settings,
            credential=lambda: stage.owner.token,
        )
        for name in ("one", "two")
    ]
    for repo in made:
        repo.mark_seen(repo.fetch().commit)
    yield made[0], made[1]
    for repo in made:
        repo.close()


def publish(repo: OpsRepo, folder: Path, name: str) -> bytes:
    data = f"output of {name}".encode() * 1_000
    (folder / name).write_bytes(data)
    repo.publish(
        [NewFile(path=f"vault/actions/{name}.result.json", data=b"{}")],
        message=f"Result of {name}",
        outputs=[OutputFile(month="2026-11", name=f"{name}.stdout.gz", path=folder / name)],
    )
    return data


def test_forgejo_takes_serves_and_removes_output(
    repos: tuple[OpsRepo, OpsRepo], tmp_path: Path
) -> None:
    one, two = repos
    one.outputs.probe()
    assert not one.outputs.months()
    first = publish(one, tmp_path, "a")
    second = publish(two, tmp_path, "b")
    publish(one, tmp_path, "c")
    for data in (first, second):
        assert one.outputs.fetch(git_blob(data), limit=len(data)) == data
    with pytest.raises(NotFound, match="does not have object"):
        two.outputs.fetch("a" * 40, limit=100)
    with pytest.raises(NotFound):
        two.outputs.fetch(git_blob(first), limit=100)
    assert two.outputs.months().keys() == {"2026-11"}
    head = two.fetch().commit
    for name in ("a", "b", "c"):
        assert two.blob_at(head, f"vault/actions/{name}.result.json")
    two.outputs.remove("2026-11")
    assert not one.outputs.months()
    publish(one, tmp_path, "d")
    assert one.outputs.months().keys() == {"2026-11"}
