"""``make demo`` and ``make demo-nomad``: they end well, and leave nothing behind."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

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
    check_issue(play(tmp_path))


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
