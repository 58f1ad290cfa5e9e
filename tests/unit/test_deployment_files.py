"""The files for systemd, Prometheus, Grafana and Docker speak of what exists."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import yaml

from dispatcher.errors import Dependency
from dispatcher.listener import probe
from dispatcher.listener.app import App
from dispatcher.listener.hooks import Outcome
from dispatcher.model.health import WaitingFor
from dispatcher.model.verdicts import Verdict
from dispatcher.status.metrics import Metrics
from tests.support.listener_site import WELL

ROOT = Path(__file__).parents[2]
UNIT = ROOT / "jobs" / "systemd" / "disinto.service"
RULES = ROOT / "jobs" / "prometheus" / "disinto.rules.yml"
DASHBOARD = ROOT / "jobs" / "grafana" / "disinto.json"
METRIC = re.compile(r"\bdisinto_[a-z_]+")
LABELLED = re.compile(r'\b(verdict|reason|outcome|dependency)=~?"([^"]*)"')
VALUES = {
    "verdict": set(Verdict),
    "reason": set(WaitingFor),
    "outcome": set(Outcome),
    "dependency": set(Dependency),
}


def expressions() -> list[str]:
    rules = yaml.safe_load(RULES.read_text())
    dashboard = json.loads(DASHBOARD.read_text())
    return [rule["expr"] for group in rules["groups"] for rule in group["rules"]] + [
        target["expr"] for panel in dashboard["panels"] for target in panel["targets"]
    ]


def exported() -> set[str]:
    metrics = Metrics()
    App(health=lambda: WELL, metrics=metrics, wake=lambda: None, hook=None)
    metrics.watch(lambda: WELL, forge_calls=lambda: 1)
    text = metrics.text().decode()
    return set(re.findall(r"^(disinto_[a-z_]+)", text, re.MULTILINE))


@pytest.mark.parametrize("expression", expressions())
def test_alerts_and_panels_ask_for_metrics_that_are_exported(expression: str) -> None:
    names = METRIC.findall(expression)
    assert names
    assert set(names) <= exported()
    for label, value in LABELLED.findall(expression):
        assert set(value.split("|")) <= VALUES[label]


def test_every_alert_says_what_to_do() -> None:
    for group in yaml.safe_load(RULES.read_text())["groups"]:
        for rule in group["rules"]:
            assert rule["annotations"]["description"], rule
            assert rule["labels"]["severity"] in {"info", "warning", "critical"}


@pytest.mark.skipif(not shutil.which("promtool"), reason="no promtool on PATH")
def test_promtool_accepts_the_rules() -> None:
    subprocess.run(["promtool", "check", "rules", str(RULES)], check=True, capture_output=True)


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="no systemd-analyze on PATH")
def test_systemd_accepts_the_unit(tmp_path: Path) -> None:
    unit = tmp_path / UNIT.name
    unit.write_text(UNIT.read_text().replace("/srv/disinto/venv/bin/disinto", "/bin/true"))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(unit)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert UNIT.name not in done.stderr, done.stderr
    unit.write_text(unit.read_text().replace("KillMode=process", "KillMode=sometimes"))
    broken = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(unit)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert UNIT.name in broken.stderr


def test_the_image_installs_the_locked_requirements() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text()
    assert "--require-hashes -r requirements.lock" in dockerfile
    assert "--no-deps ." in dockerfile
    assert "!requirements.lock" in (ROOT / ".dockerignore").read_text().splitlines()


@pytest.fixture
def answering() -> Iterator[tuple[list[int], int]]:
    """A server that answers /healthz with the status in the list."""
    status = [200]

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status[0] if self.path == "/healthz" else 404)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield status, server.server_port
    server.shutdown()
    thread.join()
    server.server_close()


def test_the_probe_asks_the_listener(
    answering: tuple[list[int], int], capsys: pytest.CaptureFixture[str]
) -> None:
    status, port = answering
    assert probe.main({"DISINTO_HTTP__LISTEN": f"0.0.0.0:{port}"}) == 0
    status[0] = 503
    assert probe.main({"DISINTO_HTTP__LISTEN": f"127.0.0.1:{port}"}) == 1
    assert "503" in capsys.readouterr().err
    assert probe.main({"DISINTO_HTTP__LISTEN": "127.0.0.1:1"}) == 1
    assert "does not answer" in capsys.readouterr().err
    assert probe.main({"DISINTO_HTTP__LISTEN": ""}) == 0
