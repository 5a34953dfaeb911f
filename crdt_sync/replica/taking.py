"""Taking over what a peer vouched for, in bounded transactions: a partition of any size, and a crash at any moment.

It was judged as a whole before it begins (`judge`); from then on it is only carried out, step by step, and a mark in
the store says how far it has come. A replica that was killed in between goes on at its next open, before anybody reads
or syncs. The steps:

1. Documents that the peer has no base of become bases of what they hold up to the floor; those that a horizon may have
   removed there are listed.
2. The peer's bases take their places, and the documents are derived anew.
3. What the bases hold leaves the log, and the floor rises.
4. The listed documents are removed. Those that entries beyond the floor touch stay, and say so (`late`).
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Final

from crdt_sync.core.ids import Author, DocumentKey
from crdt_sync.core.index import DocumentIndex
from crdt_sync.core.logs import told
from crdt_sync.core.screening import screen_content
from crdt_sync.errors import CorruptStoreError, MalformedEntryError
from crdt_sync.protocol.snapshots import is_below
from crdt_sync.protocol.source import Position
from crdt_sync.replica.bases import touched_by_base
from crdt_sync.replica.compaction import base_of, joined_span, replay, span_of
from crdt_sync.replica.derive import Derivation
from crdt_sync.replica.documents import Loaded
from crdt_sync.replica.horizons import Horizons
from crdt_sync.replica.journal import Journal
from crdt_sync.replica.late import DeletedAgain
from crdt_sync.replica.ledger import CONTENT_AUTHOR, shortened
from crdt_sync.replica.packing import Shape, pack_values, unpack_shaped
from crdt_sync.replica.rows import (
    Base,
    LogRow,
    Touch,
    after_prefix,
    number_key,
    split_touch_key,
    touch_key,
    unpack_base,
    unpack_document_row,
)
from crdt_sync.replica.staging import floor_of, prefix_of, staged
from crdt_sync.replica.state import Change, State
from crdt_sync.storage.base import Store, Table

log = logging.getLogger("crdt_sync.replica")

TAKING: Final = b"taking "
"""How keys of the meta table begin that say how far taking a partition over has come."""
VOUCHED: Final = b"vouched "
"""How keys of the meta table begin that keep who vouched for the content of a partition: key, root, signature."""
VOUCHED_BYTES: Final = 32 + 32 + 64
LOG_POSITION_MAX: Final = 2**63 - 1
BATCH_DOCUMENTS = 256
"""Documents in one transaction ..."""
BATCH_BYTES = 4 * 1024 * 1024
"""... unless their bases are larger than that together."""
BATCH_ROWS = 256
"""Rows of the log in one transaction."""
KEEPING, PUTTING, LOWERING, REMOVING = range(4)
"""The steps."""
_MARK: Final[Shape] = (int, bool, [(int, int, bytes)], bytes)
_REMOVED = b""
"""What is staged of a document that is to be removed; a base is never empty."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """What is being taken over, and how far that has come.

    Args:
        step: the step that is under way.
        contains: whether the peer's floor covers the one from before.
        floor: the peer's.
        vouched: who vouched for it: public key, root, signature.
    """

    step: int
    contains: bool
    floor: Mapping[Author, Position]
    vouched: bytes

    def pack(self) -> bytes:
        """As it is stored."""
        floor = [(author, position.sequence, position.hash) for author, position in self.floor.items()]
        return pack_values(self.step, self.contains, floor, self.vouched)


def read_mark(data: bytes) -> Mark:
    """A stored mark; raises `CorruptStoreError` where it is none."""
    step, contains, floor, vouched = unpack_shaped(data, _MARK, table=Table.META, key=TAKING)
    positions = {Author(author): Position(sequence=sequence, hash=digest) for author, sequence, digest in floor}
    return Mark(step=step, contains=contains, floor=positions, vouched=vouched)


def judge(state: State, partition: str, *, floor: Mapping[Author, Position], vouched: bytes) -> bytes:
    """Judge what is staged; returns what is to stand in the store from then on, under `TAKING` and the partition.

    Raises:
        EntryError: content that no document of ours can hold; nothing was changed.
    """
    mark = Mark(step=KEEPING, contains=not is_below(floor, floor_of(state, partition)), floor=floor, vouched=vouched)
    steps = _Steps(state, partition, mark)
    for number, (key, data) in enumerate(staged(state, partition)):
        steps.check(key, data)
        if number % BATCH_DOCUMENTS == 0:
            state.documents.shrink()
    return mark.pack()


def begun(state: State) -> list[str]:
    """The partitions whose taking over was begun and not brought to its end."""
    rows = state.store.scan(Table.META, start=TAKING, end=after_prefix(TAKING))
    return [key[len(TAKING) :].decode() for key, _ in rows]


def floors_being_taken(store: Store) -> dict[tuple[str, Author], int]:
    """Partition and author → the last entry that the bases may hold already while its row is still in the log."""
    rows = store.scan(Table.META, start=TAKING, end=after_prefix(TAKING))
    return {
        (key[len(TAKING) :].decode(), author): position.sequence
        for key, data in rows
        for author, position in read_mark(data).floor.items()
    }


def go_on(state: State, horizons: Horizons, journal: Journal, partition: str) -> list[Change]:
    """Bring what was begun to its end; returns what observers are to be told."""
    name = TAKING + partition.encode()
    data = state.store.get(Table.META, name)
    changes: list[Change] = []
    while data is not None:
        mark = read_mark(data)
        steps = _Steps(state, partition, mark)
        match mark.step:
            case 0:
                steps.keep(horizons)
            case 1:
                changes += steps.put()
            case 2:
                steps.lower()
                state.name_everything()
            case _:
                changes += steps.remove(horizons, journal)
        with _transaction(state):
            if mark.step == REMOVING:
                state.store.delete(Table.META, name)
                state.store.put(Table.META, VOUCHED + partition.encode(), mark.vouched)
            else:
                after = Mark(step=mark.step + 1, contains=mark.contains, floor=mark.floor, vouched=mark.vouched)
                state.store.put(Table.META, name, after.pack())
        data = state.store.get(Table.META, name)
    return changes


class _Steps:
    """The steps, each of which finds out by itself what is left of it.

    Args:
        state: the replica.
        partition: which one is taken over.
        mark: what there is to do.
    """

    def __init__(self, state: State, partition: str, mark: Mark) -> None:
        self._state = state
        self._partition = partition
        self._mark = mark

    def check(self, key: DocumentKey, data: bytes) -> None:
        """Judge one staged base, and what is held here beyond the floor on top of it."""
        base = self._merged(key, data)
        beyond = [touch for touch in _touches(self._state, key) if not self._is_inside(touch)]
        if beyond:
            index = DocumentIndex.from_update(base.state)
            loaded = Loaded(key, author=self._state.documents.author, snapshot=base.state, index=index)
            for touch in beyond:
                replay(self._state, loaded, touch)

    def keep(self, horizons: Horizons) -> None:
        """Step 1."""
        store = self._state.store
        for batch in self._batches(Table.VERSION):
            with _transaction(self._state):
                kept = [key for key, _ in batch if store.get(Table.STAGED, key) is None and self._keep(key, horizons)]
                self._derive(kept)

    def put(self) -> list[Change]:
        """Step 2."""
        state, changes = self._state, list[Change]()
        for batch in self._batches(Table.STAGED):
            bases = [(key, data) for key, data in batch if data != _REMOVED]
            with _transaction(state):
                for key, data in bases:
                    state.store.put(Table.BASE, key, self._merged(key, data).pack())
                    self._forget_inside(key)
                changes += self._derive([key for key, _ in bases])
                state.store.delete_many(Table.STAGED, [key for key, _ in bases])
        return changes

    def lower(self) -> None:
        """Step 3."""
        ledger = self._state.ledger
        for author, position in self._mark.floor.items():
            while ledger.floor_of(self._partition, author).sequence < position.sequence:
                with _transaction(self._state):
                    self._lower_some(author, position)

    def remove(self, horizons: Horizons, journal: Journal) -> list[Change]:
        """Step 4."""
        state, changes = self._state, list[Change]()
        for batch in self._batches(Table.STAGED):
            deleted = DeletedAgain(state, journal)
            with _transaction(state):
                for key, _ in batch:
                    is_late = next(_touches(state, key), None) is not None
                    changes += deleted.take(key) if is_late else horizons.give_up(key)
                changes += deleted.finish()
                state.store.delete_many(Table.STAGED, [key for key, _ in batch])
            deleted.committed()
        return changes

    # ── documents ────────────────────────────────────────────────────────────────────────────────────────────────────

    def _keep(self, key: DocumentKey, horizons: Horizons) -> bool:
        """A document that the peer has no base of: unknown there, or removed by a horizon; whether it was changed."""
        state = self._state
        inside = [touch for touch in _touches(state, key) if self._is_inside(touch)]
        if not inside and state.store.get(Table.BASE, key) is None:
            return False  # it was made here, after the floor
        loaded = state.documents.base(key)
        touched = touched_by_base(state.store, key)
        for touch in inside:
            author, sequence = replay(state, loaded, touch)
            touched[author] = sequence
        floor = self._mark.floor
        known_there = all(
            author in floor and sequence <= floor[author].sequence for author, sequence in touched.items()
        )
        if known_there and horizons.may_be_gone(key, touched):
            state.store.put(Table.STAGED, key, _REMOVED)
        elif known_there:
            told(log, logging.WARNING, "a peer's snapshot lacks a document that is held here; it is kept")
        state.store.put(Table.BASE, key, base_of(loaded, touched, span=span_of(state, key, inside)).pack())
        self._forget_inside(key)
        return True

    def _merged(self, key: DocumentKey, data: bytes) -> Base:
        """The base that a document gets in place of a staged one."""
        state = self._state
        theirs = self._read(data)
        screen_content(theirs.state, index=DocumentIndex())
        ours = state.store.get(Table.BASE, key)
        own = None if ours is None else unpack_base(ours)
        if own is None or (self._mark.contains and CONTENT_AUTHOR not in own.touched):
            return theirs  # but content is in nobody's chain, so a floor does not tell whether they have it
        loaded = state.documents.base(key)
        loaded.add_content(theirs.state)
        before, span = own.touched, joined_span([(theirs.since, theirs.until), (own.since, own.until)])
        authors = theirs.touched.keys() | before.keys()
        touched = {author: max(theirs.touched.get(author, 0), before.get(author, 0)) for author in authors}
        return Base(touched, loaded.encode(), span[1], span[0])

    def _read(self, data: bytes) -> Base:
        """A peer's base, which may hold entries up to the floor only."""
        try:
            base = unpack_base(data)
        except CorruptStoreError:
            raise MalformedEntryError("a snapshot of something else than bases") from None
        for author, sequence in base.touched.items():
            held = self._mark.floor.get(author)
            most = LOG_POSITION_MAX if author == CONTENT_AUTHOR else 0 if held is None else held.sequence
            if not 1 <= sequence <= most:
                raise MalformedEntryError("a base with entries beyond the floor")
        if base.pack() != data:
            raise MalformedEntryError("a base that is packed in another way")
        return base

    def _forget_inside(self, key: DocumentKey) -> None:
        inside = [touch_key(key, touch) for touch in _touches(self._state, key) if self._is_inside(touch)]
        self._state.store.delete_many(Table.TOUCH, inside)

    def _derive(self, keys: list[DocumentKey]) -> list[Change]:
        state = self._state
        derivation = Derivation(state, origin="remote")
        for key in keys:
            data, version = state.store.get(Table.DOCUMENT, key), state.store.get(Table.VERSION, key)
            state.store.delete(Table.DOCUMENT, key)
            loaded = state.documents.rebuild(key)
            if data is not None:
                row = unpack_document_row(data)
                loaded.live, loaded.conflicts = row.live, row.conflicts
            declared = state.schema.by_key(key)
            differs = loaded.version() != version
            fields = declared.all_fields if declared is not None and differs else frozenset()
            derivation.derive(key, fields=fields, fold=True)
            derivation.unmark(key)
        derivation.finish()
        for key in keys:
            _share_state(state, key)
        return derivation.changes

    # ── the log ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def _lower_some(self, author: Author, position: Position) -> None:
        """Take some of an author's entries up to the floor out of the log."""
        ledger = self._state.ledger
        after = ledger.floor_of(self._partition, author).sequence
        clock, gone = ledger.clock(), list[int]()
        reached = last = position
        for at, row in islice(ledger.rows_of(self._partition, author, after=after), BATCH_ROWS + 1):
            if row.first > position.sequence:
                break
            if len(gone) == BATCH_ROWS:
                reached = last
                break
            self._forget_touches(at, row, through=position.sequence)
            if row.last <= position.sequence:
                gone.append(at)
            last = Position(row.last, row.head)
        ledger.raise_floor(self._partition, author, reached)
        ledger.drop(gone, clock=clock)

    def _forget_touches(self, at: int, row: LogRow, *, through: int) -> None:
        """Take out the touches of a row's entries up to a sequence; of a longer row the rest stays, and moves up."""
        state, cut = self._state, through - row.first + 1
        gone: list[bytes] = []
        moved: list[bytes] = []
        for number in range(row.last - row.first + 1):
            for index, operation in enumerate(state.ledger.entry(at, number).operations):
                name = touch_key(operation.document, Touch(at, number, index))
                if number >= cut and state.store.get(Table.TOUCH, name) is not None:
                    moved.append(touch_key(operation.document, Touch(at, number - cut, index)))
                gone.append(name)
        state.store.delete_many(Table.TOUCH, gone)
        state.store.put_many(Table.TOUCH, [(name, b"") for name in moved])
        if row.last > through:
            state.store.put(Table.LOG, number_key(at), shortened(row, after=through).pack())

    # ── inside ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def _is_inside(self, touch: Touch) -> bool:
        row, _ = self._state.ledger.row(touch.position)
        held = self._mark.floor.get(row.author)
        return held is not None and row.first + touch.entry <= held.sequence

    def _batches(self, table: Table) -> Iterator[list[tuple[DocumentKey, bytes]]]:
        """The partition's rows of a table in batches, each read when the one before was dealt with."""
        prefix = prefix_of(self._partition)
        start = prefix
        while True:
            batch: list[tuple[DocumentKey, bytes]] = []
            size = 0
            for key, data in self._state.store.scan(table, start=start, end=after_prefix(prefix)):
                batch.append((DocumentKey(key), data))
                size += len(data)
                if len(batch) == BATCH_DOCUMENTS or size > BATCH_BYTES:
                    break
            if not batch:
                return
            start = batch[-1][0] + b"\0"
            yield batch
            self._state.documents.shrink()


def _share_state(state: State, key: DocumentKey) -> None:
    """A derived row that says nothing but what the base says refers to it."""
    base, data = state.store.get(Table.BASE, key), state.store.get(Table.DOCUMENT, key)
    if base is None or data is None:
        return
    row = unpack_document_row(data)
    if row.state == unpack_base(base).state:
        state.store.put(Table.DOCUMENT, key, row._replace(state=b"").pack())


def _touches(state: State, key: DocumentKey) -> Iterator[Touch]:
    for name, _ in state.store.scan(Table.TOUCH, start=key, end=after_prefix(key)):
        yield split_touch_key(name)


@contextmanager
def _transaction(state: State) -> Iterator[None]:
    try:
        with state.store.transaction():
            yield
    except BaseException:
        state.reload()
        raise
