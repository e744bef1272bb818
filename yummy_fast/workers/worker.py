"""What a child of the supervisor is, from the fork to its end: a worker, or the process of the admin listener.

A worker serves as a server without a supervisor does (`server.app.serve`). Beside that, the threads of its channel send
a report each second and obey the supervisor, also while the event loop is stuck. It stops when the supervisor says so,
or is gone; signals that a terminal or systemd sends to all processes at once are the supervisor's to judge.

The admin listener has a process to itself because it has threads, and the supervisor must have none: it forks. It
requests what it shows when a client asks for it, and waits ANSWER_S at most.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import uvloop

from yummy_fast.config.settings import Config
from yummy_fast.errors import ConfigError, RegistryError
from yummy_fast.http.accept import ConnectionBalance
from yummy_fast.server.app import ProcessContext, admin_listener, serve
from yummy_fast.server.drain import Stop, longest_drain_s
from yummy_fast.server.health import RELOAD_TIMEOUT_S, ProbeResult, Reloaded, ServerHealth, no_outcome
from yummy_fast.telemetry.exposition import Snapshot
from yummy_fast.telemetry.logs import stderr_logs
from yummy_fast.workers.channel import ChildEnd, Message, NoReplyError

logger = logging.getLogger("yummy_fast")

ANSWER_S = 2.0
"""How long the supervisor may take to answer from what it has at hand."""
POLL_S = 0.05
"""Between two looks at how far a reload is."""
AT_AFTER_S = 1.0
"""A loop that has not turned for this long is reported with the line that it is at."""


def run_worker(
    config: Config,
    connection: socket.socket,
    sockets: Sequence[socket.socket],
    balance: ConnectionBalance,
    slot: int,
) -> int:
    """Serve until the supervisor says to stop; the exit code. In a process just forked, with all signals blocked."""
    _begin(f"worker {slot + 1}", ignored=[signal.SIGINT, signal.SIGHUP, signal.SIGUSR2])
    end = ChildEnd(connection)
    worker = _Worker(config, end)
    code = _run(end, lambda: uvloop.run(worker.serve(sockets, balance, slot)))
    if code == 0:
        end.finish("final_metrics", metrics=worker.metrics())
    return code


def run_admin(config: Config, connection: socket.socket, data_url: str) -> int:
    """Answer on the admin listener until the supervisor says to stop; the exit code. `data_url`: of the workers."""
    _begin("admin", ignored=[signal.SIGINT, signal.SIGHUP, signal.SIGUSR2, signal.SIGTERM])
    end = ChildEnd(connection)
    done = threading.Event()
    end.start({"stop": done.set}, on_eof=done.set)

    def listen() -> None:
        with admin_listener(config, SupervisorHealth(end), lambda: None, lambda: data_url):
            end.notify("ready")
            done.wait()

    return _run(end, listen)


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
    for log in stderr_logs():
        log.forget_queued()
        log.use_thread()


def _run(end: ChildEnd, work: Callable[[], None]) -> int:
    """Do the work; the exit code."""
    try:
        work()
    except (ConfigError, RegistryError) as error:
        end.finish("failed", error=str(error))  # the supervisor says it, once for all workers
        return 2
    except Exception:
        logger.exception("ended by a server bug")
        return 1
    return 0


class _Worker:
    """One worker: what it serves with, what it reports, and what the supervisor's commands do."""

    def __init__(self, config: Config, end: ChildEnd) -> None:
        self._config = config
        self._end = end
        self._health = ServerHealth(config.repository, config.store)
        self._is_serving = threading.Event()
        self._reloads = 0
        """How many of the supervisor's reloads have been done, well or not."""
        self._reload_error = ""

    async def serve(self, sockets: Sequence[socket.socket], balance: ConnectionBalance, slot: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._health.beat()
        self._context = ProcessContext(
            stop=Stop(),
            snapshots=self._snapshots_of_all,
            # Whoever stops one worker gets it replaced: systemd, which stops all processes, stops the supervisor too.
            signals={signal.SIGTERM: partial(self._end.notify, "retire")},
            sockets=sockets,
            balance=balance,
            slot=slot,
        )
        commands: dict[str, Callable[[], None]] = {
            "unready": self._health.unready,
            "drain": partial(self._leave, is_last=False),
            "stop": partial(self._leave, is_last=True),
            "reload": self._reload,
        }
        self._end.start(commands, self._orphaned, self._report)
        await serve(self._config, self._health, self._context, self._announce)

    def _announce(self, what: str, urls: Sequence[str]) -> None:
        self._is_serving.set()
        self._end.notify("ready", serves=what, urls=list(urls))
        self._end.report_now()

    # ------------------------------------------------------------------------------------ reports, in a thread

    def _report(self) -> Message:
        """All that the supervisor wants to know."""
        return {
            "event": "report",
            "beat_at": self._health.beat_at,
            "at": _at() if self._health.still_s > AT_AFTER_S else "",
            "ready": self._health.ready(),
            "status": self._health.status(),
            "metrics": self.metrics(),
            "reloads": self._reloads,
            "reload_error": self._reload_error,
        }

    def metrics(self) -> Snapshot:
        return self._health.snapshots()[0]

    def _snapshots_of_all(self) -> list[Snapshot]:
        try:
            found: list[Snapshot] = self._end.request("metrics", ANSWER_S)
        except NoReplyError:
            return self._health.snapshots()  # better than none: the supervisor is gone, and so are the others
        return found

    # ----------------------------------------------------------------------------------- commands, in a thread

    def _leave(self, *, is_last: bool) -> None:
        if not self._is_serving.is_set():
            os._exit(0)  # it may be waiting for a registry, and nothing waits for it
        self._soon(self._drain, is_last)

    def _orphaned(self) -> None:
        if not self._is_serving.is_set():
            os._exit(1)
        logger.error("the supervisor is gone: stopping")
        threading.Timer(longest_drain_s(self._config.drain), os._exit, (1,)).start()
        self._soon(self._drain, True)

    def _drain(self, is_last: bool) -> None:
        self._context.is_last = is_last
        self._context.stop.no_delay.set()
        self._context.stop.requested.set()

    def _reload(self) -> None:
        assert self._health.parts is not None  # noqa: S101  # this command comes after `ready`
        self._soon(self._health.parts.reloader.reload_now, self._reloaded)

    def _reloaded(self, error: str) -> None:
        self._reloads += 1
        self._reload_error = error
        self._end.report_now()

    def _soon(self, call: Callable[..., None], *arguments: Any) -> None:
        with suppress(RuntimeError):  # the loop has ended already
            self._loop.call_soon_threadsafe(call, *arguments)


def _at() -> str:
    """Which line the thread of the event loop is at."""
    frame = sys._current_frames().get(threading.main_thread().ident or 0)
    if frame is None:
        return ""
    return f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno} in {frame.f_code.co_name}"


