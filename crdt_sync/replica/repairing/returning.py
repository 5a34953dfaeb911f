"""Taking rows of a quarantine file back into the store, where they are sound now: judged as if a stranger sent them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from crdt_sync.core.clock import HLC_MAX
from crdt_sync.core.entry import Run, decode_entry, encode_run
from crdt_sync.core.ids import split_document_key
from crdt_sync.core.records import decode_record
from crdt_sync.errors import ChainError, CorruptStoreError, CRDTSyncError, InputError
from crdt_sync.replica.checking.journal import OwnOperation
from crdt_sync.replica.ledger import CONTENT_AUTHOR
from crdt_sync.replica.port import Port
from crdt_sync.replica.repairing.journal import put_operation, refused_operation
from crdt_sync.replica.repairing.ordering import Ordering, Parsed, ordering
from crdt_sync.replica.repairing.quarantine import read_quarantine
from crdt_sync.replica.repairing.salvage import POSITION_MAX
from crdt_sync.replica.rows import (
    POSITION_BYTES,
    LogRow,
    OperationRow,
    key_number,
    number_key,
    unpack_log_row,
    unpack_operation_row,
)
from crdt_sync.replica.state import State
from crdt_sync.storage.base import Table
from crdt_sync.storage.sqlite_statements import holds

STAYS: Final = {
    Table.HOLDING: "the next session with that device says it again; who is home, the app",
    Table.BASE: "nobody signed it; the record comes from a peer",
    Table.CHAIN: "it follows from the log",
    Table.TOUCH: "it follows from the log",
}
"""Why rows of some tables are never put back."""
LEFT_MAX: Final = 1_000
"""Rows that stay of which a report says why."""
STAYS_OTHERWISE: Final = "nothing tells whether it is right"


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftRow:
    """A row that was not put back.

    Args:
        table: where it was.
        key: its key in hex.
        reason: why it was not.
    """

    table: str
    key: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReturnReport:
    """What became of the rows of a quarantine file.

    Args:
        path: the file; it is left as it is.
        rows: how many were put back.
        entries: how many entries of the log came with them.
        here: rows of which all is in the store already, from a peer or an earlier call.
        left: rows that stay in the file alone; at most `LEFT_MAX` are named.
        stay: how many there are.
    """

    path: Path
    rows: int
    entries: int
    here: int
    left: tuple[LeftRow, ...]
    stay: int


class Returning:
    """Puts rows back, one after another; `run` once.

    Args:
        state: the open replica.
        port: through which what others signed is taken in.
    """

    def __init__(self, state: State, port: Port) -> None:
        self._state = state
        self._port = port
        self._entries = 0
        self._ordering: Ordering

    def run(self, path: Path) -> ReturnReport:
        """Put back what is sound now.

        Raises:
            InputError: the file cannot be read, or is none.
        """
        with ordering(path) as self._ordering:
            self._ordering.take(_parsed(path, row) for row in read_quarantine(path))
            operations = self._state.store.scan(Table.OPERATION)
            self._ordering.note_all(unpack_operation_row(data) for _, data in operations)
            return self._put_back(path)

    def _put_back(self, path: Path) -> ReturnReport:
        works: dict[Table, Callable[[Parsed], bool]] = {
            Table.RECORD: self._put_record,
            Table.LOG: self._put_log_row,
            Table.OPERATION: self._put_operation,
        }
        back = here = stay = 0
        left: list[LeftRow] = []
        for row in self._ordering.rows():
            try:
                if row.table not in works:
                    raise CorruptStoreError(STAYS.get(row.table, STAYS_OTHERWISE))
                was_new = works[row.table](row)
                back, here = back + was_new, here + (not was_new)
            except CRDTSyncError as error:
                stay += 1
                if stay <= LEFT_MAX:
                    left.append(LeftRow(table=row.table, key=row.key.hex(), reason=error.message))
        return ReturnReport(path=path, rows=back, entries=self._entries, here=here, left=tuple(left), stay=stay)

    def _put_record(self, parsed: Parsed) -> bool:
        value = parsed.value
        if decode_record(value).hash() in self._state.records:
            return False
        batch = self._port.accept_records([value])
        self._port.publish(batch.changes)
        return bool(batch.records)

    def _put_log_row(self, parsed: Parsed) -> bool:
        row = unpack_log_row(parsed.value)
        if row.author == CONTENT_AUTHOR:
            raise CorruptStoreError("nobody signed it; the record comes from a peer")
        self._refuse_taken_back(row)
        run = Run(
            partition=row.partition,
            author=row.author,
            first_sequence=row.first,
            body=row.body,
            signature=row.signature,
        )
        batch = self._port.accept_runs([encode_run(run)])
        self._port.publish(batch.changes)
        self._entries += batch.entries
        if not batch.entries and batch.outcome.statuses:
            raise ChainError(batch.outcome.statuses[0].reason or "it is refused")
        return bool(batch.entries)

    def _refuse_taken_back(self, row: LogRow) -> None:
        """Leave what is an own change that was taken out of the log: it would be there again, or twice.

        Raises:
            ChainError: it is one.
        """
        if row.author not in self._state.lease.journaled_authors():
            return
        held = self._state.ledger.end_of(row.partition, row.author).sequence
        for sequence, data in enumerate(row.applied(), start=row.first):
            entry = decode_entry(data)
            for index, item in enumerate(entry.operations if sequence > held else ()):
                place = OwnOperation(row.author, sequence, index)
                if self._ordering.is_elsewhere(place, hlc=entry.hlc, document=item.document):
                    reason = f"entry {sequence} of author {row.author} was taken back, or written again, since"
                    raise ChainError(reason)

    def _put_operation(self, parsed: Parsed) -> bool:
        key, value = parsed.key, parsed.value
        row, store = unpack_operation_row(value), self._state.store
        if row.author not in self._state.lease.journaled_authors():
            raise CorruptStoreError(f"author {row.author} is none of this replica")
        if self._ordering.is_noted(row):
            return False
        reason = refused_operation(self._state.ledger, row)
        if reason:
            raise ChainError(reason)
        row = self._as_logged(row) or _on_trust(row, parsed)
        number = key_number(key)
        if len(key) != POSITION_BYTES or number > POSITION_MAX:
            raise CorruptStoreError("its key is none of the journal")
        if store.get(Table.OPERATION, number_key(number)) is not None:
            last = next(store.scan(Table.OPERATION, reverse=True, limit=1))
            number = key_number(last[0]) + 1
        with store.transaction():
            put_operation(store, number, row)
        self._ordering.note(row)
        return True

    def _as_logged(self, row: OperationRow) -> OperationRow | None:
        """An operation as the log has it, to be offered anew; None where its entry was folded or taken back."""
        ledger, partition = self._state.ledger, split_document_key(row.document)[0]
        found = next(ledger.rows_of(partition, row.author, after=row.sequence - 1), None) if row.sequence else None
        if found is None or row.sequence <= ledger.floor_of(partition, row.author).sequence:
            return None
        entry = ledger.entry(found[0], row.sequence - found[1].first)
        return row.changed(hlc=entry.hlc, status=0, attempts=0, error="", finished_ms=0, data=b"")


def _parsed(path: Path, row: dict[str, Any]) -> Parsed:
    """A row of a file that anybody may have changed."""
    try:
        key, value, kept = (bytes.fromhex(row.get(name, "")) for name in ("key", "value", "sum"))
        return Parsed(table=Table(row["table"]), key=key, value=value, sum=kept)
    except (KeyError, ValueError, TypeError):
        raise InputError(f"{path} has a line that is no row", hint="Take the file as the repair wrote it.") from None


def _on_trust(row: OperationRow, parsed: Parsed) -> OperationRow:
    """An operation that nothing but its row tells of."""
    if parsed.sum and not holds(parsed.key, parsed.value, parsed.sum):
        raise CorruptStoreError("the checksum does not hold")
    if row.hlc > HLC_MAX:
        raise CorruptStoreError("it names no moment")
    return row
