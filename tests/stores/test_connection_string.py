"""Feast's connection_string, for each `redis_type`: what it means, and what is refused without a word of secrets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from yummy_fast.errors import ConfigError
from yummy_fast.stores.connection_string import Target, check_files, parse_target
from yummy_fast.stores.redis_slots import Address


@pytest.mark.parametrize(
    ("text", "options"),
    [
        # Feast's grammar (spec 4.1)
        ("localhost:6379", {"host": "localhost", "port": 6379}),
        ("10.0.0.1:1,10.0.0.2:2", {"host": "10.0.0.1", "port": 1}),
        ("h:1,password=secret", {"host": "h", "port": 1, "password": "secret"}),
        ("h:1,password=a=b=", {"host": "h", "port": 1, "password": "a=b="}),
        ("h:1,password=123", {"host": "h", "port": 1, "password": 123}),
        ("h:1,password=0123", {"host": "h", "port": 1, "password": "0123"}),
        ('h:1,password="123"', {"host": "h", "port": 1, "password": "123"}),
        ("h:1,db=2,ssl=true", {"host": "h", "port": 1, "db": 2, "ssl": True}),
        ("h:1,ssl_ca_certs=/etc/ca.pem", {"host": "h", "port": 1, "ssl_ca_certs": "/etc/ca.pem"}),
        ("h:1,socket_timeout=1.5", {"host": "h", "port": 1, "socket_timeout": 1.5}),
        ("h:1,username=", {"host": "h", "port": 1, "username": ""}),
        ("password=x,h:1", {"host": "h", "port": 1, "password": "x"}),
        # IPv6, which Feast cannot
        ("[::1]:6379", {"host": "::1", "port": 6379}),
        ("[2001:db8::5]:6380,db=1", {"host": "2001:db8::5", "port": 6380, "db": 1}),
        # URLs, which Yummy takes
        ("redis://h:7000/3", {"host": "h", "port": 7000, "db": 3}),
        ("redis://:p%40ss@h", {"host": "h", "port": 6379, "password": "p@ss"}),
        ("redis://u:p@[::1]:7000", {"host": "::1", "port": 7000, "username": "u", "password": "p"}),
        ("rediss://h:7000", {"host": "h", "port": 7000, "ssl": True}),
        ("unix:///tmp/redis.sock", {"unix_socket_path": "/tmp/redis.sock"}),
        (
            "unix://u:p@/tmp/redis.sock?db=1",
            {"unix_socket_path": "/tmp/redis.sock", "username": "u", "password": "p", "db": 1},
        ),
    ],
)
def test_connection_string(text: str, options: dict[str, Any]) -> None:
    target = parse_target(text, "redis", "here")
    address = target.addresses[0]._asdict() if target.addresses else {}
    assert {**address, **target.options} == options


def test_spaces_after_commas() -> None:
    target = parse_target("localhost:6379, db=1,  password=a b , ssl=true", "redis", "here")
    assert target == Target((Address("localhost", 6379),), {"db": 1, "password": "a b ", "ssl": True})
    assert parse_target("db=1, localhost:6379", "redis", "here") == Target((Address("localhost", 6379),), {"db": 1})
    assert cluster("h:1, i:2 ,ssl=true").addresses == (Address("h", 1), Address("i", 2))


def cluster(text: str) -> Target:
    return parse_target(text, "redis_cluster", "here")


def sentinel(text: str) -> Target:
    return parse_target(text, "redis_sentinel", "here")


def test_a_password_with_a_comma_is_no_list() -> None:
    target = parse_target("redis://:pa,ss:123@localhost:6379", "redis", "here")
    assert target.options["password"] == "pa,ss:123"


def test_all_addresses_of_a_cluster_are_seeds() -> None:
    target = cluster("redis1:6379,redis2:6380,[::1]:6381,ssl=true,password=x")
    assert target.addresses == (Address("redis1", 6379), Address("redis2", 6380), Address("::1", 6381))
    assert target.options == {"ssl": True, "password": "x"}
    assert target.uses_tls


@pytest.mark.parametrize(
    "options",
    [
        "skip_full_coverage_check=true",  # of Feast's own docstring, where Feast's async client fails
        "require_full_coverage=false",
        "max_connections=5",
        "db=0",
        "cluster_error_retry_attempts=2,reinitialize_steps=3,dynamic_startup_nodes=false",
    ],
)
def test_what_only_redis_pys_cluster_knows_is_accepted(options: str) -> None:
    assert cluster(f"h:1,{options}") == Target((Address("h", 1),), {})


@pytest.mark.parametrize(
    ("options", "spread"),
    [
        ("read_from_replicas=true", True),
        ("read_from_replicas=false", False),
        ("load_balancing_strategy=round_robin", True),
        ("socket_timeout=1", False),
    ],
)
def test_reads_from_replicas_are_asked_for(options: str, spread: bool) -> None:
    assert cluster(f"h:1,{options}").read_from_replicas is spread


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("h:1,db=1", "db: a Redis Cluster has database 0 only"),
        ("redis://h:1/2", "db: a Redis Cluster has database 0 only"),
        ("unix:///tmp/redis.sock", "no Unix sockets"),
        ("h:1,read_from_replicas=maybe", "read_from_replicas: expected true or false"),
        ("h:1,password=hunter2,pasword=x", "pasword: no such option"),
        ("h:1,host=other", "host, port, unix_socket_path: not with redis_type: redis_cluster"),
        ("h:1,other,password=hunter2", "expected host:port first"),
        ("password=hunter2", "found no host"),
        ("h:1,protocol=3", "protocol: this server speaks version 2"),
    ],
)
def test_what_a_cluster_cannot_have(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as raised:
        cluster(text)
    assert message in str(raised.value)
    assert "hunter2" not in str(raised.value)


def test_sentinels_get_what_redis_py_gives_them() -> None:
    """The password and TLS are the master's, and not theirs; sentinel_kwargs replaces even the socket_* options."""
    plain = sentinel("s1:26379,s2:26379,db=2,ssl=true,password=x,socket_timeout=1")
    assert plain.addresses == (Address("s1", 26379), Address("s2", 26379))
    assert plain.options == {"db": 2, "ssl": True, "password": "x", "socket_timeout": 1}
    assert plain.sentinel_options == {"socket_timeout": 1}
    own = sentinel('s1:26379,socket_timeout=1,sentinel_kwargs={"password":"y"},min_other_sentinels=1')
    assert own.sentinel_options == {"password": "y"}
    assert own.min_other_sentinels == 1
    assert sentinel("s1:1,force_master_ip=10.0.0.9").force_master_ip == "10.0.0.9"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("s:1,sentinel_kwargs=hunter2", "sentinel_kwargs: expected JSON"),
        ('s:1,sentinel_kwargs={"pasword":"hunter2"}', "pasword: no such option"),
        ("s:1,min_other_sentinels=many", "min_other_sentinels: expected a whole number"),
        ("unix:///tmp/redis.sock", "expected the sentinels' host:port"),
        ("s:1,read_from_replicas=true", "read_from_replicas: no such option"),
    ],
)
def test_what_sentinels_cannot_have(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as raised:
        sentinel(text)
    assert message in str(raised.value)
    assert "hunter2" not in str(raised.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("redis://h:1,redis://i:2", "expected the URL of one Redis, got a list of URLs"),
        ("redis://h:1,i:2/0", "expected the URL of one Redis, got a list of URLs"),
        ("redis://h:s3cret/0", "expected a URL such as redis://:password@host:6379/0; special characters"),
        ("user:s3cret@h:1", "expected host:port first, without a user or password"),
        ("h:1,db=s3cret", "db: expected a number"),
        ("h:1,socket_timeout=s3cret", "socket_timeout: expected a number"),
        ("h:1,db=1.5", "db: expected a number"),
        ("h:1,defaultDatabase=1", "defaultDatabase: an option of .NET clients; Feast calls it db"),
        ("h:1,USER=s3cret", "USER: an option of .NET clients; Feast calls it username"),
        ("h:1,retry=s3cret", "retry: no such option of redis-py's"),
        ("h:1,protocol=3", "protocol: this server speaks version 2"),
        ("db=1", "expected host:port, then options; found no host"),
        ("h:" + "1" * 5000, "expected host:port first"),
        ("h:\u0661", "expected host:port first"),
        ("h:1,db=" + "[" * 200_000, "db: expected a number"),
        ("h:1,pasword=s3cret", "pasword: no such option of redis-py's"),
        ("h:1,password=p,s3cret=x", "an option: no such option of redis-py's"),
        ("rediss://h,password=s3cret", "options of a URL stand behind a question mark"),
        ("redis://h:6379/2,password=s3cret", "options of a URL stand behind a question mark"),
        ("redis://:s3cret@h:6379/2,ssl=true", "options of a URL stand behind a question mark"),
        ("unix:///tmp/redis.sock,db=2", "options of a URL stand behind a question mark"),
        ("redis://h/s3cret", "expected the number of a database behind the host"),
        ("redis://h/1/s3cret", "expected the number of a database behind the host"),
    ],
)
def test_what_is_refused(text: str, message: str) -> None:
    """In one line without a secret."""
    with pytest.raises(ConfigError) as caught:
        parse_target(text, "redis", "here")
    assert str(caught.value).startswith(f"here: {message}")
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("h:1,password=a://b", {"password": "a://b"}),
        ("h:1,password=" + "1" * 5000, {"password": "1" * 5000}),
        ("redis://:a,b@h:1/2", {"password": "a,b", "db": 2}),
        ("redis://h:1/", {}),
        ("redis://h:1?db=3", {"db": 3}),
    ],
)
def test_what_looks_like_something_else(text: str, options: dict[str, Any]) -> None:
    assert parse_target(text, "redis", "here") == Target((Address("h", 1),), options)


