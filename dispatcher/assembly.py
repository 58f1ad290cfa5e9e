"""The assembly: builds the components from the settings. The one place where all are joined."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import quote, urlsplit

from dispatcher.engines import registry
from dispatcher.errors import Denied, Dependency, DisintoError, Misconfigured, reason_of
from dispatcher.host.private import make_private, take_from_others
from dispatcher.model.mounts import Mount
from dispatcher.settings import (
    GateKind,
    Role,
    Settings,
    load_settings,
    settings_origin,
)
from dispatcher.settings.addresses import is_loopback
from dispatcher.settings.dynamic import variables_of
from dispatcher.settings.jobs import job_classes

if TYPE_CHECKING:
    from dispatcher.decide.policy import Policy
    from dispatcher.decide.sidecar_rules import Sidecars
    from dispatcher.engines.base import Scheduler
    from dispatcher.forge import ForgeApi
    from dispatcher.forge.exchange import Exchange
    from dispatcher.gate import TieredGate
    from dispatcher.gate.approvers import Approvers
    from dispatcher.gate.asked_ahead import AskedAhead
    from dispatcher.gate.base import Gate
    from dispatcher.gate.issue_report import IssueReporter
    from dispatcher.gate.sourced import Written
    from dispatcher.ledger.base import Ledger
    from dispatcher.loop.components import Components
    from dispatcher.loop.inventory import InventoryReader
    from dispatcher.loop.leader import Leadership
    from dispatcher.loop.output_keeping import Outputs
    from dispatcher.loop.serve import Service
    from dispatcher.loop.steady_clock import SteadyClock
    from dispatcher.loop.verifying import Verifier
    from dispatcher.loop.view import View
    from dispatcher.notify.notifier import Notifier
    from dispatcher.operate.author_view import AuthorView
    from dispatcher.operate.doctor import Openers
    from dispatcher.operate.proposed import Proposed
    from dispatcher.operate.submission_client import SubmissionClient
    from dispatcher.operate.token_checks import Tokens
    from dispatcher.ops_repo import OpsRepo, Signers
    from dispatcher.settings_origin import Origin
    from dispatcher.sidecar.reading import IssueReads
    from dispatcher.sidecar.service import SidecarService
    from dispatcher.sources import Source
    from dispatcher.status.status_file import Given
    from dispatcher.status.tracker import Tracker
    from dispatcher.trace.service import TracedService
    from dispatcher.vault import Vault

T = TypeVar("T")

Environ = Mapping[str, str]


def open_settings(config: Path | None, environ: Environ = os.environ) -> Settings:
    """The settings of this command, with the bots of the projects in ``sidecars.toml``.

    Raises:
        InvalidSettings: with every problem and its place.
        InvalidInput, Misconfigured: ``sidecars.toml``, see ``load_sidecars``.
    """
    settings = load_settings(config, environ)
    if settings.sidecars.file is None or settings.role is Role.AUTHOR:
        return settings
    from dispatcher.decide.project_bots import with_project_bots
    from dispatcher.decide.sidecar_rules import load_sidecars

    return with_project_bots(settings, load_sidecars(settings.sidecars.file))


def open_origin(config: Path | None, environ: Environ = os.environ) -> Origin | None:
    """See ``settings_origin``."""
    return settings_origin(config, environ)


def given(settings: Settings, origin: Origin | None) -> Given | None:
    """What the status file contains of the settings; None if their origin is unknown."""
    from dispatcher.loop.rule_files import watched
    from dispatcher.status.status_file import Given

    if origin is None:
        return None
    engine = registry.get(settings.scheduler)
    kept_logs = engine.kept_logs(settings)
    return Given(
        origin=origin,
        role=settings.role.value,
        proposals=settings.policy.gate is GateKind.FORGEJO,
        rules=watched(settings),
        kept_logs=kept_logs,
        kept=engine.kept_output(settings) if kept_logs else "",
    )


def refuse_author(settings: Settings, what: str) -> None:
    """Refuse what only makes sense on the dispatcher's host.

    Args:
        what: the subject of the sentence, such as ``'disinto serve'``.

    Raises:
        Misconfigured: this is an author client.
    """
    if settings.role is Role.AUTHOR:
        raise Misconfigured(
            f'{what} is not available on an author client (role = "author" in disinto.toml)',
            remedy="Run it on the dispatcher's host, with the settings of 'disinto serve'",
        )


def open_vault(settings: Settings, environ: Environ) -> Vault:
    """Vault, with the dispatcher's own login; connects at the first call."""
    from dispatcher.vault import Vault

    return Vault(settings.vault, environ=environ, connections=settings.limits.workers)


