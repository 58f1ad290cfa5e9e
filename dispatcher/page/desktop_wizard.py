"""The steps of a new desktop: Vigilance, then the machine, then the apps. Pure.

Every step is a form that carries what the others were given, so nothing is kept between them. The fields
are those of the formula's schema; those that it has and this module does not name belong to the machine.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from dispatcher.desktop.apps import App
from dispatcher.desktop.params import VIGILANCE_SIZE
from dispatcher.page.action_form import PREFIX, Field, fields_of, filled, params_of, with_errors
from dispatcher.page.problems import FieldError

ID = "id"
"""The field for the desktop's id."""

APP = "app."
"""Begins the names of the boxes of apps."""

VIGILANCE, SIZE, APPS = f"{PREFIX}vigilance", f"{PREFIX}size", f"{PREFIX}apps"


class Step(StrEnum):
    """A step, in their order."""

    VIGILANCE = "vigilance"
    MACHINE = "machine"
    APPS = "apps"
    SUMMARY = "summary"


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """One app that can be chosen."""

    name: str
    title: str
    chosen: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Wizard:
    """A new desktop, as far as it was entered.

    Attributes:
        step: that is shown.
        fields: of all steps, by the schema, and the id.
        apps: the catalogue.
        errors: about no field.
    """

    step: Step
    fields: tuple[Field, ...]
    apps: tuple[Choice, ...]
    errors: tuple[str, ...] = ()

    @property
    def shown(self) -> tuple[Field, ...]:
        """The fields of this step; the apps have boxes instead."""
        return tuple(field for field in self.fields if step_of(field.name) is self.step)

    @property
    def carried(self) -> Mapping[str, str]:
        """What the form of this step sends along for the others."""
        values = {f.name: f.value for f in self.fields if step_of(f.name) is not self.step}
        if self.step is not Step.APPS:
            values |= {f"{APP}{app.name}": "true" for app in self.apps if app.chosen}
        values.pop(APPS, None)
        return {name: value for name, value in values.items() if value}

    @property
    def watched(self) -> bool:
        """Whether it is for Vigilance, which decides its size."""
        return self.value(VIGILANCE) not in ("", "false")

    @property
    def size(self) -> str:
        """The size of a desktop for Vigilance."""
        return VIGILANCE_SIZE

    @property
    def wrong(self) -> bool:
        """Whether anything is said to be."""
        return bool(self.errors) or any(field.error for field in self.fields)

    def value(self, name: str) -> str:
        """What a field was given."""
        return next((field.value for field in self.fields if field.name == name), "")

    def params(self) -> tuple[dict[str, Any], tuple[FieldError, ...]]:
        """``[params]`` of the action, and what could not be read. What was not chosen is left out."""
        errors: list[FieldError] = []
        entered = [field for field in self.fields if field.name not in (ID, APPS)]
        params = {key: value for key, value in params_of(entered, errors).items() if value}
        if chosen := [app.name for app in self.apps if app.chosen]:
            params["apps"] = chosen
        if self.watched:
            params["size"] = VIGILANCE_SIZE
        else:
            params = {k: v for k, v in params.items() if not k.startswith("vigilance")}
        return params, tuple(errors)

    def refused(self, errors: Sequence[FieldError]) -> Wizard:
        """The first step that has something wrong, each error at its field."""
        by_field = [replace(e, field=APPS if e.field.startswith(APPS) else e.field) for e in errors]
        known = {field.name for field in self.fields}
        own = [error for error in by_field if error.field in known and error.field != APPS]
        rest = tuple(error.message for error in by_field if error not in own)
        wrong = {step_of(error.field) for error in by_field if error.field in known}
        step = next((each for each in Step if each in wrong), Step.MACHINE)
        return replace(self, step=step, fields=with_errors(self.fields, own), errors=rest)


def step_of(name: str) -> Step:
    """The step that asks for a field."""
    if name.startswith(VIGILANCE):
        return Step.VIGILANCE
    is_apps = name == APPS or name.startswith(f"{APPS}[")
    return Step.APPS if is_apps else Step.MACHINE


def begin(schema: Mapping[str, Any] | None, catalogue: Mapping[str, App]) -> Wizard:
    """The first step, with the defaults of the schema."""
    own = Field(name=ID, label=ID)
    return Wizard(
        step=Step.VIGILANCE,
        fields=(*fields_of(schema), own),
        apps=tuple(_choice(name, app, chosen=False) for name, app in catalogue.items()),
    )


def entered(wizard: Wizard, form: Mapping[str, object], *, at: Step) -> Wizard:
    """The same with what a form was given, at one of the steps."""
    apps = (replace(app, chosen=bool(form.get(f"{APP}{app.name}"))) for app in wizard.apps)
    return replace(wizard, step=at, fields=filled(wizard.fields, form), apps=tuple(apps))


def as_before(wizard: Wizard, params: Mapping[str, object]) -> Wizard:
    """The same with the params of an earlier action."""
    form = {f"{PREFIX}{name}": value for name, value in params.items()}
    chosen = params.get("apps")
    names = chosen if isinstance(chosen, list) else []
    apps = (replace(app, chosen=app.name in names) for app in wizard.apps)
    fields = (f if f.name not in form else filled([f], form)[0] for f in wizard.fields)
    return replace(wizard, fields=tuple(fields), apps=tuple(apps))


def until(step: Step, errors: Iterable[FieldError]) -> tuple[FieldError, ...]:
    """The errors about what was asked for up to a step."""
    asked = list(Step)[: list(Step).index(step) + 1]
    return tuple(error for error in errors if error.field and step_of(error.field) in asked)


def _choice(name: str, app: App, *, chosen: bool) -> Choice:
    return Choice(name=name, title=app.title, chosen=chosen)
