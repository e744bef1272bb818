"""An event loop and a transport without a socket, with the time in the test's hands.

What a `Protocol` of ours does when bytes come, a client leaves or time passes is a matter of calls: `FakeLoop` has
callbacks and timers and no clock of its own (`pass_time` moves it), `FakeTransport` keeps what is written and what was
asked of it. So a deadline can be missed by a millisecond, and a whole conversation costs microseconds. uvicorn has its
protocols tested in this way (MockLoop, MockTransport).

Both are as strict as asyncio's documentation: what asyncio forbids, or would drop silently, fails the test. What
needs a real socket is tested with one: tests/system, tests/http/test_accept.py.
"""

from __future__ import annotations

import asyncio
import gc
import heapq
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import Context
from typing import Any, cast

import pytest


class FakeLoop:
    """Callbacks run when the test says so (`run_ready`), timers when it moves the time (`pass_time`)."""

    def __init__(self) -> None:
        self._now = 1000.0
        self._ready: deque[asyncio.Handle] = deque()
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        self._timers_made = 0
        self.blamed: list[dict[str, Any]] = []
        """What asyncio would have logged: exceptions that were not caught, or never retrieved."""

    @property
    def abstract(self) -> asyncio.AbstractEventLoop:
        """Itself. It has what our protocols and asyncio.Future use, and lacks the other forty methods."""
        return cast("asyncio.AbstractEventLoop", self)

    @contextmanager
    def running(self) -> Iterator[None]:
        """As the loop that `asyncio.get_running_loop` returns."""
        asyncio._set_running_loop(self.abstract)
        try:
            yield
        finally:
            asyncio._set_running_loop(None)

    # What the test does.

    def run_ready(self) -> None:
        """Run the callbacks that wait, and those that they ask for."""
        while self._ready:
            handle = self._ready.popleft()
            if not handle.cancelled():
                handle._run()

    def run_once(self) -> None:
        """One turn: the callbacks that wait now, and not those that they ask for."""
        for _ in range(len(self._ready)):
            handle = self._ready.popleft()
            if not handle.cancelled():
                handle._run()

    @property
    def idle(self) -> bool:
        """Whether no callback waits."""
        return not self._ready

    def pass_time(self, seconds: float) -> None:
        """Let time pass, with all timers at their times."""
        self.run_ready()
        end = self._now + seconds
        while self._timers and self._timers[0][0] <= end:
            when, _, handle = heapq.heappop(self._timers)
            self._now = max(self._now, when)
            if not handle.cancelled():
                handle._run()
                self.run_ready()
        self._now = end

    def be_busy(self, seconds: float) -> None:
        """Let time pass while the loop does something else: what is due comes late."""
        self._now += seconds

    @property
    def timers(self) -> list[float]:
        """When something is to happen, in seconds from now."""
        return sorted(when - self._now for when, _, handle in self._timers if not handle.cancelled())

    # What the code under test calls.

    def time(self) -> float:
        return self._now

    def get_debug(self) -> bool:
        return False

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self.abstract)

    def call_soon(self, callback: Callable[..., object], *args: Any, context: Context | None = None) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self.abstract, context)
        self._ready.append(handle)
        return handle

    def call_later(
        self, delay: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        return self.call_at(self._now + delay, callback, *args, context=context)

    def call_at(
        self, when: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        handle = asyncio.TimerHandle(when, callback, args, self.abstract, context)
        self._timers_made += 1
        heapq.heappush(self._timers, (when, self._timers_made, handle))
        return handle

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        pass

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        self.blamed.append(context)


@contextmanager
def without_complaints() -> Iterator[None]:
    """Fail if a loop that is made in the block has something to complain of, such as an exception in a callback."""
    made: list[FakeLoop] = []
    original = FakeLoop.__init__

    def remembered(loop: FakeLoop) -> None:
        original(loop)
        made.append(loop)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FakeLoop, "__init__", remembered)
        yield
    gc.collect(1)  # a Future whose exception was never retrieved says so when it is freed
    for loop in made:
        assert loop.blamed == []


class FakeTransport(asyncio.Transport):
    """A connection whose other side is the test: `received` is what came there, `client_reads` whether it reads."""

    HIGH, LOW = 64 << 10, 16 << 10
    """Bytes unsent from which the protocol is paused, and to which it is resumed. asyncio's defaults."""

    def __init__(self, loop: FakeLoop, *, tls: bool = False, extra: Mapping[str, object] | None = None) -> None:
        super().__init__({"sslcontext": self} | dict(extra or {}) if tls else dict(extra or {}))
        self._loop = loop
        self._tls = tls
        self._protocol: Any = None
        self._paused = False
        self._lost = False
        self._unsent = bytearray()
        self.received = bytearray()
        self.writes: list[bytes] = []
        """Each call of write or writelines."""
        self.gathered: list[int] = []
        """Of writelines: how many pieces there were."""
        self.client_reads = True
        self.pauses_in_write = False
        """Each write pauses and resumes the protocol before it returns, as when the kernel takes the rest at once."""
        self.closing = self.aborted = self.eof_written = False
        self.reading = True
        self.waits_to_close = False
        """After close(), the connection is not lost until abort(): over TLS, the other side has to close as well."""
        self.limits: int | None = None

    # What the test does.

    def connect(self, protocol: asyncio.BaseProtocol) -> None:
        """Call `connection_made`, as a loop does that has accepted a connection."""
        self._protocol = protocol
        protocol.connection_made(self)

    def receive(self, data: bytes) -> None:
        """Have the protocol read `data`."""
        assert self.reading, "what has paused reading gets no bytes"
        assert not self._lost
        if not self.closing:
            self._protocol.data_received(data)

    def receive_eof(self) -> None:
        """The other side has sent all it will."""
        assert self.reading, "what has paused reading does not see an end"
        if not self._protocol.eof_received():
            self.close()

    def read_all(self) -> None:
        """The other side reads what lies there, and goes on reading."""
        self.client_reads = True
        self._drain(0)

    def read_down_to(self, left: int) -> None:
        """The other side reads all but the last `left` bytes, and no more."""
        self._drain(left)

    def lose(self, error: Exception | None = None) -> None:
        """The connection has ended: the other side reset it, or (None) closed it."""
        self.closing = True
        self._lose(error)

    def _drain(self, left: int) -> None:
        size = max(len(self._unsent) - left, 0)
        self.received += self._unsent[:size]
        del self._unsent[:size]
        if self._paused and len(self._unsent) <= self.LOW:
            self._paused = False
            self._protocol.resume_writing()
        if self.closing and not self._unsent:
            self._loop.call_soon(self._lose, None)

    def _lose(self, error: Exception | None) -> None:
        if not self._lost:
            self._lost = True
            protocol, self._protocol = self._protocol, None  # as asyncio does: else they would hold each other
            protocol.connection_lost(error)

    # What the code under test calls.

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        assert not self.closing, "asyncio drops what is written after close() or abort()"
        assert not self.eof_written, "nothing can be written after write_eof()"
        self.writes.append(bytes(data))
        if self.pauses_in_write:
            self._protocol.pause_writing()
            self._protocol.resume_writing()
        if self.client_reads:
            self.received += data
            return
        self._unsent += data
        if len(self._unsent) > self.HIGH and not self._paused:
            self._paused = True
            self._protocol.pause_writing()

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview[Any]]) -> None:
        pieces = list(list_of_data)
        self.gathered.append(len(pieces))
        self.write(b"".join(pieces))

    def get_write_buffer_size(self) -> int:
        return len(self._unsent)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self.limits = high

    def can_write_eof(self) -> bool:
        return not self._tls

    def write_eof(self) -> None:
        assert not self._tls
        self.eof_written = True

    def is_closing(self) -> bool:
        return self.closing

    def close(self) -> None:
        if not self.closing:
            self.closing = True
            self.reading = False
            if not self._unsent and not self.waits_to_close:
                self._loop.call_soon(self._lose, None)

    def abort(self) -> None:
        self.closing = self.aborted = True
        self.reading = False
        self._unsent.clear()
        self._loop.call_soon(self._lose, None)

    def is_reading(self) -> bool:
        return self.reading

    def pause_reading(self) -> None:
        assert not self.closing
        assert self.reading, "paused twice"
        self.reading = False

    def resume_reading(self) -> None:
        assert not self.closing
        self.reading = True

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._protocol = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        protocol: asyncio.BaseProtocol = self._protocol
        return protocol