def open_repo(
    settings: Settings,
    environ: Environ,
    vault: Vault | None = None,
    *,
    git_dir: Path | None = None,
) -> OpsRepo:
    """The clone of the ops repo; created at the first fetch.

    Args:
        git_dir: of a clone other than that of the state directory.
    """
    from dispatcher.ops_repo import OpsRepo

    return OpsRepo(
        git_dir=git_dir or settings.state_dir / "ops.git",
        settings=settings.ops_repo,
        credential=_credential(settings, environ, vault),
    )


def open_ledger(settings: Settings, environ: Environ) -> Ledger:
    """The ledger that goes with the engine.

    Raises:
        Misconfigured: an author client has none.
    """
    refuse_author(settings, "the ledger")
    return registry.get(settings.scheduler).ledger(settings, environ)


def open_leadership(settings: Settings, repo: OpsRepo, ledger: Ledger) -> Leadership:
    """Whether this installation may start runs for the ops repo."""
    from dispatcher.audit import AuditLog
    from dispatcher.loop.leader import Leadership

    audit = AuditLog(settings.state_dir / "audit.jsonl")
    return Leadership(ref=repo.lead, ledger=ledger, audit=audit)


def open_scheduler(
    settings: Settings, environ: Environ, *, wake: Callable[[], None] = lambda: None
) -> Scheduler:
    """The engine; ``wake`` is called when a run may have changed.

    Raises:
        Misconfigured: an author client has none.
    """
    refuse_author(settings, "the engine")
    return registry.get(settings.scheduler).scheduler(settings, environ, wake=wake)


def open_policy(settings: Settings) -> Policy:
    """The policy; without a file every formula is of tier high.

    Raises:
        InvalidInput: the file is invalid.
    """
    from dispatcher.decide.policy import load_policy

    return load_policy(settings.policy.file)


def open_forge(settings: Settings, environ: Environ, vault: Vault) -> ForgeApi:
    """The forge's API.

    Raises:
        Misconfigured: its address or token is missing.
    """
    from dispatcher.forge import ACCESS_WANTED, ForgeApi, token_source

    token = _token(environ, settings.forge.token_env, settings.forge.token_secret, lambda: vault)
    if not token:
        raise Misconfigured(
            "the forge's API token is missing",
            remedy=f"Set {token_source(settings.forge)} to {ACCESS_WANTED}.",
        )
    return ForgeApi(settings.forge, token=token)


def open_client(
    settings: Settings, environ: Environ, *, author: tuple[str, str] | None
) -> SubmissionClient:
    """What sends files to the ops repo, with the components reachable from here.

    Args:
        author: name and e-mail address for commits; None for those of the settings.
    """
    from dispatcher.gate.approvers import Approvers
    from dispatcher.loop.formulas import FormulaStore
    from dispatcher.operate.submission_client import SubmissionClient
    from dispatcher.vault import Grants

    if author:
        names = {"author_name": author[0], "author_email": author[1]}
        own = settings.ops_repo.model_copy(update=names)
        settings = settings.model_copy(update={"ops_repo": own})
    vault = open_vault(settings, environ)
    repo = open_repo(settings, environ, vault)
    return SubmissionClient(
        settings=settings,
        repo=repo,
        formula_store=FormulaStore(folder=settings.formulas.path, repo=repo),
        policy=open_policy(settings),
        secrets=Grants(vault, settings).secret_names,
        ledger=_reachable(lambda: open_ledger(settings, environ)),
        scheduler=_reachable(lambda: open_scheduler(settings, environ)),
        approvers=str(
            Approvers(logins=settings.forge.approvers, team=settings.forge.approver_team)
        ),
        forge=lambda: open_forge(settings, environ, vault),
    )


