"""A formula in a job class, with its project's bot, from the settings to the result; on both engines.

The action that may have the bot's token carries the dispatcher's own signature, as the sidecar source
writes it. The others are what somebody pushes who wants the token.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dispatcher.assembly import open_vault
from dispatcher.devservers.scene import Scene
from dispatcher.loop.signing import action_signer
from dispatcher.sources import Wanted, action_text
from tests.servers.bao import Bao
from tests.servers.nomad import Nomad
from tests.support.cli_process import Said, disinto
from tests.support.evidence import operator_api
from tests.support.serving import all_results, serving

pytestmark = [pytest.mark.needs("bao", "git"), pytest.mark.slow]

TOKEN = "canary-t0ken-of-acme"
KEY = "canary-k3y-of-the-class"
FORMULA = """#!/bin/bash
echo "bot ${#FORGE_TOKEN} ${FORGE_TOKEN:-none}"
echo "class ${#MODEL_KEY}"
"""
PARAMS = {"project": "acme", "issue_number": 7, "project_toml": "projects/acme.toml"}


@pytest.fixture(params=["local", pytest.param("nomad", marks=pytest.mark.needs("nomad"))])
def scene(request: pytest.FixtureRequest, bao_server: Bao, tmp_path: Path) -> Iterator[Scene]:
    nomad: Nomad | None = None
    if request.param == "nomad":
        nomad = request.getfixturevalue("nomad")
        if not nomad.runs_here:
            pytest.skip("raw_exec wants a Nomad on this machine, and this one is in a container")
    server = bao_server.with_own_mount()
    scene = Scene.set(
        tmp_path,
        server,
        nomad=nomad,
        values={"MODEL_KEY": KEY},
        settings={
            "vault": {"kv_mount": server.kv_mount},
            "nomad": {"keep_finished_s": 600},
            "formulas": {"classes": {"reproduce": "sidecar"}},
            "jobs": {
                "sidecar": {
                    "mounts": [],
                    "memory_mb": 96,
                    "cpu_mhz": 50,
                    "secrets": ["MODEL_KEY"],
                    "bots": {"acme": "acme-bot", "lost": "missing-bot"},
                }
            },
        },
        tiers={"reproduce": "low", "plain": "low"},
        formulas={"reproduce.sh": FORMULA, "plain.sh": FORMULA},
    )
    yield scene
    scene.clear()


def run(scene: Scene, *words: str, stdin: str = "") -> Said:
    env = scene.operator if words[0] in ("secrets", "apply") else scene.environ
    return disinto(*words, "--config", str(scene.config), env=env, stdin=stdin)


def unsigned(action_id: str, *, formula: str = "reproduce", **changed: Any) -> str:
    params = {**PARAMS, **changed}
    body = {"formula": formula, "context": "", "secrets": [], "params": params}
    wanted = Wanted(action_id=action_id, action=body, name="reproduce", occasion="issue 7")
    return action_text("sidecar", wanted)


def test_only_what_the_dispatcher_wrote_gets_the_bots_token(scene: Scene) -> None:
    assert run(scene, "secrets", "put", "--bot", "acme-bot", stdin=TOKEN).code == 0
    listed = run(scene, "secrets", "list", "--bots", "--json")
    assert {row["name"]: row["stored"] for row in listed.json} == {
        "acme-bot": True,
        "missing-bot": False,
    }
    assert TOKEN not in listed.out
    assert run(scene, "apply", "--check").code == 0, "the policies of both were applied"

    settings = scene.open_settings()
    sign = action_signer(settings, open_vault(settings, scene.environ))
    assert sign is not None
    written = sign(unsigned("written"))
    signature = written.splitlines()[-1]
    files = {
        "written": written,
        "no-bot": sign(unsigned("no-bot", project="other")),
        "no-token": sign(unsigned("no-token", project="lost")),
        "by-hand": unsigned("by-hand").partition("\n[source]")[0] + "\n",
        "copied": unsigned("copied") + f"{signature}\n",
        "changed": written.replace('"written"', '"changed"'),
        "schedule": sign(unsigned("schedule").replace('kind = "sidecar"', 'kind = "schedule"')),
        "no-meta": sign(unsigned("no-meta", issue_number="7; id")),
        "plain": unsigned("plain", formula="plain").partition("\n[source]")[0] + "\n",
        "named": 'id = "named"\nformula = "plain"\ncontext = ""\nsecrets = ["FORGE_TOKEN"]\n',
    }
    scene.merge({f"vault/actions/{i}.toml": text for i, text in files.items()}, "Ask")
    with serving(scene) as served:
        results = all_results(scene, list(files))
        status = run(scene, "status").out
        log = served.log.read_text()
    assert {i: r["verdict"] for i, r in results.items()} == {
        "written": "succeeded",
        "no-bot": "succeeded",
        "no-token": "error",
        "by-hand": "invalid",
        "copied": "invalid",
        "changed": "invalid",
        "schedule": "invalid",
        "no-meta": "invalid",
        "plain": "succeeded",
        "named": "invalid",
    }, {i: r["error"] for i, r in results.items()}
    got = f"bot {len(TOKEN)} [redacted:FORGE_TOKEN]\nclass {len(KEY)}\n"
    assert results["written"]["logs"] == got
    assert results["no-bot"]["logs"] == f"bot 0 none\nclass {len(KEY)}\n"
    assert results["plain"]["logs"] == "bot 0 none\nclass 0\n"
    for action_id in ("by-hand", "copied", "changed", "schedule"):
        assert "the dispatcher wrote itself" in results[action_id]["error"], action_id
    assert "disinto/bots/missing-bot) is missing" in results["no-token"]["error"]
    assert "secrets put --bot" in results["no-token"]["error"]
    assert "cannot be the parameter issue_number" in results["no-meta"]["error"]
    _no_canary(scene, json.dumps(results), status, log)

    title = "the local engine ignores cpu_mhz, memory_mb of the job class sidecar"
    assert (title in status) == (scene.nomad is None)
    assert (title in run(scene, "plan").out) == (scene.nomad is None)
    checks = {c["name"]: c for c in run(scene, "doctor", "--json").json["checks"]}
    assert checks["job class sidecar"]["ok"]
    assert ("ignores" in checks["job class sidecar"]["detail"]) == (scene.nomad is None)


def _no_canary(scene: Scene, *texts: str) -> None:
    """Neither value is in any text or in the state directory; on Nomad also in no job, and each job is of its class."""
    state = scene.open_settings().state_dir
    files = [path.read_bytes() for path in state.rglob("*") if path.is_file()]
    assert len(files) > 3
    seen = "".join([*texts, *(data.decode("latin-1") for data in files)])
    if scene.nomad is not None:
        api = operator_api(scene)
        prefix = f"{scene.open_settings().nomad.ledger_prefix}-runner"
        jobs = [api.job(stub["ID"]) for stub in api.jobs(prefix=prefix, meta=True)]
        metas = {j["Meta"]["action_id"]: j for j in jobs if j and "action_id" in (j["Meta"] or {})}
        assert metas["written"]["ParentID"] == f"{prefix}-sidecar"
        assert metas["written"]["Meta"]["issue_number"] == "7"
        assert metas["written"]["Meta"]["project_toml"] == "projects/acme.toml"
        assert metas["plain"]["ParentID"] == prefix
        seen += json.dumps(jobs)
        api.close()
    assert TOKEN not in seen
    assert KEY not in seen
