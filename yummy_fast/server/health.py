"""What a server reports about itself: `Health`, which the admin listener reads, and `ServerHealth`, for one process.

A server without a supervisor has one `ServerHealth`. With a supervisor, each worker has one and reports it to the
supervisor, whose own Health is the sum of the workers (`workers.fleet`). The heartbeat runs in the event loop ten times
a second and shows that the loop turns. It also measures how late its timer fired, and refills the budget of
`value_sampling`. The admin listener calls the methods of Health in other threads. They read plain numbers, and only
`reload` waits: so the admin listener answers a probe while the loop is stuck, or while Redis does not answer.

When should an orchestrator restart a server whose loop does not turn? Not for a request that computes for a second, but
for a user's function that never returns, because only a restart ends it. So /readyz fails after STALLED_S, and /livez
after STUCK_S.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
import time
from collections.abc import Sequence
from itertools import islice
from typing import Any, NamedTuple, Protocol

from yummy_fast import __version__
from yummy_fast.config.repository import Repository
from yummy_fast.config.settings import StoreOptions
from yummy_fast.endpoints import Endpoints
from yummy_fast.feast_format.registry import FeatureView
from yummy_fast.features.value_sampling import BUDGET_NS_PER_HEARTBEAT
from yummy_fast.http.accept import Acceptor
from yummy_fast.http.connection import Connections
from yummy_fast.native import owner
from yummy_fast.server.reload import Reloader
from yummy_fast.sources.source import Source
from yummy_fast.stores.online_store import OnlineStore
from yummy_fast.telemetry.exposition import Snapshot
from yummy_fast.telemetry.logs import lines_dropped, utc_text
from yummy_fast.telemetry.metrics import MAX_VIEWS, Metrics

BEAT_S = 0.1
"""The time between two heartbeats."""
STALLED_S = 5.0
"""A loop that has not turned for this long gets no more requests: /readyz is 503."""
STUCK_S = 30.0
"""A loop that has not turned for this long counts as stuck: /livez is 503. By default, requests get 504 after 15 s."""
SILENT_S = 3.0
"""A store that has not answered for this long, beyond its timeout, makes /readyz 503. It is asked every second."""
RELOAD_TIMEOUT_S = 60.0
"""How long the answer to a reload may take. A registry of 2,000 views takes three seconds to compile."""


# ------------------------------------------------------------------------------------------------- what can be shown


class ProbeResult(NamedTuple):
    """The answer to a probe."""

    good: bool
    reasons: Sequence[str] = ()
    """Why the probe fails, one text for each reason; empty if it is good."""


class Reloaded(NamedTuple):
    """The outcome of a reload."""

    good: bool
    detail: dict[str, Any]
    """`registry` as in `status` after the reload, if one was loaded; `error`, one line, if the reload failed."""


class Health(Protocol):
    """What the admin listener shows. Any thread may call these methods; only `reload` waits."""

    def live(self) -> ProbeResult:
        """Whether this server can go on: if not, it should be killed and started anew.

        It does not depend on Redis or the registry: a restart would not bring them back.
        """

    def ready(self) -> ProbeResult:
        """Whether requests should be sent here.

        The registry must be loaded, the server must listen and must not have been told to stop, its loop must turn, and
        the store must have answered lately and not refuse to be read.
        """

    def status(self) -> dict[str, Any]:
        """For people: version, configuration's source, registry, store, connections, workers."""

    def snapshots(self) -> list[dict[str, Any]]:
        """`metrics.Metrics.snapshot` of each serving process: `exposition.render` adds them up."""

    def reload(self) -> Reloaded:
        """Read the registry now, and wait until that is done: RELOAD_TIMEOUT_S at most."""


def standstill(still_s: float) -> str:
    """What probes and status say of a loop that does not turn."""
    return f"the event loop has not turned for {still_s:.0f} s"


def no_outcome() -> str:
    """What the answer says if a reload takes too long."""
    return f"the reload was not done within {RELOAD_TIMEOUT_S:g} s"


# ---------------------------------------------------------------------------------------------------- one process


class Parts(NamedTuple):
    """What a serving process consists of, once its registry is loaded."""

    source: Source
    store: OnlineStore[object]
    endpoints: Endpoints[object]
    connections: Connections
    acceptor: Acceptor
    reloader: Reloader