def open_personal_client(
    settings: Settings, *, token: str, author: tuple[str, str], git_dir: Path
) -> SubmissionClient:
    """What sends files to the ops repo as a person of the forge, with that person's own token: the
    forge's records name who pushed, and who opened a pull request.

    The token goes to the forge alone, whatever other address the remote has. Ledger, engine and Vault are
    not opened.

    Args:
        author: name and e-mail address for commits.
        git_dir: the clone; created if it does not exist.
    """
    from dispatcher.forge import ForgeApi
    from dispatcher.gate.approvers import Approvers
    from dispatcher.loop.formulas import FormulaStore
    from dispatcher.operate.submission_client import SubmissionClient
    from dispatcher.ops_repo import OpsRepo

    forge = settings.forge
    own = settings.ops_repo.model_copy(
        update={
            "remote": f"{forge.url.rstrip('/')}/{quote(forge.repository)}.git",
            "token_env": "",
            "token_secret": "",
            "author_name": author[0],
            "author_email": author[1],
        }
    )
    repo = OpsRepo(git_dir=git_dir, settings=own, credential=lambda: token)
    return SubmissionClient(
        settings=settings,
        repo=repo,
        formula_store=FormulaStore(folder=settings.formulas.path, repo=repo),
        policy=open_policy(settings),
        secrets=_unlisted,
        ledger=None,
        scheduler=None,
        approvers=str(Approvers(logins=forge.approvers, team=forge.approver_team)),
        forge=lambda: ForgeApi(forge, token=token),
    )


def _unlisted() -> Collection[str]:
    """The secrets' names, for a process that may not list them; ``serve`` checks them."""
    raise Denied(Dependency.VAULT, "this process may not list secrets")


def _reachable(opened: Callable[[], T]) -> T | None:
    try:
        return opened()
    except DisintoError:
        return None


def web_client_secret(settings: Settings, environ: Environ) -> str:
    """The client secret of the page's application on the forge: of its variable, else its file, else Vault.

    Raises:
        Misconfigured: it is missing, or its file cannot be read.
        Unavailable, Denied: Vault.
    """
    from dispatcher.host.held_secrets import hold

    web = settings.web
    name = "client secret of the page"
    if secret := environ.get(web.client_secret_env, "").strip():
        return hold(name, secret)
    if web.client_secret_file is None and not web.client_secret_name:
        what = f"the variable {web.client_secret_env} is not set ([web] client_secret_env)"
        raise Misconfigured(what, remedy="Set it to the client secret of the page's application.")
    if web.client_secret_file is None:
        from dispatcher.vault.bot_secrets import bot_token

        return bot_token(open_vault(settings, environ), web.client_secret_name)
    try:
        secret = web.client_secret_file.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        what = (
            f"[web] client_secret_file {web.client_secret_file} cannot be read: {reason_of(error)}"
        )
        raise Misconfigured(what) from None
    if not secret:
        raise Misconfigured(f"[web] client_secret_file {web.client_secret_file} is empty")
    return hold(name, secret)


def open_gate(
    settings: Settings,
    repo: OpsRepo,
    forge: ForgeApi | None,
    trusted: Callable[[], Signers] | None = None,
    ahead: AskedAhead | None = None,
) -> TieredGate:
    """The gate for all tiers.

    Args:
        trusted: the trusted signers, called at each check; by default the files of the settings.
        ahead: what is asked about requests whose merge a webhook reports.
    """
    from dispatcher.gate import NoGate, TieredGate

    match settings.policy.gate:
        case GateKind.FORGEJO if forge is not None:
            from dispatcher.gate.forgejo import ForgejoGate

            configured: Gate = ForgejoGate(
                forge=forge,
                history=repo,
                branch=settings.ops_repo.branch,
                approvers=_approvers(settings),
                ahead=ahead,
            )
        case GateKind.SIGNED:
            from dispatcher.gate.signed import SignedGate
            from dispatcher.gate.trailer import Place
            from dispatcher.loop.rules import signers
            from dispatcher.ops_repo.trusted_people import trusted_people

            whose = trusted or partial(signers, settings)
            configured = SignedGate(
                history=repo,
                verify=lambda commit: repo.signature(commit, whose()),
                place=Place.of(settings),
                trusted=lambda: trusted_people(whose()).names,
            )
        case _:
            configured = NoGate()
    return TieredGate(configured, history=repo)


def _ask_nothing(_number: int, _commit: str) -> None:
    """What is asked ahead without a forge."""


def _approvers(settings: Settings) -> Approvers:
    from dispatcher.gate.approvers import Approvers

    return Approvers(logins=settings.forge.approvers, team=settings.forge.approver_team)


