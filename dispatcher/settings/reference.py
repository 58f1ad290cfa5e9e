"""Renders the reference of the settings from their models.

``python -m dispatcher.settings.reference`` writes ``docs/reference-settings.md``; with ``--check``
it only reports whether the file is current. ``make docs`` calls it, a test checks it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

from pydantic import BaseModel

from dispatcher.settings.jobs import JobClassSettings
from dispatcher.settings.notify import NotifySettings
from dispatcher.settings.whole import customary_variables, settings_model, settings_reader
from dispatcher.settings_file import ENV_PREFIX
from dispatcher.toml.explain import Schema, schema_at, toml_value
from dispatcher.toml.source import KeyPath

FILE = Path(__file__).resolve().parents[2] / "docs" / "reference-settings.md"

HEAD = """\
# Reference: settings

Rendered from the settings' own definition by `make docs`. `disinto init` writes a `disinto.toml`
that holds every key with its default as a comment; `disinto schema settings` prints a JSON Schema
for editors.

**Which file.** The one of `--config`; else of `DISINTO_CONFIG`; else `disinto.toml` in the current
directory or one above it; else `~/.config/disinto/disinto.toml` (`XDG_CONFIG_HOME` is honoured). A
file inside an ops repo is refused: anybody who may merge an action could change it. So are
`[policy] file`, `[formulas] path` and the files of `[signed]` inside the ops repo.

**Order.** Defaults, then the file, then the usual variables of other tools (`VAULT_ADDR`), then
disinto's own. The variable of a key is `DISINTO_` + section + `__` + key in capitals. In a variable, a
list is written with commas or as JSON, a table as JSON, a boolean as `true` or `false`; an empty
path counts as not set. A variable of this shape that names no setting is an error.

**Paths** in the file are relative to its directory; in a variable, to the current directory. `~` is
the home directory.

**Secrets** are never settings. `VAULT_TOKEN` and `NOMAD_TOKEN`, the variables that a `*_env` key
names, the files that a `*_file` key names, and the secrets in Vault that a `*_secret` key names are
read where they are used. A key such as `token` in the file is refused.
"""


def reference() -> str:
    """The text of ``docs/reference-settings.md``."""
    return "\n".join([HEAD, *_sections()])


def keys() -> Iterator[KeyPath]:
    """The path of every setting, in the order of the file."""
    for name, field in settings_model().model_fields.items():
        default = field.default
        if isinstance(default, BaseModel):
            yield from ((name, key) for key in type(default).model_fields)
        elif name not in TABLES:
            yield (name,)


TABLES: Mapping[str, type[BaseModel]] = {"jobs": JobClassSettings, "notify": NotifySettings}
"""Settings that are several tables, ``[[name]]`` or ``[name.NAME]``, by their name."""


def variable(path: KeyPath) -> str:
    """The environment variable that overrides a key."""
    return ENV_PREFIX + "__".join(map(str, path)).upper()


def _sections() -> Iterator[str]:
    top = [path for path in keys() if len(path) == 1]
    yield _section("## The top of the file", "Keys before the first section.", top)
    for name, field in settings_model().model_fields.items():
        if isinstance(field.default, BaseModel):
            meant = " ".join((type(field.default).__doc__ or "").split())
            inside = [path for path in keys() if path[0] == name and len(path) > 1]
            yield _section(f"## [{name}]", meant, inside)
    for name, model in TABLES.items():
        meant = " ".join((model.__doc__ or "").split())
        by_name = schema_at(settings_reader().schema, (name,)).get("type") == "object"
        title, form = (f"[{name}.NAME]", "object") if by_name else (f"[[{name}]]", "list")
        variables = f"{variable((name,))} overrides all of them with a JSON {form} of tables."
        inside = [(name, "NAME" if by_name else 0, key) for key in model.model_fields]
        yield _section(f"## {title}", f"{meant} {variables}", inside)


def _section(title: str, meant: str, paths: Sequence[KeyPath]) -> str:
    rows = "\n".join(map(_row, paths))
    return f"{title}\n\n{meant}\n\n| key | kind | default | meaning |\n|---|---|---|---|\n{rows}\n"


def _row(path: KeyPath) -> str:
    described = schema_at(settings_reader().schema, path)
    meaning = str(described.get("description", ""))
    customary = next(
        (name for name, overridden in customary_variables().items() if overridden == path), ""
    )
    if customary and customary not in meaning:
        meaning += f" {customary} overrides it."
    cells = (
        f"`{path[-1]}`",
        _kind(described),
        _default(path),
        meaning.replace("|", "\\|"),
    )
    return f"| {' | '.join(cells)} |"


def _kind(described: Schema) -> str:
    if described.get("enum"):
        return " or ".join(f"`{choice}`" for choice in described["enum"])
    if described.get("format") == "path":
        return "path"
    names: Mapping[str, str] = {
        "string": "text",
        "integer": "whole number",
        "number": "number",
        "boolean": "true or false",
        "array": "list",
        "object": "table",
    }
    text = names[str(described["type"])]
    for key, bound in (("exclusiveMinimum", "more than"), ("minimum", "at least")):
        if key in described:
            text += f", {bound} {described[key]:g}"
    if "maximum" in described:
        text += f", at most {described['maximum']:g}"
    return text


def _default(path: KeyPath) -> str:
    value: Any = None
    if path[0] in TABLES:
        field = TABLES[str(path[0])].model_fields[str(path[-1])]
        if field.is_required():
            return "required"
        value = field.get_default(call_default_factory=True)
    else:
        value = settings_model()()
        for part in path:
            value = getattr(value, str(part))
    if value is None or value in ("", ()) or value == {}:
        return "none"
    if isinstance(value, PurePath):
        value = str(value)
    return f"`{toml_value(value)}`"


def main(arguments: list[str]) -> int:
    """Write the file, or with ``--check`` report whether it is out of date."""
    text = reference()
    if FILE.is_file() and FILE.read_text(encoding="utf-8") == text:
        return 0
    check = "--check" in arguments
    if not check:
        FILE.write_text(text, encoding="utf-8")
    sys.stdout.write(f"{FILE.name}: {'out of date; run make docs' if check else 'written'}\n")
    return 1 if check else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
