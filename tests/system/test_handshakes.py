"""TLS handshakes that come to nothing, and the limit on open files: nobody else waits, and the log says what it is."""

from __future__ import annotations

import contextlib
import os
import resource
import socket
import time
from pathlib import Path

import pytest

from tests.harness import CERTIFICATE, CERTIFICATE_KEY, Client, Process, Server, eventually, tls_client_context
from tests.scrapes import samples

TLS_FLAGS = ("--cert", str(CERTIFICATE), "--key", str(CERTIFICATE_KEY))


def silent(server: Server, number: int, stack: contextlib.ExitStack) -> list[socket.socket]:
    """Clients that connect, and say nothing."""
    return [stack.enter_context(socket.create_connection(("127.0.0.1", server.port), 20)) for _ in range(number)]


def failures(client: Client) -> float:
    return samples(client.ask("/metrics").body, "yummy_fast_tls_handshake_failures_total")[()]


def test_silent_handshakes_keep_nobody_waiting(corpus: Path) -> None:
    """As many as there may be connections are waited for; each one more ends the oldest."""
    with Server(corpus, *TLS_FLAGS, "--worker-connections", "50") as server, contextlib.ExitStack() as stack:
        clients = silent(server, 200, stack)
        for _ in range(20):
            began = time.monotonic()
            with Client(server.port, tls_client_context()) as client:
                assert client.ask("/health").status == 200
            assert time.monotonic() - began < 5  # a handshake has 10 s
        assert clients[0].recv(1) == b"", "the oldest is ended"
        server.wait_for(r"WARNING \d+ TLS handshakes failed; the last: 127.0.0.1: there were too many")
        with Client(server.port, tls_client_context()) as client:
            assert failures(client) >= 150


def test_a_silent_handshake_has_its_time(corpus: Path) -> None:
    flags = ("--header-timeout", "1")
    with Server(corpus, *TLS_FLAGS, *flags) as server, contextlib.ExitStack() as stack:
        (client,) = silent(server, 1, stack)
        assert client.recv(1) == b""
        server.wait_for("WARNING 1 TLS handshakes failed; the last: 127.0.0.1: it took too long")


def test_failed_handshakes_are_one_line_a_minute(corpus: Path) -> None:
    with Server(corpus, *TLS_FLAGS) as server:
        for _ in range(3):
            with server.client() as client:
                client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
                client.rest()
        server.wait_for(r"WARNING \d TLS handshakes failed; the last: 127.0.0.1: HTTP_REQUEST")

        def counted() -> bool | None:
            with Client(server.port, tls_client_context()) as client:
                return True if failures(client) == 3 else None

        eventually(counted, "three failures")
        assert sum("TLS handshakes failed" in line for line in server.lines) == 1


# ------------------------------------------------------------------------------------------- the limit on open files


def under(soft: int, hard: int) -> tuple[str, ...]:
    """What runs the server under a limit on open files."""
    script = (
        "import resource, runpy, sys;"
        f"resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, {hard}));"
        "sys.argv[0] = 'yummy-fast';"
        "runpy.run_module('yummy_fast', run_name='__main__', alter_sys=True)"
    )
    return ("-c", script)


def limits(process: Process) -> tuple[int, int]:
    return resource.prlimit(process.process.pid, resource.RLIMIT_NOFILE)


def test_the_soft_limit_is_raised(corpus: Path) -> None:
    with Server(corpus, program=under(256, 4000)) as server:
        assert limits(server) == (4000, 4000)
        assert "lowered" not in server.log


@pytest.mark.parametrize("flags", [(), TLS_FLAGS], ids=["plain", "TLS"])
def test_no_more_connections_are_taken_than_there_are_descriptors_for(corpus: Path, flags: tuple[str, ...]) -> None:
    """Whatever comes, none of them has to wait for a descriptor; and the log says what the limit is."""
    with Server(corpus, *flags, program=under(100, 264)) as server, contextlib.ExitStack() as stack:
        found = server.wait_for(
            r"WARNING --worker-connections 1000 lowered to (\d+): "
            r"a process may have 264 open files \(ulimit -n\), and would need (\d+)"
        )
        fits = int(found[1])
        assert fits == (88 if flags else 100)
        tls = tls_client_context() if flags else None
        clients = [stack.enter_context(Client(server.port, tls)) for _ in range(fits)]
        assert [client.ask("/health").status for client in clients] == [200] * fits
        silent(server, 250, stack)
        eventually(lambda: _refused(server, bool(flags)), "the answer for one too many")
        assert [client.ask("/health").status for client in clients] == [200] * fits
        assert len(os.listdir(f"/proc/{server.process.pid}/fd")) < 264
        assert "no connection can be taken" not in server.log


def _refused(server: Server, tls: bool) -> bool | None:
    with Client(server.port, tls_client_context() if tls else None) as client:
        return True if client.ask("/health").status == 503 else None
