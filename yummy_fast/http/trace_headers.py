"""What a client sends to find its request again: X-Request-Id, traceparent and tracestate, X-Server-Timing.

`read_trace` takes the first two as they are or not at all: what goes back in an answer's head and into the log is
visible ASCII of a bounded length, so it can end neither a header nor a line. Several headers of one name are none:
which of them is meant nobody knows.

Nothing is made up for who sends none, no span is begun here (see `spans`), and nothing is sent to the store. Most
requests have no Trace, and pay for this with one test.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

REQUEST_ID = b"x-request-id"
TRACEPARENT = b"traceparent"
TRACESTATE = b"tracestate"
SERVER_TIMING = b"x-server-timing"
"""Nobody has agreed on a name for this wish; the answer's Server-Timing is W3C's."""
TRACE_HEADERS = frozenset((REQUEST_ID, TRACEPARENT, TRACESTATE, SERVER_TIMING))

_is_request_id = re.compile(rb"[!-~]{1,128}").fullmatch

# W3C Trace Context 3.2.2: lower case, no id of zeros only, no version ff. Versions to come may say more behind a "-",
# and are to be taken as far as they are known ("Versioning of traceparent"); 00 says no more.
_IDS_AND_FLAGS = rb"-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}"
_is_traceparent = re.compile(
    rb"00%b|(?!00|ff)[0-9a-f]{2}%b(?:-[!-~]{0,72})?" % (_IDS_AND_FLAGS, _IDS_AND_FLAGS)
).fullmatch
_is_tracestate = re.compile(rb"[ -~\t]{1,512}").fullmatch  # 3.3.1.5: so much should be taken; no more is

Phase = tuple[str, int, int]
"""A part of the work on a request: decode, store, transform or encode, as in the metrics; its begin and its end, as
moments of time.perf_counter_ns().
"""


class Phases:
    """What became of one request: filled in by who answers it, for who follows it. Names and numbers, nothing else."""

    __slots__ = ("features", "rows", "service", "took", "unfinished")

    def __init__(self) -> None:
        self.service = ""
        """The feature service; empty for a list of features, and as long as nobody knows."""
        self.rows = -1
        """Entity rows; -1 as long as nobody knows."""
        self.features = -1
        self.took: Sequence[Phase] = ()
        self.unfinished = False
        """The last phase is the one that failed."""


class Trace(NamedTuple):
    """What one request is called, and whether its times are wanted. At least one of these is there."""

    request_id: bytes
    traceparent: bytes
    timing: bool
    tracestate: bytes = b""
    """What came with the traceparent; empty without one."""
    phases: Phases | None = None
    """To be filled in."""

    def head_lines(self) -> bytes:
        """The ids as lines of the answer's head, each with its CRLF."""
        lines = b""
        if self.request_id:
            lines = b"%b: %b\r\n" % (REQUEST_ID, self.request_id)
        if self.traceparent:
            lines += b"%b: %b\r\n" % (TRACEPARENT, self.traceparent)
        return lines


def read_trace(sent: Mapping[bytes, bytes]) -> Trace | None:
    """A Trace of the headers in TRACE_HEADERS that were sent; None if there is nothing in them to be used.

    Values of headers that came more than once are joined by ", ", which no value here but a tracestate can have in it.
    """
    request_id = sent.get(REQUEST_ID, b"")
    traceparent = sent.get(TRACEPARENT, b"")
    tracestate = sent.get(TRACESTATE, b"")  # several of these are one: W3C Trace Context 3.3.1
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
    """The ids for a line of the log, by name; None for one that was not sent."""
    if trace is None:
        return {"request_id": None, "traceparent": None}
    return {"request_id": trace.request_id.decode() or None, "traceparent": trace.traceparent.decode() or None}


def log_text(trace: Trace | None) -> str:
    """The same for people, to be put behind a line: empty, or begun with a comma."""
    return "".join(f", {name} {value}" for name, value in log_fields(trace).items() if value)


def server_timing(phases: Iterable[Phase]) -> bytes:
    """A Server-Timing line of phases, in their order. The header has milliseconds."""
    entries = (f"{name};dur={(ended - begun) / 1e6:.3f}" for name, begun, ended in phases)
    return b"server-timing: %b\r\n" % ", ".join(entries).encode()