def open_inventory(settings: Settings, repo: OpsRepo, verifier: Verifier) -> InventoryReader:
    """Reads what runs created; keeps what it verified in the state directory."""
    from dispatcher.loop.inventory import InventoryReader
    from dispatcher.loop.inventory_cache import FactCache

    return InventoryReader(repo, verifier, FactCache(settings.state_dir))


def open_steady_clock(settings: Settings, vault: Vault) -> SteadyClock:
    """The clock by which what has a lifetime is destroyed. Calls no server."""
    from dispatcher.loop.steady_clock import CLOCK_RECORD, ClockRecord, SteadyClock

    return SteadyClock(
        ClockRecord(settings.state_dir / CLOCK_RECORD),
        vault=vault.server_time,
        same_machine=is_loopback(urlsplit(vault.addr).hostname or ""),
    )


def open_sources(
    settings: Settings, repo: OpsRepo, inventory: InventoryReader, vault: Vault
) -> tuple[Source, ...]:
    """What starts actions by itself; nothing if nothing is signed."""
    from dispatcher.loop.expiry import Expiry
    from dispatcher.loop.formulas import FormulaStore
    from dispatcher.loop.signing import id_secret
    from dispatcher.sources.schedules import Schedules

    if not settings.attestation.enabled:
        return ()
    formulas = FormulaStore(folder=settings.formulas.path, repo=repo)
    secret = id_secret(settings, vault)
    limit = settings.limits.max_action_bytes
    schedules = Schedules(repo, limit=limit, secret=secret)
    return (schedules, Expiry(repo, inventory, secret, formulas.given, limit=limit))


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
    token = _token(environ, variable, secret, lambda: vault)
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


def build_components(
    settings: Settings,
    *,
    environ: Environ = os.environ,
    scheduler: Scheduler | None = None,
    settings_file: Path | None = None,
    repo: OpsRepo | None = None,
) -> Components:
    """The components of a service. Opens files, calls no server.

    Raises:
        Misconfigured: this is an author client.

    Args:
        settings: see ``open_settings``.
        environ: for tokens.
        scheduler: replaces the one that the settings name.
        settings_file: the settings file, if its changes are to be reported.
        repo: a clone other than that of the state directory.
    """
    from dispatcher.audit import AuditLog
    from dispatcher.gate.sourced import SourcedGate
    from dispatcher.loop.component_warnings import component_warnings
    from dispatcher.loop.components import Components, WakeUp
    from dispatcher.loop.formulas import FormulaStore
    from dispatcher.loop.inventory_files import InventoryFiles
    from dispatcher.loop.output_keeping import NoOutputs
    from dispatcher.loop.outputs import KeptOutputs
    from dispatcher.loop.own_settings import OwnSettings
    from dispatcher.loop.rules import Rules
    from dispatcher.loop.signing import (
        action_signer,
        result_signer,
        result_verifier,
        written_verifier,
    )
    from dispatcher.vault import Grants

    refuse_author(settings, "a dispatcher")
    make_private(settings.state_dir)
    take_from_others(settings.state_dir / "ops.git")
    vault = open_vault(settings, environ)
    repo = repo or open_repo(settings, environ, vault)
    wake = WakeUp()
    forge, reporter, ahead = None, None, None
    if settings.policy.gate is GateKind.FORGEJO:
        from dispatcher.gate.asked_ahead import AskedAhead
        from dispatcher.gate.landing import Landings
        from dispatcher.gate.report import ForgeReporter

        forge = open_forge(settings, environ, vault)
        ahead = AskedAhead(
            forge,
            branch=settings.ops_repo.branch,
            permissions=_approvers(settings).by_permission,
        )
        reporter = ForgeReporter(
            forge,
            branch=settings.ops_repo.branch,
            landings=Landings(forge, repo, branch=settings.ops_repo.branch),
            contains=lambda head, commit: repo.is_ancestor(commit, head),
            web_url=forge.web_url,
            status=settings.forge.status,
            comment=settings.forge.comment,
        )
    scheduler = scheduler or open_scheduler(settings, environ, wake=wake)
    ledger = open_ledger(settings, environ)
    leadership = open_leadership(settings, repo, ledger)
    audit, own = AuditLog(settings.state_dir / "audit.jsonl"), None
    if settings_file is not None:
        own = OwnSettings(
            path=settings_file,
            in_force=settings,
            read=lambda: open_settings(settings_file, environ),
        )
    rules = Rules(
        settings, audit, webhook=not environ.get(settings.http.webhook_secret_env), own=own
    )
    steady_clock = open_steady_clock(settings, vault)
    outputs: Outputs = NoOutputs()
    if settings.output.keep:
        outputs = KeptOutputs(settings, scheduler, record=steady_clock.record)
    warnings = component_warnings(settings, scheduler, repo, outputs)
    verifier = result_verifier(settings, vault)
    inventory = open_inventory(settings, repo, verifier)
    written = written_verifier(settings, verifier)
    issue_reporter = open_issue_reporter(
        settings, environ, vault, repo=repo, written=written, sidecars=lambda: rules.sidecars
    )
    return Components(
        settings=settings,
        rules=rules,
        repo=repo,
        formula_store=FormulaStore(folder=settings.formulas.path, repo=repo),
        gate=SourcedGate(
            open_gate(settings, repo, forge, lambda: rules.signers, ahead),
            files=repo,
            written=written,
            entries=InventoryFiles(repo, inventory, ledger),
            limit=settings.limits.max_action_bytes,
        ),
        grants=Grants(vault, settings),
        ledger=ledger,
        scheduler=scheduler,
        sign_result=result_signer(settings, vault),
        verifier=verifier,
        sign_action=action_signer(settings, vault),
        written=written,
        sources=open_sources(settings, repo, inventory, vault),
        audit=audit,
        wake=wake,
        leadership=leadership,
        inventory=inventory,
        steady_clock=steady_clock,
        reporter=reporter,
        issue_reporter=issue_reporter,
        forge_calls=(lambda: forge.calls) if forge is not None else None,
        ask_ahead=ahead.ask if ahead is not None else _ask_nothing,
        warnings=lambda: (*leadership.warnings(), *rules.warnings(), *warnings()),
        obstacle=registry.get(settings.scheduler).obstacle(settings, environ),
        outputs=outputs,
    )


