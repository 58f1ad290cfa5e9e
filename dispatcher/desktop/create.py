"""Makes one desktop, or leaves nothing behind.

Exactly once, with money at stake: the provider is asked once. An answer that does not prove that
nothing was made is never followed by another request, but by looking for the run's tag. Whatever ends
the run early, what was made is removed; the entry in the outputs is taken back only after that.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from dispatcher.desktop.cloud import (
    Cloud,
    CloudBusy,
    CloudRefused,
    CloudUnclear,
    Droplet,
    Order,
)
from dispatcher.desktop.destroy import Removal
from dispatcher.desktop.lifecycle import (
    Observation,
    State,
    Step,
    advance,
    begin,
    explained,
)
from dispatcher.desktop.probes import Prober
from dispatcher.errors import Exit, PermanentError
from dispatcher.provision.confidential import Confidential
from dispatcher.provision.reporting import Reporter
from dispatcher.provision.waiting import PATIENCE_S, PAUSE_S, Cancelled, Clock, Pace, patiently

LOOK_S = 5.0
"""Seconds between two looks at the provider, in the first minute, if it has requests to spare (``Pace``)."""

LATER_LOOK_S = 15.0

PROBE_S = 10.0
"""Seconds between two looks at the machine."""


class NoDesktop(PermanentError):
    """The machine did not become a desktop."""

    exit_code = Exit.FAILED


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """One desktop.

    Attributes:
        order: its tags contain ``run_tag``.
        run_tag: of this run alone.
        fingerprint: of the certificate in the order's user data.
        entry: of the inventory, as far as it is known before.
        keep_on_error: whether a machine that became no desktop is kept.
        https_port: where the machine answers.
        confidential: credentials that the machine has, which the runner's redactor does not know.
    """

    order: Order
    run_tag: str
    fingerprint: str
    entry: Mapping[str, object]
    keep_on_error: bool = False
    https_port: int = 443
    confidential: Confidential = field(default_factory=Confidential)


class Creation:
    """One run of the formula ``desktop``."""

    def __init__(
        self, wanted: Wanted, *, cloud: Cloud, clock: Clock, prober: Prober, reporter: Reporter
    ) -> None:
        self._wanted = wanted
        self._cloud, self._clock = cloud, clock
        self._pace = Pace(cloud, clock, reporter.say)
        self._prober, self._reporter = prober, reporter
        self._record = begin(clock.now(), keep_on_error=wanted.keep_on_error)
        self._droplet: Droplet | None = None
        self._unanswered = False

    def run(self) -> None:
        """Make it.

        Raises:
            NoDesktop: it did not become one; the machine was removed or, if so wanted, kept.
            Cancelled: the run is to end, and nothing is left.
            StillThere: the same, and something may be left; the outputs name it.
            CloudRefused, CloudBusy, CloudUnclear: as ``NoDesktop``, before there was a machine.
        """
        self._progress()
        self._remove_earlier()
        try:
            self._order()
            while self._record.next_step in (Step.LOOK, Step.PROBE):
                before = self._record.next_step
                self._look()
                self._progress()
                if self._record.next_step is before:
                    self._pause(before)
            if self._record.next_step is Step.FINISH:
                self._finish()
                return
        except BaseException as error:
            self._abandon(error)
            raise
        self._fail()

    def _pause(self, step: Step) -> None:
        if step is Step.PROBE:
            self._clock.sleep(PROBE_S)
            return
        young = self._clock.now() - self._record.since < 60
        self._pace.pause(LOOK_S if young else LATER_LOOK_S)

    def _remove_earlier(self) -> None:
        """A machine of this run that exists before we asked for one has a certificate that nobody
        knows any more.

        Raises:
            Cancelled: the run was cancelled meanwhile, so that nothing is to be made.
            StillThere: it may be left; the outputs name it.
        """
        earlier = patiently(lambda: self._cloud.tagged(self._wanted.run_tag), self._pace)
        if earlier:
            self._reporter.say("an earlier attempt of this run left a machine: it is removed")
            self._enter()
            if self._clean_up():
                raise Cancelled

    def _order(self) -> None:
        """Ask for the machine, once; look for it if there is no answer."""
        self._enter()
        try:
            self._droplet = patiently(self._ask, self._pace)
        except _Unanswered as unclear:
            self._reporter.say(f"{unclear.why.what}; looking for the machine by its tag")
            self._droplet = self._found(unclear.why)
        self._advance(Observation(accepted=True))
        self._progress()
        self._reporter.say(f"droplet {self._droplet.id} was accepted")
        self._enter()

    def _ask(self) -> Droplet:
        self._unanswered = True
        try:
            droplet = self._cloud.create(self._wanted.order)
        except CloudUnclear as error:
            raise _Unanswered(error) from None
        except (CloudRefused, CloudBusy):
            self._unanswered = False
            raise
        self._unanswered = False
        return droplet

    def _found(self, unclear: CloudUnclear) -> Droplet:
        until = self._clock.now() + PATIENCE_S
        while True:
            listed = patiently(lambda: self._cloud.tagged(self._wanted.run_tag), self._pace)
            if listed:
                return min(listed, key=lambda droplet: droplet.id)
            if self._clock.now() > until:
                raise unclear
            self._pace.pause(PAUSE_S)

    def _look(self) -> None:
        """Observe what the state depends on, and advance."""
        if self._record.state is State.PROVISIONING:
            self._advance(self._at_provider())
            if self._record.next_step is Step.PROBE:
                self._reporter.say(f"its address is {self._record.ip}")
                self._enter()
            return
        probed = self._prober.look(self._record.ip, self._wanted.fingerprint)
        self._advance(Observation(report=probed.report, http=probed.http, https=probed.https))

    def _at_provider(self) -> Observation:
        """Our machine as the provider has it now."""
        assert self._droplet is not None  # noqa: S101 - ordered before
        try:
            droplet = self._cloud.get(self._droplet.id)
            if droplet is None:
                # An id of seconds ago that is unknown may be late in becoming known.
                listed = self._cloud.tagged(self._wanted.run_tag)
                droplet = min(listed, key=lambda each: each.id, default=None)
        except (CloudBusy, CloudUnclear) as error:
            self._pace.failed(error)
            return Observation(accepted=True, answered=False)
        self._pace.answered()
        if droplet is None or not droplet.has_tag(self._wanted.run_tag):
            return Observation(accepted=True)
        self._droplet = droplet
        return Observation(accepted=True, running=droplet.status == "active", ip=droplet.ip)

    def _finish(self) -> None:
        """ACTIVE: one machine, entered."""
        assert self._droplet is not None  # noqa: S101 - as above
        for droplet in patiently(lambda: self._cloud.tagged(self._wanted.run_tag), self._pace):
            if droplet.id != self._droplet.id:
                self._reporter.say(f"droplet {droplet.id} of the same run is deleted")
                patiently(_deleting(self._cloud, droplet.id), self._pace)
        self._enter()
        if failed := self._apps_failed():
            self._reporter.say(f"these apps could not be installed: {', '.join(failed)}")
        self._reporter.say(f"the desktop is active: https://{self._record.ip}/guacamole/")

    def _fail(self) -> None:
        """ERROR: keep the machine, or remove it."""
        if self._record.next_step is Step.KEEP:
            self._enter()
            why = explained(self._record, None)
            raise NoDesktop(
                f"{why}\nthe machine is kept until it expires, and is billed",
                remedy="Look at its log, then destroy the desktop.",
            )
        self._clean_up()
        # From here on the machine's credentials open nothing, so its own words may be shown.
        why = explained(self._record, self._wanted.confidential)
        raise NoDesktop(f"{why}\nthe machine was removed")

    def _abandon(self, error: BaseException) -> None:
        """Whatever happened: leave nothing behind."""
        if self._droplet is None and not self._unanswered:
            self._reporter.outputs(None)
            return
        why = "cancelled" if isinstance(error, Cancelled) else type(error).__name__
        self._reporter.say(f"{why}: what was made is removed")
        self._clean_up()

    def _clean_up(self) -> bool:
        """Remove the machine, however often the run is cancelled meanwhile; returns whether it was.

        Raises:
            StillThere: something may be left; the outputs go on naming it.
        """
        cancelled = self._remove()
        self._reporter.outputs(None)
        return cancelled

    def _remove(self) -> bool:
        ids = [self._droplet.id] if self._droplet is not None else []
        removal = Removal(
            self._cloud,
            self._clock,
            self._reporter,
            tag=self._wanted.run_tag,
            droplet_ids=ids,
            doubtful=self._unanswered,
        )
        cancelled = False
        while True:
            try:
                removal.run(self._record)
            except Cancelled:
                cancelled = True
                continue
            return cancelled

    def _enter(self) -> None:
        """Name in the outputs what there is, or may be."""
        droplet = self._droplet
        entry = dict(self._wanted.entry)
        if droplet is not None:
            entry |= {"droplet_id": droplet.id, "size": self._wanted.order.size}
        if self._record.ip:
            port = self._wanted.https_port
            address = self._record.ip if port == 443 else f"{self._record.ip}:{port}"
            entry |= {
                "ip": self._record.ip,
                "address": address,
                "probe": [f"https://{address}/"],
            }
        if failed := self._apps_failed():
            entry["apps_failed"] = failed
        self._reporter.outputs({"inventory": {**entry, "state": self._record.state.value}})

    def _apps_failed(self) -> list[str]:
        """Which of the wanted apps could not be installed, by the machine's report; nothing else of what it
        names counts.
        """
        report, wanted = self._record.report, self._wanted.entry.get("apps")
        if report is None or not isinstance(wanted, list):
            return []
        return [app for app in wanted if app in report.apps_failed]

    def _advance(self, seen: Observation) -> None:
        self._record = advance(self._record, seen, self._clock.now())

    def _progress(self) -> None:
        record = self._record
        self._reporter.progress(record.stage, record.ip)


class _Unanswered(Exception):
    """Keeps an unclear answer to a creation out of what is repeated."""

    def __init__(self, why: CloudUnclear) -> None:
        super().__init__()
        self.why = why


def _deleting(cloud: Cloud, droplet_id: int) -> Callable[[], bool]:
    return lambda: cloud.delete(droplet_id)
