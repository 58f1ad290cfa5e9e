"""Each example in TOML that a page shows is valid as what it is an example of."""

from __future__ import annotations

import functools
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import tomli_w

from dispatcher.decide.policy import parse_policy
from dispatcher.decide.sidecar_rules import parse_sidecars
from dispatcher.errors import Problem
from dispatcher.model.action import Action, InvalidAction, parse_action
from dispatcher.model.cancel_request import CancelRequest, parse_cancel_request
from dispatcher.model.schedule import InvalidSchedule, parse_schedule
from dispatcher.operate.schema import schema
from dispatcher.release.settings import READER, ReleaseSettings
from dispatcher.settings.whole import settings_reader
from dispatcher.sources.schedules import KIND, Defined, wanted_of
from dispatcher.sources.text import parsed
from dispatcher.toml.source import TomlSource

ROOT = Path(__file__).parents[2]
PAGES = sorted([*(ROOT / "docs").rglob("*.md"), ROOT / "README.md"])
BLOCK = re.compile(r"^```toml\n(.*?)^```$", re.MULTILINE | re.DOTALL)

Judge = Callable[[str], object]
"""Raises, or returns problems, for what is invalid."""


def examples() -> Iterator[tuple[str, str]]:
    for page in PAGES:
        for number, block in enumerate(BLOCK.findall(page.read_text(encoding="utf-8")), 1):
            yield f"{page.relative_to(ROOT)}#{number}", block


def schedule(text: str) -> object:
    made = parse_schedule(text.encode(), path="example.toml", name="example")
    if isinstance(made, InvalidSchedule):
        return made.problems
    defined = Defined(name="example", path="example.toml", blob="0" * 40, schedule=made)
    return action_problems(parsed(KIND, wanted_of(defined, 0.0)))


def action(text: str) -> object:
    """An excerpt is completed by the keys that each action needs."""
    data = tomllib.loads(text)
    whole = {"id": "example", "formula": "hello", "context": "", "secrets": [], **data}
    completed = text if whole.keys() == data.keys() else tomli_w.dumps(whole)
    return action_problems(parse_action(completed.encode(), path="example.toml", stem=whole["id"]))


def action_problems(made: Action | InvalidAction) -> object:
    return made.problems if isinstance(made, InvalidAction) else ()


def settings(text: str) -> object:
    source = TomlSource.parse(text.encode(), path="disinto.toml")
    read = settings_reader().read(source.data, source.problem)
    return [p for p in read if isinstance(p, Problem)] if isinstance(read, tuple) else ()


def cancel(text: str) -> object:
    name = tomllib.loads(text)["id"]
    made = parse_cancel_request(text.encode(), path="example.cancel.toml", action_id=name)
    return () if isinstance(made, CancelRequest) else made


def release(text: str) -> object:
    source = TomlSource.parse(text.encode(), path="release.toml")
    read = source.problems or READER.read(source.data, source.problem)
    return () if isinstance(read, ReleaseSettings) else read


JUDGES: Mapping[str, Judge] = {
    "release": release,
    "schedule": schedule,
    "action": action,
    "sidecars": lambda text: parse_sidecars(text.encode(), path="sidecars.toml") and (),
    "policy": lambda text: parse_policy(text.encode(), path="policy.toml") and (),
    "settings": settings,
    "cancel": cancel,
}


@functools.cache
def keys_of(kind: str) -> frozenset[str]:
    return frozenset(schema(kind)["properties"])


def kinds(data: Mapping[str, Any]) -> Iterator[str]:
    """What an excerpt may be of, by its keys."""
    if data.keys() == {"id", "blob", "reason"}:
        yield "cancel"
        return
    if {"app", "remote"} <= data.keys():
        yield "release"
        return
    for kind in ("schedule", "action", "sidecars", "policy", "settings"):
        if data and data.keys() <= keys_of(kind):
            yield kind


@pytest.mark.parametrize(("where", "text"), list(examples()), ids=[name for name, _ in examples()])
def test_an_example_is_valid(where: str, text: str) -> None:
    found = list(kinds(tomllib.loads(text)))
    assert found, f"{where}: no kind of file has these keys"
    problems = {}
    for kind in found:
        try:
            problems[kind] = JUDGES[kind](text)
        except Exception as error:  # noqa: BLE001 - shown below
            problems[kind] = error
    assert () in problems.values(), problems


def test_there_are_examples_of_every_kind() -> None:
    found = {next(kinds(tomllib.loads(text)), "") for _, text in examples()}
    assert found >= {"schedule", "action", "policy", "settings"}
