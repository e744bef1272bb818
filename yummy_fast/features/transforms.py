"""On-demand feature views: functions of the user's, over what was read and what the request brought.

Feast keeps such a function in the registry twice: as a dill pickle, and as its source. It is loaded when a catalog is
compiled, which runs code from the registry, as `feast serve` does; without the extra `transforms` nothing is loaded.
The pickle goes first, because it holds what the function uses of its module. Where it cannot be loaded, or is of
another Python, the source is executed, as Feast does with all of them (feast/transformation/udf_rehydrate.py). A
function that neither gives is a message for whoever asks for its view, and for the log; other views are not touched.
Functions run in threads, never on the event loop, and one that raises fails its own request only.

What a function sees and what becomes of its result are Feast's rules (feast/utils.py
_augment_response_with_on_demand_transforms, Feast 0.67.0), with two differences: its columns survive full_feature_names
in python mode, and it sees the features of the sources it declared, whatever else was asked.

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
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter_ns
from types import CodeType
from typing import Any, cast

from yummy_fast.errors import CorruptValueError, ShutdownRequested, TransformError, ViewUnavailableError
from yummy_fast.feast_format.registry import OnDemandFeatureView
from yummy_fast.feast_format.values import ValueType
from yummy_fast.features.binding import Bound
from yummy_fast.features.plan import ComputedColumn, ComputedView, Plan, Rows
from yummy_fast.features.python_values import UserFunction, json_values, python_value, utc_datetime

logger = logging.getLogger("yummy_fast")

THREADS = 4
"""Functions that run at a time. They hold the GIL for most of it, so more would only add switching."""


# -------------------------------------------------------------------------------------------------------------- loading


def load(view: OnDemandFeatureView) -> UserFunction:
    """The view's function. Raises ViewUnavailableError with a message that names the view."""

    def unavailable(reason: str) -> ViewUnavailableError:
        return ViewUnavailableError(f"On-demand feature view '{view.name}' cannot be served: {reason}")

    if view.aggregates:
        raise unavailable("aggregations are not computed at request time")
    if view.mode not in ("python", "pandas"):
        raise unavailable(f"its mode is {view.mode!r}; expected python or pandas")
    try:
        import dill  # noqa: F401

        if view.mode == "pandas":
            import pandas  # noqa: F401  # its absence is better told now than by the first request
            import pyarrow  # noqa: F401
    except ImportError as error:
        raise unavailable(f"{error.name} is not installed; try: pip install 'yummy-fast[transforms]'") from None
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
        del unpickler.find_class  # which holds the unpickler, and that all that was read
    if not callable(function):
        return "what the registry holds is no function"
    checked: UserFunction = function
    return checked


_SEEDED = {"pd": "pandas", "pandas": "pandas", "np": "numpy", "numpy": "numpy"}
"""What Feast lets the source of a function use without importing it."""


def _executed_function(view: OnDemandFeatureView) -> UserFunction | None:
    """The function that the view's source defines; None if it defines none, or one that needs more than is there.

    Names of its module, such as its imports and helpers, are not in the source. Feast finds that out when the function
    is called (500).
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
        # Annotations are not evaluated: what they name may be of the module.
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
        del names[function.__name__]  # else it would hold itself: each reload would leave it behind
    return cast("UserFunction", function)


def _global_names(code: CodeType) -> set[str]:
    """The global names that a function reads, and those inside of it."""
    names = {one.argval for one in dis.get_instructions(code) if one.opname in ("LOAD_GLOBAL", "LOAD_NAME")}
    inner = [_global_names(constant) for constant in code.co_consts if isinstance(constant, CodeType)]
    return names.union(*inner)


class _ForeignCodeError(Exception):
    """A pickle holds bytecode of another Python."""


def _refusing_foreign_code(find_class: Callable[[str, str], Any]) -> Callable[[str, str], Any]:
    """An unpickler's `find_class` that looks at bytecode before there is a code object of it.

    All code of a pickle passes here: that of nested functions, and of what a decorator or a closure holds. Afterwards
    it would be too late: `co_code` is not what the pickle held, and reading it can write past its end (CPython 3.11).
    """

    def find(module: str, name: str) -> Any:
        found = find_class(module, name)
        if name != "_create_code":
            return found

        def create_code(*arguments: Any) -> Any:
            # The first is an integer or, by some versions, a table of line numbers; then the bytecode is what is bytes.
            if any(is_foreign(part) for part in [part for part in arguments[1:] if isinstance(part, bytes)][:1]):
                raise _ForeignCodeError
            return found(*arguments)

        return create_code

    return find


def is_foreign(instructions: bytes) -> bool:
    """Whether bytecode is of another Python than this one: running it could crash the process.

    A pickle does not say what wrote it. But opcodes come and go with every minor version (RESUME, which all code has
    since 3.11, is another number in 3.13 and 3.14), and so do the cache entries after an instruction, which are zero in
    code that has never run. Code that is the same in two versions is at home in both.
    """
    caches: Any = getattr(opcode, "_inline_cache_entries", ())
    place, resumes = 0, False
    while place < len(instructions):
        operation = instructions[place]
        name = opcode.opname[operation]
        if name == "CACHE" or name.startswith("<"):
            return True
        resumes = resumes or name == "RESUME"
        entries = caches.get(name, 0) if isinstance(caches, Mapping) else caches[operation] if caches else 0
        place += 2
        if any(instructions[place : place + 2 * entries]):
            return True
        place += 2 * entries
    return not resumes or place > len(instructions)


# ------------------------------------------------------------------------------------------------------------ computing


class Transforms:
    """Runs the functions of a server's on-demand views."""

    def __init__(self, calls: deque[tuple[str, str, int]] | None = None) -> None:
        """`calls` gets name, mode and nanoseconds of each function that was run."""
        self._calls: deque[tuple[str, str, int]] = deque(maxlen=1) if calls is None else calls
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="on-demand")

    def compute(self, plan: Plan, bound: Bound, rows: Rows) -> asyncio.Future[list[ComputedColumn]]:
        """The columns of all on-demand views of a plan. The Future gets them, or a TransformError."""
        return asyncio.get_running_loop().run_in_executor(self._threads, compute, plan, bound, rows, self._calls)

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)


