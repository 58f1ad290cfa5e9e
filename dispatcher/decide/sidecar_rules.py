"""The file ``sidecars.toml``: projects, and the rules by which their issues start runs.

It is the operator's configuration, as ``policy.toml`` is, and never comes from the ops repo.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum
from itertools import product
from pathlib import Path
from typing import Annotated

import pydantic.dataclasses
from pydantic import AfterValidator, ConfigDict, Field, TypeAdapter, model_validator

from dispatcher.errors import InvalidInput, Misconfigured
from dispatcher.model.action import Word
from dispatcher.model.names import ID_PATTERN, name_problem
from dispatcher.model.paths import PROJECTS_PATH
from dispatcher.model.times import parse_duration
from dispatcher.toml.explain import Reader, complaint, did_you_mean
from dispatcher.toml.source import TomlSource, quoted

MAX_FILE_BYTES = 1024 * 1024

NAME_PATTERN = "^[a-z0-9][a-z0-9_-]{0,34}$"
"""Names of projects and rules. Two of them, an issue and an attempt make an action's id of at most
100 characters."""

REPOSITORY_PATTERN = "^[A-Za-z0-9._-]{1,100}/[A-Za-z0-9._-]{1,100}$"

LABEL_PATTERN = r"^[^\s,\x00-\x1f\x7f]([^,\x00-\x1f\x7f]{0,48}[^\s,\x00-\x1f\x7f])?$"
"""A label as the forge stores it: at most 50 characters. A comma separates labels in its API."""

MAX_COOL_DOWN_S = 30 * 86_400.0
MAX_LOG_TAIL = 200


class Condition(StrEnum):
    """What a rule may require besides labels."""

    SUB_ISSUES_CLOSED = "sub_issues_closed"


def _checked_name(value: str, what: str, *, inside: tuple[str, ...]) -> None:
    if not re.fullmatch(NAME_PATTERN.strip("^$"), value):
        raise complaint(
            f"{quoted(value)} cannot be used as the name of a {what}",
            remedy="Use a-z, 0-9, - and _, at most 35, the first a letter or digit",
            inside=inside,
        )


def _checked_label(value: str) -> str:
    if not re.fullmatch(LABEL_PATTERN, value):
        raise complaint(
            f"{quoted(value)} cannot be used as a label",
            remedy="Use 1 to 50 characters without a comma, a control character, or a space at "
            "either end",
        )
    return value


def _checked_formula(value: str) -> str:
    if wrong := name_problem(value, "a formula's name"):
        raise complaint(wrong[0], remedy=wrong[1])
    return value


def _checked_repository(value: str) -> str:
    if not re.fullmatch(REPOSITORY_PATTERN, value) or {".", ".."} & set(value.split("/")):
        raise complaint(f"{quoted(value)} is not owner/name", remedy='Write for example "acme/app"')
    return value


def _checked_file(value: str) -> str:
    inside = not {"", ".", ".."} & set(value.split("/"))
    if value and not (inside and re.fullmatch(r"[A-Za-z0-9._/-]{1,200}", value)):
        raise complaint(
            f"{quoted(value)} is not a path inside the ops repo",
            remedy='Write for example "projects/app.toml"',
        )
    return value


def _checked_bot(value: str) -> str:
    if wrong := name_problem(value, "the name of a bot"):
        raise complaint(wrong[0], remedy=wrong[1])
    return value


def _checked_cool_down(value: str) -> str:
    try:
        seconds = parse_duration(value)
    except ValueError:
        seconds = 0.0
    if not 1 <= seconds <= MAX_COOL_DOWN_S:
        raise complaint(
            f"{quoted(value)} cannot be used as a cool-down",
            remedy='Write for example "10m" or "1h"; from 1s to 30d',
        )
    return value


_Label = Annotated[
    str, AfterValidator(_checked_label), Field(json_schema_extra={"pattern": LABEL_PATTERN})
]
_Labels = Annotated[tuple[_Label, ...], Field(max_length=64)]
_CONFIG = ConfigDict(extra="forbid")


@pydantic.dataclasses.dataclass(frozen=True, kw_only=True, slots=True, config=_CONFIG)
class Project:
    """A table ``[projects.<name>]``: one repository whose issues are watched."""

    repository: Annotated[
        str,
        AfterValidator(_checked_repository),
        Field(
            description="The repository on the forge of [forge] url: owner/name.",
            examples=["acme/app"],
            json_schema_extra={"pattern": REPOSITORY_PATTERN},
        ),
    ]
    bot: Annotated[
        str,
        AfterValidator(_checked_bot),
        Field(
            description="The bot whose token its runs read with: the secret <bot> below [vault] "
            "bots_prefix.",
            examples=["app-reader"],
            json_schema_extra={"pattern": ID_PATTERN},
        ),
    ]
    file: Annotated[
        str,
        AfterValidator(_checked_file),
        Field(
            description="Description of the project for its formulas, a path in the ops repo; "
            "default projects/<name>.toml.",
            examples=["projects/app.toml"],
        ),
    ] = ""
    rules: Annotated[
        tuple[str, ...] | None,
        Field(description="Rules that apply to it; default all.", examples=[["triage"]]),
    ] = None
    runs_per_day: Annotated[
        int,
        Field(
            ge=0,
            le=10_000,
            description="Maximum runs of all its rules within 24 hours; 0 starts nothing.",
        ),
    ] = 20


@pydantic.dataclasses.dataclass(frozen=True, kw_only=True, slots=True, config=_CONFIG)
class Rule:
    """A table ``[rules.<name>]``: which issues start which formula, and what limits it."""

    formula: Annotated[
        str,
        AfterValidator(_checked_formula),
        Field(
            description="The formula to run. It should be of tier low; otherwise each run waits "
            "for approval.",
            examples=["triage"],
            json_schema_extra={"pattern": ID_PATTERN},
        ),
    ]
    labels: Annotated[
        _Labels,
        Field(
            min_length=1,
            description="Labels that the issue must have, all of them.",
            examples=[["bug-report"]],
        ),
    ]
    without_labels: Annotated[
        _Labels,
        Field(
            description="Labels that the issue must not have, none of them.", examples=[["blocked"]]
        ),
    ] = ()
    condition: Annotated[
        Condition | None,
        Field(
            description="A further condition. sub_issues_closed: at least one issue's body "
            "contains 'Decomposed from #<this issue>', and all such issues are closed.",
            examples=["sub_issues_closed"],
        ),
    ] = None
    add_labels: Annotated[
        _Labels, Field(description="Labels that a run's outcome may add.", examples=[["in-triage"]])
    ] = ()
    remove_labels: Annotated[
        _Labels,
        Field(description="Labels that a run's outcome may remove.", examples=[["in-triage"]]),
    ] = ()
    max_concurrent: Annotated[
        int, Field(ge=1, le=1_000, description="Maximum open runs of this rule per project.")
    ] = 1
    cool_down: Annotated[
        str,
        AfterValidator(_checked_cool_down),
        Field(
            description="Pause after a run on an issue before the next one of this rule; it "
            "doubles with each failure in a row.",
            examples=["10m"],
        ),
    ] = "10m"
    attempts: Annotated[
        int,
        Field(
            ge=1, le=1_000, description="Maximum runs of this rule on one issue, however it ends."
        ),
    ] = 5
    timeout_minutes: Annotated[
        int, Field(ge=1, le=10_080, description="Timeout of a run in minutes.")
    ] = 60
    model: Annotated[
        Word, Field(description="Model for the agent command; a formula of kind .toml only.")
    ] = ""
    tools: Annotated[
        tuple[Word, ...],
        Field(
            max_length=64,
            description="Tools the agent command may use; a formula of kind .toml only.",
            examples=[["Bash", "Read"]],
        ),
    ] = ()
    writing_token: Annotated[
        bool,
        Field(
            description="Whether the token of its runs may write. Leave it false: the run reads "
            "text of strangers, and the dispatcher itself comments and sets labels."
        ),
    ] = False
    log_tail: Annotated[
        int,
        Field(
            ge=0,
            le=MAX_LOG_TAIL,
            description="Lines of the run's log in the comment on the issue; never shown if the "
            "issue is visible to more people than the ops repo.",
        ),
    ] = 0

    @property
    def cool_down_s(self) -> float:
        """``cool_down`` in seconds."""
        return parse_duration(self.cool_down)

    @property
    def settable(self) -> frozenset[str]:
        """Labels that an outcome may add or remove."""
        return frozenset(self.add_labels) | frozenset(self.remove_labels)

    @model_validator(mode="after")
    def _possible(self) -> Rule:
        for index, label in enumerate(self.without_labels):
            if label in self.labels:
                raise complaint(
                    f"{quoted(label)} is both required and excluded, so the rule applies to no "
                    "issue",
                    remedy="Remove it from one of the two lists",
                    inside=("without_labels", index),
                )
        return self


@pydantic.dataclasses.dataclass(
    frozen=True, kw_only=True, slots=True, config=ConfigDict(extra="forbid", title="Sidecars")
)
class Sidecars:
    """The file ``sidecars.toml``. Its rules are in the order of the file."""

    projects: Annotated[
        dict[str, Project],
        Field(
            description="The projects whose issues start runs, by name.",
            json_schema_extra={"propertyNames": {"pattern": NAME_PATTERN}},
        ),
    ] = Field(default_factory=dict)
    rules: Annotated[
        dict[str, Rule],
        Field(
            description="The rules, by name.",
            json_schema_extra={"propertyNames": {"pattern": NAME_PATTERN}},
        ),
    ] = Field(default_factory=dict)

    @property
    def settable(self) -> frozenset[str]:
        """Labels that some rule's outcome may add or remove."""
        return frozenset[str]().union(*(rule.settable for rule in self.rules.values()))

    def rules_of(self, project: str) -> Mapping[str, Rule]:
        """The rules that apply to a project, by name, in order; {} for an unknown project."""
        entry = self.projects.get(project)
        if entry is None:
            return {}
        if entry.rules is None:
            return self.rules
        return {name: rule for name, rule in self.rules.items() if name in entry.rules}

    def file_of(self, project: str) -> str:
        """The path of the project's description in the ops repo."""
        return self.projects[project].file or f"{PROJECTS_PATH}/{project}.toml"

    @model_validator(mode="after")
    def _consistent(self) -> Sidecars:
        for what, names in (("project", self.projects), ("rule", self.rules)):
            for name in names:
                _checked_name(name, what, inside=(f"{what}s", name))
        self._check_repositories()
        self._check_rules_named()
        self._check_ids()
        return self

    def _check_repositories(self) -> None:
        by_repository: dict[str, str] = {}
        for name, project in self.projects.items():
            first = by_repository.setdefault(project.repository.lower(), name)
            if first != name:
                raise complaint(
                    f"projects.{name} has the same repository as projects.{first}",
                    remedy="Remove one of them; each issue belongs to one project",
                    inside=("projects", name, "repository"),
                )

    def _check_rules_named(self) -> None:
        for name, project in self.projects.items():
            for index, rule in enumerate(project.rules or ()):
                if rule not in self.rules:
                    raise complaint(
                        f"there is no rule {quoted(rule)}",
                        remedy=did_you_mean(rule, list(self.rules))
                        or f"Add [rules.{rule}], or remove it here",
                        inside=("projects", name, "rules", index),
                    )

    def _check_ids(self) -> None:
        """Each pair of rule and project has ids of its own."""
        by_prefix: dict[str, tuple[str, str]] = {}
        for rule, project in product(self.rules, self.projects):
            first = by_prefix.setdefault(f"{rule}-{project}", (rule, project))
            if first != (rule, project):
                raise complaint(
                    f"the runs of rule {rule} on {project} would have the same ids as those of "
                    f"rule {first[0]} on {first[1]}",
                    remedy="Rename one of them, for example with _ in place of -",
                    inside=("projects", project),
                )


