"""Feast's Redis layout: one command per entity row, one round trip.

Feast keeps all views of an entity in one hash (feast/infra/online_stores/redis.py, Feast 0.67.0). The key is the entity
key followed by the project; the fields are hashes of "view:feature", and "_ts:view" for the timestamps. Driver 1001 of
the project `rides`, with a view `stats`:

    key    01000000 02000000 09000000 "driver_id" 04000000 08000000 e903000000000000 "rides"
    field  eb342a65    -> the Value of stats:trips
    field  "_ts:stats" -> when this row of stats happened

So a Lookup costs one HMGET per entity, or one HGETALL where that is cheaper (`redis_hash`), whatever the number of its
views; and a request costs one write, which it shares with all requests of the same tick of the event loop.

With `redis_type: redis`, all requests share one connection (`redis_connection`), which a `Link` (`redis_link`) makes,
and makes anew when it ends. The other types have several nodes (`redis_nodes`), each with such a link, and a fetch goes
to those that have its keys (`redis_shares`). A fetch takes the short way here while there is the one connection.

A request does not wait for a Redis that is known to be gone. Without a connection, and while a connection has been
silent for the store's timeout, a fetch fails at once. What was sent before stays in the connection's FIFO, so that the
first bytes of a reply end the silence; after twice the timeout the connection is closed. docs/reliability.md has the
table of faults.

This file does not know HTTP, and does not decode Values.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from redis.exceptions import AskError, ClusterError, NoPermissionError, RedisError

from yummy_fast.config.repository import Repository
from yummy_fast.config.settings import StoreOptions
from yummy_fast.errors import ConfigError, StoreUnavailableError
from yummy_fast.feast_format.keys import entity_key_header, timestamp_field
from yummy_fast.features.plan import Feature, Lookup, Rows
from yummy_fast.features.written import Chosen, WrittenView
from yummy_fast.native.owner import Picker
from yummy_fast.stores import redis_hash
from yummy_fast.stores.connection_string import check_files, parse_target
from yummy_fast.stores.online_store import StoreState, check_keys
from yummy_fast.stores.redis_cached import CachedReads
from yummy_fast.stores.redis_connection import RedisConnection
from yummy_fast.stores.redis_credentials import open_credentials
from yummy_fast.stores.redis_hash import HashReader
from yummy_fast.stores.redis_link import (
    CANNOT_CONNECT,
    NODE_OF_CLUSTER,
    Access,
    Link,
    LinkSettings,
    Place,
    access_to,
    client,
    login_for,
    reason,
)
from yummy_fast.stores.redis_nodes import Nodes, Source
from yummy_fast.stores.redis_pending import PendingFetch
from yummy_fast.stores.redis_rows import HashWriter, RowsCommand
from yummy_fast.stores.redis_sentinel import SentinelSource
from yummy_fast.stores.redis_slots import SLOTS, Topology, describe_ranges
from yummy_fast.stores.redis_topology import ClusterSource
from yummy_fast.stores.redis_tracking import Tracker
from yummy_fast.stores.redis_turns import Part, cost_of
from yummy_fast.stores.row_cache import RowCache

if TYPE_CHECKING:
    from yummy_fast.stores.looks import Looks
    from yummy_fast.stores.redis_cluster_looks import Shards
    from yummy_fast.stores.redis_looks import RedisLooks
    from yummy_fast.stores.survey import Survey

REDIS_TYPES = ("redis", "redis_cluster", "redis_sentinel")

_KEYS = frozenset(
    (
        "type",
        "redis_type",
        "sentinel_master",
        "connection_string",
        "key_ttl_seconds",
        "full_scan_for_deletion",
        "skip_dedup",
        "client",
    )
)
"""Keys of Feast's RedisOnlineStoreConfig; it refuses others, and so do we."""

AT_ONCE = 16
"""Primaries of a cluster that `check` looks at in parallel: of each for 2 s at most (`redis_survey`)."""

Asked = tuple[HashReader, bytes]
"""A fetch of one key: what it reads, and of which entity."""

_PROBE_FIELD = timestamp_field("")
_PROBE_PICKERS = {"hmget": Picker([_PROBE_FIELD], False), "hgetall": Picker([_PROBE_FIELD], True)}


