"""The ids of a request as a function of its headers. Tests with a server are in tests/system/test_trace.py."""

from __future__ import annotations

import pytest

from yummy_fast.http.trace_headers import (
    REQUEST_ID,
    SERVER_TIMING,
    TRACE_HEADERS,
    TRACEPARENT,
    TRACESTATE,
    Phases,
    Trace,
    log_fields,
    log_text,
    read_trace,
    server_timing,
)

TRACE, SPAN = b"4bf92f3577b34da6a3ce929d0e0e4736", b"00f067aa0ba902b7"
GOOD = b"00-%b-%b-01" % (TRACE, SPAN)


@pytest.mark.parametrize(
    "value", [b"a", b"!~", b"x" * 128, b'{"a":"b"}', bytes(range(0x21, 0x7F)), b"8a5e1bd2-56c5-4ff5-a5a7-9d6c24b9f9a4"]
)
def test_request_ids(value: bytes) -> None:
    assert read_trace({REQUEST_ID: value}) == Trace(value, b"", False)


@pytest.mark.parametrize(
    "value", [b"", b"x" * 129, b"a b", b"a, b", b"a\tb", b"a\r\nb", b"a\n", b"\x00", b"\x7f", "ä".encode(), b"\xe4"]
)
def test_malformed_request_ids(value: bytes) -> None:
    assert read_trace({REQUEST_ID: value}) is None


@pytest.mark.parametrize(
    "value",
    [
        GOOD,
        b"00-%b-%b-00" % (TRACE, SPAN),
        b"00-%b-%b-ff" % (TRACE, SPAN),
        b"00-%b1-%b1-00" % (b"0" * 31, b"0" * 15),
        b"01-%b-%b-01" % (TRACE, SPAN),
        b"cc-%b-%b-01-what-the-future-will-be-like" % (TRACE, SPAN),
        b"fe-%b-%b-01-" % (TRACE, SPAN),
        b"01-%b-%b-01-%b" % (TRACE, SPAN, b"x" * 72),
    ],
)
def test_traceparents(value: bytes) -> None:
    assert read_trace({TRACEPARENT: value}) == Trace(b"", value, False)


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"00",
        b"-" * 55,
        GOOD[:-1],
        GOOD[:-3],
        GOOD + b"1",
        GOOD + b"-",
        GOOD + b"-what-the-future-will-be-like",
        GOOD + b"\n",
        b" " + GOOD,
        GOOD + b", " + GOOD,
        GOOD.upper(),
        GOOD.replace(b"-", b"_"),
        GOOD.replace(b"4", b"g"),
        b"0" + GOOD,
        b"ff" + GOOD[2:],
        b"0x" + GOOD[2:],
        b"00-%b-%b-01" % (b"0" * 32, SPAN),
        b"00-%b-%b-01" % (TRACE, b"0" * 16),
        b"00-%b-%b-0x" % (TRACE, SPAN),
        b"00-%b-%b-01" % (TRACE[1:], SPAN),
        b"00-%b-%b-01" % (TRACE, SPAN + b"0"),
        b"cc-%b-%b-01.what-the-future-will-not-be-like" % (TRACE, SPAN),
        b"cc-%b-%b-01-a b" % (TRACE, SPAN),
        b"cc-%b-%b-01-%b" % (TRACE, SPAN, b"x" * 73),
        b"cc-%b-%b-01" % (b"0" * 32, SPAN),
    ],
)
def test_malformed_traceparents(value: bytes) -> None:
    """W3C Trace Context, 3.2.2 and "Versioning of traceparent"."""
    assert read_trace({TRACEPARENT: value}) is None
    assert read_trace({REQUEST_ID: b"a", TRACEPARENT: value}) == Trace(b"a", b"", False)


@pytest.mark.parametrize("value", [b"a=b", b"a=b,c@d=e,\tf=g", b"x" * 512])
def test_tracestates(value: bytes) -> None:
    """W3C Trace Context 3.3: without a valid traceparent, tracestate is ignored."""
    assert read_trace({TRACEPARENT: GOOD, TRACESTATE: value}) == Trace(b"", GOOD, False, value)
    assert read_trace({TRACESTATE: value}) is None
    assert read_trace({TRACESTATE: value, TRACEPARENT: GOOD[:-1]}) is None


@pytest.mark.parametrize("value", [b"", b"x" * 513, b"a=\n", "ä=b".encode()])
def test_malformed_tracestates(value: bytes) -> None:
    assert read_trace({TRACEPARENT: GOOD, TRACESTATE: value}) == Trace(b"", GOOD, False)


def test_server_timing_lists_phases_in_milliseconds() -> None:
    phases = [("decode", 5, 75_005), ("store", 75_005, 2_075_005)]
    assert server_timing(phases) == b"server-timing: decode;dur=0.075, store;dur=2.000\r\n"


@pytest.mark.parametrize(("value", "wanted"), [(b"1", True), (b"0", False), (b"", False), (b"true", False)])
def test_server_timing_is_asked_for_by_1(value: bytes, wanted: bool) -> None:
    assert read_trace({SERVER_TIMING: value, REQUEST_ID: b"a"}) == Trace(b"a", b"", wanted)


def test_the_ids_in_an_answer_and_in_the_log() -> None:
    both = Trace(b"a", GOOD, True)
    assert both.head_lines() == b"x-request-id: a\r\ntraceparent: " + GOOD + b"\r\n"
    assert Trace(b"", b"", True).head_lines() == b""
    assert log_fields(both) == {"request_id": "a", "traceparent": GOOD.decode()}
    assert log_text(both) == ", request_id a, traceparent " + GOOD.decode()
    assert log_fields(None) == log_fields(Trace(b"", b"", True)) == {"request_id": None, "traceparent": None}
    assert log_text(None) == log_text(Trace(b"", b"", True)) == ""


def test_the_headers_are_called_as_others_call_them() -> None:
    """W3C Trace Context 2 and 3.3; X-Request-Id as Envoy has it. In lower case, as they are compared."""
    assert {REQUEST_ID, TRACEPARENT, TRACESTATE, SERVER_TIMING} == TRACE_HEADERS
    assert sorted(TRACE_HEADERS) == [b"traceparent", b"tracestate", b"x-request-id", b"x-server-timing"]


def test_of_a_request_that_has_not_begun_nothing_is_known() -> None:
    phases = Phases()
    assert (phases.service, phases.rows, phases.features) == ("", -1, -1)
    assert (phases.took, phases.unfinished) == ((), False)
