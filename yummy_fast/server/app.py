"""Put the parts together, and serve.

The composition root: the only module that sees everything. `build_catalog` makes a catalog from registry bytes, here
and at every reload. `serve` runs until told to stop, then drains, and returns: alone in this process (`run`), or in a
`worker` of several.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import ModuleType
from typing import NoReturn

import uvloop

from yummy_fast.config.settings import Admin, Config, Tls
from yummy_fast.endpoints import Endpoints
from yummy_fast.errors import ConfigError, ShutdownRequested
from yummy_fast.feast_format.registry import Throttle, parse_registry, unthrottled
from yummy_fast.features.catalog import Catalog
from yummy_fast.features.statuses import StatusPolicy
from yummy_fast.features.transforms import Transforms, load
from yummy_fast.features.vectors import Layout, Tails
from yummy_fast.http.accept import Acceptor, ConnectionBalance
from yummy_fast.http.connection import Connection, Connections
from yummy_fast.http.http11 import Request, Response, ResponseOrCoroutine
from yummy_fast.http.listeners import close_sockets, open_sockets, refuse_new, tls_context, url_of
from yummy_fast.http.tokens import Tokens
from yummy_fast.server import admin
from yummy_fast.server.admin import AdminListener
from yummy_fast.server.drain import Stop, drain
from yummy_fast.server.health import Health, ServerHealth
from yummy_fast.server.reload import Reloader, describe, gc_paused
from yummy_fast.sources.download import without_secrets
from yummy_fast.sources.open_source import open_source
from yummy_fast.stores.online_store import OnlineStore, Prepared, open_store_class
from yummy_fast.telemetry.exposition import Snapshot
from yummy_fast.telemetry.logs import log_sample

logger = logging.getLogger("yummy_fast")

MAX_LISTED = 20
"""Feature services that cannot be served, in the log of one reading of the registry."""
LATE_S = 0.1
"""A sweep that comes this late lets the sockets be read first, for as long."""


def open_store(config: Config) -> OnlineStore[object]:
    """The online store that the configuration names, not yet connected. Raises ConfigError."""
    repository = config.repository
    where = f"{repository.source}: online_store.type"
    return open_store_class(str(repository.online_store["type"]), where)(repository, config.store)


def import_spans() -> ModuleType:
    """The module that writes spans. Raises ConfigError if its extra is not installed."""
    try:
        from yummy_fast.telemetry import spans
    except ImportError as error:
        raise ConfigError(f"--otel needs {error.name}: pip install 'yummy-fast[otel]'") from None
    except ValueError as error:  # what is read of OTEL_* at once
        raise ConfigError(f"--otel: OTEL_*: {error}") from None
    return spans


def build_catalog(
    config: Config, store: OnlineStore[Prepared], data: bytes, throttle: Throttle = unthrottled
) -> Catalog[Prepared]:
    """Compile a registry's bytes. Raises RegistryError."""
    repository = config.repository
    where = without_secrets(repository.registry_path)
    registry = parse_registry(data, repository.project, where, throttle)
    if not registry.views:
        others = ", ".join(registry.other_projects) or "none"
        logger.warning(
            "%s: no feature views in project %s; the registry's other projects: %s",
            where,
            repository.project,
            others,
        )
    catalog = Catalog(
        registry,
        key_version=repository.key_version,
        versioning=repository.versioning,
        prepare=store.prepare,
        lay_out=partial(Layout, policy=statuses(config.features.compat, store), tails=Tails()),
        load=load,
        collisions=store.collisions,
        serve_materializing=repository.serve_materializing,
        throttle=throttle,
    )
    for _, error in catalog.broken_views():
        logger.error("%s", error)
    broken = catalog.broken_services()
    for name, why in broken[:MAX_LISTED]:
        logger.warning("%s: feature service %s cannot be served: %s", where, name, " ".join(str(why).split()))
    if len(broken) > MAX_LISTED:
        more = len(broken) - MAX_LISTED
        logger.warning("%s: %d more feature services cannot be served; yummy-fast check lists all", where, more)
    for pair in catalog.collisions:
        logger.warning("%s: hash collision: these features share one Redis field; rename one: %s", where, pair)
    return catalog


