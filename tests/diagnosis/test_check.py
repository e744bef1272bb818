"""What `check` finds, from records that are made here. tests/diagnosis/test_check_run.py has what Feast has written."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from tests.registries import PROJECT, Item, catalog, earlier, entity, fields, parsed, projection, service, view
from yummy_fast.config.repository import Notice, Repository
from yummy_fast.diagnosis.check import Need, Request, of_configuration, of_registry, of_store, request_for
from yummy_fast.diagnosis.findings import Finding
from yummy_fast.errors import RequestError
from yummy_fast.feast_format._proto import registry_pb2 as messages
from yummy_fast.feast_format.keys import KeyPart, compile_key, entity_key_header
from yummy_fast.feast_format.registry import FeatureView, OnDemandFeatureView, Registry
from yummy_fast.feast_format.values import ValueType
from yummy_fast.features.catalog import Catalog
from yummy_fast.features.feast_faults import AS_IN_FEAST
from yummy_fast.features.statuses import StatusPolicy
from yummy_fast.features.vectors import Layout, Tails
from yummy_fast.stores.survey import Survey

INT64, STRING, DOUBLE = ValueType.INT64, ValueType.STRING, ValueType.DOUBLE
DRIVER = entity("driver", "driver_id")
STATS = view("stats", ["driver"], {"driver_id": INT64}, {"trips": INT64})


def on_demand(request_data: Mapping[str, ValueType]) -> messages.OnDemandFeatureView:
    """A view `bonus` that is computed from nothing but request data."""
    source = messages.DataSource(request_data_options=messages.RequestDataOptions(schema=fields(request_data)))
    return messages.OnDemandFeatureView(
        spec=messages.OnDemandFeatureViewSpec(
            name="bonus",
            project=PROJECT,
            mode="python",
            features=fields({"bonus": DOUBLE}),
            sources={"offer": messages.OnDemandSource(request_data_source=source)},
        )
    )


def by_name(findings: Iterable[Finding]) -> dict[str, Finding]:
    found = list(findings)
    assert len({finding.name for finding in found}) == len(found), found
    return {finding.name: finding for finding in found}


# ------------------------------------------------------------------------------------------------- the configuration


def test_what_the_file_says_in_vain() -> None:
    """A notice of the file says itself whether it is a problem; what a store notices never is."""
    repository = Repository(
        source="feature_store.yaml",
        folders=("", ""),
        project=PROJECT,
        registry={},
        registry_path="r.db",
        online_store={"type": "redis"},
        key_version=3,
        versioning=False,
        serve_materializing=False,
        notices=(Notice("misspelt", True), Notice("deprecated")),
    )
    assert list(of_configuration(repository, ["ignored"])) == [
        Finding("configuration", "misspelt", is_problem=True),
        Finding("configuration", "deprecated", is_problem=False),
        Finding("configuration", "ignored", is_problem=False),
    ]


# ------------------------------------------------------------------------------------------------------- the registry


def found_in(catalog: Catalog[Any], *, strict: bool = False, versioning: bool = False) -> dict[str, Finding]:
    return by_name(of_registry(catalog, "r.db", strict=strict, versioning=versioning))


def test_a_sound_registry() -> None:
    assert found_in(catalog(DRIVER, STATS, service("svc", projection(STATS)))) == {}


def test_a_project_without_views() -> None:
    """The registry is another project's, which a wrong `project:` in the file looks like."""
    other = view("stats", ["driver"], {}, {"trips": INT64}, project="staging")
    (finding,) = found_in(catalog(other)).values()
    assert finding == Finding(
        "no_views", f"r.db: no feature views in project {PROJECT}; the registry's other projects: staging"
    )
    (alone,) = found_in(catalog()).values()
    assert alone.text.endswith("other projects: none")


def test_a_service_that_cannot_be_served() -> None:
    """Its view is gone. The lines of an error become one."""
    gone = service("svc", projection(view("gone", ["driver"], {}, {"trips": INT64})))
    (finding,) = found_in(catalog(DRIVER, STATS, gone)).values()
    assert (finding.name, finding.is_problem) == ("broken_service", True)
    assert finding.text.startswith("r.db: feature service svc cannot be served: ")
    assert "gone" in finding.text
    assert "\n" not in finding.text


