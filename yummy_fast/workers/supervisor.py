"""N worker processes on one address: start, watch, replace, reload, stop.

The supervisor makes the listening sockets, forks the workers, and serves nothing itself. Workers are forked and not
started anew, because they share what was imported before: one costs 10 MB and not 30. What forks must have no threads
(they would hold locks in the child for ever), so there are none here: one loop waits for signals, children and the
clock, and never for anything else. It never reads the registry either: what some libraries start for that are threads.

    SIGTERM, SIGINT   not ready any more; after --drain-delay all workers drain, and it ends with 0. Again: at once
    SIGHUP            all workers read registry, TLS files and tokens anew
    SIGUSR2           a rolling restart: one worker after the other gets a successor, and drains once that one serves

A worker that ends without being asked to is replaced, and so is one whose event loop does not turn any more, that does
not come to serving, or that has grown too large. Where new ones die at once, each next one waits longer; MAX_FAILURES
such deaths while none is left that serves are the end (exit code 3). How workers are seen from outside: `fleet`.
"""

from __future__ import annotations

import gc
import logging
import os
import selectors
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import NoReturn

from yummy_fast.config.settings import Config
from yummy_fast.errors import ConfigError
from yummy_fast.http.accept import ConnectionBalance
from yummy_fast.http.listeners import close_sockets, open_sockets, refuse_new
from yummy_fast.server.app import import_spans, open_store
from yummy_fast.workers.channel import Message, ParentEnd
from yummy_fast.workers.child import Child, Fleet
from yummy_fast.workers.worker import OVERDUE_S, run_admin, run_worker

logger = logging.getLogger("yummy_fast")

TICK_S = 1.0
"""How often workers are asked how they are."""
PAUSE_S = 5.0
"""A supervisor that was itself away for so long (stopped, or a machine that slept) blames no worker."""
START_S = 180.0
"""Who does not serve by then is taken for stuck. To ask a registry that gives no answer ends earlier, by itself."""
STEADY_S = 5.0
"""Who has lived for so long did not fail to start."""
BACKOFF_FIRST_S = 0.25
BACKOFF_LAST_S = 10.0
MAX_FAILURES = 5
"""Instant deaths, and starts that came to nothing, in a row, with pauses that double: four seconds. As systemd's
StartLimitBurst."""
GIVEN_UP = 3
"""The exit code then. As gunicorn's, when workers fail to boot."""

_STOPS = (signal.SIGTERM, signal.SIGINT)
_SIGNALS = (*_STOPS, signal.SIGHUP, signal.SIGUSR2, signal.SIGCHLD)


def run(config: Config) -> int:
    """Serve with several workers until told to stop; the exit code. Raises ConfigError."""
    open_store(config)  # imported here, its modules are shared
    if config.telemetry.otel:
        import_spans()
    sockets = open_sockets(config.address)
    try:
        return Supervisor(config, sockets).run()
    finally:
        close_sockets(sockets)


def count_workers(asked: int) -> int:
    """--workers: -1 is twice the CPUs and one, as Feast, but of those CPUs that this process may use."""
    if asked > 0:
        return asked
    affinity = getattr(os, "sched_getaffinity", None)
    return 2 * (len(affinity(0)) if affinity is not None else os.cpu_count() or 1) + 1


