"""The documentation speaks of what exists, and of all of it."""

from __future__ import annotations

import dataclasses
import importlib
import re
import tomllib
from collections.abc import Iterable
from pathlib import Path

import pytest
from pydantic import BaseModel

from dispatcher.cli.inventory import plain_entry
from dispatcher.cli.root import COMMANDS
from dispatcher.cli.status_screen import plain_overview
from dispatcher.errors import Dependency, Exit
from dispatcher.loop.inventory import InventoryEntry
from dispatcher.model.action import Action
from dispatcher.model.health import Health, WaitingFor
from dispatcher.model.mounts import Mount
from dispatcher.model.names import RESERVED_PREFIXES
from dispatcher.model.result import Result
from dispatcher.model.run import FormulaKind, FormulaRef, RunKey, RunSpec, Tier
from dispatcher.model.verdicts import Verdict
from dispatcher.operate.probe import Probed
from dispatcher.operate.schedules import Listed, Upcoming
from dispatcher.operate.sidecars import Row as SidecarRow
from dispatcher.runner.formula import Workspace, environment
from dispatcher.settings.environment import known_variables
from dispatcher.settings.reference import FILE, TABLES, keys, reference, variable
from dispatcher.settings.whole import settings_reader
from dispatcher.sources import SourceState
from dispatcher.status.metrics import Metrics
from dispatcher.status.overview import Overview
from dispatcher.toml.source import KeyPath

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(
    [*DOCS.rglob("*.md"), ROOT / "README.md", ROOT / "CHANGELOG.md", ROOT / "CONTRIBUTING.md"]
)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)
FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
ROW = re.compile(r"^\| (.*) \|$", re.MULTILINE)

UPCOMING = list(Upcoming(slot=0.0, begins="x").as_json())
"""Keys of a slot to come."""

