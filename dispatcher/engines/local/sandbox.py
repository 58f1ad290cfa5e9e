"""bubblewrap around a formula.

Inside, the machine's files are read-only and the run's own directory, ``/tmp`` and the mounts asked
for are what can be written. The dispatcher's state, its credential files, the home directories of
its user and the mounts *not* asked for are hidden (see ``hiding``), and so are all processes but
the formula's own, with what they share (System V IPC, message queues, ``/dev/shm``). It guards what
the dispatcher keeps; it does not take the network away, abstract Unix sockets included, nor sockets
that listen under ``/run``.

Mounts are made in this order, and a later one covers an earlier: the machine; what is hidden of it;
``/dev``, ``/proc`` and the temporary directories; the operator's agent program, if it is in one of
these; what is hidden of them; the run's own directory; the mounts asked for, each with what is
hidden in it. So nothing hidden is ever bound back.

Facts about bubblewrap 0.8 and Linux 6.18, found by running them:

- As root, ``/proc/sys`` can be written in a new ``/proc``: bubblewrap covers it only if
  ``access(2)`` on the directory says that it can be written, and the kernel denies that to root as
  well.
- A file that has a mount over it is shown again once another file is renamed to its name.
"""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
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
    """Builds the command line in front of a formula's. What is hidden is looked for at each run.

    Args:
        program: path of ``bwrap``.
        settings: where the dispatcher keeps things.
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
        # Where a filter of system calls kills it, it says nothing.
        said = done.stderr.decode("utf-8", "replace").strip()
        return said or f"it ended with {done.returncode} and printed nothing"

    def command(self, spool: Spool, mounts: Iterable[Mount], *, agent: bool = False) -> list[str]:
        """The command line that runs what follows it.

        Args:
            agent: whether the operator's agent command is what follows. A program of it that lies
                in ``/tmp`` is shown there; what an action filled into it never is.

        Raises:
            CannotSubmit: a mount, or the agent command, would show what must be hidden.
            Misconfigured: see ``Hidden.mounts``.
        """
        settings = self._settings
        wanted = {m: settings.section(LocalSettings).mounts[m].resolve() for m in mounts}
        _refuse_revealing(wanted, own(settings))
        hiding = hidden(settings, wanted.values())
        line, read_only = self._start(hiding)
        if agent:
            for source, place in _programs(settings.agent.command, hiding):
                line += ["--ro-bind", str(source), str(place)]
        state = str(settings.state_dir.resolve())
        private = spool.private.resolve()
        line += ["--tmpfs", state, "--bind", str(private), str(private)]
        home = private / "home"
        for mount, source in wanted.items():
            target = home / mount.place
            bind = "--ro-bind" if mount.read_only else "--bind"
            begin, end = hiding.mounts(source, target, bind=f"{bind}-try")
            line += [bind, str(source), str(target), *begin]
            read_only += end
        return [*line, "--remount-ro", state, *read_only, "--chdir", str(home), "--"]

    def _start(self, hiding: Hidden) -> tuple[list[str], list[str]]:
        """The machine without what is hidden; and the arguments to give at the very end."""
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


def _capabilities() -> Iterator[str]:
    """Of those kept, the ones that we have; bubblewrap cannot give others."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapEff:"):
            held = int(line.split()[1], 16)
            yield from (name for name, number in _KEPT.items() if held >> number & 1)


def _proc_read_only() -> Iterator[str]:
    """Covers what root could write in a new ``/proc``, processes aside."""
    with os.scandir("/proc") as entries:
        for found in entries:
            if found.name.isdigit() or found.is_symlink():
                continue
            mode = found.stat(follow_symlinks=False).st_mode
            if stat.S_ISDIR(mode) or mode & 0o222:
                yield from ("--ro-bind", found.path, found.path)


def _programs(command: Sequence[str], hiding: Hidden) -> Iterator[tuple[Path, Path]]:
    """Files of the operator's agent command that its own ``/tmp`` would hide: the file, and its
    place. Words that an action fills in are no paths of the operator's.

    Raises:
        CannotSubmit: one of them is hidden from formulas.
    """
    for word in command:
        place = Path(word)
        if has_placeholder(word) or ".." in place.parts:
            continue
        if not any(place.is_relative_to(tmp) for tmp in _OWN_TMP):
            continue
        source = Path(os.path.realpath(word))
        if not source.is_file():
            continue
        if hiding.holds(source) or hiding.holds(place):
            raise CannotSubmit(
                f"[agent] command names {word}, which is hidden from formulas",
                verdict=Verdict.ERROR,
                remedy="Move it out of the dispatcher's state directory, its user's home directory "
                "and the directories of mounts.",
            )
        yield source, place


def _refuse_revealing(wanted: Mapping[Mount, Path], own_things: Hidden) -> None:
    """Raise ``CannotSubmit`` if a mount lies in what must be hidden, or is where it is kept."""
    for mount, source in wanted.items():
        home = next((h for h in homes() if h.resolve() == source), None)
        if own_things.holds(source) or source in own_things.withheld or home:
            raise CannotSubmit(
                f"the directory {source} of the mount {mount} holds what formulas must not see: "
                "the dispatcher's state or credentials, or its user's home directory",
                verdict=Verdict.UNPLACEABLE,
                remedy=f"Offer another directory in [local.mounts] {mount}.",
            )


def find(settings: Settings) -> tuple[Sandbox | None, str]:
    """The sandbox of this machine, or None and the reason why there is none.

    Raises:
        Misconfigured: bubblewrap is installed and wanted, and cannot be used. Whoever installed it
            counts on it: without it a formula can read the dispatcher's own credentials.
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
