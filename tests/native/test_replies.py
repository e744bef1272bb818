"""The reader of replies, native and twin: rows out of hashes, and a value in its place for what is no hash."""

from __future__ import annotations

import random
import sys
from typing import Any

import pytest

from tests.native.resp import array, bulk, hash_of, invalidation
from tests.native.rooms import both, native_room, needs_native, twin_room

NAMES = (b"\xb4\x00\r\n", b"abcd", b"_ts:view", b"")
HASH = [b"_ts:view", b"\x08\x01", b"abcd", b"\r\n$4\r\n", b"other", b"x" * 300, b"\xb4\x00\r\n", b""]
ROW = (b"", b"\r\n$4\r\n", b"\x08\x01", None)


def plain(answers: list[Any]) -> list[Any]:
    """With tuples for rows."""
    return [list(map(tuple, answer)) if isinstance(answer, list) else answer for answer in answers]


@both
class TestReader:
    def test_a_hash_becomes_a_row_in_the_order_of_the_names(self, room: Any) -> None:
        reader = room.ReplyReader()
        for _ in range(3):  # the first time nothing is known of the order
            reader.expect(room.Picker(NAMES, True), 1)
            assert plain(reader.feed(array(HASH))) == [[ROW]]

    def test_an_order_that_changes_changes_nothing(self, room: Any) -> None:
        reader, picker = room.ReplyReader(), room.Picker(NAMES, True)
        pairs = list(zip(HASH[::2], HASH[1::2], strict=True))
        for turn in range(200):
            turned = pairs[turn % 4 :] + pairs[: turn % 4]
            reader.expect(picker, 2)
            shuffled = array([part for pair in turned for part in pair])
            assert plain(reader.feed(shuffled + array(HASH))) == [[ROW, ROW]]

    def test_fields_that_come_and_go_do_not_leave_their_values_behind(self, room: Any) -> None:
        reader, picker = room.ReplyReader(), room.Picker((b"one1", b"two2"), True)
        for turn in range(200):
            parts = [b"one1", b"%d" % turn] if turn % 3 else [b"zero", b"0", b"two2", b"%d" % turn]
            reader.expect(picker, 1)
            expected = (b"%d" % turn, None) if turn % 3 else (None, b"%d" % turn)
            assert plain(reader.feed(array(parts))) == [[expected]]

    def test_views_in_any_order(self, room: Any) -> None:
        views = [[b"_ts:v%d" % view, b"t", *(b"%d-%d" % (view, place) for place in range(4))] for view in range(5)]
        wanted = (b"3-0", b"1-2", b"_ts:v3", b"_ts:v1")
        reader, picker = room.ReplyReader(), room.Picker(wanted, True)
        for turn in range(200):
            order = views[turn % 5 :] + views[: turn % 5]
            parts = [part for view in order for part in (*view[:2], view[2], b"a", view[4], b"b")]
            reader.expect(picker, 1)
            assert plain(reader.feed(array(parts))) == [[(b"a", b"b", b"t", b"t")]]

    def test_a_list_of_values_is_a_row(self, room: Any) -> None:
        reader = room.ReplyReader()
        reader.expect(room.Picker((b"a", b"b", b"c"), False), 2)
        assert plain(reader.feed(array([b"1", None, b""]) * 2)) == [[(b"1", None, b"")] * 2]

    def test_an_empty_hash_is_a_row_of_nothing(self, room: Any) -> None:
        reader = room.ReplyReader()
        reader.expect(room.Picker(NAMES, True), 1)
        assert plain(reader.feed(b"*0\r\n")) == [[(None,) * 4]]

    def test_a_picker_of_no_names(self, room: Any) -> None:
        reader, picker = room.ReplyReader(), room.Picker((), True)
        reader.expect(picker, 3)
        reader.expect(room.Picker((), False), 2)
        found = plain(reader.feed(b"*0\r\n" + array(HASH) * 2 + b"*0\r\n*1\r\n$1\r\na\r\n"))
        assert found == [[(), (), ()], None]

    def test_one_name_twice(self, room: Any) -> None:
        """Two features whose names have one hash are one field."""
        reader, picker = room.ReplyReader(), room.Picker((b"same", b"else", b"same"), True)
        for parts in ([b"same", b"1"], [b"else", b"2", b"same", b"1"], [b"else", b"2"]):
            fields = dict(zip(parts[::2], parts[1::2], strict=True))
            reader.expect(picker, 1)
            assert plain(reader.feed(array(parts))) == [
                [(fields.get(b"same"), fields.get(b"else"), fields.get(b"same"))]
            ]

    @pytest.mark.parametrize(
        ("reply", "found"),
        [
            (b"-LOADING Redis is loading\r\n", "LOADING Redis is loading"),
            (b"+OK\r\n", None),
            (b":17\r\n", None),
            (b"$2\r\nab\r\n", None),
            (b"$-1\r\n", None),
            (b"*-1\r\n", None),
            (b"*1\r\n$1\r\na\r\n", None),  # of an odd length
            (b"*2\r\n:1\r\n$1\r\na\r\n", None),
            (b"*2\r\n$-1\r\n$1\r\na\r\n", None),
            (b"*2\r\n*1\r\n:1\r\n*0\r\n", None),
            (b"*4\r\n*2\r\n*0\r\n$1\r\na\r\n:1\r\n-E\r\n*1\r\n+x\r\n", None),
        ],
    )
    def test_what_is_no_hash_is_a_value_in_its_place(self, room: Any, reply: bytes, found: object) -> None:
        stream = array(HASH) + reply + array(HASH)
        for cut in range(len(stream) + 1):
            reader = room.ReplyReader()
            for _ in range(3):
                reader.expect(room.Picker(NAMES, True), 1)
            answers = reader.feed(stream[:cut]) + reader.feed(stream[cut:])
            assert plain(answers) == [[ROW], found, [ROW]], cut
            assert reader.failed is None
            assert reader.unfinished_bytes == 0

    def test_values_of_all_lengths_are_read_whatever_the_pieces(self, room: Any) -> None:
        rng = random.Random(7)
        rows = [tuple(rng.randbytes(rng.choice([0, 3, 9, 10, 60, 99, 100, 700])) for _ in NAMES) for _ in range(60)]
        stream = b"".join(array([part for pair in zip(NAMES, row, strict=True) for part in pair]) for row in rows)
        for most in (1, 7, 63, 64, 65, 200, 5000):
            reader = room.ReplyReader()
            reader.expect(room.Picker(NAMES, True), len(rows))
            answers, start = [], 0
            while start < len(stream):
                end = start + rng.randint(1, most)
                answers += reader.feed(memoryview(stream)[start:end] if rng.random() < 0.5 else stream[start:end])
                start = end
            assert plain(answers) == [rows], most
            assert reader.unfinished_bytes == 0

    def test_zeros_are_no_name_that_is_not_known_yet(self, room: Any) -> None:
        """What stands for a name at no known place must not be met by bytes that come in its place."""
        reader = room.ReplyReader()
        reader.expect(room.Picker(NAMES, True), 1)
        assert reader.feed(b"*20\r\n" + bytes(8) + b"\r\n$3\r\nabc\r\n$40\r\n" + b"x" * 20) == []
        assert reader.failed is not None

    def test_the_first_of_several_problems_is_told_for_all_replies(self, room: Any) -> None:
        reader = room.ReplyReader()
        for _ in range(2):
            reader.expect(room.Picker(NAMES, True), 4)
        stream = array(HASH) + b"-ERR one\r\n" + b"+OK\r\n" + array(HASH)
        stream += array(HASH) + b"+OK\r\n" + b"-ERR one\r\n" + array(HASH)
        assert plain(reader.feed(stream)) == ["ERR one", None]

    def test_what_nobody_looks_at(self, room: Any) -> None:
        reader = room.ReplyReader()
        reader.expect(None, 2)
        assert plain(reader.feed(b"+PONG\r\n" + array(HASH))) == [None]

    def test_the_next_list_begins_where_one_is_full(self, room: Any) -> None:
        reader = room.ReplyReader()
        reader.expect(room.Picker((b"a",), False), 2)
        reader.expect(None, 1)
        reader.expect(room.Picker((b"a", b"b"), False), 1)
        one, two = array([b"1"]), array([b"1", b"2"])
        assert plain(reader.feed(one)) == []
        assert plain(reader.feed(one + b"+PONG\r\n" + two[:3])) == [[(b"1",), (b"1",)], None]
        assert plain(reader.feed(two[3:])) == [[(b"1", b"2")]]

    def test_byte_by_byte(self, room: Any) -> None:
        reader = room.ReplyReader()
        reader.expect(room.Picker(NAMES, True), 3)
        stream = array(HASH) * 3
        full = [each for place in range(len(stream)) for each in reader.feed(stream[place : place + 1])]
        assert plain(full) == [[ROW, ROW, ROW]]

    def test_cut_in_three_anywhere(self, room: Any) -> None:
        """Lengths of one digit and two, of which the digits and the line's end may come apart."""
        stream = array([b"other name", b"twelve bytes", b"abcd", b"five."]) + array([b"abcd", b"", b"x" * 10, b"1"])
        picker = room.Picker((b"abcd", b"other name"), True)
        for first in range(len(stream)):
            for second in range(first, len(stream)):
                reader = room.ReplyReader()
                reader.expect(picker, 2)
                pieces = (stream[:first], stream[first:second], stream[second:])
                answers = [answer for piece in pieces for answer in reader.feed(piece)]
                assert plain(answers) == [[(b"five.", b"twelve bytes"), (b"", None)]], (first, second)

    def test_many_expectations(self, room: Any) -> None:
        reader, picker = room.ReplyReader(), room.Picker((b"a",), False)
        expected = 0
        for turn in range(60):  # a ring that grows while it has gone round
            for _ in range(turn):
                reader.expect(picker, 1)
                expected += 1
            gone = min(expected, 30)
            expected -= gone
            assert len(reader.feed(array([b"1"]) * gone)) == gone
        assert len(reader.feed(array([b"1"]) * expected)) == expected

    @pytest.mark.parametrize(
        "damage",
        [
            b"!\r\n",
            b"$x\r\n",
            b"$01\r\na\r\n",
            b"$-2\r\n",
            b"*-2\r\n",
            b"*4294967296\r\n",
            b":99999999999999999999\r\n",
            b":\r\n",
            b"+a\nb\r\n",
            b"-a\rb\r\n",
        ],
    )
    def test_after_damage_what_was_whole_is_given_out_and_no_more(self, room: Any, damage: bytes) -> None:
        reader = room.ReplyReader()
        for _ in range(3):
            reader.expect(room.Picker(NAMES, True), 1)
        assert plain(reader.feed(array(HASH) + damage + array(HASH))) == [[ROW]]
        assert reader.failed
        assert reader.feed(array(HASH)) == []

    def test_a_reply_to_no_command(self, room: Any) -> None:
        reader = room.ReplyReader()
        assert reader.feed(b"") == []
        assert reader.failed is None
        reader.expect(None, 1)
        assert plain(reader.feed(b"+PONG\r\n+PONG\r\n")) == [None]
        assert reader.failed == "a reply to no command"

    def test_how_much_is_unfinished(self, room: Any) -> None:
        reader = room.ReplyReader()
        reader.expect(room.Picker(NAMES, True), 2)
        reader.feed(array(HASH)[:20])
        reader.feed(array(HASH)[20:30])
        assert reader.unfinished_bytes == 30
        reader.feed(array(HASH)[30:])
        assert reader.unfinished_bytes == 0

    def test_the_longest_part_is_known_wanted_or_not(self, room: Any) -> None:
        reader, picker = room.ReplyReader(), room.Picker((b"abcd",), True)
        assert picker.longest == 0
        reader.expect(picker, 1)
        reader.feed(array(HASH))
        assert picker.longest == 300

    @pytest.mark.parametrize("arguments", [(None, 0), (None, -1), ("picker", 1), (None,), ()])
    def test_nonsense_is_refused(self, room: Any, arguments: tuple[Any, ...]) -> None:
        with pytest.raises(TypeError):
            room.ReplyReader().expect(*arguments)


