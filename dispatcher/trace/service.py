"""The adapters of a service, wrapped: each call about a run becomes a span of that run.

One call may be about many runs (a fetch, an observation, a push): then each run has a span of it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar, cast

from dispatcher.loop.components import Components, WakeUp
from dispatcher.loop.outgoing import Entry
from dispatcher.model.paths import RESULT_ENDING
from dispatcher.model.result import ResultOutput, ended_result
from dispatcher.model.run import (
    Claim,
    Grant,
    Observation,
    Outcome,
    RunKey,
    RunSpec,
    WrappedGrant,
)
from dispatcher.ops_repo import Head, NewFile, Published
from dispatcher.status.tracker import Status
from dispatcher.trace.run_spans import REMEMBERED, RunSpans

if TYPE_CHECKING:
    from dispatcher.engines.base import Scheduler
    from dispatcher.gate.base import Decision, Gate, Question
    from dispatcher.ledger.base import Ledger
    from dispatcher.loop.output_keeping import Outputs
    from dispatcher.ops_repo import OpsRepo
    from dispatcher.vault import Grants


K = TypeVar("K")
V = TypeVar("V")


class Wrapped:
    """An adapter with some of its methods replaced."""

    def __init__(self, inner: object, **methods: Callable[..., Any]) -> None:
        self._inner = inner
        self.__dict__.update(methods)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


class TracedWakeUp(WakeUp):
    """A wake-up that notes when it was last called.

    Attributes:
        at: seconds since the epoch; 0.0 before the first call.
    """

    def __init__(self, inner: WakeUp, clock: Callable[[], float]) -> None:
        super().__init__()
        self._inner, self._clock, self.at = inner, clock, 0.0

    def answer(self, notify: Callable[[], None]) -> None:
        def noted() -> None:
            self.at = self._clock()
            notify()

        self._inner.answer(noted)

    def __call__(self) -> None:
        self._inner()


class TracedService:
    """Wraps the adapters of a service, and is one of its trackers. Thread-safe.

    Args:
        inner: the adapters.
        spans: where the spans go.

    Attributes:
        components: the adapters, wrapped.
    """

    def __init__(self, inner: Components, spans: RunSpans) -> None:
        self._inner, self._spans, self._clock = inner, spans, spans.clock
        self._lock = threading.Lock()
        self._keys: dict[str, RunKey] = {}  # by id
        self._by_grant: dict[str, RunKey] = {}  # by accessor
        self._ended: dict[RunKey, None] = {}
        self._verdicts: dict[RunKey, str] = {}
        self._fetched = (0.0, 0.0)
        self._wake = TracedWakeUp(inner.wake, self._clock)
        self.components = replace(
            inner,
            repo=cast("OpsRepo", Wrapped(inner.repo, fetch=self._fetch, publish=self._publish)),
            gate=cast("Gate", Wrapped(inner.gate, check=self._check)),
            grants=cast(
                "Grants",
                Wrapped(
                    inner.grants,
                    mint=self._mint,
                    extend=self._extend,
                    revoke=self._revoke,
                    withdraw=self._withdraw,
                ),
            ),
            ledger=cast(
                "Ledger",
                Wrapped(
                    inner.ledger,
                    claim=self._claim,
                    update=self._update,
                    open_runs=self._open_runs,
                ),
            ),
            scheduler=cast(
                "Scheduler",
                Wrapped(inner.scheduler, submit=self._submit, observe=self._observe),
            ),
            outputs=cast("Outputs", Wrapped(inner.outputs, collect=self._collect)),
            sign_result=self._sign,
            wake=self._wake,
        )

    # --- the loop ------------------------------------------------------------------------

    def status(self, status: Status) -> None:
        """Note which actions are new: the last fetch brought them, and they are vetted now."""
        now = self._clock()
        for action_id, candidate in status.candidates.items():
            if self._keys.get(action_id) == candidate.key:
                continue
            self._know(candidate.key)
            began, ended = self._fetched
            if began:
                self._spans.add("fetch", candidate.key, began, ended)
                self._spans.add("vet", candidate.key, ended, now)

    def event(self, name: str, /, **facts: object) -> None:
        """Ignore events."""

    def __enter__(self) -> TracedService:
        return self

    def __exit__(self, *_: object) -> None:
        """Export what is left."""
        self._spans.close()

    # --- the ops repo --------------------------------------------------------------------

    def _fetch(self) -> Head:
        began = self._clock()
        head = self._inner.repo.fetch()
        self._fetched = (began, self._clock())
        return head

    def _publish(self, files: Sequence[NewFile], **more: Any) -> Published:
        began, error = self._clock(), None
        published: Published | None = None
        try:
            published = self._inner.repo.publish(files, **more)
        except Exception as raised:
            error = raised
            raise
        finally:
            self._pushed(files, published, began, error)
        return published

    def _pushed(
        self,
        files: Sequence[NewFile],
        published: Published | None,
        began: float,
        error: Exception | None,
    ) -> None:
        ended = self._clock()
        names = [file.path.rpartition("/")[2] for file in files]
        ids = [name.removesuffix(RESULT_ENDING) for name in names if name.endswith(RESULT_ENDING)]
        with self._lock:
            keys = [self._keys[action_id] for action_id in ids if action_id in self._keys]
        for key in keys:
            self._spans.add("push", key, began, ended, error=error, files=len(files))
            if published is not None:
                with self._lock:
                    verdict = self._verdicts.pop(key, "")
                self._spans.whole(key, ended, **({"verdict": verdict} if verdict else {}))

    # --- the gate, Vault, the ledger -----------------------------------------------------

    def _check(self, question: Question) -> Decision:
        key = RunKey(action_id=question.action_id, blob=question.blob)
        with self._spans.during("approve", key) as attributes:
            decision = self._inner.gate.check(question)
            attributes.update(gate=decision.gate, answer=decision.answer.value)
        return decision

    def _mint(self, key: RunKey, *args: Any, **more: Any) -> WrappedGrant:
        with self._spans.during("mint", key):
            wrapped = self._inner.grants.mint(key, *args, **more)
        self._know(key, wrapped.grant)
        return wrapped

    def _extend(self, grant: Grant, *, lifetime_s: int) -> None:
        with self._spans.during("extend", self._of(grant)):
            self._inner.grants.extend(grant, lifetime_s=lifetime_s)

    def _revoke(self, grant: Grant) -> None:
        with self._spans.during("revoke", self._of(grant)):
            self._inner.grants.revoke(grant)

    def _withdraw(self, grant: Grant) -> bool:
        with self._spans.during("withdraw", self._of(grant)):
            return self._inner.grants.withdraw(grant)

    def _claim(self, claim: Claim) -> Claim:
        self._know(claim.key, claim.grant)
        with self._spans.during("claim", claim.key) as attributes:
            if claim.tier and claim.formula:
                attributes.update(tier=claim.tier.value, formula=claim.formula.name)
            return self._inner.ledger.claim(claim)

    def _update(self, claim: Claim) -> Claim:
        with self._spans.during("record", claim.key) as attributes:
            attributes["phase"] = claim.phase.value
            updated = self._inner.ledger.update(claim)
        self._know(claim.key, claim.grant)
        result = ended_result(claim)
        if result is not None:
            with self._lock:
                _put(self._verdicts, claim.key, result.verdict.value)
        return updated

    def _open_runs(self) -> Sequence[Claim]:
        claims = self._inner.ledger.open_runs()
        for claim in claims:
            self._know(claim.key, claim.grant)
        return claims

    # --- the engine ----------------------------------------------------------------------

    def _submit(self, spec: RunSpec, grant: WrappedGrant, *, again: bool = False) -> str:
        with self._spans.during("dispatch", spec.key) as attributes:
            attributes["engine"] = self._inner.settings.scheduler
            return self._inner.scheduler.submit(spec, grant, again=again)

    def _observe(self, claims: Collection[Claim]) -> Mapping[RunKey, Observation]:
        began, woken_at = self._clock(), self._wake.at
        observations = self._inner.scheduler.observe(claims)
        ended = self._clock()
        for key, seen in observations.items():
            if seen.outcome is not None and key not in self._ended:
                with self._lock:
                    _put(self._ended, key, None)
                self._ran(key, seen.outcome, woken_at, began, ended)
        return observations

    def _ran(
        self, key: RunKey, outcome: Outcome, woken_at: float, began: float, ended: float
    ) -> None:
        """Add the spans of a run whose end was just observed: the formula, by its runner's clock; until
        the engine reported the end; until it was asked; and the answer.
        """
        if outcome.finished_at:
            reported_at = woken_at if woken_at > outcome.finished_at else began
            self._spans.add(
                "run", key, outcome.started_at, outcome.finished_at, verdict=outcome.verdict.value
            )
            self._spans.add("report", key, outcome.finished_at, reported_at)
            if reported_at < began:
                self._spans.add("pause", key, reported_at, began)
        self._spans.add("observe", key, began, ended)

    def _collect(self, claim: Claim, outcome: Outcome) -> ResultOutput | None:
        with self._spans.during("collect", claim.key):
            return self._inner.outputs.collect(claim, outcome)

    def _sign(self, entry: Entry) -> str:
        with self._spans.during("sign", self._keys.get(entry.action_id)):
            return self._inner.sign_result(entry)

    # --- inside --------------------------------------------------------------------------

    def _know(self, key: RunKey, grant: Grant | None = None) -> None:
        with self._lock:
            _put(self._keys, key.action_id, key)
            if grant is not None:
                _put(self._by_grant, grant.accessor, key)

    def _of(self, grant: Grant) -> RunKey | None:
        with self._lock:
            return self._by_grant.get(grant.accessor)


def _put(entries: dict[K, V], key: K, value: V) -> None:
    """Enter a value as the newest; forget the oldest if there are too many."""
    entries.pop(key, None)
    entries[key] = value
    if len(entries) > REMEMBERED:
        del entries[next(iter(entries))]
