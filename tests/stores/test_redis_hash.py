"""How a hash of Feast's is read: by which command, the fields out of a reply, and features that share a field."""

from __future__ import annotations

import gc
import json
import logging
import random
import weakref
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests import registries
from tests.harness import Server, Valkey, command_line
from yummy_fast.feast_format.keys import feature_field, timestamp_field
from yummy_fast.feast_format.values import ValueType
from yummy_fast.features.plan import Feature, HashContents, Lookup
from yummy_fast.native import twin
from yummy_fast.native.owner import ReplyReader
from yummy_fast.native.twin import HashPicker
from yummy_fast.stores.redis_hash import HashReader, choose_command, collisions

INT, TEXT, LIST = ValueType.INT64, ValueType.STRING, ValueType.INT64_LIST


def lookup(types: Sequence[ValueType], *, holds: HashContents | None = None, views: int = 1) -> Lookup:
    """What reads features of these types, from one or more views; `holds` is all that the hash has, if that is more."""
    features = tuple(Feature(f"view{place % views}", f"f{place}", kind) for place, kind in enumerate(types))
    return Lookup(
        features=features,
        views=tuple(f"view{number}" for number in range(views)),
        view_of=tuple(place % views for place in range(len(types))),
        join_keys=(("driver_id", "driver_id"),),
        holds=HashContents.of(features) if holds is None else holds,
    )


# -------------------------------------------------------------------------------------------- which command, and when


@pytest.mark.parametrize(
    ("types", "views", "holds", "command"),
    [
        # From 24 fields asked for, timestamps among them, HGETALL costs less.
        ([INT] * 22, 1, None, "hmget"),
        ([INT] * 23, 1, None, "hgetall"),
        ([INT] * 21, 2, None, "hmget"),
        ([INT] * 22, 2, None, "hgetall"),
        ([TEXT] * 31, 1, None, "hgetall"),
        # Beyond hash-max-listpack-entries Redis has a table, where HMGET is cheap.
        ([INT] * 31, 1, (512, {INT: 511}), "hgetall"),
        ([INT] * 31, 1, (513, {INT: 512}), "hmget"),
        # Lists are long: of those that are not asked for, HGETALL would ship the bytes.
        ([INT] * 31, 1, (40, {INT: 31, LIST: 1}), "hmget"),
        ([INT] * 31 + [LIST], 1, (40, {INT: 31, LIST: 1}), "hgetall"),
        ([INT] * 31 + [LIST], 1, (40, {INT: 31, LIST: 2}), "hmget"),
        # Strings mostly are not, and numbers never.
        ([INT] * 31, 1, (200, {INT: 31, TEXT: 100}), "hgetall"),
        ([TEXT] * 31, 1, (200, {INT: 100, TEXT: 31}), "hgetall"),
    ],
)
def test_the_command_that_costs_less(
    types: list[ValueType], views: int, holds: tuple[int, Mapping[ValueType, int]] | None, command: str
) -> None:
    wanted = lookup(types, views=views, holds=None if holds is None else HashContents(holds[0], dict(holds[1])))
    assert choose_command(wanted) == command
    assert HashReader(wanted, "auto", b"").name == command
    for given in ("hmget", "hgetall"):
        assert HashReader(wanted, given, b"").name == given


BOUNDED = (
    *(ValueType.INT32, ValueType.INT64, ValueType.FLOAT, ValueType.DOUBLE, ValueType.BOOL, ValueType.UNIX_TIMESTAMP),
    *(ValueType.UUID, ValueType.TIME_UUID, ValueType.DECIMAL),
)


@pytest.mark.parametrize("kind", list(ValueType))
def test_what_may_be_long_is_not_read_unless_it_is_asked_for(kind: ValueType) -> None:
    """A value over 64 bytes makes a table of the whole hash."""
    others = lookup([INT] * 40, holds=HashContents(100, {INT: 40, kind: 60}))
    assert choose_command(others) == ("hgetall" if kind in BOUNDED or kind is TEXT else "hmget")


def read(reader: HashReader, *replies: Sequence[Any]) -> Any:
    """The rows of these replies, as lists."""
    connection = ReplyReader()
    connection.expect(reader.picker, len(replies))
    data = b"".join(b"*%d\r\n" % len(one) + b"".join(b"$%d\r\n%b\r\n" % (len(x), x) for x in one) for one in replies)
    (answer,) = connection.feed(data)
    return list(map(list, answer)) if isinstance(answer, list) else answer


