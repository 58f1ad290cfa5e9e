"""Whose a token is, and whether it reads the ops repo: what the web page asks about people."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated
from urllib.parse import quote, urlsplit

import httpx
from pydantic import BeforeValidator, Field, TypeAdapter

from dispatcher.errors import Dependency, Unavailable
from dispatcher.forge.exchange import Exchange, parse
from dispatcher.forge.records import Answer
from dispatcher.settings import ForgeSettings

WANTED = "a valid token of an account that may read the ops repo"

_LONGEST = 100
_UNFIT = re.compile(r"[^\w .,'()+-]+")
_EMAIL = re.compile(r"[\w.+-]{1,100}@[A-Za-z0-9.-]{1,100}", re.ASCII)


class Access(StrEnum):
    """What a token is worth to the page."""

    READ = "read"
    NONE = "none"  # its account may not read the ops repo, or the token lacks the scope
    INVALID = "invalid"  # no account has it


@dataclass(frozen=True, kw_only=True, slots=True)
class Account:
    """The account of a token.

    Attributes:
        number: by which the forge knows it; the login may change.
        name, email: for commits: never empty, and without what a commit cannot hold.
    """

    number: int
    login: str
    name: str
    email: str = field(repr=False)


class _User(Answer):
    id: int
    login: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,100}$")]
    full_name: Annotated[str, BeforeValidator(lambda raw: raw or "")] = ""
    email: Annotated[str, BeforeValidator(lambda raw: raw or "")] = ""


class _Rights(Answer):
    pull: bool


class _Repository(Answer):
    full_name: str
    permissions: _Rights


_USER = TypeAdapter(_User)
_REPOSITORY = TypeAdapter(_Repository)


class Accounts:
    """Asks a forge about tokens, each with the token itself. Thread-safe.

    Args:
        transport: for tests: replaces the network.

    Raises:
        Misconfigured: see ``Exchange``.
    """

    def __init__(
        self, settings: ForgeSettings, *, transport: httpx.BaseTransport | None = None
    ) -> None:
        self._repository = settings.repository
        self._host = urlsplit(settings.url).hostname or "localhost"
        self._http = Exchange(
            url=settings.url,
            token="",
            cacert=settings.cacert,
            timeout_s=settings.timeout_s,
            token_source="the request's token",  # noqa: S106 - a phrase
            transport=transport,
            wanted=WANTED,
        )

    def of(self, token: str) -> tuple[Access, Account | None]:
        """Whose a token is, and whether it reads the ops repo; no account unless it does.

        Raises:
            Unavailable: the forge gives no usable answer.
        """
        status, body = self._http.probe("/user", token=token)
        if status != 200:
            return _refused(status, "/user"), None
        user = parse(body, _USER, "GET /user")
        if user.id < 1:  # a ghost, or the account of the forge's own jobs
            return Access.INVALID, None
        owner, _, name = self._repository.partition("/")
        path = f"/repos/{quote(owner, safe='')}/{quote(name, safe='')}"
        status, body = self._http.probe(path, token=token)
        if status != 200:
            return _refused(status, path), None
        found = parse(body, _REPOSITORY, f"GET {path}")
        if found.full_name.lower() != self._repository.lower() or not found.permissions.pull:
            return Access.NONE, None
        return Access.READ, _account(user, self._host)


def _refused(status: int, path: str) -> Access:
    match status:
        case 401:
            return Access.INVALID
        case 403 | 404:
            return Access.NONE
    raise Unavailable(Dependency.FORGE, f"the forge answered {status} to GET {path}")


def _account(user: _User, host: str) -> Account:
    """People choose their names: these become part of commits."""
    name = " ".join(_UNFIT.sub(" ", user.full_name).split()).strip(" .,'")[:_LONGEST]
    own = f"@noreply.{host}"
    given = user.email if _EMAIL.fullmatch(user.email) else ""
    # An address of that kind could be somebody else's.
    email = given if given and not given.lower().endswith(own) else f"{user.login}{own}"
    return Account(number=user.id, login=user.login, name=name or user.login, email=email)
