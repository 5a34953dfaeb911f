"""The memory channel: the acceptance suite, and the faults that a test can decide."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crdt_sync.errors import ChannelClosed, LocalProtocolError
from crdt_sync.testing.channels import ChannelAcceptance
from crdt_sync.transport.base import Channel, ChannelLimits, CloseCode
from crdt_sync.transport.memory import End, Fate, Frame, MemoryLine, memory_pair


class TestMemoryChannel(ChannelAcceptance):
    @asynccontextmanager
    async def connected(self, limits: ChannelLimits) -> AsyncIterator[tuple[Channel, Channel]]:
        yield memory_pair(limits=limits)


def drain(line: MemoryLine, end: End) -> list[bytes]:
    frames = []
    try:
        while (data := line.take(end)) is not None:
            frames.append(data)
    except ChannelClosed:
        pass
    return frames


def test_fates_are_asked_once_per_frame_with_sender_and_index() -> None:
    asked: list[Frame] = []

    def fates(frame: Frame) -> Fate:
        asked.append(frame)
        return Fate.DELIVER

    line = MemoryLine(fates=fates)
    line.put(End.DIALER, data=b"a")
    line.put(End.LISTENER, data=b"b")
    line.put(End.DIALER, data=b"c")
    assert [(frame.sender, frame.index, frame.data) for frame in asked] == [
        (End.DIALER, 0, b"a"),
        (End.LISTENER, 0, b"b"),
        (End.DIALER, 1, b"c"),
    ]


def test_drop_and_duplicate() -> None:
    script = [Fate.DELIVER, Fate.DROP, Fate.DUPLICATE]
    line = MemoryLine(fates=lambda frame: script[frame.index])
    for data in (b"a", b"b", b"c"):
        line.put(End.DIALER, data=data)
    assert drain(line, End.LISTENER) == [b"a", b"c", b"c"]
    assert line.take(End.DIALER) is None


@pytest.mark.parametrize(("fate", "readable"), [(Fate.CUT, [b"a"]), (Fate.CUT_AND_LOSE, [])])
def test_a_cut_takes_the_frame_and_ends_both_ends(fate: Fate, readable: list[bytes]) -> None:
    script = [Fate.DELIVER, fate]
    line = MemoryLine(fates=lambda frame: script[frame.index] if frame.sender is End.DIALER else Fate.DELIVER)
    line.put(End.DIALER, data=b"a")
    line.put(End.LISTENER, data=b"a")
    with pytest.raises(ChannelClosed) as caught:
        line.put(End.DIALER, data=b"b")
    assert caught.value.code == CloseCode.LOST
    assert drain(line, End.LISTENER) == readable
    assert drain(line, End.DIALER) == readable
    for end in End:
        with pytest.raises(ChannelClosed):
            line.take(end)
        with pytest.raises(ChannelClosed):
            line.put(end, data=b"late")


def test_a_full_line_refuses_and_says_so() -> None:
    line = MemoryLine(limits=ChannelLimits(queue_messages_max=2))
    line.put(End.DIALER, data=b"a")
    line.put(End.DIALER, data=b"b")
    assert not line.has_room(End.DIALER)
    assert line.has_room(End.LISTENER)
    with pytest.raises(LocalProtocolError):
        line.put(End.DIALER, data=b"c")
    assert line.unread(End.LISTENER) == 2
    assert "open" in repr(line)


def test_a_cut_by_the_test_wakes_both_ends() -> None:
    async def run() -> None:
        dialer, listener = memory_pair()
        async with asyncio.timeout(30), asyncio.TaskGroup() as group:
            waiting = [group.create_task(_code_of_end(channel)) for channel in (dialer, listener)]
            await asyncio.sleep(0)
            dialer.line.cut()
        assert [task.result() for task in waiting] == [CloseCode.LOST, CloseCode.LOST]
        assert "ended 1006" in repr(dialer)

    asyncio.run(run())


@given(script=st.lists(st.sampled_from(Fate), max_size=12))
def test_what_arrives_follows_from_the_fates_alone(script: list[Fate]) -> None:
    def fates(frame: Frame) -> Fate:
        return script[frame.index]

    async def run() -> tuple[list[bytes], str]:
        dialer, listener = memory_pair(fates=fates)
        received: list[bytes] = []

        async def read() -> None:
            try:
                while True:
                    received.append(await listener.receive())
            except ChannelClosed:
                return

        async with asyncio.timeout(30), asyncio.TaskGroup() as group:
            group.create_task(read())
            try:
                for index in range(len(script)):
                    await dialer.send(bytes([index]))
                await dialer.close()
            except ChannelClosed:
                pass
        return received, repr(dialer.line)

    received, state = asyncio.run(run())
    assert (received, state) == asyncio.run(run())
    if not {Fate.CUT, Fate.CUT_AND_LOSE} & set(script):
        times = {Fate.DELIVER: 1, Fate.DROP: 0, Fate.DUPLICATE: 2}
        assert received == [bytes([index]) for index, fate in enumerate(script) for _ in range(times[fate])]


async def _code_of_end(channel: Channel) -> int:
    with pytest.raises(ChannelClosed) as caught:
        await channel.receive()
    return caught.value.code
