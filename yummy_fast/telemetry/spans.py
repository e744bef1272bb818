"""OpenTelemetry spans: one for each sampled request, a child of the client's span, with a child for each phase.

What a span contains follows OpenTelemetry's semantic conventions for HTTP servers. Which requests are sampled, where
spans are sent and how many may be queued is decided by the SDK and its environment variables (OTEL_*). The sampler is
asked when a request begins; a request that is not sampled is handled as if there were no spans. Phases become spans
when the request ends, from times that `endpoints` has noted (`trace_headers.Phases`). Probes and metrics have no spans,
nor have bytes that are no request.

A span contains what a line of the access log does, except for paths other than our own, and the numbers of rows and
features. It contains no entity, no value, no text of an error, no header and no query.

The SDK sends spans in a thread, so `open_spans` must be called after the last fork. A collector that does not answer is
logged once when it begins to fail and once when it works again. Requests never wait for it; if the queue is full, the
oldest spans are dropped.

Only this file imports opentelemetry, and it is imported only if spans are enabled: the package is an extra.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import threading
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from time import perf_counter_ns, time_ns
from typing import Any, NamedTuple

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import (
    NonRecordingSpan,
    NoOpTracer,
    Span,
    SpanContext,
    SpanKind,
    StatusCode,
    TraceFlags,
    Tracer,
    TraceState,
    set_span_in_context,
)

from yummy_fast import __version__
from yummy_fast.errors import ConfigError, LimitError
from yummy_fast.http.http11 import Request, Response, ResponseOrCoroutine, split_target
from yummy_fast.http.trace_headers import Phases, Trace
from yummy_fast.sources.download import without_secrets
from yummy_fast.telemetry.once_log import OnceLog

logger = logging.getLogger("yummy_fast")

Attributes = dict[str, str | int]

FLUSH_S = 2.0
"""How long a process that stops waits until its last spans are sent. A second later it is killed (worker.OVERDUE_S)."""

ROUTE = b"/get-online-features"
_PATHS_WITHOUT_SPANS = frozenset((b"/health", b"/livez", b"/readyz", b"/metrics"))
"""Machines request these every few seconds, and they have nothing to do with features."""
_METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "QUERY"))
"""The methods that the semantic conventions name; others are "_OTHER"."""
_NO_TRACE = Trace(b"", b"", False)
_ROOT = Context()
"""The context without a span: a span that is started in it has no parent, and begins a trace."""

_SUPPORTED = (
    ("OTEL_TRACES_EXPORTER", "otlp"),
    ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
    ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/protobuf"),
)
"""Variables that choose an exporter, each with the one value that is supported."""


def open_spans(*, https: bool, store_type: str) -> Spans | None:
    """Spans as the environment configures them; None with OTEL_SDK_DISABLED. Starts a thread. Raises ConfigError."""
    library_log = _LibraryLog()
    try:
        provider = TracerProvider(resource=_resource(), shutdown_on_exit=False)
        tracer = provider.get_tracer("yummy_fast", __version__)
        if isinstance(tracer, NoOpTracer):
            logger.info("no spans are sent: OTEL_SDK_DISABLED is set")
            return None
        exporter = _Exporter(OTLPSpanExporter(), library_log)
        provider.add_span_processor(BatchSpanProcessor(exporter))
    except (ValueError, OSError) as error:  # such as a malformed number, or a certificate that does not exist
        raise ConfigError(f"--otel: OTEL_*: {error}") from None
    for variable, supported in _SUPPORTED:
        if os.environ.get(variable, supported).strip() not in ("", supported):
            logger.warning("%s is ignored: the only supported value is %s", variable, supported)
    logger.info("spans are sent to %s", exporter.endpoint)
    return Spans(provider, tracer, https=https, store_type=store_type)


def _resource() -> Resource:
    """This process as the environment describes it; its service.name is yummy-fast if the environment has none."""
    found = Resource.create()
    if str(found.attributes.get(SERVICE_NAME, "")).startswith("unknown_service"):
        found = found.merge(Resource({SERVICE_NAME: "yummy-fast"}))
    if SERVICE_VERSION not in found.attributes:
        found = found.merge(Resource({SERVICE_VERSION: __version__}))
    return found


class _Recording(NamedTuple):
    """The unfinished span of a sampled request."""

    span: Span
    epoch_ns: int
    """The Unix time when time.perf_counter_ns() was 0: the phases use that clock, the SDK uses Unix time."""
    phases: Phases


class Spans:
    """Makes the spans of a server's requests.

    The tree of spans for one request, and how each finds its parent:

        traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01
                        trace id                         parent span id   flags: 01 is sampled

        00f067aa0ba902b7                  the client's span, made by the client
        └── POST /get-online-features     `_parent_context` finds its parent in the header; without a header, it has
            ├── decode                    no parent and begins a new trace
            ├── store
            └── encode                    `_make_phases` makes these, and so has their parent at hand

    The parent is always passed as an argument, never taken from OpenTelemetry's current context. That is a context
    variable, and requests have no contexts of their own, because `connection.Exchange` runs their coroutines without a
    Task: a span that was made current in one request could become the parent in another.
    """

    def __init__(self, provider: TracerProvider, tracer: Tracer, *, https: bool, store_type: str) -> None:
        self._provider = provider
        self._tracer = tracer
        self._always: Attributes = {"url.scheme": "https" if https else "http"}
        self._usual = self._describe(Request(b"POST", ROUTE, b"", True))
        self._store: Attributes = {"db.system.name": store_type}
        self._failed: tuple[BaseException, _Recording] | None = None
        """The request that has just failed: passed from `follow` to `follow_failed`, which ends its span."""
        self._once = OnceLog(logger)

    def serve_at(self, listener: socket.socket) -> None:
        """Name the address of `listener` in all spans from now on. Of several listeners, one is enough."""
        self._always |= _address(listener)
        self._usual = self._describe(Request(b"POST", ROUTE, b"", True))

    def follow(self, handle: Callable[[Request], ResponseOrCoroutine]) -> Callable[[Request], ResponseOrCoroutine]:
        """`handle`, with a span for each sampled request. If the request fails, `follow_failed` ends the span."""

        def followed(request: Request) -> ResponseOrCoroutine:
            recording = None if _has_no_span(request) else self._begin(request)
            return handle(request) if recording is None else to_the_end(request, recording)

        async def to_the_end(request: Request, recording: _Recording) -> Response:
            trace = (request.trace or _NO_TRACE)._replace(phases=recording.phases)
            try:
                answer = handle(request._replace(trace=trace))
                response = answer if isinstance(answer, Response) else await answer
            except GeneratorExit:  # the client has disconnected, so there will be no answer and no call of `failed`
                self._end(recording, 0, "client_left")
                raise
            except BaseException as error:
                # `connection.Exchange` calls `failed` with this error before it runs another request: one slot will do.
                self._failed = error, recording
                raise
            self._end(recording, response.status)
            return response

        return followed

    def follow_failed(
        self, failed: Callable[[BaseException, Request], Response]
    ) -> Callable[[BaseException, Request], Response]:
        """`failed`, which also ends the span of the failed request.

        A request that is refused with 503 because too many are in flight, or its connection is one too many, has not
        run, so its span begins and ends here. Bytes that are refused because they are no request have an empty method.
        """

        def answer(error: BaseException, request: Request) -> Response:
            response = failed(error, request)
            just_failed, self._failed = self._failed, None
            recording = just_failed[1] if just_failed is not None and just_failed[0] is error else None
            if recording is None and isinstance(error, LimitError) and error.status == 503 and request.method:
                recording = self._begin(request)
            if recording is not None:
                self._end(recording, response.status, type(error).__name__)
            return response

        return answer

    def _begin(self, request: Request) -> _Recording | None:
        """Begin the span of a request; None if it is not sampled, or the SDK fails, which must not fail the request."""
        try:
            usual = request.url == ROUTE and request.method == b"POST" and request.version == "1.1"
            name, attributes = self._usual if usual else self._describe(request)
            now_ns = time_ns()
            epoch_ns = now_ns - perf_counter_ns()
            parent = _parent_context(request.trace)
            span = self._tracer.start_span(name, parent, SpanKind.SERVER, attributes, start_time=now_ns)
            return _Recording(span, epoch_ns, Phases()) if span.is_recording() else None
        except Exception:  # a third-party sampler may raise anything
            self._log_failure()
            return None

    def _describe(self, request: Request) -> tuple[str, Attributes]:
        """The name of a request's span, and its first attributes. No part of the name is chosen by the client."""
        method = request.method.decode("ascii", "replace")
        path = split_target(request.url)[0]
        known = method if method in _METHODS else "_OTHER"
        name = method if method in _METHODS else "HTTP"
        attributes: Attributes = {
            "http.request.method": known,
            "network.protocol.version": request.version,
            **self._always,
        }
        if known != method:
            attributes["http.request.method_original"] = method
        if path.rstrip(b"/") == ROUTE:  # other paths may contain anything
            attributes["url.path"] = path.decode()
        if path == ROUTE:
            attributes["http.route"] = path.decode()
            name = f"{name} {path.decode()}"
        return name, attributes

    def _end(self, recording: _Recording, status: int, error: str = "") -> None:
        """End the span of a request, with those of its phases; `status` is 0 if there was no answer. Never raises."""
        try:
            self._make_phases(recording, status, error)
            span, epoch_ns, phases = recording
            found: Attributes = {"http.response.status_code": status} if status else {}
            if phases.service:
                found["feast.feature_service"] = phases.service
            if phases.rows >= 0:
                found["feast.rows"] = phases.rows
            if phases.features >= 0:
                found["feast.features"] = phases.features
            span.set_attributes(found)
            _end_span(span, status, error, epoch_ns + perf_counter_ns())
        except Exception:
            self._log_failure()

    def _make_phases(self, recording: _Recording, status: int, error: str) -> None:
        span, epoch_ns, phases = recording
        parent = set_span_in_context(span, _ROOT)
        last = len(phases.took) - 1
        for index, (phase, begun, ended) in enumerate(phases.took):
            kind, attributes = (SpanKind.CLIENT, self._store) if phase == "store" else (SpanKind.INTERNAL, None)
            child = self._tracer.start_span(phase, parent, kind, attributes, start_time=epoch_ns + begun)
            failed = phases.unfinished and index == last
            _end_span(child, status if failed else 0, error if failed else "", epoch_ns + ended)

    def _log_failure(self) -> None:
        self._once.log(logging.ERROR, "a span is lost, and further ones may be: the SDK failed", exc_info=True)

    async def close(self, rest: Callable[[float, asyncio.Event], Coroutine[Any, Any, None]]) -> None:
        """Send the last spans, in at most FLUSH_S. `rest` waits for a number of seconds, or until an event is set."""
        loop, flushed = asyncio.get_running_loop(), asyncio.Event()

        def flush() -> None:
            self._provider.shutdown()
            with suppress(RuntimeError):  # the event loop is closed: FLUSH_S is over
                loop.call_soon_threadsafe(flushed.set)

        # A daemon thread, because a collector that does not answer may block it for longer than FLUSH_S.
        threading.Thread(target=flush, daemon=True).start()
        await rest(FLUSH_S, flushed)
        if not flushed.is_set():
            logger.warning("the last spans are lost: they could not be sent within %g s", FLUSH_S)


