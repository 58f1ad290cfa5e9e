"""Watcher and source as one: what ``serve`` starts and stops."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

from dispatcher.decide.sidecar_rules import Sidecars
from dispatcher.decide.sidecars import Decision
from dispatcher.forge.exchange import Exchange
from dispatcher.forge.issues import IssuesApi
from dispatcher.settings import Settings
from dispatcher.sidecar.reading import IssueReads
from dispatcher.sidecar.source import SidecarSource
from dispatcher.sidecar.watcher import Watcher

ACCESS_WANTED = (
    "a token that reads: of an account that administers the projects' repositories, with the scopes "
    "read:repository and read:issue"
)
"""The token needed, for messages."""


class SidecarService:
    """Watches issues within its ``with`` block.

    Args:
        rules: those in force.
        reads: opens the issues of a repository.
        changed: called when the sources should be asked again.
        budgets: reports budgets that are used up; see ``Watcher``.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        rules: Callable[[], Sidecars],
        reads: Callable[[str], IssueReads],
        changed: Callable[[], None],
        budgets: Callable[[Sequence[Decision]], object] = len,
    ) -> None:
        self._rules = rules
        self.watcher = Watcher(
            reads,
            changed=changed,
            budgets=budgets,
            poll_interval_s=settings.sidecars.poll_interval_s,
        )
        self.source = SidecarSource(rules, self.watcher, state_dir=settings.state_dir)

    def __enter__(self) -> Self:
        self.watcher.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.watcher.stop()

    def watched(self, repository: str) -> bool:
        """Whether a repository's issues are watched; its name in lower case."""
        projects = self._rules().projects.values()
        return any(project.repository.lower() == repository for project in projects)


def reads_with(settings: Settings, token: Callable[[], str]) -> Callable[[str], IssueReads]:
    """Opens the issues of repositories, over one client that is made at the first call.

    Args:
        token: the reading token; may raise ``DisintoError``.
    """
    made: list[Exchange] = []

    def reads(repository: str) -> IssueReads:
        if not made:
            source = token_source(settings)
            made.append(open_exchange(settings, token(), source=source, wanted=ACCESS_WANTED))
        return IssuesApi(made[0], repository)

    return reads


def open_exchange(settings: Settings, token: str, *, source: str, wanted: str) -> Exchange:
    """A client of the forge.

    Args:
        source, wanted: where the token comes from, and which is needed; for messages.

    Raises:
        Misconfigured: the address is not one, or the CA certificate cannot be read.
    """
    return Exchange(
        url=settings.forge.url,
        token=token,
        cacert=settings.forge.cacert,
        timeout_s=settings.forge.timeout_s,
        token_source=source,
        transport=None,
        wanted=wanted,
    )


def token_source(settings: Settings) -> str:
    """Where the reading token comes from, for messages."""
    secret = settings.sidecars.token_secret
    variable = f"the environment variable {settings.sidecars.token_env}"
    return f"{variable}, or the secret {secret} ([sidecars] token_secret)," if secret else variable
