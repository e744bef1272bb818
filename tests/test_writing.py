"""The steps of a push, on a store in memory: how often the store is asked, and what a push that fails has done.

What Feast's server does beside is said over sockets, by servers of one answer. tests/system/test_writing.py has pushes
to a server with a real store.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from tests import registries
from tests.harness import CORPUS, run
from tests.http.test_forward import saying
from yummy_fast.accounting import Accounting
from yummy_fast.config.settings import Features
from yummy_fast.errors import (
    FeastOnlyError,
    LimitError,
    NotFoundError,
    ReadOnlyError,
    RequestError,
    StoreError,
    StoreTimeoutError,
    TransformError,
    UnknownOutcomeError,
)
from yummy_fast.feast_format._proto import registry_pb2 as messages
from yummy_fast.feast_format._proto.value_pb2 import Value
from yummy_fast.feast_format.registry import Registry, parse_registry
from yummy_fast.feast_format.values import ValueType
from yummy_fast.features import slices
from yummy_fast.features.catalog import Catalog
from yummy_fast.features.plan import Lookup, Rows
from yummy_fast.features.python_values import UserFunction
from yummy_fast.features.slices import Slices
from yummy_fast.features.statuses import StatusPolicy
from yummy_fast.features.transforms import Transforms, load
from yummy_fast.features.vectors import Layout, Tails
from yummy_fast.features.writes import ROWS_PER_STEP
from yummy_fast.features.written import Chosen, WrittenView
from yummy_fast.http.forward import Forwarder
from yummy_fast.http.http11 import Request
from yummy_fast.telemetry.metrics import Metrics
from yummy_fast.writing import PUSHED, WRITTEN, Writing

TWO_VIEWS = {"driver_id": [1, 2], "a": [5, 6], "c": [1, 2], "event_timestamp": "2026-03-01", "created": None}


class MemoryStore:
    """A store that has nothing, and notes what is asked of it. The rest of an OnlineStore is not used here."""

    compares_times = True

    def __init__(self) -> None:
        self.fetched: list[Sequence[Sequence[bytes]]] = []
        self.written: list[list[tuple[str, list[int]]]] = []
        self.chosen: list[Chosen] = []
        """Of the last write, what is to be written of each view."""
        self.error: StoreError | None = None
        self.answers_fetches = self.answers_writes = True
        """Otherwise it never does."""

    def prepare(self, lookups: tuple[Lookup, ...]) -> list[str]:
        return [lookup.views[0] for lookup in lookups]

    def prepare_write(self, view: WrittenView) -> str:
        return view.store_name

    def fetch_times(self, prepared: list[str], keys: Sequence[Sequence[bytes]]) -> asyncio.Future[Rows]:
        assert len(prepared) == len(keys)
        assert all(keys), "a lookup of no key cannot be asked for"
        self.fetched.append(keys)
        future: asyncio.Future[Rows] = asyncio.get_running_loop().create_future()
        if self.answers_fetches:
            future.set_result([[[None] for _ in group] for group in keys])
        return future

    def write(self, writes: Sequence[tuple[str, Chosen]]) -> asyncio.Future[None]:
        self.written.append([(name, list(chosen.numbers)) for name, chosen in writes])
        self.chosen = [chosen for _, chosen in writes]
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self.error is not None:
            future.set_exception(self.error)
        elif self.answers_writes:
            future.set_result(None)
        return future


def corpus() -> Registry:
    return parse_registry((CORPUS / "push" / "registry.db").read_bytes(), "writes", "registry.db")


class Pushed:
    """A Writing, put together."""

    def __init__(
        self,
        *,
        read_only: bool = False,
        max_rows: int = 100,
        registry: Registry | None = None,
        function: UserFunction | None = None,
        feast: str = "",
    ) -> None:
        """`function`: that of all on-demand views, instead of those in the registry; `feast`: Feast's server."""
        self.store = MemoryStore()
        self.metrics = Metrics()
        self.looks = 0
        self.applied: Registry | None = None
        """What a look at the registry finds."""
        self._load = load if function is None else lambda _: function
        self._read_only = read_only
        self._catalog = self._compiled(registry or corpus())
        self.writing = Writing(
            lambda: self._catalog,
            self.store,  # type: ignore[arg-type]
            Transforms(),
            Features(max_rows=max_rows),
            Accounting(self.metrics),
            Slices(),
            Forwarder(feast, 10),
            self._look,
        )

    def _compiled(self, registry: Registry) -> Catalog[Any]:
        return Catalog(
            registry,
            key_version=3,
            versioning=False,
            prepare=self.store.prepare,
            lay_out=lambda plan: Layout(plan, StatusPolicy.PRESENT, Tails()),
            load=self._load,
            prepare_write=None if self._read_only else self.store.prepare_write,
        )

    def _look(self) -> asyncio.Future[None] | None:
        self.looks += 1
        if self.applied is None:
            return None
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()

        def found(registry: Registry) -> None:
            self._catalog = self._compiled(registry)
            future.set_result(None)

        loop.call_soon(found, self.applied)
        return future

    def push(self, df: Any, source: str = "ps_two", **more: Any) -> Any:
        body = json.dumps({"push_source_name": source, "df": df, **more}).encode()
        return run(self.writing.push(Request(b"POST", b"/push", body, True)))

    def write(self, df: Any, view: str = "view_a", **more: Any) -> Any:
        body = json.dumps({"feature_view_name": view, "df": df, **more}).encode()
        return run(self.writing.write(Request(b"POST", b"/write-to-online-store", body, True)))

    def counted(self, name: str) -> list[Any]:
        found: list[Any] = self.metrics.snapshot()[name]
        return found