def test_what_only_dotnet_clients_know_is_ignored_and_said() -> None:
    """Azure's portal shows such a line. ssl=False is a text to Feast, and any text means yes."""
    target = parse_target("h:1,abortConnect=False,SyncTimeout=5,ssl=False", "redis", "here")
    assert target.options == {"ssl": "False"}
    assert target.notices == (
        "here: abortConnect, SyncTimeout: ignored: only .NET clients know these options",
        "here: ssl=False turns TLS on, as in Feast: only ssl=false turns it off",
    )
    assert parse_target("h:1,ssl=false,socket_timeout=1.5", "redis", "here").notices == ()


@pytest.mark.parametrize(
    ("text", "uses_tls", "lacks_certificate"),
    [
        ("h:1", False, False),
        ("h:1,ssl=true", True, True),
        ("rediss://h:1", True, True),
        ("h:1,ssl=true,ssl_certfile=c.pem", True, False),
    ],
)
def test_tls(text: str, uses_tls: bool, lacks_certificate: bool) -> None:
    target = parse_target(text, "redis", "here")
    assert (target.uses_tls, target.lacks_certificate) == (uses_tls, lacks_certificate)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "there").touch()
    check_files({"ssl_ca_certs": f"{tmp_path}/there", "ssl_certfile": None}, "here")
    with pytest.raises(ConfigError, match=rf"^here: ssl_keyfile: there is no file {tmp_path}/none$"):
        check_files({"ssl_ca_certs": f"{tmp_path}/there", "ssl_keyfile": f"{tmp_path}/none"}, "here")
