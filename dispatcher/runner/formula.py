"""Prepares the formula: verified bytes, clean environment, command line, private directory."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from dispatcher.errors import Exit, PermanentError
from dispatcher.host.removal import remove_tree
from dispatcher.model.mounts import Mount
from dispatcher.model.run import MAX_VARIABLE_BYTES, FormulaKind, RunSpec

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_ARGUMENTS = 256 * 1024  # left of ARG_MAX for what the formula starts: arguments, pointers
SEPARATOR = b"\n---- context ----\n"
"""Between a formula's text and the action's context on an agent's standard input."""

_ANY_OWNER = {
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_COUNT": "1",
    "GIT_CONFIG_KEY_0": "safe.directory",
    "GIT_CONFIG_VALUE_0": "*",
}
"""The mounted ops repo may belong to another user; bytes are read by their hash."""

_TAKE_SECRETS = '. /proc/self/fd/3; : >/proc/self/fd/3; exec 3>&-; exec "$@"'
"""Takes variables from the file at descriptor 3, and empties it, whoever else has it open."""


class BadFormula(PermanentError):
    """The formula is not the approved one, or cannot be read or started."""

    exit_code = Exit.DATAERR


@dataclass(frozen=True, kw_only=True, slots=True)
class Texts:
    """The verified bytes of a formula, and of the files that it reads, by name."""

    formula: bytes
    files: Mapping[str, bytes]


def load(spec: RunSpec, *, ops_repo: str = "") -> Texts:
    """The bytes of the formula and its files, verified against the approved hashes.

    Args:
        ops_repo: the mounted ops repo, for a spec that does not carry the bytes.

    Raises:
        BadFormula: they differ, or cannot be read.
    """
    ref, repo = spec.formula, ops_repo or Mount.OPS_REPO.target
    inputs = {each.name: each for each in ref.inputs}
    if spec.files.keys() != inputs.keys():
        raise BadFormula(f"the files of formula {ref.name} are not the ones that were approved")
    text = _verified(spec.formula_text, ref.blob, ref.sha256, f"formula {ref.name}", repo)
    files = {
        name: _verified(
            data, inputs[name].blob, inputs[name].sha256, f"{name}, which the formula reads,", repo
        )
        for name, data in spec.files.items()
    }
    return Texts(formula=text, files=files)


def _verified(data: bytes | None, blob: str, sha256: str, what: str, ops_repo: str) -> bytes:
    if data is None:
        data = _read_blob(blob, ops_repo)
    is_blob = hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()
    if hashlib.sha256(data).hexdigest() != sha256 or is_blob != blob:
        raise BadFormula(
            f"{what} is not the one that was approved: its hash differs",
            remedy="Somebody changed it in transit; submit the action again under a new id.",
        )
    return data


