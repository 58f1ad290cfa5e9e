"""Host names at a gateway: one per desktop, because a browser keeps one Guacamole session per origin. Pure."""

from __future__ import annotations

import re

ID_RULE = "Behind a gateway, use letters, digits and - in ids of desktops, at most 63."
"""Which ids can be host names, in words."""

_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?", re.ASCII)
_HOST = re.compile(
    rf"(?=[^:]{{1,180}}(?::|\Z)){_LABEL.pattern}(?:\.{_LABEL.pattern})*(?::([0-9]{{1,5}}))?",
    re.ASCII,
)
_OF_EVERY_MACHINE = "localhost"  # a name of every machine's certificate


def is_gateway_host(host: str) -> bool:
    """Whether this can be the domain of a gateway, perhaps with a port."""
    match = _HOST.fullmatch(host)
    return match is not None and 0 < int(match[1] or 443) < 65536


def host_at(gateway_host: str, desktop_id: str) -> str:
    """Host name of a desktop, with the gateway's port if it has one; "" if there can be none."""
    if not is_gateway_host(gateway_host) or desktop_id == _OF_EVERY_MACHINE:
        return ""
    return f"{desktop_id}.{gateway_host}" if _LABEL.fullmatch(desktop_id) else ""
