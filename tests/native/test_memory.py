"""What the native room does with memory: none of it leaks, any of it may be refused, and a row has less than 4 GB."""

from __future__ import annotations

import gc
import sys
from array import array as numbers
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.native.resp import array, invalidation
from tests.native.rooms import compile_extension, compile_room, load, native_room, needs_compiler, needs_native

pytestmark = needs_native

NAMES = (*(b"name%d" % place for place in range(40)), b"abcd", b"abcd")
HASH = array([part for name in NAMES[:-1] for part in (name, b"\x12\x05h\xc3\xa9llo"[: 2 + len(name) % 3])])
PUSHES = invalidation([b"key", b"another key"]) + invalidation(None)
STAMP = b"\x08\x80\xe5\xd3\xca\x06"
CELLS = [b"\x18\x05", b"\x12\x03a\nb", b"\x0a\x03xyz", b"\x6a\x04\x0a\x02\x01\x02", None, b"", STAMP]


def reader(room: Any = native_room) -> Any:
    return room.ReplyReader()


def rows(count: int, room: Any = native_room) -> list[Any]:
    """Rows of six values and a time."""
    found = reader(room)
    found.expect(room.Picker([b""] * len(CELLS), False), count)
    (batch,) = found.feed(array(CELLS) * count)
    return list(batch)


def writer(room: Any = native_room, *, ttls: int | None = None) -> Any:
    columns = [number for place in range(6) for number in (0, place, 0)]
    exact = () if ttls is None else (numbers("q", [ttls]).tobytes(),)
    return room.BodyWriter(numbers("I", [6, 1]).tobytes(), numbers("I", columns).tobytes(), *exact)


def read_a_lot() -> None:
    found, picker = reader(), native_room.Picker(NAMES, True)
    for cut in range(0, len(HASH), 7):
        found.expect(picker, 2)
        found.expect(None, 1)
        found.expect(picker, 1)
        for piece in (HASH[:cut], HASH[cut:], PUSHES, HASH, b"-ERR n\xff\r\n", b"*2\r\n*1\r\n:1\r\n+a\r\n"):
            found.feed(piece)
        found.feed(PUSHES[:cut])
        if cut % 2:
            found.take_invalidated()
        found.feed(PUSHES[cut:])
    found.expect(picker, 4)
    found.feed(HASH + b"-ERR one\r\n-ERR two\r\n" + HASH)
    found.expect(picker, 3)
    found.feed(HASH + HASH[:-1])  # dies with a row in a list, one half read, and bytes left over
    damaged = reader()
    damaged.expect(picker, 1)
    damaged.feed(HASH[:-2] + b"xx")


def write_a_lot() -> None:
    write = writer().write
    for count in (1, 2, 50):
        entities = [list(range(count)), ["é"] * count]
        assert write(entities, [rows(count)], [None], count, b"]}") is not None
        assert write(entities, [rows(1)], [[0] * count], count, b"]}") is not None
        for odd in ([[object()] * count], [[1 << 70] * count], [["\ud800"] * count], [[1]], [[None] * count]):
            write(odd, [rows(count)], [None], count, b"")
        write(entities, [rows(count)], [[count] * count], count, b"")
        write(entities, [[[]] * count], [None], count, b"")
    write = writer(ttls=1_000_000).write
    for now in (0, 1 << 50):  # none of the rows is too old, and all are
        assert write([[1, 2, 3]], [rows(3)], [None], 3, b"]}", now) is not None
    native_room.value_text(b"\x12\x01\xff")
    native_room.value_text(b"\x18\x01")
    native_room.timestamp_text(STAMP)


def split_a_lot() -> None:
    keys = [b"%d" % number for number in range(50)]
    for table in (["all"] * 16_384, [slot % 3 for slot in range(16_384)], [str(slot) for slot in range(16_384)]):
        parts = native_room.split_keys(keys, b"rides", table)
        rows: list[Any] = [None] * len(keys)
        for part in filter(None, parts.values()):
            native_room.put_rows([object()] * len(part[1]), part[1], rows)
        native_room.slot_of(keys[0], b"")


