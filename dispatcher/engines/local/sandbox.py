"""Wraps formulas in bubblewrap.

Inside, the machine's files are read-only; only the run's own directory, ``/tmp`` and the requested
mounts are writable. The dispatcher's state, its credential files, the home directories of
its user and the mounts *not* requested are hidden (see ``hiding``), and so are all processes but
the formula's own, with what they share (System V IPC, message queues, ``/dev/shm``). It protects the
dispatcher's files; it does not take the network away, abstract Unix sockets included, nor sockets
that listen under ``/run``.

Mounts are made in this order, and a later one covers an earlier one: the machine; what is hidden of it;
``/dev``, ``/proc`` and the temporary directories; the operator's agent program, if it is in one of
these; what is hidden of them; the run's own directory; the requested mounts, each with what is
hidden in it. So nothing hidden is ever bound back.

Facts about bubblewrap 0.8 and Linux 6.18, verified by running them:

- As root, ``/proc/sys`` can be written in a new ``/proc``: bubblewrap covers it only if
  ``access(2)`` on the directory says that it can be written, and the kernel denies that to root as
  well.
- A file that has a mount over it is shown again once another file is renamed to its name.
- Process 1 of the sandbox is bubblewrap's own. Every process of the run can read its environment, which
  is that of bubblewrap; of descriptors it keeps the three streams.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from dispatcher.decide.agent import has_placeholder
from dispatcher.engines.base import CannotSubmit
from dispatcher.engines.local.hiding import ROOT, Hidden, hidden, homes, own
from dispatcher.engines.local.settings import LocalSettings
from dispatcher.engines.local.spool import Spool
from dispatcher.errors import Misconfigured
from dispatcher.model.mounts import Mount
from dispatcher.model.verdicts import Verdict

if TYPE_CHECKING:
    from dispatcher.settings import Settings

_BASE = ("--die-with-parent", "--unshare-pid", "--unshare-ipc")
_OWN = ("--dev", "/dev", "--proc", "/proc", "--tmpfs", "/tmp", "--tmpfs", "/var/tmp")  # noqa: S108
_OWN_TMP = (Path("/tmp"), Path("/var/tmp"))  # noqa: S108 - directories that are empty inside
_COVERED = (*_OWN_TMP, Path("/dev"), Path("/proc"))
_KEPT = {
    "CAP_CHOWN": 0,
    "CAP_DAC_OVERRIDE": 1,
    "CAP_FOWNER": 3,
    "CAP_FSETID": 4,
    "CAP_KILL": 5,
    "CAP_SETGID": 6,
    "CAP_SETUID": 7,
    "CAP_NET_BIND_SERVICE": 10,
    "CAP_NET_RAW": 13,
}
"""Capabilities of root that a formula keeps, with their numbers (linux/capability.h): those of an
ordinary container, without what could undo the sandbox or change the machine."""


class Sandbox:
    """Builds the command line in front of a formula's. Hidden paths are determined for each run.

    Args:
        program: path of ``bwrap``.
        settings: name the dispatcher's own files.
    """

    def __init__(self, program: str, settings: Settings) -> None:
        self._program = program
        self._settings = settings

    def usable(self) -> str:
        """Why it cannot be used here, or ""."""
        line, read_only = self._start(Hidden())
        command = [*line, *read_only, "true"]
        done = subprocess.run(
            command, capture_output=True, stdin=subprocess.DEVNULL, check=False, timeout=30
        )
        if done.returncode == 0:
            return ""
        # Killed by a seccomp filter, it prints nothing.
        message = done.stderr.decode("utf-8", "replace").strip()
        return message or f"it ended with {done.returncode} and printed nothing"

    def command(self, spool: Spool, mounts: Iterable[Mount], *, agent: bool = False) -> list[str]:
        """The command line that runs the command appended to it.

        Args:
            agent: whether the operator's agent command is appended. Its files in ``/tmp`` are shown
                there; what an action filled into it never is.

        Raises:
            CannotSubmit: a mount, or the agent command, would show what must be hidden.
            Misconfigured: see ``Hidden.mounts``.
        """
        settings = self._settings
        sources = {m: settings.section(LocalSettings).mounts[m].resolve() for m in mounts}
        if sources:
            _refuse_revealing(sources, own(settings))
        hiding = hidden(settings, sources.values())
        line, read_only = self._start(hiding)
        if agent:
            for source, place in _programs(settings.agent.command, hiding):
                line += ["--ro-bind", str(source), str(place)]
        state = str(settings.state_dir.resolve())
        private = spool.private.resolve()
        line += ["--tmpfs", state, "--bind", str(private), str(private)]
        home = private / "home"
        for mount, source in sources.items():
            target = home / mount.place
            bind = "--ro-bind" if mount.read_only else "--bind"
            begin, end = hiding.mounts(source, target, bind=f"{bind}-try")
            line += [bind, str(source), str(target), *begin]
            read_only += end
        return [*line, "--remount-ro", state, *read_only, "--chdir", str(home), "--"]

    def _start(self, hiding: Hidden) -> tuple[list[str], list[str]]:
        """The machine without what is hidden; and the arguments to pass at the very end."""
        line = [self._program, *_BASE]
        if ROOT in hiding.withheld:
            line += hiding.entries(ROOT, ROOT, "--ro-bind-try")
        else:
            line += ["--ro-bind", "/", "/"]
        begin, end = hiding.mounts(ROOT, ROOT, covered=_COVERED, bind="--ro-bind-try")
        line += [*begin, *_OWN]
        if os.geteuid() == 0:
            line += [*_proc_read_only(), "--cap-drop", "ALL"]
            line += [x for name in _capabilities() for x in ("--cap-add", name)]
        if ROOT in hiding.withheld:
            end += ["--remount-ro", "/"]
        return line, end


@cache  # nothing here changes what this process may do
def _capabilities() -> tuple[str, ...]:
    """The kept capabilities that we have; bubblewrap cannot give others."""
    status = Path("/proc/self/status").read_text()
    held = next((int(s.split()[1], 16) for s in status.splitlines() if s.startswith("CapEff:")), 0)
    return tuple(name for name, number in _KEPT.items() if held >> number & 1)


def _proc_read_only() -> Iterator[str]:
    """Covers what root could write in a new ``/proc``, processes aside."""
    with os.scandir("/proc") as entries:
        for entry in entries:
            if entry.name.isdigit() or entry.is_symlink():
                continue
            directory = entry.is_dir(follow_symlinks=False)  # asks the kernel nothing more
            if directory or entry.stat(follow_symlinks=False).st_mode & 0o222:
                yield from ("--ro-bind", entry.path, entry.path)


def _programs(command: Sequence[str], hiding: Hidden) -> Iterator[tuple[Path, Path]]:
    """Files of the operator's agent command that the sandbox's ``/tmp`` would hide: source and
    path inside. Arguments that an action fills in are not the operator's paths.

    Raises:
        CannotSubmit: one of them is hidden from formulas.
    """
    for argument in command:
        place = Path(argument)
        if has_placeholder(argument) or ".." in place.parts:
            continue
        if not any(place.is_relative_to(tmp) for tmp in _OWN_TMP):
            continue
        source = Path(os.path.realpath(argument))
        if not source.is_file():
            continue
        if hiding.holds(source) or hiding.holds(place):
            raise CannotSubmit(
                f"[agent] command names {argument}, which is hidden from formulas",
                verdict=Verdict.ERROR,
                remedy="Move it out of the dispatcher's state directory, its user's home directory "
                "and the directories of mounts.",
            )
        yield source, place


def _refuse_revealing(sources: Mapping[Mount, Path], own_things: Hidden) -> None:
    """Raise ``CannotSubmit`` if a mount lies in a hidden directory or contains hidden entries."""
    for mount, source in sources.items():
        home = next((h for h in homes() if h.resolve() == source), None)
        if own_things.holds(source) or source in own_things.withheld or home:
            raise CannotSubmit(
                f"the directory {source} of the mount {mount} holds what formulas must not see: "
                "the dispatcher's state or credentials, or its user's home directory",
                verdict=Verdict.UNPLACEABLE,
                remedy=f"Offer another directory in [local.mounts] {mount}.",
            )


def find(settings: Settings) -> tuple[Sandbox | None, str]:
    """The sandbox of this machine, or None and the reason.

    Raises:
        Misconfigured: bubblewrap is installed and enabled, but unusable. Whoever installed it
            relies on it: without it a formula can read the dispatcher's own credentials.
    """
    if not settings.section(LocalSettings).bubblewrap:
        return None, "[local] bubblewrap is off"
    program = shutil.which("bwrap")
    if program is None:
        return None, "bubblewrap (bwrap) is not installed"
    sandbox = Sandbox(program, settings)
    try:
        trouble = sandbox.usable()
    except (OSError, subprocess.TimeoutExpired) as error:
        trouble = type(error).__name__
    if trouble:
        raise Misconfigured(
            f"bubblewrap is installed but cannot be used: {trouble}",
            remedy="Allow it to create namespaces; or set [local] bubblewrap = false, and trust "
            "all formulas.",
        )
    return sandbox, ""
