"""What a run reports about itself while it runs: stage, percent, detail.

A formula appends JSON lines to ``$DISINTO_PROGRESS``; the runner redacts the last one and leaves it for
the engine. The module imports only the standard library, because the runner loads it in every job.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields

LINE_BYTES = 4 * 1024
"""Bytes of one line of ``$DISINTO_PROGRESS``; a longer one does not count."""

FILE_BYTES = 16 * 1024
"""Bytes of the runner's ``progress.json``; a larger file is not the runner's."""

FILE_NAME = "progress.json"
"""Name of the runner's file, beside its ``outcome.json``."""

STAGE_CHARACTERS = 60
DETAIL_CHARACTERS = 200


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """How far a run is, in its own words.

    Attributes:
        stage: what it is doing, a word or two; "" if it did not report.
        percent: 0 to 100; None if it did not report.
        detail: more about it; "" if there is nothing to add.
        at: when the runner read it, seconds since the epoch.
    """

    stage: str = ""
    percent: float | None = None
    detail: str = ""
    at: float = 0.0


def read_line(line: bytes, *, at: float, clean: Callable[[str], str]) -> Progress | None:
    """A line of a formula; None for anything else than an object with at least one valid key.

    Args:
        at: seconds since the epoch.
        clean: redacts a text, and makes it safe to display.
    """
    if len(line) > LINE_BYTES:
        return None
    try:
        plain = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(plain, dict):
        return None
    stage, detail = plain.get("stage", ""), plain.get("detail", "")
    percent = _percent(plain.get("percent"))
    if not isinstance(stage, str) or not isinstance(detail, str):
        return None
    if not stage and not detail and percent is None:
        return None
    return Progress(
        stage=_one_line(clean(_encodable(stage)))[:STAGE_CHARACTERS],
        percent=percent,
        detail=_one_line(clean(_encodable(detail)))[:DETAIL_CHARACTERS],
        at=at,
    )


def encode_progress(progress: Progress) -> bytes:
    """The text of the runner's ``progress.json``."""
    return json.dumps({f.name: getattr(progress, f.name) for f in fields(progress)}).encode()


def decode_progress(data: bytes) -> Progress | None:
    """The reverse; None for anything else. The formula may have written it."""
    if len(data) > FILE_BYTES:
        return None
    try:
        plain = json.loads(data)
        at = plain["at"]
    except (ValueError, RecursionError, TypeError, KeyError):
        return None
    if isinstance(at, bool) or not isinstance(at, int | float) or not math.isfinite(at):
        return None
    return read_line(json.dumps(plain).encode(), at=float(at), clean=str)


def in_words(progress: Progress) -> str:
    """Progress on one line: ``48 % installing-packages: vim``."""
    percent = "" if progress.percent is None else f"{progress.percent:.0f} %"
    words = ": ".join(part for part in (progress.stage, progress.detail) if part)
    return " ".join(part for part in (percent, words) if part)


def progress_words(plain: Mapping[str, object] | None) -> str:
    """``in_words`` of progress as a record has it; "" for None."""
    if plain is None:
        return ""
    stage, percent, detail = (plain.get(name) for name in ("stage", "percent", "detail"))
    number = float(percent) if isinstance(percent, int | float) else None
    return in_words(Progress(stage=str(stage or ""), percent=number, detail=str(detail or "")))


def _percent(value: object) -> float | None:
    """A number from 0 to 100; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if 0 <= value <= 100 else None  # NaN is neither


def _encodable(text: str) -> str:
    """Without lone surrogates: JSON can name them (``\\ud800``, or a byte of a path that is not UTF-8), and
    nothing that shows or redacts a text can encode them.
    """
    return text.encode("utf-8", "replace").decode()


def _one_line(text: str) -> str:
    return " ".join(text.split())
