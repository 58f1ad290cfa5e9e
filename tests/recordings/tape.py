"""Exchanges with Nomad on tape: recorded from a transport, scrubbed, replayed, compared by shape."""

from __future__ import annotations

import json
import re
import threading
from collections import defaultdict, deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

FOLDER = Path(__file__).parent / "nomad"
KEPT_HEADERS = ("content-type", "x-nomad-nexttoken")
"""Headers that the adapter, or a reader of a recording, cares about."""


@dataclass(frozen=True, kw_only=True)
class Exchange:
    """One request, and the answer to it.

    Attributes:
        request: method, path and query in one text; without token and address.
        status, headers, body: of the answer.
    """

    request: str
    status: int
    headers: dict[str, str]
    body: str


class Recorder(httpx.BaseTransport):
    """Passes requests on and keeps what was said. A request that is repeated at once (polling)
    leaves only its last answer."""

    def __init__(self) -> None:
        self.wire = httpx.HTTPTransport()
        self._taped: list[tuple[str, int, dict[str, str], list[bytes]]] = []
        self._turn = threading.Lock()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        request.headers["Accept-Encoding"] = "identity"
        response = self.wire.handle_request(request)
        assert isinstance(response.stream, httpx.SyncByteStream)
        response.stream = _Tee(response.stream, self._keep(request, response))
        return response

    def close(self) -> None:
        self.wire.close()

    def _keep(self, request: httpx.Request, response: httpx.Response) -> list[bytes]:
        pieces: list[bytes] = []
        kept = {k: v for k, v in response.headers.items() if k.lower() in KEPT_HEADERS}
        with self._turn:
            self._taped.append((words(request), response.status_code, kept, pieces))
        return pieces

    def taped(self) -> list[Exchange]:
        """All exchanges so far, in the order of their requests."""
        found: list[Exchange] = []
        for request, status, headers, pieces in self._taped:
            exchange = Exchange(
                request=request, status=status, headers=headers, body=b"".join(pieces).decode()
            )
            if (
                found
                and found[-1].request == request
                and request.startswith(("GET", "POST /v1/jobs/statuses"))
            ):
                found.pop()
            found.append(exchange)
        return found


class _Tee(httpx.SyncByteStream):
    def __init__(self, stream: httpx.SyncByteStream, pieces: list[bytes]) -> None:
        self._stream = stream
        self._pieces = pieces

    def __iter__(self) -> Iterator[bytes]:
        for piece in self._stream:
            self._pieces.append(piece)
            yield piece

    def close(self) -> None:
        self._stream.close()


def words(request: httpx.Request) -> str:
    """Method, path and query, in a fixed order."""
    query = str(httpx.QueryParams(sorted(request.url.params.multi_items())))
    return f"{request.method} {request.url.path}" + (f"?{query}" if query else "")


def replay(exchanges: list[Exchange]) -> httpx.MockTransport:
    """Answers each request with what was answered to it then, in order; the last answer stays."""
    waiting: dict[str, deque[Exchange]] = defaultdict(deque)
    for exchange in exchanges:
        waiting[exchange.request].append(exchange)
    turn = threading.Lock()

    def answer(request: httpx.Request) -> httpx.Response:
        with turn:
            known = waiting.get(words(request))
            assert known, f"the recording knows no {words(request)}"
            exchange = known.popleft() if len(known) > 1 else known[0]
        return httpx.Response(
            exchange.status, headers=exchange.headers, content=exchange.body.encode()
        )

    return httpx.MockTransport(answer)


# Scrubbing

