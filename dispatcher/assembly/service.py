"""Builds the dispatcher itself. The one place where all parts are joined."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from dispatcher.assembly.parts import (
    approvers_of,
    open_forge,
    open_gate,
    open_inventory,
    open_leadership,
    open_ledger,
    open_repo,
    open_scheduler,
    open_sources,
    open_steady_clock,
    open_vault,
)
from dispatcher.assembly.settings import Environ, open_settings, refuse_author
from dispatcher.assembly.sidecars import open_issue_reporter
from dispatcher.engines import registry
from dispatcher.errors import Misconfigured
from dispatcher.host.private import make_private, take_from_others
from dispatcher.model.mounts import Mount
from dispatcher.settings import GateKind, Settings
from dispatcher.settings.dynamic import variables_of
from dispatcher.settings.jobs import job_classes

if TYPE_CHECKING:
    from dispatcher.engines.base import Scheduler
    from dispatcher.loop.components import Components
    from dispatcher.loop.output_keeping import Outputs
    from dispatcher.loop.serve import Service
    from dispatcher.loop.view import View
    from dispatcher.notify.notifier import Notifier
    from dispatcher.ops_repo import OpsRepo
    from dispatcher.status.tracker import Tracker
    from dispatcher.trace.service import TracedService


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
            permissions=approvers_of(settings).by_permission,
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


def _ask_nothing(_number: int, _commit: str) -> None:
    """What is asked ahead without a forge."""


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