every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def page(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


def rows(text: str) -> list[list[str]]:
    return [row.split(" | ") for row in ROW.findall(text)]


def anchors(text: str) -> set[str]:
    """As forges make them of headings."""
    titles = HEADING.findall(FENCE.sub("", text))
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@every_page
def test_links_lead_somewhere(page: Path) -> None:
    for link in LINK.findall(FENCE.sub("", page.read_text(encoding="utf-8"))):
        if "://" in link:
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.is_file(), f"{page.name}: {link}"
        if anchor:
            assert anchor in anchors(target.read_text(encoding="utf-8")), f"{page.name}: {link}"


@every_page
def test_no_page_names_a_place_of_one_machine(page: Path) -> None:
    found = re.search(
        r"/(work|root|opt/dev|opt/real|tmp/pytest)\b", page.read_text(encoding="utf-8")
    )
    assert found is None, found


@every_page
def test_commands_that_pages_name_exist(page: Path) -> None:
    """In code: ``disinto WORD`` where WORD can be a command."""
    code = re.findall(r"`+[^`]+`+", page.read_text(encoding="utf-8"))
    named = {name for part in code for name in re.findall(r"\bdisinto ([a-z]+)\b", part)}
    assert named <= {*COMMANDS, "help", "dispatcher"}, named


@every_page
def test_settings_that_pages_name_exist(page: Path) -> None:
    known = {(str(path[0]), str(path[-1])) for path in keys() if len(path) == 2}
    sections = {section for section, _ in known}
    text = page.read_text(encoding="utf-8")
    named = {n for n in re.findall(r"\[(\w+)\] ([a-z_]+)\b", text) if n[0] in sections}
    assert {n for n in named if "`" in text} <= known, named - known


def test_every_page_is_in_the_index() -> None:
    linked = set(LINK.findall(page("README.md")))
    assert {p.name for p in DOCS.glob("*.md")} - {"README.md"} <= linked


def test_the_reference_of_settings_is_current() -> None:
    assert FILE.read_text(encoding="utf-8") == reference(), "run make docs"


def heading(name: str) -> str:
    """Of settings that are several tables: a list of them, or one for each name."""
    described = settings_reader().schema["properties"][name]
    return f"[[{name}]]" if described["type"] == "array" else f"[{name}.NAME]"


def test_the_reference_names_every_setting_once_and_no_other() -> None:
    documented = []
    section = ""
    for line in page("reference-settings.md").splitlines():
        if line.startswith(tuple(f"## {heading(name)}" for name in TABLES)):
            break  # several tables of a kind come last; see below
        if title := re.match(r"## \[(\w+)\]", line):
            section = title[1]
        if key := re.match(r"\| `(\w+)` \|", line):
            documented.append((section, key[1]) if section else (key[1],))
    assert documented == list(keys())


@pytest.mark.parametrize(("name", "model"), TABLES.items())
def test_the_reference_names_every_key_of_a_list_of_tables(
    name: str, model: type[BaseModel]
) -> None:
    _, _, section = page("reference-settings.md").partition(f"## {heading(name)}")
    found = re.findall(r"^\| `(\w+)` \|", section.partition("\n## ")[0], re.MULTILINE)
    assert found == list(model.model_fields)


def test_the_variable_of_each_setting_is_the_one_that_is_read() -> None:
    paths: list[KeyPath] = [*keys(), *((name,) for name in TABLES)]
    assert {variable(path): path for path in paths} == known_variables(settings_reader().schema)


@pytest.mark.parametrize("verdict", Verdict)
def test_every_verdict_stands_with_its_exit_code(verdict: Verdict) -> None:
    text = page("actions.md")
    table = text[text.index("| verdict | meaning |") :]
    found = next(r for r in rows(table) if r[0] == f"`{verdict}`")
    expected = "the formula's own" if verdict is Verdict.FAILED else str(verdict.exit_code)
    assert found[2].startswith(expected)


@pytest.mark.parametrize("code", Exit)
def test_every_exit_code_is_explained(code: Exit) -> None:
    assert any(row[0] == str(int(code)) for row in rows(page("operations.md")))


def test_every_key_of_an_action_is_explained() -> None:
    first = [row[0].strip("`[]") for row in rows(page("actions.md"))]
    assert {f.name for f in dataclasses.fields(Action)} <= set(first)


def test_every_field_of_a_result_is_explained() -> None:
    named = {n for row in rows(page("actions.md")) for n in re.findall(r"`(\w+)`", row[0])}
    assert set(Result.model_fields) <= named


def test_every_variable_of_a_formula_is_explained() -> None:
    spec = RunSpec(
        key=RunKey(action_id="a", blob="b"),
        commit="c",
        tier=Tier.LOW,
        formula=FormulaRef(name="f", kind=FormulaKind.SHELL, blob="b", sha256="s"),
        files={"apps.json": b""},
        forge_url="https://forge.example",
    )
    first = {
        name
        for row in rows(page("actions.md"))
        for name in re.findall(r"`([A-Z_]+)`", row[0])
        if name == "PATH" or name in {"HOME", "LANG", "TMPDIR"} or name.startswith("DISINTO_")
    }
    assert first == set(environment(spec, Workspace(base="/b", home="/h"), {}))


def test_reserved_prefixes_are_named() -> None:
    assert all(f"`{prefix}`" in page("actions.md") for prefix in RESERVED_PREFIXES)


@pytest.mark.parametrize("mount", Mount)
def test_every_mount_stands_with_its_place(mount: Mount) -> None:
    found = next(r for r in rows(page("actions.md")) if r[0] == f"`{mount}`")
    assert found[1:3] == [
        f"`{mount.place}`",
        "read-only" if mount.read_only else "writable",
    ]


def test_every_metric_is_explained_and_no_other() -> None:
    metrics = Metrics()
    metrics.watch(
        lambda: Health(leader=True, beat_at=0.0, started_at=0.0),
        forge_calls=lambda: 0,
    )
    text = metrics.text().decode()
    kinds = dict(re.findall(r"^# TYPE (\w+) (\w+)$", text, re.MULTILINE))
    exported = {name for name in kinds if not name.endswith("_created")}
    documented = set(re.findall(r"`(disinto_[a-z_]+)", page("operations.md")))
    assert documented == exported


def test_reasons_of_waiting_and_dependencies_are_named() -> None:
    text = page("operations.md")
    assert all(f"`{word}`" in text for word in (*WaitingFor, *Dependency))


def test_terms_name_the_module_that_defines_them() -> None:
    named = re.findall(r"`((?:\w+\.)+)([A-Z]\w+)`", page("design.md").partition("## Layers")[0])
    assert len(named) > 5
    for module, name in named:
        defining = f"dispatcher.{module[:-1]}"
        assert getattr(importlib.import_module(defining), name).__module__ == defining


@pytest.mark.parametrize("name", ["docs/design.md", "CONTRIBUTING.md"])
def test_modules_that_a_page_names_exist(name: str) -> None:
    named = set(re.findall(r"`([\w/]+/\w+\.py)`", (ROOT / name).read_text(encoding="utf-8")))
    assert named
    assert not [
        p for p in named if not ((ROOT / p).is_file() or (ROOT / "dispatcher" / p).is_file())
    ]


def test_layers_are_those_that_are_checked() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    checked = project["tool"]["importlinter"]["contracts"][0]["layers"]
    section = page("design.md").partition("## Layers")[2].partition("\n## ")[0]
    documented = [set(re.findall(r"`(\w+)`", row[1])) for row in rows(section)[1:]]
    assert documented == [
        {name.removeprefix("dispatcher.") for name in layer.split(" | ")}
        for layer in reversed(checked)
    ]
    there = {p.stem for p in (ROOT / "dispatcher").glob("*") if p.suffix == ".py" or p.is_dir()}
    unlayered = {"__init__", "__pycache__", "runner"}
    assert set().union(*documented) == {name for name in there if name[0] != "."} - unlayered


def test_the_keys_of_status_are_explained_and_no_others() -> None:
    section = page("json.md").partition("## `status`")[2].partition("\n## ")[0]
    documented = [key for row in rows(section)[1:] for key in re.findall(r"`(\w+)`", row[0])]
    assert documented == list(plain_overview(Overview(at=1.0), (), role="author"))


@pytest.mark.parametrize(
    ("title", "printed"),
    [
        (
            "`schedule list`, `schedule next`",
            Listed(name="x", state=SourceState.ACTIVE).as_json(),
        ),
        ("`inventory`", plain_entry(InventoryEntry(kind="k", id="i", blob=""), {})),
        ("`sidecar plan`", list(SidecarRow.__dataclass_fields__)),
    ],
)
def test_the_keys_of_other_lists_are_explained_and_no_others(
    title: str, printed: Iterable[str]
) -> None:
    section = page("json.md").partition(f"## {title}\n")[2].partition("\n## ")[0]
    documented = [key for row in rows(section)[1:] for key in re.findall(r"`(\w+)`", row[0])]
    assert documented == list(printed)


@pytest.mark.parametrize(
    ("title", "key", "printed"),
    [
        ("`schedule list`, `schedule next`", "next", UPCOMING),
        ("`inventory`", "probes", list(Probed.__dataclass_fields__)),
    ],
)
def test_the_keys_inside_are_named(title: str, key: str, printed: list[str]) -> None:
    section = page("json.md").partition(f"## {title}\n")[2].partition("\n## ")[0]
    (explained,) = (row[1] for row in rows(section)[1:] if f"`{key}`" in row[0])
    assert [word for word in re.findall(r"`(\w+)`", explained) if word in printed] == printed


def test_the_states_of_a_schedule_and_ends_of_a_slot_are_named() -> None:
    section = page("json.md").partition("## `schedule list`")[2].partition("\n## ")[0]
    cells = {row[0]: row[1] for row in rows(section)[1:]}
    assert set(re.findall(r"`(\w+)`", cells["`state`"])) == set(SourceState)
    assert {"written", "overlap", "missed", "taken"} <= set(re.findall(r"`(\w+)`", cells["`last`"]))


def test_every_event_of_the_audit_log_is_explained() -> None:
    source = "".join(p.read_text(encoding="utf-8") for p in (ROOT / "dispatcher").rglob("*.py"))
    events = set(re.findall(r'audit(?:\.append)?\(\s*"(\w+)"', source)) | {"torn_end"}
    text = page("operations.md")
    table = text[text.index("| event |") : text.index("## Faults")]
    assert set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)) == events
