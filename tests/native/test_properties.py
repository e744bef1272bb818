"""The native room against its twin, and both against plain readers: the same bytes, cut and damaged alike."""

from __future__ import annotations

import math
import random
from array import array as numbers
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import accumulate, cycle, pairwise
from pathlib import Path
from typing import Any

import orjson
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import example, given
from hypothesis import strategies as st

from tests.native import resp
from tests.native.rooms import compile_room, native_room, needs_compiler, needs_native, twin_room
from tests.property.strategies import anything, int64s, stored, texts, value_types, well_stored
from tests.property.test_vectors import damaged, stamps
from tests.registries import catalog, entity, view
from yummy_fast.errors import CorruptValueError
from yummy_fast.feast_format.timestamps import decode_timestamps
from yummy_fast.feast_format.values import ValueType, decode_value, spell_non_finite
from yummy_fast.features.binding import Bound
from yummy_fast.features.plan import Plan
from yummy_fast.features.statuses import StatusPolicy
from yummy_fast.features.vectors import Layout, Tails, encode_vectors

# --------------------------------------------------------------------------------------------------------- replies

NAMES = [b"", b"a", b"abcd", b"abce", b"\r\n\r\n", b"_ts:one", b"_ts:two", b"a name that is longer than sixteen bytes"]
names = st.sampled_from(NAMES)
values = st.one_of(
    st.binary(max_size=12), st.binary(min_size=90, max_size=110), st.sampled_from([b"$1\r\na", b"*2\r\n"])
)
odd_replies = st.one_of(
    st.sampled_from(
        [
            b"+OK\r\n",
            b":5\r\n",
            b"$-1\r\n",
            b"*-1\r\n",
            b"-ERR no\r\n",
            b"*1\r\n*2\r\n:1\r\n+a\r\n",
            b"*2\r\n+a\r\n+b\r\n",
            b"_\r\n",
            b"*1\r\n%1\r\n+a\r\n*1\r\n:1\r\n",
            b"*3\r\n_\r\n%1\r\n:1\r\n$1\r\na\r\n_\r\n",
        ]
    ),
    st.lists(st.one_of(names, values, st.none()), max_size=6).map(resp.array),
)


hash_forms = st.sampled_from([resp.array, resp.hash_of])
pushes = st.one_of(
    st.none().map(resp.invalidation),
    st.lists(st.one_of(names, values), max_size=3).map(resp.invalidation),
    st.sampled_from([b">0\r\n", b">2\r\n+other\r\n*2\r\n$1\r\na\r\n$1\r\nb\r\n", b">1\r\n%1\r\n:1\r\n:2\r\n"]),
)


@st.composite
def conversations(draw: st.DrawFn) -> tuple[bytes, list[resp.Expectation]]:
    """Replies, and what is expected: mostly that."""
    expected: list[resp.Expectation] = []
    parts: list[bytes] = []
    order = draw(st.permutations(NAMES))
    for _ in range(draw(st.integers(1, 4))):
        wanted = draw(st.one_of(st.none(), st.lists(names, max_size=6).map(tuple)))
        named = draw(st.booleans())
        count = draw(st.integers(1, 3))
        for _ in range(count):
            usual = draw(st.booleans())
            if wanted is None or not usual:
                parts.append(draw(odd_replies))
            elif named:
                held = [name for name in order if draw(st.booleans())]
                parts.append(draw(hash_forms)([part for name in held for part in (name, draw(values))]))
            else:
                parts.append(resp.array([draw(st.one_of(values, st.none())) for _ in wanted]))
                if draw(st.booleans()):
                    parts[-1] = resp.nulls_of_3(parts[-1])
            if draw(st.booleans()):
                parts.insert(draw(st.integers(0, len(parts))), draw(pushes))
        expected.append((wanted, named, count))
    return b"".join(parts), expected


@st.composite
def damage(draw: st.DrawFn, stream: bytes) -> bytes:
    """A few bytes other than they were."""
    for _ in range(draw(st.integers(0, 3))):
        start = draw(st.integers(0, len(stream)))
        end = draw(st.integers(start, min(start + 3, len(stream))))
        some = st.one_of(
            st.binary(max_size=2),
            st.sampled_from([b"\r\n", b"$", b"*", b"-", b"+", b":", b"0", b"1", b"9", b">", b"_"]),
        )
        stream = stream[:start] + draw(some) + stream[end:]
    return stream


