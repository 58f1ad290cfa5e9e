"""Creates and destroys desktops as the person who is logged in: by the actions of ``disinto desktop``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dispatcher.desktop.apps import CATALOGUE_FILE, App, choose, read_catalogue
from dispatcher.errors import InvalidValue
from dispatcher.model.names import is_id
from dispatcher.operate.desktops import CREATE, creation, destroying
from dispatcher.operate.provisioned_actions import NewAction, destruction, to_destroy
from dispatcher.operate.submission_client import SubmissionClient
from dispatcher.page.acting import (
    SentAbout,
    file_of,
    followed,
    formula_of,
    send_about,
    sending,
)
from dispatcher.page.desktop_reading import open_view
from dispatcher.page.language import mark
from dispatcher.page.preview import Preview, preview
from dispatcher.page.problems import UNREADABLE, FieldError, Problem
from dispatcher.page.sessions import Person
from dispatcher.page.site import Site
from dispatcher.provision.params import BadParams
from dispatcher.schemas import FormulaSchema


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """What a program asks for: ``[params]`` of the formula, and two more.

    Attributes:
        id: of the desktop; ``desktop-NAME`` by default.
        step: ``check`` to send nothing.
    """

    name: str
    id: str = ""
    step: str = ""
    region: str = ""
    size: str = ""
    image: str = ""
    apps: tuple[str, ...] = ()
    ssh_keys: tuple[str, ...] = ()
    lifetime: str = ""
    keep_on_error: bool = False
    vigilance: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Kit:
    """What desktops are made by here.

    Attributes:
        apps: the catalogue.
    """

    schema: FormulaSchema | None
    apps: Mapping[str, App]


def kit_of(client: SubmissionClient) -> Kit:
    """The schema and the catalogue of the formula.

    Raises:
        Problem: there is no such formula here, or it cannot be used.
        InvalidValue: the catalogue is malformed.
    """
    found = formula_of(
        client.formula_store,
        client.tree,
        CREATE,
        missing=mark("desktops are not set up here"),
        remedy=mark("The operator sets them up: see docs/desktops.md."),
    )
    data = found.files.get(CATALOGUE_FILE)
    return Kit(
        schema=client.formula_store.schema_of(found),
        apps=read_catalogue(data) if data is not None else {},
    )


def new_desktop(site: Site, kit: Kit, params: Mapping[str, Any], *, action_id: str) -> NewAction:
    """The action that creates a desktop.

    Raises:
        Problem: 422, with the fields that cannot be used.
        Conflict: no id is free.
    """
    if action_id and not is_id(action_id):
        wrong = FieldError(field="id", message=mark("this cannot be an id: use a-z, 0-9 and -"))
        raise Problem(status=422, what=UNREADABLE, errors=[wrong])
    if not isinstance(params.get("name"), str) or not params["name"]:
        wrong = FieldError(field="params.name", message=mark("a desktop needs a name"))
        raise Problem(status=422, what=UNREADABLE, errors=[wrong])
    field = "params.apps"
    try:
        apps = params.get("apps", ())
        choose(kit.apps, map(str, apps) if isinstance(apps, list) else ())
        field = "params.name"
        followed(site).repo.fetch()
        with site.once(open_view).reading() as reading:
            return creation(reading.desktops, params, action_id=action_id, catalogue=None)
    except InvalidValue as error:
        raise _refused(error.what, error.remedy, field) from None
    except BadParams as error:
        raise _refused(error.what, error.remedy, "") from None


def preview_of_creation(
    site: Site, person: Person, params: Mapping[str, Any], *, action_id: str = ""
) -> Preview:
    """The action that would create a desktop; nothing is sent.

    Raises:
        Problem, InvalidInput, NotFound, AlreadyThere, Unavailable, Denied: see ``new_desktop`` and
            ``preview``.
    """
    with sending(site, person) as client:
        client.look()
        made = new_desktop(site, kit_of(client), params, action_id=action_id)
        return preview(client, file_of(made), made.data)


def send_creation(
    site: Site, person: Person, params: Mapping[str, Any], *, action_id: str = ""
) -> SentAbout:
    """Send the action that creates a desktop.

    Raises:
        Problem, InvalidInput, AlreadyThere, NeedsSignature, Unavailable, Denied, Misconfigured, Conflict:
            see ``new_desktop`` and ``send``.
    """
    with sending(site, person) as client:
        client.look()
        made = new_desktop(site, kit_of(client), params, action_id=action_id)
        return send_about(site, client, made.id, made)


def destroy(site: Site, person: Person, desktop_id: str) -> SentAbout:
    """Send the action that destroys a desktop.

    Raises:
        NotFound, BeingCreated, AlreadyThere: see ``to_destroy``.
        Problem, InvalidInput, NeedsSignature, Unavailable, Denied, Misconfigured, Conflict: see ``send``.
    """
    with sending(site, person) as client:
        followed(site).repo.fetch()
        with site.once(open_view).reading() as reading:
            entry = to_destroy(reading.desktops, desktop_id)
            made = destruction(reading.desktops, entry, destroying)
        return send_about(site, client, desktop_id, made)


def _refused(what: str, remedy: str | None, field: str) -> Problem:
    message = ". ".join(filter(None, (what, remedy or "")))
    errors = [FieldError(field=field, message=message)]
    return Problem(status=422, what=UNREADABLE, errors=errors)
