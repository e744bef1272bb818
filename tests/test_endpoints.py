"""Requests in, responses out: the six steps over a store in memory, and what is not a request for features.

How the steps work is tested where they are; with sockets and a real store, in system/ and stores/.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from typing import Any, NoReturn
from urllib.parse import urljoin

import pytest

from tests.registries import PROJECT, Item, entity, parsed, projection, service, view
from tests.scrapes import samples, scrape
from yummy_fast.config.settings import Features
from yummy_fast.endpoints import Endpoints
from yummy_fast.errors import LimitError, RequestError, RouteError, StoreOverloadedError, StoreTimeoutError, YummyError
from yummy_fast.feast_format._proto import registry_pb2 as messages
from yummy_fast.feast_format._proto.value_pb2 import Value
from yummy_fast.feast_format.registry import OnDemandFeatureView
from yummy_fast.feast_format.values import ValueType
from yummy_fast.features.binding import Binder
from yummy_fast.features.catalog import Catalog
from yummy_fast.features.plan import Feature, Lookup, Rows
from yummy_fast.features.python_values import UserFunction
from yummy_fast.features.query import LARGE_BODY_BYTES
from yummy_fast.features.statuses import StatusPolicy
from yummy_fast.features.transforms import THREADS, Transforms, load
from yummy_fast.features.vectors import Layout, Tails
from yummy_fast.features.written import Chosen, WrittenView
from yummy_fast.http.http11 import Request, Response
from yummy_fast.http.trace_headers import Trace
from yummy_fast.stores.online_store import StoreState
from yummy_fast.stores.survey import Survey
from yummy_fast.telemetry.metrics import Metrics

STATS = view("stats", ["driver"], {"driver_id": ValueType.INT64}, {"trips": ValueType.INT64})
STATS.spec.ttl.seconds = 60  # what the store has is from 1970
NAMED = view("named", ["rider"], {"rider_id": ValueType.STRING}, {"age": ValueType.INT64})
ITEMS: list[Item] = [
    *(entity("driver", "driver_id"), entity("rider", "rider_id", ValueType.STRING), STATS, NAMED),
    service("svc", projection(STATS)),
]
DRIVER_7 = bytes.fromhex("0100000002000000090000006472697665725f69640400000008000000") + (7).to_bytes(8, "little")
TRIPS = Value(int64_val=11).SerializeToString()

MAX_ROWS, MAX_CELLS = 4, 6


class MemoryStore:
    """An OnlineStore that has the trips of driver 7, and waits or fails when it is told to."""

    absent_is_present = True
    notices: tuple[str, ...] = ()

    async def survey(self, views: Sequence[str]) -> Survey:
        return Survey("memory", (), frozenset(views))

    compares_times = True

    def looks(self) -> NoReturn:
        raise NotImplementedError

    in_flight = 0

    def __init__(self) -> None:
        self.state = StoreState()
        self.error: Exception | None = None
        self.waits = False
        self.room = 1
        """How many keys `check_room` lets pass."""
        self.fetched: list[Sequence[Sequence[bytes]]] = []

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def ping(self) -> str:
        return "memory"

    def ping_if_idle(self) -> None: ...

    def nodes(self) -> list[dict[str, Any]]:
        return []

    def cache(self) -> dict[str, Any]:
        return {}

    def check_room(self, keys: int) -> None:
        if keys > self.room:
            raise StoreOverloadedError("Too much waits")

    def prepare(self, lookups: tuple[Lookup, ...]) -> list[int]:
        return [len(lookup.features) + len(lookup.views) for lookup in lookups]

    def collisions(self, features: Iterable[Feature]) -> list[tuple[Feature, Feature]]:
        return []

    def describe(self, prepared: list[int]) -> list[str]:
        return list(map(str, prepared))

    def prepare_write(self, view: WrittenView) -> str:
        return view.name

    def write(self, writes: Sequence[tuple[str, Chosen]]) -> asyncio.Future[None]:
        raise NotImplementedError  # tests/test_writing.py has a store that is written to

    def fetch_times(self, prepared: list[int], keys: Sequence[Sequence[bytes]]) -> asyncio.Future[Rows]:
        raise NotImplementedError

    def fetch(self, prepared: list[int], keys: Sequence[Sequence[bytes]]) -> asyncio.Future[Rows]:
        self.fetched.append(keys)
        future: asyncio.Future[Rows] = asyncio.get_running_loop().create_future()
        if self.error is not None:
            future.set_exception(self.error)
        elif not self.waits:
            rows = [
                [[TRIPS, None] if key == DRIVER_7 else [None] * width for key in group]
                for width, group in zip(prepared, keys, strict=True)
            ]
            future.set_result(rows)
        return future


class Served:
    """Endpoints, put together."""

    def __init__(
        self,
        compat: str = "feast",
        *,
        more: Sequence[Item] = (),
        load: Callable[[OnDemandFeatureView], UserFunction] = load,
        max_answer_bytes: int = 64 << 20,
    ) -> None:
        """`more`: what is in the registry besides ITEMS."""
        self.store = MemoryStore()
        self.metrics = Metrics()
        policy = StatusPolicy.EXACT if compat == "strict" else StatusPolicy.PRESENT
        tails = Tails()
        catalog: Catalog[list[int]] = Catalog(
            parsed(*ITEMS, *more),
            key_version=3,
            versioning=False,
            prepare=self.store.prepare,
            lay_out=lambda plan: Layout(plan, policy, tails),
            load=load,
        )
        self.endpoints = Endpoints(
            catalog,
            self.store,
            Transforms(),
            Features(compat=compat, max_rows=MAX_ROWS, max_cells=MAX_CELLS, max_answer_bytes=max_answer_bytes),
            metrics=self.metrics,
            pages={b"/livez": lambda _: Response(200, b"alive")},
        )

    def ask(self, body: object, trace: Trace | None = None, compat: bytes = b"") -> Response:
        """The answer to a POST, or what is raised for it."""
        text = body if isinstance(body, bytes) else json.dumps(body).encode()
        request = Request(b"POST", b"/get-online-features", text, True, trace=trace, compat=compat)

        async def answered() -> Response:
            coroutine = self.endpoints.handle(request)
            assert isinstance(coroutine, Coroutine)
            return await coroutine

        return asyncio.run(answered())

    def requests(self) -> dict[tuple[str, ...], float]:
        """Counted requests by code and service."""
        found = samples(scrape(self.metrics), "yummy_fast_requests_total")
        return {labels: count for labels, count in found.items() if count}


def get(url: bytes, method: bytes = b"GET") -> Request:
    return Request(method, url, b"", True)


# -------------------------------------------------------------------------------------------------------- the six steps


def test_a_request_is_answered_from_the_store() -> None:
    served = Served()
    response = served.ask({"feature_service": "svc", "entities": {"driver_id": [7, 8, 7]}})
    assert response == Response(
        200,
        b'{"results":[{"values":[7,8,7],"statuses":["PRESENT","PRESENT","PRESENT"],'
        b'"event_timestamps":["1970-01-01T00:00:00Z","1970-01-01T00:00:00Z","1970-01-01T00:00:00Z"]},'
        b'{"values":[11,null,11],"statuses":["PRESENT","PRESENT","PRESENT"],'
        b'"event_timestamps":["1970-01-01T00:00:00Z","1970-01-01T00:00:00Z","1970-01-01T00:00:00Z"]}],'
        b'"metadata":{"feature_names":["driver_id","trips"]}}',
        b"content-type: application/json\r\nx-feast-compat: feast\r\n",
        "svc",
    )
    ((keys,),) = served.store.fetched
    assert list(keys) == [DRIVER_7, DRIVER_7[:-8] + (8).to_bytes(8, "little")]
    assert served.requests() == {("200", "svc"): 1}


def test_the_compat_is_named_and_decides_about_the_statuses() -> None:
    response = Served("strict").ask({"feature_service": "svc", "entities": {"driver_id": [7, 8]}})
    assert response.headers.endswith(b"x-feast-compat: strict\r\n")
    assert json.loads(response.body)["results"][1]["statuses"] == ["OUTSIDE_MAX_AGE", "NOT_FOUND"]


OF_7_AND_8 = {"feature_service": "svc", "entities": {"driver_id": [7, 8]}}


@pytest.mark.parametrize("default", ["feast", "strict"])
@pytest.mark.parametrize(
    ("asked", "compat", "statuses"),
    [
        (b"feast", "feast", ["PRESENT", "PRESENT"]),
        (b"strict", "strict", ["OUTSIDE_MAX_AGE", "NOT_FOUND"]),
        (b"Strict", "strict", ["OUTSIDE_MAX_AGE", "NOT_FOUND"]),
    ],
)
def test_a_request_may_ask_for_its_statuses(default: str, asked: bytes, compat: str, statuses: list[str]) -> None:
    """Whatever the server's are; and the requests around it get the server's."""
    served = Served(default)
    usual = served.ask(OF_7_AND_8)
    for _ in range(2):
        response = served.ask(OF_7_AND_8, compat=asked)
        assert response.headers == b"content-type: application/json\r\nx-feast-compat: %b\r\n" % compat.encode()
        assert json.loads(response.body)["results"][1]["statuses"] == statuses
    assert served.ask(OF_7_AND_8) == usual
    assert response.body == Served(compat).ask(OF_7_AND_8).body


def test_the_other_rendering_of_a_plan_is_compiled_when_it_is_first_asked_for() -> None:
    served = Served()
    compiled = served.endpoints.catalog.plan_for("svc", [], False)
    served.ask(OF_7_AND_8)
    served.ask(OF_7_AND_8, compat=b"feast")
    assert compiled.other_layout is None
    served.ask(OF_7_AND_8, compat=b"strict")
    other = compiled.other_layout
    assert other is not None
    served.ask(OF_7_AND_8, compat=b"strict")
    assert compiled.other_layout is other


@pytest.mark.parametrize("asked", [b"yummy", b"feast, strict", b"\xff"])
def test_other_statuses_than_these_two_are_refused(asked: bytes) -> None:
    served = Served()
    with pytest.raises(RequestError, match=r"^X-Feast-Compat: expected feast or strict, got "):
        served.ask(OF_7_AND_8, compat=asked)
    assert served.store.fetched == []


def test_versions_are_told_to_those_who_ask() -> None:
    asked = {"features": ["stats:trips"], "entities": {"driver_id": [7]}}
    wants = {"include_feature_view_version_metadata": True}
    assert "feature_view_metadata" not in json.loads(Served().ask(asked).body)["metadata"]
    assert json.loads(Served().ask({**asked, **wants}).body)["metadata"]["feature_view_metadata"] == [{"name": "stats"}]


def test_a_client_that_wants_to_know_gets_the_times() -> None:
    timing = Trace(b"", b"", True)
    response = Served().ask({"feature_service": "svc", "entities": {"driver_id": [7]}}, timing)
    assert b"\r\nserver-timing: decode;dur=" in response.headers


@pytest.mark.parametrize(
    ("entities", "features", "limit"),
    [
        ({"driver_id": [7] * (MAX_ROWS + 1)}, ["stats:trips"], f"{MAX_ROWS} entity rows"),
        ({"driver_id": ["no number"] * (MAX_ROWS + 1)}, ["stats:trips"], f"{MAX_ROWS} entity rows"),
        ({"driver_id": [7], "unused": [1] * (MAX_ROWS + 1)}, ["stats:trips"], f"{MAX_ROWS} entity rows"),
        ({"driver_id": [7] * 4, "rider_id": ["x"] * 4}, ["stats:trips", "named:age"], f"{MAX_CELLS} rows x features"),
    ],
)
def test_what_is_too_large_is_refused_before_it_is_bound(
    entities: dict[str, list[Any]], features: list[str], limit: str
) -> None:
    served = Served()
    with pytest.raises(LimitError, match=f"Content Too Large: the limit is {limit}$") as caught:
        served.ask({"features": features, "entities": entities})
    assert caught.value.status == 413
    assert served.store.fetched == []
    assert served.requests() == {("413", "(ad hoc)"): 1}


def test_what_is_just_not_too_large_is_answered() -> None:
    assert Served().ask({"features": ["stats:trips"], "entities": {"driver_id": [7] * MAX_ROWS}}).status == 200
    both = {"features": ["stats:trips", "named:age"], "entities": {"driver_id": [7] * 3, "rider_id": ["x"] * 3}}
    assert Served().ask(both).status == 200


def test_an_answer_that_is_made_at_once_has_the_limit_too() -> None:
    query = {"feature_service": "svc", "entities": {"driver_id": [7]}}
    length = len(Served().ask(query).body)
    assert Served(max_answer_bytes=length).ask(query).status == 200
    with pytest.raises(LimitError, match=f"the answer for 1 entity rows is longer than {length - 1} bytes"):
        Served(max_answer_bytes=length - 1).ask(query)


def served_with(function: UserFunction, max_answer_bytes: int = 64 << 20) -> Served:
    """With an on-demand view `twice`, whose function reads trips and makes `out`."""
    spec = messages.OnDemandFeatureViewSpec(name="twice", project=PROJECT, mode="python")
    spec.features.append(messages.Feature(name="out", value_type=ValueType.INT64))
    spec.sources["stats"].feature_view_projection.CopyFrom(projection(STATS))
    spec.feature_transformation.user_defined_function.body = b"-"
    more = [messages.OnDemandFeatureView(spec=spec)]
    return Served(more=more, load=lambda _: function, max_answer_bytes=max_answer_bytes)


def asked_of_a_function(rows: int, called: list[int], max_answer_bytes: int = 64 << 20) -> Response:
    """A request for what a function of the trips computes. `called` gets how many trips it was given."""

    def function(inputs: Mapping[str, Any]) -> Mapping[str, Any]:
        called.append(len(inputs["trips"]))
        return {"out": inputs["trips"]}

    served = served_with(function, max_answer_bytes)
    return served.ask({"features": ["twice:out"], "entities": {"driver_id": [7] * rows}})


def test_nothing_is_computed_for_a_client_that_leaves_while_its_function_waits() -> None:
    go_on, called = threading.Event(), list[int]()

    def function(inputs: Mapping[str, Any]) -> Mapping[str, Any]:
        assert go_on.wait(20)
        called.extend(inputs["driver_id"])
        return {"out": inputs["trips"]}

    async def one_leaves() -> None:
        served = served_with(function)

        def ask(driver: int) -> Coroutine[Any, Any, Response]:
            body = json.dumps({"features": ["twice:out"], "entities": {"driver_id": [driver]}}).encode()
            coroutine = served.endpoints.handle(Request(b"POST", b"/get-online-features", body, True))
            assert isinstance(coroutine, Coroutine)
            return coroutine

        running = [asyncio.create_task(ask(driver)) for driver in range(THREADS)]
        await asyncio.sleep(0)
        leaves = ask(77)
        leaves.send(None)
        leaves.close()
        go_on.set()
        await asyncio.gather(*running, asyncio.create_task(ask(99)))

    asyncio.run(one_leaves())
    assert sorted(called) == [*range(THREADS), 99]


def test_what_a_function_reads_and_makes_counts_as_values() -> None:
    """Of each row it reads one value and makes another."""
    called: list[int] = []
    assert asked_of_a_function(MAX_CELLS // 2, called).status == 200
    with pytest.raises(LimitError, match=f"the limit is {MAX_CELLS} rows x features"):
        asked_of_a_function(MAX_CELLS // 2 + 1, called)
    assert called == [MAX_CELLS // 2]


def test_functions_are_not_given_more_than_an_answer_may_have() -> None:
    """200 KB of a request made a function read a gigabyte: a list of 768 numbers for each of 40,000 rows."""
    called: list[int] = []
    assert asked_of_a_function(3, called, 1_000).status == 200
    text = r"what on-demand feature views read for 3 entity rows is longer than 5 bytes \(--max-answer-bytes\)"
    with pytest.raises(LimitError, match=text) as refused:
        asked_of_a_function(3, called, 3 * len(TRIPS) - 1)
    assert refused.value.status == 413
    assert called == [3]


def test_an_unknown_feature_is_told_before_a_limit() -> None:
    served = Served()
    with pytest.raises(RequestError, match="Feature nope not found"):
        served.ask({"features": ["stats:nope"], "entities": {"driver_id": [7] * 100}})
    assert served.requests() == {("400", ""): 1}


def test_a_number_that_matters_is_parsed_exactly() -> None:
    """As text, 2 ** 64 is its digits; the fast parser would make them 1.8446744073709552e+19."""
    served = Served()
    body = b'{"features":["named:age"],"entities":{"rider_id":[18446744073709551616]}}'
    assert json.loads(served.ask(body).body)["results"][0]["values"] == ["18446744073709551616"]
    ((keys,),) = served.store.fetched
    assert keys[0].endswith(b"\x02\0\0\0\x14\0\0\0" + b"18446744073709551616")


def test_a_large_body_is_not_parsed_twice() -> None:
    body = b'{"features":["named:age"],"entities":{"rider_id":[18446744073709551616]}}'
    with pytest.raises(RequestError, match=r"^entities\.rider_id\[0\]: expected a string in range, got "):
        Served().ask(body + b" " * LARGE_BODY_BYTES)


def test_an_error_of_the_store_is_the_requests() -> None:
    served = Served()
    served.store.error = StoreTimeoutError("The online store has not answered in time")
    with pytest.raises(StoreTimeoutError):
        served.ask({"feature_service": "svc", "entities": {"driver_id": [7]}})
    assert served.metrics.store_errors["timeout"] == 1
    assert served.requests() == {("504", "svc"): 1}


@pytest.mark.parametrize("crowded", [False, True])
def test_a_crowded_store_is_asked_before_the_keys_are_made(crowded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Different values count, as far as they can be compared."""
    served = Served()
    served.store.state.crowded = crowded
    for drivers in ([7], [7, 7, 7, 7]):
        assert served.ask({"feature_service": "svc", "entities": {"driver_id": drivers}}).status == 200
    with pytest.raises(RequestError, match="driver_id"):
        served.ask({"feature_service": "svc", "entities": {"driver_id": [[7], [8]]}})
    assert len(served.store.fetched) == 2
    bound: list[object] = []
    bind = Binder.bind
    monkeypatch.setattr(Binder, "bind", lambda *arguments: bound.append(0) or bind(*arguments))  # type: ignore[func-returns-value]
    body = {"feature_service": "svc", "entities": {"driver_id": [7, 8]}}
    if not crowded:
        assert served.ask(body).status == 200
        return
    with pytest.raises(StoreOverloadedError):
        served.ask(body)
    assert not bound
    assert len(served.store.fetched) == 2
    assert served.metrics.store_errors["overload"] == 1
    assert served.requests() == {("200", "svc"): 2, ("400", "svc"): 1, ("503", "svc"): 1}


