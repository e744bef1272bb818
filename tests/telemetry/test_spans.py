"""Spans of single requests, without a server. What a collector receives is in tests/system/test_spans.py."""

from __future__ import annotations

import logging

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, Sampler, SamplingResult

from yummy_fast.errors import LimitError
from yummy_fast.http.http11 import Request, Response
from yummy_fast.http.trace_headers import Trace
from yummy_fast.telemetry.spans import ROUTE, Spans

TRACE_ID, SPAN_ID = 0x4BF92F3577B34DA6A3CE929D0E0E4736, 0x00F067AA0BA902B7
TRACEPARENT = b"00-%032x-%016x-01" % (TRACE_ID, SPAN_ID)
REQUEST = Request(b"POST", ROUTE, b"", True)


class BrokenSampler(Sampler):
    """Raises whenever it is asked."""

    def should_sample(self, *_: object, **__: object) -> SamplingResult:
        raise RuntimeError("no such luck")

    def get_description(self) -> str:
        return "broken"


def spans_of(sampler: Sampler) -> tuple[Spans, InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    provider = TracerProvider(sampler=sampler, shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return Spans(provider, provider.get_tracer("test"), https=False, store_type="redis"), exporter


def run(spans: Spans, request: Request, outcome: Response | Exception) -> Response:
    """Handle `request` as `connection.Exchange` does: its coroutine ends with `outcome`."""

    async def get_features(_: Request) -> Response:
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    failed = spans.follow_failed(lambda error, _: Response(getattr(error, "status", 500)))
    coroutine = spans.follow(get_features)(request)
    assert not isinstance(coroutine, Response)
    try:
        coroutine.send(None)
    except StopIteration as done:
        response: Response = done.value
        return response
    except Exception as error:
        return failed(error, request)
    raise AssertionError("the coroutine waits")


def test_an_sdk_that_fails_fails_no_request_and_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    spans, _ = spans_of(BrokenSampler())
    assert [run(spans, REQUEST, Response(200)).status for _ in range(3)] == [200] * 3
    (record,) = caplog.records
    assert (record.levelno, record.message) == (
        logging.ERROR,
        "a span is lost, and further ones may be: the SDK failed",
    )
    assert record.exc_info is not None
    assert str(record.exc_info[1]) == "no such luck"


@pytest.mark.parametrize("outcome", [Response(200), LimitError(504, "late"), ValueError("a bug")])
def test_the_parent_is_the_span_that_traceparent_names(outcome: Response | Exception) -> None:
    spans, exporter = spans_of(ALWAYS_ON)
    run(spans, REQUEST._replace(trace=Trace(b"", TRACEPARENT, False, b"vendor=a")), outcome)
    run(spans, REQUEST, outcome)
    with_header, without = exporter.get_finished_spans()
    assert with_header.parent is not None
    assert (with_header.parent.trace_id, with_header.parent.span_id) == (TRACE_ID, SPAN_ID)
    assert with_header.parent.is_remote
    assert with_header.context.trace_id == TRACE_ID
    assert with_header.context.trace_state.to_header() == "vendor=a"
    assert without.parent is None
    assert without.context.trace_id not in (0, TRACE_ID)


def test_a_request_that_is_one_too_many_has_a_span() -> None:
    """Its coroutine is never run, so its span begins when it is refused. Refused connections have none."""
    spans, exporter = spans_of(ALWAYS_ON)
    failed = spans.follow_failed(lambda _, __: Response(503))
    failed(LimitError(503, "too many"), REQUEST)
    failed(LimitError(503, "too many connections"), Request(b"", b"", b"", False))
    (span,) = exporter.get_finished_spans()
    assert span.attributes is not None
    assert (span.attributes["http.response.status_code"], span.attributes["error.type"]) == (503, "LimitError")
