"""Creates a directory with everything for a first dispatcher, from the shipped templates.

::

    DIR/disinto.toml, policy.toml, formulas/, agent/   the operator's own configuration
    DIR/ops.git                                         the ops repo
    DIR/ops                                             a work tree of it, for editing
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from dispatcher.errors import Conflict, Exit, Misconfigured, PermanentError
from dispatcher.host import resources
from dispatcher.operate import scaffold_desktops, scaffold_sidecars
from dispatcher.ops_repo import NewFile, begin, from_anywhere
from dispatcher.ops_repo.person import check_out, identity
from dispatcher.settings import OpsRepoSettings

BARE, WORK_TREE = "ops.git", "ops"
TEMPLATE_INSTALLATION = '#installation = "default"'
TEMPLATE_REMOTE = 'remote = "ops"'


class Occupied(PermanentError):
    """The target exists already; nothing is overwritten."""

    exit_code = Exit.CANTCREAT


@dataclass(frozen=True, kw_only=True, slots=True)
class Scaffold:
    """What was created.

    Attributes:
        folder: the directory of the configuration.
        remote: the ops repo.
        work_tree: where its files can be edited.
        no_work_tree: why the person's git could not create the work tree, or "".
        written: every file, relative to ``folder``.
    """

    folder: Path
    remote: str
    work_tree: Path
    no_work_tree: str
    written: tuple[str, ...]


def scaffold(
    folder: Path,
    *,
    remote: str = "",
    branch: str = "main",
    token_env: str = "",
    sidecars: bool = False,
    desktops: bool = False,
    environ: Mapping[str, str] = os.environ,
) -> Scaffold:
    """Make a directory with settings, policy, formulas, and a new ops repo.

    Args:
        folder: absent, or empty.
        remote: an empty repository elsewhere; "" creates one in the directory.
        branch: the ops repo's branch.
        token_env: variable that holds an HTTPS token for the remote; "" for none.
        sidecars: also write the standard rules of sidecars, and what these need.
        desktops: also write the formulas of desktops, and what these need.
        environ: where that variable is.

    Raises:
        Occupied: the directory is not empty, or the remote has this branch already.
        Unavailable, Denied, Misconfigured: the remote, or the variable is not set.
    """
    folder = _free(folder)
    if token_env and not environ.get(token_env):
        raise Misconfigured(
            f"the variable {token_env} is not set", remedy="Set it to the remote's token."
        )
    address = from_anywhere(remote) if remote else str(folder / BARE)
    folder.mkdir(parents=True, exist_ok=True)
    name, email = identity() or ("disinto", "disinto@localhost")
    try:
        begin(
            OpsRepoSettings(remote=address, branch=branch, author_name=name, author_email=email),
            [*_repository(), *(scaffold_sidecars.repository() if sidecars else ())],
            message="Begin this ops repo",
            credential=lambda: environ.get(token_env) if token_env else None,
        )
    except Conflict as there:
        raise Occupied(
            f"{there.what}, and is not empty",
            remedy="Nothing was changed. To use it as it is, leave out --remote, and set "
            "[ops_repo] remote in the new disinto.toml.",
        ) from None
    # The settings come after the one thing that can fail, so that a second try finds no remains.
    settled = _settled(address if remote else BARE, branch, token_env)
    written = _configuration(folder, settled)
    if sidecars:
        written += scaffold_sidecars.write(folder, bare="" if remote else BARE)
    if desktops:
        written += scaffold_desktops.write(folder)
    work_tree, trouble = folder / WORK_TREE, ""
    try:
        check_out(address, work_tree, branch=branch)
        written.append(f"{WORK_TREE}/")
    except PermanentError as error:
        trouble = error.what
    return Scaffold(
        folder=folder,
        remote=address,
        work_tree=work_tree,
        no_work_tree=trouble,
        written=tuple(written),
    )


def scaffold_author(
    folder: Path, *, remote: str, branch: str = "main", token_env: str = ""
) -> Scaffold:
    """Create an author client for an existing ops repo. Calls no server.

    Args:
        folder: absent, or empty.
        remote, branch, token_env: see ``scaffold``.

    Raises:
        Occupied: the directory is not empty.
    """
    folder = _free(folder)
    address = from_anywhere(remote)
    source = resources.path("actions/author/disinto.toml").read_bytes()
    lines = "\n".join(f'{k} = "{v}"' for k, v in _settled(address, branch, token_env).items())
    (folder / "formulas").mkdir(parents=True)
    settings = source.replace(TEMPLATE_REMOTE.encode(), lines.encode(), 1)
    (folder / "disinto.toml").write_bytes(settings)
    policy = resources.path("actions/config/policy.toml").read_bytes()
    (folder / "policy.toml").write_bytes(policy)
    return Scaffold(
        folder=folder,
        remote=address,
        work_tree=folder / WORK_TREE,
        no_work_tree="",
        written=("disinto.toml", "formulas/", "policy.toml"),
    )


def _free(folder: Path) -> Path:
    """The directory's absolute path.

    Raises:
        Occupied: it exists, and is not an empty directory.
    """
    folder = folder.absolute()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise Occupied(
            f"{folder} already exists and is not an empty directory",
            remedy="Name a new directory; nothing was changed.",
        )
    return folder


def _settled(address: str, branch: str, token_env: str) -> dict[str, str]:
    """The keys of ``[ops_repo]`` for the settings."""
    settled = {"remote": address}
    if branch != "main":
        settled["branch"] = branch
    if token_env:
        settled["token_env"] = token_env
    return settled


def _configuration(folder: Path, settled: Mapping[str, str]) -> list[str]:
    """Write the operator's own files; ``settled`` are the keys of ``[ops_repo]``."""
    written = []
    installation = f'installation = "{_installation(settled["remote"], folder)}"'
    for source, prefix in (
        (resources.path("actions/config"), ""),
        (resources.path("actions/agent"), "agent"),
    ):
        for path in _files_below(source):
            target = folder / prefix / path.relative_to(source)
            data = path.read_bytes()
            if target.name == "disinto.toml":
                data = data.replace(TEMPLATE_INSTALLATION.encode(), installation.encode(), 1)
                lines = "\n".join(f'{key} = "{value}"' for key, value in settled.items())
                data = data.replace(TEMPLATE_REMOTE.encode(), lines.encode(), 1)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)
            target.chmod(0o755 if path.stat().st_mode & 0o100 else 0o644)
            written.append(str(target.relative_to(folder)))
    return written


def _installation(remote: str, folder: Path) -> str:
    """A name that no other installation on the same Vault has: the ops repo's name and a digest of
    its address, so that the same ops repo gets the same name.
    """
    address = str(folder / BARE) if remote == BARE else remote
    name = address.rstrip("/").rpartition("/")[2].rpartition(":")[2].removesuffix(".git")
    plain = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:23] or "ops"
    return f"{plain}-{hashlib.sha256(address.encode()).hexdigest()[:8]}"


def _repository() -> list[NewFile]:
    """The files of the first commit. Examples are placed where they are not taken for actions."""
    content = []
    for folder, prefix in (("actions/repo", ""), ("actions/examples", "examples/")):
        source = resources.path(folder)
        content += [
            NewFile(path=f"{prefix}{path.relative_to(source).as_posix()}", data=path.read_bytes())
            for path in _files_below(source)
        ]
    return content


def _files_below(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())
