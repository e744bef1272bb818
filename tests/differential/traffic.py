"""Makes the requests that are sent to both servers: good ones, odd ones, and every kind of mistake.

All of them come from one random.Random, so the same seed makes the same requests. A request starts as a good one, of
names and keys in the repository's manifest; then it may be made odd (Feast may still answer it: 1001 as text, a column
that no feature needs, an entity's name for its join key) and may be spoilt: ODD and BAD list the ways. This module does
not know which of that Feast refuses: both servers are asked.

A request that is JSON keeps its parsed `query`, so that a failing one can be cut down.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

Query = dict[str, Any]
PATH = "/get-online-features"
JSON_HEADERS = {"content-type": "application/json"}


class Asked(NamedTuple):
    """One request. `query` is the object in `body`, if `ask` made `body`; `story` says what was changed in it."""

    story: str
    method: str
    path: str
    headers: Mapping[str, str]
    body: str | None
    query: Query | None = None


def ask(query: Any, story: str = "") -> Asked:
    """The POST of a query. NaN and Infinity are written as Python's json writes them, and reads them."""
    # Lone surrogates must survive: json.dumps writes them as \ud800, since ensure_ascii is on.
    return Asked(story, "POST", PATH, JSON_HEADERS, json.dumps(query), query if isinstance(query, dict) else None)