@needs_native
class TestNativeReader:
    @pytest.mark.parametrize("behind", [b"\n\r", b"\r\r", b"x\n", b"xx"])
    def test_what_stands_behind_a_bulk_string_is_looked_at(self, behind: bytes) -> None:
        """hiredis steps over it: a length that is wrong would go unnoticed."""
        for value in (b"v", b"v" * 50, b"v" * 500, b"name"):
            for stream in (array([b"abcd", value]), array([b"zzzz", value]), array([value, b"v"])):
                wrong = stream.replace(value + b"\r\n", value + behind)
                for cut in (0, len(wrong) - 1):
                    reader, picker = native_room.ReplyReader(), native_room.Picker((b"abcd",), True)
                    reader.expect(picker, 1)
                    assert len(reader.feed(stream)) == 1  # so that its order is known
                    reader.expect(picker, 1)
                    assert [*reader.feed(wrong[:cut]), *reader.feed(wrong[cut:])] == []
                    assert reader.failed

    def test_a_hash_of_fewer_elements_than_it_says_takes_none_of_the_next_reply(self) -> None:
        reader = native_room.ReplyReader()
        reader.expect(native_room.Picker((b"a",), True), 1)
        reader.expect(native_room.Picker((b"a",), True), 1)
        reader.feed(b"*2\r\n$1\r\na\r\n")
        assert reader.feed(b"*2\r\n$1\r\na\r\n$1\r\nb\r\n") == [None]  # the array was its value: no hash
        assert reader.failed is None

    def test_ten_bytes_that_look_like_what_is_not_remembered(self) -> None:
        """Where no name of four bytes stood, the room remembers a zero."""
        reader, picker = native_room.ReplyReader(), native_room.Picker((b"abcd",), True)
        for parts in ([b"a long name", b"1"], [b"abcd", b"1"]):
            reader.expect(picker, 1)
            assert len(reader.feed(array(parts))) == 1
            for place in range(2):
                damaged, order = native_room.ReplyReader(), [b"a long name", b"1", b"abcd", b"1"]
                damaged.expect(picker, 1)
                stream = array(order[: 2 * place + 2])
                name = b"$%d\r\n%b\r\n" % (len(order[2 * place]), order[2 * place])
                assert damaged.feed(stream.replace(name, bytes(8) + b"\r\n")) == []
                assert damaged.failed == "a reply of no known type"

    def test_of_the_reply_that_is_not_whole_every_byte_counts(self) -> None:
        reader = native_room.ReplyReader()
        reader.expect(native_room.Picker(NAMES, True), 2)
        reader.feed(array(HASH) + array(HASH)[:30])
        assert reader.unfinished_bytes == 30
        reader.feed(array(HASH)[30:40])
        assert reader.unfinished_bytes == 40

    def test_a_huge_length_costs_nothing_until_it_comes(self) -> None:
        reader = native_room.ReplyReader()
        reader.expect(native_room.Picker((b"a",), True), 1)
        assert reader.feed(b"*4294967294\r\n$1\r\na\r\n$9223372036854775807\r\nabc") == []
        assert reader.failed is None
        assert reader.unfinished_bytes == 45

    def test_a_long_line_is_not_searched_again_at_each_feed(self) -> None:
        """A megabyte in pieces of ten bytes: 100,000 feeds, which would search 50 GB."""
        reader = native_room.ReplyReader()
        reader.expect(None, 1)
        for piece in (b"-ERR ", *(b"x" * 10 for _ in range(100_000)), b"\r"):
            assert reader.feed(piece) == []
        assert len(reader.feed(b"\n")[0]) == 1_000_004

    @pytest.mark.parametrize("length", [3, 9, 10, 100])
    def test_the_longest_value_is_noted_also_where_names_are_known(self, length: int) -> None:
        reader, picker = native_room.ReplyReader(), native_room.Picker([b"abcd"], True)
        for value in (b"1", b"x" * length):
            reader.expect(picker, 1)
            assert plain(reader.feed(array([b"abcd", value, b"efgh", bytes(2)] * 9))) == [[(value,)]]
        assert picker.longest == max(length, len(b"abcd"))

    def test_it_is_fed_bytes_alone(self) -> None:
        for data in ("text", None, 5):
            with pytest.raises(TypeError):
                native_room.ReplyReader().feed(data)

    @pytest.mark.parametrize("names", [("text",), (b"a", None), None, 5])
    def test_names_are_bytes(self, names: Any) -> None:
        with pytest.raises(TypeError):
            native_room.Picker(names, True)


