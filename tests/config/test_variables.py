"""Environment variables in the text of feature_store.yaml. tests/property/test_config.py asks os.path.expandvars."""

from __future__ import annotations

import pytest

from yummy_fast.config.variables import check_set, expand
from yummy_fast.errors import ConfigError

ENVIRON = {"HOST": "h", "NEST": "$HOST", "PASSWORD": "pa$word", "EMPTY": ""}


@pytest.mark.parametrize(
    ("text", "expanded", "unset"),
    [
        ("$HOST:1", "h:1", set()),
        ("${HOST}:1", "h:1", set()),
        ("$$HOST", "$h", set()),
        ("${HOST", "${HOST", set()),
        ("$EMPTY.", ".", set()),
        ("${NEST}", "$HOST", set()),
        ("${PASSWORD}", "pa$word", set()),
        ("$é", "$é", set()),
        ("$HOSTS ${NOPE} $NOPE", "$HOSTS ${NOPE} $NOPE", {"$HOSTS", "${NOPE}", "$NOPE"}),
        ("${}", "${}", {"${}"}),
    ],
)
def test_variables_are_expanded_once(text: str, expanded: str, unset: set[str]) -> None:
    assert expand(text, ENVIRON) == (expanded, frozenset(unset))


@pytest.mark.parametrize(
    ("value", "where"),
    [
        ("a $NOPE", "fs.yaml: "),
        ({"a": "$NOPE"}, "fs.yaml: a"),
        ({"a": {"b": "$NOPE"}}, "fs.yaml: a.b"),
        ({"a": ["x", {"b": "$NOPE"}]}, "fs.yaml: a[1].b"),
    ],
)
def test_a_variable_that_is_not_set_is_named_with_its_place(value: object, where: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check_set(value, "fs.yaml: ", frozenset(["$NOPE"]))
    assert str(caught.value) == f"{where}: $NOPE: there is no such environment variable"


@pytest.mark.parametrize("value", ["$OTHER", "pa$word", {"a": ["$", 5, None]}, None, 5, "NOPE"])
def test_what_looks_like_a_variable_and_was_none_is_left_alone(value: object) -> None:
    """A `$` that came out of a variable's value is no variable: only those that the text had are."""
    check_set(value, "fs.yaml: ", frozenset(["$NOPE"]))