def refuse_a_lot() -> None:
    calls: list[Callable[[], Any]] = [
        lambda: native_room.Picker([b"a", "b"], True),
        lambda: native_room.Picker(5, True),
        lambda: reader().expect(5, 1),
        lambda: reader().feed("text"),
        lambda: native_room.BodyWriter(b"\x01\0\0\0\x01\0\0\0", b"\xff" * 12),
        lambda: native_room.BodyWriter(b"\x01\0\0\0\x01\0\0\0", b"", b""),
        lambda: writer(ttls=1 << 62),
        lambda: writer(ttls=0).write([], [], [], 1, b""),
        lambda: writer(ttls=0).write([], [], [], 1, b"", None),
        lambda: writer(ttls=0).write([], [], [], 1, b"", 1 << 62),
        lambda: writer(ttls=0).write([], [], [], 1, b"", 1 << 70),
        lambda: writer().write([], [], [], 1, b"", 5),
        lambda: writer().write([], [], [], "1", b""),
        lambda: writer().write([], [], [], -1, b""),
        lambda: rows(1)[0][99],
        lambda: rows(1)[0]["a"],
        lambda: native_room.split_keys([b"foo", b"bar", "text"], b"", list(range(16_384))),
        lambda: native_room.split_keys([b"foo", b"bar"], b"", [[slot] for slot in range(16_384)]),
        lambda: native_room.put_rows([object(), object()], [0, 9], [None]),
    ]
    for call in calls:
        with pytest.raises((TypeError, ValueError, IndexError, OverflowError)):
            call()


@pytest.mark.parametrize("work", [read_a_lot, write_a_lot, split_a_lot, refuse_a_lot])
def test_nothing_is_left_over(work: Callable[[], None]) -> None:
    types = [type(rows(1)[0]), native_room.Picker, native_room.ReplyReader, native_room.BodyWriter]
    work()

    def state() -> list[int]:
        gc.collect()
        return [*map(sys.getrefcount, types), sys.getallocatedblocks()]

    before = state()
    for _ in range(20):
        work()
    after = state()
    assert after[:-1] == before[:-1]
    assert after[-1] < before[-1] + 20, "less than one block for each time"


def test_what_is_expected_is_held_and_let_go() -> None:
    found, picker = reader(), native_room.Picker((b"a",), False)
    before = sys.getrefcount(picker)
    for _ in range(40):
        found.expect(picker, 1)
    assert sys.getrefcount(picker) == before + 40
    found.feed(array([b"1"]) * 10)
    assert sys.getrefcount(picker) == before + 30
    del found
    assert sys.getrefcount(picker) == before