def compute(
    plan: Plan, bound: Bound, rows: Rows, calls: deque[tuple[str, str, int]] | None = None
) -> list[ComputedColumn]:
    """As `Transforms.compute`, here and now."""
    columns: list[ComputedColumn] = []
    for computed in plan.computed:
        inputs = _inputs(plan, computed, bound, rows)
        begun = perf_counter_ns()
        try:
            outputs = _run_pandas(computed, inputs) if computed.view.mode == "pandas" else _run_python(computed, inputs)
            types = {field.name: field.type for field in computed.view.features}
            for feature, name in computed.outputs:
                # A function may call its results by either name.
                for key in (feature, f"{computed.view.name}__{feature}"):
                    if key in outputs:
                        values = outputs[key]
                        break
                else:
                    raise KeyError(f"the function returned no {feature}")
                listed = values if isinstance(values, list) else [values]
                columns.append(ComputedColumn(name, json_values(listed, types[feature])))
        except BaseException as error:  # sys.exit() in a function must not end the server
            logger.exception("on-demand feature view %s failed", computed.view.name)
            raise TransformError(
                f"On-demand feature view '{computed.view.name}' failed: {type(error).__name__}"
            ) from None
        finally:
            if calls is not None:
                calls.append((computed.view.name, computed.view.mode, perf_counter_ns() - begun))
    return columns


def _inputs(plan: Plan, computed: ComputedView, bound: Bound, rows: Rows) -> dict[str, list[Any]]:
    """What a function sees: join keys, request data, and each source feature under its short and its full name."""
    inputs: dict[str, list[Any]] = {}
    binding = bound.binding
    for answered_name, name, value_type in (
        *((name, name, value_type) for name, value_type in binding.columns if name in binding.request_data),
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
            # Each row has its own: a function may change lists and maps.
            values = [python_value(row[position], value_type) for row in each]
        except CorruptValueError as error:
            raise CorruptValueError(f"{full_name.replace('__', ':', 1)}: the online store holds {error}") from None
        inputs[full_name] = inputs[full_name.partition("__")[2]] = values
    return inputs


def _run_python(computed: ComputedView, inputs: dict[str, list[Any]]) -> Mapping[str, Any]:
    if computed.view.singleton:
        return {**inputs, **computed.function({name: values[0] for name, values in inputs.items()})}
    return {**inputs, **computed.function(dict(inputs))}


def _run_pandas(computed: ComputedView, inputs: dict[str, list[Any]]) -> Mapping[str, Any]:
    import pyarrow

    arrow = {name: [_for_arrow(value) for value in values] for name, values in inputs.items()}
    # Through Arrow both ways, as in Feast: it decides what a null does to a column's type.
    frame = computed.function(pyarrow.Table.from_pydict(arrow).to_pandas())
    table = pyarrow.Table.from_pandas(frame)
    return {name: list(table[name].to_numpy()) for name in table.column_names}


def _for_arrow(value: Any) -> Any:
    """Arrow knows neither UUIDs nor sets."""
    if isinstance(value, uuid.UUID):
        return str(value)
    if isinstance(value, set | list):
        return [_for_arrow(item) for item in value]
    return value