def outcome(
    room: Any, pieces: Sequence[bytes], expected: Sequence[resp.Expectation]
) -> tuple[list[Any], bool, list[bytes | None]]:
    """What a reader gives out, whether it fails, and the keys that pushes name.

    Equal expectations share a picker, as those of one plan do.
    """
    reader = room.ReplyReader()
    pickers: dict[tuple[tuple[bytes, ...], bool], Any] = {}
    for wanted, named, count in expected:
        picker = None
        if wanted is not None:
            picker = pickers.setdefault((wanted, named), room.Picker(wanted, named))
        reader.expect(picker, count)
    forms = cycle((bytes, memoryview))
    answers = [answer for piece, form in zip(pieces, forms, strict=False) for answer in reader.feed(form(piece))]
    return list(map(_plain, answers)), reader.failed is not None, reader.take_invalidated()


def _plain(answer: Any) -> Any:
    """With tuples for rows; None if one of them holds what the twin does not look at."""
    if not isinstance(answer, list):
        return answer
    rows = list(map(tuple, answer))
    return rows if all({bytes, type(None)}.issuperset(map(type, row)) for row in rows) else None


def pieces(stream: bytes, cuts: Sequence[int]) -> list[bytes]:
    ends = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    return [stream[start:end] for start, end in pairwise(ends)]


cuts = st.lists(st.integers(0, 300), max_size=6)


@needs_native
@given(conversations(), cuts)
def test_both_read_the_same_out_of_what_is_well_formed(
    conversation: tuple[bytes, list[resp.Expectation]], where: list[int]
) -> None:
    stream, expected = conversation
    wanted = resp.answers(stream, expected)
    assert wanted == (wanted[0], False, wanted[2])
    assert len(wanted[0]) == len(expected)
    for room in (native_room, twin_room):
        assert outcome(room, pieces(stream, where), expected) == wanted
        assert outcome(room, [stream], expected) == wanted


@needs_native
@given(st.data(), conversations(), cuts)
def test_both_refuse_the_same_damage(
    data: st.DataObject, conversation: tuple[bytes, list[resp.Expectation]], where: list[int]
) -> None:
    stream, expected = conversation
    stream = data.draw(damage(stream))
    wanted, failed, keys = resp.answers(stream, expected)
    for some in (pieces(stream, where), [stream]):
        full, refused, told = outcome(native_room, some, expected)
        assert (full, refused) == (wanted, failed)
        assert told[: len(keys)] == keys  # of a push that is not whole, some may be known
        found, refused, told = outcome(twin_room, some, expected)
        # hiredis is not as strict: where the plain reader gives up, the twin may go on; and where it finds something
        # that no hash has, the twin may not have looked.
        seen = [other if one is None else one for one, other in zip(wanted, found, strict=False)]
        assert found[: len(wanted)] == seen
        # Nor can a map become a dict that has a list for a name.
        assert failed or (found == seen and not refused and told == keys) or b"%" in stream


@needs_native
@given(st.lists(st.lists(st.tuples(names, values), max_size=8), min_size=1, max_size=12), st.lists(names, max_size=6))
def test_what_a_picker_has_seen_changes_nothing(hashes: list[list[tuple[bytes, bytes]]], wanted: list[bytes]) -> None:
    expected: list[resp.Expectation] = [(tuple(wanted), True, len(hashes))]
    stream = b"".join(resp.array([part for pair in dict(each).items() for part in pair]) for each in hashes)
    for room in (native_room, twin_room):
        assert outcome(room, [stream], expected) == resp.answers(stream, expected)


# ------------------------------------------------------------------------------------------------------------ text

LEFT_TO_PYTHON = {
    *(ValueType.UNKNOWN, ValueType.NULL, ValueType.MAP, ValueType.MAP_LIST, ValueType.STRUCT, ValueType.STRUCT_LIST),
    *(ValueType.VALUE_LIST, ValueType.VALUE_SET, ValueType.SCALAR_MAP, ValueType.ZONED_TIMESTAMP),
}


