"""A registry behind a URL: what was read, and whether it is another one now, asked for as cheaply as can be."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.harness import FileServer, refusal, source_of
from yummy_fast.sources.http import HttpSource


def test_http_is_asked_with_what_it_said_last(tmp_path: Path) -> None:
    with FileServer({"/r.db": b"one"}) as web:
        source = source_of(tmp_path, web.url.replace("://", "://me:secret@") + "/r.db?signature=secret")
        assert source.name == f"{web.url}/r.db"
        first = source.stamp()
        assert first is not None
        assert source.read() == b"one"
        assert source.stamp() == first
        assert web.asked[0].headers["If-None-Match"] is None
        assert web.asked[-1].headers["If-None-Match"] == first[0]  # type: ignore[index]  # its own affair, but for this
        assert {asked.path for asked in web.asked} == {"/r.db?signature=secret"}
        assert {asked.headers["Authorization"] for asked in web.asked} == {"Basic bWU6c2VjcmV0"}
        web.files["/r.db"] = b"two"
        second = source.stamp()
        assert second != first
        assert source.stamp() == second
        assert source.read() == b"two"


@pytest.mark.parametrize("validators", [("ETag",), ("Last-Modified",), ("ETag", "Last-Modified")])
def test_a_look_at_what_has_not_changed_costs_no_body(validators: tuple[str, ...]) -> None:
    with FileServer({"/r.db": b"one"}, validators=validators) as web:
        source = HttpSource(f"{web.url}/r.db")
        first = source.stamp()
        assert first is not None
        for _ in range(2):
            assert source.stamp() == first, "an answer 304 may leave out what it is an answer about"
        assert [asked.status for asked in web.asked] == [200, 304, 304]
        conditions = {"ETag": "If-None-Match", "Last-Modified": "If-Modified-Since"}
        for name, condition in conditions.items():
            assert web.asked[0].headers[condition] is None
            assert (web.asked[2].headers[condition] is not None) is (name in validators)
        web.change("/r.db", b"two")
        assert source.stamp() != first
        assert source.read() == b"two"
        assert web.asked[-1].headers["If-None-Match"] is web.asked[-1].headers["If-Modified-Since"] is None


@pytest.mark.parametrize("status", [204, 206])
def test_what_is_no_answer_with_a_file_says_nothing_of_its_validators(status: int) -> None:
    """And there is nothing to read in it."""
    with FileServer({"/r.db": b"one"}) as web:
        source = HttpSource(f"{web.url}/r.db")
        first = source.stamp()
        web.status = status
        assert source.stamp() == first
        assert refusal(source) == "the registry is empty"


def test_http_without_validators_can_only_be_read() -> None:
    with FileServer({"/r.db": b"one"}, validators=()) as web:
        source = HttpSource(f"{web.url}/r.db")
        assert source.stamp() is None
        assert source.read() == b"one"
        assert source.stamp() is None


def test_http_that_goes_wrong_says_how() -> None:
    with FileServer({"/r.db": b"one", "/empty.db": b""}) as web:
        url = web.url.replace("://", "://me:secret@")
        assert refusal(HttpSource(f"{url}/empty.db")) == "the registry is empty"
        for method in ("stamp", "read"):
            assert refusal(HttpSource(f"{url}/absent.db"), method) == "the registry cannot be read: HTTP status 404"
        web.missing = 4
        assert refusal(HttpSource(f"{url}/r.db")) == "the registry cannot be read: cut off after 3 of 7 bytes"
    assert refusal(HttpSource(f"{url}/r.db")) == "the registry cannot be read: Connection refused"
    assert refusal(HttpSource("http://no-such-host.invalid/")).startswith("the registry cannot be read: ")