def test_an_on_demand_view_that_cannot_be_computed() -> None:
    """Nobody but those who ask for it would notice."""
    broken = RequestError("bonus: its function cannot be loaded")

    def load(_: object) -> Any:
        raise broken

    whole: Catalog[object] = Catalog(
        parsed(DRIVER, STATS, on_demand({})),
        key_version=3,
        versioning=False,
        prepare=lambda lookups: lookups,
        lay_out=partial(Layout, policy=StatusPolicy.PRESENT, tails=Tails()),
        load=load,
    )
    (finding,) = found_in(whole).values()
    assert finding == Finding("broken_view", f"r.db: {broken}")


def test_features_that_share_a_field() -> None:
    clashing = catalog(
        DRIVER, STATS, collisions=lambda features: [(one, one) for one in features if one.name == "trips"]
    )
    (finding,) = found_in(clashing).values()
    assert (finding.name, finding.is_problem) == ("collision", True)
    assert finding.text.endswith("rename one: stats:trips and stats:trips, both of driver_id")


def test_a_service_that_needs_full_names() -> None:
    """Two views have a feature `trips`: short names are refused with 400, and full ones are answered."""
    more = view("more", ["driver"], {"driver_id": INT64}, {"trips": INT64})
    (finding,) = found_in(catalog(DRIVER, STATS, more, service("svc", projection(STATS), projection(more)))).values()
    assert (finding.name, finding.is_problem) == ("full_names", True)
    assert finding.text.startswith("r.db: feature service svc: two of its features have the same name")


def test_a_service_that_is_broken_is_not_said_to_need_full_names() -> None:
    more = view("more", ["driver"], {"driver_id": INT64}, {"trips": INT64})
    gone = view("gone", ["driver"], {}, {"x": INT64})
    broken = service("svc", projection(STATS), projection(more), projection(gone))
    assert list(found_in(catalog(DRIVER, STATS, more, broken))) == ["broken_service"]


TYPED = view("typed", ["driver"], {"driver_id": STRING}, {"nick": STRING})


@pytest.mark.parametrize(
    ("together", "strict", "is_problem", "words"),
    [
        (True, False, True, "features of the other views are null"),
        (True, True, False, "With --compat strict each view is read by its own type"),
        (False, False, False, "features of the other views are null"),
    ],
)
def test_join_keys_of_different_types(together: bool, strict: bool, is_problem: bool, words: str) -> None:
    """A problem only where a service reads both, since Feast's answer is null in one of them."""
    services = [service("svc", projection(STATS), projection(TYPED))] if together else []
    (finding,) = found_in(catalog(DRIVER, STATS, TYPED, *services, strict=strict), strict=strict).values()
    assert (finding.name, finding.is_problem) == ("join_key_type", is_problem)
    whose = "feature service svc: " if together else ""
    expected = f"r.db: {whose}join key driver_id has different types: INT64 in stats, STRING in typed. "
    assert finding.text.startswith(expected)
    assert words in finding.text


def test_what_feast_answers_wrongly_is_noted_where_it_is_answered_so() -> None:
    """Feast 0.67 reads version 0 of a view without a pinned version: tests/conformance/feast_is_wrong."""
    now_at_two = view("stats", ["driver"], {"driver_id": INT64}, {"trips": INT64}, version=2)
    items: tuple[Item, ...] = (DRIVER, now_at_two, earlier(STATS, 0), service("svc", projection(now_at_two)))
    (finding,) = found_in(catalog(*items, versioning=True), versioning=True).values()
    assert (finding.name, finding.is_problem) == ("as_in_feast", False)
    assert finding.text.startswith(f"r.db: {AS_IN_FEAST}: version 0 is read where no version is pinned: stats in ")
    assert found_in(catalog(*items, versioning=True)) == {}
    assert found_in(catalog(*items, versioning=True, strict=True), strict=True, versioning=True) == {}


# ---------------------------------------------------------------------------------------------------------- the store


def keys(version: int, *ids: int) -> tuple[bytes, ...]:
    return tuple(compile_key([KeyPart("driver_id", "id", INT64)], version)({"id": list(ids)}, len(ids)))


def found_by(
    survey: Survey, registry: Registry | None = None, *, key_version: int = 3, versioning: bool = False
) -> dict[str, Finding]:
    registry = registry or online(parsed(DRIVER, STATS), "stats")
    return by_name(of_store(registry, survey, "fs.yaml", "r.db", key_version=key_version, versioning=versioning))