class Traffic:
    """An endless supply of requests for one repository."""

    def __init__(self, manifest: dict[str, Any], rng: random.Random) -> None:
        self._rng = rng
        self._keys: dict[str, dict[str, Any]] = manifest["keys"]
        self._views: list[dict[str, Any]] = manifest["views"]
        self._served = [view for view in self._views if view["enabled"]]
        self._services: list[dict[str, Any]] = manifest["services"]
        self._on_demand: list[dict[str, Any]] = manifest["on_demand"]

    def __iter__(self) -> Iterator[Asked]:
        while True:
            yield self._next()

    def _next(self) -> Asked:
        rng = self._rng
        if rng.random() < 0.06:
            return rng.choice(RAW)(rng, self.good())
        query = self.good()
        story = []
        for _ in range(rng.choice((0, 0, 0, 1, 1, 2, 3))):
            change = rng.choice(ODD)
            story.append(change.__name__.strip("_"))
            change(self, query)
        if rng.random() < 0.3:
            change = rng.choice(BAD)
            story.append("bad " + change.__name__.strip("_"))
            change(self, query)
        return ask(query, ", ".join(story))

    # -------------------------------------------------------------------------------------------------- good requests

    def good(self) -> Query:
        """A query with nothing wrong or odd about it."""
        rng = self._rng
        rows = rng.choice((1, 1, 2, 3, 5, 12))
        chance = rng.random()
        if self._on_demand and chance < 0.3:
            return self._good_on_demand(rows)
        if chance < 0.55:
            service = rng.choice(self._services)
            query: Query = {"feature_service": service["name"]}
            columns = {name: self._key_values(key, rows) for name, key in service["keys"].items()}
            columns.update(self._request_data(service["asks"], rows))
        else:
            query = {"features": self._refs()}
            columns = {key: self._key_values(key, rows) for key in self._keys_of(query["features"])}
        if rng.random() < 0.85:
            query["full_feature_names"] = rng.random() < 0.7
        query["entities"] = columns or rng.choice(({"any": [0] * rows}, {"any": ["x"] * rows}, {}))
        return query

    def _refs(self) -> list[str]:
        rng = self._rng
        refs = []
        for view in rng.sample(self._served, rng.choice((1, 1, 1, 2, 2, 3, 5))):
            count = rng.randrange(1, len(view["features"]) + 1)
            tag = rng.choice(("", "", *(f"@v{version}" for version in view["versions"])))
            refs += [f"{view['name']}{tag}:{name}" for name in rng.sample(list(view["features"]), count)]
        if rng.random() < 0.2:
            rng.shuffle(refs)
        return refs

    def _good_on_demand(self, rows: int) -> Query:
        rng = self._rng
        refs: list[str] = []
        columns: dict[str, list[Any]] = {}
        for view in rng.sample(self._on_demand, rng.choice((1, 1, 2))):
            count = rng.randrange(1, len(view["features"]) + 1)
            refs += [f"{view['name']}:{name}" for name in rng.sample(view["features"], count)]
            columns.update((key, self._key_values(key, rows)) for key in view["keys"])
            columns.update(self._request_data(view["asks"], rows))
        if rng.random() < 0.4:
            stats = next(view for view in self._views if view["name"] == "driver_stats")
            refs += [f"driver_stats:{name}" for name in rng.sample(list(stats["features"]), rng.randrange(1, 4))]
            columns.setdefault("driver_id", self._key_values("driver_id", rows))
        rng.shuffle(refs)
        return {"features": refs, "entities": columns, "full_feature_names": rng.random() < 0.4}

    def _request_data(self, asks: list[str], rows: int) -> dict[str, list[Any]]:
        """Columns of request data with these names."""
        rng = self._rng
        drawn: dict[str, list[Any]] = {
            "amount": [rng.randrange(-5, 1000) for _ in range(rows)],
            "note": [rng.choice(("a", "", "é")) for _ in range(rows)],
            "tags": [rng.choice(([], [], ["a"], ["é", ""], None)) for _ in range(rows)],
        }
        return {name: drawn[name] for name in asks}

    def _keys_of(self, refs: list[str]) -> list[str]:
        names = {ref.partition(":")[0].partition("@")[0] for ref in refs}
        keys = dict.fromkeys(key for view in self._views if view["name"] in names for key in view["keys"])
        return list(keys)

    def _key_values(self, key: str, rows: int) -> list[Any]:
        rng = self._rng
        pool = self._keys[key]["pool"]
        if rng.random() < 0.1:
            pool = rng.sample(pool, 2)
        missing: Any = "nobody" if self._keys[key]["type"] == "STRING" else rng.randrange(2_000_000)
        return [missing if rng.random() < 0.05 else rng.choice(pool) for _ in range(rows)]

    # --------------------------------------------------------------------------------------------------- odd requests

    def _a_column(self, query: Query) -> str | None:
        entities = query.get("entities")
        columns = [name for name, values in entities.items() if type(values) is list] if type(entities) is dict else []
        return self._rng.choice(columns) if columns else None

    def _rows(self, query: Query) -> int:
        name = self._a_column(query)
        return len(query["entities"][name]) if name else 1

    def _odd_key_values(self, query: Query) -> None:
        """All values of a column, or some, in forms that int() and str() take."""
        name = self._a_column(query)
        if name is None:
            return
        values = query["entities"][name]
        share = self._rng.choice((0.3, 1.0))
        query["entities"][name] = [
            self._rng.choice(ODD_FORMS)(value) if self._rng.random() < share else value for value in values
        ]

    def _odd_values(self, query: Query) -> None:
        name = self._a_column(query)
        if name is not None:
            values = query["entities"][name]
            query["entities"][name] = [
                self._rng.choice(ODD_VALUES) if self._rng.random() < 0.5 else value for value in values
            ]

    def _one_odd_value(self, query: Query) -> None:
        name = self._a_column(query)
        if name is not None:
            query["entities"][name] = [self._rng.choice(ODD_VALUES)] * self._rows(query)

    def _unknown_column(self, query: Query) -> None:
        if type(query.get("entities")) is not dict:
            return
        rows = self._rows(query)
        rng = self._rng
        column = rng.choice(COLUMNS)
        values = [column[place % len(column)] for place in range(rows)]
        items = list(query["entities"].items())
        items.insert(
            rng.randrange(len(items) + 1), (rng.choice(("extra", "", "é", "driver", "rate", "x" * 1200)), values)
        )
        query["entities"] = dict(items)

    def _another_key(self, query: Query) -> None:
        """A column for a join key that the features may not need: the answer repeats it."""
        if type(query.get("entities")) is not dict:
            return
        key = self._rng.choice(list(self._keys))
        values = self._key_values(key, self._rows(query))
        if self._rng.random() < 0.3:
            column = self._rng.choice(COLUMNS)
            values = [column[place % len(column)] for place in range(len(values))]
        query["entities"].setdefault(key, values)

    def _entity_names(self, query: Query) -> None:
        """Entity names in place of, or beside, their join keys."""
        entities = query.get("entities")
        if type(entities) is not dict:
            return
        names: dict[str, str] = {key: found["entity"] for key, found in self._keys.items()}
        both = self._rng.random() < 0.3
        renamed: dict[str, Any] = {}
        key: str
        for key, values in entities.items():
            if both:
                renamed[key] = values
            renamed[names.get(key, key)] = values[::-1] if both and type(values) is list else values
        query["entities"] = renamed

    def _raw_and_mapped_keys(self, query: Query) -> None:
        """Beside origin_driver_id also driver_id, or in its place."""
        entities = query.get("entities")
        if type(entities) is not dict:
            return
        changed: dict[str, Any] = {}
        for name, values in entities.items():
            raw = name.removeprefix("origin_").removeprefix("dest_")
            if raw == name or self._rng.random() < 0.6:
                changed[name] = values
            if raw != name:
                changed[raw] = values
        query["entities"] = changed

    def _columns_shuffled(self, query: Query) -> None:
        if type(query.get("entities")) is dict:
            items = list(query["entities"].items())
            self._rng.shuffle(items)
            query["entities"] = dict(items)

    def _metadata(self, query: Query) -> None:
        query["include_feature_view_version_metadata"] = self._rng.choice((True, True, "yes", 1, False))

    def _unknown_fields(self, query: Query) -> None:
        query[self._rng.choice(("request_context", "top_k", "x", "FEATURES"))] = self._rng.choice(({}, [1], None, "a"))

    def _lax_boolean(self, query: Query) -> None:
        query["full_feature_names"] = self._rng.choice(("yes", "ON", 1, 0, "false", "T", 1.0, 0.0, "n", "1", True))

    def _other_features_too(self, query: Query) -> None:
        """A service wins over features, unless its name is empty or null."""
        if "feature_service" in query:
            query["features"] = self._rng.choice(([], ["nothing:here"], ["no colon"], self._refs()))
        else:
            query["feature_service"] = self._rng.choice(("", None))

    def _latest(self, query: Query) -> None:
        refs = query.get("features")
        if type(refs) is list:
            tag = self._rng.choice(("@latest", "@", "@LATEST", "@V0"))
            plain = [type(ref) is str and "@" not in ref for ref in refs]
            query["features"] = [
                ref.replace(":", tag + ":", 1) if change else ref for ref, change in zip(refs, plain, strict=True)
            ]

    def _one_column_missing(self, query: Query) -> None:
        """One of several columns is left out. A view with a part of its join keys finds nothing, which is no error."""
        entities = query.get("entities")
        if type(entities) is dict and len(entities) > 1:
            del entities[self._rng.choice(list(entities))]

    # --------------------------------------------------------------------------------------------------- bad requests

    def _no_keys(self, query: Query) -> None:
        query["entities"] = self._rng.choice(({}, {"wrong": [1]}, {"wrong": []}, {"driver_id": []}))

    def _empty_columns(self, query: Query) -> None:
        if type(query.get("entities")) is dict:
            query["entities"] = {name: [] for name in query["entities"]}

    def _unequal_columns(self, query: Query) -> None:
        name = self._a_column(query)
        if name is not None:
            values = query["entities"][name]
            query["entities"][name] = self._rng.choice((values + values, values[1:], [*values, None]))

    def _bad_entities(self, query: Query) -> None:
        query["entities"] = self._rng.choice((None, [], [{"driver_id": 1}], "x", 5, True, {"driver_id": 1001}))

    def _bad_column(self, query: Query) -> None:
        if type(query.get("entities")) is dict:
            name = self._rng.choice((*query["entities"], "extra"))
            query["entities"][name] = self._rng.choice((None, 5, "abc", {"0": 1}, True, 1.5))

    def _no_entities(self, query: Query) -> None:
        query.pop("entities", None)

    def _bad_features(self, query: Query) -> None:
        query.pop("feature_service", None)
        query["features"] = self._rng.choice(([], None, "x", {}, [1], [None, "a:b", 2.5], [["a:b"]], 5))

    def _bad_ref(self, query: Query) -> None:
        query.pop("feature_service", None)
        rng = self._rng
        view = rng.choice(self._views)
        name, feature = view["name"], rng.choice(list(view["features"]))
        refs = query["features"] if type(query.get("features")) is list else []
        ref = rng.choice(
            (
                *(f"{name}:nope", "nope:nope", "nope", "", ":", ":nope", f"{name}:", f" {name}:{feature}"),
                *(f"{name}:{feature} ", f"{name}@v1:{feature}", f"{name}@V999:{feature}", f"{name}@v0:{feature}"),
                *(f"{name}@foo:{feature}", f"{name}@v1.5:{feature}", f"{name}:{feature}:more", f"{name}__{feature}"),
                *(f"{name}:{key}" for key in view["keys"]),
                *(
                    f"{name}@v\u0661:{feature}",
                    f"@v1:{feature}",
                    f"nope@v1:{feature}",
                    f"{name}@v99999999999:{feature}",
                ),
                *(f"\ud800:{feature}", f"{name}:\ud800", f"{name.upper()}:{feature}"),
            )
        )
        query["features"] = [*refs, ref] if rng.random() < 0.5 else [ref, *refs]

    def _same_ref_twice(self, query: Query) -> None:
        refs = query.get("features")
        if type(refs) is list and refs:
            query["features"] = [*refs, self._rng.choice(refs)]

    def _disabled_view(self, query: Query) -> None:
        query.pop("feature_service", None)
        disabled = [view for view in self._views if not view["enabled"]]
        if disabled:
            query["features"] = [f"{disabled[0]['name']}:{next(iter(disabled[0]['features']))}"]

    def _bad_service(self, query: Query) -> None:
        query["feature_service"] = self._rng.choice(("nope", "", 5, [], {}, True, " ", "driver_stats"))

    def _bad_boolean(self, query: Query) -> None:
        name = self._rng.choice(("full_feature_names", "include_feature_view_version_metadata"))
        query[name] = self._rng.choice((2, "maybe", None, 0.5, [], {}, "", -1, "ja", " yes", 10**30))

    def _colliding(self, query: Query) -> None:
        """Every feature of four views under short names, some of which may be equal."""
        query.pop("feature_service", None)
        query["full_feature_names"] = False
        views = self._rng.sample(self._served, 4)
        query["features"] = [f"{view['name']}:{name}" for view in views for name in view["features"]]
        query["entities"] = {key: self._key_values(key, 2) for key in self._keys}


