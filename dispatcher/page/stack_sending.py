"""Deploys, changes and removes stacks as the person who is logged in: by the actions of ``disinto stack``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from dispatcher.errors import InvalidValue, NotFound
from dispatcher.model.names import is_id
from dispatcher.operate.provisioned import Resource
from dispatcher.operate.provisioned_actions import NewAction, destruction, to_destroy
from dispatcher.operate.stacks import (
    STACK,
    NameState,
    deploying,
    destroying,
    find_name,
    refuse_second_update,
    settings_from,
    updating,
)
from dispatcher.operate.submission_client import SubmissionClient
from dispatcher.page.acting import (
    SentAbout,
    file_of,
    followed,
    formula_of,
    send_about,
    sending,
)
from dispatcher.page.language import mark
from dispatcher.page.preview import Preview, preview
from dispatcher.page.problems import UNREADABLE, FieldError, Problem
from dispatcher.page.sessions import Person
from dispatcher.page.site import Site
from dispatcher.page.stack_reading import MISSING, SET_UP, Reading, open_view
from dispatcher.page.stacks import no_stack, not_known
from dispatcher.provision.params import BadParams
from dispatcher.schemas import FormulaSchema
from dispatcher.stack.params import (
    SETTINGS_FILE,
    StackSettings,
    environment_of,
    image_of,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class WantedStack:
    """What a program asks for: ``[params]`` of the formula, and two more.

    Attributes:
        id: of the stack; ``stack-NAME`` by default.
        step: ``check`` to send nothing.
        environment_secrets: names of stored secrets.
    """

    name: str
    id: str = ""
    step: str = ""
    image: str = ""
    port: int = 8080
    environment: dict[str, str] = field(default_factory=dict)
    environment_secrets: tuple[str, ...] = ()
    volume: bool = True
    mount_path: str = "/workspace"
    suffix: str = ""
    https: bool = True
    certificate: str = "letsencrypt"
    health: str = "http"
    expected_text: str = ""
    expected_path: str = "/"


@dataclass(frozen=True, kw_only=True, slots=True)
class WantedUpdate:
    """What a program asks for: ``[params]`` of the formula but for ``id``, and one more.

    Attributes:
        step: ``check`` to send nothing.
        environment: all of it; None for the present one.
    """

    step: str = ""
    image: str = ""
    environment: dict[str, str] | None = None
    environment_secrets: tuple[str, ...] = ()
    health: str = "http"
    expected_text: str = ""
    expected_path: str = "/"
    without_return: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class StackKit:
    """What stacks are deployed or updated by here."""

    schema: FormulaSchema | None
    settings: StackSettings


def kit_of(client: SubmissionClient, formula: str = STACK.create) -> StackKit:
    """The schema and the settings of a formula.

    Raises:
        Problem: there is no such formula here, or it cannot be used.
        BadParams: the settings cannot be used.
    """
    found = formula_of(client.formula_store, client.tree, formula, missing=MISSING, remedy=SET_UP)
    return StackKit(
        schema=client.formula_store.schema_of(found),
        settings=settings_from(found.files.get(SETTINGS_FILE)),
    )


def new_stack(site: Site, kit: StackKit, params: Mapping[str, Any], *, action_id: str) -> NewAction:
    """The action that deploys a stack.

    Raises:
        Problem: 409 if the name is taken; 422, with the fields that cannot be used.
        Conflict: no id is free.
    """
    if action_id and not is_id(action_id):
        raise _wrong("id", mark("this cannot be an id: use a-z, 0-9 and -"))
    name = params.get("name")
    if not isinstance(name, str) or not name:
        raise _wrong("params.name", mark("a stack needs a name"))
    followed(site).repo.fetch()
    with site.once(open_view).reading() as reading:
        found = find_name(name, reading.stacks.names(), kit.settings)
        if found.state is not NameState.FREE:
            # An action that is there already may be sent again.
            taken = found.state is NameState.TAKEN
            if not (taken and action_id == found.by):
                raise _wrong(
                    "params.name", f"{found.reason}. {found.remedy}", status=409 if taken else 422
                )
        new_id = action_id or reading.stacks.free_id(f"stack-{name}")
    with _at_field("params.image"):
        image_of(_text(params.get("image")), kit.settings)
    secrets = _environment(params)
    return _written(new_id, lambda: deploying(new_id, params, secrets))


def preview_of_deployment(
    site: Site, person: Person, params: Mapping[str, Any], *, action_id: str = ""
) -> Preview:
    """The action that would deploy a stack; nothing is sent.

    Raises:
        Problem, InvalidInput, NotFound, AlreadyThere, Unavailable, Denied: see ``new_stack`` and ``preview``.
    """
    with sending(site, person) as client:
        client.look()
        made = new_stack(site, kit_of(client), params, action_id=action_id)
        return preview(client, file_of(made), made.data)


def deploy(
    site: Site, person: Person, params: Mapping[str, Any], *, action_id: str = ""
) -> SentAbout:
    """Send the action that deploys a stack.

    Raises:
        Problem, InvalidInput, AlreadyThere, NeedsSignature, Unavailable, Denied, Misconfigured, Conflict: see
            ``new_stack`` and ``send``.
    """
    with sending(site, person) as client:
        client.look()
        made = new_stack(site, kit_of(client), params, action_id=action_id)
        return send_about(site, client, made.id, made)


def changed_stack(
    site: Site, person: Person, stack_id: str, params: Mapping[str, Any]
) -> NewAction:
    """The action that changes a stack.

    Raises:
        Problem: 404, it is not this person's; 422, with the fields that cannot be used.
        NotFound, BeingCreated, AlreadyThere, Conflict: see ``Resources``.
    """
    if not params.get("image") and params.get("environment") is None:
        raise _wrong("params.image", mark("nothing would change: give an image or an environment"))
    with _mine(site, person, stack_id) as reading:
        reading.stacks.standing(stack_id)
        refuse_second_update(reading.stacks, stack_id)
        new_id = reading.stacks.free_id(f"update-{stack_id}")
    if params.get("image"):
        with _at_field("params.image"):
            image_of(_text(params["image"]), StackSettings())
    secrets = _environment(params)
    return _written(new_id, lambda: updating(new_id, {**params, "id": stack_id}, secrets))


def preview_of_update(
    site: Site, person: Person, stack_id: str, params: Mapping[str, Any]
) -> Preview:
    """The action that would change a stack; nothing is sent.

    Raises:
        Problem, InvalidInput, NotFound, AlreadyThere, Unavailable, Denied: see ``changed_stack`` and
            ``preview``.
    """
    with sending(site, person) as client:
        client.look()
        made = changed_stack(site, person, stack_id, params)
        return preview(client, file_of(made), made.data)


def update(site: Site, person: Person, stack_id: str, params: Mapping[str, Any]) -> SentAbout:
    """Send the action that changes a stack.

    Raises:
        Problem, InvalidInput, NotFound, BeingCreated, AlreadyThere, NeedsSignature, Unavailable, Denied,
            Misconfigured, Conflict: see ``changed_stack`` and ``send``.
    """
    with sending(site, person) as client:
        client.look()
        made = changed_stack(site, person, stack_id, params)
        return send_about(site, client, stack_id, made)


def destroy(site: Site, person: Person, stack_id: str) -> SentAbout:
    """Send the action that destroys a stack.

    Raises:
        Problem: 404, it is not this person's.
        NotFound, BeingCreated, AlreadyThere: see ``to_destroy``.
        InvalidInput, NeedsSignature, Unavailable, Denied, Misconfigured, Conflict: see ``send``.
    """
    with sending(site, person) as client:
        with _mine(site, person, stack_id) as reading:
            entry = to_destroy(reading.stacks, stack_id)
            made = destruction(reading.stacks, entry, destroying)
        return send_about(site, client, stack_id, made)


def id_of(site: Site, person: Person, name: str) -> str:
    """The id of the stack of this name that a person has.

    Raises:
        Problem: 404, they have none; 503, it is not known now whether they have.
    """
    followed(site).repo.fetch()
    view = site.once(open_view)
    with view.reading() as reading:
        found = reading.stacks.ids_of(name)  # several, if people asked for it at the same time
        for stack_id in found:
            if _is_of(reading, stack_id, site, person):
                return stack_id
        if found and reading.trouble:
            raise not_known(reading.trouble)
    raise no_stack(name)


@contextmanager
def _mine(site: Site, person: Person, stack_id: str) -> Iterator[Reading]:
    """The stacks, with this one among them, of which somebody else is told nothing."""
    followed(site).repo.fetch()
    with site.once(open_view).reading() as reading:
        if not _is_of(reading, stack_id, site, person):
            raise not_known(reading.trouble) if reading.trouble else no_stack(stack_id)
        yield reading


def _is_of(reading: Reading, stack_id: str, site: Site, person: Person) -> bool:
    view = site.once(open_view)
    try:
        stack: Resource = reading.stacks.get(stack_id)
    except NotFound:
        return False
    if stack.entry is not None:
        return view.is_of(reading, stack, person)
    return person.operator or view.is_author(reading, stack_id, person)


def _written(action_id: str, write: Callable[[], bytes]) -> NewAction:
    """An action that is written.

    Raises:
        Problem: 422, its params cannot be.
    """
    try:
        return NewAction(id=action_id, data=write())
    except (TypeError, ValueError, RecursionError):
        raise _wrong("params", mark("this cannot be written as TOML")) from None


def _environment(params: Mapping[str, Any]) -> tuple[str, ...]:
    """The names of the secrets that a stack is to get, if its environment can be stored."""
    given, names = params.get("environment"), params.get("environment_secrets")
    plain = (
        {str(name): _text(value) for name, value in given.items()}
        if isinstance(given, Mapping)
        else {}
    )
    secrets = tuple(map(str, names)) if isinstance(names, list | tuple) else ()
    with _at_field("params.environment"):
        environment_of(plain, (), {})
    with _at_field("params.environment_secrets"):
        environment_of(plain, secrets, dict.fromkeys(secrets, "x"))
    return secrets


@contextmanager
def _at_field(name: str) -> Iterator[None]:
    """What a run would refuse, said at the field."""
    try:
        yield
    except (BadParams, InvalidValue) as error:
        what = error.what.removeprefix("[params]: ")
        raise _wrong(name, ". ".join(filter(None, (what, error.remedy or "")))) from None


def _wrong(field_name: str, message: str, *, status: int = 422) -> Problem:
    errors = [FieldError(field=field_name, message=message)]
    return Problem(status=status, what=UNREADABLE, errors=errors)


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
