"""Peers for channels to meet: a listener that hands its channels out, and a line that can go silent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from crdt_sync.transport.base import Channel, ChannelLimits
from crdt_sync.transport.websocket import Listener, WebSocketChannel, dial, listen


@asynccontextmanager
async def accepting(limits: ChannelLimits) -> AsyncIterator[tuple[Listener, asyncio.Queue[Channel]]]:
    """A listener that puts each channel into a queue and keeps it open until it is left."""
    accepted: asyncio.Queue[Channel] = asyncio.Queue()
    done = asyncio.Event()

    async def handler(channel: Channel) -> None:
        accepted.put_nowait(channel)
        await done.wait()

    async with await listen(handler, limits=limits) as listener:
        try:
            yield listener, accepted
        finally:
            done.set()


@asynccontextmanager
async def websocket_pair(limits: ChannelLimits) -> AsyncIterator[tuple[WebSocketChannel, Channel]]:
    async with accepting(limits) as (listener, accepted):
        dialer = await dial(listener.url, limits=limits)
        try:
            yield dialer, await accepted.get()
        finally:
            await dialer.close()


class SilentLine:
    """A TCP relay in front of a port, whose both ends stay open while nothing passes any more."""

    def __init__(self) -> None:
        self._passing = asyncio.Event()
        self._passing.set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._to_port = 0
        self.port = 0

    def go_silent(self) -> None:
        self._passing.clear()

    @asynccontextmanager
    async def open(self, to_port: int) -> AsyncIterator[None]:
        self._to_port = to_port
        server = await asyncio.start_server(self._relay, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield
        finally:
            server.close()
            for task in self._tasks:
                task.cancel()
            if self._tasks:
                await asyncio.wait(self._tasks)

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_reader, there_writer = await asyncio.open_connection("127.0.0.1", self._to_port)
        for source, target in ((reader, there_writer), (there_reader, writer)):
            self._tasks.add(asyncio.create_task(self._copy(source, target)))

    async def _copy(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        try:
            while data := await source.read(65_536):
                await self._passing.wait()
                target.write(data)
                await target.drain()
        finally:
            with suppress(OSError):
                target.close()
                await target.wait_closed()
