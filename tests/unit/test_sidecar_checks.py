"""``disinto doctor`` about sidecars."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

import pytest

from dispatcher.decide.policy import Policy
from dispatcher.devservers.issue_forge import IssueForge
from dispatcher.errors import DisintoError
from dispatcher.model.checks import Check
from dispatcher.model.run import Tier
from dispatcher.operate.sidecar_checks import check_sidecars
from dispatcher.settings import Settings
from dispatcher.settings.jobs import JobClassSettings
from tests.support.issue_place import reads_of

RULES = """
[projects.app]
repository = "own/app"
bot = "reader"
[rules.triage]
formula = "triage"
labels = ["bug"]
"""


FILES = {"formulas": ["triage.sh", "triage.schema.json", "ask.toml"], "projects": ["app.toml"]}
CLASS = JobClassSettings(mounts=(), meta=())


def settings_with(tmp_path: Path, text: str, job_class: str = "sidecar") -> Settings:
    file = tmp_path / "sidecars.toml"
    file.write_text(text)
    settings = Settings()
    formulas = settings.formulas.model_copy(update={"classes": {"triage": job_class}})
    sidecars = settings.sidecars.model_copy(update={"file": file})
    jobs = {"sidecar": CLASS}
    return settings.model_copy(update={"sidecars": sidecars, "formulas": formulas, "jobs": jobs})


def checks(
    settings: Settings,
    policy: Policy,
    *,
    reader: str = "own",
    files: Mapping[str, Collection[str]] = FILES,
) -> list[Check]:
    forge = IssueForge()
    forge.repository("own/app")
    return list(
        check_sidecars(
            settings,
            policy,
            lambda name: reads_of(forge, name, reader),
            lambda folder: files.get(folder, ()),
        )
    )


def test_all_is_well(tmp_path: Path) -> None:
    made = checks(settings_with(tmp_path, RULES), Policy(tiers={"triage": Tier.LOW}))
    assert [(c.name, c.ok, c.warning) for c in made] == [
        ("sidecars", True, False),
        ("sidecars: app", True, False),
    ]


def test_a_formula_that_is_not_low(tmp_path: Path) -> None:
    made = checks(settings_with(tmp_path, RULES), Policy())
    (check,) = [c for c in made if c.name == "sidecars: triage on app"]
    assert check.warning
    assert "waits for approval at tier high" in check.detail


def test_a_token_that_may_not_ask_for_rights(tmp_path: Path) -> None:
    settings = settings_with(tmp_path, RULES)
    made = checks(settings, Policy(tiers={"triage": Tier.LOW}), reader="strange")
    (check,) = [c for c in made if c.name == "sidecars: app"]
    assert not check.ok
    assert "403" in check.detail


def test_none_and_invalid(tmp_path: Path) -> None:
    assert checks(Settings(), Policy()) == []
    with pytest.raises(DisintoError):
        checks(settings_with(tmp_path, "[rules.x]\n"), Policy())
    (check,) = checks(settings_with(tmp_path, ""), Policy())
    assert check.warning


LOW = Policy(tiers={"triage": Tier.LOW})


@pytest.mark.parametrize(
    ("formula", "words", "remedy"),
    [
        ("triag", "there is no formula triag", 'mean "triage"'),
        ("ask", "no agent command is configured", "[agent] command"),
    ],
)
def test_a_formula_that_cannot_run(tmp_path: Path, formula: str, words: str, remedy: str) -> None:
    text = RULES.replace('formula = "triage"', f'formula = "{formula}"')
    made = checks(settings_with(tmp_path, text), LOW)
    (check,) = [c for c in made if c.name == "sidecars: rule triage"]
    assert not check.ok
    assert words in check.detail
    assert remedy in check.remedy


def test_a_formula_of_the_operators_directory(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "triage.toml").write_text("")
    settings = settings_with(tmp_path, RULES)
    settings = settings.model_copy(
        update={
            "formulas": settings.formulas.model_copy(update={"path": folder}),
            "agent": settings.agent.model_copy(update={"command": ("agent",)}),
        }
    )
    made = checks(settings, LOW, files={"projects": ["app.toml"]})
    assert [c.name for c in made if not c.ok or c.warning] == []


def test_a_formula_that_gets_no_token(tmp_path: Path) -> None:
    made = checks(settings_with(tmp_path, RULES, job_class="runner"), LOW)
    (check,) = [c for c in made if c.warning]
    assert (check.name, "no bot's token" in check.detail) == ("sidecars: rule triage", True)


def test_a_project_without_a_description(tmp_path: Path) -> None:
    files = {"formulas": FILES["formulas"], "projects": ["ap.toml"]}
    (check,) = [c for c in checks(settings_with(tmp_path, RULES), LOW, files=files) if c.warning]
    assert "projects/app.toml, which describes the project" in check.detail
