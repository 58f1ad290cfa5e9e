"""The checks of ``disinto doctor`` for the ops repo: reached, pushed to, and what its history lost."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from dispatcher.errors import PermanentError
from dispatcher.ledger.base import Ledger
from dispatcher.loop.tombstones import NOTE
from dispatcher.model.checks import Check, looked
from dispatcher.model.times import rfc3339
from dispatcher.ops_repo import OpsRepo
from dispatcher.settings import Role, Settings


def check_ops_repo(
    settings: Settings,
    opened: Callable[[], OpsRepo],
    ledger: Callable[[], Ledger],
    *,
    read_only: bool,
) -> Iterator[Check]:
    """Whether the remote can be read and written, and what is kept of its history.

    Args:
        opened: opens the clone; may raise a ``DisintoError``.
        ledger: opens the ledger; may raise a ``DisintoError``.
        read_only: whether what writes to the remote is left out.

    Raises:
        DisintoError: the remote cannot be read.
    """
    if not settings.ops_repo.remote:
        yield Check(
            name="ops repo",
            ok=False,
            detail="no remote is configured",
            remedy="Set [ops_repo] remote, or begin with: disinto init DIR",
        )
        return
    repo = opened()
    head, losses = repo.fetch(), repo.losses()
    branch = settings.ops_repo.branch
    yield Check(name="ops repo", ok=True, detail=f"{branch} is at {head.commit[:12]}")
    if not read_only:
        yield from looked("ops repo: push", lambda: _push(settings, repo))
    if settings.role is Role.DISPATCHER:
        yield from looked("ops repo: memory", lambda: _memory(repo, ledger()))
    if settings.role is Role.DISPATCHER and not read_only:
        yield from looked("ops repo: output", lambda: _output(settings, repo))
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
            detail=f"approvals given before {rfc3339(losses[-1].at)} do not count: what happened on "
            "the branch before was lost with the clone",
            remedy="Approve again what still waits; see docs/approval.md.",
        )


def _memory(repo: OpsRepo, ledger: Ledger) -> Iterator[Check]:
    """Our two copies of the last head that a dispatcher processed."""
    note = ledger.note(NOTE)
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


def _push(settings: Settings, repo: OpsRepo) -> Iterator[Check]:
    """Whether results could be pushed. A dry run, which does not check hooks and branch protection."""
    repo.try_push()
    detail = f"push to {settings.ops_repo.branch} allowed (hooks and branch protection not checked)"
    yield Check(name="ops repo: push", ok=True, detail=detail)


def _output(settings: Settings, repo: OpsRepo) -> Iterator[Check]:
    """Whether the remote takes refs/disinto/logs: one such ref is pushed and removed, because a dry
    run does not reach what would refuse it.
    """
    name, output = "ops repo: output", settings.output
    if not output.keep:
        yield Check(name=name, ok=True, detail="the whole output of runs is not kept")
        return
    try:
        repo.outputs.probe()
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
