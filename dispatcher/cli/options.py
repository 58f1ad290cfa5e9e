"""Options that several commands share, each described once."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import click

from dispatcher.cli.session import Session

F = TypeVar("F", bound=Callable[..., Any])


def _remember_config(ctx: click.Context, _param: click.Parameter, value: Path | None) -> None:
    if value is not None:
        ctx.ensure_object(Session).config = value


def config_option(function: F) -> F:
    """``--config`` after the command's name, where people also put it."""
    return click.option(
        "--config",
        type=click.Path(path_type=Path, dir_okay=False),
        metavar="FILE",
        expose_value=False,
        callback=_remember_config,
        help="Settings file; default: disinto.toml.",
    )(function)


class Moment(click.ParamType[float]):
    """A time, or how long ago it was; given to the command as seconds since the epoch."""

    name = "time"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        if isinstance(value, float):
            return value
        import time

        from dispatcher.model.times import epoch, parse_duration

        with suppress(ValueError, OverflowError):
            return time.time() - parse_duration(value)
        try:
            return epoch(value)
        except (ValueError, OverflowError):
            self.fail(
                f"{value!r} is neither a duration such as 90s, 10m or 1h30m, nor a time with a "
                "zone such as 2026-03-01T12:00:00Z.",
                param,
                ctx,
            )


def json_option(function: F) -> F:
    """``--json``, given to the command as ``as_json``."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(function)
