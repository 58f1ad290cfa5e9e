"""Opens the parts that a dispatcher is made of, for itself, for commands and for the page."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from dispatcher.assembly.settings import Environ, refuse_author
from dispatcher.engines import registry
from dispatcher.errors import Misconfigured, reason_of
from dispatcher.settings import GateKind, Settings
from dispatcher.settings.addresses import is_loopback

if TYPE_CHECKING:
    from dispatcher.decide.policy import Policy
    from dispatcher.engines.base import Scheduler
    from dispatcher.forge import ForgeApi
    from dispatcher.gate import TieredGate
    from dispatcher.gate.approvers import Approvers
    from dispatcher.gate.asked_ahead import AskedAhead
    from dispatcher.gate.base import Gate
    from dispatcher.ledger.base import Ledger
    from dispatcher.loop.inventory import InventoryReader
    from dispatcher.loop.leader import Leadership
    from dispatcher.loop.steady_clock import SteadyClock
    from dispatcher.loop.verifying import Verifier
    from dispatcher.ops_repo import OpsRepo, Signers
    from dispatcher.sources import Source
    from dispatcher.vault import Vault


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

    token = token_of(environ, settings.forge.token_env, settings.forge.token_secret, lambda: vault)
    if not token:
        raise Misconfigured(
            "the forge's API token is missing",
            remedy=f"Set {token_source(settings.forge)} to {ACCESS_WANTED}.",
        )
    return ForgeApi(settings.forge, token=token)


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
                approvers=approvers_of(settings),
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


def approvers_of(settings: Settings) -> Approvers:
    """Who may approve on the forge."""

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


def _credential(
    settings: Settings, environ: Environ, vault: Vault | None
) -> Callable[[], str | None]:
    repo = settings.ops_repo

    def opened() -> Vault:
        return vault or open_vault(settings, environ)

    def credential() -> str | None:
        return token_of(environ, repo.token_env, repo.token_secret, opened) or None

    return credential


def token_of(environ: Environ, variable: str, secret: str, vault: Callable[[], Vault]) -> str:
    """A token from its environment variable, else from its secret in Vault; "" if neither is set."""
    token = environ.get(variable, "")
    if not token and secret:
        from dispatcher.vault.bot_secrets import bot_token

        token = bot_token(vault(), secret)
    return token