class Supervisor:
    """The loop and what it decides. Time is time.monotonic()."""

    def __init__(self, config: Config, sockets: Sequence[socket.socket]) -> None:
        self._config = config
        self._sockets = sockets
        self._wanted = count_workers(config.workers.count)
        # In a rolling restart there is one more for a while, and of those that drain, a few.
        self._places = list(range(2 * self._wanted + 2))
        self._balance = ConnectionBalance(len(self._places))
        self.fleet = Fleet(config.repository, self._wanted)
        self._selector = selectors.DefaultSelector()
        self._wakeup, self._woken = socket.socketpair()
        self._old: list[Child] = []
        """Workers that wait for a successor."""
        self._failures = 0
        self._failed_at = 0.0
        self._failed_by = ""
        self._start_at = 0.0
        """No child is started before."""
        self._serving = False
        """Whether all workers have once served."""
        self._drain_at = 0.0
        self._drained = False
        self._ticked_at = time.monotonic()
        self._exit: int | None = None
        self._fatal = ""

    def run(self) -> int:
        """Until told to stop, or to no avail; the exit code. Raises ConfigError for what no worker can start with."""
        self._take_signals()
        gc.collect()
        gc.freeze()  # what there is now is shared: the collector need not touch it
        try:
            while self._exit is None:
                now = time.monotonic()
                self._advance(now)
                for key, _ in self._selector.select(self._select_timeout_s(now)):
                    key.data()
        finally:
            self._kill_all()
        if self._fatal:
            raise ConfigError(self._fatal)
        if self._exit == GIVEN_UP:
            logger.error("giving up after %d starts that failed, the last one: %s", self._failures, self._failed_by)
        return self._exit

    # ------------------------------------------------------------------------------------------------- the loop

    def _take_signals(self) -> None:
        for each in (self._wakeup, self._woken):
            each.setblocking(False)
        signal.set_wakeup_fd(self._woken.fileno(), warn_on_full_buffer=False)
        for number in _SIGNALS:
            signal.signal(number, lambda *_: None)  # the number comes out of the socket
        self._selector.register(self._wakeup, selectors.EVENT_READ, self._signalled)

    def _signalled(self) -> None:
        for number in self._wakeup.recv(4096):
            if number in _STOPS:
                self._stop()
            elif number == signal.SIGHUP:
                self._reload()
            elif number == signal.SIGUSR2:
                self._restart_all()
            elif number == signal.SIGCHLD:
                self._reap()

    def _select_timeout_s(self, now: float) -> float:
        due = [self._ticked_at + TICK_S, *(child.kill_at for child in self.fleet.children)]
        if self._start_at > now:
            due.append(self._start_at)
        if self.fleet.stopping and not self._drained:
            due.append(self._drain_at)
        return max(0.0, min(due) - now)

    def _advance(self, now: float) -> None:
        """Everything whose time has come."""
        if now - self._ticked_at >= TICK_S:
            self._tick(now)
        for child in self.fleet.children:
            if child.kill_at <= now:
                self._kill(child, "it has not ended in time")
        if self.fleet.stopping:
            self._go_on_stopping(now)
        elif now >= self._start_at:
            self._fill_up()
            self._go_on_restarting()
        for child in self.fleet.children:
            if child.deaf:
                continue
            events = selectors.EVENT_READ | (selectors.EVENT_WRITE if child.end.wants_to_send else 0)
            if self._selector.get_key(child.end.connection).events != events:
                self._selector.modify(child.end.connection, events, partial(self._heard, child))

    def _tick(self, now: float) -> None:
        away_s = now - self._ticked_at
        self._ticked_at = now
        self._reap()
        for worker in self.fleet.workers:
            if away_s > PAUSE_S:
                worker.turned_at = now
                worker.born_at += away_s
            if not worker.ready_at:
                self._wait_for_start(worker, now - worker.born_at)
                continue
            self.fleet.ask_for_report(worker)
            still_s = now - worker.turned_at
            if 0 < self._config.workers.timeout_s < still_s and worker.kill_at == float("inf"):
                self._kill(worker, f"its event loop has not turned for {still_s:.0f} s{worker.where}")
            elif now - worker.born_at > STEADY_S:
                if self._failed_at < worker.born_at:
                    self._failures = 0
                self._weigh(worker)

    def _wait_for_start(self, worker: Child, age_s: float) -> None:
        if age_s > START_S / 2:
            self.fleet.ask_for_report(worker)  # it will tell what it is at
        if age_s < START_S or worker.kill_at < float("inf") or worker.doomed:
            return
        why = f"it does not serve after {START_S:g} s{worker.where}"
        if self._serving:
            self._kill(worker, why)
        else:
            self._fatal = f"{worker}: {why}"
            self._exit = 2

    def _weigh(self, worker: Child) -> None:
        limit_mb = self._config.workers.max_rss_mb
        if not limit_mb or worker.leaving or worker in self._old or self.fleet.stopping:
            return
        rss_mb = worker.rss_bytes() >> 20
        if rss_mb > limit_mb:
            logger.warning("%s has %d MB of resident memory, above --worker-max-rss-mb: replacing it", worker, rss_mb)
            self._old.append(worker)

    # ------------------------------------------------------------------------------------------- starting

    def _fill_up(self) -> None:
        """Start what is missing."""
        present = [worker for worker in self.fleet.workers if not worker.leaving and worker.replaces is None]
        for _ in range(self._wanted - len(present)):
            if self._start_worker() is None:
                return  # those after it would fail as well
        if self._config.admin.address and self.fleet.admin is None:
            self._start("admin", 0, lambda connection: run_admin(self._config.admin, connection))

    def _start_worker(self, replaces: Child | None = None) -> Child | None:
        """The worker, which has not begun to serve; None if there can be none now."""
        if not self._places:
            return None  # too many that do not end; they will be killed
        place = self._places.pop(0)

        def be(connection: socket.socket) -> int:
            # Made anew, they do not know the file of a Unix socket, which is not a worker's to remove.
            sockets = [type(listening)(fileno=listening.detach()) for listening in self._sockets]
            return run_worker(self._config, place + 1, connection, sockets, self._balance, place)

        child = self._start("worker", place, be)
        if child is None:
            self._places.append(place)
        else:
            child.replaces = replaces
        return child

    def _start(self, kind: str, place: int, be: Callable[[socket.socket], int]) -> Child | None:
        try:
            ours, theirs = socket.socketpair()
        except OSError as error:
            self._cannot_start(kind, error)
            return None
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        # Until the child has handlers of its own, a signal to it would be told to us.
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            pid = os.fork()
        except OSError as error:
            ours.close()
            theirs.close()
            self._cannot_start(kind, error)
            return None
        else:
            if pid == 0:
                self._become(be, theirs, ours)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, [])
        theirs.close()
        child = Child(kind, place, pid, ParentEnd(ours), time.monotonic())
        self.fleet.children.append(child)
        self._selector.register(ours, selectors.EVENT_READ, partial(self._heard, child))
        return child

    def _cannot_start(self, kind: str, error: OSError) -> None:
        why = f"no process can be started: {error.strerror}"
        logger.error("no new %s: %s", kind, why)
        self._count_failure(why)

    def _become(self, be: Callable[[socket.socket], int], connection: socket.socket, ours: socket.socket) -> NoReturn:
        """Be a child. It keeps nothing of the supervisor's open, or nobody would learn of the supervisor's end."""
        code = 1
        try:
            self._selector.close()
            for each in (ours, self._wakeup, self._woken, *(child.end.connection for child in self.fleet.children)):
                each.close()
            code = be(connection)
        except BaseException:
            logger.exception("ended by a bug of ours")
        finally:
            with suppress(BaseException):
                logging.shutdown()
                sys.stderr.flush()
            os._exit(code)

    # ------------------------------------------------------------------------------------------ children

    def _heard(self, child: Child) -> None:
        """A child has said something, or can be sent more."""
        if child.deaf or child not in self.fleet.children:
            return  # it has ended since select() returned
        child.end.flush()
        messages, more = child.end.receive()
        for message in messages:
            if "ask" in message:
                self.fleet.answer(child, message)
            else:
                self._told(child, message)
        if not more:
            with suppress(KeyError):
                self._selector.unregister(child.end.connection)
            child.deaf = True
            child.kill_at = min(child.kill_at, time.monotonic() + OVERDUE_S)  # it is about to end by itself

    def _told(self, child: Child, message: Message) -> None:
        what = message["tell"]
        if what == "failed":
            child.error = message["error"]
        elif what == "last":
            child.report["metrics"] = message["metrics"]
        elif what == "tired" and child not in self._old:
            logger.info("%s was told to stop: replacing it", child)
            self._old.append(child)
        elif what == "ready":
            child.ready_at = child.turned_at = time.monotonic()
            if child.kind == "worker":
                self._worker_ready(child, message)

    def _worker_ready(self, worker: Child, message: Message) -> None:
        self.fleet.ask_for_report(worker)
        if worker.replaces is not None:
            logger.info("%s takes over from %s", worker, worker.replaces)
            self._drain(worker.replaces)
            worker.replaces = None
        elif self._serving:
            logger.info("%s serves", worker)
        if not self._serving and len(self.fleet.serving()) == self._wanted:
            self._serving = True
            where = " and ".join(message["urls"])
            logger.info("serving %s on %s with %d workers", message["serves"], where, self._wanted)

    def _reap(self) -> None:
        """Children that have ended; also those that nobody waits for, where this is the first process there is."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            for child in self.fleet.children:
                if child.pid == pid:
                    self._ended(child, os.waitstatus_to_exitcode(status))
                    break

    def _ended(self, child: Child, code: int) -> None:
        self._heard(child)  # its last words
        self.fleet.remove(child)
        with suppress(KeyError):
            self._selector.unregister(child.end.connection)
        child.end.close()
        if child.kind == "worker":
            self._balance.leave(child.place)
            self._places.append(child.place)
            self._old = [worker for worker in self._old if worker is not child]
            for worker in self.fleet.workers:
                if worker.replaces is child:
                    worker.replaces = None
        if child.leaving or self.fleet.stopping:
            logger.info("%s has ended", child)
            return
        how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        why = child.error or child.doomed or how
        if child.error and not self._serving:
            self._fatal = child.error
            self._exit = 2
            return
        self.fleet.deaths += child.kind == "worker"
        if child.replaces is not None:
            self._old.clear()
            logger.error("%s cannot take over from %s, which stays: %s", child, child.replaces, why)
        else:
            logger.error("%s ended: %s", child, why)
        failed = not child.ready_at or time.monotonic() - child.born_at < STEADY_S
        if failed and child.born_at >= self._failed_at:
            self._count_failure(why)

    def _count_failure(self, why: str) -> None:
        """One more child that hardly lived, or never served. Of those that died together, one is counted."""
        self._failures += 1
        self._failed_at, self._failed_by = time.monotonic(), why
        if self._failures >= MAX_FAILURES and not self.fleet.serving():
            self._exit = GIVEN_UP
        pause_s = min(BACKOFF_FIRST_S * 2 ** (self._failures - 1), BACKOFF_LAST_S)
        self._start_at = self._failed_at + pause_s

    def _kill(self, child: Child, why: str) -> None:
        logger.error("killing %s: %s", child, why)
        child.doomed = why
        child.kill_at = float("inf")
        with suppress(ProcessLookupError):
            os.kill(child.pid, signal.SIGKILL)

    def _kill_all(self) -> None:
        for child in self.fleet.children:
            with suppress(ProcessLookupError):
                os.kill(child.pid, signal.SIGKILL)
        for child in self.fleet.children:
            with suppress(ChildProcessError):
                os.waitpid(child.pid, 0)
        self.fleet.children.clear()

    # ------------------------------------------------------------------------------- what signals ask for

    def _reload(self) -> None:
        """Let every worker read what it serves. One that is starting does."""
        for worker in self.fleet.serving():
            with suppress(ProcessLookupError):
                os.kill(worker.pid, signal.SIGHUP)

    def _restart_all(self) -> None:
        if self.fleet.stopping or self._old or any(worker.replaces for worker in self.fleet.workers):
            logger.warning("SIGUSR2: workers are being replaced already, or the server is stopping")
            return
        self._old = [worker for worker in self.fleet.workers if not worker.leaving]
        logger.info("rolling restart of %d workers", len(self._old))

    def _go_on_restarting(self) -> None:
        """The next one, when the one before has ended."""
        if any(worker.leaving or worker.replaces or not worker.ready_at for worker in self.fleet.workers):
            return
        if self._old and self._start_worker(replaces=self._old[0]):
            del self._old[0]

    def _drain(self, worker: Child, *, is_last: bool = False) -> None:
        worker.leaving = True
        worker.end.tell("drain", last=is_last)
        overdue_s = self._config.drain.idle_s + self._config.drain.timeout_s + OVERDUE_S
        worker.kill_at = min(worker.kill_at, time.monotonic() + overdue_s)

    def _stop(self) -> None:
        if self.fleet.stopping:
            logger.warning("told again to stop: %d workers are killed", len(self.fleet.workers))
            self._exit = 0
            return
        delay_s = self._config.drain.delay_s
        logger.info("stopping%s: %d workers", f" in {delay_s:g} s" if delay_s else "", len(self.fleet.workers))
        self.fleet.stopping = True
        self._drain_at = time.monotonic() + delay_s
        for child in self.fleet.children:
            child.end.tell("unready")

    def _go_on_stopping(self, now: float) -> None:
        if now >= self._drain_at and not self._drained:
            self._drained = True
            refuse_new(self._sockets)
            close_sockets(self._sockets)  # before the workers do: the last one takes those who still wait
            for worker in self.fleet.workers:
                self._drain(worker, is_last=True)
        if self._drained and not self.fleet.workers:
            admin = self.fleet.admin
            if admin is None:
                self._exit = 0
            elif not admin.leaving:
                admin.leaving = True
                admin.end.tell("stop")
                admin.kill_at = now + OVERDUE_S
