"""``disinto doctor`` where a component cannot even be opened: that is a failed check, and the others follow."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from dispatcher.assembly import doctor_openers
from dispatcher.model.checks import Check
from dispatcher.operate.doctor import diagnose
from dispatcher.settings import settings_model

NO_SERVER = "http://127.0.0.1:1"


def checks(
    tmp_path: Path, sections: Mapping[str, Mapping[str, str]], *, read_only: bool
) -> dict[str, Check]:
    given = {"state_dir": str(tmp_path), **sections}
    given["vault"] = {"addr": NO_SERVER, **sections.get("vault", {})}
    settings = settings_model().model_validate(given)
    openers = doctor_openers(settings, {})
    return {each.name: each for each in diagnose(settings, openers, {}, read_only=read_only)}


@pytest.mark.parametrize("read_only", [False, True], ids=["command", "page"])
@pytest.mark.parametrize(
    ("sections", "name", "detail", "remedy"),
    [
        ({"vault": {"cacert": "/nowhere.pem"}}, "vault", "/nowhere.pem", "[vault] cacert"),
        ({"ops_repo": {"remote": "ftp://x/y"}}, "ops repo", "[ops_repo] remote", "https://"),
        ({}, "ops repo", "no remote is configured", "[ops_repo] remote"),
    ],
    ids=["no CA file", "unknown transport", "no remote"],
)
def test_what_cannot_be_opened_fails_a_check_with_its_setting_and_remedy(
    tmp_path: Path,
    sections: Mapping[str, Mapping[str, str]],
    name: str,
    detail: str,
    remedy: str,
    read_only: bool,
) -> None:
    found = checks(tmp_path, sections, read_only=read_only)
    check = found[name]
    assert not check.ok
    assert detail in check.detail
    assert remedy in check.remedy
    assert "webhook" in found, "which is one of the last"


def test_without_vault_the_ops_repo_is_checked_all_the_same(tmp_path: Path) -> None:
    nowhere = str(tmp_path / "nowhere.git")
    sections = {"vault": {"cacert": "/nowhere.pem"}, "ops_repo": {"remote": nowhere}}
    found = checks(tmp_path, sections, read_only=False)
    assert nowhere in found["ops repo"].detail


def test_a_state_directory_that_cannot_be_reached_fails_a_check(tmp_path: Path) -> None:
    """As below a directory of another user; here the name is too long."""
    found = checks(tmp_path / ("x" * 300), {}, read_only=False)
    check = found["state directory"]
    assert not check.ok
    assert "x cannot be reached: " in check.detail
    assert "state_dir" in check.remedy
    assert not found["ledger"].ok
    assert "webhook" in found
