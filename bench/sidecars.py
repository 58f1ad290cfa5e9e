"""Issues of a project on the small forge: a pass over 10,000 of them, a later one, label to run."""

from __future__ import annotations

import json
import time
import tracemalloc
from datetime import datetime

from bench.arrivals import Arrivals
from bench.figures import Figure, median, percentile
from bench.stage import Stage, served
from dispatcher.devservers.issue_forge import IssueForge
from dispatcher.devservers.issue_forge_server import post_to, serving
from dispatcher.devservers.ports import free_port
from dispatcher.devservers.scene import Scene
from dispatcher.forge.exchange import Exchange
from dispatcher.forge.issues import IssuesApi
from dispatcher.sidecar.reading import ProjectIssues

ISSUES = 10_000
LABELS = 20
GOAL_S = 1.0
NAME = "own/app"
WEBHOOK_SECRET = "a secret of more than sixteen bytes"
RULES = f"""
[projects.app]
repository = "{NAME}"
bot = "reader"
runs_per_day = 1000
[rules.hello]
formula = "hello"
labels = ["bug"]
max_concurrent = 1000
"""


def measure(stage: Stage, *, issues: int = ISSUES, labels: int = LABELS) -> list[Figure]:
    """Over HTTP on the loopback; the local engine."""
    return [*_passes(issues), *_label_to_run(stage, labels)]


def _passes(issues: int) -> list[Figure]:
    forge = IssueForge()
    forge.repository(NAME)
    forge.fill(NAME, issues, "bug")
    with serving(forge) as url:
        exchange = Exchange(
            url=url,
            token=forge.account("own"),
            cacert=None,
            timeout_s=30,
            token_source="TOKEN",
            transport=None,
        )
        project = ProjectIssues(
            reads=IssuesApi(exchange, NAME), relevant=lambda labels: "bug" in labels
        )
        began = time.monotonic()
        project.read()
        first_s, calls = time.monotonic() - began, exchange.calls
        fields = {"title": "changed"}
        time.sleep(6)  # the pass after this one no longer overlaps the making of the issues
        project.read()
        forge.answer("PATCH", f"/repos/{NAME}/issues/1", fields, token=forge.account("own"))
        before, began = exchange.calls, time.monotonic()
        project.read()
        later_ms, later_calls = (time.monotonic() - began) * 1e3, exchange.calls - before
        tracemalloc.start()
        project.complete = False
        project.read()
        kept, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        exchange.close()
    return [
        Figure(
            name="sidecars_first",
            what=f"first pass over {issues:,} open issues, all of which a rule may apply to",
            goal="50 issues per call",
            measured=f"{calls} calls, {first_s:.1f} s, {kept / 2**20:.1f} MiB kept, "
            f"{peak / 2**20:.1f} MiB at most",
            reached=calls <= issues / 50 + 1,
            values={"calls": calls, "s": first_s, "kept_b": kept, "peak_b": peak},
        ),
        Figure(
            name="sidecars_later",
            what="a later pass, in which one issue changed",
            goal="1 call",
            measured=f"{later_calls} call, {later_ms:.0f} ms",
            reached=later_calls == 1,
            values={"calls": later_calls, "ms": later_ms},
        ),
    ]


def _label_to_run(stage: Stage, labels: int) -> list[Figure]:
    forge, port = IssueForge(secret=WEBHOOK_SECRET.encode()), free_port()
    forge.repository(NAME)
    token = forge.account("own")
    with serving(forge) as url:
        rules = stage.folder / "sidecars.toml"
        rules.write_text(RULES)
        scene = stage.scene(
            forge={"url": url},
            sidecars={"file": str(rules), "poll_interval_s": 300.0},
            http={"listen": f"127.0.0.1:{port}"},
        )
        scene.environ |= {
            "DISINTO_SIDECAR_TOKEN": token,
            "DISINTO_WEBHOOK_SECRET": WEBHOOK_SECRET,
        }
        forge.hook = post_to(f"http://127.0.0.1:{port}/hooks/push")
        made = forge.answer("POST", f"/repos/{NAME}/labels", {"name": "bug"}, token=token)[1]
        labelled: dict[str, float] = {}
        written: dict[str, float] = {}
        with served(scene), Arrivals(scene.remote) as arrivals:
            for number in range(1, labels + 2):
                forge.answer("POST", f"/repos/{NAME}/issues", {"title": "t"}, token=token)
                time.sleep(1.5)  # its own event has been looked at
                path = f"/repos/{NAME}/issues/{number}/labels"
                action_id = f"hello-app-{number}-1"
                labelled[action_id] = time.time()
                forge.answer("POST", path, {"labels": [made["id"]]}, token=token)
                arrivals.wait(number, timeout_s=60)
                written[action_id] = arrivals.moved_after(labelled[action_id])
    del written["hello-app-1-1"]  # the first one starts the dispatcher, too
    to_git = [at - labelled[action_id] for action_id, at in written.items()]
    running = _running(scene)
    to_engine = [running[action_id] - labelled[action_id] for action_id in written]
    results = scene.results()
    to_start = [
        datetime.fromisoformat(results[action_id]["started_at"]).timestamp() - labelled[action_id]
        for action_id in written
    ]
    p50, p95 = median(to_git), percentile(to_git, 95)
    return [
        Figure(
            name="sidecars_label",
            what=f"label to its action in git, with the webhook, {labels} one by one",
            goal=f"p95 under {GOAL_S:g} s",
            measured=f"p50 {p50:.2f} s, p95 {p95:.2f} s",
            reached=p95 < GOAL_S,
            values={"p50_s": p50, "p95_s": p95, "max_s": max(to_git)},
        ),
        Figure(
            name="sidecars_dispatch",
            what="label to its run handed to the engine, the same",
            goal=f"p95 under {GOAL_S:g} s",
            measured=f"p50 {median(to_engine):.2f} s, p95 {percentile(to_engine, 95):.2f} s",
            reached=percentile(to_engine, 95) < GOAL_S,
            values={"p50_s": median(to_engine), "p95_s": percentile(to_engine, 95)},
        ),
        Figure(
            name="sidecars_start",
            what="label to the start of the formula, the same",
            goal="",
            measured=f"p50 {median(to_start):.2f} s, p95 {percentile(to_start, 95):.2f} s",
            reached=None,
            values={"p50_s": median(to_start), "p95_s": percentile(to_start, 95)},
        ),
    ]


def _running(scene: Scene) -> dict[str, float]:
    """When the dispatcher logged that the engine has a run, seconds since the epoch, by action id."""
    lines = (scene.root / "serve.log").read_text().splitlines()
    entries = [json.loads(line) for line in lines if line.startswith("{")]
    return {
        entry["action"]: datetime.fromisoformat(entry["timestamp"]).timestamp()
        for entry in entries
        if entry["event"] == "running"
    }