def doctor_openers(settings: Settings, environ: Environ, *, repo: OpsRepo | None = None) -> Openers:
    """How each component that is checked is opened.

    Args:
        repo: a clone that is open already; by default that of the state directory.
    """
    from dispatcher.operate.doctor import Openers

    vault = open_vault(settings, environ)
    clone = repo or open_repo(settings, environ, vault)
    with_forge = settings.policy.gate is GateKind.FORGEJO
    return Openers(
        repo=lambda: clone,
        vault=lambda: vault,
        ledger=lambda: open_ledger(settings, environ),
        leadership=lambda: open_leadership(settings, clone, open_ledger(settings, environ)),
        policy=lambda: open_policy(settings),
        gate=lambda: open_gate(
            settings, clone, open_forge(settings, environ, vault) if with_forge else None
        ),
        forge=lambda: open_forge(settings, environ, vault),
        issues=open_issues(settings, environ),
        issue_tokens=open_issue_tokens(settings, environ, vault),
        web_secret=lambda: web_client_secret(settings, environ),
    )


def build_view(components: Components) -> View:
    """A fresh view of the ops repo."""
    from dispatcher.loop.intake import Intake
    from dispatcher.loop.view import View

    settings = components.settings
    offered = registry.get(settings.scheduler).mounts(settings)
    intake = Intake(
        repo=components.repo,
        formula_store=components.formula_store,
        policy=components.rules.policy,
        mounts=frozenset(Mount if offered is None else offered),
        limit=settings.limits.max_action_bytes,
        variables=variables_of(settings.vault),
        classes=job_classes(settings),
        written=components.written,
    )
    return View(components=components, intake=intake, revision=components.rules.fence.revision)


def build_author_view(settings: Settings, environ: Environ, repo: OpsRepo) -> AuthorView:
    """The view of an author client; it calls only the remote and the forge."""
    from dispatcher.loop.formulas import FormulaStore
    from dispatcher.loop.intake import Intake
    from dispatcher.operate.author_view import AsClaimed, AuthorView

    def gate() -> Gate:
        with_forge = settings.policy.gate is GateKind.FORGEJO
        forge = open_forge(settings, environ, open_vault(settings, environ)) if with_forge else None
        return open_gate(settings, repo, forge)

    intake = Intake(
        repo=repo,
        formula_store=FormulaStore(folder=settings.formulas.path, repo=repo),
        policy=open_policy(settings),
        mounts=frozenset(Mount),
        limit=settings.limits.max_action_bytes,
        classes=job_classes(settings),
        written=AsClaimed(),  # it runs nothing
    )
    return AuthorView(repo=repo, intake=intake, gate=gate)


