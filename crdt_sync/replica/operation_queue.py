"""OperationQueue: local changes as a queue, for apps that think in operations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from crdt_sync.core.checks import checked_instance
from crdt_sync.core.model import Model
from crdt_sync.errors import InputError, TransactionError
from crdt_sync.replica.facade import Replica
from crdt_sync.replica.operations import OperationStatus, SyncOperation

PENDING_MAX: Final = 1_000_000
"""Changes that may be pending in a queue, unless it is told otherwise."""


class OperationQueue:
    """The changes made here that wait for a home peer, oldest first.

    Sync takes care of them by itself; the queue is for apps that show them, or carry them elsewhere.

    Invariants:
        1. What is in the queue is what the journal has as pending: it survives the process, and nothing leaves it but
           by a recorded result.
        2. A leased operation is given to nobody else who asks this queue until it is given back, or its result is
           recorded; where it waits again after that, it is given again.
        3. A change that is refused here, for whatever reason, leaves the queue and the data as they were.

    Args:
        replica: whose changes.
        pending_max: so many changes may be pending before `enqueue` takes another. What is written through the replica
            itself is not counted out: it is bounded by the disk alone.

    Raises:
        InputError: ``pending_max`` is no positive whole number.
    """

    def __init__(self, replica: Replica, *, pending_max: int = PENDING_MAX) -> None:
        checked_instance(replica, Replica, what="replica", hint="Open one by Replica.open(...).")
        if type(pending_max) is not int or pending_max < 1:
            raise InputError("pending_max is a whole number from 1 on")
        self._replica = replica
        self._pending_max = pending_max
        self._leased: set[str] = set()
        self._seen = 0
        """The last result that was looked at, by its number in the sync log."""

    def __len__(self) -> int:
        """How many changes are pending, those that are leased among them."""
        return self._replica.pending_count()

    def __repr__(self) -> str:
        return f"<OperationQueue {len(self)} pending, {len(self._leased)} leased>"

    def enqueue(self, kind: str, model: type[Model], data: Mapping[str, Any], /) -> SyncOperation:
        """Make a change through the replica; it is durable and waits for a home peer.

        Args:
            kind: ``create``, ``update`` or ``delete``.
            model: the record's model.
            data: field → value; for update and delete ``data["id"]`` names the record.

        Raises:
            InputError: an unknown kind, no id, or nothing that would change. Also what the replica raises; nothing
                was changed.
            TransactionError: a transaction is open, so there would be no operation yet; or ``pending_max`` changes are
                pending.
        """
        replica = self._replica
        if replica.port.busy():
            raise TransactionError("an operation is a transaction of its own, and one is open")
        values = _checked(kind, data)
        if self._replica.port.has_pending(self._pending_max):
            raise TransactionError(
                f"{self._pending_max} changes are pending, as many as this queue takes",
                hint="Sync with a peer; `pending_max` of the queue, or of the SyncManager, is the bound.",
            )
        before = self._last_id()
        if kind == "create":
            replica.create(model, **values)
        else:
            record = replica.get(model, values.pop("id"))
            if kind == "delete":
                replica.delete(record)
            else:
                replica.update(record, **values)
        operation = replica.last_operation()
        if operation.id == before:
            raise InputError(f"this {kind} changes nothing", hint="The record has these values already.")
        return operation

    def peek(self) -> SyncOperation | None:
        """The oldest pending change; None where nothing waits."""
        return next(self._replica.operations(status=OperationStatus.PENDING), None)

    def dequeue(self) -> SyncOperation | None:
        """Lease the oldest pending change that is not leased; None where there is none.

        It stays pending until its result is recorded: by sync, or when `give_back` returns it to the queue. A lease
        ends with the process.
        """
        self._end_leases()
        for operation in self._replica.operations(status=OperationStatus.PENDING):
            if operation.id not in self._leased:
                self._leased.add(operation.id)
                return operation
        return None

    def give_back(self, operation: SyncOperation, /) -> None:
        """End a lease: the next `dequeue` may give the change again.

        Raises:
            InputError: it is not leased.
        """
        self._end_leases()
        name = getattr(operation, "id", None)
        if not isinstance(name, str) or name not in self._leased:
            raise InputError("this operation is not leased", hint="Give back what dequeue() gave.")
        self._leased.discard(name)

    def _end_leases(self) -> None:
        """Whatever got a result is leased no more, also where it waits again by now."""
        results, self._seen = self._replica.port.results_after(self._seen)
        for numbers in results if self._leased else ():
            self._leased = {name for name in self._leased if int(name) not in numbers}

    def _last_id(self) -> str | None:
        try:
            return self._replica.last_operation().id
        except InputError:
            return None  # there is none yet


def _checked(kind: str, data: Any) -> dict[str, Any]:
    """The data of an operation, as far as it can be judged without the model."""
    if kind not in ("create", "update", "delete"):
        raise InputError(f"there is no operation {kind!r}", hint="Use create, update or delete.")
    if not isinstance(data, Mapping) or not all(isinstance(name, str) for name in data):
        raise InputError("data maps names of fields to values")
    values = dict(data)
    if kind == "create":
        return values
    if not isinstance(values.get("id"), str):
        raise InputError(f'{kind} needs data["id"], the record\'s id')
    if kind == "delete" and len(values) > 1:
        raise InputError("delete takes the id alone", hint="Nothing was changed.")
    if kind == "update" and len(values) == 1:
        raise InputError("this update changes nothing", hint="Name at least one field beside the id.")
    return values
