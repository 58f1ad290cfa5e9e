"""Planted secrets are searched for in every sink, after successes, failures, timeouts and crashes.

Sinks: the remote's objects, the clone's objects, ledger, audit log, results, spool folders, the
dispatcher's own output, the metrics, crash files, and the arguments of every process meanwhile.
The formulas print their secrets in many forms, as careless formulas do.
"""

from __future__ import annotations

import base64
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import threading
import time
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
import tenacity

from dispatcher.devservers.ports import free_port
from dispatcher.devservers.scene import Scene
from tests.servers.bao import Bao

ROOT = Path(__file__).parents[2]
PLAIN = "canary-7d1f-plain-secret"
AWKWARD = 'canary-5e2a "quoted" & $spaced\\slashed'
KEY = "-----BEGIN CANARY KEY-----\nY2FuYXJ5LTljM2YtbGluZS1vbmU\nY2FuYXJ5LTljM2YtbGluZS10d28\n-----END CANARY KEY-----\n"

PRINT_ALL = """#!/bin/bash
echo "$PLAIN"; echo "$AWKWARD" >&2; echo "$KEY"
printf '%s' "$PLAIN" | base64; printf 'x%s' "$AWKWARD" | base64 -w0; echo
printf 'xy%s' "$KEY" | base64 -w0; echo
printf '%q\\n' "$AWKWARD"
python3 - <<'PY'
import json, os, sys, time, urllib.parse
for name in ("PLAIN", "AWKWARD", "KEY"):
    value = os.environ[name]
    print(json.dumps({name: value}), urllib.parse.quote(value), urllib.parse.quote_plus(value))
    for character in value:  # split over many writes
        sys.stdout.write(character); sys.stdout.flush()
    print()
PY
"""
ENDINGS = {
    "succeeds": "exit 0\n",
    "fails": "exit 4\n",
    "hangs": "sleep 300\n",
    "crashes": "kill -SEGV $$\n",
}


def forms() -> dict[str, bytes]:
    """What must be found nowhere."""
    found: dict[str, bytes] = {}
    for name, value in {"PLAIN": PLAIN, "AWKWARD": AWKWARD, "KEY": KEY}.items():
        found[name] = value.encode()
        found[f"{name} as JSON"] = json.dumps(value)[1:-1].encode()
        found[f"{name} in a URL"] = urllib.parse.quote(value).encode()
        found[f"{name} for a shell"] = shlex.quote(value).encode()
        for shift in range(3):
            encoded = base64.b64encode(b"x" * shift + value.encode())
            found[f"{name} in base64, shifted by {shift}"] = encoded[4 : len(encoded) // 4 * 4 - 4]
    for number, line in enumerate(KEY.splitlines()[1:3]):
        found[f"line {number} of KEY"] = line.encode()
    return found


@pytest.fixture
def scene(bao_server: Bao, tmp_path: Path) -> Scene:
    server = bao_server.with_own_mount()
    scene = Scene.set(
        tmp_path,
        server,
        values={"PLAIN": PLAIN, "AWKWARD": AWKWARD, "KEY": KEY},
        settings={
            "vault": {"kv_mount": server.kv_mount},
            "limits": {"max_run_s": 3},
            "local": {"kill_grace_s": 1.0},
            "http": {"listen": f"127.0.0.1:{free_port()}"},
        },
        tiers=dict.fromkeys(ENDINGS, "low"),
        formulas={f"{name}.sh": PRINT_ALL + ending for name, ending in ENDINGS.items()},
    )
    scene.merge(
        {
            f"vault/actions/{name}.toml": f'id = "{name}"\nformula = "{name}"\ncontext = ""\n'
            'secrets = ["PLAIN", "AWKWARD", "KEY"]\n'
            for name in ENDINGS
        },
        "Add all",
    )
    return scene


@contextmanager
def arguments_watched() -> Iterator[set[bytes]]:
    """Collects the arguments of every process on this machine meanwhile."""
    seen: set[bytes] = set()
    over = threading.Event()

    def look() -> None:
        while not over.wait(0.005):
            for process in Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    seen.add(process.read_bytes())
                except OSError:
                    continue

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield seen
    finally:
        over.set()
        thread.join()


@contextmanager
def serving(scene: Scene, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "dispatcher", "--config", str(scene.config), "serve"],
            env={**scene.environ, "DISINTO_LOG_LEVEL": "debug"},
            cwd=ROOT,
            stdout=output,
            stderr=output,
        )
        try:
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(30)


