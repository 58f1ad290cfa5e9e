"""Where the settings file is, and the state directory that it names.

Apart from ``dispatcher.settings``, which reads all of the file, because shell completion needs only
this, at every press of a key.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path

from dispatcher.errors import Misconfigured
from dispatcher.model.paths import ACTIONS_PATH

FILE_NAME = "disinto.toml"

STATE_DIR = ".disinto"
"""Default of the setting ``state_dir``, relative to the settings file."""

SEARCHED = (
    "Settings files are searched for in --config, DISINTO_CONFIG, disinto.toml in this directory "
    "or one "
    "above it, and ~/.config/disinto/disinto.toml."
)

ENV_PREFIX = "DISINTO_"
CONFIG_VARIABLE = f"{ENV_PREFIX}CONFIG"
"""Environment variable with the path of the settings file."""

CUSTOMARY: Mapping[str, tuple[str, str]] = {
    "VAULT_ADDR": ("vault", "addr"),
    "VAULT_NAMESPACE": ("vault", "namespace"),
    "VAULT_CACERT": ("vault", "cacert"),
}
"""Variables of other tools that override a key of a section that is always there; those of engines
are in ``EngineSection.CUSTOMARY``. VAULT_TOKEN and NOMAD_TOKEN are read where they are used and never
become part of the settings."""


def find_settings(
    path: Path | None, environ: Mapping[str, str], *, folder: Path | None = None
) -> Path | None:
    """The settings file that counts, or None if there is none.

    The given path; else ``DISINTO_CONFIG``; else ``disinto.toml`` in the directory or one above it;
    else ``~/.config/disinto/disinto.toml`` (``XDG_CONFIG_HOME`` is honoured).

    Args:
        path: from the command line, or None.
        environ: the environment.
        folder: where to look; the current directory by default.

    Raises:
        Misconfigured: a file that was named is not there, or the file lies in an ops repo, whose
            contents must not decide what is approved.
    """
    folder = folder or Path.cwd()
    named = path or (Path(environ[CONFIG_VARIABLE]) if environ.get(CONFIG_VARIABLE) else None)
    if named is not None:
        found: Path | None = folder / at_home(str(named), environ)
        if found is None or not found.is_file():
            whose = "" if path else f" (named by {CONFIG_VARIABLE})"
            raise Misconfigured(
                f"there is no settings file {named}{whose}",
                remedy="Name an existing file, or create one with: disinto init",
            )
    else:
        found = next((file for file in _customary_places(folder, environ) if file.is_file()), None)
    if found is None:
        return None
    ops_repo = next((p for p in found.resolve().parents if (p / ACTIONS_PATH).is_dir()), None)
    if ops_repo is not None:
        raise Misconfigured(
            f"the settings file {found} is inside the ops repo {ops_repo}, where anybody who may "
            "merge an action could change it",
            remedy=f"Move it out of that directory, and name it in {CONFIG_VARIABLE}",
        )
    return found


def state_dir(path: Path | None, environ: Mapping[str, str]) -> Path | None:
    """The state directory, as ``Settings.state_dir`` would say, without checking anything else.

    Returns:
        None if the settings file cannot be read.
    """
    folder = Path.cwd()
    if named := environ.get("DISINTO_STATE_DIR"):
        return folder / at_home(named, environ)
    try:
        file = find_settings(path, environ)
        value = STATE_DIR if file is None else _state_dir_in(file)
    except (Misconfigured, OSError, ValueError):
        return None
    above = folder if file is None else file.resolve().parent
    return Path(os.path.normpath(above / at_home(value, environ)))


def _state_dir_in(file: Path) -> str:
    value = tomllib.loads(file.read_text()).get("state_dir") or STATE_DIR
    return value if isinstance(value, str) else STATE_DIR


def at_home(text: str, environ: Mapping[str, str]) -> Path:
    """The path that a text means: a leading ``~`` is the home directory."""
    home = environ.get("HOME", "")
    if home and (text == "~" or text.startswith("~/")):
        return Path(home) / text[2:]
    return Path(text)


def _customary_places(folder: Path, environ: Mapping[str, str]) -> Iterator[Path]:
    for above in (folder, *folder.resolve().parents):
        yield above / FILE_NAME
    config = environ.get("XDG_CONFIG_HOME") or (
        f"{environ['HOME']}/.config" if environ.get("HOME") else ""
    )
    if config:
        yield Path(config) / "disinto" / FILE_NAME
