"""One push from body to body: the mirror of `endpoints.Endpoints.get_online_features`.

1. parse         the body becomes a WriteQuery                                         features/write_query.py
2. plan          the push source, or the view, finds its plan, compiled with the catalog   features/writes.py
3. compute       functions of on-demand views make their columns, if there are any     features/transforms.py
4. bind          columns become keys, times and stored Values, of all views            features/writes.py
5. fetch         the stored timestamps, in one round trip                              stores/
6. newest_rows   what is older than what is stored is left out                         features/writes.py
7. write         the rows, in one round trip                                           stores/

Until step 7 nothing is written, so a push that is refused has changed nothing. In step 7 rows leave in turns: when time
is up or the client leaves, what has not left never will. What has left is not taken back, nor sent again, so the answer
is then that nobody knows (504).

Between the timestamps and the rows others may write: Feast has the same race.

A coroutine here may await Futures only, as in `endpoints`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from time import perf_counter_ns
from typing import Generic

from yummy_fast.accounting import Accounting
from yummy_fast.config.settings import Features
from yummy_fast.errors import (
    FeastOnlyError,
    InexactNumberError,
    LimitError,
    ReadOnlyError,
    UnknownOutcomeError,
    YummyError,
)
from yummy_fast.features.catalog import Catalog
from yummy_fast.features.query import LARGE_BODY_BYTES
from yummy_fast.features.slices import Slices
from yummy_fast.features.steps import Steps, at_once
from yummy_fast.features.transforms import Transforms
from yummy_fast.features.write_query import WriteQuery, parse_push, parse_write
from yummy_fast.features.writes import (
    ROWS_PER_STEP,
    WritePlan,
    bind,
    check_size,
    last_rows,
    newest_rows,
)
from yummy_fast.features.written import Chosen, ViewRows
from yummy_fast.http.forward import Forwarder
from yummy_fast.http.http11 import CLIENT_LEFT, Request, Response
from yummy_fast.stores.online_store import OnlineStore, Prepared

Look = Callable[[], "asyncio.Future[None] | None"]
"""Looks whether the registry has changed: see `server.reload.Reloader.look`."""

CELLS_AT_ONCE = 4_096
"""Rows x features of a push that is bound in one go: 2 to 4 ms."""

PUSHED = Response(200, b"", b"")
"""Feast's answer to a push: no body, no Content-Type."""
WRITTEN = Response(200, b"null")


