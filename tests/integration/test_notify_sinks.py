"""Each kind of sink on a real server of the loopback: what arrives, and what is made of answers."""

from __future__ import annotations

import json
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from standardwebhooks import Webhook
from standardwebhooks.webhooks import WebhookVerificationError

from dispatcher.errors import Misconfigured
from dispatcher.notify.base import MessageRefused, Sink, SinkUnavailable
from dispatcher.notify.sinks import open_sink
from tests.fakes.matrix import FakeHomeserver
from tests.servers import endless, redirecting, silent
from tests.servers import hooks as hooks_server
from tests.servers import mail as mail_server
from tests.servers.git_https import certificate_in
from tests.servers.hooks import Answer, Hooks
from tests.support.notices import notice, sink

KEY = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
ROOM = "!ops/1:matrix.example"
TOKEN = "canary-matrix-token"


@pytest.fixture
def hooks() -> Iterator[Hooks]:
    with hooks_server.serve() as server:
        yield server


def webhook(url: str, **keys: object) -> Sink:
    return open_sink(sink(url=url, secret_env="KEY", **keys), {"KEY": KEY})


def matrix(url: str, room: str = ROOM) -> Sink:
    keys = {"kind": "matrix", "url": url, "room": room, "secret_env": "T"}
    return open_sink(sink(**keys), {"T": TOKEN})


def mailer(port: int, *, host: str = "127.0.0.1", **keys: object) -> Sink:
    base = {
        "kind": "smtp",
        "host": host,
        "port": port,
        "sender": "disinto@example.org",
        "recipients": ["ops@example.org", "dev@example.org"],
        "tls": "none",
    }
    return open_sink(sink(**{**base, **keys}), {"P": "canary-password"})


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return certificate_in(tmp_path_factory.mktemp("tls"))


