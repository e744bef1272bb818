"""The headers by which a client follows its request: X-Request-Id, traceparent and tracestate, X-Server-Timing.

A `Trace` holds the values of these headers for one request. `read_trace` takes each value unchanged, or ignores it if
it is malformed. X-Request-Id and traceparent are copied to the head of the answer and to the log, so both must be
visible ASCII of a bounded length: such a value can end neither a header nor a log line. If one of the two comes more
than once, all its values are ignored, because nothing says which one the client means.

    x-request-id: 7f3a                                                       echoed and logged
    traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01     echoed, logged, the parent of our span
    tracestate: vendor=1                                                     passed on in the span only
    x-server-timing: 1                                                       asks for Server-Timing in the answer

No id is generated for a request without one, spans begin elsewhere (see `spans`), and nothing of this is sent to the
online store. Most requests have none of these headers: their `trace` is None, and they pay for no more than that test.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

REQUEST_ID = b"x-request-id"
TRACEPARENT = b"traceparent"
TRACESTATE = b"tracestate"
SERVER_TIMING = b"x-server-timing"
"""A name of our own: no standard has a request header that asks for Server-Timing, which is W3C's."""
TRACE_HEADERS = frozenset((REQUEST_ID, TRACEPARENT, TRACESTATE, SERVER_TIMING))

_is_request_id = re.compile(rb"[!-~]{1,128}").fullmatch

# W3C Trace Context 3.2.2: version, trace id, span id and flags in lower-case hexadecimal; no id is all zeros, and ff is
# no version. Version 00 ends there. Later versions may add "-" and more, and a parser of version 00 reads the part that
# it knows ("Versioning of traceparent"): here, if all of it is at most 128 bytes.
_IDS_AND_FLAGS = rb"-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}"
_is_traceparent = re.compile(
    rb"00%b|(?!00|ff)[0-9a-f]{2}%b(?:-[!-~]{0,72})?" % (_IDS_AND_FLAGS, _IDS_AND_FLAGS)
).fullmatch
_is_tracestate = re.compile(rb"[ -~\t]{1,512}").fullmatch  # 3.3.1.5: at least 512 characters should be passed on

Phase = tuple[str, int, int]
"""A part of the work on a request: its name (decode, store, transform or encode, as in the metrics), and its begin and
end as times of time.perf_counter_ns().
"""


class Phases:
    """What was done for one request, written by `endpoints` and read by `spans` and `server_timing`.

    It holds names and numbers only: no entity, no value.
    """

    __slots__ = ("features", "rows", "service", "took", "unfinished")

    def __init__(self) -> None:
        self.service = ""
        """The feature service; empty for a list of features, and if the request failed before it had a plan."""
        self.rows = -1
        """Entity rows; -1 if the request failed before its entities were bound to keys."""
        self.features = -1
        """Features of the plan; -1 if the request failed before it had one."""
        self.took: Sequence[Phase] = ()
        self.unfinished = False
        """Whether the last phase of `took` failed."""


class Trace(NamedTuple):
    """The well-formed values of one request's TRACE_HEADERS. One at least is there; those that are not, are empty."""

    request_id: bytes
    traceparent: bytes
    timing: bool
    """Whether the client asks for Server-Timing."""
    tracestate: bytes = b""
    """Empty without a traceparent: its entries are about the span that traceparent names."""
    phases: Phases | None = None
    """Set by `spans` if the request has a span; `endpoints` fills it in."""

    def head_lines(self) -> bytes:
        """The ids as head lines of the answer, each with its CRLF."""
        lines = b""
        if self.request_id:
            lines = b"%b: %b\r\n" % (REQUEST_ID, self.request_id)
        if self.traceparent:
            lines += b"%b: %b\r\n" % (TRACEPARENT, self.traceparent)
        return lines


def read_trace(sent: Mapping[bytes, bytes]) -> Trace | None:
    """The Trace of the TRACE_HEADERS in `sent`, by lower-case name; None if no value of them can be used.

    The caller joins the values of a header that came more than once by ", ". Only a tracestate may contain a space, so
    the joined value of any other header is malformed, and ignored.
    """
    request_id = sent.get(REQUEST_ID, b"")
    traceparent = sent.get(TRACEPARENT, b"")
    tracestate = sent.get(TRACESTATE, b"")  # the joined values are one list: W3C Trace Context 3.3.1
    if not _is_traceparent(traceparent):
        traceparent = b""
    trace = Trace(
        request_id if _is_request_id(request_id) else b"",
        traceparent,
        sent.get(SERVER_TIMING) == b"1",
        tracestate if traceparent and _is_tracestate(tracestate) else b"",
    )
    return trace if any(trace) else None


def log_fields(trace: Trace | None) -> dict[str, str | None]:
    """The ids for a JSON log line, by name; None for an id that was not sent."""
    if trace is None:
        return {"request_id": None, "traceparent": None}
    return {"request_id": trace.request_id.decode() or None, "traceparent": trace.traceparent.decode() or None}


def log_text(trace: Trace | None) -> str:
    """The ids for the end of a log line for people: ", request_id 7f3a", or nothing."""
    return "".join(f", {name} {value}" for name, value in log_fields(trace).items() if value)


def server_timing(phases: Iterable[Phase]) -> bytes:
    """The head line Server-Timing for `phases`, in their order. Its unit is milliseconds."""
    entries = (f"{name};dur={(ended - begun) / 1e6:.3f}" for name, begun, ended in phases)
    return b"server-timing: %b\r\n" % ", ".join(entries).encode()
