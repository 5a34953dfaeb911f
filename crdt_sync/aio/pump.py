"""Moves bytes between one channel and one conversation: one reader, one writer, nothing left behind."""

from __future__ import annotations

import asyncio
import contextlib
import logging

from crdt_sync.errors import ChannelClosed, StoreClosedError, SyncTimeoutError
from crdt_sync.replica.conversation import Conversation
from crdt_sync.replica.port import Port
from crdt_sync.transport.base import Channel, CloseCode

log = logging.getLogger("crdt_sync.sync")

HANDSHAKE_TIMEOUT_S = 10.0
TICK_S = 1.0


class Pump:
    """Runs one conversation over one channel.

    Invariants:
        1. What was received is sent its acknowledgement before observers are told.
        2. Nothing is handed to the replica amid a local transaction.

    Args:
        conversation: what is said.
        channel: over which.
        port: the replica.
    """

    def __init__(self, conversation: Conversation, *, channel: Channel, port: Port) -> None:
        self.conversation = conversation
        self._channel = channel
        self._port = port
        self._work = asyncio.Event()
        self._moved = asyncio.Condition()
        self.finished = False
        """Whether the channel is gone."""

    def wake(self) -> None:
        """Something may have to be sent; only takes a note, so it can be called from anywhere in the owner thread."""
        self.conversation.wake()
        self._work.set()

    async def run(self) -> None:
        """Run until the conversation or the channel ends; the conversation's `end` says how.

        Raises:
            StoreError: the replica failed; the conversation was ended.
        """
        with self._port.on_commit(self.wake):
            try:
                async with asyncio.TaskGroup() as group:
                    group.create_task(self._read())
                    group.create_task(self._deadline())
                    await self._write()
                    raise _Finished  # takes reader and deadline down
            except* _Finished:
                pass
            except* ChannelClosed as closed:
                log.debug("the channel ended: %s", closed.exceptions[0])
            except* StoreClosedError:
                log.debug("the replica was closed")
            finally:
                self.finished = True
                await self._notify()
                await self._channel.close(code=CloseCode.NORMAL)

    async def proven(self, token: int) -> None:
        """Wait until both sides are proven equal at or after ``token``, or the conversation ends."""
        async with self._moved:
            await self._moved.wait_for(lambda: self.conversation.proven(token) or self.finished)

    async def over(self) -> None:
        """Wait until the channel is gone."""
        async with self._moved:
            await self._moved.wait_for(lambda: self.finished)

    async def ready(self) -> None:
        """Wait until the peer is proven, or the conversation ends."""
        async with self._moved:
            await self._moved.wait_for(lambda: self.conversation.peer is not None or self.finished)

    async def _read(self) -> None:
        while True:
            data = await self._channel.receive()
            await self._idle()
            self.conversation.receive(data)
            self._work.set()

    async def _write(self) -> None:
        """Send until the conversation is over."""
        while True:
            await self._idle()
            self._work.clear()
            frames = self.conversation.data_to_send()
            while frames:
                for frame in frames:
                    await self._channel.send(frame)
                await self._idle()
                frames = self.conversation.data_to_send()
            self.conversation.publish()
            await self._notify()
            if self.conversation.end is not None:
                return
            await self._wait()

    async def _wait(self) -> None:
        """Wait for work, but not beyond the session's next deadline."""
        due = self.conversation.tick_due_ms
        timeout_s = TICK_S if due is None else min(TICK_S, max(0.0, (due - self._port.now_ms()) / 1000))
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._work.wait(), timeout_s)
        if not self._work.is_set():
            await self._idle()
            self.conversation.tick()

    async def _deadline(self) -> None:
        """A peer that does not finish the handshake in time is let go."""
        await asyncio.sleep(HANDSHAKE_TIMEOUT_S)
        if self.conversation.session is None:
            raise ChannelClosed("the peer did not finish the handshake in time", code=CloseCode.POLICY)

    async def _idle(self) -> None:
        """Wait while the app holds a local transaction open across an await."""
        while self._port.busy():
            self._work.clear()
            await self._work.wait()

    async def _notify(self) -> None:
        async with self._moved:
            self._moved.notify_all()


class _Finished(Exception):  # noqa: N818  ends the task group; not an error
    """The conversation is over."""


def timed_out(what: str, *, timeout_s: float) -> SyncTimeoutError:
    """The error for something that took too long."""
    return SyncTimeoutError(f"{what} took longer than {timeout_s:g} s")
