"""What a real process shows of itself: probes while all else stands still, metrics that move, reloads that answer."""

from __future__ import annotations

import contextlib
import errno
import itertools
import json
import re
import signal
import socket
import socketserver
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, NamedTuple, NoReturn
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.diagnosis.repositories import written
from tests.harness import (
    PATIENCE_S,
    Client,
    Process,
    Server,
    Valkey,
    add_service,
    command_line,
    eventually,
    features_request,
    replace_file,
    repository,
)
from yummy_fast.feast_format._proto.registry_pb2 import Registry
from yummy_fast.native.owner import DESCRIPTION
from yummy_fast.server import admin
from yummy_fast.server.admin import MAX_CONNECTIONS, RETRY_S, AdminListener
from yummy_fast.server.health import ProbeResult, Reloaded
from yummy_fast.telemetry.exposition import FAMILIES

WITHIN_S = 0.05
"""How soon a probe is to be answered, whatever else goes on."""


class Shown(NamedTuple):
    """An answer of the admin side."""

    status: int
    content_type: str
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def look(url: str, method: str = "GET") -> Shown:
    try:
        with urlopen(Request(url, method=method), timeout=PATIENCE_S) as answer:
            return Shown(answer.status, answer.headers["Content-Type"], answer.read())
    except HTTPError as error:
        with error:
            return Shown(error.code, error.headers["Content-Type"], error.read())


def soonest(url: str) -> Shown:
    """An answer that was there in time. Of some: whatever else runs on this machine may come in between."""
    took = []
    for _ in range(20):
        begun = time.perf_counter()
        answer = look(url)
        took.append(time.perf_counter() - begun)
        if took[-1] < WITHIN_S:
            return answer
    raise AssertionError(f"{url}: answered after {took} s")


def until_not_ready(admin: str) -> Shown:
    eventually(lambda: True if look(f"{admin}/readyz").status == 503 else None, "not ready")
    return soonest(f"{admin}/readyz")


def admin_of(process: Process) -> str:
    return process.wait_for(r"admin on (http://\S+)")[1]


@pytest.fixture
def folder(tmp_path: Path, own_valkey: Valkey) -> Path:
    return repository(tmp_path / "repository", "redis", f"127.0.0.1:{own_valkey.port}")


ADMIN = ("--admin", "127.0.0.1:0")


# -------------------------------------------------------------------------------------------------------------- probes

_BLOCKED = """
import sys, time
from yummy_fast.cli.main import main
from yummy_fast.endpoints import Endpoints

def block(endpoints, request):
    print("blocked", flush=True)
    while True:
        {hold}

Endpoints.health = block
main(sys.argv[1:])
"""


