"""Put the parts together, listen, drain.

The composition root: the only module that sees everything. `build_catalog` makes a catalog from registry bytes, here
and at every reload; `serve` runs until SIGTERM or SIGINT, then stops listening, lets the requests in flight finish, and
returns.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from functools import partial
from typing import Any

import uvloop

from yummy_fast import admin
from yummy_fast.admin import AdminListener
from yummy_fast.board import Board
from yummy_fast.catalog import Catalog
from yummy_fast.config import Config
from yummy_fast.connection import Connection, Connections
from yummy_fast.download import without_secrets
from yummy_fast.endpoints import Answer, Endpoints
from yummy_fast.http11 import Request, Response
from yummy_fast.listeners import Listeners, close_sockets, open_sockets, url_of
from yummy_fast.logs import log_sample
from yummy_fast.payload import Rendering, Statuses
from yummy_fast.process import ServingProcess
from yummy_fast.registry import parse_registry
from yummy_fast.reload import Reloader, describe
from yummy_fast.sources import open_source
from yummy_fast.stores import OnlineStore, open_store_class
from yummy_fast.tokens import Tokens
from yummy_fast.transforms import Transforms, load

logger = logging.getLogger("yummy_fast")

IDLE_DRAIN_S = 0.5
"""How long idle connections stay open then: a request may be on its way on them, and is told that it was the last."""
DRAIN_S = 10.0
"""How long requests in flight may take to finish once the server has been told to stop."""
LATE_S = 0.1
"""A sweep that comes this late lets the sockets be read first, for as long."""


def open_store(config: Config) -> OnlineStore:
    """The online store that the configuration names, not yet connected. Raises ConfigError."""
    where = f"{config.source}: online_store.type"
    return open_store_class(str(config.online_store["type"]), where)(config)


def build_catalog(config: Config, store: OnlineStore, data: bytes) -> Catalog:
    """Compile a registry's bytes. Raises RegistryError."""
    where = without_secrets(config.registry_path)
    registry = parse_registry(data, config.project, where)
    if not registry.views:
        others = ", ".join(registry.other_projects) or "none"
        logger.warning(
            "%s: no feature views in project %s; the registry's other projects: %s",
            where,
            config.project,
            others,
        )
    catalog = Catalog(
        registry,
        key_version=config.key_version,
        versioning=config.versioning,
        prepare=store.prepare,
        render=partial(Rendering, statuses=statuses(config, store)),
        load=load,
        collisions=store.collisions,
    )
    for _, error in catalog.broken_views():
        logger.error("%s", error)
    for pair in catalog.collisions:
        logger.warning("%s: stored in one place, so one is served for the other; rename one: %s", where, pair)
    return catalog


def statuses(config: Config, store: OnlineStore) -> Statuses:
    """Which statuses the cells of an answer have."""
    if config.compat == "strict":
        return Statuses.TRUE
    return Statuses.PRESENT if store.absent_is_present else Statuses.FOUND


def run(config: Config, started: Callable[[str], None] = lambda url: None) -> None:
    """Serve until told to stop. `started` gets the URL once the server listens. Raises ConfigError, RegistryError."""
    uvloop.run(serve(config, started))


async def serve(config: Config, started: Callable[[str], None], sockets: Sequence[socket.socket] | None = None) -> None:
    """See `run`. `sockets`, where they are given, were made by `open_sockets` and stay the caller's to close."""
    process = ServingProcess(config)
    process.beat()
    with _admin(config, process):
        await _serve(config, started, process, sockets)


