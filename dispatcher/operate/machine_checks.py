"""The checks of ``disinto doctor`` for this machine: its programs, directories and secrets. No server is
asked.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping

from dispatcher.engines import registry
from dispatcher.host.private import open_to_others
from dispatcher.model.checks import Check
from dispatcher.settings import Role, Settings

OLDEST_GIT = (2, 36)
_INSTALL_GIT = "Install git {}.{} or newer.".format(*OLDEST_GIT)
SHORTEST_HOOK_SECRET = 16
"""Bytes."""


def check_state_dir(settings: Settings) -> Iterator[Check]:
    """Whether the state directory can be written, and only its owner can read it."""
    state_dir = settings.state_dir
    name, remedy = "state directory", "Set state_dir, or make it writable for this user."
    try:
        existing = next(f for f in (state_dir, *state_dir.parents) if f.exists())
    except OSError as error:
        detail = f"{state_dir} cannot be reached: {error.strerror}"
        yield Check(name=name, ok=False, detail=detail, remedy=remedy)
        return
    ok = existing.is_dir() and os.access(existing, os.W_OK | os.X_OK)
    yield Check(
        name=name,
        ok=ok,
        detail=f"{state_dir}" if ok else f"{existing} cannot be written",
        remedy="" if ok else remedy,
    )
    if settings.role is Role.DISPATCHER and open_to_others(state_dir):
        yield Check(
            name="state directory: private",
            ok=False,
            detail=f"the state directory {state_dir} is readable by others: it holds claims with the "
            "keys of outcomes, and accessors of grants",
            remedy=f"Give the dispatcher a directory of its own, and run: chmod 700 {state_dir}",
        )


def check_git() -> Iterator[Check]:
    """Whether git is installed, and new enough."""
    program = shutil.which("git")
    if program is None:
        yield Check(name="git", ok=False, detail="git is not installed", remedy=_INSTALL_GIT)
        return
    version = subprocess.run(
        [program, "--version"], capture_output=True, text=True, check=False, timeout=30
    ).stdout.strip()
    numbers = tuple(int(number) for number in re.findall(r"\d+", version)[:2])
    ok = numbers >= OLDEST_GIT
    yield Check(name="git", ok=ok, detail=version, remedy="" if ok else _INSTALL_GIT)


def check_formulas(settings: Settings) -> Iterator[Check]:
    """Whether the operator's directory of formulas is there, and not everybody can write to it."""
    directory = settings.formulas.path
    if directory is None:
        yield Check(name="formulas", ok=True, detail="only those of the ops repo")
        return
    if not directory.is_dir():
        yield Check(
            name="formulas",
            ok=False,
            detail=f"there is not a directory {directory}",
            remedy="Create it, or change [formulas] path.",
        )
        return
    mode = directory.stat().st_mode
    yield Check(
        name="formulas",
        ok=not mode & 0o002,
        detail=f"{directory}" + (", which everybody can write" if mode & 0o002 else ""),
        remedy=f"Run: chmod o-w {directory}" if mode & 0o002 else "",
    )


def check_agent(settings: Settings) -> Iterator[Check]:
    """Whether the program is there that runs formulas of kind .toml."""
    command = settings.agent.command
    if not command:
        yield Check(name="agent", ok=True, detail="none: formulas of kind .toml cannot run")
        return
    engine = registry.get(settings.scheduler)
    path = engine.agent_path(settings)
    if path is None:
        yield Check(name="agent", ok=True, detail=f"{command[0]}, looked up inside the job")
        return
    program = shutil.which(command[0], path=path)
    yield Check(
        name="agent",
        ok=program is not None,
        detail=program or f"{command[0]} is not on the PATH of formulas",
        remedy="" if program else f"Install it, or change [agent] command or [{engine.name}] path.",
    )


def check_webhook(settings: Settings, environ: Mapping[str, str]) -> Iterator[Check]:
    """Whether the secret of webhooks is long enough, if there is one."""
    secret = environ.get(settings.http.webhook_secret_env, "").encode()
    file = settings.http.webhook_secret_file
    if not secret and file is not None:
        secret = file.read_bytes().strip()
    if not secret:
        every = f"{settings.ops_repo.poll_interval_s:g} s"
        yield Check(name="webhook", ok=True, detail=f"no secret: serve polls every {every}")
        return
    ok = len(secret) >= SHORTEST_HOOK_SECRET
    yield Check(
        name="webhook",
        ok=ok,
        detail=f"its secret has {len(secret)} bytes",
        remedy=""
        if ok
        else f"Use {SHORTEST_HOOK_SECRET} bytes or more, e.g. from `openssl rand -hex 32`.",
    )
