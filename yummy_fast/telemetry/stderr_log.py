"""Writes the log to standard error, and never waits for its reader.

A pipe that is not read takes 64 KiB; then a write to it blocks for ever, and stops an event loop that logs. So a line
is written at once only if the kernel takes it at once. Lines that the kernel does not take are queued, up to
MAX_QUEUED_BYTES (access log lines: half of that); while the queue is full, new lines are dropped and counted, and so is
a line that is longer than that. When the queue has been written, one more line says how many are missing, and why. A
thread, which may block, writes the queue; in the supervisor, which forks and therefore has no threads, its loop does,
by calls of `write_queued`. When the process ends, `flush` waits FLUSH_S at most.

Standard error belongs to other processes too (workers, a shell), so it is not made non-blocking. A pipe or a terminal
is opened a second time, as non-blocking; for a socket, each call has a flag. A write to a regular file never fails
because it would block, but on a dead network disk it blocks: in a process with threads, the thread alone writes to
regular files.
"""

from __future__ import annotations

import logging
import os
import select
import socket
import stat
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress

ACCESS = "yummy_fast.access"
"""The logger of the access log, whose lines are dropped before all others."""
MAX_QUEUED_BYTES = 1 << 20
"""Limit of the queue. Its half holds some 3,500 lines of the access log. nginx buffers 64 KB, and blocks beyond."""
FLUSH_S = 1.0
"""How long, at most, a process that ends waits for its last lines to be written."""
PIPE_BUF = 4096
"""A pipe takes up to so many bytes whole or not at all (pipe(7)): such lines of several processes do not mix."""
_LINE_BYTES = 64
"""What a queued line takes in memory beside its text."""

_NOT_READ = "standard error was not read"
_FAILED = "standard error could not be written"
_TOO_LONG = "longer than the log's queue"

Write = Callable[[bytes], int]
"""Writes what the kernel takes at once, and returns how many bytes. Raises BlockingIOError for none, and OSError."""


