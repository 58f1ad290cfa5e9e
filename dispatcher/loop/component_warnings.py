"""Warnings about settings, engine and clone that work, but deserve a person's attention."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from dispatcher.engines import registry
from dispatcher.engines.job_classes import class_warnings
from dispatcher.settings import plain_addresses

if TYPE_CHECKING:
    from dispatcher.engines.base import Scheduler
    from dispatcher.loop.output_keeping import Outputs
    from dispatcher.ops_repo import OpsRepo
    from dispatcher.settings import Settings


def component_warnings(
    settings: Settings, scheduler: Scheduler, repo: OpsRepo, outputs: Outputs
) -> Callable[[], tuple[str, ...]]:
    """Returns the present warnings at each call, without I/O."""
    plain = tuple(f"{each.warning}. {each.remedy}" for each in plain_addresses(settings))
    ignored = class_warnings(settings)
    engine = registry.get(settings.scheduler)

    def warnings() -> tuple[str, ...]:
        trouble = repo.seen_trouble()
        rejected = (
            "the remote rejects refs/disinto/seen beside results, so it keeps no copy of which ids "
            f"ran: {trouble}",
        )
        not_kept = f"the whole output of runs is not kept at the moment: {outputs.trouble}"
        return (
            *plain,
            *ignored,
            *engine.warnings(scheduler),
            *(rejected if trouble else ()),
            *((not_kept,) if outputs.trouble else ()),
        )

    return warnings
