"""OpenTelemetry spans of a real process, as a collector gets them: OTLP over HTTP, decoded from its protobuf."""

from __future__ import annotations

import re
import signal
import socket
import struct
import sys
import threading
from collections.abc import Iterator
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, Span, Status

from tests.harness import (
    PATIENCE_S,
    Process,
    Proxy,
    Server,
    Valkey,
    command_line,
    eventually,
    features_request,
    repository,
    request,
)
from tests.ports import free_port
from yummy_fast.errors import how_to_install

TRACE, CALLER = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
PARENT = f"traceparent: 00-{TRACE}-{CALLER}-01"
PARENT_NOT_SAMPLED = PARENT[:-1] + "0"
SUBSET = {"feature_service": "svc_subset", "entities": {"driver_id": [1002, 1003]}}
FEATURES = {"features": ["driver_stats:trips"], "entities": {"driver_id": [1002]}}
ON_DEMAND = {"feature_service": "svc_odfv", "entities": {"driver_id": [1002], "bonus": [2]}}
ASK = "POST /get-online-features"


class Collector:
    """The ear of these tests: it takes what is exported, and says what it was told to say."""

    def __init__(self, port: int = 0) -> None:
        self.bodies: list[bytes] = []
        self.headers: list[Message] = []
        self.targets: list[str] = []
        self.status = 200
        self.let_go = threading.Event()
        """Nothing is answered before."""
        self.let_go.set()
        self._changed = threading.Condition()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                with outer._changed:
                    outer.targets.append(self.path)
                    outer.headers.append(self.headers)
                    if outer.status == 200:
                        outer.bodies.append(body)
                    outer._changed.notify_all()
                outer.let_go.wait(PATIENCE_S)
                self.send_response(outer.status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the name is the base class's
                pass

        class Listener(ThreadingHTTPServer):
            def handle_error(self, *_: object) -> None:
                pass  # whoever asked did not wait for the answer

        self._server = Listener(("127.0.0.1", port), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()
        self.environment = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{self._server.server_port}",
            "OTEL_BSP_SCHEDULE_DELAY": "20",
        }

    @property
    def resources(self) -> list[ResourceSpans]:
        return [each for body in self.bodies for each in ExportTraceServiceRequest.FromString(body).resource_spans]

    @property
    def spans(self) -> list[Span]:
        return [span for each in self.resources for scope in each.scope_spans for span in scope.spans]

    def wait_for(self, number: int, kind: Span.SpanKind.ValueType = Span.SPAN_KIND_SERVER) -> list[Span]:
        """So many spans of that kind, in the order of their begin. More would be wrong."""

        def found() -> list[Span]:
            return [span for span in self.spans if span.kind == kind]

        with self._changed:
            assert self._changed.wait_for(lambda: len(found()) >= number, PATIENCE_S), self.spans
        assert len(found()) == number
        return sorted(found(), key=lambda span: span.start_time_unix_nano)

    @property
    def told(self) -> str:
        """All that was exported, as text, but for what is drawn or comes from a clock, which may hold any digits."""
        texts = []
        for message in self.resources:
            kept = [item for item in message.resource.attributes if item.key != "service.instance.id"]
            del message.resource.attributes[:]
            message.resource.attributes.extend(kept)
            for span in (span for scope in message.scope_spans for span in scope.spans):
                for field in ("trace_id", "span_id", "parent_span_id", "start_time_unix_nano", "end_time_unix_nano"):
                    span.ClearField(field)
                for event in span.events:
                    event.ClearField("time_unix_nano")
            texts.append(str(message))
        return "\n".join(texts)

    def wait_until_asked(self) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: self.targets, PATIENCE_S)

    def parts(self, of: Span) -> list[Span]:
        """The spans directly below one, in their order."""
        found = [span for span in self.spans if span.parent_span_id == of.span_id and span.trace_id == of.trace_id]
        return sorted(found, key=lambda span: span.start_time_unix_nano)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.let_go.set()
        self._server.shutdown()
        self._thread.join(PATIENCE_S)
        self._server.server_close()


def plain(value: AnyValue) -> Any:
    return getattr(value, value.WhichOneof("value") or "string_value")


