"""What makes the spans of a service, and exports them by OTLP over HTTP on a thread of its own.

A collector that is away costs spans and nothing else. Headers, such as its token, certificates and
further attributes of the service come from the variables of OpenTelemetry
(``OTEL_EXPORTER_OTLP_HEADERS``, ``OTEL_EXPORTER_OTLP_CERTIFICATE``, ``OTEL_RESOURCE_ATTRIBUTES``).
"""

from __future__ import annotations

import logging
import time

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ALWAYS_ON

from dispatcher import __version__
from dispatcher.engines.log import LazyLogger
from dispatcher.settings import Settings
from dispatcher.trace.run_spans import RunIds, RunSpans

EXPORT_WITHIN_S = 5.0
"""Seconds for one request to the collector, and so at most about as long at the end of ``serve``."""


REPORT_EVERY_S = 60.0
"""Seconds between two reports of the exporter's trouble."""


class _Trouble(logging.Handler):
    """Puts what OpenTelemetry reports into the log of ``serve``, now and then."""

    def __init__(self) -> None:
        super().__init__(level=logging.WARNING)
        self._log = LazyLogger("disinto.trace")
        self._again_at = 0.0

    def emit(self, record: logging.LogRecord) -> None:
        if time.monotonic() >= self._again_at:
            self._again_at = time.monotonic() + REPORT_EVERY_S
            self._log.warning("spans_dropped", reason=record.getMessage())


def open_spans(settings: Settings) -> RunSpans:
    """Spans that are exported to ``[trace] endpoint``."""
    log = logging.getLogger("opentelemetry")
    log.handlers, log.propagate = [_Trouble()], False
    exporter = OTLPSpanExporter(endpoint=settings.trace.endpoint, timeout=EXPORT_WITHIN_S)
    return spans_to(BatchSpanProcessor(exporter), settings)


def spans_to(processor: SpanProcessor, settings: Settings) -> RunSpans:
    """Spans that a processor receives."""
    ids = RunIds()
    # All or none of an action's spans are of use; a collector samples whole traces.
    provider = TracerProvider(
        id_generator=ids,
        sampler=ALWAYS_ON,
        resource=Resource.create({SERVICE_NAME: "disinto"}),
        shutdown_on_exit=False,
    )
    provider.add_span_processor(processor)
    return RunSpans(
        provider.get_tracer("disinto", __version__),
        ids,
        place=_place(settings),
        close=provider.shutdown,
    )


def _place(settings: Settings) -> str:
    """The ops repo and its branch, without a password that somebody wrote into its address."""
    scheme, separator, rest = settings.ops_repo.remote.rpartition("://")
    return f"{scheme}{separator}{rest.rpartition('@')[2]} {settings.ops_repo.branch}"
