"""What the gateway's nginx is given: who is in it, by which certificate, and when it has to be reloaded."""

from __future__ import annotations

import hashlib
import ssl
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from dispatcher.desktop.certificate import Certificate, make_certificate
from dispatcher.desktop.gateway import host_at, is_gateway_host
from dispatcher.errors import Misconfigured
from dispatcher.loop.inventory import InventoryEntry
from dispatcher.operate.desktop_gateway import ADDRESSES, CERTIFICATES, write_gateway

HOST = "desks.example"


class Machines:
    """The machines of desktops, and what they show when they are asked for a certificate."""

    def __init__(self, *ids: str) -> None:
        self.certificates = {name: make_certificate(name, now=1_800_000_000) for name in ids}
        self.ips = {name: f"198.51.100.{number}" for number, name in enumerate(ids, 1)}
        self.asked: list[str] = []
        self.shown: dict[str, Certificate | OSError] = {
            self.ips[name]: self.certificates[name] for name in ids
        }

    def entry(self, name: str, **changed: Any) -> InventoryEntry:
        facts = {
            "state": "ACTIVE",
            "address": self.ips[name],
            "fingerprint": self.certificates[name].fingerprint,
            "gateway_host": HOST,
        }
        return InventoryEntry(
            kind="desktop", id=name, blob="b" * 40, result=name, entry={**facts, **changed}
        )

    def fetch(self, host: str, port: int) -> bytes:
        assert port
        self.asked.append(host)
        shown = self.shown[host]
        if isinstance(shown, OSError):
            raise shown
        return ssl.PEM_cert_to_DER_cert(shown.pem)


def certificates(directory: Path) -> int:
    return len(x509.load_pem_x509_certificates((directory / CERTIFICATES).read_bytes()))


def test_each_desktop_has_a_host_name_and_its_own_certificate(tmp_path: Path) -> None:
    machines = Machines("desk-1", "desk-2")
    entries = [machines.entry("desk-2"), machines.entry("desk-1", gateway_host=f"{HOST}:8443")]
    made = write_gateway(tmp_path / "new", entries, fetch=machines.fetch)
    assert made.changed
    assert (tmp_path / "new" / ADDRESSES).read_text().splitlines()[1:] == [
        'desk-1.desks.example "198.51.100.1:443";',
        'desk-2.desks.example "198.51.100.2:443";',
    ]
    assert (tmp_path / "new" / CERTIFICATES).read_text() == "".join(
        machines.certificates[name].pem for name in ("desk-1", "desk-2")
    )
    assert (tmp_path / "new" / ADDRESSES).stat().st_mode & 0o777 == 0o644


def test_nothing_changes_and_no_machine_is_asked_the_second_time(tmp_path: Path) -> None:
    machines = Machines("desk-1")
    write_gateway(tmp_path, [machines.entry("desk-1")], fetch=machines.fetch)
    machines.shown["198.51.100.1"] = OSError("it reboots")
    again = write_gateway(tmp_path, [machines.entry("desk-1")], fetch=machines.fetch)
    assert not again.changed
    assert [site.id for site in again.sites] == ["desk-1"]
    assert machines.asked == ["198.51.100.1"]
    assert sorted(file.name for file in tmp_path.iterdir()) == [ADDRESSES, CERTIFICATES]


def test_a_certificate_that_cannot_be_read_keeps_no_other_out(tmp_path: Path) -> None:
    machines = Machines("desk-1", "desk-2")
    odd = b"no certificate, though its machine shows it"
    entries = [machines.entry("desk-1", fingerprint=hashlib.sha256(odd).hexdigest())]
    entries.append(machines.entry("desk-2"))

    def fetch(host: str, port: int) -> bytes:
        return odd if host == machines.ips["desk-1"] else machines.fetch(host, port)

    made = write_gateway(tmp_path, entries, fetch=fetch)
    assert [site.id for site in made.sites] == ["desk-2"]
    assert "not one for desk-1 alone" in made.left_out[0].reason


def test_a_certificate_without_a_name_does_not_keep_the_last_one_from_leaving(
    tmp_path: Path,
) -> None:
    nameless = _authority("").pem
    (tmp_path / CERTIFICATES).write_text(nameless)
    assert write_gateway(tmp_path, [], fetch=Machines().fetch).changed
    assert nameless not in (tmp_path / CERTIFICATES).read_text()


def test_one_that_is_destroyed_goes_and_nginx_can_start_without_any(tmp_path: Path) -> None:
    machines = Machines("desk-1")
    write_gateway(tmp_path, [machines.entry("desk-1")], fetch=machines.fetch)
    gone = write_gateway(tmp_path, [], fetch=machines.fetch)
    assert gone.changed
    assert "desk-1" not in (tmp_path / ADDRESSES).read_text()
    assert certificates(tmp_path) == 1, "nginx refuses a file without one"
    assert machines.certificates["desk-1"].pem not in (tmp_path / CERTIFICATES).read_text()
    assert not write_gateway(tmp_path, [], fetch=machines.fetch).changed


