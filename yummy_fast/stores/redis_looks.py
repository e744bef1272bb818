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
from redis.connection import SSLConnection
from redis.exceptions import NoPermissionError, RedisError, ResponseError
from redis.retry import Retry

from yummy_fast.errors import StoreRefusedError, StoreUnavailableError
from yummy_fast.stores.looks import Scan, StoredHash
from yummy_fast.stores.redis_link import Access

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

Reason = Callable[[BaseException], str]
"""Why a Redis could not be asked, in one line, from what redis-py raised."""


class _NamedConnection(SSLConnection):
    """redis-py's connection over TLS, whose certificate has to have another name than the host."""

    server_name = ""

    def _wrap_socket_with_ssl(self, sock: Any) -> Any:
        host, self.host = self.host, self.server_name
        try:
            return super()._wrap_socket_with_ssl(sock)  # type: ignore[no-untyped-call]
        finally:
            self.host = host


class RedisLooks:
    """`Looks` into a single Redis."""

    kind = "redis"

    def __init__(self, address: str, access: Callable[[], Access], *, db: int, key_ttl_s: int, reason: Reason) -> None:
        """Connects to nothing yet. `access` is asked once, before the first connection is made: it may block."""
        self.address = address
        self.db = db
        self.key_ttl_s = key_ttl_s
        self._find_access = access
        self._access: Access | None = None
        self._reason = reason
        self._clients: dict[int, redis.Redis] = {}

    def close(self) -> None:
        for client in self._clients.values():
            client.close()
        self._clients.clear()

    def mode(self) -> str:
        with self._asking():
            info: Any = self._client(self.db).info("server")
        return str(info.get("redis_mode") or info.get("server_mode") or "")

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

    def fields_there(self, key: bytes, fields: Sequence[bytes], db: int) -> list[bool]:
        with self._asking():
            try:
                values: Any = self._client(db).hmget(key, list(fields))
            except ResponseError as error:
                if not str(error).startswith("WRONGTYPE"):
                    raise
                values = [None] * len(fields)
        return [value is not None for value in values]

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

    def scan(
        self,
        *,
        db: int,
        contains: Sequence[bytes] = (),
        suffix: bytes = b"",
        views: Sequence[str] = (),
        max_keys: int,
        time_s: float,
    ) -> Scan:
        deadline = time.monotonic() + time_s
        pattern = b"*" + b"".join(_literal(part) + b"*" for part in contains) + _literal(suffix)
        keys: dict[bytes, None] = {}
        cursor = looked_at = 0
        with self._asking():
            client: Any = self._client(db)
            while True:
                cursor, found = client.scan(cursor, match=None if pattern == b"*" else pattern, count=SCAN_COUNT)
                looked_at += SCAN_COUNT
                keys.update(dict.fromkeys(found))
                if cursor == 0:
                    return Scan(list(keys)[:max_keys], len(keys) <= max_keys, looked_at)
                if len(keys) >= max_keys or time.monotonic() > deadline:
                    return Scan(list(keys)[:max_keys], False, looked_at)

    # --------------------------------------------------------------------------------------------------- the details

    def _client(self, db: int) -> redis.Redis:
        if db not in self._clients:
            if self._access is None:
                self._access = self._find_access()
            options: dict[str, Any] = {**self._access.options, "db": db}
            made = self._clients[db] = redis.Redis(**options, retry=Retry(NoBackoff(), 0))
            if self._access.server_name:
                named = type("NamedConnection", (_NamedConnection,), {"server_name": self._access.server_name})
                made.connection_pool.connection_class = named
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
        kind = StoreRefusedError if isinstance(error, NoPermissionError) else StoreUnavailableError
        return kind(f"{self.address}: {self._reason(error)}")


def _text(reply: object) -> str:
    return reply.decode("ascii", "replace") if isinstance(reply, bytes) else ""


def _literal(part: bytes) -> bytes:
    r"""`part` in a pattern of SCAN: * ? [ ] and \ stand for themselves."""
    return b"".join(b"\\" + bytes((byte,)) if byte in b"*?[]\\^-" else bytes((byte,)) for byte in part)
