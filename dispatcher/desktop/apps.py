"""The catalogue of apps: what may be installed on a desktop, and how it is checked.

It is a file of the formula (``desktop-apps.json``), so its hash is part of what was approved. Its values
become files on the machine, one line each; the scripts there never read them as code.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, TypeAdapter, ValidationError

from dispatcher.errors import InvalidValue
from dispatcher.model.names import ID_PATTERN
from dispatcher.provision.params import read_beside
from dispatcher.toml.explain import did_you_mean

CATALOGUE_FILE = "desktop-apps.json"
"""Its name beside the formula."""

Id = Annotated[str, StringConstraints(pattern=ID_PATTERN, max_length=40)]
Package = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9+.-]{1,99}$")]
Group = Annotated[str, StringConstraints(pattern=r"^[a-z_][a-z0-9_-]{0,30}$")]
Argument = Annotated[str, StringConstraints(pattern=r"^[!-~]([ -~]{0,198}[!-~])?$")]
Word = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9./_-]{0,99}$")]
Https = Annotated[
    str, StringConstraints(pattern=r"^https://[a-z0-9.-]{1,100}(/[A-Za-z0-9._~/-]{0,200})?$")
]
Fingerprint = Annotated[str, StringConstraints(pattern=r"^[0-9A-F]{40}$")]

_STRICT = ConfigDict(frozen=True, extra="forbid", strict=False)


class Repository(BaseModel):
    """An apt repository of somebody else, from which only the app's own packages may come.

    Attributes:
        key_url: where its keys are.
        key_fingerprints: of all primary keys there; any other set is refused.
    """

    model_config = _STRICT

    uri: Https
    suite: Word
    components: Annotated[tuple[Word, ...], Field(min_length=1, max_length=5)]
    key_url: Https
    key_fingerprints: Annotated[tuple[Fingerprint, ...], Field(min_length=1, max_length=5)]


class App(BaseModel):
    """One app.

    Attributes:
        title: for people.
        packages: of apt.
        check: a command that succeeds, as the desktop's user, if the app is installed.
        groups: that the desktop's user joins.
    """

    model_config = _STRICT

    title: Annotated[str, StringConstraints(min_length=1, max_length=100)]
    packages: Annotated[tuple[Package, ...], Field(min_length=1, max_length=50)]
    check: Annotated[tuple[Argument, ...], Field(min_length=1, max_length=20)]
    groups: Annotated[tuple[Group, ...], Field(max_length=5)] = ()
    repository: Repository | None = None


_CATALOGUE = TypeAdapter(Annotated[dict[Id, App], Field(max_length=200)])


def read_catalogue(data: bytes) -> dict[str, App]:
    """The apps of a catalogue, by their names.

    Raises:
        InvalidValue: it is not valid JSON, or something in it is not allowed; names the place.
    """
    try:
        return _CATALOGUE.validate_python(json.loads(data))
    except (ValueError, RecursionError) as error:
        raise InvalidValue(
            f"{CATALOGUE_FILE}: {_problem(error)}", remedy="See docs/desktops.md for its keys."
        ) from error


def find_catalogue(directory: Path | None) -> dict[str, App]:
    """The catalogue among the files of a formula; empty if there is none.

    Raises:
        InvalidValue: see ``read_catalogue``.
        BadParams: it cannot be read.
    """
    data = read_beside(directory / CATALOGUE_FILE) if directory else None
    return {} if data is None else read_catalogue(data)


def _problem(error: ValueError | RecursionError) -> str:
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False, include_input=False)[0]
        return f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}"
    return "it is not valid JSON"


def choose(catalogue: Mapping[str, App], names: Iterable[str]) -> dict[str, App]:
    """Some of the apps, in the catalogue's order.

    Raises:
        InvalidValue: the catalogue has none of a name.
    """
    wanted = set(names)
    unknown = sorted(wanted - set(catalogue))
    if unknown:
        near = did_you_mean(unknown[0], list(catalogue))
        raise InvalidValue(
            f"unknown app {', '.join(unknown)}",
            remedy=f"{near} " * bool(near) + f"There are {', '.join(catalogue) or 'none'}.",
        )
    return {name: app for name, app in catalogue.items() if name in wanted}


def app_files(app_id: str, app: App) -> dict[str, str]:
    """The files of one app for ``install-apps``, by their names: one value per line."""
    files = {
        "packages": _lines(app.packages),
        "check": _lines(app.check),
        "groups": _lines(app.groups),
    }
    source = app.repository
    if source is None:
        return files
    host = source.uri.removeprefix("https://").split("/")[0]
    files["key-url"] = _lines([source.key_url])
    files["key-fingerprints"] = _lines(source.key_fingerprints)
    files["sources"] = _lines(
        [
            "Types: deb",
            f"URIs: {source.uri}",
            f"Suites: {source.suite}",
            f"Components: {' '.join(source.components)}",
            "Architectures: amd64",
            f"Signed-By: /etc/apt/keyrings/disinto-{app_id}.gpg",
        ]
    )
    # The app's own packages come from there, whatever their version, and nothing else does.
    files["preferences"] = _lines(
        [
            f"Package: {' '.join(app.packages)}",
            f"Pin: origin {host}",
            "Pin-Priority: 1001",
            "",
            "Package: *",
            f"Pin: origin {host}",
            "Pin-Priority: -1",
        ]
    )
    return files


def _lines(values: Iterable[str]) -> str:
    return "".join(f"{value}\n" for value in values)
