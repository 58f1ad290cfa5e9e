"""The story of one person and the command line, from 'init' to 'verify', on real parts."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import tenacity

from dispatcher.devservers.ports import free_port
from tests.servers.bao import Bao
from tests.support.cli_process import Said, disinto, started

SLOW = "trap 'exit 3' TERM\nfor i in $(seq 600); do echo tick $i; sleep 0.1; done\n"
FAILS = 'echo out; echo "key is $KEY" >&2; printf \'{"url": "%0100d"}\' 7 > "$DISINTO_OUTPUTS"; exit 42\n'

eventually = tenacity.retry(
    stop=tenacity.stop_after_delay(60), wait=tenacity.wait_fixed(0.2), reraise=True
)


@dataclass(kw_only=True)
class SubmissionClient:
    """A person's folder made by 'disinto init', with their operator's token."""

    folder: Path
    env: dict[str, str]

    def __call__(self, *words: str, stdin: str = "") -> Said:
        return disinto(*words, env=self.env, cwd=self.folder, stdin=stdin)

    def action(self, action_id: str, formula: str, *, secrets: str = "") -> str:
        name = f"{action_id}.toml"
        (self.folder / name).write_text(
            f'id = "{action_id}"\nformula = "{formula}"\ncontext = "c"\nsecrets = [{secrets}]\n'
        )
        return name

    @eventually
    def until(self, action_id: str, state: str) -> None:
        assert self("status", action_id, "--json").json["state"] == state


@pytest.fixture(scope="module")
def desk(bao_server: Bao, tmp_path_factory: pytest.TempPathFactory) -> SubmissionClient:
    root = tmp_path_factory.mktemp("story")
    env = {
        "PATH": os.environ["PATH"],
        "HOME": str(root),
        "VAULT_ADDR": bao_server.addr,
        "VAULT_TOKEN": bao_server.root_token,
        "DISINTO_VAULT__KV_MOUNT": "kv-cli",
        "DISINTO_HTTP__LISTEN": f"127.0.0.1:{free_port()}",
    }
    assert disinto("init", "here", env=env, cwd=root).code == 0
    folder = root / "here"
    (folder / "formulas" / "slow.sh").write_text(SLOW)
    (folder / "formulas" / "fails.sh").write_text(FAILS)
    policy = folder / "policy.toml"
    own = '[tiers]\nslow = "low"\nfails = "low"\n'
    policy.write_text(
        policy.read_text().replace("[tiers]\n", own) + '[formulas.fails]\nsecrets = ["KEY"]\n'
    )
    desk = SubmissionClient(folder=folder, env=env)
    assert desk("apply", "--check").code == 1
    assert desk("apply", "--yes").code == 0
    assert desk("secrets", "put", "KEY", stdin="opensesame123\n").code == 0
    return desk


@pytest.fixture(scope="module")
def served(desk: SubmissionClient) -> Iterator[subprocess.Popen[str]]:
    """A dispatcher that runs beside the commands."""
    with started("serve", env=desk.env, cwd=desk.folder) as process:

        @eventually
        def leads() -> None:
            assert desk("status", "--json").json["leader"]

        leads()
        yield process
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0


def test_apply_is_idempotent(desk: SubmissionClient) -> None:
    said = desk("apply", "--check", "--json")
    assert said.code == 0
    assert said.json["drift"] is False
    assert desk("apply").code == 0


def test_apply_asks_first(desk: SubmissionClient) -> None:
    desk.env["DISINTO_VAULT__TOKEN_ROLE"] = "another-role"
    try:
        said = desk("apply")
        assert said.code == 64
        assert "--yes" in said.err
        assert "create: vault auth/token/roles/another-role" in said.out
        assert desk("apply", "--check").code == 1
    finally:
        del desk.env["DISINTO_VAULT__TOKEN_ROLE"]


def test_secrets_are_named_and_never_shown(desk: SubmissionClient) -> None:
    said = desk("secrets", "list", "--json")
    assert [secret["name"] for secret in said.json] == ["KEY"]
    assert "opensesame" not in said.out
    assert desk("secrets", "put", "lower", stdin="x").code != 0
    assert desk("secrets", "put", "EMPTY", stdin="").code != 0
    assert desk("secrets", "rm", "NOSUCH", "--yes").code == 66
    assert desk("secrets", "rm", "KEY").code == 64


def test_doctor_finds_fault_with_an_operators_token_alone(desk: SubmissionClient) -> None:
    said = desk("doctor", "--json")
    assert said.code == 1
    wrong = [check["name"] for check in said.json["checks"] if not check["ok"]]
    assert wrong == ["vault: least rights"]
    assert "ops repo: push" in [check["name"] for check in said.json["checks"] if check["ok"]]
    assert all(check["remedy"] for check in said.json["checks"] if not check["ok"])


def test_dispatch_exits_as_the_action_does(
    desk: SubmissionClient, served: subprocess.Popen[str]
) -> None:
    good = desk("dispatch", "ops/examples/hello.toml")
    assert good.code == 0
    assert "Hello from action hello" in good.out
    assert "hello: succeeded" in good.err

    bad = desk("dispatch", desk.action("bad", "fails", secrets='"KEY"'))
    assert bad.code == 42
    assert bad.out == "out\n"
    assert "key is" in bad.err
    assert "opensesame" not in bad.out + bad.err

    again = desk("watch", "bad", "--json")
    assert again.code == 42
    assert again.json["verdict"] == "failed"

    known = desk("dispatch", "bad.toml")
    assert known.code == 73
    assert "an id runs only once" in known.err.lower()


def test_dispatch_checks_the_file_first(
    desk: SubmissionClient, served: subprocess.Popen[str]
) -> None:
    missing = desk("dispatch", desk.action("nosecret", "hello", secrets='"NOSUCH"'))
    assert missing.code == 65
    assert "nosecret.toml:4:12: there is no secret NOSUCH" in missing.err
    formula = desk("dispatch", desk.action("noformula", "nosuch"))
    assert formula.code == 65
    assert 'there is no formula "nosuch"' in formula.err
    assert desk("status", "nosecret").code == 66


def test_what_needs_approval_says_so_and_is_not_waited_for(
    desk: SubmissionClient, served: subprocess.Popen[str]
) -> None:
    said = desk("dispatch", desk.action("risky", "deploy"))
    assert said.code == 75
    assert "no gate is configured" in said.err
    plan = desk("plan", "--json").json
    (wait,) = [wait for wait in plan["waits"] if wait["id"] == "risky"]
    assert wait["tier"] == "high"
    assert wait["waiting_for"] == "approval"
    assert "no gate is configured" in wait["reason"]
    desk.until("risky", "waiting")

    @eventually
    def shown() -> None:
        assert re.search(r"risky .*no gate is configured", desk("status").out)

    shown()
    cancelled = desk("cancel", "risky")
    assert cancelled.code == 0
    assert "it will not start" in cancelled.out
    assert desk("dispatch", "risky").code == 130
    assert desk("status", "risky", "--json").json["result"]["verdict"] == "cancelled"
    assert desk("cancel", "risky").code == 1
    assert "risky never started (cancelled), so it has no output" in desk("logs", "risky").err


def test_a_run_is_followed_and_cancelled(
    desk: SubmissionClient, served: subprocess.Popen[str]
) -> None:
    assert desk("dispatch", "--no-follow", desk.action("long", "slow")).code == 0
    desk.until("long", "running")
    with started("logs", "--follow", "long", env=desk.env, cwd=desk.folder) as follower:
        assert follower.stdout is not None
        assert follower.stdout.readline() == "tick 1\n"
        assert desk("logs", "long", "--since", "1h", "--tail", "1").out.startswith("tick ")
        stopped = desk("cancel", "long")
        assert stopped.code == 0
        assert "stop requested" in stopped.out
        assert follower.wait(60) == 0
    ended = desk("watch", "long", "--json")
    assert ended.code == 130
    assert ended.json["verdict"] == "cancelled"


def test_status_plan_and_logs_after_the_runs(
    desk: SubmissionClient, served: subprocess.Popen[str]
) -> None:
    ids = {result["id"] for result in desk("status", "--json").json["results"]}
    assert {"hello", "bad"} <= ids
    one = desk("status", "bad", "--json").json
    assert (one["state"], one["verdict"]) == ("finished", "failed")
    assert one["action"]["secrets"] == ["KEY"]
    assert one["result"]["exit_code"] == 42
    assert f'output      url = "{7:0100}"' in desk("status", "bad").out  # an address is not cut
    assert "nothing matches" in desk("status", "--match", "no such text").err
    logs = desk("logs", "bad")
    assert logs.code == 0
    assert "out\n" in logs.out
    assert "the full log ([local] keep_logs_s" in logs.err
    since = desk("logs", "bad", "--since", one["result"]["started_at"])
    assert (since.code, since.out) == (0, "out\n")
    assert desk("logs", "bad", "--since", "2100-01-01T00:00:00Z").out == ""
    for times in (desk.folder / ".disinto/logs").glob("bad.*.times"):
        times.unlink()
    unknown = desk("logs", "bad", "--since", "1h")
    assert (unknown.code, unknown.out) == (66, "")
    assert "time at which stdout was written is unknown" in unknown.err
    assert desk("logs", "bad", "--since", "yesterday").code == 64
    assert desk("logs", "nosuch").code == 66
    assert desk("plan").code == 0


def test_results_can_be_verified_and_changes_are_found(
    desk: SubmissionClient, served: subprocess.Popen[str], tmp_path: Path
) -> None:
    assert desk("verify", "hello", "--json").json["verified"] is True
    ops = tmp_path / "ops"
    subprocess.run(["git", "clone", "--quiet", str(desk.folder / "ops.git"), str(ops)], check=True)
    result = ops / "vault" / "actions" / "bad.result.json"
    key = str(desk.folder / ".disinto" / "attestation.pub")
    assert desk("verify", str(result), "--key", key).code == 0
    result.write_text(result.read_text().replace('"exit_code": 42', '"exit_code": 41'))
    changed = desk("verify", str(result), "--key", key)
    assert changed.code == 1
    assert "exit_code" in changed.out


def test_archive_moves_and_everything_is_still_found(
    desk: SubmissionClient, served: subprocess.Popen[str]
) -> None:
    @eventually
    def archived() -> None:
        desk("archive", "--after-days", "0")
        assert desk("status", "hello", "--json").json["archived"]

    assert "hello" in desk("archive", "--after-days", "0", "--dry-run").out
    archived()
    assert desk("logs", "hello").code == 0
    assert desk("verify", "hello").code == 0
    assert desk("dispatch", "ops/examples/hello.toml").code == 73


def test_the_audit_log_is_whole_and_knows_who_cancelled(
    desk: SubmissionClient, served: subprocess.Popen[str]
) -> None:
    assert desk("audit", "verify", "--json").json["whole"] is True
    text = (desk.folder / ".disinto" / "audit.jsonl").read_text()
    events = [json.loads(line) for line in text.splitlines()]
    assert {"risky", "long"} <= {e["action"] for e in events if e["event"] == "cancelled"}
    assert "opensesame" not in text


def test_a_second_serve_waits_and_says_so(
    desk: SubmissionClient, served: subprocess.Popen[str]
) -> None:
    env = {**desk.env, "DISINTO_HTTP__LISTEN": ""}
    with started("serve", env=env, cwd=desk.folder) as second:
        assert second.stderr is not None
        assert any("waiting_for_lead" in line for line in second.stderr)
        second.send_signal(signal.SIGINT)
        assert second.wait(30) == 130
    assert desk("status", "--json").json["leader"]


def test_a_run_outlives_serve_and_is_picked_up(desk: SubmissionClient, tmp_path: Path) -> None:
    """In an ops repo of its own: the dispatcher that runs beside other tests offers no mounts."""
    data = tmp_path / "data"
    data.mkdir()
    env = {
        **desk.env,
        "DISINTO_HTTP__LISTEN": "",
        "DISINTO_LOCAL__MOUNTS": json.dumps({"agent-data": str(data)}),
        "DISINTO_LOCAL__ALLOW_UNPROTECTED_MOUNTS": "true",
    }
    assert disinto("init", "own", env=env, cwd=tmp_path).code == 0
    desk = SubmissionClient(folder=tmp_path / "own", env=env)
    (desk.folder / "formulas" / "gated.sh").write_text(
        "touch ~/data/began\n"
        "for n in {1..1200}; do test -e ~/data/go && break; sleep 0.05; done; echo went\n"
    )
    (desk.folder / "policy.toml").write_text('[tiers]\ngated = "low"\n')
    assert desk("apply", "--yes").code == 0
    file = desk.folder / desk.action("outlive", "gated")
    file.write_text(file.read_text() + 'mounts = ["agent-data"]\n')
    with started("serve", env=env, cwd=desk.folder) as first:
        assert desk("dispatch", "--no-follow", file.name).code == 0

        @eventually
        def began() -> None:
            assert (data / "began").exists()

        began()
        first.send_signal(signal.SIGINT)
        assert first.wait(30) == 130
    stands = desk("status", "outlive", "--json")
    assert stands.json["state"] == "running", stands
    (data / "go").touch()
    assert desk("serve", "--once").code == 0
    ended = desk("dispatch", "outlive")
    assert ended.code == 0
    assert "went" in ended.out
