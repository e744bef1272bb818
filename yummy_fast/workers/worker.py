"""What a child of the supervisor is, from the fork to its end: a worker, or the process of the admin listener.

A worker serves as a server without a supervisor does (`server.serve`). Beside that, a thread answers the supervisor,
also while the event loop is stuck. It stops when the supervisor says so, or is gone; signals that a terminal or systemd
sends to all processes at once are the supervisor's to judge.

The admin listener has a process to itself because it has threads, and the supervisor must have none: it forks.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import uvloop

from yummy_fast.config.settings import Admin, Config
from yummy_fast.errors import ConfigError, RegistryError
from yummy_fast.http.accept import ConnectionBalance
from yummy_fast.server.app import WorkerContext, admin_listener, serve
from yummy_fast.server.drain import Stop
from yummy_fast.server.health import RELOAD_TIMEOUT_S, ProbeResult, Reloaded, ServerHealth
from yummy_fast.telemetry.exposition import Snapshot
from yummy_fast.workers.channel import ChildEnd, ControlError, Message

logger = logging.getLogger("yummy_fast")

ANSWER_S = 2.0
"""How long the supervisor may take to answer from what it has at hand."""
OVERDUE_S = 3.0
"""How much longer than it may a drain takes before it is ended by force."""


def run_worker(
    config: Config,
    number: int,
    connection: socket.socket,
    sockets: Sequence[socket.socket],
    balance: ConnectionBalance,
    place: int,
) -> int:
    """Serve until the supervisor says to stop; the exit code. In a process just forked, with all signals blocked."""
    _begin(f"worker {number}", [signal.SIGINT, signal.SIGHUP, signal.SIGUSR2])
    process = ServerHealth(config.repository, config.store)
    return _to_its_end(connection, lambda: uvloop.run(_work(config, process, connection, sockets, balance, place)))


async def _work(
    config: Config,
    process: ServerHealth,
    connection: socket.socket,
    sockets: Sequence[socket.socket],
    balance: ConnectionBalance,
    place: int,
) -> None:
    loop = asyncio.get_running_loop()
    process.beat()
    stop = Stop()
    serving = threading.Event()

    def drain(is_last: bool) -> None:
        context.is_last = is_last
        stop.no_delay.set()
        stop.requested.set()

    def leave(message: Message) -> None:
        if not serving.is_set():
            os._exit(0)  # it may be waiting for a registry; nobody waits for it
        _soon(loop, drain, message["last"])

    def lost() -> None:
        if not serving.is_set():
            os._exit(1)
        logger.error("the supervisor is gone: stopping")
        overdue_s = config.drain.idle_s + config.drain.timeout_s + OVERDUE_S
        threading.Timer(overdue_s, os._exit, (1,)).start()
        loop.call_soon_threadsafe(drain, True)

    end = ChildEnd(
        connection,
        {"report": partial(report, process), "reload": process.reload},
        {
            "unready": lambda _: setattr(process, "draining", True),
            "drain": leave,
        },
        lost,
        slow=("reload",),
    )

    def announce(what: str, urls: Sequence[str]) -> None:
        serving.set()
        end.tell("ready", serves=what, urls=list(urls))

    # Whoever stops one worker gets it replaced: systemd, which stops all processes, stops the supervisor as well.
    signals: dict[signal.Signals, Callable[[], None]] = {signal.SIGTERM: partial(end.tell, "tired")}
    context = WorkerContext(stop, _WorkerHealth(process, end), signals, sockets, balance, place)
    end.start()
    await serve(config, process, context, announce)
    end.tell("last", metrics=process.snapshots()[0])


def report(process: ServerHealth) -> Message:
    """All that the supervisor wants to know once a second."""
    still_s = process.still_s
    return {
        "still_s": still_s,
        "where": _where() if still_s > 1 else "",
        "live": process.live(),
        "ready": process.ready(),
        "status": process.status(),
        "metrics": process.snapshots()[0],
    }


def _where() -> str:
    """What the thread of the event loop is at."""
    frame = sys._current_frames().get(threading.main_thread().ident or 0)
    if frame is None:
        return ""
    return f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno} in {frame.f_code.co_name}"


def run_admin(options: Admin, connection: socket.socket) -> int:
    """Answer on the admin listener until the supervisor says to stop; the exit code."""
    _begin("admin", [signal.SIGINT, signal.SIGHUP, signal.SIGUSR2, signal.SIGTERM])
    done = threading.Event()
    end = ChildEnd(connection, {}, {"stop": lambda _: done.set(), "unready": lambda _: None}, done.set)

    def listen() -> None:
        end.start()
        with admin_listener(options, _SupervisorHealth(end)):
            end.tell("ready")
            done.wait()

    return _to_its_end(connection, listen)


def _begin(name: str, ignored: Sequence[signal.Signals]) -> None:
    """From the supervisor's signals to our own, and our name into the log."""
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGTERM, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    for number in ignored:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])

    def sign(record: logging.LogRecord) -> bool:
        record.msg = f"{name}: {record.msg}"
        return True

    for handler in logging.getLogger().handlers:
        handler.addFilter(sign)


def _to_its_end(connection: socket.socket, work: Callable[[], None]) -> int:
    try:
        work()
    except (ConfigError, RegistryError) as error:
        # The supervisor says it, once for all of us.
        ChildEnd(connection, {}, {}, lambda: None).tell("failed", error=str(error))
        return 2
    except Exception:
        logger.exception("ended by a bug of ours")
        return 1
    return 0


def _soon(loop: asyncio.AbstractEventLoop, call: Callable[..., None], *arguments: Any) -> None:
    with suppress(RuntimeError):  # the loop has ended already
        loop.call_soon_threadsafe(call, *arguments)


class _SupervisorHealth:
    """The Health of all workers, as the supervisor tells it."""

    def __init__(self, end: ChildEnd) -> None:
        self._end = end

    def live(self) -> ProbeResult:
        return self._verdict("live")

    def ready(self) -> ProbeResult:
        return self._verdict("ready")

    def _verdict(self, which: str) -> ProbeResult:
        try:
            return ProbeResult(*self._end.ask(which, ANSWER_S))
        except ControlError as error:
            return ProbeResult(False, [str(error)])

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = self._end.ask("status", ANSWER_S)
        return found

    def snapshots(self) -> list[Snapshot]:
        found: list[Snapshot] = self._end.ask("snapshots", ANSWER_S)
        return found

    def reload(self) -> Reloaded:
        try:
            return Reloaded(*self._end.ask("reload", RELOAD_TIMEOUT_S + ANSWER_S))
        except ControlError as error:
            return Reloaded(False, {"error": str(error)})


class _WorkerHealth:
    """What a worker's data port shows: whether this one is well, and the metrics of all."""

    def __init__(self, process: ServerHealth, end: ChildEnd) -> None:
        self.live = process.live
        self.ready = process.ready
        self.status = process.status
        self.reload = process.reload
        self._process = process
        self._all = _SupervisorHealth(end)

    def snapshots(self) -> list[Snapshot]:
        try:
            return self._all.snapshots()
        except ControlError:
            return self._process.snapshots()  # better than none: the supervisor is gone, and so are the others
