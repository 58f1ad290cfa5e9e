"""The life cycle of one desktop, pure: a record, what was observed and the time give the next record.

::

    PROVISIONING ──▶ CONFIGURING ──▶ ACTIVE
          └───────────────┴──▶ ERROR ──▶ DESTROYING ──▶ DESTROYED

ERROR goes on to DESTROYING unless the machine is to be kept. It must do no I/O: ``create`` and
``destroy`` observe, and do what ``Record.next_step`` says.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Self

from dispatcher.desktop.report import FAILED, LOG_PATH, STAGES, Report
from dispatcher.provision.confidential import Confidential

PROVISIONING_LIMIT_S = 15 * 60.0
"""Seconds until a machine that was asked for has to have an address."""

CONFIGURING_LIMIT_S = 20 * 60.0
"""Seconds from its address until the desktop has to be there."""


class State(StrEnum):
    PROVISIONING = "PROVISIONING"
    CONFIGURING = "CONFIGURING"
    ACTIVE = "ACTIVE"
    ERROR = "ERROR"
    DESTROYING = "DESTROYING"
    DESTROYED = "DESTROYED"


class Stage(StrEnum):
    """What is shown of a desktop that is made or removed, with the percentage."""

    percent: int

    def __new__(cls, word: str, *percent: int) -> Self:
        member = str.__new__(cls, word)
        member._value_ = word
        (member.percent,) = percent
        return member

    PROVISIONING_DROPLET = "provisioning-droplet", 22
    WAITING_FOR_IP = "waiting-for-ip", 35
    INSTALLING_PACKAGES = "installing-packages", 48
    STARTING_GUACAMOLE = "starting-guacamole", 62
    CONFIGURING_HTTPS = "configuring-https", 78
    FINAL_HEALTH_CHECK = "final-health-check", 92
    ACTIVE = "active", 100
    DELETING_DROPLET = "deleting-droplet", 30
    WAITING_UNTIL_GONE = "waiting-until-gone", 70
    DESTROYED = "destroyed", 100


_REPORTED = {word: Stage(word) for word in STAGES - {FAILED}}
"""Stages that a machine may report. It cannot report itself ACTIVE."""


class Step(StrEnum):
    """What is to be done next."""

    LOOK = "look"  # at the provider
    PROBE = "probe"  # the machine
    FINISH = "finish"
    REMOVE = "remove"
    KEEP = "keep"  # a machine in ERROR, until it expires
    STOP = "stop"  # nothing is left


_STEPS = {
    State.PROVISIONING: Step.LOOK,
    State.CONFIGURING: Step.PROBE,
    State.ACTIVE: Step.FINISH,
    State.DESTROYING: Step.REMOVE,
    State.DESTROYED: Step.STOP,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Observation:
    """What is known now; the defaults mean: nothing new.

    Attributes:
        answered: whether the provider answered. While it does not, no time limit of it is over; the
            run's own timeout bounds that.
        accepted: the provider accepted the request, or lists the machine.
        running: it is ``active`` there.
        ip: its public address.
        report: of the machine itself.
        http, https: the page answers; https means the desktop's own page, by the certificate of ours.
        failure: why it cannot become a desktop, in words.
        deleted: the provider was asked to delete it.
        gone: the provider lists nothing of it any more.
    """

    answered: bool = True
    accepted: bool = False
    running: bool = False
    ip: str = ""
    report: Report | None = None
    http: bool = False
    https: bool = False
    failure: str = ""
    deleted: bool = False
    gone: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Record:
    """One desktop while it is made or removed.

    Attributes:
        since: when this state began, seconds since the epoch.
        keep_on_error: whether a machine in ERROR is kept.
        ip: "" until it is known.
        report: the last one.
        why: of ERROR, and kept after it.
    """

    since: float
    state: State = State.PROVISIONING
    stage: Stage = Stage.PROVISIONING_DROPLET
    keep_on_error: bool = False
    ip: str = ""
    report: Report | None = field(default=None, repr=False)
    why: str = ""

    @property
    def percent(self) -> int:
        return self.stage.percent

    @property
    def next_step(self) -> Step:
        if self.state is State.ERROR:
            return Step.KEEP if self.keep_on_error else Step.REMOVE
        return _STEPS[self.state]


def begin(now: float, *, keep_on_error: bool = False) -> Record:
    """A desktop that is about to be made."""
    return Record(since=now, keep_on_error=keep_on_error)


def begin_removal(record: Record | None, now: float) -> Record:
    """A desktop that is about to be removed: a failed one, or any by its id."""
    base = record or Record(since=now)
    return replace(
        base, state=State.DESTROYING, stage=Stage.DELETING_DROPLET, since=now, keep_on_error=False
    )


def advance(record: Record, seen: Observation, now: float) -> Record:
    """The next record. A state that was left is never entered again, and no stage goes back."""
    record = replace(record, report=seen.report or record.report, ip=seen.ip or record.ip)
    if record.state in (State.PROVISIONING, State.CONFIGURING) and seen.failure:
        return _failed(record, now, seen.failure)
    if record.state is State.PROVISIONING:
        return _provisioning(record, seen, now)
    if record.state is State.CONFIGURING:
        return _configuring(record, seen, now)
    if record.state is State.DESTROYING:
        return _destroying(record, seen, now)
    return record


def _provisioning(record: Record, seen: Observation, now: float) -> Record:
    if seen.running and record.ip:
        return replace(record, state=State.CONFIGURING, stage=Stage.INSTALLING_PACKAGES, since=now)
    if seen.answered and now - record.since > PROVISIONING_LIMIT_S:
        minutes = round(PROVISIONING_LIMIT_S / 60)
        return _failed(record, now, f"the provider gave it no address within {minutes} minutes")
    stage = Stage.WAITING_FOR_IP if seen.accepted else record.stage
    return replace(record, stage=stage)


def _configuring(record: Record, seen: Observation, now: float) -> Record:
    if seen.https:
        return replace(record, state=State.ACTIVE, stage=Stage.ACTIVE, since=now)
    if seen.report is not None and seen.report.stage == FAILED:
        return _failed(record, now, "the machine reports that its setup failed")
    if now - record.since > CONFIGURING_LIMIT_S:
        minutes = round(CONFIGURING_LIMIT_S / 60)
        return _failed(record, now, f"no desktop {minutes} minutes after it got its address")
    return replace(record, stage=max(record.stage, _reached(seen), key=lambda s: s.percent))


def _reached(seen: Observation) -> Stage:
    report = seen.report
    if report is None:
        return Stage.INSTALLING_PACKAGES
    if report.vnc and report.guacamole and seen.http:
        return Stage.FINAL_HEALTH_CHECK
    return _REPORTED.get(report.stage, Stage.INSTALLING_PACKAGES)


def _destroying(record: Record, seen: Observation, now: float) -> Record:
    if seen.gone:
        return replace(record, state=State.DESTROYED, stage=Stage.DESTROYED, since=now)
    stage = Stage.WAITING_UNTIL_GONE if seen.deleted else record.stage
    return replace(record, stage=stage)


def _failed(record: Record, now: float, why: str) -> Record:
    return replace(record, state=State.ERROR, since=now, why=why)


def explained(record: Record, confidential: Confidential | None) -> str:
    """Why a desktop is in ERROR, with the place and the end of the machine's log.

    Args:
        confidential: what the end of the log may not repeat; None to leave it out, because the machine still
            exists: it could tell its credentials in words that no search finds.
    """
    report = record.report
    if report is None:
        return record.why
    why = f"{record.why}; the machine's log is {LOG_PATH}"
    if confidential is None or not report.log_tail:
        return why
    if confidential.is_in("\n".join(report.log_tail)):
        return f"{why}; its end is not shown, because it repeats a credential"
    return f"{why}, its end:" + "".join(f"\n  {line}" for line in report.log_tail)
