"""RESP: a template renders what a plain encoder would."""

from __future__ import annotations

import pytest

from yummy_fast.stores.resp import CommandTemplate, render_command


def plainly(*parts: bytes) -> bytes:
    """A command by the letter of the protocol, an array of bulk strings."""
    text = f"*{len(parts)}\r\n".encode()
    for part in parts:
        text += f"${len(part)}\r\n".encode() + part + b"\r\n"
    return text


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
