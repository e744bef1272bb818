"""What requests and reloads leave behind: nothing, or a reload would make it permanent.

After a reload the collector never looks again at what there is (`reload.gc_paused`), so a cycle that has died without
being collected stays. The server here runs as it does, beside a thread that counts objects when it is told to.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.harness import (
    CERTIFICATE,
    CERTIFICATE_KEY,
    Client,
    Server,
    Valkey,
    add_bad_views,
    add_service,
    features_request,
    replace_file,
    repository,
    request,
)

COUNTED = """
import gc, signal, sys, threading
from yummy_fast.cli.main import main

collect = gc.collect

def count():
    while signal.sigwait([signal.SIGUSR1]):
        found = collect()
        frozen = gc.get_freeze_count()
        # In one write, or a line of the log can come between its parts.
        sys.stdout.write(f"counted: {found} {frozen + len(gc.get_objects())} {frozen}\\n")
        sys.stdout.flush()

signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
threading.Thread(target=count, daemon=True).start()
if sys.argv[1] == "without":
    gc.disable()
    gc.collect = gc.freeze = lambda *_: 0
main(sys.argv[2:])
"""
"""The server with or without a cycle collector, beside what counts."""
TIMES = 3
"""Of each kind of request, one after the other: one may leave what the next takes away."""
WARM_UP, RELOADS = 10, 25
FLAT = RELOADS * 3
"""Objects, of 45,000. A single one of these requests has left ten at the least, before: a parser and its methods."""
BROKEN = b"no registry"


def count(server: Server) -> tuple[int, int, int]:
    """What a full collection finds, what there is after it, and how much of that none looks at."""
    mark = len(server.lines)
    server.send_signal(signal.SIGUSR1)
    found = server.wait_for(r"^counted: (\d+) (\d+) (\d+)", after=mark)
    return int(found[1]), int(found[2]), int(found[3])


class Counted:
    """A server whose objects can be counted, and what is done to it."""

    def __init__(self, server: Server, valkey: Valkey, folder: Path) -> None:
        self.server = server
        self._valkey = valkey
        self._registry = folder / "registry.db"
        self._first = self._registry.read_bytes()
        self._versions = 0

    def count(self) -> tuple[int, int, int]:
        return count(self.server)

    def _one(self, data: bytes, status: int) -> None:
        with Client(self.server.port) as client:
            client.send(data)
            assert client.answer().status == status
            assert client.rest() == b""

    def answered(self) -> None:
        self._one(features_request(1001, "Connection: close"), 200)

    def hung_up(self) -> None:
        with Client(self.server.port) as client:
            client.send(features_request(1001))

    def no_http(self) -> None:
        self._one(b"no request\r\n\r\n", 400)

    def no_such_path(self) -> None:
        self._one(request("/nowhere", None, "", "Connection: close"), 404)

    def _asked(self, body: object, status: int) -> None:
        self._one(request("/get-online-features", body, "POST", "Connection: close"), status)

    def no_json(self) -> None:
        self._asked(b"{", 422)

    def no_such_service(self) -> None:
        self._asked({"feature_service": "nope", "entities": {"driver_id": [1001]}}, 404)

    def no_such_view(self) -> None:
        self._asked({"features": ["nowhere:trips"], "entities": {"driver_id": [1001]}}, 404)

    def no_join_key(self) -> None:
        self._asked({"features": ["driver_stats:trips"], "entities": {"other": [1]}}, 400)

    def wrong_type(self) -> None:
        self._asked({"features": ["driver_stats:trips"], "entities": {"driver_id": ["x"]}}, 400)

    def _computed(self, view: str, status: int) -> None:
        entities = {"driver_id": [1002], "bonus": [2]}
        self._asked({"features": [f"{view}:trips_plus"], "entities": entities}, status)

    def computed(self) -> None:
        self._computed("adjusted", 200)

    def computed_by_source(self) -> None:
        self._computed("executed", 200)

    def computed_in_vain(self) -> None:
        self._computed("failing", 500)

    def not_loaded(self) -> None:
        self._computed("spoiled", 400)

    def too_late(self) -> None:
        self._valkey.do("CLIENT", "PAUSE", 50)
        self._one(features_request(1001, "X-Request-Timeout-Ms: 1", "Connection: close"), 504)

    def store_error(self) -> None:
        self._valkey.do("ACL", "SETUSER", "default", "-hgetall", "-hmget")
        self._one(features_request(1001, "Connection: close"), 503)
        self._valkey.do("ACL", "SETUSER", "default", "+@all")

    def _reload(self, data: bytes, line: str) -> None:
        mark = len(self.server.lines)
        replace_file(self._registry, data)
        self.server.send_signal(signal.SIGHUP)
        self.server.wait_for(line, after=mark)

    def reloaded(self) -> None:
        self._versions += 1
        data = add_service(self._first, f"svc_{self._versions}", "svc_subset")
        self._reload(data, "INFO registry reloaded")
        self._reload(data, "INFO registry unchanged")  # by now the catalog before has gone

    def not_reloaded(self) -> None:
        self._reload(BROKEN, "ERROR registry not reloaded")

    def not_read(self) -> None:
        self._registry.unlink(missing_ok=True)
        mark = len(self.server.lines)
        self.server.send_signal(signal.SIGHUP)
        self.server.wait_for("ERROR registry not reloaded.*cannot be read", after=mark)


KINDS: tuple[Callable[[Counted], None], ...] = (
    *(Counted.reloaded, Counted.not_reloaded, Counted.not_read),
    *(Counted.answered, Counted.hung_up, Counted.no_http, Counted.no_such_path),
    *(Counted.no_json, Counted.no_such_service, Counted.no_such_view, Counted.no_join_key, Counted.wrong_type),
    *(
        Counted.computed,
        Counted.computed_by_source,
        Counted.computed_in_vain,
        Counted.not_loaded,
        Counted.too_late,
        Counted.store_error,
    ),
)


@pytest.fixture
def counted(tmp_path: Path, own_valkey: Valkey, how: str) -> Iterator[Counted]:
    folder = repository(tmp_path / "repository", "redis", f"127.0.0.1:{own_valkey.port}")
    registry = folder / "registry.db"
    registry.write_bytes(add_bad_views(registry.read_bytes()))
    with Server(folder, "-r", "0", program=("-c", COUNTED, how)) as server:
        server.tracebacks_are_fine = True
        yield Counted(server, own_valkey, folder)


@pytest.mark.parametrize("how", ["without"])
def test_nothing_is_left_for_the_cycle_collector(counted: Counted) -> None:
    left = {}
    for kind in KINDS:
        kind(counted)  # of what is made once, something may be left
        counted.count()
        for _ in range(TIMES):
            kind(counted)
        counted.reloaded()  # for what only goes with a plan
        left[kind.__name__], _, _ = counted.count()
    assert left == dict.fromkeys(left, 0)


def test_a_handshake_that_fails_leaves_nothing(tmp_path: Path) -> None:
    """A load balancer that looks whether the port is open may do nothing else, every second."""
    folder = repository(tmp_path / "repository", "sqlite", "")
    tls = ("--cert", str(CERTIFICATE), "--key", str(CERTIFICATE_KEY))
    with Server(folder, *tls, program=("-c", COUNTED, "without")) as server:

        def fail() -> None:
            with Client(server.port) as client:
                client.send(b"no handshake\r\n\r\n")
                client.rest()  # until it has been refused

        fail()
        count(server)
        for _ in range(TIMES):
            fail()
        assert count(server)[0] == 0


@pytest.mark.parametrize("how", ["with"])
def test_the_collector_does_not_look_at_a_catalog(counted: Counted) -> None:
    """With a large one it would stop the loop for a tenth of a second: some minutes after the start, for instance."""
    _, total, frozen = counted.count()
    assert frozen > 0.95 * total
    counted.reloaded()
    _, total, frozen = counted.count()
    assert frozen > 0.95 * total


@pytest.mark.parametrize("how", ["with"])
def test_reloads_leave_nothing_behind(counted: Counted) -> None:
    totals = []
    for rounds in (WARM_UP, RELOADS):
        for turn in range(rounds):
            for kind in KINDS[3:]:
                if kind is not Counted.too_late:  # which takes its time
                    kind(counted)
            if turn % 5 == 0:
                counted.not_reloaded()
            counted.reloaded()
        totals.append(counted.count()[1])
    assert abs(totals[1] - totals[0]) < FLAT, totals
