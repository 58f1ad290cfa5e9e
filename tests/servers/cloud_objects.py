"""What the account of the fake cloud consists of, as its API describes it: machines, images, the account."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

API = "https://api.digitalocean.com"
REGIONS = ("sfo3", "nyc1", "nyc3")
SIZES = {"s-2vcpu-4gb": (2, 4096, 80), "s-4vcpu-8gb": (4, 8192, 160)}
ACCOUNT: dict[str, Any] = {
    "droplet_limit": 25,
    "floating_ip_limit": 5,
    "email": "sammy@example.com",
    "uuid": "b6fr89dbf6d9156cace5f3c78dc9851d957381ef",
    "email_verified": True,
    "status": "active",
    "status_message": "",
}


@dataclass(kw_only=True)
class FakeDroplet:
    """One machine. Times are seconds since the epoch."""

    id: int
    name: str
    region: str
    size: str
    image: str
    tags: list[str]
    user_data: str
    created_at: float
    known_at: float
    listed_at: float
    tagged_at: float
    active_at: float
    ip_at: float
    ip: str
    deleted_at: float | None = None


def described(droplet: FakeDroplet, now: float) -> dict[str, Any]:
    """A machine, as it is at this time."""
    vcpus, memory, disk = SIZES[droplet.size]
    v4 = [
        {"ip_address": "10.20.0.2", "netmask": "255.255.0.0", "type": "private"},
        {
            "ip_address": droplet.ip,
            "netmask": "255.255.240.0",
            "gateway": "198.51.100.1",
            "type": "public",
        },
    ]
    return {
        "id": droplet.id,
        "name": droplet.name,
        "memory": memory,
        "vcpus": vcpus,
        "disk": disk,
        "locked": False,
        "status": "active" if now >= droplet.active_at else "new",
        "created_at": datetime.fromtimestamp(droplet.created_at, UTC).strftime(
            "%Y-%m-%dT%H:%M:%SZ"
        ),
        "features": [],
        "backup_ids": [],
        "next_backup_window": None,
        "snapshot_ids": [],
        "image": IMAGES[0],
        "volume_ids": [],
        "size": {
            "slug": droplet.size,
            "memory": memory,
            "vcpus": vcpus,
            "disk": disk,
            "transfer": 4.0,
            "price_monthly": 24.0,
            "price_hourly": 0.035,
            "regions": list(REGIONS),
            "available": True,
            "description": "Basic",
        },
        "size_slug": droplet.size,
        "networks": {"v4": v4 if now >= droplet.ip_at else [], "v6": []},
        "region": {
            "name": droplet.region.upper(),
            "slug": droplet.region,
            "features": ["metadata"],
            "available": True,
            "sizes": list(SIZES),
        },
        "tags": droplet.tags if now >= droplet.tagged_at else [],
    }


def _image(name: str, slug: str, *, distribution: str = "Ubuntu", **more: Any) -> dict[str, Any]:
    return {
        "id": 100 + sum(map(ord, slug)),
        "name": name,
        "type": "base",
        "distribution": distribution,
        "slug": slug,
        "public": True,
        "regions": list(REGIONS),
        "created_at": "2026-05-01T00:00:00Z",
        "min_disk_size": 7,
        "size_gigabytes": 0.6,
        "description": "",
        "tags": [],
        "status": "available",
        "error_message": "",
        **more,
    }


IMAGES = [
    _image("22.04 (LTS) x64", "ubuntu-22-04-x64"),
    _image("24.04 (LTS) x64", "ubuntu-24-04-x64"),
    _image("25.10 x64", "ubuntu-25-10-x64"),
    _image("26.04 (LTS) x64", "ubuntu-26-04-x64", regions=["nyc3"]),
    _image("28.04 (LTS) x64", "ubuntu-28-04-x64", status="pending"),
    _image("12 x64", "debian-12-x64", distribution="Debian"),
]