def _read_blob(blob: str, ops_repo: str) -> bytes:
    import subprocess

    try:
        done = subprocess.run(
            ["git", "-C", ops_repo, "cat-file", "blob", blob],
            capture_output=True,
            env={"PATH": os.environ.get("PATH") or DEFAULT_PATH, **_ANY_OWNER},
            stdin=subprocess.DEVNULL,
            timeout=60,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BadFormula(
            f"the formula cannot be read from {ops_repo}: git: {type(error).__name__}"
        ) from None
    if done.returncode:
        raise BadFormula(
            f"the formula's blob {blob} is not in the ops repo at {ops_repo}",
            remedy="Bring the mounted ops repo up to date on that node.",
        )
    return done.stdout


@dataclass(frozen=True, kw_only=True, slots=True)
class Workspace:
    """The run's private directory, removed afterwards.

    Attributes:
        base: the directory, accessible only to its owner; contains the formula's file and the
            outputs.
        work: working directory of the formula.
        home: its HOME.
    """

    base: str
    home: str

    @property
    def work(self) -> str:
        return f"{self.base}/home"

    @property
    def tmp(self) -> str:
        return f"{self.base}/tmp"  # noqa: S108 - inside our own directory

    @property
    def outputs(self) -> str:
        return f"{self.base}/outputs.json"

    @property
    def progress(self) -> str:
        return f"{self.base}/progress"

    @property
    def files(self) -> str:
        return f"{self.base}/files"


def make_workspace(base: str = "") -> Workspace:
    """Create the private directory.

    Args:
        base: where; it may exist already (with mounts in it), and HOME is then inside of it.
            "" for a new directory in the task's own directory or TMPDIR; HOME stays the runner's.
    """
    if base:
        workspace = Workspace(base=base, home=f"{base}/home")
    else:
        parent = os.environ.get("NOMAD_TASK_DIR") or os.environ.get("TMPDIR") or "/tmp"  # noqa: S108
        base = f"{parent}/run-{os.urandom(8).hex()}"
        workspace = Workspace(base=base, home=os.environ.get("HOME") or f"{base}/home")
    for folder in (workspace.base, workspace.work, workspace.tmp):
        with suppress(FileExistsError):
            os.mkdir(folder, 0o700)  # noqa: PTH102 - pathlib is slow to load
    return workspace


def write_files(workspace: Workspace, files: Mapping[str, bytes]) -> None:
    """Write the files that the formula reads into a directory of their own."""
    if not files:
        return
    os.mkdir(workspace.files, 0o700)  # noqa: PTH102 - pathlib is slow to load
    for name, data in files.items():
        if "/" in name or name.startswith("."):
            raise BadFormula("a file of the formula has a name that is none")
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        with open(os.open(f"{workspace.files}/{name}", flags, 0o600), "wb") as file:  # noqa: PTH123
            file.write(data)


def remove_workspace(workspace: Workspace) -> str:
    """Remove it as far as possible; see ``remove_tree``."""
    return remove_tree(workspace.base)


def environment(spec: RunSpec, workspace: Workspace, secrets: Mapping[str, str]) -> dict[str, str]:
    """The whole environment of the formula.

    Raises:
        BadFormula: a secret has the name of one of its variables, a text contains a NUL byte, or
            it exceeds the limit of execve(2).
    """
    env = {
        "PATH": os.environ.get("PATH") or DEFAULT_PATH,
        "HOME": workspace.home,
        "LANG": "C.UTF-8",
        "TMPDIR": workspace.tmp,
        "DISINTO_ACTION_ID": spec.key.action_id,
        "DISINTO_RUN_KEY": spec.key.token,
        "DISINTO_FORMULA": spec.formula.name,
        "DISINTO_CONTEXT": spec.context,
        "DISINTO_COMMIT": spec.commit,
        "DISINTO_TIER": spec.tier,
        "DISINTO_APPROVED_BY": ",".join(spec.approved_by),
        "DISINTO_MODEL": spec.model,
        "DISINTO_TOOLS": ",".join(spec.tools),
        "DISINTO_PARAMS": json.dumps(spec.params),
        "DISINTO_OUTPUTS": workspace.outputs,
        "DISINTO_PROGRESS": workspace.progress,
        "DISINTO_WORKDIR": workspace.work,
        "DISINTO_PYTHON": sys.executable,
    }
    if spec.files:
        env["DISINTO_FILES"] = workspace.files
    if spec.forge_url:
        env["DISINTO_FORGE_URL"] = spec.forge_url
    taken = sorted(env.keys() & secrets.keys())
    if taken:
        raise BadFormula(f"a secret cannot be named {taken[0]}: the runner uses that name")
    for name, value in env.items():
        if "\0" in value:
            raise BadFormula(
                f"{name} would contain a NUL byte, which no environment variable can hold"
            )
    env |= secrets
    _refuse_too_large(env)
    return env


def _refuse_too_large(env: Mapping[str, str]) -> None:
    """Checked here, because execve's own "Argument list too long" names nothing."""
    sizes = {
        name: len(name) + 2 + len(value.encode("utf-8", "surrogateescape"))
        for name, value in env.items()
    }
    large = sorted(name for name, size in sizes.items() if size > MAX_VARIABLE_BYTES)
    if large:
        raise BadFormula(
            f"{', '.join(large)}: more than the {MAX_VARIABLE_BYTES // 1024} KiB that one "
            "environment variable can hold",
            remedy="Store a secret in parts, or let the formula fetch what is that large.",
        )
    total, limit = sum(sizes.values()), os.sysconf("SC_ARG_MAX") - _ARGUMENTS
    if total > limit:
        raise BadFormula(
            f"the action's secrets and texts take {total:,} bytes of environment together, but "
            f"this machine allows {limit:,}",
            remedy="Name fewer or smaller secrets in one action.",
        )


def is_handed_over(spec: RunSpec, *, prefix: Sequence[str]) -> bool:
    """Whether secrets are withheld from the sandbox's own processes, see ``as_variables``: an agent may be
    started by a program that keeps one to itself, and any process of the run could read the environment
    of those.
    """
    return bool(prefix) and spec.formula.kind is FormulaKind.AGENT


def as_variables(secrets: Mapping[str, str]) -> int:
    """A descriptor of a file in memory with these environment variables, for a ``command`` that takes
    them.
    """
    quoted = {name: value.replace("'", "'\\''") for name, value in secrets.items()}
    text = "".join(f"export {name}='{value}'\n" for name, value in quoted.items())
    return _as_input(text.encode("utf-8", "surrogateescape"))


def command(
    spec: RunSpec, data: bytes, workspace: Workspace, *, prefix: Sequence[str] = ()
) -> tuple[list[str], int]:
    """The command line, and the descriptor of its standard input.

    Args:
        prefix: command line of a sandbox that runs the command appended to it.
    """
    if spec.formula.kind is FormulaKind.AGENT:
        if not spec.agent_argv:
            raise BadFormula(
                f"formula {spec.formula.name} is for an agent, and no agent command is configured",
                remedy="Set [agent] command.",
            )
        if not _is_executable(spec.agent_argv[0]):
            raise BadFormula(
                f"the agent command {spec.agent_argv[0]} does not exist or cannot be executed",
                remedy="Set [agent] command to what is on the formulas' PATH, or to a full path.",
            )
        text = data + SEPARATOR + spec.context.encode("utf-8", "surrogateescape")
        if is_handed_over(spec, prefix=prefix):
            prefix = (*prefix, "sh", "-c", _TAKE_SECRETS, "sh")
        return [*prefix, *spec.agent_argv], _as_input(text)
    path = f"{workspace.base}/{spec.formula.name}.sh"
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o700)
    with open(fd, "wb") as file:  # noqa: PTH123 - a descriptor
        file.write(data)
    return [*prefix, "bash", path], os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)


def _is_executable(program: str) -> bool:
    """Asked before the grant is used up, and since a sandbox's own failure tells less."""
    if "/" in program:
        return os.access(program, os.X_OK)
    folders = (os.environ.get("PATH") or DEFAULT_PATH).split(":")
    return any(os.access(f"{folder}/{program}", os.X_OK) for folder in folders)


def _as_input(text: bytes) -> int:
    fd = os.memfd_create("input", os.MFD_CLOEXEC)
    with open(fd, "wb", closefd=False) as file:
        file.write(text)
    os.lseek(fd, 0, os.SEEK_SET)
    return fd
