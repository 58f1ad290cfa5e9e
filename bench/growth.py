"""What an action costs as the ops repo grows, through the whole service and through git alone.

Three remotes by path: 1,000 finished actions in ``vault/actions``; the same with 100,000 more
archived below ``vault/done``; 101,000 finished ones that nobody archived. First the ops repo's
adapter goes round on each (``bench.git_growth``), then a dispatcher over the fake scheduler serves
each. The remotes take turns, so that what else the machine does hits all alike.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench import git_growth
from bench.arrivals import Arrivals
from bench.commanded import Commanded, commanded, settle
from bench.figures import Figure, median
from bench.stage import Stage, push_actions

ROUNDS = 20
SELDOM = 4
"""The unarchived remote takes its turn in one round of so many: it is slow."""

GOAL = 1.5
LONGEST_S = 120.0
FINISHED, ARCHIVED, UNARCHIVED = "finished", "archived", "unarchived"

Milliseconds = dict[str, list[float]]


@dataclass(kw_only=True)
class Served:
    """A dispatcher over one of the remotes, with what its actions took in milliseconds."""

    name: str
    remote: Path
    service: Commanded
    took: Milliseconds = field(default_factory=lambda: {"tick": [], "commit": [], "push": []})


def measure(stage: Stage, *, more: int = git_growth.MORE, rounds: int = ROUNDS) -> list[Figure]:
    """Ratios of the archived remote to the small one, and what the unarchived one takes."""
    small = git_growth.FINISHED
    remotes = [
        git_growth.prepare(stage.folder, FINISHED, flat=small, archived=0),
        git_growth.prepare(stage.folder, ARCHIVED, flat=small, archived=more),
        git_growth.prepare(stage.folder, UNARCHIVED, flat=small + more, archived=0),
    ]
    _in_turns(rounds, remotes, git_growth.one_round)
    git = {remote.name: {k: median(v) for k, v in remote.times.items()} for remote in remotes}
    with ExitStack() as open_things:
        services = []
        for remote in remotes:
            remote.repo.close()
            scene = stage.scene(
                ops_repo={"remote": str(remote.remote)},
                archive={"automatic": False},
                attestation={"enabled": False},
            )
            service = open_things.enter_context(commanded(scene, fake=True))
            services.append(Served(name=remote.name, remote=remote.remote, service=service))
        for served in services:
            one_action(served, 0)
            served.took = {step: [] for step in served.took}
        _in_turns(rounds, services, one_action)
        medians = {s.name: {k: median(v) for k, v in s.took.items() if v} for s in services}
        memory = {s.name: s.service.rss_mb() for s in services}
    return [
        _figure(
            "a tick with one new action: look, fetch, vet, mint, claim, submit", medians, "tick"
        ),
        _figure("a result's commit", medians, "commit"),
        _comparison(
            "a result's push, in which the remote's own git walks its whole tree", medians, "push"
        ),
        _figure("git alone: fetch, difference and read of one action", git, "tick with one action"),
        _figure("git alone: commit of a result", git, "commit of a result"),
        _comparison("git alone: a fetch that finds nothing new", git, "idle fetch"),
        Figure(
            name="growth",
            what="memory of `serve`",
            goal="",
            measured=(
                f"{memory[FINISHED]:.0f} MB; {memory[ARCHIVED]:.0f} MB beside 100,000 archived; "
                f"{memory[UNARCHIVED]:.0f} MB beside 100,000 unarchived"
            ),
            reached=None,
            values={f"rss_mb_{name}": value for name, value in memory.items()},
        ),
    ]


def one_action(served: Served, number: int) -> None:
    """One action comes, is submitted, and ends at once; its result goes to the remote."""
    name, service = f"t{number:05}", served.service
    remote = served.remote
    with Arrivals(remote) as arrivals:
        push_actions(remote, [name])
        polled_at = service.command("look")["at"]
        submitted = service.wait_submitted([name], timeout_s=LONGEST_S)
        service.command("end", 1)
        arrivals.wait(1, timeout_s=LONGEST_S)
    served.took["tick"].append((submitted - polled_at) * 1_000)
    settle(service, quiet_s=0.1)
    published = service.command("published")
    served.took["commit"] += published["commits_ms"]
    served.took["push"] += published["pushes_ms"]


def _in_turns(rounds: int, items: Sequence[Any], work: Callable[..., None]) -> None:
    for number in range(1, rounds + 1):
        for one in items:
            if one.name != UNARCHIVED or number % SELDOM == 0:
                work(one, number)


def _figure(what: str, p50: dict[str, dict[str, float]], step: str) -> Figure:
    figure = _comparison(what, p50, step)
    ratio = figure.values["ratio"]
    return Figure(
        name=figure.name,
        what=figure.what,
        goal=f"beside 100,000 archived at most {GOAL:g} times as long",
        measured=f"{ratio:.2f} times ({figure.measured})",
        reached=ratio <= GOAL,
        values=figure.values,
    )


def _comparison(what: str, p50: dict[str, dict[str, float]], step: str) -> Figure:
    small, archived, flat = (p50[name][step] for name in (FINISHED, ARCHIVED, UNARCHIVED))
    return Figure(
        name="growth",
        what=what,
        goal="",
        measured=(
            f"{small:.0f} ms; {archived:.0f} ms beside 100,000 archived; "
            f"{flat:.0f} ms beside 100,000 unarchived"
        ),
        reached=None,
        values={
            "ratio": archived / small,
            "finished_ms": small,
            "archived_ms": archived,
            "unarchived_ms": flat,
        },
    )
