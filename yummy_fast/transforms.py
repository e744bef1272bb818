"""On-demand feature views: functions of the user's, over what was read and what the request brought.

Feast keeps such a function as a dill pickle in the registry. It is loaded when a catalog is compiled, which runs code
from the registry, as `feast serve` does; without the extra `transforms` nothing is loaded. A function that cannot be
loaded, or was pickled by another Python, is a message for whoever asks for its view, and for the log; other views are
not touched. Functions run in threads, never on the event loop, and one that raises fails its own request only.

What a function sees and what becomes of its result are Feast's rules (feast/utils.py
_augment_response_with_on_demand_transforms and feast/type_map.py, Feast 0.67.0), with two differences: its columns
survive full_feature_names in python mode, and it sees the features of the sources it declared, whatever else was asked.

`plan` says what to compute; `payload` writes the columns. This file knows neither stores nor HTTP.
"""

from __future__ import annotations

import asyncio
import io
import json
import logging
import math
import opcode
import struct
import uuid
from base64 import b64encode
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from decimal import Decimal
from time import perf_counter_ns
from typing import Any

from yummy_fast.codec import NULL_TIMESTAMP, CorruptValueError, ValueType, parse_value, zone
from yummy_fast.errors import RequestError, YummyError
from yummy_fast.plan import Bound, ComputedColumn, ComputedView, Plan
from yummy_fast.registry import OnDemandFeatureView

logger = logging.getLogger("yummy_fast")

THREADS = 4
"""Functions that run at a time. They hold the GIL for most of it, so more would only add switching."""

Rows = Sequence[Sequence[Sequence[bytes | None]]]


class TransformError(YummyError):
    """A function raised, or returned what cannot be answered: 500, with the view's name. The log has the rest."""

    status = 500


class ViewUnavailableError(RequestError):
    """An on-demand view whose function cannot be used."""


# -------------------------------------------------------------------------------------------------------------- loading


def load(view: OnDemandFeatureView) -> Callable[..., Any]:
    """The view's function. Raises ViewUnavailableError with a message that names the view."""

    def unavailable(reason: str) -> ViewUnavailableError:
        return ViewUnavailableError(f"On-demand feature view '{view.name}' cannot be served: {reason}")

    if view.aggregates:
        raise unavailable("aggregations are not computed at request time")
    if view.mode not in ("python", "pandas"):
        raise unavailable(f"its mode is {view.mode!r}; expected python or pandas")
    try:
        import dill

        if view.mode == "pandas":
            import pandas  # noqa: F401  # its absence is better told now than by the first request
            import pyarrow  # noqa: F401
    except ImportError as error:
        raise unavailable(f"{error.name} is not installed; try: pip install 'yummy-fast[transforms]'") from None
    unpickler = dill.Unpickler(io.BytesIO(view.function))  # noqa: S301  # the registry is trusted, as Feast trusts it
    unpickler.find_class = _refusing_foreign_code(unpickler.find_class)
    try:
        function = unpickler.load()
    except _ForeignCodeError:
        raise unavailable(
            "its function was pickled by another version of Python; run `feast apply` with this one"
        ) from None
    except ModuleNotFoundError as error:
        raise unavailable(f"its function needs the module {error.name!r}, which is not installed") from None
    except Exception as error:
        raise unavailable(f"its function does not unpickle here ({type(error).__name__})") from None
    if not callable(function):
        raise unavailable("what the registry holds is no function")
    checked: Callable[..., Any] = function
    return checked


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
        inputs = _inputs(computed, bound, rows)
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


def _inputs(computed: ComputedView, bound: Bound, rows: Rows) -> dict[str, list[Any]]:
    """What a function sees: join keys, request data, and each source feature under its short and its full name."""
    inputs: dict[str, list[Any]] = {}
    for (name, value_type), echo_name in (
        *((column, column[0]) for column in bound.binding.columns if column[0] in bound.binding.request_data),
        *zip(bound.binding.echo_columns, bound.binding.echo_names, strict=True),
    ):
        values = bound.values[name]
        if value_type is ValueType.UNIX_TIMESTAMP:
            values = [None if value is None else _moment(value) for value in values]
        inputs[echo_name] = list(values)
    for full_name, lookup, place in computed.inputs:
        found, fan = rows[lookup], bound.fans[lookup]
        each = found if fan is None else [found[which] for which in fan]
        try:
            values = [python_value(row[place]) for row in each]  # each its own: a function may change lists and maps
        except CorruptValueError as error:
            raise CorruptValueError(f"{full_name.replace('__', ':', 1)}: the online store holds {error}") from None
        inputs[full_name] = inputs[full_name.partition("__")[2]] = values
    return inputs


def _run_python(computed: ComputedView, inputs: dict[str, list[Any]]) -> Mapping[str, Any]:
    if computed.view.singleton:
        return {**inputs, **computed.transform({name: values[0] for name, values in inputs.items()})}
    return {**inputs, **computed.transform(dict(inputs))}


