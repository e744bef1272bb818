"""On-demand feature views: users' functions, applied to what was read and to what the request brought.

Feast keeps such a function in the registry twice, as a dill pickle and as its source. It is loaded when a catalog is
compiled. That runs code from the registry, as `feast serve` does; without the extra `transforms` nothing is loaded.
The pickle comes first, because it holds what the function uses of its module. If it cannot be loaded, or was made by
another version of Python, the source is executed, as Feast does with all functions
(feast/transformation/udf_rehydrate.py). If that does not work either, requests for the view are refused with a message
that is also logged; other views are served. Functions run in threads, never on the event loop, and one that raises
fails only its own request.

What a function sees and what becomes of its result are Feast's rules (feast/utils.py
_augment_response_with_on_demand_transforms, Feast 0.67.0), with two differences: in python mode its columns survive
full_feature_names, and it sees the features of the sources that it declared, whatever else is asked for.

`plan` says what to compute, `python_values` converts single values, `vectors` writes the columns. This file knows
neither stores nor HTTP.
"""

from __future__ import annotations
import __future__

import ast
import asyncio
import builtins
import dis
import importlib
import io
import logging
import opcode
import textwrap
import uuid
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from functools import partial
from time import perf_counter_ns
from types import CodeType
from typing import Any, TypeVar, cast

from yummy_fast.errors import (
    CorruptValueError,
    LimitError,
    RequestError,
    ShutdownRequested,
    TransformError,
    ViewUnavailableError,
    how_to_install,
)
from yummy_fast.feast_format.registry import OnDemandFeatureView
from yummy_fast.feast_format.values import ValueType
from yummy_fast.features.binding import Bound
from yummy_fast.features.entities import shown
from yummy_fast.features.plan import ComputedColumn, ComputedView, Plan, Rows
from yummy_fast.features.python_values import UserFunction, json_values, python_value, utc_datetime
from yummy_fast.features.write_query import WriteQuery

logger = logging.getLogger("yummy_fast")

THREADS = 4
"""Functions that run at the same time. They hold the GIL most of the time, so more threads would only add switching."""
MAX_WAITING = 100
"""Requests that wait for one of the threads, as many as Tomcat's acceptCount."""

Computed = asyncio.Future[list[ComputedColumn]]
T = TypeVar("T")


# -------------------------------------------------------------------------------------------------------------- loading


def load(view: OnDemandFeatureView) -> UserFunction:
    """Load the view's function. Raises ViewUnavailableError with a message that names the view."""

    def unavailable(reason: str) -> ViewUnavailableError:
        return ViewUnavailableError(f"On-demand feature view '{view.name}' cannot be served: {reason}")

    if view.aggregates:
        raise unavailable("aggregations are not computed at request time")
    if view.mode not in ("python", "pandas"):
        raise unavailable(f"its mode is {view.mode!r}; expected python or pandas")
    try:
        import dill  # noqa: F401

        if view.mode == "pandas":
            import pandas  # noqa: F401  # if it is not installed, say so now and not at the first request
            import pyarrow  # noqa: F401
    except ImportError as error:
        raise unavailable(f"{error.name} is not installed: {how_to_install('transforms')}") from None
    function = _pickled_function(view)
    if not isinstance(function, str):
        return function
    executed = _executed_function(view)
    if executed is None:
        raise unavailable(function)
    logger.debug("on-demand feature view %s: its source serves, for %s", view.name, function)
    return executed


def _pickled_function(view: OnDemandFeatureView) -> UserFunction | str:
    """The function that the view's pickle holds, or why there is none."""
    import dill

    unpickler = dill.Unpickler(io.BytesIO(view.function))  # noqa: S301  # the registry is trusted, as Feast trusts it
    unpickler.find_class = _refusing_foreign_code(unpickler.find_class)
    try:
        function = unpickler.load()
    except _ForeignCodeError:
        return "its function was pickled by another version of Python; run `feast apply` with this one"
    except ModuleNotFoundError as error:
        return f"its function needs the module {error.name!r}, which is not installed"
    except (Exception, SystemExit) as error:  # what it imports may be a script
        if isinstance(error, ShutdownRequested):
            raise
        return f"its function does not unpickle here ({type(error).__name__})"
    finally:
        del unpickler.find_class  # no cycles: it holds the unpickler (see "No cycles" in docs/architecture.md)
    if not callable(function):
        return "what the registry holds is no function"
    checked: UserFunction = function
    return checked


