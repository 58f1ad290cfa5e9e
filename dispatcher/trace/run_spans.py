"""The spans of a run.

All spans of a run are in one trace, whose id is made of the run's key and the ops repo; so they belong
together although several processes may have made them, one after the other. The span of the whole run
has an id of the same origin: it is exported last, and is the parent of the others from the beginning.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Protocol

from opentelemetry.context import Context
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.trace import (
    NonRecordingSpan,
    Span,
    SpanContext,
    StatusCode,
    TraceFlags,
    Tracer,
    set_span_in_context,
)

from dispatcher.model.run import RunKey

WHOLE = "action"
"""Name of the span of a whole run, from the fetch that brought its action to the push of its result."""

REMEMBERED = 10_000
"""Maximum number of runs of which something is kept here."""

Attribute = str | int | float | bool

_TRACE_BYTES, _SPAN_BYTES = 16, 8


class Clock(Protocol):
    """Seconds since the epoch."""

    def __call__(self) -> float: ...


class RunIds(RandomIdGenerator):
    """Random ids, except within ``fixed``, on the same thread."""

    def __init__(self) -> None:
        self._own = threading.local()

    @contextmanager
    def fixed(self, context: SpanContext) -> Iterator[None]:
        """Give the next span of this thread the ids of a context."""
        self._own.context = context
        try:
            yield
        finally:
            self._own.context = None

    def generate_trace_id(self) -> int:
        context: SpanContext | None = getattr(self._own, "context", None)
        return context.trace_id if context else super().generate_trace_id()

    def generate_span_id(self) -> int:
        context: SpanContext | None = getattr(self._own, "context", None)
        return context.span_id if context else super().generate_span_id()


class RunSpans:
    """Makes the spans of runs. Thread-safe.

    Args:
        tracer: of a provider whose ids are made by ``ids``.
        ids: see there.
        place: of the ops repo, so that two of them may hold the same file.
        close: called by ``close``.
    """

    def __init__(
        self,
        tracer: Tracer,
        ids: RunIds,
        *,
        place: str,
        clock: Clock = time.time,
        close: Callable[[], None] = lambda: None,
    ) -> None:
        self._tracer, self._ids, self._place, self.clock = tracer, ids, place, clock
        self.close = close
        self._lock = threading.Lock()
        self._began: OrderedDict[RunKey, float] = OrderedDict()

    def context(self, key: RunKey) -> SpanContext:
        """Where the spans of a run belong."""
        digest = hashlib.sha256(f"disinto\0{self._place}\0{key.token}".encode()).digest()
        return SpanContext(
            trace_id=int.from_bytes(digest[:_TRACE_BYTES]),
            span_id=int.from_bytes(digest[_TRACE_BYTES : _TRACE_BYTES + _SPAN_BYTES]),
            is_remote=True,
            trace_flags=TraceFlags(TraceFlags.SAMPLED),
        )

    def add(
        self,
        name: str,
        key: RunKey,
        began: float,
        ended: float,
        *,
        error: Exception | None = None,
        **attributes: Attribute,
    ) -> None:
        """Add a span of a run.

        Args:
            began, ended: seconds since the epoch.
            error: what it ended by; only its class is noted, because messages may hold anything.
            attributes: without the prefix ``disinto.``.
        """
        self._note(key, began)
        parent = set_span_in_context(NonRecordingSpan(self.context(key)), Context())
        span = self._begin(name, key, parent, began, attributes)
        if error is not None:
            span.set_attribute("error.type", type(error).__name__)
            span.set_status(StatusCode.ERROR)
        span.end(_ns(max(began, ended)))

    @contextmanager
    def during(self, name: str, key: RunKey | None) -> Iterator[dict[str, Attribute]]:
        """Add a span that takes as long as the block. Yields its attributes, to be completed.

        Args:
            key: None: nothing is added.
        """
        began, attributes, error = self.clock(), dict[str, Attribute](), None
        try:
            yield attributes
        except Exception as raised:
            error = raised
            raise
        finally:
            if key is not None:
                self.add(name, key, began, self.clock(), error=error, **attributes)

    def whole(self, key: RunKey, ended: float, **attributes: Attribute) -> None:
        """Add the span of the whole run, from the first span that was added of it."""
        with self._lock:
            began = self._began.pop(key, ended)
        with self._ids.fixed(self.context(key)):
            span = self._begin(WHOLE, key, Context(), began, attributes)
        span.end(_ns(max(began, ended)))

    def _note(self, key: RunKey, began: float) -> None:
        with self._lock:
            self._began[key] = min(began, self._began.get(key, began))
            while len(self._began) > REMEMBERED:
                self._began.popitem(last=False)

    def _begin(
        self,
        name: str,
        key: RunKey,
        parent: Context,
        began: float,
        attributes: Mapping[str, Attribute],
    ) -> Span:
        own = {"action": key.action_id, "blob": key.blob, **attributes}
        return self._tracer.start_span(
            name,
            context=parent,
            start_time=_ns(began),
            attributes={f"disinto.{each}": value for each, value in own.items()},
        )


def _ns(seconds: float) -> int:
    return round(seconds * 1e9)
