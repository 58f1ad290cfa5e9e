"""A stateful fake of DigitalOcean's API v2, built from its published description.

It keeps machines in memory and gives them time to appear: a new one has no address, may be unknown by
id and missing in lists for a while, gets its address later than it becomes ``active``; a deleted one may
be listed for a while. It limits droplets, and answers with the errors that the description has. Faults
can be queued: before or after a request was carried out.

Left out: everything but droplets, distribution images and the account; actions, volumes, backups,
VPCs, IPv6; names in lists (``?name=``), creation of several at once; scopes of tokens. Its rate limits are
off unless they are set (429 comes as a fault, too). ``cloud_objects`` has what the account consists of, and
``cloud_connection`` the ways to reach it. ``test_cloud_description`` compares its answers with the description.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from tests.servers.cloud_objects import ACCOUNT, API, IMAGES, REGIONS, SIZES, FakeDroplet, described

TOKEN = "dop_v1_" + "5" * 64
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
        shown = described(droplet, self.now()) | {"status": "new", "networks": {"v4": [], "v6": []}}
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
            described(each, now)
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
        return Answer(status=200, body={"droplet": described(droplet, self.now())})

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


def _error(status: int, name: str, message: str) -> Answer:
    return Answer(status=status, body={"id": name, "message": message, "request_id": "4d9d8375"})
