"""A person labels an issue, and it ends with comments and labels: all three rules, and whatever can go
wrong in between. Once with the small forge and the local engine, once on real servers.

The servers start once; the agent is the scripted one.
"""

from __future__ import annotations

import html
import json
import os
import re
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import tenacity

from dispatcher.devservers.issue_forge import IssueForge
from dispatcher.devservers.issue_forge_server import serving
from dispatcher.devservers.scene import Scene
from dispatcher.engines.nomad.settings import NomadSettings
from dispatcher.host import resources
from dispatcher.host.process_record import decode_record
from dispatcher.loop.signing import LOCAL_KEY
from dispatcher.model.paths import ACTIONS_PATH
from dispatcher.model.run import RunKey
from tests.servers.bao import Bao
from tests.servers.forgejo import Forgejo
from tests.servers.freeze import freeze
from tests.servers.nomad import Nomad
from tests.support.cli_process import disinto
from tests.support.evidence import operator_api, variables
from tests.support.issue_place import caller
from tests.support.serving import Served, all_results

pytestmark = pytest.mark.slow

LONGEST_S = 25
LABELS = ("bug-report", "in-triage", "in-progress", "rejected", "blocked", "try", "tried")
STANDARD = ("reproduce", "triage", "verify")
OTHERS = {
    "late": 'sleep 10; echo \'{"labels": {"add": ["tried", "bug-report"]}}\' > "$DISINTO_OUTPUTS"',
    "dies": "kill -9 $$",
    "hangs": "sleep 600",
    "vanishes": "case $DISINTO_ACTION_ID in *-1) sleep 600;; esac",
}
COOL_DOWN_S = 2
RULES = "".join(
    f"""
[rules.{name}]
formula = "{name}"
labels = ["try", "{name}"]
add_labels = ["tried"]
max_concurrent = 9
log_tail = 5
cool_down = "{f"{COOL_DOWN_S}s" if name == "vanishes" else "10m"}"
"""
    for name in OTHERS
)


@dataclass(frozen=True, kw_only=True)
class Project:
    """A repository on a forge, its owner, and how to take the forge away and bring it back."""

    url: str
    name: str
    reading: str
    reporting: str
    bot: str
    owner: Callable[..., Any]
    stop: Callable[[], None]
    resume: Callable[[], None]
    ids: dict[str, int]

    def issue(self, *labels: str, body: str = "Steps <!-- hidden -->") -> int:
        """A new issue, which somebody then labels."""
        number = self.call("POST", "/issues", {"title": "It breaks", "body": body})["number"]
        wanted = {"labels": [self.ids[name] for name in labels]}
        if labels:
            self.call("POST", f"/issues/{number}/labels", wanted)
        return int(number)

    def call(self, method: str, path: str, body: object = None) -> Any:
        return self.owner(method, f"/repos/{self.name}{path}", body)

    def labels(self, number: int) -> set[str]:
        return {label["name"] for label in self.call("GET", f"/issues/{number}")["labels"]}

    def comments(self, number: int) -> list[str]:
        return [each["body"] for each in self.call("GET", f"/issues/{number}/comments")]

    def prepare(self) -> None:
        for name in (*LABELS, *OTHERS):
            made = self.call("POST", "/labels", {"name": name, "color": "#ff0000"})
            self.ids[name] = int(made["id"])


@pytest.fixture(
    params=[
        pytest.param("local", marks=pytest.mark.needs("bao", "bwrap", "git")),
        pytest.param("nomad", marks=pytest.mark.needs("bao", "nomad", "forgejo", "git")),
    ]
)
def engine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def project(engine: str, request: pytest.FixtureRequest) -> Iterator[Project]:
    if engine == "nomad":
        project = on_forgejo(request.getfixturevalue("forge"))
        project.prepare()
        yield project
        return
    forge = IssueForge()
    forge.repository("own/app", bot="write", reader="read")
    with serving(forge) as url:
        project = Project(
            url=url,
            name="own/app",
            reading=forge.account("own"),
            reporting=forge.account("bot"),
            bot=forge.account("reader", reads_only=True),
            owner=caller(forge, "own"),
            stop=lambda: setattr(forge, "down", True),
            resume=lambda: setattr(forge, "down", False),
            ids={},
        )
        project.prepare()
        yield project


