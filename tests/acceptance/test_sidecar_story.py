"""An issue is labelled, and becomes one run: on each engine, on the small forge and on a real one.

The formula is a script that stands in for an agent.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import tenacity

from dispatcher.devservers.issue_forge import IssueForge
from dispatcher.devservers.issue_forge_server import post_to, serving
from dispatcher.devservers.ports import free_port
from dispatcher.devservers.scene import Scene
from tests.servers.bao import Bao
from tests.servers.forgejo import Account, Forgejo
from tests.servers.nomad import Nomad
from tests.support.issue_place import caller
from tests.support.serving import ROOT, Served, all_results

SECRET = "a secret of more than sixteen bytes"
TRIAGE = """#!/bin/bash
echo "issue $(jq -r .issue_number <<<"$DISINTO_PARAMS") of $(jq -r .repository <<<"$DISINTO_PARAMS")"
echo '{"outcome": "triaged"}' > "$DISINTO_OUTPUTS"
""".replace("jq -r .issue_number", "grep -o '\"issue_number\":[ 0-9]*'").replace(
    "jq -r .repository", "grep -o '\"repository\":[^,}]*'"
)
RULES = """
[projects.app]
repository = "{repository}"
bot = "reader"
[rules.triage]
formula = "triage"
labels = ["bug-report"]
without_labels = ["blocked"]
add_labels = ["in-progress"]
max_concurrent = 5
"""


@dataclass(frozen=True, kw_only=True)
class Project:
    """A repository on a forge, and accounts that call its API: method, path, body."""

    url: str
    name: str
    token: str
    owner: Callable[..., Any]
    stranger: Callable[..., Any]
    hook: Callable[[str], None]

    def issue(self, title: str = "It is broken") -> int:
        fields = {"title": title, "body": "$(touch /tmp/pwned) {{7*7}}"}
        return int(self.stranger("POST", f"/repos/{self.name}/issues", fields)["number"])

    def label(self, number: int, label: int) -> None:
        self.owner("POST", f"/repos/{self.name}/issues/{number}/labels", {"labels": [label]})

    def make_label(self, name: str) -> int:
        fields = {"name": name, "color": "#ff0000"}
        return int(self.owner("POST", f"/repos/{self.name}/labels", fields)["id"])


@pytest.fixture(
    params=[
        pytest.param("local", marks=pytest.mark.needs("bao", "bwrap", "ssh-keygen")),
        pytest.param("nomad", marks=pytest.mark.needs("bao", "nomad", "forgejo", "ssh-keygen")),
    ]
)
def engine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def project(engine: str, request: pytest.FixtureRequest) -> Iterator[Project]:
    if engine == "nomad":
        yield on_forgejo(request.getfixturevalue("forge"))
        return
    forge = IssueForge(secret=SECRET.encode())
    forge.repository("own/app")

    def hook(url: str) -> None:
        forge.hook = post_to(url)

    with serving(forge) as url:
        yield Project(
            url=url,
            name="own/app",
            token=forge.account("own"),
            owner=caller(forge, "own"),
            stranger=caller(forge, "strange"),
            hook=hook,
        )


def on_forgejo(forge: Forgejo) -> Project:
    owner, stranger = forge.account("owner"), forge.account("stranger")
    name = owner.call("POST", "/user/repos", {"name": "app", "auto_init": True})["full_name"]

    def hook(url: str) -> None:
        config = {"url": url, "content_type": "json", "secret": SECRET}
        events = ["issues", "issue_label", "issue_comment"]
        fields = {"type": "forgejo", "config": config, "events": events, "active": True}
        owner.call("POST", f"/repos/{name}/hooks", fields)

    return Project(
        url=forge.url,
        name=name,
        token=owner.with_scopes("read:repository", "read:issue").token,
        owner=_calls(owner),
        stranger=_calls(stranger),
        hook=hook,
    )


def _calls(account: Account) -> Callable[..., Any]:
    return account.call


@pytest.fixture
def scene(
    engine: str, project: Project, request: pytest.FixtureRequest, bao_server: Bao, tmp_path: Path
) -> Iterator[Scene]:
    server = bao_server.with_own_mount()
    nomad: Nomad | None = request.getfixturevalue("nomad") if engine == "nomad" else None
    if nomad is not None and not nomad.runs_here:
        pytest.skip("raw_exec wants a Nomad on this machine, and this one is in a container")
    port = free_port()
    rules = tmp_path / "sidecars.toml"
    rules.write_text(RULES.format(repository=project.name))
    scene = Scene.set(
        tmp_path,
        server,
        values={},
        nomad=nomad,
        settings={
            "vault": {"kv_mount": server.kv_mount},
            "forge": {"url": project.url},
            "sidecars": {"file": str(rules), "poll_interval_s": 300.0},  # the webhook hurries it
            "http": {"listen": f"127.0.0.1:{port}"},
        },
        tiers={"triage": "low"},
        formulas={"triage.sh": TRIAGE},
    )
    scene.environ |= {
        "DISINTO_SIDECAR_TOKEN": project.token,
        "DISINTO_WEBHOOK_SECRET": SECRET,
    }
    project.hook(f"http://127.0.0.1:{port}/hooks/push")
    with ExitStack() as after:
        after.callback(scene.clear)
        yield scene


def written(scene: Scene) -> dict[str, float]:
    """When each action was committed, by id."""
    log = scene.git(
        "log", "--diff-filter=A", "--name-only", "--format=@%ct", "main", "--", "vault/actions",
        cwd=scene.remote,
    )  # fmt: skip
    found, at = {}, 0.0
    for line in log.splitlines():
        if line.startswith("@"):
            at = float(line[1:])
        elif line.endswith(".toml"):
            found[Path(line).stem] = at
    return found


@tenacity.retry(stop=tenacity.stop_after_delay(60), wait=tenacity.wait_fixed(0.05), reraise=True)
def until_written(scene: Scene, *ids: str) -> None:
    assert set(written(scene)) == set(ids)


def disinto(scene: Scene, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "dispatcher", *words, "--config", str(scene.config)],
        env={**scene.environ, "PYTHONPATH": str(ROOT)},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def planned(scene: Scene) -> dict[int, str]:
    said = disinto(scene, "sidecar", "plan", "--json")
    assert said.returncode == 0, said.stderr
    return {row["issue"]: row["why"] for row in json.loads(said.stdout)["issues"]}


def test_labels_become_runs(scene: Scene, project: Project) -> None:
    bug, blocked = project.make_label("bug-report"), project.make_label("blocked")
    first, second = project.issue(), project.issue("$(reboot)")
    assert planned(scene) == {first: "labels", second: "labels"}
    served = Served(scene)
    try:
        served.until("leading")
        project.label(first, bug)
        until_written(scene, f"triage-app-{first}-1")
        # it dies, and another one takes over
        served.kill()
        served = Served(scene, name="after-kill")
        result = all_results(scene, [f"triage-app-{first}-1"])[f"triage-app-{first}-1"]
        assert (result["verdict"], result["tier"]) == ("succeeded", "low")
        assert result["outputs"] == {"outcome": "triaged"}
        assert project.name in result["logs"]
        # what the reporter writes comes back as events, and starts nothing
        comments = f"/repos/{project.name}/issues/{first}/comments"
        project.owner("POST", comments, {"body": "the verdict"})
        project.label(first, project.make_label("in-progress"))
        # another issue is blocked; an operator starts it by hand
        project.label(second, blocked)
        assert planned(scene) == {first: "unchanged", second: "labels"}
        said = disinto(scene, "sidecar", "dispatch", "app", str(second), "triage")
        assert said.returncode == 0, said.stderr
        until_written(scene, f"triage-app-{first}-1", f"triage-app-{second}-1")
        all_results(scene, [f"triage-app-{second}-1"])
        assert disinto(scene, "sidecar", "dispatch", "app", "99", "triage").returncode == 66
        served.end()
    finally:
        served.kill()
    assert set(written(scene)) == {f"triage-app-{n}-1" for n in (first, second)}
    everything = scene.git("log", "-p", "main", cwd=scene.remote)
    assert "reboot" not in everything  # no text of an issue gets into git
    assert "pwned" not in everything


def test_label_to_dispatch(scene: Scene, project: Project) -> None:
    """How long it takes; shown with ``-s``. Nothing is asserted about the time."""
    bug = project.make_label("bug-report")
    served = Served(scene)
    took = []
    try:
        served.until("leading")
        for attempt in range(5):
            number = project.issue(f"bug {attempt}")
            began = time.monotonic()
            project.label(number, bug)
            until_written(scene, *(f"triage-app-{n}-1" for n in range(1, number + 1)))
            took.append(time.monotonic() - began)
        served.end()
    finally:
        served.kill()
    print("label to action in git:", [f"{seconds:.2f} s" for seconds in took])