async def _serve(
    config: Config,
    started: Callable[[str], None],
    process: ServingProcess,
    sockets: Sequence[socket.socket] | None,
) -> None:
    source = open_source(config)
    stamp = source.stamp()  # before it is read: what changes in between is seen at the first look
    data = source.read()
    store = open_store(config)
    transforms = Transforms(process.metrics.transformed)
    catalog = build_catalog(config, store, data)
    pages = {} if config.admin else _data_pages(process)
    endpoints = Endpoints(
        *(catalog, store, transforms, config.compat, config.max_rows, config.max_cells, process.metrics, pages)
    )
    tokens = Tokens(config.auth_tokens) if config.auth_tokens else None
    handle: Callable[[Request], Answer] = endpoints.handle if tokens is None else tokens.guard(endpoints.handle)
    if config.access_log_sample:
        handle = log_sample(handle, config.access_log_sample)
    connections = Connections(handle, endpoints.failed, config)
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for signal_number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(signal_number, stop.set)
    reloader = Reloader(
        source,
        stamp,
        data,
        partial(build_catalog, config, store),
        endpoints.replace_catalog,
        config.registry_ttl_sec,
    )
    process.enter(source, store, endpoints, connections, reloader)
    serving_on = open_sockets(config) if sockets is None else sockets
    listeners = Listeners(serving_on, config, lambda: Connection(connections, loop))

    def reload() -> None:
        reloader.reload_now()
        if tokens is not None:
            tokens.reload()
        listeners.reload_tls()

    loop.add_signal_handler(signal.SIGHUP, reload)
    housekeeping = [loop.create_task(reloader.run()), loop.create_task(_tick(connections, store))]
    try:
        # Listening comes first, so that nobody is refused while the store's first connection is made.
        await listeners.open()
        process.listening = True
        await store.open()
        urls = [url_of(listening, config) for listening in serving_on]
        logger.info("serving %s on %s", describe(endpoints.catalog), " and ".join(urls))
        started(urls[0])
        await stop.wait()
        process.draining = True
        logger.info("stopping: %d connections open", len(connections.open))
    finally:
        listeners.close()
        if sockets is None:
            close_sockets(serving_on)
        await _drain(connections)
        for task in housekeeping:
            task.cancel()
        await asyncio.gather(*housekeeping, return_exceptions=True)
        await store.close()
        transforms.close()


@contextlib.contextmanager
def _admin(config: Config, board: Board) -> Iterator[None]:
    """The admin listener, if one is wanted. It is there before the registry is read, and says so."""
    if not config.admin:
        yield
        return
    listener = AdminListener(config.admin, board, reload=config.admin_reload)
    logger.info("admin on %s", listener.url)
    try:
        yield
    finally:
        listener.close()


def _data_pages(board: Board) -> dict[bytes, Callable[[Request], Response | Coroutine[Any, Any, Response]]]:
    """What the data port shows when there is no admin listener: nothing that changes anything."""

    def probe(view: Callable[[Board], admin.Page]) -> Callable[[Request], Response]:
        return lambda _: _response(view(board))

    async def metrics(_: Request) -> Response:
        # In a thread: to write the text takes milliseconds.
        return _response(await asyncio.get_running_loop().run_in_executor(None, admin.metrics, board))

    return {b"/livez": probe(admin.livez), b"/readyz": probe(admin.readyz), b"/metrics": metrics}


def _response(page: admin.Page) -> Response:
    return Response(
        page.status, page.body, b"content-type: %b\r\ncache-control: no-store\r\n" % page.content_type.encode()
    )


async def _tick(connections: Connections, store: OnlineStore) -> None:
    """Once a second: the Date header, all deadlines but those that clients name themselves, a store that is silent."""
    loop = asyncio.get_running_loop()
    while True:
        try:
            connections.sweep(loop.time())
            store.nudge()
        except Exception:  # the next sweep has to come, or nothing would ever end
            logger.exception("a sweep failed by a bug of ours")
        pause = 1 - time.time() % 1
        due = loop.time() + pause
        await asyncio.sleep(pause)
        if loop.time() - due > LATE_S:
            # Something held up the loop. Timers come before sockets then: what seems overdue may lie in them.
            await asyncio.sleep(LATE_S)


async def _drain(connections: Connections) -> None:
    """Let the requests in flight finish; then close what is left."""
    connections.closing = True
    for patience_s in (IDLE_DRAIN_S, DRAIN_S):
        if connections.open:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(connections.emptied.wait(), patience_s)
        for connection in list(connections.open):
            connection.close_if_idle()
    for connection in list(connections.open):
        connection.abort()
