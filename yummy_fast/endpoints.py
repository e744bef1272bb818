"""The endpoints, and one request from its body to the body of its answer. Start reading here.

`Endpoints.get_online_features` is what this program is for, in six steps:

1. parse_query     the body becomes a Query                                              features/query.py
2. plan_for        the Query finds its plan, compiled when the registry was loaded       features/catalog.py
3. _bind           its entities become entity keys                                       features/binding.py
4. fetch           the online store reads the rows of the keys                           stores/
5. compute         functions of on-demand views make further columns, if there are any   features/transforms.py
6. _encode         all of it becomes the body of the answer                              features/vectors.py

Large requests take the same steps in slices, so that other requests need not wait for them: features/slices.py.

`accounting` records what is measured of a request (metrics, traces). The rest of this file answers requests with other
paths or methods, and turns errors into answers.

This file does not know which store there is. It knows no sockets either: `http.connection` hands it Requests and sends
its Responses. A coroutine here may await Futures only, since `http.connection` runs it without a Task.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from time import perf_counter_ns
from typing import Generic
from urllib.parse import unquote_to_bytes

from yummy_fast.accounting import Accounting, Work
from yummy_fast.config.settings import Features
from yummy_fast.errors import InexactNumberError, LimitError, RequestError, RouteError, YummyError
from yummy_fast.feast_format.values import LargeValuesError
from yummy_fast.features.binding import Binder, Bound, least_keys
from yummy_fast.features.catalog import Catalog, Compiled
from yummy_fast.features.entities import VALUES_PER_STEP, convert_column, shown
from yummy_fast.features.large_answers import check_stored_size, encode_in_steps
from yummy_fast.features.pushed_rows import newer_rows
from yummy_fast.features.query import LARGE_BODY_BYTES, Query, parse_exactly, parse_query
from yummy_fast.features.slices import Slices
from yummy_fast.features.statuses import NO_MOMENT, StatusPolicy, status_policy
from yummy_fast.features.steps import Budget, Steps, at_once
from yummy_fast.features.transforms import Transforms
from yummy_fast.features.vectors import MAX_CELLS_AT_ONCE, Layout, encode_vectors
from yummy_fast.http.forward import BELOW_METHODS, FORWARDED, FORWARDED_BELOW, Forwarder
from yummy_fast.http.http11 import Request, Response, ResponseOrCoroutine, split_target
from yummy_fast.http.trace_headers import log_fields, log_text
from yummy_fast.stores.online_store import OnlineStore, Prepared
from yummy_fast.telemetry.metrics import Metrics
from yummy_fast.writing import Look, Writing

logger = logging.getLogger("yummy_fast")

Endpoint = Callable[[Request], ResponseOrCoroutine]
LargeBody = tuple[Steps[bytearray], Budget]
"""The steps to a large body, and how large it may be."""

_JSON = b"content-type: application/json\r\n"
_EMPTY = Response(200, b"", b"")
_EXACT = StatusPolicy.EXACT
_convert_exactly = partial(convert_column, exact=True)


class Endpoints(Generic[Prepared]):
    """What the server answers. `catalog` is replaced as a whole when the registry changes."""

    def __init__(
        self,
        catalog: Catalog[Prepared],
        store: OnlineStore[Prepared],
        transforms: Transforms,
        limits: Features,
        metrics: Metrics,
        pages: Mapping[bytes, Endpoint],
        forwarder: Forwarder | None = None,
        look: Look = lambda: None,
    ) -> None:
        """
        - `limits`: how large an answer may be; and `compat`, which says what the statuses in an answer mean. A request
          may ask for the other one by the header X-Feast-Compat; each answer names its own in a header of that name.
        - `pages`: the other endpoints that can be requested with GET, by path.
        - `forwarder`: where Feast's own server is, which answers what this one does not.
        - `look`: looks whether the registry has changed, for pushes that must not rely on an old one.
        """
        self.catalog = catalog
        self._store = store
        self._transforms = transforms
        self._metrics = metrics
        self._accounting = Accounting(metrics)
        self._limits = limits
        self._slices = Slices()
        self._compat = limits.compat.encode()
        self._answer_headers = _answer_headers(self._compat)
        self._forwarder = forwarder or Forwarder("", 0)
        self._writing = Writing(
            lambda: self.catalog, store, transforms, limits, self._accounting, self._slices, self._forwarder, look
        )
        forwarded: dict[bytes, dict[bytes, Endpoint]] = {
            path: dict.fromkeys(methods, self._forwarder.forward) for path, methods in FORWARDED.items()
        }
        self._table: dict[bytes, dict[bytes, Endpoint]] = {
            **forwarded,
            b"/push": {b"POST": self._writing.push},
            b"/write-to-online-store": {b"POST": self._writing.write},
            b"/get-online-features": {b"POST": self.get_online_features},
            # As in Feast, this is about the registry, and not about the store. Yummy's clients ask with POST, and HEAD
            # is wherever GET is (RFC 9110 9.1): haproxy's httpchk asks so.
            b"/health": {b"GET": self.health, b"HEAD": self.health, b"POST": self.health},
            b"/openapi.json": {b"GET": self.openapi, b"HEAD": self.openapi},
            b"*": {b"OPTIONS": self.health},  # the server as a whole, of which the target names no part: RFC 9110 9.3.7
            **{path: {b"GET": page, b"HEAD": page} for path, page in pages.items()},
        }

    def replace_catalog(self, catalog: Catalog[Prepared]) -> Catalog[Prepared]:
        """From now on, answer from `catalog`. Returns the previous catalog; requests in flight keep their plans."""
        before, self.catalog = self.catalog, catalog
        return before

    # ----------------------------------------------------------------------------------------------------- the features

    async def get_online_features(self, request: Request) -> Response:
        """POST /get-online-features: the features of some entities, in six steps.

        `work` gets the result of each step, and when it ended.
        """
        work = Work()
        try:
            query = parse_query(request.body)
            compiled = self.catalog.plan_for(query.feature_service, query.features, query.full_feature_names)
            work.compiled = compiled
            layout = self._layout(compiled, request.compat) if request.compat else compiled.layout
            if self._store.state.crowded:  # else a refused request would spend most of its time on making keys
                self._store.check_room(least_keys(compiled.plan, query.entities))
            binding = self._bind(compiled, query, request.body)
            bound = binding if isinstance(binding, Bound) else await self._slices.run(binding)
            work.bound, work.bound_at = bound, perf_counter_ns()
            work.rows = await self._store.fetch(compiled.prepared, bound.keys)
            work.read_at = perf_counter_ns()
            if compiled.follows_up:
                await self._follow_up(compiled, work, bound)
            encoded = self._encode(layout, bound, work, query.version_metadata)
            body = encoded if isinstance(encoded, bytes) else await self._slices.run(*encoded)
            work.encoded_at = perf_counter_ns()
        except BaseException as error:  # GeneratorExit too: the client has left
            self._accounting.failed(work, error, request.trace)
            raise
        more_headers = self._accounting.answered(work, request.trace)
        headers = _answer_headers(request.compat.lower()) if request.compat else self._answer_headers
        # As Response(...), without its __new__, which a NamedTuple has in Python.
        return tuple.__new__(Response, (200, body, headers + more_headers, compiled.plan.service, None))

    async def _follow_up(self, compiled: Compiled[Prepared], work: Work, bound: Bound) -> None:
        """What only some plans need between the store's answer and ours. Raises LimitError, TransformError."""
        plan = compiled.plan
        if plan.pushed:
            work.rows = newer_rows(plan, work.rows)
        if plan.computed:
            # A list of 768 numbers, read for 40,000 rows of one entity, would be a gigabyte of Python's numbers.
            budget = Budget(self._limits.max_answer_bytes, bound.rows, "what on-demand feature views read")
            checking = check_stored_size(compiled.layout, bound, work.rows, budget)
            if bound.rows * compiled.layout.cells > MAX_CELLS_AT_ONCE:
                await self._slices.run(checking)
            else:
                at_once(checking)
            computing = self._transforms.compute(plan, bound, work.rows)
            try:
                work.computed = await computing
            finally:
                computing.cancel()  # if the request is given up, its functions need not begin
            work.computed_at = perf_counter_ns()

    def _layout(self, compiled: Compiled[Prepared], compat: bytes) -> Layout:
        """What to answer by if the request has X-Feast-Compat. Raises RequestError for a value that it may not have."""
        wanted = compat.lower()
        if wanted not in (b"feast", b"strict"):
            raise RequestError(f"X-Feast-Compat: expected feast or strict, got {shown(compat.decode('latin-1'))}")
        if wanted == self._compat:
            return compiled.layout
        if compiled.other_layout is None:
            policy = status_policy(wanted.decode(), absent_is_present=self._store.absent_is_present)
            compiled.other_layout = Layout(compiled.plan, policy, compiled.layout.tails)
        return compiled.other_layout

    def _bind(self, compiled: Compiled[Prepared], query: Query, body: bytes) -> Bound | Steps[Bound]:
        """Bind the entities of a request, or return the steps if they are many. Raises LimitError, RequestError."""
        rows = max(map(len, query.entities.values())) if query.entities else 1
        if rows > self._limits.max_rows:
            raise LimitError(413, f"Content Too Large: the limit is {self._limits.max_rows} entity rows")
        if rows * compiled.layout.cells > self._limits.max_cells:
            raise LimitError(413, f"Content Too Large: the limit is {self._limits.max_cells} rows x features")
        if rows * len(query.entities) > VALUES_PER_STEP:
            return _bind_in_steps(compiled.binder, query, body)
        try:
            return compiled.binder.bind(query.entities)
        except InexactNumberError:
            if len(body) > LARGE_BODY_BYTES:
                raise
        # A number has more digits than the fast parser keeps, and they matter: parse the body again, exactly.
        return compiled.binder.bind(parse_exactly(body).entities, _convert_exactly)

    def _encode(self, layout: Layout, bound: Bound, work: Work, version_metadata: bool) -> bytes | LargeBody:
        """Make the body of the answer, or the steps to it if it is large. Raises CorruptValueError, LimitError."""
        rows, computed = work.rows, work.computed
        now = datetime.now(UTC) if layout.policy is _EXACT else NO_MOMENT  # only strict statuses depend on ages
        max_bytes = self._limits.max_answer_bytes
        if layout.fits_at_once(bound, rows, computed):
            try:
                body = encode_vectors(layout, bound, rows, computed, version_metadata=version_metadata, now=now)
                if len(body) > max_bytes:  # of 8 MiB or so that are made at once, if the limit is less
                    Budget(max_bytes, bound.rows).check(len(body))
                return body
            except LargeValuesError:
                pass  # in steps, then
        budget = Budget(max_bytes, bound.rows)
        steps = encode_in_steps(
            layout, bound, rows, computed, budget=budget, version_metadata=version_metadata, now=now
        )
        return steps, budget

    # ----------------------------------------------------------------------------------------------------- all the rest

    def health(self, _: Request) -> Response:
        """/health: always 200, because a server without a registry does not start."""
        return _EMPTY

    def openapi(self, _: Request) -> Response:
        """/openapi.json: what is served, by the registry that is served now."""
        return Response(200, self.catalog.openapi, _JSON)

    def handle(self, request: Request) -> ResponseOrCoroutine:
        """The answer to a request, or a coroutine for it. Raises exceptions that `failed` turns into answers."""
        methods = self._table.get(request.url) or self._find(request)
        endpoint = methods.get(request.method)
        if endpoint is None:
            raise RouteError(405, "Method Not Allowed", allow=", ".join(method.decode() for method in methods))
        return endpoint(request)

    def _find(self, request: Request) -> dict[bytes, Endpoint]:
        """The endpoints, by method, of a target that the table does not have as it was sent. Raises RouteError."""
        raw_path, query = split_target(request.url)
        path = unquote_to_bytes(raw_path)
        methods = self._table.get(path)
        if methods is None and path.startswith(FORWARDED_BELOW):
            return dict.fromkeys(BELOW_METHODS, self._forwarder.forward)
        if methods is None:
            slashless = path.rstrip(b"/")
            if slashless in self._table:
                location = _relative(raw_path, slashless) + query
                return {request.method: lambda _: _redirect(location)}  # any method, as Starlette does
            raise RouteError(404, "Not Found")
        return methods

    def failed(self, error: BaseException, request: Request) -> Response:
        """The answer to a request that has raised `error`. A bug is logged, but not described in the answer."""
        if isinstance(error, YummyError):
            self._metrics.refused(error.status)
            return Response(error.status, error.body(), _JSON + error.headers)
        self._metrics.refused(500)
        fields = {"fields": log_fields(request.trace)}
        logger.error("a request failed by a server bug%s", log_text(request.trace), exc_info=error, extra=fields)
        return Response(500, b'"Internal Server Error"')


def _answer_headers(compat: bytes) -> bytes:
    """The head lines of an answer with features: `compat` says what the statuses in it mean."""
    return _JSON + b"x-feast-compat: %b\r\n" % compat


def _bind_in_steps(binder: Binder, query: Query, body: bytes) -> Steps[Bound]:
    """Bind the entities of a request in steps. `Endpoints._bind` has checked how many there are."""
    try:
        bound = yield from binder.bind_in_steps(query.entities)
    except InexactNumberError:
        if len(body) > LARGE_BODY_BYTES:
            raise
        bound = yield from binder.bind_in_steps(parse_exactly(body).entities, _convert_exactly)
    return bound


def _relative(base: bytes, path: bytes) -> bytes:
    """`path` as a reference relative to the path `base` (RFC 3986 5.2), such as b"../health" for b"/health/".

    A proxy may have taken a prefix off what its client asked for, /feast/health/ perhaps. For the client this is then
    /feast/health, whereas an absolute path would lead out of the prefix.
    """
    return b"../" * (base.count(b"/") - 1) + path[1:]


def _redirect(target: bytes) -> Response:
    return Response(307, b"", b"location: %b\r\n" % target)
