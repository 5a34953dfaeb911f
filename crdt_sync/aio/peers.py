"""Connections to peers: `connect` dials, keeps the session alive, and dials again after a loss."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from crdt_sync.aio.backoff import Backoff, BackoffPolicy
from crdt_sync.aio.pump import Pump, timed_out
from crdt_sync.core.ids import DeviceId
from crdt_sync.errors import ChannelClosed, PeerUnreachableError, SyncError
from crdt_sync.replica.conversation import Conversation, End, Traffic
from crdt_sync.replica.facade import Replica
from crdt_sync.transport.base import CHANNEL_LIMITS, Channel, ChannelLimits
from crdt_sync.transport.websocket import dial

log = logging.getLogger("crdt_sync.sync")


@dataclass(frozen=True, slots=True, kw_only=True)
class Shell:
    """Where a connection's waiting and chance come from; tests give their own.

    Args:
        sleep: waits so many seconds.
        chance: gives a number from 0 up to 1.
        monotonic: seconds of a clock that never goes back.
    """

    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    chance: Callable[[], float] = field(default_factory=lambda: random.SystemRandom().random)
    monotonic: Callable[[], float] = time.monotonic


class Peer:
    """The connection to one peer: live until left, dialled again after a loss.

    Made by `connect`, or by a `SyncManager`.
    """

    def __init__(
        self,
        replica: Replica,
        url: str,
        *,
        policy: BackoffPolicy,
        limits: ChannelLimits = CHANNEL_LIMITS,
        shell: Shell | None = None,
    ) -> None:
        self.url = url
        self._replica = replica
        self._shell = shell or Shell()
        self._backoff = Backoff(policy, chance=self._shell.chance)
        self._limits = limits
        self._pump: Pump | None = None
        self._changed = asyncio.Condition()
        self._past = Traffic()
        self.failure: SyncError | None = None
        """Why no more dialling makes sense, once that is so."""
        self.last_error: SyncError | None = None
        """Why the last try failed."""
        self.reconnects = 0
        self._leaving = False

    def __repr__(self) -> str:
        state = "failed" if self.failure else ("waiting" if self._pump is None else repr(self._pump.conversation))
        return f"<Peer {self.url} {state}>"

    @property
    def connected(self) -> bool:
        """Whether there is a session now."""
        return self._pump is not None and self._pump.conversation.peer is not None

    @property
    def device_id(self) -> DeviceId | None:
        """The device at the other end, while there is a session."""
        peer = None if self._pump is None else self._pump.conversation.peer
        return None if peer is None else peer.device_id

    @property
    def fingerprints(self) -> Mapping[str, str]:
        """Partition → fingerprint (hex) that both sides were proven to share last."""
        return {} if self._pump is None else self._pump.conversation.fingerprints

    @property
    def traffic(self) -> Traffic:
        """What moved in all sessions with this peer so far."""
        return self._past if self._pump is None else add_traffic(self._past, self._pump.conversation.traffic)

    async def caught_up(self, *, timeout_s: float | None = None) -> None:
        """Wait until all that either side had when this was called is durable on both, and they were proven equal.

        Across losses of the connection, unless they are permanent.

        Raises:
            SyncTimeoutError: it took longer than ``timeout_s``.
            SyncError: the peer ended the session for good.
        """
        try:
            async with asyncio.timeout(timeout_s):
                while not await self._prove_once():
                    pass
        except TimeoutError:
            raise timed_out("catching up", timeout_s=timeout_s or 0) from None

    async def run(self, first: Channel | None = None) -> None:
        """Keep a session alive until cancelled, or until it fails for good. ``first`` is a channel that is open."""
        while self.failure is None and not self._leaving:
            channel, retry_after_s = first, None
            first = None
            if channel is None:
                channel = await self._dial()
            if channel is not None:
                self._backoff.connected(now_s=self._shell.monotonic())
                end = await self._talk(channel)
                retry_after_s = end.retry_after_s
                if self._is_over(end):
                    break
            delay_s = self._backoff.failed(now_s=self._shell.monotonic(), retry_after_s=retry_after_s)
            log.info("peer %s: next try in %.2f s", self.url, delay_s)
            await self._shell.sleep(delay_s)
            self.reconnects += 1
        await self._tell()

    async def leave(self) -> None:
        """Say goodbye, so that the peer need not wait for a timeout."""
        self._leaving = True
        if self._pump is not None:
            self._pump.conversation.close()
            self._pump.wake()

    async def _prove_once(self) -> bool:
        """One try to be proven equal; False where the connection was lost meanwhile."""
        async with self._changed:
            await self._changed.wait_for(lambda: self.connected or self.failure is not None)
        pump = self._pump
        if self.failure is not None or pump is None:
            raise self.failure or PeerUnreachableError(f"nothing answers at {self.url}")
        token = pump.conversation.request_proof()
        pump.wake()
        await pump.proven(token)
        return pump.conversation.proven(token)

    def _is_over(self, end: End) -> bool:
        """Whether no more dialling makes sense after this end; notes why."""
        if end.permanent and not self._leaving:
            self.failure = end.error()
        return end.permanent or self._leaving

    async def _dial(self) -> Channel | None:
        try:
            return await dial(self.url, limits=self._limits)
        except SyncError as error:
            self.last_error = error
            log.info("peer %s cannot be reached: %s", self.url, error.message)
            return None

    async def _talk(self, channel: Channel) -> End:
        port = self._replica.port
        conversation = Conversation(port, initiator=True)
        pump = self._pump = Pump(conversation, channel=channel, port=port)
        try:
            async with asyncio.TaskGroup() as group:
                watch = group.create_task(self._watch(pump))
                await pump.run()
                watch.cancel()
        finally:
            self._past = add_traffic(self._past, conversation.traffic)
            self._pump = None
        end = conversation.end or End(code="lost", text="the connection was lost", by_peer=True)
        self.last_error = end.error()
        await self._tell()
        return end

    async def _watch(self, pump: Pump) -> None:
        await pump.ready()
        await self._tell()

    async def _tell(self) -> None:
        async with self._changed:
            self._changed.notify_all()


@asynccontextmanager
async def connect(
    replica: Replica,
    url: str,
    *,
    policy: BackoffPolicy | None = None,
    limits: ChannelLimits = CHANNEL_LIMITS,
    leave_timeout_s: float = 5.0,
) -> AsyncIterator[Peer]:
    """Connect to a peer and stay in live sync until the block is left.

    Args:
        replica: what to sync; it stays usable, in the event loop's thread.
        url: ``ws://host:port`` or ``wss://…``.
        policy: how long to wait before dialling again after a loss.
        limits: of the channel.
        leave_timeout_s: how long the goodbye may take.

    Raises:
        PeerUnreachableError: nothing answers at the first try.
        InputError: not a url.
    """
    channel = await dial(url, limits=limits)
    peer = Peer(replica, url, policy=policy or BackoffPolicy(), limits=limits)
    task = asyncio.create_task(peer.run(channel), name=f"crdt_sync peer {url}")
    try:
        yield peer
    finally:
        await peer.leave()
        await finish(task, timeout_s=leave_timeout_s if peer.connected else 0)


async def finish(task: asyncio.Task[None], *, timeout_s: float) -> None:
    """Give a task so long to end by itself, then cancel it; its error, if any, is raised."""
    if timeout_s:
        await asyncio.wait((task,), timeout=timeout_s)
    task.cancel()
    try:
        await task
    except asyncio.CancelledError:
        current = asyncio.current_task()
        if current is not None and current.cancelling():
            raise
    except ChannelClosed as closed:
        log.debug("the channel ended: %s", closed)


def add_traffic(one: Traffic, other: Traffic) -> Traffic:
    """The sum of two conversations' traffic."""
    return Traffic(**{name: getattr(one, name) + getattr(other, name) for name in Traffic.__slots__})
