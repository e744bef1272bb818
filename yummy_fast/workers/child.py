"""The supervisor's children as they are seen from outside: one server, whose numbers are sums.

The answers of a `Health`, given by the supervisor from what its workers reported last, at most a second ago. A worker
that has ended is still in the sums: counters must not go down. One that is stuck is named.

It starts and ends nothing, and knows neither sockets nor signals.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from yummy_fast import __version__
from yummy_fast.config.repository import Repository
from yummy_fast.server.health import STALLED_S, STUCK_S, ProbeResult, Reloaded, standstill
from yummy_fast.telemetry.exposition import Snapshot, merge, past
from yummy_fast.telemetry.logs import utc_text
from yummy_fast.workers.channel import Message, ParentEnd


class Child:
    """A process of the supervisor's: a worker, or the admin listener's. Times are time.monotonic()'s."""

    def __init__(self, kind: str, place: int, pid: int, end: ParentEnd, now: float) -> None:
        self.kind = kind
        self.place = place
        self.pid = pid
        self.end = end
        self.born_at = now
        self.ready_at = 0.0
        """When it began to serve; 0: it does not yet."""
        self.turned_at = now
        """When its event loop was last known to turn."""
        self.report: dict[str, Any] = {}
        self.awaited = False
        """Whether a report has been asked for."""
        self.replaces: Child | None = None
        """Whom it will take over from."""
        self.leaving = False
        """It was told to stop."""
        self.kill_at = float("inf")
        self.deaf = False
        """Its end of the connection is closed."""
        self.error = ""
        """Why it could not start, in its own words."""
        self.doomed = ""
        """Why it was killed."""

    def __str__(self) -> str:
        return f"worker {self.place + 1} ({self.pid})" if self.kind == "worker" else f"{self.kind} ({self.pid})"

    @property
    def where(self) -> str:
        """What its event loop was at."""
        where = self.report.get("where")
        return f", it is at {where}" if where else ""

    def rss_bytes(self) -> int:
        """Resident memory; 0 where there is no /proc."""
        try:
            return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        except (OSError, IndexError):
            return 0


class Fleet:
    """All children there are, and what is left of those that there were."""

    def __init__(self, repository: Repository, wanted: int) -> None:
        """`wanted`: how many workers there should be."""
        self.children: list[Child] = []
        self.stopping = False
        """The supervisor was told to stop."""
        self.deaths = 0
        """Workers that ended without being asked to."""
        self._repository = repository
        self._wanted = wanted
        self._past: Snapshot | None = None
        self._started = utc_text(time.time())

    @property
    def workers(self) -> list[Child]:
        return [child for child in self.children if child.kind == "worker"]

    @property
    def admin(self) -> Child | None:
        return next((child for child in self.children if child.kind == "admin"), None)

    def serving(self) -> list[Child]:
        """The workers that serve, and are to go on with it."""
        return [worker for worker in self.workers if worker.ready_at and not worker.leaving]

    def remove(self, child: Child) -> None:
        """It has ended; its numbers stay."""
        self.children.remove(child)
        if "metrics" in child.report:
            gone = past(child.report["metrics"])
            self._past = merge([self._past, gone]) if self._past else gone

    def ask_for_report(self, worker: Child) -> None:
        """Unless it has not given the one before."""
        if not worker.awaited:
            worker.awaited = True
            worker.end.ask("report", partial(self._reported, worker))

    @staticmethod
    def _reported(worker: Child, message: Message) -> None:
        worker.awaited = False
        if "answer" in message:
            worker.report = message["answer"]
            worker.turned_at = time.monotonic() - worker.report["still_s"]

    # ---------------------------------------------------------------------------------- the board

    def answer(self, child: Child, message: Message) -> None:
        """Answer a child that asks for what the Health shows."""
        what, number = message["ask"], message["id"]
        if what == "reload":
            self._reload(lambda answer: child.end.send({"id": number, "answer": answer}))
        else:
            answers = {"live": self.live, "ready": self.ready, "status": self.status, "snapshots": self.snapshots}
            child.end.send({"id": number, "answer": answers[what]()})

    def live(self) -> ProbeResult:
        """Alive as long as one worker is: to end all of them for the sake of one that is stuck would help nobody."""
        stuck = [worker for worker in self.serving() if self._still_s(worker) > STUCK_S]
        if not stuck or len(stuck) < len(self.serving()):
            return ProbeResult(True)
        return ProbeResult(False, [self._stuck(worker) for worker in stuck])

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
        if not worker.ready_at or not worker.report:
            return ["not serving yet"]
        if worker.leaving:
            return ["told to stop"]
        if self._still_s(worker) > STALLED_S:
            return [standstill(self._still_s(worker))]
        good, reasons = worker.report["ready"]
        return [] if good else list(reasons)

    @staticmethod
    def _still_s(worker: Child) -> float:
        return time.monotonic() - worker.turned_at

    def _stuck(self, worker: Child) -> str:
        return f"{worker}: {standstill(self._still_s(worker))}{worker.where}"

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
            "workers_wanted": self._wanted,
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
            "worker": worker.place + 1,
            "pid": worker.pid,
            "ready": not obstacles,
            "reasons": list(obstacles),
            "still_s": round(self._still_s(worker), 1),
            "at": worker.report.get("where") or None,
            "resident_bytes": worker.rss_bytes(),
        }

    def snapshots(self) -> list[Snapshot]:
        """Of all workers, those that there were among them."""
        found = [worker.report["metrics"] for worker in self.workers if "metrics" in worker.report]
        found.append(
            {
                "yummy_fast_workers": [[[], len(self.serving())]],
                "yummy_fast_worker_deaths_total": [[[], self.deaths]],
            }
        )
        return [*found, self._past] if self._past else found

    def _reload(self, reply: Callable[[Reloaded], None]) -> None:
        """Let all workers reload, and reply when the last one has."""
        workers = self.serving()
        outcomes: dict[str, Reloaded] = {}

        def heard(worker: Child, message: Message) -> None:
            outcomes[str(worker)] = Reloaded(*(message.get("answer") or (False, {"error": message.get("error")})))
            if len(outcomes) == len(workers):
                reply(_reloaded(outcomes))

        for worker in workers:
            worker.end.ask("reload", partial(heard, worker))
        if not workers:
            reply(Reloaded(False, {"error": "there are no workers"}))


def _reloaded(outcomes: Mapping[str, Reloaded]) -> Reloaded:
    """One outcome for all: the registry of one, and the errors of each by the worker's name."""
    found = {"registry": next(iter(outcomes.values())).detail.get("registry")}
    errors = sorted(f"{name}: {outcome.detail.get('error')}" for name, outcome in outcomes.items() if not outcome.good)
    if errors:
        found["error"] = "; ".join(errors)
    return Reloaded(not errors, found)
