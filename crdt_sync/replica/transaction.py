"""Local transactions: validated changes become one entry, one commit, and then news for observers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from crdt_sync.core.content import Tombstone, write_context, write_tombstone
from crdt_sync.core.document import merge_updates
from crdt_sync.core.entry import (
    Entry,
    EntryOperation,
    OperationType,
    encode_entry,
    next_hash,
    pack_entries,
    run_statement,
)
from crdt_sync.core.ids import Author, DocumentKey, split_document_key
from crdt_sync.core.kinds import Cut, Drop, Mark, Put, Write, WriteContext
from crdt_sync.core.layout import KeyClass, map_key
from crdt_sync.core.limits import ENTRY_LIMITS
from crdt_sync.errors import StoreReadOnlyError, TransactionError
from crdt_sync.replica.collector import BULK_DOCUMENTS, BulkWork, collector_paused
from crdt_sync.replica.derive import Derivation
from crdt_sync.replica.documents import Loaded
from crdt_sync.replica.duplicates import WrittenValues, group_of, note_values_of, shown_content
from crdt_sync.replica.grouping import SHOWN
from crdt_sync.replica.journal import Journal
from crdt_sync.replica.lease import Identity
from crdt_sync.replica.rows import LogRow, OperationRow, Touch, touch_key
from crdt_sync.replica.schema import Declared, Row
from crdt_sync.replica.settled_fields import settles_field
from crdt_sync.replica.state import Change, State, Touched
from crdt_sync.replica.unique_index import held_row, note_record
from crdt_sync.storage.base import Table


@dataclass(slots=True)
class _Pending:
    """What the open transaction did to one document."""

    type: OperationType
    updates: list[bytes] = field(default_factory=list)
    fields: set[str] = field(default_factory=set)
    text_only: bool = True
    settles: bool = False


class LocalTransaction:
    """Changes of one transaction, from the first write to the commit. The caller holds the store's transaction.

    Invariants:
        1. Everything is validated before the first write of a change.
        2. One transaction is one entry of one partition.

    Args:
        state: the replica.
        journal: of its operations; None where nobody's operation is made, as when needless values are removed.
    """

    def __init__(self, state: State, journal: Journal | None) -> None:
        if state.identity is None:
            raise StoreReadOnlyError("this replica was opened read-only")
        self._state = state
        self._journal = journal
        self._identity: Identity = state.identity
        self._pending: dict[DocumentKey, _Pending] = {}
        self._partition: str | None = None
        self._unshown: set[DocumentKey] = set()
        self._shown: set[DocumentKey] = set()
        self._bulk = BulkWork()
        self.unique = WrittenValues()
        """What a duplicate of a record in this transaction would be."""
        self.regrouped: dict[DocumentKey, Declared] = {}
        """Records that show with others than before, or are in other questions: known at once, derived at the end."""
        self._ungrouped: dict[DocumentKey, Declared] = {}
        """Records with unique values that were written to, of which that is not known yet."""
        self.torn = False
        """Whether a write failed half way, so that nothing of the transaction may be committed."""
        self.hlc = state.clock.tick(state.now_ms())
        self.context = WriteContext(author=self._identity.author, hlc=self.hlc)
        """Who writes, and when."""

    def write(self, key: DocumentKey, writes: list[Write], *, operation: OperationType, fields: frozenset[str]) -> None:
        """Apply writes to a document; a change that only deletes also moves the author's touch key.

        Raises:
            TransactionError: it would belong to two partitions, or touch more records than one entry may.
        """
        if not writes:
            return
        self._admit(key)
        if len(self._pending) == BULK_DOCUMENTS:
            self._bulk.begin()
        loaded = self._state.documents.get(key)
        pending = self._pending.setdefault(key, _Pending(operation))
        if any(isinstance(item, Put | Drop) and _is_of(item, KeyClass.TOMBSTONE) for item in writes):
            pending.settles = True
            writes = self._telling_what_was_seen(loaded, writes)
        declared = self._state.schema.by_key(key)
        cells = {item.key: item.data for item in writes if isinstance(item, Put) and _is_of(item, KeyClass.CAUSAL)}
        pending.settles = pending.settles or settles_field(declared, loaded, cells)
        writes = self._moving(writes)
        if operation is OperationType.DELETE or (operation is OperationType.CREATE and not pending.updates):
            pending.type = operation
        self.torn = True
        pending.updates.append(loaded.edit(writes, operation=operation))
        self.torn = False
        self._unshown.add(key)
        pending.fields |= fields
        if pending.text_only:
            pending.text_only = operation is OperationType.UPDATE and not any(map(_is_cell, writes))
        if declared is not None and declared.spec.unique:
            self.unique.note(declared, key, loaded.content(declared.text_fields))
            self._ungrouped[key] = declared
            if any(isinstance(item, Drop) and _is_of(item, KeyClass.TOMBSTONE) for item in writes):
                self._regroup()

    def _regroup(self) -> None:
        """Know at once what shows together, or is in question: who comes back may equal others, who writes may not."""
        affected: dict[DocumentKey, Declared] = {}
        for key, declared in self._ungrouped.items():
            if declared.spec.groups:
                content = self._state.documents.get(key).content(declared.text_fields)
                affected |= dict.fromkeys(note_record(self._state.store, declared, key, content), declared)
        for key, declared in list(affected.items()):
            if declared.spec.asks:
                affected |= dict.fromkeys(
                    note_values_of(self._state, declared, group_of(self._state, declared, key)), declared
                )
        self._ungrouped.clear()
        self._unshown |= affected.keys()
        self.regrouped |= affected

    def tombstone(self, loaded: Loaded, *, over: Iterable[str], seen: Mapping[int, int]) -> None:
        """Delete a record: replace tombstones by one that holds a state vector with its own block in it.

        Args:
            loaded: the record's document.
            over: the keys of the tombstones to replace.
            seen: author → next clock; everything behind it is an edit that the deletion did not see.
        """
        author = self._identity.author
        vector = {Author(other): clock for other, clock in seen.items()}
        vector[author] = loaded.index.next_clock(author) + 1
        own = map_key(KeyClass.TOMBSTONE, author)
        drops: list[Write] = [Drop(key) for key in over if key != own]
        data = write_tombstone(Tombstone(self.hlc, vector))
        self.write(loaded.key, [*drops, Put(own, data)], operation=OperationType.DELETE, fields=frozenset())

    def show(self) -> None:
        """Bring the tables up to date with what was written so far, so that the transaction finds its own writes.

        They are in the same store transaction, so a rollback takes them back.
        """
        rows: dict[str, list[Row]] = {}
        for key in self._unshown:
            declared = self._state.schema.by_key(key)
            if declared is not None:
                group, content = shown_content(self._state, declared, key)
                for alias in group[1:]:
                    self._hide(alias)
                if declared.is_live(content):
                    rows.setdefault(declared.spec.name, []).append(declared.row(group[0], content))
                else:
                    self._hide(group[0])
        for name, found in rows.items():
            self._state.store.put_rows(name, found)
        self._shown |= self._unshown
        self._unshown.clear()

    def _hide(self, key: DocumentKey) -> None:
        _, model, record = split_document_key(key)
        self._state.store.delete_rows(model, (record,))

    @property
    def documents(self) -> Iterable[DocumentKey]:
        """What was written to."""
        return self._pending.keys()

    @property
    def wrote(self) -> bool:
        """Whether anything was written, so that a rollback must take the state from the store again."""
        return bool(self._pending)

    def committed(self) -> None:
        """Note, after the commit, what need not be named again."""
        if self._pending:
            self._state.took_heads(self._partition or "")

    def end(self) -> None:
        """Let go of what the process shares, whether it was committed or not."""
        self._pending.clear()
        self._bulk.end()

    def commit(self) -> list[Change]:
        """Make the entry, journal it, derive what it changed; returns what observers are to be told afterwards."""
        with collector_paused(documents=len(self._pending)):
            return self._commit() if self._pending else []

    def _commit(self) -> list[Change]:
        state, author, partition = self._state, self._identity.author, self._partition or ""
        operations = tuple(
            EntryOperation(type=pending.type, document=key, update=merge_updates(pending.updates))
            for key, pending in self._pending.items()
        )
        entry = Entry(
            hlc=self.hlc,
            records=state.records_to_name(),
            heads=state.heads_to_name(partition, self._pending),
            operations=operations,
        )
        row = sign_entry(state, self._identity, partition=partition, entry=entry)
        position = state.ledger.append(row).position
        state.store.put_many(
            Table.TOUCH, [(touch_key(key, Touch(position, 0, at)), b"") for at, key in enumerate(self._pending)]
        )
        if self._journal is not None:
            self._journal.append(
                [
                    OperationRow(
                        type=operation.type,
                        document=operation.document,
                        author=author,
                        sequence=row.last,
                        index=at,
                        hlc=self.hlc,
                    )
                    for at, operation in enumerate(operations)
                ]
            )
        derivation = Derivation(state, origin="local", regrouped=self.regrouped)
        for key, pending in self._pending.items():
            derivation.touch(
                Touched(
                    key=key,
                    fields=frozenset(pending.fields),
                    text_only=pending.text_only,
                    settles_at=position if pending.settles else None,
                )
            )
        derivation.finish()
        for key in self._shown:
            if not self._has_row(key):
                self._hide(key)
        return derivation.changes

    def _has_row(self, key: DocumentKey) -> bool:
        """Whether a record that was found amid the transaction is shown after it, by itself."""
        declared = self._state.schema.by_key(key)
        if declared is not None and declared.spec.unique:
            return held_row(self._state.store, key).shown == SHOWN
        return declared is None or self._state.documents.get(key).live

    def _admit(self, key: DocumentKey) -> None:
        partition = split_document_key(key)[0]
        if self._partition is None:
            self._partition = partition
        elif partition != self._partition:
            raise TransactionError(
                "a transaction touches one partition", hint="Use one transaction for each partition."
            )
        if key not in self._pending and len(self._pending) >= ENTRY_LIMITS.documents_max:
            raise TransactionError(f"a transaction touches at most {ENTRY_LIMITS.documents_max} records")

    def _telling_what_was_seen(self, loaded: Loaded, writes: list[Write]) -> list[Write]:
        """Have whatever takes deletions back say what it saw, where a model asks: it settles a conflict, perhaps."""
        declared = self._state.schema.by_key(loaded.key)
        asks = declared is not None and declared.spec.on_edit_after_delete == "ask"
        if not asks or any(isinstance(item, Put) and _is_of(item, KeyClass.TOMBSTONE) for item in writes):
            return writes
        seen = write_context({Author(author): clock for author, clock in loaded.index.state_vector.items()})
        return [*writes, Put(map_key(KeyClass.TOUCH, self._identity.author), seen)]

    def _moving(self, writes: list[Write]) -> list[Write]:
        for item in writes:
            if not isinstance(item, (Drop, Cut, Mark)):  # an attribute may end by deletions alone
                return writes
        return [*writes, Put(map_key(KeyClass.TOUCH, self._identity.author), b"")]


def sign_entry(state: State, identity: Identity, *, partition: str, entry: Entry) -> LogRow:
    """The log row of a new entry of ours, signed (docs/adr/0005-sign-at-commit.md)."""
    data = encode_entry(entry)
    author: Author = identity.author
    previous = state.ledger.end_of(partition, author)
    head, sequence = next_hash(previous.hash, data), previous.sequence + 1
    return LogRow(
        partition=partition,
        author=author,
        first=sequence,
        last=sequence,
        head=head,
        clock=state.clock.last,
        own=True,
        body=pack_entries((data,)),
        signature=identity.key.sign(run_statement(state.space, sequence, head)),
    )


def _is_cell(write: Write) -> bool:
    """Whether a write changes more than a text: a touch key does not."""
    if isinstance(write, Put):
        return not _is_of(write, KeyClass.TOUCH)
    return isinstance(write, Drop)


def _is_of(write: Put | Drop, key_class: KeyClass) -> bool:
    return write.key.startswith(key_class.value)