@needs_native
class TestRow:
    values = (b"1", None, b"", b"four")

    @pytest.fixture
    def row(self) -> Any:
        reader = native_room.ReplyReader()
        reader.expect(native_room.Picker((b"a", b"b", b"c", b"d"), False), 1)
        return reader.feed(array(self.values))[0][0]

    def test_it_is_a_sequence(self, row: Any) -> None:
        assert len(row) == 4
        assert tuple(row) == self.values
        assert None in row
        assert b"four" in row
        assert b"five" not in row
        assert [*row] == list(self.values)
        assert list(reversed(row)) == list(reversed(self.values))

    @pytest.mark.parametrize("place", range(-4, 4))
    def test_a_cell(self, row: Any, place: int) -> None:
        assert row[place] == self.values[place]

    @pytest.mark.parametrize("place", [4, -5, 1 << 70, -(1 << 70)])
    def test_no_cell(self, row: Any, place: int) -> None:
        with pytest.raises(IndexError):
            row[place]

    @pytest.mark.parametrize("start", [None, -9, -1, 0, 2, 9])
    @pytest.mark.parametrize("stop", [None, -9, -1, 0, 2, 9])
    @pytest.mark.parametrize("step", [None, -2, -1, 1, 3])
    def test_slices(self, row: Any, start: int | None, stop: int | None, step: int | None) -> None:
        assert row[start:stop:step] == self.values[start:stop:step]

    def test_it_outlives_its_reader(self, row: Any) -> None:
        assert row[3] == b"four"

    def test_nobody_else_makes_one(self, row: Any) -> None:
        with pytest.raises(TypeError):
            type(row)()
        with pytest.raises(TypeError):
            row["a"]


