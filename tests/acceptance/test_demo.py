"""``make demo`` and ``make demo-nomad``: they end well, and leave nothing behind."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
import tenacity

from tests.servers.nomad import Nomad

ROOT = Path(__file__).parents[2]


def play(folder: Path, *words: str, **more: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "dispatcher.demo", *words],
        env={"PATH": os.environ["PATH"], "HOME": str(folder), "TMPDIR": str(folder), **more},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "No secret is in the repository." in done.stdout
    assert list(folder.iterdir()) == [], "a demo leaves no files"
    return done.stdout


def check_issue(told: str) -> None:
    """The label of an issue became a run, and that one comment and another label."""
    assert "its label bug-report started vault/actions/reproduce-shop-1-1.toml" in told
    assert "labels: bug-report, in-triage\n" in told
    assert told.count("comment by disinto:") == told.count(" comment by ") == 1
    assert "reproduced" in told.partition("comment by disinto:")[2]


@pytest.mark.needs("bao", "git")
def test_the_demo(tmp_path: Path) -> None:
    told = play(tmp_path)
    check_issue(told)
    assert re.search(r"The web page of all this: http://127\.0\.0\.1:\d+/enter/\S+\n", told)
    assert "make demo STAY=1 keeps it up" in told


@pytest.mark.needs("bao", "git")
@pytest.mark.thorough
def test_a_demo_that_stays_shows_its_page_until_ctrl_c(tmp_path: Path) -> None:
    environ = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "TMPDIR": str(tmp_path)}
    words = (sys.executable, "-m", "dispatcher.demo", "--stay")
    with subprocess.Popen(words, env=environ, cwd=ROOT, stdout=subprocess.PIPE, text=True) as demo:
        assert demo.stdout is not None
        link = ""
        for line in demo.stdout:
            link = line.rpartition(" ")[2].strip() if "web page of all this" in line else link
            if "Ctrl-C ends it all" in line:
                break
        origin = link.partition("/enter/")[0]
        with httpx.Client(base_url=origin, headers={"Accept": "text/html"}, timeout=30) as client:
            assert client.get(link).status_code == 303
            shown = _with_results(client)
            assert {"deploy-website", "check-disks"} <= shown
            assert "rotate-keys" in client.get("/").text
            doctor = _diagnosed(client)
            assert doctor["vault: least rights of the web page"] == "ok"
        demo.send_signal(signal.SIGINT)
        demo.stdout.read()
        assert demo.wait(60) == 0
    assert list(tmp_path.iterdir()) == []


patiently = tenacity.retry(
    stop=tenacity.stop_after_delay(60), wait=tenacity.wait_fixed(0.2), reraise=True
)


@patiently
def _with_results(client: httpx.Client) -> set[str]:
    found = {each["action"]["id"] for each in client.get("/overview.json").json()["results"]}
    assert len(found) >= 6
    return found


@patiently
def _diagnosed(client: httpx.Client) -> dict[str, str]:
    shown = client.get("/doctor.json").json()
    assert shown["ended_at"]
    return {check["name"]: check["state"] for check in shown["checks"]}


@pytest.mark.needs("nomad", "bao", "git")
@pytest.mark.slow
def test_the_demo_on_a_nomad_that_is_given(nomad: Nomad, tmp_path: Path) -> None:
    if not nomad.runs_here:
        pytest.skip("the demo's runs are on this machine, and this Nomad is in a container")
    before = {job["ID"] for job in nomad.api().jobs()}
    told = play(tmp_path, "--scheduler", "nomad", **nomad.environ)
    assert "meta action_id       crawl-links" in told
    assert "are gone from Nomad" in told
    prefix = told.split("parent job ")[1].split("-runner")[0]
    assert {job["ID"] for job in nomad.api().jobs()} <= before
    assert nomad.api().variables(f"{prefix}/") == []
    assert nomad.api().acl_policy(f"{prefix}-dispatcher") is None


@pytest.mark.needs("nomad", "bao", "git")
@pytest.mark.slow
def test_the_demo_on_a_nomad_of_its_own(tmp_path: Path) -> None:
    if os.environ.get("DISINTO_CONTAINERS"):
        pytest.skip("there may be no `nomad` on PATH")
    told = play(tmp_path, "--scheduler", "nomad")
    check_issue(told)
    assert "token to sign in there" in told