READER = Reader(adapter=TypeAdapter(Sidecars), subject="the sidecars file")


def parse_sidecars(data: bytes, *, path: str) -> Sidecars:
    """Parse the bytes of a ``sidecars.toml``.

    Raises:
        InvalidInput: all problems at once, each with its place.
    """
    source = TomlSource.parse(data, path=path, limit=MAX_FILE_BYTES)
    if source.problems:
        raise InvalidInput(source.problems)
    read = READER.read(source.data, source.problem)
    if not isinstance(read, Sidecars):
        raise InvalidInput(read)
    return read


def load_sidecars(file: Path | None) -> Sidecars:
    """The projects and rules of a file; none without a file.

    Raises:
        InvalidInput: see ``parse_sidecars``.
        Misconfigured: the file cannot be read.
    """
    return Sidecars() if file is None else parse_sidecars(read_sidecars(file), path=str(file))


def read_sidecars(file: Path) -> bytes:
    """The bytes of a file, up to one more than it may have.

    Raises:
        Misconfigured: the file cannot be read.
    """
    try:
        with file.open("rb") as stream:
            return stream.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise Misconfigured(
            f"the sidecars file {file} cannot be read: {error.strerror}",
            remedy="Correct [sidecars] file in the settings, or create the file",
        ) from error
