"""What watches the issues of projects, and reports on them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING
from urllib.parse import quote

from dispatcher.assembly.parts import open_vault, token_of
from dispatcher.assembly.settings import Environ
from dispatcher.errors import Misconfigured
from dispatcher.settings import Settings

if TYPE_CHECKING:
    from dispatcher.decide.sidecar_rules import Sidecars
    from dispatcher.forge.exchange import Exchange
    from dispatcher.gate.issue_report import IssueReporter
    from dispatcher.gate.sourced import Written
    from dispatcher.loop.components import Components
    from dispatcher.operate.token_checks import Tokens
    from dispatcher.ops_repo import OpsRepo
    from dispatcher.sidecar.reading import IssueReads
    from dispatcher.sidecar.service import SidecarService
    from dispatcher.vault import Vault


def open_sidecars(components: Components, environ: Environ) -> SidecarService | None:
    """What watches the issues of projects; None without sidecars. Calls no server."""
    settings = components.settings
    if settings.sidecars.file is None:
        return None
    from dispatcher.sidecar.service import SidecarService

    rules, reporter = components.rules, components.issue_reporter
    return SidecarService(
        settings,
        rules=lambda: rules.sidecars,
        reads=open_issues(settings, environ),
        changed=components.sources_changed,
        **({} if reporter is None else {"budgets": reporter.report_budgets}),
    )


def open_issues(settings: Settings, environ: Environ) -> Callable[[str], IssueReads]:
    """Opens the issues of a project's repository. Calls no server; its first call may raise
    ``Misconfigured``, if there is no token.
    """
    from dispatcher.sidecar.service import reads_with

    return reads_with(
        settings, lambda: _reading_token(settings, environ, lambda: open_vault(settings, environ))
    )


def open_issue_tokens(settings: Settings, environ: Environ, vault: Callable[[], Vault]) -> Tokens:
    """The forge with the dispatcher's tokens for sidecars, to be checked. Calls no server."""
    from dispatcher.forge.issue_board import REPORT_ACCESS
    from dispatcher.operate.token_checks import Tokens
    from dispatcher.sidecar.service import ACCESS_WANTED, open_exchange, token_source

    keys = settings.sidecars

    def reading() -> Exchange:
        token = _reading_token(settings, environ, vault)
        return open_exchange(settings, token, source=token_source(settings), wanted=ACCESS_WANTED)

    def reports() -> Exchange | None:
        source, secret = keys.report_token_env, keys.report_token_secret
        token = token_of(environ, source, secret, vault)
        if not token:
            return None
        return open_exchange(settings, token, source=source, wanted=REPORT_ACCESS)

    return Tokens(reading=reading, reports=reports)


def open_issue_reporter(
    settings: Settings,
    environ: Environ,
    vault: Vault,
    *,
    repo: OpsRepo,
    written: Written,
    sidecars: Callable[[], Sidecars],
) -> IssueReporter | None:
    """What reports on issues how their sidecars ended; None without sidecars or without its token.

    Args:
        sidecars: the file in force.
    """
    if settings.sidecars.file is None:
        return None
    from dispatcher.forge.issue_board import IssueBoard
    from dispatcher.gate.issue_report import IssueReporter

    variable, secret = settings.sidecars.report_token_env, settings.sidecars.report_token_secret
    token = token_of(environ, variable, secret, lambda: vault)
    if not token:
        return None
    own = {"token_env": variable, "token_secret": secret}
    forge = settings.forge
    return IssueReporter(
        lambda repository: IssueBoard(
            forge.model_copy(update={"repository": repository, **own}), token=token
        ),
        files=repo,
        written=written,
        sidecars=sidecars,
        ops_repository=forge.repository,
        ops_web_url=f"{forge.url.rstrip('/')}/{quote(forge.repository)}"
        if forge.repository
        else "",
    )


def _reading_token(settings: Settings, environ: Environ, vault: Callable[[], Vault]) -> str:
    from dispatcher.sidecar.service import ACCESS_WANTED, token_source

    keys = settings.sidecars
    token = token_of(environ, keys.token_env, keys.token_secret, vault)
    if not token:
        raise Misconfigured(
            "the token that reads the projects' issues is missing",
            remedy=f"Set {token_source(settings)} to {ACCESS_WANTED}.",
        )
    return token
