"""A schedule: ``vault/schedules/<name>.toml`` in the ops repo, from which actions are made.

Parsing never raises because of a file's content. Nothing in a template is code: a placeholder in a text
is replaced by a time or a name, and everything else stays as it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated

import pydantic.dataclasses
from pydantic import AfterValidator, ConfigDict, Field, TypeAdapter, model_validator

from dispatcher.errors import Problem
from dispatcher.model.names import ID_PATTERN, is_id
from dispatcher.model.slots import LONGEST_EXPRESSION, Slots, cron_problem
from dispatcher.model.zones import zone_problem
from dispatcher.toml.explain import Reader, complaint, did_you_mean
from dispatcher.toml.source import KeyPath, TomlSource, quoted, too_large

ENDING = ".toml"

SCHEDULE_BYTES = 16_384
"""Maximum size of a schedule's file."""

NAME_CHARACTERS = 60
"""Maximum of a schedule's name: an id has the slot and a code as well."""

CATCH_UP_LIMIT = 50

PLACEHOLDERS = ("slot", "date", "time", "schedule")
"""What ``{…}`` in a template may name."""

_PLACEHOLDER = re.compile("{(" + "|".join(PLACEHOLDERS) + ")}")
_WORD = re.compile("{([A-Za-z_]{1,30})}")
OF_EACH_SLOT = ("id", "source", "not_before", "expires")
"""Keys of an action that a template cannot have."""


class Overlap(StrEnum):
    """What becomes of a slot while actions of earlier slots are open."""

    SKIP = "skip"
    QUEUE = "queue"
    ALLOW = "allow"


class CatchUp(StrEnum):
    """Which of the slots that were missed are made up for."""

    SKIP = "skip"
    LAST = "last"
    ALL = "all"


def _sound(value: str) -> str:
    if problem := cron_problem(value):
        raise complaint(problem, remedy='Write five fields, for example "30 2 * * *"')
    return value


def _zone(value: str) -> str:
    if problem := zone_problem(value):
        raise complaint(problem[0], remedy=problem[1])
    return value


@pydantic.dataclasses.dataclass(
    frozen=True, kw_only=True, config=ConfigDict(extra="forbid", title="Schedule")
)
class Schedule:
    """A file ``vault/schedules/<name>.toml``: becomes an action at each of its slots."""

    cron: Annotated[
        str,
        AfterValidator(_sound),
        Field(
            description="Minute, hour, day of the month, month and weekday. At least 5 minutes apart.",
            examples=["30 2 * * *"],
            json_schema_extra={"maxLength": LONGEST_EXPRESSION},
        ),
    ]
    timezone: Annotated[
        str,
        AfterValidator(_zone),
        Field(
            description="Time zone of the expression, as in the IANA database.",
            examples=["Europe/Berlin"],
        ),
    ]
    action: Annotated[
        dict[str, object],
        Field(
            description="The action of each slot: the keys of an action file without id, source, "
            "not_before and expires. In context and params {slot}, {date}, {time} and {schedule} "
            "are replaced."
        ),
    ]
    overlap: Annotated[
        Overlap,
        Field(
            strict=False,
            description="While actions of earlier slots are open: skip the slot, queue its action "
            "behind them, or allow both to run.",
        ),
    ] = Overlap.SKIP
    catch_up: Annotated[
        CatchUp,
        Field(
            strict=False,
            description="Which slots are made up for that passed while no dispatcher ran.",
        ),
    ] = CatchUp.SKIP
    catch_up_limit: Annotated[
        int,
        Field(
            ge=1,
            le=CATCH_UP_LIMIT,
            description='With catch_up = "all": at most so many, the latest.',
        ),
    ] = 10
    expires_minutes: Annotated[
        int | None,
        Field(
            ge=1,
            le=527_040,
            description="Minutes after the slot from which its action must not start any more.",
        ),
    ] = None

    @model_validator(mode="after")
    def _consistent(self) -> Schedule:
        for key in OF_EACH_SLOT:
            if key in self.action:
                raise complaint(
                    f"{key} cannot be chosen: it is made for each slot",
                    remedy="Use expires_minutes of the schedule"
                    if key == "expires"
                    else "Remove it",
                    inside=("action", key),
                )
        if self.catch_up is CatchUp.ALL and self.overlap is Overlap.SKIP:
            raise complaint(
                'catch_up = "all" contradicts overlap = "skip", which skips all but the first of them',
                remedy='Set overlap to "queue" or "allow", or catch_up to "last"',
                inside=("catch_up",),
            )
        return self

    @property
    def slots(self) -> Slots:
        """When it has slots."""
        return Slots(cron=self.cron, zone=self.timezone)


