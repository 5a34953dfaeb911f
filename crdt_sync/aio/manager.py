"""SyncManager: background sync with many peers, and the operations that wait for it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from types import TracebackType
from typing import Any, Self

from crdt_sync.aio.backoff import BackoffPolicy
from crdt_sync.aio.peers import Peer, add_traffic, check_usable, finish
from crdt_sync.aio.shell import Shell
from crdt_sync.aio.upkeep import keep_current
from crdt_sync.core.checks import checked_instance, checked_seconds
from crdt_sync.core.model import Model
from crdt_sync.errors import InputError, LocalProtocolError, SyncError
from crdt_sync.replica.facade import Replica
from crdt_sync.replica.fitting import session_limits
from crdt_sync.replica.operation_queue import PENDING_MAX, OperationQueue
from crdt_sync.replica.operations import OperationStatus, SyncOperation
from crdt_sync.replica.report import SyncReport, Traffic
from crdt_sync.transport.base import CHANNEL_LIMITS, ChannelLimits

ROUND_TIMEOUT_S = 30.0
LEAVE_TIMEOUT_S = 5.0


class SyncManager:
    """Keeps a replica in sync with its peers in the background, through losses and absences.

    Use it as an async context manager, once. Changes made through the replica directly are synced just as well;
    `queue_operation` makes one from data.

    Args:
        replica: what to sync.
        peers: the peers' urls; a peer that is not there is tried again with growing pauses. A url given twice counts
            once. They are home from now on, until another manager is entered: `Replica.home_peers`.
        policy: those pauses.
        limits: of the channels; what the sessions put into one message follows them.
        pending_max: so many changes may be pending before `queue_operation` takes another.
        shell: where waiting and chance come from.

    Raises:
        InputError: one of ``peers`` is not a url, ``pending_max`` is no positive whole number, no session fits into
            ``limits``, or an argument is of another type.
    """

    def __init__(
        self,
        replica: Replica,
        peers: Iterable[str],
        *,
        policy: BackoffPolicy | None = None,
        limits: ChannelLimits = CHANNEL_LIMITS,
        pending_max: int = PENDING_MAX,
        shell: Shell | None = None,
    ) -> None:
        urls = _checked_urls(peers)
        checked_instance(policy or BackoffPolicy(), BackoffPolicy, what="policy", hint="Give a BackoffPolicy.")
        session_limits(limits)  # as every peer would, also where there is none
        self._replica = replica
        self.queue = OperationQueue(replica, pending_max=pending_max)
        policy = policy or BackoffPolicy()
        self.peers = tuple(Peer(replica, url, policy=policy, limits=limits, shell=shell) for url in dict.fromkeys(urls))
        self._tasks: list[asyncio.Task[None]] = []
        self._upkeep: list[asyncio.Task[None]] = []
        self._entered = self._running = False

    def __repr__(self) -> str:
        connected = sum(peer.connected for peer in self.peers)
        return f"<SyncManager {connected} of {len(self.peers)} peers, {self._replica.pending_count()} pending>"

    async def __aenter__(self) -> Self:
        """Begin to dial.

        Raises:
            StoreReadOnlyError, StoreClosedError, WrongThreadError: the replica cannot sync, or not here.
            LocalProtocolError: it was entered before.
            TransactionError: a transaction is open.
            StoreError: which peers are home could not be kept.
        """
        if self._entered:
            raise LocalProtocolError("a SyncManager is entered once", hint="Make a new one.")
        check_usable(self._replica)
        self._replica.port.set_home([peer.url for peer in self.peers])
        self._entered = self._running = True
        self._tasks = [asyncio.create_task(peer.run(), name=f"crdt_sync peer {peer.shown_url}") for peer in self.peers]
        self._upkeep = [asyncio.create_task(keep_current(self._replica), name="crdt_sync upkeep")]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._running = False
        farewells = [task for peer, task in zip(self.peers, self._tasks, strict=True) if peer.leave()]
        try:
            await finish(farewells, timeout_s=LEAVE_TIMEOUT_S)
        finally:
            await finish((*self._tasks, *self._upkeep), timeout_s=0)

    def queue_operation(self, kind: str, model: type[Model], data: Mapping[str, Any]) -> SyncOperation:
        """Make a change through the replica; it is durable and waits for the next round.

        Args:
            kind: ``create``, ``update`` or ``delete``.
            model: the record's model.
            data: field → value; for update and delete ``data["id"]`` names the record.

        Raises:
            InputError: an unknown kind, no id, or nothing that would change. Also what the replica raises; nothing
                was changed.
            TransactionError: a transaction is open, so there would be no operation yet; or the queue is at its bound.
        """
        return self.queue.enqueue(kind, model, data)

    async def sync(self, *, timeout_s: float = ROUND_TIMEOUT_S) -> SyncReport:
        """One round with every peer: wait until each is proven equal, or cannot be reached in time.

        Args:
            timeout_s: how long the round may take.

        Returns:
            The sum of all peers; `errors` names those that failed, and `set_aside` those that have all but that.

        Raises:
            LocalProtocolError: outside of ``async with``.
            InputError: ``timeout_s`` is no number of seconds.
            StoreError: the replica's own store failed.
        """
        self._check_running()
        began, before = time.monotonic(), self._traffic()
        completed = self._replica.port.completed
        rounds = (self._round(peer, timeout_s=timeout_s) for peer in self.peers)
        results = await asyncio.gather(*rounds, return_exceptions=True)
        errors, aside = dict[str, str](), dict[str, str]()
        for peer, result in zip(self.peers, results, strict=True):
            if isinstance(result, BaseException):
                raise result
            if result:
                (aside if peer.waits_for else errors)[peer.shown_url] = peer.waits_for or result
        return SyncReport(
            url=",".join(peer.shown_url for peer in self.peers),
            seconds=time.monotonic() - began,
            traffic=_minus(self._traffic(), before),
            completed=self._replica.port.completed - completed,
            proven_equal=not errors and not aside and bool(self.peers),
            fingerprints={name: value for peer in self.peers for name, value in peer.fingerprints.items()},
            errors=errors,
            set_aside=aside,
        )

    async def execute_operation(self, operation: SyncOperation, *, timeout_s: float = ROUND_TIMEOUT_S) -> SyncOperation:
        """Send one operation, with everything that it rests on, and return it with its recorded result.

        It is still ``pending`` where no peer could be reached in time; what failed is in the peers' `last_error`. Once
        it has a result, peers that are not there are not waited for.

        Args:
            operation: of this replica.
            timeout_s: how long it may take.

        Raises:
            InputError: it is no operation of this replica.
            LocalProtocolError: outside of ``async with``, with an operation that is pending.
            StoreError: the replica's own store failed.
        """
        name = self._replica.port.own_id(operation)
        if self._is_pending(name):
            self._check_running()
            await self._until_settled(name, timeout_s=timeout_s)
        return self._replica.operation(name)

    async def _until_settled(self, operation: str, *, timeout_s: float) -> None:
        """Rounds with all peers, until one of them leaves the operation with a result, or all are over."""
        rounds = [asyncio.create_task(self._round(peer, timeout_s=timeout_s)) for peer in self.peers]
        try:
            for ended in asyncio.as_completed(rounds):
                await ended
                if not self._is_pending(operation):
                    return
        finally:
            await finish(rounds, timeout_s=0)

    def _is_pending(self, operation: str) -> bool:
        return self._replica.operation(operation).status is OperationStatus.PENDING

    def _check_running(self) -> None:
        if not self._running:
            raise LocalProtocolError("this SyncManager is not running", hint="Use it by `async with SyncManager(...)`.")

    def _traffic(self) -> Traffic:
        total = Traffic()
        for peer in self.peers:
            total = add_traffic(total, peer.traffic)
        return total

    async def _round(self, peer: Peer, *, timeout_s: float) -> str:
        """One peer's error, or an empty string."""
        checked_seconds(timeout_s, what="timeout_s")
        try:
            await peer.caught_up(timeout_s=timeout_s)
        except SyncError as error:
            return error.message
        return ""


def _checked_urls(peers: Iterable[str]) -> list[str]:
    hint = "Give a list of urls, also for one peer."
    if isinstance(peers, str) or not isinstance(peers, Iterable):
        raise InputError("peers is a list of urls", hint=hint)
    return [checked_instance(url, str, what="a peer's url", hint=hint) for url in peers]


def _minus(one: Traffic, other: Traffic) -> Traffic:
    return Traffic(**{name: getattr(one, name) - getattr(other, name) for name in asdict(one)})
