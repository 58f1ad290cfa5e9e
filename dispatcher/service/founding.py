"""Founding: a folder with everything for a first dispatcher, from the shipped templates.

::

    DIR/disinto.toml, policy.toml, formulas/, agent/   the operator's own configuration
    DIR/ops.git                                         the ops repo
    DIR/ops                                             a work tree of it, for editing
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dispatcher import files
from dispatcher.errors import Exit, PermanentError
from dispatcher.ops_repo import NewFile, begin
from dispatcher.ops_repo.person import check_out, identity
from dispatcher.settings import OpsRepoSettings

BARE, WORK_TREE = "ops.git", "ops"
TEMPLATE_REMOTE = 'remote = "ops"'


class Occupied(PermanentError):
    """What was to be made is there already; nothing is overwritten."""

    exit_code = Exit.CANTCREAT


@dataclass(frozen=True, kw_only=True, slots=True)
class Founded:
    """What was made.

    Attributes:
        folder: the configuration.
        remote: the ops repo.
        work_tree: where its files can be edited.
        written: every file, from ``folder``.
    """

    folder: Path
    remote: str
    work_tree: Path
    written: tuple[str, ...]


def found(folder: Path, *, remote: str = "", branch: str = "main") -> Founded:
    """Make a folder with settings, policy, formulas, and a new ops repo.

    Args:
        folder: absent, or empty.
        remote: an empty repository elsewhere; "" makes one in the folder.
        branch: the ops repo's branch.

    Raises:
        Occupied: the folder holds something.
        Conflict: the remote has this branch already.
        Unavailable, Denied, Misconfigured: the remote.
    """
    folder = folder.absolute()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise Occupied(
            f"{folder} is there already, and not an empty folder",
            remedy="Name a new folder; nothing was changed.",
        )
    folder.mkdir(parents=True, exist_ok=True)
    address = remote or str(folder / BARE)
    name, email = identity() or ("disinto", "disinto@localhost")
    begin(
        OpsRepoSettings(remote=address, branch=branch, author_name=name, author_email=email),
        _repository(),
        message="Begin this ops repo",
    )
    # The settings come after the one thing that can fail, so that a second try finds no remains.
    written = _configuration(folder, remote=remote or BARE, branch=branch)
    work_tree = folder / WORK_TREE
    check_out(address, work_tree, branch=branch)
    return Founded(
        folder=folder, remote=address, work_tree=work_tree, written=(*written, f"{WORK_TREE}/")
    )


def _configuration(folder: Path, *, remote: str, branch: str) -> list[str]:
    """The operator's own files."""
    written = []
    for source, prefix in (
        (files.path("actions/config"), ""),
        (files.path("actions/agent"), "agent"),
    ):
        for path in _files_below(source):
            target = folder / prefix / path.relative_to(source)
            data = path.read_bytes()
            if target.name == "disinto.toml":
                settled = f'remote = "{remote}"'
                if branch != "main":
                    settled += f'\nbranch = "{branch}"'
                data = data.replace(TEMPLATE_REMOTE.encode(), settled.encode(), 1)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)
            target.chmod(0o755 if path.stat().st_mode & 0o100 else 0o644)
            written.append(str(target.relative_to(folder)))
    return written


def _repository() -> list[NewFile]:
    """The files of the first commit. Examples lie where they are not taken for actions."""
    content = []
    for folder, prefix in (("actions/repo", ""), ("actions/examples", "examples/")):
        source = files.path(folder)
        content += [
            NewFile(path=f"{prefix}{path.relative_to(source).as_posix()}", data=path.read_bytes())
            for path in _files_below(source)
        ]
    return content


def _files_below(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())
