"""Diagnoses an installation: checks every dependency, right and setting, each with a remedy.

Never raises: a dependency that is unavailable is a check that failed.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from dispatcher.decide.policy import Policy
from dispatcher.engines import registry
from dispatcher.engines.job_classes import check_classes
from dispatcher.errors import DisintoError, InvalidInput, PermanentError
from dispatcher.forge import ForgeApi
from dispatcher.gate.base import Gate
from dispatcher.gate.trailer import Place
from dispatcher.host.private import open_to_others
from dispatcher.ledger.base import Ledger
from dispatcher.loop.leader import Leadership
from dispatcher.loop.own_settings import SETTINGS
from dispatcher.loop.rule_files import digest, read_rules, superseded, watched
from dispatcher.loop.tombstones import NOTE
from dispatcher.model.checks import Check, failed, looked
from dispatcher.model.paths import FORMULAS_PATH
from dispatcher.model.run import FormulaKind
from dispatcher.model.times import rfc3339
from dispatcher.operate.approval_checks import check_approvals
from dispatcher.operate.desktop_checks import check_desktops
from dispatcher.operate.policy_checks import check_names, check_policy
from dispatcher.operate.preflight import formula_names
from dispatcher.operate.schedule_checks import check_schedules
from dispatcher.operate.sidecar_checks import check_sidecars, files_in
from dispatcher.operate.signer_checks import check_signers
from dispatcher.operate.sink_checks import check_sinks
from dispatcher.operate.token_checks import Tokens
from dispatcher.operate.web_checks import check_web
from dispatcher.ops_repo import OpsRepo
from dispatcher.ops_repo.signatures import TRAILER
from dispatcher.settings import GateKind, Role, Settings, plain_addresses
from dispatcher.sidecar.reading import IssueReads
from dispatcher.status import status_file
from dispatcher.vault import Grants, Vault
from dispatcher.vault.doctor import check_vault
from dispatcher.vault.page import is_page

OLDEST_GIT = (2, 36)
SHORTEST_HOOK_SECRET = 16


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
    yield from _state_dir(settings)
    yield from looked("git", _git)
    yield from looked("ops repo", lambda: _remote(settings, openers, read_only=read_only))
    yield from looked("policy", lambda: _policy(settings, openers))
    yield from looked("policy: formulas", lambda: _names(settings, openers))
    yield from looked("formulas", lambda: _formulas(settings))
    yield from looked("schedules", lambda: _schedules(settings, openers))
    yield from looked("agent", lambda: _agent(settings))
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
    if read_only and is_page(openers.vault(), settings):
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
    yield from looked("webhook", lambda: _webhook(settings, environ))
    yield from looked("notify", lambda: check_sinks(settings, environ))
    if (web_secret := openers.web_secret) is not None:
        yield from looked("web", lambda: check_web(settings, web_secret))
    yield from _encryption(settings)


def settings_in_force(settings: Settings, file: Path | None) -> Iterator[Check]:
    """Whether a ``serve`` that runs here was started with the settings as they are now."""
    status = status_file.read(settings.state_dir)
    if file is None or status is None or not status.fresh:
        return
    started = status.overview.rules.get(SETTINGS)
    if started and started != digest(read_rules(file)):
        yield Check(
            name="serve: settings in force",
            ok=True,
            detail=f"{file} was changed, which takes effect when 'disinto serve' is restarted",
            remedy="Restart 'disinto serve'; runs go on meanwhile. 'disinto status' has the keys.",
        )


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


def _state_dir(settings: Settings) -> Iterator[Check]:
    state_dir = settings.state_dir
    existing = next(f for f in (state_dir, *state_dir.parents) if f.exists())
    ok = existing.is_dir() and os.access(existing, os.W_OK | os.X_OK)
    yield Check(
        name="state directory",
        ok=ok,
        detail=f"{state_dir}" if ok else f"{existing} cannot be written",
        remedy="" if ok else "Set state_dir, or make it writable for this user.",
    )
    if settings.role is Role.DISPATCHER and open_to_others(state_dir):
        yield Check(
            name="state directory: private",
            ok=False,
            detail=f"the state directory {state_dir} is readable by others: it holds claims with the "
            "keys of outcomes, and accessors of grants",
            remedy=f"Give the dispatcher a directory of its own, and run: chmod 700 {state_dir}",
        )


def _git() -> Iterator[Check]:
    program = shutil.which("git")
    if program is None:
        yield Check(
            name="git", ok=False, detail="git is not installed", remedy="Install git 2.36 or newer."
        )
        return
    version = subprocess.run(
        [program, "--version"], capture_output=True, text=True, check=False, timeout=30
    ).stdout.strip()
    numbers = tuple(int(number) for number in re.findall(r"\d+", version)[:2])
    ok = numbers >= OLDEST_GIT
    yield Check(
        name="git", ok=ok, detail=version, remedy="" if ok else "Install git 2.36 or newer."
    )


def _remote(settings: Settings, openers: Openers, *, read_only: bool) -> Iterator[Check]:
    repo = settings.ops_repo
    if not repo.remote:
        yield Check(
            name="ops repo",
            ok=False,
            detail="no remote is configured",
            remedy="Set [ops_repo] remote, or begin with: disinto init DIR",
        )
        return
    head, losses = openers.repo().fetch(), openers.repo().losses()
    yield Check(name="ops repo", ok=True, detail=f"{repo.branch} is at {head.commit[:12]}")
    if not read_only:
        yield from looked("ops repo: push", lambda: _push(settings, openers))
    if settings.role is Role.DISPATCHER:
        yield from looked("ops repo: memory", lambda: _memory(openers))
    if settings.role is Role.DISPATCHER and not read_only:
        yield from looked("ops repo: output", lambda: _output(settings, openers))
    if head.rewritten:
        yield Check(
            name="ops repo: history",
            ok=False,
            detail=f"the history was rewritten since {(head.seen or '')[:12]}",
            remedy="Protect the branch; 'disinto serve' makes sure that nothing runs twice.",
        )
    if losses:
        yield Check(
            name="ops repo: approvals",
            ok=True,
            detail=f"approvals given before {rfc3339(losses[-1].at)} do not count: what happened "
            "on "
            "the branch before was lost with the clone",
            remedy="Approve again what still waits; see docs/approval.md.",
        )


def _memory(openers: Openers) -> Iterator[Check]:
    """Our two copies of the last head that a dispatcher processed."""
    repo, note = openers.repo(), openers.ledger().note(NOTE)
    seen, noted = repo.seen(), note.text if note else ""
    missing = noted and not repo.has_commit(noted)
    troubles = [seen.damage] if seen.damage else []
    if missing:
        troubles.append(f"the ledger names commit {noted[:12]}, which the clone does not have")
    last = (noted or seen.commit)[:12]
    detail = f"the last head that a dispatcher processed is {last}" if last else "none yet"
    remedy = (
        "No id runs twice because of this. If both copies are unusable, the next 'disinto serve' "
        "keeps every open action from running: see docs/operations.md."
    )
    yield Check(
        name="ops repo: memory",
        ok=True,
        detail="; ".join(troubles) or detail,
        remedy=remedy if troubles else "",
    )


def _push(settings: Settings, openers: Openers) -> Iterator[Check]:
    """Whether results could be pushed. A dry run, which does not check hooks and branch protection."""
    openers.repo().try_push()
    detail = f"push to {settings.ops_repo.branch} allowed (hooks and branch protection not checked)"
    yield Check(name="ops repo: push", ok=True, detail=detail)


def _output(settings: Settings, openers: Openers) -> Iterator[Check]:
    """Whether the remote takes refs/disinto/logs: one such ref is pushed and removed, because a dry
    run does not reach what would refuse it.
    """
    name, output = "ops repo: output", settings.output
    if not output.keep:
        yield Check(name=name, ok=True, detail="the whole output of runs is not kept")
        return
    try:
        openers.repo().outputs.probe()
    except PermanentError as error:
        yield Check(
            name=name,
            ok=False,
            detail=f"the whole output of runs is not kept: {error.what}",
            remedy="Let the remote take and remove refs/disinto/logs/*, or set [output] keep = "
            "false. Results are pushed nevertheless.",
        )
        return
    months = f"for {output.keep_months} months" if output.keep_months else "without limit"
    detail = f"the whole output of runs is kept {months}, on refs/disinto/logs/YYYY-MM"
    yield Check(name=name, ok=True, detail=detail)


def _policy(settings: Settings, openers: Openers) -> Iterator[Check]:
    yield from _in_force(settings)
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


def _in_force(settings: Settings) -> Iterator[Check]:
    """Whether a ``serve`` that runs here has loaded the files of the rules as they are."""
    status = status_file.read(settings.state_dir)
    if status is None or not status.fresh:
        return
    for older in superseded(status.overview.rules, watched(settings)):
        remedy = "Correct what the checks below find in the file; 'disinto status' has the error."
        yield Check(name="serve: rules in force", ok=True, detail=older, remedy=remedy)


def _formulas(settings: Settings) -> Iterator[Check]:
    directory = settings.formulas.path
    if directory is None:
        yield Check(name="formulas", ok=True, detail="only those of the ops repo")
        return
    if not directory.is_dir():
        yield Check(
            name="formulas",
            ok=False,
            detail=f"there is not a directory {directory}",
            remedy="Create it, or change [formulas] path.",
        )
        return
    mode = directory.stat().st_mode
    yield Check(
        name="formulas",
        ok=not mode & 0o002,
        detail=f"{directory}" + (", which everybody can write" if mode & 0o002 else ""),
        remedy=f"Run: chmod o-w {directory}" if mode & 0o002 else "",
    )


def _agent(settings: Settings) -> Iterator[Check]:
    command = settings.agent.command
    if not command:
        yield Check(name="agent", ok=True, detail="none: formulas of kind .toml cannot run")
        return
    engine = registry.get(settings.scheduler)
    path = engine.agent_path(settings)
    if path is None:
        yield Check(name="agent", ok=True, detail=f"{command[0]}, looked up inside the job")
        return
    program = shutil.which(command[0], path=path)
    yield Check(
        name="agent",
        ok=program is not None,
        detail=program or f"{command[0]} is not on the PATH of formulas",
        remedy="" if program else f"Install it, or change [agent] command or [{engine.name}] path.",
    )


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
    match settings.policy.gate:
        case GateKind.NONE:
            detail = "none: actions of tier medium and high cannot be approved"
            yield Check(name="gate", ok=True, detail=detail)
        case GateKind.SIGNED:
            yield from signed_gate(settings)
            yield from check_signers(settings)
        case GateKind.FORGEJO if settings.role is Role.AUTHOR:
            # Only what an author needs: their token may have no permission to read accounts.
            openers.forge().open_requests()
            where = f"{settings.forge.url.rstrip('/')}/{settings.forge.repository}"
            detail = f"forgejo: the pull requests of {where} can be read with this token"
            yield Check(name="gate", ok=True, detail=detail)
        case GateKind.FORGEJO:
            me = openers.forge().me()
            detail = f"forgejo: authenticated to {settings.forge.url} as {me.login}"
            yield Check(name="gate", ok=True, detail=detail)


def _approvals(settings: Settings, openers: Openers) -> Iterator[Check]:
    yield from check_approvals(openers.policy(), settings, openers.forge)


def signed_gate(settings: Settings) -> Iterator[Check]:
    """What approvals must contain, and whether the repository's name in them is configured."""
    place = Place.of(settings)
    line = f"{TRAILER}: {place.repository}@{place.branch} <id, or formulas/<file>>"
    yield Check(
        name="gate", ok=True, detail=f'signed: a trusted key signs a commit with the line "{line}"'
    )
    if not settings.gate.repository:
        yield Check(
            name="gate: repository",
            ok=True,
            detail=f"approvals name {place.repository}, the end of the remote's address; another "
            "installation whose remote has the same ending accepts them too",
            remedy=f'Set [gate] repository to a name of its own, such as "{place.repository}".',
        )


def _encryption(settings: Settings) -> Iterator[Check]:
    """Warnings about plain http to another machine, which works but is not private."""
    for plain in plain_addresses(settings):
        name = f"encryption: {plain.key}"
        yield Check(name=name, ok=True, detail=plain.warning, remedy=plain.remedy)


def _webhook(settings: Settings, environ: Mapping[str, str]) -> Iterator[Check]:
    secret = environ.get(settings.http.webhook_secret_env, "").encode()
    file = settings.http.webhook_secret_file
    if not secret and file is not None:
        secret = file.read_bytes().strip()
    if not secret:
        every = f"{settings.ops_repo.poll_interval_s:g} s"
        yield Check(name="webhook", ok=True, detail=f"no secret: serve polls every {every}")
        return
    ok = len(secret) >= SHORTEST_HOOK_SECRET
    yield Check(
        name="webhook",
        ok=ok,
        detail=f"its secret has {len(secret)} bytes",
        remedy="" if ok else "Use 16 bytes or more, e.g. from `openssl rand -hex 32`.",
    )
