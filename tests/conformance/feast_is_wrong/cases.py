"""What is asked of the repository of this folder: the name of a case -> the body of its request."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def _service(name: str, *, full_names: bool = False, metadata: bool = False, **entities: list[Any]) -> dict[str, Any]:
    query: dict[str, Any] = {"feature_service": name, "entities": entities, "full_feature_names": full_names}
    return query | ({"include_feature_view_version_metadata": True} if metadata else {})


def _features(*features: str, full_names: bool = False, **entities: list[Any]) -> dict[str, Any]:
    return {"features": list(features), "entities": entities, "full_feature_names": full_names}


REQUESTS: Mapping[str, dict[str, Any]] = {
    "versions: a list": _features("stats:a", "stats:b", driver_id=[1]),
    "versions: a service": _service("svc", metadata=True, driver_id=[1]),
    "versions: an alias": _service("with_alias", driver_id=[1]),
    "versions: an on-demand view": _features("twice:twice", driver_id=[1]),
    "versions: a service of an on-demand view": _service("computed", driver_id=[1]),
    "versions: pinned and not": _service("pinned_and_not", full_names=True, metadata=True, driver_id=[1]),
    "maps": _features("maps:m", "maps:of_keys", "maps:nested", driver_id=[1, 2]),
    "maps: one row": _features("maps:m", driver_id=[1]),
    "maps: computed": _features("count:computed_map", driver_id=[1]),
    "singleton: one row": _features("one:longer", driver_id=[1]),
    "singleton: two rows": _features("one:longer", "rides:distance", driver_id=[1, 2]),
    "singleton: one list": _features("one:pair", driver_id=[1]),
    "singleton: full names": _features("one:longer", full_names=True, driver_id=[1, 2]),
    "singleton: before pandas": _features("one:longer", "frame:half", driver_id=[1, 2]),
    "singleton: after pandas": _features("frame:half", "one:longer", driver_id=[1, 2]),
    "singleton: a constant": _features("constant:always", "rides:distance", driver_id=[1, 2]),
    "no entities": _features(
        *(f"{name}:{name}_{part}" for name in ("pushed_last", "pushed_first", "only_pushed") for part in "nt"),
        any=[0, 0],
    ),
    "no entities: a service": _service("without", any=[0]),
    "request data: a key": _features("shout:sum", driver_id=[1]),
    "request data: a key and its view": _features("shout:sum", "fares:fare", driver_id=[1, 1]),
    "request data: one of two keys": _features("earn:earned", "loyalty:points", driver_id=[1], customer_id=[9]),
    "request data: an empty list": _features("tag:tag_count", tags=[[]], note=["x"]),
    "request data: empty lists": _features("tag:tag_count", tags=[[], []], note=["x", "y"]),
    "request data: a list and an empty one": _features("tag:tag_count", tags=[[], ["a"]], note=["x", "y"]),
    "request data: lists of nulls": _features("tag:tag_count", tags=[[None]], note=["x"]),
    "request data: empty for text": _features("tag:tag_count", tags=[["a"]], note=[[]]),
    "request data: whole numbers first": _features("scale:scaled", factor=[1, 2.5]),
    "key types: number last": _service("number_last", shop_id=[5]),
    "key types: text last": _service("text_last", shop_id=[5]),
    "key types: a label view": _service("labelled", shop_id=[5]),
    "key types: labels first": _features("labels:verdict", "sales:sold", shop_id=[5, 6]),
    "key types: texts of numbers": _service("number_last", shop_id=["5"]),
    "missing key": _features("accounts:balance", acount_id=["x"]),
}
