"""Put the parts together, and serve.

This is where the parts get to know each other: an endpoint its store, a connection its handler, a reload what it swaps.
Everywhere else a part sees only what is further down. (`cli` uses some parts as well, for `yummy-fast check`, but runs
none of them.) `build_catalog` makes a catalog from registry bytes, at the start and at every reload. `serve` runs until
told to stop, then drains and returns: alone in this process (`run`), or in one of several workers (`workers.worker`).
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
from typing import TYPE_CHECKING, NoReturn

import uvloop

from yummy_fast import __version__
from yummy_fast.config.settings import Config, Tls
from yummy_fast.endpoints import Endpoints
from yummy_fast.errors import ConfigError, ShutdownRequested, how_to_install
from yummy_fast.feast_format.registry import Registry, Throttle, parse_registry, unthrottled
from yummy_fast.features.catalog import Catalog
from yummy_fast.features.feast_faults import AS_IN_FEAST, feast_faults
from yummy_fast.features.statuses import status_policy
from yummy_fast.features.transforms import Transforms, load
from yummy_fast.features.vectors import Layout, Tails
from yummy_fast.http.accept import Acceptor, ConnectionBalance
from yummy_fast.http.connection import Connection, Connections, Handle
from yummy_fast.http.forward import FORWARDED, Forwarder
from yummy_fast.http.http11 import Request, Response, ResponseOrCoroutine
from yummy_fast.http.listeners import close_sockets, open_sockets, refuse_new, tls_context, url_of
from yummy_fast.http.tokens import Tokens
from yummy_fast.native import owner
from yummy_fast.server import admin
from yummy_fast.server.admin import AdminListener
from yummy_fast.server.drain import Stop, drain
from yummy_fast.server.health import Health, Parts, ServerHealth
from yummy_fast.server.reload import Reloader, describe, gc_paused
from yummy_fast.server.service_manager import ServiceManager
from yummy_fast.sources.download import without_secrets
from yummy_fast.sources.open_source import open_source
from yummy_fast.stores.online_store import OnlineStore, Prepared, open_store_class
from yummy_fast.telemetry.exposition import Snapshot
from yummy_fast.telemetry.logs import log_sample, stderr_logs

if TYPE_CHECKING:  # most servers need neither
    from yummy_fast.server.shadow import Shadow
    from yummy_fast.telemetry.spans import Spans

logger = logging.getLogger("yummy_fast")

Failed = Callable[[BaseException, Request], Response]
"""Makes the answer to a request that has raised an error."""

MAX_LISTED = 20
"""At most this many feature services that cannot be served are logged each time the registry is compiled."""
LATE_S = 0.1
"""A sweep that comes this late lets the event loop read sockets for as long, before the next one."""


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
        raise ConfigError(f"--otel needs {error.name}: {how_to_install('otel')}") from None
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
    policy = status_policy(config.features.compat, absent_is_present=store.absent_is_present)
    catalog = Catalog(
        registry,
        key_version=repository.key_version,
        versioning=repository.versioning,
        prepare=store.prepare,
        lay_out=partial(Layout, policy=policy, tails=Tails()),
        load=load,
        collisions=store.collisions,
        prepare_write=None if config.writes.read_only else store.prepare_write,
        compares_times=store.compares_times,
        serve_materializing=repository.serve_materializing,
        strict=config.features.compat == "strict",
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


def build_served_catalog(
    config: Config, store: OnlineStore[Prepared], data: bytes, throttle: Throttle = unthrottled
) -> Catalog[Prepared]:
    """As `build_catalog`, with the body of /openapi.json. Raises RegistryError."""
    from yummy_fast.features.openapi import Served, openapi  # 5 ms, which `--help` and `check` need not wait for

    catalog = build_catalog(config, store, data, throttle)
    forwarded = [(path.decode(), method.decode().lower()) for path, methods in FORWARDED.items() for method in methods]
    served = Served(
        __version__,
        needs_token=bool(config.auth.tokens),
        has_probes=not config.admin.address,
        forwarded=tuple(forwarded) if config.writes.forward_to else (),
    )
    catalog.openapi = openapi(catalog, served, throttle)
    return catalog


class FeastFaults:
    """Says which answers are wrong because they are Feast's: at the start, and what is new after a reload."""

    def __init__(self, config: Config) -> None:
        self._where = without_secrets(config.repository.registry_path)
        self._versioning = config.repository.versioning
        self._is_feasts = config.features.compat == "feast"
        self._said: list[str] = []
        """What holds of the registry that was looked at last: a line for each kind at most."""

    def log(self, registry: Registry) -> None:
        faults = feast_faults(registry, versioning=self._versioning) if self._is_feasts else []
        for fault in faults:
            if fault not in self._said:
                logger.info("%s: %s: %s", self._where, AS_IN_FEAST, fault)
        self._said = faults