def _has_no_span(request: Request) -> bool:
    return request.url != ROUTE and split_target(request.url)[0] in _PATHS_WITHOUT_SPANS


def _end_span(span: Span, status: int, error: str, at_ns: int) -> None:
    """End a span. A 5xx is an error of the server; a 4xx is the client's, and not an error of this span.

    The status gets no description, because the text of an error may quote entities.
    """
    if error and not 400 <= status < 500:
        span.set_attribute("error.type", error)
    if status >= 500:
        span.set_status(StatusCode.ERROR)
    span.end(at_ns)


def _parent_context(trace: Trace | None) -> Context:
    """The context whose span is the client's, for the SDK to start ours in.

    Of the client's span only the ids and flags are known, which `trace_headers` has found to be well-formed. A
    NonRecordingSpan holds them. The sampler reads the flags: the default one samples what the client samples.
    """
    if trace is None or not trace.traceparent:
        return _ROOT
    # The first 55 bytes, 00-<32>-<16>-<2>. Later versions of the header may have more.
    _, trace_id, span_id, flags = trace.traceparent[:55].split(b"-")
    state = TraceState.from_header([trace.tracestate.decode()]) if trace.tracestate else None
    context = SpanContext(
        trace_id=int(trace_id, 16),
        span_id=int(span_id, 16),
        is_remote=True,
        trace_flags=TraceFlags(int(flags, 16)),
        trace_state=state,
    )
    return set_span_in_context(NonRecordingSpan(context), _ROOT)


