"""The endpoint table, and one request from body to body. Start reading here.

`Endpoints.get_online_features` is what this program is for, step by step: the body becomes a Query (`payload`), the
query finds its Plan (`catalog`) and binds its entities to keys (`plan`), the store reads the keys in one round trip
(`stores`), and the rows become the answer's body (`payload`), with what on-demand views make of them (`transforms`).
Everything else on this page is about requests that are something else.

It does not know which store there is, nor sockets: it is handed Requests and gives Responses. A coroutine here may
await Futures only (see `connection`).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote_to_bytes

from yummy_fast.catalog import Catalog
from yummy_fast.errors import LimitError, RouteError, YummyError
from yummy_fast.http11 import Request, Response, split_target
from yummy_fast.payload import encode_vectors, parse_query
from yummy_fast.stores import OnlineStore
from yummy_fast.transforms import Transforms

logger = logging.getLogger("yummy_fast")

Answer = Response | Coroutine[Any, Any, Response]

_JSON = b"content-type: application/json\r\n"
_EMPTY = Response(200, b"", b"")


class Endpoints:
    """What the server answers. `catalog` is replaced as a whole when the registry changes."""

    def __init__(
        self, catalog: Catalog, store: OnlineStore, transforms: Transforms, compat: str, max_cells: int
    ) -> None:
        """`compat` is named in the answers: how the statuses in them are meant. `max_cells`: rows x features of one."""
        self.catalog = catalog
        self._store = store
        self._transforms = transforms
        self._max_cells = max_cells
        self._strict = compat == "strict"
        self._answer_headers = b"content-type: application/json\r\nx-feast-compat: %b\r\n" % compat.encode()
        self._table: dict[bytes, dict[bytes, Callable[[Request], Answer]]] = {
            b"/get-online-features": {b"POST": self.get_online_features},
            # About the registry, as in Feast, and not about the store. Yummy's clients ask with POST.
            b"/health": {b"GET": self.health, b"POST": self.health},
        }

    def replace_catalog(self, catalog: Catalog) -> Catalog:
        """From now on, answer by `catalog`. Returns the one before; requests in flight keep the plan that they hold."""
        before, self.catalog = self.catalog, catalog
        return before

    def handle(self, request: Request) -> Answer:
        """The answer to a request, or a coroutine for it. Raises what `failed` makes an answer of."""
        methods = self._table.get(request.url) or self._find(request.url)
        endpoint = methods.get(request.method)
        if endpoint is None:
            raise RouteError(405, "Method Not Allowed", allow=", ".join(method.decode() for method in methods))
        return endpoint(request)

    def failed(self, error: BaseException) -> Response:
        """The answer to a request that could not be answered. What is our fault is logged, and not told."""
        if isinstance(error, YummyError):
            return Response(error.status, error.body(), _JSON + error.headers)
        logger.error("a request failed by a bug of ours", exc_info=error)
        return Response(500, b'"Internal Server Error"')

    async def get_online_features(self, request: Request) -> Response:
        """POST /get-online-features: the features of some entities."""
        query = parse_query(request.body)
        plan = self.catalog.plan_for(query.feature_service, query.features, query.full_feature_names)
        bound = plan.bind(query.entities)
        if bound.rows * len(plan.columns) > self._max_cells:
            raise LimitError(413, f"Content Too Large: the limit is {self._max_cells} rows x features")
        rows = await self._store.fetch(plan.prepared, bound.keys)
        computed = await self._transforms.compute(plan, bound, rows) if plan.computed else ()
        now = datetime.now(UTC).replace(tzinfo=None) if self._strict else datetime.min  # only strict looks at ages
        body = encode_vectors(plan, bound, rows, version_metadata=query.version_metadata, now=now, computed=computed)
        return Response(200, body, self._answer_headers)

    def health(self, _: Request) -> Response:
        """GET /health: there is a registry. Without one there would be no server."""
        return _EMPTY

    def _find(self, url: bytes) -> dict[bytes, Callable[[Request], Answer]]:
        """The endpoints of a target that has more to it than a path. Raises RouteError."""
        path, query = split_target(url)
        path = unquote_to_bytes(path)
        methods = self._table.get(path)
        if methods is None:
            slashless = path.rstrip(b"/")
            if slashless in self._table:
                return dict.fromkeys(self._table[slashless], lambda _: _redirect(slashless + query))
            raise RouteError(404, "Not Found")
        return methods


def _redirect(target: bytes) -> Response:
    return Response(307, b"", b"location: %b\r\n" % target)