@pytest.mark.parametrize("kind", [*BOUNDED, TEXT, LIST])
def test_lengths_are_looked_at_where_they_can_be_long(kind: ValueType, caplog: pytest.LogCaptureFixture) -> None:
    """What a look finds makes it HMGET from then on; the replies under way are still HGETALL's."""
    caplog.set_level(logging.INFO, "yummy_fast")
    wanted = lookup([kind] * 40, holds=HashContents(50, {kind: 40}))
    reader = HashReader(wanted, "auto", b"p")
    picker, fields = reader.picker, _fields(wanted)
    assert str(reader) == "HGETALL 41 of 50"
    assert reader.command.render([b"k"]) == b"*2\r\n$7\r\nHGETALL\r\n$2\r\nkp\r\n"
    row = [b"x" * 65, *[b"y"] * 40]
    whole = reply(*zip(fields, row, strict=True))
    reader.check_lengths()
    assert reader.picker is picker
    assert read(reader, whole, whole) == [row, row]
    reader.check_lengths()
    if kind in BOUNDED:
        assert str(reader) == "HGETALL 41 of 50"
        assert caplog.records == []
        return
    assert str(reader) == "HMGET 41 of 50"
    assert reader.command.render([b"k"]).startswith(b"*43\r\n$5\r\nHMGET\r\n$2\r\nkp\r\n")
    assert read(reader, row) == [row]
    reader.check_lengths()
    (record,) = caplog.records
    assert record.getMessage() == "values over 64 bytes: reading with HMGET 41 of 50 instead of HGETALL"


@pytest.mark.parametrize("given", ["hmget", "hgetall"])
def test_who_has_chosen_is_not_corrected(given: str) -> None:
    wanted = lookup([TEXT] * 40)
    reader = HashReader(wanted, given, b"")
    row = [b"x" * 65, *[b"y"] * 40]
    assert read(reader, row if given == "hmget" else reply(*zip(_fields(wanted), row, strict=True))) == [row]
    reader.check_lengths()
    assert reader.name == given


def test_the_twin_looks_at_every_thousandth_reply() -> None:
    picker, connection = twin.Picker([b"a"], True), twin.ReplyReader()
    connection.expect(picker, 2001)
    short, long = b"*2\r\n$1\r\na\r\n$1\r\nb\r\n", b"*2\r\n$1\r\na\r\n$2\r\nbb\r\n"
    for replies, longest in ((short, 1), (long * 999, 1), (short, 1), (long * 999, 1), (long, 2)):
        connection.feed(replies)
        assert picker.longest == longest


def _fields(wanted: Lookup) -> list[bytes]:
    """What Feast names the fields of a hash: a feature by 32 bits of "view:feature", a time by "_ts:view"."""
    return [*(feature_field(one.view, one.name) for one in wanted.features), *map(timestamp_field, wanted.views)]


def test_the_fields_that_are_asked_for() -> None:
    wanted = lookup([INT, INT, INT], views=2)
    fields = _fields(wanted)
    assert fields[3:] == [b"_ts:view0", b"_ts:view1"]
    rendered = b"".join(b"$%d\r\n%b\r\n" % (len(part), part) for part in (b"HMGET", b"keyproject", *fields))
    assert HashReader(wanted, "hmget", b"project").command.render([b"key"]) == b"*7\r\n" + rendered
    assert str(HashReader(wanted, "hmget", b"project")) == "HMGET 5 of 5"
    few = replace(wanted, holds=HashContents(0, {}))  # of an earlier version: the registry knows of nothing there
    assert str(HashReader(few, "hmget", b"project")) == "HMGET 5 of 5"


# ------------------------------------------------------------------------------------------------------- picking fields
@pytest.mark.parametrize("read", ["hmget", "hgetall", "auto"])
def test_readers_go_with_their_catalog(read: str) -> None:
    """A reload keeps the cycle collector out and freezes what is new: a reader in a cycle would stay for ever."""
    strings = HashContents(41, {TEXT: 40})  # which `auto` watches the length of
    reader = HashReader(lookup([INT] * 40, holds=strings), read, b"project")
    assert reader.name == ("hmget" if read == "hmget" else "hgetall")
    reader.check_lengths()
    gone = weakref.ref(reader)
    collects = gc.isenabled()
    gc.disable()
    try:
        del reader
        assert gone() is None
    finally:
        if collects:
            gc.enable()


