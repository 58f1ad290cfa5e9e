"""Notices and sinks for tests."""

from __future__ import annotations

import json
from typing import Any

from dispatcher.model.notice import Condition, Notice
from dispatcher.model.result import Result, ResultFormula
from dispatcher.model.run import Tier
from dispatcher.model.verdicts import Verdict
from dispatcher.notify.conditions import Notices
from dispatcher.notify.text import Cleaner
from dispatcher.settings import NotifySettings

KEY = "a key of twenty bytes"
NOTICES = Notices(repository="acme/ops", cleaner=Cleaner(dict))


def sink(**keys: Any) -> NotifySettings:
    """A table ``[[notify]]``: a webhook for failures, with ``keys`` laid over."""
    base = {"name": "ops", "kind": "webhook", "on": ["failed"]}
    return NotifySettings.model_validate_json(json.dumps({**base, **keys}, default=str))


def notice(number: int = 1, **facts: Any) -> Notice:
    """A notice of a failure."""
    base = {
        "id": f"{number:032x}",
        "condition": Condition.FAILED,
        "at": 1_772_366_400.0,
        "repository": "acme/ops",
        "title": f"deploy-{number} failed with exit code 3",
        "detail": "the formula ended with 3",
        "action": f"deploy-{number}",
        "formula": "deploy",
        "tier": "high",
        "verdict": "failed",
        "exit_code": 3,
    }
    return Notice(**{**base, **facts})


def result(action_id: str = "deploy-1", verdict: Verdict = Verdict.FAILED, **facts: Any) -> Result:
    """A result."""
    base = {
        "id": action_id,
        "verdict": verdict,
        "exit_code": verdict.exit_code,
        "timestamp": "2026-03-01T12:00:00.000Z",
        "blob": "b" * 40,
        "formula": ResultFormula(name="deploy"),
        "tier": Tier.HIGH,
    }
    return Result(**{**base, **facts})
