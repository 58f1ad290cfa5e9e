"""Renders the reference of release.toml from its models, for docs/releases.md."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from dispatcher.release.outcome import Outcome
from dispatcher.release.settings import (
    Health,
    Migrations,
    ReleaseSettings,
    Service,
    Smoke,
    Webhook,
)
from dispatcher.toml.explain import toml_value

TABLES: tuple[tuple[str, type[BaseModel]], ...] = (
    ("the top of the file", ReleaseSettings),
    ("[services.NAME]", Service),
    ("[migrations]", Migrations),
    ("[smoke]", Smoke),
    ("[health]", Health),
    ("[webhook]", Webhook),
)
"""Title and model of each table of the file."""

_OF_THEIR_OWN = {name.strip("[]").partition(".")[0] for name, _ in TABLES}


def reference() -> str:
    """Markdown: every key, table by table."""
    return "\n".join(["", *(line for title, model in TABLES for line in _table(title, model)), ""])


def _table(title: str, model: type[BaseModel]) -> Iterator[str]:
    meant = " ".join((model.__doc__ or "").split())
    yield f"### `{title}`" if title.startswith("[") else f"### {title.capitalize()}"
    yield from ("", meant, "", "| key | default | meaning |", "|---|---|---|")
    for name, field in model.model_fields.items():
        if model is ReleaseSettings and name in _OF_THEIR_OWN:
            continue
        default = "required" if field.is_required() else _shown(field.default)
        meaning = (field.description or "").replace("|", "\\|")
        example = ""
        if field.examples:
            example = f" Such as `{toml_value(field.examples[0])}`."
        yield f"| `{name}` | {default} | {meaning}{example} |"
    yield ""


def _shown(default: object) -> str:
    if default in (None, PydanticUndefined, ()):
        return "none"
    return f"`{toml_value(default)}`"


def outcomes() -> str:
    """Markdown: how a deploy can end, with the exit codes."""
    rows = [f"| `{each}` | {int(each.exit_code)} | {each.meaning} |" for each in Outcome]
    return "\n".join(["", "| outcome | exit code | |", "|---|---|---|", *rows, "", ""])