def reply(*pairs: tuple[bytes, bytes]) -> list[Any]:
    return [part for pair in pairs for part in pair]


def test_hash_picker_takes_fields_by_name() -> None:
    pick = HashPicker([b"a", b"b", b"t"])
    for _ in range(2):
        assert list(pick(reply((b"a", b"1"), (b"b", b"2"), (b"t", b"3")))) == [b"1", b"2", b"3"]
        assert list(pick(reply((b"t", b"3"), (b"x", b"9"), (b"b", b"2")))) == [None, b"2", b"3"]
        assert list(pick(reply((b"a", b"1"), (b"b", b""), (b"t", b"3")))) == [b"1", b"", b"3"]
        assert list(pick([])) == [None, None, None]


def test_hash_picker_is_not_taken_in_by_values_that_look_like_names() -> None:
    pick = HashPicker([b"a", b"t"])
    assert list(pick(reply((b"a", b"t"), (b"t", b"a")))) == [b"t", b"a"]
    assert list(pick(reply((b"t", b"a"), (b"a", b"t")))) == [b"t", b"a"]


def test_hash_picker_with_any_number_of_orders() -> None:
    """Against the plain way."""
    dice = random.Random(4)
    fields = [bytes([97 + place]) for place in range(8)]
    pick = HashPicker(fields[:5])
    for _ in range(1000):
        held = {name: bytes([dice.randrange(256)]) for name in dice.sample(fields, dice.randrange(9))}
        assert list(pick(reply(*held.items()))) == [held.get(name) for name in fields[:5]]


@pytest.mark.parametrize("learned", ["abxt", "abt", "ab", "t", "xabt", "abtxyz"])
def test_hash_picker_when_another_hash_has_fewer_fields_more_or_others(learned: str) -> None:
    """The first one is learned from. Those after it begin alike, which is what is looked at first."""
    fields = [b"a", b"b", b"t"]
    pick = HashPicker(fields)
    assert list(pick(named(learned))) == values_of(fields, learned)
    for names in ("abxt", "abt", "ab", "a", "abx", "abtx", "atb", "axt", "axtb", "bat", "t", "tab", "x", "xab", "xabt"):
        for _ in range(2):
            assert list(pick(named(names))) == values_of(fields, names)
            assert list(pick(named(learned))) == values_of(fields, learned)
    assert list(pick([])) == [None, None, None]


def named(names: str) -> list[Any]:
    """A reply with these fields, and values that say which field they belong to."""
    return reply(*((name.encode(), name.swapcase().encode()) for name in names))


def values_of(fields: list[bytes], names: str) -> list[bytes | None]:
    return [field.swapcase() if field.decode() in names else None for field in fields]


def test_hash_picker_asked_for_a_field_twice() -> None:
    pick = HashPicker([b"a", b"t", b"a"])
    for names in ("at", "at", "ta", "xat", "t", "at"):
        assert list(pick(named(names))) == values_of([b"a", b"t", b"a"], names)


@pytest.mark.parametrize(
    "nonsense", [[1, b"2"], [b"a"], [b"a", b"1", b"t"], [[b"a"], b"1"], [None, b"1"], [b"x", b"1", b"a"]]
)
def test_hash_picker_of_what_is_no_hash(nonsense: list[Any]) -> None:
    pick = HashPicker([b"a", b"t"])
    for _ in range(2):
        assert list(pick(named("at"))) == [b"A", b"T"]
        with pytest.raises((TypeError, ValueError)):
            pick(list(nonsense))


def test_hash_picker_learns_from_its_first_miss_and_from_every_64th() -> None:
    """Orders may have changed; or be all different, and then learning is a waste."""
    learned: list[bytes] = []

    class Watched(HashPicker):
        def _learn(self, names: list[bytes]) -> None:
            learned.append(b"".join(names))
            super()._learn(names)

    pick = Watched([b"a", b"b", b"t"])
    pick(named("abt"))
    assert learned == [b"abt"]
    for _ in range(100):
        pick(named("abt"))
    for _ in range(63):
        pick(named("tba"))
    assert learned == [b"abt"], "hits do not count, and 63 misses are not enough"
    pick(named("tba"))
    assert learned == [b"abt", b"tba"]
    for _ in range(100):
        pick(named("tba"))
    assert learned == [b"abt", b"tba"]