@pytest.mark.parametrize(
    ("changed", "reason", "retry"),
    [
        ({"state": "ERROR"}, "is not active: ERROR", False),
        ({"address": "198.51.100.2;}"}, "no address", False),
        ({"address": "evil.example"}, "no address", False),
        ({"gateway_host": 'desks.example"; include /etc/shadow'}, "cannot be a host name", False),
        ({"gateway_host": "."}, "cannot be a host name", False),
        ({"fingerprint": "ab" * 32}, "not the one with the fingerprint", True),
    ],
)
def test_one_that_cannot_be_there_keeps_no_other_out(
    tmp_path: Path, changed: dict[str, Any], reason: str, retry: bool
) -> None:
    machines = Machines("desk-1", "desk-2")
    entries = [machines.entry("desk-1", **changed), machines.entry("desk-2")]
    made = write_gateway(tmp_path, entries, fetch=machines.fetch)
    assert [site.id for site in made.sites] == ["desk-2"]
    (left,) = made.left_out
    assert (left.id, left.retry) == ("desk-1", retry)
    assert reason in left.reason


def test_what_is_not_believed_is_not_contacted(tmp_path: Path) -> None:
    machines = Machines("desk-1")
    doubtful = replace(machines.entry("desk-1"), problem="it differs")
    made = write_gateway(tmp_path, [doubtful], fetch=machines.fetch)
    assert [left.retry for left in made.left_out] == [False]
    assert not machines.asked


def test_a_machine_that_does_not_answer_is_left_out_for_now(tmp_path: Path) -> None:
    machines = Machines("desk-1")
    machines.shown["198.51.100.1"] = ConnectionRefusedError(111, "Connection refused")
    (left,) = write_gateway(tmp_path, [machines.entry("desk-1")], fetch=machines.fetch).left_out
    assert left.retry
    assert "Connection refused" in left.reason


@pytest.mark.parametrize("name", ["desk-2", "localhost"])
def test_a_certificate_for_others_is_not_trusted(tmp_path: Path, name: str) -> None:
    """It would count at the host names of those others."""
    machines = Machines("desk-1")
    machines.certificates["desk-1"] = foreign = make_certificate(name, now=1_800_000_000)
    machines.shown["198.51.100.1"] = foreign
    (left,) = write_gateway(tmp_path, [machines.entry("desk-1")], fetch=machines.fetch).left_out
    assert "not one for desk-1 alone" in left.reason


def test_a_certificate_that_can_sign_for_others_is_not_trusted(tmp_path: Path) -> None:
    machines = Machines("desk-1")
    machines.certificates["desk-1"] = authority = _authority("desk-1")
    machines.shown["198.51.100.1"] = authority
    (left,) = write_gateway(tmp_path, [machines.entry("desk-1")], fetch=machines.fetch).left_out
    assert "not one for desk-1 alone" in left.reason


def _authority(name: str) -> Certificate:
    key = ec.generate_private_key(ec.SECP256R1())
    own = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)] if name else [])
    begin = datetime(2027, 1, 1, tzinfo=UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(own)
        .issuer_name(own)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(begin)
        .not_valid_after(begin + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, SHA256())
    )
    return Certificate(
        pem=made.public_bytes(Encoding.PEM).decode(),
        key_pem="",
        fingerprint=made.fingerprint(SHA256()).hex(),
    )


def test_one_behind_no_gateway_is_not_mentioned(tmp_path: Path) -> None:
    machines = Machines("desk-1")
    made = write_gateway(
        tmp_path, [machines.entry("desk-1", gateway_host="")], fetch=machines.fetch
    )
    assert (made.sites, made.left_out) == ((), ())


def test_a_directory_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Misconfigured, match="cannot be written"):
        write_gateway(tmp_path / "file" / "below", [])


@pytest.mark.parametrize("data", [b"\xff", b"# Written", b""])
def test_files_that_somebody_changed_are_written_again(data: bytes, tmp_path: Path) -> None:
    for name in (ADDRESSES, CERTIFICATES):
        (tmp_path / name).write_bytes(data)
    assert write_gateway(tmp_path, []).changed
    assert not write_gateway(tmp_path, []).changed
    (tmp_path / ADDRESSES).unlink()
    (tmp_path / ADDRESSES).mkdir()
    with pytest.raises(Misconfigured, match="addresses cannot be written: Is a directory"):
        write_gateway(tmp_path, [])


@pytest.mark.parametrize("desktop_id", ["a_b", "x" * 64, "-a", "a-", "localhost", "a.b", ""])
def test_an_id_that_is_no_host_name(desktop_id: str) -> None:
    assert host_at(HOST, desktop_id) == ""


@pytest.mark.parametrize(
    "host",
    [
        "",
        ".example",
        "a b",
        "Desks.example",
        "a:99999x",
        "x\n",
        "a..b",
        "a:0",
        "a:65536",
        "b." * 90 + "example",
        "x" * 64,
    ],
)
def test_a_domain_that_is_none(host: str) -> None:
    assert not is_gateway_host(host)
    assert host_at(host, "desk-1") == ""
