"""When somebody else wrote under our author: a new lease, and our own unsent entries re-encoded under it.

It happens when a backup is restored or a machine is cloned together with its fences. Whoever notices at a handshake
that a peer holds another branch keeps the peer's, and brings what it wrote itself, and sent to nobody, under a new
author: ids in blocks, origins, deletions and keys are rewritten (`core.rewrite`), so that text keeps its place.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from crdt_sync.core import codec
from crdt_sync.core.content import Content, parse_content, read_context, read_register, write_context, write_register
from crdt_sync.core.entry import Entry, EntryOperation, Run, decode_entry, next_hash, split_entries
from crdt_sync.core.ids import Author, DocumentKey
from crdt_sync.core.layout import KeyClass, MapKey
from crdt_sync.core.rewrite import rewrite_author
from crdt_sync.core.screening import screen
from crdt_sync.errors import ForkError
from crdt_sync.replica.derive import Derivation, fields_of
from crdt_sync.replica.journal import Journal
from crdt_sync.replica.lease import Identity
from crdt_sync.replica.opening import bind_author
from crdt_sync.replica.rows import LogRow, Touch, key_number, number_key, touch_key, unpack_log_row
from crdt_sync.replica.state import Change, State, Touched
from crdt_sync.replica.transaction import sign_entry
from crdt_sync.storage.base import Table

log = logging.getLogger("crdt_sync.replica")


def lease_new_author(state: State, identity: Identity) -> None:
    """Write under a new author and epoch from here on, in a store transaction of its own."""
    with state.store.transaction():
        fresh = state.lease.rotate(identity)
        bind_author(state, fresh)
    state.identity = fresh
    state.documents.author = fresh.author
    state.documents.clear()
    state.name_everything()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rename:
    """How one document's ids change: ``old`` from clock ``start`` on becomes ``new`` from clock ``shift`` on."""

    old: Author
    new: Author
    start: int
    shift: int
    content: Content

    def value(self, key: MapKey, value: bytes) -> bytes:
        """What a rewritten key holds: contexts and vectors name the new author, counters leave the old total out."""
        match key.key_class:
            case KeyClass.COUNTER:
                return codec.encode(codec.decode(value) - self.content.counters.get(key.field, {}).get(self.old, 0))
            case KeyClass.PLAIN | KeyClass.CAUSAL:
                hlc, context, data = read_register(value)
                return write_register(hlc, self._context(key.register, context), data)
            case KeyClass.TOMBSTONE:
                vector = read_context(value, 0)[0]
                clock = vector.get(self.old, 0)
                if clock > self.start:
                    vector[self.new] = clock - self.start + self.shift
                    vector[self.old] = self.start
                return write_context({author: seen for author, seen in vector.items() if seen})
            case _:
                return value

    def _context(self, register: str, context: dict[Author, int]) -> dict[Author, int]:
        seen = context.get(self.old)
        if seen is None:
            return context
        shared = self._shared_counter(register)
        if seen > shared:
            context[self.new] = seen
            if shared >= 0:
                context[self.old] = shared
            else:
                del context[self.old]
        return context

    def _shared_counter(self, register: str) -> int:
        """The old author's last write of a register that both branches have; -1 where there is none."""
        items = self.content.causal.get(register, [])
        own = [item.dot.counter for item in items if item.dot.author == self.old]
        seen = [item.context.get(self.old, -1) for item in items]
        created = [0 for item in self.content.creations if item.author == self.old]
        return max([-1, *own, *seen, *created])


def settle_fork(state: State, journal: Journal, run: Run, *, sent: Callable[[Author], int]) -> list[Change]:
    """Give up our branch behind the point where ``run`` parts from it; write its entries again under our author now.

    What we wrote after it under later authors saw the branch, so it is written again too, in the same order.

    Args:
        state: the replica; its author is not ``run.author`` any more.
        journal: its operations, which follow their entries.
        run: what a peer holds of the same author.
        sent: the last entry under an author of ours that anybody has acknowledged.

    Raises:
        ForkError: the branches part before what was sent, or other entries of ours rest on the branch.
    """
    shared = _shared_sequence(state, run)
    rows = _given_up(state, run, shared=shared)
    identity = state.identity
    if identity is None or any(not row.own or row.first <= sent(row.author) for _, row in rows):
        raise ForkError("two branches of one author were both sent to others")
    log.warning("%d entries of author %d are written again under author %d", len(rows), run.author, identity.author)
    entries = [decode_entry(split_entries(row.body)[0]) for _, row in rows]
    keys = _documents(zip(entries, (row.author for _, row in rows), strict=True))
    with state.store.transaction():
        for position, row in rows:
            _remove(state, position, row)
        state.reload()
        for key in keys:
            state.store.delete(Table.DOCUMENT, key)
            state.documents.rebuild(key)
        renames: dict[DocumentKey, _Rename] = {}
        moved: dict[tuple[Author, int], tuple[Author, int]] = {}
        touched: dict[DocumentKey, Touched] = {}
        for entry, (_, row) in zip(entries, rows, strict=True):
            moved[row.author, row.last] = _write_again(state, identity, row, entry, renames=renames, touched=touched)
        journal.move(moved)
        derivation = Derivation(state, origin="local")
        for key in keys:
            derivation.derive(key, fields=touched[key].fields, fold=True)
        derivation.finish()
    state.documents.shrink()
    return derivation.changes


