"""A peer's bases in place of entries that it has folded: staged page by page, then taken over in one transaction.

Afterwards this replica is as if it had folded up to the peer's floor itself: its bases hold exactly the entries up to
there, and what it holds beyond stands in its log as before, its own unsent entries too.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from crdt_sync.core.entry import Run, pack_entries, split_entries
from crdt_sync.core.ids import Author, DocumentKey, split_document_key
from crdt_sync.core.index import DocumentIndex
from crdt_sync.core.screening import screen_content
from crdt_sync.errors import CorruptStoreError, ForkError, MalformedEntryError, SignatureError
from crdt_sync.protocol.snapshots import EMPTY_ROOT, content_root, is_below, snapshot_statement
from crdt_sync.protocol.source import Position, SnapshotPage, Voucher
from crdt_sync.replica.bases import touched_by_base
from crdt_sync.replica.compaction import base_of, replay, until_of
from crdt_sync.replica.derive import Derivation
from crdt_sync.replica.fork import Sent, leave_branch
from crdt_sync.replica.horizons import Horizons
from crdt_sync.replica.journal import Journal
from crdt_sync.replica.ledger import CONTENT_AUTHOR, ChainEnd
from crdt_sync.replica.rescue import Rescue
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
from crdt_sync.replica.state import Change, State
from crdt_sync.security.identity import verify
from crdt_sync.storage.base import Table

log = logging.getLogger("crdt_sync.replica")

VOUCHED = b"vouched "
"""How keys of the meta table begin that keep who vouched for the content of a partition: key, root, signature."""
LOG_POSITION_MAX = 2**63 - 1
_SHRINK_EVERY = 256


def snapshot_page(
    state: State, partition: str, *, after: DocumentKey | None, root: bytes, keys_max: int, bytes_max: int
) -> SnapshotPage:
    """Some bases of a partition; see `protocol.source.Source.snapshot`."""
    prefix = _prefix(partition)
    start = prefix if after is None else after + b"\0"
    found: list[tuple[DocumentKey, bytes]] = []
    size = 0
    for key, data in state.store.scan(Table.BASE, start=start, end=after_prefix(prefix)):
        if found and (len(found) == keys_max or size + len(data) > bytes_max):
            return SnapshotPage(tuple(found), None)
        found.append((DocumentKey(key), data))
        size += len(data)
    floor = floor_of(state, partition)
    statement = snapshot_statement(state.space, partition=partition, floor=floor, root=content_root(found, seed=root))
    identity = state.identity
    signature = b"" if identity is None else identity.key.sign(statement)
    return SnapshotPage(tuple(found), Voucher(floor, signature))


def floor_of(state: State, partition: str) -> dict[Author, Position]:
    """A partition's floor as sessions know it."""
    floors = state.ledger.floors.get(partition, {})
    return {author: Position(sequence=end.sequence, hash=end.hash) for author, end in floors.items()}


def stage(state: State, partition: str, documents: Sequence[tuple[DocumentKey, bytes]], *, is_first: bool) -> None:
    """Keep a page until the voucher comes, in a store transaction of its own.

    Raises:
        MalformedEntryError: a document of another partition.
    """
    if any(split_document_key(key)[0] != partition for key, _ in documents):
        raise MalformedEntryError("a document outside of the snapshot's partition")
    with state.store.transaction():
        if is_first:
            _clear(state, partition)
        state.store.put_many(Table.STAGED, documents)


def discard(state: State, partition: str) -> None:
    """Let go of what was staged, in a store transaction of its own."""
    with state.store.transaction():
        _clear(state, partition)


