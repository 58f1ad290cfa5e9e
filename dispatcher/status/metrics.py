"""The metrics for Prometheus, in their own registry.

Every label comes from a closed enum, so that no action, user or commit can create a series. Counters
are incremented by the service; gauges are read from the health snapshot when they are collected.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from dispatcher.model.health import Health, WaitingFor
from dispatcher.model.verdicts import Verdict

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

RUN_SECONDS = (0.5, 1, 5, 15, 60, 300, 900, 3600, 14400, 86400)
TICK_SECONDS = (0.001, 0.005, 0.02, 0.1, 0.5, 2, 10)


class Metrics:
    """The metrics of a dispatcher. Thread-safe."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._verdicts = Counter(
            "disinto_runs_ended",
            "Runs and refused or invalid actions, by verdict.",
            ["verdict"],
            registry=self.registry,
        )
        for verdict in Verdict:
            self._verdicts.labels(verdict=verdict.value)
        self._durations = Histogram(
            "disinto_run_seconds",
            "Seconds from a formula's start to its end.",
            buckets=RUN_SECONDS,
            registry=self.registry,
        )
        self._ticks = Histogram(
            "disinto_tick_seconds",
            "Seconds of one turn of the loop.",
            buckets=TICK_SECONDS,
            registry=self.registry,
        )
        self._results = Counter(
            "disinto_results_pushed", "Results on the remote.", registry=self.registry
        )
        self._commits = Counter(
            "disinto_result_commits", "Commits that carried results.", registry=self.registry
        )
        self._defects = Counter(
            "disinto_defects",
            "Unexpected errors; each is logged, the first of its kind with traceback.",
            registry=self.registry,
        )
        self._foreign = Counter(
            "disinto_foreign_results",
            "Files in place of results that this dispatcher did not sign.",
            registry=self.registry,
        )
        self._hooks = Counter(
            "disinto_webhooks", "Webhook calls, by outcome.", ["outcome"], registry=self.registry
        )

    def defect(self) -> None:
        """Count one unexpected error."""
        self._defects.inc()

    def run_ended(self, verdict: Verdict, *, seconds: float | None = None) -> None:
        """Count one verdict; ``seconds`` is the formula's duration, None if it never started."""
        self._verdicts.labels(verdict=verdict.value).inc()
        if seconds is not None:
            self._durations.observe(seconds)

    def tick(self, seconds: float) -> None:
        """Count one round of the loop."""
        self._ticks.observe(seconds)

    def pushed(self, *, results: int) -> None:
        """Count one commit with this many results."""
        self._commits.inc()
        self._results.inc(results)

    def foreign_result(self) -> None:
        """Count one result that somebody else wrote."""
        self._foreign.inc()

    def hook(self, outcome: str) -> None:
        """Count one webhook call; ``outcome`` is a value of ``dispatcher.listener.hooks.Outcome``."""
        self._hooks.labels(outcome=outcome).inc()

    def hooks_begin(self, outcomes: Iterable[str]) -> None:
        """Export a counter of 0 for each outcome, so that the first call counts as an increase."""
        for outcome in outcomes:
            self._hooks.labels(outcome=outcome)

    def watch(self, health: Callable[[], Health], *, forge_calls: Callable[[], int] | None) -> None:
        """Add the gauges that are read when they are collected. Call once."""
        self.registry.register(_Now(health, forge_calls))

    def text(self) -> bytes:
        """All metrics, in the text format."""
        return generate_latest(self.registry)


class _Now(Collector):
    """Gauges from the health snapshot."""

    def __init__(self, health: Callable[[], Health], forge_calls: Callable[[], int] | None) -> None:
        self._health = health
        self._forge_calls = forge_calls

    def collect(self) -> Iterable[Metric]:
        health = self._health()
        yield _gauge("disinto_leader", "1 while this process leads.", float(health.leader))
        yield _gauge("disinto_runs_in_flight", "Runs under way.", health.in_flight)
        yield _gauge(
            "disinto_results_unpublished", "Results not yet on the remote.", health.unpublished
        )
        waiting = GaugeMetricFamily(
            "disinto_actions_waiting", "Open actions that do not run yet.", labels=["reason"]
        )
        for reason in WaitingFor:
            waiting.add_metric([reason.value], health.waiting.get(reason, 0))
        yield waiting
        up = GaugeMetricFamily(
            "disinto_dependency_up", "1 while the dependency answers.", labels=["dependency"]
        )
        for entry in health.dependencies:
            up.add_metric([entry.dependency.value], float(entry.up))
        yield up
        if self._forge_calls is not None:
            yield _gauge("disinto_forge_calls", "Requests sent to the forge.", self._forge_calls())


def _gauge(name: str, help_text: str, value: float) -> Metric:
    family = GaugeMetricFamily(name, help_text)
    family.add_metric([], value)
    return family