READER = Reader(adapter=TypeAdapter(Schedule), subject="a schedule")


@dataclass(frozen=True, kw_only=True, slots=True)
class InvalidSchedule:
    """A file that is not a valid schedule, with all its problems."""

    problems: tuple[Problem, ...]


def parse_schedule(data: bytes | int, *, path: str, name: str) -> Schedule | InvalidSchedule:
    """Parse the bytes of a schedule's file; without the rules of the action in it.

    Args:
        data: the file, or its size if it was too large to be read.
        path: the file as messages name it.
        name: the file's name without ``.toml``.
    """
    if wrong := name_of_schedule_problem(name):
        return InvalidSchedule(problems=(Problem(message=wrong, path=path),))
    if isinstance(data, int):
        return InvalidSchedule(problems=(too_large(path, data, SCHEDULE_BYTES),))
    source = TomlSource.parse(data, path=path, limit=SCHEDULE_BYTES)
    if source.problems:
        return InvalidSchedule(problems=source.problems)
    read = READER.read(source.data, source.problem)
    return read if isinstance(read, Schedule) else InvalidSchedule(problems=read)


def name_of_schedule_problem(name: str) -> str:
    """Why this cannot be the name of a schedule, as a clause; "" for a good one."""
    if is_id(name) and len(name) <= NAME_CHARACTERS:
        return ""
    return (
        f"{quoted(name[:100])} cannot be used as the name of a schedule: use {ID_PATTERN}, at most "
        f"{NAME_CHARACTERS} characters"
    )


def occasion_of(slot: float) -> str:
    """A slot as people and actions read it: RFC 3339 in UTC.

    Args:
        slot: seconds since the epoch.
    """
    return f"{datetime.fromtimestamp(slot, UTC):%Y-%m-%dT%H:%M:%SZ}"


def action_stem(name: str, slot: float) -> str:
    """With what the id of a slot's action begins; the rest is in ``dispatcher.sources.slot_ids``."""
    return f"{name}-{datetime.fromtimestamp(slot, UTC):%Y%m%dt%H%Mz}"


def slot_of(stem: str) -> tuple[str, float]:
    """The name of the schedule and the slot (seconds since the epoch) whose action's id begins so, whoever
    wrote it; ``("", 0.0)`` for any other text.
    """
    name, _, slot = stem.rpartition("-")
    try:
        at = datetime.strptime(slot, "%Y%m%dt%H%Mz").replace(tzinfo=UTC).timestamp()
    except ValueError:
        return "", 0.0
    return (name, at) if action_stem(name, at) == stem else ("", 0.0)


def action_of(schedule: Schedule, name: str, slot: float) -> dict[str, object]:
    """The keys of a slot's action, without its id."""
    local = schedule.slots.local(slot)
    values = {
        "slot": occasion_of(slot),
        "date": f"{local:%Y-%m-%d}",
        "time": f"{local:%H:%M}",
        "schedule": name,
    }
    action = {
        key: _filled(value, values) if key in ("context", "params") else value
        for key, value in schedule.action.items()
    }
    if schedule.overlap is Overlap.QUEUE:
        action.setdefault("lock", f"schedule-{name}")
    if schedule.expires_minutes is not None:
        action["expires"] = occasion_of(slot + schedule.expires_minutes * 60)
    return action


def unreplaced(schedule: Schedule) -> Iterator[tuple[KeyPath, str, str]]:
    """Words in braces that nothing replaces: the key, what is odd, and the remedy. No problem, because
    a formula may use braces itself.
    """
    for key in ("context", "params"):
        for path, text in _texts(schedule.action.get(key), ("action", key)):
            for word in dict.fromkeys(_WORD.findall(text)):
                if word not in PLACEHOLDERS:
                    known = ", ".join(f"{{{each}}}" for each in PLACEHOLDERS)
                    remedy = did_you_mean(word, PLACEHOLDERS) or f"These are: {known}"
                    yield path, f"{{{word}}} is not replaced", remedy


def _texts(value: object, path: KeyPath) -> Iterator[tuple[KeyPath, str]]:
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _texts(item, (*path, index))
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _texts(item, (*path, key))


def _filled(value: object, values: Mapping[str, str]) -> object:
    """A value of the template with the placeholders in its texts replaced, once."""
    if isinstance(value, str):
        return _PLACEHOLDER.sub(lambda match: values[match[1]], value)
    if isinstance(value, list):
        return [_filled(item, values) for item in value]
    if isinstance(value, dict):
        return {key: _filled(item, values) for key, item in value.items()}
    return value
