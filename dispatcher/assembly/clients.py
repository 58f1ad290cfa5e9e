"""What sends files, shows and checks, without being the dispatcher."""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import quote

from dispatcher.assembly.parts import (
    open_forge,
    open_gate,
    open_leadership,
    open_ledger,
    open_policy,
    open_repo,
    open_scheduler,
    open_vault,
    web_client_secret,
)
from dispatcher.assembly.settings import Environ
from dispatcher.assembly.sidecars import open_issue_tokens, open_issues
from dispatcher.errors import Denied, Dependency, DisintoError
from dispatcher.model.mounts import Mount
from dispatcher.settings import GateKind, Settings
from dispatcher.settings.jobs import job_classes

if TYPE_CHECKING:
    from dispatcher.gate.base import Gate
    from dispatcher.operate.author_view import AuthorView
    from dispatcher.operate.doctor import Openers
    from dispatcher.operate.proposed import Proposed
    from dispatcher.operate.submission_client import SubmissionClient
    from dispatcher.ops_repo import OpsRepo

T = TypeVar("T")


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


def doctor_openers(settings: Settings, environ: Environ, *, repo: OpsRepo | None = None) -> Openers:
    """How each component that is checked is opened, when it is first asked for. Raises nothing itself.

    Args:
        repo: a clone that is open already; by default that of the state directory.
    """
    from dispatcher.operate.doctor import Openers

    vault = cache(lambda: open_vault(settings, environ))
    # The clone needs Vault only if its token is stored there.
    clone = cache(lambda: repo or open_repo(settings, environ, _reachable(vault)))
    with_forge = settings.policy.gate is GateKind.FORGEJO
    return Openers(
        repo=clone,
        vault=vault,
        ledger=lambda: open_ledger(settings, environ),
        leadership=lambda: open_leadership(settings, clone(), open_ledger(settings, environ)),
        policy=lambda: open_policy(settings),
        gate=lambda: open_gate(
            settings, clone(), open_forge(settings, environ, vault()) if with_forge else None
        ),
        forge=lambda: open_forge(settings, environ, vault()),
        issues=open_issues(settings, environ),
        issue_tokens=open_issue_tokens(settings, environ, vault),
        web_secret=lambda: web_client_secret(settings, environ),
    )