_SEEDED: Mapping[str, str] = {"pd": "pandas", "pandas": "pandas", "np": "numpy", "numpy": "numpy"}
"""Modules that Feast lets the source of a function use without an import, by the names that it uses."""


def _executed_function(view: OnDemandFeatureView) -> UserFunction | None:
    """The function that the view's source defines; None if it defines none, or one that uses names which are missing.

    The source is that of the function alone: imports and helpers of its module are not in it. Feast finds out when the
    function is called, and answers 500.
    """
    try:
        tree = ast.parse(textwrap.dedent(view.source))
        defined = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
        for definition in defined:
            definition.decorator_list.clear()  # Feast's own, which made the view
        named = [definition.name for definition in defined]
        used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
        names: dict[str, Any] = {"__name__": "feast_udf_rehydrate"}
        names |= {name: importlib.import_module(module) for name, module in _SEEDED.items() if name in used}
        # Annotations are not evaluated, since they may name what only the module has.
        flags = __future__.annotations.compiler_flag
        exec(compile(tree, f"<on-demand feature view {view.name}>", "exec", flags, dont_inherit=True), names)  # noqa: S102
        function = names[view.function_name if view.function_name in named else named[0]]
    except (Exception, SystemExit) as error:
        if isinstance(error, ShutdownRequested):
            raise
        return None
    needed = _global_names(function.__code__)
    if not needed <= names.keys() | vars(builtins).keys():
        return None
    if function.__name__ not in needed:
        del names[function.__name__]  # no cycles: a function holds the names that it was defined among
    return cast("UserFunction", function)


def _global_names(code: CodeType) -> set[str]:
    """The global names that a function reads, and the functions inside it."""
    names = {one.argval for one in dis.get_instructions(code) if one.opname in ("LOAD_GLOBAL", "LOAD_NAME")}
    inner = [_global_names(constant) for constant in code.co_consts if isinstance(constant, CodeType)]
    return names.union(*inner)


class _ForeignCodeError(Exception):
    """A pickle holds bytecode of another version of Python."""


def _refusing_foreign_code(find_class: Callable[[str, str], Any]) -> Callable[[str, str], Any]:
    """An unpickler's `find_class` that checks bytecode before a code object is made of it.

    All code in a pickle passes through here, also that of nested functions and of what a decorator or a closure holds.
    A check of the loaded function would come too late: its `co_code` is not what the pickle held, and in CPython 3.11
    reading it can write past its end.
    """

    def find(module: str, name: str) -> Any:
        found = find_class(module, name)
        if name != "_create_code":
            return found

        def create_code(*arguments: Any) -> Any:
            # The first argument is an integer or, in some versions, a table of line numbers. Of the others, the first
            # that is bytes is the bytecode.
            if any(is_foreign(part) for part in [part for part in arguments[1:] if isinstance(part, bytes)][:1]):
                raise _ForeignCodeError
            return found(*arguments)

        return create_code

    return find


def is_foreign(instructions: bytes) -> bool:
    """Whether bytecode was compiled by another version of Python than this one: to run it could crash the process.

    A pickle does not say which version has written it. But every minor version has opcodes of its own: RESUME, which
    all code has since 3.11, has another number in 3.13 and 3.14. So have the instructions that are followed by cache
    entries, which are zero in code that has never run. In 3.11, `lambda x: x + 1` is

        97 00    RESUME
        7c 00    LOAD_FAST x
        64 01    LOAD_CONST 1
        7a 00    BINARY_OP +
        00 00    a cache entry of BINARY_OP
        53 00    RETURN_VALUE

    This walks through the instructions as the running version would. Code of another version is found by an opcode that
    does not exist, by a cache entry that is not zero, by an end within an instruction, or by a RESUME that is missing.
    Code that is the same in two versions runs in both.
    """
    caches: Any = getattr(opcode, "_inline_cache_entries", ())
    offset, has_resume = 0, False
    while offset < len(instructions):
        operation = instructions[offset]
        name = opcode.opname[operation]
        if name == "CACHE" or name.startswith("<"):
            return True
        has_resume = has_resume or name == "RESUME"
        entries = caches.get(name, 0) if isinstance(caches, Mapping) else caches[operation] if caches else 0
        offset += 2
        if any(instructions[offset : offset + 2 * entries]):
            return True
        offset += 2 * entries
    return not has_resume or offset > len(instructions)


# ------------------------------------------------------------------------------------------------------------ computing