def attributes(of: Span | Any) -> dict[str, Any]:
    return {item.key: plain(item.value) for item in of.attributes}


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as started:
        yield started


def numbers(text: str) -> list[str]:
    """Each row of digits in a text: a port of 41002 is not the entity 1002."""
    return re.findall(r"\d+", text)


def traced(folder: Path, collector: Collector, *arguments: str, **environment: str) -> Server:
    return Server(folder, "--otel", *arguments, environment={**collector.environment, **environment})


# ------------------------------------------------------------------------------------------------------ one request


def test_a_request_is_a_span_with_its_phases_below(corpus: Path, collector: Collector) -> None:
    with traced(corpus, collector) as server, server.client() as client:
        answer = client.ask("/get-online-features", SUBSET, "", PARENT, "tracestate: vendor=a", "tracestate: other=b")
        assert answer.status == 200
        (span,) = collector.wait_for(1)
        assert (span.name, span.trace_id.hex(), span.parent_span_id.hex()) == (ASK, TRACE, CALLER)
        assert span.trace_state == "vendor=a,other=b"
        assert span.status.code == Status.STATUS_CODE_UNSET
        assert attributes(span) == {
            "http.request.method": "POST",
            "http.route": "/get-online-features",
            "http.response.status_code": 200,
            "network.protocol.version": "1.1",
            "server.address": "127.0.0.1",
            "server.port": server.port,
            "url.path": "/get-online-features",
            "url.scheme": "http",
            "feast.feature_service": "svc_subset",
            "feast.rows": 2,
            "feast.features": len(answer.json["metadata"]["feature_names"]) - 1,
        }
        decode, store, encode = parts = collector.parts(span)
        assert [part.name for part in parts] == ["decode", "store", "encode"]
        assert [part.kind for part in parts] == [
            Span.SPAN_KIND_INTERNAL,
            Span.SPAN_KIND_CLIENT,
            Span.SPAN_KIND_INTERNAL,
        ]
        assert [attributes(part) for part in parts] == [{}, {"db.system.name": "redis"}, {}]
        assert {part.status.code for part in parts} == {Status.STATUS_CODE_UNSET}
        assert len({each.span_id for each in collector.spans}) == 4
        # They follow each other, within the whole.
        assert span.start_time_unix_nano <= decode.start_time_unix_nano
        assert decode.start_time_unix_nano < decode.end_time_unix_nano == store.start_time_unix_nano
        assert store.start_time_unix_nano < store.end_time_unix_nano == encode.start_time_unix_nano
        assert encode.start_time_unix_nano < encode.end_time_unix_nano <= span.end_time_unix_nano


def test_the_time_that_the_store_took_is_the_stores(tmp_path: Path, valkey: Valkey, collector: Collector) -> None:
    """And the phases are those of Server-Timing, by name and length."""
    with Proxy(valkey.port) as proxy:
        folder = repository(tmp_path / "r", "redis", f"127.0.0.1:{proxy.port}", settings={"store_timeout_ms": 15_000})
        with traced(folder, collector) as server, server.client() as client:
            proxy.delay(0.05, 0.05)
            answer = client.ask("/get-online-features", FEATURES, "", "X-Server-Timing: 1")
            (span,) = collector.wait_for(1)
            took = [(part.name, part.end_time_unix_nano - part.start_time_unix_nano) for part in collector.parts(span)]
            assert dict(took)["store"] >= 49e6
            assert sum(ns for _, ns in took) <= span.end_time_unix_nano - span.start_time_unix_nano
            header = ", ".join(f"{name};dur={ns / 1e6:.3f}" for name, ns in took)
            assert answer.headers["server-timing"] == header


def test_views_on_demand_are_a_phase(corpus: Path, collector: Collector) -> None:
    with traced(corpus, collector) as server:
        answer = server.ask("/get-online-features", ON_DEMAND)
        features = len(answer.json["metadata"]["feature_names"]) - 1
        (span,) = collector.wait_for(1)
        assert [part.name for part in collector.parts(span)] == ["decode", "store", "transform", "encode"]
        assert attributes(span)["feast.features"] == features


