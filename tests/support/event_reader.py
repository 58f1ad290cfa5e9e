"""Reads server-sent events from a page on a socket."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx

from dispatcher.page.app import build_app
from dispatcher.page.serving import listening, server
from dispatcher.page.site import Site


@dataclass(frozen=True, kw_only=True)
class Event:
    """One event; a comment has only ``comment``."""

    name: str = ""
    id: str = ""
    data: Any = None
    comment: str = ""


@contextmanager
def serving_site(site: Site) -> Iterator[str]:
    """The address of a site that is served until the block ends; it becomes the site's origin."""
    opened = listening(0)
    site.origin = f"http://127.0.0.1:{opened.getsockname()[1]}"
    running = server(build_app(site))
    thread = threading.Thread(target=running.run, args=([opened],))
    thread.start()
    try:
        yield site.origin
    finally:
        running.should_exit = True
        thread.join(20)
        opened.close()


@contextmanager
def events(
    url: str, *, headers: Mapping[str, str], timeout_s: float = 30.0
) -> Iterator[Iterator[Event]]:
    """The events at an address, until the block ends; the connection is closed then."""
    with (
        httpx.Client(timeout=timeout_s, trust_env=False) as client,
        client.stream("GET", url, headers=dict(headers)) as answer,
    ):
        if answer.status_code != 200:
            answer.read()
            raise AssertionError(f"{answer.status_code}: {answer.text}")
        yield _parsed(answer.iter_lines())


def _parsed(lines: Iterator[str]) -> Iterator[Event]:
    fields: dict[str, str] = {}
    for line in lines:
        if line.startswith(":"):
            yield Event(comment=line.removeprefix(":").strip())
        elif line:
            name, _, value = line.partition(": ")
            fields[name] = value
        elif fields:
            if "data" in fields:
                data = json.loads(fields["data"])
                yield Event(name=fields.get("event", ""), id=fields.get("id", ""), data=data)
            fields = {}