def _address(listener: socket.socket) -> Attributes:
    """The attributes for the address of a listener, as clients may know it: 0.0.0.0 becomes the host's name."""
    name = listener.getsockname()
    if listener.family == socket.AF_UNIX:
        return {"server.address": os.fsdecode(name)} if name else {}
    host, port = name[:2]
    return {"server.address": socket.gethostname() if host in ("0.0.0.0", "::") else host, "server.port": port}  # noqa: S104


# ------------------------------------------------------------------------------------------------------ sending


class _Exporter(SpanExporter):
    """OTLP over HTTP, with one log line when it begins to fail and one when it works again.

    The library would log several lines for each batch that it cannot send.
    """

    def __init__(self, exporter: OTLPSpanExporter, library_log: _LibraryLog) -> None:
        self._exporter = exporter
        self._library_log = library_log
        self._lost = 0
        """How many spans could not be sent since the last batch that was."""
        self._once = OnceLog(logger)
        self.endpoint = without_secrets(
            os.environ.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
            or os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT")
            or "http://localhost:4318"
        )

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        library_log = self._library_log
        result = self._exporter.export(spans)
        if result is not SpanExportResult.SUCCESS:
            if not self._lost:
                why = library_log.send_error or "no answer in time"
                logger.warning("spans cannot be sent to %s and are lost: %s", self.endpoint, why)
            self._lost += len(spans)
            library_log.queue_was_full = False  # a consequence, which needs no line of its own
        elif self._lost:
            logger.info("spans are sent to %s again; at least %d were lost", self.endpoint, self._lost)
            self._lost = 0
            library_log.queue_was_full = False
        elif library_log.queue_was_full:
            self._once.log(logging.WARNING, "spans are lost: the queue is full; see OTEL_BSP_MAX_QUEUE_SIZE")
        return result

    def shutdown(self) -> None:
        self._exporter.shutdown()  # type: ignore[no-untyped-call]  # theirs

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return self._exporter.force_flush(timeout_millis)


