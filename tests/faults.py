"""Every way in which Redis breaks, on a real server under load: `make faults` writes the table in docs/reliability.md.

A Scenario breaks something and mends it. Meanwhile clients ask for random rows whose values follow from their keys, and
check every answer: 200 must be about exactly the rows asked for and right; anything else must be a status that the
scenario allows, with what belongs to it. Seen from the clients: which statuses there were, how long the slowest error
took, and how long after the mending the last one came.

`tests/system/test_faults.py` plays the same scenarios with a shorter timeout and holds the outcomes against what is
promised. `broken_promises` says what that is.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import re
import signal
import socket
import struct
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import hiredis

from tests.harness import (
    ATTEMPTS,
    PATIENCE_S,
    STARVED_S,
    Answer,
    Client,
    Heartbeat,
    Proxy,
    Server,
    Valkey,
    eventually,
    features_request,
    note_starved,
    repository,
    request,
    starved,
)
from yummy_fast.feast_format._proto.value_pb2 import Value
from yummy_fast.feast_format.keys import entity_key_header, feature_field, key_value_encoder, timestamp_field
from yummy_fast.feast_format.timestamps import encode_timestamp
from yummy_fast.feast_format.values import ValueType
from yummy_fast.stores.resp import render_command

DRIVERS = 400
POISONED = 13
"""The driver with whom something is wrong, in the scenarios where it is the data."""
CLIENTS = 6
PACE_S = 0.01
"""Between a client's answer and its next request: the load is to notice, not to overwhelm."""
STEADY = 10
"""Right answers in a row that each client gets before the fault, and after it."""

VIEW = "driver_stats"
FEATURES = (f"{VIEW}:trips", f"{VIEW}:nick")
MANY_BYTES = 100 << 20


def key_of(driver: int) -> bytes:
    return entity_key_header(["driver_id"], 3) + key_value_encoder(ValueType.INT64, 3)(driver) + b"corpus"


def trips_of(driver: int) -> int:
    return driver * 7919 + 1


def nick_of(driver: int) -> str:
    return f"nick of {driver}"


def hash_of(driver: int) -> list[bytes]:
    """Fields and values of a driver's hash, for HSET."""
    return [
        *(timestamp_field(VIEW), encode_timestamp(1_700_000_000)),
        *(feature_field(VIEW, "trips"), Value(int64_val=trips_of(driver)).SerializeToString()),
        *(feature_field(VIEW, "nick"), Value(string_val=nick_of(driver)).SerializeToString()),
    ]


# --------------------------------------------------------------------------------------------------------------- load


class Sample(NamedTuple):
    """One request and what became of it. Times are of time.monotonic()."""

    began: float
    ended: float
    status: int
    complaint: str
    """What is wrong with the answer; "" if it is one that may be given."""

    @property
    def took_s(self) -> float:
        return self.ended - self.began


def complaint_of(answer: Answer, drivers: Sequence[int], scenario: Scenario) -> str:
    """What is wrong with an answer about `drivers`."""
    poisoned = POISONED in drivers and scenario.poison is not None
    if answer.status != 200:
        if poisoned and scenario.poison is not None and answer.status == scenario.poison.status:
            return "" if scenario.poison.text in answer.json else f"unclear: {answer.json!r}"
        if answer.status not in scenario.statuses:
            return f"status {answer.status}: {answer.body[:200]!r}"
        return "" if answer.headers.get("retry-after") == "1" else f"status {answer.status} without Retry-After"
    body = answer.json
    if body["metadata"]["feature_names"] != ["driver_id", "trips", "nick"]:
        return f"columns {body['metadata']['feature_names']}"
    values: list[list[Any]] = [
        list(drivers),
        [trips_of(driver) for driver in drivers],
        [nick_of(driver) for driver in drivers],
    ]
    statuses = [["PRESENT"] * len(drivers) for _ in range(3)]
    if poisoned and scenario.poison is not None:
        if scenario.poison.status != 200:
            return "status 200 for what cannot be read"
        for place, driver in enumerate(drivers):
            if driver == POISONED:
                values[2][place] = None
                statuses[2][place] = scenario.poison.text
    found = [column["values"] for column in body["results"]]
    if found != values:
        return f"asked for {drivers}, got {found}"
    found = [column["statuses"] for column in body["results"]]
    return "" if found == statuses else f"asked for {drivers}, got {found}"


