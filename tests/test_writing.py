"""The steps of a push, on a store in memory: how often the store is asked, and what a push that fails has done."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import pytest

from tests.harness import CORPUS, run
from yummy_fast.accounting import Accounting
from yummy_fast.config.settings import Features
from yummy_fast.errors import FeastOnlyError, ReadOnlyError, RequestError, StoreError, StoreTimeoutError
from yummy_fast.feast_format.registry import parse_registry
from yummy_fast.features.catalog import Catalog
from yummy_fast.features.plan import Lookup, Rows
from yummy_fast.features.slices import Slices
from yummy_fast.features.statuses import StatusPolicy
from yummy_fast.features.transforms import Transforms, load
from yummy_fast.features.vectors import Layout, Tails
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
        self.error: StoreError | None = None

    def prepare(self, lookups: tuple[Lookup, ...]) -> list[str]:
        return [lookup.views[0] for lookup in lookups]

    def prepare_write(self, view: WrittenView) -> str:
        return view.store_name

    def fetch_times(self, prepared: list[str], keys: Sequence[Sequence[bytes]]) -> asyncio.Future[Rows]:
        assert len(prepared) == len(keys)
        assert all(keys), "a lookup of no key cannot be asked for"
        self.fetched.append(keys)
        future: asyncio.Future[Rows] = asyncio.get_running_loop().create_future()
        future.set_result([[[None] for _ in group] for group in keys])
        return future

    def write(self, writes: Sequence[tuple[str, Chosen]]) -> asyncio.Future[None]:
        self.written.append([(name, list(chosen.numbers)) for name, chosen in writes])
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self.error is not None:
            future.set_exception(self.error)
        else:
            future.set_result(None)
        return future


class Pushed:
    """A Writing, put together."""

    def __init__(self, *, read_only: bool = False, max_rows: int = 100) -> None:
        self.store = MemoryStore()
        self.metrics = Metrics()
        self.looks = 0
        registry = parse_registry((CORPUS / "push" / "registry.db").read_bytes(), "writes", "registry.db")
        catalog: Catalog[Any] = Catalog(
            registry,
            key_version=3,
            versioning=False,
            prepare=self.store.prepare,
            lay_out=lambda plan: Layout(plan, StatusPolicy.PRESENT, Tails()),
            load=load,
            prepare_write=None if read_only else self.store.prepare_write,
        )
        self.writing = Writing(
            lambda: catalog,
            self.store,  # type: ignore[arg-type]
            Transforms(),
            Features(max_rows=max_rows),
            Accounting(self.metrics),
            Slices(),
            Forwarder("", 0),
            self._look,
        )

    def _look(self) -> None:
        self.looks += 1

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
