"""Clients that leave before they are answered, whose requests end; and clients that only seem to leave."""

from __future__ import annotations

import socket
import ssl
import time
from pathlib import Path

import pytest

from tests.harness import (
    CERTIFICATE,
    CERTIFICATE_KEY,
    Client,
    Valkey,
    eventually,
    features_request,
    tls_client_context,
)
from tests.scrapes import samples
from tests.system.test_limits import slow_server

TLS_FLAGS = ("--cert", str(CERTIFICATE), "--key", str(CERTIFICATE_KEY))
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


def in_flight(client: Client) -> float:
    """How many requests wait, apart from this one for /metrics."""
    return samples(client.ask("/metrics").body, "yummy_fast_requests_in_flight")[()] - 1


@pytest.mark.parametrize("line", ["X: y", "Connection: close"])
@pytest.mark.parametrize("how", ["closes", "resets", "closes TLS", "says that it closes TLS"])
def test_what_a_client_that_has_left_asked_for_ends(tmp_path: Path, valkey: Valkey, how: str, line: str) -> None:
    """The request ends within a second or so, not only when Redis replies or --request-timeout-ms, 15 s, is over."""
    tls = tls_client_context() if "TLS" in how else None
    with (
        slow_server(tmp_path, valkey, *(TLS_FLAGS if tls else ())) as (server, proxy),
        Client(server.port, tls) as other,
    ):
        proxy.hold()
        began = time.monotonic()
        with Client(server.port, tls) as leaving:
            leaving.send(features_request(1001, line))
            eventually(lambda: True if in_flight(other) == 1 else None, "the request under way")
            if how == "resets":
                leaving.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            if how == "says that it closes TLS":
                assert isinstance(leaving.socket, ssl.SSLSocket)
                leaving.socket.unwrap()
        eventually(lambda: True if in_flight(other) == 0 else None, "the end of the request")
        assert time.monotonic() - began < 10  # of 15 s
        proxy.release()


def test_a_client_that_only_sends_no_more_is_answered(tmp_path: Path, valkey: Valkey) -> None:
    """As `nc -N` does. If the client has to wait, an interim response shows whether it is still there."""
    with slow_server(tmp_path, valkey) as (server, proxy):
        with server.client() as client:
            client.send(features_request(1002))
            client.socket.shutdown(socket.SHUT_WR)
            assert client.rest().startswith(b"HTTP/1.1 200 ")
        proxy.hold()
        with server.client() as client, server.client() as other:
            client.send(features_request(1002))
            client.socket.shutdown(socket.SHUT_WR)
            assert client.socket.recv(1000) == CONTINUE
            assert in_flight(other) == 1
            proxy.release()
            assert client.rest().startswith(b"HTTP/1.1 200 ")
