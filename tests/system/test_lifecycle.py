"""A server process from its start to its end: start-up, reload of the registry, signals, TLS."""

from __future__ import annotations

import signal
import socket
import sys
import time
from pathlib import Path

import pytest

from tests.harness import (
    CERTIFICATE,
    CERTIFICATE_KEY,
    PATIENCE_S,
    Client,
    Process,
    Proxy,
    Server,
    Valkey,
    add_service,
    command_line,
    eventually,
    features_request,
    replace_file,
    repository,
    request,
    tls_client_context,
)

NEW_SERVICE = {"feature_service": "svc_new", "entities": {"driver_id": [1002]}}

# ----------------------------------------------------------------------------------------------------------- starting


def test_start_up_to_first_answer(corpus: Path) -> None:
    """Half a second is the aim (0.35 s on an idle machine). The bound only catches what is plainly wrong."""
    start = time.monotonic()
    with Server(corpus) as server:
        assert server.features([1002]).columns["trips"] == [1]
        assert time.monotonic() - start < 5


def test_port_in_use_is_one_line(corpus: Path, server: Server) -> None:
    code, out, err = command_line("-c", corpus, "serve", "--port", str(server.port))
    assert (code, out) == (2, "")
    (line,) = [line for line in err.splitlines() if "cannot listen" in line]
    assert str(server.port) in line
    assert "Traceback" not in err


def test_the_folder_may_be_given_by_either_flag(corpus: Path) -> None:
    with Server(corpus, "-f", str(corpus / "feature_store.yaml")) as server:
        assert server.ask("/health").status == 200


