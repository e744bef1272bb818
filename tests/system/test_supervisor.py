"""Several workers on one address: nothing is lost when they are stopped, replaced or killed.

`Load` asks all the time, and checks every answer. A request counts as lost if it does not get the right answer. A
connection that a client keeps may end only after an answer with `Connection: close`; one that a client opens for a
single request may end only after its answer.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import resource
import signal
import socket
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest
import uvloop

from tests.harness import (
    Process,
    Proxy,
    Server,
    Valkey,
    add_service,
    command_line,
    eventually,
    features_request,
    replace_file,
    repository,
)
from yummy_fast.workers.policy import GIVEN_UP, MAX_FAILURES
from yummy_fast.workers.supervisor import count_workers

ROOT = Path(__file__).resolve().parents[2]
TRIPS = {1001: 0, 1002: 1}
"""Driver -> trips: the right answers."""
NEW_SERVICE = {"feature_service": "svc_new", "entities": {"driver_id": [1002]}}


class Fleet(Server):
    """A server of several workers, with an admin listener."""

    def __init__(self, folder: Path, *arguments: str, environment: dict[str, str] | None = None) -> None:
        super().__init__(folder, "--admin", "127.0.0.1:0", *arguments, environment=environment)
        self.admin = self.wait_for(r"admin on (http://\S+)")[1]

    def see(self, target: str, data: bytes | None = None) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(self.admin + target, data, timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    @property
    def status(self) -> dict[str, Any]:
        status: dict[str, Any] = json.loads(self.see("/-/status")[1])
        return status

    @property
    def workers(self) -> list[int]:
        return [worker["pid"] for worker in self.status["workers"]]

    def until_workers(self, condition: Callable[[list[int]], object], what: str) -> list[int]:
        """The workers' process ids, once `condition` holds for them and all workers are ready."""

        def look() -> list[int] | None:
            status = self.status
            pids = [worker["pid"] for worker in status["workers"]]
            return pids if condition(pids) and all(worker["ready"] for worker in status["workers"]) else None

        return eventually(look, what)

    def metric(self, name: str) -> float:
        """The sum of a metric's samples over all labels."""
        lines = self.see("/metrics")[1].splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith((name + " ", name + "{")))


@pytest.fixture
def fleet(corpus: Path) -> Iterator[Fleet]:
    with Fleet(corpus, "-w", "2", "-r", "0") as started:
        yield started


class Load:
    """Clients that ask all the time: some keep their connections, some open one for each request."""

    def __init__(self, port: int, keeping: int = 6, opening: int = 2) -> None:
        self.port = port
        self.lost: list[str] = []
        self.answered = 0
        self.refused = 0
        """Attempts to connect that failed: no request was sent, so none was lost."""
        self.reopened = 0
        self._kinds = [True] * keeping + [False] * opening
        self._changed = threading.Condition()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=lambda: uvloop.run(self._run()))

    async def _run(self) -> None:
        await asyncio.gather(*(self._client(keeps, number) for number, keeps in enumerate(self._kinds)))

    async def _client(self, keeps: bool, number: int) -> None:
        while not self._stop.is_set():
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
            except OSError:
                self.refused += 1
                await asyncio.sleep(0.01)
                continue
            self.reopened += 1
            try:
                await self._ask(reader, writer, keeps, number)
            except (OSError, EOFError, AssertionError) as error:
                self.lost.append(f"client {number}, {'kept' if keeps else 'new'} connection: {error!r}")
            finally:
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()

    async def _ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, keeps: bool, number: int) -> None:
        turn = number
        while not self._stop.is_set():
            turn += 1
            driver = 1001 + turn % 2
            writer.write(features_request(driver, *([] if keeps else ["Connection: close"])))
            head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
            length = int(head.partition("content-length: ")[2].partition("\r\n")[0])
            body = json.loads(await reader.readexactly(length))
            assert head.startswith("http/1.1 200"), (head, body)
            assert body["results"][1]["values"] == [TRIPS[driver]], body
            with self._changed:
                self.answered += 1
                self._changed.notify_all()
            if "connection: close" in head:
                assert await reader.read() == b""
                return

    def until_answered(self, more: int) -> None:
        """Wait for `more` answers from now on."""
        with self._changed:
            target = self.answered + more
            assert self._changed.wait_for(lambda: self.answered >= target, 20), (self.answered, self.lost)

    def __enter__(self) -> Self:
        self._thread.start()
        self.until_answered(100)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._stop.set()
        self._thread.join(20)
        assert not self._thread.is_alive()


