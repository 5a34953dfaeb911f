"""When somebody else wrote under our author: a new lease, and our own unsent entries re-encoded under it.

It happens when a backup is restored or a machine is cloned together with its fences, and when two devices drew one
author. Whoever notices keeps what the others hold, and brings what it wrote itself, and sent to nobody, under a new
author: ids in blocks, origins, deletions and keys are rewritten (`core.rewrite`), so that text keeps its place.

A peer that says that our author was used elsewhere is believed at once, since a new author costs little and writing on
under a forked one costs much; but only so often without a proof, which is a run with our own signature (`CLAIMS_MAX`).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final

import msgpack

from crdt_sync.core.blocks import UnitId
from crdt_sync.core.content import Content
from crdt_sync.core.entry import Entry, EntryOperation, Head, Run, decode_entry, next_hash, run_statement, split_entries
from crdt_sync.core.ids import Author, DocumentKey
from crdt_sync.core.index import DocumentIndex
from crdt_sync.core.logs import told
from crdt_sync.core.rewrite import Rewriting
from crdt_sync.core.screening import screen
from crdt_sync.errors import ForkError
from crdt_sync.replica.derive import Derivation, fields_of
from crdt_sync.replica.holdings import HoldingsBook
from crdt_sync.replica.journal import Journal
from crdt_sync.replica.lease import Identity
from crdt_sync.replica.ledger import CONTENT_AUTHOR
from crdt_sync.replica.opening import bind_author
from crdt_sync.replica.packing import unpack_shaped
from crdt_sync.replica.rows import LogRow, Touch, key_number, number_key, touch_key, unpack_log_row
from crdt_sync.replica.state import Change, State
from crdt_sync.replica.transaction import sign_entry
from crdt_sync.replica.undo_stack import rename_aliases
from crdt_sync.security.identity import verify
from crdt_sync.storage.base import Table

log = logging.getLogger("crdt_sync.replica")

Sent = Callable[[Author], int]
"""The last entry under an author of ours that anybody has acknowledged, or may hold without that (`handed_out`)."""


CLAIMS_MAX: Final = 8
"""New authors that are drawn in a day because of what peers say, and have not proven."""

CLAIMS: Final = b"claims"
"""Key in the meta table: the day, and how many were drawn in it."""
_DAY_MS: Final = 86_400_000


def lease_new_author(state: State, identity: Identity) -> None:
    """Write under a new author and epoch from here on, in a store transaction of its own."""
    try:
        with state.store.transaction():
            fresh = state.lease.rotate(identity)
            bind_author(state, fresh)
            HoldingsBook(state).say_anew()
    except BaseException:
        state.reload()  # or the next entry would name a record that is in no store
        raise
    state.identity = fresh
    state.documents.author = fresh.author
    state.documents.clear()
    state.name_everything()


def believe_claim(state: State, identity: Identity) -> None:
    """Draw a new author on a peer's word; not more than `CLAIMS_MAX` times a day, or until a claim was proven."""
    if not may_draw(state, CLAIMS):
        told(log, logging.WARNING, "peers named our author too often without a proof: we keep it until there is one")
        return
    lease_new_author(state, identity)


def may_draw(state: State, name: bytes) -> bool:
    """Count one more author that is drawn for what peers say or do; False where that was `CLAIMS_MAX` times today.

    Args:
        state: the replica.
        name: key in the meta table, for the kind of what they say.
    """
    today = state.now_ms() // _DAY_MS
    noted = state.store.get(Table.META, name)
    day, count = (today, 0) if noted is None else read_claims(noted)
    count = count if day == today else 0
    if count >= CLAIMS_MAX:
        return False
    with state.store.transaction():
        state.store.put(Table.META, name, msgpack.packb((today, count + 1)))
    return True


def read_claims(data: bytes) -> tuple[int, int]:
    """A day, and how many claims were believed in it.

    Raises:
        CorruptStoreError: the stored row is no such thing.
    """
    day, count = unpack_shaped(data, (int, int), table=Table.META, key=CLAIMS)
    return day, count


def note_proof(state: State) -> None:
    """A run came that we signed, and that is not in our log: what peers said of our authors was true."""
    if state.store.get(Table.META, CLAIMS) is not None:
        with state.store.transaction():
            state.store.delete(Table.META, CLAIMS)


def settle_fork(state: State, journal: Journal, run: Run, *, sent: Sent) -> list[Change]:
    """Give up our branch behind the point where ``run`` parts from it; write its entries again under a new author.

    What we wrote after it under later authors saw the branch, so it is written again too, in the same order.

    Args:
        state: the replica.
        journal: its operations, which follow their entries.
        run: what a peer holds of the same author.
        sent: tells the last entry under an author of ours that anybody may hold.

    Raises:
        ForkError: the branches part before what was sent, or others have built on ours.
        EntryError: what we wrote cannot be written again; nothing was changed.
    """
    return _write_again(state, journal, run.partition, run.author, after=shared_sequence(state, run), sent=sent)