def proposals(settings: Settings, environ: Environ) -> tuple[tuple[Proposed, ...], str]:
    """Open pull requests with actions, and the error if they cannot be listed; see ``proposed``."""
    if settings.policy.gate is not GateKind.FORGEJO:
        return (), ""
    from dispatcher.operate.proposed import proposed

    return proposed(
        lambda: open_forge(settings, environ, open_vault(settings, environ)),
        branch=settings.ops_repo.branch,
        state_dir=settings.state_dir,
    )


def build_service(components: Components, tracker: Tracker) -> Service:
    """The dispatcher itself."""
    from dispatcher.loop.serve import Service

    return Service(components, view=lambda: build_view(components), tracker=tracker)


def open_notifier(settings: Settings, environ: Environ, tracker: Tracker) -> Notifier | None:
    """The notifier as configured; None without sinks. Calls no server.

    Args:
        tracker: notified of sinks that fail.
    """
    if not settings.notify:
        return None
    from dispatcher.notify.notifier import Notifier
    from dispatcher.notify.sinks import notices_of, open_sink
    from dispatcher.notify.store import Store

    return Notifier(
        settings.notify,
        store=Store(settings.state_dir),
        notices=notices_of(settings, environ),
        open_sink=lambda sink: open_sink(sink, environ),
        tracker=tracker,
    )


def open_traces(components: Components) -> TracedService | None:
    """The components wrapped so that each action leaves a trace; None without a collector. Calls no
    server.

    Raises:
        Misconfigured: the packages for traces are missing.
    """
    if not components.settings.trace.endpoint:
        return None
    try:
        from dispatcher.trace.provider import open_spans
        from dispatcher.trace.service import TracedService
    except ImportError as error:
        raise Misconfigured(
            f"[trace] endpoint is set, and the package {error.name} is missing",
            remedy="Install it with `pip install 'disinto-dispatcher[trace]'`, or remove the key.",
        ) from error
    return TracedService(components, open_spans(components.settings))


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


def open_issue_tokens(settings: Settings, environ: Environ, vault: Vault) -> Tokens:
    """The forge with the dispatcher's tokens for sidecars, to be checked. Calls no server."""
    from dispatcher.forge.issue_board import REPORT_ACCESS
    from dispatcher.operate.token_checks import Tokens
    from dispatcher.sidecar.service import ACCESS_WANTED, open_exchange, token_source

    keys = settings.sidecars

    def reading() -> Exchange:
        token = _reading_token(settings, environ, lambda: vault)
        return open_exchange(settings, token, source=token_source(settings), wanted=ACCESS_WANTED)

    def reports() -> Exchange | None:
        source, secret = keys.report_token_env, keys.report_token_secret
        token = _token(environ, source, secret, lambda: vault)
        if not token:
            return None
        return open_exchange(settings, token, source=source, wanted=REPORT_ACCESS)

    return Tokens(reading=reading, reports=reports)


def _reading_token(settings: Settings, environ: Environ, vault: Callable[[], Vault]) -> str:
    from dispatcher.sidecar.service import ACCESS_WANTED, token_source

    keys = settings.sidecars
    token = _token(environ, keys.token_env, keys.token_secret, vault)
    if not token:
        raise Misconfigured(
            "the token that reads the projects' issues is missing",
            remedy=f"Set {token_source(settings)} to {ACCESS_WANTED}.",
        )
    return token


def _credential(
    settings: Settings, environ: Environ, vault: Vault | None
) -> Callable[[], str | None]:
    repo = settings.ops_repo

    def opened() -> Vault:
        return vault or open_vault(settings, environ)

    def credential() -> str | None:
        return _token(environ, repo.token_env, repo.token_secret, opened) or None

    return credential


def _token(environ: Environ, variable: str, secret: str, vault: Callable[[], Vault]) -> str:
    """A token from its environment variable, else from its secret in Vault; "" if neither is set."""
    token = environ.get(variable, "")
    if not token and secret:
        from dispatcher.vault.bot_secrets import bot_token

        token = bot_token(vault(), secret)
    return token
