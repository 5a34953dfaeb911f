"""The part of a replica's facade that is about the changes made here: how far they came, and what to do about them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from datetime import datetime

from crdt_sync.errors import StoreReadOnlyError
from crdt_sync.replica.arguments import checked_time
from crdt_sync.replica.journal import Journal, checked_status
from crdt_sync.replica.metrics import Metrics, metrics_of
from crdt_sync.replica.operations import OperationStatus, SyncOperation
from crdt_sync.replica.port import Port
from crdt_sync.replica.records import Records
from crdt_sync.replica.set_aside import SetAside
from crdt_sync.replica.state import State
from crdt_sync.replica.synclog import SyncLog, latest_results


class JournalCalls:
    """What `Replica` says about its operations."""

    _state: State
    _records: Records
    _journal: Journal

    port: Port

    @abstractmethod
    def _check(self) -> None:
        """Raise where the replica cannot be used."""

    @abstractmethod
    def _check_idle(self) -> None:
        """Raise where the replica cannot be used, or a transaction is open."""

    def operations(
        self,
        *,
        status: str | OperationStatus | None = None,
        since: datetime | None = None,
        latest_first: bool = False,
    ) -> Iterator[SyncOperation]:
        """The local changes, oldest first.

        Args:
            status: only ``pending``, ``completed`` or ``failed`` ones.
            since: only those made, or with a result noted, at this time or later; with a zone.
            latest_first: in the other order.

        Raises:
            InputError: there is no such status, or a time without a zone.
        """
        self._check()
        return self._operations(
            checked_status(status), since_ms=checked_time(since), latest_first=latest_first, device_id=self._device()
        )

    def operation(self, operation_id: str, /) -> SyncOperation:
        """One local change by its id.

        Raises:
            InputError: there is none.
        """
        self._check()
        return self._journal.operation(*self._journal.row(operation_id), device_id=self._device())

    def last_operation(self) -> SyncOperation:
        """The latest local change.

        Raises:
            InputError: there is none yet.
        """
        self._check()
        return self.operation(self._journal.last_id())

    def pending_count(self) -> int:
        """How many local changes wait for a home peer."""
        self._check()
        return self._journal.pending_count()

    def operation_count(self, *, status: str | OperationStatus | None = None, since: datetime | None = None) -> int:
        """How many local changes there are; the arguments are those of `operations`.

        Raises:
            InputError: there is no such status, or a time without a zone.
        """
        self._check()
        return self._journal.count(status=checked_status(status), since_ms=checked_time(since))

    def retry(self, operation: SyncOperation | None = None, /) -> int:
        """Have a failed change wait again, with those that failed before it; or all that failed.

        Of one that is tried again after a pause only (`set_aside`), the pause ends.

        It is sent in the next session with each peer; sessions that are open end for it and begin anew.

        Args:
            operation: of this replica; None for all.

        Returns:
            How many wait again.

        Raises:
            InputError: it is no operation of this replica, or it has not failed and is not set aside.
            StoreReadOnlyError: opened read-only.
            TransactionError: a transaction is open.
        """
        self._check_idle()
        if operation is not None:
            self.port.own_id(operation)
        if self._state.identity is None:
            raise StoreReadOnlyError("a replica that was opened read-only cannot try again")
        return self.port.retry(None if operation is None else operation.id)

    def revert(self, operation: SyncOperation, /) -> tuple[SyncOperation, ...]:
        """Take back a change that failed, as if it had never been made; what it wrote stays in the journal.

        With it goes its whole transaction, and what was written here on top of it: later transactions that touch one of
        the same records. Everything else that was written since is sent under a new author. Sessions that are open
        begin anew for it.

        Args:
            operation: of this replica.

        Returns:
            What was taken back, oldest first. They stay failed, and are not tried again.

        Raises:
            InputError: it is no operation of this replica, it has not failed, or another device has it or wrote on top
                of it; nothing was changed. `undo` writes the opposite then.
            StoreReadOnlyError: opened read-only.
            TransactionError: a transaction is open.
        """
        self._check_idle()
        self.port.own_id(operation)
        if self._state.identity is None:
            raise StoreReadOnlyError("a replica that was opened read-only takes nothing back")
        reverted = self.port.revert(operation.id)
        self.port.begin_anew(reverted.authors)
        self.port.publish(reverted.changes)
        return tuple(map(self.operation, reverted.operations))

    def set_aside(self) -> tuple[SetAside, ...]:
        """What devices are not sent at once, since sessions with them ended at it: for a while, or until `retry`."""
        self._check()
        return self.port.set_aside()

    def sync_log(
        self,
        *,
        limit: int = 100,
        result: str | None = None,
        since: datetime | None = None,
        operation: SyncOperation | None = None,
    ) -> list[SyncLog]:
        """The latest results of local changes, oldest first: which peer has acknowledged or refused them.

        Args:
            limit: at most so many.
            result: only ``success`` or ``failure``.
            since: only those noted at this time or later; with a zone.
            operation: only those of one change.

        Raises:
            InputError: ``limit`` is no positive number, there is no such result, a time without a zone, or no operation
                of this replica.
        """
        self._check()
        return latest_results(
            self._state.store,
            limit=limit,
            result=result,
            since_ms=checked_time(since),
            operation=None if operation is None else self.port.own_id(operation),
        )

    def metrics(self) -> Metrics:
        """How sync is going, in numbers."""
        self._check()
        return metrics_of(self._state, self._journal)

    def _device(self) -> str:
        return str(self._state.device() or "")

    def _operations(
        self, status: OperationStatus | None, *, since_ms: int, latest_first: bool, device_id: str
    ) -> Iterator[SyncOperation]:
        self._check()
        for key, row in self._journal.rows(status=status, since_ms=since_ms, latest_first=latest_first):
            operation = self._journal.operation(key, row, device_id=device_id)
            self._records.let_go()
            yield operation
            self._check()
