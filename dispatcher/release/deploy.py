"""Deploys the branch's head, or an earlier safe commit by hand, and returns to the safe commit on failure.

::

    lock → repair, if the last deploy was interrupted → fetch → up to date? failed before?
         → journal → checkout → dependencies → migrations → smoke → stamp → restart → health
         → SAFE_COMMIT → end of the journal            failure: return to SAFE_COMMIT
"""

from __future__ import annotations

import os
import pwd
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from dispatcher.errors import DisintoError, Misconfigured, NotFound, TemporaryError
from dispatcher.release import lock
from dispatcher.release.application import Application
from dispatcher.release.deploy_env import VERSION
from dispatcher.release.deployment import Deployment
from dispatcher.release.env_file import values
from dispatcher.release.health import Get, get, states
from dispatcher.release.interrupts import Interrupted, Interrupts
from dispatcher.release.outcome import Outcome
from dispatcher.release.records import LEFT, Failure, Journal, Last, Left, Release
from dispatcher.release.restore import restore
from dispatcher.release.rollout import (
    RECORD,
    announce,
    best_effort,
    check_space,
    discard,
    finish,
    record,
    roll_out,
)
from dispatcher.release.settings import FILE
from dispatcher.release.transition import Transition, described
from dispatcher.release.units import Units

TIMER, PERSON = "timer", "person"
UMASK = 0o022
"""Of a deploy and its commands, as in its unit."""


