"""Registry files: what was read, and whether the file is another one now."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from yummy_fast.errors import RegistryError
from yummy_fast.sources import FileSource


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
    assert FileSource(str(tmp_path / "absent.db")).stamp() is None


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
