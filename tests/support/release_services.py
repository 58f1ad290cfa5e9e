"""Two small services for tests of releases, and what starts them: real processes, without systemd.

``shop-backend`` is an ASGI API over SQLite, ``shop-worker`` a loop over the same database. Their
environments are built by uv from a directory of wheels, without network; yoyo migrates the database.
"""

from __future__ import annotations

import getpass
import json
import os
import signal
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from dispatcher.release.env_file import values
from dispatcher.release.units import UnitFailed, UnitState
from tests.support.processes import alive

BACKEND, WORKER = "shop-backend.service", "shop-worker.service"

API = """\
import json, os, sqlite3
import shoplib

BROKEN = os.path.exists(os.path.join(os.path.dirname(__file__), "broken"))

def answer():
    with sqlite3.connect(os.environ["DATABASE"]) as db:
        columns = [row[1] for row in db.execute("PRAGMA table_info(items)")]
    return {"version": os.environ["APP_VERSION"], "lib": shoplib.VERSION, "columns": columns}

async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    status = 503 if BROKEN else 200
    body = json.dumps(answer()).encode()
    await send({"type": "http.response.start", "status": status, "headers": []})
    await send({"type": "http.response.body", "body": body})

if __name__ == "__main__":
    import uvicorn
    uvicorn.run(app, host="127.0.0.1", port=int(os.environ["PORT"]), log_level="warning", lifespan="off")
"""
JOBS = """\
import os, signal, sqlite3, threading
import shoplib

ended = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: ended.set())
while not ended.is_set():
    with sqlite3.connect(os.environ["DATABASE"], timeout=10) as db:
        db.execute("INSERT INTO items (name) VALUES (?)", (shoplib.VERSION,))
    ended.wait(0.2)
"""
FIRST_MIGRATION = 'from yoyo import step\nsteps = [step("CREATE TABLE items (name TEXT)")]\n'
SECOND_MIGRATION = (
    "from yoyo import step\n"
    '__depends__ = {"0001.items"}\n'
    'steps = [step("ALTER TABLE items ADD COLUMN price INTEGER")]\n'
)
BAD_MIGRATION = (
    "from yoyo import step\n"
    '__depends__ = {"0001.items"}\n'
    'steps = [step("ALTER TABLE nothing ADD COLUMN price INTEGER")]\n'
)
SMOKE = 'import app\nassert "name" in app.answer()["columns"]\n'
FILES = {
    "backend/app.py": API,
    "backend/smoke.py": SMOKE,
    "backend/requirements.txt": "shoplib==1\n",
    "backend/migrations/0001.items.py": FIRST_MIGRATION,
    "worker/jobs.py": JOBS,
    "worker/requirements.txt": "shoplib==1\n",
    ".gitignore": "__pycache__/\n",
}
"""The first commit."""


def release_toml(remote: Path, wheels: Path, port: int, *, timeout: float = 20.0) -> str:
    """release.toml of the application, for ``ReleaseStage``."""
    python, bin_ = sys.executable, Path(sys.executable).parent
    install = (
        f'{bin_}/uv venv -q --python {python} "$VIRTUAL_ENV" && {bin_}/uv pip install -q --offline '
        f'--no-index --find-links {wheels} --python "$VIRTUAL_ENV" -r requirements.txt'
    )
    return f"""\
app = "shop"
remote = "{remote}"
user = "{getpass.getuser()}"
free_mb = 0

[services.backend]
directory = "backend"
install = '{install}'
health = "http://127.0.0.1:{port}/healthz"

[services.worker]
directory = "worker"
install = '{install}'

[migrations]
command = "{bin_}/yoyo apply --batch --no-config-file --database sqlite:///$DATABASE migrations"
service = "backend"
paths = ["backend/migrations"]

[smoke]
command = "python smoke.py"
service = "backend"

[health]
timeout = {timeout}
settle = 0.3
"""


def env_files(root: Path, port: int) -> dict[str, str]:
    """The env file of each service. uvicorn is found in the environment of the tests."""
    packages = sysconfig.get_path("purelib")
    database = root / "run" / "shop.sqlite3"
    backend = f"DATABASE={database}\nPORT={port}\nPYTHONPATH={packages}\nPASSWORD=hunter2hunter2\n"
    return {"backend": backend, "worker": f"DATABASE={database}\n"}


def build_wheels(directory: Path, versions: Iterable[int]) -> Path:
    """The wheels of the library that both services need."""
    directory.mkdir()
    for version in versions:
        info = f"shoplib-{version}.dist-info"
        with zipfile.ZipFile(directory / f"shoplib-{version}-py3-none-any.whl", "w") as wheel:
            wheel.writestr("shoplib.py", f'VERSION = "{version}"\n')
            wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: shoplib\nVersion: {version}\n")  # fmt: skip
            wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n")  # fmt: skip
            wheel.writestr(f"{info}/RECORD", "")
    return directory


class ProcessUnits:
    """Units that are processes of this machine. Their state is in files, so that they outlive a deploy
    that is killed.

    Args:
        root: of the application.
        commands: program of each unit, below ``src/<service>``.
    """

    def __init__(self, root: Path, commands: dict[str, str]) -> None:
        self._root = root
        self._commands = commands
        self._state = root / "units"
        self._state.mkdir(exist_ok=True)

    def restart(self, unit: str) -> None:
        """See ``Units``."""
        number = self._read(unit)[1]
        self.stop(unit)
        service = unit.removeprefix("shop-").removesuffix(".service")
        python = self._root / "venv" / service / "bin" / "python"
        environ = {"PATH": os.defpath}
        for file in (self._root / "env" / f"{service}.env", self._root / "run" / "version.env"):
            environ |= values(file.read_text())
        with (self._state / f"{unit}.log").open("a") as log:
            try:
                process = subprocess.Popen(
                    [python, self._commands[unit]],
                    cwd=self._root / "src" / service,
                    env=environ,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
            except OSError as error:
                raise UnitFailed(f"{unit}: {error}") from None
        (self._state / unit).write_text(json.dumps([process.pid, number + 1]))

    def stop(self, unit: str) -> None:
        """See ``Units``."""
        pid, number = self._read(unit)
        if pid:
            with suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)
            with suppress(ChildProcessError):
                os.waitpid(pid, 0)
            (self._state / unit).write_text(json.dumps([0, number]))

    def state(self, unit: str) -> UnitState:
        """See ``Units``."""
        pid, number = self._read(unit)
        active = bool(pid) and alive(pid)
        return UnitState(active=active, failed=bool(pid) and not active, invocation=str(number))

    def stop_all(self) -> None:
        """At the end of a test."""
        for unit in self._commands:
            self.stop(unit)

    def _read(self, unit: str) -> tuple[int, int]:
        """PID, and how often it was started."""
        try:
            pid, number = json.loads((self._state / unit).read_text())
        except FileNotFoundError:
            return 0, 0
        return int(pid), int(number)
