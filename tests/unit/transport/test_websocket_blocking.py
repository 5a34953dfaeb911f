"""The blocking channel, against a listener that runs in another thread."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager

import pytest

from crdt_sync.errors import (
    ChannelClosed,
    InputError,
    LocalProtocolError,
    PeerUnreachableError,
    SyncTimeoutError,
)
from crdt_sync.transport.base import CHANNEL_LIMITS, Channel, ChannelLimits, CloseCode
from crdt_sync.transport.websocket import Handler, listen
from crdt_sync.transport.websocket_blocking import dial_blocking
from tests.unit.transport.conftest import SilentLine

SHORT = ChannelLimits(idle_timeout_s=1.0, close_timeout_s=0.3)


@contextmanager
def listening(handler: Handler, *, silent: bool = False, limits: ChannelLimits = CHANNEL_LIMITS) -> Iterator[str]:
    """A listener in another thread; with ``silent`` the line to it goes dead once the first message has passed."""
    address: Future[str] = Future()
    stop: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = Future()

    async def run() -> None:
        done = asyncio.Event()
        line = SilentLine()
        stop.set_result((asyncio.get_running_loop(), done))

        async def go_silent(channel: Channel) -> None:
            await channel.receive()
            line.go_silent()
            await done.wait()

        async with (
            await listen(go_silent if silent else handler, limits=limits) as listener,
            line.open(listener.port),
        ):
            address.set_result(f"ws://127.0.0.1:{line.port}" if silent else listener.url)
            await done.wait()

    thread = threading.Thread(target=asyncio.run, args=(run(),))
    thread.start()
    loop, done = stop.result(30)
    try:
        yield address.result(30)
    finally:
        loop.call_soon_threadsafe(done.set)
        thread.join(30)
        assert not thread.is_alive()


async def echo(channel: Channel) -> None:
    while True:
        await channel.send(await channel.receive())


def test_messages_come_back_whole_and_in_order() -> None:
    messages = [b"", bytes(range(256)), b"x" * 1_000_000, b"last"]
    with listening(echo) as url:
        channel = dial_blocking(url)
        for message in messages:
            channel.send(message)
        assert [channel.receive(timeout_s=30) for _ in messages] == messages
        assert url.endswith(channel.remote)
        channel.close()


def test_a_timeout_leaves_the_channel_as_it_was() -> None:
    with listening(echo) as url:
        channel = dial_blocking(url)
        for timeout_s in (0, 0.01, -1):
            with pytest.raises(SyncTimeoutError):
                channel.receive(timeout_s=timeout_s)
        channel.send(b"still open")
        assert channel.receive(timeout_s=30) == b"still open"
        channel.close()


def test_the_peers_close_comes_after_its_messages_and_stays() -> None:
    async def handler(channel: Channel) -> None:
        await channel.send(b"first")
        await channel.close(code=4001, reason="enough")

    with listening(handler) as url:
        channel = dial_blocking(url)
        assert channel.receive(timeout_s=30) == b"first"
        for _ in range(2):
            with pytest.raises(ChannelClosed) as caught:
                channel.receive(timeout_s=30)
            assert (caught.value.code, caught.value.reason) == (4001, "enough")
        with pytest.raises(ChannelClosed):
            channel.send(b"late")
        channel.close(code=4002)
        with pytest.raises(ChannelClosed) as caught:
            channel.receive(timeout_s=0)
        assert caught.value.code == 4001


def test_our_close_is_told_and_ends_everything() -> None:
    ended: Future[tuple[int, str]] = Future()

    async def handler(channel: Channel) -> None:
        try:
            await channel.receive()
        except ChannelClosed as error:
            ended.set_result((error.code, error.reason))

    with listening(handler) as url:
        channel = dial_blocking(url)
        channel.close(code=4001, reason="done")
        channel.close()
        assert ended.result(30) == (4001, "done")
        for call in (lambda: channel.send(b"late"), lambda: channel.receive(timeout_s=0)):
            with pytest.raises(ChannelClosed) as caught:
                call()
            assert caught.value.code == 4001


def test_our_mistakes_are_refused_and_cost_nothing() -> None:
    with listening(echo) as url:
        channel = dial_blocking(url, limits=ChannelLimits(message_bytes_max=10))
        with pytest.raises(LocalProtocolError):
            channel.send(b"x" * 11)
        with pytest.raises(LocalProtocolError):
            channel.close(code=CloseCode.LOST)
        channel.send(b"still open")
        assert channel.receive(timeout_s=30) == b"still open"
        channel.close()


def test_nothing_listens_there() -> None:
    with listening(echo) as url:
        pass
    with pytest.raises(PeerUnreachableError):
        dial_blocking(url)
    with pytest.raises(InputError):
        dial_blocking("http://127.0.0.1")


def test_a_silent_peer_is_lost_within_the_idle_timeout() -> None:
    with listening(echo, silent=True) as url:
        channel = dial_blocking(url, limits=SHORT)
        channel.send(b"the last that passes")
        with pytest.raises(ChannelClosed) as caught:
            channel.receive(timeout_s=30)
        assert caught.value.code == CloseCode.LOST


def test_a_peer_that_takes_nothing_in_is_lost_within_the_idle_timeout() -> None:
    with listening(echo, silent=True) as url:
        channel = dial_blocking(url, limits=SHORT)
        channel.send(b"the last that passes")

        def send_on() -> None:
            while True:
                channel.send(bytes(1_000_000))

        with pytest.raises(ChannelClosed) as caught:
            send_on()
        assert caught.value.code == CloseCode.LOST
