"""OpenTelemetry spans: one for each request, as what the client's `traceparent` names has begun, with its phases below.

What a span looks like is OpenTelemetry's semantic conventions for HTTP servers; what is sampled, where spans go and how
many may wait is the SDK's, by its own variables (OTEL_*). The sampler is asked when a request begins; one that is not
sampled goes the way of those that nobody follows. The phases are made at its end, from moments that were noted on the
way (`trace.Phases`). Nothing is made for probes and metrics, nor for bytes that are no request.

In a span stands what is in the access log, but for paths that are none of ours, and the numbers of rows and features.
There is no entity in it, no value, no message of an error, no header, no query.

Spans leave by a thread of the SDK's, so `open_spans` is for processes that fork no more. A collector that does not
answer is one line in the log, and one when it does again; requests do not wait for it, and of the spans that wait the
oldest make room.

All that is known of opentelemetry is known here. Nobody imports this who does not want spans: it is an extra.
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

logger = logging.getLogger("yummy_fast")

Attributes = dict[str, str | int]

FLUSH_S = 2.0
"""How long a server that stops waits for its last spans to leave. What kills it if it does not end comes a second later
(worker.OVERDUE_S)."""

ROUTE = b"/get-online-features"
_UNSEEN = frozenset((b"/health", b"/livez", b"/readyz", b"/metrics"))
"""Asked every few seconds by machines, about the server and not about features."""
_METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "QUERY"))
"""Those that the conventions know."""
_NO_TRACE = Trace(b"", b"", False)
_ROOT = Context()

_SPOKEN = (
    ("OTEL_TRACES_EXPORTER", "otlp"),
    ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
    ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/protobuf"),
)
"""Variables that would choose another exporter, and the one there is."""


def open_spans(*, https: bool, store_type: str) -> Spans | None:
    """What writes spans, as the environment says; None if that says OTEL_SDK_DISABLED. Starts a thread.

    Raises ConfigError.
    """
    said = _Said()
    try:
        provider = TracerProvider(resource=_resource(), shutdown_on_exit=False)
        tracer = provider.get_tracer("yummy_fast", __version__)
        if isinstance(tracer, NoOpTracer):
            logger.info("no spans are written: OTEL_SDK_DISABLED")
            return None
        exporter = _Exporter(OTLPSpanExporter(), said)
        provider.add_span_processor(BatchSpanProcessor(exporter))
    except (ValueError, OSError) as error:  # a number that is none, a certificate that is not there
        raise ConfigError(f"--otel: OTEL_*: {error}") from None
    for variable, spoken in _SPOKEN:
        if os.environ.get(variable, spoken).strip() not in ("", spoken):
            logger.warning("%s: without effect, spans leave by %s", variable, spoken)
    logger.info("spans are written to %s", exporter.endpoint)
    return Spans(provider, tracer, https=https, store_type=store_type)


def _resource() -> Resource:
    """As the environment describes this process; named after the program if the environment has no name for it."""
    found = Resource.create()
    if str(found.attributes.get(SERVICE_NAME, "")).startswith("unknown_service"):
        found = found.merge(Resource({SERVICE_NAME: "yummy-fast"}))
    if SERVICE_VERSION not in found.attributes:
        found = found.merge(Resource({SERVICE_VERSION: __version__}))
    return found


class _Followed(NamedTuple):
    """A request that is sampled, and under way."""

    span: Span
    epoch_ns: int
    """When time.perf_counter_ns() was 0, as the SDK counts."""
    phases: Phases


class Spans:
    """Writes the spans of a server's requests."""

    def __init__(self, provider: TracerProvider, tracer: Tracer, *, https: bool, store_type: str) -> None:
        self._provider = provider
        self._tracer = tracer
        self._always: Attributes = {"url.scheme": "https" if https else "http"}
        self._usual = self._describe(Request(b"POST", ROUTE, b"", True))
        self._store: Attributes = {"db.system.name": store_type}
        self._unfinished: tuple[BaseException, _Followed] | None = None
        """A request that failed this moment, for `failed` to learn of."""
        self._broken = False

    def serve_at(self, listener: socket.socket) -> None:
        """Where requests come in; one of several places perhaps. All spans from now on name it."""
        self._always |= _address(listener)
        self._usual = self._describe(Request(b"POST", ROUTE, b"", True))

    def follow(self, handle: Callable[[Request], ResponseOrCoroutine]) -> Callable[[Request], ResponseOrCoroutine]:
        """`handle`, with a span for each request that is sampled. Those that fail end in `follow_failed`."""

        def followed(request: Request) -> ResponseOrCoroutine:
            following = None if _is_unseen(request) else self._begin(request)
            return handle(request) if following is None else to_the_end(request, following)

        async def to_the_end(request: Request, following: _Followed) -> Response:
            trace = (request.trace or _NO_TRACE)._replace(phases=following.phases)
            try:
                answer = handle(request._replace(trace=trace))
                response = answer if isinstance(answer, Response) else await answer
            except GeneratorExit:  # the client has left, and nobody will ask `failed` for an answer
                self._end(following, 0, "client_left")
                raise
            except BaseException as error:
                self._unfinished = error, following
                raise
            self._end(following, response.status)
            return response

        return followed

    def follow_failed(
        self, failed: Callable[[BaseException, Request], Response]
    ) -> Callable[[BaseException, Request], Response]:
        """`failed`, with the end of the request's span; and with one for those that were not begun, being too many."""

        def answer(error: BaseException, request: Request) -> Response:
            response = failed(error, request)
            unfinished, self._unfinished = self._unfinished, None
            following = unfinished[1] if unfinished is not None and unfinished[0] is error else None
            if following is None and isinstance(error, LimitError) and error.status == 503 and request.method:
                following = self._begin(request)
            if following is not None:
                self._end(following, response.status, type(error).__name__)
            return response

        return answer

    def _begin(self, request: Request) -> _Followed | None:
        """Begin a span; None if it is not sampled. The request does not depend on whether this succeeds."""
        try:
            usual = request.url == ROUTE and request.method == b"POST" and request.version == "1.1"
            name, attributes = self._usual if usual else self._describe(request)
            now_ns = time_ns()
            epoch_ns = now_ns - perf_counter_ns()
            parent = _parent(request.trace)
            span = self._tracer.start_span(name, parent, SpanKind.SERVER, attributes, start_time=now_ns)
            return _Followed(span, epoch_ns, Phases()) if span.is_recording() else None
        except Exception:  # a sampler of somebody's, perhaps
            self._complain()
            return None

    def _describe(self, request: Request) -> tuple[str, Attributes]:
        """The name of a request's span, and what is known when it begins. The name is none that a client made up."""
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
        if path.rstrip(b"/") == ROUTE:  # what else there is of paths may hold anything
            attributes["url.path"] = path.decode()
        if path == ROUTE:
            attributes["http.route"] = path.decode()
            name = f"{name} {path.decode()}"
        return name, attributes

    def _end(self, following: _Followed, status: int, error: str = "") -> None:
        """End a request's span, with its phases below; `status` is 0 if there was no answer. As `_begin`."""
        try:
            self._make_phases(following, status, error)
            span, epoch_ns, phases = following
            found: Attributes = {"http.response.status_code": status} if status else {}
            if phases.service:
                found["feast.feature_service"] = phases.service
            if phases.rows >= 0:
                found["feast.rows"] = phases.rows
            if phases.features >= 0:
                found["feast.features"] = phases.features
            span.set_attributes(found)
            _end(span, status, error, epoch_ns + perf_counter_ns())
        except Exception:
            self._complain()

    def _make_phases(self, following: _Followed, status: int, error: str) -> None:
        span, epoch_ns, phases = following
        here = set_span_in_context(span, _ROOT)
        for place, (phase, begun, ended) in enumerate(phases.took, 1):
            kind, what = (SpanKind.CLIENT, self._store) if phase == "store" else (SpanKind.INTERNAL, None)
            part = self._tracer.start_span(phase, here, kind, what, start_time=epoch_ns + begun)
            failed = phases.unfinished and place == len(phases.took)
            _end(part, status if failed else 0, error if failed else "", epoch_ns + ended)

    def _complain(self) -> None:
        if not self._broken:
            self._broken = True
            logger.exception("a span could not be made, and others will not be")

    async def close(self, rest: Callable[[float, asyncio.Event], Coroutine[Any, Any, None]]) -> None:
        """Let the last spans leave, for FLUSH_S. `rest` waits so long, or until an event."""
        loop, flushed = asyncio.get_running_loop(), asyncio.Event()

        def flush() -> None:
            self._provider.shutdown()
            with suppress(RuntimeError):  # nobody has waited
                loop.call_soon_threadsafe(flushed.set)

        # A thread that nobody waits for: it may have to do with a collector that does not answer.
        threading.Thread(target=flush, daemon=True).start()
        await rest(FLUSH_S, flushed)
        if not flushed.is_set():
            logger.warning("the last spans are lost: they could not leave within %g s", FLUSH_S)


