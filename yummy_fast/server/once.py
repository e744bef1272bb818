"""Requests without a server: what `yummy-fast get` and `compare` do if they are given no URL.

The parts are those of a server, so the answers are the ones that a server would give, on-demand views included.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from types import TracebackType
from typing import Self

from yummy_fast.config.settings import Config
from yummy_fast.diagnosis.differences import Answer
from yummy_fast.endpoints import Endpoints
from yummy_fast.errors import YummyError
from yummy_fast.feast_format.registry import FeatureView
from yummy_fast.features.catalog import Catalog
from yummy_fast.features.transforms import Transforms
from yummy_fast.http.http11 import Request
from yummy_fast.server.app import build_catalog, open_store
from yummy_fast.sources.open_source import open_source
from yummy_fast.telemetry.metrics import Metrics


class Answerer:
    """Answers requests one after the other, within a `with` block. Its event loop turns only while one is answered."""

    def __init__(self, config: Config) -> None:
        """Raises ConfigError, RegistryError."""
        self._store = open_store(config)
        metrics = Metrics()
        self._transforms = Transforms(metrics.transformed)
        catalog = build_catalog(config, self._store, open_source(config.repository).read())
        self.catalog: Catalog[object] = catalog
        self._endpoints = Endpoints(catalog, self._store, self._transforms, config.features, metrics, pages={})
        self._runner = asyncio.Runner()

    def __enter__(self) -> Self:
        self._runner.__enter__()
        self._runner.run(self._store.open())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._runner.run(self._store.close())
            self._transforms.close()
        finally:
            self._runner.__exit__(kind, error, trace)

    def answer(self, body: bytes, compat: str) -> Answer:
        """The answer to one POST /get-online-features."""
        return self._runner.run(self._answer(body, compat))

    def stored_keys(self) -> Sequence[bytes]:
        """Some entity keys that the store has. Raises StoreUnavailableError."""
        views = [view.name for view in self.catalog.registry.views.values() if isinstance(view, FeatureView)]
        return self._runner.run(self._store.survey(views)).keys

    async def _answer(self, body: bytes, compat: str) -> Answer:
        request = Request(b"POST", b"/get-online-features", body, keep_alive=False, compat=compat.encode())
        try:
            coroutine = self._endpoints.handle(request)
            assert isinstance(coroutine, Coroutine), "features are answered by a coroutine"  # noqa: S101
            response = await coroutine
        except YummyError as error:
            return Answer(error.status, error.body())
        return Answer(response.status, response.body)


def answer_once(config: Config, body: bytes, compat: str) -> Answer:
    """The answer to one POST /get-online-features. Raises ConfigError, RegistryError."""
    with Answerer(config) as answerer:
        return answerer.answer(body, compat)