def _gone(pids: list[int]) -> bool | None:
    """Whether processes that are not our children have ended."""
    for pid in pids:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            continue
        return None
    return True


# ----------------------------------------------------------------------------------------------------- nothing is lost


def test_sigterm_under_load_loses_nothing(fleet: Fleet) -> None:
    with Load(fleet.port) as load:
        fleet.send_signal(signal.SIGTERM)
        assert fleet.wait() == 0
    assert load.lost == []
    assert load.refused


def test_sigterm_of_a_single_process_under_load_loses_nothing(corpus: Path) -> None:
    with Server(corpus) as server:
        with Load(server.port) as load:
            server.send_signal(signal.SIGTERM)
            assert server.wait() == 0
        assert load.lost == []
        assert load.refused


def test_rolling_restart_under_load_loses_nothing(fleet: Fleet) -> None:
    before = fleet.workers
    with Load(fleet.port) as load:
        for _ in range(2):
            now = fleet.workers
            fleet.send_signal(signal.SIGUSR2)
            fleet.until_workers(lambda pids, now=now: len(pids) == 2 and not {*pids} & {*now}, "two new workers")  # type: ignore[misc]
            load.until_answered(100)
    assert load.lost == []
    assert load.refused == 0
    assert load.reopened > 8
    assert not {*fleet.workers} & {*before}
    assert fleet.status["worker_deaths"] == 0


def test_kill_9_of_a_worker_loses_its_own_requests_alone(fleet: Fleet) -> None:
    before = fleet.workers
    with Load(fleet.port) as load:
        for _ in range(2):
            victim = fleet.workers[-1]
            os.kill(victim, signal.SIGKILL)
            fleet.until_workers(lambda pids, victim=victim: len(pids) == 2 and victim not in pids, "a new worker")  # type: ignore[misc]
            load.until_answered(100)
    # Each client had one request on its way at most, and about half of them at this worker.
    assert len(load.lost) <= 2 * 8, load.lost
    assert load.refused == 0
    assert before[0] in fleet.workers
    assert "killed by SIGKILL" in fleet.log
    assert fleet.metric("yummy_fast_worker_deaths_total") == fleet.status["worker_deaths"] == 2
    assert fleet.metric("yummy_fast_workers") == 2


def test_a_worker_that_is_told_to_stop_is_replaced_before(fleet: Fleet) -> None:
    first, second = fleet.workers
    with Load(fleet.port) as load:
        os.kill(first, signal.SIGTERM)
        pids = fleet.until_workers(lambda pids: len(pids) == 2 and first not in pids, "a new worker")
        load.until_answered(100)
    assert second in pids
    assert load.lost == []


def test_a_worker_with_too_much_memory_is_replaced_before_it_stops(corpus: Path) -> None:
    with Fleet(corpus, "-w", "2", "--worker-max-rss-mb", "1") as fleet, Load(fleet.port) as load:
        before = fleet.workers
        fleet.wait_for(r"worker \d+ \(\d+\) has \d+ MB of resident memory, above --worker-max-rss-mb: replacing it")
        fleet.until_workers(lambda pids: len(pids) == 2 and not {*pids} & {*before}, "two new workers")
        load.until_answered(100)
        assert load.lost == []


