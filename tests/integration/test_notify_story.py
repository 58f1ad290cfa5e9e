"""Notifications of a dispatcher at work: on a real remote and a real OpenBao, to real servers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import tomli_w

from dispatcher.assembly import open_notifier
from dispatcher.cli.serve import notified
from dispatcher.model.run import Outcome
from dispatcher.model.verdicts import Verdict
from dispatcher.notify.notifier import Notifier
from dispatcher.notify.store import NAME, SinkState, Store
from dispatcher.operate.sink_checks import check_sinks
from dispatcher.status.tracker import Status
from tests.fakes.matrix import FakeHomeserver
from tests.servers import hooks as hooks_server
from tests.servers import mail as mail_server
from tests.servers import silent
from tests.servers.bao import Bao
from tests.servers.git_remote import GitRemote
from tests.servers.hooks import Answer, Hooks
from tests.support.cli_process import disinto
from tests.support.stage import Follower, Stage, action, eventually, path, set_stage

SECRET = "canary-of-a-sink-0123456789"
EVERYTHING = ["waits_for_approval", "failed", "invalid", "foreign_result", "dependency_down"]


class Both(Follower):
    """Keeps what a follower keeps, and hands it on."""

    def __init__(self, notifier: Notifier) -> None:
        super().__init__()
        self._notifier = notifier

    def status(self, status: Status) -> None:
        super().status(status)
        self._notifier.status(status)

    def event(self, what: str, /, **facts: object) -> None:
        super().event(what, **facts)
        self._notifier.event(what, **facts)


@pytest.fixture
def stage(bao_server: Bao, tmp_path: Path) -> Iterator[Stage]:
    stage = set_stage(tmp_path, bao_server)
    stage.scene.environ["SINK_SECRET"] = SECRET
    yield stage
    stage.stop()


@pytest.fixture
def hooks() -> Iterator[Hooks]:
    with hooks_server.serve() as server:
        yield server


def sinks(stage: Stage, *tables: dict[str, Any]) -> None:
    """Write tables [[notify]] at the end of the settings."""
    text = stage.scene.config.read_text().partition("[[notify]]")[0]
    stage.scene.config.write_text(text + "\n" + tomli_w.dumps({"notify": list(tables)}))


def webhook(url: str, name: str = "hook", **keys: Any) -> dict[str, Any]:
    base = {"name": name, "kind": "webhook", "on": EVERYTHING, "url": url}
    return {**base, "secret_env": "SINK_SECRET", "timeout_s": 1, **keys}


def open_(stage: Stage) -> Notifier:
    notifier = open_notifier(stage.scene.open_settings(), stage.scene.environ, Follower())
    assert notifier is not None
    stage.change = lambda components: notified(components, notifier)
    return notifier


@contextmanager
def serving(stage: Stage) -> Iterator[Notifier]:
    notifier = open_(stage)
    stage.watch = Both(notifier)
    with notifier:
        stage.start()
        yield notifier
        stage.stop()


@eventually
def end(stage: Stage, **facts: Any) -> None:
    (key,) = stage.scheduler.running()
    outcome = Outcome(verdict=Verdict.FAILED, exit_code=3, formula_started=True, error="oops")
    stage.scheduler.end(key, replace(outcome, **facts))


def state(stage: Stage, name: str = "hook") -> SinkState:
    store = Store(stage.scene.open_settings().state_dir)
    try:
        return store.states().get(name, SinkState(name=name))
    finally:
        store.close()


def test_every_kind_of_sink_is_told_and_no_secret_leaves(stage: Stage, hooks: Hooks) -> None:
    home = FakeHomeserver(token=SECRET, rooms={"!ops:x"})
    token = stage.scene.environ["VAULT_TOKEN"]
    slack = "/services/canary-of-a-path-0123456789"
    stage.scene.environ["SLACK"] = hooks.addr + slack
    hooks.answer = lambda call: home(call) if call.method == "PUT" else Answer()
    with mail_server.serve() as mails:
        base = {"on": EVERYTHING, "include_output": True}
        sinks(
            stage,
            webhook(hooks.addr + "/hook", include_output=True),
            {"name": "slack", "kind": "slack", "secret_env": "SLACK", **base},
            {
                "name": "matrix",
                "kind": "matrix",
                "url": hooks.addr,
                "room": "!ops:x",
                "secret_env": "SINK_SECRET",
                **base,
            },
            {
                "name": "mail",
                "kind": "smtp",
                "host": "127.0.0.1",
                "port": mails.port,
                "tls": "none",
                "sender": "disinto@example.org",
                "recipients": ["ops@example.org"],
                **base,
            },
        )
        with serving(stage):
            stage.scene.merge(
                {
                    path("danger-1"): action("danger-1", formula="danger"),
                    path("hello-1"): action("hello-1"),
                    path("wrong-1"): "id = 1\n",
                },
                "Add some",
            )
            told = f"{token} {SECRET} {hooks.addr}{slack} <!channel>\x1b[31m\u202e"
            end(stage, error=f"error: {told}", logs=f"output: {told}")
            bodies = [json.loads(hook.body) for hook in arrived(hooks, "/hook", 3)]
            texts = [json.loads(hook.body)["text"] for hook in arrived(hooks, slack, 3)]
            events = [e["body"] for e in matrix(home, 3)]
            letters = [mails.next()[0] for _ in range(3)]
    assert {(b["action"], b["condition"]) for b in bodies} == {
        ("danger-1", "waits_for_approval"),
        ("hello-1", "failed"),
        ("wrong-1", "invalid"),
    }
    (failed,) = [b for b in bodies if b["condition"] == "failed"]
    assert failed["detail"].startswith("error: [redacted:VAULT_TOKEN] [redacted:SINK_SECRET]")
    assert failed["output"].startswith("output: [redacted:VAULT_TOKEN]")
    assert (failed["formula"], failed["tier"], failed["exit_code"]) == ("hello", "low", 3)
    everything = [*map(json.dumps, bodies), *texts, *events, *map(str, letters)]
    everything.append("".join(str(m.get_content()) for m in letters))
    folder = stage.scene.open_settings().state_dir
    stored = b"".join(file.read_bytes() for file in folder.glob(f"{NAME}*"))
    for text in (*everything, stored.decode(errors="replace")):
        for secret in (token, SECRET, slack.rpartition("/")[2]):
            assert secret not in text
    for text in everything:
        assert not {"\x1b", "\u202e"} & set(text)
        assert "\\u202e" not in text
    assert any("&lt;!channel&gt;" in text for text in texts)


@eventually
def arrived(hooks: Hooks, where: str, count: int) -> list[hooks_server.Call]:
    found = [call for call in hooks.calls if call.path == where]
    assert len(found) == count
    return found


@eventually
def matrix(home: FakeHomeserver, count: int) -> list[dict[str, Any]]:
    assert len(home.events) == count
    return home.events


def test_a_dead_and_a_hanging_sink_hold_up_nothing(stage: Stage, hooks: Hooks) -> None:
    with silent.serve() as mute:
        sinks(
            stage,
            webhook("http://127.0.0.1:9/", "dead"),
            webhook(mute.addr, "mute", timeout_s=100),
            webhook(hooks.addr),
        )
        with serving(stage) as notifier:
            stage.scene.merge({path("hello-1"): action("hello-1")}, "Add one")
            end(stage)
            assert json.loads(hooks.next().body)["action"] == "hello-1"
            assert mute.asked.acquire(timeout=20), "it is being asked, and does not answer"
            assert stage.result("hello-1")["verdict"] == "failed"
            stage.at_rest()

            @eventually
            def warned() -> None:
                (warning,) = notifier.warnings()
                assert "dead have not been delivered" in warning
                assert "1 wait" in warning

            warned()
    assert (state(stage).waiting, state(stage, "mute").waiting) == (0, 1)
    settings, environ = stage.scene.open_settings(), stage.scene.environ
    checks = {c.name: c for c in check_sinks(settings, environ)}
    assert [c.ok for c in checks.values()] == [False, True, True]
    assert checks["notify: dead"].remedy.endswith("disinto notify test dead")


def test_a_sink_that_was_down_is_told_after_a_restart_and_once(stage: Stage, hooks: Hooks) -> None:
    hooks.answer = lambda _call: Answer(status=503)
    sinks(stage, webhook(hooks.addr))
    with serving(stage):
        stage.scene.merge(
            {path("danger-1"): action("danger-1", formula="danger")}, "Add one that waits"
        )
        refused = json.loads(hooks.next().body)
    hooks.answer = lambda _call: Answer()
    hooks.calls.clear()
    for _ in range(2):
        with serving(stage):
            delivered(stage, 1)
            waiting(stage, "danger-1")
    ids = [json.loads(call.body)["id"] for call in hooks.calls]
    assert ids == [refused["id"]]
    assert hooks.calls[0].headers["webhook-id"] == refused["id"]


@eventually
def delivered(stage: Stage, count: int) -> None:
    assert state(stage).sent == count


@eventually
def waiting(stage: Stage, action_id: str) -> None:
    assert stage.watch.last is not None
    assert action_id in [wait.action_id for wait in stage.watch.last.plan.waits]


def test_nothing_is_let_go_that_was_not_written_down(stage: Stage, hooks: Hooks) -> None:
    """The notifier's thread never runs, as if the process died before it did anything."""
    sinks(stage, webhook(hooks.addr))
    open_(stage)
    stage.start()
    stage.scene.merge(
        {path("hello-1"): action("hello-1"), path("wrong-1"): "id = 1\n"}, "Add a failure"
    )
    end(stage)
    stage.result("wrong-1")
    stage.result("hello-1")
    stage.at_rest()
    stage.stop()
    assert state(stage).waiting == 2
    with serving(stage):
        both = {json.loads(hooks.next().body)["action"] for _ in range(2)}
    assert both == {"hello-1", "wrong-1"}


