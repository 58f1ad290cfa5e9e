"""Releases that go wrong, as commits of the application in ``release_services``: for real processes, and
for systemd.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from dispatcher.release.outcome import Outcome
from tests.support.release_services import BAD_MIGRATION, SECOND_MIGRATION

LIB_2 = {"backend/requirements.txt": "shoplib==2\n", "worker/requirements.txt": "shoplib==2\n"}


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """A commit on top of one that is deployed and healthy.

    Attributes:
        name: of the scenario.
        files: relative path and text of what the commit changes.
        outcome: of its deploy.
        message: what the outcome's message contains.
        restarts: whether the backend is another process afterwards.
        columns: of the database afterwards.
    """

    name: str
    files: Mapping[str, str]
    outcome: Outcome
    message: str = ""
    restarts: bool = False
    columns: tuple[str, ...] = ("name",)


SCENARIOS = (
    Scenario(name="good", files=LIB_2, outcome=Outcome.DEPLOYED, restarts=True),
    Scenario(
        name="good migration",
        files={**LIB_2, "backend/migrations/0002.price.py": SECOND_MIGRATION},
        outcome=Outcome.DEPLOYED,
        restarts=True,
        columns=("name", "price"),
    ),
    Scenario(
        name="bad dependency",
        files={"backend/requirements.txt": "shoplib==9\n"},
        outcome=Outcome.ROLLED_BACK,
        message="dependencies: ",
    ),
    Scenario(
        name="failing migration",
        files={**LIB_2, "backend/migrations/0002.price.py": BAD_MIGRATION},
        outcome=Outcome.ROLLED_BACK,
        message="migrations: ",
    ),
    Scenario(
        name="failing smoke test",
        files={**LIB_2, "backend/smoke.py": "raise SystemExit('it smokes')\n"},
        outcome=Outcome.ROLLED_BACK,
        message="it smokes",
    ),
    Scenario(
        name="unhealthy",
        files={**LIB_2, "backend/broken": "yes\n"},
        outcome=Outcome.ROLLED_BACK,
        message="status 503",
        restarts=True,
    ),
    Scenario(
        name="does not start",
        files={**LIB_2, "worker/jobs.py": "raise SystemExit(1)\n"},
        outcome=Outcome.ROLLED_BACK,
        message="health: ",
        restarts=True,
    ),
)
"""Every one ends with both services healthy, on the new commit or on the one before."""