def test_a_unix_socket_belongs_to_all_workers(corpus: Path, tmp_path: Path) -> None:
    path = tmp_path / "s"
    with Process([sys.executable, "-m", "yummy_fast", "serve", "--chdir", corpus, "-w", "2", "--uds", path]) as server:
        server.wait_for(r"serving .* on unix:\S+ with 2 workers")
        mark = len(server.lines)
        server.send_signal(signal.SIGUSR2)
        server.wait_for(r"worker 2 \(\d+\) has ended", after=mark)  # and left the file alone
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
            client.sendall(features_request(1002, "Connection: close"))
            assert b"200 OK" in client.recv(1 << 16)
        assert server.stop() == 0
        assert not path.exists()


def test_connections_are_shared_evenly(fleet: Fleet) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(16):
            client = stack.enter_context(fleet.client())
            assert client.ask("/health").status == 200

        def look() -> list[int] | None:
            held = [worker["connections"] for worker in fleet.status["workers"]]
            return held if sum(held) == 16 else None

        assert min(eventually(look, "sixteen connections")) >= 6


# ---------------------------------------------------------------------------------------------------- workers that die


def test_instant_deaths_are_given_up_on(corpus: Path, tmp_path: Path) -> None:
    # Whatever is forked ends at once.
    (tmp_path / "sitecustomize.py").write_text("import os\nos.register_at_fork(after_in_child=lambda: os._exit(7))\n")
    arguments = ("-c", corpus, "serve", "-p", "0", "-w", "2")
    code, _, err = command_line(*arguments, environment={"PYTHONPATH": f"{tmp_path}:{Path.cwd()}"})
    assert code == GIVEN_UP == 3
    assert err.splitlines()[-1].endswith(
        f"ERROR giving up after {MAX_FAILURES} failed starts; the last one: exit code 7"
    )


def test_what_no_worker_can_serve_is_one_line(corpus: Path) -> None:
    (corpus / "registry.db").write_bytes(b"\xff\xff\xff no registry")
    code, out, err = command_line("-c", corpus, "serve", "-p", "0", "-w", "2")
    assert (code, out) == (2, "")
    (line,) = [line for line in err.splitlines() if "registry.db" in line]
    assert line.startswith("yummy-fast: ")
    assert "Traceback" not in err


def test_port_in_use_is_one_line(corpus: Path, server: Server) -> None:
    code, _, err = command_line("-c", corpus, "serve", "-p", str(server.port), "-w", "2")
    assert code == 2
    assert "cannot listen" in err
    assert err.count("\n") == 1


def test_a_worker_that_cannot_be_replaced_leaves_the_others_alone(corpus: Path, fleet: Fleet) -> None:
    """The registry file is broken: a worker with the registry in memory serves on, one that has to read it cannot."""
    good = (corpus / "registry.db").read_bytes()
    replace_file(corpus / "registry.db", b"\xff\xff\xff no registry")
    first, second = fleet.workers
    os.kill(first, signal.SIGKILL)
    fleet.wait_for(r"ERROR worker \d+ \(\d+\) ended: .*registry\.db")
    fleet.send_signal(signal.SIGUSR2)
    assert fleet.features([1002]).columns["trips"] == [1]
    assert second in fleet.workers
    replace_file(corpus / "registry.db", good)
    fleet.until_workers(lambda pids: len(pids) == 2, "a new worker")


def test_a_rolling_restart_that_fails_changes_nothing(corpus: Path, fleet: Fleet) -> None:
    replace_file(corpus / "registry.db", b"\xff\xff\xff no registry")
    before = fleet.workers
    fleet.send_signal(signal.SIGUSR2)
    fleet.wait_for(r"ERROR worker \d+ \(\d+\) cannot take over from worker \d+ \(\d+\), which stays: .*registry\.db")
    assert fleet.workers == before
    assert fleet.features([1002]).columns["trips"] == [1]


