"""Starts one process, and leaves none behind.

The runner is the reaper of everything below it (PR_SET_CHILD_SUBREAPER), so a process that became
a daemon is still found and killed. The first process dies with the runner (PDEATHSIG).
"""

from __future__ import annotations

import ctypes
import os
import signal
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress

from dispatcher.host.process_record import set_mark

_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_PR_SET_CHILD_SUBREAPER = 36
_RESET = (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT, signal.SIGTERM, signal.SIGCHLD)
_LAST_TRIES = 40
_LAST_PAUSE_S = 0.05
_COMM_LENGTH = 15  # proc(5), TASK_COMM_LEN

_libc = ctypes.CDLL(None, use_errno=True)


def guard_runner() -> None:
    """Adopt orphans, withhold inherited descriptors from child processes, and prevent other
    processes of this user from reading our memory.
    """
    for entry in os.listdir("/proc/self/fd"):  # noqa: PTH208 - pathlib is slow to load
        with suppress(OSError):
            if int(entry) > 2:
                os.set_inheritable(int(entry), False)  # noqa: FBT003
    _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    _libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


def spawn(
    argv: Sequence[str],
    *,
    env: Mapping[str, str],
    cwd: str,
    stdin: int,
    stdout: int,
    stderr: int,
    more: Sequence[int] = (),
    mark: str = "",
) -> int:
    """Start a program in a session of its own; it gets no other descriptors than these.

    Args:
        argv: ``argv[0]`` is searched on the PATH of ``env``.
        stdin, stdout, stderr: descriptors that become 0, 1 and 2.
        more: those that become 3 and the following numbers.
        mark: the run's directory, by which its processes are found later (``process_record``), or
            "".

    Returns:
        The process id.

    Raises:
        OSError: the program cannot be executed, with the error of execve(2).
    """
    parent = os.getpid()
    told, tell = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            _prepare(parent, cwd, (stdin, stdout, stderr, *more))
            if mark:
                set_mark(mark)
            os.execvpe(argv[0], list(argv), dict(env))  # noqa: S606
        except OSError as error:
            os.write(tell, str(error.errno or 1).encode())
        finally:
            os._exit(127)
    os.close(tell)
    with open(told, "rb") as answer:  # noqa: PTH123 - a descriptor
        trouble = answer.read()
    if trouble:
        os.waitpid(pid, 0)
        code = int(trouble)
        raise OSError(code, os.strerror(code), argv[0])
    return pid


def _prepare(parent: int, cwd: str, streams: Sequence[int]) -> None:
    """Runs in the child, before it becomes the program."""
    os.setsid()
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)
    signal.set_wakeup_fd(-1)
    for number in _RESET:
        signal.signal(number, signal.SIG_DFL)
    os.chdir(cwd)
    # First moved away from the low numbers, which may themselves be sources.
    for target, source in enumerate([_above(fd) for fd in streams]):
        os.dup2(source, target)


def _above(fd: int) -> int:
    """A copy of the descriptor with a number above those that a program gets, closed by exec."""
    import fcntl

    return int(fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 10))


def reap() -> tuple[dict[int, int], bool]:
    """Collect ended children.

    Returns:
        The wait statuses by process id, and whether children are left.
    """
    ended: dict[int, int] = {}
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return ended, False
        if pid == 0:
            return ended, True
        ended[pid] = status


def signal_descendants(number: int, *, spare: str = "") -> None:
    """Signal every process below the runner.

    Args:
        number: the signal; stopped processes are continued to receive it.
        spare: name of a program that is left alone (a sandbox, whose own death would kill what
            it holds without a chance to end well).
    """
    for pid, name in _descendants():
        if spare and name == spare[:_COMM_LENGTH]:
            continue
        with suppress(OSError):
            os.kill(pid, number)
            os.kill(pid, signal.SIGCONT)


def end_all() -> bool:
    """KILL all descendants of the runner, before it exits. False if some are left."""
    for _ in range(_LAST_TRIES):
        if not reap()[1]:
            return True
        signal_descendants(signal.SIGKILL)
        time.sleep(_LAST_PAUSE_S)
    return not reap()[1]


def _descendants() -> list[tuple[int, str]]:
    """Process id and program name of all descendants of this process, by proc(5)."""
    children: dict[int, list[tuple[int, str]]] = {}
    for entry in os.listdir("/proc"):  # noqa: PTH208 - pathlib is slow to load
        if not entry.isdigit():
            continue
        try:
            with open(f"/proc/{entry}/stat", "rb") as stat:  # noqa: PTH123
                head, _, rest = stat.read().rpartition(b")")
        except OSError:
            continue
        _, _, name = head.partition(b"(")
        children.setdefault(int(rest.split()[1]), []).append((int(entry), name.decode("latin-1")))
    descendants: list[tuple[int, str]] = []
    below = [os.getpid()]
    while below:
        next_ones = children.get(below.pop(), [])
        descendants += next_ones
        below += [pid for pid, _ in next_ones]
    return descendants
