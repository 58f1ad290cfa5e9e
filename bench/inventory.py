"""``disinto inventory`` with 10,000 entries, each checked against the signed result that wrote it: the
first time, when every signature is verified, and again.
"""

from __future__ import annotations

import compileall
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import dispatcher as package
from bench.figures import Figure, median
from bench.stage import Stage
from dispatcher.assembly import open_repo, open_vault
from dispatcher.devservers.scene import Scene
from dispatcher.loop.outgoing import Entry, Sign
from dispatcher.loop.signing import result_signer
from dispatcher.model.inventory import Change
from dispatcher.model.inventory_entry import entry_path, rendered, trailer
from dispatcher.model.result import Result, ResultInventory
from dispatcher.model.verdicts import Verdict

ENTRIES = 10_000
FIRST_S, AGAIN_S = 5.0, 1.0
"""Goals, in seconds."""

AGAIN = 5
"""How often it is repeated."""

BATCH = 200
"""Results of one commit."""


def measure(stage: Stage, *, entries: int = ENTRIES) -> list[Figure]:
    """Seconds of the command, beside an interpreter that does nothing."""
    compileall.compile_dir(Path(package.__file__).parent, quiet=1)
    scene = stage.scene()
    settings = scene.open_settings()
    vault = open_vault(settings, scene.environ)
    sign = result_signer(settings, vault)
    subprocess.run(
        ["git", "fast-import", "--quiet", "--force"],
        cwd=scene.remote,
        input=b"".join(_commits(scene, [_result(n) for n in range(entries)], sign)),
        check=True,
    )
    open_repo(settings, scene.environ, vault).fetch()
    looks = [_look(scene) for _ in range(1 + AGAIN)]
    listed = min(shown for _, shown in looks)
    first_s, again_s = looks[0][0], median([took for took, _ in looks[1:]])
    nothing_s = median([_took([sys.executable, "-c", "pass"], scene)[0] for _ in range(AGAIN)])
    return [
        Figure(
            name="inventory",
            what=f"`disinto inventory` with {entries:,} entries, {what}",
            goal=f"at most {goal:g} s",
            measured=f"{took:.2f} s, {took / nothing_s:.0f} times `python -c pass`; "
            f"{listed:,} believed",
            reached=took <= goal and listed == entries,
            values={"seconds": took, "ratio": took / nothing_s},
        )
        for what, goal, took in (
            ("none verified before", FIRST_S, first_s),
            ("the next time", AGAIN_S, again_s),
        )
    ]


def _look(scene: Scene) -> tuple[float, int]:
    """Seconds of the command, and how many entries it lists as believed."""
    program = str(Path(sys.executable).with_name("disinto"))
    took, out = _took([program, "inventory", "--config", str(scene.config)], scene)
    return took, sum(line.startswith(b"machine ") for line in out.splitlines())


def _took(arguments: Sequence[str], scene: Scene) -> tuple[float, bytes]:
    began = time.monotonic()
    done = subprocess.run(arguments, env=scene.environ, stdout=subprocess.PIPE, check=True)
    return time.monotonic() - began, done.stdout


def _result(number: int) -> Result:
    action_id = f"m{number:05}"
    done = ResultInventory(
        change=Change.CREATES,
        kind="machine",
        id=action_id,
        destroyed_by="unmake",
        expires_at="2099-01-01T00:00:00Z",
        entry={"address": f"198.51.{number // 256 % 256}.{number % 256}"},
    )
    return Result(
        id=action_id,
        exit_code=0,
        timestamp="2026-01-01T00:00:00.000Z",
        verdict=Verdict.SUCCEEDED,
        inventory=done,
    )


def _commits(scene: Scene, results: list[Result], sign: Sign) -> Iterator[bytes]:
    """fast-import's commands for results and entries, signed, ``BATCH`` per commit."""
    head = scene.git("rev-parse", "main", cwd=scene.remote).strip()
    for start in range(0, len(results), BATCH):
        batch = results[start : start + BATCH]
        message = ("Results\n\n" + "\n".join(map(trailer, batch))).encode()
        yield b"commit refs/heads/main\ncommitter b <b@example.org> 1767225600 +0000\n"
        yield b"data %d\n%b\n" % (len(message), message)
        if start == 0:
            yield f"from {head}\n".encode()
        for result in batch:
            text = sign(Entry(action_id=result.id, text=result.to_json()))
            yield from _file(f"vault/actions/{result.id}.result.json", text.encode())
            yield from _file(entry_path("machine", result.id), rendered(result))


def _file(path: str, data: bytes) -> Iterator[bytes]:
    yield b"M 100644 inline %b\ndata %d\n%b\n" % (path.encode(), len(data), data)
