"""What tests of the lead look at: the ref on the remote, and what a round says of it."""

from __future__ import annotations

from collections import Counter

from dispatcher.errors import Dependency
from dispatcher.loop.serve import Service
from tests.support.stage import Stage, eventually

LEAD = "refs/disinto/lead"


def lead(stage: Stage) -> str:
    """The ref's value on the remote, or ""."""
    return stage.scene.git("for-each-ref", "--format=%(objectname)", LEAD, cwd=stage.scene.remote)


def outage(stage: Stage) -> str:
    """What the last round says of the lead, or ""."""
    last = stage.watch.last
    known = last.outages.get(Dependency.LEAD) if last else None
    return known.error if known else ""


@eventually
def followed(service: Service, stage: Stage) -> None:
    """Wait until a record of this process stands, and each fetch looks whether it still does."""
    fetcher = service._components.repo._clone.fetcher
    assert fetcher._lead_ours == lead(stage) != ""
    assert not fetcher.lead_strayed


@eventually
def led(stage: Stage) -> None:
    """Wait until it leads."""
    assert stage.watch.last is not None
    assert stage.watch.last.head
    assert stage.components.leadership.report().ours
    assert not outage(stage)


@eventually
def refuses(stage: Stage, why: str = "another installation leads") -> None:
    """Wait until it says why it starts nothing."""
    assert why in outage(stage)


@eventually
def waits(stage: Stage, *action_ids: str) -> None:
    """Wait until these stand still."""
    assert stage.watch.last is not None
    assert set(action_ids) <= {w.action_id for w in stage.watch.last.plan.waits}


def starts(*stages: Stage) -> Counter[str]:
    """How often each action was started."""
    return Counter(s.key.action_id for stage in stages for s in stage.scheduler.submitted)
