"""The Redis store: connection strings, replies in their places, and a Redis that comes, goes, hangs, talks nonsense."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import ssl
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import redis.asyncio
from google.protobuf.timestamp_pb2 import Timestamp

import yummy_fast.feast_format.values
import yummy_fast.stores.redis
import yummy_fast.stores.redis_connection
from tests.harness import (
    CERTIFICATE,
    CERTIFICATE_KEY,
    Proxy,
    Server,
    Valkey,
    command_line,
    eventually,
    features_request,
    replace_file,
    repository,
    run,
    tls_server_context,
)
from tests.ports import free_port
from tests.stores.cluster_load import opened, soon
from tests.stores.write_load import VIEWS, rows_of, written_view
from yummy_fast.config.settings import Config
from yummy_fast.endpoints import Endpoints
from yummy_fast.errors import ConfigError, StoreError, StoreTimeoutError, StoreUnavailableError
from yummy_fast.feast_format._proto.registry_pb2 import Registry
from yummy_fast.feast_format.keys import entity_key_header, feature_field, key_value_encoder, timestamp_field
from yummy_fast.feast_format.values import ValueType
from yummy_fast.features.catalog import Catalog
from yummy_fast.features.plan import Feature, HashContents, Lookup, Rows
from yummy_fast.features.transforms import Transforms
from yummy_fast.features.written import Chosen
from yummy_fast.http.connection import Connection, Connections
from yummy_fast.server.app import build_catalog
from yummy_fast.sources.yaml_text import load_config
from yummy_fast.stores.redis import RedisStore
from yummy_fast.telemetry.metrics import Metrics

# -------------------------------------------------------------------------------------------------- connection strings


@pytest.mark.parametrize(
    "text", ["", "localhost", "localhost:", ":6379", "localhost:port", "db=1", "http://h:1", "h:99999999"]
)
def test_connection_string_that_is_none(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match=r"online_store\.connection_string"):
        redis_store(config_for(tmp_path / "r", text))


@pytest.mark.parametrize(
    "text",
    [
        "hunter2",
        "hunter2@localhost:6379,dbb=1",
        "localhost:6379,password=hunter2,no_such_option=1",
        "localhost:6379,password=hunter2,protocol=3",
        "user:hunter2@localhost:6379",
        "hunter2@localhost:6379",
        "user:hunter2@localhost:6379,db=1",
        "user:hunter2@localhost",
        "localhost,password=hunter2",
        "redis://:hunter2@localhost:port",
        "redis://:hunter2/x@localhost:6379",
        "redis://:hunter2@localhost:6379?no_such_option=1",
        "redis://:hunter2@localhost:6379?socket_timeout=soon",
        "http://user:hunter2@localhost",
        "password=hunter2",
    ],
)
def test_messages_do_not_quote_passwords(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError) as raised:
        redis_store(config_for(tmp_path / "r", text))
    assert "hunter2" not in str(raised.value)
    assert "online_store.connection_string" in str(raised.value)


@pytest.mark.parametrize(
    "options",
    [
        "socket_connect_timeout=soon",
        "ssl=true,ssl_cert_reqs=maybe",
        "db=first",
        "username=1,password=2",
        "ssl=true,ssl_ca_certs=/no",
        "port=99999999",
    ],
)
def test_options_that_only_fail_when_connecting(tmp_path: Path, valkey: Valkey, options: str) -> None:
    """They are refused, or tried and told of. What must not be is a server that waits for ever to begin."""

    async def opening() -> None:
        try:
            store = redis_store(config_for(tmp_path / "r", f"127.0.0.1:{valkey.port},{options}"))
        except ConfigError:
            return
        try:
            async with asyncio.timeout(5):
                await store.open()
            with pytest.raises(StoreUnavailableError):
                await store.fetch(store.prepare((stats(),)), [[key(1001)]])
            with pytest.raises(StoreUnavailableError):
                await store.ping()  # as `check` does
        finally:
            await store.close()

    run(opening())


@pytest.mark.parametrize("form", ["127.0.0.1:{},protocol=2", "redis://127.0.0.1:{}?protocol=2"])
def test_the_protocol_that_is_spoken_may_be_asked_for(tmp_path: Path, valkey: Valkey, form: str) -> None:
    async def reading() -> None:
        store = redis_store(config_for(tmp_path / "r", form.format(valkey.port)))
        await store.open()
        try:
            assert (await answered(store))[0][0][0] is not None
            assert "Valkey" in await store.ping()
        finally:
            await store.close()

    run(reading())


@pytest.mark.parametrize("text", ["localhost:6379,pasword=x", "redis://localhost:6379?pasword=x"])
def test_an_option_that_is_none_is_named(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match=r"connection_string: pasword: no such option"):
        redis_store(config_for(tmp_path / "r", text))


@pytest.mark.parametrize("key_text", ["hostt: x", "redis_type: redis_clusters", "connection_string: ''"])
def test_keys_that_are_not_feasts(tmp_path: Path, key_text: str) -> None:
    folder = repository(tmp_path / "r", "redis", "localhost:1")
    lines = (folder / "feature_store.yaml").read_text().splitlines()
    place = next(place for place, line in enumerate(lines) if "connection_string" in line)
    lines[place : place + 1] = [f"  {key_text}"]
    (folder / "feature_store.yaml").write_text("\n".join(lines))
    with pytest.raises(ConfigError, match=rf"online_store\.{key_text.partition(':')[0]}"):
        redis_store(load_config(chdir=str(folder), environ={}))


def test_the_connection_string_of_azures_portal(tmp_path: Path) -> None:
    """It is made for .NET clients (StackExchange.Redis)."""
    text = "c.redis.cache.windows.net:6380,password=abc=,ssl=True,abortConnect=False,allowAdmin=true"
    store = redis_store(config_for(tmp_path / "r", text))
    assert store.address == "c.redis.cache.windows.net:6380"
    (notice,) = store.notices
    assert notice.startswith(f"{tmp_path}/r/feature_store.yaml: online_store.connection_string: ")
    assert "abortConnect, allowAdmin: ignored" in notice
    assert "abc" not in notice
    assert redis_store(config_for(tmp_path / "r", "localhost:6379,ssl=true")).notices == ()


def test_false_that_is_no_json_means_yes(tmp_path: Path) -> None:
    """feast/infra/online_stores/redis.py: it is no JSON, so it stays a text, and to redis-py any text is true."""
    (notice,) = redis_store(config_for(tmp_path / "r", "localhost:6379,ssl=False")).notices
    assert "connection_string: ssl=False turns TLS on" in notice


@pytest.mark.parametrize(("option", "ours"), [("user=me", "username"), ("defaultDatabase=3", "db")])
def test_dotnet_options_that_matter_are_refused(tmp_path: Path, option: str, ours: str) -> None:
    with pytest.raises(ConfigError, match=rf"connection_string: {option.partition('=')[0]}: .* Feast calls it {ours}$"):
        redis_store(config_for(tmp_path / "r", f"localhost:6379,{option}"))


@pytest.mark.parametrize(
    "value",
    [
        "redis://a:1,redis://b:secret@c:2",
        "rediss://a:1, rediss://b:2",
        "redis://:secret@a:1,b:2",
        "redis://a:1, b:2/0",
    ],
)
def test_a_list_of_urls(tmp_path: Path, value: str) -> None:
    with pytest.raises(ConfigError, match=r"feature_store.yaml: .*connection_string: .* got a list of URLs") as caught:
        redis_store(config_for(tmp_path / "r", value))
    assert "secret" not in str(caught.value)


def test_a_yaml_list_of_addresses(tmp_path: Path) -> None:
    folder = repository(tmp_path / "r", "redis", "PLACE")
    file = folder / "feature_store.yaml"
    file.write_text(file.read_text().replace('"PLACE"', "[redis://a:1, redis://b:2]"))
    with pytest.raises(ConfigError, match=r"feature_store.yaml: .*connection_string: .* one Redis, got a list$"):
        redis_store(load_config(chdir=str(folder), environ={}))


@pytest.mark.parametrize("name", ["ssl_ca_certs", "ssl_ca_path", "ssl_certfile", "ssl_keyfile"])
def test_a_file_for_tls_that_is_not_there(tmp_path: Path, name: str) -> None:
    """redis-py would say "No such file or directory" when it connects, and not which."""
    with pytest.raises(ConfigError, match=rf"yaml: .*connection_string: {name}: there is no file /nowhere/a\.pem$"):
        redis_store(config_for(tmp_path / "r", f"localhost:6379,ssl=true,{name}=/nowhere/a.pem"))


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_server_that_demands_a_client_certificate(tmp_path: Path, valkey: Valkey, version: ssl.TLSVersion) -> None:
    context = tls_server_context()
    context.minimum_version = context.maximum_version = version
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(CERTIFICATE)
    text = f"localhost:{{}},ssl=true,ssl_ca_certs={CERTIFICATE}"
    own = f",ssl_certfile={CERTIFICATE},ssl_keyfile={CERTIFICATE_KEY}"
    with Proxy(valkey.port, tls=context) as proxy:
        without = redis_store(config_for(tmp_path / "r", text.format(proxy.port)))
        with pytest.raises(StoreError, match=r"client certificate, give ssl_certfile=\.\.\. and ssl_keyfile="):
            run(without.ping())
        assert "at localhost" in run(redis_store(config_for(tmp_path / "r", text.format(proxy.port) + own)).ping())


# -------------------------------------------------------------------------------------------------------- what we read


def redis_store(config: Config) -> RedisStore:
    return RedisStore(config.repository, config.store)


def config_for(folder: Path, connection_string: str, **settings: object) -> Config:
    return load_config(chdir=str(repository(folder, "redis", connection_string, settings=settings)), environ={})


def key(driver: int) -> bytes:
    return entity_key_header(["driver_id"], 3) + key_value_encoder(ValueType.INT64, 3)(driver)


def lookup(*names: str, view: str = "driver_stats") -> Lookup:
    features = tuple(Feature(view, name, ValueType.INT64) for name in names)
    return Lookup(
        features=features,
        views=(view,),
        view_of=(0,) * len(names),
        join_keys=(("driver_id", "driver_id"),),
        holds=HashContents.of(features),
    )


def stats() -> Lookup:
    return lookup("trips")


def write_drivers(valkey: Valkey, count: int, view: str = "many") -> None:
    """Drivers 0 to `count`, of which each feature n is the driver's number as text: nobody can take one for another."""
    stamp = Timestamp(seconds=1).SerializeToString()
    valkey.pipeline(
        [
            ("HSET", key(driver) + b"corpus", feature_field(view, "n"), b"%d" % driver, timestamp_field(view), stamp)
            for driver in range(count)
        ],
        db=3,
    )