def test_hash_picker_knows_an_order_without_all_fields_again() -> None:
    pick = HashPicker([b"a", b"b", b"t"])
    for _ in range(3):
        assert list(pick(named("at"))) == [b"A", None, b"T"]
    assert pick._misses == 1


def test_hash_picker_asked_for_a_single_field_gives_a_row_of_one() -> None:
    pick = HashPicker([timestamp_field("one")])
    one, two = [(timestamp_field("one"), b"1")], [(timestamp_field("two"), b"2"), (feature_field("two", "b"), b"3")]
    for views in ([*one, *two], [*two, *one], [*one, *two], [*two, *one]):
        assert list(pick(reply(*views))) == [b"1"]


def test_hash_picker_does_not_remember_an_unusually_long_hash() -> None:
    pick = HashPicker([b"a", b"t"])
    longest = [(b"%d" % number, b"v") for number in range(510)]
    for extra in ([], [(b"x", b"v")]):
        picker = HashPicker([b"a", b"t"])
        assert list(picker(reply(*longest, *extra, (b"a", b"1"), (b"t", b"2")))) == [b"1", b"2"]
        assert len(picker._names) == (0 if extra else 512)
    assert list(pick(reply(*longest))) == [None, None]


def test_hash_picker_takes_replies_in_the_usual_order_without_looking_at_names() -> None:
    """One `itemgetter`, or block by block: only what fits neither is picked by name."""
    by_name: list[int] = []

    class Watched(HashPicker):
        def _learn(self, names: list[bytes]) -> None:
            by_name.append(len(names))
            super()._learn(names)

    fields = [timestamp_field("one"), feature_field("one", "a"), feature_field("two", "b"), timestamp_field("two")]
    one = [(timestamp_field("one"), b"1"), (feature_field("one", "a"), b"2")]
    two = [(timestamp_field("two"), b"3"), (feature_field("two", "b"), b"4")]
    three = [(timestamp_field("three"), b"5"), (feature_field("three", "c"), b"6")]
    expected = [b"1", b"2", b"4", b"3"]
    pick = Watched(fields)
    pick._misses = 0
    assert list(pick(reply(*one, *two, *three))) == expected
    assert pick._misses == 1
    for views in ([*two, *one, *three], [*three, *two, *one], [*one, *two], [*two, *one], [*one, *two, *three]):
        assert list(pick(reply(*views))) == expected
    assert pick._misses == 1
    assert list(pick(reply(*one, *three))) == [b"1", b"2", None, None]
    assert list(pick(reply(*two, *one[:1]))) == [b"1", None, b"4", b"3"]
    assert pick._misses == 3
    assert by_name == [6]


@pytest.mark.parametrize("seed", range(5))
def test_hash_picker_of_views(seed: int) -> None:
    """Hashes as Feast writes them, a view at a time and its timestamp first: against the plain way.

    The views come in any order, some are not there; now and then one lacks features or has more, or its own order.
    """
    dice = random.Random(seed)
    views = {f"view{n}": [f"f{place}" for place in range(dice.randrange(1, 9))] for n in range(6)}
    asked = [(view, name) for view in list(views)[:4] for name in views[view] if dice.random() < 0.7] or [
        ("view0", "f0")
    ]
    fields = [feature_field(*ref) for ref in asked]
    fields += [timestamp_field(view) for view in dict.fromkeys(view for view, _ in asked)]
    pick = HashPicker(fields)
    for _ in range(600):
        pairs: list[tuple[bytes, bytes]] = []
        for view in dice.sample(list(views), dice.choice([6, 6, 6, 5, 3, 0])):
            names = list(views[view])
            if dice.random() < 0.1:
                names = dice.sample(names, dice.randrange(len(names) + 1))
            if dice.random() < 0.05:
                names.append("new")
            pairs.append((timestamp_field(view), dice.randbytes(5)))
            pairs += [(feature_field(view, name), dice.randbytes(4)) for name in names]
        held = dict(pairs)
        assert list(pick(reply(*pairs))) == [held.get(field) for field in fields]


# ------------------------------------------------------------------------------------------ features that share a field

# Found by trying some 60,000 likely names.
ONE = Feature("driver_profile", "stops_count_320h", ValueType.INT64)
OTHER = Feature("rides", "tips_mean_279h", ValueType.INT64)


def test_the_pair_is_one() -> None:
    assert feature_field(ONE.view, ONE.name) == feature_field(OTHER.view, OTHER.name)


