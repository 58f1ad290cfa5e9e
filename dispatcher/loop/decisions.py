"""Runs ``reconcile`` so that an error about one action does not hold up the others."""

from __future__ import annotations

from dataclasses import replace

from dispatcher.decide.reconcile import reconcile
from dispatcher.decide.steps import Plan
from dispatcher.decide.world import World
from dispatcher.loop.steps import Steps


def decide(world: World, steps: Steps) -> Plan:
    """The plan. If ``reconcile`` fails unexpectedly because of single actions, these are found,
    reported and paused; the others continue.

    Raises:
        Exception: what ``reconcile`` raises, if no single action is to blame.
    """
    try:
        return reconcile(world)
    except Exception as error:
        blamed = False
        for action_id in world.claims.keys() | world.candidates.keys():
            try:
                reconcile(_alone(world, action_id))
            except Exception as its_own:  # noqa: BLE001 - reported with its action
                steps.blame(action_id, "reconcile", its_own)
                blamed = True
        if not blamed:
            raise error from None
    return reconcile(replace(world, paused={**world.paused, **steps.retries.paused()}))


def _alone(world: World, action_id: str) -> World:
    """A world with one action, without a step in progress."""
    candidate, claim = world.candidates.get(action_id), world.claims.get(action_id)
    return replace(
        world,
        candidates={action_id: candidate} if candidate else {},
        claims={action_id: claim} if claim else {},
        busy=frozenset(),
    )