class StderrLog(logging.Handler):
    """The handler of the root logger."""

    def __init__(self, descriptor: int = 2) -> None:
        super().__init__()
        self.dropped = 0
        """Lines that were not written: standard error was not read in time, the write failed, or they were too long."""
        self._descriptor = descriptor
        self._changed = threading.Condition()
        self._lines: deque[bytes] = deque()
        """What is to be written. Of the first line, the kernel may have taken a part; it is cut off here."""
        self._queued_bytes = 0
        self._unsaid: dict[str, int] = {}
        """Why lines were dropped -> how many of them are not yet in a line that says so."""
        self._may_start_thread = False
        self._thread: threading.Thread | None = None
        self._socket: socket.socket | None = None
        self._opened: int | None = None
        self._write_at_once = self._non_blocking_write()

    def use_thread(self) -> None:
        """From now on, a thread writes what is queued. It is started when there is something."""
        with self._changed:
            self._may_start_thread = True
            if self._queued_bytes:
                self._wake_thread()

    def forget_queued(self) -> None:
        """Forget what is queued: this process was forked, and its parent writes those lines."""
        self._changed = threading.Condition()
        self._lines.clear()
        self._unsaid.clear()
        self._queued_bytes = self.dropped = 0

    @property
    def has_queued(self) -> bool:
        """Whether lines wait to be written."""
        return self._queued_bytes > 0

    def emit(self, record: logging.LogRecord) -> None:
        line = self._text(record)
        limit = MAX_QUEUED_BYTES // 2 if record.name == ACCESS else MAX_QUEUED_BYTES
        with self._changed:
            was_empty = not self._queued_bytes
            if self._queued_bytes + len(line) + _LINE_BYTES <= limit:
                self._put(line)
            else:
                self._drop(1, _TOO_LONG if len(line) + _LINE_BYTES > limit else _NOT_READ)
                if not was_empty:  # the line that says so comes when all has been written
                    return
                self._put_missing()
            if was_empty and (self._write_at_once is not None or not self._may_start_thread):
                self._write_what_fits()
            if self._queued_bytes and self._may_start_thread:
                self._wake_thread()

    def write_queued(self) -> None:
        """Write as much of the queue as the kernel takes at once. For a process whose loop writes, and not a thread."""
        with self._changed:
            if self._thread is None:
                self._write_what_fits()

    def flush(self) -> None:
        """Wait until all is written, FLUSH_S at most. `logging.shutdown` calls this when the process ends."""
        deadline = time.monotonic() + FLUSH_S
        with self._changed:
            while self._queued_bytes and (left_s := deadline - time.monotonic()) > 0:
                if self._thread is not None:
                    self._changed.wait(left_s)
                elif is_writable(self._descriptor, left_s):
                    self._write_what_fits()

    def close(self) -> None:
        with self._changed:
            self._write_at_once = None
            if self._socket is not None:
                self._socket.close()
            if self._opened is not None:
                os.close(self._opened)
            self._socket = self._opened = None
        super().close()

    # ------------------------------------------------------------------------------------------------- the queue

    def _text(self, record: logging.LogRecord) -> bytes:
        try:
            text = self.format(record)
        except Exception as error:
            text = self.format(self._record(f"a line of the log is missing, {error!r}: {record.msg!r}"))
        return text.encode("utf-8", "backslashreplace") + b"\n"

    def _record(self, message: str) -> logging.LogRecord:
        record = logging.LogRecord("yummy_fast", logging.WARNING, __file__, 0, message, None, None)
        self.filter(record)  # which puts a worker's name into it
        return record

    def _put(self, line: bytes) -> None:
        self._lines.append(line)
        self._queued_bytes += len(line) + _LINE_BYTES

    def _drop(self, lines: int, why: str) -> None:
        self.dropped += lines
        self._unsaid[why] = self._unsaid.get(why, 0) + lines

    def _put_missing(self) -> None:
        """Queue a line for each reason why lines are missing."""
        for why, missing in self._unsaid.items():
            lines = "1 line of the log is" if missing == 1 else f"{missing} lines of the log are"
            self._put(self._text(self._record(f"{lines} missing here: {why}")))
        self._unsaid.clear()

    def _next(self) -> tuple[bytes, int]:
        """What to write next, and how many lines that is: as many as a pipe takes whole."""
        lines: list[bytes] = []
        size = 0
        for line in self._lines:
            size += len(line)
            if lines and size > PIPE_BUF:
                break
            lines.append(line)
        return b"".join(lines), len(lines)

    def _written(self, size: int) -> None:
        """`size` bytes of what `_next` has returned are written."""
        while size and size >= len(self._lines[0]):
            size -= self._pop()
        if size:  # the kernel took only a part of a line
            self._lines[0] = self._lines[0][size:]
            self._queued_bytes -= size
        if not self._lines:
            self._put_missing()

    def _failed(self, lines: int) -> None:
        """What `_next` has returned cannot be written: standard error has no reader any more, or the disk is full."""
        for _ in range(lines):
            self._pop()
        self._drop(lines, _FAILED)

    def _pop(self) -> int:
        """Remove the first line. Returns its length."""
        size = len(self._lines.popleft())
        self._queued_bytes -= size + _LINE_BYTES
        return size

    def _write_what_fits(self) -> None:
        while self._queued_bytes:
            data, lines = self._next()
            try:
                self._written(self._write_without_thread(data))
            except BlockingIOError:
                return
            except OSError:
                self._failed(lines)

    # ------------------------------------------------------------------------------------------------- the thread

    def _wake_thread(self) -> None:
        if self._thread is not None:
            self._changed.notify_all()
            return
        with suppress(RuntimeError):  # the process is ending, or may have no more threads
            thread = threading.Thread(target=self._run, name="log", daemon=True)
            self._thread = thread
            try:
                thread.start()
            except RuntimeError:
                self._thread = None
                raise

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._queued_bytes:
                    self._changed.notify_all()  # `flush` waits for this
                    self._changed.wait()
                data, lines = self._next()
            try:
                size = os.write(self._descriptor, data)
            except BlockingIOError:  # another process made the descriptor non-blocking
                is_writable(self._descriptor, 1.0)
            except OSError:
                with self._changed:
                    self._failed(lines)
            else:
                with self._changed:
                    self._written(size)

    # ------------------------------------------------------------------------------------------ the descriptor

    def _non_blocking_write(self) -> Write | None:
        """A function that writes to the descriptor and never blocks; None if there can be none."""
        try:
            mode = os.fstat(self._descriptor).st_mode
            if stat.S_ISSOCK(mode):
                self._socket = connected = socket.socket(fileno=os.dup(self._descriptor))
                return lambda data: connected.send(data, socket.MSG_DONTWAIT)
            if sys.platform == "linux" and not stat.S_ISREG(mode):
                flags = os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
                self._opened = opened = os.open(f"/proc/self/fd/{self._descriptor}", flags)
                return lambda data: os.write(opened, data)
        except OSError:
            pass  # the pipe is another user's, or has no reader any more
        return None

    def _write_without_thread(self, data: bytes) -> int:
        if self._write_at_once is not None:
            return self._write_at_once(data)
        if not is_writable(self._descriptor, 0):
            raise BlockingIOError
        # A pipe that is writable takes PIPE_BUF bytes, unless another process was faster.
        return os.write(self._descriptor, data[:PIPE_BUF])


def is_writable(descriptor: int, timeout_s: float) -> bool:
    """Whether a short write does not block, now or within `timeout_s`."""
    poll = select.poll()
    poll.register(descriptor, select.POLLOUT)
    return bool(poll.poll(timeout_s * 1000))
