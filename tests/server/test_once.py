"""Answers without a server: the same as a server's, on the same repository and the same store."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.harness import Server
from yummy_fast.config.settings import Config
from yummy_fast.errors import RegistryError, StoreUnavailableError
from yummy_fast.server.once import Answerer, answer_once
from yummy_fast.sources.yaml_text import load_config


@pytest.fixture
def config(corpus: Path) -> Config:
    return load_config(chdir=str(corpus), environ={})


def body(**more: object) -> bytes:
    return json.dumps({"features": ["driver_stats:trips"], "entities": {"driver_id": [1001, 9]}, **more}).encode()


ODFV = {"feature_service": "svc_odfv", "entities": {"driver_id": [1001], "bonus": [10]}}


@pytest.mark.parametrize(
    "asked",
    [
        json.loads(body()),
        ODFV,  # an on-demand view: its function is called here as well
        {"features": ["driver_stats:nope"], "entities": {"driver_id": [1]}},
        {"feature_service": "nope", "entities": {"driver_id": [1]}},
        {"features": 1},
    ],
)
def test_the_answer_is_a_servers(config: Config, server: Server, asked: object) -> None:
    there = server.ask("/get-online-features", asked)
    here = answer_once(config, json.dumps(asked).encode(), "")
    assert (here.status, json.loads(here.body)) == (there.status, there.json)


@pytest.mark.parametrize(("compat", "status"), [("feast", "PRESENT"), ("strict", "NOT_FOUND")])
def test_the_statuses_that_are_asked_for(config: Config, compat: str, status: str) -> None:
    """Of an entity that is not there."""
    found = answer_once(config, body(), compat)
    assert json.loads(found.body)["results"][1]["statuses"][1] == status


def test_several_requests_in_one_block(config: Config) -> None:
    with Answerer(config) as answerer:
        first, second = answerer.answer(body(), ""), answerer.answer(b"{", "")
        assert (first.status, second.status) == (200, 422)
        assert answerer.answer(body(), "") == first
        assert "driver_stats" in answerer.catalog.registry.views


def test_stored_keys(config: Config) -> None:
    with Answerer(config) as answerer:
        keys = answerer.stored_keys()
    assert any(b"driver_id" in key for key in keys)
    assert not any(key.endswith(answerer.catalog.registry.project.encode()) for key in keys)


def test_a_store_that_is_gone(corpus: Path) -> None:
    file = corpus / "feature_store.yaml"
    text = file.read_text()
    port = text.partition("127.0.0.1:")[2].split('"')[0].split()[0]
    file.write_text(text.replace(port, "1"))
    config = load_config(chdir=str(corpus), environ={})
    assert answer_once(config, body(), "").status == 503
    with Answerer(config) as answerer, pytest.raises(StoreUnavailableError, match=r"127\.0\.0\.1:1"):
        answerer.stored_keys()


def test_a_registry_that_is_none(corpus: Path) -> None:
    (corpus / "registry.db").write_bytes(b"\xff")
    with pytest.raises(RegistryError, match=r"registry\.db"):
        answer_once(load_config(chdir=str(corpus), environ={}), body(), "")
