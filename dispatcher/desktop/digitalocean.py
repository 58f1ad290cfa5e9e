"""The adapter for DigitalOcean's API v2. The only module that knows it.

It creates nothing twice: no request is repeated here. What a failure proves is in the error's type; see
``cloud``. No text of an error contains user data, which holds credentials.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from ipaddress import IPv4Address
from typing import Any, NoReturn

import httpx
from pydantic import BaseModel, Field, ValidationError

from dispatcher.desktop.cloud import TOKEN, CloudBusy, CloudRefused, CloudUnclear, Droplet, Order
from dispatcher.errors import Misconfigured, origin_of
from dispatcher.model.times import epoch
from dispatcher.provision.http import TIMEOUT_S, HttpClient, Raw, header_number, sendable

API = "https://api.digitalocean.com"
PAGE = 200
MAX_PAGES = 50
_TEXT_LIMIT = 300
_NAME_LIMIT = 255
_UBUNTU = re.compile(r"ubuntu-(\d\d)-(\d\d)-x64", re.ASCII)
_QUOTA = "will exceed your droplet limit"
_SCOPES = "droplet:create, droplet:read, droplet:delete, tag:create, tag:read, image:read and ssh_key:read"
_LONGEST_RETRY_S = 3600.0


class _Address(BaseModel):
    ip_address: str = ""
    type: str = ""


class _Networks(BaseModel):
    v4: list[_Address] = Field(default_factory=list)


class _Region(BaseModel):
    slug: str = ""


class _Droplet(BaseModel):
    id: int = Field(gt=0)
    name: str
    status: str
    created_at: str
    size_slug: str = ""
    networks: _Networks = Field(default_factory=_Networks)
    region: _Region = Field(default_factory=_Region)
    tags: list[str] = Field(default_factory=list)

    def plain(self) -> Droplet:
        public = (each.ip_address for each in self.networks.v4 if each.type == "public")
        ip = next(public, "")
        return Droplet(
            id=self.id,
            name=_shown(self.name),
            status=_shown(self.status),
            ip=str(IPv4Address(ip)) if ip else "",
            region=_shown(self.region.slug),
            size=_shown(self.size_slug),
            tags=tuple(self.tags),
            created_at=epoch(self.created_at),
        )


class _Image(BaseModel):
    name: str = ""
    slug: str | None = None
    distribution: str = ""
    public: bool = False
    status: str = ""
    regions: list[str] = Field(default_factory=list)


class Connection:
    """Sends requests to the API over HTTP.

    Args:
        token: kept out of every text.
        url: of the API.
        transport: in place of the network.

    Raises:
        Misconfigured: the address is none, or the token cannot be sent.
    """

    def __init__(
        self,
        token: str,
        *,
        url: str = API,
        timeout_s: float = TIMEOUT_S,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        if not url.startswith(("https://", "http://")):
            raise Misconfigured(f"the address of DigitalOcean's API is {url!r}, not https://…")
        token = sendable(token, name=TOKEN, noun="a token")
        self._http = HttpClient(
            url.rstrip("/"),
            name="DigitalOcean",
            headers={"Authorization": f"Bearer {token}"},
            busy=CloudBusy,
            unclear=CloudUnclear,
            timeout_s=timeout_s,
            transport=transport,
        )

    def request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
    ) -> Raw:
        """Send once.

        Raises:
            CloudBusy: there is no connection, so nothing was done.
            CloudUnclear: no answer, or one that is too large.
        """
        return self._http.send(method, path, what=f"{method} {path}", params=params, body=body)


class DigitalOcean:
    """A client of one account. Implements ``Cloud``.

    Args:
        connection: with the account's token.
        now: seconds since the epoch; ``ratelimit-reset`` is such a time.
    """

    def __init__(self, connection: Connection, *, now: Callable[[], float] = time.time) -> None:
        self._connection = connection
        self._now = now
        self._left: float | None = None

    @property
    def requests_left(self) -> float | None:
        return self._left

    def create(self, order: Order) -> Droplet:
        body = {
            "name": order.name,
            "region": order.region,
            "size": order.size,
            "image": int(order.image) if order.image.isdigit() else order.image,
            "tags": list(order.tags),
            "ssh_keys": [int(key) if key.isdigit() else key for key in order.ssh_keys],
            "user_data": order.user_data,
            "monitoring": False,
        }
        status, answer = self._exchange("POST", "/v2/droplets", body=body)
        if status != 202:
            self._refuse(status, answer, f"create a {order.size} in {order.region}")
        return _droplet(answer.get("droplet"))

    def get(self, droplet_id: int) -> Droplet | None:
        status, answer = self._exchange("GET", f"/v2/droplets/{droplet_id}")
        if status == 404:
            return None
        if status != 200:
            self._refuse(status, answer, f"read droplet {droplet_id}")
        droplet = _droplet(answer.get("droplet"))
        if droplet.id != droplet_id:
            raise CloudUnclear(f"DigitalOcean described another droplet than {droplet_id}")
        return droplet

    def tagged(self, tag: str) -> list[Droplet]:
        listed = self._pages("/v2/droplets", "droplets", {"tag_name": tag}, "list droplets")
        by_id = {each.id: each for each in map(_droplet, listed)}
        for each in by_id.values():
            # What is listed by a tag is deleted by it. DigitalOcean keeps the case of a tag's first use.
            if tag.casefold() not in map(str.casefold, each.tags):
                raise CloudUnclear(
                    f"DigitalOcean lists droplet {each.id} under {tag}, without that tag"
                )
        return list(by_id.values())

    def delete(self, droplet_id: int) -> bool:
        status, answer = self._exchange("DELETE", f"/v2/droplets/{droplet_id}")
        if status == 422:  # for example while an event of the machine is under way
            raise CloudBusy(f"DigitalOcean does not delete droplet {droplet_id} yet{_said(answer)}")
        if status not in (204, 404):
            self._refuse(status, answer, f"delete droplet {droplet_id}")
        return status == 204

    def newest_ubuntu(self, region: str) -> str:
        found = []
        for raw in self._pages("/v2/images", "images", {"type": "distribution"}, "list images"):
            image = _image(raw)
            version = _UBUNTU.fullmatch(image.slug or "")
            if (
                version
                and image.distribution == "Ubuntu"
                and image.public
                and image.status == "available"
                and region in image.regions
                and "LTS" in image.name
            ):
                found.append((version.groups(), image.slug or ""))
        if not found:
            raise CloudRefused(
                f"DigitalOcean has no Ubuntu LTS image in region {region}",
                remedy="Choose another region, or set DIGITALOCEAN_IMAGE_SLUG.",
            )
        return max(found)[1]

    def _pages(
        self, path: str, key: str, params: Mapping[str, str], what: str
    ) -> list[Mapping[str, Any]]:
        """All entries of a list: until as many as ``meta.total``, or an empty page."""
        entries: list[Mapping[str, Any]] = []
        for page in range(1, MAX_PAGES + 1):
            query = {**params, "page": str(page), "per_page": str(PAGE)}
            status, answer = self._exchange("GET", path, params=query)
            if status != 200:
                self._refuse(status, answer, what)
            part = answer.get(key)
            if not isinstance(part, list):
                raise CloudUnclear(f"DigitalOcean's answer to: {what}, has no list {key}")
            entries += part
            meta = answer.get("meta")
            total = meta.get("total") if isinstance(meta, dict) else None
            if not part or (isinstance(total, int) and len(entries) >= total):
                return entries
        raise CloudUnclear(f"DigitalOcean's list has more than {MAX_PAGES * PAGE} entries: {what}")

    def _exchange(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
    ) -> tuple[int, dict[str, Any]]:
        """Status and JSON object of the answer; {} where there is none to a failure.

        Raises:
            CloudBusy: rate limit, or no connection.
            CloudUnclear: no answer, a 5xx, or a 2xx that cannot be read.
        """
        what = f"{method} {path}"
        status, headers, text = self._connection.request(method, path, params=params, body=body)
        self._left = _part_left(headers)
        if 300 <= status < 400:
            target = origin_of(headers.get("location", ""))
            raise CloudRefused(f"DigitalOcean redirected {what} to {target}: not followed")
        value = _object(text)
        if status == 429:
            raise CloudBusy(
                f"DigitalOcean's rate limit is reached{_said(value)}",
                retry_after_s=self._retry_after(headers),
            )
        if status >= 500 or (status in (200, 202) and value is None):
            raise CloudUnclear(f"DigitalOcean answered {what} with {status}{_said(value)}")
        return status, value or {}

    def _retry_after(self, headers: Mapping[str, str]) -> float | None:
        """Seconds, by ``retry-after`` (of a burst), else until ``ratelimit-reset`` (of the hour)."""
        for name, origin in (("retry-after", 0.0), ("ratelimit-reset", self._now())):
            number = header_number(headers, name)
            if number is not None:
                return min(max(number - origin, 1.0), _LONGEST_RETRY_S)
        return None

    def _refuse(self, status: int, answer: Mapping[str, Any], what: str) -> NoReturn:
        said = _said(answer)
        if status == 401:
            raise CloudRefused(
                f"DigitalOcean rejected the API token (401), asked to {what}",
                remedy=f"Store a valid one: disinto secrets put {TOKEN}",
            )
        if status == 403:
            raise CloudRefused(
                f"DigitalOcean: the API token may not {what} (403){said}",
                remedy=f"It needs {_SCOPES}.",
            )
        if _QUOTA in said:
            raise CloudRefused(
                f"DigitalOcean: the account's droplet limit{self._limit()} is reached; asked to "
                f"{what}",
                remedy="Destroy a desktop, or ask DigitalOcean for a higher limit.",
            )
        if re.search(r"user.?data", said, re.IGNORECASE):
            raise CloudRefused(  # without the provider's words, which may quote it
                f"DigitalOcean rejected the user data ({status}), asked to {what}",
                remedy="Choose fewer apps or SSH keys: it may have 64 KiB.",
            )
        raise CloudRefused(
            f"DigitalOcean refused to {what} ({status}){said}",
            remedy="Choose a region, size, image and SSH keys that this account has.",
        )

    def _limit(self) -> str:
        """The account's limit, for a message."""
        with suppress(CloudBusy, CloudUnclear, CloudRefused):
            _status, answer = self._exchange("GET", "/v2/account")
            account = answer.get("account")
            limit = account.get("droplet_limit") if isinstance(account, dict) else None
            if isinstance(limit, int):
                return f" of {limit}"
        return ""


def _part_left(headers: Mapping[str, str]) -> float | None:
    limit = header_number(headers, "ratelimit-limit")
    left = header_number(headers, "ratelimit-remaining")
    return None if not limit or left is None else min(left / limit, 1.0)


def _object(text: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _said(answer: Mapping[str, Any] | None) -> str:
    """The provider's own words, for a message."""
    message = (answer or {}).get("message")
    if not isinstance(message, str) or not message.strip():
        return ""
    text = "".join(c if c.isprintable() else " " for c in message.strip())[:_TEXT_LIMIT]
    return f": {text.rstrip('.')}"


def _shown(name: str) -> str:
    """A name of the provider's, for messages and results."""
    return "".join(c if c.isprintable() else "?" for c in name[:_NAME_LIMIT])


def _image(raw: object) -> _Image:
    try:
        return _Image.model_validate(raw)
    except ValidationError:
        return _Image()  # an image that is unlike all others is none that we look for


def _droplet(raw: object) -> Droplet:
    try:
        return _Droplet.model_validate(raw).plain()
    except (ValidationError, ValueError):
        raise CloudUnclear("DigitalOcean described a droplet in a way that is unknown") from None
