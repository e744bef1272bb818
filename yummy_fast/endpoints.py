"""The endpoint table, and one request from body to body. Start reading here.

`Endpoints.get_online_features` is what this program is for, step by step: the body becomes a Query (`query`), the
query finds its Plan (`catalog`) and binds its entities to keys (`plan`), the store reads the keys in one round trip
(`stores`), and the rows become the answer's body (`vectors`), with what on-demand views make of them (`transforms`).
Everything else on this page is about requests that are something else.

It does not know which store there is, nor sockets: it is handed Requests and gives Responses. A coroutine here may
await Futures only (see `connection`).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from time import monotonic, perf_counter_ns
from typing import Generic
from urllib.parse import unquote_to_bytes

from yummy_fast.errors import (
    InexactNumberError,
    LimitError,
    RouteError,
    StoreError,
    StoreRefusedError,
    StoreTimeoutError,
    StoreUnavailableError,
    YummyError,
)
from yummy_fast.features.binding import Bound
from yummy_fast.features.catalog import Catalog, Compiled
from yummy_fast.features.entities import convert_column
from yummy_fast.features.plan import ComputedColumn, Plan
from yummy_fast.features.query import LARGE_BODY_BYTES, parse_exactly, parse_query
from yummy_fast.features.statuses import NO_MOMENT
from yummy_fast.features.transforms import Transforms
from yummy_fast.features.value_sampling import sample
from yummy_fast.features.vectors import encode_vectors
from yummy_fast.http.http11 import CLIENT_LEFT, Request, Response, ResponseOrCoroutine, split_target
from yummy_fast.http.trace_headers import Phases, log_fields, log_text, server_timing
from yummy_fast.stores.online_store import OnlineStore, Prepared
from yummy_fast.telemetry.metrics import Metrics, ServiceSlots

logger = logging.getLogger("yummy_fast")

MAX_TOLD, TOLD_FOR_S = 100, 60.0
"""Different errors of the online store in the log, and for how long each is not told again."""

_JSON = b"content-type: application/json\r\n"
_EMPTY = Response(200, b"", b"")
_convert_exactly = partial(convert_column, exact=True)


class Endpoints(Generic[Prepared]):
    """What the server answers. `catalog` is replaced as a whole when the registry changes."""

    def __init__(
        self,
        catalog: Catalog[Prepared],
        store: OnlineStore[Prepared],
        transforms: Transforms,
        compat: str,
        max_rows: int,
        max_cells: int,
        metrics: Metrics,
        pages: Mapping[bytes, Callable[[Request], ResponseOrCoroutine]],
    ) -> None:
        """
        - `compat` is named in the answers: how the statuses in them are meant.
        - `max_rows`, `max_cells`: entity rows, and rows x features, of one answer.
        - `pages`: what else can be asked for with GET, by path.
        """
        self.catalog = catalog
        self._store = store
        self._transforms = transforms
        self._metrics = metrics
        self._told: dict[str, float] = {}
        """What the log was told of the online store, and until when it is not told again."""
        self._max_rows = max_rows
        self._max_cells = max_cells
        self._strict = compat == "strict"
        self._answer_headers = b"content-type: application/json\r\nx-feast-compat: %b\r\n" % compat.encode()
        self._table: dict[bytes, dict[bytes, Callable[[Request], ResponseOrCoroutine]]] = {
            b"/get-online-features": {b"POST": self.get_online_features},
            # About the registry, as in Feast, and not about the store. Yummy's clients ask with POST.
            b"/health": {b"GET": self.health, b"POST": self.health},
            **{path: {b"GET": page, b"HEAD": page} for path, page in pages.items()},
        }

    def replace_catalog(self, catalog: Catalog[Prepared]) -> Catalog[Prepared]:
        """From now on, answer by `catalog`. Returns the one before; requests in flight keep the plan that they hold."""
        before, self.catalog = self.catalog, catalog
        return before

    def handle(self, request: Request) -> ResponseOrCoroutine:
        """The answer to a request, or a coroutine for it. Raises what `failed` makes an answer of."""
        methods = self._table.get(request.url) or self._find(request)
        endpoint = methods.get(request.method)
        if endpoint is None:
            raise RouteError(405, "Method Not Allowed", allow=", ".join(method.decode() for method in methods))
        return endpoint(request)

    def failed(self, error: BaseException, request: Request) -> Response:
        """The answer to a request that could not be answered. What is our fault is logged, and not told."""
        if isinstance(error, YummyError):
            self._metrics.refused(error.status)
            return Response(error.status, error.body(), _JSON + error.headers)
        self._metrics.refused(500)
        named = {"fields": log_fields(request.trace)}
        logger.error("a request failed by a bug of ours%s", log_text(request.trace), exc_info=error, extra=named)
        return Response(500, b'"Internal Server Error"')

    async def get_online_features(self, request: Request) -> Response:
        """POST /get-online-features: the features of some entities."""
        begun = perf_counter_ns()
        slots = self._metrics.unplanned
        bound_at = read_at = computed_at = 0
        plan: Plan | None = None
        bound: Bound | None = None
        try:
            query = parse_query(request.body)
            compiled = self.catalog.plan_for(query.feature_service, query.features, query.full_feature_names)
            plan = compiled.plan
            slots = compiled.slots or self._slots_for(compiled)
            count = max(map(len, query.entities.values()), default=1)
            if count > self._max_rows:
                raise LimitError(413, f"Content Too Large: the limit is {self._max_rows} entity rows")
            if count * len(plan.columns) > self._max_cells:
                raise LimitError(413, f"Content Too Large: the limit is {self._max_cells} rows x features")
            try:
                bound = compiled.binder.bind(query.entities)
            except InexactNumberError:
                if len(request.body) > LARGE_BODY_BYTES:
                    raise
                bound = compiled.binder.bind(parse_exactly(request.body).entities, _convert_exactly)
            bound_at = perf_counter_ns()
            rows = await self._store.fetch(compiled.prepared, bound.keys)
            read_at = computed_at = perf_counter_ns()
            computed: Sequence[ComputedColumn] = ()
            if plan.computed:
                computed = await self._transforms.compute(plan, bound, rows)
                computed_at = perf_counter_ns()
                slots.transformed(computed_at - read_at)
            now = datetime.now(UTC) if self._strict else NO_MOMENT  # only strict looks at ages
            body = encode_vectors(
                compiled.layout, bound, rows, version_metadata=query.version_metadata, now=now, computed=computed
            )
        except BaseException as error:
            self._count_failed(slots, error)
            if request.trace is not None and request.trace.phases is not None:
                _tell(request.trace.phases, plan, bound, (begun, bound_at, read_at, computed_at, 0))
            raise
        done_at = perf_counter_ns()
        slots.answered(begun, bound_at, read_at, computed_at, done_at, bound.rows)
        if self._metrics.sampling_budget_ns > 0:
            sample(plan, bound, rows, slots, self._metrics, datetime.now(UTC))
        headers = self._answer_headers
        trace = request.trace
        if trace is not None and (trace.timing or trace.phases is not None):
            phases = trace.phases or Phases()
            _tell(phases, plan, bound, (begun, bound_at, read_at, computed_at, done_at))
            if trace.timing:
                headers += server_timing(phases.took)
        return Response(200, body, headers, plan.service)

    def _slots_for(self, compiled: Compiled[Prepared]) -> ServiceSlots:
        """Where requests for a plan are counted. A reload makes new plans, which find the slots of the old by name."""
        plan = compiled.plan
        compiled.slots = slots = self._metrics.service(plan.service, plan.feature_count, plan.view_count)
        return slots

    def _count_failed(self, slots: ServiceSlots, error: BaseException) -> None:
        if isinstance(error, GeneratorExit):
            slots.failed(CLIENT_LEFT)
            return
        slots.failed(error.status if isinstance(error, YummyError) else 500)
        if isinstance(error, StoreError):
            unavailable = "unavailable" if isinstance(error, StoreUnavailableError) else "error"
            kind = "timeout" if isinstance(error, StoreTimeoutError) else unavailable
            self._metrics.store_errors[kind] += 1
            if kind == "error" or isinstance(error, StoreRefusedError):
                self._tell_operator(error)

    def _tell_operator(self, error: StoreError) -> None:
        """Into the log, once a minute: what the store answers with is not the caller's to mend. It names no entity."""
        text, now = str(error), monotonic()
        if self._told.get(text, 0.0) > now:
            return
        if len(self._told) >= MAX_TOLD:
            self._told = {each: until for each, until in self._told.items() if until > now}
        if len(self._told) < MAX_TOLD:
            self._told[text] = now + TOLD_FOR_S
            logger.error("requests are answered %d: %s", error.status, text)

    def health(self, _: Request) -> Response:
        """GET /health: there is a registry. Without one there would be no server."""
        return _EMPTY

    def _find(self, request: Request) -> dict[bytes, Callable[[Request], ResponseOrCoroutine]]:
        """The endpoints of a target that has more to it than a path. Raises RouteError."""
        path, query = split_target(request.url)
        path = unquote_to_bytes(path)
        methods = self._table.get(path)
        if methods is None:
            slashless = path.rstrip(b"/")
            if slashless in self._table:
                return {request.method: lambda _: _redirect(slashless + query)}  # any method, as Starlette does
            raise RouteError(404, "Not Found")
        return methods


def _tell(phases: Phases, plan: Plan | None, bound: Bound | None, moments: tuple[int, int, int, int, int]) -> None:
    """Write down what became of a request: what it was for, and its phases. Moments that never came are 0."""
    begun, bound_at, read_at, computed_at, done_at = moments
    took = [("decode", begun, bound_at), ("store", bound_at, read_at), ("encode", computed_at, done_at)]
    if plan is not None:
        phases.service, phases.features = plan.service, plan.feature_count
        if plan.computed:  # until they are, `computed_at` is `read_at`
            took.insert(2, ("transform", read_at, computed_at if computed_at > read_at else 0))
    if bound is not None:
        phases.rows = bound.rows
    if not done_at:
        phases.unfinished = True
        last = next(place for place, phase in enumerate(took) if not phase[2])
        took[last:] = [(*took[last][:2], perf_counter_ns())]
    phases.took = took


def _redirect(target: bytes) -> Response:
    return Response(307, b"", b"location: %b\r\n" % target)