@pytest.mark.parametrize(
    ("features", "found"),
    [
        ([], []),
        ([ONE], []),
        ([ONE, ONE], []),  # asked for twice, or with another type: no matter
        ([ONE, ONE._replace(type=ValueType.STRING)], []),
        ([ONE, Feature("a", "b", ValueType.INT64), OTHER], [(ONE, OTHER)]),
        ([OTHER, ONE], [(OTHER, ONE)]),
        # One view, other names; one name, other views. Found by trying 170,000.
        (
            [Feature("rides", "trips_count_1039h", INT), Feature("rides", "rating_p50_735h", INT)],
            [(Feature("rides", "trips_count_1039h", INT), Feature("rides", "rating_p50_735h", INT))],
        ),
        (
            [Feature("rides_40493", "trips", INT), Feature("rides_123351", "trips", INT)],
            [(Feature("rides_40493", "trips", INT), Feature("rides_123351", "trips", INT))],
        ),
        # "a:b" + "c" and "a" + "b:c" are the same text to Feast.
        (
            [Feature("a:b", "c", ValueType.INT64), Feature("a", "b:c", ValueType.INT64)],
            [(Feature("a:b", "c", ValueType.INT64), Feature("a", "b:c", ValueType.INT64))],
        ),
    ],
)
def test_collisions_are_found(features: list[Feature], found: list[tuple[Feature, Feature]]) -> None:
    assert collisions(features) == found


def registry(entities: tuple[str, str]) -> list[registries.Item]:
    """ONE and OTHER in views of these entities."""
    views = [
        registries.view(feature.view, [name], {f"{name}_id": ValueType.INT64}, {feature.name: feature.type})
        for feature, name in zip((ONE, OTHER), entities, strict=True)
    ]
    return [*(registries.entity(name, f"{name}_id") for name in ("driver", "rider")), *views]


@pytest.mark.parametrize(
    ("store", "entities", "pairs"),
    [
        ("redis", ("driver", "driver"), 1),
        ("redis", ("driver", "rider"), 0),  # two hashes
        ("sqlite", ("driver", "driver"), 0),  # names are written out
    ],
)
def test_collisions_are_said_when_the_registry_is_compiled(
    tmp_path: Path, valkey: Valkey, store: str, entities: tuple[str, str], pairs: int
) -> None:
    (tmp_path / "registry.db").write_bytes(registries.serialised(registry(entities)))
    online = {"type": store, **({"connection_string": f"127.0.0.1:{valkey.port}"} if store == "redis" else {})}
    (tmp_path / "feature_store.yaml").write_text(
        f"project: {registries.PROJECT}\nregistry: registry.db\nonline_store: {json.dumps(online)}\n"
    )
    pair = "driver_profile:stops_count_320h and rides:tips_mean_279h, both of driver_id"
    with Server(tmp_path) as server:
        warnings = [line.partition("WARNING ")[2] for line in server.lines if "WARNING" in line]
        said = f"{tmp_path}/registry.db: hash collision: these features share one Redis field; rename one: {pair}"
        assert [line for line in warnings if "hash collision" in line] == [said] * pairs
    check = command_line("-c", tmp_path, "check")
    assert check.out.count(f"hash collision: these features share one Redis field; rename one: {pair}\n") == pairs
    problems = [line for line in check.out.splitlines() if line.startswith("PROBLEM ")]
    assert sum("hash collision" in line for line in problems) == pairs
    assert check.code == (2 if store == "sqlite" else int(bool(problems)))  # there is no such file
    assert json.loads(command_line("-c", tmp_path, "check", "--json").out)["collisions"] == [pair] * pairs


def test_versions_that_are_stored_beside_the_current_ones_are_looked_at_too() -> None:
    # With versioning, version 1 of view "x" is stored as "x_v1".
    current = registries.view("x", ["driver"], {"driver_id": ValueType.INT64}, {"n": ValueType.INT64})
    items: list[registries.Item] = [registries.entity("driver", "driver_id"), current, registries.earlier(current, 1)]
    asked: list[set[str]] = []

    def collect(features: Iterable[Feature]) -> list[tuple[Feature, Feature]]:
        asked.append({feature.view for feature in features})
        return []

    registries.catalog(*items, versioning=True, collisions=collect)
    registries.catalog(*items, versioning=False, collisions=collect)
    assert asked == [{"x", "x_v1"}, {"x"}]