def test_two_views_cost_two_round_trips() -> None:
    pushed = Pushed()
    assert pushed.push(TWO_VIEWS) == PUSHED
    assert [len(group) for group in pushed.store.fetched[0]] == [2, 2]
    assert len(pushed.store.fetched) == 1
    assert pushed.store.written == [[("view_a", [0, 1]), ("view_c", [0, 1])]]


def test_a_view_of_nothing_but_nulls_is_left_out() -> None:
    pushed = Pushed()
    assert pushed.push({**TWO_VIEWS, "a": None}) == PUSHED
    assert pushed.store.written == [[("view_c", [0, 1])]]
    assert pushed.push({**TWO_VIEWS, "a": None, "c": None}) == PUSHED
    assert len(pushed.store.fetched) == 1, "of nothing, the store is not asked"


def test_without_comparing_only_the_rows_are_sent() -> None:
    pushed = Pushed()
    pushed.store.compares_times = False
    assert pushed.push({**TWO_VIEWS, "driver_id": [1, 1]}) == PUSHED
    assert pushed.store.fetched == []
    assert pushed.store.written == [[("view_a", [1]), ("view_c", [1])]]


@pytest.mark.parametrize(
    "wrong", [{"c": [1, "x"]}, {"driver_id": [1, None]}, {"event_timestamp": ["2026-03-01", None]}, {"a": [[1], 2]}]
)
def test_what_is_refused_has_not_touched_the_store(wrong: dict[str, Any]) -> None:
    pushed = Pushed()
    with pytest.raises(RequestError):
        pushed.push({**TWO_VIEWS, **wrong})
    assert (pushed.store.fetched, pushed.store.written) == ([], [])
    assert pushed.counted("yummy_fast_writes_total") == [[["/push", "400"], 1]]


def test_what_fails_is_counted_and_written_once() -> None:
    pushed = Pushed()
    pushed.store.error = StoreTimeoutError("late")
    with pytest.raises(StoreTimeoutError):
        pushed.push(TWO_VIEWS)
    assert len(pushed.store.written) == 1
    assert pushed.counted("yummy_fast_writes_total") == [[["/push", "504"], 1]]
    assert [["timeout"], 1] in pushed.counted("yummy_fast_store_errors_total")
    assert pushed.counted("feast_push_request_total") == []
    assert pushed.counted("yummy_fast_rows_written_total") == []


def test_one_view() -> None:
    pushed = Pushed()
    assert pushed.write({"driver_id": [1], "a": [1], "event_timestamp": ["2026-03-01"]}) == WRITTEN
    assert pushed.store.written == [[("view_a", [0])]]
    assert pushed.looks == 0
    pushed.write({"driver_id": [1], "a": [1], "event_timestamp": ["2026-03-01"]}, allow_registry_cache=False)
    assert pushed.looks == 1