def server_tls(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


def test_a_webhooks_signature_is_one_that_others_check(hooks: Hooks) -> None:
    webhook(hooks.addr + "/x").send(notice())
    call = hooks.next()
    assert (call.method, call.path) == ("POST", "/x")
    headers = dict(call.headers)
    assert Webhook(KEY).verify(call.body, headers) == json.loads(call.body)
    assert headers["webhook-id"] == notice().id == json.loads(call.body)["id"]
    for header, other in (("webhook-timestamp", "1"), ("webhook-id", "other")):
        with pytest.raises(WebhookVerificationError):
            Webhook(KEY).verify(call.body, {**headers, header: other})


def test_without_a_secret_it_is_not_signed(hooks: Hooks) -> None:
    open_sink(sink(url=hooks.addr), {}).send(notice())
    assert "webhook-signature" not in hooks.next().headers


@pytest.mark.parametrize("status", [400, 413, 422])
def test_a_message_that_is_refused_itself(hooks: Hooks, status: int) -> None:
    hooks.answer = lambda _call: Answer(status=status)
    with pytest.raises(MessageRefused, match=str(status)):
        webhook(hooks.addr).send(notice())


@pytest.mark.parametrize("status", [401, 404, 410, 429, 500, 503])
def test_all_else_is_tried_again(hooks: Hooks, status: int) -> None:
    hooks.answer = lambda _call: Answer(status=status, headers={"Retry-After": "70"})
    with pytest.raises(SinkUnavailable) as caught:
        webhook(hooks.addr).send(notice())
    assert caught.value.retry_after_s == 70


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(status: int) -> None:
    with (
        redirecting.serve(status=status) as pair,
        pytest.raises(SinkUnavailable, match="redirect") as caught,
    ):
        webhook(pair.addr + "/x").send(notice())
    assert pair.asked == ["/x"]
    assert pair.arrived == []
    assert pair.target in str(caught.value)


def test_an_answer_without_end_is_not_read_whole(hooks: Hooks) -> None:
    hooks.answer = lambda _call: Answer(status=500, body=b"x" * 10_000_000)
    with pytest.raises(SinkUnavailable, match="500"):
        webhook(hooks.addr).send(notice())


def test_a_server_that_never_answers_is_given_up() -> None:
    with silent.serve() as server, pytest.raises(SinkUnavailable, match="no answer within"):
        webhook(server.addr, timeout_s=0.2).send(notice())


def trickle(line: bytes) -> tuple[int, threading.Event]:
    """A server that sends a byte now and then, without end; its port, and set when it was left."""
    door, left = socket.create_server(("127.0.0.1", 0)), threading.Event()

    def serve() -> None:
        client, _ = door.accept()
        with door, client:
            try:
                client.sendall(line)
                while not left.wait(0.05):
                    client.sendall(b"x")
            except OSError:
                left.set()

    threading.Thread(target=serve, daemon=True).start()
    return door.getsockname()[1], left


def test_a_server_that_answers_a_byte_at_a_time_is_given_up() -> None:
    port, left = trickle(b"HTTP/1.1 200 OK\r\nX-Header: ")
    with pytest.raises(SinkUnavailable):
        webhook(f"http://127.0.0.1:{port}", timeout_s=0.3).send(notice())
    assert left.wait(20)


def test_a_mail_server_that_greets_a_byte_at_a_time_is_given_up() -> None:
    port, left = trickle(b"220 ")
    with pytest.raises(SinkUnavailable):
        mailer(port, timeout_s=0.3).send(notice())
    assert left.wait(20)


def test_tls_is_verified(certificate: Path) -> None:
    with hooks_server.serve(server_tls(certificate)) as hooks:
        with pytest.raises(SinkUnavailable, match="certificate verify failed"):
            webhook(hooks.addr).send(notice())
        webhook(hooks.addr, cacert=certificate).send(notice())
        assert hooks.next().body


def test_slack_gets_text(hooks: Hooks) -> None:
    address = f"{hooks.addr}/services/T/B/canary"
    slack = open_sink(sink(kind="slack", secret_env="U"), {"U": address + "\n"})
    slack.send(notice(detail="<!channel>"))
    call = hooks.next()
    assert call.path == "/services/T/B/canary"
    assert "&lt;!channel&gt;" in json.loads(call.body)["text"]
    hooks.answer = lambda _call: Answer(status=403)
    with pytest.raises(SinkUnavailable) as caught:
        slack.send(notice())
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize("address", ["no address canary", "http://hooks.example/canary"])
def test_an_address_of_slack_that_cannot_be_used_is_not_shown(address: str) -> None:
    slack = open_sink(sink(kind="slack", secret_env="U"), {"U": address})
    with pytest.raises(Misconfigured) as caught:
        slack.send(notice())
    assert "canary" not in str(caught.value)


def test_a_homeserver_makes_one_event_of_repetitions(hooks: Hooks) -> None:
    home = FakeHomeserver(token=TOKEN, rooms={ROOM})
    hooks.answer = home
    for number in (1, 1, 2):
        matrix(hooks.addr + "/").send(notice(number, detail="@room look"))
    assert [event["msgtype"] for event in home.events] == ["m.notice", "m.notice"]
    assert home.events[0]["m.mentions"] == {}
    assert "formatted_body" not in home.events[0]
    assert "@room look" in home.events[0]["body"]


def test_a_homeserver_that_wants_time_and_a_room_that_is_not_joined(hooks: Hooks) -> None:
    hooks.answer = FakeHomeserver(token=TOKEN, rooms={ROOM}, limited=1)
    with pytest.raises(SinkUnavailable, match="429") as caught:
        matrix(hooks.addr).send(notice())
    assert caught.value.retry_after_s == 0.001
    with pytest.raises(SinkUnavailable, match="403"):
        matrix(hooks.addr, room="!other:matrix.example").send(notice())
    hooks.answer = FakeHomeserver(token="another", rooms={ROOM})
    with pytest.raises(SinkUnavailable, match="401") as caught:
        matrix(hooks.addr).send(notice())
    assert TOKEN not in str(caught.value)


def test_a_mail_arrives_by_plain_smtp() -> None:
    with mail_server.serve() as mails:
        assert mailer(mails.port).send(notice(detail="ümlaut\n.\nQUIT")) == ""
        message, login, tls = mails.next()
    assert (login, tls) == ("", False)
    assert message["Subject"] == "[acme/ops] deploy-1 failed with exit code 3"
    assert message["Message-ID"] == f"<{notice().id}@example.org>"
    assert message["Auto-Submitted"] == "auto-generated"
    assert "ümlaut\n.\nQUIT" in message.get_content().replace("\r\n", "\n")


@pytest.mark.filterwarnings("ignore:Requiring AUTH while not requiring TLS")
@pytest.mark.parametrize("implicit", [False, True])
def test_a_mail_arrives_over_tls_with_a_log_in(certificate: Path, *, implicit: bool) -> None:
    keys: dict[str, object] = {
        "tls": "tls" if implicit else "starttls",
        "username": "disinto",
        "secret_env": "P",
    }
    login = ("disinto", "canary-password")
    with mail_server.serve(tls=server_tls(certificate), implicit=implicit, login=login) as mails:
        with pytest.raises(SinkUnavailable, match="certificate verify failed"):
            mailer(mails.port, **keys).send(notice())
        mailer(mails.port, cacert=certificate, **keys).send(notice())
        assert mails.next()[1:] == ("disinto", True)
        keys["username"] = "other"
        with pytest.raises(SinkUnavailable, match="refused the login") as caught:
            mailer(mails.port, cacert=certificate, **keys).send(notice())
    assert "canary" not in str(caught.value)


def test_a_server_without_starttls_gets_no_mail() -> None:
    with mail_server.serve() as mails:
        with pytest.raises(SinkUnavailable, match="STARTTLS"):
            mailer(mails.port, tls="starttls").send(notice())
        assert mails.sent.empty()


def test_recipients_that_are_refused() -> None:
    with mail_server.serve() as mails:
        mails.refused = {"dev@example.org"}
        assert mailer(mails.port).send(notice()) == "1 recipient was refused"
        mails.refused.add("ops@example.org")
        with pytest.raises(MessageRefused, match="all recipients"):
            mailer(mails.port).send(notice())
        mails.refused.clear()
        mails.answer = "452 later"
        with pytest.raises(SinkUnavailable, match="452"):
            mailer(mails.port).send(notice())


def test_no_server_at_all() -> None:
    with socket.create_server(("127.0.0.1", 0)) as door:
        port = door.getsockname()[1]
    for nobody in (webhook(f"http://127.0.0.1:{port}"), mailer(port)):
        with pytest.raises(SinkUnavailable, match="refused"):
            nobody.send(notice())


def test_a_mail_server_whose_answer_never_ends() -> None:
    line = b"220-" + b"a" * 1_000 + b"\r\n"
    with endless.serve(line) as server, pytest.raises(SinkUnavailable, match="longer than"):
        mailer(server.port).send(notice())


@pytest.mark.parametrize(
    "answer",
    [
        Answer(status=503, body=b'{"retry_after_ms": 1' + b"0" * 400 + b"}"),
        Answer(status=503, headers={"Retry-After": "1e999"}),
    ],
)
def test_a_pause_without_end_is_an_hour_at_most(hooks: Hooks, answer: Answer) -> None:
    hooks.answer = lambda _call: answer
    with pytest.raises(SinkUnavailable) as caught:
        webhook(hooks.addr).send(notice())
    assert caught.value.retry_after_s <= 3_600
