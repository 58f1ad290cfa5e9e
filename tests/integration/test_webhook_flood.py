"""Signed calls that somebody repeats as fast as the listener takes them."""

from __future__ import annotations

import threading

import pytest

from tests.support.stage import Stage, action, path

pytestmark = pytest.mark.needs("bao", "git", "ssh-keygen")

PAUSE_S = 0.0005


def test_repeated_calls_about_reviews_keep_no_approved_action_from_starting(stage: Stage) -> None:
    """Each has the gates asked again. What they approve between two calls starts all the same."""
    service = stage.start()
    over = threading.Event()

    def repeat() -> None:
        while not over.wait(PAUSE_S):
            service.look_now()

    repeating = threading.Thread(target=repeat, daemon=True)
    repeating.start()
    try:
        files = {path(name): action(name, formula="danger") for name in ("one", "two", "three")}
        stage.scene.merge(files, "Approve three", sign=True)
        stage.runs(3)
    finally:
        over.set()
        repeating.join()