class Load:
    """Clients that ask, one request after another, and write down what they got."""

    def __init__(self, server: Server, scenario: Scenario) -> None:
        self._server = server
        self._scenario = scenario
        self._stop = threading.Event()
        self._changed = threading.Condition()
        self.samples: list[list[Sample]] = [[] for _ in range(CLIENTS)]
        self.broken: list[str] = []
        """Connections that did not hold, which no fault of Redis excuses."""
        self._threads = [threading.Thread(target=self._ask, args=(number,)) for number in range(CLIENTS)]

    def _ask(self, number: int) -> None:
        dice = random.Random(number)
        try:
            with self._server.client() as client:
                while not self._stop.is_set():
                    drivers = [dice.randrange(DRIVERS) for _ in range(dice.choice((1, 1, 2, 5)))]
                    if self._scenario.poison is None:
                        drivers = [driver for driver in drivers if driver != POISONED] or [0]
                    elif dice.random() < 0.2:
                        drivers[dice.randrange(len(drivers))] = POISONED
                    began = time.monotonic()
                    answer = client.ask(
                        "/get-online-features", {"features": FEATURES, "entities": {"driver_id": drivers}}
                    )
                    ended = time.monotonic()
                    sample = Sample(began, ended, answer.status, complaint_of(answer, drivers, self._scenario))
                    with self._changed:
                        self.samples[number].append(sample)
                        self._changed.notify_all()
                    self._stop.wait(PACE_S)
        except Exception as error:
            with self._changed:
                self.broken.append(repr(error))
                self._changed.notify_all()

    def wait_until_steady(self) -> None:
        """Until each client has got right answers, and nothing else, for a while from now on."""
        since = time.monotonic()

        def steady(samples: list[Sample]) -> bool:
            last = samples[-STEADY:]
            fine = {200, self._scenario.poison.status} if self._scenario.poison else {200}
            return len(last) == STEADY and last[0].began > since and {sample.status for sample in last} <= fine

        with self._changed:
            came = self._changed.wait_for(lambda: self.broken or all(map(steady, self.samples)), PATIENCE_S)
        if not came:
            self.broken.append(f"no right answers within {PATIENCE_S:g} s")

    def wait(self, seconds: float) -> None:
        """For as long as a fault is to last."""
        with self._changed:
            self._changed.wait_for(lambda: self.broken, seconds)

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(PATIENCE_S)


# ---------------------------------------------------------------------------------------------------------- scenarios


class Poison(NamedTuple):
    """What requests for POISONED get: a status other than 200 and what its text says, or 200 and the cell's status."""

    status: int
    text: str


@dataclass
class Rig:
    """What a scenario can break: a Redis, the way to it, and the server itself."""

    valkey: Valkey
    proxy: Proxy
    timeout_s: float
    folder: Path
    server: Server = field(init=False)
    load: Load = field(init=False)
    notes: list[str] = field(default_factory=list)
    """What the table says beside the numbers."""

    def start_valkey(self, *options: str) -> None:
        """Start another in the place of one that has ended, with its data."""
        self.valkey.__exit__(None, None, None)
        self.valkey = start_valkey(self.folder, *options, port=self.valkey.port)


def start_valkey(folder: Path, *options: str, port: int = 0) -> Valkey:
    return Valkey("--dir", str(folder), "--dbfilename", "dump.rdb", *options, port=port)