def test_without_a_parent_a_span_begins_a_trace(corpus: Path, collector: Collector) -> None:
    with traced(corpus, collector) as server, server.client() as client:
        for fields in ([], ["traceparent: 00-nonsense", "tracestate: a=b"], [PARENT, PARENT]):
            assert client.ask("/get-online-features", FEATURES, "", *fields).status == 200
        spans = collector.wait_for(3)
        assert {(span.parent_span_id, span.trace_state) for span in spans} == {(b"", "")}
        assert len({span.trace_id for span in spans} - {bytes.fromhex(TRACE), bytes(16)}) == 3
        assert all("feast.feature_service" not in attributes(span) for span in spans)


@pytest.mark.parametrize(
    ("target", "body", "method", "status", "name"),
    [
        ("/get-online-features", b"{", "", 422, ASK),
        ("/get-online-features?driver=1002", {**FEATURES, "features": ["a:b"]}, "", 404, ASK),
        ("/get-online-features", None, "GET", 405, "GET /get-online-features"),
        ("/get-online-features/", FEATURES, "", 307, "POST"),
        ("/drivers/1002?driver=1002", None, "", 404, "GET"),
        ("/nowhere", None, "PROPFIND", 404, "HTTP"),
    ],
)
def test_what_is_the_clients_fault_is_no_error(
    shared: tuple[Server, Collector], target: str, body: object, method: str, status: int, name: str
) -> None:
    server, collector = shared
    collector.bodies.clear()
    with server.client() as client:
        assert client.ask(target, body, method, PARENT).status == status
    (span,) = collector.wait_for(1)
    found = attributes(span)
    assert (span.name, span.status.code, span.parent_span_id.hex()) == (name, Status.STATUS_CODE_UNSET, CALLER)
    path = target.partition("?")[0] if "features" in target else None  # others may hold anything
    assert (found["http.response.status_code"], found.get("url.path")) == (status, path)
    assert found["http.request.method"] == (name.split()[0] if name != "HTTP" else "_OTHER")
    assert found.get("http.request.method_original") == ("PROPFIND" if name == "HTTP" else None)
    assert "error.type" not in found
    assert {part.status.code for part in collector.parts(span)} <= {Status.STATUS_CODE_UNSET}
    assert "1002" not in numbers(collector.told)


@pytest.fixture(scope="module")
def shared(valkey: Valkey, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Collector]]:
    folder = repository(tmp_path_factory.mktemp("traced"), "redis", f"127.0.0.1:{valkey.port}")
    with Collector() as collector, traced(folder, collector) as server:
        yield server, collector


def test_older_http_is_told(shared: tuple[Server, Collector]) -> None:
    server, collector = shared
    collector.bodies.clear()
    with server.client() as client:
        client.send(request("/nowhere").replace(b"HTTP/1.1", b"HTTP/1.0"))
        assert client.answer().status == 404
    (span,) = collector.wait_for(1)
    assert attributes(span)["network.protocol.version"] == "1.0"


def test_probes_and_what_is_no_request_have_none(shared: tuple[Server, Collector]) -> None:
    server, collector = shared
    collector.bodies.clear()
    for path in ("/health", "/livez", "/readyz?verbose", "/metrics"):
        assert server.ask(path).status == 200
    assert server.ask("/health", None, "DELETE").status == 405
    with server.client() as client:
        client.send(b"GET / HTTP/1.1\r\n\r\n")
        assert client.answer().status == 400
    assert server.ask("/nowhere").status == 404
    assert [span.name for span in collector.wait_for(1)] == ["GET"]


def test_no_token(corpus: Path, tmp_path: Path, collector: Collector) -> None:
    (tmp_path / "tokens").write_text("a-secret-token")
    with traced(corpus, collector, "--auth-tokens", str(tmp_path / "tokens")) as server, server.client() as client:
        assert client.ask("/get-online-features", FEATURES).status == 401
        assert client.ask("/get-online-features", FEATURES, "", "Authorization: Bearer a-secret-token").status == 200
        spans = collector.wait_for(2)
        assert [attributes(span)["http.response.status_code"] for span in spans] == [401, 200]
        assert b"secret" not in b"".join(collector.bodies)


# ------------------------------------------------------------------------------------------------------- what fails


