"""Options that several commands share, each described once."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import wraps
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, cast

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


def key_option(what: str) -> Callable[[F], F]:
    """``--key``, given to the command as ``keys``.

    Args:
        what: the rest of its help, from what the keys are of.
    """
    return click.option(
        "--key",
        "keys",
        multiple=True,
        metavar="FILE",
        type=click.Path(path_type=Path, dir_okay=False),
        help=f"Trusted public key (PEM){what}; default: this dispatcher's.",
    )


class Sending(NamedTuple):
    """How an action is to be sent and followed, by the options of ``sending_options``.

    Attributes:
        follow: whether to wait for the result.
        wait_merge: whether to wait for it beyond an open pull request.
        sign: whether to commit with the caller's own git.
        as_json: whether to print JSON.
    """

    follow: bool
    wait_merge: bool
    sign: bool
    as_json: bool


def sending_options(*, signed_as_in: str = "the work tree you are in") -> Callable[[F], F]:
    """The options of every command that sends an action, given to it as ``sending``.

    Args:
        signed_as_in: whose git settings ``--sign`` uses.
    """
    options = (
        click.option(
            "--follow/--no-follow", default=True, help="Wait for the result, with live output."
        ),
        click.option(
            "--wait-merge", is_flag=True, help="Follow an action whose pull request is open."
        ),
        click.option(
            "--sign", is_flag=True, help=f"Commit with your own git, signed as in {signed_as_in}."
        ),
        json_option,
    )

    def decorate(function: F) -> F:
        @wraps(function)
        def collected(*args: Any, **given: Any) -> Any:
            chosen = {name: given.pop(name) for name in Sending._fields}
            return function(*args, sending=Sending(**chosen), **given)

        for option in reversed(options):
            collected = option(collected)
        return cast(F, collected)

    return decorate
