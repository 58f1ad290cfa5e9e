"""How much the tests try: little by default, all of it with ``DISINTO_THOROUGH=1``.

``make test-thorough`` sets it. Tests marked ``thorough`` run only then; ``tests/conftest.py`` lists them
at the end of a run without it.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable
from typing import Any

import pytest

THOROUGH = os.environ.get("DISINTO_THOROUGH", "0") not in ("", "0")


def tries(few: int, many: int) -> int:
    """How many cases, examples or seconds a test takes: ``few`` unless it is to be thorough."""
    return many if THOROUGH else few


def some(cases: Iterable[Any], *, always: Collection[Any]) -> list[Any]:
    """All cases for ``parametrize``; those that do not always run are marked ``thorough``."""
    return [c if c in always else pytest.param(c, marks=pytest.mark.thorough) for c in cases]
