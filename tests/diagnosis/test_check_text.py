"""The two forms of what `check` has found. That the lines to copy are answered: tests/diagnosis/test_check_run.py."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.registries import Item, catalog, entity, projection, service, view
from yummy_fast.config.settings import Config
from yummy_fast.diagnosis.check_text import Answer, as_json, curl, lines
from yummy_fast.diagnosis.findings import Finding
from yummy_fast.feast_format.values import ValueType
from yummy_fast.features.plan import Lookup
from yummy_fast.sources.yaml_text import load_config

INT64, STRING = ValueType.INT64, ValueType.STRING
DRIVER, SHOP = entity("driver", "driver_id"), entity("shop", "shop_id", STRING)
STATS = view("stats", ["driver"], {"driver_id": INT64}, {"trips": INT64, "rating": INT64})
MORE = view("more", ["driver"], {"driver_id": INT64}, {"tips": INT64})
SHOPS = view("shops", ["shop"], {"shop_id": STRING}, {"sales": INT64})
GLOBAL = view("glob", ["__dummy"], {}, {"rain": INT64})
ITEMS = (DRIVER, SHOP, STATS, MORE, SHOPS, GLOBAL)


@pytest.fixture
def config(tmp_path: Path) -> Config:
    (tmp_path / "feature_store.yaml").write_text(
        "project: rides\nregistry: r.db\nonline_store: {type: sqlite, path: o.db}\n"
        "entity_key_serialization_version: 3\n"
    )
    return load_config(chdir=str(tmp_path), environ={})


def describe(prepared: Iterable[Lookup]) -> list[str]:
    return [f"READ {len(lookup.features)}" for lookup in prepared]


def found(config: Config, *items: Item, findings: Iterable[Finding] = (), **more: Any) -> dict[str, Any]:
    answer = Answer(**{"reachable": True, "text": "Valkey 8", **more})
    whole = as_json(config, "r.db", catalog(*items), describe, answer, list(findings), "native")
    return json.loads(json.dumps(whole))  # type: ignore[no-any-return]  # it is for programs


def the_service(config: Config, *projected: Any) -> dict[str, Any]:
    (one,) = found(config, *ITEMS, service("svc", *map(projection, projected)))["feature_services"]
    assert one["name"] == "svc"
    return dict(one)


def test_what_a_service_reads(config: Config) -> None:
    one = the_service(config, STATS, MORE, SHOPS)
    assert (one["features"], one["feature_views"], one["keys_per_row"]) == (4, 3, 2)
    assert one["entities"] == {"driver_id": "INT64", "shop_id": "STRING"}
    assert (one["request_data"], one["full_feature_names"]) == ({}, False)
    assert one["reads"] == ["3 features of 2 views by driver_id", "1 feature of 1 view by shop_id"]
    assert one["commands"] == ["driver_id: READ 3", "shop_id: READ 1"]


def test_what_is_read_without_entities(config: Config) -> None:
    one = the_service(config, GLOBAL)
    assert (one["entities"], one["reads"]) == ({}, ["1 feature of 1 view without entities"])


def test_what_is_read_twice_and_answered_once(config: Config) -> None:
    """--compat strict also reads what was pushed to a view without entities."""
    strict = catalog(*ITEMS, service("svc", projection(GLOBAL)), strict=True)
    (one,) = as_json(config, "r.db", strict, describe, Answer(True, ""), [], "native")["feature_services"]
    assert one["reads"] == ["1 feature of 1 view without entities, as materialized and as pushed"]
    assert (one["feature_views"], one["keys_per_row"]) == (1, 2)
    assert one["commands"][1].startswith("pushed: READ ")


def test_a_service_with_full_names_only(config: Config) -> None:
    again = view("again", ["driver"], {"driver_id": INT64}, {"trips": INT64})
    whole = found(config, *ITEMS, again, service("svc", projection(STATS), projection(again)))
    (one,) = whole["feature_services"]
    assert one["full_feature_names"] is True
    assert json.loads(shlex.split(one["curl"])[-1])["full_feature_names"] is True
    assert '  full names    only: requests need "full_feature_names": true' in lines(whole)


def test_a_service_that_cannot_be_served(config: Config) -> None:
    gone = view("gone", ["driver"], {}, {"x": INT64})
    whole = found(config, *ITEMS, service("b", projection(gone)), service("a", projection(STATS)))
    a, b = whole["feature_services"]
    assert (a["name"], b["name"], sorted(b)) == ("a", "b", ["error", "name"])
    text = list(lines(whole))
    place = text.index("feature service b")
    assert text[place + 1] == f"  CANNOT BE SERVED: {' '.join(b['error'].split())}"
    assert text[place + 2] == ""


def test_the_whole_for_programs(config: Config) -> None:
    whole = found(config, *ITEMS, findings=[Finding("a", "bad"), Finding("b", "well", is_problem=False)])
    assert whole == {
        "configuration": config.repository.source,
        "project": "rides",
        "registry": "r.db",
        "registry_version": "",
        "entity_key_serialization_version": 3,
        "hot_path": "native",
        "online_store": {"type": "sqlite", "reachable": True, "answer": "Valkey 8"},
        "feature_views": 4,
        "materialized": {"glob": None, "more": None, "shops": None, "stats": None},
        "broken_views": [],
        "collisions": [],
        "feature_services": [],
        "findings": [
            {"name": "a", "problem": True, "text": "bad"},
            {"name": "b", "problem": False, "text": "well"},
        ],
    }
    assert list(whole["materialized"]) == sorted(whole["materialized"])


def test_the_whole_for_people(config: Config) -> None:
    """Columns are as wide as the longest name, and a store that is reached without problems is said to have none."""
    whole = found(config, DRIVER, STATS, service("svc", projection(STATS)))
    whole["materialized"] = {"stats": "2026-03-01T10:00:00Z", "a_longer_name": None}
    (one,) = whole["feature_services"]
    assert list(lines(whole)) == [
        f"configuration  {config.repository.source}",
        "project        rides",
        "registry       r.db (version unknown)",
        "entity keys    serialization version 3",
        "hot path       native",
        "online store   sqlite, answers: Valkey 8",
        "feature views  1",
        "",
        "feature view   materialized until",
        "-------------  --------------------",
        "stats          2026-03-01T10:00:00Z",
        "a_longer_name  never",
        "",
        "feature service svc",
        "  features      2",
        "  entities      driver_id (INT64)",
        "  reads         2 features of 1 view by driver_id",
        f"  try           {one['curl']}",
        "",
        "No problem was found.",
    ]


def test_what_is_only_said_where_there_is_something_to_say(config: Config) -> None:
    whole = found(config)
    whole["registry_version"] = "7"
    text = list(lines(whole))
    assert "registry       r.db (version 7)" in text
    assert not any(line.startswith("feature view ") for line in text)
    whole["feature_services"] = [
        {
            "name": "svc",
            "features": 1,
            "entities": {},
            "request_data": {"amount": "DOUBLE"},
            "full_feature_names": False,
            "reads": [],
            "curl": "curl",
        }
    ]
    assert list(lines(whole))[-7:-2] == [
        "  features      1",
        "  entities      none",
        "  request data  amount (DOUBLE)",
        "  reads         nothing",
        "  try           curl",
    ]


def test_problems_stand_before_notes_and_behind_the_sample(config: Config) -> None:
    findings = [Finding("a", "one", is_problem=False), Finding("b", "two"), Finding("c", "three", is_problem=False)]
    text = list(lines(found(config, findings=findings), ["sample  of keys"]))
    assert text[-6:] == ["", "sample  of keys", "", "PROBLEM  two", "note     one", "note     three"]


def test_a_store_that_was_not_looked_into_is_not_said_to_be_sound(config: Config) -> None:
    text = list(lines(found(config, reachable=False, text="connection refused")))
    assert "online store   sqlite, DOES NOT ANSWER: connection refused" in text
    assert text[-1] == "The online store was not looked into."
    assert "No problem was found." not in text


@pytest.mark.parametrize(
    ("address", "url"),
    [
        ({}, "http://127.0.0.1:6566/get-online-features"),
        ({"host": ""}, "http://127.0.0.1:6566/get-online-features"),
        ({"host": "0.0.0.0", "port": 80}, "http://127.0.0.1:80/get-online-features"),
        ({"host": "::"}, "http://[::1]:6566/get-online-features"),
        ({"host": "fe80::1"}, "http://[fe80::1]:6566/get-online-features"),
        ({"host": "features.example"}, "http://features.example:6566/get-online-features"),
    ],
)
def test_where_the_line_to_copy_asks(config: Config, address: Mapping[str, Any], url: str) -> None:
    """At an address that a client on the same machine reaches."""
    there = replace(config, address=replace(config.address, **address))
    assert shlex.split(curl(there, {"a": "ü '"})) == ["curl", "-s", url, "-d", '{"a": "ü \'"}']


def test_a_line_to_copy_for_a_unix_socket_with_tls_and_tokens(config: Config) -> None:
    there = replace(
        config,
        address=replace(config.address, uds="/run/a b.sock"),
        tls=replace(config.tls, cert="c.pem", client_ca="ca.pem"),
        auth=replace(config.auth, tokens="tokens"),
    )
    assert shlex.split(curl(there, {})) == [
        *("curl", "-s", "--unix-socket", "/run/a b.sock", "-H", "Authorization: Bearer TOKEN"),
        *("--cert", "CLIENT_CERTIFICATE", "--key", "ITS_KEY"),
        *("https://localhost/get-online-features", "-d", "{}"),
    ]
