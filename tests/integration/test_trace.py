"""A trace per action: which spans, whose, and what they never hold. Real git, OpenBao and SQLite."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from dispatcher.errors import Dependency, Unavailable
from dispatcher.loop.components import Components
from dispatcher.model.run import Outcome
from dispatcher.model.verdicts import Verdict
from dispatcher.status.tracker import Status
from dispatcher.trace.provider import spans_to
from dispatcher.trace.run_spans import WHOLE
from dispatcher.trace.service import TracedService
from tests.support.faulty_adapters import Failing, Laid, end_all
from tests.support.stage import Follower, Stage, action, path

CANARY = "canary-4711"
WAY = ["fetch", "vet", "approve", "mint", "claim", "extend", "dispatch", "record"]
WAY_BACK = ["run", "report", "observe", "revoke", "sign", "record", "push", WHOLE]


class Traced:
    """Lays traces over the services of a stage, and keeps their spans."""

    def __init__(self, stage: Stage) -> None:
        self.exporter = InMemorySpanExporter()
        self._service: TracedService | None = None
        before = stage.change
        stage.change = lambda components: self._lay(before(components))
        follower = Follower()
        stage.watch = follower
        kept = follower.status

        def status(status: Status) -> None:
            kept(status)
            assert self._service is not None
            self._service.status(status)

        follower.status = status  # type: ignore[method-assign]

    def _lay(self, components: Components) -> Components:
        spans = spans_to(SimpleSpanProcessor(self.exporter), components.settings)
        self._service = TracedService(components, spans)
        return self._service.components

    def of(self, action_id: str) -> list[ReadableSpan]:
        """The spans of an action, in order of their beginning."""
        spans = [
            s for s in self.exporter.get_finished_spans() if attribute(s, "action") == action_id
        ]
        return sorted(spans, key=lambda span: (span.start_time or 0, span.name == WHOLE))


def attribute(span: ReadableSpan, name: str) -> object:
    return (span.attributes or {}).get(f"disinto.{name}")


def in_order(names: Sequence[str], wanted: Sequence[str]) -> bool:
    """Whether these names are among others in this order."""
    rest = iter(names)
    return all(name in rest for name in wanted)


def test_the_way_of_an_action_is_one_trace_without_contents(stage: Stage) -> None:
    traced = Traced(stage)
    text = action("one", secrets='"TOKEN_A"').replace('context = "c"', f'context = "{CANARY}"')
    stage.scene.merge({path("one"): text, path("two"): action("two")}, f"Add two for {CANARY}")
    stage.start()
    stage.runs(2)
    for key in stage.scheduler.running():
        ended = stage.watch.last.round_at if stage.watch.last else 0.0
        outcome = Outcome(
            verdict=Verdict.FAILED,
            exit_code=3,
            formula_started=True,
            started_at=ended - 1.0,
            finished_at=ended,
            error=CANARY,
            logs=CANARY,
            outputs={"x": CANARY},
        )
        stage.scheduler.end(key, outcome)
    stage.result("one")
    stage.at_rest()
    stage.stop()

    spans = traced.of("one")
    names = [span.name for span in spans if span.name != WHOLE]
    assert in_order(names, WAY), names
    assert set(WAY_BACK) <= {span.name for span in spans}
    assert len({span.context.trace_id for span in spans if span.context}) == 1
    (whole,) = (span for span in spans if span.name == WHOLE)
    assert whole.context is not None
    assert whole.parent is None
    assert {s.parent.span_id for s in spans if s.parent} == {whole.context.span_id}
    assert attribute(whole, "verdict") == "failed"
    assert whole.start_time == min(span.start_time or 0 for span in spans)
    assert whole.end_time == max(span.end_time or 0 for span in spans if span.name == "push")
    (other,) = {s.context.trace_id for s in traced.of("two") if s.context}
    assert other != whole.context.trace_id

    hidden = [CANARY, "value-a", *(grant.token for grant in stage.scheduler.granted)]
    exported = "".join(span.to_json() for span in traced.exporter.get_finished_spans())
    assert [text for text in hidden if text in exported] == []


def test_a_failure_is_noted_by_its_class_alone_and_a_restart_goes_on_in_the_same_trace(
    stage: Stage,
) -> None:
    def change(components: Components) -> Components:
        failing = Failing(
            components.grants.revoke, Unavailable(Dependency.VAULT, f"sealed: {CANARY}")
        )
        return replace(components, grants=Laid(components.grants, revoke=failing))  # type: ignore[arg-type]

    stage.change = change
    traced = Traced(stage)
    stage.scene.merge({path("one"): action("one")}, "Add one")
    stage.start()
    stage.runs(1)
    stage.stop()
    before = {span.context.trace_id for span in traced.of("one") if span.context}
    assert WHOLE not in {span.name for span in traced.of("one")}

    stage.start()
    end_all(stage)
    stage.at_rest()
    stage.stop()
    spans = traced.of("one")
    assert {span.context.trace_id for span in spans if span.context} == before
    assert [span.name for span in spans].count(WHOLE) == 1
    (failed,) = (s for s in spans if s.status.status_code is StatusCode.ERROR)
    assert (failed.name, (failed.attributes or {})["error.type"]) == ("revoke", "Unavailable")
    assert failed.status.description is None
    assert CANARY not in "".join(span.to_json() for span in spans)