class Writing(Generic[Prepared]):
    """What is written."""

    def __init__(
        self,
        catalog: Callable[[], Catalog[Prepared]],
        store: OnlineStore[Prepared],
        transforms: Transforms,
        limits: Features,
        accounting: Accounting,
        slices: Slices,
        forwarder: Forwarder,
        look: Look,
    ) -> None:
        """`catalog` returns the one that serves now."""
        self._catalog = catalog
        self._store = store
        self._transforms = transforms
        self._limits = limits
        self._accounting = accounting
        self._slices = slices
        self._forwarder = forwarder
        self._look = look

    async def push(self, request: Request) -> Response:
        """POST /push: all views of a push source."""
        begun_at = perf_counter_ns()
        try:
            query = self._parsed(request, parse_push)
            if query.to != "online":
                return await self._forward(request, query)
            await self._write(query, request, is_push=True)
        except BaseException as error:
            self._failed("/push", error)
            raise
        self._accounting.pushed(query.name, query.to)
        self._accounting.wrote("/push", perf_counter_ns() - begun_at)
        return PUSHED

    async def write(self, request: Request) -> Response:
        """POST /write-to-online-store: one view."""
        begun_at = perf_counter_ns()
        try:
            await self._write(self._parsed(request, parse_write), request, is_push=False)
        except BaseException as error:
            self._failed("/write-to-online-store", error)
            raise
        self._accounting.wrote("/write-to-online-store", perf_counter_ns() - begun_at)
        return WRITTEN

    async def _forward(self, request: Request, query: WriteQuery) -> Response:
        """Feast's answer to a push that is for the offline store too: all of it is Feast's to do."""
        try:
            response = await self._forwarder.forward(request)
        except FeastOnlyError:
            raise FeastOnlyError(f"pushes to the offline store (to: {query.to})") from None
        if response.status < 400:
            self._accounting.pushed(query.name, query.to)
        return response

    def _parsed(self, request: Request, parse: Callable[[bytes], WriteQuery]) -> WriteQuery:
        if self._catalog().writes is None:
            raise ReadOnlyError("This server is read-only (--read-only)")
        return parse(request.body)

    def _failed(self, path: str, error: BaseException) -> None:
        if isinstance(error, GeneratorExit):  # the connection has closed the coroutine
            self._accounting.write_failed(path, CLIENT_LEFT, None)
        else:
            self._accounting.write_failed(path, error.status if isinstance(error, YummyError) else 500, error)

    async def _write(self, query: WriteQuery, request: Request, *, is_push: bool) -> None:
        if not query.allow_registry_cache and (looking := self._look()) is not None:
            await looking
        plans = self._catalog().writes
        assert plans is not None  # noqa: S101  # `_parsed` has looked
        plan = plans.of_source(query.name) if is_push else plans.of_view(query.name)
        check_size(plan.cells, query.rows, self._limits.max_rows, self._limits.max_cells)
        if plan.views[0].function is not None:
            query = await self._compute(plan, query)
        try:
            binding = self._bind(plan, query)
            bound = binding if isinstance(binding, list) else await self._slices.run(binding)
        except InexactNumberError:
            # A number has more digits than the fast parser keeps, and they matter: parse the body again, exactly.
            if len(request.body) > LARGE_BODY_BYTES or plan.views[0].function is not None:
                raise
            query = (parse_push if is_push else parse_write)(request.body, exact=True)
            binding = self._bind(plan, query, exact=True)
            bound = binding if isinstance(binding, list) else await self._slices.run(binding)
        written = [number for number, rows in enumerate(bound) if rows is not None]
        chosen = await self._choose(plan, written, [rows for rows in bound if rows is not None])
        writes = [(plan.prepared[number], one) for number, one in zip(written, chosen, strict=True)]
        storing = self._store.write(writes)
        try:
            await storing
        except LimitError as error:  # the time of the request is up
            raise UnknownOutcomeError(str(error)) from None
        for number, one in zip(written, chosen, strict=True):
            self._accounting.stored(plan.views[number].name, len(one.numbers), len(one.rows.keys) - len(one.numbers))

    async def _compute(self, plan: WritePlan[Prepared], query: WriteQuery) -> WriteQuery:
        """What is to be written, of an on-demand view: what its function makes of what came."""
        view = plan.views[0]  # no push source feeds an on-demand view, so it is the only one
        if not query.rows or not query.transform_on_write:
            return query
        assert view.function is not None  # noqa: S101
        assert view.computed is not None  # noqa: S101
        join_keys = [key.name for key in view.keys]
        computing = self._transforms.compute_written(view.computed, view.function, join_keys, query)
        try:
            computed: WriteQuery = await computing
        finally:
            computing.cancel()
        check_size(plan.cells, computed.rows, self._limits.max_rows, self._limits.max_cells)
        return computed

    @staticmethod
    def _bind(
        plan: WritePlan[Prepared], query: WriteQuery, *, exact: bool = False
    ) -> list[ViewRows | None] | Steps[list[ViewRows | None]]:
        """The rows of each view, or the steps to them if they are many. Raises RequestError."""
        binding = bind(plan.views, query, datetime.now(UTC), exact=exact)
        return at_once(binding) if query.rows * plan.cells <= CELLS_AT_ONCE else binding

    async def _choose(
        self, plan: WritePlan[Prepared], written: Sequence[int], bound: Sequence[ViewRows]
    ) -> list[Chosen]:
        """Which rows of each view that is written are stored."""
        if not self._store.compares_times:
            return [last_rows(rows) for rows in bound]
        if not bound:
            return []
        # A view that is not written is asked for a key of another one: a lookup has at least one.
        keys = [bound[0].keys[:1] for _ in plan.views]
        for number, rows in zip(written, bound, strict=True):
            keys[number] = list(dict.fromkeys(rows.keys))
        stored = await self._store.fetch_times(plan.times, keys)
        chosen = []
        for number, rows in zip(written, bound, strict=True):
            choosing = newest_rows(plan.views[number], rows, keys[number], stored[number])
            small = len(rows.keys) <= ROWS_PER_STEP
            chosen.append(at_once(choosing) if small else await self._slices.run(choosing))
        return chosen
