"""A stateful fake of DigitalOcean's API v2, built from its published description.

It keeps machines in memory and gives them time to appear: a new one has no address, may be unknown by
id and missing in lists for a while, gets its address later than it becomes ``active``; a deleted one may
be listed for a while. It limits droplets, and answers with the errors that the description has. Faults
can be queued: before or after a request was carried out.

Left out: everything but droplets, distribution images and the account; actions, volumes, backups,
VPCs, IPv6; names in lists (``?name=``), creation of several at once; scopes of tokens. Its rate limits are
off unless they are set (429 comes as a fault, too). ``test_cloud_description`` compares its answers with the
description.
"""

from __future__ import annotations

import json
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from dispatcher.desktop.cloud import CloudBusy, CloudUnclear
from dispatcher.desktop.digitalocean import Connection
from dispatcher.provision.http import Raw

TOKEN = "dop_v1_" + "5" * 64
REGIONS = ("sfo3", "nyc1", "nyc3")
SIZES = {"s-2vcpu-4gb": (2, 4096, 80), "s-4vcpu-8gb": (4, 8192, 160)}
USER_DATA_LIMIT = 64 * 1024


class Fault(StrEnum):
    """What goes wrong with one request."""

    REFUSED = "no connection"
    ERROR_BEFORE = "500 and nothing was done"
    ERROR_AFTER = "500 although it was done"
    LOST_BEFORE = "no answer and nothing was done"
    LOST_AFTER = "no answer although it was done"
    GARBAGE = "done, and an answer that is not JSON"
    BURST = "429 with retry-after"
    HOURLY = "429 with ratelimit-reset"


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


@dataclass(kw_only=True)
class Answer:
    """Status, JSON object (None for no body), headers."""

    status: int
    body: dict[str, Any] | None = None
    headers: dict[str, str] = field(default_factory=dict)


class Lost(Exception):
    """No answer; the HTTP server hangs up."""


class Refused(Exception):
    """No connection."""