def statuses(compat: str, store: OnlineStore[Prepared]) -> StatusPolicy:
    """Which statuses the cells of an answer have."""
    if compat == "strict":
        return StatusPolicy.EXACT
    return StatusPolicy.PRESENT if store.absent_is_present else StatusPolicy.MISSING_AWARE


def run(config: Config, started: Callable[[str], None] = lambda url: None) -> None:
    """Serve in this process until told to stop. `started` gets the URL once the server listens.

    Raises ConfigError, RegistryError.
    """
    uvloop.run(_run_alone(config, started))


def install_startup_signals() -> None:
    """What signals mean until there is something to serve. `serve`, and the supervisor, give them their own meanings.

    The first process of a container would not even notice a SIGTERM. And if SIGINT were left to Python, asyncio would
    take it over, and end what it runs at a place of its choice.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _leave)
    for number in (signal.SIGHUP, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)


def _leave(number: int, frame: object) -> NoReturn:
    raise ShutdownRequested(0)


async def _run_alone(config: Config, started: Callable[[str], None]) -> None:
    process = ServerHealth(config.repository, config.store)
    process.beat()
    stop = Stop()
    no_rolling_restart = partial(logger.warning, "SIGUSR2 ignored: a rolling restart needs --workers 2 or more")
    signals: dict[signal.Signals, Callable[[], None]] = {
        signal.SIGINT: stop.request,
        signal.SIGTERM: stop.request,
        signal.SIGUSR2: no_rolling_restart,
    }

    def announce(what: str, urls: Sequence[str]) -> None:
        logger.info("serving %s on %s", what, " and ".join(urls))
        started(urls[0])

    with admin_listener(config.admin, process):
        await serve(config, process, WorkerContext(stop, process.snapshots, signals), announce)


@dataclass(slots=True)
class WorkerContext:
    """Where a process serves: alone, or as a worker beside others."""

    stop: Stop
    snapshots: Callable[[], list[Snapshot]]
    """For /metrics on the data port, where there is no admin listener: the numbers of all workers."""
    signals: Mapping[signal.Signals, Callable[[], None]]
    """What they do from when there is something to serve; SIGHUP has its meaning everywhere."""
    sockets: Sequence[socket.socket] = ()
    """Of `open_sockets`, made for all workers; alone, they are made once there is something to serve."""
    balance: ConnectionBalance | None = None
    slot: int = 0
    """The worker's index in it."""
    is_last: bool = True
    """Whether nobody goes on taking connections when this process stops."""


