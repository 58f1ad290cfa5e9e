"""Actions that name dynamic secrets, through the whole service up to the engine, and the commands."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.servers.bao import Bao
from tests.support.cli_process import disinto
from tests.support.stage import Stage, action, path, set_stage

pytestmark = pytest.mark.needs("bao")

SECTIONS = {
    "PROD_DB": {"path": "database/creds/app", "fields": {"DB_USER": "username"}},
    "TEST_DB": {"path": "database/creds/test", "fields": {"DB_USER": "username"}},
}


@pytest.fixture
def staged(bao_server: Bao, tmp_path: Path) -> Stage:
    return set_stage(tmp_path, bao_server, vault={"dynamic": SECTIONS})


def test_a_run_is_told_how_to_fetch_what_its_action_names(staged: Stage) -> None:
    staged.scene.merge({path("a"): action("a", secrets='"PROD_DB", "TOKEN_A"')}, "Add a")
    staged.once()
    (spec,) = staged.scheduler.submitted
    assert spec.secrets == ("PROD_DB", "TOKEN_A")
    assert [(s.name, s.path, dict(s.fields)) for s in spec.dynamic] == [
        ("PROD_DB", "database/creds/app", {"DB_USER": "username"})
    ]


def test_two_secrets_of_one_variable_are_invalid_everywhere(staged: Stage) -> None:
    both = action("both", secrets='"PROD_DB", "TEST_DB"')
    file = staged.scene.root / "both.toml"
    file.write_text(both)
    said = disinto(
        "validate", str(file), "--config", str(staged.scene.config), env=staged.scene.environ
    )
    expected = "TEST_DB becomes the variable DB_USER, and so does PROD_DB"
    assert said.code != 0
    assert expected in said.out + said.err

    staged.scene.merge({path("both"): both}, "Add both")
    staged.once()
    result = staged.result("both")
    assert result["verdict"] == "invalid"
    assert f"{path('both')}:4:23: {expected}" in str(result["error"])


def test_the_listing_for_people_and_programs(staged: Stage) -> None:
    words = ("secrets", "list", "--config", str(staged.scene.config))
    shown = disinto(*words, env=staged.scene.operator).out
    assert "dynamic: database/creds/app becomes DB_USER" in shown
    listed = disinto(*words, "--json", env=staged.scene.operator).json
    assert [(s["name"], s["path"], s["variables"]) for s in listed] == [
        ("PROD_DB", "database/creds/app", ["DB_USER"]),
        ("TEST_DB", "database/creds/test", ["DB_USER"]),
        ("TOKEN_A", "", ["TOKEN_A"]),
    ]
