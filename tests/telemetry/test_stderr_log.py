"""A log whose reader is slow, or gone. Whole servers with such a standard error are in tests/system/test_logs.py."""

from __future__ import annotations

import fcntl
import logging
import os
import socket
import threading
import time
import tty
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.harness import PATIENCE_S, eventually
from yummy_fast.telemetry import stderr_log
from yummy_fast.telemetry.stderr_log import ACCESS, FLUSH_S, MAX_QUEUED_BYTES, PIPE_BUF, StderrLog, is_writable

LINE = "x" * 999


class Pipe:
    """A pipe of 64 KiB, whose reading end is read when the test says so."""

    def __init__(self) -> None:
        self.reading, self.writing = os.pipe()
        os.set_blocking(self.reading, False)

    def read(self) -> bytes:
        data = b""
        try:
            while piece := os.read(self.reading, 1 << 16):
                data += piece
        except BlockingIOError:
            pass
        return data


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    pipe = Pipe()
    yield pipe
    for descriptor in (pipe.reading, pipe.writing):
        os.close(descriptor)


def logger_of(log: StderrLog, name: str = "yummy_fast") -> logging.Logger:
    logger = logging.Logger(name)
    logger.addHandler(log)
    return logger


def fill(log: StderrLog, lines: int) -> None:
    """Log lines of 1,000 bytes, in a time in which nothing can have waited."""
    logger, begun = logger_of(log), time.monotonic()

    def write() -> None:
        for number in range(lines):
            logger.info("%04d%s", number, LINE[4:])

    writing = threading.Thread(target=write, daemon=True)
    writing.start()
    writing.join(PATIENCE_S)
    assert not writing.is_alive(), "it waits for the reader"
    assert time.monotonic() - begun < PATIENCE_S


@pytest.fixture(params=["opened anew", "by poll"])
def log(request: pytest.FixtureRequest, pipe: Pipe, monkeypatch: pytest.MonkeyPatch) -> StderrLog:
    if request.param == "by poll":  # as where /proc is missing, or the pipe is another user's
        monkeypatch.setattr(StderrLog, "_non_blocking_write", lambda _: None)
    return StderrLog(pipe.writing)


def test_a_line_is_there_when_the_call_returns(pipe: Pipe, log: StderrLog) -> None:
    logger_of(log).info("one")
    assert pipe.read() == b"one\n"
    assert not log.has_queued


@pytest.mark.parametrize("thread", [False, True])
def test_what_is_not_read_is_queued_then_dropped_counted_and_told(pipe: Pipe, log: StderrLog, thread: bool) -> None:
    if thread:
        log.use_thread()
    fill(log, 3000)
    assert log.has_queued
    assert (MAX_QUEUED_BYTES * 0.9) / 1000 < 3000 - log.dropped < (MAX_QUEUED_BYTES + (1 << 16)) / 1000
    logged = bytearray()

    def all_read() -> bool | None:
        logged.extend(pipe.read())
        log.write_queued()
        return True if b"missing" in logged and not log.has_queued else None

    eventually(all_read, "the rest of the log")
    *lines, last = logged.decode().splitlines()
    assert {len(line) for line in lines} == {999}, "whole lines"
    assert lines == sorted(set(lines)), "in order"
    assert len(lines) == 3000 - log.dropped
    assert last == f"{log.dropped} lines of the log are missing here: standard error was not read"
    logger_of(log).info("as before")
    assert eventually(lambda: pipe.read() or None, "the next line") == b"as before\n"


def test_lines_of_the_access_log_give_way_to_others(pipe: Pipe) -> None:
    log = StderrLog(pipe.writing)
    access = logger_of(log, "yummy_fast.access")
    while not log.dropped:
        access.info(LINE)
    logger_of(log).error("this one counts")
    assert log.dropped == 1
    assert log._lines[-1] == b"this one counts\n"


def test_each_line_of_a_write_that_was_taken_in_part_counts() -> None:
    """A terminal, unlike a pipe, takes a part of a short write, and the rest fails once the terminal is gone."""
    terminal, descriptor = os.openpty()
    tty.setraw(descriptor)
    os.set_blocking(terminal, False)
    log = StderrLog(descriptor)
    logger, lines = logger_of(log), 1000
    for number in range(lines):
        logger.info("%049d", number)
    taken = lines * 50 - sum(map(len, log._lines))
    read = bytearray()

    def all_read() -> bool | None:
        with suppress(BlockingIOError):
            read.extend(os.read(terminal, 1 << 16))
        return len(read) == taken or None

    eventually(all_read, "what the terminal took")
    os.close(terminal)
    log.write_queued()
    assert log.dropped == lines - read.count(b"\n")
    assert not log.has_queued
    log.close()
    os.close(descriptor)


