"""Many desktops at once, in a time that passes in pauses alone: each run is a thread, one at a time runs.

The programs under test are the real ones, as in ``desktops``; each request takes a moment.
"""

from __future__ import annotations

import heapq
import random
import threading
from collections.abc import Callable
from itertools import count

from dispatcher.desktop.cloud import Order
from dispatcher.desktop.create import Creation, Wanted
from dispatcher.desktop.destroy import destroy
from dispatcher.desktop.digitalocean import DigitalOcean
from dispatcher.desktop.probes import Probed
from tests.servers.cloud import TOKEN, FakeCloud
from tests.servers.cloud_connection import Direct
from tests.support.desktops import FINGERPRINT, START, TAGS, Recorder

REQUEST_S = 0.3


class SharedTime:
    """The time of all runs: it goes on when every run pauses."""

    def __init__(self, seed: int = 0) -> None:
        self.at = START
        self._random = random.Random(seed)
        self._order = count()
        self._due: list[tuple[float, int, threading.Event]] = []
        self._parked = threading.Semaphore(0)

    def now(self) -> float:
        return self.at

    def sleep(self, seconds: float) -> None:
        awake = threading.Event()
        heapq.heappush(self._due, (self.at + seconds, next(self._order), awake))
        self._parked.release()
        awake.wait()

    def chance(self) -> float:
        return self._random.random()

    def run(self, programs: list[Callable[[], object]]) -> list[Exception]:
        """Begin all of them now, and end when all have ended; what they raised."""
        raised: list[Exception] = []

        def alone(program: Callable[[], object]) -> None:
            try:
                self.sleep(0)
                program()
            except Exception as error:  # noqa: BLE001 - kept for the test
                raised.append(error)
            finally:
                self._parked.release()

        for program in programs:
            threading.Thread(target=alone, args=(program,), daemon=True).start()
            self._parked.acquire()
        while self._due:
            self.at, _, awake = heapq.heappop(self._due)
            awake.set()
            self._parked.acquire()
        return raised


class Ready:
    """The prober of machines that become desktops so many seconds after they are first looked at."""

    def __init__(self, time: SharedTime, after_s: float) -> None:
        self._time, self._after_s = time, after_s
        self._since: float | None = None

    def look(self, ip: str, fingerprint: str) -> Probed:
        self._since = self._time.now() if self._since is None else self._since
        ready = self._time.now() - self._since >= self._after_s
        return Probed(http=ready, https=ready)


class Crowd:
    """Runs of many desktops against one account.

    Attributes:
        time: of all runs.
        cloud: the account.
    """

    def __init__(self, cloud: FakeCloud, *, seed: int = 0) -> None:
        self.time, self.cloud = SharedTime(seed), cloud
        cloud.now = self.time.now

    def create(self, number: int, *, ready_after_s: float = 180.0) -> list[Exception]:
        """So many runs of ``desktop`` at the same moment; what they raised."""
        return self.time.run([self._creation(n, ready_after_s) for n in range(number)])

    def destroy(self, number: int) -> list[Exception]:
        """So many runs of ``desktop-destroy`` at the same moment; what they raised."""
        return self.time.run([self._destruction(n) for n in range(number)])

    def _creation(self, number: int, ready_after_s: float) -> Callable[[], None]:
        desktop_id = f"desktop-{number}"
        run_key = f"{desktop_id}.{'0' * 40}"
        order = Order(
            name=desktop_id, region="sfo3", size="s-2vcpu-4gb", image="ubuntu-24-04-x64",
            tags=TAGS.for_run(desktop_id, run_key), user_data="#cloud-config\n",
        )  # fmt: skip
        wanted = Wanted(
            order=order,
            run_tag=TAGS.run(run_key),
            fingerprint=FINGERPRINT,
            entry={"id": desktop_id, "run_key": run_key},
        )
        creation = Creation(
            wanted,
            cloud=self._adapter(),
            clock=self.time,
            prober=Ready(self.time, ready_after_s),
            reporter=Recorder(),
        )
        return creation.run

    def _destruction(self, number: int) -> Callable[[], None]:
        return lambda: destroy(
            f"desktop-{number}",
            cloud=self._adapter(),
            clock=self.time,
            reporter=Recorder(),
            tags=TAGS,
            end_sessions=lambda _: None,
        )

    def _adapter(self) -> DigitalOcean:
        connection = Direct(self.cloud, TOKEN, step=lambda: self.time.sleep(REQUEST_S / 2))
        return DigitalOcean(connection, now=self.time.now)
