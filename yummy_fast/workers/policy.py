"""What the supervisor decides: which processes to start, replace, drain and kill, and when to give up.

    a worker ended unasked          start another, at once the first time, later each time after that
    its loop does not turn          kill it after --worker-timeout; then it has ended unasked
    it does not come to serve       kill it after START_S
    it has grown too large          replace it: its successor serves before it drains
    SIGTERM to a worker             replace it
    SIGUSR2                         replace all of them, one after the other
    SIGTERM, SIGINT                 not ready any more; drain all after --drain-delay; end with 0. Again: end now
    new workers fail, none serves   give up after MAX_FAILURES, with exit code 3

It forks nothing, and knows no sockets: it is given a function that starts a child, and a clock. So all of it can be
tested without a process (tests/workers/test_policy.py).
"""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Callable

from yummy_fast.config.settings import Drain, Workers
from yummy_fast.native import owner
from yummy_fast.server.drain import longest_drain_s
from yummy_fast.workers.channel import REPORT_S, Message
from yummy_fast.workers.child import NEVER, Child, Event, State
from yummy_fast.workers.fleet import Fleet

logger = logging.getLogger("yummy_fast")

TICK_S = REPORT_S
"""Between two looks at the workers."""
PAUSE_S = 5.0
"""A supervisor that was itself away for this long (stopped, or on a machine that slept) blames no worker."""
START_S = 180.0
"""A worker that does not serve by then is stuck. One that asks a registry in vain ends earlier, by itself."""
STEADY_S = 5.0
"""A worker that survives this long counts as started."""
END_S = 3.0
"""How long a child may take to end that has nothing left to do."""
BACKOFF_FIRST_S = 0.25
BACKOFF_LAST_S = 10.0
MAX_FAILURES = 5
"""Failed starts in a row before giving up: with pauses that double, four seconds. As systemd's StartLimitBurst."""
GIVEN_UP = 3
"""The exit code then. As gunicorn's, when workers fail to boot."""


