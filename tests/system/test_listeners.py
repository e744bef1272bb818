"""Where a server process listens: addresses, Unix sockets, sockets of systemd's."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.harness import PATIENCE_S, Client, Process, Server, command_line, features_request
from yummy_fast.errors import ConfigError
from yummy_fast.http.listeners import close_sockets, open_sockets
from yummy_fast.sources.yaml_text import load_config

# ------------------------------------------------------------------------------------------------------------ addresses


def _has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


needs_ipv6 = pytest.mark.skipif(not _has_ipv6(), reason="this machine has no ::1")


@needs_ipv6
def test_ipv6(corpus: Path) -> None:
    with Server(corpus, "--host", "::1") as server:
        assert server.url == f"http://[::1]:{server.port}"
        with Client(server.port, host="::1") as client:
            client.send(features_request(1002))
            assert client.answer().columns["trips"] == [1]
        with pytest.raises(ConnectionRefusedError):
            server.client()


def _resolve_to(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> None:
    """Let every name of a host have these addresses."""

    def found(_: object, port: int, **__: object) -> list[Any]:
        return [
            (socket.AF_INET6, socket.SOCK_STREAM, 0, "", (address, port, 0, 0))
            if ":" in address
            else (socket.AF_INET, socket.SOCK_STREAM, 0, "", (address, port))
            for address in addresses
        ]

    monkeypatch.setattr(socket, "getaddrinfo", found)


@needs_ipv6
def test_a_name_with_two_addresses(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both are listened on, at one port, also if it is a free one."""
    _resolve_to(monkeypatch, "::1", "127.0.0.1", "127.0.0.1")
    sockets = open_sockets(load_config(chdir=str(corpus), flags={"host": "somewhere", "port": "0"}).address, {})
    try:
        assert [listening.getsockname()[0] for listening in sockets] == ["::1", "127.0.0.1"]
        assert len({listening.getsockname()[1] for listening in sockets}) == 1
        for listening in sockets:
            with socket.socket(listening.family) as client:
                client.connect(listening.getsockname())
    finally:
        close_sockets(sockets)


