"""A minute of bad weather: real ``disinto serve``, real runners, real OpenBao, and everything that
can be away is away at some time, while actions arrive in bursts.

``DISINTO_SOAK_SEED`` repeats one weather; ``DISINTO_SOAK_S`` makes it longer.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import tenacity

from dispatcher import audit
from dispatcher.assembly import open_ledger
from dispatcher.demo.scene import Scene
from dispatcher.ledger.base import Ledger
from tests.acceptance.evidence import live_grants
from tests.acceptance.serving import Served, all_results
from tests.servers import bao
from tests.servers.bao import Bao
from tests.servers.freeze import freeze

ACTIONS = 40
STORM_S = float(os.environ.get("DISINTO_SOAK_S", "35"))
CALM_S = 120
PROVISIONAL_S = 15
ENDS = {"quick": 0, "slow": 0, "bad": 3}
"""Formulas and their exit codes."""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(int(STORM_S) + CALM_S + 120)]


@pytest.fixture
def server() -> Iterator[Bao]:
    """A server that may be stopped."""
    with bao.serve() as own:
        yield own
        own.process.send_signal(signal.SIGCONT)


@pytest.fixture
def scene(server: Bao, tmp_path: Path) -> Scene:
    (tmp_path / "data").mkdir()
    begin = (
        '#!/bin/bash\ntest "$TOKEN_A" = value-of-a || exit 9\n'
        "echo $DISINTO_ACTION_ID >> ~/data/marks\n"
    )
    return Scene.set(
        tmp_path,
        server,
        values={"TOKEN_A": "value-of-a"},
        settings={
            "limits": {"max_in_flight": 6, "max_run_s": 60},
            "vault": {"timeout_s": 1.0},
            "ops_repo": {"poll_interval_s": 0.5, "timeout_s": 10.0},
            "grants": {"provisional_ttl_s": PROVISIONAL_S},
            "archive": {"after_days": 0},
            "local": {
                "mounts": {"agent-data": str(tmp_path / "data")},
                "allow_unprotected_mounts": True,
            },
        },
        tiers=dict.fromkeys(ENDS, "low"),
        formulas={
            "quick.sh": begin,
            "slow.sh": f"{begin}sleep 1.$((RANDOM % 10))\n",
            "bad.sh": f"{begin}exit 3\n",
        },
    )


class Weather:
    """Everything that happens to the dispatcher, by one seed.

    Attributes:
        formulas: of the actions that were merged, by id.
        killed: how often the dispatcher was killed.
    """

    def __init__(self, scene: Scene, server: Bao, seed: int) -> None:
        self._scene, self._server = scene, server
        self._seed = seed
        self._over = threading.Event()
        self.trouble: list[BaseException] = []
        self.formulas: dict[str, str] = {}
        self.killed = 0

    def rage(self) -> None:
        """Let it all happen at once, for a while; then it is calm."""
        stories = (self._people, self._deaths, self._remote, self._vault)
        threads = [
            threading.Thread(target=self._story, args=(story, random.Random(self._seed + n)))
            for n, story in enumerate(stories)
        ]
        for thread in threads:
            thread.start()
        self._over.wait(STORM_S)
        self._over.set()
        for thread in threads:
            thread.join(60)
        if self.trouble:
            raise self.trouble[0]

    def _story(self, story: Callable[[random.Random], None], dice: random.Random) -> None:
        try:
            story(dice)
        except BaseException as error:  # noqa: BLE001 - told by the test's own thread
            self.trouble.append(error)
            self._over.set()

    def _people(self, dice: random.Random) -> None:
        """Bursts of actions, and a file of somebody else between them."""
        names = [f"a{n}" for n in range(ACTIONS)]
        while names:
            burst, names = names[: (size := dice.randint(1, 8))], names[size:]
            self.formulas |= {name: dice.choice(sorted(ENDS)) for name in burst}
            files: dict[str, str | bytes] = {
                f"vault/actions/{name}.toml": f'id = "{name}"\nformula = "{self.formulas[name]}"\n'
                'context = ""\nsecrets = ["TOKEN_A"]\nmounts = ["agent-data"]\n'
                for name in burst
            }
            files[f"notes/{burst[0]}"] = "a note"
            self._merge(files, f"Add {len(burst)}")
            if names:
                self._over.wait(dice.uniform(0, STORM_S / 12))

    @tenacity.retry(stop=tenacity.stop_after_delay(60), wait=tenacity.wait_fixed(0.3), reraise=True)
    def _merge(self, files: dict[str, str | bytes], message: str) -> None:
        """As a person does who finds the remote away: again."""
        with suppress(RuntimeError):
            self._scene.git("rebase", "--abort")
        for name, content in files.items():
            path = self._scene.desk / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content.encode() if isinstance(content, str) else content)
        self._scene.git("add", "--all")
        if self._scene.git("status", "--porcelain"):
            self._scene.git("commit", "--quiet", "--message", message)
        self._scene.git("pull", "--quiet", "--rebase", "origin", "main")
        self._scene.git("push", "--quiet", "origin", "HEAD:main")

    def _deaths(self, dice: random.Random) -> None:
        while not self._over.is_set():
            served = Served(self._scene)
            # Most lives are too short to come far, some are long enough to finish a few runs.
            self._over.wait(dice.choice((dice.uniform(0.3, 2), dice.uniform(1, 5))))
            served.kill()
            self.killed += 1

    def _remote(self, dice: random.Random) -> None:
        away = self._scene.remote.with_name("away.git")
        while not self._over.wait(dice.uniform(1, 4)):
            self._scene.remote.rename(away)
            self._over.wait(dice.uniform(0.2, 2))
            away.rename(self._scene.remote)

    def _vault(self, dice: random.Random) -> None:
        while not self._over.wait(dice.uniform(1, 4)):
            freeze(self._server.process.pid)
            self._over.wait(dice.uniform(0.2, 2.5))
            self._server.process.send_signal(signal.SIGCONT)


def test_soak(scene: Scene, server: Bao) -> None:
    seed = int(os.environ.get("DISINTO_SOAK_SEED", "0")) or random.SystemRandom().randint(1, 10**6)
    try:
        weather = Weather(scene, server, seed)
        weather.rage()
        served = Served(scene)
        try:
            results = all_results(scene, weather.formulas, within_s=CALM_S)
            ledger = open_ledger(scene.open_settings(), scene.environ)
            _no_claim_is_left(ledger)
        except BaseException:
            served.kill()
            raise
        served.end()
        _whole(scene, server, weather, results)
        print(f"\nseed {seed}: {len(results)} actions, killed {weather.killed} times")
    except Exception as error:  # noqa: BLE001 - told with the seed
        log = (scene.root / "serve.log").read_text().splitlines()
        pytest.fail(
            f"DISINTO_SOAK_SEED={seed}: {type(error).__name__}: {error}\n" + "\n".join(log[-40:])
        )


@tenacity.retry(stop=tenacity.stop_after_delay(60), wait=tenacity.wait_fixed(0.2), reraise=True)
def _no_claim_is_left(ledger: Ledger) -> None:
    assert ledger.open_runs() == ()


def _whole(
    scene: Scene, server: Bao, weather: Weather, results: dict[str, dict[str, object]]
) -> None:
    runs = Counter((scene.root / "data" / "marks").read_text().split())
    assert set(results) == set(weather.formulas), "each action has its result, and nobody else"
    assert len(results) == ACTIONS
    for name, formula in weather.formulas.items():
        result = results[name]
        verdict = "succeeded" if ENDS[formula] == 0 else "failed"
        assert (name, runs[name]) == (name, 1), "each ran once"
        assert (result["verdict"], result["exit_code"]) == (verdict, ENDS[formula]), result
    names = scene.git("ls-tree", "-r", "--name-only", "main", cwd=scene.remote).splitlines()
    each = Counter(Path(n).name for n in names if n.endswith(".result.json"))
    assert set(each.values()) == {1}, "one result file each, archived or not"
    _no_grant_lives(server, weather)
    state = scene.open_settings().state_dir
    subprocess.run(
        ["git", "fsck", "--strict", "--no-dangling"],
        cwd=state / "ops.git",
        check=True,
        capture_output=True,
    )
    report = audit.verify(state / "audit.jsonl")
    assert report.problems == ()
    assert "Traceback" not in (scene.root / "serve.log").read_text()
    assert list((state / "runs").iterdir()) == [], "no run's folder is left"


@tenacity.retry(
    stop=tenacity.stop_after_delay(PROVISIONAL_S * 2), wait=tenacity.wait_fixed(0.5), reraise=True
)
def _no_grant_lives(server: Bao, weather: Weather) -> None:
    """The orphans of dead mints end with their provisional time."""
    assert live_grants(server, weather.formulas) == []