ODD_FORMS: tuple[Callable[[Any], Any], ...] = (
    str,
    lambda value: f" {value} ",
    lambda value: float(value) if type(value) is int else value,
    lambda value: value + 0.7 if type(value) is int and abs(value) < 1 << 50 else value,
    lambda value: bool(value),
    lambda value: f"{value:_}" if type(value) is int else value,
    lambda value: f"+{value}",
    lambda value: str(value).translate({ord("0") + digit: 0x0660 + digit for digit in range(10)}),
)
ODD_VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, 5, 1.5, -0.0, 1e16, 1e22, 1e-7, 0.1, 2**31, -(2**31) - 1, 2**63 - 1, 2**63, -(2**63) - 1),
    *(
        2**64,
        10**30,
        "",
        " ",
        "abc",
        "1.5",
        "1e3",
        "0x10",
        "1__0",
        "_1",
        "-0",
        "+7",
        "\u0661",
        "\u00b2",
        "5\n",
        "5\u00a0",
    ),
    *([], [1], ["a"], {}, {"a": 1}, float("nan"), float("inf"), "\x00", "\ud800", "🦊", "e\u0301", "True", "none"),
)
COLUMNS: tuple[list[Any], ...] = (
    *([1], ["a"], [1.5], [True], [None], [1, "a"], ["a", 1], [1, 2.5], [2.5, 1], [1, True], [True, 1], [True, "a"]),
    *([None, 1], [None, "a", 2], [[]], [[], [1]], [[1], []], [[1, "a"]], [[1, 2.5]], [[True]], [[True, 1]], [[None]]),
    *([{}], [{"a": 1}], [{"a": None}, {}], [{}, 1], [1, {}], [1, []], [[1], 1], [[1], ["a"]], [[{"a": 1}]], [[{}]]),
    *([[[]]], [[[1]]], [["a"], None], [2**63], [2**63 - 1, 1.5], [10**30], [float("nan")], [1.5, float("nan")]),
    *(["1", 2], [1, "2"], [1.5, "2.5"], ["\ud800"], [[1, None]], [["a", None]], [{"a": []}], [{"a": [1, "b"]}]),
    *(
        [{"a": {"b": [{}]}}],
        [[{"a": 1}, 2]],
        [[1.5], [2]],
        [[2], [1.5]],
        [0, 0.0],
        [0.0, 0],
        [False, 0],
        ["", "a"],
        [""],
    ),
    *([1.5, True], [1.5, False, 2], [{"a": float("nan")}], [float("inf"), True], [{"a": [float("nan")]}]),
    *([{"a": 2**63}], [[2**63]], [[{"a": 1}], [1]], [[True], [1]], [[1], [True]], [[1], [None]], [["a"], [1.5]]),
)