def value_text(found: bytes | None) -> bytes | None:
    """What the Python code makes of a stored Value; None if it is corrupt."""
    try:
        return orjson.dumps(spell_non_finite(decode_value(found)))
    except CorruptValueError:
        return None


@needs_native
@given(data=st.data(), value_type=value_types)
def test_values_are_written_as_python_writes_them(data: st.DataObject, value_type: ValueType) -> None:
    found = data.draw(well_stored(value_type))
    text = native_room.value_text(found)
    if value_type not in LEFT_TO_PYTHON:
        assert text == value_text(found)
    else:
        assert text in (None, value_text(found))


@needs_native
@given(st.one_of(damaged, anything, st.binary(max_size=40)))
@example(b"\x18\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02")  # a varint of more than 64 bits
@example(b"\x18\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01")
@example(b"\x12\x03\xed\xa0\x80")  # a surrogate
@example(b"\x12\x02\xc0\x80")
@example(b"\x12\x04\xf4\x90\x80\x80")
@example(b"\x6a\x00")
@example(b"\x6a\x02\x0a\x00")
@example(b"\x6a\x02\x08\x01")  # not packed
@example(b"\x18\x01\x18\x02")  # two values, of which the last one counts
@example(b"\x12\x01a\x18\x02")
@example(b"\x18\x01\x00")
def test_of_what_is_odd_nothing_is_written_that_python_would_not_write(found: bytes) -> None:
    text = native_room.value_text(found)
    assert text is None or text == value_text(found)


@needs_native
@given(st.lists(st.floats(), max_size=40))
@example([1e15, 1e16, 1e17, 1e-4, 1e-5, 1e-6, 1e22, 1e23, 5e-324, 1.7976931348623157e308, 2.2250738585072014e-308])
@example([-0.0, 0.1, 0.3, 123456.789, 9007199254740991.0, 9007199254740993.0, 2.0**70, 9.5367431640625e-07])
@example([1125899906842624.25, 1125899906842624.75])  # as near to two decimals of 17 digits: the even one
def test_doubles_are_written_as_orjson_writes_them(found: list[float]) -> None:
    packed = numbers("d", found).tobytes()
    inner = b"\x0a" + _varint(len(packed)) + packed if packed else b""
    assert native_room.value_text(b"\x7a" + _varint(len(inner)) + inner) == orjson.dumps(spell_non_finite(found))


def _doubles() -> list[float]:
    """Of every size and kind, the same each time: hypothesis has no time for as many."""
    chance = random.Random(1)
    found = [value for value in numbers("d", chance.randbytes(400_000)) if math.isfinite(value)]
    found += [chance.gauss(0, 1) * 10 ** chance.randint(-7, 17) for _ in range(50_000)]
    found += numbers("f", [chance.gauss(0, 0.04) for _ in range(50_000)])  # an embedding
    found += [round(chance.gauss(0, 1000), chance.randint(0, 9)) for _ in range(50_000)]
    found += [chance.getrandbits(53) / (1 << chance.randint(0, 60)) for _ in range(50_000)]  # as near to two decimals
    for power in range(-1074, 1024):  # where the doubles below lie twice as dense
        found += [2.0**power, math.nextafter(2.0**power, 0), math.nextafter(2.0**power, math.inf)]
    for power in range(23):  # whole numbers of which an end of the interval is a whole number of tens
        found += [float(5**power * chance.randint(1, 1 << 53 >> 2 * power) << 60) for _ in range(50)]
        found += [math.nextafter(value, direction) for value in found[-50:] for direction in (0, math.inf)]
    return found