@tenacity.retry(stop=tenacity.stop_after_delay(60), wait=tenacity.wait_fixed(0.2), reraise=True)
def all_results(scene: Scene) -> dict[str, str]:
    results = scene.results()
    assert set(results) == set(ENDINGS)
    return {name: result["verdict"] for name, result in results.items()}


@tenacity.retry(stop=tenacity.stop_after_delay(30), wait=tenacity.wait_fixed(0.02), reraise=True)
def something_runs(scene: Scene) -> None:
    assert list((scene.open_settings().state_dir / "runs").glob("*/stdout.log"))


def sinks(scene: Scene) -> Iterator[tuple[str, bytes]]:
    """Every byte that anybody but the vault and the formula keeps."""
    state = scene.open_settings().state_dir
    repositories = [r for r in (scene.remote, state / "ops.git") if r.exists()]
    for repository in repositories:
        objects = subprocess.run(
            ["git", "cat-file", "--batch-all-objects", "--batch"],
            cwd=repository,
            capture_output=True,
            check=True,
        )
        yield f"objects of {repository.name}", objects.stdout
    for file in scene.root.rglob("*"):
        if file.is_file() and not file.is_relative_to(scene.desk):
            yield str(file.relative_to(scene.root)), file.read_bytes()


@pytest.mark.parametrize("crash", [False, True], ids=["in peace", "with a kill in the middle"])
def test_no_secret_is_in_any_sink(scene: Scene, *, crash: bool) -> None:
    log = scene.root / "serve.log"
    with arguments_watched() as arguments:
        if crash:
            with serving(scene, log) as process:
                something_runs(scene)
                os.kill(process.pid, signal.SIGKILL)
        with serving(scene, log):
            verdicts = all_results(scene)
            address = scene.open_settings().http.listen
            metrics = httpx.get(f"http://{address}/metrics").content
            health = httpx.get(f"http://{address}/healthz").content
    assert verdicts == {
        "succeeds": "succeeded",
        "fails": "failed",
        "hangs": "timed_out",
        "crashes": "failed",
    }
    everything = dict(sinks(scene))
    everything |= {"arguments": b"\n".join(arguments), "metrics": metrics, "healthz": health}
    found = [
        f"{form} in {sink}"
        for form, needle in forms().items()
        for sink, data in everything.items()
        if needle in data
    ]
    assert found == []
    logs = [data for sink, data in everything.items() if sink.endswith("stdout.log")]
    assert len(logs) == len(ENDINGS)
    assert all(b"[redacted:PLAIN]" in data for data in logs), "the formulas did print"
    assert not _tokens(everything), "no Vault token either"


def _tokens(everything: dict[str, bytes]) -> list[str]:
    token = re.compile(rb"\b(?:hv)?[sb]\.[A-Za-z0-9]{24,}")
    return [sink for sink, data in everything.items() if token.search(data)]


def test_the_search_finds_what_is_there(scene: Scene, tmp_path: Path) -> None:
    """The test above can fail."""
    (scene.root / "leak.log").write_text(f"oops {urllib.parse.quote(AWKWARD)}")
    leak = dict(sinks(scene))["leak.log"]
    assert any(needle in leak for needle in forms().values())
    with arguments_watched() as arguments:
        sleeper = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(20)", PLAIN])
        until = time.monotonic() + 15
        while not any(PLAIN.encode() in line for line in tuple(arguments)):
            assert time.monotonic() < until
        sleeper.kill()
        sleeper.wait()
