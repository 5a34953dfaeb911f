"""The log of results: which operation came through at which peer, or was refused there. The newest ones are kept."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Final, Literal

from crdt_sync.errors import InputError
from crdt_sync.replica.keeping_policy import KEEPING
from crdt_sync.replica.rows import SyncLogRow, key_number, number_key, unpack_sync_log_row
from crdt_sync.storage.base import Store, Table

HLC_COUNTER_BITS: Final = 16
LOST: Final = "lost: the device does not hold it any more"
"""The error of an operation that was completed, and waits again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncLog:
    """The result of one operation.

    Args:
        id: names it on this device.
        operation: id of the operation.
        result: ``success``: a home peer holds it durably; ``failure``: it was refused, or is held there no more.
        error: why it failed, or empty.
        timestamp: when that was noted, packed as an HLC timestamp.
        peer: the device that said so.
    """

    id: str
    operation: str
    result: Literal["success", "failure"]
    error: str
    timestamp: int
    peer: str


class Results:
    """Notes results in the sync log of a store.

    Args:
        store: where.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self.kept = KEEPING.results_kept
        """Rows that are kept, the latest ones."""

    def note(self, operations: Iterable[bytes], *, error: str, peer: str, now_ms: int) -> None:
        """Note what became of operations, in the caller's store transaction.

        Args:
            operations: their keys, in order.
            error: why they failed, or empty.
            peer: the device that said so.
            now_ms: milliseconds since 1970.
        """
        store = self._store
        found = next(store.scan(Table.SYNCLOG, reverse=True, limit=1), None)
        last = 0 if found is None else key_number(found[0])
        rows = [
            SyncLogRow(first=first, last=end, error=error, finished_ms=now_ms, peer=peer).pack()
            for first, end in _ranges(map(key_number, operations))
        ]
        store.put_many(Table.SYNCLOG, [(number_key(last + at), row) for at, row in enumerate(rows, start=1)])
        surplus = last + len(rows) - self.kept
        if surplus > 0:
            store.delete_range(Table.SYNCLOG, end=number_key(surplus + 1))


def results_after(store: Store, number: int) -> tuple[list[range], int]:
    """Which operations got a result since one of the log.

    Args:
        store: where.
        number: of the last result that is known.

    Returns:
        Ranges of operations, in the order of their results, and the number of the last one.
    """
    found: list[range] = []
    for key, data in store.scan(Table.SYNCLOG, start=number_key(number + 1)):
        row, number = unpack_sync_log_row(data), key_number(key)
        found.append(range(row.first, row.last + 1))
    return found, number


def latest_results(
    store: Store, *, limit: int, result: str | None = None, since_ms: int = 0, operation: str | None = None
) -> list[SyncLog]:
    """The latest results, oldest first.

    Args:
        store: where.
        limit: at most so many.
        result: only ``success`` or ``failure``.
        since_ms: only those noted then or later, milliseconds since 1970.
        operation: only those of one operation, by its id.

    Raises:
        InputError: ``limit`` is no positive number, or there is no such result.
    """
    if type(limit) is not int or limit < 1:
        raise InputError("limit is a whole number from 1 on")
    if result not in (None, "success", "failure"):
        raise InputError(f"there is no result {result!r}", hint="Use success or failure.")
    found = (
        item
        for key, row in _rows(store)
        if row.finished_ms >= since_ms and result in (None, "failure" if row.error else "success")
        for item in _items(key, row, only=operation)
    )
    return list(islice(found, limit))[::-1]


def _rows(store: Store) -> Iterator[tuple[bytes, SyncLogRow]]:
    """All rows, latest first."""
    return ((key, unpack_sync_log_row(data)) for key, data in store.scan(Table.SYNCLOG, reverse=True))


def _items(key: bytes, row: SyncLogRow, *, only: str | None) -> Iterator[SyncLog]:
    numbers = range(row.last, row.first - 1, -1)
    for operation in numbers if only is None else (int(only),):
        if operation in numbers:
            yield SyncLog(
                id=f"{key_number(key)}.{operation}",
                operation=str(operation),
                result="failure" if row.error else "success",
                error=row.error,
                timestamp=row.finished_ms << HLC_COUNTER_BITS,
                peer=row.peer,
            )


def _ranges(numbers: Iterable[int]) -> Iterator[tuple[int, int]]:
    """Ascending numbers as first and last of those that follow each other."""
    first = last = None
    for number in numbers:
        if first is None or last is None:
            first = number
        elif number != last + 1:
            yield first, last
            first = number
        last = number
    if first is not None and last is not None:
        yield first, last
