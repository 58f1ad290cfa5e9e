"""Which real servers and tools this machine has."""

from __future__ import annotations

import os
import shutil
import subprocess
from functools import cache

from dispatcher.devservers import openbao
from dispatcher.errors import DisintoError
from tests.servers import (
    axe,
    browser,
    containers,
    desktop_container,
    dokploy_live,
    guacamole,
    postgres,
    systemd_machine,
)


def _on_path(program: str) -> str | None:
    return None if shutil.which(program) else f"`{program}` is not on PATH"


def _docker() -> str | None:
    if shutil.which("docker") is None:
        return "`docker` is not on PATH"
    done = subprocess.run(["docker", "info"], capture_output=True, timeout=20, check=False)
    return None if done.returncode == 0 else "no Docker engine answers `docker info`"


def _nomad() -> str | None:
    if containers.chosen("nomad"):
        return _docker()
    return None if os.environ.get("NOMAD_ADDR") else _on_path("nomad")


def _bao() -> str | None:
    if containers.chosen("bao"):
        return _docker()
    try:
        openbao.binary()
    except DisintoError as missing:
        return str(missing)
    return None


def _forgejo() -> str | None:
    return None if os.environ.get("FORGEJO_ADDR") else _on_path("forgejo")


def _bwrap() -> str | None:
    missing = _on_path("bwrap")
    if missing:
        return missing
    done = subprocess.run(
        ["bwrap", "--ro-bind", "/", "/", "--dev", "/dev", "true"], capture_output=True, check=False
    )
    return None if done.returncode == 0 else "bubblewrap may not make namespaces here"


def _postgres() -> str | None:
    missing = postgres.missing_programs()
    return f"PostgreSQL's {', '.join(missing)} cannot be found" if missing else None


@cache
def why_missing(server: str) -> str | None:
    """None if the server can be had, else the reason in a clause."""
    checks = {
        "docker": _docker,
        "nomad": _nomad,
        "bao": _bao,
        "bwrap": _bwrap,
        "forgejo": _forgejo,
        "postgres": _postgres,
        "guacamole": guacamole.why_missing,
        "chromium": browser.why_missing,
        "dokploy": lambda: _docker() or dokploy_live.why_missing(),
        "axe": axe.why_missing,
        "desktop": lambda: _docker() or desktop_container.why_missing(),
        "machine": lambda: _docker() or systemd_machine.why_missing(),
    }
    names = {
        "git": "git",
        "forgejo": "forgejo",
        "gpg": "gpg",
        "ssh-keygen": "ssh-keygen",
        "sshd": "sshd",
        "cloud-init": "cloud-init",
        "nginx": "nginx",
        "shellcheck": "shellcheck",
        "systemd-analyze": "systemd-analyze",
        "apt-get": "apt-get",
    }
    if server in checks:
        return checks[server]()
    return _on_path(names[server])