def test_a_redis_that_is_down_or_silent_is_an_error(tmp_path: Path, own_valkey: Valkey, collector: Collector) -> None:
    folder = repository(tmp_path / "r", "redis", f"127.0.0.1:{own_valkey.port}", settings={"store_timeout_ms": 50})
    with traced(folder, collector) as server:
        own_valkey.send_signal(signal.SIGSTOP)
        try:
            assert server.ask("/get-online-features", SUBSET).status == 504
        finally:
            own_valkey.send_signal(signal.SIGCONT)
        own_valkey.stop()
        eventually(lambda: server.ask("/get-online-features", SUBSET).status == 503 or None, "the store is gone")
        assert server.stop() == 0
    spans = sorted(
        (span for span in collector.spans if span.kind == Span.SPAN_KIND_SERVER),
        key=lambda span: span.start_time_unix_nano,
    )
    for span, status, error in ((spans[0], 504, "StoreTimeoutError"), (spans[-1], 503, "StoreUnavailableError")):
        found = attributes(span)
        assert (span.name, span.status.code, span.status.message) == (ASK, Status.STATUS_CODE_ERROR, "")
        assert (found["http.response.status_code"], found["error.type"]) == (status, error)
        assert (found["feast.feature_service"], found["feast.rows"]) == ("svc_subset", 2)
        decode, store = collector.parts(span)
        assert (decode.name, decode.status.code) == ("decode", Status.STATUS_CODE_UNSET)
        assert (store.name, store.status.code) == ("store", Status.STATUS_CODE_ERROR)
        assert attributes(store)["error.type"] == error


def test_requests_that_come_to_another_end(tmp_path: Path, valkey: Valkey, collector: Collector) -> None:
    """One that took too long; one too many meanwhile; one whose client left."""
    with Proxy(valkey.port) as proxy:
        folder = repository(tmp_path / "r", "redis", f"127.0.0.1:{proxy.port}", settings={"store_timeout_ms": 15_000})
        with traced(folder, collector, "--max-in-flight", "1") as server, server.client() as client:
            proxy.hold()
            client.send(features_request(1002, "X-Request-Timeout-Ms: 20"))
            assert client.answer().status == 504
            proxy.forget()
            client.send(features_request(1002))
            proxy.wait_until_seen(1)
            assert server.features([1002]).status == 503
            client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # a reset
            client.close()
            late, left, many = collector.wait_for(3)
            proxy.release()
        assert [attributes(span).get("http.response.status_code") for span in (late, left, many)] == [504, None, 503]
        assert [attributes(span)["error.type"] for span in (late, left, many)] == [
            "LimitError",
            "client_left",
            "LimitError",
        ]
        error, unset = Status.STATUS_CODE_ERROR, Status.STATUS_CODE_UNSET
        assert [span.status.code for span in (late, left, many)] == [error, unset, error]
        assert [[part.name for part in collector.parts(span)] for span in (late, left, many)] == [
            ["decode", "store"],
            ["decode", "store"],
            [],
        ]


WITH_A_BUG = """
import sys
from yummy_fast import endpoints
from yummy_fast.cli.main import main

def encode_vectors(*_, **__):
    raise RuntimeError("no such luck with 1002")

endpoints.encode_vectors = encode_vectors
main(sys.argv[1:])
"""


def test_a_bug_of_ours_is_an_error(corpus: Path, collector: Collector) -> None:
    serve = ["serve", "--chdir", str(corpus), "--port", "0", "--otel"]
    with Process([sys.executable, "-c", WITH_A_BUG, *serve], collector.environment) as server:
        port = int(server.wait_for(r"serving .* on http://127\.0\.0\.1:(\d+)")[1])
        with socket.create_connection(("127.0.0.1", port), PATIENCE_S) as client:
            client.sendall(features_request(1002, PARENT))
            assert client.recv(100).startswith(b"HTTP/1.1 500")
        (span,) = collector.wait_for(1)
        assert attributes(span)["error.type"] == "RuntimeError"
        assert span.status.code == Status.STATUS_CODE_ERROR
        assert [(part.name, part.status.code) for part in collector.parts(span)] == [
            ("decode", Status.STATUS_CODE_UNSET),
            ("store", Status.STATUS_CODE_UNSET),
            ("encode", Status.STATUS_CODE_ERROR),
        ]
        assert "1002" not in numbers(collector.told)