# ---------------------------------------------------------------------------------------------- replies in their places


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("read", ["hmget", "hgetall"])
def test_cancelled_fetches_keep_their_places(tmp_path: Path, valkey: Valkey, seed: int, read: str) -> None:
    """CVE-2023-28858: hundreds of fetches, many given up at any stage, through a wire that tears replies to pieces."""
    dice = random.Random(seed)
    write_drivers(valkey, 200)

    async def reading(proxy: Proxy) -> None:
        config = config_for(tmp_path / "r", f"127.0.0.1:{proxy.port},db=3", redis_read=read, store_timeout_ms=10_000)
        store = redis_store(config)
        await store.open()
        try:
            prepared = store.prepare((lookup("n", view="many"), lookup("n", view="many")))
            waiting: list[tuple[list[int], list[int], asyncio.Future[Any]]] = []
            for turn in range(400):
                drivers = [dice.randrange(200) for _ in range(dice.randrange(1, 8))]
                others = [dice.randrange(200)]
                waiting.append(
                    (drivers, others, store.fetch(prepared, [list(map(key, drivers)), list(map(key, others))]))
                )
                if dice.random() < 0.5:
                    dice.choice(waiting)[2].cancel()  # some that were not sent, some half answered, some done
                if turn % 20 == 0:
                    await asyncio.wait([waiting[dice.randrange(len(waiting))][2]])
            answered = 0
            for drivers, others, future in waiting:
                if future.cancelled():
                    continue
                first, second = await future
                assert [row[0] for row in first] == [b"%d" % driver for driver in drivers]
                assert [row[0] for row in second] == [b"%d" % driver for driver in others]
                answered += 1
            assert 100 < answered < 390
            assert proxy.connections == 1
        finally:
            await store.close()

    with Proxy(valkey.port) as proxy:
        proxy.split(dice.choice([1, 7, 61]))
        run(reading(proxy))


def test_a_key_that_several_ask_for_at_once_is_read_once(tmp_path: Path, valkey: Valkey) -> None:
    """Each gets its rows, or its error, also when the first has given up; the next tick reads again."""
    write_drivers(valkey, 2)

    async def reading(proxy: Proxy) -> None:
        store = redis_store(config_for(tmp_path / "r", f"127.0.0.1:{proxy.port},db=3", store_timeout_ms=300))
        await store.open()
        try:
            prepared, others = (store.prepare((lookup("n", view="many"),)) for _ in range(2))
            wire: Any = store._connection
            before = len(wire._waiting)
            asked = [store.fetch(prepared, [[key(1)]]) for _ in range(5)]
            asked += [store.fetch(prepared, [[key(0)]]), store.fetch(others, [[key(1)]])]
            assert len(wire._waiting) - before - wire._checks - 1 <= 3
            assert store.state.shared_reads == 4
            asked[0].cancel()
            asked[2].cancel()
            found = await asyncio.gather(*asked, return_exceptions=True)
            numbers = [None if isinstance(rows, BaseException) else rows[0][0][0] for rows in found]
            assert numbers == [None, b"1", None, b"1", b"1", b"0", b"1"]
            assert not wire.asked, "what was asked for is forgotten with the write"
            assert (await store.fetch(prepared, [[key(1)]]))[0][0][0] == b"1"
            assert store._asked == {}
            proxy.hold()
            for future in [store.fetch(prepared, [[key(1)]]) for _ in range(3)]:
                with pytest.raises(StoreTimeoutError):
                    await future
        finally:
            await store.close()

    with Proxy(valkey.port) as proxy:
        run(reading(proxy))