class _LibraryLog(logging.Handler):
    """Replaces the log output of OpenTelemetry's own loggers.

    What they report about sending is kept for `_Exporter`. Anything else is logged once per message.
    """

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.send_error = ""
        """Why the last batch could not be sent."""
        self.queue_was_full = False
        """Whether spans were dropped because the queue was full."""
        self._once = OnceLog(logger)
        opentelemetry = logging.getLogger("opentelemetry")
        opentelemetry.propagate = False
        opentelemetry.handlers = [self]

    def emit(self, record: logging.LogRecord) -> None:
        if record.name.startswith("opentelemetry.exporter."):
            self.send_error = _reason(record) or self.send_error
        elif record.msg.startswith("Queue full"):
            self.queue_was_full = True
        else:
            # This logger quotes OTEL_EXPORTER_OTLP_HEADERS if they are malformed, and there may be a key in them.
            secret = record.name == "opentelemetry.util.re"
            text = record.msg.removesuffix(": %s") if secret else record.getMessage()
            self._once.log(record.levelno, "OpenTelemetry: %s", text, key=record.msg)


def _reason(record: logging.LogRecord) -> str:
    """Why a batch was not sent: the class of an exception, or an HTTP status; empty if the record has neither.

    Its text is not used, because it contains the URL, which may contain a password.
    """
    for argument in record.args if isinstance(record.args, tuple) else ():
        if isinstance(argument, Exception):
            return type(argument).__name__
        if isinstance(argument, int) and "code" in record.msg:
            return f"HTTP status {argument}"
    return ""
