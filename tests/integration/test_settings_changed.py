"""``disinto.toml`` that is changed while ``serve`` runs: log, ``status`` and ``doctor`` say what of it."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers.bao import Bao
from tests.support.cli_process import Said, disinto
from tests.support.serving import Served
from tests.support.stage import Stage, eventually, set_stage

pytestmark = pytest.mark.needs("bao")


@pytest.fixture
def stage(bao_server: Bao, tmp_path: Path) -> Stage:
    return set_stage(tmp_path, bao_server)


@pytest.fixture
def served(stage: Stage) -> Iterator[Served]:
    served = Served(stage.scene)
    try:
        served.until("leading")
        yield served
    finally:
        served.end()


def said(stage: Stage, *words: str) -> Said:
    return disinto("--config", str(stage.scene.config), *words, env=stage.scene.environ)


@eventually
def warned(stage: Stage, *texts: str) -> None:
    warnings = said(stage, "status", "--json").json["warnings"]
    assert any(all(text in warning for text in texts) for warning in warnings), warnings


def checks(stage: Stage) -> dict[str, dict[str, object]]:
    return {check["name"]: check for check in said(stage, "doctor", "--json").json["checks"]}


def test_a_change_waits_for_a_restart_and_an_error_would_prevent_it(
    stage: Stage, served: Served
) -> None:
    file = stage.scene.config
    text = file.read_text()
    assert "serve: settings in force" not in checks(stage)

    file.write_text(text.replace("max_in_flight = 3", "max_in_flight = 4"))
    served.process.send_signal(signal.SIGHUP)
    served.until("restart_needed")
    warned(stage, "[limits] max_in_flight", "takes effect at the next restart")
    check = checks(stage)["serve: settings in force"]
    assert check["ok"]
    assert "restarted" in str(check["detail"])
    assert not served.events("reload_failed")

    file.write_text(f"{text}\nnonsense = 1\n")
    line = len(text.splitlines()) + 2
    served.process.send_signal(signal.SIGHUP)
    served.until("reload_failed")
    (failed,) = served.events("reload_failed")
    assert f"{file}:{line}" in failed["error"]
    assert "would keep 'disinto serve' from starting" in failed["error"]
    assert f"{file}:{line}" in str(checks(stage)["settings"]["detail"])

    file.write_text(f"{text}\n# a comment\n")
    served.process.send_signal(signal.SIGHUP)

    @eventually
    def in_force() -> None:
        assert not any(str(file) in w for w in said(stage, "status", "--json").json["warnings"])
        assert "serve: settings in force" not in checks(stage)

    in_force()
    assert not served.events("policy_reloaded")
