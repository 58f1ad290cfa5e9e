"""Deciding: ``reconcile`` over all actions, so that no single one can keep the others from it."""

from __future__ import annotations

from dataclasses import replace

from dispatcher.decide.reconcile import reconcile
from dispatcher.decide.steps import Plan
from dispatcher.decide.world import World
from dispatcher.loop.steps import Steps


def decide(world: World, steps: Steps) -> Plan:
    """What is to be done. One action about which nothing can be decided, by an error that nobody
    expected, is found, told and left alone for a while; the others go on.

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
            except Exception as its_own:  # noqa: BLE001 - told with its action
                steps.blame(action_id, "reconcile", its_own)
                blamed = True
        if not blamed:
            raise error from None
    return reconcile(replace(world, paused=steps.retries.paused()))


def _alone(world: World, action_id: str) -> World:
    """A world with one action, which nothing is under way for."""
    candidate, claim = world.candidates.get(action_id), world.claims.get(action_id)
    return replace(
        world,
        candidates={action_id: candidate} if candidate else {},
        claims={action_id: claim} if claim else {},
        busy=frozenset(),
    )
