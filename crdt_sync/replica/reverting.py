"""Taking back a change that failed: the entry is taken out of the log here, as if it had never been written.

Nobody else holds it, so there is nothing to be undone elsewhere, and a change that undoes it would rest on it and be
refused with it. What was written here behind it is written again under a new author, since the chain ends at a refused
entry; but for what touches the same records, which was written on top of it and is taken back too, transaction by
transaction. The journal keeps what was in all of it.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Final

from crdt_sync.core.entry import Entry, decode_entry, split_entries
from crdt_sync.core.ids import Author, DocumentKey, split_document_key
from crdt_sync.core.logs import told
from crdt_sync.errors import EntryError, ForkError, InputError
from crdt_sync.replica.derive import Derivation
from crdt_sync.replica.fork import Sent, Writer, given_up, take_out, unused_identity
from crdt_sync.replica.holdings import HoldingsBook
from crdt_sync.replica.horizons import Horizons
from crdt_sync.replica.journal import FAILED, Journal, status_of
from crdt_sync.replica.operations import OperationStatus
from crdt_sync.replica.rows import NO_ENTRY, LogRow, OperationRow, after_prefix, key_number
from crdt_sync.replica.state import Change, State
from crdt_sync.replica.undo_stack import forget_operations, rename_aliases
from crdt_sync.replica.unique_index import neighbours
from crdt_sync.replica.written import pack_written
from crdt_sync.storage.base import Table

log = logging.getLogger("crdt_sync.replica")

_UNDO_HINT: Final = "`undo` writes the opposite, which others follow."


@dataclass(frozen=True, slots=True, kw_only=True)
class Reverted:
    """What was taken back.

    Args:
        operations: the ids, oldest first.
        authors: under whom it was written.
        changes: what observers are to be told.
    """

    operations: tuple[str, ...]
    authors: frozenset[Author]
    changes: list[Change]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    position: int
    row: LogRow
    entry: Entry

    @property
    def place(self) -> tuple[Author, int]:
        return self.row.author, self.row.last

    @property
    def documents(self) -> frozenset[DocumentKey]:
        return frozenset(operation.document for operation in self.entry.operations)


def revert(state: State, journal: Journal, horizons: Horizons, operation_id: str, *, sent: Sent) -> Reverted:
    """Take back the transaction of a failed operation, and what was written on top of it.

    Args:
        state: the replica.
        journal: its operations.
        horizons: removes documents.
        operation_id: the operation.
        sent: tells the last entry under an author of ours that anybody may hold who did not fail to take it.

    Raises:
        InputError: it has not failed, was taken back before, was folded, or somebody has it; nothing was changed.
    """
    _, wanted = journal.row(operation_id)
    first = _first_failed(journal, operation_id, wanted)
    partition = split_document_key(wanted.document)[0]
    try:
        rows = [
            _Row(position=position, row=row, entry=decode_entry(split_entries(row.body)[0]))
            for position, row in given_up(state, partition, wanted.author, after=first - 1, sent=sent)
        ]
    except ForkError as error:
        raise InputError(f"operation {operation_id} cannot be taken back: {error.message}", hint=_UNDO_HINT) from None
    if not any(item.place == (wanted.author, wanted.sequence) for item in rows):
        raise InputError(f"operation {operation_id} cannot be taken back: it was folded", hint=_UNDO_HINT)
    dropped = _dropped(rows, (wanted.author, wanted.sequence))
    try:
        return _write_without(state, journal, horizons, rows, dropped=dropped, operation_id=operation_id)
    except EntryError as error:
        raise InputError(
            f"operation {operation_id} cannot be taken back: what was written behind it cannot be written again"
            f" ({error.message})",
            hint=_UNDO_HINT,
        ) from None


def _first_failed(journal: Journal, operation_id: str, wanted: OperationRow) -> int:
    """The first entry of the same author that failed: the chain ends there for those who refused it.

    Raises:
        InputError: it has not failed, or was taken back before.
    """
    status = status_of(wanted)
    if status is not OperationStatus.FAILED:
        raise InputError(f"operation {operation_id} is {status.value}", hint=f"Only what failed. {_UNDO_HINT}")
    if wanted.sequence == NO_ENTRY:
        raise InputError(f"operation {operation_id} was taken back before", hint="Its data stays in the journal.")
    failed = (row for _, row in journal.rows(status=OperationStatus.FAILED))
    return min(row.sequence for row in failed if row.author == wanted.author and row.sequence != NO_ENTRY)


def _dropped(rows: list[_Row], wanted: tuple[Author, int]) -> frozenset[tuple[Author, int]]:
    """The entry, and those behind it that touch a record which it touches, or which one of them does."""
    dropped: set[tuple[Author, int]] = set()
    touched: frozenset[DocumentKey] = frozenset()
    for item in rows:
        if item.place == wanted or item.documents & touched:
            dropped.add(item.place)
            touched |= item.documents
    return frozenset(dropped)


def _write_without(
    state: State,
    journal: Journal,
    horizons: Horizons,
    rows: list[_Row],
    *,
    dropped: frozenset[tuple[Author, int]],
    operation_id: str,
) -> Reverted:
    """Take rows out of the log, and write those that are not dropped again under a new author."""
    identity = unused_identity(state)
    if identity is None:
        raise InputError("a replica that was opened read-only takes nothing back")
    keys = list(dict.fromkeys(key for item in rows for key in item.documents))
    before = {key: state.documents.get(key) for key in keys}
    seen, stood = {key: held.index for key, held in before.items()}, {key: held.live for key, held in before.items()}
    asked = {key: held.conflicts for key, held in before.items()}
    kept = [item for item in rows if item.place not in dropped]
    with state.store.transaction():
        taken = _keep_in_journal(state, journal, dropped, operation_id=operation_id)
        for item in rows:
            take_out(state, item.position, item.row, item.entry)
        state.reload()
        for key in keys:
            state.store.delete(Table.DOCUMENT, key)
            state.documents.rebuild(key)
        writer = Writer(state, identity, seen=seen)
        journal.move({item.place: writer.write(item.row, item.entry) for item in kept})
        rename_aliases(state.store, writer.renamed)
        HoldingsBook(state).say_anew()
        gone = [key for key in keys if not state.documents.get(key).known]
        beside = {other for key in gone for other in neighbours(state.store, key)}.difference(keys)
        changes = [change for key in gone for change in _give_up(state, horizons, key, was_live=stood[key])]
        derivation = Derivation(state, origin="local")
        for key in keys:
            loaded = state.documents.get(key)
            if loaded.known:
                loaded.live, loaded.conflicts = stood[key], asked[key]
                derivation.derive(key, fields=_fields(state, key), fold=True)
                derivation.look_back(key, since=rows[0].position)
        for key in sorted(beside):
            derivation.derive(key, fold=True)
            derivation.unmark(key)
        derivation.finish()
    state.documents.shrink()
    told(log, logging.WARNING, "a change that failed was taken back", operations=len(taken), again=len(kept))
    authors = frozenset(item.row.author for item in rows)
    return Reverted(operations=tuple(taken), authors=authors, changes=[*derivation.changes, *changes])


def _keep_in_journal(
    state: State, journal: Journal, dropped: frozenset[tuple[Author, int]], *, operation_id: str
) -> list[str]:
    """Have operations stay with what they wrote when their entries go; returns their ids."""
    found = [(key, row) for key, row in journal.rows() if (row.author, row.sequence) in dropped]
    for key, row in found:
        reason = row.error if status_of(row) is OperationStatus.FAILED else f"it rested on operation {operation_id}"
        data = row.data or pack_written(journal.written(row))
        kept = row.changed(status=2, sequence=NO_ENTRY, error=f"reverted: {reason}", data=data)
        state.store.put(Table.OPERATION, key, kept.pack())
        state.store.delete(Table.PENDING, key)
        state.store.put(Table.PENDING, FAILED + key, b"")
    numbers = [key_number(key) for key, _ in found]
    forget_operations(state.store, numbers, own=state.lease.own_authors())
    return list(map(str, numbers))


def _give_up(state: State, horizons: Horizons, key: DocumentKey, *, was_live: bool) -> list[Change]:
    """Remove a document of which nothing is left."""
    state.store.delete_range(Table.TOUCH, start=key, end=after_prefix(key))
    horizons.remove(key)
    _, model, record = split_document_key(key)
    return [Change(model=model, record_id=record, type="delete", origin="local")] if was_live else []


def _fields(state: State, key: DocumentKey) -> frozenset[str]:
    declared = state.schema.by_key(key)
    return frozenset() if declared is None else frozenset(declared.spec.fields)
