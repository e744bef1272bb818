"""Fuzz the native room under the address and undefined-behaviour sanitizers.

    python tests/fuzz/fuzz_native.py FOLDER -max_total_time=60     needs clang with its runtime (Debian: clang)
    python tests/fuzz/fuzz_native.py --planted FOLDER              prove that an over-read would be found

FOLDER gets the fuzzer itself, the inputs that were kept (corpus.py), and what libFuzzer adds to them.

A finding is whatever a sanitizer says, and any difference from what is written plainly in Python: replies that are read
otherwise than tests/native/resp.py reads them, or depend on how their bytes were cut; a Value or a timestamp whose text
is not the one that the Python code makes, or that has a text and is corrupt; a body that is not put together of them;
keys that are split otherwise than the twin splits them.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
from array import array
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY))

import orjson  # noqa: E402

from tests.fuzz import corpus  # noqa: E402
from tests.native import resp  # noqa: E402
from tests.native.rooms import native_room, twin_room  # noqa: E402
from yummy_fast.errors import CorruptValueError  # noqa: E402
from yummy_fast.feast_format.timestamps import decode_timestamps  # noqa: E402
from yummy_fast.feast_format.values import decode_value, spell_non_finite  # noqa: E402

NAMES = (b"", b"a", b"abcd", b"_ts:one", b"abcd", b"a name that is longer than sixteen bytes")
SHAPE = array("I", [2, 1]).tobytes(), array("I", [0, 0, 0, 0, 1, 0]).tobytes()
WRITER = native_room and native_room.BodyWriter(*SHAPE)
EXACT_WRITER = native_room and native_room.BodyWriter(*SHAPE, array("q", [1_000_000]).tobytes())
STATUS = re.compile(rb'"(?:PRESENT|NOT_FOUND|NULL_VALUE|OUTSIDE_MAX_AGE)"')
TABLES = [[slot * parts // 16_384 for slot in range(16_384)] for parts in (1, 3, 16_384)]
PLANTED = "number > (uint64_t)(end - *at)", "number > (uint64_t)(end - *at) + 16"
"""A comparison of values.c, and what it is made to be by --planted: a text may then end 16 bytes behind its end."""


def test_one_input(data: bytes) -> None:
    """The first byte says what the rest is."""
    if not data:
        return
    kind, rest = data[0] % 5, data[1:]
    if kind == 0:
        assert native_room.value_text(rest) in (None, value_text(rest))
    elif kind == 1:
        assert native_room.timestamp_text(rest) in (None, timestamp_text(rest))
    elif kind == 2:
        check_replies(rest)
    elif kind == 3:
        check_body(rest)
    else:
        check_split(rest)


def value_text(stored: bytes) -> bytes | None:
    try:
        return orjson.dumps(spell_non_finite(decode_value(stored)))
    except CorruptValueError:
        return None


def timestamp_text(stored: bytes) -> bytes | None:
    try:
        (moment,) = decode_timestamps([stored])
    except CorruptValueError:
        return None
    return orjson.dumps(moment, option=orjson.OPT_UTC_Z).replace(b'000Z"', b'Z"')


def check_replies(data: bytes) -> None:
    """Two bytes say what is expected and how the rest is cut; it is fed twice, so that the second one is known."""
    if len(data) < 2:
        return
    names, named, step, stream = NAMES[: data[0] % 8], data[0] >= 128, data[1] % 16 + 1, data[2:]
    expected: list[resp.Expectation] = [(names, named, 1), (None, False, 1), (names, named, 2)]
    wanted = resp.answers(stream, expected)
    picker = native_room.Picker(names, named)
    for size in (step, len(stream) + 1, step):
        reader = native_room.ReplyReader()
        for some, _, count in expected:
            reader.expect(None if some is None else picker, count)
        answers = [one for start in range(0, len(stream), size) for one in reader.feed(stream[start : start + size])]
        found = [list(map(tuple, answer)) if isinstance(answer, list) else answer for answer in answers]
        assert (found, reader.failed is not None) == wanted[:2]
        assert reader.take_invalidated()[: len(wanted[2])] == wanted[2]


def check_body(data: bytes) -> None:
    """Cells, each behind a byte for its length: rows of two Values and a time."""
    cells: list[bytes | None] = []
    while data:
        length = data[0] - 1
        cells.append(data[1 : 1 + length] if length >= 0 else None)
        data = data[1 + max(length, 0) :]
    count = len(cells) // 3
    if count == 0:
        return
    rows = [cells[3 * row : 3 * row + 3] for row in range(count)]
    reader = native_room.ReplyReader()
    reader.expect(native_room.Picker((b"a", b"b", b"c"), False), count)
    packed = reader.feed(b"".join(map(resp.array, rows)))
    values = [[native_room.value_text(row[place] or b"") for row in rows] for place in range(2)]
    times = [native_room.timestamp_text(row[2] or b"") for row in rows]
    body = WRITER.write([[*range(count)]], packed, [None], count, b"]}")
    exact = EXACT_WRITER.write([[*range(count)]], packed, [None], count, b"]}", 1 << 50)
    assert exact == body or STATUS.sub(b"", exact) == STATUS.sub(b"", body)
    texts = [*values[0], *values[1], *times]
    if None in texts:
        assert body is None
        return
    present, epoch = [b'"PRESENT"'] * count, [b'"1970-01-01T00:00:00Z"'] * count
    columns = [([b"%d" % row for row in range(count)], epoch), (values[0], times), (values[1], times)]
    assert (
        body
        == b'{"results":['
        + b",".join(
            b'{"values":[%b],"statuses":[%b],"event_timestamps":[%b]}'
            % tuple(map(b",".join, (found, present, moments)))
            for found, moments in columns
        )
        + b"]}"
    )


def check_split(data: bytes) -> None:
    """Keys, each behind a byte for its length; and the first of them also ends them all, without its braces."""
    keys: list[bytes] = []
    while data:
        keys.append(data[1 : 1 + data[0]])
        data = data[1 + data[0] :]
    suffix = keys[0].translate(None, b"{}") if keys else b""
    for table in TABLES:
        parts = native_room.split_keys(keys, suffix, table)
        assert list(parts.items()) == list(twin_room.split_keys(keys, suffix, table).items())
        rows: list[bytes | None] = [None] * len(keys)
        for part in filter(None, parts.values()):
            native_room.put_rows(*part, rows)
        assert rows == keys or None in parts.values() or not keys


# ------------------------------------------------------------------------------------------------------- the fuzzer


def build(folder: Path, planted: bool) -> Path:
    """The fuzzer: room and harness compiled by clang, with the Python that runs this inside."""
    sources = []
    for source in sorted((REPOSITORY / "yummy_fast" / "native").glob("*.[ch]")):
        text = source.read_text()
        if planted and source.name == "values.c":
            assert PLANTED[0] in text
            text = text.replace(*PLANTED)
        copy = folder / source.name
        copy.write_text(text)
        sources += [str(copy)] if copy.suffix == ".c" else []
    library, version = sysconfig.get_config_var("LIBDIR"), sysconfig.get_config_var("LDVERSION")
    fuzzer = folder / "fuzzer"
    command = ["clang", "-std=c11", "-g", "-O1", "-fsanitize=fuzzer,address,undefined", "-fno-sanitize-recover=all"]
    command += [f"-I{sysconfig.get_path('include')}", str(Path(__file__).with_suffix(".c")), *sources]
    command += [f"-L{library}", f"-Wl,-rpath,{library}", f"-lpython{version}", "-o", str(fuzzer)]
    subprocess.run(command, check=True)
    return fuzzer


def main() -> int:
    planted, arguments = sys.argv[1] == "--planted", sys.argv[1 + (sys.argv[1] == "--planted") :]
    folder = Path(arguments[0]).resolve()
    inputs, built = folder / "inputs", folder / ("planted" if planted else "build")
    inputs.mkdir(parents=True, exist_ok=True)
    built.mkdir(exist_ok=True)
    corpus.unpack("native", inputs)
    environment = {
        **os.environ,
        # Each object's memory from malloc, where the sanitizer watches its ends.
        "PYTHONMALLOC": "malloc",
        "PYTHONPATH": os.pathsep.join([str(REPOSITORY), *(path for path in sys.path if path.endswith("-packages"))]),
        "ASAN_OPTIONS": "detect_leaks=0",  # Python frees little at its end; tests/native/test_memory.py counts
    }
    command = [str(build(built, planted)), f"-artifact_prefix={folder}/", *arguments[1:], str(inputs)]
    if not planted:
        return subprocess.run(command, env=environment, check=False).returncode
    done = subprocess.run(
        [*command, "-max_total_time=240"], env=environment, check=False, capture_output=True, text=True
    )
    found = "AddressSanitizer: heap-buffer-overflow" in done.stderr
    print("the planted over-read was found" if found else f"IT WAS NOT FOUND:\n{done.stderr[-2000:]}")
    return 0 if found else 1


if __name__ == "__main__":
    sys.exit(main())
