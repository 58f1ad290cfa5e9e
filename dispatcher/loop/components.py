"""The parts a service acts through, joined in one place and injected."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from dispatcher.audit import AuditLog
    from dispatcher.engines.base import Scheduler
    from dispatcher.errors import DisintoError
    from dispatcher.gate.base import Decision, Gate, Question
    from dispatcher.gate.report import Ended
    from dispatcher.ledger.base import Ledger
    from dispatcher.loop.formulas import FormulaStore
    from dispatcher.loop.leader import Leadership
    from dispatcher.loop.result_writer import Sign, Verifier
    from dispatcher.loop.rules import Rules
    from dispatcher.model.mounts import Mount
    from dispatcher.model.result import Result
    from dispatcher.ops_repo import OpsRepo
    from dispatcher.settings import Settings
    from dispatcher.vault import Grants


class Reporter(Protocol):
    """Tells the people of a forge what became of an action: a status, one comment."""

    def report(self, question: Question, decision: Decision) -> None:
        """Report a gate's answer. Idempotent. Raises ``Unavailable`` (forge)."""
        ...

    def report_ended(self, ended: Sequence[Ended]) -> Mapping[str, DisintoError]:
        """Report how actions ended. Idempotent. Answers why some could not be reported, by id."""
        ...

    def forget(self) -> None:
        """Believe nothing about the forge that was not read since."""
        ...


class ResultNotices(Protocol):
    """Has people notified of how actions ended."""

    def record(self, result: Result) -> None:
        """Write down what is to be sent of a result, before what tells of it is taken away.
        Idempotent; asks no server, and raises nothing.
        """
        ...


class NoNotices:
    """Notifies nobody."""

    def record(self, result: Result) -> None:
        """Nothing is written down."""


@dataclass(frozen=True, kw_only=True)
class Components:
    """Everything a service needs from outside.

    Attributes:
        seal: signs results that this dispatcher made. Never give it a text that was read from git.
        verifier: tells our results from others.
        rules: files by which actions are judged, and which may change.
        wake: set by the service; adapters call it when something may have changed.
        leadership: whether this installation may start runs for the ops repo.
        forge_calls: how many requests the forge has had; None if there is none.
        warnings: what the engine has to say to people although it works, in words; asks nobody.
        obstacle: asks the engine why no run with these mounts can be submitted now; answers ""
            where one can. Raises ``Unavailable`` or ``Denied`` (scheduler).
        notices: of results.
    """

    settings: Settings
    rules: Rules
    repo: OpsRepo
    shelf: FormulaStore
    gate: Gate
    grants: Grants
    ledger: Ledger
    scheduler: Scheduler
    seal: Sign
    verifier: Verifier
    audit: AuditLog
    wake: Notifier
    leadership: Leadership
    reporter: Reporter | None = None
    forge_calls: Callable[[], int] | None = None
    warnings: Callable[[], tuple[str, ...]] = tuple
    obstacle: Callable[[Collection[Mount]], str] = lambda _mounts: ""
    notices: ResultNotices = field(default_factory=NoNotices)


class Notifier:
    """A doorbell that adapters hold before the loop exists. Thread-safe, never blocks."""

    def __init__(self) -> None:
        self._ring: Callable[[], None] | None = None

    def answer(self, notify: Callable[[], None]) -> None:
        """From now on ``notify`` is called."""
        self._ring = notify

    def __call__(self) -> None:
        if self._ring is not None:
            self._ring()