def test_a_disk_that_takes_nothing_holds_up_nothing(
    stage: Stage, hooks: Hooks, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> int:
        raise OSError("no space left on device")

    sinks(stage, webhook(hooks.addr))
    with serving(stage) as notifier:
        with monkeypatch.context() as patch:
            patch.setattr(Store, "add", full)
            stage.scene.merge({path("hello-1"): action("hello-1")}, "Add one")
            end(stage)
            stage.result("hello-1")
            stage.at_rest()
            assert "cannot be stored" in notifier.warnings()[-1]
        assert json.loads(hooks.next().body)["action"] == "hello-1"


def test_a_foreign_result_is_told(stage: Stage, hooks: Hooks) -> None:
    sinks(stage, webhook(hooks.addr))
    stage.scene.merge({path("danger-1"): action("danger-1", formula="danger")}, "Add one")
    with serving(stage):
        assert json.loads(hooks.next().body)["condition"] == "waits_for_approval"
        forged = {"vault/actions/danger-1.result.json": b"{}"}
        GitRemote(stage.scene.remote).commit(forged)
        stage.service.look_now()
        body = json.loads(hooks.next().body)
    assert (body["condition"], body["action"]) == ("foreign_result", "danger-1")
    assert "vault/actions/danger-1.result.json" in body["detail"]


def test_a_person_tries_a_sink_and_lists_them(stage: Stage, hooks: Hooks) -> None:
    sinks(stage, webhook(hooks.addr), webhook("http://127.0.0.1:9/", "dead"))

    def called(*words: str) -> Any:
        scene = stage.scene
        return disinto("--config", str(scene.config), *words, env=scene.environ, cwd=scene.root)

    done = called("notify", "test", "hook")
    assert (done.code, done.out) == (0, "hook: sent\n")
    assert json.loads(hooks.next().body)["title"] == "test of the sink hook"
    failed = called("notify", "test", "dead")
    assert failed.code == 1
    assert failed.out.startswith("dead: not sent: the server did not answer")
    missing = called("notify", "test", "hok")
    assert missing.code == 66
    assert "hook, dead" in missing.err
    listed = json.loads(called("notify", "list", "--json").out)
    assert [(each["name"], each["sent"], each["error"]) for each in listed] == [
        ("hook", 0, None),
        ("dead", 0, None),
    ]
    assert "dead" in called("notify", "list").out


def test_serve_once_sends_before_it_ends(stage: Stage, hooks: Hooks) -> None:
    sinks(stage, webhook(hooks.addr), webhook("http://127.0.0.1:9/", "dead"))
    stage.scene.merge({path("wrong-1"): "id = 1\n"}, "Add one that is wrong")
    scene = stage.scene
    done = disinto("--config", str(scene.config), "serve", "--once", env=scene.environ)
    assert done.code == 0, done.err
    assert json.loads(hooks.next().body)["action"] == "wrong-1"
    assert "notify_failed" in done.err
    assert (state(stage).sent, state(stage, "dead").waiting) == (1, 1)
    status = disinto("--config", str(scene.config), "doctor", env=scene.environ)
    assert "notify: dead: notifications to dead have not been delivered since" in status.out
