"""Starts ``python -m dispatcher`` by forking a process that has imported the dispatcher already.

What is started is a process of its own, with arguments, environment, directory and descriptors of its
own, as with ``subprocess``; only the second of CPU time that imports take is spent once per test session
instead of once per command. Thorough tests, and commands whose environment Python itself would read, are
started anew: see ``can_fork``.
"""

from __future__ import annotations

import array
import atexit
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NoReturn

from tests.support.thorough import THOROUGH

ROOT = Path(__file__).parents[2]
LIMIT = 1 << 20
"""Bytes of a request: arguments and environment."""

OWN = {"PYTHONPATH": str(ROOT)}
"""Variables of Python that make no difference here."""


def can_fork(env: Mapping[str, str]) -> bool:
    """Whether a new interpreter would be no other with this environment."""
    read = ("PYTHON", "LC_", "LANG", "COVERAGE")
    return not THOROUGH and all(
        OWN.get(name) == value for name, value in env.items() if name.startswith(read)
    )


class ForkedProcess:
    """What tests use of ``subprocess.Popen``.

    Args:
        arguments: those after ``python -m dispatcher``.
        files: descriptors of stdin, stdout and stderr.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        *,
        env: Mapping[str, str],
        cwd: Path | None,
        files: tuple[int, int, int],
    ) -> None:
        self.returncode: int | None = None
        self._received = b""
        self._answers, theirs = socket.socketpair()
        request = {"arguments": [*arguments], "env": {**env}, "cwd": str(cwd or Path.cwd())}
        message = json.dumps(request).encode("ascii")
        if len(message) > LIMIT:
            raise ValueError("the environment is too large for a request")
        with theirs:
            fds = array.array("i", [*files, theirs.fileno()])
            rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, fds)]
            _server().sendmsg([message], rights)
        self.pid = int(self._line())

    def _line(self) -> str:
        """The next one; both may come at once, if the command is quick."""
        while b"\n" not in self._received:
            more = self._answers.recv(32)
            if not more:
                raise RuntimeError("the fork server is gone")
            self._received += more
        line, _, self._received = self._received.partition(b"\n")
        return line.decode()

    def poll(self) -> int | None:
        """Its exit code as ``Popen.returncode`` has it; None while it runs."""
        try:
            return self.wait(0.0001)
        except subprocess.TimeoutExpired:
            return None

    def wait(self, timeout: float | None = None) -> int:
        """Raises subprocess.TimeoutExpired."""
        if self.returncode is None:
            self._answers.settimeout(timeout)
            try:
                self.returncode = int(self._line())
            except TimeoutError:
                raise subprocess.TimeoutExpired("disinto", timeout or 0) from None
            self._answers.close()
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Nothing once it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)


@cache
def _server() -> socket.socket:
    """The connection to this process's server, started by the first call; it ends with this process."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    for end in (ours, theirs):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2 * LIMIT)
    with theirs:
        server = subprocess.Popen(
            [sys.executable, "-m", "tests.support.fork_server", str(theirs.fileno())],
            cwd=ROOT,
            env={"PATH": os.environ["PATH"]},
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
        )

    def end() -> None:
        ours.close()
        server.wait()

    atexit.register(end)
    return ours


# -- the server -----------------------------------------------------------------------------------


def _import_everything() -> None:
    import importlib
    import pkgutil

    import dispatcher

    for module in pkgutil.walk_packages(dispatcher.__path__, "dispatcher."):
        last = module.name.rpartition(".")[2]
        if last != "__main__" and not module.name.startswith(
            ("dispatcher.demo", "dispatcher.runner")
        ):
            importlib.import_module(module.name)
    for name in ("hvac", "rich.table", "dispatcher.runner"):
        importlib.import_module(name)


def serve(connection: socket.socket) -> None:
    """Fork for each request, until the other side is gone."""
    _import_everything()
    waker, woken = socket.socketpair()
    woken.setblocking(False)
    waker.setblocking(False)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for pytest, which then hangs up
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(waker.fileno(), warn_on_full_buffer=False)
    chosen = selectors.DefaultSelector()
    chosen.register(connection, selectors.EVENT_READ)
    chosen.register(woken, selectors.EVENT_READ)
    running: dict[int, socket.socket] = {}
    while True:
        for key, _ in chosen.select():
            if key.fileobj is woken:
                woken.recv(4096)
                _report(running)
                continue
            message, rights, _flags, _ = connection.recvmsg(LIMIT, socket.CMSG_SPACE(16))
            if not message:
                return
            fds = array.array("i")
            fds.frombytes(rights[0][2])
            pid = os.fork()
            if pid == 0:
                _become(json.loads(message), fds[:3])
            for fd in fds[:3]:
                os.close(fd)
            running[pid] = socket.socket(fileno=fds[3])
            _tell(running[pid], pid)


def _report(running: dict[int, socket.socket]) -> None:
    """Tell the exit codes of those that have ended."""
    while running:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == 0:
            return
        with running.pop(pid) as answers:
            _tell(answers, os.waitstatus_to_exitcode(status))


def _tell(answers: socket.socket, number: int) -> None:
    try:
        answers.sendall(b"%d\n" % number)
    except OSError:
        return  # nobody waits for it


def _become(request: dict[str, Any], files: Sequence[int]) -> NoReturn:
    """Be the process that was asked for, from its first line to its last."""
    code = 1
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        for target, fd in enumerate(files):
            os.dup2(fd, target)
        os.closerange(3, 4096)
        os.environ.clear()
        os.environ.update(request["env"])
        os.chdir(request["cwd"])
        sys.stdin = open(0, encoding="utf-8", errors="surrogateescape", closefd=False)  # noqa: SIM115
        sys.stdout = open(1, "w", encoding="utf-8", errors="surrogateescape", closefd=False)  # noqa: SIM115
        sys.stderr = open(2, "w", 1, encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115
        sys.__stdin__, sys.__stdout__, sys.__stderr__ = sys.stdin, sys.stdout, sys.stderr
        sys.argv = ["disinto", *request["arguments"]]
        code = _run()
    finally:
        os._exit(code)


def _run() -> int:
    """As the interpreter would: with its exit code, its traceback, its ways to end."""
    import threading
    import traceback

    from dispatcher.__main__ import main

    try:
        code = main()
    except SystemExit as leaving:
        code = leaving.code if isinstance(leaving.code, int) else int(leaving.code is not None)
    except BaseException:  # noqa: BLE001 - the end of a program
        traceback.print_exc()
        code = 1
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    try:
        sys.stdout.flush()
    except OSError:
        code = 120
    return code


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])))
