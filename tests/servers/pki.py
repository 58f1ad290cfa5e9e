"""OpenBao's PKI engine."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

from tests.servers.bao import Bao

_mounts = itertools.count(1)


@dataclass(frozen=True, kw_only=True)
class Pki:
    """A PKI mount with the roles ``web``, whose certificates are leases, and ``unleased``."""

    bao: Bao
    mount: str

    def issue(self, token: str, role: str = "web", **body: str) -> dict[str, Any]:
        client = self.bao.client(token)
        answer: dict[str, Any] = client.write_data(f"{self.mount}/issue/{role}", data=body)
        return answer

    def revoked_at(self, serial: str) -> int:
        """Seconds since the epoch; 0 for a certificate that is good.

        Args:
            serial: as the engine writes it, bytes in hex with colons.
        """
        found = self.bao.client().read(f"{self.mount}/cert/{serial}")
        return int(found["data"]["revocation_time"])


def pki_engine(bao: Bao) -> Pki:
    """A mount of its own; each test may have one."""
    client = bao.client()
    mount = f"pki{next(_mounts)}"
    client.sys.enable_secrets_engine("pki", path=mount)
    client.write_data(f"{mount}/root/generate/internal", data={"common_name": "root", "ttl": "24h"})
    for role, leased in (("web", True), ("unleased", False)):
        body = {"allow_any_name": True, "max_ttl": "2h", "generate_lease": leased}
        client.write_data(f"{mount}/roles/{role}", data=body)
    return Pki(bao=bao, mount=mount)