def _shared_sequence(state: State, run: Run) -> int:
    """The last sequence up to which the run and our branch are alike."""
    shared = run.first_sequence - 1
    chain = state.ledger.hash_at(run.partition, run.author, shared)
    for entry in split_entries(run.body):
        if chain is None:
            break
        chain = next_hash(chain, entry)
        if state.ledger.hash_at(run.partition, run.author, shared + 1) != chain:
            break
        shared += 1
    return shared


def _given_up(state: State, run: Run, *, shared: int) -> list[tuple[int, LogRow]]:
    """Our rows behind the fork, and what we wrote after them under any author, in the order of the log."""
    first = state.ledger.position_after(run.partition, run.author, shared)
    if first is None:
        return []
    own = state.lease.own_authors()
    rows = (
        (key_number(key), unpack_log_row(data)) for key, data in state.store.scan(Table.LOG, start=number_key(first))
    )
    return [
        (position, row)
        for position, row in rows
        if row.partition == run.partition and (row.author == run.author or (row.own and row.author in own))
    ]


def _documents(entries: Iterable[tuple[Entry, Author]]) -> set[DocumentKey]:
    """The documents that entries touch.

    Raises:
        ForkError: one was touched under two authors, so that ids of both would have to change: not built yet.
    """
    authors: dict[DocumentKey, Author] = {}
    for entry, author in entries:
        for operation in entry.operations:
            if authors.setdefault(operation.document, author) != author:
                raise ForkError("later entries of ours rest on a branch that is given up")
    return set(authors)


def _remove(state: State, position: int, row: LogRow) -> None:
    entry = decode_entry(split_entries(row.body)[0])
    keys = [touch_key(item.document, Touch(position, 0, at)) for at, item in enumerate(entry.operations)]
    state.store.delete_many(Table.TOUCH, keys)
    state.ledger.remove(position, row)


def _write_again(
    state: State,
    identity: Identity,
    row: LogRow,
    entry: Entry,
    *,
    renames: dict[DocumentKey, _Rename],
    touched: dict[DocumentKey, Touched],
) -> tuple[Author, int]:
    operations: list[EntryOperation] = []
    for operation in entry.operations:
        loaded = state.documents.get(operation.document)
        rename = renames.get(operation.document)
        if rename is None:
            rename = renames[operation.document] = _rename(state, operation.document, row.author, identity.author)
        update = rewrite_author(
            operation.update,
            old=row.author,
            new=identity.author,
            from_clock=rename.start,
            shift=rename.shift,
            index=loaded.index,
            rewrite_value=rename.value,
        )
        verdict = screen(update, author=identity.author, index=loaded.index, operation=operation.type)
        loaded.add(update, verdict)
        fields, _ = fields_of(verdict, state.schema.by_key(operation.document))
        before = touched.get(operation.document)
        fields = fields if before is None else fields | before.fields
        touched[operation.document] = Touched(key=operation.document, fields=fields, text_only=False)
        operations.append(replace(operation, update=update))
    again = Entry(
        hlc=entry.hlc,
        records=state.records_to_name(),
        heads=state.heads_to_name(row.partition),
        operations=tuple(operations),
    )
    written = sign_entry(state, identity, partition=row.partition, entry=again)
    position = state.ledger.append(written).position
    items = [(touch_key(item.document, Touch(position, 0, at)), b"") for at, item in enumerate(operations)]
    state.store.put_many(Table.TOUCH, items)
    state.took_heads(row.partition)
    return identity.author, written.last


def _rename(state: State, key: DocumentKey, old: Author, new: Author) -> _Rename:
    loaded = state.documents.get(key)
    content = loaded.content(()) if loaded.known else parse_content({}, {}, {})
    return _Rename(
        old=old, new=new, start=loaded.index.next_clock(old), shift=loaded.index.next_clock(new), content=content
    )