class Transforms:
    """Runs the functions of a server's on-demand views, THREADS at a time. Used in the thread of the event loop.

    The queue is our own, because a ThreadPoolExecutor keeps what was cancelled, with its rows, until a thread is free.
    """

    def __init__(self, calls: deque[tuple[str, str, int]] | None = None) -> None:
        """`calls` gets the view's name, its mode and the nanoseconds of each call of a function."""
        self._calls: deque[tuple[str, str, int]] = deque(maxlen=1) if calls is None else calls
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="on-demand")
        self._running = 0
        self._waiting: dict[asyncio.Future[Any], Callable[[], Any]] = {}
        """In the order in which they came."""

    def compute(self, plan: Plan, bound: Bound, rows: Rows) -> Computed:
        """The columns of all on-demand views of a plan. The Future gets them, or a TransformError.

        Who cancels it before its functions have begun takes it out of the queue. Raises LimitError if that is full.
        """
        return self._run(partial(compute, plan, bound, rows, self._calls))

    def compute_written(
        self, view: OnDemandFeatureView, function: UserFunction, join_keys: Sequence[str], query: WriteQuery
    ) -> asyncio.Future[WriteQuery]:
        """What an on-demand view writes. The Future gets it, or a TransformError. As `compute`."""
        return self._run(partial(compute_written, view, function, join_keys, query, self._calls))

    def _run(self, call: Callable[[], T]) -> asyncio.Future[T]:
        if self._running >= THREADS and len(self._waiting) >= MAX_WAITING:
            raise LimitError(503, f"Service Unavailable: {MAX_WAITING} requests wait for on-demand feature views")
        outcome: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        if self._running < THREADS:
            self._begin(outcome, call)
        else:
            self._waiting[outcome] = call
            outcome.add_done_callback(self._leave)
        return outcome

    def _leave(self, outcome: asyncio.Future[Any]) -> None:
        self._waiting.pop(outcome, None)

    def _begin(self, outcome: asyncio.Future[Any], call: Callable[[], Any]) -> None:
        self._running += 1
        running = asyncio.get_running_loop().run_in_executor(self._threads, call)
        running.add_done_callback(partial(self._end, outcome))

    def _end(self, outcome: asyncio.Future[Any], running: asyncio.Future[Any]) -> None:
        self._running -= 1
        if running.cancelled():  # by `close`, before its thread has begun
            outcome.cancel()
        elif (error := running.exception()) is None:
            if not outcome.done():
                outcome.set_result(running.result())
        elif not outcome.done():
            outcome.set_exception(error)
        while self._waiting and self._running < THREADS:
            following = next(iter(self._waiting))
            asked = self._waiting.pop(following)
            if not following.done():
                self._begin(following, asked)

    def close(self) -> None:
        """Begin no more functions."""
        for outcome in list(self._waiting):
            outcome.cancel()
        self._waiting.clear()
        self._threads.shutdown(wait=False, cancel_futures=True)


def compute(
    plan: Plan, bound: Bound, rows: Rows, calls: deque[tuple[str, str, int]] | None = None
) -> list[ComputedColumn]:
    """As `Transforms.compute`, in this thread."""
    columns: list[ComputedColumn] = []
    for computed in plan.computed:
        inputs = _inputs(plan, computed, bound, rows)
        begun = perf_counter_ns()
        try:
            if computed.view.mode == "pandas":
                outputs = _run_pandas(computed, inputs)
            elif computed.view.singleton:
                outputs = _run_singleton(computed, inputs, bound.rows, strict=plan.strict)
            else:
                outputs = {**inputs, **computed.function(dict(inputs))}
            types = {field.name: field.type for field in computed.view.features}
            for feature, name in computed.outputs:
                values = _output(computed, outputs, feature)
                listed = values if isinstance(values, list) else [values]
                if plan.strict and len(listed) != bound.rows:
                    if values is listed:
                        raise ValueError(f"{len(listed)} values of {feature} for {bound.rows} rows")
                    listed *= bound.rows  # one value for all rows
                columns.append(ComputedColumn(name, json_values(listed, types[feature], exact=plan.strict)))
        except BaseException as error:  # also SystemExit: sys.exit() in a function must not end the server
            mistake = _mistyped(computed.view, bound)
            if mistake is not None:
                raise mistake from None
            logger.exception("on-demand feature view %s failed", computed.view.name)
            raise TransformError(
                f"On-demand feature view '{computed.view.name}' failed: {type(error).__name__}"
            ) from None
        finally:
            if calls is not None:
                calls.append((computed.view.name, computed.view.mode, perf_counter_ns() - begun))
    return columns


