"""The runner as a process, with real grants of a real OpenBao."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import tenacity

from dispatcher.model.payload import decode_outcome, encode_payload
from dispatcher.model.run import FormulaKind, Mount, Outcome, RunSpec, Verdict, WrappedGrant
from dispatcher.time_index import offset_since
from tests.servers.bao import Bao
from tests.servers.grants import Minter, formula_ref

pytestmark = pytest.mark.needs("bao")

SECRET = "s3cr3t/Wert+für'alle"


@pytest.fixture
def minter(vault: Bao) -> Minter:
    return Minter(bao=vault).prepare()


class Run:
    """One runner process over a spool folder of its own."""

    def __init__(self, folder: Path, *arguments: str, env: dict[str, str] | None = None) -> None:
        self.spool = folder / "spool"
        self.spool.mkdir(mode=0o700)
        self.process = subprocess.Popen(
            [sys.executable, "-I", "-m", "dispatcher.runner", "--spool", self.spool, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={"PATH": os.environ["PATH"], "DISPATCHER_ONLY": "not-for-formulas", **(env or {})},
            start_new_session=True,
        )

    def feed(self, payload: bytes) -> None:
        assert self.process.stdin
        self.process.stdin.write(payload)
        self.process.stdin.close()
        self.process.stdin = None

    def finish(self) -> Outcome:
        self.messages = b"".join(self.process.communicate(timeout=60))
        return decode_outcome((self.spool / "outcome.json").read_bytes())

    def log(self, stream: str = "stdout") -> str:
        return (self.spool / f"{stream}.log").read_text()

    def wait_for_log(self, text: str) -> None:
        for attempt in tenacity.Retrying(
            stop=tenacity.stop_after_delay(20), wait=tenacity.wait_fixed(0.02)
        ):
            with attempt:
                assert text in self.log()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Any]:
    runs: list[Run] = []

    def begin(payload: bytes, *arguments: str, **more: Any) -> Run:
        folder = tmp_path / f"run-{len(runs)}"
        folder.mkdir()
        run = Run(folder, *arguments, **more)
        runs.append(run)
        run.feed(payload)
        return run

    yield begin
    for run in runs:
        if run.process.poll() is None:
            run.process.kill()
            run.process.wait()


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"


def test_a_formula_gets_its_secrets_and_a_clean_environment(minter: Minter, start: Any) -> None:
    minter.put("TOKEN", SECRET)
    spec = minter.spec(
        'test "$TOKEN" = "$1" || true; env -0 | sort -z | cut -z -d= -f1 | tr "\\0" "\\n"\n'
        'echo "$DISINTO_ACTION_ID|$DISINTO_CONTEXT|$DISINTO_PARAMS|$DISINTO_TOOLS" >&2\n'
        'test "$PWD" = "$HOME" -a "$PWD" = "$DISINTO_WORKDIR" && stat -c %a . "$TMPDIR" >&2\n'
        "readlink /proc/$$/fd/0 >&2; ls /proc/$$/fd | wc -w >&2; read line || echo no input >&2",
        secrets=("TOKEN",),
        context="tell\nme",
        params={"size": 1},
        tools=("a", "b"),
        approved_by=("ada", "bob"),
    )
    run = start(minter.payload(spec))
    outcome = run.finish()
    assert outcome.verdict is Verdict.SUCCEEDED, (outcome, run.messages)
    assert (outcome.exit_code, outcome.formula_started, outcome.error) == (0, True, "")
    assert outcome.finished_at >= outcome.started_at > 0
    names = set(run.log().split()) - {"PWD", "SHLVL", "_", "OLDPWD"}
    assert names == {
        "PATH", "HOME", "LANG", "TMPDIR", "TOKEN",
        "DISINTO_ACTION_ID", "DISINTO_FORMULA", "DISINTO_CONTEXT", "DISINTO_COMMIT",
        "DISINTO_TIER", "DISINTO_APPROVED_BY", "DISINTO_MODEL", "DISINTO_TOOLS",
        "DISINTO_PARAMS", "DISINTO_OUTPUTS", "DISINTO_WORKDIR",
    }  # fmt: skip
    errors = run.log("stderr").splitlines()
    assert errors[:4] == [f"{spec.key.action_id}|tell", 'me|{"size": 1}|a,b', "700", "700"]
    assert errors[4:] == ["/dev/null", "4", "no input"]  # 0, 1, 2 and the script bash reads
    assert not (run.spool / "private").exists()


def test_secrets_are_redacted_everywhere(minter: Minter, start: Any) -> None:
    minter.put("TOKEN", SECRET)
    minter.put("KEY", "line one of key\nline two of key\n")
    formula = (
        'echo "out $TOKEN"; echo "err $TOKEN" >&2; echo "$TOKEN" | base64; echo "$KEY"\n'
        'printf "${TOKEN:0:6}"; sleep 0.3; echo "${TOKEN:6}"\n'
        'printf \'{"%s": ["a %s"], "n": 7}\' "$TOKEN" "$TOKEN" > "$DISINTO_OUTPUTS"'
    )
    run = start(minter.payload(minter.spec(formula, secrets=("TOKEN", "KEY"))))
    outcome = run.finish()
    everything = run.log() + run.log("stderr") + (run.spool / "outcome.json").read_text()
    assert SECRET not in everything
    assert "line two of key" not in everything
    assert (
        run.log() == "out [redacted:TOKEN]\n[redacted:TOKEN]\n[redacted:KEY]\n\n[redacted:TOKEN]\n"
    )
    assert outcome.outputs == {"[redacted:TOKEN]": ["a [redacted:TOKEN]"], "n": 7}
    assert "err [redacted:TOKEN]" in outcome.logs


@pytest.mark.parametrize(("formula", "code", "number"), [
    ("exit 7", 7, None), ("kill -KILL $$", 137, 9), ("kill -TERM $$", 143, 15), ("nonsense", 127, None),
])  # fmt: skip
def test_how_a_formula_fails(
    formula: str, code: int, number: int | None, minter: Minter, start: Any
) -> None:
    run = start(minter.payload(minter.spec(formula)))
    outcome = run.finish()
    assert (outcome.verdict, outcome.exit_code, outcome.signal) == (Verdict.FAILED, code, number)
    assert run.process.returncode == code


def test_an_agent_gets_formula_and_context_on_its_input(minter: Minter, start: Any) -> None:
    text = 'prompt = "do"\n'
    spec = minter.spec(
        text, kind=FormulaKind.AGENT, agent_argv=("cat", "-u"), context="the context"
    )
    run = start(minter.payload(spec))
    assert run.finish().verdict is Verdict.SUCCEEDED
    assert run.log() == text + "\n---- context ----\nthe context"


def test_an_agent_without_a_command(minter: Minter, start: Any) -> None:
    outcome = start(minter.payload(minter.spec("x = 1\n", kind=FormulaKind.AGENT))).finish()
    assert (outcome.verdict, outcome.formula_started) == (Verdict.ERROR, False)
    assert "[agent] command" in outcome.error


@pytest.mark.parametrize("program", ["no-such-agent", "/no/such/agent"])
def test_an_agent_that_is_not_there(program: str, minter: Minter, start: Any) -> None:
    spec = minter.spec("x = 1\n", kind=FormulaKind.AGENT, agent_argv=(program, "-p"))
    run = start(minter.payload(spec))
    outcome = run.finish()
    assert (outcome.verdict, outcome.formula_started) == (Verdict.ERROR, False)
    assert program in outcome.error
    assert not (run.spool / "started").exists()


def test_timeout_with_a_chance_to_end_well(minter: Minter, start: Any) -> None:
    formula = "trap 'echo tidied; exit 0' TERM; echo ready; while :; do sleep 0.05; done"
    run = start(minter.payload(minter.spec(formula, timeout_s=1, kill_grace_s=20)))
    outcome = run.finish()
    assert (outcome.verdict, outcome.exit_code) == (Verdict.TIMED_OUT, 124)
    assert run.log() == "ready\ntidied\n"
    assert "timeout of 1 s" in outcome.error


def test_timeout_of_one_that_will_not_end(minter: Minter, start: Any) -> None:
    formula = "trap '' TERM; echo ready; while :; do sleep 0.05; done"
    outcome = start(minter.payload(minter.spec(formula, timeout_s=1, kill_grace_s=0.2))).finish()
    assert (outcome.verdict, outcome.signal) == (Verdict.TIMED_OUT, 9)


DAEMON = "setsid bash -c 'trap \"\" TERM; echo $$; exec >&- 2>&-; while :; do sleep 0.05; done' & "


@pytest.mark.parametrize("after", ["while [ ! -s {0} ]; do sleep 0.02; done; exit 3", "sleep 60"])
def test_daemons_do_not_outlive_the_run(
    after: str, minter: Minter, start: Any, tmp_path: Path
) -> None:
    """Processes in sessions of their own, deaf to TERM, their streams closed."""
    noted = tmp_path / "pid"
    spec = minter.spec(
        f"(({DAEMON}) | tee {noted}) & {after.format(noted)}", timeout_s=2, kill_grace_s=0.2
    )
    outcome = start(minter.payload(spec)).finish()
    assert outcome.verdict is (Verdict.FAILED if "exit 3" in after else Verdict.TIMED_OUT)
    assert not alive(int(noted.read_text()))


def test_term_cancels(minter: Minter, start: Any) -> None:
    run = start(minter.payload(minter.spec("echo ready; sleep 60")))
    run.wait_for_log("ready")
    (run.spool / "cancel").write_text("ada changed her mind")
    run.process.send_signal(signal.SIGTERM)
    outcome = run.finish()
    assert (outcome.verdict, outcome.exit_code) == (Verdict.CANCELLED, 130)
    assert outcome.error == "ada changed her mind"
    assert outcome.formula_started


def test_a_cancellation_from_before_the_start(minter: Minter, tmp_path: Path) -> None:
    run = Run(tmp_path)
    (run.spool / "cancel").write_text("too late")
    run.feed(minter.payload(minter.spec(f"touch {tmp_path}/ran")))
    outcome = run.finish()
    assert (outcome.verdict, outcome.formula_started) == (Verdict.CANCELLED, False)
    assert not (run.spool / "started").exists()
    assert not (tmp_path / "ran").exists()


def test_term_while_vault_is_silent(minter: Minter, start: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        addr = f"http://127.0.0.1:{silent.getsockname()[1]}"
        run = start(minter.payload(minter.spec("true", vault_addr=addr)))
        silent.accept()
        run.process.send_signal(signal.SIGTERM)
        assert run.finish().verdict is Verdict.CANCELLED


# The fence: in none of these does the formula start.


def stopped(run: Run, marker: Path, code: int, *words: str) -> Outcome:
    outcome = run.finish()
    assert (outcome.verdict, outcome.exit_code) == (Verdict.ERROR, code), outcome
    assert not outcome.formula_started
    for word in words:
        assert word in outcome.error
    assert not marker.exists()
    assert not (run.spool / "private").exists()
    assert run.process.returncode == code
    return outcome


@pytest.fixture
def marker(tmp_path: Path) -> Path:
    return tmp_path / "the-formula-ran"


@pytest.fixture
def marking(minter: Minter, marker: Path) -> RunSpec:
    return minter.spec(f"touch {marker}")


def test_a_used_wrapping_token(minter: Minter, start: Any, marking: RunSpec, marker: Path) -> None:
    wrapped = minter.mint()
    minter.unwrap(wrapped)
    run = start(encode_payload(marking, wrapped))
    stopped(run, marker, 77, "possible interception")
    assert not (run.spool / "started").exists()


def test_another_creation_path(minter: Minter, start: Any, marking: RunSpec, marker: Path) -> None:
    client = minter.bao.client()
    foreign = client.auth.token.create(policies=["root"], wrap_ttl="60s")["wrap_info"]
    good = minter.mint()
    for wrapped in (
        replace(good, token=foreign["token"]),
        replace(good, token=foreign["token"], creation_path=foreign["creation_path"]),
    ):
        stopped(start(encode_payload(marking, wrapped)), marker, 77, "minted at auth/token/create")
    assert client.sys.unwrap(foreign["token"])["auth"]  # not used up


def test_a_revoked_grant(minter: Minter, start: Any, marking: RunSpec, marker: Path) -> None:
    """The dispatcher revoked it while the wrapping was still good: what a late leader meets."""
    wrapped = minter.mint()
    minter.bao.client().auth.token.revoke_accessor(wrapped.grant.accessor)
    stopped(start(encode_payload(marking, wrapped)), marker, 77, "look itself up")


def test_a_grant_from_which_the_wrapping_was_withdrawn(
    minter: Minter, start: Any, marking: RunSpec, marker: Path
) -> None:
    wrapped = minter.mint()
    minter.bao.client().auth.token.revoke_accessor(wrapped.grant.wrapping_accessor)
    stopped(start(encode_payload(marking, wrapped)), marker, 77, "used before, revoked")


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"value": ""}, "is empty"),
        ({"value": " \n"}, "is empty"),
        ({"value": "a\0b"}, "NUL"),
        ({"value": 5}, "is not text"),
        ({"other": "x"}, "no field `value`"),
        (None, "is missing"),
    ],
)
def test_a_secret_that_cannot_be_given(
    value: dict[str, object] | None, words: str, minter: Minter, start: Any, marker: Path
) -> None:
    minter.put("GOOD", "a good value")
    minter.allow("BAD")
    if value is not None:
        minter.bao.client().secrets.kv.v2.create_or_update_secret(
            path="disinto/runner/BAD", secret=value, mount_point=minter.bao.kv_mount
        )
    spec = minter.spec(f"touch {marker}", secrets=("GOOD", "BAD"))
    outcome = stopped(start(minter.payload(spec)), marker, 78, "BAD", words)
    assert "GOOD" not in outcome.error


def test_a_secret_without_a_policy(minter: Minter, start: Any, marker: Path) -> None:
    minter.bao.put("OTHER", "somebody else's")
    spec = minter.spec(f"touch {marker}", secrets=("OTHER",))
    run = start(encode_payload(spec, minter.mint()))
    stopped(run, marker, 78, "OTHER", "may not be read by this grant")


def test_another_formula_than_the_approved_one(
    minter: Minter, start: Any, marking: RunSpec, marker: Path
) -> None:
    for spec in (
        replace(marking, formula=replace(marking.formula, sha256="0" * 64)),
        replace(marking, formula=replace(marking.formula, blob="0" * 40)),
        replace(marking, formula_text=b"echo other"),
    ):
        wrapped = minter.mint()
        run = start(encode_payload(spec, wrapped))
        stopped(run, marker, 65, "hash differs")
        assert minter.unwrap(wrapped)  # not used up


def test_names_that_the_environment_needs(minter: Minter, start: Any, marker: Path) -> None:
    spec = minter.spec(f"touch {marker}", secrets=("HOME",))
    stopped(start(encode_payload(spec, minter.mint())), marker, 65, "HOME")


def test_a_payload_cut_short_leaves_no_trace(minter: Minter, start: Any, marking: RunSpec) -> None:
    wrapped = minter.mint()
    payload = encode_payload(marking, wrapped)
    for cut in (b"", payload[:20], payload[:-1]):
        run = start(cut)
        run.process.wait(timeout=20)
        assert run.process.returncode == 65
        assert list(run.spool.iterdir()) == []
    assert minter.unwrap(wrapped)


def test_foreign_bytes_leave_an_outcome(start: Any, marker: Path) -> None:
    stopped(start(b"not a payload"), marker, 65, "not zlib")


def test_an_address_that_is_none(minter: Minter, start: Any, marker: Path) -> None:
    spec = minter.spec(f"touch {marker}", vault_addr="vault.example")
    stopped(start(minter.payload(spec)), marker, 78, "vault.example")


def test_a_lost_answer_to_the_unwrap(
    minter: Minter, start: Any, marking: RunSpec, marker: Path
) -> None:
    """Sent once and never again: the server may have used the token up."""
    with _Proxy(minter.bao.addr, drop="unwrap") as proxy:
        run = start(minter.payload(replace(marking, vault_addr=proxy.addr)))
        stopped(run, marker, 69, "answer to the unwrap was lost")
    assert proxy.seen.count("sys/wrapping/unwrap") == 1
    assert (run.spool / "started").exists()


def test_other_lost_answers_are_asked_for_again(minter: Minter, start: Any) -> None:
    minter.put("TOKEN", SECRET)
    spec = minter.spec("true", secrets=("TOKEN",))
    with _Proxy(minter.bao.addr, drop="lookup", times=2) as proxy:
        outcome = start(minter.payload(replace(spec, vault_addr=proxy.addr))).finish()
    assert outcome.verdict is Verdict.SUCCEEDED
    assert proxy.seen.count("sys/wrapping/unwrap") == 1


def test_vault_sealed_for_a_while(minter: Minter, start: Any) -> None:
    with _Proxy(minter.bao.addr, refuse=4) as proxy:
        run = start(minter.payload(minter.spec("true", vault_addr=proxy.addr)))
        assert run.finish().verdict is Verdict.SUCCEEDED


class _Proxy:
    """Stands before the server, loses answers or says 503; a fault no server makes to order."""

    def __init__(self, addr: str, *, drop: str = "", times: int = 1, refuse: int = 0) -> None:
        self._upstream = addr
        self._drop, self._times, self._refuse = drop, times, refuse
        self.seen: list[str] = []

    def __enter__(self) -> _Proxy:
        import http.server
        import urllib.error
        import urllib.request

        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _pass(self) -> None:
                outer.seen.append(self.path.removeprefix("/v1/"))
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                if outer._refuse:
                    outer._refuse -= 1
                    return self._answer(503, b'{"errors":["Vault is sealed"]}')
                request = urllib.request.Request(
                    outer._upstream + self.path,
                    data=body or None,
                    headers={k: v for k, v in self.headers.items() if k.startswith("X-")},
                    method=self.command,
                )
                try:
                    with urllib.request.urlopen(request) as answer:
                        status, text = answer.status, answer.read()
                except urllib.error.HTTPError as error:
                    status, text = error.code, error.read()
                if outer._drop and outer._drop in self.path and outer._times:
                    outer._times -= 1
                    self.close_connection = True
                    return None
                return self._answer(status, text)

            def _answer(self, status: int, text: bytes) -> None:
                self.send_response(status)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            do_GET = do_POST = _pass  # noqa: N815

            def log_message(self, *args: object) -> None: ...

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.addr = f"http://127.0.0.1:{self._server.server_address[1]}"
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


# Output.


def test_a_flood_on_both_streams(minter: Minter, start: Any) -> None:
    formula = "(head -c 40000000 /dev/zero | tr '\\0' o) & (head -c 40000000 /dev/zero | tr '\\0' e >&2); wait"
    run = start(minter.payload(minter.spec(formula)), "--log-limit", "1000000")
    assert run.finish().verdict is Verdict.SUCCEEDED
    for stream in ("stdout", "stderr"):
        text = run.log(stream)
        assert text.endswith("\n[log truncated: more than 1000000 bytes]\n")
        assert len(text) < 1_000_100


def test_the_last_characters_are_harmless(minter: Minter, start: Any) -> None:
    formula = r"printf '%01500d' 0; printf '\033[2J\r\n\xff ü\tend\u202e'"
    outcome = start(minter.payload(minter.spec(formula))).finish()
    assert len(outcome.logs) == 1000
    assert outcome.logs.endswith("0␛[2J\n\ufffd ü\tend\ufffd")


def test_an_idle_stream_is_written_at_once(minter: Minter, start: Any) -> None:
    minter.put("TOKEN", SECRET)
    run = start(minter.payload(minter.spec("printf 'no newline'; sleep 60", secrets=("TOKEN",))))
    run.wait_for_log("no newline")
    run.process.send_signal(signal.SIGTERM)
    run.finish()


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("echo '[1]'", "not a JSON object"),
        ("echo '{'", "not a JSON object"),
        ("head -c 70000 /dev/zero", "more than 65536 bytes"),
    ],
)
def test_outputs_that_are_none(command: str, words: str, minter: Minter, start: Any) -> None:
    outcome = start(minter.payload(minter.spec(f'{command} > "$DISINTO_OUTPUTS"'))).finish()
    assert outcome.verdict is Verdict.SUCCEEDED
    assert (outcome.outputs, words in outcome.error) == ({}, True)


def test_outputs_follow_no_link(minter: Minter, start: Any, tmp_path: Path) -> None:
    (tmp_path / "else").write_text('{"stolen": 1}')
    formula = f'ln -s {tmp_path}/else "$DISINTO_OUTPUTS"'
    outcome = start(minter.payload(minter.spec(formula))).finish()
    assert outcome.outputs == {}
    assert "cannot be read" in outcome.error


# As a job of an engine: payload in a file, output to our own streams.


def job(
    tmp_path: Path, payload: bytes, *arguments: str, **more: Any
) -> tuple[Outcome, subprocess.CompletedProcess[bytes]]:
    (tmp_path / "payload").write_bytes(payload)
    done = subprocess.run(
        [
            sys.executable, "-m", "dispatcher.runner", "--payload", tmp_path / "payload",
            "--outcome", tmp_path / "outcome.json", *arguments,
        ],
        env={"PATH": os.environ["PATH"], "HOME": "/home/agent", "NOMAD_TASK_DIR": str(tmp_path)},
        check=False,
        timeout=60,
        **{"capture_output": True, **more},
    )  # fmt: skip
    return decode_outcome((tmp_path / "outcome.json").read_bytes()), done


def test_as_a_job(minter: Minter, tmp_path: Path) -> None:
    minter.put("TOKEN", SECRET)
    formula = 'echo "$HOME $TOKEN"; echo "$TOKEN" >&2; case $DISINTO_WORKDIR in $PWD) exit 4; esac'
    outcome, done = job(tmp_path, minter.payload(minter.spec(formula, secrets=("TOKEN",))))
    assert (outcome.exit_code, done.returncode) == (4, 4)
    assert done.stdout == b"/home/agent [redacted:TOKEN]\n"
    assert done.stderr == b"[redacted:TOKEN]\n"
    kept = ["outcome.json", "stderr.times", "stdout.times"]
    assert sorted(p.name for p in tmp_path.iterdir()) == kept


def test_the_times_of_a_jobs_output_count_what_the_runner_reports_itself(
    minter: Minter, tmp_path: Path
) -> None:
    spec = minter.spec("echo early >&2; sleep 60", timeout_s=3)
    outcome, done = job(tmp_path, minter.payload(spec))
    begin, message, end = done.stderr.partition(b"disinto: ended at its timeout")
    assert (begin, bool(message), end) == (b"early\n", True, b" of 3 s\n")
    index = (tmp_path / "stderr.times").read_bytes()
    assert offset_since(index, outcome.finished_at, size=len(done.stderr)) == len(begin)


def test_a_bad_payload_of_a_job_leaves_an_outcome(tmp_path: Path) -> None:
    outcome, done = job(tmp_path, b"")
    assert (outcome.verdict, done.returncode) == (Verdict.ERROR, 65)
    assert b"payload is incomplete" in done.stderr


def test_a_formula_from_the_mounted_ops_repo(minter: Minter, tmp_path: Path) -> None:
    repo = tmp_path / "ops"
    subprocess.run(["git", "init", "-q", repo], check=True)
    data = b"echo from the ops repo\n"
    written = subprocess.run(
        ["git", "-C", repo, "hash-object", "-w", "--stdin"],
        input=data,
        capture_output=True,
        check=True,
    )
    spec = minter.spec(data, mounts=(Mount.OPS_REPO,), formula_text=None)
    assert written.stdout.decode().strip() == spec.formula.blob
    outcome, done = job(tmp_path, minter.payload(spec), "--ops-repo", str(repo))
    assert (outcome.verdict, done.stdout) == (Verdict.SUCCEEDED, b"from the ops repo\n")
    unknown = replace(spec, formula=formula_ref(b"echo unknown"))
    outcome, _ = job(tmp_path, minter.payload(unknown), "--ops-repo", str(repo))
    assert (outcome.verdict, outcome.exit_code) == (Verdict.ERROR, 65)
    assert "is not in the ops repo" in outcome.error


def test_a_reader_that_stops_reading_does_not_stop_the_timeout(
    minter: Minter, tmp_path: Path
) -> None:
    spec = minter.spec("while :; do echo flood; done", timeout_s=1)
    (tmp_path / "payload").write_bytes(minter.payload(spec))
    read_end, write_end = os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-m", "dispatcher.runner", "--payload", tmp_path / "payload",
         "--outcome", tmp_path / "outcome.json"],
        stdout=write_end, env={"PATH": os.environ["PATH"], "TMPDIR": str(tmp_path)},
    )  # fmt: skip
    os.close(write_end)
    assert process.wait(timeout=30) == 124
    os.close(read_end)
    assert json.loads((tmp_path / "outcome.json").read_text())["verdict"] == "timed_out"


@pytest.mark.parametrize(
    "arguments", [[], ["--what"], ["--outcome"], ["--spool", "x", "--lock-fd", "y"]]
)
def test_usage(arguments: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "dispatcher.runner", *arguments], capture_output=True, check=False
    )
    assert done.returncode == 64
    assert b"usage:" in done.stderr


def test_no_token_in_the_spool_or_the_arguments(minter: Minter, start: Any) -> None:
    minter.put("TOKEN", SECRET)
    spec = minter.spec("echo ready; sleep 60", secrets=("TOKEN",))
    wrapped: WrappedGrant = minter.mint("TOKEN")
    run = start(encode_payload(spec, wrapped))
    run.wait_for_log("ready")
    planted = [wrapped.token.encode(), SECRET.encode()]
    found = [p for p in run.spool.rglob("*") if p.is_file() for s in planted if s in p.read_bytes()]
    assert found == []
    line = Path(f"/proc/{run.process.pid}/cmdline").read_bytes()
    assert not any(s in line for s in planted)
    run.process.send_signal(signal.SIGTERM)
    run.finish()
