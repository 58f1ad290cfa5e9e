"""The whole output of a run, from the local engine to ``disinto logs`` and ``disinto verify``: also
when the remote refuses it, when it was tampered with, and after a restart.
"""

from __future__ import annotations

import base64
import gzip
import subprocess
from pathlib import Path

import pytest
import tenacity

from dispatcher.devservers.scene import Scene
from tests.servers.bao import Bao
from tests.support.cli_process import Said, disinto
from tests.support.serving import Served, all_results

pytestmark = pytest.mark.needs("bao", "bwrap")

CANARY = "c4n4ry-" + "0123456789abcdef" * 4

LOUD = """#!/bin/bash
# more than one pipe buffer and one chunk, with the secret across every boundary
for i in $(seq 1500); do printf '%0*d%s|' "$((i % 97 + 1))" 0 "$TOKEN_A"; done
printf '%s' "${TOKEN_A:0:30}"; sleep 0.1; printf '%s\\n' "${TOKEN_A:30}"
printf '%s' "$TOKEN_A" | base64 -w 7
echo first >&2
seq 5000
echo last >&2
"""

LARGE = """#!/bin/bash
echo the beginning
seq 100000
echo the end
"""


@pytest.fixture
def scene(bao_server: Bao, tmp_path: Path) -> Scene:
    server = bao_server.with_own_mount()
    return Scene.set(
        tmp_path,
        server,
        values={"TOKEN_A": CANARY},
        settings={
            "vault": {"kv_mount": server.kv_mount},
            "ops_repo": {"poll_interval_s": 0.2},
            "output": {"max_kb": 256},
            "limits": {"max_run_s": 60},
        },
        tiers={"loud": "low", "large": "low"},
        formulas={"loud.sh": LOUD, "large.sh": LARGE},
    )


def merge(scene: Scene, *action_ids: str, formula: str = "loud") -> None:
    files = {
        f"vault/actions/{i}.toml": f'id = "{i}"\nformula = "{formula}"\ncontext = ""\n'
        f"secrets = {['TOKEN_A'] if formula == 'loud' else []}\n".replace("'", '"')
        for i in action_ids
    }
    scene.merge(files, "Add actions")


@tenacity.retry(stop=tenacity.stop_after_delay(60), wait=tenacity.wait_fixed(0.1), reraise=True)
def all_retired(state: Path) -> None:
    assert not list((state / "runs").iterdir())


def run(scene: Scene, *words: str) -> Said:
    """A command, after the engine has forgotten all logs."""
    state = scene.open_settings().state_dir
    all_retired(state)
    for log in (state / "logs").glob("*"):
        log.unlink()
    return disinto("--config", str(scene.config), *words, env=scene.environ)


def refs(scene: Scene) -> list[str]:
    lines = scene.git("ls-remote", str(scene.remote), "refs/disinto/logs/*").splitlines()
    return [line.partition("\t")[2] for line in lines]


def test_whole_output(scene: Scene) -> None:
    merge(scene, "one", "two")
    merge(scene, "big", formula="large")
    served = Served(scene)
    try:
        all_results(scene, {"one", "two", "big"})
        result = scene.results()["one"]
        output = result["output"]
        assert refs(scene) == [f"refs/disinto/logs/{output['month']}"]
        packed = subprocess.run(
            ["git", f"--git-dir={scene.remote}", "cat-file", "blob", output["stdout"]["object"]],
            capture_output=True,
            check=True,
        ).stdout
        stdout = gzip.decompress(packed)
        assert len(stdout) == output["stdout"]["bytes"] > 64 * 1024
        assert stdout.endswith(b"\n5000\n")
        for form in (
            CANARY.encode(),
            CANARY[30:].encode(),
            base64.b64encode(CANARY.encode())[4:40],
        ):
            assert form not in stdout.replace(b"\n", b"")
        assert stdout.count(b"[redacted:TOKEN_A]") == 1502

        whole = run(scene, "logs", "one")
        assert whole.out.encode() == stdout, "the engine keeps nothing here"
        assert whole.err.startswith("first\nlast\n")
        assert f"from refs/disinto/logs/{output['month']}" in whole.err
        assert run(scene, "logs", "one", "--tail", "1").out == "5000\n"

        large = run(scene, "logs", "big")
        lines = large.out.splitlines()
        assert (lines[0], lines[-1]) == ("the beginning", "the end")
        assert "bytes left out here]" in large.out
        assert len(large.out) < 300 * 1024
        assert "bytes in the middle were not kept" in large.err

        verified = run(scene, "verify", "one")
        assert (verified.code, "output of one: verified" in verified.out) == (0, True), verified
        clone = scene.root / "clone"
        scene.git("clone", "--quiet", "--no-local", str(scene.remote), str(clone))
        assert not scene.git("for-each-ref", "refs/disinto", cwd=clone)
        have = scene.git(
            "cat-file", "--batch-all-objects", "--batch-check=%(objectname)", cwd=clone
        )
        assert output["stdout"]["object"] not in have

        # The remote takes no more.
        hook = scene.remote / "hooks" / "update"
        hook.write_text(
            "#!/bin/sh\ncase $1 in refs/disinto/logs/*) echo no logs here >&2; exit 1;; esac\n"
        )
        hook.chmod(0o755)
        merge(scene, "three", "four")
        all_results(scene, {"three", "four"})
        for name in ("three", "four"):
            late = scene.results()[name]
            assert late["verdict"] == "succeeded"
            assert "no logs here" in late["output"]["missing"], late["output"]
            assert not late["output"]["month"]
            assert run(scene, "verify", name).code == 0
        assert "no logs here" in run(scene, "logs", "three").err
        doctor = run(scene, "doctor")
        assert "no logs here" in doctor.out, doctor.out
        assert "no logs here" in run(scene, "status").out + run(scene, "status").err
        hook.unlink()

        # Somebody removes what was kept.
        scene.git("push", "--quiet", str(scene.remote), f":refs/disinto/logs/{output['month']}")
        subprocess.run(
            ["git", f"--git-dir={scene.remote}", "gc", "--quiet", "--prune=now"], check=True
        )
        gone = run(scene, "logs", "one")
        assert len(gone.out) < 1_100, "the end, from the result"
        assert "does not have object" in gone.err
        assert run(scene, "verify", "one").code == 0
        assert "no longer kept" in run(scene, "verify", "one").out
        served.kill()
        served = Served(scene, name="again")
        merge(scene, "five")
        all_results(scene, {"five"})
        assert scene.results()["five"]["output"]["month"], "a restart tries again, on a new chain"
        assert run(scene, "verify", "five").out.count("verified") == 2
    finally:
        served.kill()
    state = scene.open_settings().state_dir
    assert not list((state / "outputs").iterdir()), "nothing waits for a push"
    assert not list(state.glob("output-*")), "and no repository is left"
