"""Requests a cancellation through the ops repo, for clients without ledger and engine.

The request is sent as the action's tier requires, like the action itself: to the branch, signed, or as
a pull request. The dispatcher obeys it once it is approved as the action has to be.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dispatcher.decide.approvals import need_of
from dispatcher.decide.placing import claimed, place
from dispatcher.decide.tiers import effective_tier
from dispatcher.errors import Conflict, InvalidInput, Misconfigured, Problem
from dispatcher.gate.markdown import render
from dispatcher.model.action import InvalidAction, parse_action
from dispatcher.model.approval_need import Need, who
from dispatcher.model.cancel_request import CancelRequest, parse_cancel_request, reason_problem
from dispatcher.model.paths import ACTIONS_PATH, CANCEL_ENDING
from dispatcher.model.run import Tier
from dispatcher.operate.cancel import EndedAlready
from dispatcher.operate.lookup import no_such
from dispatcher.operate.proposed import branch_of
from dispatcher.operate.proposing import Draft, PullRequest
from dispatcher.operate.submission_client import NeedsSignature, SubmissionClient, standing
from dispatcher.ops_repo import ActionFile, NewFile, PushRefused
from dispatcher.ops_repo.person import push_signed, signing_commands, signs_by_default, work_tree_of
from dispatcher.settings import GateKind
from dispatcher.settings.jobs import job_classes


@dataclass(frozen=True, kw_only=True, slots=True)
class SentRequest:
    """A request to cancel that was sent.

    Attributes:
        summary: what was done with it, and what it waits for; for people.
        commit: the commit (hex) that contains it; "" if it was there already.
        request: its pull request, or None.
    """

    action_id: str
    summary: str
    tier: Tier
    commit: str = ""
    request: PullRequest | None = None


def ask_to_cancel(
    client: SubmissionClient, action_id: str, *, reason: str, sign: bool
) -> SentRequest:
    """Send a request to cancel to the ops repo, in the way that the action's tier requires.

    Raises:
        NotFound: there is no such action.
        EndedAlready: it has a result.
        InvalidInput: the reason is invalid.
        Conflict: there is another request for this action.
        NeedsSignature, Misconfigured: nothing could approve it as it would be sent.
        Unavailable, Denied: the remote or the forge.
    """
    if problem := reason_problem(reason):
        raise InvalidInput([Problem(message=problem, path="--reason")])
    client.repo.advance(client.tree, client.repo.fetch().commit)
    if client.tree.has_result(action_id):
        raise EndedAlready(f"action {action_id} has ended: {client.tree.result_path(action_id)}")
    action = client.tree.open.get(action_id)
    if action is None:
        raise no_such(action_id)
    request = CancelRequest(action_id=action_id, blob=action.blob, reason=reason)
    path = f"{ACTIONS_PATH}/{action_id}{CANCEL_ENDING}"
    tier, need = _judged(client, action)
    delivery = _Delivery(client=client, request=request, tier=tier, need=need, path=path)
    if action_id in client.tree.cancels:
        return delivery.already_sent()
    gate = client.settings.policy.gate
    if delivery.tier is Tier.LOW:
        return delivery.push(sign=sign)
    if gate is GateKind.FORGEJO:
        return delivery.propose()
    if gate is GateKind.SIGNED:
        return delivery.sign(sign=sign)
    raise Misconfigured(
        f"nothing can approve a request to cancel {action_id}: it is of tier {delivery.tier}, and no gate "
        "is configured ([policy] gate)",
        remedy=f"Run 'disinto cancel {action_id}' on the dispatcher's host.",
    )


def _judged(client: SubmissionClient, file: ActionFile) -> tuple[Tier, Need]:
    """The action's tier, and the approvals it needs, by the policy of this client; those of tier high
    if the file cannot be read.
    """
    unknown = Tier.HIGH, need_of(client.policy, Tier.HIGH, "")
    limit = client.settings.limits.max_action_bytes
    data = client.repo.read([file.blob], limit=limit)[file.blob] if file.regular else 0
    if isinstance(data, int):
        return unknown
    action = parse_action(data, path=file.path, stem=file.id, limit=limit)
    if isinstance(action, InvalidAction):
        return unknown
    placing = place(job_classes(client.settings), action, path=file.path, source=claimed(action))
    decision = effective_tier(client.policy, action, placing)
    return decision.tier, decision.need


@dataclass(frozen=True, kw_only=True)
class _Delivery:
    """Sends one request to cancel."""

    client: SubmissionClient
    request: CancelRequest
    tier: Tier
    need: Need
    path: str

    @property
    def _file(self) -> NewFile:
        return NewFile(path=self.path, data=self.request.to_toml())

    @property
    def _message(self) -> str:
        return f"Ask to cancel {self.request.action_id}"

    @property
    def _trailer(self) -> str:
        return self.client.place.trailer(self.path)

    def already_sent(self) -> SentRequest:
        return self._sent(f"{self.path} is in the ops repo already")

    def push(self, *, sign: bool) -> SentRequest:
        if sign:
            return self.sign(sign=True)
        try:
            published = self.client.repo.publish([self._file], message=self._message)
        except PushRefused:
            if self.client.settings.policy.gate is not GateKind.FORGEJO:
                raise
            return self.propose()  # the branch takes pull requests alone
        if self.path not in published.written:
            raise Conflict(f"somebody else has just sent {self.path}")
        return self._sent(f"{self.path} is pushed as {published.commit[:12]}", published.commit)

    def sign(self, *, sign: bool) -> SentRequest:
        settings = self.client.settings
        work_tree = work_tree_of(Path.cwd() / "x")
        if not sign and not signs_by_default(work_tree):
            by_hand = "\n    ".join(
                signing_commands(
                    [self._file],
                    branch=settings.ops_repo.branch,
                    message=self._message,
                    trailers=[self._trailer],
                )
            )
            raise NeedsSignature(
                f"nothing was sent: {self.request.action_id} is of tier {self.tier}, so the request "
                f'counts once a trusted key signs a commit with the line "{self._trailer}"',
                remedy="Run this again with --sign, to sign with your own git; or commit the "
                f"request as {self.path} yourself:\n    {by_hand}",
            )
        commit = push_signed(
            [self._file],
            work_tree=work_tree,
            remote=settings.ops_repo.remote,
            branch=settings.ops_repo.branch,
            message=self._message,
            trailers=[self._trailer],
        )
        return self._sent(f"{self.path} is pushed, signed by you, as {commit[:12]}", commit)

    def propose(self) -> SentRequest:
        client, action_id = self.client, self.request.action_id
        approvers = "" if self.tier is Tier.LOW else who(self.need, client.approvers)
        draft = Draft(
            what=f"the request to cancel {action_id}",
            file=self._file,
            branch=branch_of(action_id, cancels=True),
            message=self._message,
            title=f"Cancel {action_id} (tier {self.tier})",
            body=render(
                "actions/cancel_pull_request.md.j2", action_id=action_id, approvers=approvers
            ),
            same=self._is_about_the_same,
        )
        opened = client.propose(draft)
        summary = f"the request to cancel {action_id} {standing(opened, approvers)}"
        return self._sent(summary, opened.commit, opened.request)

    def _is_about_the_same(self, data: bytes) -> bool:
        """Whether another request cancels the same content; its reason may differ."""
        request = parse_cancel_request(data, path=self.path, action_id=self.request.action_id)
        return isinstance(request, CancelRequest) and request.blob == self.request.blob

    def _sent(
        self, summary: str, commit: str = "", request: PullRequest | None = None
    ) -> SentRequest:
        return SentRequest(
            action_id=self.request.action_id,
            summary=summary,
            tier=self.tier,
            commit=commit,
            request=request,
        )