@pytest.mark.parametrize("hold", ["time.sleep(0.1)", "pass"], ids=["waiting", "computing"])
def test_probes_while_the_loop_is_blocked(corpus: Path, hold: str) -> None:
    command = [sys.executable, "-c", _BLOCKED.format(hold=hold), "serve", "--chdir", str(corpus), "--port", "0", *ADMIN]
    with Process(command) as server:
        admin = admin_of(server)
        port = int(server.wait_for(r"serving .* on http://127.0.0.1:(\d+)")[1])
        try:
            assert look(f"{admin}/readyz").status == 200
            with Client(port) as client:
                client.send(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
                server.wait_for("blocked")
                assert soonest(f"{admin}/livez") == (200, "application/json", b'{"status": "ok", "reasons": []}\n')
                assert look(f"{admin}/metrics").status == 200
                assert look(f"{admin}/-/status").json["live"] is True
                not_ready = until_not_ready(admin)
                (reason,) = not_ready.json["reasons"]
                assert re.fullmatch(r"the event loop has not turned for \d+ s", reason)
                assert soonest(f"{admin}/livez").status == 200
        finally:
            server.process.kill()


def test_probes_while_redis_is_frozen(folder: Path, own_valkey: Valkey) -> None:
    with Server(folder, *ADMIN, "--store-timeout-ms", "200") as server:
        admin = admin_of(server)
        assert look(f"{admin}/readyz") == (200, "application/json", b'{"status": "ok", "reasons": []}\n')
        own_valkey.send_signal(signal.SIGSTOP)
        try:
            not_ready = until_not_ready(admin)
            (reason,) = not_ready.json["reasons"]
            assert re.fullmatch(r"the online store has not answered for \d+ s", reason)
            assert soonest(f"{admin}/livez").status == 200
            assert server.ask("/health").status == 200  # as Feast's: it is about the registry
        finally:
            own_valkey.send_signal(signal.SIGCONT)
        eventually(lambda: True if look(f"{admin}/readyz").status == 200 else None, "ready again")


def test_a_store_that_was_never_there(tmp_path: Path) -> None:
    with Server(repository(tmp_path / "repository", "redis", "127.0.0.1:1")) as server:
        answer = server.ask("/readyz")
        assert (answer.status, answer.json["reasons"]) == (503, ["the online store has not answered yet"])
        assert server.ask("/livez").status == 200


def test_not_ready_once_told_to_stop(folder: Path, own_valkey: Valkey) -> None:
    with Server(folder, *ADMIN) as server, server.client() as client:
        admin = admin_of(server)
        own_valkey.send_signal(signal.SIGSTOP)
        try:
            client.send(features_request(1002))
            eventually(lambda: True if look(f"{admin}/-/status").json["in_flight"] == 1 else None, "a request waits")
            server.send_signal(signal.SIGTERM)
            server.wait_for("stopping")
            assert look(f"{admin}/readyz").json == {"status": "unavailable", "reasons": ["told to stop"]}
            assert look(f"{admin}/livez").status == 200
        finally:
            own_valkey.send_signal(signal.SIGCONT)
        assert client.answer().status in (200, 504)
        assert server.wait() == 0


def reads(valkey: Valkey) -> int:
    """How often hashes were read, or were tried to be."""
    return sum(map(int, re.findall(rb"cmdstat_(?:hmget|hgetall):calls=(\d+)", valkey.do("INFO", "commandstats"))))


def test_the_cache_is_shown_where_there_is_one(folder: Path, own_valkey: Valkey) -> None:
    for flags in ((), ("--cache-mb", "4")):
        with Server(folder, *ADMIN, *flags) as server:
            for _ in range(3):
                assert server.features([1001]).status == 200
            cache = look(f"{admin_of(server)}/-/status").json["online_store"].get("cache")
            if not flags:
                assert cache is None
                continue
            assert 0 < cache.pop("bytes") < cache["limit_bytes"] == 4 << 20
            assert (cache["hits"], cache["misses"], cache["entities"]) == (2, 1, 1)
            assert "problem" not in cache


def test_a_quiet_store_is_asked(folder: Path, own_valkey: Valkey) -> None:
    """Nobody sends requests; all the same it is known, and said, that the store is there."""
    with Server(folder, *ADMIN) as server:
        admin = admin_of(server)
        before = reads(own_valkey)
        eventually(lambda: True if reads(own_valkey) >= before + 2 else None, "two reads")
        assert look(f"{admin}/-/status").json["online_store"]["silent_s"] < 3


# ------------------------------------------------------------------------------------------------------------- metrics


def samples(text: bytes) -> dict[str, dict[str, float]]:
    """Family -> labels, in the order of their names, with commas -> number. Of a histogram, how often it was."""
    written = {family.name + ("_count" if family.kind == "histogram" else ""): family.name for family in FAMILIES}
    found: dict[str, dict[str, float]] = {family.name: {} for family in FAMILIES}
    for family in text_string_to_metric_families(text.decode()):
        for sample in family.samples:
            if sample.name in written:
                labels = ",".join(value for _, value in sorted(sample.labels.items()))
                found[written[sample.name]][labels] = sample.value
    return found


def scrape(admin: str) -> dict[str, dict[str, float]]:
    return samples(look(f"{admin}/metrics").body)


# Two are of several workers: test_supervisor.py sees them move.
CONSTANT = {
    "yummy_fast_log_lines_dropped_total",  # the log is read here
    *("process_max_fds", "process_start_time_seconds", "yummy_fast_build_info"),
    *("yummy_fast_workers", "yummy_fast_worker_deaths_total"),
    # Nothing is written here: test_writing.py has these.
    *("feast_push_request_total", "yummy_fast_writes_total", "yummy_fast_rows_written_total"),
    "feast_feature_freshness_seconds",  # no view here was materialized: test_how_fresh_views_are
    *("yummy_fast_http_unsent_bytes", "yummy_fast_tls_handshake_failures_total"),  # test_unread, test_handshakes
    # One Redis has no nodes: test_cluster. Reads are shared in tests/stores/test_redis.py.
    *("yummy_fast_store_nodes", "yummy_fast_store_redirects_total", "yummy_fast_store_refreshes_total"),
    *("yummy_fast_store_replica_reads_total", "yummy_fast_store_shared_reads_total"),
    # Nothing is compared with another server here: tests/server/test_shadow.py.
    *("yummy_fast_shadow_requests_total", "yummy_fast_shadow_differences_total"),
    # There is no cache here: tests/stores/test_redis_cached.py.
    *(f"yummy_fast_store_cache_{kind}_total" for kind in ("hits", "misses", "invalidations", "flushes", "differences")),
    "yummy_fast_store_cache_bytes",
}


def add_view(registry: bytes, name: str) -> bytes:
    """A registry with one more feature view."""
    message = Registry.FromString(registry)
    copy = message.feature_views.add()
    copy.CopyFrom(message.feature_views[0])
    copy.spec.name = name
    return message.SerializeToString()


def test_every_metric_moves(folder: Path, own_valkey: Valkey) -> None:
    with Server(folder, *ADMIN, "--store-timeout-ms", "300") as server, server.client() as client:
        seen = [scrape(admin_of(server))]

        def now(family: str) -> float:
            """What a family without labels says."""
            seen.append(scrape(admin_of(server)))
            return seen[-1][family][""]

        def ask(service: str, driver: int) -> int:
            body = {"feature_service": service, "entities": {"driver_id": [driver], "bonus": [1]}}
            return client.ask("/get-online-features", body).status

        def until(what: str, come_true: Callable[[], bool]) -> None:
            eventually(lambda: come_true() or None, what)

        for service, status in (("svc_all", 200), ("svc_stale", 200), ("svc_odfv", 200), ("nobody", 404)):
            assert ask(service, 1001) == status
        assert client.ask("/nowhere").status == 404
        assert client.ask("/get-online-features", {"feature_service": "svc_all", "entities": {}}).status == 400
        # A registry with more in it, then one that is none.
        more = add_view(add_service((folder / "registry.db").read_bytes(), "svc_new", "svc_all"), "new")
        replace_file(folder / "registry.db", more)
        assert look(f"{admin_of(server)}/-/reload", "POST").status == 200
        assert ask("svc_new", 1002) == 200
        replace_file(folder / "registry.db", b"\xff")
        assert look(f"{admin_of(server)}/-/reload", "POST").status == 500
        # A store that does not answer, then one that is not there, then one that is back.
        own_valkey.send_signal(signal.SIGSTOP)
        with server.client() as other:
            other.send(features_request(1002))
            until("a request that waits", lambda: now("yummy_fast_requests_in_flight") == 1)
            assert now("yummy_fast_store_in_flight") == 1
            assert now("yummy_fast_http_connections") == 2
            assert other.answer().status == 504
        assert now("yummy_fast_store_silence_seconds") > 0.1
        own_valkey.process.kill()
        until("no store", lambda: ask("svc_all", 1002) == 503)
        until("a failure to connect", lambda: now("yummy_fast_store_connect_failures_total") > 0)
        with Valkey(port=own_valkey.port) as again:
            again.load("redis")
            until("the store is back", lambda: ask("svc_all", 1002) == 200)
            assert now("yummy_fast_store_connections") == 1
        after = seen[-1]
        assert {name for name in after if all(one[name] == after[name] for one in seen)} == CONSTANT
        # And some to the number.
        requests = after["yummy_fast_requests_total"]
        services = {"200,svc_stale": 1, "200,svc_odfv": 1, "200,svc_new": 1, "400,svc_all": 1}
        assert {key: requests[key] for key in services} == services
        assert (requests["404,"], requests["504,(ad hoc)"]) == (1, 1)
        values = after["feast_online_features_status_total"]
        assert values["driver_never,not_found"] == 1
        assert values["driver_stale,outside_max_age"] == 2
        assert after["yummy_fast_registry_reloads_total"] == {"": 1}
        assert after["yummy_fast_registry_failures_total"][""] >= 1
        assert after["yummy_fast_store_errors_total"]["timeout"] == 1
        assert after["yummy_fast_store_errors_total"]["unavailable"] >= 1
        assert after["yummy_fast_store_connects_total"] == {"": 2}
        assert after["yummy_fast_http_errors_total"]["404"] == 2
        assert after["feast_feature_server_transformation_duration_seconds"] == {"python,adjusted": 1}


def test_a_request_that_took_too_long_is_counted(folder: Path, own_valkey: Valkey) -> None:
    """Not as one whose client has left: it was told."""
    with Server(folder, *ADMIN) as server, server.client() as client:
        own_valkey.send_signal(signal.SIGSTOP)
        try:
            client.send(features_request(1002, "X-Request-Timeout-Ms: 20"))
            assert client.answer().status == 504
            assert scrape(admin_of(server))["yummy_fast_requests_total"] == {"200,(ad hoc)": 0, "504,(ad hoc)": 1}
        finally:
            own_valkey.send_signal(signal.SIGCONT)


def test_a_client_that_leaves_is_counted(folder: Path, own_valkey: Valkey) -> None:
    with Server(folder, *ADMIN) as server:
        admin = admin_of(server)
        own_valkey.send_signal(signal.SIGSTOP)
        try:
            with server.client() as client:
                client.send(features_request(1002))
                eventually(lambda: True if look(f"{admin}/-/status").json["in_flight"] else None, "a request waits")
                client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # a reset
            eventually(
                lambda: True if "499" in str(scrape(admin)["yummy_fast_requests_total"]) else None, "counted as 499"
            )
        finally:
            own_valkey.send_signal(signal.SIGCONT)


# --------------------------------------------------------------------------------------------- reload, status, the door


def test_reload_and_status(folder: Path) -> None:
    with Server(folder, *ADMIN) as server:
        admin = admin_of(server)
        registry = (folder / "registry.db").read_bytes()
        before = look(f"{admin}/-/status").json
        assert before["registry"]["source"] == str(folder / "registry.db")
        assert before["hot_path"] == DESCRIPTION
        server.wait_for(f"hot path: {re.escape(DESCRIPTION)}$")
        assert (before["ready"], before["registry"]["reloads"], before["registry"]["error"]) == (True, 0, None)
        replace_file(folder / "registry.db", add_service(registry, "svc_new", "svc_all"))
        answer = look(f"{admin}/-/reload", "POST")
        assert answer.status == 200
        assert answer.json["registry"]["feature_services"] == before["registry"]["feature_services"] + 1
        asked = {"feature_service": "svc_new", "entities": {"driver_id": [1002]}}
        assert server.ask("/get-online-features", asked).status == 200
        replace_file(folder / "registry.db", b"\xff")
        broken = look(f"{admin}/-/reload", "POST")
        assert broken.status == 500
        assert str(folder / "registry.db") in broken.json["error"]
        status = look(f"{admin}/-/status").json
        assert status["registry"]["error"] == broken.json["error"]
        assert status["registry"]["failures"] >= 1
        assert status["registry"]["feature_services"] == before["registry"]["feature_services"] + 1
        assert server.ask("/get-online-features", asked).status == 200
        assert look(f"{admin}/readyz").status == 200  # the last good one is served


def test_what_the_data_port_shows(server: Server) -> None:
    """Without an admin listener: what only looks."""
    assert server.ask("/livez").json == {"status": "ok", "reasons": []}
    assert eventually(lambda: True if server.ask("/readyz").status == 200 else None, "ready")
    with server.client() as client:
        assert client.ask("/readyz", None, "HEAD").status == 200
    metrics = server.ask("/metrics")
    assert metrics.headers["content-type"].startswith("text/plain; version=")
    assert samples(metrics.body)["process_resident_memory_bytes"][""] > 1 << 20
    for path, method in (("/-/reload", "POST"), ("/-/status", "GET"), ("/-/reload", "GET")):
        assert server.ask(path, None, method).status == 404
    assert server.ask("/livez", b"", "POST").status == 405


def test_with_an_admin_listener_the_data_port_has_no_such_pages(corpus: Path) -> None:
    with Server(corpus, *ADMIN) as server:
        for path in ("/livez", "/readyz", "/metrics"):
            assert server.ask(path).status == 404
        assert server.ask("/health").status == 200


class Shelf:
    """A Health of which the tests know what stands on it."""

    def live(self) -> ProbeResult:
        return ProbeResult(True)

    def ready(self) -> ProbeResult:
        return ProbeResult(False, ["it is raining"])

    def status(self) -> dict[str, Any]:
        raise RuntimeError("secret")

    def snapshots(self) -> list[dict[str, Any]]:
        return []

    def reload(self) -> Reloaded:
        return Reloaded(True, {"registry": {}})


@contextlib.contextmanager
def listening(address: str = "127.0.0.1:0", *, reload: bool = True) -> Iterator[str]:
    listener = AdminListener(address, Shelf(), reload=reload)
    try:
        yield listener.url
    finally:
        listener.close()


def test_the_pages() -> None:
    with listening() as url:
        assert look(f"{url}/livez?verbose").status == 200
        reasons = b'{"status": "unavailable", "reasons": ["it is raining"]}\n'
        assert look(f"{url}/readyz") == (503, "application/json", reasons)
        assert look(f"{url}/livez", "HEAD").body == b""
        for path, method, allow in (("/-/reload", "GET", "POST"), ("/livez", "POST", "GET, HEAD")):
            with pytest.raises(HTTPError) as caught:
                urlopen(Request(f"{url}{path}", method=method), timeout=10)
            assert (caught.value.code, caught.value.headers["Allow"]) == (405, allow)
            caught.value.close()
        with pytest.raises(HTTPError) as caught:  # it passes; what is not alive does not become so
            urlopen(f"{url}/readyz", timeout=10)
        assert caught.value.headers["Retry-After"] == "1"
        caught.value.close()
        assert look(f"{url}/-/reload", "POST").json == {"registry": {}}
        missing = look(f"{url}/")
        assert (missing.status, "/-/status" in missing.json["detail"]) == (404, True)
        bug = look(f"{url}/-/status")
        assert (bug.status, bug.json) == (500, {"detail": "Internal Server Error"})
        assert look(f"{url}/livez", "BREW").status == 501


def test_where_feasts_flag_asked_for_it_nothing_can_be_changed() -> None:
    with listening(reload=False) as url:
        assert look(f"{url}/-/reload", "POST").status == 404
        assert look(f"{url}/-/status").status == 500
        assert look(f"{url}/livez").status == 200


@pytest.mark.parametrize("address", ["[::1]:0", ":0", "localhost:0"])
def test_addresses(address: str) -> None:
    with listening(address) as url:
        port = url.rpartition(":")[2]
        host = {"[::1]:0": "[::1]", ":0": "127.0.0.1", "localhost:0": "localhost"}[address]
        assert look(f"http://{host}:{port}/livez").status == 200


def test_an_address_that_is_taken(corpus: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        outcome = command_line("--chdir", corpus, "serve", "--port", "0", "--admin", address)
        assert outcome.code == 2
        assert outcome.err.splitlines()[-1].startswith(f"yummy-fast: --admin {address}: cannot listen: ")


def test_clients_that_dribble_keep_nobody_out() -> None:
    with listening() as url, contextlib.ExitStack() as stack:
        port = int(url.rpartition(":")[2])
        dribbling = [
            stack.enter_context(socket.create_connection(("127.0.0.1", port), PATIENCE_S))
            for _ in range(2 * MAX_CONNECTIONS)
        ]
        for connection in dribbling:
            with contextlib.suppress(OSError):  # the first have been ended by the last
                connection.send(b"GET /livez HTTP/1.1\r\n")
        assert soonest(f"{url}/livez").status == 200

        def few_threads() -> Literal[True] | None:
            threads = [thread for thread in threading.enumerate() if "process_request_thread" in thread.name]
            return True if len(threads) <= MAX_CONNECTIONS + 1 else None

        eventually(few_threads, "the threads of connections that were ended are gone")
        assert dribbling[0].recv(1) == b""  # ended


# ------------------------------------------------------------------------------------------------ out of descriptors


def test_without_descriptors_it_does_not_look_again_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[float] = []
    get_request = socketserver.TCPServer.get_request

    def exhausted(server: socketserver.TCPServer) -> tuple[Any, Any]:
        asked.append(time.monotonic())
        if len(asked) < 3:
            raise OSError(errno.EMFILE, "Too many open files")
        return get_request(server)

    monkeypatch.setattr(socketserver.TCPServer, "get_request", exhausted)
    with listening() as url:
        assert look(f"{url}/livez").status == 200
    assert min(later - sooner for sooner, later in itertools.pairwise(asked)) >= RETRY_S / 2


def test_what_metrics_need_may_be_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its import is the first thing of the admin thread, and the process may just be out of descriptors."""

    def fail(*_: object) -> NoReturn:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(admin, "render", fail)
    with listening() as url:
        assert look(f"{url}/livez").status == 200
        assert look(f"{url}/metrics").status == 500
        monkeypatch.undo()
        assert look(f"{url}/metrics").status == 200


@pytest.mark.parametrize("workers", [1, 2])
def test_how_fresh_views_are(tmp_path: Path, own_valkey: Valkey, workers: int) -> None:
    """A registry that Feast wrote: two views were materialized until then (tests/diagnosis/record.py).

    Feast says the same: now minus most_recent_end_time, for views that have one (feast/metrics.py).
    """
    folder = written(tmp_path / "written", "redis", own_valkey.port)
    until = datetime(2026, 11, 20, 13, tzinfo=UTC).timestamp()
    with Server(folder, *ADMIN, "--workers", str(workers)) as server:
        before = time.time() - until
        found = scrape(admin_of(server))["feast_feature_freshness_seconds"]
        after = time.time() - until
    assert found.keys() == {"stats,zürich", "profile,zürich"}
    for seconds in found.values():
        assert before - 2 <= seconds <= after  # a worker reports once a second
