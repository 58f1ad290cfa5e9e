"""The model of the whole file: the dispatcher's own sections, and one per installed engine.

The engines are known only when the settings are read, because other packages can provide them; so this
model is created then, and ``Settings`` is its fixed part.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, TypeAdapter, create_model

from dispatcher.engines import registry
from dispatcher.settings.models import Settings
from dispatcher.settings.section import EngineSection, Section
from dispatcher.settings_file import CUSTOMARY
from dispatcher.toml.explain import Reader, one_of
from dispatcher.toml.source import KeyPath

Sections = tuple[tuple[str, type[EngineSection]], ...]


def settings_model() -> type[Settings]:
    """The model of ``disinto.toml`` with the sections of all engines.

    Raises:
        Misconfigured: see ``registry.get``.
    """
    return _model(_sections())


def settings_reader() -> Reader[Settings]:
    """Reads ``disinto.toml``.

    Raises:
        Misconfigured: see ``registry.get``.
    """
    return _reader(_sections())


def engine_sections(settings: Settings) -> Iterator[tuple[str, EngineSection]]:
    """The section of each engine by its name, also of those that are not in use."""
    for name, model in _sections():
        yield name, settings.section(model)


def credential_files(settings: Settings) -> tuple[Path, ...]:
    """The files that hold a credential, as the settings name them, present or not."""
    values = (getattr(settings, name) for name in Settings.model_fields)
    sections = [value for value in values if isinstance(value, Section)]
    sections += [*settings.notify, *(section for _, section in engine_sections(settings))]
    return tuple(path for section in sections for path in section.credential_files())


def customary_variables() -> Mapping[str, KeyPath]:
    """Variables of other programs that override a key, and the key."""
    of_engines = {
        variable: (name, key)
        for name, model in _sections()
        for variable, key in model.CUSTOMARY.items()
    }
    return {**CUSTOMARY, **of_engines}


def _sections() -> Sections:
    return tuple((name, registry.get(name).section) for name in registry.names())


@lru_cache(maxsize=8)
def _model(sections: Sections) -> type[Settings]:
    names = tuple(name for name, _ in sections)
    fields: dict[str, Any] = {name: (model, model()) for name, model in sections}
    which = Field(
        default=Settings.model_fields["scheduler"].default,
        description=f"The engine, where runs execute: {one_of(names)}.",
    )
    # mypy takes no names that are known only now
    choice: Any = Literal[names]
    return create_model(
        "Settings", __base__=Settings, __doc__=Settings.__doc__, scheduler=(choice, which), **fields
    )


@lru_cache(maxsize=8)
def _reader(sections: Sections) -> Reader[Settings]:
    return Reader(
        adapter=TypeAdapter(_model(sections)), subject="the settings", unknown_key=_unknown_key
    )


def _unknown_key(path: KeyPath) -> str | None:
    """The remedy for an unknown key that is a secret, or that belongs to another section."""
    reader = settings_reader()
    name = str(path[-1])
    section = reader.expected(path[:-1]).get("properties", {})
    if name.endswith(_SECRET_ENDINGS):
        ways = [key for key in section if key.endswith(("_env", "_file", "_secret"))]
        instead = f": {', '.join(ways)}" if ways else ""
        return f"Secrets do not belong in this file; name where one is stored{instead}"
    homes = [
        f"[{key}]" if key else "the top of the file"
        for key in ("", *reader.schema["properties"])
        if name in reader.expected((key,) if key else ()).get("properties", {})
        and (key or reader.expected((name,)).get("type") != "object")  # a section is no key
    ]
    return f"It belongs to {' or '.join(homes)}" if homes else None


_SECRET_ENDINGS = ("token", "password", "secret", "secret_id", "api_key", "private_key")
