"""Checks of server addresses in the settings. Pure."""

from __future__ import annotations

from urllib.parse import urlsplit

_ANYWHERE = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]", "": "127.0.0.1"}  # noqa: S104 - nothing is bound
"""Addresses to listen on to which no connection is possible, and where to connect instead."""


def reached_at(listen: str) -> str:
    """host:port at which this machine reaches what listens on ``listen``."""
    host, _, port = listen.rpartition(":")
    return f"{_ANYWHERE.get(host, host)}:{port}"


def has_password(address: str) -> bool:
    """Whether an address contains a password."""
    try:
        return "://" in address and urlsplit(address).password is not None
    except ValueError:
        return False


def is_http(address: str) -> bool:
    """Whether it is an address for http or https."""
    try:
        parts = urlsplit(address)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is no number, a broken IPv6 address
        return False


def is_plain_http(address: str) -> bool:
    """Whether it is plain http to another machine; loopback does not leave this one."""
    if not address.lower().startswith("http://"):
        return False
    return not is_loopback(urlsplit(address).hostname or "")


def is_loopback(host: str) -> bool:
    """Whether a host, by its name or number, is this machine by way of its loopback."""
    from ipaddress import ip_address  # most settings need it not, and every command reads them

    host = host.rstrip(".").lower()
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def origin(address: str) -> str:
    """Scheme, host and port, without a path, a user's name or password."""
    parts = urlsplit(address)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