def run(config: Config, started: Callable[[str], None] = lambda url: None) -> None:
    """Serve in this process until told to stop. `started` gets the URL once the server listens.

    Raises ConfigError, RegistryError.
    """
    for log in stderr_logs():
        log.use_thread()
    uvloop.run(_run_alone(config, started))


def install_startup_signals() -> None:
    """What signals do until there is something to serve: SIGTERM and SIGINT end the process, the others do nothing.

    Later, `serve` and the supervisor install their own handlers. Without these ones, a SIGTERM to the first process of
    a container would be ignored, and at a SIGINT asyncio would cancel whatever runs just then.
    """
    handled = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR2, signal.SIGCHLD)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, handled)  # a mask is inherited from whatever started this process
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _leave)
    for number in (signal.SIGHUP, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)


def _leave(number: int, frame: object) -> NoReturn:
    raise ShutdownRequested(0)


async def _run_alone(config: Config, started: Callable[[str], None]) -> None:
    health = ServerHealth(config.repository, config.store)
    health.beat()
    stop = Stop()
    notify = partial(ServiceManager().notify_from, asyncio.get_running_loop())

    def request_stop() -> None:
        notify("STOPPING=1")
        stop.request()

    no_rolling_restart = partial(logger.warning, "SIGUSR2 ignored: a rolling restart needs --workers 2 or more")
    signals: dict[signal.Signals, Callable[[], None]] = {
        signal.SIGINT: request_stop,
        signal.SIGTERM: request_stop,
        signal.SIGUSR2: no_rolling_restart,
    }

    urls_of_data: list[str] = []

    def announce(what: str, urls: Sequence[str]) -> None:
        urls_of_data.extend(urls)
        logger.info("serving %s on %s", what, " and ".join(urls))
        logger.info("hot path: %s", owner.DESCRIPTION)
        notify("READY=1")
        started(urls[0])

    def registry() -> Registry | None:
        return health.parts.endpoints.catalog.registry if health.parts is not None else None

    with admin_listener(config, health, registry, lambda: urls_of_data[0] if urls_of_data else ""):
        await serve(config, health, ProcessContext(stop, health.snapshots, signals), announce)


@dataclass(slots=True)
class ProcessContext:
    """What differs between a process that serves alone and a worker beside others."""

    stop: Stop
    snapshots: Callable[[], list[Snapshot]]
    """The numbers of all processes that serve: /metrics on the data port, where there is no admin listener."""
    signals: Mapping[signal.Signals, Callable[[], None]]
    """What signals do once there is something to serve. SIGHUP does the same everywhere."""
    sockets: Sequence[socket.socket] = ()
    """The supervisor's listening sockets. A process that serves alone opens its own, after the registry is loaded."""
    balance: ConnectionBalance | None = None
    slot: int = 0
    """This worker's index in `balance`."""
    is_last: bool = True
    """Whether no other process goes on accepting connections when this one stops."""


