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
        # Defaults, as in a shell (POSIX 2.6.2): with a colon, an empty variable is as good as none.
        ("${HOST:-localhost}:1", "h:1", set()),
        ("${NOPE:-localhost}:1", "localhost:1", set()),
        ("${NOPE:-}", "", set()),
        ("${EMPTY:-x}${EMPTY-x}", "x", set()),
        ("${NOPE-localhost:6379,db=1}", "localhost:6379,db=1", set()),
        ("${NOPE:-redis://a:6379/0}", "redis://a:6379/0", set()),
        ("${NOPE:-${HOST}}", "h", set()),
        ("${NOPE:-${NADA:-${NIX:-z}}}!", "z!", set()),
        ("${NOPE:-${NADA}}", "${NADA}", {"${NADA}"}),
        ("${NOPE:-pa$word}", "pa$word", set()),
        ("${NOPE:-$HOST}", "h", set()),
        ("${PASSWORD:-x}", "pa$word", set()),
        ("${NOPE:=x}", "${NOPE:=x}", {"${NOPE:=x}"}),
        # A `$` without braces is text unless it looks like a variable.
        ("password=pa$word", "password=pa$word", set()),
        ("password=pa$WORD", "password=pa$WORD", set()),
        ("password=$ecret", "password=$ecret", set()),
        ("password=a$1b$", "password=a$1b$", set()),
        ("password=$NOPE,db=1", "password=$NOPE,db=1", {"$NOPE"}),
        ("redis://:$NOPE@h:1/0", "redis://:$NOPE@h:1/0", {"$NOPE"}),
        ("pa$HOST", "pah", set()),
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


@pytest.mark.parametrize("value", ["$OTHER", "pa$word", "pa$NOPE", {"a": ["$", 5, None]}, None, 5, "NOPE"])
def test_what_looks_like_a_variable_and_was_none_is_left_alone(value: object) -> None:
    """A `$` that came out of a variable's value is no variable: only those that the text had are."""
    check_set(value, "fs.yaml: ", frozenset(["$NOPE"]))