class ServerHealth:
    """The Health of this process."""

    def __init__(self, repository: Repository, options: StoreOptions) -> None:
        self.metrics = Metrics()
        self.parts: Parts | None = None
        """None until the registry is loaded."""
        self.listening = False
        """Whether the data port is open."""
        self._stopping = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._repository = repository
        self._store_timeout_s = options.timeout_ms / 1000
        self._started_at = time.time()
        self._made_at = time.monotonic()
        self.beat_at = self._made_at
        """When the loop last turned, by time.monotonic(), which all processes of a machine share."""

    def unready(self) -> None:
        """Say from now on that the server was told to stop."""
        self._stopping = True

    def beat(self) -> None:
        """Start the heartbeat. To be called once, in the event loop; the heartbeat then repeats until the loop ends."""
        self._loop = asyncio.get_running_loop()
        self._next_beat()

    def _next_beat(self) -> None:
        assert self._loop is not None  # noqa: S101
        self.beat_at = time.monotonic()
        self.metrics.sampling_budget_ns = min(
            self.metrics.sampling_budget_ns + BUDGET_NS_PER_HEARTBEAT, BUDGET_NS_PER_HEARTBEAT
        )
        self.metrics.fold()
        self._loop.call_later(BEAT_S, self._late_beat, time.perf_counter_ns() + int(BEAT_S * 1e9))

    def _late_beat(self, wanted_ns: int) -> None:
        self.metrics.lagged(time.perf_counter_ns() - wanted_ns)
        self._next_beat()

    @property
    def still_s(self) -> float:
        """How long the loop has not turned."""
        return time.monotonic() - self.beat_at

    def _silent_s(self, store: OnlineStore[object]) -> float:
        """How long the store has not answered, up to the last heartbeat: a loop that does not turn reads no answers."""
        return max(self.beat_at - (store.state.answered_at or self._made_at), 0.0)

    # -------------------------------------------------------------------------------------- Health, for other threads

    def live(self) -> ProbeResult:
        still_s = self.still_s
        if still_s < STUCK_S or not self.listening:  # reading the registry may take long
            return ProbeResult(True)
        return ProbeResult(False, [standstill(still_s)])

    def ready(self) -> ProbeResult:
        reasons = list(self._obstacles())
        return ProbeResult(not reasons, reasons)

    def _obstacles(self) -> Sequence[str]:
        if self._stopping:
            return ["told to stop"]
        if self.parts is None:
            return ["the registry is not loaded yet"]
        store = self.parts.store
        found = [] if self.listening else ["not listening yet"]
        if self.still_s > STALLED_S:
            found.append(standstill(self.still_s))
        silent_s = self._silent_s(store)
        if not store.state.answered_at:
            found.append("the online store has not answered yet")
        elif silent_s > SILENT_S + self._store_timeout_s:
            found.append(f"the online store has not answered for {silent_s:.0f} s")
        elif store.state.refusal:
            found.append(f"the online store refuses to be read: {store.state.refusal}")
        elif store.state.unusable:
            found.append(f"the online store cannot be read: {store.state.unusable}")
        return found

    def status(self) -> dict[str, Any]:
        live, ready = self.live(), self.ready()
        found: dict[str, Any] = {
            "version": __version__,
            "hot_path": owner.DESCRIPTION,
            "pid": os.getpid(),
            "started": utc_text(self._started_at),
            "configuration": self._repository.source,
            "project": self._repository.project,
            "live": live.good,
            "ready": ready.good,
            "reasons": [*live.reasons, *ready.reasons],
            "registry": self._registry(),
        }
        if self.parts is not None:
            store, connections = self.parts.store, self.parts.connections
            found["online_store"] = {
                "type": self._repository.online_store["type"],
                "connections": store.state.connections,
                "connects": store.state.connects,
                "connect_failures": store.state.failures,
                "connections_lost": store.state.losses,
                "silent_s": round(self._silent_s(store), 1),
                "in_flight": store.in_flight,
            }
            nodes = store.nodes()
            if nodes:
                found["online_store"] |= {
                    "nodes": nodes,
                    "redirects": store.state.redirects,
                    "refreshes": store.state.refreshes,
                    "replica_reads": store.state.replica_reads,
                }
            cache = store.cache()
            if cache:
                found["online_store"]["cache"] = cache
            found["connections"] = len(connections.open)
            found["in_flight"] = connections.in_flight
        return found

    def _registry(self) -> dict[str, Any]:
        if self.parts is None:
            return {"version": None, "error": "not loaded yet"}
        registry, reloader = self.parts.endpoints.catalog.registry, self.parts.reloader
        return {
            "source": self.parts.source.name,
            "version": registry.version or None,
            "feature_views": len(registry.views),
            "feature_services": len(registry.services),
            "loaded": utc_text(reloader.loaded_at),
            "checked": utc_text(reloader.checked_at),
            "age_s": round(time.time() - reloader.checked_at, 1),
            "reloads": reloader.reloads,
            "failures": reloader.failures,
            "error": reloader.last_error or None,
        }

    def snapshots(self) -> list[Snapshot]:
        numbers: dict[str, float] = {"yummy_fast_log_lines_dropped_total": lines_dropped()}
        if self.parts is None:
            return [self.metrics.snapshot(numbers)]
        _, store, endpoints, connections, acceptor, reloader = self.parts
        numbers |= {
            "yummy_fast_store_connections": store.state.connections,
            "yummy_fast_store_connects_total": store.state.connects,
            "yummy_fast_store_connect_failures_total": store.state.failures,
            "yummy_fast_store_connections_lost_total": store.state.losses,
            "yummy_fast_store_redirects_total": store.state.redirects,
            "yummy_fast_store_refreshes_total": store.state.refreshes,
            "yummy_fast_store_replica_reads_total": store.state.replica_reads,
            "yummy_fast_store_shared_reads_total": store.state.shared_reads,
            "yummy_fast_store_cache_hits_total": store.state.cache_hits,
            "yummy_fast_store_cache_misses_total": store.state.cache_misses,
            "yummy_fast_store_cache_invalidations_total": store.state.cache_invalidations,
            "yummy_fast_store_cache_flushes_total": store.state.cache_flushes,
            "yummy_fast_store_cache_differences_total": store.state.cache_differences,
            "yummy_fast_store_cache_bytes": store.state.cache_bytes,
            "yummy_fast_store_silence_seconds": self._silent_s(store),
            "yummy_fast_store_in_flight": store.in_flight,
            "yummy_fast_http_connections": len(connections.open),
            "yummy_fast_requests_in_flight": connections.in_flight,
            "yummy_fast_http_unsent_bytes": connections.unsent_bytes,
            "yummy_fast_tls_handshake_failures_total": acceptor.failed_handshakes,
            "yummy_fast_registry_age_seconds": time.time() - reloader.checked_at,
            "yummy_fast_registry_loaded_timestamp_seconds": reloader.loaded_at,
            "yummy_fast_registry_reloads_total": reloader.reloads,
            "yummy_fast_registry_failures_total": reloader.failures,
            "yummy_fast_registry_feature_views": len(endpoints.catalog.registry.views),
            "yummy_fast_registry_feature_services": len(endpoints.catalog.registry.services),
        }
        snapshot = {**self.metrics.snapshot(numbers), "feast_feature_freshness_seconds": _freshness(endpoints)}
        nodes = store.nodes()
        if nodes:
            usable = sum(node["usable"] for node in nodes)
            snapshot["yummy_fast_store_nodes"] = [[["true"], usable], [["false"], len(nodes) - usable]]
        return [snapshot]

    def reload(self) -> Reloaded:
        if self._loop is None or self.parts is None:
            return Reloaded(False, {"error": "the server has not started yet"})
        outcome: concurrent.futures.Future[str] = concurrent.futures.Future()
        try:
            self._loop.call_soon_threadsafe(self.parts.reloader.reload_now, outcome.set_result)
            error = outcome.result(RELOAD_TIMEOUT_S)
        except TimeoutError:
            error = no_outcome()
        except RuntimeError:
            error = "the server is ending"
        registry = self._registry()
        return Reloaded(not error, {"registry": registry, **({"error": error} if error else {})})


def _freshness(endpoints: Endpoints[object]) -> list[list[Any]]:
    """Samples of feast_feature_freshness_seconds, as Feast has them (feast/metrics.py, update_feature_freshness).

    The latest moment that a materialization reached may lie in the future: then the number is negative, as in Feast.
    """
    registry, now = endpoints.catalog.registry, time.time()
    materialized = (
        [[view.name, registry.project], now - view.materialized_until_s]
        for view in registry.views.values()
        if isinstance(view, FeatureView) and view.materialized_until_s is not None
    )
    return list(islice(materialized, MAX_VIEWS))
