"""The components of a service: the adapters it acts through, injected as one record."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from dispatcher.loop.output_keeping import NoOutputs, Outputs

if TYPE_CHECKING:
    from dispatcher.audit import AuditLog
    from dispatcher.engines.base import Scheduler
    from dispatcher.errors import DisintoError
    from dispatcher.gate.base import Decision, Gate, Question
    from dispatcher.gate.ended import Ended
    from dispatcher.gate.issue_report import IssueReporter
    from dispatcher.gate.report import Queued
    from dispatcher.gate.sourced import Written
    from dispatcher.ledger.base import Ledger
    from dispatcher.loop.formulas import FormulaStore
    from dispatcher.loop.inventory import InventoryReader
    from dispatcher.loop.leader import Leadership
    from dispatcher.loop.outgoing import Sign, SignAction
    from dispatcher.loop.rules import Rules
    from dispatcher.loop.steady_clock import SteadyClock
    from dispatcher.loop.verifying import Verifier
    from dispatcher.model.job_class import JobVariant
    from dispatcher.model.result import Result
    from dispatcher.ops_repo import OpsRepo
    from dispatcher.settings import Settings
    from dispatcher.sources import Source
    from dispatcher.vault import Grants


class EndReporter(Protocol):
    """Reports on the forge how actions ended."""

    def report_ended(self, ended: Sequence[Ended]) -> Mapping[str, DisintoError]:
        """Report how actions ended. Idempotent. Returns why some could not be reported, by id."""
        ...

    def forget(self) -> None:
        """Invalidate everything cached about the forge."""
        ...


class Reporter(EndReporter, Protocol):
    """Reports an action's state on the forge: a commit status, one comment."""

    def report(self, question: Question, decision: Decision) -> None:
        """Report a gate's answer. Idempotent. Raises ``Unavailable`` (forge)."""
        ...

    def leads_from(self, commit: str) -> None:
        """Note the first head (hex) of this term: no other dispatcher reports about what came later."""
        ...

    def report_queued(self, queued: Sequence[Queued]) -> None:
        """Report what approved actions wait for at their locks. Idempotent. Raises ``Unavailable``."""
        ...


class ResultNotices(Protocol):
    """Records the notifications of how actions ended."""

    def record(self, result: Result) -> None:
        """Persist what is to be sent about a result, before its claim is released. Idempotent;
        calls no server, and raises nothing.
        """
        ...


class NoNotices:
    """Notifies nobody."""

    def record(self, result: Result) -> None:
        """Record nothing."""


class NothingWritten:
    """Recognizes no action as written by the dispatcher: where nothing is signed."""

    def wrote(self, data: bytes, *, action_id: str) -> bool:  # noqa: ARG002
        """Never."""
        return False


class WakeUp:
    """A callback that adapters hold before the loop exists. Thread-safe, never blocks."""

    def __init__(self) -> None:
        self._wake: Callable[[], None] | None = None

    def answer(self, notify: Callable[[], None]) -> None:
        """Call ``notify`` from now on."""
        self._wake = notify

    def __call__(self) -> None:
        if self._wake is not None:
            self._wake()


@dataclass(frozen=True, kw_only=True)
class Components:
    """The adapters and callbacks of a service.

    Attributes:
        sign_result: signs results that this dispatcher made. Never pass it a text read from git.
        verifier: distinguishes our results from others.
        sign_action: signs actions that this dispatcher writes; None if nothing is signed. Never pass
            it a text read from git.
        written: recognizes the actions that it wrote.
        sources: what wants actions written; none without ``sign_action``.
        sources_changed: set by the service; a source calls it when it has news.
        rules: the files by which actions are judged, reloaded when they change.
        wake: set by the service; adapters call it when something may have changed.
        leadership: whether this installation may start runs for the ops repo.
        reporter: reports on the ops repo's pull requests; None without a forge.
        issue_reporter: reports on the issues that started sidecars; None without any.
        forge_calls: number of requests sent to the forge; None without a forge.
        ask_ahead: begins to ask the forge about a pull request, by its number and the commit that merged it,
            before the gate does; must not block.
        warnings: warnings for people about components that work nevertheless; does no I/O.
        obstacle: asks the engine why no run of this class with these mounts can be submitted now;
            returns "" if one can. Raises ``Unavailable`` or ``Denied`` (scheduler).
        notices: records notifications of results.
        outputs: keeps the whole output of runs.
        inventory: reads what runs created.
        steady_clock: by which what has a lifetime is destroyed.
    """

    settings: Settings
    rules: Rules
    repo: OpsRepo
    formula_store: FormulaStore
    gate: Gate
    grants: Grants
    ledger: Ledger
    scheduler: Scheduler
    sign_result: Sign
    verifier: Verifier
    audit: AuditLog
    wake: WakeUp
    leadership: Leadership
    inventory: InventoryReader
    steady_clock: SteadyClock
    reporter: Reporter | None = None
    issue_reporter: IssueReporter | None = None
    forge_calls: Callable[[], int] | None = None
    ask_ahead: Callable[[int, str], None] = lambda _number, _commit: None
    warnings: Callable[[], tuple[str, ...]] = tuple
    obstacle: Callable[[JobVariant], str] = lambda _variant: ""
    notices: ResultNotices = field(default_factory=NoNotices)
    sign_action: SignAction | None = None
    written: Written = field(default_factory=NothingWritten)
    sources_changed: WakeUp = field(default_factory=WakeUp)
    sources: tuple[Source, ...] = ()
    outputs: Outputs = field(default_factory=NoOutputs)
