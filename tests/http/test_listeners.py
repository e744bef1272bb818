"""Listening sockets and TLS contexts, without a server on them. What a process does with them is in tests/system."""

from __future__ import annotations

import os
import socket
import ssl
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.harness import CERTIFICATE, CERTIFICATE_KEY
from yummy_fast.config.settings import Address, Tls
from yummy_fast.errors import ConfigError
from yummy_fast.http import listeners as module
from yummy_fast.http.listeners import close_sockets, open_sockets, refuse_new, tls_context, url_of


@pytest.fixture
def opened() -> Iterator[list[socket.socket]]:
    """What is to be closed in the end."""
    sockets: list[socket.socket] = []
    yield sockets
    close_sockets(sockets)


def resolve_to(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> None:
    """Let every name of a host have these addresses."""

    def found(_: object, port: int, **__: object) -> list[Any]:
        return [
            (socket.AF_INET6, socket.SOCK_STREAM, 0, "", (address, port, 0, 0))
            if ":" in address
            else (socket.AF_INET, socket.SOCK_STREAM, 0, "", (address, port))
            for address in addresses
        ]

    monkeypatch.setattr(socket, "getaddrinfo", found)


# ------------------------------------------------------------------------------------------------------------------ TCP


def test_a_name_is_listened_on_at_each_of_its_addresses_once(
    monkeypatch: pytest.MonkeyPatch, opened: list[socket.socket]
) -> None:
    """And at one port, also if it is a free one. 127.0.0.0/8 is Linux's; others have 127.0.0.1 alone."""
    addresses = ["127.0.0.1", "127.0.0.2"] if sys.platform == "linux" else ["127.0.0.1"]
    resolve_to(monkeypatch, *addresses, "127.0.0.1")
    opened += open_sockets(Address(host="somewhere", port=0), {})
    assert [listening.getsockname()[0] for listening in opened] == addresses
    assert len({listening.getsockname()[1] for listening in opened}) == 1
    for listening in opened:
        with socket.socket() as client:
            client.connect(listening.getsockname())


def test_an_address_that_this_machine_has_not_is_passed_over_unless_it_is_the_only_one(
    monkeypatch: pytest.MonkeyPatch, opened: list[socket.socket]
) -> None:
    resolve_to(monkeypatch, "192.0.2.1", "127.0.0.1")
    opened += open_sockets(Address(host="somewhere", port=0), {})
    assert [listening.getsockname()[0] for listening in opened] == ["127.0.0.1"]
    resolve_to(monkeypatch, "192.0.2.1")
    with pytest.raises(ConfigError, match=r"^--host somewhere --port 0: cannot listen: Cannot assign "):
        open_sockets(Address(host="somewhere", port=0), {})


def test_a_port_that_is_taken(opened: list[socket.socket]) -> None:
    opened += open_sockets(Address(host="127.0.0.1", port=0), {})
    port = opened[0].getsockname()[1]
    with pytest.raises(ConfigError) as caught:
        open_sockets(Address(host="127.0.0.1", port=port), {})
    assert str(caught.value) == f"--host 127.0.0.1 --port {port}: cannot listen: Address already in use"


@pytest.mark.skipif(sys.platform != "linux", reason="127.0.0.2 has to be there")
def test_a_free_port_is_free_on_all_addresses(monkeypatch: pytest.MonkeyPatch, opened: list[socket.socket]) -> None:
    """The first one that the kernel gives is taken on the second address: another is looked for, and not for ever."""
    resolve_to(monkeypatch, "127.0.0.1", "127.0.0.2")
    attempts: list[int] = []
    listen_on = module._tcp_on

    def taken(addresses: Any, port: int) -> list[socket.socket]:
        attempts.append(port)
        if len(attempts) < 3 or len(attempts) > 4:
            raise OSError(98, "Address already in use")
        return listen_on(addresses, port)

    monkeypatch.setattr(module, "_tcp_on", taken)
    opened += open_sockets(Address(host="somewhere", port=0), {})
    assert (len(opened), attempts) == (2, [0, 0, 0])
    attempts[:] = [0] * 10
    with pytest.raises(ConfigError, match="Address already in use"):
        open_sockets(Address(host="somewhere", port=0), {})
    assert len(attempts) == 20


@pytest.mark.parametrize("host", ["no-such-host.invalid", "a" * 70, "é..é"])
def test_a_name_that_is_none(host: str) -> None:
    with pytest.raises(ConfigError) as caught:
        open_sockets(Address(host=host, port=0), {})
    assert str(caught.value).startswith(f"--host {host} --port 0: cannot listen: ")
    assert "\n" not in str(caught.value)


def test_no_host_is_every_address(opened: list[socket.socket]) -> None:
    opened += open_sockets(Address(host="", port=0), {})
    assert "0.0.0.0" in [listening.getsockname()[0] for listening in opened]


# --------------------------------------------------------------------------------------------------------- Unix sockets


def test_a_unix_socket_has_its_mode_from_the_beginning(tmp_path: Path, opened: list[socket.socket]) -> None:
    path = tmp_path / "s"
    umask = os.umask(0o022)
    try:
        opened += open_sockets(Address(uds=str(path), uds_mode="640"), {})
        assert os.umask(0o022) == 0o022, "that of the process is as it was"
    finally:
        os.umask(umask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
    close_sockets(opened)
    assert not path.exists()


def test_only_our_own_file_is_removed(tmp_path: Path, opened: list[socket.socket]) -> None:
    path = tmp_path / "s"
    for take_away in (close_sockets, refuse_new):
        opened += open_sockets(Address(uds=str(path)), {})
        path.unlink()
        path.touch()
        take_away(opened)
        assert path.exists()
        path.unlink()
        close_sockets(opened)
        opened.clear()


@pytest.mark.parametrize("alive", [True, False])
def test_a_file_that_is_left_of_another_server(tmp_path: Path, opened: list[socket.socket], alive: bool) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        if alive:
            other.listen()
            with pytest.raises(ConfigError) as caught:
                open_sockets(Address(uds=str(path)), {})
            assert str(caught.value) == f"--uds {path}: cannot listen: another process listens there"
            assert path.exists()
            return
    opened += open_sockets(Address(uds=str(path)), {})
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))


