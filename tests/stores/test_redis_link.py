"""One node: logins that change, names that move, roles. The rest of a link is tested as the store in test_redis.py."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import yummy_fast.stores.redis_link
from tests.clusters import Node, until
from tests.harness import PATIENCE_S, repository, run
from tests.stores.cluster_load import Load, opened, records, soon, stored_key
from yummy_fast.errors import ConfigError
from yummy_fast.sources.yaml_text import load_config
from yummy_fast.stores.redis import RedisStore
from yummy_fast.stores.redis_credentials import Login

made: list[Provider] = []


class Provider:
    """A provider of tokens that is none: it gives users in turn, each for a short time."""

    def __init__(self) -> None:
        self.given: list[Login] = []
        self.broken = False
        self.failed = 0
        made.append(self)

    async def login(self) -> Login:
        if self.broken:
            self.failed += 1
            raise RuntimeError("the token service is down")
        login = Login(f"user{len(self.given)}", f"secret{len(self.given)}", renew_in_s=0.01)
        self.given.append(login)
        return login


@pytest.fixture
def node() -> Iterator[Node]:
    with Node([]) as started:
        until(lambda: started.do("PING") == b"PONG", "a node")
        started.pipeline([("HSET", key, *fields) for key, fields in records().items()])
        yield started


def store_for(folder: Path, connection_string: str, **settings: Any) -> RedisStore:
    config = load_config(chdir=str(repository(folder, "redis", connection_string, settings=settings)), environ={})
    return RedisStore(config.repository, config.store)


def users(node: Node) -> set[str]:
    """The users of all connections but the one that asks."""
    clients = node.do("CLIENT", "LIST", "TYPE", "normal").decode().splitlines()
    return {line.split(" user=")[1].split(" ")[0] for line in clients if "cmd=client" not in line}


# ---------------------------------------------------------------------------------------------------------- credentials


def test_a_password_file_is_read_at_each_connect(node: Node, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("first\n")
    node.do("ACL", "SETUSER", "reader", "on", ">first", "~*", "+@all")

    async def reading() -> None:
        store = store_for(tmp_path / "r", f"127.0.0.1:{node.port},username=reader", redis_password_file=str(secret))
        async with opened(store):
            async with Load(store):
                assert users(node) == {"reader"}
            secret.write_text("second")
            await asyncio.to_thread(
                node.pipeline,
                [
                    ("ACL", "SETUSER", "reader", "resetpass", ">second"),
                    ("CLIENT", "KILL", "USER", "reader"),
                ],
            )
            await soon(lambda: store.state.connects == 2)
            async with Load(store) as load:
                pass
            assert not load.failed
            assert "Valkey" in await store.ping()
            assert (await store.survey(["many"])).views == frozenset(["many"])
        with contextlib.closing(store.looks()) as looks:
            assert await asyncio.to_thread(looks.exist, [stored_key(0)], 0) == [True]

    run(reading())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "No such file"),
        (b"", "expected a password on one line"),
        (b"one\ntwo\n", "on one line"),
        (b"\xff", "on one line"),
    ],
)
def test_a_password_file_that_cannot_be_used(tmp_path: Path, content: bytes | None, message: str) -> None:
    secret = tmp_path / "secret"
    if content is not None:
        secret.write_bytes(content)
    with pytest.raises(ConfigError, match=message) as raised:
        store_for(tmp_path / "r", "127.0.0.1:1", redis_password_file=str(secret))
    assert "two" not in str(raised.value)


@pytest.mark.parametrize("name", ["nothing", "no.such.module:made", f"{__name__}:nothing", f"{__name__}:made"])
def test_a_provider_that_is_none(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="--redis-credentials"):
        store_for(tmp_path / "r", "127.0.0.1:1", redis_credentials=name)


def test_a_login_is_renewed_on_the_connection_that_is_there(
    node: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """AUTH again between the commands of requests; a refused one, and a provider that fails, keep the old login."""
    monkeypatch.setattr(yummy_fast.stores.redis_link, "RENEW_LEAST_S", 0.05)
    node.pipeline([("ACL", "SETUSER", f"user{n}", "on", f">secret{n}", "~*", "+@all") for n in (0, 1, 2, 4, 5)])

    async def reading() -> None:
        store = store_for(tmp_path / "r", f"127.0.0.1:{node.port}", redis_credentials=f"{__name__}:Provider")
        provider = made[-1]
        async with opened(store), Load(store) as load:
            await soon(lambda: "AUTH again: WRONGPASS" in caplog.text)  # user3 is nobody
            await load.wait_for(50)
            await soon(lambda: len(provider.given) == 5)
            provider.broken = True
            await soon(lambda: provider.failed >= 3)
            assert caplog.text.count("no credentials: the token service is down") == 1
            await load.wait_for(50)
            assert await asyncio.to_thread(users, node) == {"user4"}
            assert store.state.connects == 1
        assert not load.failed

    run(reading())
    assert "secret" not in caplog.text


# ------------------------------------------------------------------------------------------------------ names that move


def test_what_a_node_refuses_is_forgotten_with_its_link(node: Node, tmp_path: Path) -> None:
    """A node that has left a cluster for good would else be called a problem for ever."""
    node.do("ACL", "SETUSER", "reader", "on", "nopass", "~*", "+@all", "-client|tracking")

    async def closing() -> None:
        store = store_for(tmp_path / "r", f"127.0.0.1:{node.port},username=reader,password=x", cache_mb=1)
        async with opened(store):
            assert "CLIENT TRACKING" in store.cache()["problem"]
        assert "problem" not in store.cache()

    run(closing())


def test_an_address_that_its_name_does_not_stand_for_is_left(
    node: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As at a failover of ElastiCache: the old node lives on, and its connections stay open."""
    link = yummy_fast.stores.redis_link
    monkeypatch.setattr(link, "RESOLVE_EVERY_S", 0.05)
    monkeypatch.setattr(link, "RESOLVE_AGAIN_S", 0.02)
    address = "127.0.0.1"
    ask = socket.getaddrinfo

    def getaddrinfo(host: str, *rest: Any, **options: Any) -> Any:
        if host != "redis.test":
            return ask(host, *rest, **options)
        if address == "down":
            raise socket.gaierror(-3, "temporary failure")
        return ask(address, *rest, **options)

    def broken(*_: object) -> Any:
        raise KeyError("a bug")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)

    async def reading() -> None:
        nonlocal address
        store = store_for(tmp_path / "r", f"redis.test:{node.port}")
        async with opened(store), Load(store) as load:
            first = store._connection
            assert first is not None
            assert first.peer == "127.0.0.1"
            address = "down"
            await load.wait_for(100)
            assert store._connection is first
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(link, "client", broken)
                address = "127.0.0.2"
                await soon(lambda: "has another address, which cannot be connected to" in caplog.text)
                assert store._connection is first
            await soon(lambda: store._connection is not None and store._connection.peer == "127.0.0.2")
            await load.wait_for(100)
            assert store.state.connections == 1
            assert store.state.losses == 0
            await soon(first.lost.done)
        assert not load.failed

    with asyncio.Runner() as runner:  # uvloop asks the DNS by itself
        runner.run(asyncio.wait_for(forwarded(node.port, reading), PATIENCE_S))


async def forwarded(port: int, reading: Any) -> None:
    """Run it while 127.0.0.2 leads to 127.0.0.1."""

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", port)

        async def copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
            with contextlib.suppress(ConnectionError, asyncio.CancelledError):
                while data := await source.read(1 << 16):
                    target.write(data)
            target.close()

        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(copy(reader, far_writer), copy(far_reader, writer))

    server = await asyncio.start_server(pass_on, "127.0.0.2", port)
    async with server:
        await reading()
