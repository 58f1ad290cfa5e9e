"""What a run does to the inventory by its outputs; what is probed, and how; who approves an expiry."""

from __future__ import annotations

import hashlib
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.gate import Answer, Question
from dispatcher.gate.expiry import approved_by_lifetime
from dispatcher.loop.inventory import InventoryEntry
from dispatcher.model.approval_need import PLAIN, Need, Rule
from dispatcher.model.inventory import Change, Declaration
from dispatcher.model.inventory_entry import declared_change
from dispatcher.model.result import ResultInventory
from dispatcher.model.run import Tier
from dispatcher.operate.probe import ADDRESSES, Probed, probe

CREATES = Declaration(change=Change.CREATES, kind="machine", destroyed_by="unmake")
DESTROYS = Declaration(change=Change.DESTROYS, kind="machine")

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["id", "expires_at", "probe", "x"]), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(
    declares=st.sampled_from([CREATES, DESTROYS, Declaration(change=Change.UPDATES, kind="m")]),
    outputs=st.dictionaries(st.sampled_from(["inventory", "x"]), json_values, max_size=2),
    succeeded=st.booleans(),
)
def test_whatever_a_formula_leaves_a_result_can_hold_it(
    declares: Declaration, outputs: dict[str, object], *, succeeded: bool
) -> None:
    made, trouble = declared_change(declares, outputs, action_id="web", succeeded=succeeded)
    if made is None:
        assert trouble or not succeeded
        return
    done = ResultInventory.model_validate(made)
    assert (done.change, done.kind) == (declares.change, declares.kind)
    assert done.change is not Change.CREATES or done.id == "web"
    assert done.change is not Change.DESTROYS or (succeeded and done.entry == {})


@pytest.mark.parametrize(
    ("given", "entered"),
    [
        ("2026-11-22T10:00:00+14:00", "2026-11-21T20:00:00.000Z"),
        ("2026-11-22T10:00:00.123456-02:30", "2026-11-22T12:30:00.123Z"),
        ("2026-11-22\x0010:00:00Z", "2026-11-22T10:00:00.000Z"),
        ("2026-11-22\x1b10:00Z", "2026-11-22T10:00:00.000Z"),
        ("2026-11-22\u202e10:00:00Z", "2026-11-22T10:00:00.000Z"),
        ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00.000Z"),
        ("0001-01-01T00:00:00+14:00", None), ("9999-12-31T23:59:59-01:00", None),
        ("2026-11-22T10:00:00", None), ("-1", None), (1_800_000_000, None), (["2026"], None),
    ],
)  # fmt: skip
def test_a_lifetime_is_entered_in_utc_and_as_nothing_but_a_time(
    given: object, entered: str | None
) -> None:
    outputs = {"inventory": {"expires_at": given}}
    made, trouble = declared_change(CREATES, outputs, action_id="web", succeeded=True)
    assert made is not None
    assert made["expires_at"] == entered
    assert ("no expiry" in trouble) == (entered is None)


def entry(**facts: Any) -> InventoryEntry:
    return InventoryEntry(kind="machine", id="web", blob="b" * 40, entry=facts)


@contextmanager
def listening(folder: Path | None = None) -> Iterator[tuple[int, str, list[bytes]]]:
    """A server, with TLS if it gets a directory: its port, its fingerprint and what it received."""
    received: list[bytes] = []
    server = socket.create_server(("127.0.0.1", 0))
    context, fingerprint = _tls(folder) if folder else (None, "")

    def serve() -> None:
        while True:
            try:
                connection, _ = server.accept()
                if context is not None:
                    connection = context.wrap_socket(connection, server_side=True)
                with connection:
                    received.append(connection.recv(100))
            except (OSError, ssl.SSLError):
                if server.fileno() < 0:
                    return

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield server.getsockname()[1], fingerprint, received
    finally:
        server.shutdown(socket.SHUT_RDWR)
        server.close()
        thread.join(5)


def _tls(folder: Path) -> tuple[ssl.SSLContext, str]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "machine")])
    now = datetime.now(UTC).replace(tzinfo=None)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now)
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    pem, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    text = certificate.public_bytes(pem) + key.private_bytes(
        pem, form, serialization.NoEncryption()
    )
    (folder / "server.pem").write_bytes(text)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem")
    digest = hashlib.sha256(certificate.public_bytes(serialization.Encoding.DER)).hexdigest()
    return context, digest


def one(each: InventoryEntry) -> Probed:
    (probed,) = probe([each], timeout_s=2)["machine", "web"]
    return probed


def test_a_pinned_certificate_is_compared_and_nothing_is_sent(tmp_path: Path) -> None:
    with listening(tmp_path) as (port, fingerprint, received):
        address = f"https://127.0.0.1:{port}/guacamole/"
        colons = ":".join(fingerprint[i : i + 2] for i in range(0, 64, 2)).upper()
        assert one(entry(probe=[address], fingerprint=fingerprint)).reachable
        assert one(entry(probe=[address], fingerprint=colons)).reachable
        other = one(entry(probe=[address], fingerprint="0" * 64))
        assert (other.reachable, "fingerprint" in other.reason) == (False, True)
        assert not one(entry(probe=[address])).reachable, "without a pin it has to be verified"
        assert one(entry(probe=[f"tcp://127.0.0.1:{port}"])).reachable
    assert set(received) <= {b""}


def test_a_port_that_nobody_listens_on_is_not_reached() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    assert "refused" in one(entry(probe=[f"tcp://127.0.0.1:{port}"])).reason.lower()


@pytest.mark.parametrize(
    "address",
    [
        "",
        "web",
        "file:///etc/passwd",
        "tcp://127.0.0.1",
        "https://",
        "http://[",
        "tcp://h:99999",
        7,
    ],
)
def test_odd_addresses_are_not_connected_to(address: object) -> None:
    assert "it is not https://" in one(entry(probe=[address])).reason


def test_what_is_not_believed_is_not_probed_and_a_list_has_an_end() -> None:
    forged = InventoryEntry(
        kind="machine", id="f", blob="b", problem="forged", entry={"probe": ["tcp://127.0.0.1:1"]}
    )
    assert probe([forged]) == {}
    many = probe([entry(probe=["nonsense"] * 50)])["machine", "web"]
    assert len(many) == ADDRESSES
    assert (
        probe(
            [
                entry(probe="nonsense"),
            ]
        )["machine", "web"]
        == ()
    )


@pytest.mark.parametrize(
    ("had", "needs", "approved"),
    [("high", Tier.HIGH, True), ("low", Tier.LOW, True), ("medium", Tier.HIGH, False)],
)
def test_a_lifetime_approves_up_to_the_tier_that_gave_it(
    had: str, needs: Tier, *, approved: bool
) -> None:
    question = Question(
        action_id="x",
        path="p",
        blob="b" * 40,
        commit="c" * 40,
        tier=needs,
        need=PLAIN,
        formula_need=PLAIN,
    )
    text = '{"tier": "%s", "approved_by": ["ada"], "result": "web"}'.replace("%s", had)
    decision = approved_by_lifetime(question, text.encode(), origin="expiry web")
    two = replace(question, need=Need(rules=(Rule(approvals=2),)))
    counted = approved_by_lifetime(two, text.encode(), origin="expiry web")
    assert (counted is not None) == (approved and needs is Tier.LOW)
    assert (decision is not None) == approved
    if decision is not None:
        assert (decision.answer, decision.approved_by) == (Answer.APPROVED, ("ada",))
    for odd in (b"", b"[]", b"{}", b'{"tier": "none"}', b"[" * 9_000):
        assert approved_by_lifetime(question, odd, origin="x") is None