def on_forgejo(forge: Forgejo) -> Project:
    process = forge.process
    if process is None:
        pytest.skip("the forge is stopped and resumed, and this one is not ours")
    owner, bot, reader = (forge.account(name) for name in ("owner", "reporter", "reader"))
    name = owner.call("POST", "/user/repos", {"name": "app", "private": True})["full_name"]
    for account, right in ((bot, "write"), (reader, "read")):
        path = f"/repos/{name}/collaborators/{account.login}"
        owner.call("PUT", path, {"permission": right})
    reporting = ("read:user", "read:organization", "read:repository", "write:issue")
    return Project(
        url=forge.url,
        name=name,
        reading=owner.with_scopes("read:repository", "read:issue").token,
        reporting=bot.with_scopes(*reporting).token,
        bot=reader.with_scopes("read:issue").token,
        owner=owner.call,
        stop=lambda: freeze(process.pid),
        resume=lambda: os.kill(process.pid, signal.SIGCONT),
        ids={},
    )


@pytest.fixture
def scene(
    engine: str, project: Project, request: pytest.FixtureRequest, bao_server: Bao, tmp_path: Path
) -> Iterator[Scene]:
    server = bao_server.with_own_mount()
    nomad: Nomad | None = request.getfixturevalue("nomad") if engine == "nomad" else None
    if nomad is not None and not nomad.runs_here:
        pytest.skip("raw_exec wants a Nomad on this machine, and this one is in a container")
    agent = resources.path("actions/agent")
    standard = resources.text("actions/sidecars/sidecars.toml")
    rules = tmp_path / "sidecars.toml"
    rules.write_text(
        f'{standard}\n{RULES}\n[projects.app]\nrepository = "{project.name}"\nbot = "reader"\n'
    )
    formulas = {f"{name}.sh": f"#!/bin/bash\n{text}\n" for name, text in OTHERS.items()}
    for name in resources.names("actions/sidecars/formulas"):
        formulas[Path(name).name] = resources.text(name)
    command = [str(agent / "issue-agent"), "--"]
    scene = Scene.set(
        tmp_path,
        server,
        values={},
        nomad=nomad,
        settings={
            "vault": {"kv_mount": server.kv_mount},
            "forge": {"url": project.url, "timeout_s": 1.0},
            "sidecars": {"file": str(rules), "poll_interval_s": 0.5},
            "limits": {"max_run_s": LONGEST_S},
            "local": {"kill_grace_s": 0.5},
            "agent": {"command": [*command, str(agent / "scripted-agent.sh"), "verify=not_fixed"]},
            "formulas": {"classes": dict.fromkeys(STANDARD, "sidecar")},
            "jobs": {"sidecar": {"mounts": [], "memory_mb": 96, "cpu_mhz": 50}},
        },
        tiers=dict.fromkeys((*STANDARD, *OTHERS), "low"),
        formulas=formulas,
    )
    scene.environ |= {
        "DISINTO_SIDECAR_TOKEN": project.reading,
        "DISINTO_SIDECAR_REPORT_TOKEN": project.reporting,
    }
    with ExitStack() as after:
        after.callback(scene.clear)
        yield scene


@tenacity.retry(stop=tenacity.stop_after_delay(60), wait=tenacity.wait_fixed(0.2), reraise=True)
def until(holds: Callable[[], object]) -> None:
    value = holds()
    assert value, value


def row_of(project: Project, number: int, rule: str) -> list[str]:
    """The cells of a rule's comment; [] before there is one. There is never a second comment."""
    marker = f"<!-- disinto: sidecar {rule} attempt "
    bodies = [body for body in project.comments(number) if body.startswith(marker)]
    assert len(bodies) <= 1, bodies
    match = re.search(rf"^\| `{rule}` \| (.*) \|$", "".join(bodies), re.MULTILINE)
    return html.unescape(match[1]).split(" | ") if match else []


