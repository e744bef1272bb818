"""Lines of the log, one by one. What a server writes is in tests/system/test_logs.py."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from tests.fakes import FakeLoop
from yummy_fast.errors import NotFoundError, StoreTimeoutError
from yummy_fast.http.http11 import Request, Response
from yummy_fast.http.trace_headers import Trace
from yummy_fast.telemetry import logs
from yummy_fast.telemetry.logs import MAX_PATH_CHARS, ColouredFormatter, JsonFormatter, log_sample, utc_text

REQUEST = Request(b"POST", b"/get-online-features?driver=4711", b'{"driver": 4711}', True)
RESPONSE = Response(200, b"12345", service="svc")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "1970-01-01T00:00:00.000Z"),
        (1_700_000_000.1239, "2023-11-14T22:13:20.123Z"),
        (1_700_000_000.9999, "2023-11-14T22:13:20.999Z"),
    ],
)
def test_moments_are_utc_to_the_millisecond(seconds: float, text: str) -> None:
    assert utc_text(seconds) == text


@contextlib.contextmanager
def written() -> Iterator[tuple[logging.Logger, list[dict[str, Any]]]]:
    """A logger, and what it has written as JSON when the block is left."""
    out, records = io.StringIO(), list[dict[str, Any]]()
    handler = logging.StreamHandler(out)
    handler.setFormatter(JsonFormatter())
    logger = logging.Logger("a.b")
    logger.addHandler(handler)
    yield logger, records
    records += map(json.loads, out.getvalue().splitlines())


def test_a_record_is_one_line_whatever_is_in_it() -> None:
    with written() as (logger, records):
        logger.warning("%s and\n%s", 'a "quote"', "ä\x00")
        logger.info("with fields", extra={"fields": {"path": "/a", "what": {1, 2}}})
        try:
            raise ValueError("two\nlines")
        except ValueError:
            logger.exception("went wrong")
    plain, fields, failed = records
    assert set(plain) == {"time", "level", "logger", "message"}
    assert (plain["level"], plain["logger"], plain["message"]) == ("WARNING", "a.b", 'a "quote" and\nä\x00')
    assert (fields["path"], fields["what"]) == ("/a", "{1, 2}"), "what JSON has no form for is written as text"
    assert failed["exception"].startswith("Traceback (most recent call last):\n")
    assert failed["exception"].endswith("ValueError: two\nlines")


@pytest.mark.parametrize("form", ["text", "json"])
def test_what_is_logged_goes_to_standard_error_from_its_level_on(form: str) -> None:
    """Warnings of Python's too, so that every line has the form."""
    program = (
        "import logging, warnings\nfrom yummy_fast.telemetry.logs import set_up_logging\n"
        f"set_up_logging('warning', '{form}')\nlogging.getLogger('x').info('not this')\n"
        "logging.getLogger('x').warning('but this')\nwarnings.warn('and that')\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=20, check=True)
    lines = done.stderr.splitlines()
    assert done.stdout == ""
    if form == "text":
        assert lines[0].endswith(" WARNING but this")
        assert "and that" in lines[1]
    else:
        assert [json.loads(line)["logger"] for line in lines] == ["x", "py.warnings"]


@pytest.mark.parametrize(("form", "formatter"), [("text", logging.Formatter), ("json", JsonFormatter)])
def test_the_root_gets_one_handler_of_the_form(
    form: str, formatter: type[logging.Formatter], monkeypatch: pytest.MonkeyPatch
) -> None:
    root = logging.RootLogger(logging.NOTSET)
    captured: list[bool] = []
    monkeypatch.setattr(logging, "root", root)
    monkeypatch.setattr(logging, "captureWarnings", captured.append)
    logs.set_up_logging("debug", form)
    (handler,) = root.handlers
    assert type(handler.formatter) is formatter
    assert root.level == logging.DEBUG
    assert captured == [True], "warnings of Python have the form too"


# ------------------------------------------------------------------------------------------------------ the access log


@pytest.fixture
def entries(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The fields of what the access log says, as it comes. By its clock, each request takes 1.5 ms."""
    caplog.set_level(logging.INFO, "yummy_fast.access")
    now = iter(0.0015 * tick for tick in range(1000))
    monkeypatch.setattr(logs.time, "perf_counter", lambda: next(now))  # type: ignore[attr-defined]
    found: list[dict[str, Any]] = []
    monkeypatch.setattr(
        logs.logger, "handle", lambda record: found.append({**record.fields, "text": record.getMessage()})
    )
    return found


def played(outcome: object, request: Request = REQUEST) -> object:
    """What comes of a request that ends at once, waits first (a coroutine), or raises."""

    def handle(_: Request) -> Any:
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    coroutine = log_sample(handle, 1.0)(request)
    assert not isinstance(coroutine, Response)
    try:
        coroutine.send(None)
    except StopIteration as done:
        return done.value
    except Exception as error:
        return error
    raise AssertionError("it waits")


async def later(outcome: Response | Exception) -> Response:
    if isinstance(outcome, Exception):
        raise outcome
    return outcome


def test_an_answer(entries: list[dict[str, Any]]) -> None:
    trace = Trace(b"mine", b"", False)
    assert played(RESPONSE) is RESPONSE
    assert played(later(RESPONSE), REQUEST._replace(trace=trace)) is RESPONSE
    assert played(Response(404), REQUEST._replace(method=b"GET", url=b"/a")) == Response(404)
    assert entries[0] == {
        "method": "POST",
        "path": "/get-online-features",
        "status": 200,
        "bytes": 5,
        "duration_ms": 1.5,
        "feature_service": "svc",
        "request_id": None,
        "traceparent": None,
        "text": "POST /get-online-features 200, 5 bytes in 1.500 ms, svc",
    }
    assert entries[1]["text"] == "POST /get-online-features 200, 5 bytes in 1.500 ms, svc, request_id mine"
    assert entries[2]["text"] == "GET /a 404, 0 bytes in 1.500 ms"
    assert entries[2]["feature_service"] is None
    assert "4711" not in repr(entries)


@pytest.mark.parametrize(
    ("error", "status", "size"),
    [
        (NotFoundError("FeatureViewNotFoundException", "no view"), 404, None),
        (StoreTimeoutError("late"), 504, 6),
        (KeyError("a bug"), 500, 0),
    ],
)
@pytest.mark.parametrize("waits", [False, True])
def test_what_goes_wrong_is_logged_and_goes_on(
    entries: list[dict[str, Any]], error: Exception, status: int, size: int | None, waits: bool
) -> None:
    assert played(later(error) if waits else error) is error
    assert (entries[0]["status"], entries[0]["feature_service"]) == (status, None)
    if size is not None:
        assert entries[0]["bytes"] == size
    else:
        assert entries[0]["bytes"] > 0


def test_a_client_that_leaves_is_a_499(entries: list[dict[str, Any]]) -> None:
    loop = FakeLoop()
    waits: asyncio.Future[Response] = loop.create_future()

    async def wait(_: Request) -> Response:
        return await waits

    coroutine = log_sample(wait, 1.0)(REQUEST)
    assert not isinstance(coroutine, Response)
    coroutine.send(None)
    coroutine.close()
    assert [(entry["status"], entry["bytes"]) for entry in entries] == [(499, 0)]


def test_what_a_client_makes_up_can_end_no_line(entries: list[dict[str, Any]]) -> None:
    played(RESPONSE, REQUEST._replace(method=b"G\xe4T", url=b"/\xff\n" + b"a" * 1000))
    assert entries[0]["method"] == "G\\xe4T"
    assert entries[0]["path"] == "/\\xff\n" + "a" * (MAX_PATH_CHARS - 3)
    assert MAX_PATH_CHARS == 200


@pytest.mark.parametrize(("share", "drawn", "logged"), [(0.3, 0.3, False), (0.3, 0.29, True), (0.0, 0.0, False)])
def test_a_share_is_drawn(monkeypatch: pytest.MonkeyPatch, share: float, drawn: float, logged: bool) -> None:
    monkeypatch.setattr(logs.random, "random", lambda: drawn)  # type: ignore[attr-defined]
    answer = log_sample(lambda _: RESPONSE, share)(REQUEST)
    assert (answer is RESPONSE) is not logged, "a request that is not drawn costs no coroutine"
    if logged:
        assert not isinstance(answer, Response)
        answer.close()


@pytest.mark.parametrize(
    ("level", "colour"), [(logging.INFO, 2), (logging.WARNING, 33), (logging.ERROR, 31), (logging.CRITICAL, 31)]
)
def test_colours_of_levels(level: int, colour: int) -> None:
    """SGR's red, yellow and faint: ECMA-48, 8.3.117."""
    record = logging.LogRecord("yummy_fast", level, "", 0, "hello %s", ("you",), None)
    assert ColouredFormatter("%(message)s").format(record) == f"\x1b[{colour}mhello you\x1b[0m"


@pytest.mark.parametrize(("status", "colour"), [(101, 32), (200, 32), (302, 36), (404, 33), (503, 31), (600, 31)])
def test_colours_of_answers(status: int, colour: int) -> None:
    record = logging.LogRecord("yummy_fast.access", logging.INFO, "", 0, "line", (), None)
    record.fields = {"status": status}
    assert ColouredFormatter("%(message)s").format(record) == f"\x1b[{colour}mline\x1b[0m"
