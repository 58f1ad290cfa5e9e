"""Drives the parts of the dispatcher through simulated time, without waiting for it.

Real: the bare remote and every git command, the clone and its upkeep, the tree, the archive, the SQLite
ledger, signatures, the writer of results, schedules, the refs with kept output. Made up: the clock, which
is a number that is passed in, and that nothing runs: a claim is followed by its result.
"""

from __future__ import annotations

import json
import os
import queue
import random
import shutil
import subprocess
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

from bench.figures import median
from bench.serving import TimedRepo
from bench.stage import action, push
from bench.year import made
from bench.year.rates import DAY_S, Course, Rate
from dispatcher.assembly import open_vault
from dispatcher.decide.policy import Policy
from dispatcher.decide.tiers import effective_tier
from dispatcher.devservers.scene import Scene
from dispatcher.gate.base import Answer, Decision
from dispatcher.ledger.sqlite import SqliteLedger
from dispatcher.loop.archive import Archive
from dispatcher.loop.outgoing import Entry, NewAction, Pushed
from dispatcher.loop.output_retention import oldest_kept
from dispatcher.loop.result_writer import ResultWriter
from dispatcher.loop.signing import action_signer, result_signer, result_verifier
from dispatcher.loop.sources import note_name
from dispatcher.loop.token_bucket import TokenBucket
from dispatcher.model.result import ResultInventory, ResultOutput
from dispatcher.model.run import Claim, RunKey
from dispatcher.model.sure_time import SureTime
from dispatcher.ops_repo import Formulas, OpsRepo, Tree
from dispatcher.sources import Look, action_text
from dispatcher.sources.base import WrittenRun
from dispatcher.sources.schedules import Schedules

SAMPLES = 60
"""Of one course."""

SLOTS_SECRET = bytes(32)
"""From which the ids of scheduled actions come; see ``SlotIds``."""

SCHEDULES = 10
SCHEDULE = b"""cron = "0 * * * *"
timezone = "UTC"
overlap = "skip"
catch_up = "last"

[action]
formula = "hello"
context = "Of {date}"
secrets = []
"""

ONE_IN = 100
"""Two runs in so many make a machine or take one away."""

LIVES = 12
"""A machine lives for one in so many parts of the whole time."""

OUTPUT_EVERY = 10
"""The runs of one batch in so many have output that is kept."""

KEEP_MONTHS = 3
"""Of kept output."""

ANY: Any = object()
"""An action or result of which only its being there counts."""

APPROVED = Decision(answer=Answer.APPROVED, reason="", gate="none")