@tenacity.retry(stop=tenacity.stop_after_delay(60), wait=tenacity.wait_fixed(0.2), reraise=True)
def shows(project: Project, number: int, rule: str, cells: list[str]) -> None:
    """Wait until a rule's comment begins with these cells."""
    assert row_of(project, number, rule)[: len(cells)] == cells


def test_issues_end_with_comments_and_labels(scene: Scene, project: Project) -> None:
    arguments = ("--config", str(scene.config))
    said = disinto(
        "secrets", "put", "--bot", "reader", *arguments, env=scene.operator, stdin=project.bot
    )
    assert said.code == 0, said.err
    with ExitStack() as after:
        serve = Served(scene)
        after.callback(serve.kill)
        serve.until("leading")

        bug = project.issue("bug-report")
        cancelled = project.issue("try", "hangs")
        late = project.issue("try", "late")

        # the label is removed during the run, and a run is stopped
        until(lambda: in_git(scene, f"late-app-{late}-1"))
        standby = Served(scene, name="standby", environ=of_another_machine(scene))
        after.callback(standby.kill)
        standby.until("waiting_for_lead")
        if scene.nomad is not None:
            shown_where_it_waits(scene, standby.process.pid, leader=serve.process.pid)
        project.call("DELETE", f"/issues/{late}/labels/{project.ids['try']}")
        stop(scene, f"hangs-app-{cancelled}-1")
        hangs, dies = project.issue("try", "hangs"), project.issue("try", "dies")
        vanishes = project.issue("try", "vanishes")
        lose(scene, f"vanishes-app-{vanishes}-1")
        shows(project, vanishes, "vanishes", ["1", "lost"])

        # reproduce sets in-triage, and triage in-progress
        until(lambda: project.labels(bug) == {"bug-report", "in-progress"})
        assert row_of(project, bug, "reproduce")[:3] == ["1", "succeeded", "reproduced"]
        shows(project, bug, "triage", ["1", "succeeded", "planned"])
        # a sub-issue that is closed has it verified
        sub = project.issue(body=f"Decomposed from #{bug}")
        project.call("PATCH", f"/issues/{sub}", {"state": "closed"})

        shows(project, bug, "verify", ["1", "succeeded", "not_fixed"])
        assert project.labels(bug) == {"bug-report", "in-triage"}
        shows(project, late, "late", ["1", "succeeded"])
        assert project.labels(late) == {"late"}
        assert "labels were changed meanwhile" in project.comments(late)[0]
        shows(project, dies, "dies", ["1", "failed"])
        shows(project, hangs, "hangs", ["1", "timed_out"])
        shows(project, cancelled, "hangs", ["1", "cancelled"])
        shows(project, vanishes, "vanishes", ["2", "succeeded"])
        assert {len(project.comments(n)) for n in (late, dies, hangs, cancelled, vanishes)} == {1}

        # the forge is down when the run ends, and the dispatcher dies before it can report
        second = project.issue("try", "late")
        action_id = f"late-app-{second}-1"
        until(lambda: in_git(scene, action_id))
        project.stop()
        try:
            all_results(scene, [action_id])
            until(lambda: any(e["action"] == action_id for e in serve.events("report_failed")))
            if scene.nomad is not None:  # nothing of it is left but what git has
                until(lambda: f"claims/{action_id}" not in variables(scene))
            serve.kill()
        finally:
            project.resume()
        standby.until("leading")
        until(lambda: project.labels(second) == {"try", "late", "tried"})
        shows(project, second, "late", ["1", "succeeded"])
        assert (
            "Dropped: bug-report (the rule does not allow adding it)."
            in project.comments(second)[0]
        )
        standby.end()
    check_evidence(scene, project, bug)
    check_pause(scene, f"vanishes-app-{vanishes}")


def shown_where_it_waits(scene: Scene, pid: int, *, leader: int) -> None:
    """``status`` on the machine of a dispatcher that waits names it, and who leads."""
    environ = {**scene.environ, "DISINTO_STATE_DIR": str(scene.root / "standby")}
    said = disinto("status", "--json", "--config", str(scene.config), env=environ)
    shown = json.loads(said.out)["standby"]
    assert shown["name"].endswith(f":{pid}")
    assert str(leader) in shown["holder"]


