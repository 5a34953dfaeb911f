"""Horizons: deleted records leave every replica, and none comes back by a device that was away.

It takes two records. The first, J, names a vector that every enrolled device holds. From when a device knows J it
writes nothing to what J *locks*: deleted records that no entry beyond J has touched. The second, K, names J; it is made
when every device is known to have known J, and its vector covers what each of them had written until then. So nobody
can have written to what J still locks at K, and everybody who holds K's vector removes it: the same everywhere.

A device that was not waited for may have written to such a record all the same. Whoever holds what it wrote keeps the
record, and whoever gets it later fetches the record with it (`lacking`).
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace

import msgpack
from blake3 import blake3

from crdt_sync.core.entry import RECORD_HASH_BYTES
from crdt_sync.core.horizons import POSITION_HASH_BYTES, ForgetRecord, HorizonPosition, HorizonRecord
from crdt_sync.core.ids import Author, DocumentKey, split_document_key
from crdt_sync.core.logs import told
from crdt_sync.core.records import RECORD_BYTES_MAX, encode_record
from crdt_sync.protocol.source import Vector
from crdt_sync.replica.bases import touched_by_base
from crdt_sync.replica.compaction import Acknowledged
from crdt_sync.replica.derive import ALL, derive_marked
from crdt_sync.replica.holdings import HoldingsBook
from crdt_sync.replica.ledger import CONTENT_AUTHOR
from crdt_sync.replica.packing import unpack_shaped
from crdt_sync.replica.rows import after_prefix, split_touch_key, unpack_document_row
from crdt_sync.replica.state import Change, State
from crdt_sync.replica.trimming import Trimming
from crdt_sync.replica.unique_index import forget_record
from crdt_sync.storage.base import Table

log = logging.getLogger("crdt_sync.replica")

APPLIED = b"horizons"
"""Key in the meta table of the ids of the horizons whose removals were made here."""
DERIVED_ID_VERSION = 8
"""Of record ids that follow from something: such a record can be made again, so it is never removed."""
_REMOVE_BATCH = 512


class Horizons:
    """The horizons of one replica.

    Args:
        state: the replica.
        book: what devices are known to hold.
    """

    def __init__(self, state: State, book: HoldingsBook) -> None:
        self._state = state
        self._book = book
        self._trimming = Trimming(state)

    # ── what sessions and writes ask ─────────────────────────────────────────────────────────────────────────────────

    def digest(self, partition: str) -> bytes:
        """Names the horizons whose removals were made in a partition; empty where there are none."""
        known = self._state.records.horizons()
        applied = self._applied()
        if not applied:
            return b""
        names = sorted(name for name in applied if name in known and known[name].partition == partition)
        return blake3(b"".join(names)).digest(RECORD_HASH_BYTES) if names else b""

    def locks(self, key: DocumentKey) -> bool:
        """Whether a deleted record may not be written to any more."""
        tips = self._state.horizon_tips(split_document_key(key)[0]).values()
        if not tips or not is_removable(key):
            return False
        touched = self._touched(key)
        return any(_inside(touched, record) for record in tips)

    def may_be_gone(self, key: DocumentKey, touched: Mapping[Author, int]) -> bool:
        """Whether a settled horizon may have removed a document elsewhere of which this much is known here."""
        return is_removable(key) and any(
            _inside(touched, earlier) for earlier in self._settled(split_document_key(key)[0])
        )

    def has_settled(self, partition: str) -> bool:
        """Whether anything may have been removed in a partition."""
        return partition in self._state.records.settled_partitions()

    def is_settled(self, partition: str, author: Author, sequence: int) -> bool:
        """Whether an entry lies in the past of a horizon that a later one settles: what it changed may be gone."""
        return any(earlier.covers(author, sequence) for earlier in self._settled(partition))

    # ── making ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def propose(
        self,
        partition: str,
        own: Vector,
        acknowledged: Acknowledged,
        *,
        removals_min: int = 1,
        among: Collection[DocumentKey] | None = None,
    ) -> bool:
        """Make the next horizon where it is possible and worth its bytes; whether one was made.

        Args:
            partition: where.
            own: what this replica holds durably.
            acknowledged: what every enrolled device holds.
            removals_min: so many deleted records and hidden values must be waiting for it.
            among: where to look for hidden values; None is everywhere.
        """
        state = self._state
        identity = state.identity
        least = acknowledged.get(partition, {})
        ends = own.get(partition, {})
        if identity is None or state.doubted:
            return False
        vector: dict[Author, HorizonPosition] = {}
        for author, sequence in least.items():
            held = ends[author].hash if ends[author].sequence == sequence else None
            held = held or state.ledger.hash_at(partition, author, sequence)
            if sequence and held is None:
                return False  # below our own floor: some device was restored
            if sequence and held is not None:
                vector[author] = HorizonPosition(sequence, held[:POSITION_HASH_BYTES])
        tips = state.horizon_tips(partition)
        name, tip = next(iter(tips.items()), (b"", None))
        if tip is not None and not self._is_settled_by(name, tip, vector):
            return False
        record = HorizonRecord(
            space=state.space,
            parents=state.records.heads(),
            partition=partition,
            previous=name,
            vector=vector,
            public_key=identity.key.public_key,
        )
        if self._worth(record, tip, removals_min=removals_min, among=among) < removals_min:
            return False
        record = replace(record, signature=identity.key.sign(record.statement()))
        if len(encode_record(record)) > RECORD_BYTES_MAX:
            told(log, logging.WARNING, "a horizon would name too many authors; deleted records stay")
            return False
        with state.store.transaction():
            state.add_record(record)
        return True

    def _is_settled_by(self, name: bytes, tip: HorizonRecord, vector: Mapping[Author, HorizonPosition]) -> bool:
        """Whether nobody can write any more to what a horizon locks, and all that was written lies in ``vector``."""
        state = self._state
        if any(author not in vector or vector[author].sequence < held.sequence for author, held in tip.vector.items()):
            return False
        first = self._book.first_naming(name)
        for device in state.records.enrolled():
            told = first.get(device)
            if told is None:
                return False
            for author, position in told.vector.get(tip.partition, {}).items():
                is_own = state.records.bound_key(author) == device
                if is_own and (author not in vector or vector[author].sequence < position.sequence):
                    return False
        return True

    def _worth(
        self,
        record: HorizonRecord,
        tip: HorizonRecord | None,
        *,
        removals_min: int,
        among: Collection[DocumentKey] | None,
    ) -> int:
        """How many deleted records and hidden values the horizon lets go or, with a later one, will let go."""
        count = 0
        for key in self._dead(record.partition):
            touched = self._touched(key)
            count += _inside(touched, record if tip is None else tip) or _inside(touched, record)
        if count < removals_min:
            horizons = [record] if tip is None else [tip, record]
            count += self._trimming.count(horizons, self._documents(record.partition, among))
        return count

    def waiting(self, partition: str, own: Vector) -> tuple[int, int]:
        """How many deleted records and hidden values would be gone once every device holds what is here."""
        held = {
            author: HorizonPosition(position.sequence, position.hash[:POSITION_HASH_BYTES])
            for author, position in own.get(partition, {}).items()
        }
        here = HorizonRecord(
            space=self._state.space, parents=(), partition=partition, previous=b"", vector=held, public_key=b""
        )
        return sum(1 for _ in self._dead(partition)), self._trimming.count([here], self._documents(partition, None))

    def trim(self, partition: str, *, among: Collection[DocumentKey] | None = None) -> int:
        """Remove the hidden values that nobody needs any more, where this device made the latest horizon that says so.

        Args:
            partition: where.
            among: where to look for them; None is everywhere.

        Returns:
            How many values went.
        """
        state = self._state
        identity = state.identity
        name, tip = next(iter(state.horizon_tips(partition).items()), (b"", None))
        earlier = None if tip is None else state.records.settled_by(tip)
        if tip is None or earlier is None or name not in self._applied() or state.doubted:
            return 0
        if identity is None or tip.public_key != identity.key.public_key:
            return 0  # one device sees to it, or all would write the same
        return self._trimming.trim(earlier, self._documents(partition, among))

    def _documents(self, partition: str, among: Collection[DocumentKey] | None) -> list[DocumentKey]:
        if among is not None:
            return [key for key in among if split_document_key(key)[0] == partition]
        name = partition.encode()
        prefix = bytes((len(name),)) + name
        return [
            DocumentKey(key) for key, _ in self._state.store.scan(Table.VERSION, start=prefix, end=after_prefix(prefix))
        ]

    def forget(self, device: bytes) -> None:
        """Wait for a device no more, until it binds another author; in the caller's store transaction."""
        state = self._state
        identity = state.identity
        if identity is None:
            return
        record = ForgetRecord(
            space=state.space,
            parents=state.records.heads(),
            device=device,
            bindings=tuple(sorted(state.records.bindings_of(device))),
            public_key=identity.key.public_key,
        )
        state.add_record(replace(record, signature=identity.key.sign(record.statement())))
        self._book.forget(device)

    # ── applying ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def due(self) -> list[bytes]:
        """Horizons whose removals are to be made here now, earlier ones first."""
        state, applied = self._state, self._applied()
        known = state.records.horizons()
        names = [
            name
            for name, record in known.items()
            if name not in applied and state.records.settled_by(record) is not None and state.ledger.covers(record)
        ]
        return sorted(names, key=lambda name: (sum(held.sequence for held in known[name].vector.values()), name))

    def apply(self, name: bytes) -> list[Change]:
        """Make a horizon's removals; returns what observers are to be told. It goes on where it was interrupted."""
        state = self._state
        derive_marked(state, texts_too=True)
        later = state.records.horizons()[name]
        earlier = state.records.settled_by(later)
        gone = [] if earlier is None else list(self._removed_by(earlier))
        changes: list[Change] = []
        for start in range(0, len(gone), _REMOVE_BATCH):
            try:
                with state.store.transaction():
                    for key in gone[start : start + _REMOVE_BATCH]:
                        changes += self.give_up(key)
            except BaseException:
                state.reload()
                raise
            state.documents.shrink()
        with state.store.transaction():
            applied = sorted({*self._applied(), name})
            state.store.put(Table.META, APPLIED, msgpack.packb(applied))
            self._book.let_go()
        return changes

    def give_up(self, key: DocumentKey) -> list[Change]:
        """Remove a document, in the caller's store transaction; returns what observers are to be told."""
        was_live = self._is_live(key)
        self.remove(key)
        _, model, record = split_document_key(key)
        return [Change(model=model, record_id=record, type="delete", origin="remote")] if was_live else []

    def remove(self, key: DocumentKey) -> None:
        """Take a document out of every table, in the caller's store transaction; the log keeps what it has."""
        store = self._state.store
        for table in (Table.DOCUMENT, Table.VERSION, Table.DIRTY, Table.BASE):
            store.delete(table, key)
        for table in (Table.TOUCH, Table.CONFLICT, Table.SETTLED):
            store.delete_range(table, start=key, end=after_prefix(key))
        declared = self._state.schema.by_key(key)
        if declared is not None:
            store.delete_rows(declared.spec.name, (split_document_key(key)[2],))
        store.put_many(Table.DIRTY, [(other, ALL) for other in sorted(forget_record(store, key))])
        self._state.documents.drop(key)

    def _removed_by(self, earlier: HorizonRecord) -> Iterator[DocumentKey]:
        """Deleted documents that nothing beyond a horizon touches."""
        for key in self._dead(earlier.partition):
            if _inside(self._touched(key), earlier):
                yield key

    # ── inside ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def _settled(self, partition: str) -> Iterator[HorizonRecord]:
        """The horizons of a partition that a later one settles."""
        records = self._state.records
        for later in records.horizons().values():
            earlier = records.settled_by(later)
            if earlier is not None and later.partition == partition:
                yield earlier

    def _dead(self, partition: str) -> Iterator[DocumentKey]:
        name = partition.encode()
        prefix = bytes((len(name),)) + name
        for key, data in self._state.store.scan(Table.DOCUMENT, start=prefix, end=after_prefix(prefix)):
            if is_removable(DocumentKey(key)) and self._is_dead(DocumentKey(key), data):
                yield DocumentKey(key)

    def _touched(self, key: DocumentKey) -> dict[Author, int]:
        """The last entry of each author that touched a document; content taken from a peer is nobody's.

        An entry beyond a horizon may have come with that. Where another replica tells it and keeps the document, it
        comes back from there, by content.
        """
        state = self._state
        touched = touched_by_base(state.store, key)
        for name, _ in state.store.scan(Table.TOUCH, start=key, end=after_prefix(key)):
            touch = split_touch_key(name)
            row, _ = state.ledger.row(touch.position)
            touched[row.author] = row.first + touch.entry
        touched.pop(CONTENT_AUTHOR, None)
        return touched

    def _is_dead(self, key: DocumentKey, data: bytes) -> bool:
        """Whether nothing was done that no deletion saw, leaving aside its model's own rule, which others may lack."""
        return not unpack_document_row(data).live and not self._state.documents.get(key).is_live()

    def _is_live(self, key: DocumentKey) -> bool:
        data = self._state.store.get(Table.DOCUMENT, key)
        return data is not None and unpack_document_row(data).live

    def _applied(self) -> set[bytes]:
        return read_applied(self._state.store.get(Table.META, APPLIED))


def read_applied(data: bytes | None) -> set[bytes]:
    """The ids of horizons in a stored row.

    Raises:
        CorruptStoreError: it is none.
    """
    return set() if data is None else set(unpack_shaped(data, [bytes], table=Table.META, key=APPLIED))


def is_removable(key: DocumentKey) -> bool:
    """Whether a record's id is random, so that nobody makes it again."""
    return key[-10] >> 4 != DERIVED_ID_VERSION


def _inside(touched: Mapping[Author, int], record: HorizonRecord) -> bool:
    return bool(touched) and all(record.covers(author, sequence) for author, sequence in touched.items())
