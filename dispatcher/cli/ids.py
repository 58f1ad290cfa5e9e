"""Ids to offer at a press of TAB: from the status file and the clone as they are.

Neither click nor the settings' model nor any adapter is loaded, nor what of Python's library can be
done without, because each takes longer to load than the answer may take.
"""

from __future__ import annotations

import json
import os
import select
import time

from dispatcher.model.paths import ACTION_ENDING, ACTIONS_PATH, CANCEL_ENDING, RESULT_ENDING

TYPE_CHECKING = False  # ``typing`` takes long to load
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

STATUS_FILE = "status.json"
"""``dispatcher.status.status_file.NAME``; its module takes long to load."""

DESKTOPS, STACKS = "vault/inventory/desktop/", "vault/inventory/stack/"
"""Where ``dispatcher.model.inventory_entry`` puts them; its module takes long to load."""

TIMEOUT_S = 2.0

PIECE = 1024 * 1024

SIGKILL = 9
"""``signal.SIGKILL``; its module takes long to load."""


def open_ids(state_dir: str | None) -> Iterator[str]:
    """Ids of open actions, from the status file of a ``serve`` here."""
    if state_dir is None:
        return
    try:
        with open(os.path.join(state_dir, STATUS_FILE), "rb") as file:
            status = json.load(file)
        yield from [str(action["id"]) for action in status["overview"]["open"]]
    except (OSError, ValueError, TypeError, KeyError):
        return


def known_ids(state_dir: str | None) -> Iterator[str]:
    """Ids of open actions, and of finished ones that are not archived."""
    yield from open_ids(state_dir)
    yield from _in_clone(state_dir, "")


def finished_ids(state_dir: str | None) -> Iterator[str]:
    """Ids of actions with a result that are not archived."""
    return _in_clone(state_dir, RESULT_ENDING)


AFTER: Mapping[str, Callable[[str | None], Iterable[str]]] = {
    "again": finished_ids,
    "cancel": open_ids,
    "logs": known_ids,
    "status": known_ids,
    "verify": finished_ids,
    "watch": open_ids,
}
"""Which ids a command takes as its first argument."""


def matching(names: Iterable[str], begin: str) -> list[str]:
    """Those names that begin so, each once, in order."""
    return sorted({name for name in names if name.startswith(begin)})


def completed(instruction: str, environ: Mapping[str, str] = os.environ) -> bytes | None:
    """The answer to a shell that completes the id right after a command; None for any other
    question, which is click's to answer.

    Args:
        instruction: as the completion script sets it, such as ``bash_complete``.
        environ: with the words of the command line, as that script sets them.
    """
    shell = instruction.removesuffix("_complete")
    asked = _asked(shell, environ)
    if asked is None:
        return None
    from dispatcher.settings_file import state_directory

    command, begin = asked
    ids = matching(AFTER[command](state_directory(None, environ)), begin)
    lines = (f"plain\n{i}\n_" if shell == "zsh" else f"plain,{i}" for i in ids)
    return "".join(f"{line}\n" for line in lines).encode("utf-8", "backslashreplace")


def _asked(shell: str, environ: Mapping[str, str]) -> tuple[str, str] | None:
    """The command, and the beginning of the id after it; None if there is anything else."""
    line, current = environ.get("COMP_WORDS", ""), environ.get("COMP_CWORD", "")
    words = line.split()
    if shell == "fish":
        begin = current
        plain = words[2:] == ([begin] if begin else [])
    else:
        begin = words[2] if len(words) == 3 else ""
        plain = shell in ("bash", "zsh") and current == "2" and len(words) in (2, 3)
    if not plain or words[1:2] == [] or words[1] not in AFTER:
        return None
    if begin.startswith("-") or not set(line).isdisjoint("'\"\\#"):
        return None  # an option, or what a shell would read in another way
    return words[1], begin


def desktop_ids(state_dir: str | None) -> Iterator[str]:
    """Ids of desktops in the clone's inventory, as last fetched."""
    return _entered(state_dir, DESKTOPS)


def stack_ids(state_dir: str | None) -> Iterator[str]:
    """Ids of stacks in the clone's inventory, as last fetched."""
    return _entered(state_dir, STACKS)


def _entered(state_dir: str | None, directory: str) -> Iterator[str]:
    for name in _listed(state_dir, directory):
        if name.endswith(".json"):
            yield name.removesuffix(".json")


def _in_clone(state_dir: str | None, ending: str) -> Iterator[str]:
    """Ids of files in the clone's ``vault/actions``, as last fetched: all, or those with a result."""
    for name in _listed(state_dir, f"{ACTIONS_PATH}/"):
        if name.endswith(ending or ACTION_ENDING) and not name.endswith(CANCEL_ENDING):
            yield name.removesuffix(ending or ".toml")


def _listed(state_dir: str | None, directory: str) -> Iterator[str]:
    """Names of what is in a directory of the clone, as last fetched."""
    if state_dir is None:
        return
    # The exception to "only ops_repo calls git": loading the adapter takes longer than this.
    clone = f"--git-dir={os.path.join(state_dir, 'ops.git')}"
    listed = _printed(
        "git", clone, "ls-tree", "-z", "--name-only", "refs/disinto/head", "--", directory
    )
    for path in listed.decode("utf-8", "replace").split("\0"):
        yield path.rpartition("/")[2]


def _printed(*command: str) -> bytes:
    """What a program prints; nothing if it fails, or takes longer than ``TIMEOUT_S``. ``subprocess``
    takes longer to load than git to answer.
    """
    output, end = os.pipe()
    try:
        pid = os.posix_spawnp(
            command[0],
            command,
            os.environ,
            file_actions=[
                (os.POSIX_SPAWN_DUP2, end, 1),
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0),
            ],
        )
    except OSError:
        os.close(output)
        return b""
    finally:
        os.close(end)
    with open(output, "rb") as file:
        data = _all_of(file.fileno(), by=time.monotonic() + TIMEOUT_S)
    if data is None:
        os.kill(pid, SIGKILL)
    failed = os.waitpid(pid, 0)[1]
    return b"" if failed or data is None else data


def _all_of(descriptor: int, *, by: float) -> bytes | None:
    """All that can be read; None if it has no end by then."""
    data = b""
    readable = select.poll()  # select.select() takes no descriptor beyond 1,023
    readable.register(descriptor, select.POLLIN)
    while readable.poll(max(0.0, by - time.monotonic()) * 1000):
        piece = os.read(descriptor, PIECE)
        if not piece:
            return data
        data += piece
    return None