def take_over(
    state: State,
    horizons: Horizons,
    journal: Journal,
    partition: str,
    *,
    voucher: Voucher,
    public_key: bytes,
    sent: Sent,
) -> list[Change]:
    """Make what was staged the bases of this replica, in one store transaction; returns what observers are to be told.

    Args:
        state: the replica.
        horizons: tells which documents may be gone.
        journal: of what is written again because its record is gone.
        partition: of the snapshot.
        voucher: its end.
        public_key: the peer's.
        sent: tells the last entry under an author of ours that anybody has acknowledged.

    Raises:
        SignatureError: the peer did not sign this content.
        ForkError: the peer's floor is on another branch than what is held here.
        EntryError: content that no document of ours can hold. Nothing was changed in any of these cases.
    """
    root = EMPTY_ROOT
    for key, data in _staged(state, partition):
        root = content_root([(key, data)], seed=root)
    statement = snapshot_statement(state.space, partition=partition, floor=voucher.floor, root=root)
    if not verify(public_key, statement=statement, signature=voucher.signature):
        raise SignatureError("a snapshot whose signature does not hold")
    if any(state.records.bound_key(author) is None for author in voucher.floor):
        raise SignatureError("a snapshot of an author that no record binds")
    forks = [author for author, position in voucher.floor.items() if _parts(state, partition, author, position)]
    if not state.lease.own_authors().issuperset(forks):
        raise ForkError("a snapshot of another branch than the one held here")
    written: list[Change] = []
    for author in forks:
        written += leave_branch(state, journal, partition, author, sent=sent)
        if _parts(state, partition, author, voucher.floor[author]):
            raise ForkError("a snapshot of another branch of ours than others hold")
    _keep_doubtful(state, partition, voucher.floor, sent=sent)
    if not is_below(_ends(state, partition), voucher.floor):
        with state.store.transaction():
            _clear(state, partition)
        return written
    rescue = Rescue(state, journal)
    try:
        with state.store.transaction():
            changes = _TakeOver(state, horizons, rescue, partition, voucher.floor).run()
            vouched = public_key + root + voucher.signature
            state.store.put(Table.META, VOUCHED + partition.encode(), vouched)
            _clear(state, partition)
    except BaseException:
        state.reload()
        raise
    state.name_everything()
    rescue.committed()
    state.documents.shrink()
    return [*written, *changes]


def _parts(state: State, partition: str, author: Author, position: Position) -> bool:
    held = state.ledger.hash_at(partition, author, position.sequence)
    return held is not None and held != position.hash


def _keep_doubtful(state: State, partition: str, floor: Mapping[Author, Position], *, sent: Sent) -> None:
    """Keep as evidence what we wrote below a floor that nobody acknowledged, and that may be on another branch.

    Where the floor is beyond our last entry, nothing tells whether ours are among those that were folded: mostly they
    are, and this store is an old copy.
    """
    for author in state.lease.own_authors().intersection(floor):
        if floor[author].sequence <= state.ledger.end_of(partition, author).sequence:
            continue
        for _, row in list(state.ledger.rows_of(partition, author, after=sent(author))):
            run = Run(
                partition=partition, author=author, first_sequence=row.first, body=row.body, signature=row.signature
            )
            state.keep_evidence(run)