def _run_pandas(computed: ComputedView, inputs: dict[str, list[Any]]) -> Mapping[str, Any]:
    import pyarrow

    arrow = {name: [_for_arrow(value) for value in values] for name, values in inputs.items()}
    # Through Arrow both ways, as in Feast: it decides what a null does to a column's type.
    frame = computed.transform(pyarrow.Table.from_pydict(arrow).to_pandas())
    table = pyarrow.Table.from_pandas(frame)
    return {name: list(table[name].to_numpy()) for name in table.column_names}


def _for_arrow(value: Any) -> Any:
    """Arrow knows neither UUIDs nor sets."""
    if isinstance(value, uuid.UUID):
        return str(value)
    if isinstance(value, set | list):
        return [_for_arrow(item) for item in value]
    return value


# ------------------------------------------------------------------------------------- stored bytes to Python's values


def _moment(seconds: int) -> datetime | None:
    return None if seconds == NULL_TIMESTAMP else datetime.fromtimestamp(seconds, tz=UTC)


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


_SCALARS: dict[str, Callable[[Any], Any]] = {
    "unix_timestamp": _moment,
    "uuid": uuid.UUID,
    "time_uuid": uuid.UUID,
    "decimal": Decimal,
    "json": _json,
}


def python_value(stored: bytes | None) -> Any:
    """A stored Value as Feast hands it to Python (feast_value_type_to_python_type). Raises CorruptValueError."""
    message = parse_value(stored)
    return None if message is None else _python_value(message)


def _python_value(message: Any) -> Any:
    field = message.WhichOneof("val")
    if field is None or field in ("null_val", "scalar_map_val"):
        return None
    value = getattr(message, field)
    if field == "zoned_timestamp_val":
        moment = value.unix_timestamp
        return None if moment == NULL_TIMESTAMP else datetime.fromtimestamp(moment, tz=zone(value.zone))
    if field in ("map_val", "struct_val"):
        return {key: _python_value(item) for key, item in value.val.items()}
    if field in ("map_list_val", "struct_list_val"):
        return [{key: _python_value(item) for key, item in entry.val.items()} for entry in value.val]
    if field in ("list_val", "set_val"):
        return [_python_value(item) for item in value.val]
    kind, _, collection = field.removesuffix("_val").rpartition("_")
    if collection in ("list", "set"):
        convert = _SCALARS.get(kind)
        items = list(value.val) if convert is None else [convert(item) for item in value.val]
        return set(items) if collection == "set" and kind != "json" else items
    convert = _SCALARS.get(field.removesuffix("_val"))
    return value if convert is None else convert(value)


# ---------------------------------------------------------------------------------------- Python's values to the answer


def json_values(values: Iterable[Any], value_type: ValueType) -> list[Any]:
    """A function's column as JSON values, by the declared type of its feature (python_values_to_proto_values).

    Raises TypeError, ValueError or OverflowError for a value that the type does not take.
    """
    if value_type is ValueType.UNIX_TIMESTAMP:
        return [_timestamp(value) for value in values]
    plain = [_plain(value) for value in values]
    return [None if _is_null(value) else _json_value(value, value_type) for value in plain]


def _timestamp(value: Any) -> int | None:
    """Feast takes any float for a null timestamp and answers numpy's NaT for it, as for a NaT of a DataFrame."""
    if isinstance(value, float):
        return NULL_TIMESTAMP
    if hasattr(value, "dtype") and value.dtype.kind == "M" and value.ndim == 0:
        return int(value.astype("datetime64[s]").astype("int64"))
    plain = _plain(value)
    return None if _is_null(plain) or isinstance(plain, _COLLECTIONS) else _checked_integer(64)(plain)


def _plain(value: Any) -> Any:
    """Numpy's scalars and arrays as Python's own."""
    if hasattr(value, "dtype") and hasattr(value, "tolist"):
        if value.dtype.kind == "M":
            value = value.astype("datetime64[us]")
        return value.tolist()
    return value


def _is_null(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value)) or value != value  # NaT


def _seconds(value: Any) -> int:
    if isinstance(value, datetime):
        return int((value if value.utcoffset() is not None else value.replace(tzinfo=UTC)).timestamp())
    return int(value)


def _float32(value: Any) -> float:
    number = float(value)
    try:
        return float(struct.unpack("<f", struct.pack("<f", number))[0])
    except OverflowError:  # beyond 32 bits, as in protobuf
        return math.copysign(math.inf, number)


def _double(value: Any) -> float:
    if isinstance(value, str):
        raise TypeError("DOUBLE: text")
    return float(value)


def _bool(value: Any) -> bool:
    if not isinstance(value, int):
        raise TypeError(f"BOOL: a value of type {type(value).__name__}")
    return bool(value)


def _text(value: Any) -> str:
    text = str(value)
    text.encode()  # half a surrogate pair cannot be answered
    return text


