"""What is recorded about requests for features: metrics, phases for traces, samples of values, errors of the store.

The steps of a request (`endpoints`) write their results into a `Work`, and when they ended. `Accounting` reads the
`Work` once, when the request has been answered or has failed. So the steps can be understood without `Accounting`, and
recording costs a step no more than setting a few attributes.

This module must not change an answer. It adds only the Server-Timing header, for clients that ask for that. It knows
neither what the steps do nor which online store there is.
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
"""An error of the online store that is logged is logged once in this time."""


class Work:
    """One request for features: the results of its steps so far."""

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
        # Times are those of time.perf_counter_ns(); 0 for a step that has not ended or is left out.
        self.begun_at = perf_counter_ns()
        self.compiled: Compiled[object] | None = None
        """None until the plan of the request is found."""
        self.bound: Bound | None = None
        self.bound_at = 0
        self.rows: Rows = ()
        self.read_at = 0
        self.computed: Sequence[ComputedColumn] = ()
        self.computed_at = 0
        self.encoded_at = 0

    @property
    def service(self) -> str:
        """The requested feature service; empty for a list of features, and until the plan of the request is found."""
        return "" if self.compiled is None else self.compiled.plan.service


class Accounting:
    """Records the outcomes of requests."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._log = OnceLog(logger, period_s=LOG_PERIOD_S)

    def answered(self, work: Work, trace: Trace | None) -> bytes:
        """Record an answer. Returns the Server-Timing line for its head; empty unless the client asked for it."""
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
            except Exception:  # the answer is made, and sampling must not change it
                self._log.log(logging.ERROR, "an answer was not sampled, because of a server bug", exc_info=True)
        if trace is None or not (trace.timing or trace.phases is not None):
            return b""
        phases = trace.phases or Phases()
        _fill_in(phases, work)
        return server_timing(phases.took) if trace.timing else b""

    def failed(self, work: Work, error: BaseException, trace: Trace | None) -> None:
        """Record a request that gets an error, or whose client did not wait for the answer."""
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
        """The slots that count requests for a plan. After a reload, `Metrics.service` finds those of a plan like it."""
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
            # Only an operator can end these errors, except LOADING and its like. The text names no entity, so there
            # are few different texts.
            self._log.log(logging.ERROR, "requests get status %d: %s", error.status, error)


def _fill_in(phases: Phases, work: Work) -> None:
    """Write into a trace what was requested and how long phases took. The last phase of a failed request ends now."""
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