@pytest.fixture(scope="module")
def failing(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("failing_allocator")
    return compile_extension(Path(__file__).with_name("failing_allocator.c"), folder)


@needs_compiler
class TestOutOfMemory:
    """Every allocation of a call fails once: MemoryError and nothing worse, or the work is done all the same."""

    def each(self, failing: Any, prepare: Callable[[], tuple[Any, ...]], check: Callable[..., None]) -> int:
        """Call what `prepare` returns, function and arguments, until nothing fails any more. How often it failed."""
        refused = 0
        for nth in range(1, 1000):
            call = prepare()
            try:
                result, left = failing.call(nth, *call)
            except MemoryError:
                refused += 1
                check(*call, refused=True)
                continue
            check(*call, refused=False, result=result)
            del call, result
            if left > 0:
                return refused
        raise AssertionError("there is no end to it")

    def test_pickers(self, failing: Any) -> None:
        def check(*_: Any, refused: bool, result: Any = None) -> None:
            assert refused or result.longest == 0

        assert self.each(failing, lambda: (native_room.Picker, list(NAMES), True), check) == 4

    def test_readers(self, failing: Any) -> None:
        assert self.each(failing, lambda: (native_room.ReplyReader,), lambda *_, **__: None) == 1

    def test_what_is_expected(self, failing: Any) -> None:
        picker = native_room.Picker(NAMES, True)

        def check(expect: Any, *_: Any, refused: bool, result: Any = None) -> None:
            assert expect.__self__.failed is None
            if refused:
                expect(picker, 1)

        before = sys.getrefcount(picker)
        assert self.each(failing, lambda: (reader().expect, picker, 1), check) >= 1
        assert sys.getrefcount(picker) == before

    @pytest.mark.parametrize("cut", [0, 1, 30, len(HASH) - 1])
    @pytest.mark.parametrize("known", [False, True], ids=["order unknown", "order known"])
    def test_replies(self, failing: Any, cut: int, known: bool) -> None:
        """After a refusal, the reader reads no more: it cannot know what it has lost."""

        def prepare() -> tuple[Any, ...]:
            found, picker = reader(), native_room.Picker(NAMES, True)
            if known:
                found.expect(picker, 1)
                found.feed(HASH)
            found.expect(picker, 1)
            found.expect(picker, 2)
            found.expect(picker, 1)
            found.feed(HASH[:cut])
            return found.feed, HASH[cut:] + HASH + PUSHES + b"-ERR\r\n" + HASH[:-3]

        (expected,) = {tuple(map(len, prepare()[0](prepare()[1])))}

        def check(feed: Any, _: bytes, refused: bool, result: Any = None) -> None:
            if refused:
                assert feed.__self__.failed == "no memory"
                assert feed(HASH) == []
            else:
                assert tuple(map(len, result)) == expected
                assert feed.__self__.failed is None

        assert self.each(failing, prepare, check) >= 5

    def test_split_keys(self, failing: Any) -> None:
        keys = [b"%d" % number for number in range(9)]
        table = [slot % 3 for slot in range(16_384)]
        before = [sys.getrefcount(key) for key in keys]

        def check(*_: Any, refused: bool, result: Any = None) -> None:
            if not refused:
                rows: list[Any] = [None] * len(keys)
                assert sorted(result) == [0, 1, 2]
                for some, positions in result.values():
                    native_room.put_rows(some, positions, rows)
                assert rows == keys

        assert self.each(failing, lambda: (native_room.split_keys, keys, b"rides", table), check) >= 6
        assert [sys.getrefcount(key) for key in keys] == before

    def test_put_rows(self, failing: Any) -> None:
        def check(_: Any, __: Any, ___: Any, table: list[Any], *, refused: bool, result: Any = None) -> None:
            assert not refused
            assert table == [2, 1]

        assert self.each(failing, lambda: (native_room.put_rows, [1, 2], [1, 0], [None, None]), check) == 0

    def test_bodies(self, failing: Any) -> None:
        """With a module of its own each time: it keeps the memory that it has written in."""

        def prepare() -> tuple[Any, ...]:
            room = load("_native", Path(native_room.__file__))
            return writer(room).write, [["é"] * 30], [rows(30, room)], [None], 30, b"]}"

        write, *arguments = prepare()
        expected = write(*arguments)
        assert expected is not None

        def check(write: Any, *arguments: Any, refused: bool, result: Any = None) -> None:
            assert refused or result == expected
            assert write(*arguments) == expected

        assert self.each(failing, prepare, check) >= 5

    def test_texts(self, failing: Any) -> None:
        def check(*_: Any, refused: bool, result: Any = None) -> None:
            assert refused or result == b"50"

        assert self.each(failing, lambda: (native_room.value_text, b"\x18\x32"), check) == 2

    @pytest.mark.parametrize("cells", [slice(None), slice(0, 4), slice(4, 4)])
    def test_slices(self, failing: Any, cells: slice) -> None:
        (row,) = rows(1)

        def check(*_: Any, refused: bool, result: Any = None) -> None:
            assert refused or result == tuple(CELLS)[cells]

        self.each(failing, lambda: (row.__getitem__, cells), check)


@needs_compiler
def test_a_row_cannot_be_longer_than_its_offsets_reach(tmp_path: Path) -> None:
    """With a build whose rows end at 100 bytes: nobody's machine has the 4 GB to see it otherwise."""
    small = compile_room(tmp_path, "-DMAX_ROW_BYTES=100")
    for value, named in ((b"x" * 60, True), (b"x" * 60, False), (b"x" * 101, True), (b"x" * 5, True)):
        found = small.ReplyReader()
        for _ in range(50):
            found.expect(small.Picker((b"a", b"b"), named), 1)
        pairs = array([b"a", value, b"b", value] if named else [value, value])
        if len(value) < 50:
            assert len(found.feed(pairs * 50)) == 50, "each row begins anew"
            assert found.failed is None
        else:
            assert found.feed(pairs * 2) == []
            assert found.failed == "a row of 4 GB"
