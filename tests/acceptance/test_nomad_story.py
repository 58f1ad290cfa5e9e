"""The main job on a real Nomad: merged files become jobs, and jobs become results beside them.

One story for each driver: everything is merged at once, one dispatcher serves it with rights of its
own, and the tests look at what came of it. Docker has host volumes and a memory limit; raw_exec has
neither, and needs no image.
"""

from __future__ import annotations

import gzip
import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import tenacity

from dispatcher.devservers.scene import Scene
from dispatcher.engines.nomad.api import NomadApi
from dispatcher.model.mounts import Mount
from tests.servers.bao import Bao
from tests.servers.nomad import Nomad, serve
from tests.support.cli_process import disinto
from tests.support.evidence import (
    RESTING_VARIABLES,
    children,
    live_grants,
    operator_api,
    variables,
)
from tests.support.serving import Served, all_results, serving

pytestmark = [pytest.mark.needs("nomad", "bao", "git"), pytest.mark.slow]

VALUES = {"TOKEN_A": "value-of-a-8c1d", "TOKEN_B": "value-of-b-3f77"}
LONGEST_RUN_S = 20
WAIT_FOR_A_PLACE_S = 8
ABSENT = "disinto-absent:1"

GOOD = """#!/bin/bash
echo "a has ${#TOKEN_A} characters and b has ${#TOKEN_B}; carelessly: $TOKEN_A"
echo "run by $(id -un), approved by '$DISINTO_APPROVED_BY'"
"""
WITH_SSH = """
cat ~/.ssh/known_hosts
touch ~/.ssh/new 2>/dev/null && echo "ssh can be written"
echo mine 2>/dev/null >> ~/.ssh/known_hosts && echo "ssh can be written"
echo "$DISINTO_ACTION_ID" >> ~/data/marks
"""
FORMULAS = {
    "good.sh": GOOD,
    "good-with-mounts.sh": f"{GOOD}{WITH_SSH}",
    "bad.sh": "#!/bin/bash\necho 'this went wrong' >&2\nexit 3\n",
    "endless.sh": "#!/bin/bash\necho begun\nsleep 600\n",
    "loud.sh": '#!/bin/bash\nseq 60000\necho "$TOKEN_A" >&2\necho last >&2\n',
    "hungry.sh": "#!/bin/bash\nexec python3 -c 'x = bytearray(400 * 1024 * 1024)'\n",
}


def action(action_id: str, formula: str, *, secrets: str = "", mounts: str = "") -> str:
    more = f"mounts = [{mounts}]\n" if mounts else ""
    return (
        f'id = "{action_id}"\nformula = "{formula}"\ncontext = "c"\nsecrets = [{secrets}]\n{more}'
    )


ON_RAW_EXEC = {
    "good": action("good", "good", secrets='"TOKEN_A", "TOKEN_B"'),
    "bad": action("bad", "bad"),
    "loud": action("loud", "loud", secrets='"TOKEN_A"'),
    "slow": action("slow", "endless"),
    "stopped": action("stopped", "endless"),
    "nowhere": action("nowhere", "good-with-mounts", mounts='"gpg"'),
    "misspelt": action("misspelt", "good", secrets='"TOKN_A"'),
}
ON_DOCKER = {
    **ON_RAW_EXEC,
    "good": action(
        "good",
        "good-with-mounts",
        secrets='"TOKEN_A", "TOKEN_B"',
        mounts='"ssh", "agent-data"',
    ),
    "hungry": action("hungry", "hungry"),
}


@dataclass(kw_only=True)
class Story:
    """What happened.

    Attributes:
        jobs: of each action, what Nomad's API told while they were there.
    """

    scene: Scene
    nomad: Nomad
    driver: str
    results: dict[str, dict[str, Any]] = field(default_factory=dict)
    jobs: dict[str, dict[str, Any]] = field(default_factory=dict)
    cancelled: str = ""
    log: str = ""


@pytest.fixture(scope="module")
def nomad_without_gpg() -> Iterator[Nomad]:
    """An agent that offers every volume but one, with a key in that of ``ssh``."""
    with serve(mounts=[mount for mount in Mount if mount is not Mount.GPG]) as server:
        key = server.volumes[Mount.SSH] / "known_hosts"
        key.write_text("example.org ssh-ed25519 AAAA\n")
        key.chmod(0o666)
        server.volumes[Mount.SSH].chmod(0o777)
        server.volumes[Mount.AGENT_DATA].chmod(0o777)
        yield server


