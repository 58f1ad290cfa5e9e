"""A machine with an application, a bare remote and a developer's checkout, for tests of releases.

``units`` decides how real it is: ``FakeUnits`` here, ``ProcessUnits`` of ``release_services`` with real
programs, or systemd.
"""

from __future__ import annotations

import getpass
import json
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from dispatcher.release.application import Application, read
from dispatcher.release.deploy import PERSON, TIMER, Deployer
from dispatcher.release.health import Get
from dispatcher.release.records import Last, Records
from dispatcher.release.transition import Transition
from dispatcher.release.units import UnitFailed, Units, UnitState

RELEASE = """\
app = "shop"
remote = "{remote}"
user = "{user}"
free_mb = 0
keep = ["/uploads/"]

[services.backend]
install = 'sh install.sh && mkdir -p "$VIRTUAL_ENV" && cp lib "$VIRTUAL_ENV/lib"'
health = "http://127.0.0.1:1/backend"

[services.worker]
install = 'mkdir -p "$VIRTUAL_ENV" && cp lib "$VIRTUAL_ENV/lib"'

[migrations]
command = "sh migrate.sh"
service = "backend"
paths = ["migrations"]

[smoke]
command = "sh smoke.sh"
service = "backend"

[health]
timeout = 0.3
settle = 0
"""
GOOD: Mapping[str, str] = {
    "install.sh": "true",
    "migrate.sh": 'echo "migrated with $PASSWORD"',
    "smoke.sh": "true",
    "healthy": "yes",
    "lib": "1",
}
BAD: Mapping[str, Mapping[str, str]] = {
    "dependencies": {"install.sh": "echo no such package; exit 3"},
    "migrations": {"migrate.sh": "echo no such table; exit 4"},
    "smoke": {"smoke.sh": "echo it smokes; exit 5"},
    "health": {"healthy": "no"},
}
"""What a commit contains that fails, by the step at which it does."""

WORKER, BACKEND = "shop-worker.service", "shop-backend.service"


@dataclass
class FakeUnits:
    """Units in a file, so that they outlive a killed deploy. Each start notes what it would run."""

    root: Path
    calls: list[str] = field(default_factory=list)
    refuses: set[str] = field(default_factory=set)

    def restart(self, unit: str) -> None:
        self.calls.append(f"restart {unit}")
        if unit in self.refuses:
            raise UnitFailed(f"{unit}: refused")
        self.start(unit)

    def start(self, unit: str) -> None:
        """As after a power cut: the unit runs whatever is there."""
        service = unit.removeprefix("shop-").removesuffix(".service")
        known = self.running()
        known[unit] = {
            "n": str(int(known.get(unit, {}).get("n", "0")) + 1),
            "lib": (self.root / "venv" / service / "lib").read_text(),
            "healthy": (self.root / "src" / "healthy").read_text(),
            "version": (self.root / "run" / "version.env").read_text().strip(),
        }
        self._file.write_text(json.dumps(known))

    def stop(self, unit: str) -> None:
        self.calls.append(f"stop {unit}")
        known = self.running()
        known.pop(unit, None)
        self._file.write_text(json.dumps(known))

    def state(self, unit: str) -> UnitState:
        run = self.running().get(unit)
        return UnitState(active=run is not None, invocation=run["n"] if run else "")

    def running(self) -> dict[str, dict[str, str]]:
        """What each unit that runs was started with."""
        return json.loads(self._file.read_text()) if self._file.exists() else {}

    def get(self, url: str) -> str:
        """A health check, see ``Get``."""
        unit = f"shop-{url.rpartition('/')[2]}.service"
        healthy = self.running().get(unit, {}).get("healthy") == "yes"
        return "" if healthy else f"{url}: status 503"

    @property
    def _file(self) -> Path:
        return self.root / "units.json"