class Deployer:
    """Deploys one application.

    Args:
        application: which.
        units: of the machine.
        trigger: ``TIMER`` or ``PERSON``.
        echo: gets each line of the log.
        get: see ``Get``.
    """

    def __init__(
        self,
        application: Application,
        units: Units,
        *,
        trigger: str = PERSON,
        echo: Callable[[str], None] = lambda _: None,
        get: Get = get,
    ) -> None:
        self._application = application
        self._layout = application.layout
        self._units = units
        self._trigger = trigger
        self._echo = echo
        self._get = get
        self._interrupts = Interrupts()
        self._wanted = ""
        self._only_repairs = trigger == TIMER and not application.settings.automatic

    def deploy(self, *, force: bool = False, commit: str = "") -> Last:
        """Deploy the branch's head; once more for each request that arrives meanwhile.

        Args:
            force: also if the head is the safe commit.
            commit: of the branch, to deploy in place of its head, unless the safe commit is a later one
                of the branch; hexadecimal digits, the beginning of its hash.

        Returns:
            How the last of these deploys ended.

        Raises:
            Held: another deploy runs; it was requested to deploy once more.
            NotFound: the branch has no such commit.
            Unavailable, Misconfigured, PermanentError, OSError: nothing was changed.
        """
        self._check_user()
        with _umask(), self._interrupts.handled():
            try:
                last = self._first(force=force, commit=commit)
                while self._layout.requested.exists() and not self._interrupts.arrived:
                    try:
                        last = self._requested(force=False, commit="")
                    except lock.Held:
                        break  # whoever took the lock sees the request
            except Interrupted as error:
                raise TemporaryError(f"{error} before anything was changed") from None
        return last

    def rollback(self, to: str | None = None) -> Last:
        """Deploy an earlier safe commit, without network and migrations. The timer does not deploy the
        present one again. If the last deploy was interrupted, only that is repaired.

        Args:
            to: beginning of its hash; by default the one before the present one.

        Raises:
            Held: another deploy runs.
            NotFound: there is no such commit.
            PermanentError, OSError: nothing was changed.
        """
        self._check_user()
        with _umask(), self._interrupts.handled(), self._locked() as held:
            deployment = self._deployment(held)
            if (repaired := self._repair(deployment)) is not None:
                return repaired
            safe = deployment.records.safe_commit()
            release = _earlier(deployment, safe, to)
            deployment.log.line(f"rolls back from {safe[:12]} to {release.commit[:12]}, by hand")
            journal = self._journal(deployment, release.commit, safe, version=release.version)
            return self._carry_out(deployment, journal.model_copy(update={"by_hand": True}))

    def _check_user(self) -> None:
        wanted, me = self._application.settings.user, pwd.getpwuid(os.geteuid()).pw_name
        if me != wanted:
            raise Misconfigured(
                f"{FILE} names the user {wanted}, and this is {me}",
                remedy=f"Run it by sudo -u {wanted}, or correct user.",
            )
        with _umask():
            for directory in (self._layout.run, self._layout.logs, self._layout.venvs):
                directory.mkdir(exist_ok=True)

    def _first(self, *, force: bool, commit: str) -> Last:
        try:
            return self._requested(force=force, commit=commit)
        except lock.Held as held:
            if self._only_repairs or commit:  # the other deploy would take the newest head
                raise lock.Held(held.what, remedy="Run this again when it has ended.") from None
            lock.request(self._layout)
        # The other deploy may have ended before it could see the request.
        return self._requested(force=force, commit=commit)

    def _locked(self) -> AbstractContextManager[lock.Lock]:
        return lock.locked(self._layout, self._trigger)

    def _requested(self, *, force: bool, commit: str) -> Last:
        with self._locked() as held:
            while True:
                # Before the fetch: a request that arrives later is for a head that it may miss.
                self._layout.requested.unlink(missing_ok=True)
                last = self._once(self._deployment(held), force=force, commit=commit)
                if not self._layout.requested.exists() or self._interrupts.arrived:
                    return last
                force, commit, self._trigger = False, "", TIMER  # nobody insists on that one

    def _once(self, deployment: Deployment, *, force: bool, commit: str) -> Last:
        repaired = self._repair(deployment)
        if repaired is not None and (self._trigger == TIMER or repaired.outcome == Outcome.BROKEN):
            return repaired
        if self._only_repairs:
            safe = deployment.records.safe_commit()
            message = "automatic = false in release.toml: a person or an action deploys"
            return self._unchanged(Outcome.NOT_AUTOMATIC, safe, message)
        try:
            deployment.venvs.check_owner()
            deployment.checkout.prepare()
            with self._interrupts.allowed():
                head = deployment.checkout.fetch()
            target = deployment.checkout.of_branch(commit, head) if commit else head
            self._wanted = target if commit else self._wanted
            if (settled := self._settled(deployment, head, target, force=force)) is not None:
                return settled
            check_space(deployment)
        except (DisintoError, OSError) as error:
            deployment.log.line(f"nothing was changed: {described(error)}")
            raise
        safe = deployment.records.safe_commit()
        version = f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}+{target[:7]}"
        journal = self._journal(deployment, target, safe, version=version)
        announce(deployment, safe, target)
        return self._carry_out(deployment, journal)

    def _settled(
        self, deployment: Deployment, head: str, target: str, *, force: bool
    ) -> Last | None:
        """How the deploy ends already; None if there is something to do."""
        records, safe = deployment.records, deployment.records.safe_commit()
        failure, left = records.failure(), records.left()
        if failure is not None and failure.commit != head:
            records.forget(Failure)
            failure = None
        if left is not None and head not in left.commits:
            records.forget(Left)
            left = None
        if target == safe and not force:
            return self._unchanged(Outcome.UP_TO_DATE, safe, f"{safe[:12]} is deployed already")
        if target not in (head, safe) and _between(deployment, target, safe, head):
            message = f"{safe[:12]} is deployed already, which contains {target[:12]}"
            return self._unchanged(Outcome.UP_TO_DATE, safe, message)
        if self._trigger != TIMER or (failure is None and left is None):
            return None
        why = LEFT if failure is None else f"failed at {failure.step} before: {failure.reason}"
        return self._unchanged(Outcome.NOT_RETRIED, head, f"{head[:12]} {why}")

    def _unchanged(self, outcome: Outcome, commit: str, message: str) -> Last:
        now = time.time()
        return Last(
            outcome=outcome,
            commit=commit,
            previous=commit,
            wanted=self._wanted,
            message=message,
            trigger=self._trigger,
            started=now,
            ended=now,
        )

    def _journal(self, deployment: Deployment, target: str, safe: str, *, version: str) -> Journal:
        return Journal(
            target=target,
            safe=safe,
            version=version,
            safe_version=_version(deployment, safe),
            started=time.time(),
            invocations=states(deployment.settings, deployment.units),
        )

    def _carry_out(self, deployment: Deployment, journal: Journal) -> Last:
        deployment.records.write(journal)
        transition = Transition(deployment, journal)
        try:
            with self._interrupts.allowed():
                roll_out(deployment, transition)
            record(deployment, transition)
        except (Exception, Interrupted) as error:  # noqa: BLE001 - whatever it was, the machine returns
            if not _recorded(deployment, transition.journal):
                return self._restore(deployment, transition, described(error), rewrite=False)
        finish(deployment, transition)
        seconds = transition.down_s
        down = "" if seconds is None else f"; {seconds:.1f} s from restart to healthy"
        outcome = Outcome.ROLLED_BACK_BY_HAND if journal.by_hand else Outcome.DEPLOYED
        return self._end(deployment, transition, outcome, f"{journal.version}{down}")

    def _repair(self, deployment: Deployment) -> Last | None:
        """Finish or undo what an interrupted deploy left; None if there was none."""
        journal = deployment.records.journal()
        if journal is None:
            return None
        deployment.checkout.prepare()
        transition = Transition(deployment, journal)
        if _recorded(deployment, journal):
            deployment.log.line("the last deploy was interrupted at its very end, and is complete")
            finish(deployment, transition)
            return None
        reason = journal.reason or f"interrupted at {journal.step or 'its beginning'}"
        deployment.log.line(f"the last deploy was not finished: {reason}")
        return self._restore(deployment, transition, reason, rewrite=True)

    def _restore(
        self, deployment: Deployment, transition: Transition, reason: str, *, rewrite: bool
    ) -> Last:
        journal, step = transition.journal, transition.journal.step
        reason = deployment.log.secrets.redact_text(reason)
        if journal.by_hand and not journal.restoring:
            reason = f"the rollback to {journal.target[:12]} failed at {step or 'its beginning'}: {reason}"
        failure = Failure(
            commit=journal.target, step=step or "begin", reason=reason, at=time.time()
        )
        counts = not (journal.by_hand or journal.target == journal.safe)
        try:
            if counts and not journal.restoring:
                best_effort(deployment, failure)
            restore(deployment, transition, reason, rewrite=rewrite)
        except Exception as error:  # noqa: BLE001 - reported; the journal stays
            why = deployment.log.secrets.redact_text(described(error))
            message = f"{reason}; the return to {journal.safe[:12] or 'nothing'} failed: {why}"
            return self._end(deployment, transition, Outcome.BROKEN, message)
        known = deployment.records.failure()
        if counts and known is None:  # the disk was full, and the return made room
            best_effort(deployment, failure)
        failure = known or failure
        deployment.records.forget(Journal)
        discard(deployment, journal)
        outcome = Outcome.ROLLED_BACK if journal.safe else Outcome.STOPPED
        message = reason if journal.by_hand else f"{failure.step}: {reason}"
        return self._end(deployment, transition, outcome, message)

    def _end(
        self, deployment: Deployment, transition: Transition, outcome: Outcome, message: str
    ) -> Last:
        last = Last(
            outcome=outcome,
            commit=transition.journal.target,
            previous=transition.journal.safe,
            wanted=self._wanted,
            message=message,
            trigger=self._trigger,
            started=transition.journal.started,
            ended=time.time(),
            down_s=transition.down_s,
            steps=tuple(transition.steps),
        )
        best_effort(deployment, last)
        deployment.log.line(f"{outcome}: {transition.journal.target[:12]}: {message}")
        return last

    def _deployment(self, held: lock.Lock) -> Deployment:
        return Deployment.of(
            self._application, self._units, lock=held, echo=self._echo, get=self._get
        )


