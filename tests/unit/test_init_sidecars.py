"""``disinto init --with sidecars``: what is written is complete, and what remains is in its text."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner

from dispatcher.cli.root import root
from dispatcher.decide.policy import load_policy
from dispatcher.decide.project_bots import with_project_bots
from dispatcher.decide.sidecar_rules import load_sidecars
from dispatcher.devservers.issue_forge import IssueForge
from dispatcher.operate.scaffold import scaffold
from dispatcher.operate.sidecar_checks import check_sidecars
from dispatcher.schemas import parse_schema
from dispatcher.schemas.formula_schema import FormulaSchema
from dispatcher.settings import Settings, load_settings
from tests.support.issue_place import reads_of

pytestmark = pytest.mark.needs("git")
FORMULAS = ("reproduce", "triage", "verify")


def edit(file: Path, *changes: tuple[str, str]) -> None:
    text = file.read_text()
    for line, instead in changes:
        assert text.count(f"\n{line}") == 1, line
        text = text.replace(f"\n{line}", f"\n{instead}")
    file.write_text(text)


def as_told(folder: Path) -> Settings:
    """Steps 1 and 2 of the text."""
    edit(
        folder / "disinto.toml",
        ('#url = ""', 'url = "https://forge.example"'),
        ("#file =", "file ="),
        ('#command = ["./agent', 'command = ["./agent'),
    )
    edit(
        folder / "sidecars.toml",
        ("#[projects.app]", "[projects.app]"),
        ('#repository = "acme/app"', 'repository = "own/app"'),
        ("#bot =", "bot ="),
    )
    settings = load_settings(folder / "disinto.toml", {})
    return with_project_bots(settings, load_sidecars(settings.sidecars.file))


def test_what_it_writes_is_complete(tmp_path: Path) -> None:
    made = scaffold(tmp_path / "here", sidecars=True)
    load_settings(made.folder / "disinto.toml", {})  # as it is, it works for everything else
    settings = as_told(made.folder)
    for name in FORMULAS:
        assert settings.formulas.classes[name] == "sidecar"
        text = (made.folder / "formulas" / f"{name}.toml").read_text()
        assert "gave_up" in tomllib.loads(text)["outcomes"]
        schema = (made.folder / "formulas" / f"{name}.schema.json").read_bytes()
        assert isinstance(parse_schema(schema, name=name), FormulaSchema)
    assert Path(settings.agent.command[0]).stat().st_mode & 0o100
    described = tomllib.loads((made.work_tree / "projects" / "app.toml").read_text())
    assert described["clone"] == "app.git"
    forge = IssueForge()
    forge.repository("own/app")
    policy = load_policy(settings.policy.file)
    made_checks = list(
        check_sidecars(
            settings,
            policy,
            lambda name: reads_of(forge, name, "own"),
            lambda folder: [path.name for path in (made.work_tree / folder).iterdir()],
        )
    )
    assert [c for c in made_checks if not c.ok or c.remedy] == []
    assert set(made.written) >= {
        "sidecars.toml", "formulas/verify.toml", "formulas/verify.schema.json",
        "mounts/project-repos/", "mounts/agent-data/", "agent/issue-agent",
    }  # fmt: skip


def test_the_mounts_of_the_class_are_there(tmp_path: Path) -> None:
    from dispatcher.engines.local.checks import check_local

    made = scaffold(tmp_path / "here", sidecars=True)
    checks = check_local(as_told(made.folder))
    mounts = {check.name: check.ok for check in checks if check.name.startswith("local: mount")}
    names = ("project-repos", "ops-repo", "agent-data")
    assert mounts == {f"local: mount {name}": True for name in names}


def test_its_text_names_what_remains(tmp_path: Path) -> None:
    said = CliRunner().invoke(root, ["init", str(tmp_path / "here"), "--with", "sidecars"])
    assert said.exit_code == 0, said.output
    for words in (
        "[forge] url", "[sidecars] file", "[agent] command", "[projects.app]",
        "ops/projects/app.toml", "mounts/project-repos/app.git", "DISINTO_SIDECAR_TOKEN",
        "DISINTO_SIDECAR_REPORT_TOKEN", "secrets put --bot app-reader", "disinto apply",
    ):  # fmt: skip
        assert words in said.output


def test_without_sidecars_nothing_of_it(tmp_path: Path) -> None:
    plain = scaffold(tmp_path / "plain")
    assert not [name for name in plain.written if "sidecar" in name or "triage" in name]
    assert "triage" not in (plain.folder / "policy.toml").read_text()
    assert not (plain.work_tree / "projects").exists()