def test_a_client_that_leaves_is_counted_and_its_fetch_given_up() -> None:
    served = Served()
    served.store.waits = True

    async def leaving() -> None:
        coroutine = served.endpoints.handle(
            Request(b"POST", b"/get-online-features", b'{"feature_service":"svc","entities":{"driver_id":[7]}}', True)
        )
        assert isinstance(coroutine, Coroutine)
        waits_for = coroutine.send(None)
        assert isinstance(waits_for, asyncio.Future), "a coroutine of an endpoint awaits Futures only"
        coroutine.close()

    asyncio.run(leaving())
    assert served.requests() == {("499", "svc"): 1}


def test_a_request_in_flight_keeps_its_plan_and_the_next_one_has_the_new() -> None:
    served = Served()
    before = served.endpoints.catalog
    other = Served().endpoints.catalog
    assert served.endpoints.replace_catalog(other) is before
    assert served.endpoints.catalog is other


# ------------------------------------------------------------------------------------------------------- other requests


@pytest.mark.parametrize("method", [b"GET", b"HEAD", b"POST"])
def test_there_is_a_registry(method: bytes) -> None:
    assert Served().endpoints.handle(get(b"/health", method)) == Response(200, b"", b"")


@pytest.mark.parametrize("url", [b"/livez", b"/livez?verbose=1", b"/%6Civez", b"http://localhost/livez"])
@pytest.mark.parametrize("method", [b"GET", b"HEAD"])
def test_a_page_is_found_by_its_path(url: bytes, method: bytes) -> None:
    assert Served().endpoints.handle(get(url, method)) == Response(200, b"alive")