ODD = (
    *(Traffic._odd_key_values, Traffic._odd_values, Traffic._one_odd_value, Traffic._unknown_column),
    *(Traffic._another_key, Traffic._entity_names, Traffic._raw_and_mapped_keys, Traffic._columns_shuffled),
    *(Traffic._metadata, Traffic._unknown_fields, Traffic._lax_boolean, Traffic._other_features_too, Traffic._latest),
    Traffic._one_column_missing,
)
BAD = (
    *(Traffic._no_keys, Traffic._empty_columns, Traffic._unequal_columns, Traffic._bad_entities, Traffic._bad_column),
    *(Traffic._no_entities, Traffic._bad_features, Traffic._bad_ref, Traffic._bad_ref, Traffic._bad_ref),
    *(Traffic._same_ref_twice, Traffic._disabled_view, Traffic._bad_service, Traffic._bad_boolean, Traffic._colliding),
)


# --------------------------------------------------------------------- requests that are wrong, or odd, as HTTP or JSON


def _other_path(rng: random.Random, query: Query) -> Asked:
    path = rng.choice(
        (
            *("/", "/nope", "/get-online-features/x", "/get-online-features-range", "/health/"),
            *(
                "/GET-ONLINE-FEATURES",
                "//get-online-features",
                "/get-online-features/",
                "/get_online_features",
                "/%68ealth",
            ),
        )
    )
    method = rng.choice(("POST", "POST", "GET", "PUT", "HEAD", "OPTIONS", "DELETE"))
    body = json.dumps(query) if method in ("POST", "PUT") else None
    return Asked("path", method, path, JSON_HEADERS, body)