class SupervisorHealth:
    """The Health of all workers, as the supervisor knows it."""

    def __init__(self, end: ChildEnd) -> None:
        self._end = end

    def _view(self) -> dict[str, Any]:
        view: dict[str, Any] = self._end.request("view", ANSWER_S)
        return view

    def live(self) -> ProbeResult:
        return self._probe("live")

    def ready(self) -> ProbeResult:
        return self._probe("ready")

    def _probe(self, which: str) -> ProbeResult:
        try:
            return ProbeResult(*self._view()[which])
        except NoReplyError as error:
            return ProbeResult(False, [str(error)])

    def status(self) -> dict[str, Any]:
        status: dict[str, Any] = self._view()["status"]
        return status

    def snapshots(self) -> list[Snapshot]:
        found: list[Snapshot] = self._end.request("metrics", ANSWER_S)
        return found

    def reload(self) -> Reloaded:
        """Have all workers reload, and wait for it.

        The supervisor counts the reloads that it sends to each worker, and each worker those that it has done. The
        view requested after the event holds the count that ours has, because the channel keeps the order.
        """
        deadline = time.monotonic() + RELOAD_TIMEOUT_S
        self._end.notify("reload")
        try:
            asked = now = self._view()["reloads"]
            while time.monotonic() < deadline and any(_is_waited_for(asked[name], now.get(name)) for name in asked):
                time.sleep(POLL_S)
                with suppress(NoReplyError):  # it may have a lot to do just now
                    now = self._view()["reloads"]
        except NoReplyError as error:
            return Reloaded(False, {"error": str(error)})
        return _outcome(asked, now)


def _is_waited_for(asked: Mapping[str, Any], now: Mapping[str, Any] | None) -> bool:
    return now is not None and now["done"] < asked["sent"]


def _outcome(asked: Mapping[str, Any], now: Mapping[str, Any]) -> Reloaded:
    """One outcome for all workers: the registry of one, and the error of each by the worker's name."""
    if not asked:
        return Reloaded(False, {"error": "there are no workers"})
    errors = []
    for name in asked:
        if name not in now:
            errors.append(f"{name}: it has ended")
        elif _is_waited_for(asked[name], now[name]):
            errors.append(f"{name}: {no_outcome()}")
        elif now[name]["error"]:
            errors.append(f"{name}: {now[name]['error']}")
    registry = next((now[name]["registry"] for name in asked if name in now), None)
    return Reloaded(not errors, {"registry": registry, **({"error": "; ".join(errors)} if errors else {})})
