"""``disinto inventory`` with 10,000 entries, each checked against the signed result that wrote it."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator

from bench.figures import Figure
from bench.stage import Stage
from dispatcher.assembly import open_repo, open_vault
from dispatcher.devservers.scene import Scene
from dispatcher.loop.inventory import InventoryReader
from dispatcher.loop.outgoing import Entry, Sign
from dispatcher.loop.signing import result_signer, result_verifier
from dispatcher.model.inventory import Change
from dispatcher.model.inventory_entry import entry_path, rendered, trailer
from dispatcher.model.result import Result, ResultInventory
from dispatcher.model.verdicts import Verdict
from dispatcher.ops_repo import Tree

ENTRIES = 10_000
BATCH = 200
"""Results of one commit."""


def measure(stage: Stage, *, entries: int = ENTRIES) -> list[Figure]:
    """Seconds to list and check all entries, and how many are believed."""
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
    repo = open_repo(settings, scene.environ, vault)
    tree, head = Tree(), repo.fetch()
    repo.advance(tree, head.commit)
    reader = InventoryReader(repo, result_verifier(settings, vault))
    began = time.monotonic()
    claimed = reader.claimed(head.commit)
    read_s = time.monotonic() - began
    found = reader.all(tree)
    took_s = time.monotonic() - began - read_s
    believed = sum(not entry.problem for entry in found)
    return [
        Figure(
            name="inventory",
            what=f"`disinto inventory` with {entries:,} entries, each checked",
            goal="at most 2 ms per entry",
            measured=f"{took_s:.1f} s, {1000 * took_s / entries:.2f} ms per entry; "
            f"{believed:,} believed; read only: {read_s:.2f} s",
            reached=took_s / entries <= 0.002 and believed == entries == len(claimed),
            values={"all_s": took_s, "read_s": read_s},
        )
    ]


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
