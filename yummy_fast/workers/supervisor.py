"""N worker processes on one address: the process that forks them, as `policy` decides, and never serves itself.

It makes the listening sockets, forks, reads what children send and what signals say, and waits for children that have
ended. `policy` decides what to do about all of these but SIGHUP (read registry, TLS files and tokens anew): the
supervisor passes SIGHUP on to the workers.

Workers are forked, not started as new programs, because forked workers share the modules that were imported before the
fork: a worker costs 10 MB instead of 30. A process that forks must have no threads (a lock that a thread holds during
the fork stays locked in the child for ever), so the supervisor has none: one loop waits for signals, children and the
clock, and never for anything else. The supervisor never reads the registry either, because some libraries start threads
for that.
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
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import NoReturn

from yummy_fast.config.settings import Config
from yummy_fast.errors import ConfigError
from yummy_fast.http.accept import ConnectionBalance
from yummy_fast.http.listeners import close_sockets, open_sockets, refuse_new, url_of
from yummy_fast.server.app import import_spans, open_store
from yummy_fast.server.service_manager import ServiceManager
from yummy_fast.telemetry.logs import stderr_logs
from yummy_fast.workers.channel import SupervisorEnd
from yummy_fast.workers.child import Child
from yummy_fast.workers.fleet import Fleet
from yummy_fast.workers.policy import GIVEN_UP, Policy
from yummy_fast.workers.worker import run_admin, run_worker

logger = logging.getLogger("yummy_fast")

_STOPS = (signal.SIGTERM, signal.SIGINT)
_SIGNALS = (*_STOPS, signal.SIGHUP, signal.SIGUSR2, signal.SIGCHLD)


def run(config: Config) -> int:
    """Serve with several workers until told to stop. Returns the exit code. Raises ConfigError."""
    open_store(config)  # imports the store's modules before the fork, so that workers share them
    if config.telemetry.otel:
        import_spans()
    sockets = open_sockets(config.address)
    try:
        return Supervisor(config, sockets).run()
    finally:
        close_sockets(sockets)


def count_workers(asked: int) -> int:
    """The number of workers. -1 asks for twice the CPUs and one, as in Feast, but only of CPUs this process may use."""
    if asked > 0:
        return asked
    affinity = getattr(os, "sched_getaffinity", None)
    return 2 * (len(affinity(0)) if affinity is not None else os.cpu_count() or 1) + 1


class Supervisor:
    """The loop: what has happened goes to the policy, and what the policy decides is done."""

    def __init__(self, config: Config, sockets: Sequence[socket.socket]) -> None:
        self._config = config
        self._sockets = sockets
        workers = replace(config.workers, count=count_workers(config.workers.count))
        self._manager = ServiceManager()
        self._fleet = Fleet(workers.count, config.repository)
        self._policy = Policy(
            workers,
            config.drain,
            self._fleet,
            self._start,
            self._close_listeners,
            has_admin=bool(config.admin.address),
            notify=self._manager.notify,
        )
        self._balance = ConnectionBalance(self._policy.slots)
        self._selector = selectors.DefaultSelector()
        self._wakeup, self._woken = socket.socketpair()

    def run(self) -> int:
        """Run until the policy sets an exit code, and return it. Raises ConfigError if no worker can start."""
        self._take_signals()
        gc.collect()
        gc.freeze()  # workers share the objects that exist now: the collector need not touch them
        policy = self._policy
        logs = stderr_logs()
        try:
            while policy.exit_code is None:
                policy.advance()
                self._watch_for_room()
                for log in logs:
                    log.write_queued()
                self._manager.send_unsent()
                for key, _ in self._selector.select(policy.wait_s()):  # TICK_S at most
                    key.data()
                self._reap()
        finally:
            self._kill_all()
        if policy.fatal:
            raise ConfigError(policy.fatal)
        if policy.exit_code == GIVEN_UP:
            logger.error("giving up after %d failed starts; the last one: %s", policy.failures, policy.failed_by)
        return policy.exit_code

    # ------------------------------------------------------------------------------------------------------ signals

    def _take_signals(self) -> None:
        for each in (self._wakeup, self._woken):
            each.setblocking(False)
        signal.set_wakeup_fd(self._woken.fileno(), warn_on_full_buffer=False)
        for number in _SIGNALS:
            signal.signal(number, lambda *_: None)  # the loop reads the number from the socket
        self._selector.register(self._wakeup, selectors.EVENT_READ, self._signalled)

    def _signalled(self) -> None:
        for number in self._wakeup.recv(4096):
            if number in _STOPS:
                self._policy.stop()
            elif number == signal.SIGHUP:
                for worker in self._fleet.serving():  # a worker that is starting reads everything anyway
                    worker.send_signal(signal.SIGHUP)
            elif number == signal.SIGUSR2:
                self._policy.restart_all()
            # SIGCHLD only had to end the select().

    # ----------------------------------------------------------------------------------------------------- children

    def _start(self, kind: str, slot: int) -> Child:
        """Fork a child. Raises OSError."""
        ours, theirs = socket.socketpair()
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        # Until the child has handlers of its own, the supervisor's socket would receive the child's signals.
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            pid = os.fork()
            if pid == 0:
                self._become(kind, slot, theirs, ours)
        except OSError:
            ours.close()
            raise
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, [])
            theirs.close()
        child = Child(kind, slot, pid, SupervisorEnd(ours), time.monotonic())
        self._selector.register(ours, selectors.EVENT_READ, partial(self._receive, child))
        return child

    def _become(self, kind: str, slot: int, connection: socket.socket, ours: socket.socket) -> NoReturn:
        """Run as a child. It closes the supervisor's own sockets, or no child would notice the supervisor's end."""
        code = 1
        try:
            self._selector.close()
            for each in (ours, self._wakeup, self._woken, *(child.end.connection for child in self._fleet.children)):
                each.close()
            if kind == "admin":
                code = run_admin(self._config, connection, url_of(self._sockets[0], self._config.tls))
            else:
                # New socket objects do not know the file of a Unix socket, which a worker must not remove.
                sockets = [type(listening)(fileno=listening.detach()) for listening in self._sockets]
                code = run_worker(self._config, connection, sockets, self._balance, slot)
        except BaseException:
            logger.exception("ended by a server bug")
        finally:
            with suppress(BaseException):
                logging.shutdown()
                sys.stderr.flush()
            os._exit(code)

    def _receive(self, child: Child) -> None:
        """Send a child what still waits to be sent to it, and handle the messages that it has sent."""
        if child.end.eof:
            return
        child.end.flush()
        for message in child.end.receive():
            if "event" in message:
                self._policy.heard(child, message)
            else:
                child.end.reply(
                    message, self._fleet.view() if message["request"] == "view" else self._fleet.snapshots()
                )
        if child.end.eof:
            self._selector.unregister(child.end.connection)
            self._policy.closed(child)

    def _watch_for_room(self) -> None:
        """If a child could not be sent everything, also wait until its socket takes more."""
        for child in self._fleet.children:
            if not child.end.eof:
                events = selectors.EVENT_READ | (selectors.EVENT_WRITE if child.end.wants_to_send else 0)
                self._selector.modify(child.end.connection, events, partial(self._receive, child))

    def _reap(self) -> None:
        """Wait for children that have ended; and for orphaned processes, if the supervisor is process 1."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            for child in self._fleet.children:
                if child.pid == pid:
                    self._ended(child, os.waitstatus_to_exitcode(status))
                    break

    def _ended(self, child: Child, code: int) -> None:
        self._receive(child)  # its last messages
        if not child.end.eof:
            self._selector.unregister(child.end.connection)
        child.end.connection.close()
        if child.kind == "worker":
            self._balance.leave(child.slot)
        self._policy.ended(child, code)

    def _close_listeners(self) -> None:
        refuse_new(self._sockets)
        close_sockets(self._sockets)

    def _kill_all(self) -> None:
        for child in self._fleet.children:
            child.send_signal(signal.SIGKILL)
        for child in self._fleet.children:
            with suppress(ChildProcessError):
                os.waitpid(child.pid, 0)
        self._fleet.children.clear()
