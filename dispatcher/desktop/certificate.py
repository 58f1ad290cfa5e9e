"""The self-signed TLS certificate of one machine.

The run makes it before the machine exists, so nothing about it has to be trusted on first use: probes
and the gateway compare its fingerprint, and no certificate authority is asked.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

_NAME_LENGTH = 64  # of a common name: RFC 5280, ub-common-name


@dataclass(frozen=True, kw_only=True, slots=True)
class Certificate:
    """A certificate and its key.

    Attributes:
        pem, key_pem: certificate and private key, as nginx reads them.
        fingerprint: SHA-256 of the certificate's DER form, 64 hex digits in lower case.
    """

    pem: str
    key_pem: str = field(repr=False)
    fingerprint: str

    @property
    def secret(self) -> str:
        """The private key in base64, without the lines around it, to look for it in what others write."""
        return "".join(self.key_pem.splitlines()[1:-1])


def make_certificate(desktop_id: str, *, now: float, days: int = 825) -> Certificate:
    """Make one whose names are the desktop's id and ``localhost``.

    Args:
        now: seconds since the epoch; valid from a day before, for clocks that are late.
        days: that it is valid.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, desktop_id[:_NAME_LENGTH])])
    at = datetime.fromtimestamp(now, UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(at - timedelta(days=1))
        .not_valid_after(at + timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        # The machine asks itself by the name of its loopback.
        .add_extension(
            x509.SubjectAlternativeName([x509.DNSName(desktop_id), x509.DNSName("localhost")]),
            critical=False,
        )
        .sign(key, SHA256())
    )
    return Certificate(
        pem=certificate.public_bytes(Encoding.PEM).decode(),
        key_pem=key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode(),
        fingerprint=certificate.fingerprint(SHA256()).hex(),
    )