def test_bulk_strings_are_written_by_the_letter() -> None:
    assert array([b"ab", None, b""]) == b"*3\r\n" + bulk(b"ab") + b"$-1\r\n$0\r\n\r\n"


@both
class TestResp3:
    """What a connection that keeps a cache true is sent."""

    def test_a_map_is_a_hash(self, room: Any) -> None:
        reader, picker = room.ReplyReader(), room.Picker(NAMES, True)
        for parts, expected in ((HASH, ROW), ([], (None,) * 4), (HASH[2:4], (None, HASH[3], None, None))):
            reader.expect(picker, 2)
            assert plain(reader.feed(hash_of(parts) + array(parts))) == [[expected, expected]]

    def test_nulls_stand_for_what_is_not_there(self, room: Any) -> None:
        reader = room.ReplyReader()
        reader.expect(room.Picker((b"a", b"b", b"c"), False), 1)
        reader.expect(room.Picker((b"a",), False), 1)
        assert plain(reader.feed(b"*3\r\n_\r\n$1\r\n2\r\n_\r\n_\r\n")) == [[(None, b"2", None)], None]

    @pytest.mark.parametrize("reply", [b"%1\r\n$1\r\na\r\n$1\r\nb\r\n", b"%0\r\n"])
    def test_a_map_where_none_was_asked_for_is_damage(self, room: Any, reply: bytes) -> None:
        """It cannot be the reply to this command."""
        for picker in (room.Picker((b"a", b"b"), False), None):
            reader = room.ReplyReader()
            reader.expect(picker, 1)
            assert reader.feed(reply) == []
            assert reader.failed == "a map where none was asked for"

    @pytest.mark.parametrize("reply", [b"%1\r\n+a\r\n*1\r\n:1\r\n", b"%1\r\n$1\r\na\r\n:1\r\n"])
    def test_a_map_that_is_no_hash(self, room: Any, reply: bytes) -> None:
        reader = room.ReplyReader()
        reader.expect(room.Picker((b"a", b"b"), True), 1)
        assert reader.feed(reply) == [None]

    def test_pushes_stand_between_replies_and_are_none(self, room: Any) -> None:
        """Cut anywhere, and with or without something that is expected."""
        keys: list[bytes | None] = [b"first", b"", b"third\r\n", None]
        pushed = [invalidation([b"first", b""]), invalidation([b"third\r\n"]), invalidation(None)]
        stream = pushed[0] + hash_of(HASH) + pushed[1] + array(HASH) + pushed[2]
        for cut in range(len(stream) + 1):
            reader = room.ReplyReader()
            reader.expect(room.Picker(NAMES, True), 2)
            assert plain(reader.feed(stream[:cut]) + reader.feed(stream[cut:])) == [[ROW, ROW]]
            assert reader.take_invalidated() == keys
            assert reader.take_invalidated() == []
            assert (reader.failed, reader.unfinished_bytes) == (None, 0)

    def test_other_pushes_name_no_keys(self, room: Any) -> None:
        reader = room.ReplyReader()
        reader.feed(b">0\r\n>3\r\n$7\r\nmessage\r\n$1\r\na\r\n$10\r\ninvalidate\r\n>2\r\n+inval\r\n*1\r\n$1\r\na\r\n")
        assert reader.take_invalidated() == []
        assert reader.failed is None

    def test_what_begins_unasked_goes_to_no_later_command(self, room: Any) -> None:
        reader = room.ReplyReader()
        reader.expect(None, 1)
        reader.feed(b"+OK\r\n$1\r")
        reader.expect(room.Picker((b"a",), False), 1)
        assert reader.feed(b"\na\r\n" + array([b"1"])) == []
        assert reader.failed == "a reply to no command"

    def test_a_push_may_have_begun_when_the_next_command_is_sent(self, room: Any) -> None:
        reader, stream = room.ReplyReader(), invalidation([b"key"])
        for cut in range(1, len(stream)):
            reader.feed(stream[:cut])
            reader.expect(room.Picker((b"a",), False), 1)
            assert plain(reader.feed(stream[cut:] + array([b"1"]))) == [[(b"1",)]]
            assert reader.take_invalidated() == [b"key"]

    def test_a_reply_that_is_not_whole_takes_no_push(self, room: Any) -> None:
        reader = room.ReplyReader()
        reader.expect(room.Picker(NAMES, True), 1)
        assert plain(reader.feed(b"*2\r\n$4\r\nabcd\r\n" + invalidation([b"key"]))) in ([], [None])
        assert room is twin_room or reader.failed == "a push within a reply"


@needs_native
class TestMemoryOfRows:
    def test_it_says_what_it_takes(self) -> None:
        reader = native_room.ReplyReader()
        reader.expect(native_room.Picker((b"a", b"b", b"c"), False), 3)
        replies = array([None] * 3), array([b"x" * 1000, None, b""]), array([b"", b"y" * 600, b"z" * 400])
        empty, *full = map(sys.getsizeof, reader.feed(b"".join(replies))[0])
        assert [size - empty for size in full] == [1000, 1000]
        assert 24 + 3 * 8 <= empty <= 24 + 3 * 8 + 16  # an object's head, its length, and a place and length each

    def test_what_pushes_name_is_given_back(self) -> None:
        reader = native_room.ReplyReader()
        before = sys.getrefcount(None)
        for _ in range(1000):
            reader.feed(invalidation(None) + invalidation([b"key"]))
            assert reader.take_invalidated() == [None, b"key"]
        assert abs(sys.getrefcount(None) - before) < 100