class Policy:
    """The decisions, and what they depend on."""

    def __init__(
        self,
        workers: Workers,
        drain: Drain,
        fleet: Fleet,
        start: Callable[[str, int], Child],
        close_listeners: Callable[[], None],
        *,
        has_admin: bool,
        notify: Callable[[str], None] = lambda state: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`start` forks a child, by kind and slot, or raises OSError. `close_listeners` has the port refuse clients.

        `has_admin`: there is a process for the admin listener.
        """
        self.exit_code: int | None = None
        """Set when the server ends."""
        self.fatal = ""
        """Why nothing can be served, for the one line that the command ends with."""
        self.failures = 0
        """Starts that failed, one after the other."""
        self.failed_by = ""
        """Why the last of them did."""
        self._notify = notify
        self._workers = workers
        self._drain_times = drain
        self._has_admin = has_admin
        self._fleet = fleet
        self._start_child = start
        self._close_listeners = close_listeners
        self._clock = clock
        # In a rolling restart there is one worker more for a while, and some that still drain.
        self.slots = 2 * workers.count + 2
        self._free_slots = list(range(self.slots))
        self._to_replace: list[Child] = []
        """Workers that wait for a successor."""
        self._all_served = False
        """Whether all workers have served once: from then on, nothing but a signal or MAX_FAILURES ends the server."""
        self._failed_at = 0.0
        self._start_at = 0.0
        """No child is started before."""
        self._ticked_at = clock()
        self._drain_at = NEVER

    # ------------------------------------------------------------------------------------------------ as time passes

    def wait_s(self) -> float:
        """How long `advance` has nothing to do, if nothing happens."""
        now = self._clock()
        due = [self._ticked_at + TICK_S, self._drain_at, *(child.kill_at for child in self._fleet.children)]
        if self._start_at > now:
            due.append(self._start_at)
        return max(0.0, min(due) - now)

    def advance(self) -> None:
        """Do everything whose time has come."""
        now = self._clock()
        if now - self._ticked_at >= TICK_S:
            self._tick(now)
        for child in self._fleet.children:
            if child.kill_at <= now:
                self._kill(child, "it has not ended in time")
        if self._fleet.stopping:
            self._go_on_stopping(now)
        elif now >= self._start_at:
            self._fill_up()
            self._go_on_replacing()

    def _tick(self, now: float) -> None:
        """Judge each worker by what it reported last.

        A worker that starts has START_S to say `ready`. One that serves is judged by its heartbeat: each report says
        when the event loop last turned. A worker whose loop is stuck still reports, with a heartbeat that grows old,
        and with the line that the loop is at. A worker that is stopped as a whole (SIGSTOP) reports nothing, and the
        heartbeat of its last report grows old just the same. So there is one rule for both: a heartbeat older than
        --worker-timeout ends the worker. Its death is then handled by `ended`, like any other.

        Ticks also measure the supervisor itself. If one comes PAUSE_S late, the supervisor was stopped and has read no
        reports meanwhile, or the whole machine slept: each worker then gets a heartbeat of now, and as much more time
        to start, and shows with its next report how it really is.

        A worker that has served for STEADY_S, and was started after the last failure, ends the series of failures: the
        next worker that ends is replaced at once, and not after a pause. Only such a worker is weighed: a memory limit
        that is too low would otherwise restart workers without a pause.
        """
        away_s = now - self._ticked_at
        self._ticked_at = now
        for worker in self._fleet.workers:
            if away_s > PAUSE_S:
                worker.beat_at = now
                worker.born_at += away_s
            if worker.state is State.STARTING:
                self._judge_start(worker, now - worker.born_at)
            elif worker.state is State.SERVING:
                self._judge(worker, now - worker.born_at)

    def _judge_start(self, worker: Child, age_s: float) -> None:
        if age_s < START_S:
            return
        why = f"it does not serve after {START_S:g} s{worker.at}"
        if self._all_served:
            self._kill(worker, why)
        else:
            self.fatal = f"{worker}: {why}"
            self.exit_code = 2

    def _judge(self, worker: Child, age_s: float) -> None:
        still_s = self._fleet.still_s(worker)
        if 0 < self._workers.timeout_s < still_s:
            self._kill(worker, f"its event loop has not turned for {still_s:.0f} s{worker.at}")
        elif age_s > STEADY_S:
            if self._failed_at < worker.born_at:
                self.failures = 0
            self._weigh(worker)

    def _weigh(self, worker: Child) -> None:
        if not self._workers.max_rss_mb or self._is_replaced(worker) or self._fleet.stopping:
            return
        rss_mb = worker.rss_bytes() >> 20
        if rss_mb > self._workers.max_rss_mb:
            logger.warning("%s has %d MB of resident memory, above --worker-max-rss-mb: replacing it", worker, rss_mb)
            self._to_replace.append(worker)

    # ------------------------------------------------------------------------------------------- what children say

    def heard(self, child: Child, message: Message) -> None:
        """An event from a child."""
        event = message["event"]
        if event == "report":
            child.report = message
            child.beat_at = max(child.beat_at, message["beat_at"])
        elif event == "ready":
            self._ready(child, message)
        elif event == "retire":
            self._retire(child)
        elif event == "failed":
            child.error = message["error"]
        elif event == "final_metrics":
            child.report["metrics"] = message["metrics"]
        elif event == "reload":
            self._reload()

    def _ready(self, child: Child, message: Message) -> None:
        child.beat_at = self._clock()
        if child.transition(Event.READY) is not State.SERVING or child.kind != "worker":
            return
        if child.replaces is not None:
            logger.info("%s takes over from %s", child, child.replaces)
            self._drain(child.replaces, "drain")
            child.replaces = None
        elif self._all_served:
            logger.info("%s serves", child)
        if not self._all_served and len(self._fleet.serving()) == self._workers.count:
            self._all_served = True
            where = " and ".join(message["urls"])
            logger.info("serving %s on %s with %d workers", message["serves"], where, self._workers.count)
            self._notify("READY=1")
            logger.info("hot path: %s", owner.DESCRIPTION)

    def _retire(self, worker: Child) -> None:
        """It got a SIGTERM. Where it is about to end anyway, nothing is left to do."""
        if worker.state is State.SERVING and not self._fleet.stopping and not self._is_replaced(worker):
            logger.info("%s got SIGTERM: replacing it", worker)
            self._to_replace.append(worker)

    def _reload(self) -> None:
        """A worker that is starting reads the registry anyway."""
        for worker in self._fleet.serving():
            worker.reloads_sent += 1
            worker.command("reload")

    def closed(self, child: Child) -> None:
        """A child has closed its channel."""
        child.kill_at = min(child.kill_at, self._clock() + END_S)  # it is about to end by itself

    def ended(self, child: Child, code: int) -> None:
        """A child has ended, with an exit code or, if negative, by a signal."""
        child.transition(Event.END)
        self._fleet.remove(child)
        if child.kind == "worker":
            self._free_slots.append(child.slot)
            self._to_replace = [worker for worker in self._to_replace if worker is not child]
            for worker in self._fleet.workers:
                if worker.replaces is child:
                    worker.replaces = None  # there is nothing left to drain: it is one of the wanted workers now
        if child.told_to_end or self._fleet.stopping:
            logger.info("%s has ended", child)
            return
        how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        why = child.error or child.kill_reason or how
        if child.error and not self._all_served:
            self.fatal = child.error
            self.exit_code = 2
            return
        self._fleet.deaths += child.kind == "worker"
        if child.replaces is not None:
            self._to_replace.clear()
            logger.error("%s cannot take over from %s, which stays: %s", child, child.replaces, why)
        else:
            logger.error("%s ended: %s", child, why)
        failed = not child.has_served or self._clock() - child.born_at < STEADY_S
        if failed and child.born_at >= self._failed_at:  # of those that died together, one is counted
            self._count_failure(why)

    def _count_failure(self, why: str) -> None:
        """One more start came to nothing: the next one waits for longer."""
        self.failures += 1
        self._failed_at, self.failed_by = self._clock(), why
        if self.failures >= MAX_FAILURES and not self._fleet.serving():
            self.exit_code = GIVEN_UP
        pause_s = min(BACKOFF_FIRST_S * 2 ** (self.failures - 1), BACKOFF_LAST_S)
        self._start_at = self._failed_at + pause_s

    # ----------------------------------------------------------------------------------------- starting, replacing

    def _fill_up(self) -> None:
        """Start what is missing."""
        present = [worker for worker in self._fleet.workers if not worker.told_to_end and worker.replaces is None]
        for _ in range(self._workers.count - len(present)):
            if self._start_worker() is None:
                return  # those after it would fail as well
        if self._has_admin and self._fleet.admin is None:
            self._start("admin", 0)

    def _start_worker(self) -> Child | None:
        """The worker, which does not serve yet; None if there can be none now."""
        if not self._free_slots:
            return None  # too many that do not end; they will be killed
        slot = self._free_slots.pop(0)
        child = self._start("worker", slot)
        if child is None:
            self._free_slots.append(slot)
        return child

    def _start(self, kind: str, slot: int) -> Child | None:
        try:
            child = self._start_child(kind, slot)
        except OSError as error:
            why = f"cannot start a process: {error.strerror}"
            logger.error("no new %s: %s", kind, why)
            self._count_failure(why)
            return None
        self._fleet.children.append(child)
        return child

    def restart_all(self) -> None:
        """SIGUSR2: a rolling restart."""
        workers = self._fleet.workers
        if self._fleet.stopping or self._to_replace or any(worker.replaces for worker in workers):
            logger.warning("SIGUSR2 ignored: workers are being replaced already, or the server is stopping")
            return
        self._to_replace = [worker for worker in workers if not worker.told_to_end]
        logger.info("rolling restart of %d workers", len(self._to_replace))

    def _is_replaced(self, worker: Child) -> bool:
        """Whether it has a successor, or waits for one."""
        return worker in self._to_replace or any(other.replaces is worker for other in self._fleet.workers)

    def _go_on_replacing(self) -> None:
        """Start the next successor, when the worker replaced before has ended."""
        if any(worker.state is not State.SERVING for worker in self._fleet.workers):
            return
        if self._to_replace and (successor := self._start_worker()) is not None:
            successor.replaces = self._to_replace.pop(0)

    # ------------------------------------------------------------------------------------------------------- ending

    def stop(self) -> None:
        """SIGTERM or SIGINT."""
        workers = self._fleet.workers
        if self._fleet.stopping:
            logger.warning("a second signal to stop: killing %d workers", len(workers))
            self.exit_code = 0
            return
        delay_s = self._drain_times.delay_s
        logger.info("stopping%s: %d workers", f" in {delay_s:g} s" if delay_s else "", len(workers))
        self._fleet.stopping = True
        self._notify("STOPPING=1")
        self._drain_at = self._clock() + delay_s
        for worker in workers:
            worker.command("unready")

    def _go_on_stopping(self, now: float) -> None:
        if now >= self._drain_at:
            self._drain_at = NEVER
            self._close_listeners()  # before the workers do: the last one takes the connections that wait
            for worker in self._fleet.workers:
                self._drain(worker, "stop")
        if self._drain_at == NEVER and not self._fleet.workers:
            admin = self._fleet.admin
            if admin is None:
                self.exit_code = 0
            elif not admin.told_to_end:
                self._drain(admin, "stop")
                admin.kill_at = now + END_S

    def _drain(self, child: Child, command: str) -> None:
        """Tell it to end. `drain`: other workers go on taking connections; `stop`: none does."""
        child.transition(Event.DRAIN)
        child.command(command)
        child.kill_at = min(child.kill_at, self._clock() + longest_drain_s(self._drain_times))

    def _kill(self, child: Child, why: str) -> None:
        logger.error("killing %s: %s", child, why)
        child.transition(Event.KILL)
        child.kill_reason = why
        child.kill_at = NEVER
        child.send_signal(signal.SIGKILL)
