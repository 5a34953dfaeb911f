"""Connections to peers: `connect` dials, keeps the session alive, and dials again after a loss."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import asdict
from typing import Any

from crdt_sync.aio.backoff import Backoff, BackoffPolicy
from crdt_sync.aio.giving_up import GivingUp
from crdt_sync.aio.pump import Pump
from crdt_sync.aio.shell import Bell, Shell
from crdt_sync.aio.upkeep import kept_current
from crdt_sync.core.checks import checked_instance, checked_seconds
from crdt_sync.core.ids import DeviceId
from crdt_sync.core.logs import FIELDS, shown_url, told
from crdt_sync.errors import CRDTSyncError, InputError, StoreClosedError, StoreError, SyncError, SyncTimeoutError
from crdt_sync.replica.conversation import Conversation
from crdt_sync.replica.facade import Replica
from crdt_sync.replica.fitting import session_limits
from crdt_sync.replica.report import Traffic
from crdt_sync.transport.base import CHANNEL_LIMITS, Channel, ChannelLimits
from crdt_sync.transport.websocket_pipe import parse_url

log = logging.getLogger("crdt_sync.sync")


class Peer:
    """The connection to one peer: live until left, dialled again after a loss.

    Made by `connect`, or by a `SyncManager`.

    Raises:
        InputError: not a url, or limits that no session fits into.
    """

    def __init__(
        self,
        replica: Replica,
        url: str,
        *,
        policy: BackoffPolicy,
        limits: ChannelLimits = CHANNEL_LIMITS,
        tls: ssl.SSLContext | None = None,
        shell: Shell | None = None,
    ) -> None:
        parse_url(url, tls=tls)
        self.url = url
        self.shown_url = shown_url(url)
        """The same without user, password and query, for logs."""
        self._replica = replica
        self._shell = shell or Shell()
        self._backoff = Backoff(policy, chance=self._shell.chance)
        self._giving_up = GivingUp()
        self._limits, self._session_limits = limits, session_limits(limits)
        self._tls = tls
        self._pump: Pump | None = None
        self._bell = Bell()
        self._past = Traffic()
        self._fingerprints: dict[str, str] = {}
        self._store_failures = 0
        self._leaving = False
        self._over = False
        self.failure: CRDTSyncError | None = None
        """Why no more dialling makes sense, once that is so."""
        self.last_error: CRDTSyncError | None = None
        """Why the last try failed, or the last session ended."""
        self.reconnects = 0

    def __repr__(self) -> str:
        state = "failed" if self.failure else ("waiting" if self._pump is None else repr(self._pump.conversation))
        return f"<Peer {self.shown_url} {state}>"

    @property
    def connected(self) -> bool:
        """Whether there is a session now."""
        return self._pump is not None and self._pump.connected

    @property
    def device_id(self) -> DeviceId | None:
        """The device at the other end, while there is a session."""
        peer = None if self._pump is None else self._pump.conversation.peer
        return None if peer is None else peer.device_id

    @property
    def waits_for(self) -> str:
        """What is set aside for the peer, where all else went through; or nothing."""
        return "" if self._pump is None else self._pump.left_out

    @property
    def fingerprints(self) -> Mapping[str, str]:
        """Partition → fingerprint (hex) that both sides were proven to share last."""
        now = {} if self._pump is None else self._pump.conversation.fingerprints
        return {**self._fingerprints, **now}

    @property
    def traffic(self) -> Traffic:
        """What moved in all sessions with this peer so far."""
        return self._past if self._pump is None else add_traffic(self._past, self._pump.conversation.traffic)

    async def caught_up(self, *, timeout_s: float | None = None) -> None:
        """Wait until all that either side had when this was called is durable on both, and they were proven equal.

        Across losses of the connection, unless they are permanent.

        Raises:
            InputError: ``timeout_s`` is no number of seconds.
            SyncTimeoutError: it took longer than ``timeout_s``; its text names what is in the way, if that is known.
            SyncError: the peer ended the session for good, the connection was left, or all went through but for what
                is set aside.
            StoreError: the replica's own store failed meanwhile, say for want of space. The session is tried again.
        """
        store_failures = self._store_failures
        if timeout_s is not None:
            checked_seconds(timeout_s, what="timeout_s")
        try:
            async with asyncio.timeout(timeout_s):
                while True:
                    await self._bell.until(lambda: self._settled or self._store_failures > store_failures)
                    if self._store_failures > store_failures and self.last_error is not None:
                        raise self.last_error
                    if self._pump is None or not self._pump.connected:
                        raise self.failure or SyncError(
                            f"the connection to {self.shown_url} was left",
                            hint="Connect again; changes stay queued meanwhile.",
                        )
                    if await self._pump.proven():
                        return
                    if self.waits_for:
                        raise SyncError(
                            f"all else went through: {self.waits_for}", hint="`revert` takes back what failed."
                        )
        except TimeoutError:
            why = "" if self.connected or self.last_error is None else f": {self.last_error.message}"
            why = why if self._pump is None else self._pump.conversation.obstacle
            raise SyncTimeoutError(f"catching up took longer than {timeout_s or 0:g} s{why}") from None

    async def run(self, first: Channel | None = None) -> None:
        """Keep a session alive until left or cancelled, or until it fails for good. ``first`` is an open channel.

        What goes wrong is in `failure` and `last_error`; nothing is raised.
        """
        channel = first
        try:
            while True:
                if channel is None:
                    channel = await self._dial()
                retry_after_s = None if channel is None else await self._talk(channel)
                if self._leaving or self.failure is not None:
                    return
                channel = None
                delay_s = self._backoff.failed(now_s=self._shell.monotonic(), retry_after_s=retry_after_s)
                self._tell_pause(delay_s)
                await self._shell.sleep(delay_s)
                self.reconnects += 1
                self._replica.port.totals.reconnects += 1
        except Exception as error:
            log.exception("the connection to %s failed inside", self.shown_url, extra={FIELDS: {"url": self.shown_url}})
            self.failure = SyncError(
                "the connection failed inside", hint="This is a mistake in crdt_sync; see the log."
            )
            self.failure.__cause__ = error
        finally:
            self._over = True
            self._bell.ring()

    def leave(self) -> bool:
        """Say goodbye, so that the peer need not wait for a timeout; whether there is anybody to say it to."""
        self._leaving = True
        if self._pump is None:
            return False
        self._pump.close()
        return True

    def _met(self) -> None:
        if self.device_id is not None:
            self._replica.port.met(self.url, self.device_id)
        self._bell.ring()

    @property
    def _settled(self) -> bool:
        return self.connected or self._over or self._leaving

    async def _dial(self) -> Channel | None:
        try:
            return await self._shell.dial(self.url, limits=self._limits, tls=self._tls)
        except (SyncError, InputError) as error:  # the address was read before: by now it is what answers there
            self.last_error = error
            told(log, logging.INFO, "a peer cannot be reached", url=self.shown_url, reason=error.message)
            return None

    async def _talk(self, channel: Channel) -> float | None:
        """One session, to its end; returns how many seconds the peer wants to be left alone."""
        self._backoff.connected(now_s=self._shell.monotonic())
        port = self._replica.port
        try:
            conversation = Conversation(port, initiator=True, limits=self._session_limits)
        except BaseException:
            await channel.close()
            raise
        pump = Pump(conversation, channel=channel, port=port, shell=self._shell, on_ready=self._met)
        self._pump = pump
        try:
            await pump.run()
        except StoreError as error:
            self._note_store_failure(error)
        finally:
            self._past = add_traffic(self._past, conversation.traffic)
            self._fingerprints |= conversation.fingerprints
            self._pump = None
            self._bell.ring()
        end = conversation.end
        if end is None or pump.failed:
            return None
        self.last_error = end.error()
        if self._giving_up.ended(end) and not self._leaving:
            self.failure = self.last_error
            told(log, logging.WARNING, "a peer is given up", url=self.shown_url, reason=self.failure.message)
        return end.retry_after_s

    def _tell_pause(self, delay_s: float) -> None:
        reason = "" if self.last_error is None else self.last_error.message
        told(log, logging.INFO, "a peer is tried again", url=self.shown_url, delay_s=delay_s, reason=reason)

    def _note_store_failure(self, error: StoreError) -> None:
        """A full disk may have room again later; a replica that was closed stays so."""
        self.last_error = error
        self._store_failures += 1
        if isinstance(error, StoreClosedError):
            self.failure = error
        else:
            told(log, logging.WARNING, "a session ended, as the store failed", url=self.shown_url, reason=error.message)


@asynccontextmanager
async def connect(
    replica: Replica,
    url: str,
    *,
    policy: BackoffPolicy | None = None,
    limits: ChannelLimits = CHANNEL_LIMITS,
    tls: ssl.SSLContext | None = None,
    leave_timeout_s: float = 5.0,
    shell: Shell | None = None,
) -> AsyncIterator[Peer]:
    """Connect to a peer and stay in live sync until the block is left.

    An exception in the block ends the connection and is raised as it is. What goes wrong with the connection is raised
    by `Peer.caught_up`, and is in `Peer.failure` and `Peer.last_error`.

    Args:
        replica: what to sync; it stays usable, in the event loop's thread.
        url: ``ws://host:port`` or ``wss://…``.
        policy: how long to wait before dialling again after a loss.
        limits: of the channel; what the session puts into one message follows them.
        tls: for ``wss``, the context to use in place of the system's.
        leave_timeout_s: how long the goodbye may take.
        shell: where waiting and chance come from.

    Raises:
        PeerUnreachableError: nothing answers at the first try.
        InputError: not a url, or limits that no session fits into.
        StoreReadOnlyError: the replica was opened read-only.
        StoreClosedError, WrongThreadError: the replica cannot be used here.
    """
    check_usable(replica)
    peer = Peer(replica, url, policy=policy or BackoffPolicy(), limits=limits, tls=tls, shell=shell)
    channel = await (shell or Shell()).dial(url, limits=limits, tls=tls)
    task = asyncio.create_task(peer.run(channel), name=f"crdt_sync peer {peer.shown_url}")
    try:
        async with kept_current(replica):
            yield peer
    finally:
        try:
            await finish((task,), timeout_s=leave_timeout_s if peer.leave() else 0)
        finally:
            await channel.close()  # a task that was cancelled before it began has not


def check_usable(replica: Replica) -> None:
    """Raise at once what a session would fail with.

    Raises:
        StoreReadOnlyError, StoreClosedError, WrongThreadError: the replica cannot sync, or not here.
    """
    checked_instance(replica, Replica, what="replica", hint="Open one by Replica.open(...).")
    replica.port.busy()
    replica.port.key  # noqa: B018  it is a property that raises


async def finish(tasks: Iterable[asyncio.Task[Any]], *, timeout_s: float) -> None:
    """Give tasks so long to end by themselves, then cancel them; when this returns or raises, all have ended."""
    held = tuple(tasks)
    try:
        if held and timeout_s > 0:
            await asyncio.wait(held, timeout=timeout_s)
    finally:
        for task in held:
            task.cancel()
        await asyncio.gather(*held, return_exceptions=True)


def add_traffic(one: Traffic, other: Traffic) -> Traffic:
    """The sum of two conversations' traffic."""
    return Traffic(**{name: getattr(one, name) + getattr(other, name) for name in asdict(one)})
