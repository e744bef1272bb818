"""All workers as one server, whose numbers are sums: what the admin listener and /metrics show.

The answers of a `Health`, given by the supervisor from what its workers reported last, a second ago at most. The
numbers of a worker that has ended stay in the sums, because counters must not go down. One that is stuck is named.

It starts and ends nothing, and knows neither sockets nor signals.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from typing import Any

from yummy_fast import __version__
from yummy_fast.config.repository import Repository
from yummy_fast.server.health import STALLED_S, STUCK_S, ProbeResult, standstill
from yummy_fast.telemetry.exposition import Snapshot, merge, past
from yummy_fast.telemetry.logs import lines_dropped, utc_text
from yummy_fast.workers.child import Child, State

_NOT_SERVING = {
    State.STARTING: "not serving yet",
    State.DRAINING: "told to stop",
    State.KILLED: "killed",
    State.ENDED: "ended",
}


class Fleet:
    """All children there are, and the numbers of those that have ended."""

    def __init__(self, wanted: int, repository: Repository, clock: Callable[[], float] = time.monotonic) -> None:
        """`wanted`: how many workers there should be."""
        self.wanted = wanted
        self.children: list[Child] = []
        self.stopping = False
        """Whether the server was told to stop."""
        self.deaths = 0
        """Workers that ended without being told to."""
        self._repository = repository
        self._clock = clock
        self._past: Snapshot | None = None
        self._started = utc_text(time.time())

    @property
    def workers(self) -> list[Child]:
        return [child for child in self.children if child.kind == "worker"]

    @property
    def admin(self) -> Child | None:
        return next((child for child in self.children if child.kind == "admin"), None)

    def serving(self) -> list[Child]:
        return [worker for worker in self.workers if worker.state is State.SERVING]

    def still_s(self, worker: Child) -> float:
        """How long its event loop has not turned, as far as is known."""
        return self._clock() - worker.beat_at

    def remove(self, child: Child) -> None:
        """It has ended; its numbers stay."""
        self.children.remove(child)
        if "metrics" in child.report:
            gone = past(child.report["metrics"])
            self._past = merge([self._past, gone]) if self._past else gone

    # ------------------------------------------------------------------------------------------------ what is shown

    def view(self) -> dict[str, Any]:
        """What the admin process shows, but for the metrics: it requests this for each probe."""
        return {
            "live": self.live(),
            "ready": self.ready(),
            "status": self.status(),
            "reloads": {str(worker): self._reload(worker) for worker in self.serving()},
        }

    def live(self) -> ProbeResult:
        """Alive as long as one worker is: ending all of them because one is stuck would help nobody."""
        stuck = [worker for worker in self.serving() if self.still_s(worker) > STUCK_S]
        if not stuck or len(stuck) < len(self.serving()):
            return ProbeResult(True)
        return ProbeResult(False, [f"{worker}: {standstill(self.still_s(worker))}{worker.at}" for worker in stuck])

    def ready(self) -> ProbeResult:
        """Ready as long as one worker is."""
        if self.stopping:
            return ProbeResult(False, ["told to stop"])
        reasons = []
        for worker in self.workers:
            obstacles = self._obstacles(worker)
            if not obstacles:
                return ProbeResult(True)
            reasons += [f"{worker}: {obstacle}" for obstacle in obstacles]
        return ProbeResult(False, reasons or ["there are no workers"])

    def _obstacles(self, worker: Child) -> Sequence[str]:
        if worker.state is not State.SERVING:
            return [_NOT_SERVING[worker.state]]
        if self.still_s(worker) > STALLED_S:
            return [standstill(self.still_s(worker))]
        good, reasons = worker.report.get("ready", (False, [_NOT_SERVING[State.STARTING]]))
        return [] if good else list(reasons)

    def status(self) -> dict[str, Any]:
        live, ready = self.live(), self.ready()
        return {
            "version": __version__,
            "pid": os.getpid(),
            "started": self._started,
            "configuration": self._repository.source,
            "project": self._repository.project,
            "live": live.good,
            "ready": ready.good,
            "reasons": [*live.reasons, *ready.reasons],
            "workers_wanted": self.wanted,
            "worker_deaths": self.deaths,
            "workers": [self._describe(worker) for worker in self.workers],
        }

    def _describe(self, worker: Child) -> dict[str, Any]:
        found = dict(worker.report.get("status", {}))
        for known in ("version", "configuration", "project"):
            found.pop(known, None)
        obstacles = self._obstacles(worker)
        return {
            **found,
            "worker": worker.slot + 1,
            "pid": worker.pid,
            "ready": not obstacles,
            "reasons": list(obstacles),
            "still_s": round(self.still_s(worker), 1),
            "at": worker.report.get("at") or None,
            "resident_bytes": worker.rss_bytes(),
        }

    @staticmethod
    def _reload(worker: Child) -> dict[str, Any]:
        """How far a worker is with the reloads that it was sent: see `worker.SupervisorHealth.reload`."""
        return {
            "sent": worker.reloads_sent,
            "done": worker.report.get("reloads", 0),
            "error": worker.report.get("reload_error", ""),
            "registry": worker.report.get("status", {}).get("registry"),
        }

    def snapshots(self) -> list[Snapshot]:
        """Of all workers, and of those that have ended."""
        found = [worker.report["metrics"] for worker in self.workers if "metrics" in worker.report]
        found.append(
            {
                "yummy_fast_workers": [[[], len(self.serving())]],
                "yummy_fast_worker_deaths_total": [[[], self.deaths]],
                "yummy_fast_log_lines_dropped_total": [[[], lines_dropped()]],
            }
        )
        return [*found, self._past] if self._past else found