def test_digits_that_the_fast_parser_loses() -> None:
    """A number of more than 64 bits, for a column of text."""
    pushed = Pushed()
    df = {"cust_id": [10**30], "x": [1], "u": None, "d": None, "j": None, "m": None, "event_timestamp": "2026-03-01"}
    assert pushed.push(df, "ps_text") == PUSHED
    assert str(10**30).encode() in pushed.store.fetched[0][0][0]


def test_nothing_is_compiled_for_a_server_that_is_read_only() -> None:
    pushed = Pushed(read_only=True)
    with pytest.raises(ReadOnlyError):
        pushed.push(TWO_VIEWS)
    with pytest.raises(ReadOnlyError):
        pushed.write(TWO_VIEWS)


def test_offline_pushes_are_for_feast() -> None:
    pushed = Pushed()
    with pytest.raises(
        FeastOnlyError, match=r"^This server does not answer pushes to the offline store \(to: offline\)"
    ):
        pushed.push(TWO_VIEWS, to="offline")
    assert pushed.store.written == []


@pytest.mark.parametrize("to", ["offline", "online_and_offline"])
@pytest.mark.parametrize(("status", "counted"), [(b"200 OK", True), (b"422 No", False)])
def test_offline_pushes_are_feasts_to_answer_and_counted_if_it_has_taken_them(
    to: str, status: bytes, counted: bool
) -> None:
    """`online_and_offline`, too, is for Feast alone, or what is online would be written twice."""
    body = json.dumps({"push_source_name": "ps_two", "df": TWO_VIEWS, "to": to}).encode()

    async def pushing() -> int:
        response = await pushed.writing.push(Request(b"POST", b"/push", body, True))
        assert response.stream is not None
        response.stream.close()
        await asyncio.sleep(0)  # for the connection to be closed
        return response.status

    with saying(b"HTTP/1.1 " + status + b"\r\nContent-Length: 0\r\n\r\n") as (url, heard):
        pushed = Pushed(feast=url)
        assert run(pushing()) == int(status[:3])
    assert heard[0].startswith(b"POST /push HTTP/1.1\r\n")
    assert heard[0].endswith(b"\r\n\r\n" + body)
    assert pushed.store.written == []
    assert pushed.counted("feast_push_request_total") == ([[["ps_two", to], 1]] if counted else [])


def test_the_registry_is_read_again_before_a_push_that_wants_no_older_one() -> None:
    """Feast's allow_registry_cache=False: a view that was applied a moment ago is there."""
    df = {"driver_id": [1], "a": [1], "event_timestamp": ["2026-03-01"]}
    pushed = Pushed(registry=registries.parsed())
    pushed.applied = corpus()
    with pytest.raises(NotFoundError):
        pushed.write(df)
    assert pushed.looks == 0
    assert pushed.write(df, allow_registry_cache=False) == WRITTEN
    assert pushed.store.written == [[("view_a", [0])]]


# ---------------------------------------------------------------------------------------------------- time and clients


def begun(pushed: Pushed, ended: Callable[[Any], object]) -> None:
    """A push that waits for the store, and how that ends."""

    async def pushing() -> None:
        body = json.dumps({"push_source_name": "ps_two", "df": TWO_VIEWS}).encode()
        coroutine = pushed.writing.push(Request(b"POST", b"/push", body, True))
        waiting: Any = None
        while waiting is None or waiting.done():
            waiting = coroutine.send(None)
        ended(coroutine)

    run(pushing())


TIME_IS_UP = LimitError(504, "Gateway Timeout: the request took too long")


def test_when_time_is_up_before_a_row_has_left_nothing_is_written() -> None:
    pushed = Pushed()
    pushed.store.answers_fetches = False

    def ended(coroutine: Any) -> None:
        with pytest.raises(LimitError) as caught:
            coroutine.throw(TIME_IS_UP)
        assert caught.value is TIME_IS_UP

    begun(pushed, ended)
    assert pushed.store.written == []
    assert pushed.counted("yummy_fast_writes_total") == [[["/push", "504"], 1]]
    assert sum(count for _, count in pushed.counted("yummy_fast_store_errors_total")) == 0