# ------------------------------------------------------------------------------------------ what is in it, and what not


def test_no_value_and_no_entity_leaves(tmp_path: Path, own_valkey: Valkey, collector: Collector) -> None:
    """Neither in what succeeds nor in what does not, nor in what the client says beside its body."""
    folder = repository(tmp_path / "r", "redis", f"127.0.0.1:{own_valkey.port}")
    with traced(folder, collector, "--access-log-sample", "1") as server, server.client() as client:
        asked = [
            {"feature_service": "svc_subset", "entities": {"driver_id": [1002, 1003]}},
            {"features": ["driver_stats:trips"], "entities": {"driver_id": ["no-such-driver"]}},
            {"features": ["no_such_view:f"], "entities": {"driver_id": [1003]}},
            {"feature_service": "no-such-service", "entities": {"driver_id": [1003]}},
            {"features": ["driver_stats:trips"], "entities": {"no_such_key": [1003]}},
        ]
        fields = ("X-Request-Id: no-such-id", "Cookie: no-such-cookie", "User-Agent: no-such-agent")
        answers = [client.ask("/get-online-features?no-such-query", body, "", *fields) for body in asked]
        assert [answer.status for answer in answers] == [200, 400, 404, 404, 400]
        own_valkey.stop()
        eventually(lambda: server.ask("/get-online-features", asked[0]).status == 503 or None, "the store is gone")
        assert server.stop() == 0
    told = collector.told
    assert "svc_subset" in told
    values = [str(value) for name, column in answers[0].columns.items() for value in column if name != "driver_id"]
    for secret in ("no-such", "no_such", *(value for value in values if len(value) > 3)):
        assert secret not in told, secret
    assert not {"1002", "1003"}.intersection(numbers(told))


def test_the_resource_and_the_variables_of_the_sdk(corpus: Path, collector: Collector) -> None:
    with traced(corpus, collector) as server:
        server.ask("/nowhere")
        collector.wait_for(1)
    variables = {
        "OTEL_SERVICE_NAME": "features-of-mine",
        "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=test,service.version=7",
        "OTEL_EXPORTER_OTLP_HEADERS": "x-api-key=very-secret",
    }
    with traced(corpus, collector, **variables) as server:
        server.ask("/nowhere")
        collector.wait_for(2)
        assert server.stop() == 0
        assert "very-secret" not in server.log
    ours, theirs = (attributes(each.resource) for each in collector.resources)
    assert (ours["service.name"], theirs["service.name"]) == ("yummy-fast", "features-of-mine")
    assert (theirs["deployment.environment.name"], theirs["service.version"]) == ("test", "7")
    assert ours["telemetry.sdk.name"] == "opentelemetry"
    assert set(collector.targets) == {"/v1/traces"}
    assert [headers.get("x-api-key") for headers in collector.headers] == [None, "very-secret"]
    assert collector.headers[0]["Content-Type"] == "application/x-protobuf"


# ------------------------------------------------------------------------------------------------------- sampling


def test_the_caller_decides_whether_a_request_is_followed(corpus: Path, collector: Collector) -> None:
    with traced(corpus, collector) as server, server.client() as client:
        for fields in ([PARENT_NOT_SAMPLED], [PARENT], [PARENT_NOT_SAMPLED]):
            answer = client.ask("/get-online-features", FEATURES, "", *fields)
            assert (answer.status, "traceparent: " + answer.headers["traceparent"]) == (200, fields[0])
        client.ask("/nowhere", None, "", PARENT_NOT_SAMPLED)
        assert server.stop() == 0
    assert len(collector.wait_for(1)) == 1
    assert len(collector.spans) == 4