@needs_native
@pytest.mark.parametrize("portable", [False, pytest.param(True, marks=needs_compiler)], ids=["as built", "portable"])
def test_many_doubles_are_written_as_orjson_writes_them(portable: bool, tmp_path: Path) -> None:
    """With the processor's instructions for eight numbers at once, and as where there are none."""
    room = compile_room(tmp_path, "-DPORTABLE_DIGITS") if portable else native_room
    found = _doubles()
    for field, kind in ((b"\x7a", "d"), (b"\x82\x01", "f")):
        packed = numbers(kind, [value for value in found if kind == "d" or abs(value) < 3e38])
        inner = b"\x0a" + _varint(packed.itemsize * len(packed)) + packed.tobytes()
        written_texts = room.value_text(field + _varint(len(inner)) + inner)[1:-1].split(b",")
        expected = orjson.dumps(packed.tolist())[1:-1].split(b",")
        assert [pair for pair in zip(written_texts, expected, strict=True) if pair[0] != pair[1]] == []


def _varint(number: int) -> bytes:
    text = bytearray()
    while number > 127:
        text.append(number & 127 | 128)
        number >>= 7
    return bytes([*text, number])


def timestamp_text(found: bytes | None) -> bytes | None:
    try:
        (moment,) = decode_timestamps([found])
    except CorruptValueError:
        return None
    return orjson.dumps(moment, option=orjson.OPT_UTC_Z).replace(b'000Z"', b'Z"')


@needs_native
@given(stamps)
@example(Timestamp(seconds=2_000_000_000, nanos=999_999_999).SerializeToString())  # rounded up to the next second
@example(Timestamp(seconds=253_402_300_799).SerializeToString())  # the last one of year 9999
@example(Timestamp(nanos=500).SerializeToString())  # half a microsecond: to the even one
@example(Timestamp(nanos=1500).SerializeToString())
@example(Timestamp(nanos=2500).SerializeToString())
def test_times_are_written_as_python_writes_them(found: bytes | None) -> None:
    assert native_room.timestamp_text(found or b"") == timestamp_text(found)


@needs_native
@given(st.integers(-70_000_000_000, 300_000_000_000), st.integers(-5, 2_000_000_000))
def test_times_of_other_ages_are_left_to_python_or_written_alike(seconds: int, nanos: int) -> None:
    found = Timestamp(seconds=seconds, nanos=nanos).SerializeToString()
    text = native_room.timestamp_text(found)
    assert text is None or text == timestamp_text(found)
    assert text is not None or seconds < 0 or nanos < 0 or nanos > 999_999_999 or seconds >= 253_402_300_799


@needs_native
@given(
    st.one_of(
        st.binary(max_size=12), st.tuples(stamps, st.binary(max_size=3)).map(lambda both: (both[0] or b"") + both[1])
    )
)
def test_of_odd_times_nothing_is_written_that_python_would_not_write(found: bytes) -> None:
    text = native_room.timestamp_text(found)
    assert text is None or text == timestamp_text(found)


# ---------------------------------------------------------------------------------------------------------- bodies


def packed_rows(rows: Sequence[Sequence[bytes | None]]) -> list[Any]:
    """The same rows as the native reader makes them."""
    reader = native_room.ReplyReader()
    reader.expect(native_room.Picker([b""] * len(rows[0]), False), len(rows))
    (packed,) = reader.feed(b"".join(map(resp.array, rows)))
    return list(packed)


def written(layout: Layout, plan: Plan, bound: Bound, rows: list[list[Any]], now: datetime) -> bytes | None:
    """The body that a writer makes."""
    lookups = [number for lookup in plan.lookups for number in (len(lookup.features), len(lookup.views))]
    first_views = [0, *accumulate(len(lookup.views) for lookup in plan.lookups)]
    columns = [
        number
        for column in plan.columns
        for number in (
            column.lookup,
            column.position,
            first_views[column.lookup] + plan.lookups[column.lookup].view_of[column.position],
        )
    ]
    exact: dict[str, Any] = {}
    moment: list[int] = []
    if layout.policy is StatusPolicy.EXACT:
        ttls_s = [ttl_s for lookup in plan.lookups for ttl_s in lookup.ttls_s]
        exact["ttls"] = numbers("q", [round(ttl_s * 1e6) for ttl_s in ttls_s]).tobytes()
        moment.append((now - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1))
    writer = native_room.BodyWriter(numbers("I", lookups).tobytes(), numbers("I", columns).tobytes(), **exact)
    joined_names = [column.join_key for column in bound.binding.answered]
    feature_names = orjson.dumps([*joined_names, *(column.name for column in plan.columns)])
    end = b'],"metadata":{"feature_names":' + feature_names + b"}}"
    text: bytes | None = writer.write(bound.entity_columns, rows, bound.row_to_key, bound.rows, end, *moment)
    return text


