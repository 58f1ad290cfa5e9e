"""``disinto doctor`` about the agent's files under the local engine: formulas must be able to see them."""

from __future__ import annotations

from pathlib import Path

import pytest

from dispatcher.engines.local.checks import check_local
from dispatcher.model.checks import Check
from dispatcher.settings import Settings

pytestmark = pytest.mark.needs("bwrap")


def about_agent(tmp_path: Path, *command: str) -> list[Check]:
    settings = Settings(state_dir=tmp_path / "state")
    agent = settings.agent.model_copy(update={"command": command})
    checks = check_local(settings.model_copy(update={"agent": agent}))
    return [check for check in checks if check.name == "local: agent"]


def test_an_agent_in_the_home_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    for name in ("hidden", "shown"):
        program = (home if name == "hidden" else tmp_path) / name
        program.write_text("")
        program.chmod(0o755)
    hidden, shown = str(home / "hidden"), str(tmp_path / "shown")
    for command in ([hidden], [shown, "--", hidden]):
        (check,) = about_agent(tmp_path, *command)
        assert not check.ok
        assert f"{hidden}, which is hidden from formulas" in check.detail
    assert about_agent(tmp_path, shown, "--", shown, "{model}") == []
    assert about_agent(tmp_path) == []
