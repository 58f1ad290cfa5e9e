"""An action: what a TOML file in ``vault/actions/`` asks for."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any

import pydantic.dataclasses
from pydantic import AfterValidator, ConfigDict, Field, TypeAdapter, model_validator

from dispatcher.errors import Problem
from dispatcher.model.mounts import Mount
from dispatcher.model.names import ID_PATTERN, SECRET_PATTERN, name_problem, secret_problem
from dispatcher.model.run import MAX_ARGUMENT_BYTES, Tier
from dispatcher.model.source import ActionSource
from dispatcher.model.times import epoch, is_rfc3339
from dispatcher.toml.explain import Reader, complaint, walk
from dispatcher.toml.source import KeyPath, TomlSource, quoted, too_large

MAX_ACTION_BYTES = 65_536
"""Default maximum size of an action file."""


_MAX_CONTEXT = 100_000
_MAX_LIST = 64
_MAX_AFTER = 20
_MAX_PARAMS_DEPTH = 16
_MAX_PROBLEMS = 50
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def _named(problem: Callable[[str], tuple[str, str] | None]) -> AfterValidator:
    """A check of a name by the rule for names of its kind."""

    def checked(value: str) -> str:
        if wrong := problem(value):
            raise complaint(wrong[0], remedy=wrong[1])
        return value

    return AfterValidator(checked)


def _checked_context(value: str) -> str:
    if "\x00" in value:
        raise complaint("context contains a NUL character", remedy="Leave it out")
    if len(value.encode()) > _MAX_CONTEXT:
        raise complaint(
            f"context has {len(value.encode()):,} bytes, more than the {_MAX_CONTEXT:,} allowed",
            remedy="Keep long texts in the repository and give their path",
        )
    return value


def _checked_word(value: str) -> str:
    """Checks a part of a command line: not an option, and without control characters."""
    if _CONTROL.search(value):
        raise complaint(f"{quoted(value)} contains a control character", remedy="Leave it out")
    if value.startswith("-"):
        raise complaint(
            f"{quoted(value)} begins with -, and would be read as an option of the agent command",
            remedy="Give the plain name",
        )
    return value


def _checked_time(value: str | None) -> str | None:
    """A point in time that means the same everywhere: RFC 3339 with an offset."""
    if value is None:
        return None
    if not is_rfc3339(value):
        raise complaint(
            f"{quoted(value)} is not a time with an offset",
            remedy='Write date, time and offset, for example "2026-12-01T22:00:00+01:00", or Z for UTC',
        )
    return value


def _checked_emergency(value: str | None) -> str | None:
    if value is not None and (not value.strip() or not value.isprintable()):
        raise complaint(
            "emergency must say why, in one line of printable text",
            remedy='Write for example "shop is down, see incident 4711", or remove the line',
        )
    return value


def _checked_params(value: dict[str, object]) -> dict[str, object]:
    """Values that JSON can carry, since formulas get the table as JSON."""
    for path, item in walk(value):
        if len(path) > _MAX_PARAMS_DEPTH:
            what = f"params is nested more than {_MAX_PARAMS_DEPTH} deep"
            raise complaint(what, inside=path[:4])
        if isinstance(item, float) and not math.isfinite(item):
            raise complaint("params contains inf or nan, which JSON cannot represent", inside=path)
        if isinstance(item, int) and not -(2**63) <= item < 2**63:
            raise complaint("the number has more than 64 bits", remedy="Quote it", inside=path)
    size = len(json.dumps(value, default=str)) + len("DISINTO_PARAMS=")
    if size > MAX_ARGUMENT_BYTES:
        raise complaint(
            f"params has {size:,} bytes as JSON, more than the {MAX_ARGUMENT_BYTES:,} that one "
            "environment variable can hold",
            remedy="Keep long texts in the repository and give their path",
        )
    return value


_Secret = Annotated[
    str, _named(secret_problem), Field(json_schema_extra={"pattern": SECRET_PATTERN})
]
_Lock = Annotated[
    str,
    _named(partial(name_problem, what="the name of a lock")),
    Field(json_schema_extra={"pattern": ID_PATTERN}),
]
_Id = Annotated[
    str,
    _named(partial(name_problem, what="an action's id")),
    Field(json_schema_extra={"pattern": ID_PATTERN}),
]
Word = Annotated[
    str,
    AfterValidator(_checked_word),
    Field(max_length=200, json_schema_extra={"pattern": r"^([^-\x00-\x1f][^\x00-\x1f]*)?$"}),
]


@pydantic.dataclasses.dataclass(
    frozen=True,
    kw_only=True,
    slots=True,
    config=ConfigDict(extra="forbid", title="Action"),
)
class Action:
    """A file ``vault/actions/<id>.toml``: becomes exactly one run once it is merged."""

    id: Annotated[
        str,
        _named(partial(name_problem, what="an action's id")),
        Field(
            description="The file's name without .toml. An id runs only once.",
            examples=["deploy-website"],
            json_schema_extra={"pattern": ID_PATTERN},
        ),
    ]
    formula: Annotated[
        str,
        _named(partial(name_problem, what="a formula's name")),
        Field(
            description="What to run: the name of formulas/<name>.sh or formulas/<name>.toml.",
            examples=["hello"],
            json_schema_extra={"pattern": ID_PATTERN},
        ),
    ]
    context: Annotated[
        str,
        AfterValidator(_checked_context),
        Field(
            description="Free text for the formula: DISINTO_CONTEXT, or the agent's standard input.",
            examples=["Why this runs, and what is wanted"],
        ),
    ]
    secrets: Annotated[
        tuple[_Secret, ...],
        Field(
            max_length=_MAX_LIST,
            description="Names of the secrets this run gets, each an environment variable. "
            "No two equal but for case; [] for none.",
            examples=[["GITHUB_TOKEN"]],
            json_schema_extra={"uniqueItems": True},
        ),
    ]
    mounts: Annotated[
        tuple[Mount, ...],
        Field(
            max_length=_MAX_LIST,
            description="Named volumes the run needs.",
            examples=[["ssh"]],
            json_schema_extra={"uniqueItems": True},
        ),
    ] = ()
    model: Annotated[
        Word,
        Field(description="Model for the agent command; a formula of kind .toml only."),
    ] = ""
    tools: Annotated[
        tuple[Word, ...],
        Field(
            max_length=_MAX_LIST,
            description="Tools the agent command may use; a formula of kind .toml only.",
            examples=[["Bash", "Read"]],
        ),
    ] = ()
    timeout_minutes: Annotated[
        int,
        Field(
            ge=1,
            le=10_080,
            description="Timeout of the run in minutes; 10,080 is a week.",
            examples=[60],
        ),
    ] = 60
    blast_radius: Annotated[
        Tier | None,
        Field(
            description="The tier this action requests. It may raise the tier that the "
            "dispatcher's policy gives the formula, never lower it.",
            examples=["high"],
        ),
    ] = None
    priority: Annotated[
        int,
        Field(
            ge=-100,
            le=100,
            description="Waiting actions with a higher priority start first.",
            examples=[0],
        ),
    ] = 0
    lock: Annotated[
        _Lock | None,
        Field(
            description="At most one action of a lock runs at a time; the others wait. See "
            "docs/controls/lock.md.",
            examples=["prod-web"],
        ),
    ] = None
    supersedes: Annotated[
        bool,
        Field(
            description="Take the place of older actions of the same lock that have not started. "
            "See docs/controls/supersedes.md.",
            examples=[True],
        ),
    ] = False
    not_before: Annotated[
        str | None,
        AfterValidator(_checked_time),
        Field(
            description="Earliest time at which it may start: RFC 3339 with an offset. See "
            "docs/controls/times.md.",
            examples=["2026-12-01T22:00:00+01:00"],
            json_schema_extra={"format": "date-time"},
        ),
    ] = None
    expires: Annotated[
        str | None,
        AfterValidator(_checked_time),
        Field(
            description="Time from which it must not start any more: RFC 3339 with an offset. See "
            "docs/controls/times.md.",
            examples=["2026-12-02T06:00:00+01:00"],
            json_schema_extra={"format": "date-time"},
        ),
    ] = None
    after: Annotated[
        tuple[
            _Id,
            ...,
        ],
        Field(
            max_length=_MAX_AFTER,
            description="Ids of actions that must have succeeded before this one starts. See "
            "docs/controls/after.md.",
            examples=[["migrate-db"]],
            json_schema_extra={"uniqueItems": True},
        ),
    ] = ()
    emergency: Annotated[
        Annotated[str, Field(max_length=500)] | None,
        AfterValidator(_checked_emergency),
        Field(
            description="Why it may start in a freeze, in one line. It raises the tier. See "
            "docs/controls/freeze.md.",
            examples=["shop is down, see incident 4711"],
        ),
    ] = None
    again_of: Annotated[
        _Id | None,
        Field(
            description="Id of the action that this one repeats; nothing is decided by it. See "
            "docs/controls/again.md.",
            examples=["deploy-website"],
        ),
    ] = None
    params: Annotated[
        dict[str, object],
        AfterValidator(_checked_params),
        Field(description="Values for the formula, as DISINTO_PARAMS in JSON; no dates."),
    ] = Field(default_factory=dict)
    source: Annotated[
        ActionSource | None,
        Field(
            description="What the dispatcher wrote this action for; it writes the table itself. In "
            "a file that anybody else wrote or changed it has no effect."
        ),
    ] = None

    @property
    def starts_at(self) -> float | None:
        """``not_before`` in seconds since the epoch."""
        return epoch(self.not_before) if self.not_before else None

    @property
    def expires_at(self) -> float | None:
        """``expires`` in seconds since the epoch."""
        return epoch(self.expires) if self.expires else None

    @model_validator(mode="after")
    def _in_order(self) -> Action:
        starts_at, expires_at = self.starts_at, self.expires_at
        if starts_at is not None and expires_at is not None and expires_at <= starts_at:
            raise complaint(
                f"expires ({self.expires}) is not later than not_before ({self.not_before})",
                remedy="Give it time to start between the two",
                inside=("expires",),
            )
        if self.id == self.again_of:
            raise complaint(
                f"{quoted(self.id)} cannot repeat itself",
                remedy="Name another action, or remove the line",
                inside=("again_of",),
            )
        if self.id in self.after:
            raise complaint(
                f"{quoted(self.id)} cannot run after itself",
                remedy="Remove it from the list",
                inside=("after", self.after.index(self.id)),
            )
        return self


@dataclass(frozen=True, kw_only=True, slots=True)
class InvalidAction:
    """A file that is not a valid action, with all its problems.

    Attributes:
        id: the file's stem.
        problems: at least one, each with a line.
    """

    id: str
    problems: tuple[Problem, ...]


READER = Reader(
    adapter=TypeAdapter(Action),
    subject="an action",
    accepted=frozenset({"dispatch_mode"}),
    times=frozenset({"not_before", "expires"}),
)
"""``dispatch_mode`` comes from older ops repos: accepted, ignored, and grants nothing."""


def parse_action(
    data: bytes, *, path: str, stem: str, limit: int = MAX_ACTION_BYTES
) -> Action | InvalidAction:
    """Parse the bytes of an action file. Never raises because of their content.

    Args:
        data: the file.
        path: the file as messages name it.
        stem: the file's name without ``.toml``, which must be the id.
        limit: maximum bytes.
    """
    source = TomlSource.parse(data, path=path, limit=limit)
    if source.problems:
        return InvalidAction(id=stem, problems=source.problems)
    read = READER.read(source.data, source.problem)
    problems = [] if isinstance(read, Action) else list(read)
    problems += _across_keys(source, stem)
    if problems or not isinstance(read, Action):
        problems = sorted(problems, key=_place)[:_MAX_PROBLEMS]
        return InvalidAction(id=stem, problems=tuple(problems))
    return read


def oversized_action(*, path: str, stem: str, size: int, limit: int) -> InvalidAction:
    """The invalid action of a file that is known to be too large without reading it."""
    return InvalidAction(id=stem, problems=(too_large(path, size, limit),))


def _across_keys(source: TomlSource, stem: str) -> Iterator[Problem]:
    """Rules over more than one value. They check raw data, so that they are reported beside others."""
    data = source.data
    if wrong := name_problem(stem, "an action's id, and so not a file's name"):
        yield source.problem(wrong[0], remedy=f"Rename the file. {wrong[1]}")
    elif isinstance(data.get("id"), str) and data["id"] != stem:
        yield source.problem(
            f"id is {quoted(data['id'])}, but the file is {quoted(stem + '.toml')}",
            ("id",),
            remedy=f"Write id = {quoted(stem)}, or rename the file",
        )
    yield from _repeated(source, "secrets", "each secret becomes one environment variable")
    yield from _repeated(source, "mounts", "each mount is given once")
    yield from _repeated(source, "after", "each id is given once")


def _repeated(source: TomlSource, key: str, why: str) -> Iterator[Problem]:
    names: Any = source.data.get(key)
    first_index: dict[str, int] = {}
    for index, name in enumerate(names if isinstance(names, list) else ()):
        if not isinstance(name, str):
            continue
        first = first_index.setdefault(name.casefold(), index)
        if first != index:
            place: KeyPath = (key, index)
            same = "repeats" if names[first] == name else "differs only in case from"
            what = f"{key}[{index}] {same} {key}[{first}], and {why}"
            yield source.problem(what, place, remedy="Remove one of them")


def _place(problem: Problem) -> tuple[int, int]:
    return problem.line or 0, problem.column or 0