class Session:
    """A connection to a Redis that stays, for what must be done on one."""

    def __init__(self, valkey: Valkey, password: str = "") -> None:
        self._socket = socket.create_connection(("127.0.0.1", valkey.port), PATIENCE_S)
        self._reader = hiredis.Reader()
        if password:
            self.do("AUTH", password)

    def do(self, *command: str) -> Any:
        self._socket.sendall(render_command(*(part.encode() for part in command)))
        while (answer := self._reader.gets()) is False:
            data = self._socket.recv(1 << 16)
            if not data:
                raise ConnectionError("valkey closed the connection")
            self._reader.feed(data)
        if isinstance(answer, hiredis.ReplyError):
            raise answer
        return answer

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._socket.close()


Break = Callable[[Rig], Iterator[None]]


@dataclass(frozen=True)
class Scenario:
    """One way to break: `fault` breaks up to its `yield`, and mends after it."""

    name: str
    fault: Break
    statuses: frozenset[int] = frozenset((503, 504))
    """What a request may be answered with but 200, from the fault's beginning to the end."""
    surely: frozenset[int] | None = None
    """Which of these some request has to get, or it was no fault; None for all of them."""
    lasts: float = 3.0
    """How long it stays broken, in timeouts of the store."""
    back_s: float = 1.0
    """How long after it is mended errors may still come."""
    poison: Poison | None = None
    least_timeout_s: float = 0.0
    """For what takes its time."""
    flags: tuple[str, ...] = ()
    valkey: tuple[str, ...] = ()
    password: str = ""
    spoil: Callable[[Valkey], object] | None = None
    """What is wrong with the data from the beginning."""


SCENARIOS: list[Scenario] = []


def scenario(name: str, **settings: Any) -> Callable[[Break], Break]:
    def enter(fault: Break) -> Break:
        SCENARIOS.append(Scenario(name, fault, **settings))
        return fault

    return enter


NONE: frozenset[int] = frozenset()
UNAVAILABLE = frozenset((503,))


@scenario("connections refused", statuses=UNAVAILABLE)
def _(rig: Rig) -> Iterator[None]:
    rig.proxy.refuse()
    yield
    rig.proxy.accept()


@scenario("connections reset (RST), and every new one", statuses=UNAVAILABLE)
def _(rig: Rig) -> Iterator[None]:
    rig.proxy.reset()
    yield
    rig.proxy.reset(False)


@scenario("black hole: connections are accepted, nothing is answered")
def _(rig: Rig) -> Iterator[None]:
    rig.proxy.swallow()
    yield
    rig.proxy.swallow(False)


@scenario("black hole in the middle of a value")
def _(rig: Rig) -> Iterator[None]:
    rig.proxy.end_in(25, rig.proxy.swallow)
    rig.proxy.wait_until_ended()
    yield
    rig.proxy.swallow(False)


@scenario("replies in slices of 1 byte", statuses=NONE)
def _(rig: Rig) -> Iterator[None]:
    rig.proxy.split(1)
    yield
    rig.proxy.split(0)


@scenario("replies late by 5 to 30 % of the timeout", statuses=NONE)
def _(rig: Rig) -> Iterator[None]:
    rig.proxy.delay(0.05 * rig.timeout_s, 0.3 * rig.timeout_s)
    yield
    rig.proxy.delay(0, 0)


@scenario("replies late by 50 to 150 % of the timeout", lasts=5)
def _(rig: Rig) -> Iterator[None]:
    rig.proxy.delay(0.5 * rig.timeout_s, 1.5 * rig.timeout_s)
    yield
    rig.proxy.delay(0, 0)


@scenario("connection closed in the middle of a value, again and again", statuses=UNAVAILABLE, lasts=0)
def _(rig: Rig) -> Iterator[None]:
    for size in (9, 25, 40, 58):
        rig.proxy.end_in(size, rig.proxy.cut)
        rig.proxy.wait_until_ended()
    yield


@scenario("Redis stopped, and started again", statuses=UNAVAILABLE, back_s=2)
def _(rig: Rig) -> Iterator[None]:
    rig.valkey.do("SAVE")
    rig.valkey.stop()
    yield
    rig.start_valkey()