@contextmanager
def _umask() -> Iterator[None]:
    """Within, services that run as other users can read what is written, whatever umask the caller has."""
    former = os.umask(UMASK)
    try:
        yield
    finally:
        os.umask(former)


def _earlier(deployment: Deployment, safe: str, to: str | None) -> Release:
    releases = [each for each in deployment.records.releases().releases if each.commit != safe]
    found = [each for each in releases if to is None or each.commit.startswith(to)]
    if not safe or not found or (to is not None and len(found) > 1):
        known = ", ".join(each.commit[:12] for each in releases) or "none"
        what = "no earlier safe commit" if to is None else f"no earlier safe commit {to[:40]}"
        raise NotFound(what, remedy=f"Known here: {known}.")
    return found[0]


def _between(deployment: Deployment, earlier: str, safe: str, head: str) -> bool:
    """Whether the safe commit is on the branch, at an earlier commit or after it."""
    checkout = deployment.checkout
    return bool(safe) and checkout.contains(safe, earlier) and checkout.contains(head, safe)


def _version(deployment: Deployment, safe: str) -> str:
    """APP_VERSION of the safe commit; the stamp of a script that deployed it before counts."""
    release = deployment.records.releases().find(safe)
    if release is not None and release.version:
        return release.version
    file = deployment.layout.version_file
    stamp = values(file.read_text("utf-8")).get(VERSION, "") if file.exists() else ""
    return stamp if stamp.endswith(f"+{safe[:7]}") else f"unknown+{safe[:7]}"


def _recorded(deployment: Deployment, journal: Journal) -> bool:
    """Whether a deploy reached SAFE_COMMIT, whatever happened next."""
    return (
        journal.step == RECORD
        and not journal.restoring
        and deployment.records.safe_commit() == journal.target
    )
