"""Spans reach a collector by OTLP; one that is away, or a missing package, is no secret."""

from __future__ import annotations

import socket
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from dispatcher.assembly import open_traces
from dispatcher.devservers.collector import collecting
from dispatcher.engines.log import LazyLogger
from dispatcher.errors import Misconfigured
from dispatcher.model.run import RunKey
from dispatcher.settings import Settings
from dispatcher.settings.models import TraceSettings
from dispatcher.trace import provider
from dispatcher.trace.provider import open_spans

KEY = RunKey(action_id="one", blob="b" * 40)


def settings(endpoint: str) -> Settings:
    return Settings(trace=TraceSettings(endpoint=endpoint))


def test_spans_are_exported_by_otlp_when_serve_ends() -> None:
    with collecting() as collector:
        spans = open_spans(settings(collector.endpoint))
        spans.add("push", KEY, 10.0, 10.5, files=3)
        spans.whole(KEY, 10.5, verdict="succeeded")
        spans.close()
    push, whole = sorted(collector.spans, key=lambda span: span.name, reverse=True)
    assert (push.name, whole.name) == ("push", "action")
    assert push.trace_id == whole.trace_id
    assert push.parent_span_id == whole.span_id
    assert whole.parent_span_id == b""
    assert push.end_time_unix_nano - push.start_time_unix_nano == 500_000_000
    context = spans.context(KEY)
    assert whole.trace_id == context.trace_id.to_bytes(16)


def test_another_ops_repo_with_the_same_file_has_another_trace() -> None:
    one, other = (
        open_spans(Settings.model_validate({"ops_repo": {"remote": remote}}))
        for remote in ("https://a.example/ops.git", "https://b.example/ops.git")
    )
    assert one.context(KEY).trace_id != other.context(KEY).trace_id
    one.close()
    other.close()


def test_without_the_packages_serve_says_how_to_install_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for module in [name for name in sys.modules if name.startswith("dispatcher.trace.")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    components: Any = SimpleNamespace(settings=settings("http://127.0.0.1:1/v1/traces"))
    with pytest.raises(Misconfigured) as told:
        open_traces(components)
    assert "disinto-dispatcher[trace]" in told.value.remedy


def test_without_an_endpoint_nothing_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "dispatcher.trace.provider", None)
    components: Any = SimpleNamespace(settings=settings(""))
    assert open_traces(components) is None


def test_a_collector_that_is_away_is_logged_once(monkeypatch: pytest.MonkeyPatch) -> None:
    logged: list[str] = []

    def warning(_self: LazyLogger, event: str, **_facts: object) -> None:
        logged.append(event)

    monkeypatch.setattr(LazyLogger, "warning", warning)
    monkeypatch.setattr(provider, "EXPORT_WITHIN_S", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    spans = open_spans(settings(f"http://127.0.0.1:{port}/v1/traces"))
    spans.add("push", KEY, 10.0, 10.5)
    spans.close()
    assert logged == ["spans_dropped"]
