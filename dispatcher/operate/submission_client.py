"""The submission client: sends and follows actions from a person's machine.

It always has a clone of the ops repo, has ledger and engine if they can be reached, and a forge if one
is configured. It decides nothing about runs: that is up to ``serve``, wherever it runs.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path

from dispatcher.decide.policy import Policy
from dispatcher.engines.base import Scheduler
from dispatcher.errors import Conflict, DisintoError, Exit, Misconfigured, PermanentError
from dispatcher.forge import ForgeApi
from dispatcher.gate.trailer import Place
from dispatcher.ledger.base import Ledger
from dispatcher.loop.formulas import FormulaStore
from dispatcher.loop.nudge import nudge
from dispatcher.model.approval_need import who
from dispatcher.model.run import Tier
from dispatcher.operate.follow import Follower, Viewer
from dispatcher.operate.proposed import branch_of, forget
from dispatcher.operate.proposing import Draft, Opened, PullRequest, propose
from dispatcher.operate.pull_request_text import pull_request_text
from dispatcher.operate.submission import (
    Submission,
    approval_missing,
    message_of,
    need_of_submission,
    needs_approval,
    prepare,
    send,
    sent_meanwhile,
)
from dispatcher.ops_repo import NewFile, OpsRepo, PushRefused, Tree
from dispatcher.ops_repo.person import (
    FileThere,
    push_signed,
    signing_commands,
    signs_by_default,
    work_tree_of,
)
from dispatcher.ops_repo.work_tree import follow_with
from dispatcher.settings import GateKind, Role, Settings


class NeedsSignature(PermanentError):
    """The action runs only from a signed commit, and was to be sent without a signature."""

    exit_code = Exit.NOPERM


@dataclass(frozen=True, kw_only=True, slots=True)
class Sent:
    """An action that was sent.

    Attributes:
        summary: what was done with it, and what it waits for; for people.
        tier: which approval it needs.
        commit: the commit (hex) that added it, on the branch or on that of its pull request;
            "" if the file was there already.
        request: its pull request; None if it went to the branch itself.
        stuck: whether nothing can approve it with these settings, so that waiting is pointless.
    """

    action_id: str
    summary: str
    tier: Tier
    commit: str = ""
    request: PullRequest | None = None
    stuck: bool = False

    @property
    def state(self) -> str:
        """``proposed`` while only a pull request contains it, else ``waiting``."""
        return "proposed" if self.request else "waiting"


@dataclass(kw_only=True)
class SubmissionClient:
    """Sends, proposes and follows actions.

    Args:
        repo: with the person's name as author.
        secrets: lists the vault's names; raises if the vault cannot be reached from here.
        ledger, scheduler: None if they are out of reach.
        forge: opens the forge; called only when the gate is ``forgejo``.
        approvers: who may approve, for people.
    """

    settings: Settings
    repo: OpsRepo
    formula_store: FormulaStore
    policy: Policy
    secrets: Callable[[], Collection[str]]
    ledger: Ledger | None
    scheduler: Scheduler | None
    forge: Callable[[], ForgeApi]
    approvers: str = "an administrator"
    tree: Tree = field(default_factory=Tree)
    _request: int = 0

    def send(self, file: Path, *, sign: bool, data: bytes | None = None) -> Sent:
        """Check a file and send it to the ops repo, in the way that its tier requires.

        Args:
            sign: whether to sign the commit as the person.
            data: the file's bytes, if it does not exist yet.

        Raises:
            InvalidInput, NotFound, AlreadyThere: see ``prepare``.
            Unavailable, Denied: the remote or the forge.
            Misconfigured: there is nothing to sign with.
            Conflict: the branch of its pull request exists with other content.
            NeedsSignature: it must be signed, and signing was not requested.
        """
        submission = self.check(file, data=data)
        action_id = submission.action.id
        if submission.there:
            summary = f"{action_id} is in the ops repo already"
            summary = _with(summary, approval_missing(submission, self.settings))
            return self._sent(submission, summary)
        if needs_approval(submission) and self.settings.policy.gate is GateKind.FORGEJO:
            return self._propose(submission, file)
        signed = self.settings.policy.gate is GateKind.SIGNED and needs_approval(submission)
        if sign or (signed and signs_by_default(work_tree_of(file))):
            commit = self._push_signed(submission, file)
            summary = f"{action_id} is pushed, signed by you, as {commit[:12]}"
            summary = _with(summary, _raised(submission))
        elif signed:
            raise self._unsigned(submission)
        else:
            try:
                commit = send(submission, self.repo)
            except PushRefused:
                if self.settings.policy.gate is not GateKind.FORGEJO:
                    raise
                return self._propose(submission, file)  # the branch takes pull requests alone
            summary = f"{action_id} is pushed as {commit[:12]}"
            summary = _with(summary, approval_missing(submission, self.settings))
        if self.settings.role is Role.DISPATCHER:
            nudge(self.settings.state_dir)
        summary = _with(summary, follow_with(file, path=submission.path, commit=commit))
        return self._sent(submission, summary, commit=commit)

    def check(self, file: Path, *, data: bytes | None = None) -> Submission:
        """Check a file against the present head, and send nothing.

        Args:
            data: the file's bytes, if it does not exist yet.

        Raises:
            InvalidInput, NotFound, AlreadyThere: see ``prepare``.
            Unavailable, Denied: the remote.
        """
        self.look()
        return prepare(
            file,
            repo=self.repo,
            tree=self.tree,
            formula_store=self.formula_store,
            policy=self.policy,
            settings=self.settings,
            secrets=self._names(),
            data=data,
        )

    def look(self) -> None:
        """Bring the tree to the remote's present head.

        Raises:
            Unavailable, Denied, Misconfigured: the remote.
        """
        self.repo.advance(self.tree, self.repo.fetch().commit)

    @property
    def place(self) -> Place:
        """Repository and branch in approvals of gate ``signed``."""
        return Place.of(self.settings)

    def follower(self, viewer: Viewer, *, wait_merge: bool) -> Follower:
        """A follower of one action; with ``wait_merge`` also of one whose pull request is still open."""
        return Follower(
            repo=self.repo,
            ledger=self.ledger,
            scheduler=self.scheduler,
            settings=self.settings,
            viewer=viewer,
            tree=self.tree,
            unmerged=self._unmerged if wait_merge else None,
        )

    def _names(self) -> Collection[str] | None:
        """The vault's names if this person may list them; ``serve`` checks them in any case."""
        try:
            return self.secrets()
        except DisintoError:
            return None

    def _sent(self, submission: Submission, summary: str, *, commit: str = "") -> Sent:
        return Sent(
            action_id=submission.action.id,
            summary=summary,
            tier=submission.tier.tier,
            commit=commit,
            stuck=needs_approval(submission) and self.settings.policy.gate is GateKind.NONE,
        )

    def _push_signed(self, submission: Submission, file: Path) -> str:
        try:
            return push_signed(
                [_file(submission)],
                work_tree=work_tree_of(file),
                remote=self.settings.ops_repo.remote,
                branch=self.settings.ops_repo.branch,
                message=message_of(submission),
                trailers=[self._trailer(submission)],
            )
        except FileThere:
            raise sent_meanwhile(submission) from None

    def _unsigned(self, submission: Submission) -> NeedsSignature:
        """The error of an unsigned submission, with the commands that sign it."""
        commands = signing_commands(
            [_file(submission)],
            branch=self.settings.ops_repo.branch,
            message=message_of(submission),
            trailers=[self._trailer(submission)],
        )
        by_hand = "\n    ".join(commands)
        return NeedsSignature(
            f"nothing was sent: {approval_missing(submission, self.settings)}",
            remedy="Run this again with --sign, to sign with your own git; or in a work tree of "
            f"yours that holds the file:\n    {by_hand}",
        )

    def _trailer(self, submission: Submission) -> str:
        """The line by which a signed commit approves the action."""
        return self.place.trailer(submission.path)

    def propose(self, draft: Draft) -> Opened:
        """Open a pull request, or find the one that is open.

        Raises:
            Conflict, Unavailable, Denied: see ``proposing.propose``.
        """
        opened = propose(
            draft, repo=self.repo, forge=self.forge(), base=self.settings.ops_repo.branch
        )
        forget(self.settings.state_dir)
        return opened

    def _propose(self, submission: Submission, file: Path) -> Sent:
        action = submission.action
        needed = needs_approval(submission)
        approvers = who(need_of_submission(submission), self.approvers) if needed else ""
        text = pull_request_text(
            action=action,
            path=submission.path,
            action_text=submission.data.decode("utf-8", "replace"),
            tier=submission.tier,
            formula=submission.formula.ref,
            formula_path=submission.formula.path,
            formula_text=submission.formula.text.decode("utf-8", "replace"),
            approvers=approvers,
        )
        draft = Draft(
            what=action.id,
            file=_file(submission),
            branch=branch_of(action.id),
            message=message_of(submission),
            title=text.title,
            body=text.body,
            same=lambda data: data == submission.data,
        )
        opened = self.propose(draft)
        request = opened.request
        self._request = request.number
        summary = f"{action.id} {standing(opened, approvers)}"
        summary = _with(summary, _raised(submission))
        if not opened.again:
            summary = _with(summary, follow_with(file, path=submission.path, commit=opened.commit))
        return Sent(
            action_id=action.id,
            summary=summary,
            tier=submission.tier.tier,
            commit=opened.commit,
            request=request,
        )

    def _unmerged(self, action_id: str) -> str:
        """The state of an action that is not on the branch yet.

        Raises:
            Conflict: its pull request was closed without being merged.
        """
        if self.settings.policy.gate is not GateKind.FORGEJO:
            raise Misconfigured(
                f"{action_id} is not in the ops repo, and no forge is configured",
                remedy='Leave out --wait-merge, or set [policy] gate = "forgejo".',
            )
        branch = branch_of(action_id)
        if not self._request:
            base = self.settings.ops_repo.branch
            existing = self.forge().open_request_from(head=branch, base=base)
            if existing is None:
                return f"waits until it is merged: no pull request from branch {branch} is open"
            self._request = existing.number
        request = self.forge().request(self._request)
        if request is not None and request.state == "closed" and not request.merged:
            raise Conflict(f"pull request {self._request} was closed without being merged")
        return f"waits until pull request {self._request} is merged"


def standing(opened: Opened, approvers: str) -> str:
    """What a pull request waits for, as the rest of a sentence.

    Args:
        approvers: who may approve it; "" if being merged is enough.
    """
    waits = f"waits for approval by {approvers}" if approvers else "waits until it is merged"
    already = "is already proposed, and " if opened.again else ""
    return f"{already}{waits}: {opened.request.where}"


def _file(submission: Submission) -> NewFile:
    return NewFile(path=submission.path, data=submission.data)


def _raised(submission: Submission) -> str:
    """What raised the tier, in words; "" if nothing did."""
    tier = submission.tier
    return f"tier {tier.tier}: {tier.raised}" if tier.raised else ""


def _with(summary: str, missing: str) -> str:
    return f"{summary}; {missing}" if missing else summary