def leave_branch(state: State, journal: Journal, partition: str, author: Author, *, sent: Sent) -> list[Change]:
    """Write again what nobody can hold under an author of ours, another branch of which a peer has folded.

    Raises:
        ForkError, EntryError: as `settle_fork`.
    """
    changes = _write_again(state, journal, partition, author, after=sent(author), sent=sent)
    state.doubted.pop((partition, author), None)
    return changes


def leave_lost_authors(state: State, journal: Journal, *, sent: Sent) -> list[Change]:
    """Write again what nobody can hold under authors of ours that are bound to another device by now.

    Of two bindings of one author the smaller record hash holds, so nobody accepts from us under the other one any more.
    What was acknowledged before stays with those who hold it.

    Raises:
        ForkError, EntryError: as `settle_fork`.
    """
    identity, changes = state.identity, list[Change]()
    if identity is None:
        return changes
    for author in state.lease.own_authors():
        if state.records.bound_key(author) in (None, identity.key.public_key):
            continue
        if state.identity is not None and state.identity.author == author:
            lease_new_author(state, state.identity)
        for partition, ends in list(state.ledger.heads.items()):
            after = sent(author)
            if author in ends and ends[author].sequence > after and not _is_accepted(state, partition, author):
                changes += _write_again(state, journal, partition, author, after=after, sent=sent)
    return changes


def _is_accepted(state: State, partition: str, author: Author) -> bool:
    """Whether the signature of an author's last entry holds under its binding."""
    end = state.ledger.end_of(partition, author)
    row = next((row for _, row in state.ledger.rows_of(partition, author, after=end.sequence - 1)), None)
    if row is None:
        return True  # it was folded, so every device held it
    statement = run_statement(state.space, row.last, row.head)
    return verify(state.records.bound_key(author) or b"", statement=statement, signature=row.signature)


def _write_again(
    state: State, journal: Journal, partition: str, author: Author, *, after: int, sent: Sent
) -> list[Change]:
    """Withdraw what we wrote under an author behind a sequence, and all that followed; write it under a new one."""
    rows = given_up(state, partition, author, after=after, sent=sent)
    identity = unused_identity(state) if rows else None
    if identity is None:
        return []
    told(
        log,
        logging.WARNING,
        "entries are written again under another author",
        entries=len(rows),
        author=author,
        behind=after,
        again=identity.author,
    )
    return write_again(state, journal, rows, again=rows, identity=identity)


Row = tuple[int, LogRow]
"""A row of ours with its position in the log."""


def write_again(
    state: State,
    journal: Journal,
    rows: Sequence[Row],
    *,
    again: Sequence[Row],
    identity: Identity,
    taken_out: Callable[[], None] = lambda: None,
) -> list[Change]:
    """Take rows of ours out of the log, and write them again under an author that has written nothing.

    Args:
        state: the replica.
        journal: its operations, which follow their entries.
        rows: what nobody has, one entry each, in the order of the log.
        again: the same, in the order in which to write them.
        identity: who writes.
        taken_out: called when they are out of the log, in the store transaction.

    Raises:
        EntryError: one cannot be written again; nothing was changed.
    """
    entries = {position: decode_entry(split_entries(row.body)[0]) for position, row in rows}
    keys = dict.fromkeys(operation.document for entry in entries.values() for operation in entry.operations)
    seen = {key: state.documents.get(key).index for key in keys}
    with state.store.transaction():
        for position, row in rows:
            take_out(state, position, row, entries[position])
        taken_out()
        state.reload()
        for key in keys:
            state.store.delete(Table.DOCUMENT, key)
            state.documents.rebuild(key)
        writer = Writer(state, identity, seen=seen)
        journal.move({(row.author, row.last): writer.write(row, entries[position]) for position, row in again})
        rename_aliases(state.store, writer.renamed)
        derivation = Derivation(state, origin="local")
        for key, fields in writer.fields.items():
            derivation.derive(key, fields=fields, fold=True)
            derivation.look_back(key, since=rows[0][0])
        derivation.finish()
    state.documents.shrink()
    return derivation.changes


