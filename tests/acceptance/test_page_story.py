"""The page beside a dispatcher: a run appears, is followed, cancelled as the operator, and is verified;
``serve`` is killed meanwhile, and the page says so.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
import tenacity

from dispatcher.devservers.scene import Scene
from tests.servers.bao import Bao
from tests.support.page_client import live_markup
from tests.support.serving import ROOT, Served, all_results

pytestmark = pytest.mark.needs("bao", "bwrap")

MARKUP = "<script>alert(1)</script>"

SLOW = f"""#!/bin/bash
echo '{MARKUP}'
echo 'on the other stream' >&2
echo '{{"stage": "{MARKUP}", "percent": 40}}' >> "$DISINTO_PROGRESS"
until [ -e "$DISINTO_WORK/never" ]; do sleep 0.1; done
""".replace('"$DISINTO_WORK/never"', "/nonexistent/never")

patiently = tenacity.retry(
    stop=tenacity.stop_after_delay(60), wait=tenacity.wait_fixed(0.1), reraise=True
)


@pytest.fixture
def scene(bao_server: Bao, tmp_path: Path) -> Scene:
    server = bao_server.with_own_mount()
    return Scene.set(
        tmp_path,
        server,
        values={},
        settings={
            "vault": {"kv_mount": server.kv_mount},
            "ops_repo": {"poll_interval_s": 0.3},
            "limits": {"max_run_s": 120},
        },
        tiers={"slow": "low", "quick": "low"},
        formulas={"slow.sh": SLOW, "quick.sh": "#!/bin/bash\necho done\n"},
    )


@contextmanager
def page(scene: Scene) -> Iterator[httpx.Client]:
    """A browser in which the operator of a ``disinto web`` is logged in."""
    words = ("--config", str(scene.config), "web", "--port", "0", "--print")
    with (scene.root / "web.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "dispatcher", *words],
            env={**scene.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
    try:
        assert process.stdout is not None
        link = process.stdout.readline().strip()
        origin = link.partition("/enter/")[0]
        headers = {"Accept": "text/html"}
        with httpx.Client(base_url=origin, headers=headers, timeout=30) as client:
            assert client.get(link).status_code == 303
            yield client
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(30)


def merge(scene: Scene, action_id: str, formula: str) -> None:
    text = f'id = "{action_id}"\nformula = "{formula}"\ncontext = "{MARKUP}"\nsecrets = []\n'
    scene.merge({f"vault/actions/{action_id}.toml": text}, f"Add {action_id}")


def events(client: httpx.Client, path: str) -> Iterator[tuple[str, dict[str, object]]]:
    """Events of a stream, by name, until it ends."""
    name = ""
    with client.stream("GET", path, timeout=60) as answer:
        for line in answer.iter_lines():
            if line.startswith("event: "):
                name = line.removeprefix("event: ")
            elif line.startswith("data: "):
                yield name, json.loads(line.removeprefix("data: "))


@patiently
def runs(client: httpx.Client, action_id: str) -> dict[str, object]:
    shown = client.get("/overview.json").json()["running"]["actions"]
    (found,) = [each["action"] for each in shown if each["action"]["id"] == action_id]
    assert found["progress"]["percent"] == 40
    return dict(found)


@patiently
def diagnosed(client: httpx.Client) -> dict[str, object]:
    """The checks of the page, once they have ended."""
    shown = client.get("/doctor.json").json()
    assert shown["ended_at"]
    return dict(shown)


def check_operations(client: httpx.Client) -> None:
    """The pages about the installation, beside a ``serve`` that runs."""
    recorded = client.get("/audit.json?text=%22quick-1%22").json()["entries"]
    assert {"claimed", "published"} & {entry["event"] for entry in recorded}
    assert all(entry["intact"] for entry in recorded)
    assert client.get("/inventory.json").json()["entries"] == []
    assert client.get("/sidecars.json").json()["configured"] is False
    shown = diagnosed(client)
    assert shown["problem"] == ""
    names = {check["name"]: check["state"] for check in shown["checks"]}  # type: ignore[attr-defined]
    assert names["ledger"] == names["vault: reachable"] == names["ops repo"] == "ok"
    assert "ops repo: push" not in names


@patiently
def ended(client: httpx.Client, action_id: str) -> dict[str, object]:
    found = client.get(f"/actions/{action_id}.json").json()
    assert found["action"]["result"]
    return dict(found)


def test_a_run_as_the_page_shows_it(scene: Scene) -> None:
    served = Served(scene)
    try:
        with page(scene) as client:
            merge(scene, "slow-1", "slow")
            merge(scene, "quick-1", "quick")
            runs(client, "slow-1")
            for path in ("/", "/actions/slow-1", "/actions/quick-1", "/?text=%3Cscript%3E"):
                answer = client.get(path)
                assert answer.status_code == 200
                assert live_markup(answer.text) == []

            said: dict[str, str] = {}
            for name, data in events(client, "/actions/slow-1/log"):
                said[str(data["stream"])] = str(data["text"])
                assert name == "output"
                if len(said) == 2:
                    break
            assert said == {"stdout": f"{MARKUP}\n", "stderr": "on the other stream\n"}

            token = client.get("/actions/slow-1").text.partition('name="form_token" value="')[2]
            form = {"form_token": token.partition('"')[0], "reason": "no longer wanted"}
            assert client.post("/actions/slow-1/cancel", data=form).status_code == 303
            all_results(scene, {"slow-1", "quick-1"})

            cancelled = ended(client, "slow-1")
            assert cancelled["action"]["verdict"] == "cancelled"  # type: ignore[index]
            quick = ended(client, "quick-1")
            assert quick["signature"]["state"] == "verified"  # type: ignore[index]
            assert quick["file"]["author"]  # type: ignore[index]
            log = list(events(client, "/actions/quick-1/log"))
            assert [(name, data.get("text")) for name, data in log] == [
                ("output", "done\n"),
                ("end", None),
            ]
            listed = client.get("/overview.json?state=cancelled").json()["results"]
            assert [each["action"]["id"] for each in listed] == ["slow-1"]
            check_operations(client)

            os.kill(served.process.pid, signal.SIGKILL)
            says_so(client)
    finally:
        served.end()


@patiently
def says_so(client: httpx.Client) -> None:
    assert "No dispatcher runs here" in client.get("/").text
