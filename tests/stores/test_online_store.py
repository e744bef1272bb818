"""The table of stores. What each store must do is in tests/contract."""

from __future__ import annotations

import subprocess
import sys

import pytest

from yummy_fast.errors import ConfigError
from yummy_fast.stores.online_store import STORES, StoreState, check_keys, open_store_class
from yummy_fast.stores.redis import RedisStore
from yummy_fast.stores.sqlite import SqliteStore


def test_stores_are_found_by_feasts_own_names() -> None:
    assert {name: open_store_class(name, "") for name in STORES} == {"redis": RedisStore, "sqlite": SqliteStore}


def test_an_unknown_store_is_named_with_those_there_are() -> None:
    with pytest.raises(ConfigError) as caught:
        open_store_class("dynamodb", "fs.yaml: online_store.type")
    expected = "fs.yaml: online_store.type: this server reads redis and sqlite, not 'dynamodb'"
    assert str(caught.value) == expected


@pytest.mark.parametrize(("name", "library"), [("sqlite", "redis"), ("redis", "sqlite3")])
def test_a_store_that_is_not_named_is_not_imported(name: str, library: str) -> None:
    program = (
        "import sys\nfrom yummy_fast.stores.online_store import open_store_class\n"
        f"open_store_class({name!r}, '')\nprint({library!r} in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=20, check=True)
    assert done.stdout == "False\n"


def test_a_key_that_feast_does_not_know_is_named() -> None:
    check_keys(["type", "path"], {"path", "type", "other"}, "fs.yaml: online_store")
    with pytest.raises(ConfigError) as caught:
        check_keys(["type", "pathh"], {"path", "type"}, "fs.yaml: online_store")
    assert str(caught.value) == "fs.yaml: online_store.pathh: no such key; expected one of: path, type"


def test_a_store_that_has_not_begun_has_done_nothing() -> None:
    state = StoreState()
    assert {name: getattr(state, name) for name in StoreState.__slots__} == {
        "answered_at": 0.0,
        "connections": 0,
        "connects": 0,
        "crowded": False,
        "failures": 0,
        "losses": 0,
        "redirects": 0,
        "refreshes": 0,
        "refusal": "",
        "cache_bytes": 0,
        "cache_differences": 0,
        "cache_flushes": 0,
        "cache_hits": 0,
        "cache_invalidations": 0,
        "cache_misses": 0,
        "replica_reads": 0,
        "shared_reads": 0,
        "unusable": "",
    }