def _is_unseen(request: Request) -> bool:
    return request.url != ROUTE and split_target(request.url)[0] in _UNSEEN


def _end(span: Span, status: int, error: str, at_ns: int) -> None:
    """5xx are errors of ours, 4xx of the client's. There is no description: it might quote what was asked for."""
    if error and not 400 <= status < 500:
        span.set_attribute("error.type", error)
    if status >= 500:
        span.set_status(StatusCode.ERROR)
    span.end(at_ns)


def _parent(trace: Trace | None) -> Context:
    """What `trace` found to be well-formed, in the SDK's terms."""
    if trace is None or not trace.traceparent:
        return _ROOT
    _, trace_id, span_id, flags = trace.traceparent[:55].split(b"-")
    state = TraceState.from_header([trace.tracestate.decode()]) if trace.tracestate else None
    context = SpanContext(int(trace_id, 16), int(span_id, 16), True, TraceFlags(int(flags, 16)), state)
    return set_span_in_context(NonRecordingSpan(context), _ROOT)


def _address(listener: socket.socket) -> Attributes:
    """Where requests come in, as far as clients could know it."""
    name = listener.getsockname()
    if listener.family == socket.AF_UNIX:
        return {"server.address": os.fsdecode(name)} if name else {}
    host, port = name[:2]
    return {"server.address": socket.gethostname() if host in ("0.0.0.0", "::") else host, "server.port": port}  # noqa: S104


