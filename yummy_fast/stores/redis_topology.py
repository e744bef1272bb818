"""The topology of a Redis Cluster, asked of its nodes: the `Source` of `redis_nodes` for `redis_type: redis_cluster`.

CLUSTER SLOTS is asked of one node that answers, then of others, then of the configured seeds, whose names are resolved
anew: when all nodes have moved to new addresses, the names are what is left. Each reading has a connection of its own
by redis-py, which is closed afterwards. Not CLUSTER SHARDS: it returns shards without slots during a failover
(redis#13414, valkey#784).

Over TLS, a node that announces an address instead of a name has a certificate for the name that clients know: where
both a seed is a name and a node is an address, the certificate has to be for the seed's name.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from redis.exceptions import NoPermissionError, RedisError, ResponseError

from yummy_fast.stores.connection_string import Target
from yummy_fast.stores.redis_link import CANNOT_CONNECT, LinkSettings, Place, client, is_address, login_for, reason
from yummy_fast.stores.redis_slots import REGULAR_S, Address, Topology, TopologyError, parse_slots

MAX_KNOWN_ASKED = 3
"""Of the nodes that seem to answer, so many are asked before the seeds."""


class NoTopologyError(RedisError):
    """No node that was asked knows the topology."""


NO_CLUSTER = "it is no node of a cluster: set redis_type: redis"


async def ask(settings: LinkSettings, place: Place, *command: str) -> Any:
    """The answer to one command, by a connection of its own. Raises what CANNOT_CONNECT lists."""
    connector = client(settings, place, await login_for(settings)).connection_pool.make_connection()  # type: ignore[no-untyped-call]
    try:
        await connector.connect()
        await connector.send_command(*command)
        return await connector.read_response()
    finally:
        with suppress(*CANNOT_CONNECT):
            await connector.disconnect(nowait=True)


class ClusterSource:
    """The topology as the nodes know it."""

    regular_s = REGULAR_S
    has_slots = True
    drops_at_once = False

    def __init__(self, target: Target, settings: LinkSettings) -> None:
        self._seeds = target.addresses
        self._settings = settings
        names = (seed.host for seed in target.addresses if not is_address(seed.host))
        self._server_name = next(names, "") if target.uses_tls else ""

    async def place(self, address: Address) -> Place:
        """As Source.place."""
        named = self._server_name if is_address(address.host) else ""
        return Place({"host": address.host, "port": address.port}, named)

    async def read(self, known: Sequence[Address]) -> Topology:
        """As Source.read."""
        seeds = list(self._seeds)
        random.shuffle(seeds)
        problems = {}
        for address in dict.fromkeys([*known[:MAX_KNOWN_ASKED], *seeds]):
            try:
                reply = await ask(self._settings, await self.place(address), "CLUSTER SLOTS")
                return parse_slots(reply, address)
            except NoPermissionError:
                problems[address] = "this user may not run CLUSTER SLOTS; grant +cluster|slots"
            except ResponseError as error:
                unfit = "cluster support disabled" in str(error)
                problems[address] = NO_CLUSTER if unfit else reason(error)
            except (TopologyError, *CANNOT_CONNECT) as error:
                problems[address] = reason(error)
        text = "; ".join(f"{address}: {problem}" for address, problem in sorted(problems.items()))
        raise NoTopologyError(text)

    async def close(self) -> None:
        """As Source.close: nothing is kept open."""