def test_an_address_that_the_machine_has_not(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name's other addresses do, as ::1 of localhost in a container without IPv6; none at all is an error."""
    config = load_config(chdir=str(corpus), flags={"host": "somewhere", "port": "0"})
    _resolve_to(monkeypatch, "192.0.2.1", "127.0.0.1")
    sockets = open_sockets(config.address, {})
    assert [listening.getsockname()[0] for listening in sockets] == ["127.0.0.1"]
    close_sockets(sockets)
    _resolve_to(monkeypatch, "192.0.2.1")
    with pytest.raises(ConfigError, match=r"^--host somewhere --port 0: cannot listen: Cannot assign "):
        open_sockets(config.address, {})


@pytest.mark.parametrize("host", ["no-such-host.invalid", "a" * 70, "é..é"])
def test_a_name_that_is_none(corpus: Path, host: str) -> None:
    with pytest.raises(ConfigError) as caught:
        open_sockets(load_config(chdir=str(corpus), flags={"host": host, "port": "0"}, environ={}).address, {})
    assert str(caught.value).startswith(f"--host {host} --port 0: cannot listen: ")
    assert "\n" not in str(caught.value)


# --------------------------------------------------------------------------------------------------------- Unix socket


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A path for a Unix socket: they may have 107 bytes."""
    return tmp_path / "s"


def test_unix_socket(corpus: Path, path: Path) -> None:
    """It answers, belongs to whom the mode says, is the only thing that listens, and is gone at the end."""
    with Server(corpus, "--uds", str(path)) as server:
        assert server.url == f"unix:{path}"
        assert stat.S_IMODE(path.stat().st_mode) == 0o660
        with Client(path) as client, Client(path) as other:
            for driver, trips in ((1001, 0), (1002, 1)):
                client.send(features_request(driver))
                assert client.answer().columns["trips"] == [trips]
            assert other.ask("/health").status == 200
            assert _tcp_listeners(server.process.pid) == 0
            assert server.stop() == 0
        assert not path.exists()


def _tcp_listeners(pid: int) -> int:
    """How many TCP sockets of a process listen."""
    inodes = {os.readlink(link) for link in Path(f"/proc/{pid}/fd").iterdir()}
    tables = [Path(f"/proc/{pid}/net/{name}") for name in ("tcp", "tcp6")]
    lines = [line.split() for table in tables if table.exists() for line in table.read_text().splitlines()]
    return sum(1 for line in lines if line[3] == "0A" and f"socket:[{line[9]}]" in inodes)


def test_the_mode_of_a_unix_socket(corpus: Path, path: Path) -> None:
    with Server(corpus, "--uds", str(path), "--uds-mode", "600"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("mode", ["rw-rw----", "060", "1660", "668"])
def test_modes_that_are_none(corpus: Path, mode: str) -> None:
    with pytest.raises(ConfigError, match=r"^--uds-mode: expected a mode of three octal digits"):
        load_config(chdir=str(corpus), flags={"uds_mode": mode}, environ={})


def test_a_mode_that_yaml_takes_for_another_number(corpus: Path) -> None:
    """0660 in YAML is 432; as a mode, that would lock the owner out."""
    with open(corpus / "feature_store.yaml", "a") as file:
        file.write("yummy_fast: {uds_mode: 0660}\n")
    with pytest.raises(ConfigError, match=r"yummy_fast\.uds_mode: expected a mode"):
        load_config(chdir=str(corpus))


def test_a_stale_unix_socket_is_taken_over(corpus: Path, path: Path) -> None:
    with Server(corpus, "--uds", str(path)) as killed:
        killed.stop(signal.SIGKILL)
        assert path.exists()
        with Server(corpus, "--uds", str(path)), Client(path) as client:
            assert client.ask("/health").status == 200
        assert not path.exists()


def test_a_live_unix_socket_is_left_alone(corpus: Path, path: Path) -> None:
    with Server(corpus, "--uds", str(path)), Client(path) as client:
        assert client.ask("/health").status == 200
        code, out, err = command_line("-c", corpus, "serve", "--uds", str(path))
        assert (code, out, err) == (2, "", f"yummy-fast: --uds {path}: cannot listen: another process listens there\n")
        with Client(path) as later:
            assert later.ask("/health").status == 200


def test_a_full_queue_is_a_live_socket(corpus: Path, path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listening, socket.socket(socket.AF_UNIX) as waiting:
        listening.bind(str(path))
        listening.listen(0)
        waiting.connect(str(path))
        code, _, err = command_line("-c", corpus, "serve", "--uds", str(path))
        assert (code, err) == (2, f"yummy-fast: --uds {path}: cannot listen: another process listens there\n")


@pytest.mark.parametrize(
    ("place", "reason"),
    [
        ("feature_store.yaml", "the file exists and is not a socket"),
        (".", "the file exists and is not a socket"),
        ("nowhere/s", "No such file or directory"),
        ("feature_store.yaml/s", "Not a directory"),
        ("s" * 108, "AF_UNIX path too long"),
    ],
)
def test_paths_that_cannot_be_a_unix_socket(corpus: Path, place: str, reason: str) -> None:
    before = (corpus / "feature_store.yaml").read_text()
    path = os.path.abspath(corpus / place)
    with pytest.raises(ConfigError) as caught:
        open_sockets(load_config(chdir=str(corpus), flags={"uds": path}, environ={}).address, {})
    assert str(caught.value) == f"--uds {path}: cannot listen: {reason}"
    assert (corpus / "feature_store.yaml").read_text() == before


def test_the_socket_of_a_successor_is_left_alone(corpus: Path, path: Path) -> None:
    """Whoever has moved the file away and put another there keeps that."""
    with Server(corpus, "--uds", str(path)) as first:
        path.rename(path.with_name("old"))
        with Server(corpus, "--uds", str(path)), Client(path) as client:
            assert first.stop() == 0
            assert client.ask("/health").status == 200
            assert path.exists()


# -------------------------------------------------------------------------------------------------------------- systemd

LAUNCH = """
import json, os, socket, sys
places, pid, command = json.loads(sys.argv[1]), sys.argv[2], sys.argv[3:]
for place, descriptor in zip(places, range(100, 200)):
    made = socket.socket(socket.AF_UNIX if isinstance(place, str) else socket.AF_INET)
    made.bind(place if isinstance(place, str) else tuple(place))
    made.listen()
    os.dup2(made.fileno(), descriptor)
for number, _ in enumerate(places):
    os.dup2(100 + number, 3 + number)
    os.close(100 + number)
os.environ.update(LISTEN_FDS=str(len(places)), LISTEN_PID=pid or str(os.getpid()), LISTEN_FDNAMES="a:b")
os.execv(command[0], command)
"""
"""What systemd does before it starts a service that has sockets, sd_listen_fds(3)."""


def _launched(places: list[object], *command: str, pid: str = "") -> list[str]:
    return [sys.executable, "-c", LAUNCH, json.dumps(places), pid, sys.executable, "-m", "yummy_fast", *command]


def test_sockets_of_systemd(corpus: Path, path: Path) -> None:
    """All are served on, --port is not, and a file that is not ours stays."""
    command = _launched([["127.0.0.1", 0], str(path)], "-c", str(corpus), "serve", "--port", "1")
    with Process(command) as process:
        found = process.wait_for(r"serving .* on http://127\.0\.0\.1:(\d+) and unix:(\S+)$")
        assert found[2] == str(path)
        with Client(int(found[1])) as by_tcp, Client(path) as by_path:
            for client in (by_tcp, by_path):
                client.send(features_request(1002))
                assert client.answer().columns["trips"] == [1]
        assert _tcp_listeners(process.process.pid) == 1
        assert process.stop() == 0
    assert path.exists()


def test_sockets_for_another_process(corpus: Path) -> None:
    """A child of the process that got them must not take its parent's descriptors for sockets."""
    with Process(_launched([["127.0.0.1", 0]], "-c", str(corpus), "serve", "--port", "0", pid="1")) as process:
        port = int(process.wait_for(r"serving .* on http://127\.0\.0\.1:(\d+)$")[1])
        with Client(port) as client:
            assert client.ask("/health").status == 200


@pytest.mark.parametrize(
    ("count", "reason"),
    [("two", "expected a number of sockets, got 'two'"), ("1", r"descriptor 3: .*")],
)
def test_sockets_that_are_none(corpus: Path, count: str, reason: str) -> None:
    script = "import os, sys; os.environ['LISTEN_PID'] = str(os.getpid()); os.execv(sys.argv[1], sys.argv[1:])"
    done = subprocess.run(
        [sys.executable, "-c", script, sys.executable, "-m", "yummy_fast", "-c", str(corpus), "serve"],
        env={**os.environ, "LISTEN_FDS": count},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == 2
    assert re.fullmatch(f"yummy-fast: LISTEN_FDS: {reason}\n", done.stderr)
