"""Where the settings file is, and the state directory that it names.

Apart from ``dispatcher.settings``, which reads all of the file, because shell completion needs only
this, at every press of a key. For its sake this module imports little: errors, pathlib and tomllib
together take longer to load than Python itself to start.
"""

from __future__ import annotations

import errno
import os
import stat

from dispatcher.model.paths import ACTIONS_PATH

TYPE_CHECKING = False  # ``typing`` takes long to load
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

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


class Misplaced(Exception):
    """No settings file counts, although one was named or found.

    Attributes:
        what, remedy: see ``DisintoError``.
    """

    def __init__(self, what: str, *, remedy: str) -> None:
        super().__init__(what)
        self.what, self.remedy = what, remedy


def find_settings(
    path: Path | None, environ: Mapping[str, str], *, folder: Path | None = None
) -> Path | None:
    """The settings file that counts, or None if there is none; see ``locate``.

    Args:
        path: from the command line, or None.
        environ: the environment.
        folder: where to look; the current directory by default.

    Raises:
        Misconfigured: see ``Misplaced``.
    """
    from pathlib import Path

    try:
        found = locate(str(path) if path else None, environ, folder=str(folder or os.getcwd()))
    except Misplaced as error:
        from dispatcher.errors import Misconfigured

        raise Misconfigured(error.what, remedy=error.remedy) from None
    return Path(found) if found is not None else None


def locate(path: str | None, environ: Mapping[str, str], *, folder: str) -> str | None:
    """The settings file that counts, or None if there is none.

    The given path; else ``DISINTO_CONFIG``; else ``disinto.toml`` in the directory or one above it;
    else ``~/.config/disinto/disinto.toml`` (``XDG_CONFIG_HOME`` is honoured).

    Args:
        path: from the command line, or None.
        environ: the environment.
        folder: where to look, an absolute path.

    Raises:
        Misplaced: a file that was named is not there, or the file lies in an ops repo, whose
            contents must not decide what is approved.
    """
    named = path or environ.get(CONFIG_VARIABLE)
    if named:
        found: str | None = os.path.join(folder, _expanded(named, environ))
        if found is None or not _is_file(found):
            whose = "" if path else f" (named by {CONFIG_VARIABLE})"
            raise Misplaced(
                f"there is no settings file {named}{whose}",
                remedy="Name an existing file, or create one with: disinto init",
            )
    else:
        found = next((file for file in _customary_places(folder, environ) if _is_file(file)), None)
    if found is None:
        return None
    above = _parents(os.path.realpath(found))
    ops_repo = next((p for p in above if os.path.isdir(os.path.join(p, ACTIONS_PATH))), None)
    if ops_repo is not None:
        raise Misplaced(
            f"the settings file {found} is inside the ops repo {ops_repo}, where anybody who may "
            "merge an action could change it",
            remedy=f"Move it out of that directory, and name it in {CONFIG_VARIABLE}",
        )
    return found


def state_dir(path: Path | None, environ: Mapping[str, str]) -> Path | None:
    """See ``state_directory``."""
    from pathlib import Path

    directory = state_directory(str(path) if path else None, environ)
    return Path(directory) if directory is not None else None


def state_directory(path: str | None, environ: Mapping[str, str]) -> str | None:
    """The state directory, as ``Settings.state_dir`` would say, without checking anything else.

    Args:
        path: of the settings file, from the command line, or None.
        environ: the environment.

    Returns:
        None if the settings file cannot be read.
    """
    try:
        folder = os.getcwd()
        if named := environ.get("DISINTO_STATE_DIR"):
            return os.path.join(folder, _expanded(named, environ))
        file = locate(path, environ, folder=folder)
        value = STATE_DIR if file is None else _state_dir_in(file)
    except (Misplaced, OSError, ValueError):
        return None
    above = folder if file is None else os.path.dirname(os.path.realpath(file))
    return os.path.normpath(os.path.join(above, _expanded(value, environ)))


def _state_dir_in(file: str) -> str:
    with open(file, "rb") as opened:
        text = opened.read().decode()
    value: object = plain_value(text, "state_dir")
    if value is None:
        import tomllib

        value = tomllib.loads(text).get("state_dir")
    return value if value and isinstance(value, str) else STATE_DIR


def plain_value(text: str, key: str) -> str | None:
    """What a TOML file has at a top-level key, if that is plain to see without a parser, which takes
    longer to load than a press of TAB may take.

    Returns:
        "" if the file lacks the key; None if only a parser can tell.
    """
    if "\\" in text or '"""' in text or "'''" in text:
        return None  # an escape may spell the key, and lines of a text look like others
    lines = [line.strip(" \t\r") for line in text.split("\n")]
    places = [i for i, line in enumerate(lines) if key in line and not line.startswith("#")]
    if not places:
        return ""
    name, _, rest = (part.strip(" \t") for part in lines[places[0]].partition("="))
    before = lines[: places[0]]
    if len(places) > 1 or name != key or any(x.startswith("[") or "{" in x for x in before):
        return None  # it may be in a table
    if rest[:1] not in ("'", '"'):
        return None
    value, closed, after = rest[1:].partition(rest[0])
    return value if closed and after.strip(" \t")[:1] in ("", "#") else None


def at_home(text: str, environ: Mapping[str, str]) -> Path:
    """The path that a text means: a leading ``~`` is the home directory."""
    from pathlib import Path

    return Path(_expanded(text, environ))


def _expanded(text: str, environ: Mapping[str, str]) -> str:
    home = environ.get("HOME", "")
    if home and (text == "~" or text.startswith("~/")):
        return os.path.join(home, text[2:])
    return text


def _customary_places(folder: str, environ: Mapping[str, str]) -> Iterator[str]:
    for above in (folder, *_parents(os.path.realpath(folder))):
        yield os.path.join(above, FILE_NAME)
    config = environ.get("XDG_CONFIG_HOME") or (
        f"{environ['HOME']}/.config" if environ.get("HOME") else ""
    )
    if config:
        yield os.path.join(config, "disinto", FILE_NAME)


def _parents(path: str) -> Iterator[str]:
    """The directories above an absolute path, the nearest first."""
    while (above := os.path.dirname(path)) != path:
        yield above
        path = above


def _is_file(path: str) -> bool:
    """Whether a path is one of a regular file.

    Raises:
        OSError: it cannot be checked.
    """
    try:
        return stat.S_ISREG(os.stat(path).st_mode)
    except ValueError:
        return False
    except OSError as error:
        if error.errno in _NOT_THERE:
            return False
        raise


_NOT_THERE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)