# ----------------------------------------------------------------------------------------------------- the way out


class _Exporter(SpanExporter):
    """OTLP over HTTP. Its own lines, several for each batch, become one when it begins to fail and one when it ends."""

    def __init__(self, exporter: OTLPSpanExporter, said: _Said) -> None:
        self._exporter = exporter
        self._said = said
        self._lost = 0
        self._told_of_full = False
        self.endpoint = without_secrets(
            os.environ.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
            or os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT")
            or "http://localhost:4318"
        )

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = self._exporter.export(spans)
        if result is not SpanExportResult.SUCCESS:
            if not self._lost:
                why = self._said.why or "no answer in time"
                logger.warning("spans cannot be sent to %s, and are lost until they can: %s", self.endpoint, why)
            self._lost += len(spans)
            self._said.full = False  # that is why
        elif self._lost:
            logger.info("spans are sent to %s again: %d were lost, if not more", self.endpoint, self._lost)
            self._lost = 0
            self._said.full = False
        elif self._said.full and not self._told_of_full:
            self._told_of_full = True
            logger.warning("spans are lost: more of them come than can wait; see OTEL_BSP_MAX_QUEUE_SIZE")
        return result

    def shutdown(self) -> None:
        self._exporter.shutdown()  # type: ignore[no-untyped-call]  # theirs

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return self._exporter.force_flush(timeout_millis)


class _Said(logging.Handler):
    """What OpenTelemetry's own loggers say from now on: kept, where it is about the way out, and else said once."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.why = ""
        """Why nothing leaves."""
        self.full = False
        """Something was lost because too much waits."""
        self._known: set[str] = set()
        """Texts before anything is put into them: there are as many as the library has."""
        its = logging.getLogger("opentelemetry")
        its.propagate = False
        its.handlers = [self]

    def emit(self, record: logging.LogRecord) -> None:
        if record.name.startswith("opentelemetry.exporter."):
            self.why = _why(record) or self.why
        elif record.msg.startswith("Queue full"):
            self.full = True
        elif record.msg not in self._known:
            self._known.add(record.msg)
            # With OTEL_EXPORTER_OTLP_HEADERS that are none, it quotes them: there may well be a key in them.
            secret = record.name == "opentelemetry.util.re"
            text = record.msg.removesuffix(": %s") if secret else record.getMessage()
            logger.log(record.levelno, "OpenTelemetry: %s", text)


def _why(record: logging.LogRecord) -> str:
    """A reason without URLs, which can hold secrets: the class of an exception, or a status; empty if there is none."""
    for given in record.args if isinstance(record.args, tuple) else ():
        if isinstance(given, Exception):
            return type(given).__name__
        if isinstance(given, int) and "code" in record.msg:
            return f"HTTP status {given}"
    return ""
