"""A page as it is declared: its address, what answers it, and who may see it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pkgutil import iter_modules
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dispatcher.page.answers import Answer
    from dispatcher.page.visit import Visit

Handler = Callable[["Visit"], "Answer"]
"""Answers a visit. It runs on a thread of its own and may block."""

JSON_ENDING = ".json"

API, HEALTH = "/api/", "/health"
"""What is for programs alone: all below the one, and the other. It is JSON at its own address."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Page:
    """One page, and the same as JSON at its address followed by ``.json``.

    Attributes:
        path: as Starlette has it, such as ``/actions/{id}``.
        name: one word; the JSON of ``/`` is at ``/<name>.json``.
        handler: answers it.
        summary: what it is for, one sentence, for the OpenAPI document.
        method: of the requests that it takes.
        public: whether it is shown without a login.
        label: in the navigation, a message; "" if it is not listed there.
        order: of the entries of the navigation, the smallest first.
        answer: the type of its JSON; None for an object that is not described further.
        stream: whether it answers with events for as long as the browser listens.
        query: parameters of the address, by name, with what each is, one sentence.
        asks: the type of the JSON object that it takes; None for one that is not described.
        leads_away: whether it answers with the address of another site to go to (302).
        statuses: of problems that no other page has.
    """

    path: str
    name: str
    handler: Handler
    summary: str
    method: str = "GET"
    public: bool = False
    label: str = ""
    order: int = 100
    answer: type | None = None
    stream: bool = False
    query: Mapping[str, str] = field(default_factory=dict)
    asks: type | None = None
    leads_away: bool = False
    statuses: tuple[int, ...] = ()

    @property
    def json_path(self) -> str:
        """Where the same is as JSON."""
        if is_for_programs(self.path):
            return self.path
        return f"/{self.name}{JSON_ENDING}" if self.path == "/" else f"{self.path}{JSON_ENDING}"


def is_for_programs(path: str) -> bool:
    """Whether nothing at an address is for people, not even its errors."""
    return path.startswith(API) or path == HEALTH


def all_pages() -> Sequence[Page]:
    """The pages of every module in ``dispatcher.page.pages``, which are in its ``PAGES``."""
    from dispatcher.page import pages

    names = sorted(module.name for module in iter_modules(pages.__path__))
    modules = [import_module(f"{pages.__name__}.{name}") for name in names]
    return [page for module in modules for page in module.PAGES]
