"""The order in which a runner uses its grant, and how often it asks for a credential."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from dispatcher.errors import Dependency, Unavailable
from dispatcher.model.dynamic import DynamicSecret
from dispatcher.model.payload import Payload
from dispatcher.model.run import FormulaKind, FormulaRef, RunKey, RunSpec, Tier
from dispatcher.runner import credentials
from dispatcher.runner.vault_client import AnswerLost, NotSent, Reply

MINTED = "auth/token/create/role"
LEASE = Reply(200, {"lease_id": "l/1", "data": {"username": "u", "password": "p"}})
LOST = AnswerLost(Dependency.VAULT, "no answer")
BUSY = Reply(503, {})
STORED = "kv/data/disinto/runner/TOKEN"
DB = DynamicSecret(
    name="PROD_DB",
    path="database/creds/app",
    fields={"DB_USER": "username", "DB_PASSWORD": "password"},
)
WEB = DynamicSecret(
    name="WEB", path="pki/issue/web", fields={"KEY": "password"}, write={"common_name": "x"}
)

Answers = dict[str, list[Reply | Exception]]


class Server:
    """Answers each path from a list; the last one again and again."""

    def __init__(self, **_: object) -> None:
        self.requests: list[tuple[str, str, object]] = []
        self.answers: Answers = {
            "sys/wrapping/lookup": [Reply(200, {"data": {"creation_path": MINTED}})],
            "sys/wrapping/unwrap": [Reply(200, {"auth": {"client_token": "t"}})],
            "auth/token/lookup-self": [Reply(200, {"data": {}})],
            STORED: [Reply(200, {"data": {"data": {"value": "stored"}}})],
            DB.path: [LEASE],
            WEB.path: [LEASE],
        }

    def request(self, method: str, path: str, *, token: str = "", body: Any = None) -> Reply:
        self.requests.append((method, path, body))
        left = self.answers[path]
        answer = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    def close(self) -> None:
        pass

    def sent(self, path: str) -> int:
        return [request[1] for request in self.requests].count(path)


Fetch = Callable[..., Any]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    made = Server()
    monkeypatch.setattr(credentials, "VaultClient", lambda *_, **__: made)
    monkeypatch.setattr(credentials.time, "sleep", lambda _: None)
    return made


def fetch() -> Any:
    spec = RunSpec(
        key=RunKey(action_id="deploy", blob="ab" * 20),
        commit="c" * 40,
        tier=Tier.LOW,
        formula=FormulaRef(name="f", kind=FormulaKind.SHELL, blob="cd" * 20, sha256="ef" * 32),
        secrets=("PROD_DB", "TOKEN", "WEB"),
        dynamic=(DB, WEB),
    )
    payload = Payload(spec=spec, token="w", creation_path=MINTED)
    return credentials.fetch(payload, before_unwrap=lambda: None)


def test_stored_secrets_first_then_each_lease_once(server: Server) -> None:
    assert fetch().values == {"TOKEN": "stored", "DB_USER": "u", "DB_PASSWORD": "p", "KEY": "p"}
    assert server.requests[3:] == [
        ("GET", STORED, None),
        ("GET", DB.path, None),
        ("POST", WEB.path, {"common_name": "x"}),
    ]


def test_no_credential_is_made_if_a_stored_secret_is_missing(server: Server) -> None:
    server.answers[STORED] = [Reply(404, {})]
    with pytest.raises(credentials.SecretMissing):
        fetch()
    assert server.sent(DB.path) == server.sent(WEB.path) == 0


def test_a_request_that_may_have_made_a_credential_is_not_sent_again(server: Server) -> None:
    server.answers[DB.path] = [LOST, LEASE]
    with pytest.raises(Unavailable, match="was lost, and it is not sent again"):
        fetch()
    assert server.sent(DB.path) == 1
    assert server.sent(WEB.path) == 0


@pytest.mark.parametrize("status", [400, 403, 404, 500, 502, 504])
def test_a_refusal_is_final(server: Server, status: int) -> None:
    server.answers[DB.path] = [Reply(status, {"errors": ["because"]}), LEASE]
    with pytest.raises(credentials.SecretMissing, match=rf"{status}: because"):
        fetch()
    assert server.sent(DB.path) == 1


@pytest.mark.parametrize(
    "first",
    [BUSY, Reply(429, {}), NotSent(Dependency.VAULT, "refused")],
    ids=["sealed", "limited", "unreachable"],
)
def test_a_request_that_the_server_did_not_work_on_is_sent_again(
    server: Server, first: Reply | Exception
) -> None:
    server.answers[DB.path] = [first, first, LEASE]
    assert fetch().values["DB_PASSWORD"] == "p"
    assert server.sent(DB.path) == 3
