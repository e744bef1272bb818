"""How references are read, which views they and services use, and which views cannot be used.

Feast's rules are those of feast/utils.py _parse_feature_ref and _get_feature_views_to_use (Feast 0.67.0).
"""

from __future__ import annotations

import pytest

from tests.registries import PROJECT, Item, catalog, earlier, entity, fields, parsed, projection, service, view
from yummy_fast.errors import NotFoundError, RequestError
from yummy_fast.feast_format._proto import registry_pb2 as messages
from yummy_fast.feast_format.values import ValueType
from yummy_fast.features.views import Ref, ResolvedViews, Views, parse_ref, refs_of

INT64, FLOAT = ValueType.INT64, ValueType.FLOAT
DRIVER = {"driver_id": INT64}

STATS = view("stats", ["driver"], DRIVER, {"trips": INT64, "rate": FLOAT})
OLD = view("stats", ["driver"], DRIVER, {"trips": FLOAT, "old": INT64})
NOW = view("stats", ["driver"], DRIVER, {"trips": INT64}, version=2)


def views(*items: Item, versioning: bool = False) -> Views:
    return Views(parsed(*items), {}, versioning=versioning)


def used(views: Views, *features: str) -> ResolvedViews:
    return views.of_refs([parse_ref(text, place) for place, text in enumerate(features)])


def refusal(views: Views, *features: str) -> RequestError:
    with pytest.raises(RequestError) as caught:
        used(views, *features)
    return caught.value


# ------------------------------------------------------------------------------------------------------- references


@pytest.mark.parametrize(
    ("text", "ref"),
    [
        ("stats:trips", ("stats", None, "trips")),
        ("a:b:c", ("a", None, "b:c")),
        (":x", ("", None, "x")),
        ("x:", ("x", None, "")),
        (" x : y ", (" x ", None, " y ")),
        ("stats@:x", ("stats", None, "x")),
        ("stats@LATEST:x", ("stats", None, "x")),
        ("stats@v0:x", ("stats", 0, "x")),
        ("stats@V12:x", ("stats", 12, "x")),
        ("stats@foo:x", ("stats@foo", None, "x")),
        ("stats@v1@v2:x", ("stats@v1@v2", None, "x")),
        ("stats@v:x", ("stats@v", None, "x")),
        ("stats@1:x", ("stats@1", None, "x")),
        ("stats:x@v1", ("stats", None, "x@v1")),
    ],
)
def test_references_are_split_as_feast_splits_them(text: str, ref: tuple[str, int | None, str]) -> None:
    found = parse_ref(text, 0)
    assert (found.view, found.version, found.feature, found.text) == (*ref, text)


@pytest.mark.parametrize(("digits", "version"), [(300, int("9" * 300)), (301, None), (5_000, None)])
def test_a_version_of_too_many_digits_is_a_part_of_the_name(digits: int, version: int | None) -> None:
    """Python refuses to make a number of 5,000 digits, and takes its time for fewer."""
    name = f"stats@v{'9' * digits}"
    found = parse_ref(f"{name}:x", 0)
    assert (found.view, found.version) == (name if version is None else "stats", version)


@pytest.mark.parametrize("text", ["trips", "", "stats.trips", "stats@v1"])
def test_a_reference_without_a_colon_is_named_with_its_place(text: str) -> None:
    with pytest.raises(RequestError) as caught:
        parse_ref(text, 1)
    assert str(caught.value) == (
        f"features[1]: Invalid feature reference '{text}'. "
        "Expected format: '<feature_view>:<feature>' or '<feature_view>@<version>:<feature>'"
    )


# ------------------------------------------------------------------------------------------- what cannot be used


@pytest.mark.parametrize("name", ["nofv", "stats@foo", ""])
def test_an_unknown_view_is_feasts_404(name: str) -> None:
    error = refusal(views(STATS), "stats:trips", f"{name}:x")
    assert isinstance(error, NotFoundError)
    assert error.feast_class == "FeatureViewNotFoundException"
    assert str(error) == f"Feature view {name} does not exist in project {PROJECT}"


@pytest.mark.parametrize(
    ("state", "message"),
    [
        (messages.MATERIALIZING, "Feature view 'v' is in state 'MATERIALIZING' and cannot serve features. "
         "Only AVAILABLE_ONLINE feature views can serve."),
        (messages.CREATED, "Feature view 'v' is in state 'CREATED' and cannot serve features. "
         "Only AVAILABLE_ONLINE feature views can serve."),
    ],
)  # fmt: skip
def test_a_view_in_another_state_cannot_serve(state: messages.FeatureViewState, message: str) -> None:
    assert str(refusal(views(view("v", ["driver"], DRIVER, {"x": INT64}, state=state)), "v:x")) == message