def a_moment(data: st.DataObject, plan: Plan, rows: list[list[Any]]) -> datetime:
    """When a request comes: about when one of the rows becomes too old."""
    moments = [datetime(2026, 3, 1, tzinfo=UTC)]
    for lookup, some in zip(plan.lookups, rows, strict=True):
        for row in some:
            for stamp, ttl_s in zip(row[len(lookup.features) :], lookup.ttls_s, strict=True):
                try:
                    moments.append(decode_timestamps([stamp])[0] + timedelta(seconds=ttl_s))
                except (CorruptValueError, OverflowError):
                    continue
    moment = data.draw(st.sampled_from(moments))
    return moment + timedelta(microseconds=data.draw(st.integers(-1, 1))) if moment.year < 9999 else moment


@needs_native
@given(data=st.data(), usual=st.booleans(), policy=st.sampled_from([StatusPolicy.PRESENT, StatusPolicy.EXACT]))
def test_bodies_are_written_as_python_writes_them(data: st.DataObject, usual: bool, policy: StatusPolicy) -> None:
    """Views over one entity or the other; any types; repeated entities; features in any order; gaps; rows too old."""
    join_keys = {"a": ("a_id", ValueType.INT64), "b": ("b_id", ValueType.STRING), "c": ("c_id", ValueType.DOUBLE)}
    if usual:
        del join_keys["c"]
    views: dict[str, tuple[str, list[ValueType]]] = {}
    for name in ["one", "two", "three"][: data.draw(st.integers(1, 3))]:
        types = value_types.filter(lambda one: one not in LEFT_TO_PYTHON) if usual else value_types
        views[name] = data.draw(st.sampled_from("ab")), data.draw(st.lists(types, min_size=1, max_size=4))
    compiled = catalog(
        *(entity(name, *join_key) for name, join_key in join_keys.items()),
        *(
            view(name, [of], dict([join_keys[of]]), {f"f{place}": one for place, one in enumerate(types)})
            for name, (of, types) in views.items()
        ),
    )
    asked = data.draw(
        st.permutations([f"{name}:f{place}" for name, (_, types) in views.items() for place in range(len(types))])
    )
    compiled_plan = compiled.plan_for(None, asked, True)
    nothing = st.sampled_from([None, b""])
    ttls_s = st.sampled_from([0.0, 1.5, 86_400.0, 1e9])
    plan = replace(
        compiled_plan.plan,
        lookups=tuple(
            replace(lookup, ttls_s=tuple(data.draw(ttls_s) for _ in lookup.views))
            for lookup in compiled_plan.plan.lookups
        ),
    )
    layout = Layout(plan, policy, Tails())
    count = data.draw(st.integers(1, 4))
    entities: dict[str, list[Any]] = {
        "a_id": data.draw(st.lists(st.one_of(st.just(1), int64s), min_size=count, max_size=count)),
        "b_id": data.draw(st.lists(st.one_of(st.just("x"), texts), min_size=count, max_size=count)),
    }
    if not usual:
        entities["c_id"] = data.draw(st.lists(st.floats(allow_nan=False), min_size=count, max_size=count))
    bound = compiled_plan.binder.bind(entities)
    rows: list[list[Any]] = []
    packed: list[list[Any]] = []
    for lookup, keys in zip(plan.lookups, bound.keys, strict=True):
        cell = [st.one_of(nothing, (well_stored if usual else stored)(feature.type)) for feature in lookup.features]
        rows.append([data.draw(st.tuples(*cell, *[stamps] * len(lookup.views))) for _ in keys])
        packed.append(packed_rows(rows[-1]))
    now = a_moment(data, plan, rows)
    expected = encode_vectors(layout, bound, rows, now=now)
    assert encode_vectors(layout, bound, packed, now=now) == expected
    assert written(layout, plan, bound, packed, now) in ([expected] if usual else [expected, None])
    assert written(layout, plan, bound, rows, now) is None, "rows that are no Rows"
