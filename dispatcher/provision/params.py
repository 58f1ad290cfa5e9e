"""Params, and settings beside a formula, become records.

Params were checked against the formula's schema before anything was minted; a record checks what a
schema cannot say.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError

from dispatcher.errors import Exit, Misconfigured, PermanentError, reason_of
from dispatcher.model.times import is_rfc3339
from dispatcher.provision.http import check_url


class BadParams(PermanentError):
    """The params, or the settings beside the formula, cannot be used."""

    exit_code = Exit.DATAERR


class Strict(BaseModel):
    """A record of params or settings: unknown keys and other types are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


def _time(text: str) -> str:
    if not is_rfc3339(text):
        raise ValueError("it is not a time such as 2026-03-01T12:00:00Z")
    return text


Time = Annotated[str, AfterValidator(_time)]
"""A point in time, RFC 3339."""

Url = Annotated[str, AfterValidator(check_url)]
"""The address of an API."""

_R = TypeVar("_R", bound=Strict)


def read_params(record: type[_R], environ: Mapping[str, str]) -> _R:
    """The params of this run.

    Raises:
        BadParams: they cannot be used; names each.
    """
    return read_record(record, environ.get("DISINTO_PARAMS", "{}"), "[params]")


def read_settings(record: type[_R], environ: Mapping[str, str], file: str) -> _R:
    """The settings in a file of the formula; without the file, what the record has as defaults.

    Raises:
        BadParams: they cannot be used; names each.
    """
    directory = path_of(environ, "DISINTO_FILES")
    data = read_beside(directory / file) if directory else None
    text = b"{}" if data is None else data
    return read_record(record, text, file, remedy=f"Correct {file}, beside the formulas.")


def read_beside(file: Path) -> bytes | None:
    """A file beside the formulas; None if there is none.

    Raises:
        BadParams: it cannot be read.
    """
    try:
        return file.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise BadParams(
            f"{file.name}: it cannot be read: {reason_of(error)}",
            remedy=f"Make {file.name}, beside the formulas, a file that runs can read.",
        ) from None


def read_record(
    record: type[_R], text: str | bytes, where: str, *, remedy: str | None = None
) -> _R:
    """A record from JSON.

    Raises:
        BadParams: see above; ``where`` begins its text.
    """
    try:
        # As JSON, so that a list can become a tuple although nothing else is converted.
        return record.model_validate_json(text)
    except ValidationError as error:
        problems = "; ".join(_problem(each) for each in error.errors(include_input=False))
        raise BadParams(f"{where}: {problems}", remedy=remedy) from None


def _problem(error: Mapping[str, object]) -> str:
    place = error["loc"]
    name = ".".join(str(part) for part in place) if isinstance(place, tuple) else ""
    text = str(error["msg"]).removeprefix("Value error, ")
    return f"{name}: {text}" if name else text


def required(environ: Mapping[str, str], name: str, remedy: str) -> str:
    """A variable that the run must have.

    Raises:
        Misconfigured: it is missing or empty.
    """
    value = environ.get(name, "")
    if not value:
        raise Misconfigured(f"{name} is not set", remedy=remedy)
    return value


def path_of(environ: Mapping[str, str], name: str) -> Path | None:
    """A file or directory that the runner may name."""
    return Path(environ[name]) if environ.get(name) else None