_TAKEN: Mapping[ValueType, tuple[tuple[type, ...], str]] = {
    **dict.fromkeys((ValueType.INT32, ValueType.INT64), ((int, float), "an integer")),
    **dict.fromkeys((ValueType.FLOAT, ValueType.DOUBLE), ((int, float), "a number")),
    ValueType.BOOL: ((int, float), "true or false"),
    ValueType.STRING: ((str,), "text"),
}
"""Declared type -> what Python may hold it as, and words for it. A float for an integer is no reason to fail."""


def _mistyped(view: OnDemandFeatureView, bound: Bound) -> RequestError | None:
    """The caller's mistake, if a function that failed was given request data of another type than is declared.

    Feast hands on to a function what has come, whatever is declared, so nothing is refused that a function can use. But
    of one that fails it answers 500, which clients ask again.
    """
    for field in view.request_data:
        taken, words = _TAKEN.get(field.type, ((object,), ""))
        for row, value in enumerate(bound.values.get(field.name, ())):
            if value is not None and not isinstance(value, taken):
                return RequestError(
                    f"entities.{field.name}[{row}]: expected {words}, which on-demand feature view '{view.name}' "
                    f"declares, got {shown(value)}"
                )
    return None


def compute_written(
    view: OnDemandFeatureView,
    function: UserFunction,
    join_keys: Sequence[str],
    query: WriteQuery,
    calls: deque[tuple[str, str, int]] | None = None,
) -> WriteQuery:
    """What an on-demand view writes: the columns that came, and those that its function makes of them.

    Feast's rules (FeatureStore._transform_on_demand_feature_view_df), without pandas but in pandas mode. A function may
    return other rows than it got, such as the pieces of a text: then the columns that came are joined by the join keys.
    """
    given = {
        name: column if isinstance(column, list) else [column] * query.rows for name, column in query.columns.items()
    }
    begun = perf_counter_ns()
    try:
        if view.mode == "pandas":
            made = _written_by_pandas(function, given)
        elif view.singleton:
            made = _written_by_rows(function, given, query.rows)
        else:
            made = dict(function({name: list(column) for name, column in given.items()}))
        columns = {name: [_for_json(value) for value in column] for name, column in made.items()}
        rows = len(next(iter(columns.values()), ()))
        if rows == query.rows:
            columns = {**given, **columns}
        else:
            columns, rows = _joined(columns, rows, given, [key for key in join_keys if key in given])
        if any(len(column) != rows for column in columns.values()):
            raise ValueError("the columns that the function returned differ in length")
    except BaseException as error:  # also SystemExit: sys.exit() in a function must not end the server
        logger.exception("on-demand feature view %s failed", view.name)
        raise TransformError(f"On-demand feature view '{view.name}' failed: {type(error).__name__}") from None
    finally:
        if calls is not None:
            calls.append((view.name, view.mode, perf_counter_ns() - begun))
    return query._replace(columns=columns, rows=rows)


def _written_by_pandas(function: UserFunction, given: Mapping[str, list[Any]]) -> dict[str, list[Any]]:
    import pandas

    frame = pandas.DataFrame(given)
    made = function(frame)
    for name in frame.columns:
        made[name] = frame[name]
    return {str(name): list(made[name]) for name in made.columns}


def _written_by_rows(function: UserFunction, given: Mapping[str, list[Any]], rows: int) -> dict[str, list[Any]]:
    """A singleton's function gets one row at a time."""
    made: dict[str, list[Any]] = {}
    for row in range(rows):
        for name, value in function({name: column[row] for name, column in given.items()}).items():
            made.setdefault(name, []).extend(value if isinstance(value, list) else [value])
    return made


def _joined(
    made: Mapping[str, list[Any]], rows: int, given: Mapping[str, list[Any]], join_keys: Sequence[str]
) -> tuple[dict[str, list[Any]], int]:
    """Each row that was made, with every row that was given of the same join keys: pandas.merge(how="left")."""
    found: dict[tuple[Any, ...], list[int]] = {}
    for number, key in enumerate(zip(*(given[name] for name in join_keys), strict=True)):
        found.setdefault(key, []).append(number)
    pairs = [
        (row, number) for row in range(rows) for number in found.get(tuple(made[name][row] for name in join_keys), [-1])
    ]
    columns = {name: [column[row] for row, _ in pairs] for name, column in made.items()}
    for name, column in given.items():
        if name not in columns:
            columns[name] = [None if number < 0 else column[number] for _, number in pairs]
    return columns, len(pairs)