def test_when_time_is_up_after_that_nobody_knows_what_is_written() -> None:
    pushed = Pushed()
    pushed.store.answers_writes = False

    def ended(coroutine: Any) -> None:
        with pytest.raises(UnknownOutcomeError, match="took too long: the rows that were sent may have been written"):
            coroutine.throw(TIME_IS_UP)

    begun(pushed, ended)
    assert len(pushed.store.written) == 1, "it is not sent twice"
    assert pushed.counted("yummy_fast_writes_total") == [[["/push", "504"], 1]]
    assert [["timeout"], 1] in pushed.counted("yummy_fast_store_errors_total")
    assert pushed.counted("yummy_fast_rows_written_total") == []


def test_a_client_that_leaves_is_counted_as_one() -> None:
    """As 499, which is nobody's error: neither the store's nor ours."""
    pushed = Pushed()
    pushed.store.answers_fetches = False
    begun(pushed, lambda coroutine: coroutine.close())
    assert pushed.store.written == []
    assert pushed.counted("yummy_fast_writes_total") == [[["/push", "499"], 1]]
    assert sum(count for _, count in pushed.counted("yummy_fast_store_errors_total")) == 0


def test_a_mistake_of_ours_is_counted_as_one() -> None:
    pushed = Pushed()
    pushed.store.answers_fetches = False
    mistake = KeyError("x")

    def ended(coroutine: Any) -> None:
        with pytest.raises(KeyError):
            coroutine.throw(mistake)

    begun(pushed, ended)
    assert pushed.counted("yummy_fast_writes_total") == [[["/push", "500"], 1]]


# -------------------------------------------------------------------------------------------------------- large pushes


