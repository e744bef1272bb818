"""A fleet whose children are not processes, on a clock that tests move."""

from __future__ import annotations

import signal
from typing import Any

from yummy_fast.config.repository import Repository
from yummy_fast.config.settings import Drain, Workers
from yummy_fast.workers.child import Child
from yummy_fast.workers.fleet import Fleet
from yummy_fast.workers.policy import STEADY_S, TICK_S, Policy

WORKERS = Workers(count=2, timeout_s=30, max_rss_mb=0)
DRAIN = Drain(delay_s=0, idle_s=0.5, timeout_s=10)
REPOSITORY = Repository(
    source="feature_store.yaml",
    folders=("", ""),
    project="rides",
    registry={},
    registry_path="registry.db",
    online_store={"type": "redis"},
    key_version=3,
    versioning=False,
    serve_materializing=False,
)
ANNOUNCEMENT = {"event": "ready", "serves": "project rides", "urls": ["http://127.0.0.1:6566"]}


class FakeChild(Child):
    """Keeps what it is sent."""

    def __init__(self, kind: str, slot: int, pid: int, now: float) -> None:
        super().__init__(kind, slot, pid, None, now)  # type: ignore[arg-type]  # `command` needs no channel here
        self.commands: list[str] = []
        self.signals: list[int] = []
        self.rss_mb = 20

    def command(self, word: str) -> None:
        self.commands.append(word)

    def send_signal(self, number: int) -> None:
        self.signals.append(number)

    def rss_bytes(self) -> int:
        return self.rss_mb << 20

    @property
    def is_killed(self) -> bool:
        return self.signals == [signal.SIGKILL]


class World:
    """A policy, and the children that it has started."""

    def __init__(self, workers: Workers = WORKERS, drain: Drain = DRAIN, *, has_admin: bool = False) -> None:
        self.now = 1000.0
        self.started: list[FakeChild] = []
        self.cannot_start = False
        self.listens = True
        self.fleet = Fleet(workers.count, REPOSITORY, self._clock)
        self.policy = Policy(
            workers,
            drain,
            self.fleet,
            self._start,
            self._close_listeners,
            has_admin=has_admin,
            clock=self._clock,
        )

    def _clock(self) -> float:
        return self.now

    def _start(self, kind: str, slot: int) -> Child:
        if self.cannot_start:
            raise BlockingIOError(11, "no processes")
        child = FakeChild(kind, slot, 100 + len(self.started), self.now)
        self.started.append(child)
        return child

    def _close_listeners(self) -> None:
        self.listens = False

    @property
    def workers(self) -> list[FakeChild]:
        """Those that have not ended."""
        return [child for child in self.started if child.kind == "worker" and child in self.fleet.children]

    def heard(self, child: Child, event: str, **details: Any) -> None:
        self.policy.heard(child, {"event": event, **details})

    def ready(self, *children: Child) -> None:
        for child in children:
            self.policy.heard(child, ANNOUNCEMENT)

    def serve(self) -> list[FakeChild]:
        """Start, and let all workers serve."""
        self.policy.advance()
        self.ready(*self.workers)
        return self.workers

    def serve_for_long(self) -> list[FakeChild]:
        """So that one that ends now is replaced at once."""
        workers = self.serve()
        self.pass_time(STEADY_S)
        return workers

    def end(self, *children: Child, code: int = 0) -> None:
        """They end, some time after they were born."""
        self.now += 0.125
        for child in children:
            self.policy.ended(child, code)
        self.policy.advance()

    def pass_time(self, seconds: float, stuck: tuple[Child, ...] = ()) -> None:
        """Tick by tick, each worker but the stuck ones reporting that its loop turns."""
        end = self.now + seconds
        while self.now < end:
            self.now = min(self.now + TICK_S, end)
            for worker in self.workers:
                if worker not in stuck:
                    self.policy.heard(worker, {**worker.report, "event": "report", "beat_at": self.now})
            self.policy.advance()
