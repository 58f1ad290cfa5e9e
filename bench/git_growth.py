"""What git costs as an ops repo grows: ``python -m bench.git_growth [--json] [--rounds N]``.

Three remotes by path: 1,000 finished actions in ``vault/actions``; the same with 100,000 more
archived below ``vault/done``; and 101,000 finished ones that nobody archived. On each, somebody
pushes one new action, and the dispatcher fetches it, follows the difference, reads the file, and
publishes its result. The remotes take turns, so that what else the machine does hits all alike.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dispatcher.ops_repo import NewFile, OpsRepo, Tree
from dispatcher.settings import OpsRepoSettings

FINISHED, MORE = 1_000, 100_000
MONTHS = [f"{year}-{month:02}" for year in (2025, 2026) for month in range(1, 13)]
STEPS = (
    "idle fetch",
    "fetch of one commit",
    "advance",
    "read",
    "tick with one action",
    "commit of a result",
    "push",
    "all together",
)
"""The push is for the most part the work of the remote's own git: it walks the whole tree of the
branch to make sure that nothing is missing (``git rev-list --objects … --not --all``), and no
setting of ours or of the remote's shortens that."""


@dataclass
class Stage:
    """One remote with its clone, and the milliseconds that each step took."""

    name: str
    remote: Path
    repo: OpsRepo
    tree: Tree
    times: dict[str, list[float]] = field(default_factory=lambda: {s: [] for s in STEPS})

    def timed(self, step: str, work: Callable[[], object]) -> float:
        start = time.perf_counter()
        work()
        took = (time.perf_counter() - start) * 1_000
        self.times[step].append(took)
        return took


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument(
        "--more", type=int, default=MORE, help="archived actions, or unarchived ones"
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="disinto-git-growth-") as folder:
        stages = [
            prepare(Path(folder), "finished", flat=FINISHED, archived=0),
            prepare(Path(folder), "archived", flat=FINISHED, archived=options.more),
            prepare(Path(folder), "unarchived", flat=FINISHED + options.more, archived=0),
        ]
        for number in range(options.rounds):
            for stage in stages:
                if stage.name != "unarchived" or number < max(3, options.rounds // 5):
                    one_round(stage, number)
        for stage in stages:
            stage.repo.close()
    report(stages, as_json=options.json)
    return 0


def one_round(stage: Stage, number: int) -> None:
    """One new action comes, and its result goes back."""
    action = f"n{number:05}"
    stage.timed("idle fetch", stage.repo.fetch)
    somebody_pushes(stage.remote, f"vault/actions/{action}.toml", f"id = '{action}'\n".encode())
    tick = stage.timed("fetch of one commit", stage.repo.fetch)
    head = stage.repo.local_head()
    assert head is not None
    tick += stage.timed("advance", lambda: stage.repo.advance(stage.tree, head.commit))
    blob = stage.tree.open[action].blob
    tick += stage.timed("read", lambda: stage.repo.read([blob], limit=65_536))
    result = NewFile(path=f"vault/actions/{action}.result.json", data=result_of(action))
    stage.times["tick with one action"].append(tick)
    pushed = push_seconds(stage.repo)
    start = time.perf_counter()
    stage.repo.publish([result], message=f"Result of {action}")
    took = (time.perf_counter() - start) * 1_000
    push = pushed() * 1_000
    stage.times["push"].append(push)
    stage.times["commit of a result"].append(took - push)
    stage.times["all together"].append(tick + took)
    commit = stage.repo.fetch().commit
    stage.repo.advance(stage.tree, commit)
    stage.repo.mark_seen(commit)


def push_seconds(repo: OpsRepo) -> Callable[[], float]:
    """Measure the next pushes of a repo, by ``git push`` or without it; the answer is the sum so far."""
    git_of, direct = repo._clone.git, repo._writer.branch.direct
    # Those of the class, so that measuring twice does not count twice.
    ask, push = type(git_of).ask.__get__(git_of), type(direct).push.__get__(direct)
    seconds = [0.0]

    @contextmanager
    def counted() -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            seconds[0] += time.perf_counter() - start

    def asked(*args: Any, **options: Any) -> Any:
        with counted() if args[1] == "push" else nullcontext():
            return ask(*args, **options)

    def pushed(*args: Any) -> None:
        with counted():
            push(*args)

    git_of.ask, direct.push = asked, pushed  # type: ignore[method-assign,assignment]
    return lambda: seconds[0]


def prepare(folder: Path, name: str, *, flat: int, archived: int) -> Stage:
    print(f"building: {flat} in vault/actions, {archived} archived ({name}) …", file=sys.stderr)
    remote = folder / f"{name}.git"
    git(folder, "init", "--quiet", "--bare", "--initial-branch=main", str(remote))
    folders: dict[str, list[tuple[str, bytes]]] = {}
    for number in range(flat):
        folders.setdefault("vault/actions", []).extend(pair(f"act-{number:06}"))
    for number in range(archived):
        month = MONTHS[number % len(MONTHS)]
        folders.setdefault(f"vault/done/{month}", []).extend(pair(f"old-{number:06}"))
    folders["formulas"] = [("hello.sh", b"echo hello\n")]
    build(remote, folders)
    settings = OpsRepoSettings(remote=str(remote))
    repo = OpsRepo(git_dir=folder / f"{name}-clone.git", settings=settings)
    tree = Tree()
    repo.advance(tree, repo.fetch().commit)
    return Stage(name=name, remote=remote, repo=repo, tree=tree)


def pair(action: str) -> Iterator[tuple[str, bytes]]:
    yield f"{action}.toml", f"id = '{action}'\nformula = 'hello'\n".encode()
    yield f"{action}.result.json", result_of(action)


def result_of(action: str) -> bytes:
    return json.dumps({"id": action, "exit_code": 0, "logs": action * 20}, indent=2).encode()


def build(remote: Path, folders: dict[str, list[tuple[str, bytes]]]) -> None:
    """Blobs by fast-import, folders by mktree: adding file by file to a large folder is slow."""
    blobs: list[bytes] = []
    trees: dict[str, str] = {}
    listings: dict[str, bytes] = {}
    for path, files in folders.items():
        lines = []
        for name, data in files:
            blobs.append(b"blob\ndata %d\n%b\n" % (len(data), data))
            oid = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
            lines.append(f"100644 blob {oid}\t{name}\n")
        listings[path] = "".join(lines).encode()
    git(remote, "fast-import", "--quiet", "--done", stdin=b"".join(blobs) + b"done\n")
    for path, listing in listings.items():
        trees[path] = git(remote, "mktree", stdin=listing)
    while list(trees) != [""]:
        deepest = max(trees, key=lambda p: p.count("/") + bool(p))
        parent = deepest.rpartition("/")[0]
        inside = {p: t for p, t in trees.items() if p and p.rpartition("/")[0] == parent}
        deeper = [p for p in trees if p.count("/") > deepest.count("/")]
        assert not deeper
        lines = [f"040000 tree {t}\t{p.rpartition('/')[2]}\n" for p, t in inside.items()]
        if parent in trees:
            raise AssertionError(f"{parent} holds files and folders")
        for path in inside:
            del trees[path]
        trees[parent] = git(remote, "mktree", stdin="".join(lines).encode())
    commit = git(remote, *WHO, "commit-tree", "-m", "Begin", trees[""])
    git(remote, "update-ref", "refs/heads/main", commit)
    git(remote, "repack", "--quiet", "-a", "-d")


WHO = ("-c", "user.name=Ann", "-c", "user.email=ann@example.org")


def somebody_pushes(remote: Path, path: str, data: bytes) -> None:
    """A commit made straight in the remote."""
    stream = (
        b"commit refs/heads/main\ncommitter Ann <ann@example.org> %d +0000\ndata 3\nnew\n"
        b"from refs/heads/main^0\nM 100644 inline %b\ndata %d\n%b\ndone\n"
    ) % (int(time.time()), path.encode(), len(data), data)
    git(remote, "fast-import", "--quiet", "--done", stdin=stream)


def git(git_dir: Path, *args: str, stdin: bytes = b"") -> str:
    done = subprocess.run(
        ["git", "--git-dir", git_dir, *args] if args[0] != "init" else ["git", *args],
        input=stdin,
        capture_output=True,
        check=True,
    )
    return done.stdout.decode().strip()


def report(stages: list[Stage], *, as_json: bool) -> None:
    p50 = {s.name: {step: statistics.median(t) for step, t in s.times.items()} for s in stages}
    ratio = {step: p50["archived"][step] / p50["finished"][step] for step in STEPS}
    if as_json:
        rounded = {n: {k: round(v, 2) for k, v in t.items()} for n, t in p50.items()}
        print(json.dumps({"p50_ms": rounded, "archived_to_finished": ratio}, indent=2))
        return
    print(f"{'p50, ms':<22}{'1,000 finished':>16}{'+ archived':>14}{'ratio':>8}{'unarchived':>14}")
    for step in STEPS:
        print(
            f"{step:<22}{p50['finished'][step]:>16.1f}{p50['archived'][step]:>14.1f}"
            f"{ratio[step]:>8.2f}{p50['unarchived'][step]:>14.1f}"
        )


if __name__ == "__main__":
    sys.exit(main())