def test_a_path_that_is_not_there() -> None:
    with pytest.raises(RouteError) as caught:
        Served().endpoints.handle(get(b"/metrics"))
    assert (caught.value.status, caught.value.body()) == (404, b'{"detail":"Not Found"}')


def test_a_method_that_a_path_does_not_have() -> None:
    with pytest.raises(RouteError) as caught:
        Served().endpoints.handle(get(b"/get-online-features"))
    assert (caught.value.status, caught.value.headers) == (405, b"allow: POST\r\n")


def test_the_server_as_a_whole() -> None:
    assert Served().endpoints.handle(get(b"*", b"OPTIONS")) == Response(200, b"", b"")
    for url, status in ((b"/*", 404), (b"/%2A", 404), (b"/health", 405)):
        with pytest.raises(RouteError) as caught:
            Served().endpoints.handle(get(url, b"OPTIONS"))
        assert caught.value.status == status


@pytest.mark.parametrize("method", [b"GET", b"POST", b"DELETE"])
def test_a_slash_too_many_is_redirected_whatever_the_method(method: bytes) -> None:
    found = Served().endpoints.handle(get(b"/get-online-features/?a=1", method))
    assert found == Response(307, b"", b"location: ../get-online-features?a=1\r\n")


@pytest.mark.parametrize("prefix", ["", "/feast", "/a/b"])
@pytest.mark.parametrize("slashes", ["/", "%2F", "%2f/", "/%2F"])
@pytest.mark.parametrize("path", ["/health", "/%68ealth", "/livez"])
def test_a_redirect_stays_behind_the_prefix_that_a_proxy_takes_off(prefix: str, path: str, slashes: str) -> None:
    """RFC 3986 5.2: what the client makes of it, of the URL that it has asked for."""
    target = f"{path}{slashes}"
    for asked in (target, f"http://inside:1{target}"):
        found = Served().endpoints.handle(get(f"{asked}?a=/b".encode(), b"GET"))
        assert isinstance(found, Response)
        location = found.headers.decode().removeprefix("location: ").removesuffix("\r\n")
        seen = urljoin(f"http://outside{prefix}{target}?a=/b", location)
        assert seen == f"http://outside{prefix}{path.replace('%68', 'h')}?a=/b"


def test_a_redirect_goes_up_once_for_each_slash() -> None:
    """An empty segment is one, too: RFC 3986 5.2.4, which urljoin does not follow here."""
    for target, location in ((b"/health//", b"../../health"), (b"/health///?a", b"../../../health?a")):
        assert Served().endpoints.handle(get(target)) == Response(307, b"", b"location: %b\r\n" % location)


# -------------------------------------------------------------------------------------------------------------- errors


def test_an_error_of_ours_is_answered_as_it_says() -> None:
    served = Served()
    error: YummyError = LimitError(503, "busy")
    assert served.endpoints.failed(error, get(b"/")) == Response(
        503, b'{"detail":"busy"}', b"content-type: application/json\r\nretry-after: 1\r\n"
    )
    assert served.metrics.error_counts == {503: 1}


def test_a_bug_is_logged_and_nothing_of_it_is_answered(caplog: pytest.LogCaptureFixture) -> None:
    served = Served()
    response = served.endpoints.failed(ValueError("secret"), get(b"/"))
    assert (response.status, response.body) == (500, b'"Internal Server Error"')
    assert served.metrics.error_counts == {500: 1}
    assert "secret" in caplog.text