# ------------------------------------------------------------------------------------------------------------ stopping


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("waits_for", ["configuration", "registry"])
def test_a_server_that_starts_stops_at_once(tmp_path: Path, waits_for: str, number: signal.Signals) -> None:
    """Told so while it waits for somebody, who would keep it for ten seconds. It has nothing to say."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        (tmp_path / "feature_store.yaml").write_text(f"project: corpus\nregistry: {url}\n")
        where = url if waits_for == "configuration" else str(tmp_path / "feature_store.yaml")
        with Process([sys.executable, "-m", "yummy_fast", "-f", where, "serve", "--port", "0"]) as server:
            silent.settimeout(PATIENCE_S)
            with silent.accept()[0]:
                start = time.monotonic()
                assert server.stop(number) == 0
                assert time.monotonic() - start < 5
                assert server.log == ""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_idle_server_stops_at_once(corpus: Path, number: signal.Signals) -> None:
    with Server(corpus) as server, server.client() as client:
        assert client.ask("/health").status == 200  # the connection is kept, and must not hold the server up
        start = time.monotonic()
        assert server.stop(number) == 0
        assert time.monotonic() - start < 5
        assert client.rest() == b""
        assert "Traceback" not in server.log


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_requests_in_flight_finish(tmp_path: Path, valkey: Valkey, number: signal.Signals) -> None:
    with Proxy(valkey.port) as proxy:
        settings = {"store_timeout_ms": 15_000}
        folder = repository(tmp_path / "r", "redis", f"127.0.0.1:{proxy.port}", settings=settings)
        with Server(folder) as server, server.client() as client, server.client() as idle:
            assert idle.ask("/health").status == 200
            proxy.hold()
            client.send(features_request(1002) + features_request(1001))
            proxy.wait_until_held()
            server.send_signal(number)
            assert idle.rest() == b""  # the server has begun to stop
            eventually(lambda: _refused(server.port), "the listener to be closed")
            proxy.release()
            first = client.answer()
            assert first.columns["trips"] == [1]
            assert client.answer().columns["trips"] == [0]
            assert client.rest() == b""
            assert server.wait() == 0


def _refused(port: int) -> bool | None:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except ConnectionRefusedError:
        return True
    return None


def test_reload_while_draining(tmp_path: Path, valkey: Valkey) -> None:
    """It changes nothing: the answer still comes. What a second SIGTERM does, test_supervisor.py shows."""
    with Proxy(valkey.port) as proxy:
        settings = {"store_timeout_ms": 15_000}
        folder = repository(tmp_path / "r", "redis", f"127.0.0.1:{proxy.port}", settings=settings)
        with Server(folder) as server, server.client() as client:
            proxy.hold()
            client.send(features_request(1002))
            proxy.wait_until_held()
            server.send_signal(signal.SIGTERM)
            server.wait_for("stopping")
            server.send_signal(signal.SIGHUP)
            proxy.release()
            assert client.answer().columns["trips"] == [1]
            assert server.wait() == 0


# ----------------------------------------------------------------------------------------------------------- reloading


def test_sighup_serves_the_new_registry(corpus: Path) -> None:
    with Server(corpus, "-r", "0") as server, server.client() as client:
        assert client.ask("/get-online-features", NEW_SERVICE).status == 404
        replace_file(
            corpus / "registry.db", add_service((corpus / "registry.db").read_bytes(), "svc_new", "svc_subset")
        )
        assert client.ask("/get-online-features", NEW_SERVICE).status == 404  # nobody looks with -r 0
        server.send_signal(signal.SIGHUP)
        server.wait_for("registry reloaded")
        answer = client.ask("/get-online-features", NEW_SERVICE)
        assert answer.columns["trips"] == [1]
        # Plans of feature lists are made anew too.
        client.send(features_request(1002))
        assert client.answer().columns["trips"] == [1]


def test_a_changed_file_is_noticed(corpus: Path) -> None:
    with Server(corpus) as server:
        assert server.ask("/get-online-features", NEW_SERVICE).status == 404
        replace_file(
            corpus / "registry.db", add_service((corpus / "registry.db").read_bytes(), "svc_new", "svc_subset")
        )
        server.wait_for("registry reloaded")
        assert server.ask("/get-online-features", NEW_SERVICE).status == 200


@pytest.mark.parametrize("data", [b"\xff\xff\xff no registry", b"\x0a\x05ab", None], ids=["bytes", "cut", "gone"])
def test_broken_registry_keeps_the_old(corpus: Path, data: bytes | None) -> None:
    registry = corpus / "registry.db"
    good = registry.read_bytes()
    with Server(corpus, "-r", "0") as server:
        if data is None:
            registry.unlink()
        else:
            replace_file(registry, data)
        server.send_signal(signal.SIGHUP)
        server.wait_for(r"ERROR registry not reloaded, the previous one stays in use: .*registry\.db")
        assert server.ask("/health").status == 200
        assert server.features([1002]).columns["trips"] == [1]
        replace_file(registry, add_service(good, "svc_new", "svc_subset"))
        server.send_signal(signal.SIGHUP)
        server.wait_for("registry reloaded")
        assert server.ask("/get-online-features", NEW_SERVICE).status == 200


def test_emptied_registry_is_not_served(corpus: Path) -> None:
    """An empty file is a valid protobuf message of nothing: a torn copy, most likely. The old registry stays."""
    with Server(corpus, "-r", "0") as server:
        (corpus / "registry.db").write_bytes(b"")
        mark = len(server.lines)
        server.send_signal(signal.SIGHUP)
        server.wait_for("registry (not )?reloaded", after=mark)
        assert server.features([1002]).status == 200


def test_reload_under_load_loses_nothing(corpus: Path) -> None:
    """Requests go on while the registry is replaced ten times, and all are answered."""
    registry = corpus / "registry.db"
    good = registry.read_bytes()
    with Server(corpus, "-r", "0") as server, server.client() as client:
        for turn in range(10):
            replace_file(registry, add_service(good, f"svc_{turn}", "svc_subset"))
            mark = len(server.lines)
            server.send_signal(signal.SIGHUP)
            client.send(features_request(1002) * 10)
            assert [client.answer().status for _ in range(10)] == [200] * 10
            server.wait_for("registry reloaded", after=mark)
        body = {"feature_service": "svc_9", "entities": {"driver_id": [1002]}}
        assert client.ask("/get-online-features", body).status == 200


# ----------------------------------------------------------------------------------------------------------------- TLS


def test_tls(corpus: Path) -> None:
    with Server(corpus, "--cert", str(CERTIFICATE), "--key", str(CERTIFICATE_KEY)) as server:
        assert server.url.startswith("https://")
        with Client(server.port, tls_client_context()) as client:
            for driver, trips in ((1001, 0), (1002, 1)):
                client.send(features_request(driver))
                assert client.answer().columns["trips"] == [trips]
            client.send(features_request(1001) + request("/nowhere"))
            assert [client.answer().status, client.answer().status] == [200, 404]
        # Somebody who does not speak TLS, and somebody who says nothing, harm nobody.
        with server.client() as plain, server.client():
            plain.send(request("/health"))
            plain.rest()
            with Client(server.port, tls_client_context()) as client:
                assert client.ask("/health").status == 200
        assert server.stop() == 0


@pytest.mark.parametrize("flags", [["--cert", "CERT"], ["--key", "KEY"]])
def test_half_of_tls_is_refused(corpus: Path, flags: list[str]) -> None:
    code, _, err = command_line("-c", corpus, "serve", "-p", "0", *flags)
    assert code == 2
    assert err.count("\n") == 1
    assert "--cert" in err
    assert "--key" in err


def test_a_certificate_that_cannot_be_read(corpus: Path) -> None:
    code, _, err = command_line("-c", corpus, "serve", "-p", "0", "--cert", "/nowhere.crt", "--key", "/nowhere.key")
    assert code == 2
    assert "Traceback" not in err
    assert "/nowhere.crt" in err.splitlines()[-1]


def test_a_signal_that_the_parent_has_blocked(corpus: Path) -> None:
    """A mask is inherited: SIGTERM would do nothing, from the start on."""
    block = "import signal, sys; signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGHUP}); "
    program = "from yummy_fast.__main__ import main; sys.argv[0] = 'yummy-fast'; main()"
    with Server(corpus, program=("-c", block + program)) as server:
        assert server.stop() == 0
