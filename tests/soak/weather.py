"""Everything that happens during a soak, by one seed; then it is calm, and what was away is
back."""

from __future__ import annotations

import random
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import tenacity

from tests.servers.freeze import freeze
from tests.soak.pusher import Pusher
from tests.soak.stage import CODES, Stage, action
from tests.support.cli_process import disinto
from tests.support.serving import Served

Story = Callable[[random.Random], None]

STALE_S = 10.0
"""Age of a lock of the remote that nobody holds any more."""


class Weather:
    """Args:
    stage: what it falls on.
    duration_s: of the storm.
    seed: repeats the dice of each story; the threads' timing stays their own.
    hostile: whether somebody hostile pushes.
    limit: actions at most; None: as many as come.
    """

    def __init__(
        self,
        stage: Stage,
        *,
        duration_s: float,
        seed: int,
        hostile: bool = True,
        limit: int | None = None,
    ) -> None:
        self._stage, self._duration_s, self._seed = stage, duration_s, seed
        self._hostile, self._limit = hostile, limit
        self._over = threading.Event()
        self._trouble: list[BaseException] = []

    def rage(self) -> None:
        """Let it all happen at once, until the time is over; then mend everything.

        Raises whatever a story failed with: that is a defect of the soak, not of what it tries.
        """
        stories: list[Story] = [
            self._people, self._deaths, self._runners, self._remote, self._vault
        ]  # fmt: skip
        if self._stage.cluster is not None:
            stories.append(self._nomad)
        if self._hostile:
            stories += [self._pusher, self._operator]
        threads = [
            threading.Thread(
                target=self._play, args=(s, random.Random(self._seed + n)), daemon=True
            )
            for n, s in enumerate(stories)
        ]
        for thread in threads:
            thread.start()
        self._over.wait(self._duration_s)
        self._over.set()
        for thread in threads:
            thread.join(180)
        if self._trouble:
            raise self._trouble[0]

    def _play(self, story: Story, dice: random.Random) -> None:
        try:
            story(dice)
        except BaseException as error:  # noqa: BLE001 - raised by the caller's thread
            self._trouble.append(error)
            self._over.set()

    # -- people -----------------------------------------------------------------------------

    def _people(self, dice: random.Random) -> None:
        """Bursts of actions of every kind, and a file of somebody else between them."""
        number = 0
        while not self._over.is_set() and (self._limit is None or number < self._limit):
            files: dict[str, bytes] = {}
            size = dice.randint(1, 6)
            if self._limit is not None:
                size = min(size, self._limit - number)
            chosen = {}
            for _ in range(size):
                name = f"a{number}"
                chosen[name] = dice.choice((*CODES, *CODES, "danger"))
                text = action(name, chosen[name], mount=self._stage.cluster is None)
                files[f"vault/actions/{name}.toml"] = text.encode()
                number += 1
            files[f"notes/n{number}"] = b"a note"
            self._stage.formulas |= chosen
            self._merge(files)
            self._over.wait(dice.uniform(0.5, 8))

    @tenacity.retry(
        stop=tenacity.stop_after_delay(120), wait=tenacity.wait_fixed(0.3), reraise=True
    )
    def _merge(self, files: dict[str, bytes]) -> None:
        """As a person does who finds the remote away or the branch moved: again, on what is
        there."""
        remote = self._stage.remote
        head = remote.head
        draft = remote.commit(files, parents=[head], branch="people")
        remote.git("update-ref", "refs/heads/main", draft, head)

    def _operator(self, dice: random.Random) -> None:
        """Looks now and then; takes the lead back when somebody wrote the ref, and removes the lock
        that a push left in the remote when it was killed, as the message about it says.
        """
        lock = self._stage.remote.path / "refs" / "heads" / "main.lock"
        while not self._over.wait(dice.uniform(5, 20)):
            with suppress(FileNotFoundError):
                if time.time() - lock.stat().st_mtime > STALE_S:
                    lock.unlink()
                    self._stage.counted("stale lock removed")
            if take_over(self._stage):
                self._stage.counted("takeover")

    def _pusher(self, dice: random.Random) -> None:
        pusher = Pusher(self._stage, dice)
        while not self._over.wait(dice.uniform(0.5, 4)):
            pusher.act()

    # -- deaths -----------------------------------------------------------------------------

    def _deaths(self, dice: random.Random) -> None:
        while not self._over.is_set():
            served = Served(self._stage.scene)
            # Most lives are too short to come far, some are long enough to finish a few runs.
            self._over.wait(dice.choice((dice.uniform(0.3, 3), dice.uniform(2, 10), 20.0)))
            served.kill()
            self._stage.counted("serve killed")

    def _runners(self, dice: random.Random) -> None:
        while not self._over.wait(dice.uniform(4, 12)):
            if runners := self._stage.runners():
                self._stage.kill_runner(dice.choice(runners))

    def _remote(self, dice: random.Random) -> None:
        remote: Path = self._stage.scene.remote
        away = remote.with_name("away.git")
        while not self._over.wait(dice.uniform(3, 15)):
            remote.rename(away)
            self._over.wait(dice.uniform(0.2, 4))
            if remote.exists():  # somebody made it anew in between
                remote.rename(remote.with_name(f"made-{time.monotonic_ns()}.git"))
            away.rename(remote)
            self._stage.counted("remote away")

    def _vault(self, dice: random.Random) -> None:
        vault = self._stage.vault
        while not self._over.wait(dice.uniform(3, 15)):
            if dice.random() < 0.5:
                freeze(vault.process.pid)
                self._over.wait(dice.uniform(0.2, 4))
                vault.process.send_signal(signal.SIGCONT)
                self._stage.counted("vault frozen")
            else:
                vault.kill()
                self._over.wait(dice.uniform(0, 5))
                vault.start()
                self._stage.counted("vault killed")

    def _nomad(self, dice: random.Random) -> None:
        """A server, the leader, the quorum or a client at a time."""
        cluster = self._stage.cluster
        assert cluster is not None
        while not self._over.wait(dice.uniform(10, 30)):
            servers, clients = list(cluster.servers.values()), list(cluster.clients.values())
            kind = dice.choice(("server", "leader", "quorum", "client"))
            match kind:
                case "leader":
                    with suppress(LookupError):
                        cluster.leader().kill()
                case "client":
                    dice.choice(clients).kill()
                case "quorum":
                    for member in dice.sample(servers, 2):
                        member.kill()
                case _:
                    dice.choice(servers).kill()
            self._stage.counted(f"nomad {kind} killed")
            self._over.wait(dice.uniform(2, 20))
            cluster.mend()
        cluster.mend()


def take_over(stage: Stage) -> bool:
    """What an operator does who finds that somebody wrote the lead; True if it was necessary."""
    told = disinto(
        "--config", str(stage.scene.config), "takeover", "--yes", env=stage.scene.environ
    )
    return told.code == 0 and "already leads" not in told.out
