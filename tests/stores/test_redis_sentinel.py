"""What sentinels answer, and which of them is believed. The rest needs real ones: tests/system/test_sentinel.py."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.harness import run
from yummy_fast.stores.connection_string import parse_target
from yummy_fast.stores.redis_link import LinkSettings, Place
from yummy_fast.stores.redis_sentinel import Answer, SentinelError, SentinelSource, parse_answer
from yummy_fast.stores.redis_slots import Address, Shard

A, B, C = (Address("10.0.0.1", port) for port in (1, 2, 3))


def facts(address: Address, flags: str, **others: str) -> list[bytes]:
    found = {"name": "x", "ip": address.host, "port": str(address.port), "flags": flags}
    found |= {name.replace("_", "-"): value for name, value in others.items()}
    return [part.encode() for item in found.items() for part in item]


def master(address: Address = A, flags: str = "master", epoch: int = 1, others: int = 2) -> list[bytes]:
    return facts(address, flags, config_epoch=str(epoch), num_other_sentinels=str(others))


def replica(address: Address, flags: str = "slave", link: str = "ok", role: str = "slave") -> list[bytes]:
    return facts(address, flags, master_link_status=link, role_reported=role)


def test_answer() -> None:
    answer = parse_answer(master(epoch=7), [replica(B), replica(C, link="err")])
    assert answer == Answer(epoch=7, master=A, down=False, others=2, replicas=(B, C), in_step=(B,))


@pytest.mark.parametrize("flags", ["master,s_down", "master,s_down,o_down,failover_in_progress", "master,disconnected"])
def test_a_master_that_is_down(flags: str) -> None:
    assert parse_answer(master(flags=flags), []).down


def test_replicas_that_are_down_are_left_out() -> None:
    answer = parse_answer(master(), [replica(B, "slave,s_down"), replica(C, "slave,disconnected")])
    assert answer.replicas == answer.in_step == ()


def test_who_is_promoted_is_the_master_once_it_says_so() -> None:
    """The sentinel that leads a failover names the old master until all replicas follow the new one."""
    down = master(flags="master,o_down")
    begun = parse_answer(down, [replica(B, "slave,promoted", link="err"), replica(C, link="err")])
    assert (begun.master, begun.down, begun.promoted, begun.in_step) == (A, True, (B,), ())
    done = parse_answer(down, [replica(B, "slave,promoted", link="err", role="master"), replica(C, link="err")])
    assert (done.master, done.down) == (B, False)


@pytest.mark.parametrize(
    ("reply", "replicas"),
    [
        (None, []),
        ([], []),
        (b"OK", []),
        (master()[:-1], []),
        (master()[:-2], []),
        (facts(A, "master", config_epoch="x", num_other_sentinels="1"), []),
        (master(), None),
        (master(), [b"x"]),
        (master(), [[b"flags", b"slave"]]),
    ],
)
def test_what_is_no_answer(reply: Any, replicas: Any) -> None:
    with pytest.raises(SentinelError):
        parse_answer(reply, replicas)


class ScriptedSource(SentinelSource):
    """A source whose sentinels say what a test wants."""

    def __init__(self, count: int = 3, options: str = "") -> None:
        addresses = ",".join(f"10.1.0.{number}:26379" for number in range(count))
        target = parse_target(addresses + options, "redis_sentinel", "here")
        super().__init__(target, "mymaster", LinkSettings({}, 1.0, 1 << 20))
        self.answers: list[Answer | Exception | None] = []
        """For each sentinel; None hangs."""

    async def _ask_one(self, sentinel: Address) -> Answer:
        answer = self.answers[self._sentinels.index(sentinel)]
        if answer is None:
            await asyncio.get_running_loop().create_future()
        if isinstance(answer, Exception):
            raise answer
        assert answer is not None
        return answer


def said(
    address: Address = A, *, epoch: int = 1, down: bool = False, in_step: tuple[Address, ...] = (B, C), others: int = 2
) -> Answer:
    return Answer(epoch, address, down, others, (B, C), in_step)


def test_the_highest_epoch_counts_and_none_is_waited_for() -> None:
    async def asking() -> None:
        source = ScriptedSource()
        source.answers = [None, said(A, epoch=1), said(B, epoch=2, in_step=(C,))]
        assert (await source.read(())).shards == (Shard(B, (C,)),)
        source.answers = [OSError("refused"), said(A, down=True), said(A)]
        assert await source.place(A) == Place({"host": A.host, "port": A.port})

    run(asking())


def test_nobody_connects_to_a_master_by_memory() -> None:
    async def asking() -> None:
        source = ScriptedSource()
        source.answers = [said(A)] * 3
        await source.read(())
        source.answers = [said(B, epoch=2, in_step=(C,))] * 3
        with pytest.raises(SentinelError, match=r"name 10\.0\.0\.1:2 as the master"):
            await source.place(A)
        await source.place(C)
        source.answers = [said(A, down=True, in_step=())] * 3
        for address in (A, B, C):
            with pytest.raises(SentinelError):
                await source.place(address)
        source.answers = [said(A, down=True, in_step=()), said(A, in_step=())._replace(promoted=(B,)), None]
        await source.place(B)

    run(asking())


def test_without_a_master_the_replicas_stay_that_were_in_step() -> None:
    async def asking() -> None:
        source = ScriptedSource()
        source.answers = [said(A, in_step=(B,))] * 3
        assert (await source.read((A,))).shards == (Shard(A, (B,)),)
        source.answers = [said(A, in_step=())] * 3  # not noticed by the sentinels yet, but by us
        assert (await source.read((B,))).shards == (Shard(A, (B,)),)
        source.answers = [said(A, down=True, in_step=())] * 3
        assert (await source.read((B,))).shards == (Shard(A, (B,)),)
        source.answers = [said(A, in_step=())] * 3
        assert (await source.read((A, B))).shards == (Shard(A),)

    run(asking())


def test_sentinels_that_cannot_be_used() -> None:
    async def asking() -> None:
        source = ScriptedSource(2, ",min_other_sentinels=2")
        source.answers = [said(A, others=1), OSError("refused")]
        with pytest.raises(SentinelError, match=r"it knows 1 other sentinels.*refused"):
            await source.read(())
        source.answers = [said(A, others=2), OSError("refused")]
        assert (await source.read(())).shards == (Shard(A, (B, C)),)
        forced = ScriptedSource(1, ",force_master_ip=10.9.9.9")
        forced.answers = [said(A)]
        assert (await forced.read(())).shards[0].primary == Address("10.9.9.9", 1)

    run(asking())
