"""The master that the sentinels agree on: the `Source` of `redis_nodes` for `redis_type: redis_sentinel`.

All sentinels are asked at once, each second, on connections that are kept: the first of the list may be dead or hang,
and redis-py would wait for it. Of what they answer, the highest configuration epoch counts:

    SENTINEL MASTER mymaster     ip, port, flags, config-epoch, num-other-sentinels
    SENTINEL REPLICAS mymaster   ip, port, flags, master-link-status

The sentinels decide which node is asked, and no connection does: after a failover the old master keeps its connections
and calls itself master for a while, and one that comes back empty does so for ten seconds. So a node that is not named
as master any more is dropped at once, and before each connection is made the sentinels are asked again.

While the master is gone, a replica answers: one that was in step while the master was there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from redis.exceptions import RedisError

from yummy_fast.stores.connection_string import Target
from yummy_fast.stores.redis_link import CANNOT_CONNECT, LinkSettings, Place, client, reason
from yummy_fast.stores.redis_slots import Address, Shard, Topology

REGULAR_S = 1.0
LATECOMERS_S = 0.1
"""Once a sentinel has answered, the others get as long."""
_DOWN = frozenset((b"s_down", b"o_down", b"disconnected"))


class SentinelError(RedisError):
    """The sentinels name no master, or another one."""


class Answer(NamedTuple):
    """What one sentinel knows."""

    epoch: int
    master: Address
    down: bool
    """Whether it takes the master for dead."""
    others: int
    """How many other sentinels it knows."""
    replicas: tuple[Address, ...]
    """Those that are alive, and ..."""
    in_step: tuple[Address, ...]
    """... of these, those that have their master."""
    promoted: tuple[Address, ...] = ()
    """The replica that it is making the master, if it leads a failover."""


def parse_answer(master: Any, replicas: Any) -> Answer:
    """What a sentinel knows, by its replies to MASTER and REPLICAS. Raises SentinelError."""
    try:
        facts = _facts(master)
        alive = [fields for fields in map(_facts, replicas) if _DOWN.isdisjoint(_flags(fields))]
        answer = Answer(
            epoch=int(facts[b"config-epoch"]),
            master=_address(facts),
            down=not _DOWN.isdisjoint(_flags(facts)),
            others=int(facts[b"num-other-sentinels"]),
            replicas=tuple(map(_address, alive)),
            in_step=tuple(_address(fields) for fields in alive if fields[b"master-link-status"] == b"ok"),
            promoted=tuple(_address(fields) for fields in alive if b"promoted" in _flags(fields)),
        )
        for fields in alive:
            # The sentinel that leads a failover goes on naming the old master until all replicas follow the new one.
            if b"promoted" in _flags(fields) and fields[b"role-reported"] == b"master":
                return answer._replace(master=_address(fields), down=False)
        return answer
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise SentinelError("no answer of a sentinel") from error


def _facts(reply: Sequence[bytes]) -> Mapping[bytes, bytes]:
    return dict(zip(reply[::2], reply[1::2], strict=True))


def _flags(facts: Mapping[bytes, bytes]) -> Sequence[bytes]:
    return facts[b"flags"].split(b",")


def _address(facts: Mapping[bytes, bytes]) -> Address:
    return Address(facts[b"ip"].decode(), int(facts[b"port"]))


class SentinelSource:
    """The topology as the sentinels know it: one master and its replicas."""

    regular_s = REGULAR_S
    has_slots = False
    drops_at_once = True

    def __init__(self, target: Target, master_name: str, settings: LinkSettings) -> None:
        """`settings` are those for the master; the sentinels' own options are in `target`."""
        self._sentinels = target.addresses
        self._name = master_name
        self._least_others = target.min_other_sentinels
        self._forced_host = target.force_master_ip
        self._settings = LinkSettings(target.sentinel_options, settings.timeout_s, settings.max_reply_bytes)
        self._connectors: dict[Address, Any] = {}
        self._shard: Shard | None = None

    async def read(self, known: Sequence[Address]) -> Topology:
        """As Source.read."""
        answer = await self._ask()
        before = self._shard
        if before is not None and answer.master == before.primary and (answer.down or answer.master not in known):
            # Without a master no replica is in step. Those that were, still answer with what they have.
            replicas = tuple(address for address in before.replicas if address in answer.replicas)
        else:
            replicas = answer.in_step
        self._shard = Shard(answer.master, tuple(sorted({*replicas} - {answer.master})))
        return Topology.of_one(self._shard)

    async def place(self, address: Address) -> Place:
        """As Source.place. Only the sentinels know whether a node is still what it was."""
        answer = await self._ask()
        if address == answer.master:
            if answer.down:
                raise SentinelError("the sentinels take it for dead")
        elif address not in answer.in_step and address not in answer.promoted:
            raise SentinelError(f"the sentinels name {answer.master} as the master")
        return Place({"host": address.host, "port": address.port})

    async def _ask(self) -> Answer:
        """The best answer of all sentinels. Raises SentinelError."""
        problems: dict[Address, str] = {}
        answers: list[Answer] = []
        tasks = {asyncio.create_task(self._ask_one(sentinel)): sentinel for sentinel in self._sentinels}
        waiting = set(tasks)
        try:
            while waiting:
                done, waiting = await asyncio.wait(
                    waiting, timeout=LATECOMERS_S if answers else None, return_when=asyncio.FIRST_COMPLETED
                )
                for task in done:
                    try:
                        answer = task.result()
                    except CANNOT_CONNECT as error:
                        problems[tasks[task]] = reason(error)
                    else:
                        if answer.others < self._least_others:
                            problems[tasks[task]] = f"it knows {answer.others} other sentinels"
                        else:
                            answers.append(answer)
                if not done:
                    break
        finally:
            for task in waiting:
                task.cancel()
            if waiting:
                await asyncio.wait(waiting)
        if not answers:
            text = "; ".join(f"{address}: {problem}" for address, problem in sorted(problems.items()))
            raise SentinelError(f"no sentinel names a master {self._name!r}: {text}")
        best = max(answers, key=lambda answer: (answer.epoch, not answer.down))
        # One sentinel alone knows whom it is promoting; it has closed the connections there.
        best = best._replace(promoted=tuple(address for answer in answers for address in answer.promoted))
        if self._forced_host:
            return best._replace(master=Address(self._forced_host, best.master.port))
        return best

    async def _ask_one(self, sentinel: Address) -> Answer:
        """What one sentinel knows, on the connection to it, which is kept. Raises what CANNOT_CONNECT lists."""
        connector = self._connectors.pop(sentinel, None)
        try:
            if connector is None:
                made = client(self._settings, Place({"host": sentinel.host, "port": sentinel.port}))
                connector = made.connection_pool.make_connection()  # type: ignore[no-untyped-call]
                await connector.connect()
            replies = []
            for command in ("SENTINEL MASTER", "SENTINEL REPLICAS"):
                await connector.send_command(command, self._name)
                replies.append(await connector.read_response())
            answer = parse_answer(*replies)
        except BaseException:
            if connector is not None:
                with suppress(*CANNOT_CONNECT):
                    await connector.disconnect(nowait=True)
            raise
        if sentinel in self._connectors:  # of another question at the same time
            await connector.disconnect(nowait=True)
        else:
            self._connectors[sentinel] = connector
        return answer

    async def close(self) -> None:
        """As Source.close."""
        for connector in self._connectors.values():
            with suppress(*CANNOT_CONNECT):
                await connector.disconnect(nowait=True)
        self._connectors.clear()