def test_another_command_while_replies_are_under_way(tmp_path: Path, valkey: Valkey) -> None:
    """A long value lets the store change from HGETALL to HMGET (`HashReader`): no reply may be taken for the other."""
    names = [f"n{place}" for place in range(40)]
    features = tuple(Feature("long", name, ValueType.STRING) for name in names)
    wide = replace(lookup(*names, view="long"), features=features, holds=HashContents.of(features))
    stamp = Timestamp(seconds=1).SerializeToString()
    for driver in range(60):
        values = [b"%d" % driver + b"x" * (200 if driver == 30 else 0) + b"%d" % place for place in range(40)]
        pairs = [
            part for name, value in zip(names, values, strict=True) for part in (feature_field("long", name), value)
        ]
        valkey.do("HSET", key(driver) + b"corpus", *pairs, timestamp_field("long"), stamp, db=4)

    async def reading() -> None:
        store = redis_store(config_for(tmp_path / "r", f"127.0.0.1:{valkey.port},db=4"))
        await store.open()
        try:
            prepared = store.prepare((wide,))
            waiting = [(d, store.fetch(prepared, [[key(30), key(d)]])) for d in range(60)]
            assert store.describe(prepared)[0].startswith("HGETALL")
            await asyncio.wait([waiting[0][1]])
            waiting.append((0, store.fetch(prepared, [[key(30), key(0)]])))
            assert store.describe(prepared)[0].startswith("HMGET")
            waiting += [(d, store.fetch(prepared, [[key(30), key(d)]])) for d in range(60)]
            for driver, future in waiting:
                ((_, row),) = await future
                middle = b"x" * (200 if driver == 30 else 0)
                assert list(row) == [b"%d%b%d" % (driver, middle, place) for place in range(40)] + [stamp]
        finally:
            await store.close()

    run(reading())


def test_late_replies_are_nobody_elses(tmp_path: Path, valkey: Valkey) -> None:
    """Replies that come after the timeout are dropped in their places: the connection is kept, and right."""
    write_drivers(valkey, 10)

    async def reading(proxy: Proxy) -> None:
        config = config_for(tmp_path / "r", f"127.0.0.1:{proxy.port},db=3", store_timeout_ms=1000)
        store = redis_store(config)
        await store.open()
        try:
            prepared = store.prepare((lookup("n", view="many"),))
            proxy.hold()
            late = [store.fetch(prepared, [[key(driver)]]) for driver in range(5)]
            for future in late:
                with pytest.raises(StoreTimeoutError):
                    await future
            with pytest.raises(StoreUnavailableError, match="does not answer"):
                await store.fetch(prepared, [[key(5)]])  # at once: it has been silent for the whole timeout
            proxy.release()
            while (first := store.fetch(prepared, [[key(5)]])).done():  # until the first late reply is here
                assert isinstance(first.exception(), StoreUnavailableError)
                await asyncio.sleep(0.001)
            after = [first] + [store.fetch(prepared, [[key(driver)]]) for driver in range(6, 10)]
            assert [(await future)[0][0][0] for future in after] == [b"5", b"6", b"7", b"8", b"9"]
            assert proxy.connections == 1
        finally:
            await store.close()

    with Proxy(valkey.port) as proxy:
        run(reading(proxy))


def test_lost_replies_end_the_connection(tmp_path: Path, valkey: Valkey) -> None:
    """A Redis that swallows replies is given up after twice the timeout, and a new connection is made."""
    with Proxy(valkey.port) as proxy:
        settings = {"store_timeout_ms": 150}
        with Server(repository(tmp_path / "r", "redis", f"127.0.0.1:{proxy.port}", settings=settings)) as server:
            proxy.hold()
            assert server.features([1002]).status == 504
            server.wait_for("connection lost: no reply")
            proxy.release()
            answer = eventually(lambda: _if(server.features([1002]), 200), "a new connection")
            assert answer.columns["trips"] == [1]
            assert proxy.connections == 2


def test_what_came_in_time_is_no_timeout_although_we_look_late(tmp_path: Path, valkey: Valkey) -> None:
    """Another socket's bytes keep the loop busy for longer than the timeout, while the replies lie in Redis's."""
    write_drivers(valkey, 10)

    async def reading(proxy: Proxy) -> None:
        loop = asyncio.get_running_loop()
        store = redis_store(config_for(tmp_path / "r", f"127.0.0.1:{proxy.port},db=3", store_timeout_ms=500))
        await store.open()
        near, far = socket.socketpair()

        def busy() -> None:
            near.recv(1)
            proxy.release()
            time.sleep(1)  # this is what keeps it busy

        loop.add_reader(near, busy)
        try:
            prepared = store.prepare((lookup("n", view="many"),))
            proxy.hold()
            waiting = [store.fetch(prepared, [[key(driver)]]) for driver in range(10)]
            await asyncio.to_thread(proxy.wait_until_held)
            far.send(b"x")
            assert [(await future)[0][0][0] for future in waiting] == [b"%d" % driver for driver in range(10)]
        finally:
            loop.remove_reader(near)
            near.close()
            far.close()
            await store.close()

    with Proxy(valkey.port) as proxy:
        run(reading(proxy))


@pytest.mark.parametrize("error", [RuntimeError("the handler is closed"), KeyError("a bug")])
def test_whatever_fails_it_goes_on_trying(
    tmp_path: Path, valkey: Valkey, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    """uvloop says RuntimeError for a connection that is reset at once. Whoever gives up then is down for ever."""
    connect = redis.asyncio.Connection.connect
    attempts: list[object] = []

    async def fail(connection: redis.asyncio.Connection) -> None:
        attempts.append(connection)
        if len(attempts) < 3:
            raise error
        await connect(connection)  # type: ignore[no-untyped-call]

    monkeypatch.setattr(redis.asyncio.Connection, "connect", fail)

    async def reading() -> None:
        store = redis_store(config_for(tmp_path / "r", f"127.0.0.1:{valkey.port}"))
        await store.open()
        try:
            assert (await answered(store))[0][0][0] is not None
            assert len(attempts) == 3
        finally:
            await store.close()

    run(reading())


async def answered(store: RedisStore) -> Rows:
    """What a store answers once it is connected."""
    prepared = store.prepare((stats(),))
    async with asyncio.timeout(5):
        while True:
            with contextlib.suppress(StoreUnavailableError):
                return await store.fetch(prepared, [[key(1002)]])
            await asyncio.sleep(0.01)


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="Linux has it")
@pytest.mark.parametrize(("timeout_ms", "expected_ms"), [(300, 1000), (5000, 5000)])
def test_the_kernel_watches_the_connection(
    tmp_path: Path, valkey: Valkey, timeout_ms: int, expected_ms: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Any] = []
    wire = yummy_fast.stores.redis_connection.RedisConnection

    def watched(transport: Any, *rest: Any) -> Any:
        made.append(transport)
        return wire(transport, *rest)

    monkeypatch.setattr("yummy_fast.stores.redis_link.RedisConnection", watched)

    async def looking(options: str) -> list[int]:
        store = redis_store(
            config_for(tmp_path / "r", f"127.0.0.1:{valkey.port}{options}", store_timeout_ms=timeout_ms)
        )
        await store.open()
        try:
            tcp = made.pop().get_extra_info("socket")
            return [
                bool(tcp.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)),
                *(tcp.getsockopt(socket.IPPROTO_TCP, option) for option in (socket.TCP_KEEPIDLE, socket.TCP_KEEPCNT)),
                tcp.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT),
            ]
        finally:
            await store.close()

    assert run(looking("")) == [True, 5, 3, expected_ms]
    assert run(looking(",socket_keepalive=false"))[3] == 0


