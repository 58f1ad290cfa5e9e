"""Many results at once: the fake scheduler ends 300 runs at the same moment."""

from __future__ import annotations

from bench.arrivals import Arrivals
from bench.commanded import commanded, settle
from bench.figures import Figure, median
from bench.stage import Stage, push_actions

RUNS = 300
ROUNDS = 3
GOAL_COMMITS = 10
LONGEST_S = 120.0


def measure(stage: Stage, *, runs: int = RUNS, rounds: int = ROUNDS) -> list[Figure]:
    """Commits on the remote, and seconds from the end of all to the last result there."""
    scene = stage.scene(limits={"max_in_flight": runs})
    commits: list[int] = []
    seconds: list[float] = []
    with commanded(scene, fake=True) as service:
        for turn_number in range(rounds):
            names = [f"burst{turn_number}-{number:04}" for number in range(runs)]
            push_actions(scene.remote, names)
            service.command("look")
            service.wait_submitted(names, timeout_s=LONGEST_S)
            settle(service)
            with Arrivals(scene.remote) as arrivals:
                ended = service.command("end", runs)["at"]
                seconds.append(arrivals.wait(runs, timeout_s=LONGEST_S) - ended)
                commits.append(arrivals.commits)
            settle(service)
    return [
        Figure(
            name="burst",
            what=f"{runs} runs that end at once: commits, and time to the last result",
            goal=f"at most {GOAL_COMMITS} commits",
            measured=f"{max(commits)} commits at most in {rounds} rounds, {median(seconds):.1f} s",
            reached=max(commits) <= GOAL_COMMITS,
            values={
                "most_commits": max(commits),
                "fewest_commits": min(commits),
                "seconds": median(seconds),
            },
        )
    ]