@dataclass(kw_only=True)
class FakeCloud:
    """The account.

    Attributes:
        now: the clock.
        known_after_s, listed_after_s: until a new machine is known by id, and listed by its tags.
        tagged_after_s: until it is described with them.
        active_after_s, ip_after_s: until it runs, and has an address.
        gone_after_s: for which a deleted machine is still listed.
        per_minute, per_hour: requests that it carries out; None for any number. A refused one does not count.
        address: gives a machine its address.
        made: called with each new machine.
        faults: by method, taken in order; None for an ordinary answer.
        refused: number of requests beyond a rate limit.
        times: of those that were carried out in the last hour.
    """

    now: Callable[[], float] = time.time
    limit: int = 25
    known_after_s: float = 0.0
    listed_after_s: float = 0.0
    tagged_after_s: float = 0.0
    active_after_s: float = 0.0
    ip_after_s: float = 0.0
    gone_after_s: float = 0.0
    page_limit: int = 200
    per_minute: int | None = None
    per_hour: int | None = None
    address: Callable[[int], str] = lambda number: f"198.51.100.{number % 250 + 1}"
    made: Callable[[FakeDroplet], None] = lambda _: None
    faults: dict[str, list[Fault | None]] = field(default_factory=dict)
    droplets: dict[int, FakeDroplet] = field(default_factory=dict)
    requests: list[tuple[str, str]] = field(default_factory=list)
    created: int = 0
    refused: int = 0
    times: deque[float] = field(default_factory=deque)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def running(self) -> list[FakeDroplet]:
        """What is billed."""
        return [each for each in self.droplets.values() if each.deleted_at is None]

    def answer(
        self, method: str, target: str, body: Mapping[str, Any] | None, *, token: str
    ) -> Answer:
        """Answer one request, or raise ``Lost`` or ``Refused``."""
        with self._lock:
            queue = self.faults.get(method, [])
            fault = queue.pop(0) if queue else None
            limited = self._beyond_limits()
            if limited is not None:
                self.refused += 1
                return self._limited(limited)
            answer = self._faulty(fault, method, target, body, token)
            answer.headers = {**self._rate(), **answer.headers}
            return answer

    def _beyond_limits(self) -> dict[str, str] | None:
        """Headers that refuse one more request now; None if it is within the limits, and counted."""
        now = self.now()
        while self.times and self.times[0] <= now - 3600:
            self.times.popleft()
        if self.per_hour is not None and len(self.times) >= self.per_hour:
            return self._rate()
        if self.per_minute is not None and len(self.times) >= self.per_minute:
            frees = self.times[-self.per_minute] + 60
            if frees > now:
                return {**self._rate(), "retry-after": str(math.ceil(frees - now))}
        self.times.append(now)
        return None

    def _rate(self) -> dict[str, str]:
        """What every answer says of the hour: the limit, what is left, when the oldest request is forgotten."""
        if self.per_hour is None:
            return {}
        oldest = self.times[0] if self.times else self.now()
        return {
            "ratelimit-limit": str(self.per_hour),
            "ratelimit-remaining": str(self.per_hour - len(self.times)),
            "ratelimit-reset": str(math.ceil(oldest + 3600)),
        }

    def _faulty(
        self,
        fault: Fault | None,
        method: str,
        target: str,
        body: Mapping[str, Any] | None,
        token: str,
    ) -> Answer:
        if fault is Fault.REFUSED:
            raise Refused
        self.requests.append((method, target))
        match fault:
            case Fault.LOST_BEFORE:
                raise Lost
            case Fault.ERROR_BEFORE:
                return _error(500, "server_error", "Unexpected server-side error")
            case Fault.BURST:
                return self._limited({"retry-after": "7"})
            case Fault.HOURLY:
                return self._limited({"ratelimit-reset": str(int(self.now()) + 30)})
        answer = self._routed(method, target, body, token)
        if fault is Fault.LOST_AFTER:
            raise Lost
        if fault is Fault.ERROR_AFTER:
            return _error(500, "server_error", "Unexpected server-side error")
        if fault is Fault.GARBAGE:
            return Answer(status=answer.status, body=None, headers={"x-garbage": "1"})
        return answer

    def _limited(self, headers: dict[str, str]) -> Answer:
        answer = _error(429, "too_many_requests", "API Rate limit exceeded.")
        headers = {"ratelimit-limit": "5000", "ratelimit-remaining": "0", **headers}
        return Answer(status=429, body=answer.body, headers=headers)

    def _routed(
        self, method: str, target: str, body: Mapping[str, Any] | None, token: str
    ) -> Answer:
        if token != TOKEN:
            return _error(401, "unauthorized", "Unable to authenticate you.")
        parts = urlsplit(target)
        query = dict(parse_qsl(parts.query))
        match method, parts.path.split("/")[2:]:
            case "POST", ["droplets"]:
                return self._create(body or {})
            case "GET", ["droplets"]:
                return self._list(query)
            case "GET", ["droplets", number]:
                return self._get(number)
            case "DELETE", ["droplets", number]:
                return self._delete(number)
            case "GET", ["images"]:
                return self._page("images", IMAGES, query)
            case "GET", ["account"]:
                return Answer(
                    status=200, body={"account": {**ACCOUNT, "droplet_limit": self.limit}}
                )
        return _error(404, "not_found", "The resource you were accessing could not be found.")

    def _create(self, body: Mapping[str, Any]) -> Answer:
        problem = self._problem(body)
        if problem:
            return _error(422, "unprocessable_entity", problem)
        now, number = self.now(), 3_164_000 + len(self.droplets)
        self.created += 1
        droplet = FakeDroplet(
            id=number,
            name=body["name"],
            region=body["region"],
            size=body["size"],
            image=str(body["image"]),
            tags=list(body.get("tags", [])),
            user_data=body.get("user_data", ""),
            created_at=now,
            known_at=now + self.known_after_s,
            listed_at=now + max(self.listed_after_s, self.tagged_after_s),
            tagged_at=now + self.tagged_after_s,
            active_at=now + self.active_after_s,
            ip_at=now + self.ip_after_s,
            ip=self.address(number),
        )
        self.droplets[number] = droplet
        self.made(droplet)
        link = {"id": 7515, "rel": "create", "href": f"{API}/v2/actions/7515"}
        shown = self._shown(droplet) | {"status": "new", "networks": {"v4": [], "v6": []}}
        return Answer(status=202, body={"droplet": shown, "links": {"actions": [link]}})

    def _problem(self, body: Mapping[str, Any]) -> str:
        if body.get("region") not in REGIONS:
            return "Region is not available"
        if body.get("size") not in SIZES:
            return "Size is not available in this region."
        if not body.get("image"):
            return "You specified an invalid image for Droplet creation."
        if len(str(body.get("user_data", "")).encode()) > USER_DATA_LIMIT:
            return "User data is too long (maximum is 64 KiB)"
        if len(self.running()) >= self.limit:
            return "creating this/these droplet(s) will exceed your droplet limit"
        return ""

    def _list(self, query: Mapping[str, str]) -> Answer:
        now, tag = self.now(), query.get("tag_name")
        listed = [
            self._shown(each)
            for each in self.droplets.values()
            if each.listed_at <= now
            and (each.deleted_at is None or now < each.deleted_at + self.gone_after_s)
            and (tag is None or tag in each.tags)
        ]
        return self._page("droplets", listed, query)

    def _page(self, key: str, entries: list[dict[str, Any]], query: Mapping[str, str]) -> Answer:
        size = min(int(query.get("per_page", "20")), self.page_limit)
        page = int(query.get("page", "1"))
        part = entries[(page - 1) * size : page * size]
        last = max(1, -(-len(entries) // size))
        pages = {}
        if page < last:
            pages = {
                "next": f"{API}/v2/{key}?page={page + 1}",
                "last": f"{API}/v2/{key}?page={last}",
            }
        links = {"pages": pages} if pages else {}
        return Answer(status=200, body={key: part, "links": links, "meta": {"total": len(entries)}})

    def _get(self, number: str) -> Answer:
        droplet = self._known(number)
        if droplet is None:
            return _error(404, "not_found", "The resource you requested could not be found.")
        return Answer(status=200, body={"droplet": self._shown(droplet)})

    def _delete(self, number: str) -> Answer:
        droplet = self._known(number)
        if droplet is None:
            return _error(404, "not_found", "The resource you requested could not be found.")
        droplet.deleted_at = self.now()
        return Answer(status=204)

    def _known(self, number: str) -> FakeDroplet | None:
        droplet = self.droplets.get(int(number)) if number.isdigit() else None
        if droplet is None or droplet.deleted_at is not None or droplet.known_at > self.now():
            return None
        return droplet

    def _shown(self, droplet: FakeDroplet) -> dict[str, Any]:
        now = self.now()
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


class Direct(Connection):
    """A connection to the account within this process.

    Args:
        step: called before each request, and before its answer.
    """

    def __init__(self, cloud: FakeCloud, token: str, *, step: Callable[[], None]) -> None:
        self._cloud, self._token, self._step = cloud, token, step

    def request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
    ) -> Raw:
        self._step()
        target = f"{path}?{urlencode(params)}" if params else path
        try:
            answer = self._cloud.answer(method, target, body, token=self._token)
        except Refused:
            raise CloudBusy("DigitalOcean cannot be reached: Connection refused") from None
        except Lost:
            raise CloudUnclear("no answer in time") from None
        self._step()
        return Raw(answer.status, answer.headers, _bytes(answer))


API = "https://api.digitalocean.com"
ACCOUNT: dict[str, Any] = {
    "droplet_limit": 25,
    "floating_ip_limit": 5,
    "email": "sammy@example.com",
    "uuid": "b6fr89dbf6d9156cace5f3c78dc9851d957381ef",
    "email_verified": True,
    "status": "active",
    "status_message": "",
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


def _error(status: int, name: str, message: str) -> Answer:
    return Answer(status=status, body={"id": name, "message": message, "request_id": "4d9d8375"})


def _bytes(answer: Answer) -> bytes:
    if "x-garbage" in answer.headers:
        return b"<html>502"
    return b"" if answer.body is None else json.dumps(answer.body).encode()


@contextmanager
def serving(cloud: FakeCloud) -> Iterator[str]:
    """Serve it on a free port of the loopback until the block ends; yields the address."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _handle(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            content = self.rfile.read(length) if length else b""
            token = self.headers.get("Authorization", "").removeprefix("Bearer ")
            try:
                body = json.loads(content) if content else None
                answer = cloud.answer(self.command, self.path, body, token=token)
            except (Lost, Refused):
                self.close_connection = True
                return
            data = _bytes(answer)
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            if answer.status != 204:
                self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_DELETE = _handle  # noqa: N815 - the library's names

        def log_message(self, *_: object) -> None:
            """Silent."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 256  # beyond it a connection counts as made and is never accepted

    server = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