@pytest.mark.skipif(sys.platform != "linux", reason="127.0.0.2 has to be there")
def test_the_name_is_looked_up_at_every_attempt(
    tmp_path: Path, valkey: Valkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failover behind a name: the other address is found."""
    looked_up: list[str] = []
    address = "127.0.0.2"  # nobody listens there
    ask = socket.getaddrinfo

    def getaddrinfo(host: str, *rest: Any, **options: Any) -> Any:
        if host != "redis.test":
            return ask(host, *rest, **options)
        looked_up.append(address)
        return ask(address, *rest, **options)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)

    async def reading() -> None:
        nonlocal address
        store = redis_store(config_for(tmp_path / "r", f"redis.test:{valkey.port}"))
        await store.open()
        try:
            prepared = store.prepare((stats(),))
            with pytest.raises(StoreUnavailableError):
                await store.fetch(prepared, [[key(1002)]])
            address = "127.0.0.1"
            await answered(store)
            assert looked_up[-1] == "127.0.0.1"
        finally:
            await store.close()

    asyncio.run(reading())  # uvloop does not ask Python's resolver


def test_a_connection_that_never_lasts_is_not_made_in_a_loop(tmp_path: Path, own_valkey: Valkey) -> None:
    """A Redis, or what stands before it, that lets us in and throws us out again: with pauses."""
    with (
        Proxy(own_valkey.port) as proxy,
        Server(repository(tmp_path / "r", "redis", f"127.0.0.1:{proxy.port}")) as server,
    ):
        for _ in range(5):
            mark = len(server.lines)
            proxy.cut()
            server.wait_for("connection lost", after=mark)
            server.wait_for("connected again", after=mark)
        times = [line.split()[1] for line in server.lines if "connected again" in line]
        seconds = [float(text.rpartition(":")[2].replace(",", ".")) for text in times]
        assert (seconds[-1] - seconds[-2]) % 60 > 0.2, server.log
        assert server.features([1002]).columns["trips"] == [1]


def _if(answer: Any, status: int) -> Any:
    return answer if answer.status == status else None


def test_an_error_reply_fails_its_request_alone(tmp_path: Path, own_valkey: Valkey) -> None:
    """A key of the wrong type among good ones, all in one write and in one segment of replies."""
    own_valkey.do("SET", key(7) + b"corpus", "no hash")
    with (
        Server(repository(tmp_path / "r", "redis", f"127.0.0.1:{own_valkey.port}")) as server,
        server.client() as client,
    ):
        drivers = [1001, 7, 1002, 7, 7, 1001]
        client.send(b"".join(features_request(driver) for driver in drivers))
        answers = [client.answer() for _ in drivers]
        assert [answer.status for answer in answers] == [200, 502, 200, 502, 502, 200]
        assert [answer.columns["trips"] for answer in answers if answer.status == 200] == [[0], [1], [0]]
        assert answers[1].json == "The online store answered WRONGTYPE"
        server.wait_for("requests get status 502")
        assert server.log.count("ERROR requests get status 502: The online store answered WRONGTYPE") == 1
        # One bad key fails the request that asked for it, good keys and all.
        assert server.features([1001, 7, 1002]).status == 502
        assert server.features([1001, 1002]).columns["trips"] == [0, 1]


@pytest.mark.parametrize(
    "setup", [("CONFIG", "SET", "maxmemory", "1"), ("ACL", "SETUSER", "default", "-hmget", "-hgetall")]
)
def test_errors_of_the_whole_store(tmp_path: Path, own_valkey: Valkey, setup: tuple[str, ...]) -> None:
    """Out of memory does not hinder reads; a missing right is an error in its place, and passes."""
    with Server(repository(tmp_path / "r", "redis", f"127.0.0.1:{own_valkey.port}")) as server:
        own_valkey.do(*setup)
        answer = server.features([1002])
        assert answer.status == (200 if setup[0] == "CONFIG" else 503)
        # Redis answers, so the store has nothing to say; but only an operator can end it.
        assert ("requests get status 503: The online store answered NOPERM" in server.log) is (setup[0] == "ACL")
        own_valkey.do("ACL", "SETUSER", "default", "+@all")
        assert server.features([1002]).columns["trips"] == [1]


def test_a_user_who_may_only_read_hashes_is_enough(tmp_path: Path, own_valkey: Valkey) -> None:
    own_valkey.do("ACL", "SETUSER", "reader", "on", ">word", "~*", "+hmget", "+hgetall")
    where = f"127.0.0.1:{own_valkey.port},username=reader,password=word"
    folder = repository(tmp_path / "r", "redis", where)
    code, out, err = command_line("-c", folder, "check")
    assert (code, err) == (1, "")  # for what the corpus has on purpose
    assert f"redis, answers: Redis or Valkey at 127.0.0.1:{own_valkey.port}" in out
    with Server(folder) as server:
        assert server.features([1002]).columns["trips"] == [1]
        assert server.ask("/readyz").status == 200


@pytest.mark.parametrize("refused", ["-hmget", "-@all", "resetkeys"])
def test_a_user_who_may_not_read_is_not_ready_and_heals(tmp_path: Path, own_valkey: Valkey, refused: str) -> None:
    """From the start, and on a connection that is there: told by the log, by /readyz, by `check`."""
    own_valkey.do("ACL", "SETUSER", "reader", "on", ">word", "~*", "+@all", refused)
    folder = repository(tmp_path / "r", "redis", f"127.0.0.1:{own_valkey.port},username=reader,password=word")
    checked = command_line("-c", folder, "check")
    assert checked.code == 2, checked.out
    assert "permission" in checked.err
    assert "word" not in checked.err
    with Server(folder) as server:
        assert server.ask("/readyz").status == 503
        server.wait_for("ERROR online store .*: cannot connect: .*permission")
        assert server.features([1002]).status == 503
        own_valkey.do("ACL", "SETUSER", "reader", "~*", "+@all")
        eventually(lambda: _if(server.ask("/readyz"), 200), "ready")
        assert server.features([1002]).columns["trips"] == [1]
        own_valkey.do("ACL", "SETUSER", "reader", refused)
        answer = eventually(lambda: _if(server.ask("/readyz"), 503), "not ready any more")
        assert answer.json["reasons"] == ["the online store refuses to be read: NOPERM"]
        server.wait_for("ERROR online store .*: refuses to be read: NOPERM")
        own_valkey.do("ACL", "SETUSER", "reader", "~*", "+@all")
        eventually(lambda: _if(server.ask("/readyz"), 200), "ready")
        server.wait_for("WARNING online store .*: can be read again")
        assert server.log.count("refuses to be read") == 1


def test_a_user_who_may_not_read_is_noticed_while_requests_keep_coming(tmp_path: Path, own_valkey: Valkey) -> None:
    with (
        Server(repository(tmp_path / "r", "redis", f"127.0.0.1:{own_valkey.port}")) as server,
        server.client() as client,
    ):
        own_valkey.do("ACL", "SETUSER", "default", "-hmget", "-hgetall")

        def not_ready() -> bool | None:
            client.send(features_request(1002))
            assert client.answer().status == 503
            return True if client.ask("/readyz").status == 503 else None

        eventually(not_ready, "not ready")
        own_valkey.do("ACL", "SETUSER", "default", "+@all")


def test_a_password_that_was_forgotten(tmp_path: Path) -> None:
    """The connection is made all the same, and nothing can be read on it."""
    with Valkey("--requirepass", "secret") as valkey:
        valkey.load("redis")
        folder = repository(tmp_path / "r", "redis", f"127.0.0.1:{valkey.port}")
        checked = command_line("-c", folder, "check")
        assert checked.code == 2
        assert "uthentication required" in checked.err
        with Server(folder) as server:
            server.wait_for("ERROR online store .*: cannot connect: .*uthentication required")
            assert server.ask("/readyz").status == 503
            assert server.features([1002]).status == 503
            valkey.do("CONFIG", "SET", "requirepass", "")
            eventually(lambda: _if(server.ask("/readyz"), 200), "ready")
            assert server.features([1002]).columns["trips"] == [1]


def test_what_is_read_to_be_ready_is_what_requests_read(tmp_path: Path, own_valkey: Valkey) -> None:
    """A user may be allowed one command and not the other, and keys by a pattern."""
    own_valkey.do("ACL", "SETUSER", "reader", "on", ">word", "~*driver_id*corpus", "+hgetall")
    where = f"127.0.0.1:{own_valkey.port},username=reader,password=word"
    folder = repository(tmp_path / "r", "redis", where, settings={"redis_read": "hgetall"})
    with Server(folder) as server:
        assert server.features([1002]).columns["trips"] == [1]
        eventually(lambda: _if(server.ask("/readyz"), 200), "ready")


def test_nonsense_instead_of_replies(tmp_path: Path) -> None:
    """A port where something else lives, an HTTP server: no crash, no hang, 503."""
    with (
        Server(repository(tmp_path / "a", "redis", f"127.0.0.1:{free_port()}")) as other,
        Server(repository(tmp_path / "b", "redis", f"127.0.0.1:{other.port}")) as server,
    ):
        assert server.ask("/health").status == 200
        assert server.features([1002]).status == 503


def test_a_request_of_no_lookups_harms_nobody(tmp_path: Path, valkey: Valkey) -> None:
    """An on-demand view of request data alone reads nothing: whatever it answers, others are served as before."""
    folder = repository(tmp_path / "r", "redis", f"127.0.0.1:{valkey.port}", settings={"store_timeout_ms": 2000})
    registry = Registry.FromString((folder / "registry.db").read_bytes())
    (view,) = registry.on_demand_feature_views
    for name, source in list(view.spec.sources.items()):
        if source.WhichOneof("source") != "request_data_source":
            del view.spec.sources[name]
        else:  # what the function took from the driver comes with the request now
            schema = view.spec.sources[name].request_data_source.request_data_options.schema
            schema.add(name="trips", value_type=ValueType.INT64)
            schema.add(name="acc_rate", value_type=ValueType.DOUBLE)
    replace_file(folder / "registry.db", registry.SerializeToString())
    body = {"features": ["adjusted:trips_plus"], "entities": {"bonus": [1], "trips": [41], "acc_rate": [0.5]}}
    with Server(folder) as server:
        assert server.features([1002]).columns["trips"] == [1]
        with server.client() as client:
            client.send(features_request(1001))
            assert client.answer().status == 200
            assert server.ask("/get-online-features", body).columns["trips_plus"] == [42]
            client.send(features_request(1002))
            assert client.answer().columns["trips"] == [1]


# ------------------------------------------------------------------------------- what is written, kept, and looked into


def block_of(folder: Path, *lines: str) -> Config:
    """A repository whose online_store block has these lines besides its type."""
    repository(folder, "redis", "localhost:1")
    path = folder / "feature_store.yaml"
    kept = [line for line in path.read_text().splitlines() if "connection_string" not in line]
    place = next(place for place, line in enumerate(kept) if "type: redis" in line)
    kept[place + 1 : place + 1] = [f"  {line}" for line in lines]
    path.write_text("\n".join(kept))
    return load_config(chdir=str(folder), environ={})


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("key_ttl_seconds: -1", "key_ttl_seconds: expected a whole number of seconds, got -1"),
        ("key_ttl_seconds: true", "key_ttl_seconds: expected a whole number of seconds, got True"),
        ("key_ttl_seconds: soon", "key_ttl_seconds: expected a whole number of seconds, got 'soon'"),
        ("skip_dedup: 1", "skip_dedup: expected true or false, got 1"),
        ("sentinel_master: 5", "sentinel_master: expected a name"),
    ],
)
def test_values_that_feast_would_not_take(tmp_path: Path, line: str, expected: str) -> None:
    with pytest.raises(ConfigError) as raised:
        redis_store(block_of(tmp_path / "r", line))
    assert str(raised.value).endswith(f"online_store.{expected}")


def test_rows_are_written_as_feast_would_and_read_back(tmp_path: Path, own_valkey: Valkey) -> None:
    """Of rows that are chosen, and of these alone; each hash with its ttl."""
    block = (f"connection_string: 127.0.0.1:{own_valkey.port}", "key_ttl_seconds: 500", "skip_dedup: true")

    async def writing() -> None:
        store = redis_store(block_of(tmp_path / "r", *block))
        assert not store.compares_times
        writers = [store.prepare_write(written_view(name)) for name in VIEWS]
        async with opened(store):
            await answered(store)
            first, second = rows_of([7001, 7002], 5), rows_of([7001, 7002], 6)
            await store.write([(writers[0], Chosen(first, [0])), (writers[1], Chosen(second, []))])
            await store.write([(writers[0], Chosen(first, [])), (writers[1], Chosen(second, []))])
            lookups = tuple(lookup("a", view=name) for name in VIEWS)
            found = await store.fetch(store.prepare(lookups), [[key(7001), key(7002)]] * 2)
            assert [[row[0] for row in rows] for rows in found] == [[b"5", None], [None, None]]

    run(writing())
    stored = own_valkey.do("HGETALL", key(7001) + b"corpus")
    fields = dict(zip(stored[::2], stored[1::2], strict=True))
    assert fields == {timestamp_field("first"): b"5", **{feature_field("first", name): b"5" for name in "abc"}}
    assert 0 < own_valkey.do("TTL", key(7001) + b"corpus") <= 500
    assert own_valkey.do("EXISTS", key(7002) + b"corpus") == 0


def test_nothing_is_written_without_a_connection(tmp_path: Path) -> None:
    async def writing() -> None:
        store = redis_store(config_for(tmp_path / "r", f"127.0.0.1:{free_port()}"))
        writer = store.prepare_write(written_view("first"))
        async with opened(store):
            await store.write([(writer, Chosen(rows_of([1], 5), []))])  # there is nothing to do
            with pytest.raises(StoreUnavailableError, match="cannot be reached"):
                await store.write([(writer, Chosen(rows_of([1], 5), [0]))])
            store.check_room(10**9)  # the fetch will say so
            assert store.in_flight == 0

    run(writing())


def test_times_before_a_write_are_read_beside_the_cache(tmp_path: Path, own_valkey: Valkey) -> None:
    """What the cache has may be a moment old. What it says of itself is what was read through it."""
    config = config_for(tmp_path / "r", f"127.0.0.1:{own_valkey.port}", cache_mb=8, store_timeout_ms=5000)

    async def reading() -> None:
        store = redis_store(config)
        prepared = store.prepare((stats(),))
        async with opened(store):
            row = list((await answered(store))[0][0])
            assert row[0] is not None
            assert list((await store.fetch(prepared, [[key(1002)]]))[0][0]) == row
            before = store.cache()
            assert before["limit_bytes"] == 8 << 20
            assert (before["hits"], before["misses"], before["entities"]) == (1, 1, 1)
            assert 0 < before["bytes"] <= before["limit_bytes"]
            own_valkey.do("CONFIG", "RESETSTAT")
            assert list((await store.fetch_times(prepared, [[key(1002)]]))[0][0]) == row
            assert b"cmdstat_hmget:calls=1," in own_valkey.do("INFO", "commandstats")
            assert await store.fetch_times([], []) == []
            assert store.cache() == before

    run(reading())
    assert redis_store(config_for(tmp_path / "none", f"127.0.0.1:{own_valkey.port}")).cache() == {}


def test_a_cache_that_redis_does_not_keep_true_says_why(tmp_path: Path, own_valkey: Valkey) -> None:
    rights = ("~*", "+hmget", "+hello", "+select", "+client|setinfo", "+client|setname")
    own_valkey.do("ACL", "SETUSER", "reader", "on", ">word", *rights)
    where = f"127.0.0.1:{own_valkey.port},username=reader,password=word"

    async def reading() -> None:
        async with opened(redis_store(config_for(tmp_path / "r", where, cache_mb=8))) as store:
            for _ in range(2):
                assert (await answered(store))[0][0][0] is not None
            assert "CLIENT TRACKING" in store.cache()["problem"]
            assert (store.cache()["hits"], store.cache()["entities"]) == (0, 0)

    run(reading())


def test_while_a_long_fetch_has_the_wire_others_wait_for_their_turns(tmp_path: Path, valkey: Valkey) -> None:
    """Of one lookup or of several; and a key that several ask for at once is read once then, too."""
    count = 20_000
    write_drivers(valkey, count)
    config = config_for(tmp_path / "r", f"127.0.0.1:{valkey.port},db=3", store_timeout_ms=60_000)

    async def reading() -> None:
        async with opened(redis_store(config)) as store:
            many = store.prepare((lookup("n", view="many"),))
            two = store.prepare((lookup("n", view="many"), lookup(view="many")))
            assert not (await store.fetch(many, [[key(count)]]))[0][0][0]
            long = store.fetch(many, [list(map(key, range(count)))])
            wire: Any = store._connection
            assert wire.room < 1
            one, same = store.fetch(many, [[key(7)]]), store.fetch(many, [[key(7)]])
            assert store.state.shared_reads == 1
            several = store.fetch(two, [[key(8), key(9)], [key(10)]])
            assert store.in_flight >= 3
            store.check_room(1)
            assert [row[0] for row in (await long)[0]] == [b"%d" % driver for driver in range(count)]
            assert [(await future)[0][0][0] for future in (one, same)] == [b"7", b"7"]
            first, second = await several
            assert [row[0] for row in first] == [b"8", b"9"]
            assert [row[0] for row in second] == [Timestamp(seconds=1).SerializeToString()]
            await asyncio.sleep(0)
            assert store._asked == wire.asked == {}
            assert store.in_flight == 0

    run(reading())


def test_a_redis_that_is_idle_is_asked_whether_it_answers(tmp_path: Path, valkey: Valkey) -> None:
    async def asking() -> None:
        store = redis_store(config_for(tmp_path / "r", f"127.0.0.1:{valkey.port}"))
        store.ping_if_idle()  # before there is anything to ask
        async with opened(store):
            await answered(store)
            store.state.answered_at = 0.0  # the loop's clock may stand still for a millisecond
            store.ping_if_idle()
            await soon(lambda: store.state.answered_at > 0)
            assert store.nodes() == [], "there is one, which has no name"

    run(asking())


def test_a_survey_of_one_redis(tmp_path: Path, own_valkey: Valkey) -> None:
    """As `check` makes it: of the database that the repository names, for this project."""
    own_valkey.do("HSET", b"a-corpus", timestamp_field("stats"), "x", db=5)
    own_valkey.do("HSET", b"b-other", timestamp_field("stats"), "x", db=5)
    store = redis_store(config_for(tmp_path / "r", f"127.0.0.1:{own_valkey.port},db=5"))
    found = run(store.survey(["stats", "more"]))
    assert (found.keys, found.views, found.complete) == ((b"a-",), frozenset({"stats"}), True)
    assert (found.address, found.place) == (f"127.0.0.1:{own_valkey.port}", ", database 5")
    looks = store.looks()
    with contextlib.closing(looks):
        assert (looks.kind, looks.db, looks.mode()) == ("redis", 5, "standalone")
        assert looks.scan(db=5, suffix=b"corpus", max_keys=10, time_s=1).keys == [b"a-corpus"]


@pytest.mark.parametrize("redis_type", ["redis", "redis_cluster", "redis_sentinel"])
def test_what_cannot_be_reached_cannot_be_looked_into(tmp_path: Path, redis_type: str) -> None:
    address = f"127.0.0.1:{free_port()}"
    store = redis_store(block_of(tmp_path / "r", f"redis_type: {redis_type}", f"connection_string: {address}"))
    with pytest.raises(StoreUnavailableError, match=address):
        run(store.survey(["stats"]))
    with pytest.raises(StoreUnavailableError, match=address):
        run(store.ping())
    with contextlib.closing(store.looks()) as looks, pytest.raises(StoreUnavailableError, match=address):
        looks.read(b"a", 0)


def test_a_node_of_a_cluster_that_is_taken_for_the_one_redis(tmp_path: Path) -> None:
    bus = ("--cluster-port", str(free_port()))
    with Valkey("--cluster-enabled", "yes", "--dir", str(tmp_path), *bus) as node:
        store = redis_store(config_for(tmp_path / "r", f"127.0.0.1:{node.port}"))
        with pytest.raises(StoreUnavailableError, match="is a node of a Redis Cluster"):
            run(store.ping())
        several = block_of(
            tmp_path / "several", "redis_type: redis_cluster", f"connection_string: 127.0.0.1:{node.port}"
        )
        store = redis_store(several)
        with pytest.raises(StoreUnavailableError, match=str(node.port)):
            run(store.ping())  # it has no slots yet


# ----------------------------------------------------------------------------------------------------- coming and going


def test_killed_connection(tmp_path: Path, own_valkey: Valkey) -> None:
    """What was under way gets a 503, what comes next finds a new connection; clients keep theirs."""
    with (
        Proxy(own_valkey.port) as proxy,
        Server(repository(tmp_path / "r", "redis", f"127.0.0.1:{proxy.port}")) as server,
        server.client() as client,
    ):
        client.send(features_request(1001))
        assert client.answer().status == 200
        proxy.hold()
        client.send(features_request(1001) * 3)
        proxy.wait_until_held()
        proxy.cut()
        answers = [client.answer() for _ in range(3)]
        assert {answer.status for answer in answers} == {503}
        assert answers[0].headers["retry-after"] == "1"
        assert "connection" not in answers[0].headers
        proxy.release()
        server.wait_for("connection lost")
        eventually(lambda: _if(server.features([1002]), 200), "a new connection")
        client.send(features_request(1002))
        assert client.answer().columns["trips"] == [1]


def test_client_kill(tmp_path: Path, own_valkey: Valkey) -> None:
    with Server(repository(tmp_path / "r", "redis", f"127.0.0.1:{own_valkey.port}")) as server:
        for _ in range(3):
            assert server.features([1002]).columns["trips"] == [1]
            mark = len(server.lines)
            own_valkey.do("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            server.wait_for("connection lost", after=mark)
            eventually(lambda: _if(server.features([1002]), 200), "a new connection")
            server.wait_for("connected again", after=mark)
        assert sum("connection lost" in line for line in server.lines) == 3
        # Until the next `connected again` nothing more is said: one line per event.
        assert sum("connected again" in line for line in server.lines) == 3


def test_down_at_start(tmp_path: Path, valkey: Valkey) -> None:
    with (
        Proxy(valkey.port, refuse=True) as proxy,
        Server(repository(tmp_path / "r", "redis", f"127.0.0.1:{proxy.port}")) as server,
        server.client() as client,
    ):
        assert client.ask("/health").status == 200
        for _ in range(3):
            client.send(features_request(1001))
            answer = client.answer()
            assert (answer.status, answer.headers["retry-after"]) == (503, "1")
            assert answer.json == "The online store cannot be reached"
        proxy.accept()
        server.wait_for("connected again|connected")
        client.send(features_request(1002))
        assert client.answer().columns["trips"] == [1]
        assert sum("cannot connect" in line for line in server.lines) == 1


def test_silent_at_start(tmp_path: Path, valkey: Valkey) -> None:
    """A Redis that accepts and says nothing (a firewall, a frozen process): the server starts all the same."""
    with Proxy(valkey.port) as proxy:
        proxy.hold()
        settings = {"store_timeout_ms": 200}
        folder = repository(tmp_path / "r", "redis", f"127.0.0.1:{proxy.port},db=3", settings=settings)
        with Server(folder) as server:
            assert server.ask("/health").status == 200
            assert server.features([1001]).status == 503
            proxy.release()
            eventually(lambda: _if(server.features([1001]), 200), "the connection")


def test_restarted_redis(tmp_path: Path) -> None:
    """A real one, killed and started again on its port. Meanwhile 503 at once; afterwards the new data."""
    with Valkey() as valkey:
        valkey.load("redis")
        port = valkey.port
        server = Server(repository(tmp_path / "r", "redis", f"127.0.0.1:{port}"))
        with server:
            assert server.features([1002]).columns["trips"] == [1]
            valkey.process.kill()
            valkey.wait()
            server.wait_for("connection lost")
            assert server.features([1002]).status == 503
            assert server.ask("/health").status == 200
            with Valkey(port=port) as again:
                again.load("redis")
                answer = eventually(lambda: _if(server.features([1002]), 200), "a new connection")
                assert answer.columns["trips"] == [1]


# --------------------------------------------------------------------------------------------------- ways to be reached


@pytest.mark.parametrize(
    "form",
    [
        "127.0.0.1:{},password=hunter2",
        "redis://:hunter2@127.0.0.1:{}",
        "127.0.0.1:{},username=default,password=hunter2",
    ],
    ids=["password", "url", "username"],  # pytest would make a folder of the password, whose name is logged
)
def test_password(tmp_path: Path, form: str) -> None:
    with Valkey("--requirepass", "hunter2") as valkey:
        valkey.load("redis")
        with Server(repository(tmp_path / "r", "redis", form.format(valkey.port))) as server:
            assert server.features([1002]).columns["trips"] == [1]
            assert "hunter2" not in server.log


def test_wrong_password(tmp_path: Path) -> None:
    """Told of without quoting it, in the log, in answers and by `check`."""
    with Valkey("--requirepass", "right") as valkey:
        folder = repository(tmp_path / "r", "redis", f"127.0.0.1:{valkey.port},password=hunter2")
        with Server(folder, "--log-level", "debug") as server:
            answer = server.features([1002])
            assert answer.status == 503
            assert b"hunter2" not in answer.body
            server.wait_for("cannot connect: .*(password|WRONGPASS)")
            assert "hunter2" not in server.log
        checked = command_line("--chdir", folder, "check")
        assert checked.code == 2
        assert "hunter2" not in checked.out + checked.err


def test_unix_socket(tmp_path: Path) -> None:
    path = tmp_path / "valkey.sock"
    with Valkey("--unixsocket", str(path)) as valkey:
        valkey.load("redis")
        with Server(repository(tmp_path / "r", "redis", f"unix://{path}")) as server:
            assert server.features([1002]).columns["trips"] == [1]
        checked = command_line("--chdir", tmp_path / "r", "check")
        assert checked.code == 1  # for what the corpus has on purpose
        assert f"{path}" in checked.out
        assert f"{path}:6379" not in checked.out  # a path has no port


@pytest.mark.parametrize(
    "form",
    [
        "localhost:{},ssl=true,ssl_ca_certs=" + str(CERTIFICATE),
        "rediss://localhost:{}?ssl_ca_certs=" + str(CERTIFICATE),
        "localhost:{},ssl=true,ssl_cert_reqs=none,ssl_check_hostname=false",
    ],
)
def test_tls(tmp_path: Path, valkey: Valkey, form: str) -> None:
    """The transport that is taken over from redis-py may be one of TLS."""
    with (
        Proxy(valkey.port, tls=tls_server_context()) as proxy,
        Server(repository(tmp_path / "r", "redis", form.format(proxy.port))) as server,
    ):
        answer = server.features([1001, 1002] * 500, ["driver_stats:trips", "driver_stats:nick"])
        assert answer.columns["trips"] == [0, 1] * 500
        proxy.cut()
        server.wait_for("connection lost")
        eventually(lambda: _if(server.features([1002]), 200), "a new connection")


def test_database(tmp_path: Path, valkey: Valkey) -> None:
    """Database 1 of the shared Valkey holds keys of version 2: these are not found there, and no others are read."""
    with Server(repository(tmp_path / "r", "redis", f"127.0.0.1:{valkey.port},db=1")) as server:
        assert server.features([1002]).columns["trips"] == [None]


# ------------------------------------------------------------------------------------------------- one write, one fetch


class Recorder:
    """A transport that counts what is written through it."""

    def __init__(self, transport: Any) -> None:
        self._transport = transport
        self.writes: list[bytes] = []

    def write(self, data: bytes) -> None:
        self.writes.append(bytes(data))
        self._transport.write(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


class CountingStore(RedisStore):
    """A RedisStore that counts what is asked of it."""

    fetched = prepared = 0

    def fetch(self, prepared: Any, keys: Any) -> asyncio.Future[Any]:
        self.fetched += 1
        return super().fetch(prepared, keys)

    def prepare(self, lookups: Any) -> Any:
        self.prepared += 1
        return super().prepare(lookups)


class Whole:
    """A server put together in this process, with counters at its seams."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.store = CountingStore(config.repository, config.store)
        catalog = build_catalog(config, self.store, Path(config.repository.registry_path).read_bytes())
        self.endpoints = Endpoints(catalog, self.store, Transforms(), config.features, Metrics(), {})
        self.client_side: list[Recorder] = []

    async def start(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        loop = asyncio.get_running_loop()
        connections = Connections(
            self.endpoints.handle, self.endpoints.failed, self.config.limits, self.config.timeouts
        )
        recorders = self.client_side

        class Recorded(Connection):
            def connection_made(self, transport: asyncio.BaseTransport) -> None:
                recorder: Any = Recorder(transport)
                recorders.append(recorder)
                super().connection_made(recorder)

        self._listener = await loop.create_server(lambda: Recorded(connections, loop), "127.0.0.1", 0)
        await self.store.open()
        wire: Any = self.store._connection
        self.store_side = wire._transport = Recorder(wire._transport)
        return await asyncio.open_connection(*self._listener.sockets[0].getsockname()[:2])

    async def stop(self, writer: asyncio.StreamWriter) -> None:
        writer.close()
        await writer.wait_closed()
        self._listener.close()
        await self._listener.wait_closed()
        await self.store.close()
        self.endpoints._transforms.close()

    def forget(self) -> None:
        self.store.fetched = self.store.prepared = 0
        self.store_side.writes.clear()
        for recorder in self.client_side:
            recorder.writes.clear()


async def read_answer(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 "), head
    length = int(head.lower().partition(b"content-length:")[2].split()[0])
    return await reader.readexactly(length)


MIXED = b'{"feature_service":"svc_mixed","entities":{"driver_id":[1001,1002,1001],"customer_id":["c1","c2","c3"]}}'


def post(body: bytes) -> bytes:
    return b"POST /get-online-features HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


@pytest.mark.parametrize("body", [MIXED, b'{"feature_service":"svc_all","entities":{"driver_id":[1001]}}'])
def test_one_write_to_the_store_and_one_to_the_client(tmp_path: Path, valkey: Valkey, body: bytes) -> None:
    """Whatever the number of views, lookups and rows (HOUSE 5, rule 10)."""

    async def serving() -> None:
        whole = Whole(config_for(tmp_path / "r", f"127.0.0.1:{valkey.port}"))
        reader, writer = await whole.start()
        for _ in range(3):
            whole.forget()
            writer.write(post(body))
            await read_answer(reader)
            assert whole.store.fetched == 1
            assert len(whole.store_side.writes) == 1
            assert [len(recorder.writes) for recorder in whole.client_side] == [1]
        await whole.stop(writer)

    run(serving())


def test_requests_of_one_tick_share_a_write(tmp_path: Path, valkey: Valkey) -> None:
    """Ten pipelined requests arrive in one read: ten fetches, one write to the store (HOUSE 5, rule 4)."""

    async def serving() -> None:
        whole = Whole(config_for(tmp_path / "r", f"127.0.0.1:{valkey.port}"))
        reader, writer = await whole.start()
        whole.forget()
        writer.write(post(MIXED) * 10)
        for _ in range(10):
            await read_answer(reader)
        assert whole.store.fetched == 10
        assert len(whole.store_side.writes) == 1
        await whole.stop(writer)

    run(serving())


def test_duplicate_rows_are_read_once(tmp_path: Path, valkey: Valkey) -> None:
    """One command per distinct entity of each lookup."""

    async def serving() -> None:
        whole = Whole(config_for(tmp_path / "r", f"127.0.0.1:{valkey.port}"))
        reader, writer = await whole.start()
        whole.forget()
        writer.write(post(b'{"features":["driver_stats:trips"],"entities":{"driver_id":[1001,1002,1001,1001]}}'))
        answer = await read_answer(reader)
        assert answer.startswith(b'{"results":[{"values":[1001,1002,1001,1001],')
        (written,) = whole.store_side.writes
        assert written.count(b"driver_id") == 2
        await whole.stop(writer)

    run(serving())


def test_no_catalog_work_in_a_request(tmp_path: Path, valkey: Valkey, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second request of a kind compiles, prepares and binds names no more; a service not even at the first."""

    async def serving() -> None:
        whole = Whole(config_for(tmp_path / "r", f"127.0.0.1:{valkey.port}"))
        reader, writer = await whole.start()
        ad_hoc = b'{"features":["driver_stats:trips","driver_stats:nick"],"entities":{"driver_id":[1001]}}'
        whole.forget()
        writer.write(post(MIXED))
        await read_answer(reader)
        assert whole.store.prepared == 0  # services were prepared when the catalog was compiled
        writer.write(post(ad_hoc))
        await read_answer(reader)
        assert whole.store.prepared == 1

        def tripwire(*_: object, **__: object) -> Any:
            raise AssertionError("catalog work in a request")

        for name in [name for name in vars(Catalog) if name.startswith("_") and not name.startswith("__")]:
            if callable(getattr(Catalog, name)):
                monkeypatch.setattr(Catalog, name, tripwire)
        monkeypatch.setattr("yummy_fast.features.binding.Binder._compile", tripwire)
        monkeypatch.setattr("yummy_fast.features.binding.compile_key", tripwire)
        for body in (MIXED, ad_hoc):
            writer.write(post(body))
            await read_answer(reader)
        assert whole.store.prepared == 1
        await whole.stop(writer)

    run(serving())


@pytest.mark.parametrize(
    "body",
    [
        b'{"feature_service":"svc_all","entities":{"driver_id":[1002]}}',
        b'{"feature_service":"svc_all","entities":{"driver_id":[1001,1002]}}',
        b'{"features":["driver_stats:trips","driver_stats:nick"],"entities":{"driver_id":[1002,424242]}}',
        b'{"feature_service":"svc_all","entities":{"driver_id":[424242]}}',
    ],
    ids=["row", "rows", "rows-one-missing", "missing"],
)
def test_no_protobuf_object_per_value(
    tmp_path: Path, valkey: Valkey, monkeypatch: pytest.MonkeyPatch, body: bytes
) -> None:
    """Scalars, nulls among them, are decoded many at a time: the one-by-one way is not taken."""

    class Tripwire:
        def __getattr__(self, name: str) -> Any:
            raise AssertionError("a protobuf object for one value")

    async def serving() -> None:
        whole = Whole(config_for(tmp_path / "r", f"127.0.0.1:{valkey.port}"))
        reader, writer = await whole.start()
        writer.write(post(body))
        before = await read_answer(reader)
        monkeypatch.setattr(yummy_fast.feast_format.values, "Value", Tripwire())
        writer.write(post(body))
        assert await read_answer(reader) == before
        await whole.stop(writer)

    run(serving())


def test_a_fetch_keeps_to_its_catalog(tmp_path: Path, valkey: Valkey) -> None:
    """A request in flight while the catalog is replaced finishes with the plan that it holds (HOUSE 5, rule 7)."""

    async def serving(proxy: Proxy) -> None:
        config = config_for(tmp_path / "r", f"127.0.0.1:{proxy.port}", store_timeout_ms=15_000)
        whole = Whole(config)
        reader, writer = await whole.start()
        proxy.hold()
        writer.write(post(MIXED))
        await asyncio.to_thread(proxy.wait_until_held)
        whole.endpoints.catalog = build_catalog(config, whole.store, b"")
        proxy.release()
        assert b"temperature" in await read_answer(reader)
        await whole.stop(writer)

    with Proxy(valkey.port) as proxy:
        run(serving(proxy))