def _json_text(value: Any) -> str:
    if isinstance(value, str):
        json.loads(value)
    return _text(value) if isinstance(value, str) else json.dumps(value)


def _checked_integer(bits: int) -> Callable[[Any], int]:
    def convert(value: Any) -> int:
        number = _seconds(value)
        if not -(1 << (bits - 1)) <= number < 1 << (bits - 1):
            raise OverflowError(f"Value out of range: {number}")
        return number

    return convert


_OUTPUTS: dict[str, Callable[[Any], Any]] = {
    "INT32": _checked_integer(32),
    "INT64": _checked_integer(64),
    "UNIX_TIMESTAMP": _checked_integer(64),
    "FLOAT": _float32,
    "DOUBLE": _double,
    "STRING": _text,
    "BOOL": _bool,
    **dict.fromkeys(("BYTES", "PDF_BYTES", "IMAGE_BYTES"), lambda value: b64encode(value).decode("ascii")),
    "UUID": _text,
    "TIME_UUID": _text,
    "DECIMAL": _text,
}
_COLLECTIONS = (list, dict, set, tuple)


# What an item of an array may be. A scalar of another type is converted, an item is not; and a null among them is ...
_ITEMS: dict[str, tuple[tuple[type, ...], Any]] = {
    "INT32": ((int,), 0),
    "INT64": ((int,), 0),
    "UNIX_TIMESTAMP": ((int, datetime), NULL_TIMESTAMP),
    "FLOAT": ((float, int), 0.0),
    "DOUBLE": ((float, int), 0.0),
    "STRING": ((str,), ""),
    "BOOL": ((bool,), False),
    "BYTES": ((bytes,), b""),
    "UUID": ((str, uuid.UUID), ""),
    "TIME_UUID": ((str, uuid.UUID), ""),
    "DECIMAL": ((str, Decimal), ""),
}


def _item(item: Any, kind: str) -> Any:
    types, default = _ITEMS[kind]
    if item is None:
        item = default
    if type(item) not in types:
        raise TypeError(f"{kind}: an item of type {type(item).__name__}")
    return _OUTPUTS[kind](item)


def _json_value(value: Any, value_type: ValueType) -> Any:
    name = value_type.name
    if name in _OUTPUTS:
        # An array in a scalar column is a null to Feast.
        return None if isinstance(value, _COLLECTIONS) else _spelled(_OUTPUTS[name](value))
    kind, _, collection = name.rpartition("_")
    if collection in ("LIST", "SET") and kind in _OUTPUTS:
        items = dict.fromkeys(value) if collection == "SET" else value
        return [_spelled(_item(_plain(item), kind)) for item in items]
    match name:
        case "JSON":
            return _json_text(value)
        case "JSON_LIST":
            return [_json_text(item) for item in value]
        case "SCALAR_MAP":  # Feast's server has no JSON for it
            return None
        case "ZONED_TIMESTAMP":
            moment = value if value.utcoffset() is not None else value.replace(tzinfo=UTC)
            return datetime.fromtimestamp(int(moment.timestamp()), tz=moment.tzinfo).isoformat()
        case "MAP" | "STRUCT":
            value = _parsed(value)
            if name == "STRUCT" and not isinstance(value, Mapping):
                value = {"_value": str(value)}
            return _map(value)
        case "MAP_LIST" | "STRUCT_LIST":
            return [_map(_plain(item)) for item in _parsed(value)]
        case "VALUE_LIST" | "VALUE_SET":
            return _nested_lists(value)
    return _nested(value)


def _parsed(value: Any) -> Any:
    """Maps may come as JSON text."""
    return json.loads(value) if isinstance(value, str) else value


def _map(value: Any) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise TypeError(f"expected a dict, got {type(value).__name__}")
    return {_text(key): None if _is_null(item) else _nested(item) for key, item in value.items()}


def _nested_lists(value: Any) -> list[Any]:
    """Lists of lists. Feast stores one inside that is empty as a null."""
    inner = [None if item is None else list(_plain(item)) for item in value]
    return [
        None
        if not items
        else _nested_lists(items)
        if any(isinstance(_plain(item), list | set | tuple) for item in items)
        else _nested(items)
        for items in inner
    ]


def _nested(value: Any) -> Any:
    """What is inside of maps and lists: by its own type."""
    value = _plain(value)
    if isinstance(value, Mapping):
        return _map(value)
    if isinstance(value, list | tuple | set):
        return [_nested(item) for item in value]
    if isinstance(value, datetime):
        return _seconds(value)
    if isinstance(value, bytes):
        return b64encode(value).decode("ascii")
    if isinstance(value, str | uuid.UUID | Decimal):
        return _text(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return _checked_integer(64)(value)
    return _spelled(value)


def _spelled(value: Any) -> Any:
    """Infinities by name; a NaN inside a list too. (A NaN that stands alone is a null.)"""
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value
