"""Fuzz the HTTP parser: h11 must have read every request that is accepted, and no cut may change what is read.

    pip install atheris
    python tests/fuzz/fuzz_http11.py FOLDER -max_len=400 -max_total_time=1200

FOLDER gets the inputs that were kept (corpus.py), and what libFuzzer adds to them.

A finding is an AssertionError, or any exception but ProtocolError. tests/property/test_wire.py has the same property in
small, and what we may accept that h11 does not.
"""

from __future__ import annotations

import sys
from pathlib import Path

import atheris

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

with atheris.instrument_imports(include=["yummy_fast.http.http11", "h11"]):
    from tests.fuzz import corpus
    from tests.property.test_wire import opinion_of_h11, read


def test_one_input(data: bytes) -> None:
    """The first byte says where the rest is cut."""
    stream = data[1:]
    ours, status = read([stream])
    theirs = opinion_of_h11(stream)
    assert [request._replace(timeout_ms=0) for request in ours] == theirs[: len(ours)], (ours, theirs)
    place = data[0] * len(stream) // 255 if data else 0
    assert read([stream[:place], stream[place:]]) == (ours, status), place
    assert read([stream[at : at + 1] for at in range(len(stream))]) == (ours, status)
    assert read([stream, stream, stream]) == read([stream * 3]), "what a parser remembers changes nothing"


if __name__ == "__main__":
    corpus.unpack("http11", Path(sys.argv[1]))
    atheris.Setup(sys.argv, test_one_input)
    atheris.Fuzz()
