"""RESP: a template renders what a plain encoder would; replies survive every way of being cut up."""

from __future__ import annotations

from typing import Any

import pytest

from yummy_fast.stores.resp import CommandTemplate, ProtocolError, ReplyError, ReplyParser, render_command


def plainly(*parts: bytes) -> bytes:
    """A command by the letter of the protocol, an array of bulk strings."""
    text = f"*{len(parts)}\r\n".encode()
    for part in parts:
        text += f"${len(part)}\r\n".encode() + part + b"\r\n"
    return text


REPLIES: list[tuple[bytes, Any]] = [
    (b"+OK\r\n", b"OK"),
    (b":-42\r\n", -42),
    (b"$-1\r\n", None),
    (b"$0\r\n\r\n", b""),
    (b"$4\r\n\r\n$1\r\n", b"\r\n$1"),
    (b"*-1\r\n", None),
    (b"*0\r\n", []),
    (b"*3\r\n$1\r\na\r\n$-1\r\n$0\r\n\r\n", [b"a", None, b""]),
    (b"*2\r\n*1\r\n:1\r\n*0\r\n", [[1], []]),
]
STREAM = b"".join(text for text, _ in REPLIES)
VALUES = [value for _, value in REPLIES]


def read(*chunks: bytes) -> list[Any]:
    parser = ReplyParser()
    replies: list[Any] = []
    for chunk in chunks:
        replies += parser.read(chunk)
    return replies


def test_a_whole_command_is_an_array_of_bulk_strings() -> None:
    assert render_command(b"HMGET", b"key\r\n\x00", b"") == plainly(b"HMGET", b"key\r\n\x00", b"")


@pytest.mark.parametrize("arguments", [(), (b"field",), (b"\xeb4*e", b"_ts:stats", b"")], ids=len)
@pytest.mark.parametrize("suffix", [b"", b"project"])
@pytest.mark.parametrize(
    "keys",
    [[b"one"], [b"one", b"two", b"six"], [b"1", b"four", b""], [b"a" * 9, b"b" * 100, b"c" * 600, b"d" * 600]],
    ids=["one", "same length", "other lengths", "long"],
)
def test_a_template_renders_each_key_in_order(keys: list[bytes], suffix: bytes, arguments: tuple[bytes, ...]) -> None:
    template = CommandTemplate(b"HMGET", arguments, suffix)
    expected = b"".join(plainly(b"HMGET", key + suffix, *arguments) for key in keys)
    assert template.render(keys) == expected
    assert template.render(keys) == expected, "what it remembers of the first time changes nothing"


def test_a_template_without_arguments() -> None:
    assert CommandTemplate(b"HGETALL").render([b"key"]) == plainly(b"HGETALL", b"key")


def test_heads_are_remembered_for_keys_that_are_not_long_and_so_not_without_bound() -> None:
    template = CommandTemplate(b"HGETALL", (), b"project")
    for length in range(1, 2_000):
        key = b"k" * length
        assert template.render([key]) == plainly(b"HGETALL", key + b"project")
    assert sorted(template._heads) == list(range(1, 513))


def test_replies_fed_whole() -> None:
    assert read(STREAM) == VALUES


def test_replies_fed_byte_by_byte() -> None:
    assert read(*(STREAM[place : place + 1] for place in range(len(STREAM)))) == VALUES


def test_replies_cut_in_two_anywhere() -> None:
    for place in range(len(STREAM) + 1):
        assert read(STREAM[:place], STREAM[place:]) == VALUES, f"cut at {place}"


@pytest.mark.parametrize("trailing", [b"$", b"$5\r\nhal", b"*2\r\n$1\r\na\r\n", b"-LOAD"])
def test_an_unfinished_reply_waits_for_its_rest(trailing: bytes) -> None:
    parser = ReplyParser()
    assert list(parser.read(STREAM + trailing)) == VALUES
    assert list(parser.read(b"")) == []


def test_an_error_reply_is_a_value_in_its_place() -> None:
    first, error, last = read(b"+OK\r\n-WRONGTYPE Operation against a key\r\n:1\r\n")
    assert (first, last) == (b"OK", 1)
    assert isinstance(error, ReplyError)
    assert str(error) == "WRONGTYPE Operation against a key"


def test_an_error_inside_an_array_is_a_value_too() -> None:
    [[value, error]] = read(b"*2\r\n$1\r\na\r\n-ERR no\r\n")
    assert value == b"a"
    assert isinstance(error, ReplyError)


def test_a_false_is_a_reply_and_not_the_lack_of_one() -> None:
    assert read(b"#f\r\n:1\r\n") == [False, 1]


@pytest.mark.parametrize("garbage", [b"HTTP/1.1 400\r\n", b"\x00", b"$abc\r\n", b"*x\r\n"])
def test_bytes_that_are_no_reply_raise_after_the_replies_before_them(garbage: bytes) -> None:
    parser = ReplyParser()
    replies = parser.read(b"+OK\r\n" + garbage)
    assert next(replies) == b"OK"
    with pytest.raises(ProtocolError):
        next(replies)


def test_replies_of_many_pieces_come_out_whole() -> None:
    values = [b"x" * size for size in (10, 20_000, 16_384, 3, 100_000)]
    assert read(b"".join(b"$%d\r\n%b\r\n" % (len(value), value) for value in values)) == values