async def serve(
    config: Config, health: ServerHealth, context: ProcessContext, announce: Callable[[str, Sequence[str]], None]
) -> None:
    """Serve until told to stop. `announce` gets what is served and the URLs, once the ports are open.

    Each part registers how it is closed, and they are closed in the opposite order: first the drain, during which
    everything else still works, then spans, housekeeping, the store, and the threads of on-demand views.

    Raises ConfigError, RegistryError.
    """
    loop = asyncio.get_running_loop()
    source = open_source(config.repository)
    stamp = source.stamp()  # before it is read: a change in between is found by the first look
    data = source.read()
    async with contextlib.AsyncExitStack() as closing:
        transforms = Transforms(health.metrics.transformed)
        closing.callback(transforms.close)
        store = open_store(config)
        closing.push_async_callback(store.close)
        for notice in store.notices if context.slot == 0 else ():  # one of the workers says it for all
            logger.warning("%s", notice)
        forwarder = Forwarder(config.writes.forward_to, config.writes.forward_timeout_s)
        with gc_paused():
            endpoints = Endpoints(
                # Nothing here names the catalog, because this frame lives as long as the server, and would keep it:
                # docs/architecture.md, "No cycles".
                build_served_catalog(config, store, data),
                store,
                transforms,
                config.features,
                health.metrics,
                pages={} if config.admin.address else _data_pages(health, context.snapshots),
                forwarder=forwarder,
                look=lambda: reloader.look(),
            )
        tokens = Tokens(config.auth.tokens) if config.auth.tokens else None
        spans = _open_spans(config)
        shadow = _open_shadow(config, health)
        if shadow is not None:
            closing.callback(shadow.close)
        handle, failed = _wrap(endpoints, shadow, tokens, config.telemetry.access_log_sample, spans)
        connections = Connections(
            handle, failed, config.limits, config.timeouts, forwarder.is_forwarded, forwarder.kept_for
        )
        faults = FeastFaults(config)

        def compile_catalog(data: bytes, throttle: Throttle) -> Catalog[object]:
            catalog = build_served_catalog(config, store, data, throttle)
            if context.slot == 0:
                faults.log(catalog.registry)
            return catalog

        ttl_s = config.features.registry_ttl_s
        reloader = Reloader(source, stamp, data, compile_catalog, endpoints.replace_catalog, ttl_s)
        tls = tls_context(config.tls)
        sockets = context.sockets or open_sockets(config.address)
        acceptor = Acceptor(
            sockets,
            lambda: Connection(connections, loop),
            lambda: len(connections.open),
            tls=tls,
            handshake_timeout_s=config.timeouts.header_s,
            max_connections=config.limits.max_connections,
            balance=context.balance,
            slot=context.slot,
        )
        tasks = [loop.create_task(reloader.run()), loop.create_task(_tick(connections, store, acceptor))]
        closing.push_async_callback(_cancel, tasks)
        if spans is not None:
            spans.serve_at(sockets[0])
            closing.push_async_callback(spans.close, context.stop.rest)

        def on_sighup() -> None:
            reloader.reload_now()
            if tokens is not None:
                tokens.reload()
            _reload_tls(config.tls, acceptor)

        for number, action in {**context.signals, signal.SIGHUP: on_sighup}.items():
            loop.add_signal_handler(number, action)
        health.parts = Parts(source, store, endpoints, connections, acceptor, reloader)

        async def stop_accepting() -> None:
            if context.is_last:
                refuse_new(sockets)
            acceptor.stop(accept_waiting=context.is_last)
            close_sockets(sockets)
            await acceptor.arrived(config.drain.idle_s)

        closing.push_async_callback(drain, config.drain, context.stop, connections, stop_accepting)
        closing.callback(health.unready)
        await store.open()
        # Clients that came meanwhile waited in the kernel's queue. Else they would get 503: no connection to the store.
        acceptor.start()
        health.listening = True
        if context.slot == 0:  # one worker says it for all
            faults.log(endpoints.catalog.registry)
        announce(describe(endpoints.catalog), [url_of(listening, config.tls) for listening in sockets])
        await context.stop.requested.wait()


def _open_spans(config: Config) -> Spans | None:
    if not config.telemetry.otel:
        return None
    store_type = str(config.repository.online_store["type"])
    spans: Spans | None = import_spans().open_spans(https=bool(config.tls.cert), store_type=store_type)
    return spans


def _open_shadow(config: Config, health: ServerHealth) -> Shadow | None:
    if not config.shadow.url or not config.shadow.share:
        return None
    from yummy_fast.server.shadow import Shadow

    return Shadow(config.shadow, config.features.compat, health.metrics)


