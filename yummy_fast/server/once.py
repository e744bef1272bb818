"""One request without a server: what `yummy-fast get` does if it is given no URL.

The parts are those of a server, so the answer is the one that a server would give, on-demand views included.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine

from yummy_fast.config.settings import Config
from yummy_fast.endpoints import Endpoints
from yummy_fast.errors import YummyError
from yummy_fast.features.transforms import Transforms
from yummy_fast.http.http11 import Request
from yummy_fast.server.app import build_catalog, open_store
from yummy_fast.sources.open_source import open_source
from yummy_fast.telemetry.metrics import Metrics


def answer_once(config: Config, body: bytes, compat: str) -> tuple[int, bytes]:
    """The status and the body that answer one POST /get-online-features. Raises ConfigError, RegistryError."""
    return asyncio.run(_answer(config, body, compat))


async def _answer(config: Config, body: bytes, compat: str) -> tuple[int, bytes]:
    store = open_store(config)
    metrics = Metrics()
    transforms = Transforms(metrics.transformed)
    catalog = build_catalog(config, store, open_source(config.repository).read())
    endpoints = Endpoints(catalog, store, transforms, config.features, metrics, pages={})
    request = Request(b"POST", b"/get-online-features", body, keep_alive=False, compat=compat.encode())
    await store.open()
    try:
        coroutine = endpoints.handle(request)
        assert isinstance(coroutine, Coroutine), "features are answered by a coroutine"  # noqa: S101
        response = await coroutine
    except YummyError as error:
        return error.status, error.body()
    finally:
        await store.close()
        transforms.close()
    return response.status, bytes(response.body)