_UUID = re.compile(r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b")
_DISPATCHED = re.compile(r"dispatch-((?:[a-z0-9-]+-)??)\d{10}-[0-9a-f]{8}")
_PRIVATE = re.compile(r'"(SecretID|NomadTokenID|AccessorID|NodeName)":"[^"]*"')
_CUT = (
    "Attributes",
    "CgroupParent",
    "Events",
    "GCVolumesOnNodeGC",
    "HostNetworks",
    "Links",
    "Meta",
    "NodeMaxAllocs",
    "NodeResources",
    "Reserved",
    "ReservedResources",
    "Resources",
)
"""Of nodes: what describes the machine and is not read."""


def scrub(exchanges: list[Exchange]) -> list[Exchange]:
    """The same exchanges without tokens, paths, names and times of the machine they are from.

    IDs are replaced one by one, so that what belonged together still does.
    """
    names: dict[str, str] = {}

    def rename(match: re.Match[str]) -> str:
        id_ = match.group()
        if set(id_) <= {"0", "-"}:
            return id_
        return names.setdefault(id_, f"00000000-0000-4000-8000-{len(names) + 1:012x}")

    def rename_child(match: re.Match[str]) -> str:
        made = names.setdefault(match.group(), f"{len(names) + 1:08x}")
        return f"dispatch-{match.group(1)}1700000000-{made}"

    def clean(text: str) -> str:
        return _DISPATCHED.sub(rename_child, _UUID.sub(rename, text))

    return [
        Exchange(
            request=clean(each.request),
            status=each.status,
            headers=each.headers,
            body=clean(_scrubbed_body(each)),
        )
        for each in exchanges
    ]


def _scrubbed_body(exchange: Exchange) -> str:
    """The server's own bytes, with private values blanked; of nodes and the agent only a part."""
    path = exchange.request.split("?")[0].split()[1]
    if path == "/v1/status/leader":
        return '"127.0.0.1:4647"'
    if path == "/v1/agent/self" and exchange.status == 200:
        return json.dumps({"config": {"Version": json.loads(exchange.body)["config"]["Version"]}})
    if path.startswith("/v1/node") and exchange.status == 200:
        return json.dumps(_machineless(json.loads(exchange.body)))
    blanked = _PRIVATE.sub(lambda match: f'"{match.group(1)}":"private"', exchange.body)
    return re.sub(r"stat /\S*/alloc/", "stat /var/lib/nomad/alloc/", blanked)


def _machineless(body: Any) -> Any:
    if isinstance(body, list):
        return [_machineless(each) for each in body]
    if not isinstance(body, dict):
        return body
    kept = {key: value for key, value in body.items() if key not in _CUT}
    fixed = {"Name": "node", "Address": "127.0.0.1", "HTTPAddr": "127.0.0.1:4646", "SecretID": ""}
    kept |= {key: value for key, value in fixed.items() if key in kept}
    kept["HostVolumes"] = {
        name: {**volume, "Path": f"/srv/{name}"}
        for name, volume in (body.get("HostVolumes") or {}).items()
    }
    kept["Drivers"] = {
        name: {**driver, "Attributes": None}
        for name, driver in (body.get("Drivers") or {}).items()
        if name in ("docker", "raw_exec")
    }
    return kept


# On disk


def save(name: str, exchanges: list[Exchange]) -> None:
    """Write a tape: one JSON object a line, so that a change is seen in a diff."""
    FOLDER.mkdir(exist_ok=True)
    lines = [
        json.dumps(
            {
                "request": each.request,
                "status": each.status,
                "headers": each.headers,
                "body": each.body,
            }
        )
        for each in exchanges
    ]
    (FOLDER / f"{name}.json").write_text("[\n" + ",\n".join(lines) + "\n]\n")


def load(name: str) -> list[Exchange]:
    return [Exchange(**each) for each in json.loads((FOLDER / f"{name}.json").read_text())]


# Shapes


def differences(recorded: list[Exchange], live: list[Exchange]) -> list[str]:
    """What the live server no longer answers as recorded: requests, statuses, missing or retyped
    keys. New keys are no difference, since answers are read by key."""
    found: list[str] = []
    then, now = _by_kind(recorded), _by_kind(live)
    for kind, bodies in then.items():
        if kind not in now:
            found.append(f"{kind}: not answered like this any more")
            continue
        found += [f"{kind}: {what}" for what in _lost(_merged(bodies), _merged(now[kind]), "")]
    return found


def _by_kind(exchanges: list[Exchange]) -> dict[str, list[Any]]:
    kinds: dict[str, list[Any]] = defaultdict(list)
    for each in exchanges:
        path = _DISPATCHED.sub("dispatch-…", _UUID.sub("…", each.request.split("?")[0]))
        kind = f"{path} {each.status} {each.headers.get('content-type', '')}"
        for line in each.body.splitlines() or [""]:
            try:
                kinds[kind].append(json.loads(line))
            except ValueError:
                kinds[kind].append(line)
    return kinds


_OPEN_MAPS = (
    "ClassEligibility",
    "ClassFiltered",
    "Config",
    "ConstraintFiltered",
    "Details",
    "Drivers",
    "HostVolumes",
    "Items",
    "Meta",
    "NodesAvailable",
    "QueuedAllocations",
    "Summary",
)
"""Maps whose keys are data."""

Shape = dict[str, Any]


def _shape(value: Any) -> Shape:
    if isinstance(value, dict):
        return {"map": {key: _shape(each) for key, each in value.items()}}
    if isinstance(value, list):
        return {"list": _merged(value)}
    return {} if value is None else {type(value).__name__: None}


def _merged(values: list[Any]) -> Shape:
    merged: Shape = {}
    for value in values:
        _add(merged, _shape(value))
    return merged


def _add(into: Shape, shape: Shape) -> None:
    for kind, inner in shape.items():
        if kind == "map":
            keys = into.setdefault("map", {})
            for key, each in inner.items():
                _add(keys.setdefault(key, {}), each)
        elif kind == "list":
            _add(into.setdefault("list", {}), inner)
        else:
            into[kind] = None


def _lost(then: Shape, now: Shape, place: str) -> list[str]:
    if not then or not now:  # null, or an empty list: nothing to compare with
        return []
    if not set(then) & set(now):
        return [f"{place or 'body'} was {'/'.join(then)} and is {'/'.join(now)}"]
    found: list[str] = []
    if "list" in then and "list" in now:
        found += _lost(then["list"], now["list"], f"{place}[]")
    if "map" in then and "map" in now and place.rsplit(".", maxsplit=1)[-1] not in _OPEN_MAPS:
        for key, shape in then["map"].items():
            where = f"{place}.{key}" if place else key
            if key not in now["map"]:
                found.append(f"{where} is missing")
            else:
                found += _lost(shape, now["map"][key], where)
    return found
