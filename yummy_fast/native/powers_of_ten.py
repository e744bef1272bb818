"""The powers of ten that the native room renders doubles with, made of Python's integers when the room is imported.

For each k from FIRST to LAST, the table has 10**k, scaled by a power of two to 128 bits and rounded up: two unsigned
64-bit integers of the machine's own byte order, the high half first. To compute all 617 powers takes half a
millisecond, and nobody has to trust 1,234 numbers in a source file. numbers.c says what the powers are for.
"""

from __future__ import annotations

from array import array

FIRST, LAST = -292, 324


def _scaled(k: int) -> int:
    """10**k times the power of two that takes it to [2**127, 2**128), rounded up."""
    power: int = 10 ** abs(k)
    if k < 0:
        return -(-(1 << 127 + power.bit_length()) // power)
    shift = power.bit_length() - 128
    return -(-power // (1 << shift)) if shift > 0 else power << -shift


def table() -> bytes:
    """The scaled powers from FIRST to LAST, one after the other."""
    halves = [half for k in range(FIRST, LAST + 1) for half in divmod(_scaled(k), 1 << 64)]
    return array("Q", halves).tobytes()