@pytest.mark.parametrize(
    ("relative", "reason"),
    [
        ("file", "the file exists and is not a socket"),
        (".", "the file exists and is not a socket"),
        ("nowhere/s", "No such file or directory"),
        ("file/s", "Not a directory"),
        ("s" * 108, "AF_UNIX path too long"),
    ],
)
def test_paths_that_cannot_be_a_unix_socket(tmp_path: Path, relative: str, reason: str) -> None:
    (tmp_path / "file").write_text("mine")
    path = os.path.abspath(tmp_path / relative)
    with pytest.raises(ConfigError) as caught:
        open_sockets(Address(uds=path), {})
    assert str(caught.value) == f"--uds {path}: cannot listen: {reason}"
    assert (tmp_path / "file").read_text() == "mine"


# -------------------------------------------------------------------------------------------------------------- systemd


def test_a_number_of_sockets_that_is_none() -> None:
    with pytest.raises(ConfigError) as caught:
        open_sockets(Address(), {"LISTEN_FDS": "two", "LISTEN_PID": str(os.getpid())})
    assert str(caught.value) == "LISTEN_FDS: expected a number of sockets, got 'two'"


def test_sockets_of_systemd_are_taken_once_and_by_the_process_that_they_are_for(
    monkeypatch: pytest.MonkeyPatch, opened: list[socket.socket]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as given:
        monkeypatch.setattr(module, "FIRST_INHERITED", os.dup(given.fileno()))
        environ = {"LISTEN_PID": "1", "LISTEN_FDS": "1", "LISTEN_FDNAMES": "a", "OTHER": "b"}
        opened += open_sockets(Address(host="127.0.0.1", port=0), environ)
        assert opened[0].getsockname() != given.getsockname()
        assert "LISTEN_FDS" in environ, "another's are left alone"
        environ["LISTEN_PID"] = str(os.getpid())
        opened += open_sockets(Address(host="127.0.0.1", port=0), environ)
        assert opened[1].getsockname() == given.getsockname()
        assert not opened[1].get_inheritable()
        assert environ == {"OTHER": "b"}
        refuse_new(opened[1:])  # the server that is started next continues with them
        socket.create_connection(given.getsockname(), 5).close()


# ------------------------------------------------------------------------------------------------------------------ TLS


def test_urls(tmp_path: Path, opened: list[socket.socket]) -> None:
    opened += open_sockets(Address(host="127.0.0.1", port=0), {})
    opened += open_sockets(Address(uds=str(tmp_path / "s")), {})
    port = opened[0].getsockname()[1]
    assert url_of(opened[0], Tls()) == f"http://127.0.0.1:{port}"
    assert url_of(opened[0], Tls(cert="c", key="k")) == f"https://127.0.0.1:{port}"
    assert url_of(opened[1], Tls(cert="c", key="k")) == f"unix:{tmp_path}/s"


def test_contexts() -> None:
    assert tls_context(Tls()) is None
    certificate = Tls(cert=str(CERTIFICATE), key=str(CERTIFICATE_KEY))
    context = tls_context(certificate)
    assert context is not None
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert context.verify_mode == ssl.CERT_NONE
    asking = tls_context(Tls(cert=certificate.cert, key=certificate.key, client_ca=str(CERTIFICATE)))
    assert asking is not None
    assert asking.verify_mode == ssl.CERT_REQUIRED


@pytest.mark.parametrize(
    ("cert", "key", "ca", "expected"),
    [
        ("absent", "key", "", "--cert {0}/absent --key {0}/key: No such file or directory"),
        ("empty", "key", "", "--cert {0}/empty --key {0}/key: expected a certificate and its private key in PEM"),
        ("cert", "empty", "", "--cert {0}/cert --key {0}/empty: expected a certificate and its private key in PEM"),
        ("cert", "key", "absent", "--client-ca {0}/absent: No such file or directory"),
        ("cert", "key", "empty", "--client-ca {0}/empty: expected certificates in PEM"),
    ],
)
def test_files_that_cannot_be_used(tmp_path: Path, cert: str, key: str, ca: str, expected: str) -> None:
    """One line that names them and says what they should be. More of that, with openssl: tests/system/test_tls.py."""
    (tmp_path / "empty").write_text("hello")
    (tmp_path / "cert").write_bytes(CERTIFICATE.read_bytes())
    (tmp_path / "key").write_bytes(CERTIFICATE_KEY.read_bytes())
    given = Tls(cert=str(tmp_path / cert), key=str(tmp_path / key), client_ca=str(tmp_path / ca) if ca else "")
    with pytest.raises(ConfigError) as caught:
        tls_context(given)
    assert str(caught.value) == expected.format(tmp_path)


@pytest.mark.parametrize("flag", ["cert", "key", "client_ca"])
def test_a_pipe_for_a_tls_file_is_not_waited_for(tmp_path: Path, flag: str) -> None:
    os.mkfifo(tmp_path / "pipe")
    files = {"cert": str(CERTIFICATE), "key": str(CERTIFICATE_KEY), flag: str(tmp_path / "pipe")}
    with pytest.raises(ConfigError, match="expected a regular file"):
        tls_context(Tls(**files))
