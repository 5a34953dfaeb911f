"""The simulated network: a channel like any other while nothing fails, and what its faults do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from crdt_sync.errors import ChannelClosed, PeerUnreachableError
from crdt_sync.testing.channels import ChannelAcceptance
from crdt_sync.testing.simulation.loop import VirtualLoop
from crdt_sync.testing.simulation.network import LIMITS, Network, SimulatedChannel
from crdt_sync.testing.simulation.trace import Trace
from crdt_sync.transport.base import Channel, ChannelLimits, CloseCode


@asynccontextmanager
async def pair(network: Network, limits: ChannelLimits = LIMITS) -> AsyncIterator[tuple[SimulatedChannel, Channel]]:
    arrived: asyncio.Future[Channel] = asyncio.get_running_loop().create_future()
    over = asyncio.Event()

    async def listener(channel: Channel) -> None:
        arrived.set_result(channel)
        await over.wait()

    network.listen("hub", listener)
    try:
        yield await network.dial("dev", "ws://hub:1", limits), await arrived
    finally:
        over.set()
        await network.silence("hub")


class TestSimulatedChannel(ChannelAcceptance):
    def connected(self, limits: ChannelLimits):  # type: ignore[no-untyped-def]  # as the suite has it
        network = Network(asyncio.get_running_loop(), trace=Trace(), seed="channels")
        return pair(network, limits)


def in_virtual_time(story: Callable[[Network], Awaitable[None]]) -> float:
    loop = VirtualLoop()
    try:
        loop.run_until_complete(asyncio.wait_for(story(Network(loop, trace=Trace(), seed="faults")), 600))
        return loop.time()
    finally:
        loop.close()


def test_virtual_time_costs_nothing() -> None:
    async def story(network: Network) -> None:
        await asyncio.sleep(500)

    assert in_virtual_time(story) == pytest.approx(500)


def test_what_can_never_come_ends_the_simulation() -> None:
    loop = VirtualLoop()
    waiting = loop.create_future()
    with pytest.raises(RuntimeError, match="never come"):
        loop.run_until_complete(waiting)
    loop.close()


def test_nobody_answers_where_nobody_listens_or_nothing_gets_through() -> None:
    async def story(network: Network) -> None:
        with pytest.raises(PeerUnreachableError, match="nothing listens"):
            await network.dial("dev", "ws://hub:1", LIMITS)
        async with pair(network):
            network.block("hub", "dev")
            with pytest.raises(PeerUnreachableError, match="does not answer"):
                await network.dial("dev", "ws://hub:1", LIMITS)

    in_virtual_time(story)


def test_a_partition_holds_frames_up_and_kills_a_connection_that_idles() -> None:
    async def story(network: Network) -> None:
        async with pair(network) as (dialer, listener):
            network.block("dev", "hub")
            await dialer.send(b"held up")
            await listener.send(b"gets through")
            assert await dialer.receive() == b"gets through"
            await asyncio.sleep(LIMITS.idle_timeout_s / 2)
            network.heal()
            assert await listener.receive() == b"held up"
            network.block("dev", "hub")
            assert await lost(dialer) == await lost(listener) == CloseCode.LOST

    in_virtual_time(story)


@pytest.mark.parametrize("learns", [0, 1])
def test_one_end_of_a_cut_connection_finds_out_late(learns: int) -> None:
    async def story(network: Network) -> None:
        loop = asyncio.get_running_loop()
        async with pair(network) as ends:
            await ends[learns].send(b"in the air")
            await ends[1 - learns].send(b"lost")
            began_s = loop.time()
            assert network.wires[0].cut(learns)
            assert await lost(ends[learns]) == CloseCode.LOST
            assert loop.time() == began_s
            assert await ends[1 - learns].receive() == b"in the air"
            await ends[1 - learns].send(b"nobody is there")
            assert await lost(ends[1 - learns]) == CloseCode.LOST
            assert loop.time() == pytest.approx(began_s + LIMITS.idle_timeout_s)
            assert network.wires == []

    in_virtual_time(story)


def test_both_ends_of_a_broken_connection_lose_what_is_in_the_air() -> None:
    async def story(network: Network) -> None:
        async with pair(network) as ends:
            await ends[0].send(b"lost")
            assert network.wires[0].cut(2)
            assert [await lost(end) for end in ends] == [CloseCode.LOST, CloseCode.LOST]

    in_virtual_time(story)


def test_a_slow_reader_takes_its_time() -> None:
    async def story(network: Network) -> None:
        network.slow["hub"] = 3.0
        async with pair(network) as (dialer, listener):
            for _ in range(LIMITS.queue_messages_max):
                await dialer.send(b"frame")
            began_s = asyncio.get_running_loop().time()
            await listener.receive()
            assert asyncio.get_running_loop().time() - began_s >= 3.0
        assert network.unread_max <= LIMITS.queue_messages_max

    in_virtual_time(story)


def test_what_a_listener_raises_is_kept() -> None:
    async def story(network: Network) -> None:
        async def fails(channel: Channel) -> None:
            raise KeyError("mine")

        network.listen("hub", fails)
        await lost(await network.dial("dev", "ws://hub:1", LIMITS))
        await asyncio.sleep(1)  # of virtual time
        assert [type(error) for error in network.failures] == [KeyError]

    in_virtual_time(story)


async def lost(channel: Channel) -> int:
    with pytest.raises(ChannelClosed) as ended:
        await channel.receive()
    return ended.value.code