@pytest.mark.parametrize("compares_times", [True, False])
def test_a_large_push_lets_others_go_first_and_writes_what_a_small_one_does(
    compares_times: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two rows of a driver the newer one is stored, here the first; where times are not compared, the last one."""
    monkeypatch.setattr(slices, "SLICE_S", 0)  # a step at a time
    rows, drivers = 4 * ROWS_PER_STEP, 3 * ROWS_PER_STEP
    df = {
        "driver_id": [row % drivers for row in range(rows)],
        "a": list(range(rows)),
        "c": list(range(rows)),
        "event_timestamp": [f"2026-03-{31 - row * 30 // rows:02}" for row in range(rows)],
        "created": None,
    }
    pushed = Pushed(max_rows=rows)
    pushed.store.compares_times = compares_times
    turns = 0

    async def pushing() -> None:
        nonlocal turns
        body = json.dumps({"push_source_name": "ps_two", "df": df}).encode()
        push = asyncio.ensure_future(pushed.writing.push(Request(b"POST", b"/push", body, True)))
        while not push.done():
            turns += 1
            await asyncio.sleep(0)
        assert push.result() == PUSHED

    run(pushing())
    expected = list(range(drivers)) if compares_times else list(range(rows - drivers, rows))
    assert pushed.store.written == [[("view_a", expected), ("view_c", expected)]]
    assert turns >= 2 * 3 * 4, "two views, their values, keys and times, in four steps each"


def test_digits_that_the_fast_parser_loses_in_a_large_body_are_refused() -> None:
    """To parse it exactly takes long. What makes it large is a column that no view has, and nobody looks at."""
    df = {"cust_id": [10**30], "x": [1], "u": None, "d": None, "j": None, "m": None, "event_timestamp": "2026-03-01"}
    pushed = Pushed()
    assert pushed.push({**df, "more": "x" * (32 << 10)}, "ps_text") == PUSHED
    pushed = Pushed()
    with pytest.raises(RequestError, match=r"^df\.cust_id\[0\]: expected "):
        pushed.push({**df, "more": "x" * (64 << 10)}, "ps_text")
    assert (pushed.store.fetched, pushed.store.written) == ([], [])
    assert pushed.counted("yummy_fast_writes_total") == [[["/push", "400"], 1]]


# --------------------------------------------------------------------------- on-demand views that are computed on write


def fares(function: UserFunction, *, max_rows: int = 100, of: ValueType = ValueType.INT64) -> Pushed:
    """Writes to a view `fare`, with a feature `fare` of drivers, which this function makes of what comes."""
    spec = messages.OnDemandFeatureViewSpec(
        name="fare",
        project=registries.PROJECT,
        mode="python",
        features=registries.fields({"fare": of}),
        entities=["driver"],
        entity_columns=registries.fields({"driver_id": ValueType.INT64}),
        write_to_online_store=True,
    )
    spec.feature_transformation.user_defined_function.body = b"pickled"
    driver = registries.entity("driver", "driver_id")
    registry = registries.parsed(driver, messages.OnDemandFeatureView(spec=spec))
    return Pushed(registry=registry, function=function, max_rows=max_rows)


def stored_fares(pushed: Pushed) -> list[int]:
    (chosen,) = pushed.store.chosen
    return [Value.FromString(chosen.rows.values[0][number]).int64_val for number in chosen.numbers]


def not_called(_: Any) -> Any:
    raise AssertionError("the function was called")


def test_what_a_function_makes_of_a_write_is_stored() -> None:
    """FeatureStore._transform_on_demand_feature_view_df; the join keys come from what was written."""
    pushed = fares(lambda inputs: {"fare": [trips * 2 for trips in inputs["trips"]]})
    assert pushed.write({"driver_id": [1, 2], "trips": [3, 4]}, "fare") == WRITTEN
    assert pushed.store.written == [[("fare", [0, 1])]]
    assert stored_fares(pushed) == [6, 8]
    assert len(set(pushed.store.chosen[0].rows.keys)) == 2


def test_what_is_computed_already_is_stored_as_it_comes() -> None:
    """Feast's transform_on_write=False."""
    pushed = fares(not_called)
    assert pushed.write({"driver_id": [1, 2], "fare": [7, 9]}, "fare", transform_on_write=False) == WRITTEN
    assert stored_fares(pushed) == [7, 9]


def test_of_no_rows_nothing_is_computed() -> None:
    pushed = fares(not_called)
    assert pushed.write({"driver_id": [], "trips": []}, "fare") == WRITTEN
    assert pushed.store.fetched == []
    assert pushed.store.written == [[]]


def test_a_function_may_not_make_more_rows_than_may_be_written() -> None:
    """Each row that is made is joined with the one of its driver."""

    def many(count: int) -> UserFunction:
        return lambda inputs: {"driver_id": [1] * count, "fare": list(range(count))}

    pushed = fares(many(100))
    assert pushed.write({"driver_id": [1], "trips": [3]}, "fare") == WRITTEN
    pushed = fares(many(101))
    with pytest.raises(LimitError, match="the limit is 100 rows") as caught:
        pushed.write({"driver_id": [1], "trips": [3]}, "fare")
    assert caught.value.status == 413
    assert (pushed.store.fetched, pushed.store.written) == ([], [])


def test_a_function_that_fails_writes_nothing() -> None:
    pushed = fares(lambda inputs: {"fare": [trips["x"] for trips in inputs["trips"]]})
    with pytest.raises(TransformError, match=r"^On-demand feature view 'fare' failed: TypeError$"):
        pushed.write({"driver_id": [1], "trips": [3]}, "fare")
    assert (pushed.store.fetched, pushed.store.written) == ([], [])
    assert pushed.counted("yummy_fast_writes_total") == [[["/write-to-online-store", "500"], 1]]


def test_digits_that_a_function_has_lost_are_not_looked_for_in_the_body() -> None:
    """A float of a function is one: there is nothing to parse again, and the function is called once."""
    calls: list[object] = []

    def lossy(inputs: Any) -> Any:
        calls.append(inputs)
        return {"fare": [1e30]}

    pushed = fares(lossy, of=ValueType.STRING)
    with pytest.raises(RequestError, match=r"^df\.fare\[0\]: expected "):
        pushed.write({"driver_id": [1], "trips": [3]}, "fare")
    assert len(calls) == 1
    assert pushed.store.written == []
