"""A cloud provider as the life cycle sees it: few methods, and errors that say what they prove.

What ``CloudRefused``, ``CloudBusy`` and ``CloudUnclear`` prove is said in ``provision.provider``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Protocol

from dispatcher.provision.provider import ProviderBusy, ProviderRefused, ProviderUnclear

TOKEN = "DIGITALOCEAN_API_TOKEN"  # noqa: S105 - a name
"""The secret, and environment variable, that holds the provider's token."""

NAME = re.compile(r"[a-z]([a-z0-9-]{0,39}[a-z0-9])?")
"""Names of our machines, as ``desktop.schema.json`` has it."""


class CloudRefused(ProviderRefused):
    """The request was understood and rejected: credentials, quota, region, size, user data."""


class CloudBusy(ProviderBusy):
    """Nothing was done, and later it may be."""


class CloudLocked(CloudBusy):
    """One machine cannot be changed yet, for example while an event of it is under way; others can."""


class CloudUnclear(ProviderUnclear):
    """No usable answer: the machine may have been made, or deleted."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Droplet:
    """One machine at the provider.

    Attributes:
        id: the provider's.
        name: as ``NAME`` has it; "" for any other.
        status: ``new``, ``active``, ``off`` or ``archive``.
        ip: its public IPv4 address; "" while it has none.
        region, size: slugs; "" for what is none.
        tags: in the provider's order.
        created_at: seconds since the epoch, by the provider's clock.
    """

    id: int
    name: str
    status: str
    ip: str
    region: str
    size: str
    tags: tuple[str, ...]
    created_at: float

    def has_tag(self, tag: str) -> bool:
        """Whether it carries a tag. DigitalOcean keeps the case of a tag's first use."""
        return tag.casefold() in map(str.casefold, self.tags)


@dataclass(frozen=True, kw_only=True, slots=True)
class Order:
    """What to create.

    Attributes:
        image: slug of a distribution, or slug or number of a snapshot.
        ssh_keys: fingerprints or numbers of keys that the account has.
        user_data: holds credentials, so it is kept out of ``repr``.
    """

    name: str
    region: str
    size: str
    image: str
    tags: tuple[str, ...]
    ssh_keys: tuple[str, ...] = ()
    user_data: str = field(default="", repr=False)


class Cloud(Protocol):
    """The provider. Every method raises ``CloudRefused``, ``CloudBusy`` and ``CloudUnclear``."""

    @property
    def requests_left(self) -> float | None:
        """The part of the account's requests per hour that is left, by the last answer; None if unknown."""

    def create(self, order: Order) -> Droplet:
        """Ask for one machine. It is accepted, not made: status ``new`` and no address.

        An answer that names a machine without the order's tags is ``CloudUnclear``: nothing shows that it is ours.
        """

    def get(self, droplet_id: int) -> Droplet | None:
        """One machine; None if the provider does not know it, which proves nothing of a new one."""

    def tagged(self, tag: str) -> list[Droplet]:
        """All machines with a tag, on all pages."""

    def delete(self, droplet_id: int) -> bool:
        """Delete one machine. False if the provider does not know it, which proves nothing of a
        new one. ``CloudLocked`` if only this one cannot be deleted now.
        """

    def newest_ubuntu(self, region: str) -> str:
        """Slug of the newest Ubuntu LTS image that a region has."""
