"""Diagnoses an installation: checks every dependency, right and setting, each with a remedy.

Never raises: a dependency that is unavailable is a check that failed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from dispatcher.decide.policy import Policy
from dispatcher.engines import registry
from dispatcher.engines.job_classes import check_classes
from dispatcher.errors import DisintoError, InvalidInput
from dispatcher.forge import ForgeApi
from dispatcher.gate.base import Gate
from dispatcher.ledger.base import Ledger
from dispatcher.loop.leader import Leadership
from dispatcher.model.checks import Check, failed, looked
from dispatcher.model.paths import FORMULAS_PATH
from dispatcher.model.run import FormulaKind
from dispatcher.operate.approval_checks import check_approvals
from dispatcher.operate.desktop_checks import check_desktops
from dispatcher.operate.gate_checks import check_gate
from dispatcher.operate.in_force_checks import rules_in_force
from dispatcher.operate.machine_checks import (
    check_agent,
    check_formulas,
    check_git,
    check_state_dir,
    check_webhook,
)
from dispatcher.operate.ops_repo_checks import check_ops_repo
from dispatcher.operate.policy_checks import check_names, check_policy
from dispatcher.operate.preflight import formula_names
from dispatcher.operate.schedule_checks import check_schedules
from dispatcher.operate.sidecar_checks import check_sidecars, files_in
from dispatcher.operate.sink_checks import check_sinks
from dispatcher.operate.token_checks import Tokens
from dispatcher.operate.web_checks import check_web
from dispatcher.ops_repo import OpsRepo
from dispatcher.settings import Role, Settings, plain_addresses
from dispatcher.sidecar.reading import IssueReads
from dispatcher.vault import Grants, Vault
from dispatcher.vault.doctor import check_vault
from dispatcher.vault.page import is_page


@dataclass(frozen=True, kw_only=True)
class Openers:
    """Openers of the components; each may raise a ``DisintoError``."""

    repo: Callable[[], OpsRepo]
    vault: Callable[[], Vault]
    ledger: Callable[[], Ledger]
    leadership: Callable[[], Leadership]
    policy: Callable[[], Policy]
    gate: Callable[[], Gate]
    forge: Callable[[], ForgeApi]
    issues: Callable[[str], IssueReads] | None = None
    issue_tokens: Tokens | None = None
    web_secret: Callable[[], str] | None = None


def diagnose(
    settings: Settings, openers: Openers, environ: Mapping[str, str], *, read_only: bool = False
) -> Iterator[Check]:
    """Run all checks, in the order in which failures are best fixed; yields each when it is done.

    Args:
        read_only: for the web page: leave out what can only be found by writing to the remote, and if
            the page has a token of its own at Vault, what only the dispatcher may.
    """
    yield from looked("state directory", lambda: check_state_dir(settings))
    yield from looked("git", check_git)
    yield from looked(
        "ops repo",
        lambda: check_ops_repo(settings, openers.repo, openers.ledger, read_only=read_only),
    )
    yield from looked("policy", lambda: _policy(settings, openers))
    yield from looked("policy: formulas", lambda: _names(settings, openers))
    yield from looked("formulas", lambda: check_formulas(settings))
    yield from looked("schedules", lambda: _schedules(settings, openers))
    yield from looked("agent", lambda: check_agent(settings))
    if settings.role is Role.AUTHOR:
        yield Check(
            name="role",
            ok=True,
            detail="author client: ledger, Vault, engine and webhook belong to the dispatcher and "
            "are not checked from here",
        )
        yield from looked("gate", lambda: _gate(settings, openers))
        yield from looked("desktops", lambda: _desktops(settings, openers))
        yield from _encryption(settings)
        return
    yield from looked("ledger", lambda: _ledger(openers))
    if read_only and _as_page(settings, openers):
        yield from looked("vault", lambda: check_vault(openers.vault(), settings))
        yield Check(
            name="web page",
            ok=True,
            detail="it has permissions of its own: what the dispatcher may do at Vault and at the "
            "engine is not checked from here",
        )
        yield from _encryption(settings)
        return
    yield from looked("lead", lambda: _lead(openers))
    yield from looked("vault", lambda: check_vault(openers.vault(), settings))
    engine = registry.get(settings.scheduler)
    yield from looked(engine.name, lambda: engine.checks(settings, environ))
    yield from looked("job classes", lambda: check_classes(settings))
    yield from looked("desktops", lambda: _desktops(settings, openers))
    yield from looked("gate", lambda: _gate(settings, openers))
    yield from looked("approvals", lambda: _approvals(settings, openers))
    if (issues := openers.issues) is not None:
        yield from looked("sidecars", lambda: _sidecars(settings, openers, issues))
    yield from looked("webhook", lambda: check_webhook(settings, environ))
    yield from looked("notify", lambda: check_sinks(settings, environ))
    if (web_secret := openers.web_secret) is not None:
        yield from looked("web", lambda: check_web(settings, web_secret))
    yield from _encryption(settings)


def wrong_settings(error: DisintoError) -> list[Check]:
    """The checks for settings that cannot be read."""
    if isinstance(error, InvalidInput):
        return [Check(name="settings", ok=False, detail=str(p), remedy="") for p in error.problems]
    return [failed("settings", error)]


def _sidecars(
    settings: Settings, openers: Openers, issues: Callable[[str], IssueReads]
) -> Iterator[Check]:
    files = files_in(openers.repo())
    return check_sidecars(settings, openers.policy(), issues, files, openers.issue_tokens)


def _desktops(settings: Settings, openers: Openers) -> Iterator[Check]:
    author = settings.role is Role.AUTHOR
    secrets = None if author else lambda: Grants(openers.vault(), settings).secret_names()
    return check_desktops(settings, openers.policy, files_in(openers.repo()), secrets)


def _schedules(settings: Settings, openers: Openers) -> Iterator[Check]:
    head = (repo := openers.repo()).local_head()
    if head is not None:
        yield from check_schedules(
            settings, repo, commit=head.commit, policy=openers.policy(), gate=openers.gate()
        )


def _policy(settings: Settings, openers: Openers) -> Iterator[Check]:
    yield from rules_in_force(settings)
    yield from check_policy(openers.policy(), settings.policy.file)


def _names(settings: Settings, openers: Openers) -> Iterator[Check]:
    """Whether the formulas exist that the policy's controls name. An author's machine may lack those
    of the operator's directory.
    """
    file, folder = settings.policy.file, settings.formulas.path
    head = (repo := openers.repo()).local_head()
    if file is None or head is None or settings.role is Role.AUTHOR:
        return
    if folder is not None and not folder.is_dir():
        return  # which fails a check of its own
    kinds = {f".{kind}" for kind in FormulaKind}
    paths = map(PurePosixPath, repo.directory(head.commit, FORMULAS_PATH))
    known = {path.stem for path in paths if path.suffix in kinds}
    known |= formula_names(folder) if folder else set()
    yield from check_names(openers.policy(), file, known)


def _as_page(settings: Settings, openers: Openers) -> bool:
    """Whether this is the web page with permissions of its own; False if Vault is unavailable, or answers nonsense."""
    try:
        return is_page(openers.vault(), settings)
    except Exception:  # noqa: BLE001 - which fails a check of its own
        return False


def _ledger(openers: Openers) -> Iterator[Check]:
    claims = openers.ledger().open_runs()
    yield Check(name="ledger", ok=True, detail=f"{len(claims)} open claims")


def _lead(openers: Openers) -> Iterator[Check]:
    report = openers.leadership().report()
    obstacle = report.obstacle()
    if obstacle is not None:
        yield failed("lead", obstacle)
    elif report.value is None:
        detail = "no installation leads this ops repo yet; the next 'disinto serve' will"
        yield Check(name="lead", ok=True, detail=detail)
    else:
        yield Check(name="lead", ok=True, detail=f"this installation: {report.instance}")


def _gate(settings: Settings, openers: Openers) -> Iterator[Check]:
    openers.gate()
    yield from check_gate(settings, openers.forge)


def _approvals(settings: Settings, openers: Openers) -> Iterator[Check]:
    yield from check_approvals(openers.policy(), settings, openers.forge)


def _encryption(settings: Settings) -> Iterator[Check]:
    """Warnings about plain http to another machine, which works but is not private."""
    for plain in plain_addresses(settings):
        name = f"encryption: {plain.key}"
        yield Check(name=name, ok=True, detail=plain.warning, remedy=plain.remedy)