def set_scene(root: Path, bao: Bao, nomad: Nomad, **nomad_settings: Any) -> Scene:
    server = bao.with_own_mount()
    return Scene.set(
        root,
        server,
        nomad=nomad,
        values=VALUES,
        settings={
            "vault": {"kv_mount": server.kv_mount},
            "limits": {"max_run_s": LONGEST_RUN_S},
            "nomad": {"placement_wait_s": WAIT_FOR_A_PLACE_S, **nomad_settings},
        },
        tiers={Path(name).stem: "low" for name in FORMULAS},
        formulas=FORMULAS,
    )


@pytest.fixture(
    scope="module", params=[pytest.param("docker", marks=pytest.mark.needs("docker")), "raw_exec"]
)
def story(
    request: pytest.FixtureRequest,
    bao_server: Bao,
    nomad_without_gpg: Nomad,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Story]:
    driver = request.param
    if driver == "raw_exec" and not nomad_without_gpg.runs_here:
        pytest.skip("raw_exec wants a Nomad on this machine, and this one is in a container")
    more: dict[str, Any] = {}
    if driver == "docker":
        image = request.getfixturevalue("runner_image")
        more = {"image": image, "mount_sets": [["ssh", "agent-data"], ["gpg"]]}
    scene = set_scene(tmp_path_factory.mktemp(driver), bao_server, nomad_without_gpg, **more)
    actions = ON_DOCKER if driver == "docker" else ON_RAW_EXEC
    told = Story(scene=scene, nomad=nomad_without_gpg, driver=driver)
    scene.merge({f"vault/actions/{name}.toml": text for name, text in actions.items()}, "Add all")
    try:
        with serving(scene) as dispatcher:
            _tell(told, dispatcher, actions)
        told.log = dispatcher.log.read_text()
        yield told
    finally:
        scene.clear()


def _tell(story: Story, dispatcher: Served, actions: dict[str, str]) -> None:
    scene = story.scene
    api = operator_api(scene)
    prefix = scene.open_settings().nomad.ledger_prefix

    @tenacity.retry(stop=tenacity.stop_after_delay(90), wait=tenacity.wait_fixed(0.2), reraise=True)
    def until_it_says_begun() -> None:
        assert dispatcher.process.poll() is None, dispatcher.log.read_text()
        for stub in api.jobs(prefix=f"{prefix}-runner", meta=True):
            if stub["ParentID"] and stub["Meta"]["action_id"] not in story.jobs:
                story.jobs[stub["Meta"]["action_id"]] = dict(api.job(stub["ID"]) or {})
        said = disinto("logs", "stopped", "--config", str(scene.config), env=scene.environ)
        assert "begun" in said.out
        assert "stopped" in story.jobs

    until_it_says_begun()
    done = disinto("cancel", "stopped", "--config", str(scene.config), env=scene.environ)
    story.cancelled = done.out + done.err
    story.results = all_results(scene, actions)
    api.close()

    @tenacity.retry(stop=tenacity.stop_after_delay(30), wait=tenacity.wait_fixed(0.2), reraise=True)
    def until_at_rest() -> None:
        assert variables(scene) == RESTING_VARIABLES

    until_at_rest()


def test_an_action_runs_with_its_secrets_and_its_result_is_on_the_remote(story: Story) -> None:
    result = story.results["good"]
    assert (result["verdict"], result["exit_code"]) == ("succeeded", 0), result
    a, b = (len(value) for value in VALUES.values())
    assert f"a has {a} characters and b has {b}; carelessly: [redacted:TOKEN_A]" in result["logs"]
    assert result["engine"]["kind"] == "nomad"
    assert result["engine"]["alloc"]
    assert result["engine"]["node"]


def test_a_key_can_be_read_and_not_written(story: Story) -> None:
    if story.driver != "docker":
        pytest.skip("raw_exec has no host volumes")
    logs = story.results["good"]["logs"]
    assert "example.org ssh-ed25519 AAAA" in logs
    assert "run by agent" in logs
    assert "ssh can be written" not in logs
    assert story.nomad.volumes[Mount.SSH].joinpath("known_hosts").read_text().count("\n") == 1
    assert story.nomad.volumes[Mount.AGENT_DATA].joinpath("marks").read_text() == "good\n"


def test_a_failure_keeps_its_exit_code(story: Story) -> None:
    result = story.results["bad"]
    assert (result["verdict"], result["exit_code"]) == ("failed", 3)
    assert "this went wrong" in result["logs"]


