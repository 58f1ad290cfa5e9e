"""What it costs to keep the whole output of runs: results published with it and without, in turns,
through the adapter of the ops repo, to a remote by path.
"""

from __future__ import annotations

import gzip
import random
import time
from dataclasses import dataclass, field
from pathlib import Path

from bench import git_growth
from bench.figures import Figure, median
from bench.stage import Stage
from dispatcher.ops_repo import NewFile, OutputFile

ROUNDS = 12
LINES = 400
"""Of output of each run: about 20 kB, 4 kB compressed."""

BATCHES = (1, 50)
MONTH = "2026-11"


@dataclass(kw_only=True)
class Way:
    """One of the two ways: a remote, and the seconds per push by the size of the batch."""

    name: str
    remote: git_growth.Stage
    seconds: dict[int, list[float]] = field(default_factory=lambda: {b: [] for b in BATCHES})
    runs: int = 0


def measure(stage: Stage, *, rounds: int = ROUNDS) -> list[Figure]:
    """Results per second and bytes per run, with and without output."""
    ways = [
        Way(name=name, remote=git_growth.prepare(stage.folder, name, flat=100, archived=0))
        for name in ("without-output", "with-output")
    ]
    before = {way.name: _sizes(way) for way in ways}
    dice = random.Random(1)
    for _ in range(rounds):
        for batch in BATCHES:
            outputs = [_output(dice) for _ in range(batch)]
            for way in ways:
                _publish(way, stage.folder, outputs)
    without, kept = ways
    grown = {way.name: [b - a for a, b in zip(before[way.name], _sizes(way), strict=True)]
             for way in ways}  # fmt: skip
    runs = kept.runs
    on_remote = (grown[kept.name][0] - grown[without.name][0]) / runs
    in_clone = (grown[kept.name][1] - grown[without.name][1]) / runs
    for way in ways:
        way.remote.repo.close()
    figures = []
    for batch in BATCHES:
        rate = {way.name: batch / median(way.seconds[batch]) for way in ways}
        figures.append(
            Figure(
                name="kept_output",
                what=f"results per second, {batch} in a push, with 20 kB of output each",
                goal="",
                measured=f"{rate[kept.name]:.0f} /s; {rate[without.name]:.0f} /s without output",
                reached=None,
                values={f"with_{batch}": rate[kept.name], f"without_{batch}": rate[without.name]},
            )
        )
    figures.append(
        Figure(
            name="kept_output",
            what="bytes that the output of a run takes, 20 kB of text",
            goal="nothing in the dispatcher's clone",
            measured=f"{on_remote:.0f} on the remote; {max(0.0, in_clone):.0f} in the clone",
            reached=in_clone < 100,
            values={"remote": on_remote, "clone": in_clone},
        )
    )
    return figures


def _publish(way: Way, folder: Path, outputs: list[bytes]) -> None:
    files, results = [], []
    for data in outputs:
        name = f"run-{way.runs:05}"
        way.runs += 1
        path = folder / f"{way.name}-{name}.gz"
        path.write_bytes(_packed(data))
        files.append(OutputFile(month=MONTH, name=f"{name}.stdout.gz", path=path))
        results.append(
            NewFile(path=f"vault/actions/{name}.result.json", data=git_growth.result_of(name))
        )
    began = time.perf_counter()
    way.remote.repo.publish(
        results, message="Results", outputs=files if way.name == "with-output" else []
    )
    way.seconds[len(outputs)].append(time.perf_counter() - began)
    for file in files:
        file.path.unlink()


def _output(dice: random.Random) -> bytes:
    return "".join(
        f"2026-11-22T00:00:{n % 60:02} step {n}: {dice.getrandbits(64):016x} done\n"
        for n in range(LINES)
    ).encode()


def _packed(data: bytes) -> bytes:
    return gzip.compress(data, 6, mtime=0)


def _sizes(way: Way) -> tuple[int, int]:
    """Bytes of objects: of the remote, of the clone."""
    return _size(way.remote.remote / "objects"), _size(
        way.remote.remote.parent / f"{way.name}-clone.git" / "objects"
    )


def _size(directory: Path) -> int:
    return sum(file.stat().st_size for file in directory.rglob("*") if file.is_file())