@pytest.mark.parametrize(("name", "limit"), [("yummy_fast", MAX_QUEUED_BYTES), (ACCESS, MAX_QUEUED_BYTES // 2)])
@pytest.mark.parametrize("thread", [False, True])
def test_a_line_that_is_too_long_is_told_at_once(pipe: Pipe, name: str, limit: int, thread: bool) -> None:
    """The pipe is empty, so that standard error is not to blame."""
    log = StderrLog(pipe.writing)
    if thread:
        log.use_thread()
    logger_of(log, name).info("x" * limit)
    assert pipe.read() == b"1 line of the log is missing here: longer than the log's queue\n"
    assert log.dropped == 1
    assert not log.has_queued


def test_each_reason_for_missing_lines_is_told(pipe: Pipe) -> None:
    log = StderrLog(pipe.writing)
    fill(log, 1000)
    logger = logger_of(log)
    dropped = 0
    while not dropped:
        logger.info(LINE)
        dropped = log.dropped
    logger.info(LINE)
    logger.info("x" * MAX_QUEUED_BYTES)
    logged = bytearray()
    while log.has_queued:
        logged += pipe.read()
        log.write_queued()
    logged += pipe.read()
    assert logged.decode().splitlines()[-2:] == [
        "2 lines of the log are missing here: standard error was not read",
        "1 line of the log is missing here: longer than the log's queue",
    ]


@pytest.mark.parametrize("thread", [False, True])
def test_the_end_waits_for_the_reader_but_not_for_ever(pipe: Pipe, log: StderrLog, thread: bool) -> None:
    if thread:
        log.use_thread()
    fill(log, 200)
    begun = time.monotonic()
    log.flush()
    assert FLUSH_S <= time.monotonic() - begun < FLUSH_S + PATIENCE_S
    os.set_blocking(pipe.reading, True)
    read = bytearray()

    def read_all() -> None:
        while len(read) < 200_000:
            read.extend(os.read(pipe.reading, 1 << 16))

    reader = threading.Thread(target=read_all)
    reader.start()
    log.flush()
    reader.join(PATIENCE_S)
    assert len(read) == 200_000
    assert log.dropped == 0


def test_a_socket_as_systemd_gives() -> None:
    near, far = socket.socketpair()
    with near, far:
        log = StderrLog(near.fileno())
        fill(log, 3000)
        assert log.dropped
        assert near.getblocking(), "other processes have it too"
        assert far.recv(4) == b"0000"
        log.close()


def test_the_pipe_of_others_stays_as_it_is(pipe: Pipe) -> None:
    log = StderrLog(pipe.writing)
    fill(log, 100)
    assert not fcntl.fcntl(pipe.writing, fcntl.F_GETFL) & os.O_NONBLOCK


def test_a_reader_that_is_gone_costs_lines_only(log: StderrLog, pipe: Pipe) -> None:
    reading = os.dup(pipe.reading)
    os.close(pipe.reading)
    os.close(reading)
    pipe.reading = os.open(os.devnull, os.O_RDONLY)
    logger_of(log).info("for nobody")
    assert log.dropped == 1
    assert not log.has_queued


def test_a_file_is_written_by_the_thread_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A dead network disk blocks whoever writes."""
    writers: list[str] = []
    write = os.write

    def noted(descriptor: int, data: bytes) -> int:
        writers.append(threading.current_thread().name)
        return write(descriptor, data)

    with (tmp_path / "log").open("wb") as file:
        log = StderrLog(file.fileno())
        log.use_thread()
        monkeypatch.setattr(stderr_log.os, "write", noted)  # type: ignore[attr-defined]
        logger_of(log).info("one")
        log.flush()
    assert (tmp_path / "log").read_bytes() == b"one\n"
    assert writers == ["log"]


def test_a_fork_does_not_write_what_its_parent_has_queued(pipe: Pipe) -> None:
    log = StderrLog(pipe.writing)
    fill(log, 200)
    log.forget_queued()
    assert not log.has_queued
    assert pipe.read()
    log.write_queued()
    assert pipe.read() == b""


def test_a_line_that_cannot_be_formatted_is_told(pipe: Pipe) -> None:
    logger_of(StderrLog(pipe.writing)).info("%d of %s", "no number")
    assert b"a line of the log is missing, TypeError(" in pipe.read()


def test_whether_a_pipe_takes_a_short_line(pipe: Pipe) -> None:
    assert is_writable(pipe.writing, 0)
    os.set_blocking(pipe.writing, False)
    while is_writable(pipe.writing, 0):
        os.write(pipe.writing, bytes(PIPE_BUF))
    assert not is_writable(pipe.writing, 0.01)