def shared_sequence(state: State, run: Run) -> int:
    """The last sequence up to which the run and our branch are alike."""
    before = run.first_sequence - 1
    shared = max(before, state.ledger.floor_of(run.partition, run.author).sequence)  # what was folded, everybody held
    chain = state.ledger.hash_at(run.partition, run.author, shared)
    for entry in split_entries(run.body)[shared - before :]:
        if chain is None:
            break
        chain = next_hash(chain, entry)
        if state.ledger.hash_at(run.partition, run.author, shared + 1) != chain:
            break
        shared += 1
    return shared


def given_up(state: State, partition: str, author: Author, *, after: int, sent: Sent) -> list[tuple[int, LogRow]]:
    """Our rows behind a sequence of an author, and what we wrote after them, in the order of the log.

    Raises:
        ForkError: somebody else holds one of them.
    """
    first = state.ledger.position_after(partition, author, after)
    if first is None:
        return []
    own = state.lease.own_authors()
    rows: list[tuple[int, LogRow]] = []
    withdrawn: dict[Author, int] = {}
    for key, data in state.store.scan(Table.LOG, start=number_key(first)):
        row = unpack_log_row(data)
        if row.partition != partition or row.author == CONTENT_AUTHOR:
            continue
        follows = row.author == author or row.first >= withdrawn.get(row.author, row.first + 1)
        if not follows and all(head.sequence < withdrawn.get(head.author, head.sequence + 1) for head in _heads(row)):
            continue  # it was written beside it (`stepping`), or elsewhere
        if not follows and not (row.own and row.author in own):
            raise ForkError("others have written on the branch of ours that is to be given up")
        if not row.own or row.first <= sent(row.author):
            raise ForkError("two branches of one author were both sent to others")
        rows.append((key_number(key), row))
        withdrawn.setdefault(row.author, row.first)
    return rows


def _heads(row: LogRow) -> Iterator[Head]:
    for entry in row.applied():
        yield from decode_entry(entry).heads


def unused_identity(state: State) -> Identity | None:
    """Who we are, under an author that has written nothing: it may have been drawn before its first entry saw this."""
    identity = state.identity
    if identity is not None and any(identity.author in ends for ends in state.ledger.heads.values()):
        lease_new_author(state, identity)
    return state.identity


def take_out(state: State, position: int, row: LogRow, entry: Entry) -> None:
    """Take a row of ours, which is one entry, out of the log, in the caller's store transaction; then `reload`."""
    keys = [touch_key(item.document, Touch(position, 0, at)) for at, item in enumerate(entry.operations)]
    state.store.delete_many(Table.TOUCH, keys)
    state.ledger.remove(position, row)


class Writer:
    """Writes withdrawn entries again, in their order.

    Args:
        state: the replica, without them.
        identity: who writes.
        seen: the indexes of the documents that they touch, as they were.
    """

    def __init__(self, state: State, identity: Identity, *, seen: Mapping[DocumentKey, DocumentIndex]) -> None:
        self._state = state
        self._identity = identity
        self._seen = seen
        self._rewritings: dict[DocumentKey, Rewriting] = {}
        self.fields: dict[DocumentKey, frozenset[str]] = {}
        """documents → the fields that were written"""

    def write(self, row: LogRow, entry: Entry) -> tuple[Author, int]:
        """Append an entry anew; returns its author and sequence."""
        state = self._state
        again = Entry(
            hlc=entry.hlc,
            records=state.records_to_name(),
            heads=state.heads_to_name(row.partition, [operation.document for operation in entry.operations]),
            operations=tuple([self._operation(operation) for operation in entry.operations]),
        )
        written = sign_entry(state, self._identity, partition=row.partition, entry=again)
        position = state.ledger.append(written).position
        items = [(touch_key(item.document, Touch(position, 0, at)), b"") for at, item in enumerate(again.operations)]
        state.store.put_many(Table.TOUCH, items)
        state.took_heads(row.partition)
        return written.author, written.last

    def renamed(self, key: DocumentKey, unit: UnitId) -> UnitId:
        """What a unit of a document is called now."""
        rewriting = self._rewritings.get(key)
        return unit if rewriting is None else rewriting.renamed(unit)

    def _operation(self, operation: EntryOperation) -> EntryOperation:
        key, author = operation.document, self._identity.author
        loaded = self._state.documents.get(key)
        rewriting = self._rewritings.get(key)
        if rewriting is None:
            content = loaded.content(()) if loaded.known else Content()
            rewriting = self._rewritings[key] = Rewriting(author, seen=self._seen[key], content=content)
        update = rewriting.rewrite(operation.update, index=loaded.index)
        screened = screen(update, author=author, index=loaded.index, operation=operation.type)
        loaded.add(update, screened)
        fields, _ = fields_of(screened, self._state.schema.by_key(key))
        self.fields[key] = fields | self.fields.get(key, frozenset())
        return replace(operation, update=update)
