"""What stops a runner before its formula starts: a used or foreign grant, a changed formula, a Vault in trouble."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dispatcher.model.payload import encode_payload
from dispatcher.model.run import Outcome, RunSpec
from dispatcher.model.verdicts import Verdict
from tests.servers.grants import Minter
from tests.support.runner_process import SECRET, Run, start

__all__ = ["start"]

pytestmark = pytest.mark.needs("bao")


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
