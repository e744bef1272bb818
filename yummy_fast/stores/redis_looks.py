"""Looking around in a Redis, for people who wonder why a feature is null: which keys are there, and what is in them.

This is no part of serving. Each command is one that Redis answers in well under a millisecond: a SCAN has a small COUNT
and goes on until its time is over or it has enough; a hash that is longer than MAX_FIELDS or larger than MAX_HASH_BYTES
is not read as a whole; and never is there a KEYS, or a command whose cost grows with the number of keys. Nothing is
written.

The client is redis-py's that blocks: whoever looks has a thread to wait in. This file knows no views: what a key or a
field means is for `diagnosis` to say.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.exceptions import ClusterDownError, MovedError, NoPermissionError, RedisError, ResponseError
from redis.retry import Retry

from yummy_fast.config.repository import Repository
from yummy_fast.config.settings import StoreOptions
from yummy_fast.errors import ConfigError, StoreUnavailableError
from yummy_fast.stores.looks import Scan, StoredHash
from yummy_fast.stores.redis import parse_connection_string

SCAN_COUNT = 100
"""Keys that Redis looks at for one SCAN: some 20 us."""
KEYS_PER_PIPELINE = 50
"""Keys that are asked about in one write."""
MAX_FIELDS = 2_000
"""A hash with more fields is not read as a whole: HGETALL of 2,000 takes Redis some 0.3 ms."""
MAX_HASH_BYTES = 1 << 20
"""Nor one that takes more memory than this, as MEMORY USAGE estimates it from a few of its fields."""
MAX_DATABASES = 16
"""Redis's default number of databases. If more have keys, the others are not looked at."""
TIMEOUT_S = 5.0
"""How long connecting, and each reply, may take."""