class ReleaseStage:
    """The machine and its remote.

    Args:
        tmp: an empty directory.
        release: text of release.toml; ``{remote}`` and ``{user}`` are filled in.
        units, get: of the machine; fakes by default.
    """

    def __init__(
        self,
        tmp: Path,
        *,
        release: str = RELEASE,
        units: Units | None = None,
        get: Get | None = None,
        files: Mapping[str, str] = GOOD,
    ) -> None:
        self.remote, self.work, self.root = tmp / "remote.git", tmp / "work", tmp / "shop"
        (self.root / "env").mkdir(parents=True)
        text = release.replace("{remote}", str(self.remote)).replace("{user}", getpass.getuser())
        (self.root / "release.toml").write_text(text)
        (self.root / "env" / "backend.env").write_text("PASSWORD=hunter2hunter2\n")
        self.fake = FakeUnits(self.root)
        self.units: Units = units or self.fake
        self.get: Get = get or self.fake.get
        self.echoed: list[str] = []
        git(tmp, "init", "-q", "--bare", "-b", "main", str(self.remote))
        git(tmp, "clone", "-q", str(self.remote), str(self.work))
        self.first = self.push(files)

    def push(self, files: Mapping[str, str], *, force: bool = False) -> str:
        """Commit files (relative paths and texts) and push; returns the commit."""
        for name, text in files.items():
            path = self.work / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        git(self.work, "add", "-A")
        git(self.work, "commit", "-q", "--allow-empty", "-m", f"change {sorted(files)}")
        git(self.work, "push", "-q", *(["--force"] if force else []), "origin", "HEAD:main")
        return git(self.work, "rev-parse", "HEAD")

    @property
    def application(self) -> Application:
        return read(self.root)

    @property
    def records(self) -> Records:
        return Records(self.application.layout)

    @property
    def safe(self) -> str:
        return self.records.safe_commit()

    @property
    def log(self) -> str:
        return self.application.layout.log.read_text()

    def deployer(self, trigger: str = PERSON) -> Deployer:
        return Deployer(
            self.application, self.units, trigger=trigger, echo=self.echoed.append, get=self.get
        )

    def deploy(self, *, force: bool = False) -> Last:
        """As a person."""
        return self.deployer().deploy(force=force)

    def tick(self) -> Last:
        """As the timer."""
        return self.deployer(TIMER).deploy()

    def head(self) -> str:
        """What is checked out."""
        return git(self.root / "src", "rev-parse", "HEAD")

    def clean(self) -> str:
        """What git thinks has changed in the checkout."""
        return git(self.root / "src", "status", "--porcelain")

    def assert_on(self, commit: str, *, lib: str) -> None:
        """The machine is wholly on a commit: code, environments, stamp, services."""
        assert self.safe == commit
        assert self.head() == commit
        assert self.clean() == ""
        for service in ("backend", "worker"):
            assert (self.root / "venv" / service).resolve().parent.name == commit
        running = self.fake.running()
        assert set(running) == {BACKEND, WORKER}
        stamp = (self.root / "run" / "version.env").read_text().strip()
        assert stamp.endswith(f"+{commit[:7]}")
        assert {(each["lib"], each["healthy"]) for each in running.values()} == {(lib, "yes")}
        assert {each["version"] for each in running.values()} == {stamp}
        assert self.records.journal() is None

    def assert_safe_but_unfinished(self, commit: str) -> None:
        """A commit is safe, and the journal is still there."""
        assert self.safe == commit
        assert self.records.journal() is not None

    def killed(self, step: str, when: str, *, act: Callable[[], object] | None = None) -> None:
        """Deploy in a process of its own that kills itself at a step: at its ``begin`` or ``end``."""
        child = os.fork()
        if not child:
            try:
                with dying(step, when):
                    (act or self.deploy)()
            finally:
                os._exit(77)  # it was not killed
        _, status = os.waitpid(child, 0)
        assert os.WIFSIGNALED(status), f"{step} was never reached"
        assert os.WTERMSIG(status) == signal.SIGKILL

    def cut_power(self) -> None:
        """All units start again with whatever is there."""
        for unit in (BACKEND, WORKER):
            self.fake.start(unit)


@contextmanager
def dying(step: str, when: str) -> Iterator[None]:
    """Within, this process kills itself at a step."""
    real = Transition.step

    @contextmanager
    def wrapped(self: Transition, name: str) -> Iterator[None]:
        with real(self, name):
            if (name, when) == (step, "begin"):
                os.kill(os.getpid(), signal.SIGKILL)
            yield
            if (name, when) == (step, "end"):
                os.kill(os.getpid(), signal.SIGKILL)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Transition, "step", wrapped)
        yield


def git(where: Path, *args: str) -> str:
    """Run git as a developer; returns what it printed."""
    identity = ("-c", "user.name=Dev", "-c", "user.email=dev@example.org")
    program = shutil.which("git") or "git"
    done = subprocess.run(
        [program, *identity, *args], cwd=where, check=True, capture_output=True, text=True
    )
    return done.stdout.strip()