@pytest.mark.parametrize("state", [messages.STATE_UNSPECIFIED, messages.AVAILABLE_ONLINE])
def test_a_view_without_state_or_online_serves(state: messages.FeatureViewState) -> None:
    assert list(used(views(view("v", ["driver"], DRIVER, {"x": INT64}, state=state)), "v:x").stored) == ["v"]


def test_a_view_being_materialized_serves_where_the_registry_is_set_to_it() -> None:
    """Feast 0.67.0 adds this one state to those that serve (_get_feature_views_to_use)."""
    busy = view("v", ["driver"], DRIVER, {"x": INT64}, state=messages.MATERIALIZING)
    new = view("new", ["driver"], DRIVER, {"x": INT64}, state=messages.CREATED)
    found = Views(parsed(busy, new), {}, versioning=False, serve_materializing=True)
    assert list(used(found, "v:x").stored) == ["v"]
    assert "is in state 'CREATED'" in str(refusal(found, "new:x"))


def test_a_disabled_view_cannot_serve() -> None:
    off = view("off", ["driver"], DRIVER, {"z": INT64}, disabled=True, state=messages.MATERIALIZING)
    assert str(refusal(views(off), "off:z")) == (
        "Feature view 'off' is disabled and cannot serve features. "
        "Enable it with `feast feature-views enable off` or set enabled=True."
    )


def test_an_unknown_version_is_feasts_404() -> None:
    error = refusal(views(NOW, earlier(OLD, 1), versioning=True), "stats@v9:trips")
    assert (error.status, error.feast_class) == (404, "FeatureViewVersionNotFound")
    assert str(error) == f"Version v9 of feature view stats does not exist in project {PROJECT}; it has v1"


# ----------------------------------------------------------------------------------------------------------- names


def test_references_use_a_view_once_and_each_version_of_it() -> None:
    uses = used(views(NOW, earlier(OLD, 1), versioning=True), "stats:trips", "stats@v1:old", "stats@latest:trips")
    assert {name: use.store_name for name, use in uses.stored.items()} == {"stats": "stats_v2", "stats@v1": "stats_v1"}
    assert set(uses.stored["stats@v1"].features) == {"trips", "old"}


def test_without_versioning_the_store_knows_a_view_by_its_name() -> None:
    assert used(views(NOW), "stats:trips").stored["stats"].store_name == "stats"


def test_a_service_uses_what_it_chose_under_the_names_it_gave() -> None:
    items = (STATS, service("svc", projection(STATS, ["rate"], alias="home", join_key_map={"driver_id": "who"})))
    svc = parsed(*items).services["svc"]
    assert refs_of(svc) == [Ref("home", None, "rate", "home:rate")]
    (use,) = views(*items).of_service(svc).stored.values()
    assert (use.name, use.store_name, list(use.features)) == ("home", "stats", ["rate"])
    assert use.join_key_map == {"driver_id": "who"}


def on_demand(
    name: str, source: messages.FeatureViewProjection, *, stored: bool = False
) -> messages.OnDemandFeatureView:
    """`stored`: it was computed when it was written."""
    spec = messages.OnDemandFeatureViewSpec(
        name=name,
        project=PROJECT,
        features=fields({"sum": INT64}),
        sources={"source": messages.OnDemandSource(feature_view_projection=source)},
        write_to_online_store=stored,
        entities=["driver"] if stored else [],
    )
    return messages.OnDemandFeatureView(spec=spec)


def test_an_on_demand_view_reads_the_version_of_its_source_that_it_pins() -> None:
    pinned = on_demand("pinned", projection(NOW, version=1))
    items = (NOW, earlier(OLD, 1), pinned)
    found = Views(parsed(*items), {("pinned", None): lambda inputs: inputs}, versioning=True)
    views = used(found, "pinned:sum")
    assert {name: view.store_name for name, view in views.stored.items()} == {"stats@v1": "stats_v1"}
    assert views.on_demand["pinned"].sources == (views.stored["stats@v1"],)


def test_a_stored_on_demand_view_is_read_itself_and_typed_by_its_sources() -> None:
    """Its own join keys need not be typed; those of what it was computed from are."""
    views = used(
        Views(parsed(STATS, on_demand("kept", projection(STATS), stored=True)), {}, versioning=False), "kept:sum"
    )
    assert list(views.stored) == ["kept"]
    assert [view.store_name for view in views.typing] == ["stats"]
    compiled = catalog(entity("driver", "driver_id"), STATS, on_demand("kept", projection(STATS), stored=True))
    assert compiled.plan_for(None, ["kept:sum"], False).plan.types == {"driver_id": INT64}


def test_a_view_used_twice_by_one_name_has_the_features_of_both_uses() -> None:
    items = (STATS, service("svc", projection(STATS, ["rate"]), projection(STATS, ["trips"])))
    uses = views(*items).of_service(parsed(*items).services["svc"])
    assert {name: list(use.features) for name, use in uses.stored.items()} == {"stats": ["rate", "trips"]}