async def serve(
    config: Config, process: ServerHealth, context: WorkerContext, announce: Callable[[str, Sequence[str]], None]
) -> None:
    """Serve until told to stop. `announce` gets what is served, and where, once it is.

    Raises ConfigError, RegistryError.
    """
    source = open_source(config.repository)
    stamp = source.stamp()  # before it is read: what changes in between is seen at the first look
    data = source.read()
    store = open_store(config)
    transforms = Transforms(process.metrics.transformed)
    pages = {} if config.admin.address else _data_pages(process, context.snapshots)
    with gc_paused():
        endpoints = Endpoints(
            build_catalog(config, store, data),  # and no name for it here: this frame lives as long as the server
            *(store, transforms, config.features, process.metrics, pages),
        )
    tokens = Tokens(config.auth.tokens) if config.auth.tokens else None
    handle: Callable[[Request], ResponseOrCoroutine] = (
        endpoints.handle if tokens is None else tokens.guard(endpoints.handle)
    )
    if config.telemetry.access_log_sample:
        handle = log_sample(handle, config.telemetry.access_log_sample)
    failed = endpoints.failed
    spans = None
    if config.telemetry.otel:
        store_type = str(config.repository.online_store["type"])
        spans = import_spans().open_spans(https=bool(config.tls.cert), store_type=store_type)
    if spans is not None:
        handle, failed = spans.follow(handle), spans.follow_failed(failed)
    connections = Connections(handle, failed, config.limits, config.timeouts)
    loop = asyncio.get_running_loop()
    reloader = Reloader(
        source,
        stamp,
        data,
        partial(build_catalog, config, store),
        endpoints.replace_catalog,
        config.features.registry_ttl_s,
    )
    tls = tls_context(config.tls)
    sockets = context.sockets or open_sockets(config.address)
    if spans is not None:
        spans.serve_at(sockets[0])
    acceptor = Acceptor(
        *(sockets, lambda: Connection(connections, loop), lambda: len(connections.open)),
        tls=tls,
        handshake_timeout_s=config.timeouts.header_s,
        balance=context.balance,
        place=context.slot,
    )

    def on_sighup() -> None:
        reloader.reload_now()
        if tokens is not None:
            tokens.reload()
        _reload_tls(config.tls, acceptor)

    for number, meaning in {**context.signals, signal.SIGHUP: on_sighup}.items():
        loop.add_signal_handler(number, meaning)
    process.enter(source, store, endpoints, connections, reloader)
    housekeeping = [loop.create_task(reloader.run()), loop.create_task(_tick(connections, store, acceptor))]

    async def stop_taking() -> None:
        if context.is_last:
            refuse_new(sockets)
        acceptor.stop(take_waiting=context.is_last)
        close_sockets(sockets)
        await acceptor.arrived(config.drain.idle_s)

    try:
        await store.open()
        # Whoever came meanwhile waited in the kernel's queue: better than a 503 from a store that is not connected yet.
        acceptor.start()
        process.listening = True
        announce(describe(endpoints.catalog), [url_of(listening, config.tls) for listening in sockets])
        await context.stop.requested.wait()
    finally:
        process.draining = True
        await drain(config.drain, context.stop, connections, stop_taking)
        if spans is not None:
            await spans.close(context.stop.rest)
        for task in housekeeping:
            task.cancel()
        await asyncio.gather(*housekeeping, return_exceptions=True)
        await store.close()
        transforms.close()


def _reload_tls(tls: Tls, acceptor: Acceptor) -> None:
    """Read the TLS files again: the next handshakes use them. What cannot be used is logged and changes nothing."""
    if not tls.cert:
        return
    try:
        acceptor.tls = tls_context(tls)
    except ConfigError as error:
        logger.error("TLS files not reloaded, those before stay: %s", error)
    else:
        logger.info("TLS files reloaded: %s", tls.cert)


@contextlib.contextmanager
def admin_listener(options: Admin, health: Health) -> Iterator[None]:
    """The admin listener, if one is wanted. It is there before the registry is read, and says so."""
    if not options.address:
        yield
        return
    listener = AdminListener(options.address, health, reload=options.reload)
    logger.info("admin on %s", listener.url)
    try:
        yield
    finally:
        listener.close()


def _data_pages(
    health: Health, snapshots: Callable[[], list[Snapshot]]
) -> dict[bytes, Callable[[Request], ResponseOrCoroutine]]:
    """What the data port shows when there is no admin listener: nothing that changes anything."""

    def probe(view: Callable[[Health], admin.Page]) -> Callable[[Request], Response]:
        return lambda _: _response(view(health))

    async def metrics(_: Request) -> Response:
        # In a thread: to write the text takes milliseconds.
        return _response(await asyncio.get_running_loop().run_in_executor(None, admin.metrics, snapshots))

    return {b"/livez": probe(admin.livez), b"/readyz": probe(admin.readyz), b"/metrics": metrics}


def _response(page: admin.Page) -> Response:
    return Response(
        page.status, page.body, b"content-type: %b\r\ncache-control: no-store\r\n" % page.content_type.encode()
    )


async def _tick(connections: Connections, store: OnlineStore[object], acceptor: Acceptor) -> None:
    """Once a second: the Date header, all deadlines but those that clients name themselves, a store that is silent."""
    loop = asyncio.get_running_loop()
    while True:
        try:
            connections.sweep(loop.time())
            store.ping_if_idle()
            acceptor.tell()
        except Exception:  # the next sweep has to come, or nothing would ever end
            logger.exception("a sweep failed by a bug of ours")
        pause = 1 - time.time() % 1
        due = loop.time() + pause
        await asyncio.sleep(pause)
        if loop.time() - due > LATE_S:
            # Something held up the loop. Timers come before sockets then: what seems overdue may lie in them.
            await asyncio.sleep(LATE_S)