@scenario("Redis killed (SIGKILL), and started again", statuses=UNAVAILABLE, back_s=2)
def _(rig: Rig) -> Iterator[None]:
    rig.valkey.do("SAVE")
    rig.valkey.stop(signal.SIGKILL)
    yield
    rig.start_valkey()


@scenario("Redis frozen (SIGSTOP) for one and a half timeouts", lasts=1.5)
def _(rig: Rig) -> Iterator[None]:
    rig.valkey.send_signal(signal.SIGSTOP)
    yield
    rig.valkey.send_signal(signal.SIGCONT)


@scenario("Redis frozen (SIGSTOP) for four timeouts", lasts=4)
def _(rig: Rig) -> Iterator[None]:
    rig.valkey.send_signal(signal.SIGSTOP)
    yield
    rig.valkey.send_signal(signal.SIGCONT)


@scenario("CLIENT KILL", statuses=UNAVAILABLE, lasts=0)
def _(rig: Rig) -> Iterator[None]:
    rig.valkey.do("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    yield


@scenario("CLIENT PAUSE for three timeouts", lasts=0)
def _(rig: Rig) -> Iterator[None]:
    rig.valkey.do("CLIENT", "PAUSE", round(3000 * rig.timeout_s), "ALL")
    yield
    rig.valkey.do("PING")  # it waits, as everybody does


@scenario("maxclients reached", statuses=UNAVAILABLE)
def _(rig: Rig) -> Iterator[None]:
    with Session(rig.valkey) as session:
        session.do("CONFIG", "SET", "maxclients", "1")
        session.do("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        yield
        session.do("CONFIG", "SET", "maxclients", "100")


@scenario("password wrong, then right", statuses=UNAVAILABLE, valkey=("--requirepass", "right"), password="right")
def _(rig: Rig) -> Iterator[None]:
    with Session(rig.valkey, "right") as session:
        session.do("CONFIG", "SET", "requirepass", "changed")
        session.do("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        yield
        session.do("CONFIG", "SET", "requirepass", "right")


@scenario("-LOADING: killed, and loads for a while when started", statuses=UNAVAILABLE, lasts=0, back_s=2)
def _(rig: Rig) -> Iterator[None]:
    rig.valkey.do("SAVE")
    rig.valkey.stop(signal.SIGKILL)
    delay_us = round(3e6 * rig.timeout_s / DRIVERS)
    rig.start_valkey("--key-load-delay", str(delay_us), "--loading-process-events-interval-bytes", "1024")
    yield
    eventually(lambda: rig.valkey.do("PING"), "the end of loading", hiredis.ReplyError)


@scenario("-BUSY: a script that does not end", surely=UNAVAILABLE)
def _(rig: Rig) -> Iterator[None]:
    rig.valkey.do("CONFIG", "SET", "busy-reply-threshold", "50")

    def spin() -> None:
        with contextlib.suppress(hiredis.ReplyError):  # UNKILLABLE it is not: it wrote nothing
            rig.valkey.do("EVAL", "while true do end", 0)

    spinner = threading.Thread(target=spin)
    spinner.start()
    yield
    with Session(rig.valkey) as session:
        eventually(lambda: session.do("SCRIPT", "KILL"), "the end of the script", hiredis.ReplyError)
    spinner.join(PATIENCE_S)


@scenario("-OOM: memory over the limit", statuses=NONE, lasts=1)
def _(rig: Rig) -> Iterator[None]:
    rig.valkey.do("CONFIG", "SET", "maxmemory", "1")
    yield
    rig.valkey.do("CONFIG", "SET", "maxmemory", "0")


@scenario("-NOPERM: the user may not read", statuses=UNAVAILABLE, lasts=1)
def _(rig: Rig) -> Iterator[None]:
    rig.valkey.do("ACL", "SETUSER", "default", "-hmget", "-hgetall")
    yield
    rig.valkey.do("ACL", "SETUSER", "default", "+@all")


NICK = feature_field(VIEW, "nick")
WHOLE = Value(string_val=nick_of(POISONED)).SerializeToString()


def put(value: bytes) -> Callable[[Valkey], object]:
    """Spoils one driver's nick."""
    return lambda valkey: valkey.do("HSET", key_of(POISONED), NICK, value)


def put_text(valkey: Valkey) -> None:
    valkey.do("DEL", key_of(POISONED))
    valkey.do("SET", key_of(POISONED), "no hash")


def nothing_more(rig: Rig) -> Iterator[None]:
    """The data is spoilt; that is all."""
    yield


def spoilt(name: str, spoil: Callable[[Valkey], object], poison: Poison, *flags: str) -> None:
    settings: dict[str, Any] = {"statuses": NONE, "lasts": 1.0, "spoil": spoil, "poison": poison, "flags": flags}
    SCENARIOS.append(Scenario(name, nothing_more, **settings))


NAMED = Poison(502, f"{VIEW}:nick")
spoilt("WRONGTYPE: one key is no hash", put_text, Poison(502, "WRONGTYPE"))
# Joined with what follows it, a Value that is cut off would take a part of that for its own.
spoilt("a value that is cut off", put(WHOLE[:-5]), NAMED)
spoilt("a value that is cut off, `--compat strict`", put(WHOLE[:-5]), Poison(200, "INVALID"), "--compat", "strict")
spoilt("a value that is none", put(b"\xff\xff\xff"), NAMED)
spoilt("a value that is none, `--compat strict`", put(b"\xff\xff\xff"), Poison(200, "INVALID"), "--compat", "strict")


def status_of_poisoned(server: Server, features: Sequence[str]) -> int:
    """Ask for the driver with too much data, and keep nothing of the answer: this process is the proxy as well."""
    body = {"features": features, "entities": {"driver_id": [POISONED]}}
    buffer = bytearray(1 << 18)
    with Client(server.port) as client:
        client.send(request("/get-online-features", body, "POST", "Connection: close"))
        size = client.socket.recv_into(buffer)
        status = int(buffer[:size].split(b" ", 2)[1])
        while client.socket.recv_into(buffer):
            pass
    return status


def ask_for_many_bytes(features: Sequence[str], expected: frozenset[int]) -> Break:
    """Ask three times for the driver with 100 MB, and note what that takes."""

    def fault(rig: Rig) -> Iterator[None]:
        rest = resident_bytes(rig.server, "VmRSS")
        statuses: set[int] = set()
        took_s = 0.0
        for _ in range(3):
            rig.load.wait_until_steady()
            began = time.monotonic()
            statuses.add(status_of_poisoned(rig.server, features))
            took_s = max(took_s, time.monotonic() - began)
        rig.load.wait_until_steady()  # there is nothing to mend: it is over when the last has come through
        grown = resident_bytes(rig.server, "VmHWM") - rest
        seen = ", ".join(map(str, sorted(statuses)))
        if not statuses <= expected:
            rig.load.broken.append(f"whoever asks for 100 MB got {seen}")
        rig.notes.append(f"{seen} in {took_s:.1f} s for whoever asks, {grown / 1e6:.0f} MB more memory at most")
        yield

    return fault


def many_bytes(name: str, features: Sequence[str], expected: int, *flags: str) -> None:
    """`expected` is what the one who asks gets, unless time is up first; the others may have to wait behind."""
    fault = ask_for_many_bytes(features, frozenset((expected, 504)))
    spoil = put(Value(string_val="x" * MANY_BYTES).SerializeToString())
    settings: dict[str, Any] = {"surely": NONE, "lasts": 0.0, "least_timeout_s": 1.0, "spoil": spoil, "flags": flags}
    SCENARIOS.append(Scenario(f"a value of 100 MB {name}", fault, **settings))


many_bytes("that is asked for", FEATURES, 502)
many_bytes(
    "that is asked for, `--max-reply-bytes` 200 MB",
    FEATURES,
    200,
    "--max-reply-bytes",
    "200000000",
    "--max-answer-bytes",
    "200000000",
)
many_bytes("that nobody asks for, read by HMGET", FEATURES[:1], 200, "--redis-read", "hmget")
many_bytes("that nobody asks for, read by HGETALL", FEATURES[:1], 502, "--redis-read", "hgetall")


@scenario("a thousand HTTP clients that hang up", statuses=NONE, lasts=0)
def _(rig: Rig) -> Iterator[None]:
    dice = random.Random(1)
    for turn in range(1000):
        with Client(rig.server.port) as client:
            client.send(features_request(dice.randrange(DRIVERS)) * dice.choice((1, 3)))
            if turn % 2:  # a reset
                client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    yield


def resident_bytes(server: Server, what: str) -> int:
    """VmRSS, or VmHWM: the most that it has been. 0 where there is no /proc."""
    try:
        text = Path(f"/proc/{server.process.pid}/status").read_text()
    except FileNotFoundError:
        return 0
    return int(re.findall(rf"{what}:\s+(\d+)", text)[0]) * 1024


# ------------------------------------------------------------------------------------------------------------ outcomes


@dataclass
class Outcome:
    """What the clients saw of a scenario."""

    scenario: Scenario
    timeout_s: float
    statuses: Counter[int]
    """From the beginning of the fault on."""
    slowest_error_s: float
    slowest_right_s: float
    back_s: float
    """From the mending to the end of the last error."""
    complaints: list[str]
    notes: list[str]
    log: str

    @property
    def broken_promises(self) -> list[str]:
        """What of docs/reliability.md was not so. A busy machine takes a second more than what was measured."""
        broken = self.complaints[:3]
        surely = self.scenario.statuses if self.scenario.surely is None else self.scenario.surely
        if self.scenario.poison:
            surely |= {self.scenario.poison.status}
        if not surely <= self.statuses.keys():
            broken.append(f"expected to see {sorted(surely)}, saw {sorted(self.statuses)}")
        if self.slowest_error_s > self.timeout_s + 1:
            broken.append(f"an error took {self.slowest_error_s:.2f} s")
        if self.back_s > self.scenario.back_s:
            broken.append(f"errors for {self.back_s:.2f} s after it was mended")
        return broken


class Attempt(NamedTuple):
    """A scenario that was played: how it went, or the exception that ended it."""

    outcome: Outcome | Exception
    late_s: float
    """By how much this process's own clock ran late meanwhile: beyond STARVED_S it was the machine that was slow."""

    @property
    def wrong(self) -> list[str]:
        """What was not as promised."""
        return [repr(self.outcome)] if isinstance(self.outcome, Exception) else self.outcome.broken_promises


def play(scenario: Scenario, timeout_s: float) -> Attempt:
    """Run one scenario on processes of its own."""
    with Heartbeat() as heartbeat:
        try:
            outcome: Outcome | Exception = _play_on_processes(scenario, timeout_s)
        except Exception as error:
            outcome = error
    return Attempt(outcome, heartbeat.late_s)


def _play_on_processes(scenario: Scenario, timeout_s: float) -> Outcome:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        valkey = start_valkey(folder, *scenario.valkey)
        with Proxy(valkey.port) as proxy:
            rig = Rig(valkey, proxy, max(timeout_s, scenario.least_timeout_s), folder)
            try:
                return _play(scenario, rig)
            finally:
                rig.valkey.send_signal(signal.SIGCONT)
                rig.valkey.__exit__(None, None, None)


def _play(scenario: Scenario, rig: Rig) -> Outcome:
    rig.valkey.pipeline([("HSET", key_of(driver), *hash_of(driver)) for driver in range(DRIVERS)])
    if scenario.spoil is not None:
        scenario.spoil(rig.valkey)
    where = f"127.0.0.1:{rig.proxy.port}" + (f",password={scenario.password}" if scenario.password else "")
    settings = {"store_timeout_ms": round(rig.timeout_s * 1000)}
    repository(rig.folder / "repository", "redis", where, settings=settings)
    with Server(rig.folder / "repository", *scenario.flags) as rig.server:
        with Load(rig.server, scenario) as load:
            rig.load = load
            load.wait_until_steady()
            before = sum(map(len, load.samples))
            fault = scenario.fault(rig)
            began = time.monotonic()
            next(fault)
            load.wait(scenario.lasts * rig.timeout_s)
            with contextlib.suppress(StopIteration):
                next(fault)
            mended = time.monotonic()
            load.wait_until_steady()
        assert before >= CLIENTS * STEADY, load.broken
    samples = [sample for client in load.samples for sample in client]
    seen = [sample for sample in samples if sample.ended >= began]
    errors = [sample for sample in seen if sample.status != 200]
    temporary = [sample for sample in errors if sample.status in (503, 504)]
    return Outcome(
        scenario=scenario,
        timeout_s=rig.timeout_s,
        statuses=Counter(sample.status for sample in seen),
        slowest_error_s=max((sample.took_s for sample in errors), default=0.0),
        slowest_right_s=max((sample.took_s for sample in seen if sample.status == 200), default=0.0),
        back_s=max((sample.ended - mended for sample in temporary if sample.ended > mended), default=0.0),
        complaints=[sample.complaint for sample in samples if sample.complaint] + load.broken,
        notes=rig.notes,
        log=rig.server.log,
    )


def play_all(scenarios: Sequence[Scenario], timeout_s: float, at_once: int) -> list[Attempt]:
    """How each scenario went, in order.

    A scenario that breaks a promise while our own clock runs late is played again, with no other beside it, at most
    ATTEMPTS times in all: clients, proxy and server had to wait for a processor, and no promise covers that. A fault of
    the server shows again.
    """
    with ThreadPoolExecutor(at_once) as pool:
        attempts = list(pool.map(lambda scenario: play(scenario, timeout_s), scenarios))
    for index, scenario in enumerate(scenarios):
        for _ in range(ATTEMPTS - 1):
            wrong, late_s = attempts[index].wrong, attempts[index].late_s
            if not wrong or late_s <= STARVED_S:
                break
            note_starved(scenario.name, late_s, wrong[0])
            attempts[index] = play(scenario, timeout_s)
    return attempts


# --------------------------------------------------------------------------------------------------------------- table

BEGIN, END = "<!-- faults: written by `make faults` -->", "<!-- /faults -->"


def row(outcome: Outcome) -> str:
    statuses = ", ".join(str(status) for status in sorted(outcome.statuses))
    slowest = f"{outcome.slowest_error_s:.2f} s" if outcome.slowest_error_s else ""
    back = f"{outcome.back_s:.2f} s" if {503, 504} & outcome.statuses.keys() else ""
    name = ": ".join([outcome.scenario.name, *outcome.notes])
    return f"| {name} | {statuses} | {slowest} | {outcome.slowest_right_s:.2f} s | {back} |"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="scenarios whose name holds this; prints, and writes nothing")
    parser.add_argument("--timeout-ms", type=int, default=1000, help="--store-timeout-ms of the server")
    arguments = parser.parse_args()
    chosen = [scenario for scenario in SCENARIOS if arguments.only in scenario.name]
    attempts = play_all(chosen, arguments.timeout_ms / 1000, at_once=2)
    print("\n".join(starved), file=sys.stderr)
    lines = ["| fault | answers | slowest error | slowest 200 | last error after |", "|---|---|---|---|---|"]
    wrong = False
    for scenario, attempt in zip(chosen, attempts, strict=True):
        if isinstance(attempt.outcome, Outcome):
            lines.append(row(attempt.outcome))
        for promise in attempt.wrong:
            print(f"{scenario.name}: {promise}", file=sys.stderr)
            wrong = True
    print("\n".join(lines))
    if wrong:
        return 1
    if not arguments.only:
        page = Path(__file__).resolve().parent.parent / "docs" / "reliability.md"
        text = page.read_text()
        head, _, rest = text.partition(BEGIN)
        _, _, tail = rest.partition(END)
        page.write_text("\n".join([head + BEGIN, *lines, END + tail]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