class RedisStore:
    """An `OnlineStore`: Feast's `type: redis`, with each `redis_type`."""

    absent_is_present = True
    notices: tuple[str, ...]

    def __init__(self, repository: Repository, options: StoreOptions) -> None:
        block = repository.online_store
        self._where = where = f"{repository.source}: online_store"
        check_keys(block, _KEYS, where)
        ttl_s = block.get("key_ttl_seconds")
        if ttl_s is not None and (type(ttl_s) is not int or ttl_s < 0):
            raise ConfigError(f"{where}.key_ttl_seconds: expected a whole number of seconds, got {ttl_s!r}")
        skip_dedup = block.get("skip_dedup", False)
        if type(skip_dedup) is not bool:
            raise ConfigError(f"{where}.skip_dedup: expected true or false, got {skip_dedup!r}")
        self._ttl_s = ttl_s or 0
        self.compares_times = not skip_dedup
        self._redis_type = str(block.get("redis_type", "redis"))
        if self._redis_type not in REDIS_TYPES:
            raise ConfigError(f"{where}.redis_type: expected one of: {', '.join(REDIS_TYPES)}")
        self._master_name = block.get("sentinel_master", "mymaster")
        if not isinstance(self._master_name, str):
            raise ConfigError(f"{where}.sentinel_master: expected a name")
        connection_string = block.get("connection_string", "localhost:6379")
        where = f"{where}.connection_string"
        if isinstance(connection_string, list):
            wanted = "the address of one Redis" if self._redis_type == "redis" else "addresses with commas between them"
            raise ConfigError(f"{where}: expected {wanted}, got a list")
        self._target = target = parse_target(str(connection_string), self._redis_type, where)
        self.notices = target.notices
        check_files(target.options, where)
        self.state = StoreState()
        self._suffix = repository.project.encode()
        self._read = options.redis_read
        self._probe_by_name: dict[str, tuple[bytes, ...]] = {}
        """For each command that plans use, one that reads what is not there."""
        self._tracker: Tracker | None = None
        self._cache_mb = options.cache_mb
        if options.cache_mb:
            slots = 1 if self._redis_type == "redis" else SLOTS
            cache = RowCache(options.cache_mb << 20, self.state, ttl_s=self._ttl_s, slots=slots)
            self._tracker = Tracker(cache, self._suffix)
        self._settings = LinkSettings(
            target.options,
            options.timeout_ms / 1000,
            options.max_reply_bytes,
            options.max_commands,
            in_cluster=self._redis_type == "redis_cluster",
            several=self._redis_type != "redis",
            credentials=open_credentials(
                options.redis_password_file, options.redis_credentials, str(target.options.get("username") or "")
            ),
            tracker=self._tracker,
        )
        self._connection: RedisConnection | None = None
        """The connection to the one Redis, if there is but one and it is connected; else ..."""
        self._nodes: Nodes | None = None
        """... the nodes, if there may be several."""
        self._link: Link | None = None
        self._asked: dict[Asked, asyncio.Future[Rows]] = {}
        """The fetches of one key from nodes that were asked for in this tick of the event loop."""
        self._loop: asyncio.AbstractEventLoop | None = None
        self._place = Place({})
        if target.addresses:
            first = target.addresses[0]
            self._place = Place({"host": first.host, "port": first.port})
        try:
            given = client(self._settings, self._place).connection_pool.connection_kwargs
        except (TypeError, ValueError, RedisError) as error:
            raise ConfigError(f"{where}: {error}") from None
        self.address = given.get("path") or f"{given.get('host', 'localhost')}:{given.get('port', 6379)}"
        if self._redis_type != "redis":
            self.address = ",".join(map(str, target.addresses))

    # ------------------------------------------------------------------------------------------------ connecting

    async def open(self) -> None:
        self._loop = asyncio.get_running_loop()
        if self._tracker is not None:
            reads = CachedReads(self._tracker.cache, self.state, self.fetch, self.write, lambda: self._connection)
            # Without a cache, nothing stands before these two.
            self.fetch, self.write = reads.fetch, reads.write  # type: ignore[method-assign]
        if self._redis_type == "redis":
            self._link = Link(self.address, self._only_place, self._settings, self._probes, self.state, self._changed)
            self._link.start()
            await self._link.attempted.wait()
        else:
            self._nodes = Nodes(
                self._redis_type,
                self._source(),
                self._make_link,
                self._suffix,
                self._settings.timeout_s,
                self.state,
                spread=self._target.read_from_replicas,
            )
            if self._tracker is not None:
                self._nodes.reads.keep_rows_in(self._tracker.cache)
            await self._nodes.open()

    async def close(self) -> None:
        if self._link is not None:
            await self._link.close()
        if self._nodes is not None:
            nodes, self._nodes = self._nodes, None
            await nodes.close()

    async def _only_place(self) -> Place:
        return self._place

    def _changed(self, link: Link) -> None:
        self._connection = link.connection

    def _source(self) -> Source:
        if self._redis_type == "redis_sentinel":
            return SentinelSource(self._target, self._master_name, self._settings)
        return ClusterSource(self._target, self._settings)

    def _make_link(
        self,
        name: str,
        place: Callable[[], Awaitable[Place]],
        state: StoreState,
        changed: Callable[[Link], None],
        check_key: bytes,
    ) -> Link:
        return Link(name, place, self._settings, self._probes, self.state, changed, state=state, check_key=check_key)

    async def ping(self) -> str:
        if self._redis_type == "redis":
            return await self._ping(self._place, self.address)
        source = self._source()
        try:
            topology = await source.read(())
            nodes = [(address, await source.place(address)) for shard in topology.shards for address in shard[:1]]
        except CANNOT_CONNECT as error:
            raise StoreUnavailableError(f"{self.address}: {reason(error)}") from None
        finally:
            await source.close()
        answers: list[str | BaseException] = []
        for start in range(0, len(nodes), AT_ONCE):
            pings = [self._ping(place, str(address)) for address, place in nodes[start : start + AT_ONCE]]
            answers += await asyncio.gather(*pings, return_exceptions=True)
        for answer in answers:
            if isinstance(answer, BaseException):
                raise answer
        gaps = topology.uncovered()
        if gaps:
            raise StoreUnavailableError(f"{self.address}: no node for the slots {describe_ranges(gaps)}")
        count = len(topology.addresses())
        if not source.has_slots:
            return f"master {self._master_name}, {count - 1} replicas: {answers[0]}"
        return f"cluster of {len(topology.shards)} shards, {count} nodes: {answers[0]}"

    async def survey(self, views: Sequence[str]) -> Survey:
        try:
            accesses = await self._accesses()
        except CANNOT_CONNECT as error:
            raise StoreUnavailableError(f"{self.address}: {self._reason(error)}") from None
        return await asyncio.to_thread(self._survey, accesses, views)

    def _survey(self, accesses: Sequence[Access], views: Sequence[str]) -> Survey:
        from yummy_fast.stores.redis_survey import joined

        with ThreadPoolExecutor(min(len(accesses), AT_ONCE)) as threads:
            found = list(threads.map(lambda access: self._survey_one(access, views), accesses))
        return found[0] if self._redis_type == "redis" else joined(found, self.address, self._redis_type)

    def _survey_one(self, access: Access, views: Sequence[str]) -> Survey:
        from yummy_fast.stores.redis_survey import survey_redis

        with contextlib.closing(self._looks_of(access)) as looks:
            return survey_redis(looks, self._suffix, views)

    def looks(self) -> Looks:
        if self._redis_type == "redis_cluster":
            from yummy_fast.stores.redis_cluster_looks import ClusterLooks

            return ClusterLooks(self.address, self._shards, key_ttl_s=self._ttl_s)
        return self._looks(self.address, lambda: asyncio.run(self._accesses())[0])

    def _shards(self) -> Shards:
        """The primaries of the cluster. Blocks. Raises StoreUnavailableError."""
        from yummy_fast.stores.redis_cluster_looks import Shards

        try:
            topology, accesses = asyncio.run(self._topology_and_accesses())
        except CANNOT_CONNECT as error:
            raise StoreUnavailableError(f"{self.address}: {self._reason(error)}") from None
        looks = {access.name: self._looks_of(access) for access in accesses}
        return Shards(topology, [looks[str(shard.primary)] for shard in topology.shards])

    def _looks_of(self, access: Access) -> RedisLooks:
        return self._looks(access.name, lambda: access)

    def _looks(self, address: str, access: Callable[[], Access]) -> RedisLooks:
        from yummy_fast.stores.redis_looks import RedisLooks  # which nothing that serves needs

        db = int(self._target.options.get("db") or 0)
        return RedisLooks(address, access, db=db, key_ttl_s=self._ttl_s, reason=self._reason)

    async def _accesses(self) -> list[Access]:
        """The ways into the one Redis, the current master, or each primary. Raises what CANNOT_CONNECT lists."""
        if self._redis_type != "redis":
            return (await self._topology_and_accesses())[1]
        return [access_to(self.address, self._settings, self._place, await login_for(self._settings))]

    async def _topology_and_accesses(self) -> tuple[Topology, list[Access]]:
        """The nodes, and the ways into the primaries, each once."""
        source = self._source()
        try:
            topology = await source.read(())
            places = {str(shard.primary): await source.place(shard.primary) for shard in topology.shards}
        finally:
            await source.close()
        login = await login_for(self._settings)
        return topology, [access_to(name, self._settings, place, login) for name, place in places.items()]

    def _reason(self, error: BaseException) -> str:
        # MOVED, ASK, CLUSTERDOWN, CROSSSLOT
        if isinstance(error, ClusterError | AskError) and not self._settings.in_cluster:
            return f"{NODE_OF_CLUSTER}: {error}"
        if isinstance(error, AskError):  # MOVED as well; redis-py leaves out the word
            return f"slot {error.slot_id} is being moved to {error.node_addr[0]}:{error.node_addr[1]}; ask again later"
        return reason(error, tls_without_certificate=self._target.lacks_certificate)

    async def _ping(self, place: Place, name: str) -> str:
        """As `ping`, of one node."""
        made = None
        try:
            made = client(self._settings, place, await login_for(self._settings))
            for command in self._probes().values():
                try:
                    await made.execute_command(*command)  # type: ignore[no-untyped-call]
                except AskError:  # MOVED, too: another node has this key, and this one can be read
                    if not self._settings.in_cluster:
                        raise
            try:
                info = await made.info("server")
            except NoPermissionError:  # it is enough for us that the user may read hashes
                return f"Redis or Valkey at {name} (this user may not ask for its version)"
        except CANNOT_CONNECT as error:
            raise StoreUnavailableError(f"{name}: {self._reason(error)}") from None
        finally:
            if made is not None:
                await made.aclose()
        server = "Valkey" if "valkey_version" in info else "Redis"
        return f"{server} {info.get('valkey_version', info.get('redis_version'))} at {name}"

    @property
    def in_flight(self) -> int:
        nodes, connection = self._nodes, self._connection  # one read: another thread may call this while they change
        if nodes is not None:
            return nodes.in_flight
        return 0 if connection is None else connection.in_flight

    def ping_if_idle(self) -> None:
        if self._nodes is not None:
            self._nodes.probe(_PROBE_PICKERS)
        elif self._link is not None:
            self._link.probe(_PROBE_PICKERS)

    def nodes(self) -> list[dict[str, Any]]:
        nodes = self._nodes
        return [] if nodes is None else nodes.describe()

    def cache(self) -> dict[str, Any]:
        if self._tracker is None:
            return {}
        state = self.state
        return {
            "limit_bytes": self._cache_mb << 20,
            "bytes": state.cache_bytes,
            "entities": len(self._tracker.cache),
            "max_age_s": self._tracker.cache.max_age_s,
            "hits": state.cache_hits,
            "misses": state.cache_misses,
            "invalidations": state.cache_invalidations,
            "flushes": state.cache_flushes,
            "differences": state.cache_differences,
            **({"problem": self._tracker.refusal} if self._tracker.refusal else {}),
        }

    def _probes(self) -> dict[str, tuple[bytes, ...]]:
        """For each command by which requests read (hmget, hgetall), one that reads a hash that is not there."""
        return dict(self._probe_by_name) or {"hgetall" if self._read == "hgetall" else "hmget": self._probe(self._read)}

    def _probe(self, name: str, join_keys: Sequence[str] = ()) -> tuple[bytes, ...]:
        """The key begins and ends as those of entities do, because a user may be allowed keys by a pattern."""
        key = entity_key_header(list(join_keys), 3) + self._suffix
        return (b"HGETALL", key) if name == "hgetall" else (b"HMGET", key, _PROBE_FIELD)

    # --------------------------------------------------------------------------------------------------- writing

    def prepare_write(self, view: WrittenView) -> HashWriter:
        return HashWriter(view, self._suffix, self._ttl_s)

    def write(self, writes: Sequence[tuple[HashWriter, Chosen]]) -> asyncio.Future[None]:
        assert self._loop is not None, "open() comes first"  # noqa: S101
        future: asyncio.Future[None] = self._loop.create_future()
        if not any(chosen.numbers for _, chosen in writes):
            future.set_result(None)
            return future
        if self._connection is not None:
            parts = [Part(RowsCommand(writer, rows), None, numbers) for writer, (rows, numbers) in writes if numbers]
            self._connection.write(future, parts, writes[0][0].replies)
        elif self._nodes is not None:
            self._nodes.writes.write(future, writes)
        else:
            future.set_exception(StoreUnavailableError("The online store cannot be reached"))
        return future

    # --------------------------------------------------------------------------------------------------- reading

    def prepare(self, lookups: tuple[Lookup, ...]) -> list[HashReader]:
        readers = [HashReader(lookup, self._read, self._suffix) for lookup in lookups]
        for reader, lookup in zip(readers, lookups, strict=True):
            if reader.name not in self._probe_by_name:
                join_keys = [join_key for join_key, _ in lookup.join_keys]
                self._probe_by_name[reader.name] = self._probe(reader.name, join_keys)
        return readers

    def collisions(self, features: Iterable[Feature]) -> list[tuple[Feature, Feature]]:
        return redis_hash.collisions(features)

    def describe(self, prepared: list[HashReader]) -> list[str]:
        return [str(reader) for reader in prepared]

    def check_room(self, keys: int) -> None:
        if self._connection is not None:
            self._connection.check_room(keys)
        elif self._nodes is not None:
            self._nodes.check_room(keys)

    def fetch(self, prepared: list[HashReader], keys: Sequence[Sequence[bytes]]) -> asyncio.Future[Rows]:
        assert self._loop is not None, "open() comes first"  # noqa: S101
        future: asyncio.Future[Rows] = self._loop.create_future()
        connection = self._connection
        asked = None
        if len(keys) == 1 and len(keys[0]) == 1:
            asked = (prepared[0], keys[0][0])
            other = (self._asked if connection is None else connection.asked).get(asked)
            if other is not None and not other.done():
                self._share(other, future, prepared, keys)
                return future
        if not prepared:
            future.set_result([])
        elif connection is None:
            if self._nodes is not None:
                if asked is not None:
                    self._remember(self._asked, asked, future)
                self._nodes.reads.fetch(future, prepared, keys)
                return future
            future.set_exception(StoreUnavailableError("The online store cannot be reached"))
        elif len(prepared) == 1:  # usually: the loops below cost as much as all else in here
            reader, group = prepared[0], keys[0]
            if reader.may_change:
                reader.check_lengths()
            count = len(group)
            if count <= connection.room:
                command = reader.command.render(group)
                pending = PendingFetch(future, [(reader.picker, count)])
                connection.send(pending, [command], cost_of(count, len(command)))
                if asked is not None and not future.done():  # done if it could not be sent
                    connection.asked[asked] = future
            else:
                if asked is not None:
                    self._remember(connection.asked, asked, future)
                connection.send_in_turns(future, [Part(reader.command, reader.picker, group)])
        else:
            for reader in prepared:
                reader.check_lengths()
            count = sum(map(len, keys))
            if count <= connection.room:
                parts = [(reader.picker, len(group)) for reader, group in zip(prepared, keys, strict=True)]
                commands = [reader.command.render(group) for reader, group in zip(prepared, keys, strict=True)]
                connection.send(PendingFetch(future, parts), commands, cost_of(count, sum(map(len, commands))))
            else:
                turns = [
                    Part(reader.command, reader.picker, group) for reader, group in zip(prepared, keys, strict=True)
                ]
                connection.send_in_turns(future, turns)
        return future

    def _remember(self, asked: dict[Asked, asyncio.Future[Rows]], what: Asked, future: asyncio.Future[Rows]) -> None:
        """Remember a fetch for the rest of this tick, where no write empties `asked` at its end."""
        assert self._loop is not None, "open() comes first"  # noqa: S101
        if not asked:
            self._loop.call_soon(asked.clear)
        asked[what] = future

    def fetch_times(self, prepared: list[HashReader], keys: Sequence[Sequence[bytes]]) -> asyncio.Future[Rows]:
        if self._nodes is None or not prepared:
            return RedisStore.fetch(self, prepared, keys)  # without a cache, also where there is one
        assert self._loop is not None, "open() comes first"  # noqa: S101
        future: asyncio.Future[Rows] = self._loop.create_future()
        self._nodes.reads.fetch_from_primaries(future, prepared, keys)
        return future

    def _share(
        self,
        other: asyncio.Future[Rows],
        future: asyncio.Future[Rows],
        prepared: list[HashReader],
        keys: Sequence[Sequence[bytes]],
    ) -> None:
        """Give a fetch what another one gets, which was asked for the same in this tick: a hot key is read once."""
        self.state.shared_reads += 1

        def hand_on(done: asyncio.Future[Rows]) -> None:
            if future.done():
                return
            error = None if done.cancelled() else done.exception()
            if done.cancelled():  # whoever asked first has given up
                again = self.fetch(prepared, keys)
                again.add_done_callback(hand_on)
            elif error is not None:
                future.set_exception(type(error)(*error.args))
            else:
                future.set_result(done.result())

        other.add_done_callback(hand_on)
