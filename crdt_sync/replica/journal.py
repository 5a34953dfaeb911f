"""The journal: each local change as an operation with a status, kept in the same transaction as the change itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from operator import itemgetter
from typing import Any, TypedDict

from crdt_sync.core.clock import physical_ms
from crdt_sync.core.entry import SEQUENCE_MAX
from crdt_sync.core.ids import Author, split_document_key
from crdt_sync.errors import CorruptStoreError, InputError
from crdt_sync.replica.documents import DocumentCache
from crdt_sync.replica.ledger import Ledger
from crdt_sync.replica.operations import OperationStatus, SyncOperation
from crdt_sync.replica.resting import Resting
from crdt_sync.replica.rows import (
    FLOOR_POSITION,
    NO_ENTRY,
    OperationRow,
    chain_key,
    key_number,
    number_key,
    unpack_chain_row,
    unpack_operation_row,
)
from crdt_sync.replica.schema import Schema
from crdt_sync.replica.synclog import Results
from crdt_sync.replica.written import pack_written, unpack_written, written_data
from crdt_sync.storage.base import Store, Table

PAGE_ROWS = 512
"""Pending operations that are looked at in one go."""

FAILED = b"\xff"
"""In the table of what is pending, keys of failed operations begin so; they come behind those that are pending."""


SET_ASIDE = "which is set aside"
_IDS_HINT = "The operations are listed by replica.operations(), and by `crdt-sync log`."


class _Range(TypedDict):
    start: bytes
    end: bytes | None


_STATUSES = (OperationStatus.PENDING, OperationStatus.COMPLETED, OperationStatus.FAILED)
_LISTED: Mapping[OperationStatus | None, _Range] = {
    OperationStatus.PENDING: {"start": b"", "end": FAILED},
    OperationStatus.FAILED: {"start": FAILED, "end": None},
}
"""Where in the table of what is pending the operations of a status are."""


def checked_status(status: str | OperationStatus | None) -> OperationStatus | None:
    """A status by name.

    Raises:
        InputError: there is none of this name.
    """
    try:
        return None if status is None else OperationStatus(status)
    except ValueError:
        raise InputError(f"there is no status {status!r}", hint="Use pending, completed or failed.") from None


def status_of(row: OperationRow) -> OperationStatus:
    """The status of a row.

    Raises:
        CorruptStoreError: it has none that there is.
    """
    try:
        return _STATUSES[row.status]
    except IndexError:
        raise CorruptStoreError(f"an operation with status {row.status}", table=Table.OPERATION) from None


def listed_as(key: bytes, row: OperationRow) -> bytes | None:
    """Under which key a row is in the table of what is pending; None where it is not there.

    Args:
        key: the row's own key.
        row: the operation.
    """
    match status_of(row):
        case OperationStatus.PENDING:
            return key
        case OperationStatus.FAILED:
            return FAILED + key
        case OperationStatus.COMPLETED:
            return None


class Journal:
    """Reads and writes the operations of one store."""

    def __init__(
        self, store: Store, ledger: Ledger, documents: DocumentCache, schema: Schema, *, resting: Resting
    ) -> None:
        self._store = store
        self._ledger = ledger
        self._documents = documents
        self._schema = schema
        self._resting = resting
        self.results = Results(store)

    def append(self, rows: list[OperationRow]) -> None:
        """Journal the operations of one local entry, in its store transaction."""
        last = next(self._store.scan(Table.OPERATION, reverse=True, limit=1), None)
        number = 1 if last is None else key_number(last[0]) + 1
        numbers = range(number, number + len(rows))
        items = [(number_key(at), row.pack()) for at, row in zip(numbers, rows, strict=True)]
        self._store.put_many(Table.OPERATION, items)
        self._store.put_many(Table.PENDING, [(key, b"") for key, _ in items])

    def rows(
        self, *, status: OperationStatus | None = None, since_ms: int = 0, latest_first: bool = False
    ) -> Iterator[tuple[bytes, OperationRow]]:
        """Operations with their keys, oldest first unless said otherwise.

        Args:
            status: only of this status.
            since_ms: only those that were made, or got their result, then or later; milliseconds since 1970.
            latest_first: in the other order.
        """
        for key, data in self._rows(status, reverse=latest_first):
            row = unpack_operation_row(data)
            changed_ms = max(physical_ms(row.hlc), row.finished_ms)
            if (status is None or _STATUSES[row.status] is status) and changed_ms >= since_ms:
                yield key, row

    def _rows(self, status: OperationStatus | None, *, reverse: bool) -> Iterator[tuple[bytes, bytes]]:
        if status not in _LISTED:
            yield from self._store.scan(Table.OPERATION, reverse=reverse)
            return
        listed = self._store.scan(Table.PENDING, **_LISTED[status], reverse=reverse)
        keys = (key.removeprefix(FAILED) for key, _ in listed)
        while page := list(islice(keys, PAGE_ROWS)):
            found = self._rows_at(sorted(page))
            yield from reversed(found) if reverse else found

    def row(self, operation_id: str) -> tuple[bytes, OperationRow]:
        """One operation by id.

        Raises:
            InputError: there is none.
        """
        try:
            key = number_key(int(operation_id))
        except (TypeError, ValueError, OverflowError):
            raise InputError("an operation's id is a number", hint=_IDS_HINT) from None
        data = self._store.get(Table.OPERATION, key)
        if data is None:
            raise InputError(f"there is no operation {operation_id}", hint=_IDS_HINT)
        return key, unpack_operation_row(data)

    def last_id(self) -> str:
        """The id of the latest operation.

        Raises:
            InputError: there is none yet.
        """
        last = next(self._store.scan(Table.OPERATION, reverse=True, limit=1), None)
        if last is None:
            raise InputError("there is no operation yet")
        return str(key_number(last[0]))

    def pending_count(self) -> int:
        """How many operations wait for a home peer."""
        return self._store.count(Table.PENDING, end=FAILED)

    def has_pending(self, count: int) -> bool:
        """Whether so many operations wait, or more."""
        first = next(self._store.scan(Table.PENDING, end=FAILED, limit=1), None)
        last = next(self._store.scan(Table.PENDING, end=FAILED, reverse=True, limit=1), None)
        if first is None or last is None or key_number(last[0]) - key_number(first[0]) + 1 < count:
            return False  # they are numbered, so there cannot be more; counting takes time
        return self.pending_count() >= count

    def failed_count(self) -> int:
        """How many operations were refused, or ran out of tries."""
        return self._store.count(Table.PENDING, start=FAILED)

    def first_pending(self) -> int | None:
        """The log position of the first entry with an operation that waits for a home peer."""
        first: dict[tuple[str, Author], int] = {}
        for _, row in self.rows(status=OperationStatus.PENDING):
            name = (split_document_key(row.document)[0], row.author)
            first[name] = min(row.sequence, first.get(name, row.sequence))
        places = (self._ledger.position_after(*name, sequence - 1) for name, sequence in first.items())
        found = [place for place in places if place is not None]
        return min(found, default=None)

    def count(self, *, status: OperationStatus | None = None, since_ms: int = 0) -> int:
        """How many operations there are, of a status and since a time where these are given."""
        if since_ms:
            return sum(1 for _ in self.rows(status=status, since_ms=since_ms))
        waiting, failed = self.pending_count(), self.failed_count()
        match status:
            case None:
                return self._store.count(Table.OPERATION)
            case OperationStatus.PENDING:
                return waiting
            case OperationStatus.FAILED:
                return failed
            case OperationStatus.COMPLETED:
                return self._store.count(Table.OPERATION) - waiting - failed

    def complete(self, held: Mapping[Author, int], *, peer: str, now_ms: int) -> int:
        """Note what a home peer holds durably: author → last sequence. In the caller's store transaction.

        What another peer had refused is completed by this one all the same.
        """
        done: list[tuple[bytes, OperationRow]] = []
        newest = self._newest_pending()
        for key, row in self.rows(status=OperationStatus.PENDING):
            if row.sequence <= held.get(row.author, 0):
                done.append((key, row))
            elif row.author == newest:
                break  # what follows is this author's too, and later
        failed = self.rows(status=OperationStatus.FAILED)
        done += [(key, row) for key, row in failed if NO_ENTRY < row.sequence <= held.get(row.author, 0)]
        done = [
            (key, row.changed(status=1, attempts=row.attempts + 1, finished_ms=now_ms, error="")) for key, row in done
        ]
        self._finish(sorted(done, key=itemgetter(0)), error="", peer=peer, now_ms=now_ms)
        return len(done)

    def reopen(self, held: Mapping[Author, int], *, error: str, peer: str, now_ms: int) -> int:
        """Have operations wait again that no home peer is known to hold any more. In the caller's store transaction.

        ``held``: author → the last sequence that any home peer holds; of these authors only. ``error``: why;
        ``peer``: the device that holds less than before, or empty.
        """
        lost: list[tuple[bytes, OperationRow]] = []
        for key, row in self.rows(status=OperationStatus.COMPLETED):
            if row.sequence > held.get(row.author, row.sequence):
                lost.append((key, row.changed(status=0, finished_ms=0)))
        self.results.note([key for key, _ in lost], error=error, peer=peer, now_ms=now_ms)
        self._wait(lost)
        return len(lost)

    def retry(self, operation_id: str | None) -> list[Author]:
        """Have failed operations wait again: all, or one with those that failed before it; returns the author of each.

        In the caller's store transaction.

        Raises:
            InputError: there is no such operation, or it has not failed.
        """
        wanted = None if operation_id is None else self.row(operation_id)[1]
        if wanted is not None and _STATUSES[wanted.status] is not OperationStatus.FAILED:
            raise InputError(
                f"operation {operation_id} is {_STATUSES[wanted.status].value}",
                hint="Only what failed can be tried again; what is pending is sent by itself.",
            )
        if wanted is not None and wanted.sequence == NO_ENTRY:
            raise InputError(f"operation {operation_id} was taken back", hint="Its data stays in the journal.")
        again = [
            (key, row.changed(status=0, error="", finished_ms=0))
            for key, row in self.rows(status=OperationStatus.FAILED)
            if row.sequence != NO_ENTRY
            and (wanted is None or (row.author == wanted.author and row.sequence <= wanted.sequence))
        ]
        self._wait(again)
        return [row.author for _, row in again]

    def tried(self, author: Author, *, first: int, last: int, error: str) -> None:
        """Note that entries of ours were sent, and how that ended; they wait. In the caller's store transaction."""
        sent: list[tuple[bytes, bytes]] = []
        for key, row in self.rows(status=OperationStatus.PENDING):
            if row.author == author and first <= row.sequence <= last:
                sent.append((key, row.changed(attempts=row.attempts + 1, error=error).pack()))
            elif row.author == author and row.sequence > last and not self._resting.look():
                break
        self._store.put_many(Table.OPERATION, sent)

    def fail(
        self,
        author: Author,
        *,
        sequence: int,
        last: int = SEQUENCE_MAX,
        error: str,
        peer: str,
        now_ms: int,
        sent: bool = True,
    ) -> int:
        """Note that an entry of ours, and so all behind it up to ``last``, was refused. In the caller's transaction.

        What they wrote is kept in the journal from here on: the entries may be folded, and the records removed.
        ``sent``: by this, they were sent once more.
        """
        done: list[tuple[bytes, OperationRow]] = []
        for key, row in self.rows(status=OperationStatus.PENDING):
            if row.author == author and sequence <= row.sequence <= last:
                attempts, data = row.attempts + sent, pack_written(self.written(row))
                failed = row.changed(status=2, attempts=attempts, finished_ms=now_ms, error=error, data=data)
                done.append((key, failed))
        self._finish(done, error=error, peer=peer, now_ms=now_ms)
        self._store.put_many(Table.PENDING, [(FAILED + key, b"") for key, _ in done])
        return len(done)

    def move(self, moved: Mapping[tuple[Author, int], tuple[Author, int]]) -> None:
        """Follow entries that were re-encoded: (author, sequence) before → after. In the caller's store transaction.

        They are pending again, also where they had been refused before.
        """
        changed: list[tuple[bytes, OperationRow]] = []
        for key, row in self.rows():
            place = moved.get((row.author, row.sequence))
            if place is not None:
                again = row.changed(author=place[0], sequence=place[1], status=0, error="", finished_ms=0, data=b"")
                changed.append((key, again))
        self._wait(changed)

    def operation(self, key: bytes, row: OperationRow, *, device_id: str) -> SyncOperation:
        """A row as users see it."""
        _, model, record = split_document_key(row.document)
        return SyncOperation(
            id=str(key_number(key)),
            type=row.type,
            model=model,
            record_id=record,
            data=self._data(row),
            timestamp=row.hlc,
            device_id=device_id,
            status=_STATUSES[row.status],
            attempts=row.attempts,
            error=row.error or self._waits_for(row),
        )

    def _waits_for(self, row: OperationRow) -> str:
        """What keeps a pending operation from being sent; nothing where that is nothing but time."""
        root = self._resting.root_of(row.author, row.sequence) if row.status == 0 else None
        return "" if root is None else f"waits for {self.named(root.author, root.sequence)}, {SET_ASIDE}: {root.reason}"

    def named(self, author: Author, sequence: int) -> str:
        """An entry for people: the operation that it is, where it was made here."""
        for status in (OperationStatus.FAILED, OperationStatus.PENDING):
            for key, row in self.rows(status=status):
                if (row.author, row.sequence) == (author, sequence):
                    return f"operation {key_number(key)}"
        return f"entry {sequence} of author {author}"

    def _data(self, row: OperationRow) -> dict[str, Any]:
        written = unpack_written(row.data) if row.data else self.written(row)
        declared = self._schema.by_key(row.document)
        return written if declared is None else {declared.names.get(name, name): item for name, item in written.items()}

    def written(self, row: OperationRow) -> dict[str, Any]:
        """What an operation wrote, by stored names; nothing where its entry was folded."""
        partition = split_document_key(row.document)[0]
        data = self._store.get(Table.CHAIN, chain_key(partition, row.author, row.sequence))
        position = FLOOR_POSITION if data is None else unpack_chain_row(data)[0]
        if position == FLOOR_POSITION:
            return {}  # it was folded
        entry = self._ledger.entry(position, 0)
        return written_data(entry.operations[row.index], index=self._documents.get(row.document).index)

    def _rows_at(self, keys: list[bytes]) -> list[tuple[bytes, bytes]]:
        """The rows under some keys, which are in order; with one look-up where they stand close together."""
        if key_number(keys[-1]) - key_number(keys[0]) < 2 * len(keys):
            wanted = set(keys)
            rows = self._store.scan(Table.OPERATION, start=keys[0], end=keys[-1] + b"\0")
            return [row for row in rows if row[0] in wanted]
        found = ((key, self._store.get(Table.OPERATION, key)) for key in keys)
        return [(key, data) for key, data in found if data is not None]

    def _finish(self, done: list[tuple[bytes, OperationRow]], *, error: str, peer: str, now_ms: int) -> None:
        if not done:
            return
        self.results.note([key for key, _ in done], error=error, peer=peer, now_ms=now_ms)
        self._store.put_many(Table.OPERATION, [(key, row.pack()) for key, row in done])
        self._store.delete_many(Table.PENDING, [name for key, _ in done for name in (key, FAILED + key)])

    def _wait(self, rows: list[tuple[bytes, OperationRow]]) -> None:
        """Keep rows that are pending now, whatever they were."""
        self._store.put_many(Table.OPERATION, [(key, row.pack()) for key, row in rows])
        self._store.delete_many(Table.PENDING, [FAILED + key for key, _ in rows])
        self._store.put_many(Table.PENDING, [(key, b"") for key, _ in rows])

    def _newest_pending(self) -> Author | None:
        """The author of the latest operation that waits; None where its operations may not stand in its order.

        They do not where what waits for something that is set aside was written again behind the rest (`stepping`).
        """
        if self._resting.look():
            return None
        last = next(self._store.scan(Table.PENDING, end=FAILED, reverse=True, limit=1), None)
        return None if last is None else self.row(str(key_number(last[0])))[1].author