def test_what_takes_too_long_is_ended(story: Story) -> None:
    result = story.results["slow"]
    assert result["verdict"] == "timed_out"
    assert result["exit_code"] != 0
    assert result["duration_s"] >= LONGEST_RUN_S
    assert "begun" in result["logs"]


def test_a_person_stops_a_run(story: Story) -> None:
    result = story.results["stopped"]
    assert result["verdict"] == "cancelled", result
    assert "stop requested" in story.cancelled
    assert "begun" in result["logs"]


def test_no_place_is_told_in_nomads_numbers(story: Story) -> None:
    result = story.results["nowhere"]
    assert result["verdict"] == "unplaceable"
    if story.driver == "docker":
        told = "not placed in time: 1 node evaluated, 1 filtered: missing compatible host volumes"
        assert told in result["error"]
    else:
        assert "the driver raw_exec has no host volumes" in result["error"]


def test_out_of_memory_is_told(story: Story) -> None:
    if story.driver != "docker":
        pytest.skip("raw_exec has no memory limit")
    result = story.results["hungry"]
    assert result["verdict"] == "failed"
    assert result["exit_code"] == 137
    assert "out of memory (limit 128 MiB)" in result["error"]


def test_an_unknown_secret_starts_nothing(story: Story) -> None:
    assert story.results["misspelt"]["verdict"] == "invalid"
    assert "misspelt" not in story.jobs


def test_nothing_is_left(story: Story) -> None:
    assert children(story.scene) == []
    assert variables(story.scene) == RESTING_VARIABLES
    assert isinstance(story.scene.server, Bao)
    assert live_grants(story.scene.server, ON_DOCKER) == []


def test_nomad_shows_people_what_ran_and_keeps_no_secret(story: Story) -> None:
    job = story.jobs["stopped"]
    assert job["Meta"]["formula"] == "endless.sh"
    assert job["Meta"]["commit"] == story.results["stopped"]["commit"]
    assert job["Meta"]["blob"] == story.results["stopped"]["blob"]
    assert "one dispatched job for each" in job["UI"]["Description"]
    assert len(story.jobs) >= 2
    stored = json.dumps(story.jobs)
    for value in (*VALUES.values(), story.scene.environ["VAULT_TOKEN"]):
        assert value not in stored
        assert value not in story.log


def test_the_dispatcher_had_no_more_rights_than_it_needs(story: Story) -> None:
    settings = story.scene.open_settings().nomad
    told = NomadApi(settings, story.scene.environ).token_self()
    assert told["Type"] == "client"
    assert told["Policies"] == [f"{settings.ledger_prefix}-dispatcher"]


def test_sent_and_followed_from_a_desk(story: Story) -> None:
    """``disinto dispatch``: live output, and the action's own exit code."""
    scene = story.scene
    file = scene.root / "again.toml"
    file.write_text(action("again", "bad"))
    with serving(scene, name="again"):
        said = disinto("dispatch", str(file), "--config", str(scene.config), env=scene.operator)
    assert said.code == 3, said
    assert "this went wrong" in said.out + said.err


@pytest.mark.needs("docker")
def test_a_missing_image_is_told(bao_server: Bao, nomad_without_gpg: Nomad, tmp_path: Path) -> None:
    scene = set_scene(tmp_path, bao_server, nomad_without_gpg, image=ABSENT)
    scene.merge({"vault/actions/good.toml": action("good", "good")}, "Add one")
    try:
        with serving(scene):
            result = all_results(scene, ["good"])["good"]
    finally:
        scene.clear()
    assert result["verdict"] == "error"
    assert "the image is missing" in result["error"]
    assert ABSENT in result["error"]


def test_the_whole_output_is_kept_in_the_ops_repo(story: Story) -> None:
    def kept(action_id: str, stream: str) -> str:
        output = story.results[action_id]["output"]
        assert output["month"], output
        return gzip.decompress(
            subprocess.run(
                ["git", "cat-file", "blob", output[stream]["object"]],
                cwd=story.scene.remote,
                capture_output=True,
                check=True,
            ).stdout
        ).decode()

    assert kept("loud", "stdout").splitlines() == [str(n) for n in range(1, 60_001)]
    assert kept("loud", "stderr") == "[redacted:TOKEN_A]\nlast\n"
    assert "carelessly: [redacted:TOKEN_A]" in kept("good", "stdout")
    assert kept("bad", "stderr") == "this went wrong\n"
    assert kept("stopped", "stdout") == kept("slow", "stdout") == "begun\n"
    config = ("--config", str(story.scene.config))
    verified = disinto("verify", "loud", *config, env=story.scene.environ)
    assert "output of loud: verified" in verified.out, verified
