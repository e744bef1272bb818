"""Which of the two serves, the native room or its twin: decided here, once, when this module is imported.

YUMMY_FAST_NATIVE=1 asks for the native room, 0 for the twin; without the variable, the native room serves if it is
there. It is not there if the package was built without a C compiler, and never where Python runs without its global
lock, on which the native room relies. `yummy-fast serve` and `check` call `check_wish`: with 1, they end with an
error where the native room is not there.
"""

from __future__ import annotations

import os
import sysconfig

from yummy_fast.errors import ConfigError

VARIABLE = "YUMMY_FAST_NATIVE"
WISH = os.environ.get(VARIABLE, "")

_obstacle = ""
if WISH == "0":
    _obstacle = f"{VARIABLE}=0"
elif sysconfig.get_config_var("Py_GIL_DISABLED"):
    _obstacle = "this Python runs without its global lock"
else:
    try:
        from yummy_fast.native._native import BodyWriter, Picker, ReplyReader, put_rows, slot_of, split_keys
    except ModuleNotFoundError:
        _obstacle = "this package was built without it"
    except ImportError as error:
        _obstacle = str(error)
if _obstacle:
    # The twin has the same interface, which tests/native proves; mypy compares the classes by name.
    from yummy_fast.native.twin import (  # type: ignore[assignment]
        Picker,
        ReplyReader,
        put_rows,
        slot_of,
        split_keys,
    )

body_writer = None if _obstacle else BodyWriter
"""The class that writes bodies of answers in C; None where `features.vectors` writes all of them, in Python."""
IN_USE = "python" if _obstacle else "native"
"""native, or python: which of the two serves."""
WHY = _obstacle
"""Why the twin serves; empty if the native room does."""
DESCRIPTION = f"{IN_USE} ({WHY})" if WHY else IN_USE
"""IN_USE and WHY in one text, for operators."""

__all__ = [
    "DESCRIPTION",
    "IN_USE",
    "VARIABLE",
    "WHY",
    "Picker",
    "ReplyReader",
    "body_writer",
    "check_wish",
    "put_rows",
    "slot_of",
    "split_keys",
]


def check_wish() -> None:
    """Raises ConfigError if the variable is neither 0 nor 1, or asks for a native room that cannot be used."""
    if WISH not in ("", "0", "1"):
        raise ConfigError(f"{VARIABLE}: expected 0 or 1, not {WISH!r}")
    if WISH == "1" and WHY:
        raise ConfigError(f"{VARIABLE}=1, but the native room cannot be used: {WHY}")
