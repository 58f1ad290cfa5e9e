"""The steps that take a machine to a commit, for a deploy and for the return to the safe commit alike.

Each step is idempotent, and is written to the journal before it begins.
"""

from __future__ import annotations

import shlex
import time
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager

from dispatcher.errors import DisintoError, PermanentError, reason_of
from dispatcher.release.deploy_env import VERSION
from dispatcher.release.deployment import Deployment
from dispatcher.release.health import states
from dispatcher.release.kept_files import few
from dispatcher.release.records import Journal, StepRecord, replace_file


class Transition:
    """A machine on its way to a commit.

    Args:
        deployment: what it works with.
        journal: from which commit to which, and how far it is.

    Attributes:
        steps: those that ended.
        down_s: seconds from the first restart until all services were healthy; None without one.
    """

    def __init__(self, deployment: Deployment, journal: Journal) -> None:
        self.journal = journal
        self.steps: list[StepRecord] = []
        self.down_s: float | None = None
        self._deployment = deployment
        self._down_since: float | None = None

    def note(self, **changed: object) -> None:
        """Write facts to the journal.

        Raises:
            OSError: it could not be written. Not on the return to the safe commit, which must not need
                free space: the older journal leads to the same return.
        """
        self.journal = self.journal.model_copy(update=changed)
        try:
            self._deployment.records.write(self.journal)
        except OSError as error:
            if not self.journal.restoring:
                raise
            self._deployment.log.line(f"the journal cannot be written: {reason_of(error)}")

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Note, time and log a step."""
        log = self._deployment.log
        self.note(step=name)
        log.line(f"{name}: begins")
        began, ok = time.monotonic(), False
        try:
            yield
            ok = True
        except (DisintoError, OSError) as error:
            log.line(f"{name}: failed: {described(error)}")
            raise
        finally:
            took = time.monotonic() - began
            self.steps.append(StepRecord(name=name, seconds=round(took, 3), ok=ok))
            if ok:
                log.line(f"{name}: done in {took:.2f} s")

    def checkout(self, commit: str, *, rewrite: bool = False) -> None:
        """Check out a commit; see ``Checkout.switch``. Files that a failed deploy left, and that cannot be
        removed, do not keep the machine from the safe commit.
        """
        checkout, restoring = self._deployment.checkout, self.journal.restoring
        with self.step("checkout"):
            if restoring:
                checkout.obtain(commit)
            else:
                checkout.refuse_to_overwrite(commit)
            if left := checkout.switch(commit, rewrite=rewrite, leftovers=restoring):
                self._deployment.log.line(f"cannot be removed, and stays: {few(left)}")

    def dependencies(self, commit: str) -> None:
        """Build the environments that are missing."""
        with self.step("dependencies"):
            self._deployment.venvs.build(commit)

    def leave_out(self, services: Collection[str]) -> Deployment:
        """Stop services that the commit does not have, and go on without them. Returns the rest."""
        deployment = self._deployment
        with self.step("stop"):
            for name in services:
                deployment.log.line(f"{name}: {self.journal.safe[:12]} was not deployed with it")
                deployment.units.stop(deployment.settings.unit(name))
        self._deployment = deployment.without(services)
        return self._deployment

    def migrations(self) -> None:
        """Apply migrations, after noting the database's revision."""
        deployment, journal = self._deployment, self.journal
        migrations = deployment.settings.migrations
        if migrations is None:
            return
        with self.step("migrations"):
            if migrations.revision is not None:
                self.note(revision=self._revision(migrations.revision))
            self.note(migrating=True)
            try:
                deployment.run(
                    migrations.command,
                    service=migrations.service,
                    commit=journal.target,
                    version=journal.version,
                    timeout_s=migrations.timeout,
                )
            except DisintoError:
                self.note(migration_failed=True)
                raise

    def down(self) -> None:
        """Undo the migrations of the target, if a down command is configured."""
        deployment, journal = self._deployment, self.journal
        migrations = deployment.settings.migrations
        if migrations is None or not journal.migrating or journal.undone:
            return
        if migrations.down is None:
            deployment.log.line("migrations are not undone: no down command is configured")
            return
        with self.step("down"):
            if deployment.checkout.head() != journal.target:
                deployment.checkout.switch(journal.target, rewrite=True)
            deployment.run(
                migrations.down,
                service=migrations.service,
                commit=journal.target,
                version=journal.version,
                timeout_s=migrations.timeout,
                more={"RELEASE_REVISION": journal.revision},
            )
            self.note(undone=True)

    def smoke(self) -> None:
        """Run the smoke test."""
        deployment, smoke = self._deployment, self._deployment.settings.smoke
        if smoke is None or not deployment.run_smoke:
            return
        with self.step("smoke"):
            deployment.run(
                smoke.command,
                service=smoke.service,
                commit=self.journal.target,
                version=self.journal.version,
                timeout_s=smoke.timeout,
            )

    def stamp(self, commit: str, version: str) -> None:
        """Have the units find the environments and the version of a commit at their next start."""
        deployment = self._deployment
        with self.step("stamp"):
            deployment.venvs.activate(commit, self.journal.safe)
            text = f"{VERSION}={version}\n"
            file = deployment.layout.version_file
            if not file.exists() or file.read_text("utf-8") != text:
                replace_file(file, text)

    def restart(self, units: Iterable[str]) -> None:
        """Restart units, in this order."""
        deployment = self._deployment
        with self.step("restart"):
            if not self.journal.restoring:
                self.note(restarting=True)
            if self._down_since is None:
                self._down_since = time.monotonic()
            for unit in units:
                deployment.log.line(f"restarts {unit}")
                deployment.units.restart(unit)
            if self.journal.restoring:
                self.note(
                    restarting=False, invocations=states(deployment.settings, deployment.units)
                )

    def health(self) -> None:
        """Wait until all services are healthy."""
        with self.step("health"):
            self._deployment.health.wait()
            if self._down_since is not None:
                self.down_s = round(time.monotonic() - self._down_since, 3)

    def _revision(self, command: str) -> str:
        deployment, journal = self._deployment, self.journal
        migrations = deployment.settings.migrations
        assert migrations is not None  # noqa: S101 - the caller has them
        file = deployment.layout.run / "revision"
        deployment.run(
            f"{{ {command}\n}} > {shlex.quote(str(file))}",
            service=migrations.service,
            commit=journal.target,
            version=journal.version,
            timeout_s=migrations.timeout,
        )
        words = file.read_text("utf-8", "replace").split()
        return words[0] if words else ""


def described(error: BaseException) -> str:
    """An error in one sentence, with its remedy."""
    if isinstance(error, OSError) and not isinstance(error, PermanentError):
        place = f"{error.filename}: " if error.filename else ""
        return f"{place}{reason_of(error)}"
    return str(error) or type(error).__name__
