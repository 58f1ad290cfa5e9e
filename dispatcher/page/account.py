"""All that the page shows of one action: its file, its approval, its run, its result."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from dispatcher.decide.placing import claimed, place
from dispatcher.decide.tiers import effective_tier
from dispatcher.engines import registry
from dispatcher.errors import DisintoError, NotFound
from dispatcher.model.approval_need import who
from dispatcher.model.run import Tier
from dispatcher.model.times import known_time
from dispatcher.operate.evidence import of_action, trusted_keys
from dispatcher.operate.files import read_action
from dispatcher.operate.lookup import Account, look_up, no_such
from dispatcher.ops_repo import OpsRepo, Tree
from dispatcher.page.acting import followed
from dispatcher.page.site import Site
from dispatcher.settings import Settings
from dispatcher.settings.jobs import job_classes
from dispatcher.status.action_record import ActionRecord

TEXT_LIMIT = 64 * 1024
"""Bytes of a file that are shown."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceFile:
    """The action's file, and the commit that brought its present content."""

    path: str
    text: str
    commit: str
    author: str
    committed_at: str | None
    subject: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Signature:
    """The check of a result's signature.

    Attributes:
        state: ``verified``, ``wrong``, or ``unknown`` if it cannot be checked here.
        key: id of the key that signed it.
        findings: what is wrong, or why it cannot be checked.
    """

    state: str
    key: str = ""
    findings: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Cancelling:
    """A request to cancel that is in the ops repo."""

    state: str
    by: str
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """One action.

    Attributes:
        action: the record that every command prints.
        author: who claims to have written it.
        file: None if it is gone.
        tier: as the dispatcher decided, else by the policy that is here; "" if unknown.
        tier_reason, need: why it has its tier, and whose approval that takes; "" if unknown.
        engine, engine_url: what runs it, and its own page about the run.
        signature: of its result.
        cancelling: None if nobody asked to cancel it.
        problems: what is wrong with its file.
        repeats, repeated_as: ids of the chain before and after it, with their verdicts.
    """

    action: ActionRecord
    author: str
    file: SourceFile | None
    result_path: str
    tier: str
    tier_reason: str
    need: str
    engine: str
    engine_url: str
    signature: Signature | None
    cancelling: Cancelling | None
    archived: bool
    problems: tuple[str, ...]
    repeats: Mapping[str, str]
    repeated_as: Mapping[str, str]

    @property
    def open(self) -> bool:
        """Whether it has no result in git yet."""
        return self.action.result is None


def report(site: Site, action_id: str) -> Report:
    """All about an action.

    Raises:
        NotFound: there is no such action.
        InvalidInput: the file at its result's path is not a result.
    """
    live, settings = followed(site), site.settings
    tree = tree_of(site, action_id)
    status = live.status
    standing = status.overview.find(action_id) if status is not None else None
    account = look_up(action_id, repo=live.repo, tree=tree, standing=standing)
    record = account.record()
    tier, tier_reason, need = _tier(settings, account)
    notes = status.overview.cancels if status is not None else ()
    note = next((each for each in notes if each.id == action_id), None)
    engine = account.result.engine if account.result is not None else None
    return Report(
        action=record,
        author=live.index.author(action_id),
        file=_file(live.repo, tree, account),
        result_path=account.result_path,
        tier=record.tier or tier,
        tier_reason=tier_reason,
        need=need,
        engine=engine.kind if engine else settings.scheduler if record.engine_id else "",
        engine_url=_engine_url(
            settings,
            kind=engine.kind if engine else settings.scheduler,
            job=engine.job if engine else record.engine_id or "",
            alloc=engine.alloc if engine else "",
        ),
        signature=_signature(site, tree, action_id) if account.result is not None else None,
        cancelling=Cancelling(state=note.state, by=note.by, reason=note.reason) if note else None,
        archived=account.archived,
        problems=tuple(str(problem) for problem in account.problems),
        repeats={link.id: link.verdict for link in account.repeats},
        repeated_as={link.id: link.verdict for link in account.repeated_as},
    )


def tree_of(site: Site, action_id: str) -> Tree:
    """The part of the tree that has this action, at the newest commit here.

    Raises:
        NotFound: no commit is here yet.
    """
    live = followed(site)
    head = live.repo.local_head()
    if head is None:
        raise no_such(action_id)
    return live.repo.tree_of(head.commit, action_id)


def _file(repo: OpsRepo, tree: Tree, account: Account) -> SourceFile | None:
    data = read_action(repo, tree, account.id) if account.path else None
    if data is None:
        return None
    change = repo.last_change(tree.commit, account.path)
    text = data[:TEXT_LIMIT].decode("utf-8", "replace") if isinstance(data, bytes) else ""
    return SourceFile(
        path=account.path,
        text=text,
        commit=change.sha if change else "",
        author=change.author_name if change else "",
        committed_at=known_time(change.committed_at) if change else None,
        subject=change.subject if change else "",
    )


def _tier(settings: Settings, account: Account) -> tuple[str, str, str]:
    """Its tier by the policy that is here, why it has that, and whose approval that takes."""
    from dispatcher.assembly import open_policy

    action = account.action
    if action is None:
        return "", "", ""
    try:
        policy = open_policy(settings)
        placing = place(job_classes(settings), action, path=account.path, source=claimed(action))
        decision = effective_tier(policy, action, placing)
    except DisintoError:
        return "", "", ""
    need = "" if decision.tier is Tier.LOW else who(decision.need, "an approver")
    return decision.tier.value, decision.reason, need


def _engine_url(settings: Settings, *, kind: str, job: str, alloc: str) -> str:
    """A result may name any engine, and any job: only the settings say where it is."""
    if not kind or kind != settings.scheduler:
        return ""
    return registry.get(settings.scheduler).web_url(settings, job=job, alloc=alloc)


def _signature(site: Site, tree: Tree, action_id: str) -> Signature:
    from dispatcher.assembly import open_vault
    from dispatcher.vault.transit import TransitKey

    settings = site.settings
    try:
        transit = TransitKey(open_vault(settings, os.environ), settings)
        keys = trusted_keys((), settings, transit)
        evidence = of_action(action_id, repo=followed(site).repo, tree=tree)
        verification = evidence.check(keys)
    except (DisintoError, NotFound, OSError) as error:
        return Signature(state="unknown", findings=(str(error),))
    if verification.verified:
        return Signature(state="verified", key=verification.keyid)
    findings = tuple(str(finding) for finding in verification.findings)
    return Signature(state="wrong", key=verification.keyid, findings=findings)