@pytest.mark.parametrize(
    ("variables", "parents"),
    [
        ({"OTEL_TRACES_SAMPLER": "parentbased_always_off"}, [CALLER]),
        ({"OTEL_TRACES_SAMPLER": "always_off"}, []),
        ({"OTEL_TRACES_SAMPLER": "always_on"}, [CALLER, CALLER, ""]),
        ({"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0"}, [CALLER]),
        ({"OTEL_SDK_DISABLED": "true"}, []),
    ],
)
def test_unless_the_sampler_is_another(
    corpus: Path, collector: Collector, variables: dict[str, str], parents: list[str]
) -> None:
    with traced(corpus, collector, **variables) as server, server.client() as client:
        for fields in ([PARENT], [PARENT_NOT_SAMPLED], []):
            assert client.ask("/get-online-features", FEATURES, "", *fields).status == 200
        assert server.stop() == 0
    assert [span.parent_span_id.hex() for span in collector.wait_for(len(parents))] == parents


# ------------------------------------------------------------------------------------------------------ the way out


def test_what_waits_leaves_before_the_process_does(corpus: Path, collector: Collector) -> None:
    with traced(corpus, collector, OTEL_BSP_SCHEDULE_DELAY="60000") as server:
        for _ in range(3):
            assert server.ask("/get-online-features", FEATURES).status == 200
        assert collector.bodies == []
        assert server.stop() == 0
        assert "lost" not in server.log
    collector.wait_for(3)


def test_workers_have_their_own_way_out(corpus: Path, collector: Collector) -> None:
    """Made after the fork: each sends, and each sends what it has when it stops."""
    with traced(corpus, collector, "--workers", "2", OTEL_BSP_SCHEDULE_DELAY="60000") as server:
        clients = [server.client() for _ in range(8)]
        for client in clients:
            assert client.ask("/get-online-features", FEATURES).status == 200
        for client in clients:
            client.close()
        assert server.stop() == 0
    collector.wait_for(8)
    assert len({attributes(each.resource)["service.instance.id"] for each in collector.resources}) == 2
    assert len({span.span_id for span in collector.spans}) == len(collector.spans) == 32


def lines_about_spans(server: Server) -> list[str]:
    """Those of them that do not name the folder of the repository, whose name is the test's."""
    found = re.compile(r"^\S+ \S+ [A-Z]+ [^/]*\b(?:spans?|OpenTelemetry)\b")
    return [line.partition(" ")[2] for line in server.lines if found.search(line)]


def test_a_collector_that_is_not_there_is_one_line(corpus: Path) -> None:
    """And one when it is; requests do not notice."""
    port = free_port()
    variables = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://somebody:very-secret@127.0.0.1:{port}",
        "OTEL_EXPORTER_OTLP_TIMEOUT": "0.1",
        "OTEL_BSP_SCHEDULE_DELAY": "10",
        "OTEL_BSP_MAX_QUEUE_SIZE": "8",
        "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "8",
    }
    with Server(corpus, "--otel", environment=variables) as server, server.client() as client:
        while "cannot be sent" not in server.log:
            assert client.ask("/get-online-features", FEATURES).status == 200
        for _ in range(200):
            assert client.ask("/get-online-features", FEATURES).status == 200
        with Collector(port) as collector:
            while "again" not in server.log:
                assert client.ask("/get-online-features", FEATURES).status == 200
            assert server.stop() == 0
            assert collector.spans
        to, failed, again = lines_about_spans(server)
        assert to.endswith(f" INFO spans are sent to http://127.0.0.1:{port}")
        assert f" WARNING spans cannot be sent to http://127.0.0.1:{port} and are lost: " in failed
        assert f" INFO spans are sent to http://127.0.0.1:{port} again; at least " in again
        assert "very-secret" not in server.log


def test_a_collector_that_refuses_is_named_with_its_reason(corpus: Path, collector: Collector) -> None:
    collector.status = 401
    with traced(corpus, collector) as server:
        assert server.ask("/get-online-features", FEATURES).status == 200
        server.wait_for(r"spans cannot be sent to http://127\.0\.0\.1:\d+ and are lost: HTTP status 401$")


def test_a_collector_that_does_not_answer_holds_up_nobody(corpus: Path, collector: Collector) -> None:
    """Neither requests nor the end."""
    collector.let_go.clear()
    with traced(corpus, collector) as server, server.client() as client:
        assert client.ask("/get-online-features", FEATURES).status == 200
        collector.wait_until_asked()
        for _ in range(50):
            assert client.ask("/get-online-features", FEATURES).status == 200
        assert server.stop() == 0
        server.wait_for("the last spans are lost: they could not be sent within 2 s$")


