"""Whoever writes a list for reaping may have a wrong clock: what was made after the list is not taken."""

from __future__ import annotations

import pytest

from dispatcher.provision.params import BadParams
from tests.support.desktops import Desktops
from tests.support.stacks import Stacks


@pytest.mark.parametrize("ahead_s", [6 * 3600.0, 3_000.0])
@pytest.mark.parametrize("remove", [False, True])
def test_a_list_of_desktops_from_the_future_is_refused(ahead_s: float, remove: bool) -> None:
    desktops = Desktops()
    known = desktops.listed(ahead_s=ahead_s)
    desktops.wait(60)
    desktops.create("alice")
    desktops.wait(1_800)
    with pytest.raises(BadParams, match=r"listed_at .* is later than now"):
        desktops.reap(known, remove=remove)
    assert desktops.billed == desktops.entered


@pytest.mark.parametrize("remove", [False, True])
def test_a_list_of_stacks_from_the_future_is_refused(remove: bool) -> None:
    stacks = Stacks()
    known = stacks.listed(ahead_s=6 * 3600.0)
    stacks.wait(60)
    stacks.create("alice")
    stacks.wait(1_800)
    with pytest.raises(BadParams, match=r"listed_at .* is later than now"):
        stacks.reap(known, remove=remove)
    assert not stacks.is_empty


def test_a_clock_that_is_ahead_by_less_than_the_margin_takes_no_young_desktop() -> None:
    desktops = Desktops()
    known = desktops.listed(ahead_s=890.0)
    desktops.create("alice")
    for _ in range(4):
        assert desktops.reap(known).left == {"leftovers": [], "removed": []}
        desktops.wait(600)
    assert desktops.billed == desktops.entered


def test_what_was_made_shortly_before_the_run_is_not_taken_by_a_list_that_is_ahead() -> None:
    """Clocks that differ more than the margin, and a provider whose clock is behind."""
    desktops = Desktops()
    desktops.create("lost")
    desktops.lose("lost")
    made_at = desktops.cloud.running()[0].created_at
    desktops.clock.at = made_at + 899.0
    assert desktops.reap(desktops.listed(ahead_s=899.0)).left == {"leftovers": [], "removed": []}
    desktops.wait(2.0)
    assert desktops.reap(desktops.listed(ahead_s=899.0)).left != {"leftovers": [], "removed": []}
    assert desktops.billed == set()