def online(registry: Registry, *materialized: str, for_online: bool = True) -> Registry:
    """With views that are for online reading, of which some were materialized."""
    found: dict[str, FeatureView | OnDemandFeatureView] = {}
    for name, one in registry.views.items():
        assert isinstance(one, FeatureView)
        found[name] = replace(one, online=for_online, materialized_until_s=1.0 if name in materialized else None)
    return replace(registry, views=found)


def survey(stored: Sequence[bytes] = (), views: Sequence[str] = (), **more: Any) -> Survey:
    return Survey("redis:6379", tuple(stored), frozenset(views), place=", database 4", **more)


def test_a_sound_store() -> None:
    assert found_by(survey(keys(3, 1, 2))) == {}


def test_no_key_of_the_project() -> None:
    (finding,) = found_by(survey()).values()
    assert (finding.name, finding.is_problem) == ("wrong_redis", True)
    assert finding.text.startswith(f"redis:6379, database 4: no key of project {PROJECT}: every feature is null. ")
    assert "online_store in fs.yaml" in finding.text
    assert finding.text.endswith("run `feast materialize`")


def test_the_keys_may_be_in_another_database() -> None:
    (finding,) = found_by(survey(databases={0: 7, 3: 1}, complete=False, looked_at=900)).values()
    assert finding.name == "other_db"
    assert f"no key of project {PROJECT} among the 900 that were looked at: " in finding.text
    assert finding.text.endswith("; there are keys in database 0 (7 keys), 3 (1 keys): is db= right?")


def test_bytes_that_are_no_entity_keys_are_not_the_projects() -> None:
    """SCAN found another project's, whose name ends as this one's."""
    assert list(found_by(survey([b"session:", b"\xff" * 12]))) == ["wrong_redis"]


def test_the_key_of_pushes_to_a_view_without_entities_is_one_of_the_project() -> None:
    assert found_by(survey([entity_key_header([], 3)])) == {}


def test_nothing_follows_from_what_could_not_be_asked() -> None:
    (finding,) = found_by(survey(refused=(("SCAN", "what is stored"),))).values()
    assert finding == Finding(
        "not_permitted", "redis:6379: the user may not run SCAN: what is stored was not checked", is_problem=False
    )


def test_a_registry_without_views_has_no_keys_to_be_missed() -> None:
    assert found_by(survey(), parsed()) == {}


@pytest.mark.parametrize(("configured", "stored"), [(3, 2), (2, 3)])
def test_keys_of_another_version(configured: int, stored: int) -> None:
    present = [*keys(stored, 1, 2), *keys(configured, 3)]
    (finding,) = found_by(survey(present), key_version=configured).values()
    assert (finding.name, finding.is_problem) == ("key_version", True)
    assert finding.text.startswith(
        f"redis:6379, database 4: 2 of 3 keys of project {PROJECT} that were looked at have serialization version "
        f"{stored}, and entity_key_serialization_version in fs.yaml is {configured}, so"
    )
    assert finding.text.endswith(f"Set it to {stored}, or materialize again")


def test_version_0_is_another_word_for_1() -> None:
    """In Feast's serialization.py, which asks whether the version is above 1. A text is the same in 1 and in 2."""
    text = compile_key([KeyPart("driver_id", "id", STRING)], 1)({"id": ["a"]}, 1)
    for version in (0, 1, 2):
        assert found_by(survey(text), key_version=version) == {}
    (finding,) = found_by(survey(keys(3, 1)), key_version=0).values()
    assert "entity_key_serialization_version in fs.yaml is 0, so" in finding.text


@pytest.mark.parametrize(
    ("redis_type", "words"),
    [("cluster", "a node of a Redis Cluster"), ("sentinel", "a Redis Sentinel, which holds no data")],
)
def test_a_redis_of_another_type(redis_type: str, words: str) -> None:
    (finding,) = found_by(survey(keys(3, 1), mode=redis_type, expected_mode="redis")).values()
    assert (finding.name, finding.is_problem) == ("redis_type", True)
    assert finding.text == (
        f"fs.yaml: online_store.redis_type: it says redis, and redis:6379 is {words}: set redis_type: "
        f"redis_{redis_type}, as for Feast, or give the address of a single Redis"
    )


@pytest.mark.parametrize("mode", ["", "standalone"])
def test_a_single_redis(mode: str) -> None:
    assert found_by(survey(keys(3, 1), mode=mode, expected_mode="redis")) == {}


MORE = view("more", ["driver"], {"driver_id": INT64}, {"x": INT64}, version=2)


