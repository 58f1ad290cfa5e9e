"""What an nginx needs to be the gateway of desktops: the address of each host name, and certificates.

The rest of its configuration is the operator's (``actions/desktop/gateway``). Only what a signed result
wrote is used. A machine's certificate is fetched from the machine, once, and counts if it has the
fingerprint of the inventory entry; nginx then accepts no other one at that host name.
"""

from __future__ import annotations

import hashlib
import os
import socket
import ssl
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from dispatcher.desktop.certificate import make_certificate
from dispatcher.errors import DisintoError, InvalidValue, Misconfigured, reason_of
from dispatcher.loop.inventory import InventoryEntry
from dispatcher.operate.desktop_access import DesktopUnreachable, Target, place_of

ADDRESSES, CERTIFICATES = "addresses", "certificates.pem"
"""Names of the two files."""

TIMEOUT_S = 5.0
"""Of a connection to a machine, and of the handshake."""

_NOBODY = "no-desktop.invalid"
_HEADER = "# Written by 'disinto desktop gateway'.\n"

Fetch = Callable[[str, int], bytes]
"""The certificate (DER) that an address and port show; raises OSError or ValueError."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Site:
    """One desktop at the gateway.

    Attributes:
        id: of the desktop.
        host: its host name, without a port.
        address: of its machine, with a port, as nginx takes it.
        pem: its certificate.
    """

    id: str
    host: str
    address: str
    pem: str


@dataclass(frozen=True, kw_only=True, slots=True)
class LeftOut:
    """A desktop that the gateway does not lead to.

    Attributes:
        reason: in words.
        retry: whether the machine did not answer, so that another attempt may help.
    """

    id: str
    reason: str
    retry: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Gateway:
    """What was written.

    Attributes:
        changed: whether a file is not as it was, so that nginx has to read it.
    """

    sites: tuple[Site, ...]
    left_out: tuple[LeftOut, ...]
    changed: bool


def fetch_certificate(host: str, port: int) -> bytes:
    """The certificate that is shown at an address, unverified; nothing is sent."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with (
        socket.create_connection((host, port), timeout=TIMEOUT_S) as plain,
        context.wrap_socket(plain) as secured,
    ):
        return secured.getpeercert(binary_form=True) or b""


def write_gateway(
    directory: Path, entries: Iterable[InventoryEntry], *, fetch: Fetch = fetch_certificate
) -> Gateway:
    """Write both files, if they change. A desktop that cannot be added keeps no other one out.

    Args:
        directory: made if it is missing.
        entries: desktops of the inventory; those that are behind no gateway are passed over.

    Raises:
        Misconfigured: the directory cannot be written.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        known = _certificates(directory / CERTIFICATES)
        sites, left_out = _sites(entries, known, fetch)
        addresses = "".join(f'{site.host} "{site.address}";\n' for site in sites)
        # nginx does not start with a file that has no certificate.
        pems = "".join(site.pem for site in sites) or _placeholder(known)
        changed = [
            _replace(directory / CERTIFICATES, pems),
            _replace(directory / ADDRESSES, _HEADER + addresses),
        ]
    except OSError as error:
        raise Misconfigured(
            f"{error.filename or directory} cannot be written: {error.strerror}",
            remedy="Name a directory that you may write, such as /etc/nginx/disinto-desktops.",
        ) from None
    return Gateway(sites=tuple(sites), left_out=tuple(left_out), changed=any(changed))


def _sites(
    entries: Iterable[InventoryEntry], known: Mapping[str, str], fetch: Fetch
) -> tuple[list[Site], list[LeftOut]]:
    sites: list[Site] = []
    left_out: list[LeftOut] = []
    for entry in sorted(entries, key=lambda each: each.id):
        if not entry.problem and not entry.entry.get("gateway_host"):
            continue
        try:
            sites.append(_site(entry, known, fetch))
        except DisintoError as error:
            retry = isinstance(error, DesktopUnreachable)
            left_out.append(LeftOut(id=entry.id, reason=error.what, retry=retry))
    return sites, left_out


def _site(entry: InventoryEntry, known: Mapping[str, str], fetch: Fetch) -> Site:
    """One desktop; its certificate is the one that is known, or the machine's.

    Raises:
        DisintoError: why it cannot be at the gateway.
    """
    at_gateway, machine = place_of(entry, Target.GATEWAY), place_of(entry, Target.IP)
    host = urlsplit(at_gateway.base).hostname or ""
    place = urlsplit(machine.base)
    name, port = place.hostname or "", place.port or 443
    address = f"[{name}]:{port}" if ":" in name else f"{name}:{port}"
    pem = known.get(machine.fingerprint)
    if pem is None:
        pem = _fetched(entry.id, name, port, machine.fingerprint, fetch)
    return Site(id=entry.id, host=host, address=address, pem=pem)


def _fetched(desktop_id: str, host: str, port: int, fingerprint: str, fetch: Fetch) -> str:
    try:
        der = fetch(host, port)
    except (OSError, ValueError) as error:
        raise DesktopUnreachable(f"its machine cannot be reached: {reason_of(error)}") from None
    if hashlib.sha256(der).hexdigest() != fingerprint:
        raise DesktopUnreachable(
            "its machine's certificate is not the one with the fingerprint in the inventory"
        )
    pem = _pem_of(der, desktop_id)
    if not pem:
        raise InvalidValue(
            f"its machine's certificate is not one for {desktop_id} alone",
            remedy="It was not made by the formula 'desktop'.",
        )
    return pem


def _pem_of(der: bytes, desktop_id: str) -> str:
    """A certificate that is one for a desktop alone; "" for any other."""
    try:
        certificate = x509.load_der_x509_certificate(der)
        own = _is_of(certificate, desktop_id)
    except (ValueError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType):
        return ""  # OpenSSL accepts some that are malformed
    return certificate.public_bytes(Encoding.PEM).decode() if own else ""


def _is_of(certificate: x509.Certificate, desktop_id: str) -> bool:
    """Whether it names the desktop, and cannot sign certificates for others."""
    extensions = certificate.extensions
    try:
        names = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        basic = extensions.get_extension_for_class(x509.BasicConstraints).value
    except x509.ExtensionNotFound:
        return False
    own = {desktop_id, "localhost"}
    return (
        not basic.ca
        and desktop_id in (found := set(names.get_values_for_type(x509.DNSName)))
        and found <= own
    )


def _certificates(file: Path) -> dict[str, str]:
    """The certificates of a file, by their fingerprints; none if it cannot be read."""
    try:
        certificates = x509.load_pem_x509_certificates(file.read_bytes())
    except (FileNotFoundError, ValueError):
        return {}
    return {
        each.fingerprint(SHA256()).hex(): each.public_bytes(Encoding.PEM).decode()
        for each in certificates
    }


def _placeholder(known: Mapping[str, str]) -> str:
    """A certificate whose key nobody has, for a gateway without desktops."""
    for pem in known.values():
        subject = x509.load_pem_x509_certificate(pem.encode()).subject
        names = subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        if [name.value for name in names] == [_NOBODY]:
            return pem
    return make_certificate(_NOBODY, now=time.time()).pem


def _replace(file: Path, text: str) -> bool:
    """Write a file at once and whole, if it changes; whether it did."""
    with suppress(FileNotFoundError):
        if file.read_bytes() == text.encode():
            return False
    handle, new = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}-")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as opened:
            opened.write(text)
        Path(new).chmod(0o644)  # no secrets, and nginx may be somebody else
        Path(new).replace(file)
    except BaseException:
        Path(new).unlink(missing_ok=True)
        raise
    return True