def test_a_worker_that_dies_before_its_successor_serves(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It dies in a rolling restart, which goes on."""
    orders = (
        "import os, time",
        "def held():",
        "    while os.path.exists('hold'):",
        "        time.sleep(0.01)",
        "os.register_at_fork(after_in_child=held)",
    )
    (tmp_path / "sitecustomize.py").write_text("\n".join(orders) + "\n")
    monkeypatch.chdir(tmp_path)
    with Fleet(corpus, "-w", "2", environment={"PYTHONPATH": f"{tmp_path}:{ROOT}"}) as fleet:
        first, second = fleet.workers
        Path("hold").touch()
        fleet.send_signal(signal.SIGUSR2)
        eventually(lambda: len(fleet.workers) == 3 or None, "a successor")
        os.kill(first, signal.SIGKILL)
        fleet.wait_for(rf"ERROR worker 1 \({first}\) ended: killed by SIGKILL")
        Path("hold").unlink()
        fleet.until_workers(lambda pids: len(pids) == 2 and not {*pids} & {first, second}, "two new workers")
        assert fleet.status["worker_deaths"] == 1
        assert fleet.features([1002]).columns["trips"] == [1]


def _no_descriptors(pid: int) -> Callable[[], None]:
    there = set(map(int, os.listdir(f"/proc/{pid}/fd")))
    limits = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (min(set(range(1000)) - there), limits[1]))

    def end() -> None:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, limits)

    return end


def _no_processes(pid: int) -> Callable[[], None]:
    flag = Path(f"/proc/{pid}/cwd/no_processes")
    flag.touch()
    return flag.unlink


@pytest.mark.skipif(sys.platform != "linux", reason="prlimit(2)")
@pytest.mark.parametrize("spoil", [_no_descriptors, _no_processes])
def test_what_is_missing_for_a_worker_may_come_back(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spoil: Callable[[int], Callable[[], None]]
) -> None:
    """However long that takes: there are more attempts here (8) than slots for workers (6)."""
    orders = (
        "import os",
        "from yummy_fast.workers import policy",
        "policy.BACKOFF_FIRST_S = policy.BACKOFF_LAST_S = 0.01",
        "fork = os.fork",
        "def no_fork():",
        "    if os.path.exists('no_processes'):",
        "        raise BlockingIOError(11, 'no processes')",
        "    return fork()",
        "os.fork = no_fork",
    )
    (tmp_path / "sitecustomize.py").write_text("\n".join(orders) + "\n")
    environment = {"PYTHONPATH": f"{tmp_path}:{Path.cwd()}"}
    monkeypatch.chdir(tmp_path)
    with Fleet(corpus, "-w", "2", environment=environment) as fleet:
        first, second = fleet.workers
        end = spoil(fleet.process.pid)
        os.kill(first, signal.SIGKILL)
        mark = 0
        for _ in range(8):
            fleet.wait_for(
                r"ERROR no new worker: cannot start a process: (Too many open files|no processes)", after=mark
            )
            mark = len(fleet.lines)
        assert second in fleet.workers
        end()
        fleet.until_workers(lambda pids: len(pids) == 2, "a new worker")


def test_the_admin_listener_comes_back(fleet: Fleet) -> None:
    """It has a process of its own, which the supervisor starts again."""
    children = Path(f"/proc/{fleet.process.pid}/task/{fleet.process.pid}/children")
    if not children.exists():
        pytest.skip("needs Linux")
    (admin,) = {*map(int, children.read_text().split())} - {*fleet.workers}
    mark = len(fleet.lines)
    os.kill(admin, signal.SIGKILL)
    fleet.admin = fleet.wait_for(r"admin on (http://\S+)", after=mark)[1]
    assert fleet.see("/livez")[0] == 200


def test_numbers_of_the_dead_stay_in_the_sums(fleet: Fleet) -> None:
    for _ in range(10):
        assert fleet.features([1002]).status == 200
    name = "yummy_fast_requests_total"
    eventually(lambda: fleet.metric(name) == 10 or None, "ten requests")
    for pid in fleet.workers:
        os.kill(pid, signal.SIGKILL)
        fleet.until_workers(lambda pids, pid=pid: len(pids) == 2 and pid not in pids, "a new worker")  # type: ignore[misc]
        assert fleet.metric(name) == 10
    fleet.features([1002])
    before = fleet.workers
    fleet.send_signal(signal.SIGUSR2)
    fleet.until_workers(lambda pids: len(pids) == 2 and not {*pids} & {*before}, "two new workers")
    assert fleet.metric(name) == 11
    assert eventually(lambda: fleet.metric("yummy_fast_store_connections") == 2 or None, "two connections to the store")


def test_a_stuck_worker_is_named_killed_and_replaced(corpus: Path, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import signal, time\nsignal.signal(signal.SIGUSR1, lambda *_: time.sleep(60))\n"
    )
    environment = {"PYTHONPATH": f"{tmp_path}:{Path.cwd()}"}
    with Fleet(corpus, "-w", "2", "--worker-timeout", "4", environment=environment) as fleet:
        first, second = fleet.workers
        os.kill(first, signal.SIGUSR1)

        def named() -> dict[str, Any] | None:
            return next((worker for worker in fleet.status["workers"] if worker["still_s"] > 1 and worker["at"]), None)

        stuck = eventually(named, "a worker that is stuck")
        assert stuck["pid"] == first
        assert stuck["at"].startswith("sitecustomize.py:2 in ")
        assert fleet.see("/readyz")[0] == fleet.see("/livez")[0] == 200
        assert fleet.features([1002]).columns["trips"] == [1]
        fleet.wait_for(rf"ERROR killing worker \d+ \({first}\): its event loop has not turned for \d+ s, it is at site")
        fleet.until_workers(lambda pids: len(pids) == 2 and first not in pids and second in pids, "a new worker")


def test_a_stopped_process_is_stuck_as_well(corpus: Path) -> None:
    with Fleet(corpus, "-w", "2", "--worker-timeout", "2") as fleet:
        first, _ = fleet.workers
        os.kill(first, signal.SIGSTOP)
        with Load(fleet.port, keeping=0) as load:
            fleet.wait_for(rf"ERROR killing worker \d+ \({first}\)")
            fleet.until_workers(lambda pids: len(pids) == 2 and first not in pids, "a new worker")
        # The listener is shared: no client waited for the stopped worker, but on connections that it had accepted.
        assert len(load.lost) <= 2


# --------------------------------------------------------------------------------------------------------- the signals


def test_workers_end_with_their_supervisor(corpus: Path) -> None:
    with Fleet(corpus, "-w", "2") as fleet:
        workers = fleet.workers
        with Load(fleet.port) as load:
            fleet.process.kill()
            eventually(lambda: _gone(workers), "the workers to end")
        assert load.lost == []
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", fleet.port), 5)
        fleet.wait()
        assert "the supervisor is gone: stopping" in fleet.log


def test_sighup_reaches_all_workers(corpus: Path, fleet: Fleet) -> None:
    registry = corpus / "registry.db"
    replace_file(registry, add_service(registry.read_bytes(), "svc_new", "svc_subset"))
    fleet.send_signal(signal.SIGHUP)
    for number in (1, 2):
        fleet.wait_for(f"worker {number}: registry reloaded")
    for _ in range(8):
        assert fleet.ask("/get-online-features", NEW_SERVICE).status == 200


def test_reload_over_http_reaches_all_workers(corpus: Path, fleet: Fleet) -> None:
    registry = corpus / "registry.db"
    good = registry.read_bytes()
    replace_file(registry, add_service(good, "svc_new", "svc_subset"))
    status, text = fleet.see("/-/reload", b"")
    assert status == 200
    assert json.loads(text)["registry"]["feature_services"] == 9
    for _ in range(8):
        assert fleet.ask("/get-online-features", NEW_SERVICE).status == 200
    replace_file(registry, b"\xff\xff\xff no registry")
    status, text = fleet.see("/-/reload", b"")
    assert status == 500
    assert json.loads(text)["error"].count("registry.db") == 2


@pytest.mark.parametrize("workers", ["1", "2"])
def test_readiness_goes_first(corpus: Path, workers: str) -> None:
    """After SIGTERM, /readyz says 503, and requests are answered for --drain-delay; then idle connections end."""
    with (
        Fleet(corpus, "-w", workers, "--drain-delay", "2", "--drain-idle", "0.1") as fleet,
        fleet.client() as idle,
    ):
        assert idle.ask("/health").status == 200
        eventually(lambda: fleet.see("/readyz")[0] == 200 or None, "readiness")
        fleet.send_signal(signal.SIGTERM)
        fleet.wait_for("stopping in 2 s")
        status, text = fleet.see("/readyz")
        assert status == 503
        assert "told to stop" in json.loads(text)["reasons"]
        assert fleet.see("/livez")[0] == 200
        answer = idle.ask("/health")  # kept, and another one opened
        assert (answer.status, answer.headers.get("connection")) == (200, None)
        assert fleet.features([1002]).columns["trips"] == [1]
        assert idle.rest() == b""
        assert fleet.wait() == 0


@pytest.mark.parametrize(
    ("workers", "said"),
    [
        ("1", "1 connection cut off before its request was answered: a second signal"),
        ("2", "a second signal to stop: killing 2 workers"),
    ],
)
def test_a_second_signal_stops_at_once(tmp_path: Path, valkey: Valkey, workers: str, said: str) -> None:
    with Proxy(valkey.port) as proxy:
        settings = {"store_timeout_ms": 15_000, "shutdown_timeout": 60, "workers": workers}
        folder = repository(tmp_path / "r", "redis", f"127.0.0.1:{proxy.port}", settings=settings)
        with Server(folder) as server, server.client() as client:
            proxy.hold()
            client.send(features_request(1002))
            proxy.wait_until_held()
            server.send_signal(signal.SIGTERM)
            server.wait_for("stopping")
            server.send_signal(signal.SIGINT)
            assert client.rest() == b""
            assert server.wait() == 0
            (line,) = (line for line in server.lines if "a second signal" in line)
            assert line.endswith(said)


@pytest.mark.parametrize("workers", ["1", "2"])
def test_what_does_not_end_is_cut_off(tmp_path: Path, valkey: Valkey, workers: str) -> None:
    with Proxy(valkey.port) as proxy:
        settings = {"store_timeout_ms": 15_000, "shutdown_timeout": 0.3, "workers": workers}
        folder = repository(tmp_path / "r", "redis", f"127.0.0.1:{proxy.port}", settings=settings)
        with Server(folder) as server, server.client() as client:
            proxy.hold()
            client.send(features_request(1002))
            proxy.wait_until_held()
            server.send_signal(signal.SIGTERM)
            assert client.rest() == b""
            assert server.wait() == 0
            assert (
                "1 connection cut off before its request was answered: --shutdown-timeout of 0.3 s is over"
                in server.log
            )


def test_a_request_that_is_on_its_way_is_answered(corpus: Path) -> None:
    """All of it but five bytes was sent before the server was told to stop."""
    with Server(corpus, "-w", "2") as server, server.client() as client, server.client() as idle:
        assert idle.ask("/health").status == 200
        data = features_request(1002)
        client.send(data[:-5])
        server.send_signal(signal.SIGTERM)
        assert idle.rest() == b""
        client.send(data[-5:])
        answer = client.answer()
        assert answer.columns["trips"] == [1]
        assert answer.headers["connection"] == "close"
        assert server.wait() == 0


# ----------------------------------------------------------------------------------------------------------- the parts


def test_minus_one_is_twice_the_cpus_and_one() -> None:
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    assert count_workers(-1) == 2 * cpus + 1
    assert count_workers(3) == 3


@pytest.mark.parametrize("value", ["0", "-2", "x", ""])
def test_numbers_of_workers_that_are_refused(corpus: Path, value: str) -> None:
    code, _, err = command_line("-c", corpus, "serve", "-p", "0", f"--workers={value}")
    assert code == 2
    assert "--workers: expected a number of processes, 1 or more, or -1" in err