def test_a_view_that_was_never_materialized() -> None:
    registry = online(parsed(DRIVER, STATS, MORE), "stats")
    (finding,) = found_by(survey(keys(3, 1)), registry).values()
    assert (finding.name, finding.is_problem) == ("never_materialized", True)
    assert finding.text.startswith("r.db: feature view more was never materialized")


@pytest.mark.parametrize(("versioning", "stored"), [(False, "more"), (True, "more_v2")])
def test_a_view_whose_rows_somebody_wrote_all_the_same(versioning: bool, stored: str) -> None:
    """By the name that the store has for it."""
    registry = online(parsed(DRIVER, STATS, MORE), "stats")
    assert found_by(survey(keys(3, 1), [stored]), registry, versioning=versioning) == {}
    other = "more_v2" if stored == "more" else "more"
    assert list(found_by(survey(keys(3, 1), [other]), registry, versioning=versioning)) == ["never_materialized"]


def test_a_view_that_is_not_for_online_reading_needs_no_rows() -> None:
    assert found_by(survey(keys(3, 1)), online(parsed(DRIVER, STATS), for_online=False)) == {}
    assert list(found_by(survey(keys(3, 1)), online(parsed(DRIVER, STATS)))) == ["never_materialized"]


# --------------------------------------------------------------------------------------------------- what can be asked


def needs(*columns: tuple[str, ValueType]) -> dict[str, Need]:
    """What a request for a view with these join keys needs."""
    entities = [entity(f"e_{name}", name, kind) for name, kind in columns]
    asked = view("v", [f"e_{name}" for name, _ in columns], dict(columns), {"f": INT64})
    plan = catalog(*entities, asked).plan_for(None, ["v:f"], False).plan
    found = request_for(plan)
    assert found.request_data == []
    assert [need.name for need in found.entities] == sorted(name for name, _ in columns)
    return {need.name: need for need in found.entities}


def test_examples_of_entities() -> None:
    found = needs(("b", STRING), ("a", INT64), ("c", ValueType.BOOL), ("d", ValueType.UNIX_TIMESTAMP))
    assert found == {
        "a": Need("a", "INT64", 1),
        "b": Need("b", "STRING", "a"),
        "c": Need("c", "BOOL", True),
        "d": Need("d", "UNIX_TIMESTAMP", 1),
    }


def test_a_join_key_without_a_type() -> None:
    """Neither the view nor the entity declares one."""
    untyped = view("v", ["driver"], {}, {"f": INT64})
    plan = catalog(entity("driver", "driver_id", ValueType.UNKNOWN), untyped).plan_for(None, ["v:f"], False).plan
    assert request_for(plan).entities == [Need("driver_id", "any type", 1)]


def test_a_view_without_entities_needs_nothing() -> None:
    lonely = view("v", ["__dummy"], {}, {"f": INT64})
    plan = catalog(entity("__dummy", "__dummy_id", STRING), lonely).plan_for(None, ["v:f"], False).plan
    assert request_for(plan) == Request([], [])


def test_request_data_with_an_example_of_each_type() -> None:
    """An array is an example of an array, in JSON as Feast's server takes it."""
    declared = {
        "amount": DOUBLE,
        "ratio": ValueType.FLOAT,
        "id": ValueType.UUID,
        "raw": ValueType.BYTES,
        "words": ValueType.STRING_LIST,
        "numbers": ValueType.INT64_SET,
        "price": ValueType.DECIMAL,
        "more": ValueType.MAP,
        "text": ValueType.JSON,
    }
    found = request_for(catalog(on_demand(declared)).plan_for(None, ["bonus:bonus"], False).plan)
    assert found.entities == []
    assert {need.name: need.type for need in found.request_data} == {
        name: kind.name for name, kind in sorted(declared.items())
    }
    assert {need.name: need.example for need in found.request_data} == {
        "amount": 1.5,
        "id": "123e4567-e89b-12d3-a456-426614174000",
        "more": {"a": 1},
        "numbers": [1],
        "price": "1.5",
        "ratio": 1.5,
        "raw": "YQ==",
        "text": "{}",
        "words": ["a"],
    }


def test_the_body_of_a_request() -> None:
    asked = Request([Need("driver_id", "INT64", 1)], [Need("amount", "DOUBLE", 1.5)])
    body = {"feature_service": "svc", "entities": {"driver_id": [1], "amount": [1.5]}}
    assert asked.body("svc", full_names=False) == body
    assert asked.body("svc", full_names=True) == {**body, "full_feature_names": True}
