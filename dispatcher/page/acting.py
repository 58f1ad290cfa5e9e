"""What the page sends to the ops repo, as the person who is logged in and by the ways of the commands."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from dispatcher.errors import Denied, Dependency, DisintoError
from dispatcher.operate.request_cancel import SentRequest, ask_to_cancel
from dispatcher.operate.submission_client import Sent, SubmissionClient
from dispatcher.page.language import mark
from dispatcher.page.live import Live
from dispatcher.page.problems import Problem
from dispatcher.page.sessions import Person
from dispatcher.page.site import Site


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