@dataclass(slots=True)
class _TakeOver:
    """The work of one transaction.

    Args:
        floor: the peer's.
    """

    state: State
    horizons: Horizons
    rescue: Rescue
    partition: str
    floor: Mapping[Author, Position]
    _versions: dict[DocumentKey, bytes] = field(default_factory=dict)
    _removed: set[DocumentKey] = field(default_factory=set)
    _gone: list[Change] = field(default_factory=list)

    def run(self) -> list[Change]:
        state, store = self.state, self.state.store
        prefix = _prefix(self.partition)
        own_floor = floor_of(state, self.partition)
        contains = not is_below(self.floor, own_floor)
        rows = store.scan(Table.VERSION, start=prefix, end=after_prefix(prefix))
        self._versions = {DocumentKey(key): version for key, version in rows}
        for key in self._versions:
            if store.get(Table.STAGED, key) is None:
                self._keep_or_remove(key)
        keys = set(self._versions) - self._removed
        for at, (key, data) in enumerate(_staged(state, self.partition)):
            self._take(key, data, contains=contains)
            keys.add(key)
            if at % _SHRINK_EVERY == 0:
                state.documents.shrink()
        self._lower_log()
        return [*self._derive(keys), *self._gone, *self.rescue.finish()]

    def _keep_or_remove(self, key: DocumentKey) -> None:
        """A document that the peer has no base of: unknown there, or removed by a horizon."""
        state = self.state
        inside = [touch for touch in _touches(state, key) if self._is_inside(touch)]
        if not inside and state.store.get(Table.BASE, key) is None:
            return  # it was made here, after the floor
        loaded = state.documents.base(key)
        touched = touched_by_base(state.store, key)
        for touch in inside:
            author, sequence = replay(state, loaded, touch)
            touched[author] = sequence
        known_there = all(
            author in self.floor and sequence <= self.floor[author].sequence for author, sequence in touched.items()
        )
        if known_there and self.horizons.may_be_gone(key, touched):
            self._removed.add(key)
            self._gone += self.horizons.give_up(key, self.rescue)
            return
        if known_there:
            log.warning("a peer's snapshot lacks a document that is held here; it is kept")
        state.store.put(Table.BASE, key, base_of(loaded, touched, until=until_of(state, key, inside)).pack())

    def _take(self, key: DocumentKey, data: bytes, *, contains: bool) -> None:
        state = self.state
        theirs = self._read(data)
        known = state.records.bound_key
        screen_content(
            theirs.state, index=DocumentIndex(), known_authors=lambda author: known(Author(author)) is not None
        )
        ours = None if contains else state.store.get(Table.BASE, key)
        if ours is None:
            state.store.put(Table.BASE, key, data)
            return
        loaded = state.documents.base(key)
        loaded.add_content(theirs.state)
        own = unpack_base(ours)
        before, until = own.touched, max(theirs.until, own.until) if theirs.until and own.until else 0
        authors = theirs.touched.keys() | before.keys()
        touched = {author: max(theirs.touched.get(author, 0), before.get(author, 0)) for author in authors}
        state.store.put(Table.BASE, key, Base(touched, loaded.encode(), until).pack())

    def _read(self, data: bytes) -> Base:
        """A peer's base, which may hold entries up to the floor only."""
        try:
            base = unpack_base(data)
        except CorruptStoreError:
            raise MalformedEntryError("a snapshot of something else than bases") from None
        for author, sequence in base.touched.items():
            held = self.floor.get(author)
            most = LOG_POSITION_MAX if author == CONTENT_AUTHOR else 0 if held is None else held.sequence
            if not 1 <= sequence <= most:
                raise MalformedEntryError("a base with entries beyond the floor")
        if base.pack() != data:
            raise MalformedEntryError("a base that is packed in another way")
        return base

    def _lower_log(self) -> None:
        """Take the entries up to the floor out of the log, and what led to them."""
        state, gone = self.state, []
        clock = state.ledger.clock()
        for author, position in self.floor.items():
            before = state.ledger.floor_of(self.partition, author)
            if position.sequence <= before.sequence:
                continue
            for at, row in list(state.ledger.rows_of(self.partition, author, after=before.sequence)):
                if row.first > position.sequence:
                    break
                self._forget_touches(at, row, through=position.sequence)
                if row.last <= position.sequence:
                    gone.append(at)
            state.ledger.raise_floor(self.partition, author, ChainEnd(position.sequence, position.hash))
        state.ledger.drop(gone, clock=clock)

    def _forget_touches(self, at: int, row: LogRow, *, through: int) -> None:
        """Take out the touches of a row's entries up to a sequence; of a longer row the rest stays, and moves up."""
        state, cut = self.state, through - row.first + 1
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
            shorter = shortened(row, after=through)
            state.store.put(Table.LOG, number_key(at), shorter.pack())

    def _derive(self, keys: set[DocumentKey]) -> list[Change]:
        state = self.state
        changes: list[Change] = []
        ordered = sorted(keys)
        for start in range(0, len(ordered), _SHRINK_EVERY):
            changes += self._derive_some(ordered[start : start + _SHRINK_EVERY])
            state.documents.shrink()
        return changes

    def _derive_some(self, keys: list[DocumentKey]) -> list[Change]:
        state = self.state
        derivation = Derivation(state, origin="remote")
        for key in keys:
            data = state.store.get(Table.DOCUMENT, key)
            state.store.delete(Table.DOCUMENT, key)
            loaded = state.documents.rebuild(key)
            if data is not None:
                row = unpack_document_row(data)
                loaded.live, loaded.conflicts = row.live, row.conflicts
            declared = state.schema.by_key(key)
            differs = loaded.version() != self._versions.get(key)
            fields = declared.all_fields if declared is not None and differs else frozenset()
            derivation.derive(key, fields=fields, fold=True)
            derivation.unmark(key)
        derivation.finish()
        for key in keys:
            _share_state(state, key)
        return derivation.changes

    def _is_inside(self, touch: Touch) -> bool:
        row, _ = self.state.ledger.row(touch.position)
        held = self.floor.get(row.author)
        return held is not None and row.first + touch.entry <= held.sequence


def shortened(row: LogRow, *, after: int) -> LogRow:
    """A row without its entries up to a sequence; its signature covers them by the chain all the same."""
    entries = split_entries(row.body)[after - row.first + 1 :]
    return LogRow(
        partition=row.partition,
        author=row.author,
        first=after + 1,
        last=row.last,
        head=row.head,
        clock=row.clock,
        own=row.own,
        body=pack_entries(entries),
        signature=row.signature,
    )


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


def _staged(state: State, partition: str) -> Iterator[tuple[DocumentKey, bytes]]:
    prefix = _prefix(partition)
    for key, data in state.store.scan(Table.STAGED, start=prefix, end=after_prefix(prefix)):
        yield DocumentKey(key), data


def _clear(state: State, partition: str) -> None:
    prefix = _prefix(partition)
    state.store.delete_range(Table.STAGED, start=prefix, end=after_prefix(prefix))


def _ends(state: State, partition: str) -> dict[Author, Position]:
    ends = state.ledger.heads.get(partition, {})
    return {author: Position(sequence=end.sequence, hash=end.hash) for author, end in ends.items()}


def _prefix(partition: str) -> bytes:
    name = partition.encode()
    return bytes((len(name),)) + name
