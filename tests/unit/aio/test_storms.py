"""Many devices that lost their hub at once come back spread out, on a clock that the test moves."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest

from crdt_sync import BackoffPolicy, Replica, connect, serve
from crdt_sync.aio.peers import Peer
from crdt_sync.aio.server import RETRY_AFTER_S, Server
from crdt_sync.aio.shell import Shell
from crdt_sync.errors import InputError, PeerUnreachableError, RemoteProtocolError
from crdt_sync.transport.memory import MemoryChannel, memory_pair
from tests.unit.aio.network import PATIENCE_S, Clock, Task, memory, until

DEVICES = 50


class Place:
    """Where a hub answers, or nobody does; it notes when it was dialled."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.server: Server | None = None
        self.dialled_s: list[float] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def dial(self, *_: Any, **__: Any) -> MemoryChannel:
        self.dialled_s.append(self.clock.now_s)
        if self.server is None:
            raise PeerUnreachableError("nobody is there")
        left, right = memory_pair()
        self._tasks.add(asyncio.create_task(self.server.talk(right)))
        return left

    def shell(self, seed: int) -> Shell:
        clock = self.clock
        chance = random.Random(seed).random
        return Shell(sleep=clock.sleep, chance=chance, monotonic=lambda: clock.now_s, dial=self.dial)

    @asynccontextmanager
    async def hub(self, replica: Replica) -> AsyncIterator[Server]:
        """A server's life, on a clock on which no handshake takes too long."""
        self.server = server = Server(replica, open_space=True, shell=Shell(sleep=Clock().sleep))
        yield server
        self.server = None
        await server.close()
        await asyncio.gather(*self._tasks)
        self._tasks.clear()


def dialling(place: Place, stack: AsyncExitStack) -> tuple[list[Peer], list[asyncio.Task[None]]]:
    """Devices that dial the hub, each with dice of its own."""
    replicas = [stack.enter_context(memory()) for _ in range(DEVICES)]
    peers = [
        Peer(replica, "ws://hub:1", policy=BackoffPolicy(), shell=place.shell(seed))
        for seed, replica in enumerate(replicas)
    ]
    return peers, [asyncio.create_task(peer.run()) for peer in peers]


async def test_a_hub_that_restarts_is_not_met_by_all_of_its_devices_at_once(hub: Replica) -> None:
    clock = Clock()
    place = Place(clock)
    async with AsyncExitStack() as stack:
        peers, tasks = dialling(place, stack)
        async with asyncio.timeout(PATIENCE_S):
            async with place.hub(hub) as server:
                await until(lambda: len(server.devices) == DEVICES)
                place.dialled_s.clear()
            await until(lambda: not any(peer.connected for peer in peers) and len(clock.waiting_s) >= DEVICES)
            for peer in peers:
                assert isinstance(peer.last_error, RemoteProtocolError)
                assert peer.last_error.retry_after_s == RETRY_AFTER_S
            async with place.hub(hub) as server:
                for _ in range(110):
                    clock.advance(0.1)
                    for _ in range(20):
                        await asyncio.sleep(0)
                await until(lambda: len(server.devices) == DEVICES)
                for peer in peers:
                    peer.leave()
                await asyncio.gather(*tasks)
    assert len(place.dialled_s) == DEVICES, "each came once"
    assert min(place.dialled_s) >= RETRY_AFTER_S
    assert max(place.dialled_s) <= 2 * RETRY_AFTER_S + 0.1
    in_half_seconds = Counter(int(at_s * 2) for at_s in place.dialled_s)
    assert max(in_half_seconds.values()) <= DEVICES / 4, in_half_seconds


async def test_a_hub_that_vanishes_is_dialled_ever_more_rarely(hub: Replica) -> None:
    clock = Clock()
    place = Place(clock)
    async with AsyncExitStack() as stack:
        _, tasks = dialling(place, stack)
        for _ in range(600):
            clock.advance(1)
            for _ in range(5):
                await asyncio.sleep(0)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    late = Counter(int(at_s) for at_s in place.dialled_s if at_s > 240)
    assert sum(late.values()) <= 360 * DEVICES / 30 * 1.3, "one in half a minute each, on average"
    assert max(late.values()) <= 10, "and never all at once"


async def test_a_server_without_room_tells_when_to_come_back(hub: Replica, one: Replica, two: Replica) -> None:
    clock = Clock()
    async with serve(hub, sessions_max=1, retry_after_s=20.0) as server, connect(one, server.url) as peer:
        await peer.caught_up(timeout_s=PATIENCE_S)
        two.create(Task, title="later")
        async with connect(two, server.url, shell=clock.shell) as other:
            await until(lambda: any(left_s > 20 for left_s in clock.waiting_s))
            assert isinstance(other.last_error, RemoteProtocolError)
            assert (other.last_error.code, other.last_error.retry_after_s) == ("overloaded", 20.0)
            assert other.failure is None
            assert peer.connected
            assert server.devices == (one.device_id,)
        assert [item.attempts for item in two.operations()] == [0]


@pytest.mark.parametrize(
    "wrong", [{"sessions_max": 0}, {"sessions_max": True}, {"retry_after_s": -1.0}, {"retry_after_s": float("nan")}]
)
async def test_numbers_of_a_server_that_cannot_be_are_bad_input(hub: Replica, wrong: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        async with serve(hub, **wrong):
            pytest.fail("it cannot be")
