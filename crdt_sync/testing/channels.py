"""The acceptance suite of channels: what every `Channel` must do, ours and yours.

Subclass it in a test module and say how to make a connected pair; pytest then runs every promise of
`crdt_sync.transport.base.Channel` against it:

    class TestMyChannel(ChannelAcceptance):
        @asynccontextmanager
        async def connected(self, limits):
            async with my_listener() as listener, my_dial(listener, limits) as dialer:
                yield dialer, await listener.accepted()

The tests run their own event loop, so no plugin is needed, and wait for events, never for time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager

from crdt_sync.errors import ChannelClosed, LocalProtocolError
from crdt_sync.transport.base import REASON_BYTES_MAX, Channel, ChannelLimits, CloseCode

HANG_TIMEOUT_S = 30.0
"""A test that takes longer has hung."""

Scenario = Callable[[Channel, Channel], Awaitable[None]]


class ChannelAcceptance:
    """The promises of `Channel`; each test gets a fresh pair.

    Both directions are tested: every scenario runs once with the dialling end first and once with the listening end.
    """

    limits = ChannelLimits(message_bytes_max=65_536, queue_messages_max=4, close_timeout_s=5.0)
    """Small enough for the bounds to be reached; `connected` is given these."""

    def connected(self, limits: ChannelLimits) -> AbstractAsyncContextManager[tuple[Channel, Channel]]:
        """Make two channels that are connected with each other: the dialling end, then the listening end."""
        raise NotImplementedError("say in your subclass how to make a connected pair")

    def _run(self, scenario: Scenario) -> None:
        async def both_ways() -> None:
            async with asyncio.timeout(HANG_TIMEOUT_S):
                async with self.connected(self.limits) as (dialer, listener):
                    await scenario(dialer, listener)
                async with self.connected(self.limits) as (dialer, listener):
                    await scenario(listener, dialer)

        asyncio.run(both_ways())

    def test_messages_arrive_whole_and_in_order(self) -> None:
        """Sizes from nothing to the limit, and every byte value."""
        messages = [b"", b"\0", bytes(range(256)), b"x" * self.limits.message_bytes_max, b"last"]

        async def scenario(one: Channel, other: Channel) -> None:
            async with asyncio.TaskGroup() as group:
                group.create_task(_send_all(one, messages))
                assert [await other.receive() for _ in messages] == messages

        self._run(scenario)

    def test_both_directions_flow_at_once(self) -> None:
        """Neither end has to read before it may write."""
        messages = [index.to_bytes(2, "big") * 1000 for index in range(40)]

        async def scenario(one: Channel, other: Channel) -> None:
            async with asyncio.TaskGroup() as group:
                group.create_task(_send_all(one, messages))
                group.create_task(_send_all(other, messages))
                first = group.create_task(_receive_many(one, len(messages)))
                second = group.create_task(_receive_many(other, len(messages)))
            assert first.result() == messages
            assert second.result() == messages

        self._run(scenario)

    def test_a_sender_waits_for_a_reader_that_lags(self) -> None:
        """What is unread is bounded: the sender cannot run ahead without end, and loses nothing by waiting."""
        messages = [index.to_bytes(4, "big") + bytes(self.limits.message_bytes_max - 4) for index in range(400)]

        async def scenario(one: Channel, other: Channel) -> None:
            accepted = 0

            async def send() -> None:
                nonlocal accepted
                for message in messages:
                    await one.send(message)
                    accepted += 1

            async with asyncio.TaskGroup() as group:
                group.create_task(send())
                received = [await other.receive()]
                # Buffers of the operating system hold a few MiB more than ours; 25 MiB they do not.
                assert accepted < len(messages)
                received += await _receive_many(other, len(messages) - 1)
            assert received == messages

        self._run(scenario)

    def test_a_message_over_the_limit_is_refused_here(self) -> None:
        """It is our mistake, so it is not sent and costs nothing but itself."""

        async def scenario(one: Channel, other: Channel) -> None:
            await _expect_local_error(one.send(b"x" * (self.limits.message_bytes_max + 1)))
            await one.send(b"still open")
            assert await other.receive() == b"still open"

        self._run(scenario)

    def test_the_peer_learns_code_and_reason(self) -> None:
        """Of a close, at both ends, from `receive` and from `send`."""

        async def scenario(one: Channel, other: Channel) -> None:
            async with asyncio.TaskGroup() as group:
                ended = group.create_task(_expect_closed(other.receive()))
                await one.close(code=4001, reason="enough")
            assert (ended.result().code, ended.result().reason) == (4001, "enough")
            for call in (other.send(b"late"), one.receive(), one.send(b"late"), other.receive()):
                error = await _expect_closed(call)
                assert (error.code, error.reason) == (4001, "enough")

        self._run(scenario)

    def test_what_was_sent_before_a_close_arrives(self) -> None:
        """The end comes after the messages before it."""

        async def scenario(one: Channel, other: Channel) -> None:
            async with asyncio.TaskGroup() as group:
                for message in (b"first", b"second", b"third"):
                    await one.send(message)
                group.create_task(one.close())
                assert await _receive_many(other, 3) == [b"first", b"second", b"third"]
                assert (await _expect_closed(other.receive())).code == CloseCode.NORMAL

        self._run(scenario)

    def test_nothing_is_received_after_closing(self) -> None:
        """Whoever closes has said that it wants no more."""

        async def scenario(one: Channel, other: Channel) -> None:
            await other.send(b"unread")
            await one.close()
            await _expect_closed(one.receive())

        self._run(scenario)

    def test_closing_again_changes_nothing(self) -> None:
        """Neither by the same end nor by the other, nor by both at once."""

        async def scenario(one: Channel, other: Channel) -> None:
            await one.close(code=4001, reason="first")
            await one.close(code=4002, reason="second")
            await other.close(code=4003, reason="third")
            for end in (one, other):
                error = await _expect_closed(end.receive())
                assert (error.code, error.reason) == (4001, "first")

        async def at_once(one: Channel, other: Channel) -> None:
            async with asyncio.TaskGroup() as group:
                group.create_task(one.close(code=4001))
                group.create_task(other.close(code=4002))
            assert (await _expect_closed(one.receive())).code in {4001, 4002}
            assert (await _expect_closed(other.receive())).code in {4001, 4002}

        self._run(scenario)
        self._run(at_once)

    def test_a_close_wakes_a_waiting_sender(self) -> None:
        """A send that waits for room ends with the channel, whichever end closes it."""

        async def scenario(one: Channel, other: Channel) -> None:
            block = bytes(self.limits.message_bytes_max)

            async def send_until_closed() -> None:
                while True:
                    await one.send(block)

            async with asyncio.TaskGroup() as group:
                ended = group.create_task(_expect_closed(send_until_closed()))
                await other.receive()
                await other.close(code=4001)
            assert ended.done()

        self._run(scenario)

    def test_a_long_reason_is_cut_to_whole_characters(self) -> None:
        """A close frame holds 123 bytes; half a character would make it invalid."""

        async def scenario(one: Channel, other: Channel) -> None:
            async with asyncio.TaskGroup() as group:
                ended = group.create_task(_expect_closed(other.receive()))
                await one.close(reason="\N{SNOWMAN}" * 100)
            assert ended.result().reason == "\N{SNOWMAN}" * (REASON_BYTES_MAX // 3)

        self._run(scenario)

    def test_a_code_that_cannot_be_sent_is_refused(self) -> None:
        """Such as the one that stands for a lost connection; the channel stays open."""

        async def scenario(one: Channel, other: Channel) -> None:
            for code in (CloseCode.LOST, 0, 999, 1005, 2999, 5000):
                await _expect_local_error(one.close(code=code))
            await one.send(b"still open")
            assert await other.receive() == b"still open"

        self._run(scenario)

    def test_a_second_reader_is_refused(self) -> None:
        """Two readers would tear the order; the first one is not disturbed."""

        async def scenario(one: Channel, other: Channel) -> None:
            async with asyncio.TaskGroup() as group:
                first = group.create_task(one.receive())
                await asyncio.sleep(0)  # lets the task begin to wait
                await _expect_local_error(one.receive())
                await other.send(b"for the first")
            assert first.result() == b"for the first"

        self._run(scenario)

    def test_a_cancelled_receive_loses_nothing(self) -> None:
        """The next one gets the message."""

        async def scenario(one: Channel, other: Channel) -> None:
            waiting = asyncio.create_task(one.receive())
            await asyncio.sleep(0)  # lets the task begin to wait
            waiting.cancel()
            await asyncio.wait([waiting])
            await other.send(b"kept")
            assert await one.receive() == b"kept"

        self._run(scenario)

    def test_the_peer_has_a_name(self) -> None:
        """It is not empty, and stays when the channel has ended."""

        async def scenario(one: Channel, other: Channel) -> None:
            names = one.remote, other.remote
            assert all(names)
            await one.close()
            assert (one.remote, other.remote) == names

        self._run(scenario)


async def _send_all(channel: Channel, messages: list[bytes]) -> None:
    for message in messages:
        await channel.send(message)


async def _receive_many(channel: Channel, count: int) -> list[bytes]:
    return [await channel.receive() for _ in range(count)]


async def _expect_closed(call: Awaitable[object]) -> ChannelClosed:
    try:
        await call
    except ChannelClosed as error:
        return error
    raise AssertionError("the channel has ended, but the call did not say so")


async def _expect_local_error(call: Awaitable[object]) -> None:
    try:
        await call
    except LocalProtocolError:
        return
    raise AssertionError("the call was accepted, but breaks the rules of a channel")
