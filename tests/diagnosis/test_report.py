"""Tables: columns are aligned in a terminal, whatever is in them."""

from __future__ import annotations

from yummy_fast.diagnosis.report import table_lines


def test_numbers_are_aligned_to_the_right() -> None:
    assert table_lines([("driver", "trips"), ("a", "5"), ("bcd", "120")]) == [
        "driver  trips",
        "------  -----",
        "a           5",
        "bcd       120",
    ]


def test_wide_letters_take_two_columns_and_accents_none() -> None:
    """東京 takes four columns; e and U+0301 take one."""
    assert table_lines([("city", "n"), ("東京", "1"), ("Cafe\u0301", "2")]) == [
        "city  n",
        "----  -",
        "東京  1",
        "Cafe\u0301  2",
    ]


def test_a_value_stays_in_its_line_and_says_nothing_to_the_terminal() -> None:
    assert table_lines([("value",), ("a\nb\x1b[2Jc",)])[2] == "a\\nb\\x1b[2Jc"