def _for_json(value: Any) -> Any:
    """A value that a function has returned, as a push would bring it."""
    if hasattr(value, "dtype") and hasattr(value, "tolist"):
        value = value.astype("datetime64[us]").tolist() if value.dtype.kind == "M" else value.tolist()
    if isinstance(value, float | str | int | bytes) or value is None:
        return value
    if isinstance(value, Mapping):
        return {str(key): _for_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_for_json(item) for item in value]
    if value != value:  # NaT
        return None
    return value.isoformat() if isinstance(value, datetime) else str(value)


def _inputs(plan: Plan, computed: ComputedView, bound: Bound, rows: Rows) -> dict[str, list[Any]]:
    """What a function sees: join keys, request data, and each source feature under its short and its full name."""
    inputs: dict[str, list[Any]] = {}
    binding = bound.binding
    for answered_name, name, value_type in (
        *((name, name, plan.types.get(name, ValueType.UNKNOWN)) for name in binding.request_data),
        *binding.answered,
    ):
        values = bound.values[name]
        if value_type is ValueType.UNIX_TIMESTAMP:
            values = [None if value is None else utc_datetime(value) for value in values]
        inputs[answered_name] = list(values)
    for full_name, lookup, position in computed.inputs:
        each = bound.spread(lookup, rows[lookup])
        value_type = plan.lookups[lookup].features[position].type
        try:
            # Rows of the same entity get values of their own, since a function may change lists and maps.
            values = [python_value(row[position], value_type) for row in each]
        except CorruptValueError as error:
            raise CorruptValueError(f"{full_name.replace('__', ':', 1)}: the online store holds {error}") from None
        inputs[full_name] = inputs[full_name.partition("__")[2]] = values
    return inputs


def _output(computed: ComputedView, outputs: Mapping[str, Any], feature: str) -> Any:
    """What a function has returned for a feature: it may name its results by the feature alone or with the view."""
    for key in (feature, f"{computed.view.name}__{feature}"):
        if key in outputs:
            return outputs[key]
    raise KeyError(f"the function returned no {feature}")


def _run_singleton(
    computed: ComputedView, inputs: Mapping[str, list[Any]], rows: int, *, strict: bool
) -> Mapping[str, Any]:
    """A function that takes one row: for each row, or for the first alone (see `Catalog._per_row`)."""
    called = [
        {**row, **computed.function(dict(row))}
        for row in (
            {name: values[number] for name, values in inputs.items()}
            for number in range(rows if computed.per_row else min(rows, 1))
        )
    ]
    types = {field.name: field.type for field in computed.view.features}
    outputs: dict[str, Any] = {}
    for feature, _ in computed.outputs:
        values = [_output(computed, row, feature) for row in called]
        is_collection = types[feature].name.endswith(("_LIST", "_SET"))
        unwrapped = [_unwrapped(value, is_collection) for value in values]
        if len(values) == 1 and not is_collection and isinstance(values[0], list) and not strict:
            unwrapped = values[0]  # to Feast a list is a column, however long it is
        outputs[feature] = unwrapped
    return outputs


def _unwrapped(value: Any, is_collection: bool) -> Any:
    """What a function that takes one row has returned: Feast's functions may put it into a list of one, as a column."""
    if isinstance(value, list) and len(value) == 1:
        item = value[0]
        if not is_collection or item is None or isinstance(item, list | set | tuple):
            return item
    return value


def _run_pandas(computed: ComputedView, inputs: dict[str, list[Any]]) -> Mapping[str, Any]:
    import pyarrow

    arrow = {name: [_for_arrow(value) for value in values] for name, values in inputs.items()}
    # Through Arrow in both directions, as in Feast: Arrow decides which type a column with a null has.
    frame = computed.function(pyarrow.Table.from_pydict(arrow).to_pandas())
    table = pyarrow.Table.from_pandas(frame)
    return {name: list(table[name].to_numpy()) for name in table.column_names}


def _for_arrow(value: Any) -> Any:
    """A value that Arrow can hold: it has neither UUIDs nor sets."""
    if isinstance(value, uuid.UUID):
        return str(value)
    if isinstance(value, set | list):
        return [_for_arrow(item) for item in value]
    return value
