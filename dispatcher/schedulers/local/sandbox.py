"""bubblewrap around a formula.

Inside, the machine's files are read-only and the run's own folder, ``/tmp`` and the mounts asked
for are what can be written. The dispatcher's state, its credential files, the home folder of its
user and the mounts *not* asked for are hidden, and so are all processes but the formula's own. It guards what the dispatcher keeps;
it does not take the network away, nor sockets that listen under ``/run``.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path

from dispatcher.errors import Misconfigured
from dispatcher.run import MOUNT_TARGETS, Mount
from dispatcher.schedulers.local.spool import Spool
from dispatcher.settings import Settings

_BASE = ("--die-with-parent", "--unshare-pid", "--ro-bind", "/", "/", "--dev", "/dev")
_AFTER = ("--proc", "/proc", "--tmpfs", "/tmp", "--tmpfs", "/var/tmp")  # noqa: S108
_OWN_TMP = ("/tmp/", "/var/tmp/")  # noqa: S108 - folders that are new and empty inside
_DROPPED = (
    "SYS_ADMIN",
    "SYS_PTRACE",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_BOOT",
    "MKNOD",
    "DAC_READ_SEARCH",
)
"""What root could undo the sandbox with."""


class Sandbox:
    """Builds the command line in front of a formula's.

    Args:
        program: path of ``bwrap``.
        settings: where the dispatcher keeps things.
    """

    def __init__(self, program: str, settings: Settings) -> None:
        drops = [x for name in _DROPPED for x in ("--cap-drop", f"CAP_{name}")]
        self._start = [program, *_BASE, *_AFTER, *(drops if os.geteuid() == 0 else [])]
        self._mounts = {m: p.resolve() for m, p in settings.local.mounts.items()}
        self._state = settings.state_dir.resolve()
        self._home = _home() if settings.local.hide_home else None
        self._credentials = [p.resolve() for p in _credential_files(settings)]

    def usable(self) -> str:
        """Why it cannot be used here, or ""."""
        command = [*self._start, "true"]
        done = subprocess.run(
            command, capture_output=True, stdin=subprocess.DEVNULL, check=False, timeout=30
        )
        if done.returncode == 0:
            return ""
        # Where a filter of system calls kills it, it says nothing.
        said = done.stderr.decode("utf-8", "replace").strip()
        return said or f"it ended with {done.returncode} and said nothing"

    def command(
        self, spool: Spool, mounts: Iterable[Mount], *, programs: Iterable[str] = ()
    ) -> list[str]:
        """The command line that runs what follows it.

        Args:
            programs: words of an agent's command line; a file of ``/tmp`` among them stays there.
        """
        wanted = {m: self._mounts[m] for m in mounts}
        hidden = self._hidden(wanted)
        line = list(self._start)
        for path in hidden:
            line += _hide(path, path)
        for word in programs:
            if word.startswith(_OWN_TMP) and Path(word).is_file():
                line += ["--ro-bind", word, word]
        private = str(spool.private.resolve())
        home = Path(private) / "home"
        line += ["--bind", private, private]
        for mount, source in wanted.items():
            target = home / MOUNT_TARGETS[mount]
            line += ["--ro-bind" if mount.read_only else "--bind", str(source), str(target)]
            for path in hidden:
                if path.is_relative_to(source):
                    line += _hide(path, target / path.relative_to(source))
        return [*line, "--remount-ro", str(self._state), "--chdir", str(home), "--"]

    def _hidden(self, wanted: Mapping[Mount, Path]) -> list[Path]:
        """What a formula with these mounts must not see, outer folders first."""
        folders = {p for m, p in self._mounts.items() if m not in wanted and p.is_dir()}
        # A folder may be offered under two names; one of them is enough to see it.
        folders -= set(wanted.values())
        home = {self._home} if self._home else set()
        return sorted({self._state, *folders, *self._credentials, *home}, key=_depth)


def _depth(path: Path) -> int:
    return len(path.parts)


def _home() -> Path | None:
    """The home folder of the dispatcher's user; None where hiding it would hide the machine."""
    home = Path("~").expanduser().resolve()
    # Out of our reach (``ProtectHome=`` of systemd) is out of a formula's too.
    there = os.path.isdir(home)  # noqa: PTH112 - False too where we may not look
    return home if there and len(home.parts) > 1 else None


def _hide(path: Path, place: Path) -> list[str]:
    if path.is_dir():
        return ["--tmpfs", str(place)]
    return ["--ro-bind", "/dev/null", str(place)]


def _credential_files(settings: Settings) -> list[Path]:
    """Files that hold a credential of the dispatcher, as the settings name them; those within
    reach.
    """
    named = [
        settings.vault.token_file,
        settings.vault.secret_id_file,
        settings.vault.jwt_file,
        settings.nomad.token_file,
        settings.http.webhook_secret_file,
        Path("~/.vault-token").expanduser(),
    ]
    return [p for p in named if p is not None and os.path.isfile(p)]  # noqa: PTH113 - as above


def find(settings: Settings) -> tuple[Sandbox | None, str]:
    """The sandbox of this machine, or None and the reason why there is none.

    Raises:
        Misconfigured: bubblewrap is installed and wanted, and cannot be used. Whoever installed it
            counts on it: without it a formula can read the dispatcher's own credentials.
    """
    if not settings.local.bubblewrap:
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
            f"bubblewrap is installed and cannot be used: {trouble}",
            remedy="Let it make namespaces; or set [local] bubblewrap = false, and trust all "
            "formulas.",
        )
    return sandbox, ""
