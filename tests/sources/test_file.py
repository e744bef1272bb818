"""A registry in a local file: what was read, and whether it is another one now."""

from __future__ import annotations

import fcntl
import os
import sys
import termios
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.harness import PATIENCE_S, eventually, refusal
from yummy_fast.errors import RegistryError
from yummy_fast.sources import file as module
from yummy_fast.sources.file import FileSource, find_path


def test_a_relative_path_is_the_repositorys_and_else_lies_beside_the_file(tmp_path: Path) -> None:
    repository, beside = tmp_path / "repository", tmp_path / "beside"
    repository.mkdir()
    beside.mkdir()

    def found() -> str:
        return find_path("r.db", str(repository), str(beside))

    assert found() == str(repository / "r.db"), "neither is there yet: where Feast would look"
    (beside / "r.db").touch()
    assert found() == str(beside / "r.db")
    (repository / "r.db").touch()
    assert found() == str(repository / "r.db")
    assert find_path("/r.db", str(repository), str(beside)) == "/r.db"


def test_a_file_is_read_whole_and_named_by_its_path(tmp_path: Path) -> None:
    path = tmp_path / "registry.db"
    path.write_bytes(b"\x00\xff" * 100_000)
    source = FileSource(str(path))
    assert source.read() == b"\x00\xff" * 100_000
    assert source.name == str(path)


@pytest.mark.parametrize(("name", "reason"), [("absent.db", "No such file or directory"), (".", "Is a directory")])
def test_what_cannot_be_read_is_named_with_the_reason(tmp_path: Path, name: str, reason: str) -> None:
    path = str(tmp_path / name)
    with pytest.raises(RegistryError) as caught:
        FileSource(path).read()
    assert str(caught.value) == f"{path}: the registry cannot be read: {reason}"


def test_an_absent_file_has_no_stamp(tmp_path: Path) -> None:
    source = FileSource(str(tmp_path / "absent.db"))
    assert refusal(source, "stamp") == "the registry cannot be read: No such file or directory"


def test_no_more_is_read_than_tells_that_it_is_too_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "long.db").write_bytes(b"1234567")
    monkeypatch.setattr(module, "MAX_REGISTRY_BYTES", 4)
    assert FileSource(str(tmp_path / "long.db")).read() == b"12345"


def test_an_untouched_file_keeps_its_stamp(tmp_path: Path) -> None:
    path = tmp_path / "registry.db"
    path.write_bytes(b"one")
    source = FileSource(str(path))
    first = source.stamp()
    source.read()
    assert source.stamp() == first


def test_the_stamp_tells_a_later_write_of_the_same_size(tmp_path: Path) -> None:
    path = tmp_path / "registry.db"
    path.write_bytes(b"one")
    source = FileSource(str(path))
    first = source.stamp()
    modified = path.stat().st_mtime_ns + 1_000_000_000
    path.write_bytes(b"two")
    os.utime(path, ns=(modified, modified))
    assert source.stamp() != first


def test_the_stamp_tells_another_size_at_the_same_time(tmp_path: Path) -> None:
    path = tmp_path / "registry.db"
    path.write_bytes(b"one")
    source = FileSource(str(path))
    first, modified = source.stamp(), path.stat().st_mtime_ns
    path.write_bytes(b"three")
    os.utime(path, ns=(modified, modified))
    assert source.stamp() != first


def test_the_stamp_tells_a_file_moved_into_its_place(tmp_path: Path) -> None:
    path, other = tmp_path / "registry.db", tmp_path / "new.db"
    path.write_bytes(b"one")
    other.write_bytes(b"two")
    source = FileSource(str(path))
    first, modified = source.stamp(), path.stat().st_mtime_ns
    os.utime(other, ns=(modified, modified))
    other.replace(path)
    assert source.stamp() != first


def test_a_small_file_takes_little_memory(tmp_path: Path) -> None:
    """Not as much as the longest registry that is read: under `ulimit -v`, no server would start."""
    (tmp_path / "registry.db").write_bytes(b"x" * 5000)
    tracemalloc.start()
    try:
        assert FileSource(str(tmp_path / "registry.db")).read() == b"x" * 5000
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()


def test_a_file_that_says_that_it_is_empty(tmp_path: Path) -> None:
    """Those of /proc do, and so does a pipe."""
    os.mkfifo(tmp_path / "pipe")
    holder = os.open(tmp_path / "pipe", os.O_RDWR)
    os.write(holder, b"x" * 5000)
    reader = FileSource(str(tmp_path / "pipe"))
    with ThreadPoolExecutor(1) as thread:
        reading = thread.submit(reader.read)
        eventually(lambda: True if _unread(holder) == 0 else None, "the pipe is read")
        os.close(holder)
        assert reading.result(PATIENCE_S) == b"x" * 5000


def _unread(descriptor: int) -> int:
    return int.from_bytes(fcntl.ioctl(descriptor, termios.FIONREAD, bytes(4)), sys.byteorder)