class Simulation:
    """One course of simulated time.

    Args:
        scene: has the remote, and the key that signs.
        rate: of runs.
        directory: for clone and ledger; created.
        begins: seconds since the epoch.
    """

    def __init__(self, scene: Scene, rate: Rate, directory: Path, *, begins: float) -> None:
        directory.mkdir()
        settings = scene.open_settings()
        vault = open_vault(settings, scene.environ)
        self.rate, self.now = rate, begins
        self.remote, self._clone = scene.remote, directory / "clone.git"
        self._repo = OpsRepo(git_dir=self._clone, settings=settings.ops_repo)
        self._timed = cast(Any, TimedRepo(self._repo))
        self._tree = Tree()
        self._state = directory / "state"
        self._ledger = SqliteLedger(self._state)
        self._archive = Archive(self._timed, after_days=rate.after_days)
        self._schedules = Schedules(
            self._repo, limit=settings.limits.max_action_bytes, secret=lambda: SLOTS_SECRET
        )
        self._kept = made.KeptOutput(directory / "output")
        self._reports: queue.SimpleQueue[Pushed] = queue.SimpleQueue()
        self._sign = result_signer(settings, vault)
        self._writer = ResultWriter(
            self._timed,
            sign_result=self._sign,
            sign_action=action_signer(settings, vault),
            verifier=result_verifier(settings, vault),
            report=self._reports.put,
            outputs=self._kept,
            pace=TokenBucket(interval_s=0.0, at_once=1),
        )
        self._dice = random.Random(rate.runs)
        self._machines: deque[tuple[str, float]] = deque()
        self._number = self._batches = 0
        self._archived_at = begins
        self._took: dict[str, list[float]] = {}
        self.course = Course(rate=rate.name)
        files = {f"vault/schedules/hourly-{n}.toml": SCHEDULE for n in range(SCHEDULES)}
        push(self.remote, files)
        self._follow()
        self._writer.start()

    def until(self, share: float) -> None:
        """Go on until this share of the time is over."""
        while self._batches < round(share * self.rate.batches):
            self._batch()
            self._batches += 1
            self.now += self.rate.step_s
            if self._batches % max(1, self.rate.batches // SAMPLES) == 0:
                self._sample()

    @property
    def archived(self) -> float:
        """Actions in the archive."""
        return float(len(self._tree.archived))

    def pack_remote(self) -> float:
        """Tidy the remote, as a forge does from time to time; its size in bytes afterwards."""
        subprocess.run(
            ["git", "--git-dir", self.remote, "gc", "--quiet", "--prune=now"], check=True
        )
        return size(self.remote)

    def close(self) -> None:
        """End it; clone and ledger stay until their directory goes."""
        self._writer.stop()
        self._repo.close()
        self._ledger.close()
        shutil.rmtree(self._clone)

    # -- one batch -----------------------------------------------------------------------

    def _batch(self) -> None:
        """Actions come, schedules write theirs, all of them are claimed and end, their results go to the
        remote, and what is old enough to the archive.
        """
        self._write_scheduled()
        names = [
            f"run-{time.strftime('%Y%m%d', time.gmtime(self.now))}-{n:07}" for n in self._next()
        ]
        push(self.remote, {f"vault/actions/{name}.toml": action(name) for name in names})
        self._follow("follow")
        began = time.monotonic()
        claims = [self._claim(action_id) for action_id in list(self._tree.open)]
        ended = [self._end(n, claim) for n, claim in enumerate(claims)]
        self._note("run", (time.monotonic() - began) * 1_000 / len(claims))
        self._publish([Entry.of(claim) for claim in ended])
        self._follow("follow")
        for claim in ended:
            self._ledger.release(claim)
            self._kept.forget(claim.key.action_id)
        self.course.runs += len(ended)
        if self.now - self._archived_at >= min(DAY_S / 24, DAY_S * self.rate.after_days):
            self._archived_at = self.now
            self._archive_due()
            self._remove_output()

    def _next(self) -> range:
        first, self._number = self._number, self._number + self.rate.batch
        return range(first, self._number)

    def _claim(self, action_id: str) -> Claim:
        key = RunKey(action_id=action_id, blob=self._tree.open[action_id].blob)
        return self._ledger.claim(
            made.claim_of(key, self._tree.commit, now=self.now, dice=self._dice)
        )

    def _end(self, number: int, claim: Claim) -> Claim:
        action_id, output = claim.key.action_id, None
        if self._batches % OUTPUT_EVERY == 0:
            output = self._output(action_id)
        inventory = self._machine(action_id) if number % ONE_IN < 2 else None
        return self._ledger.update(
            made.ended(
                claim,
                self._sign,
                now=self.now,
                dice=self._dice,
                inventory=inventory,
                output=output,
            )
        )

    def _output(self, action_id: str) -> ResultOutput:
        month = time.strftime("%Y-%m", time.gmtime(self.now))
        return self._kept.add(action_id, month=month, dice=self._dice)

    def _machine(self, action_id: str) -> ResultInventory:
        """One is taken away if the oldest has lived long enough, else one is made."""
        life_s = self.rate.days * DAY_S / LIVES
        if self._machines and self.now - self._machines[0][1] > life_s:
            return made.destroyed(self._machines.popleft()[0], now=self.now)
        self._machines.append((action_id, self.now))
        return made.created(action_id, len(self._machines), now=self.now, life_s=2 * life_s)

    def _publish(self, entries: list[Entry] | list[NewAction]) -> None:
        for name in ("commits", "pushes"):
            setattr(self._timed, name, [])
        self._writer.put(*entries)
        while entries:
            pushed = self._reports.get(timeout=600)
            if pushed.error is not None:
                raise pushed.error
            entries = entries[len(pushed.entries) :]
        if self._batches % OUTPUT_EVERY != 0:
            self._note("commit", *self._timed.commits)
            self._note("push", *self._timed.pushes)

    def _follow(self, name: str = "first") -> None:
        """Fetch, move to the head, and record that."""
        began = time.monotonic()
        commit = self._repo.fetch().commit
        self._tree.enter(self._repo.difference(self._tree, commit))
        self._note(name, (time.monotonic() - began) * 1_000)
        self._write_note("seen", commit)
        self._repo.mark_seen(commit)

    def _write_note(self, name: str, text: str) -> None:
        note = self._ledger.note(name)
        self._ledger.write_note(name, text, version=note.version if note else 0)

    # -- what happens by itself ------------------------------------------------------------

    def _write_scheduled(self) -> None:
        note = self._ledger.note(note_name("schedule"))
        began = time.monotonic()
        wants = self._schedules.look(self._look(json.loads(note.text) if note else {}))
        self._note("schedules", (time.monotonic() - began) * 1_000)
        if wants.actions:
            self._publish(
                [
                    NewAction(
                        action_id=wanted.action_id,
                        text=action_text("schedule", wanted),
                        origin=f"schedule {wanted.name}",
                    )
                    for wanted in wants.actions
                ]
            )
        self._write_note(note_name("schedule"), json.dumps(wants.marks))

    def _look(self, marks: dict[str, str]) -> Look:
        tree = self._tree

        def is_used(action_id: str) -> bool:
            return action_id in tree.open or tree.has_result(action_id)

        return Look(
            now=self.now,
            commit=tree.commit,
            tier_of=lambda each: effective_tier(Policy(), each),
            formulas=Formulas(commit=tree.commit, formulas={}),
            marks=marks,
            down=frozenset(),
            is_open=lambda action_id: action_id in tree.open,
            is_used=is_used,
            ended=lambda _id: None,
            check=lambda _question: APPROVED,
            ids=frozenset,
            written=lambda i: WrittenRun(action=ANY, result=None if i in tree.open else ANY),
            problems=lambda *_: (),
            sure=lambda: SureTime(now=0.0),
            result_file=lambda _id: None,
            kept_results=dict,
        )

    def _archive_due(self) -> None:
        """One pass, as ``serve`` makes one each hour."""
        began = time.monotonic()
        current = self._archive.begin(self._tree, now=self.now)
        self._note("pass", (time.monotonic() - began) * 1_000)
        more = True
        while more:
            began = time.monotonic()
            moved, more = current.step(keep=(), check=lambda: None)
            if moved:
                self._note("archive", (time.monotonic() - began) * 1_000)
                self._note("moved", moved)
        self._follow("first")

    def _remove_output(self) -> None:
        """What ``serve`` does with months that are too old."""
        months = self._repo.outputs.months()
        for month in months:
            if month < oldest_kept(self.now, KEEP_MONTHS):
                self._repo.outputs.remove(month)

    # -- measuring ---------------------------------------------------------------------------

    def _note(self, name: str, *values: float) -> None:
        self._took.setdefault(name, []).extend(values)

    def _sample(self) -> None:
        took, self._took = self._took, {}
        sample = {f"{name}_ms": median(values) for name, values in took.items() if values}
        if "moved_ms" in sample:
            sample["moved"] = sample.pop("moved_ms")
        tree = self._tree
        self.course.samples.append(
            {
                "runs": self.course.runs,
                "archived": len(tree.archived),
                "finished": len(tree.finished),
                "largest": max(tree.archived_in.values(), default=0),
                "directories": len(tree.archived_in),
                "machines": len(self._machines),
                "clone_mb": size(self._clone) / 1e6,
                "remote_mb": size(self.remote) / 1e6,
                "ledger_kb": sum(f.stat().st_size for f in self._state.glob("ledger.db*")) / 1e3,
                "packs": sum(1 for _ in self._clone.glob("objects/pack/*.pack")),
                **sample,
            }
        )


def size(directory: Path) -> float:
    """Bytes of all files below it. Files and directories may vanish meanwhile: git tidies up."""
    total = 0
    for parent, _directories, files in os.walk(directory):  # which goes past what has vanished
        for file in files:
            with suppress(OSError):
                total += os.lstat(os.path.join(parent, file)).st_size  # noqa: PTH118 - many
    return float(total)


def timed(work: Callable[[], object]) -> float:
    """Seconds that it takes."""
    began = time.monotonic()
    work()
    return time.monotonic() - began
