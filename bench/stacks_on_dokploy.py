"""50 stacks deployed at once to a real Dokploy, beside the bare API; see ``stacks``.

A proxy on the loopback counts the requests. In place of the server's own proxy there is that of the tests, so an
answer takes longer than it would. What is measured is removed again, with its volumes.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from bench.figures import Figure
from bench.stacks import STACKS, Server, compared
from bench.stage import Stage
from tests.servers import dokploy_live
from tests.servers.dokploy_way import way_to


def measure(stage: Stage, *, stacks: int = 0) -> list[Figure]:
    """By actions, then bare."""
    stacks = stacks or int(os.environ.get("DISINTO_BENCH_STACKS", STACKS))
    if dokploy_live.services():
        raise RuntimeError("the server is not empty: its services would be removed")
    what = "a real Dokploy"
    limit_s = dokploy_live.LIMIT_S
    return [compared("stacks_on_dokploy", what, stage, live, stacks=stacks, limit_s=limit_s)]


@contextmanager
def live() -> Iterator[Server]:
    """The server, as it was before at the end."""
    with way_to(dokploy_live.url()) as way, dokploy_live.pages() as port:
        try:
            yield Server(
                url=way.url,
                port=port,
                key=os.environ["DOKPLOY_API_TOKEN"],
                image=dokploy_live.image("one"),
                calls=lambda: Counter(way.counts),
                services=lambda: len(dokploy_live.services()),
            )
        finally:
            dokploy_live.remove_stacks("stack-")
