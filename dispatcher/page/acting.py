"""What the page sends to the ops repo, as the person who is logged in and by the ways of the commands."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from dispatcher.errors import Denied, Dependency, DisintoError
from dispatcher.loop.formulas import FormulaStore
from dispatcher.model.paths import ACTION_ENDING
from dispatcher.model.run import Formula
from dispatcher.operate.provisioned_actions import NewAction
from dispatcher.operate.request_cancel import SentRequest, ask_to_cancel
from dispatcher.operate.submission_client import Sent, SubmissionClient
from dispatcher.ops_repo import Tree
from dispatcher.page.language import mark
from dispatcher.page.live import Live
from dispatcher.page.problems import Problem
from dispatcher.page.sessions import Person
from dispatcher.page.site import Site


@dataclass(frozen=True, kw_only=True, slots=True)
class SentAbout:
    """What was sent about something that a provisioner makes.

    Attributes:
        id: of what it makes.
        action: id of the action.
        state: ``waiting``, or ``proposed`` while only a pull request has it.
        summary: what was done, and what it waits for.
        commit: that added it; None if it was there.
        request: address of its pull request; None if it needs none.
    """

    id: str
    action: str
    state: str
    summary: str
    tier: str
    commit: str | None
    request: str | None


@contextmanager
def sending(site: Site, person: Person) -> Iterator[SubmissionClient]:
    """What sends files as a person.

    Raises:
        Problem: nobody sends anything from here; or, out of the block, the forge refuses what the
            person asks for.
    """
    if site.submissions is None:
        raise Problem(
            status=403,
            what=mark("this page only shows; it sends nothing"),
            remedy=mark("Send an action with 'disinto dispatch', or from the forge."),
        )
    client = site.submissions(person)
    try:
        yield client
    except Denied as denied:
        if person.operator or denied.dependency not in (Dependency.FORGE, Dependency.REMOTE):
            raise
        raise Problem(
            status=403,
            what=mark("the forge did not let %(login)s do this: %(reason)s"),
            remedy=mark(
                "You need write access to the ops repo. If you have it, log out and in again."
            ),
            values={"login": person.login, "reason": denied.what.rstrip(".")},
        ) from None
    finally:
        client.repo.close()


def send(site: Site, client: SubmissionClient, file: Path, data: bytes) -> Sent:
    """Send an action, and have the page know of it.

    Raises:
        InvalidInput, AlreadyThere, NeedsSignature, Unavailable, Denied, Misconfigured, Conflict: see
            ``SubmissionClient.send``.
    """
    sent = client.send(file, sign=False, data=data)
    if site.live is not None:
        with suppress(DisintoError):  # it is sent, whether or not the page can see it yet
            site.live.repo.fetch()
        site.live.refresh()
    return sent


def send_about(
    site: Site, client: SubmissionClient, resource_id: str, made: NewAction
) -> SentAbout:
    """Send an action about something that a provisioner makes.

    Raises:
        InvalidInput, AlreadyThere, NeedsSignature, Unavailable, Denied, Misconfigured, Conflict: see
            ``send``.
    """
    sent = send(site, client, file_of(made), made.data)
    return SentAbout(
        id=resource_id,
        action=sent.action_id,
        state=sent.state,
        summary=sent.summary,
        tier=sent.tier,
        commit=sent.commit or None,
        request=sent.request.url if sent.request else None,
    )


def file_of(action: NewAction) -> Path:
    """The name of its file, which need not exist."""
    return Path(f"{action.id}{ACTION_ENDING}")


def formula_of(store: FormulaStore, tree: Tree, name: str, *, missing: str, remedy: str) -> Formula:
    """A formula that the page writes actions for.

    Args:
        missing, remedy: what is said if there is none, messages.

    Raises:
        Problem: there is no such formula here, or it cannot be used.
    """
    found = store.find(name, tree)
    if found is None:
        raise Problem(status=404, what=missing, remedy=remedy)
    if not isinstance(found, Formula):
        raise Problem(status=409, what=found.reason)
    return found


def cancel(site: Site, person: Person, action_id: str, reason: str) -> SentRequest:
    """Send a request to cancel; it takes effect once it is approved as the action has to be.

    Raises:
        Problem: nobody sends anything from here.
        NotFound, EndedAlready, InvalidInput, Conflict, NeedsSignature, Misconfigured, Unavailable,
            Denied: see ``ask_to_cancel``.
    """
    with sending(site, person) as client:
        sent = ask_to_cancel(client, action_id, reason=reason, sign=False)
    if site.live is not None:
        site.live.refresh()
    return sent


def followed(site: Site) -> Live:
    """What the page follows.

    Raises:
        Problem: it follows nothing.
    """
    if site.live is None:
        raise Problem(status=503, what=mark("this page follows no ops repo"))
    return site.live
