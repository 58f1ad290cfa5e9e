"""The adapter for DigitalOcean's API v2. The only module that knows it.

It creates nothing twice: no request is repeated here. What a failure proves is in the error's type; see
``cloud``. User data holds credentials: each text of the provider's passes ``Confidential``, which withholds what
quotes it.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from ipaddress import IPv4Address
from typing import Any, NoReturn, TypeVar

import httpx
from pydantic import BaseModel, Field, ValidationError

from dispatcher.desktop.cloud import (
    NAME,
    TOKEN,
    CloudBusy,
    CloudLocked,
    CloudRefused,
    CloudUnclear,
    Droplet,
    Order,
)
from dispatcher.errors import origin_of
from dispatcher.model.times import epoch, is_rfc3339
from dispatcher.provision.confidential import Confidential
from dispatcher.provision.http import TIMEOUT_S, HttpClient, Raw, header_number, sendable

_T = TypeVar("_T")

API = "https://api.digitalocean.com"
PAGE = 200
MAX_PAGES = 50
_STATUS = re.compile(r"[a-z]{1,20}")
_REGION = re.compile(r"[a-z]{3}[0-9]{1,2}")
_SIZE = re.compile(r"[a-z][a-z0-9_]{0,9}(-[a-z0-9]{1,9}){1,4}")
_HIGHEST_ID = 2**63 - 1
_TAG = re.compile(r"[A-Za-z0-9_:-]{1,255}", re.ASCII)
_NUMBER = re.compile(r"[0-9]{1,18}", re.ASCII)
_UBUNTU = re.compile(r"ubuntu-(\d\d)-(\d\d)-x64", re.ASCII)
_QUOTA = "will exceed your droplet limit"
_SCOPES = "droplet:create, droplet:read, droplet:delete, tag:create, tag:read, image:read and ssh_key:read"
_LONGEST_RETRY_S = 3600.0
_REFUSALS = frozenset({400, 401, 403, 404, 422})
"""What proves that a creation made nothing. A proxy may answer with any other when the machine is made."""


class _Address(BaseModel):
    ip_address: str = ""
    type: str = ""


class _Networks(BaseModel):
    v4: list[_Address] = Field(default_factory=list)


class _Region(BaseModel):
    slug: str = ""


class _Droplet(BaseModel):
    id: int = Field(gt=0, le=_HIGHEST_ID)
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
        if not is_rfc3339(self.created_at):
            raise ValueError("created_at is not a time")
        return Droplet(
            id=self.id,
            name=_fitting(NAME, self.name),
            status=_fitting(_STATUS, self.status),
            ip=str(IPv4Address(ip)) if ip else "",
            region=_fitting(_REGION, self.region.slug),
            size=_fitting(_SIZE, self.size_slug),
            tags=tuple(tag for tag in self.tags if _TAG.fullmatch(tag)),
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
        confidential: what no text of the provider's may repeat; user data that is sent is added.
        now: seconds since the epoch; ``ratelimit-reset`` is such a time.
    """

    def __init__(
        self,
        connection: Connection,
        *,
        confidential: Confidential | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._connection = connection
        self._confidential = confidential or Confidential()
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
            "image": _number_or_name(order.image),
            "tags": list(order.tags),
            "ssh_keys": [_number_or_name(key) for key in order.ssh_keys],
            "user_data": order.user_data,
            "monitoring": False,
        }
        self._confidential.add_sent(order.user_data)
        status, answer = self._exchange("POST", "/v2/droplets", body=body)
        if status in _REFUSALS:
            self._refuse(status, answer, f"create a {order.size} in {order.region}")
        if status != 202:
            raise CloudUnclear(
                f"DigitalOcean answered the creation with {status}{self._said(answer)}",
                remedy="See at DigitalOcean whether there is a machine of this name.",
            )
        droplet = _droplet(answer.get("droplet"))
        if not all(map(droplet.has_tag, order.tags)):
            raise CloudUnclear(
                f"DigitalOcean answered the creation with droplet {droplet.id}, which lacks our tags",
                remedy=f"It was neither used nor deleted: see at DigitalOcean whether droplet {droplet.id} "
                "is yours.",
            )
        return droplet

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
        query = {"tag_name": tag}
        listed = self._pages(
            "/v2/droplets", "droplets", query, "list droplets", _droplet, whole=True
        )
        by_id = {each.id: each for each in listed}
        for each in by_id.values():
            if not each.has_tag(tag):  # what is listed by a tag is deleted by it
                raise CloudUnclear(
                    f"DigitalOcean lists droplet {each.id} under {tag}, without that tag"
                )
        return list(by_id.values())

    def delete(self, droplet_id: int) -> bool:
        status, answer = self._exchange("DELETE", f"/v2/droplets/{droplet_id}")
        if status == 422:  # for example while an event of the machine is under way
            raise CloudLocked(
                f"DigitalOcean does not delete droplet {droplet_id} yet{self._said(answer)}"
            )
        if status not in (204, 404):
            self._refuse(status, answer, f"delete droplet {droplet_id}")
        return status == 204

    def newest_ubuntu(self, region: str) -> str:
        found = []
        query = {"type": "distribution"}
        for image in self._pages("/v2/images", "images", query, "list images", _image):
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
        self,
        path: str,
        key: str,
        params: Mapping[str, str],
        what: str,
        read: Callable[[object], _T],
        *,
        whole: bool = False,
    ) -> list[_T]:
        """All entries of a list: until as many as ``meta.total``, or an empty page.

        Args:
            whole: whether an empty page before ``meta.total`` is no end: what a list lacks may be billed.
        """
        entries: list[_T] = []
        for page in range(1, MAX_PAGES + 1):
            query = {**params, "page": str(page), "per_page": str(PAGE)}
            status, answer = self._exchange("GET", path, params=query)
            if status != 200:
                self._refuse(status, answer, what)
            part = answer.get(key)
            if not isinstance(part, list):
                raise CloudUnclear(f"DigitalOcean's answer to: {what}, has no list {key}")
            if len(part) > PAGE:
                raise CloudUnclear(
                    f"DigitalOcean's answer to: {what}, has more than {PAGE} entries"
                )
            entries += map(read, part)  # at once, because a page may be large
            meta = answer.get("meta")
            total = meta.get("total") if isinstance(meta, dict) else None
            short = isinstance(total, int) and len(entries) < total
            if not part and short and whole:
                raise CloudUnclear(
                    f"DigitalOcean's list has {len(entries)} of {total} entries: {what}"
                )
            if not part or (isinstance(total, int) and not short):
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
            CloudUnclear: no answer, a 5xx, a 2xx that cannot be read, or a redirected creation.
            CloudRefused: any other redirect.
        """
        what = f"{method} {path}"
        status, headers, text = self._connection.request(method, path, params=params, body=body)
        self._left = _part_left(headers)
        if 300 <= status < 400:
            target = self._confidential.shown(origin_of(headers.get("location", "")))
            # Whoever answers a creation so may have made the machine.
            error = CloudUnclear if method == "POST" else CloudRefused
            raise error(f"DigitalOcean redirected {what} to {target}: not followed")
        value = _object(text)
        if status == 429:
            raise CloudBusy(
                f"DigitalOcean's rate limit is reached{self._said(value)}",
                retry_after_s=self._retry_after(headers),
            )
        if status >= 500 or (status in (200, 202) and value is None):
            raise CloudUnclear(f"DigitalOcean answered {what} with {status}{self._said(value)}")
        return status, value or {}

    def _retry_after(self, headers: Mapping[str, str]) -> float | None:
        """Seconds, by ``retry-after`` (of a burst), else until ``ratelimit-reset`` (of the hour)."""
        for name, origin in (("retry-after", 0.0), ("ratelimit-reset", self._now())):
            number = header_number(headers, name)
            if number is not None:
                return min(max(number - origin, 1.0), _LONGEST_RETRY_S)
        return None

    def _refuse(self, status: int, answer: Mapping[str, Any], what: str) -> NoReturn:
        said, message = self._said(answer), _message(answer)
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
        if _QUOTA in message:
            raise CloudRefused(
                f"DigitalOcean: the account's droplet limit{self._limit()} is reached; asked to "
                f"{what}",
                remedy="Destroy a desktop, or ask DigitalOcean for a higher limit.",
            )
        if re.search(r"user.?data", message, re.IGNORECASE):
            raise CloudRefused(
                f"DigitalOcean rejected the user data ({status}), asked to {what}",
                remedy="Choose fewer apps or SSH keys: it may have 64 KiB.",
            )
        raise CloudRefused(
            f"DigitalOcean refused to {what} ({status}){said}",
            remedy="Choose a region, size, image and SSH keys that this account has.",
        )

    def _said(self, answer: Mapping[str, Any] | None) -> str:
        """The provider's own words, for a message."""
        text = self._confidential.shown(_message(answer)).rstrip(".")
        return f": {text}" if text else ""

    def _limit(self) -> str:
        """The account's limit, for a message."""
        with suppress(CloudBusy, CloudUnclear, CloudRefused):
            _status, answer = self._exchange("GET", "/v2/account")
            account = answer.get("account")
            limit = account.get("droplet_limit") if isinstance(account, dict) else None
            if isinstance(limit, int) and 0 <= limit < 1_000_000:
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


def _message(answer: Mapping[str, Any] | None) -> str:
    message = (answer or {}).get("message")
    return message if isinstance(message, str) else ""


def _fitting(pattern: re.Pattern[str], text: str) -> str:
    """A text that is shown; "" for one that is unlike those that we know."""
    return text if pattern.fullmatch(text) else ""


def _number_or_name(text: str) -> int | str:
    """An image or SSH key as the API wants it: by its number, or by its slug or fingerprint."""
    return int(text) if _NUMBER.fullmatch(text) else text


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
