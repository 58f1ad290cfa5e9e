"""Fixtures that several suites of this directory share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers.bao import Bao
from tests.servers.grants import Minter
from tests.servers.nomad import Nomad
from tests.support.nomad_stage import NomadStage, nomad_stage
from tests.support.stage import Stage, set_stage


@pytest.fixture
def stage(bao_server: Bao, tmp_path: Path) -> Iterator[Stage]:
    """A dispatcher with the settings as they come, not started."""
    stage = set_stage(tmp_path, bao_server)
    yield stage
    stage.stop()


@pytest.fixture
def minter(vault: Bao) -> Minter:
    return Minter(bao=vault).prepare()


@pytest.fixture
def on_raw_exec(nomad: Nomad, minter: Minter) -> Iterator[NomadStage]:
    with nomad_stage(nomad, minter) as stage:
        yield stage


@pytest.fixture
def on_docker(nomad: Nomad, minter: Minter, runner_image: str) -> Iterator[NomadStage]:
    with nomad_stage(nomad, minter, image=runner_image) as stage:
        yield stage


@pytest.fixture(params=["raw_exec", pytest.param("docker", marks=pytest.mark.needs("docker"))])
def on_nomad(request: pytest.FixtureRequest, nomad: Nomad, minter: Minter) -> Iterator[NomadStage]:
    """Both drivers."""
    docker = request.param == "docker"
    more = {"image": request.getfixturevalue("runner_image")} if docker else {}
    with nomad_stage(nomad, minter, **more) as made:
        yield made
