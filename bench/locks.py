"""1,000 actions on 50 locks, beside half as many without: ``python -m bench --only locks``.

Both are trivial and come in one push to the same dispatcher; the clock stops when the last result is on
the remote. Start and end of each run are read from the results, and of each lock it is checked that its runs did
not overlap and went in order. With locks, no more than 50 can run at a time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from itertools import groupby, pairwise
from operator import itemgetter
from typing import Any

from bench.arrivals import Arrivals
from bench.figures import Figure
from bench.stage import Stage, action, push, served
from dispatcher.devservers.scene import Scene

ACTIONS = 1_000
LOCKS = 50
LONGEST_S = 400.0
"""Seconds for the results of one push; on a quiet machine both pushes together take half of it."""


def measure(stage: Stage, *, actions: int = ACTIONS, locks: int = LOCKS) -> list[Figure]:
    """The rate with locks as a ratio of the rate without."""
    scene = stage.scene()
    with served(scene) as dispatcher:
        _rate(scene, dispatcher.notify, "warm", 10)
        free = _rate(scene, dispatcher.notify, "free", actions // 2)
        locked = _rate(scene, dispatcher.notify, "locked", actions, locks=locks)
    _check_order(scene.results(), locks)
    return [
        Figure(
            name="locks",
            what=f"{actions:,} trivial actions on {locks} locks in one push, none out of order",
            goal="",
            measured=f"{locked / free:.2f} of the rate without locks "
            f"({locked:.1f}/s beside {free:.1f}/s)",
            reached=None,
            values={"ratio": locked / free, "locked_per_s": locked, "free_per_s": free},
        )
    ]


def _rate(
    scene: Scene, notify: Callable[[], object], name: str, actions: int, *, locks: int = 0
) -> float:
    """Actions per second, from the push to the last result on the remote."""
    files = {}
    for number in range(actions):
        action_id = f"{name}-{number:04}"
        lock = f'lock = "lock-{number % locks}"\n'.encode() if locks else b""
        files[f"vault/actions/{action_id}.toml"] = action(action_id) + lock
    with Arrivals(scene.remote, look_s=0.05) as arrivals:
        begun = time.monotonic()
        push(scene.remote, files)
        notify()
        return actions / (arrivals.wait(actions, timeout_s=LONGEST_S) - begun)


def _check_order(results: Mapping[str, Mapping[str, Any]], locks: int) -> None:
    """Of each lock the runs follow each other, in the order of their ids, which came in one commit.

    Raises:
        AssertionError: with two that do not.
    """
    ran = sorted(
        (int(action_id.rpartition("-")[2]) % locks, action_id, result)
        for action_id, result in results.items()
        if action_id.startswith("locked-")
    )
    for lock, group in groupby(ran, key=itemgetter(0)):
        for (_, first, before), (_, second, after) in pairwise(group):
            if not before["finished_at"] <= after["started_at"]:
                wrong = (
                    "overlapped"
                    if after["finished_at"] > before["started_at"]
                    else "ran in the wrong order"
                )
                raise AssertionError(
                    f"lock {lock}: {first} ({before['started_at']} to {before['finished_at']}) and "
                    f"{second} ({after['started_at']} to {after['finished_at']}) {wrong}"
                )
