"""The listener: health, readiness, metrics and notices of runners, over a real socket."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import replace

import httpx
import pytest

from dispatcher.errors import Dependency, Misconfigured
from dispatcher.listener.app import App
from dispatcher.listener.serving import Listener
from dispatcher.model.health import DependencyHealth
from dispatcher.model.payload import END_NOTICE_BYTES
from dispatcher.model.verdicts import Verdict
from dispatcher.status.metrics import Metrics
from tests.support.listener_site import NOW, PUSH, WELL, Site, listening, serve, sign


@pytest.fixture
def site() -> Iterator[Site]:
    with listening() as site:
        yield site


def test_notices_of_runners_are_passed_on(site: Site) -> None:
    def post(notice: bytes) -> int:
        return httpx.post(f"{site.url}/runs/ended", content=notice, timeout=10).status_code

    assert post(b"genuine") == 202
    assert post(b"forged") == 403
    assert post(b"x" * (END_NOTICE_BYTES + 1)) == 413
    assert site.get("/runs/ended").status_code == 405


def test_a_warning_is_in_the_body_and_changes_no_answer(site: Site) -> None:
    site.health = replace(WELL, warnings=("a job was changed",))
    for path in ("/healthz", "/readyz"):
        answer = site.get(path)
        assert answer.status_code == 200
        assert answer.json()["warnings"] == ["a job was changed"]


def test_health_names_what_is_down_and_since_when(site: Site) -> None:
    down = DependencyHealth(
        dependency=Dependency.FORGE, up=False, since=NOW - 60, error="no answer"
    )
    site.health = replace(WELL, dependencies=(*WELL.dependencies, down))
    answer = site.get("/healthz")
    assert answer.status_code == 200  # the loop turns; restarting it would mend nothing
    forge = answer.json()["dependencies"][1]
    assert forge == {
        "dependency": "forge",
        "up": False,
        "since": "2030-03-17T17:45:40.000Z",
        "error": "no answer",
    }
    assert answer.json()["waiting"] == {"approval": 3}
    assert site.get("/readyz").status_code == 503


def test_a_stuck_loop_is_not_alive(site: Site) -> None:
    site.health = replace(WELL, beat_at=NOW - 61, started_at=NOW - 1000)
    assert site.get("/healthz").status_code == 503
    assert site.get("/readyz").status_code == 503


def test_a_follower_is_alive_and_not_ready(site: Site) -> None:
    site.health = replace(WELL, leader=False, holder="other:1")
    assert site.get("/healthz").status_code == 200
    assert site.get("/readyz").status_code == 503
    assert site.get("/readyz").json()["holder"] == "other:1"


def test_ready_when_leading_with_everything_up(site: Site) -> None:
    assert site.get("/readyz").status_code == 200


def test_metrics_have_closed_labels_and_the_right_numbers(site: Site) -> None:
    site.metrics.run_ended(Verdict.SUCCEEDED, seconds=2.0)
    site.metrics.run_ended(Verdict.REFUSED)
    site.metrics.pushed(results=5)
    site.metrics.tick(0.01)
    body = json.dumps(PUSH).encode()
    site.post(body, X_Forgejo_Signature=sign(body))
    site.post(body)
    text = site.get("/metrics").text
    for line in (
        'disinto_runs_ended_total{verdict="succeeded"} 1.0',
        'disinto_runs_ended_total{verdict="refused"} 1.0',
        'disinto_runs_ended_total{verdict="lost"} 0.0',
        "disinto_run_seconds_count 1.0",
        "disinto_results_pushed_total 5.0",
        "disinto_result_commits_total 1.0",
        'disinto_webhooks_total{outcome="look"} 1.0',
        'disinto_webhooks_total{outcome="forged"} 1.0',
        "disinto_runs_in_flight 2.0",
        'disinto_actions_waiting{reason="approval"} 3.0',
        'disinto_dependency_up{dependency="remote"} 1.0',
        "disinto_forge_calls 7.0",
        "disinto_leader 1.0",
    ):
        assert line in text.splitlines()


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 404),
        ("GET", "/hooks/push", 405),
        ("PUT", "/hooks/push", 405),
        ("POST", "/healthz", 405),
        ("GET", "/metrics/../healthz/", 404),
        ("HEAD", "/healthz", 200),
    ],
)
def test_pages_that_are_not_there(site: Site, method: str, path: str, status: int) -> None:
    assert httpx.request(method, site.url + path, timeout=10).status_code == status


def test_the_listener_stops_and_frees_its_port() -> None:
    site = Site()
    with serve(site, None) as listener:
        port = listener.port
        with httpx.Client(base_url=site.url) as kept_open:
            assert kept_open.get("/healthz").status_code == 200
            listener.__exit__(None, None, None)
    assert not [t for t in threading.enumerate() if t.name == "web"]
    again = Site()
    with Listener(
        App(health=lambda: WELL, metrics=again.metrics, wake=lambda: None, hook=None),
        listen=f"127.0.0.1:{port}",
    ):
        assert httpx.get(f"http://127.0.0.1:{port}/", timeout=10).status_code == 404


@pytest.mark.parametrize("listen", ["", "8480", "localhost:x", "256.0.0.1:80", "127.0.0.1:99999"])
def test_a_bad_address_is_a_mistake_of_the_settings(listen: str) -> None:
    with pytest.raises(Misconfigured):
        Listener(
            App(health=lambda: WELL, metrics=Metrics(), wake=lambda: None, hook=None),
            listen=listen,
        )
