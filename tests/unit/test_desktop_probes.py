"""Looking at a machine from outside: pinned, bounded, and nothing is believed that it need not be."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from dispatcher.desktop.certificate import Certificate, make_certificate
from dispatcher.desktop.credentials import Credentials
from dispatcher.desktop.machine import Machine, user_data
from dispatcher.desktop.probes import NetworkProber, Probed
from dispatcher.desktop.report import Report
from tests.servers.desktop_machine import desktop_machine

NOW = 1_800_000_000.0


def made(certificate: Certificate) -> str:
    credentials = Credentials(vnc_password="abcdefgh", guacamole_key=b"k" * 16, key_version=1)
    machine = Machine(
        desktop_id="one", run_key=f"one.{'0' * 40}", name="one", credentials=credentials,
        certificate=certificate,
    )  # fmt: skip
    return user_data(machine)


def test_a_machine_before_and_after_its_first_boot() -> None:
    certificate = make_certificate("one", now=NOW)
    with desktop_machine() as machine:
        prober = NetworkProber(http_port=machine.http_port, https_port=machine.https_port)
        assert prober.look("127.0.0.1", certificate.fingerprint) == Probed(http=True)
        machine.boot(made(certificate), up=False)
        seen = prober.look("127.0.0.1", certificate.fingerprint)
        assert seen == Probed(report=Report(stage="final-health-check"), http=True)
        machine.boot(made(certificate))
        seen = prober.look("127.0.0.1", certificate.fingerprint)
        assert (seen.http, seen.https, seen.stranger) == (True, True, False)
        assert seen.report is not None
        assert seen.report.vnc


def test_another_certificate_is_a_stranger_whatever_it_answers() -> None:
    ours, other = make_certificate("one", now=NOW), make_certificate("one", now=NOW)
    with desktop_machine() as machine:
        machine.boot(made(other))
        prober = NetworkProber(http_port=machine.http_port, https_port=machine.https_port)
        assert prober.look("127.0.0.1", ours.fingerprint) == Probed(http=True, stranger=True)


def test_nobody_is_there() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        assert NetworkProber(http_port=port, https_port=port).look("127.0.0.1", "ab") == Probed()


@contextmanager
def sending(data: bytes, *, endless: bool = False) -> Iterator[int]:
    """A server that sends these bytes to whoever connects, once or without end."""
    server = socket.create_server(("127.0.0.1", 0))

    def answer() -> None:
        connection, _ = server.accept()
        with connection:
            connection.recv(65536)
            try:
                connection.sendall(data)
                while endless:
                    connection.sendall(data)
            except OSError:
                return

    thread = threading.Thread(target=answer, daemon=True)
    thread.start()
    try:
        yield server.getsockname()[1]
    finally:
        server.close()
        thread.join(5)


def test_an_answer_without_end_is_cut() -> None:
    with sending(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 60_000, endless=True) as port:
        assert NetworkProber(http_port=port, https_port=1).look("127.0.0.1", "ab").http


def test_what_is_no_http_is_none() -> None:
    with sending(b"SSH-2.0-OpenSSH_9.6\r\n") as port:
        assert not NetworkProber(http_port=port, https_port=1).look("127.0.0.1", "ab").http


def test_a_machine_that_is_silent_is_not_waited_for() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        prober = NetworkProber(http_port=port, https_port=port, timeout_s=0.2)
        assert prober.look("127.0.0.1", "ab") == Probed()
