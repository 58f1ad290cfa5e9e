"""``disinto doctor`` about sidecars."""

from __future__ import annotations

from pathlib import Path

import pytest

from dispatcher.decide.policy import Policy
from dispatcher.devservers.issue_forge import IssueForge
from dispatcher.errors import DisintoError
from dispatcher.model.checks import Check
from dispatcher.model.run import Tier
from dispatcher.operate.scaffold import scaffold
from dispatcher.operate.sidecar_checks import check_sidecars
from dispatcher.settings import Settings, load_settings
from tests.support.issue_place import reads_of

RULES = """
[projects.app]
repository = "own/app"
bot = "reader"
[rules.triage]
formula = "triage"
labels = ["bug"]
"""


def settings_with(tmp_path: Path, text: str) -> Settings:
    file = tmp_path / "sidecars.toml"
    file.write_text(text)
    settings = Settings()
    return settings.model_copy(
        update={"sidecars": settings.sidecars.model_copy(update={"file": file})}
    )


def checks(settings: Settings, policy: Policy, *, reader: str = "own") -> list[Check]:
    forge = IssueForge()
    forge.repository("own/app")
    return list(check_sidecars(settings, policy, lambda name: reads_of(forge, name, reader)))


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


@pytest.mark.needs("git")
def test_init_with_sidecars(tmp_path: Path) -> None:
    made = scaffold(tmp_path / "here", sidecars=True)
    assert "sidecars.toml" in made.written
    file = made.folder / "disinto.toml"
    assert '#file = "sidecars.toml"' in file.read_text()
    load_settings(file, {})
    text = file.read_text().replace('#file = "sidecars.toml"', 'file = "sidecars.toml"')
    file.write_text(text.replace('#url = ""', 'url = "https://forge.example"', 1))
    assert load_settings(file, {}).sidecars.file == made.folder / "sidecars.toml"
    plain = scaffold(tmp_path / "plain")
    assert "sidecars.toml" not in plain.written