def test_more_spans_than_can_wait_is_one_line(corpus: Path, collector: Collector) -> None:
    limits = {"OTEL_BSP_MAX_QUEUE_SIZE": "4", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "4"}
    collector.let_go.clear()
    with traced(corpus, collector, **limits) as server, server.client() as client:
        for _ in range(20):
            assert client.ask("/get-online-features", FEATURES).status == 200
        collector.let_go.set()
        server.wait_for("spans are lost: the queue is full; see OTEL_BSP_MAX_QUEUE_SIZE$")
        assert server.stop() == 0
        assert len(lines_about_spans(server)) == 2


# --------------------------------------------------------------------------------------------------- asked for, or not


def test_nothing_leaves_unless_asked_for(corpus: Path, collector: Collector) -> None:
    with Server(corpus, environment=collector.environment) as server, server.client() as client:
        assert client.ask("/get-online-features", FEATURES, "", PARENT).status == 200
        assert server.stop() == 0
        assert lines_about_spans(server) == []
    assert collector.targets == []


@pytest.mark.parametrize("how", ["variable", "file", "flag with a value"])
def test_ways_to_ask(tmp_path: Path, valkey: Valkey, collector: Collector, how: str) -> None:
    settings = {"otel": True} if how == "file" else None
    folder = repository(tmp_path / "r", "redis", f"127.0.0.1:{valkey.port}", settings=settings)
    arguments = ["--otel", "true"] if how == "flag with a value" else []
    environment = {"YUMMY_FAST_OTEL": "1"} if how == "variable" else {}
    with Server(folder, *arguments, environment={**collector.environment, **environment}) as server:
        server.ask("/nowhere")
        collector.wait_for(1)


WITHOUT_THE_EXTRA = """
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "opentelemetry":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Missing())
from yummy_fast.cli.main import main
main(sys.argv[1:])
"""


@pytest.mark.parametrize("workers", ["1", "2"])
def test_without_the_extra_it_says_what_to_install(corpus: Path, workers: str) -> None:
    serve = ["serve", "--chdir", str(corpus), "--port", "0", "--workers", workers]
    with Process([sys.executable, "-c", WITHOUT_THE_EXTRA, *serve, "--otel"]) as server:
        assert server.wait() == 2
        assert server.lines == [f"yummy-fast: --otel needs opentelemetry: {how_to_install('otel')}"]
    with Process([sys.executable, "-c", WITHOUT_THE_EXTRA, *serve]) as server:
        server.wait_for("serving ")


@pytest.mark.parametrize(
    ("flag", "variable", "value", "says"),
    [
        ("maybe", "OTEL_SERVICE_NAME", "x", "--otel: expected true or false, got 'maybe'"),
        ("true", "OTEL_BSP_MAX_QUEUE_SIZE", "-1", "--otel: OTEL_*: max_queue_size must be a positive integer."),
        ("true", "OTEL_SPAN_EVENT_COUNT_LIMIT", "x", "--otel: OTEL_*: OTEL_SPAN_EVENT_COUNT_LIMIT must be"),
        ("true", "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "x", "--otel: OTEL_*: OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT must be"),
    ],
)
def test_settings_that_are_none(corpus: Path, flag: str, variable: str, value: str, says: str) -> None:
    code, _, err = command_line("-c", corpus, "serve", "--port", "0", "--otel", flag, environment={variable: value})
    assert (code, err.count("\n")) == (2, 1), err
    assert err.startswith(f"yummy-fast: {says}")


def test_variables_that_ask_for_what_there_is_not(corpus: Path, collector: Collector) -> None:
    """They are said, without what may be secret in them."""
    variables = {
        "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
        "OTEL_EXPORTER_OTLP_HEADERS": "very-secret",
        "OTEL_TRACES_SAMPLER": "no-such-sampler",
    }
    with traced(corpus, collector, **variables) as server:
        server.wait_for("OTEL_EXPORTER_OTLP_PROTOCOL is ignored: the only supported value is http/protobuf$")
        server.wait_for("OpenTelemetry: Header format invalid!")
        server.wait_for("no-such-sampler")
        assert "very-secret" not in server.log
        server.ask("/nowhere")
        collector.wait_for(1)