def _wrap(
    endpoints: Endpoints[object],
    shadow: Shadow | None,
    tokens: Tokens | None,
    access_log_sample: float,
    spans: Spans | None,
) -> tuple[Handle, Failed]:
    """What answers a request, and what is called for one that failed: the endpoints', with what goes around them."""
    handle: Handle = endpoints.handle
    failed: Failed = endpoints.failed
    if shadow is not None:  # next to the endpoints: a request without a token is no difference
        handle = shadow.follow(handle)
    if tokens is not None:
        handle = tokens.guard(handle)
    if access_log_sample:
        handle = log_sample(handle, access_log_sample)
    if spans is not None:
        handle, failed = spans.follow(handle), spans.follow_failed(failed)
    return handle, failed


async def _cancel(tasks: Sequence[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _reload_tls(tls: Tls, acceptor: Acceptor) -> None:
    """Read the TLS files again: the next handshakes use them. What cannot be used is logged and changes nothing."""
    if not tls.cert:
        return
    try:
        acceptor.tls = tls_context(tls)
    except ConfigError as error:
        logger.error("TLS files not reloaded, the previous ones stay in use: %s", error)
    else:
        logger.info("TLS files reloaded: %s", tls.cert)


@contextlib.contextmanager
def admin_listener(
    config: Config, health: Health, registry: Callable[[], Registry | None], data_url: Callable[[], str]
) -> Iterator[None]:
    """The admin listener, if one is wanted. It is there before the registry is read, and says so.

    Where Feast's --metrics asked for it, it listens on all addresses: what looks into the store is not offered there.
    `registry`: the one that is served; where it returns None, a question has it read from its source.
    `data_url`: where the page for people asks for features; empty before the data port is open.
    """
    options = config.admin
    if not options.address:
        yield
        return
    explain = None
    if options.reload:
        from yummy_fast.server.explaining import Explaining  # which no server without an admin listener needs

        explain = Explaining(config, registry, lambda: open_store(config).looks())
    more = None
    if options.ui:
        from yummy_fast.server.page import PeoplePage

        more = PeoplePage(options.address, data_url).paths
    listener = AdminListener(
        options.address, health, reload=options.reload, explain=explain, more=more, key=options.key
    )
    logger.info("admin on %s", listener.url)
    try:
        yield
    finally:
        listener.close()


def _data_pages(
    health: Health, snapshots: Callable[[], list[Snapshot]]
) -> dict[bytes, Callable[[Request], ResponseOrCoroutine]]:
    """What the data port shows when there is no admin listener: pages that change nothing."""

    def probe(view: Callable[[Health], admin.Page]) -> Callable[[Request], Response]:
        return lambda _: _response(view(health))

    async def metrics(_: Request) -> Response:
        # In a thread, because writing the text takes milliseconds.
        return _response(await asyncio.get_running_loop().run_in_executor(None, admin.metrics, snapshots))

    return {b"/livez": probe(admin.livez), b"/readyz": probe(admin.readyz), b"/metrics": metrics}


def _response(page: admin.Page) -> Response:
    headers = (("content-type", page.content_type), ("cache-control", "no-store"), *page.headers)
    lines = "".join(f"{name.lower()}: {value}\r\n" for name, value in headers)
    return Response(page.status, page.body, lines.encode())


async def _tick(connections: Connections, store: OnlineStore[object], acceptor: Acceptor) -> None:
    """Once a second: the Date header, all deadlines except those that clients set, and a question to the store."""
    loop = asyncio.get_running_loop()
    while True:
        try:
            connections.sweep(loop.time())
            store.ping_if_idle()
            acceptor.report()
            acceptor.log_failures()
        except Exception:  # the next sweep has to come, or no deadline would ever end anything
            logger.exception("a sweep failed by a server bug")
        pause = 1 - time.time() % 1
        due = loop.time() + pause
        await asyncio.sleep(pause)
        if loop.time() - due > LATE_S:
            # Something held up the loop, and timers run before sockets are read: what seems overdue may have arrived.
            await asyncio.sleep(LATE_S)