class RedisLooks:
    """`Looks` into the Redis of a repository."""

    def __init__(self, repository: Repository, options: StoreOptions) -> None:
        """Connects to nothing yet. Raises ConfigError."""
        block = repository.online_store
        where = f"{repository.source}: online_store"
        if block.get("redis_type", "redis") != "redis":
            raise ConfigError(f"{where}.redis_type: only a single Redis can be looked into")
        given = str(block.get("connection_string", "localhost:6379"))
        self._options = parse_connection_string(given, f"{where}.connection_string")
        self.db = int(self._options.get("db", 0) or 0)
        path = self._options.get("unix_socket_path")
        self.address = path or f"{self._options.get('host', 'localhost')}:{self._options.get('port', 6379)}"
        expiry = block.get("key_ttl_seconds")
        self.key_ttl_s = expiry if isinstance(expiry, int) else 0
        self._clients: dict[int, redis.Redis] = {}

    def close(self) -> None:
        for client in self._clients.values():
            client.close()
        self._clients.clear()

    def databases(self) -> Mapping[int, int]:
        found: dict[int, int] = {}
        with self._asking():
            try:
                info: Any = self._client(self.db).info("keyspace")
            except NoPermissionError:  # this user may only read
                return {}
        for name, numbers in info.items():
            if name.startswith("db") and name[2:].isdecimal():
                found[int(name[2:])] = int(numbers["keys"])
        return dict(sorted(found.items())[:MAX_DATABASES])

    def exist(self, keys: Sequence[bytes], db: int) -> list[bool]:
        return [bool(reply) for reply in self._each(keys, db, lambda pipeline, key: pipeline.exists(key))]

    def have_field(self, keys: Sequence[bytes], field: bytes, db: int) -> list[bool]:
        replies = self._each(keys, db, lambda pipeline, key: pipeline.hexists(key, field))
        return [reply is True or reply == 1 for reply in replies]

    def read(self, key: bytes, db: int, wanted: Sequence[bytes] = ()) -> StoredHash | None:
        with self._asking():
            client: Any = self._client(db)
            pipeline = client.pipeline(transaction=False)
            pipeline.type(key)
            pipeline.hlen(key)
            pipeline.ttl(key)
            pipeline.object("ENCODING", key)
            pipeline.memory_usage(key, samples=5)
            kind, length, ttl, encoding, size = pipeline.execute(raise_on_error=False)
            if isinstance(kind, RedisError):
                raise kind
            if kind == b"none":
                return None
            if kind != b"hash" or isinstance(length, Exception):
                return StoredHash({}, 0, kind=_text(kind))
            fields: Mapping[bytes, bytes]
            if length <= MAX_FIELDS and not (isinstance(size, int) and size > MAX_HASH_BYTES):
                fields = client.hgetall(key)
            else:
                values: list[bytes | None] = client.hmget(key, list(wanted))
                fields = {name: value for name, value in zip(wanted, values, strict=True) if value is not None}
        expires_s = ttl if isinstance(ttl, int) and ttl >= 0 else None
        return StoredHash(fields, length, expires_s=expires_s, encoding=_text(encoding))

    def read_many(self, keys: Sequence[bytes], wanted: Sequence[bytes] = ()) -> Iterator[tuple[bytes, StoredHash]]:
        for key in keys:
            found = self.read(key, self.db, wanted)
            if found is not None:
                yield key, found

    def scan(self, *, db: int, contains: Sequence[bytes] = (), max_keys: int, time_s: float) -> Scan:
        deadline = time.monotonic() + time_s
        pattern = b"*" + b"".join(_literal(part) + b"*" for part in contains) if contains else None
        keys: dict[bytes, None] = {}
        cursor = 0
        with self._asking():
            client: Any = self._client(db)
            while True:
                cursor, found = client.scan(cursor, match=pattern, count=SCAN_COUNT)
                keys.update(dict.fromkeys(found))
                if cursor == 0:
                    return Scan(list(keys)[:max_keys], complete=len(keys) <= max_keys)
                if len(keys) >= max_keys or time.monotonic() > deadline:
                    return Scan(list(keys)[:max_keys], complete=False)

    # --------------------------------------------------------------------------------------------------- the details

    def _client(self, db: int) -> redis.Redis:
        if db not in self._clients:
            options = {"socket_connect_timeout": TIMEOUT_S, "socket_timeout": TIMEOUT_S, **self._options, "db": db}
            self._clients[db] = redis.Redis(**options, retry=Retry(NoBackoff(), 0), protocol=2)
        return self._clients[db]

    def _each(self, keys: Sequence[bytes], db: int, ask: Callable[[Any, bytes], object]) -> list[Any]:
        replies: list[Any] = []
        with self._asking():
            client = self._client(db)
            for start in range(0, len(keys), KEYS_PER_PIPELINE):
                pipeline = client.pipeline(transaction=False)
                for key in keys[start : start + KEYS_PER_PIPELINE]:
                    ask(pipeline, key)
                replies += pipeline.execute(raise_on_error=False)
        for reply in replies:
            if isinstance(reply, ResponseError) and not str(reply).startswith("WRONGTYPE"):
                raise self._error(reply)
        return [False if isinstance(reply, Exception) else reply for reply in replies]

    @contextmanager
    def _asking(self) -> Iterator[None]:
        """Raises StoreUnavailableError for what redis-py raises."""
        try:
            yield
        except (RedisError, OSError, TypeError, ValueError) as error:
            raise self._error(error) from None

    def _error(self, error: Exception) -> StoreUnavailableError:
        if isinstance(error, MovedError | ClusterDownError):
            why = "this Redis is a node of a cluster, which has the keys of other slots elsewhere"
            return StoreUnavailableError(f"{self.address}: {why}: {error}")
        return StoreUnavailableError(f"{self.address}: {error or type(error).__name__}")


def _text(reply: object) -> str:
    return reply.decode("ascii", "replace") if isinstance(reply, bytes) else ""


def _literal(part: bytes) -> bytes:
    r"""`part` in a pattern of SCAN: * ? [ ] and \ stand for themselves."""
    return b"".join(b"\\" + bytes((byte,)) if byte in b"*?[]\\^-" else bytes((byte,)) for byte in part)
