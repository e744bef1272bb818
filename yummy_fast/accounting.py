"""What is noted about requests for features: metrics, their phases for traces, samples of values, errors of the store.

The steps of a request (`endpoints`) write into a `Work` what they came to and when they ended. `Accounting` reads it
once, when the request has been answered or has failed. So the steps can be read without it, and it costs a request what
a few attributes cost.

It must not change an answer; the one thing that it adds is the Server-Timing line, for clients that ask for it. It
knows neither what the steps do nor the store.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import UTC, datetime
from time import perf_counter_ns

from yummy_fast.errors import (
    StoreError,
    StoreOverloadedError,
    StoreRefusedError,
    StoreTimeoutError,
    StoreUnavailableError,
    UnknownOutcomeError,
    YummyError,
)
from yummy_fast.features.binding import Bound
from yummy_fast.features.catalog import Compiled
from yummy_fast.features.plan import ComputedColumn, Rows
from yummy_fast.features.value_sampling import sample
from yummy_fast.http.http11 import CLIENT_LEFT
from yummy_fast.http.trace_headers import Phase, Phases, Trace, server_timing
from yummy_fast.telemetry.metrics import Metrics, ServiceSlots
from yummy_fast.telemetry.once_log import OnceLog

logger = logging.getLogger("yummy_fast")

LOG_PERIOD_S = 60.0
"""Each error of the online store is logged once in this time."""


class Work:
    """One request for features: what its steps have come to so far."""

    __slots__ = (
        "begun_at",
        "bound",
        "bound_at",
        "compiled",
        "computed",
        "computed_at",
        "encoded_at",
        "read_at",
        "rows",
    )

    def __init__(self) -> None:
        # The moments are those of time.perf_counter_ns(). A step that has not ended, or is not taken, has 0.
        self.begun_at = perf_counter_ns()
        self.compiled: Compiled[object] | None = None
        """None until it is known what is asked for."""
        self.bound: Bound | None = None
        self.bound_at = 0
        self.rows: Rows = ()
        self.read_at = 0
        self.computed: Sequence[ComputedColumn] = ()
        self.computed_at = 0
        self.encoded_at = 0

    @property
    def service(self) -> str:
        """The feature service that is asked for; empty for a list of features, and as long as it is not known."""
        return "" if self.compiled is None else self.compiled.plan.service


class Accounting:
    """Notes what has become of requests."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._log = OnceLog(logger, period_s=LOG_PERIOD_S)

    def answered(self, work: Work, trace: Trace | None) -> bytes:
        """Note an answer. Returns what its head has to say about it, if the client wants to know."""
        compiled, bound = work.compiled, work.bound
        assert compiled is not None, "an answer has a plan"  # noqa: S101
        assert bound is not None, "an answer has rows"  # noqa: S101
        slots = compiled.slots or self._new_slots(compiled)
        if work.computed_at:
            slots.transformed(work.computed_at - work.read_at)
        slots.answered(
            work.begun_at, work.bound_at, work.read_at, work.computed_at or work.read_at, work.encoded_at, bound.rows
        )
        if self._metrics.sampling_budget_ns > 0:
            try:
                sample(compiled.plan, bound, work.rows, slots, self._metrics, datetime.now(UTC))
            except Exception:  # the answer is made, and what samples it must not change it
                self._log.log(logging.ERROR, "an answer was not sampled, by a bug of ours", exc_info=True)
        if trace is None or not (trace.timing or trace.phases is not None):
            return b""
        phases = trace.phases or Phases()
        _fill_in(phases, work)
        return server_timing(phases.took) if trace.timing else b""

    def failed(self, work: Work, error: BaseException, trace: Trace | None) -> None:
        """Note a request that gets an error, or whose client did not wait for the answer."""
        compiled = work.compiled
        slots = self._metrics.unplanned if compiled is None else compiled.slots or self._new_slots(compiled)
        if work.computed_at:
            slots.transformed(work.computed_at - work.read_at)
        if isinstance(error, GeneratorExit):  # the connection has closed the coroutine
            slots.failed(CLIENT_LEFT)
        else:
            slots.failed(error.status if isinstance(error, YummyError) else 500)
        if isinstance(error, StoreError):
            self._count_store_error(error)
        if trace is not None and trace.phases is not None:
            _fill_in(trace.phases, work)

    def wrote(self, endpoint: str, took_ns: int) -> None:
        """Note a write that has succeeded."""
        self._metrics.wrote(endpoint, 200, took_ns)

    def write_failed(self, endpoint: str, code: int, error: BaseException | None) -> None:
        """Note a write that has failed."""
        self._metrics.wrote(endpoint, code, 0)
        if isinstance(error, StoreError):
            self._count_store_error(error)

    def pushed(self, push_source: str, mode: str) -> None:
        """Note a push that has succeeded."""
        self._metrics.pushed(push_source, mode)

    def stored(self, view: str, written: int, older: int) -> None:
        """Note what became of rows: so many were written, and so many not, because they were not newer."""
        self._metrics.stored(view, written, older)

    def _new_slots(self, compiled: Compiled[object]) -> ServiceSlots:
        """Where requests for a plan are counted. A reload makes new plans, which find the slots of the old by name."""
        plan = compiled.plan
        compiled.slots = slots = self._metrics.service(plan.service, plan.feature_count, plan.view_count)
        return slots

    def _count_store_error(self, error: StoreError) -> None:
        if isinstance(error, StoreTimeoutError | UnknownOutcomeError):
            kind = "timeout"
        elif isinstance(error, StoreOverloadedError):
            kind = "overload"
        elif isinstance(error, StoreUnavailableError):
            kind = "unavailable"
        else:
            kind = "error"
        self._metrics.store_errors[kind] += 1
        if kind == "error" or isinstance(error, StoreRefusedError):
            # Only an operator can put this right. The text names no entity, so that there are few different ones.
            self._log.log(logging.ERROR, "requests are answered %d: %s", error.status, error)


def _fill_in(phases: Phases, work: Work) -> None:
    """Tell a trace what the request was for, and how long its phases took. Of a failed one, the last has no end."""
    took: list[Phase] = [("decode", work.begun_at, work.bound_at), ("store", work.bound_at, work.read_at)]
    if work.compiled is not None:
        plan = work.compiled.plan
        phases.service, phases.features = work.service, plan.feature_count
        if plan.computed:
            took.append(("transform", work.read_at, work.computed_at))
    took.append(("encode", work.computed_at or work.read_at, work.encoded_at))
    if work.bound is not None:
        phases.rows = work.bound.rows
    if not work.encoded_at:
        phases.unfinished = True
        last = next(number for number, (_, _, ended) in enumerate(took) if not ended)
        name, begun, _ = took[last]
        took[last:] = [(name, begun, perf_counter_ns())]
    phases.took = took
