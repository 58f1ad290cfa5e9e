"""Latency from a merge on a real forge to the run's dispatch: with the webhook, and by polling
only.

``python -m bench.approval`` wants a ``forgejo`` on PATH, or FORGEJO_ADDR and FORGEJO_TOKEN.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from bench.figures import Figure, median, percentile
from bench.stage import Stage
from tests.servers import bao, forgejo
from tests.support.approval_story import NEVER_S, Story, told
from tests.support.stage import action, path

POLL_S = 2.0


REST_S = 10.0
CALLS_GOAL = 10


def measure(_stage: Stage) -> list[Figure]:
    """All figures; the forge and its vault are the measurement's own."""
    return merge_to_dispatch()


def merge_to_dispatch(count: int = 20) -> list[Figure]:
    """Both figures; times begin when the forge has answered that it merged."""
    figures = []
    with forgejo.serve() as forge, bao.serve() as vault, tempfile.TemporaryDirectory() as folder:
        for name, poll_s, hook, limit_s in (
            ("approval_webhook", NEVER_S, True, 0.3),
            ("approval_poll", POLL_S, False, POLL_S + 1.0),
        ):
            directory = Path(folder) / name
            directory.mkdir()
            with told(forge, vault, directory, poll_s=poll_s, hook=hook) as story:
                waits = [_one(story, n) for n in range(count)]
                if hook:
                    figures.append(_calls(_calls_of(story), count))
            p95 = percentile(waits, 95)
            how = "with the webhook" if hook else f"with a poll every {poll_s:g} s"
            figures.append(
                Figure(
                    name="approval",
                    what=f"merge of an approved request to dispatch, {how}",
                    goal=f"p95 under {limit_s:g} s",
                    measured=f"p50 {median(waits):.2f} s, p95 {p95:.2f} s of {count}",
                    reached=p95 < limit_s,
                    values={"p50_s": median(waits), "p95_s": p95},
                )
            )
    return figures


def _calls(calls: Callable[[], int], actions: int) -> Figure:
    """Calls per action that was approved and ran, and while idle, as the service counts its own."""
    time.sleep(1.0)  # reports of the last one may still be in progress
    before = calls()
    per_action = before / actions
    time.sleep(REST_S)
    at_rest = calls() - before
    return Figure(
        name="approval",
        what="calls to the forge for each action, and at rest",
        goal=f"at most {CALLS_GOAL}, and 0 at rest",
        measured=f"{per_action:.1f} for each action, reports included; {at_rest} in {REST_S:g} s of rest",
        reached=at_rest == 0 and per_action <= CALLS_GOAL,
        values={"calls_per_action": per_action, "calls_at_rest": at_rest},
    )


def _calls_of(story: Story) -> Callable[[], int]:
    served = story.stage.served
    calls = served.forge_calls if served else None
    if calls is None:
        raise ValueError("the service has no forge")
    return calls


def _one(story: Story, number: int) -> float:
    people, name = story.forge, f"a{number}"
    request = people.propose(
        people.alice, {path(name): action(name, formula="danger")}, branch=name
    )
    people.review(people.boss, request)
    people.request_merge(people.alice, request)
    merged = time.monotonic()
    while name not in story.submitted():
        if time.monotonic() - merged > 60:
            raise TimeoutError(f"{name} was not dispatched in a minute")
        time.sleep(0.005)
    wait_s = time.monotonic() - merged
    story.result(name)
    return wait_s


if __name__ == "__main__":
    for figure in merge_to_dispatch(int(sys.argv[1]) if len(sys.argv) > 1 else 20):
        print(f"{figure.what}: {figure.measured}; asked: {figure.goal}: {figure.verdict}")
