"""Adapters of which some calls fail or are replaced, and moves of tests that use them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dispatcher.errors import Dependency, Unavailable
from tests.support.stage import Stage, action, path


class Laid:
    """An adapter with some of its methods replaced."""

    def __init__(self, inner: Any, **methods: Callable[..., Any]) -> None:
        self._inner, self._methods = inner, methods

    def __getattr__(self, name: str) -> Any:
        return self._methods.get(name) or getattr(self._inner, name)


class Failing:
    """A call that fails so many times, before or after it was carried out."""

    def __init__(self, call: Callable[..., Any], *errors: Exception, after: bool = False) -> None:
        self._call, self._errors, self._after = call, list(errors), after
        self.calls = 0

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self.calls += 1
        if self._errors and not self._after:
            raise self._errors.pop(0)
        answer = self._call(*args, **kwargs)
        if self._errors:
            raise self._errors.pop(0)
        return answer


def gone(dependency: Dependency) -> Unavailable:
    return Unavailable(dependency, f"the {dependency} is away")


def end_all(stage: Stage) -> None:
    for key in stage.scheduler.running():
        stage.scheduler.end(key)


def run_one(stage: Stage, action_id: str) -> None:
    """Merge, let it run, end it, and see its result."""
    stage.scene.merge({path(action_id): action(action_id)}, f"Add {action_id}")
    stage.runs(1)
    end_all(stage)
    assert stage.result(action_id)["verdict"] == "succeeded"
