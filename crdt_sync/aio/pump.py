"""Moves bytes between one channel and one conversation: one reader, one writer, nothing left behind."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from crdt_sync.aio.shell import Bell, Shell
from crdt_sync.core.logs import told
from crdt_sync.errors import ChannelClosed, StoreClosedError, StoreError
from crdt_sync.protocol.codes import ErrorCode
from crdt_sync.replica.conversation import Conversation
from crdt_sync.replica.ending import STORE_RETRY_AFTER_S
from crdt_sync.replica.port import Port
from crdt_sync.transport.base import Channel, CloseCode

log = logging.getLogger("crdt_sync.sync")

HANDSHAKE_TIMEOUT_S = 10.0
LIVE_PAUSE_S = 0.01
"""Commits are sent at once when none was sent for so long; else together, when this time is over."""


def _ignore() -> None:
    """Nobody wants to know."""


class Pump:
    """Runs one conversation over one channel.

    Invariants:
        1. What was received is durable, then its acknowledgement is handed to the channel, then observers are told. If
           the channel ends before the acknowledgement they are told then: it is durable all the same.
        2. Nothing is handed to the replica, and no observer told, amid a local transaction.
        3. What the peer sent before the channel ended is taken in, above all why it ended.
        4. When `run` returns, the conversation has its `end` and the channel is closed.

    Args:
        conversation: what is said.
        channel: over which.
        port: the replica.
        shell: for the deadline of the handshake.
        on_ready: called once, when the peer is proven and admitted.
    """

    def __init__(
        self,
        conversation: Conversation,
        *,
        channel: Channel,
        port: Port,
        shell: Shell,
        on_ready: Callable[[], None] = _ignore,
    ) -> None:
        self.conversation = conversation
        self._channel = channel
        self._port = port
        self._shell = shell
        self._on_ready = on_ready
        self._bell = Bell()
        self._work = asyncio.Event()
        self._commits = False
        """There are commits of which the conversation has not been told."""
        self._retries = port.retries
        self._takeovers = port.takeovers
        self._commits_told_s = -LIVE_PAUSE_S
        self._timer: asyncio.TimerHandle | None = None
        self._failure: Exception | None = None
        self.finished = False
        """Whether `run` is over, but for closing the channel."""

    @property
    def connected(self) -> bool:
        """Whether there is a session with a proven peer now."""
        return not self.finished and self.conversation.end is None and self.conversation.peer is not None

    @property
    def failed(self) -> bool:
        """Whether it ended because the replica failed."""
        return self._failure is not None

    def wake(self) -> None:
        """There are new commits, or a local transaction was rolled back; only takes a note."""
        self._commits = True
        self._bell.ring()
        if self._timer is not None or self._work.is_set():
            return
        loop = asyncio.get_running_loop()
        pause_s = self._commits_told_s + LIVE_PAUSE_S - loop.time()
        if pause_s <= 0:
            self._work.set()
        else:
            self._timer = loop.call_later(pause_s, self._work.set)

    def close(self, code: ErrorCode = ErrorCode.BYE, text: str = "", *, retry_after_s: float | None = None) -> None:
        """End the conversation, saying why; `over` waits until that is done."""
        self.conversation.close(code, text, retry_after_s=retry_after_s)
        self._nudge()

    async def run(self) -> None:
        """Run until the conversation or the channel ends; the conversation's `end` says how.

        Raises:
            StoreError: the replica failed; the peer was told so if it could be reached.
        """
        try:
            with self._port.on_commit(self.wake):
                async with asyncio.TaskGroup() as group:
                    reader = group.create_task(self._read())
                    deadline = group.create_task(self._deadline())
                    try:
                        await self._write(reader)
                    finally:
                        reader.cancel()
                        deadline.cancel()
        finally:
            self._finish()
            await self._channel.close(code=CloseCode.NORMAL)
        if self._failure is not None:
            raise self._failure

    async def proven(self) -> bool:
        """Wait until both sides are proven equal at or after now; False where the conversation ended before.

        Also where all else went through, and what is left is set aside (`left_out`).
        """
        if not self.connected:
            return False
        self._tell_commits(at_once=True)
        token = self.conversation.request_proof()
        self._nudge()
        conversation = self.conversation
        await self._bell.until(lambda: conversation.proven(token) or self.finished or bool(self.left_out))
        return conversation.proven(token)

    @property
    def left_out(self) -> str:
        """What is set aside for the peer, where all else went through; or nothing."""
        return self._port.left_out(self.conversation.session) if self.connected else ""

    async def over(self) -> None:
        """Wait until `run` is over, but for closing the channel."""
        await self._bell.until(lambda: self.finished)

    # ── reader, writer, deadline: neither raises, so that each other's end is theirs to decide ──────────────────────

    async def _read(self) -> None:
        conversation, ready = self.conversation, False
        try:
            while conversation.end is None:
                data = await self._channel.receive()
                await self._idle()
                self._tell_commits()
                before = self._port.takeovers
                conversation.receive(data)
                self._takeovers += self._port.takeovers - before  # our own peer knows what it gave us
                if not ready and self.connected:
                    ready = True
                    self._on_ready()
                self._nudge()
        except ChannelClosed as closed:
            conversation.lost(closed.message)
        except Exception as error:  # noqa: BLE001  (the writer says goodbye, then `run` raises it)
            self._fail(error)
        self._nudge()

    async def _write(self, reader: asyncio.Task[None]) -> None:
        try:
            try:
                await self._send_until_over()
            except ChannelClosed:
                raise
            except Exception as error:  # noqa: BLE001  (`run` raises it, when the peer was told)
                self._fail(error)
                for frame in self.conversation.data_to_send():
                    await self._channel.send(frame)
        except ChannelClosed:
            await asyncio.wait((reader,))  # it takes in what the peer said before, and ends as the channel has

    async def _send_until_over(self) -> None:
        while True:
            await self._idle()
            self._work.clear()
            self._tell_commits()
            self.conversation.tick()
            await self._send()
            self._bell.ring()
            if self.conversation.end is not None:
                return
            await self._wait()

    async def _send(self) -> None:
        while frames := self.conversation.data_to_send():
            for frame in frames:
                await self._channel.send(frame)
            await self._idle()
            self._publish()
        self._publish()

    async def _wait(self) -> None:
        """Wait for work, but not beyond the session's next deadline."""
        alarm = asyncio.get_running_loop().call_later(self.conversation.next_tick_s, self._work.set)
        try:
            await self._work.wait()
        finally:
            alarm.cancel()

    async def _deadline(self) -> None:
        """A peer that does not finish the handshake in time is let go."""
        await self._shell.sleep(HANDSHAKE_TIMEOUT_S)
        if self.conversation.session is None:
            self.close(ErrorCode.TIMEOUT, "the peer did not finish the handshake in time")

    async def _idle(self) -> None:
        """Wait while the app holds a local transaction open across an await. A goodbye does not need the replica."""
        if self._port.busy() and self.conversation.end is None:
            await self._bell.until(lambda: self.conversation.end is not None or not self._port.busy())

    # ── what both use ────────────────────────────────────────────────────────────────────────────────────────────────

    def _fail(self, error: Exception) -> None:
        self._failure = error
        code = ErrorCode.SHUTDOWN if isinstance(error, StoreClosedError) else ErrorCode.INTERNAL
        after_s = STORE_RETRY_AFTER_S if isinstance(error, StoreError) else None
        self.conversation.close(code, "the replica could not go on", retry_after_s=after_s)

    def _nudge(self) -> None:
        self._work.set()
        self._bell.ring()

    def _tell_commits(self, *, at_once: bool = False) -> None:
        if not self._commits:
            return
        now_s = asyncio.get_running_loop().time()
        if self._timer is not None and now_s < self._timer.when() and not at_once:
            return  # more may come until then, and goes with it
        self._commits = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._commits_told_s = now_s
        self.conversation.wake()
        if (self._retries, self._takeovers) != (self._port.retries, self._port.takeovers):
            # The next session considers what failed anew, and whether the peer lacks what was taken over from another.
            self.conversation.close(ErrorCode.BYE)

    def _publish(self) -> None:
        """Tell observers, or leave it to `_finish` where the conversation ended amid a local transaction."""
        if not self._port.busy():
            self.conversation.publish()

    def _finish(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self.conversation.lost("the session was left", by_peer=False)
        self.finished = True
        self._bell.ring()
        self._tell_end()
        try:
            if self._port.busy():
                self._publish_later()
            else:
                self.conversation.publish()
        except StoreClosedError:
            told(log, logging.DEBUG, "the replica was closed, and nobody is left to be told")

    def _tell_end(self) -> None:
        conversation, traffic = self.conversation, self.conversation.traffic
        if conversation.end is None or conversation.peer is None:
            return
        told(
            log,
            logging.INFO,
            "a session ended",
            device=conversation.peer.device_id,
            code=conversation.end.code,
            entries_in=traffic.entries_in,
            entries_out=traffic.entries_out,
            bytes_in=traffic.bytes_in,
            bytes_out=traffic.bytes_out,
        )

    def _publish_later(self) -> None:
        """Tell observers when the local transaction that is open now has ended."""

        def publish() -> None:
            if not self._port.busy():
                waiting.close()
                self.conversation.publish()

        waiting = self._port.on_commit(publish)
