"""Interleavings that the model of ``test_exactly_once_model`` once found, replayed."""

from __future__ import annotations

import pytest

from tests.fakes.actors import Fate
from tests.unit.test_exactly_once_model import ExactlyOnce


@pytest.fixture
def model() -> ExactlyOnce:
    model = ExactlyOnce()
    model.begin()
    return model


def test_a_forged_result_that_came_and_went_while_the_memory_was_being_read(
    model: ExactlyOnce,
) -> None:
    """Nothing proves that the action ran, so it runs, once the vanished file has been judged."""
    model.merge(action_ids={"a"})
    model.point_the_remotes_memory(which=0, kind="made up")
    model.put_a_result(which=0, kind="made up")
    model.step(which=0, steps=0, fate=Fate.DONE, fresh=False)
    model.delete(which=0, action=False)
    model.look_around(fetch=True, observe=False, read=False)
    model.teardown()

    assert model.past.starts == {"a": 1}
