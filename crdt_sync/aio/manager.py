"""SyncManager: background sync with many peers, and the operations that wait for it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Any, Self

from crdt_sync.aio.backoff import BackoffPolicy
from crdt_sync.aio.peers import Peer, add_traffic, finish
from crdt_sync.core.model import Model
from crdt_sync.errors import InputError, SyncError, SyncTimeoutError
from crdt_sync.replica.conversation import Traffic
from crdt_sync.replica.facade import Replica
from crdt_sync.replica.journal import OperationStatus, SyncOperation
from crdt_sync.replica.report import SyncReport

ROUND_TIMEOUT_S = 30.0
LEAVE_TIMEOUT_S = 5.0


class SyncManager:
    """Keeps a replica in sync with its peers in the background, through losses and absences.

    Use it as an async context manager. Changes made through the replica directly are synced just as well;
    `queue_operation` makes one from data.

    Args:
        replica: what to sync.
        peers: the peers' urls; a peer that is not there is tried again with growing pauses.
        policy: those pauses.
    """

    def __init__(self, replica: Replica, peers: Iterable[str], *, policy: BackoffPolicy | None = None) -> None:
        self._replica = replica
        self._policy = policy or BackoffPolicy()
        self.peers = tuple(Peer(replica, url, policy=self._policy) for url in peers)
        self._tasks: list[asyncio.Task[None]] = []

    def __repr__(self) -> str:
        connected = sum(peer.connected for peer in self.peers)
        return f"<SyncManager {connected} of {len(self.peers)} peers, {self._replica.pending_count()} pending>"

    async def __aenter__(self) -> Self:
        self._tasks = [asyncio.create_task(peer.run(), name=f"crdt_sync peer {peer.url}") for peer in self.peers]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for peer in self.peers:
            await peer.leave()
        for peer, task in zip(self.peers, self._tasks, strict=True):
            await finish(task, timeout_s=LEAVE_TIMEOUT_S if peer.connected else 0)
        self._tasks = []

    def queue_operation(self, kind: str, model: type[Model], data: Mapping[str, Any]) -> SyncOperation:
        """Make a change through the replica; it is durable and waits for the next round.

        Args:
            kind: ``create``, ``update`` or ``delete``.
            model: the record's model.
            data: field → value; for update and delete ``data["id"]`` names the record.

        Raises:
            InputError: an unknown type, or no id. Also what the replica raises; nothing was changed.
        """
        values = dict(data)
        if kind == "create":
            self._replica.create(model, **values)
        elif kind in ("update", "delete"):
            if "id" not in values:
                raise InputError(f'{kind} needs data["id"], the record\'s id')
            record = self._replica.get(model, values.pop("id"))
            if kind == "delete":
                self._replica.delete(record)
            else:
                self._replica.update(record, **values)
        else:
            raise InputError(f"there is no operation {kind!r}", hint="Use create, update or delete.")
        return self._replica.last_operation()

    async def sync(self, *, timeout_s: float = ROUND_TIMEOUT_S) -> SyncReport:
        """One round with every peer: wait until each is proven equal, or cannot be reached in time.

        Returns:
            The sum of all peers; `errors` names those that failed.
        """
        began, before = time.monotonic(), self._traffic()
        pending = self._replica.pending_count()
        results = await asyncio.gather(*(self._round(peer, timeout_s=timeout_s) for peer in self.peers))
        errors = {peer.url: text for peer, text in zip(self.peers, results, strict=True) if text}
        fingerprints = {name: value for peer in self.peers for name, value in peer.fingerprints.items()}
        return SyncReport(
            url=",".join(peer.url for peer in self.peers),
            seconds=time.monotonic() - began,
            traffic=_minus(self._traffic(), before),
            completed=max(0, pending - self._replica.pending_count()),
            proven_equal=not errors and bool(self.peers),
            fingerprints=fingerprints,
            errors=errors,
        )

    async def execute_operation(self, operation: SyncOperation, *, timeout_s: float = ROUND_TIMEOUT_S) -> SyncOperation:
        """Send one operation, with everything that it rests on, and return it with its recorded result."""
        current = self._replica.operation(operation.id)
        if current.status is OperationStatus.PENDING:
            await self.sync(timeout_s=timeout_s)
        return self._replica.operation(operation.id)

    def _traffic(self) -> Traffic:
        total = Traffic()
        for peer in self.peers:
            total = add_traffic(total, peer.traffic)
        return total

    async def _round(self, peer: Peer, *, timeout_s: float) -> str:
        """One peer's error, or an empty string."""
        try:
            await peer.caught_up(timeout_s=timeout_s)
        except SyncTimeoutError as error:
            return (peer.last_error or error).message
        except SyncError as error:
            return error.message
        return ""


def _minus(one: Traffic, other: Traffic) -> Traffic:
    return Traffic(**{name: getattr(one, name) - getattr(other, name) for name in Traffic.__slots__})
