"""A server in this process: in which order its parts are closed, that they are when the start fails; what it logs."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests import registries
from tests.harness import repository, run
from yummy_fast.config.settings import Config
from yummy_fast.errors import ConfigError
from yummy_fast.feast_format.values import ValueType
from yummy_fast.features.transforms import Transforms
from yummy_fast.http.http11 import Request
from yummy_fast.server import app
from yummy_fast.server.app import FeastFaults, ProcessContext, serve
from yummy_fast.server.drain import Stop, drain
from yummy_fast.server.health import ServerHealth
from yummy_fast.server.reload import Reloader
from yummy_fast.sources.yaml_text import load_config
from yummy_fast.stores.sqlite import SqliteStore


class FakeSpans:
    """What `serve` wants of spans; they need no collector."""

    def __init__(self, closed: list[str]) -> None:
        self._closed = closed

    def follow(self, handle: Callable[[Request], Any]) -> Callable[[Request], Any]:
        return handle

    def follow_failed(self, failed: Callable[..., Any]) -> Callable[..., Any]:
        return failed

    def serve_at(self, listening: object) -> None:
        pass

    async def close(self, rest: Callable[[float, asyncio.Event], Awaitable[None]]) -> None:
        self._closed.append("spans")


@pytest.fixture
def config(tmp_path: Path) -> Config:
    folder = repository(tmp_path / "repository", "sqlite", "")
    loaded = load_config(chdir=str(folder), flags={"port": "0"}, environ={})
    return replace(loaded, telemetry=replace(loaded.telemetry, otel=True))


@pytest.fixture
def closed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What has been closed, in that order."""
    found: list[str] = []
    close_store, close_transforms, watch = SqliteStore.close, Transforms.close, Reloader.run

    async def drained(*arguments: Any) -> None:
        await drain(*arguments)
        found.append("drain")

    async def closed_store(store: SqliteStore) -> None:
        await close_store(store)
        found.append("store")

    def closed_transforms(transforms: Transforms) -> None:
        close_transforms(transforms)
        found.append("transforms")

    async def watched(reloader: Reloader) -> None:
        try:
            await watch(reloader)
        finally:
            found.append("housekeeping")

    monkeypatch.setattr(app, "drain", drained)
    monkeypatch.setattr(SqliteStore, "close", closed_store)
    monkeypatch.setattr(Transforms, "close", closed_transforms)
    monkeypatch.setattr(Reloader, "run", watched)
    monkeypatch.setattr(app, "import_spans", lambda: SimpleNamespace(open_spans=lambda **_: FakeSpans(found)))
    return found


async def served(config: Config, announced: list[bool]) -> ServerHealth:
    """Serve, and stop as soon as it is announced."""
    health = ServerHealth(config.repository, config.store)
    health.beat()
    stop = Stop()

    def announce(what: str, urls: Sequence[str]) -> None:
        announced.append(health.ready().good)
        stop.request()

    try:
        await serve(config, health, ProcessContext(stop, health.snapshots, {}), announce)
    finally:
        asyncio.get_running_loop().remove_signal_handler(signal.SIGHUP)
    return health


def test_the_drain_comes_first_and_the_store_goes_late(config: Config, closed: list[str]) -> None:
    announced: list[bool] = []
    health = run(served(config, announced))
    assert announced == [True]
    assert not health.ready().good
    assert closed == ["drain", "spans", "housekeeping", "store", "transforms"]


def test_what_was_opened_is_closed_when_the_start_fails(config: Config, closed: list[str]) -> None:
    announced: list[bool] = []
    missing = replace(config, tls=replace(config.tls, cert="/nowhere.crt", key="/nowhere.key"))
    with pytest.raises(ConfigError, match=r"/nowhere\.crt"):
        run(served(missing, announced))
    assert (announced, closed) == ([], ["store", "transforms"])


def test_a_store_that_fails_to_open_is_drained_like_any_other_end(
    config: Config, closed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(store: SqliteStore) -> None:
        raise KeyError("a bug")

    monkeypatch.setattr(SqliteStore, "open", fail)
    with pytest.raises(KeyError, match="a bug"):
        run(served(config, []))
    assert closed == ["drain", "spans", "store", "transforms"]  # housekeeping had not begun


def test_what_is_wrong_in_feast_is_logged_where_it_is_new(config: Config, caplog: pytest.LogCaptureFixture) -> None:
    text = registries.view("text", ["driver"], {"driver_id": ValueType.STRING}, {"t": ValueType.INT64})
    number = registries.view("number", ["driver"], {"driver_id": ValueType.INT64}, {"n": ValueType.INT64})
    maps = registries.view("maps", ["driver"], {"driver_id": ValueType.INT64}, {"m": ValueType.SCALAR_MAP})
    driver = registries.entity("driver", "driver_id")
    caplog.set_level("INFO", "yummy_fast")

    def said(faults: FeastFaults, *views: registries.Item) -> list[str]:
        caplog.clear()
        faults.log(registries.parsed(driver, *views))
        return [record.getMessage().rpartition(": ")[2] for record in caplog.records]

    faults = FeastFaults(config)
    types = "driver_id (INT64 in number, STRING in text)"
    assert said(faults, number) == []
    assert said(faults, number, text) == [types]
    assert said(faults, number, text) == []
    assert said(faults, number, text, maps) == ["maps:m", "driver_id (INT64 in maps, number, STRING in text)"]
    assert said(faults, number) == []
    assert said(faults, number, text) == [types]
    strict = replace(config, features=replace(config.features, compat="strict"))
    assert said(FeastFaults(strict), number, text) == []