def of_another_machine(scene: Scene) -> dict[str, str]:
    """The environment of a dispatcher that shares nothing with the first one but the ledger and the key
    that signs. The local engine's ledger is in the state directory: there it shares that.
    """
    if scene.nomad is None:
        return {}
    own, shared = scene.root / "standby", scene.open_settings().state_dir / LOCAL_KEY
    own.mkdir(mode=0o700)
    shutil.copy(shared, own / LOCAL_KEY)
    return {"DISINTO_STATE_DIR": str(own)}


def check_evidence(scene: Scene, project: Project, bug: int) -> None:
    """Nothing of an issue's text and no token is in git, and each rule ran once."""
    everything = scene.git("log", "-p", "main", cwd=scene.remote)
    for text in ("hidden", project.bot, project.reporting, project.reading):
        assert text not in everything
    results = scene.results()
    assert len(results[f"reproduce-app-{bug}-1"]["outputs"]["issue"]["cleaned_sha256"]) == 64
    assert sorted(i for i in results if f"-app-{bug}-" in i) == [
        f"{rule}-app-{bug}-1" for rule in STANDARD
    ]
    assert json.dumps(results).count("[redacted:FORGE_TOKEN]") == 0


def check_pause(scene: Scene, run: str) -> None:
    """After a run that was lost the next one waited for twice the cool-down."""
    first, second = (scene.results()[f"{run}-{attempt}"] for attempt in (1, 2))
    assert first["verdict"] == "lost"
    begun, ended = (datetime.fromisoformat(at) for at in (second["started_at"], first["timestamp"]))
    assert (begun - ended).total_seconds() >= 2 * COOL_DOWN_S


def in_git(scene: Scene, action_id: str) -> bool:
    return f"/{action_id}.toml" in scene.git("ls-tree", "-r", "main", cwd=scene.remote)


def stop(scene: Scene, action_id: str) -> None:
    """Stop a run: in Nomad itself, or by a command."""
    if scene.nomad is None:
        until(lambda: in_git(scene, action_id))
        said = disinto("cancel", action_id, "--config", str(scene.config), env=scene.environ)
        assert said.code == 0, said.err
        return
    stop_job(scene, action_id)


def stop_job(scene: Scene, action_id: str, *, purge: bool = False) -> None:
    """Stop a run's job in Nomad; ``purge``: and forget it."""
    api = operator_api(scene)
    prefix = f"{scene.open_settings().section(NomadSettings).ledger_prefix}-runner"

    def running() -> list[str]:
        jobs = api.jobs(prefix=prefix, meta=True)
        return [
            job["ID"]
            for job in jobs
            if (job.get("Meta") or {}).get("action_id") == action_id and job["Status"] == "running"
        ]

    until(running)
    api.stop(running()[0], purge=purge)
    api.close()


def lose(scene: Scene, action_id: str) -> None:
    """Have the engine lose a run whose formula has begun: its job is purged, or its runner killed."""
    until(lambda: formula_runs(scene, action_id))
    if scene.nomad is not None:
        stop_job(scene, action_id, purge=True)
        return
    (spool,) = (scene.open_settings().state_dir / "runs").glob(f"{action_id}.*")
    os.kill(decode_record((spool / "lock").read_bytes()).pid, signal.SIGKILL)


def formula_runs(scene: Scene, action_id: str) -> bool:
    """Whether a process of this machine is the formula of an action. Other tests may have one of the same
    id at the same time, but none with the same bytes: ours are signed.
    """
    if not in_git(scene, action_id):
        return False
    blob = scene.git("rev-parse", f"main:{ACTIONS_PATH}/{action_id}.toml", cwd=scene.remote).strip()
    wanted = f"DISINTO_RUN_KEY={RunKey(action_id=action_id, blob=blob).token}".encode()
    for environ in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):
            if wanted in environ.read_bytes().split(b"\0"):
                return True
    return False