def _other_method(rng: random.Random, query: Query) -> Asked:
    method = rng.choice(("GET", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS"))
    body = json.dumps(query) if method in ("PUT", "PATCH") else None
    return Asked("method", method, PATH, JSON_HEADERS, body)


def _health(rng: random.Random, _: Query) -> Asked:
    return Asked("health", rng.choice(("GET", "GET", "HEAD", "DELETE")), "/health", {}, None)


def _query_string(rng: random.Random, query: Query) -> Asked:
    return Asked(
        "query string", "POST", PATH + rng.choice(("?", "?status=true", "?a=%zz")), JSON_HEADERS, json.dumps(query)
    )


def _content_type(rng: random.Random, query: Query) -> Asked:
    kind = rng.choice(
        (
            *("application/json; charset=utf-8", "application/vnd.api+json", "APPLICATION/JSON", ""),
            *("application/x-www-form-urlencoded", "text/plain", "text/json", "application/geo+json;x=y"),
        )
    )
    return Asked("content type", "POST", PATH, {"content-type": kind} if kind else {}, json.dumps(query))


def _bad_json(rng: random.Random, query: Query) -> Asked:
    text = json.dumps(query)
    body = rng.choice(
        (
            *(
                "",
                " ",
                "{",
                "null",
                "true",
                "5",
                '"x"',
                "[]",
                "[1]",
                text[:-1],
                text + "}",
                text.replace('"', "'"),
                "nope",
            ),
            *("\udcff" + text, text.replace('"', '"\udce9', 1), text[:-1] + ', "x": ' + "9" * 5000 + "}"),
            *("\ufeff" + text, text + "\n", " " + text, "{}", '{"entities": {}, "entities": 5}', "[" * 5000, "NaN"),
            *(text[:-1] + ",}", text[:-1] + ', "x": 01}', text[:-1] + ', "x": "\t"}', text[:-1] + ', "x": 1e999}'),
            *(
                text[:-1] + ', "x": -Infinity}',
                text[:-1] + ', "x": "\\ud800"}',
                text[:-1] + ', "x": "\\x"}',
                "// " + text,
            ),
        )
    )
    return Asked("bad JSON", "POST", PATH, JSON_HEADERS, body)


RAW = (_other_path, _other_method, _health, _query_string, _content_type, _bad_json, _bad_json)
