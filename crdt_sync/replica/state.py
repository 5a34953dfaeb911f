"""What the parts of an open replica share."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

from blake3 import blake3

from crdt_sync.core.clock import HybridClock
from crdt_sync.core.entry import Head, Run, encode_run
from crdt_sync.core.horizons import HorizonRecord
from crdt_sync.core.ids import Author, DeviceId, DocumentKey, device_id
from crdt_sync.core.limits import ENTRY_LIMITS
from crdt_sync.core.naming import NameRecord
from crdt_sync.core.records import AnyRecord, RecordSet, decode_record, encode_record
from crdt_sync.protocol.durable import HORIZONS_MAX
from crdt_sync.replica.documents import DocumentCache
from crdt_sync.replica.keeping_policy import KEEPING, KeepingPolicy
from crdt_sync.replica.lease import Identity, Lease
from crdt_sync.replica.ledger import Ledger
from crdt_sync.replica.resting import Resting
from crdt_sync.replica.rows import key_number, number_key
from crdt_sync.replica.schema import Schema
from crdt_sync.replica.totals import Totals
from crdt_sync.storage.base import Store, Table

EVIDENCE_MAX = 256
"""Runs of other branches that are kept. What was written here is not dropped for it: nobody else may have it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What observers are told, after it is durable.

    Args:
        model: the record's model.
        record_id: the record.
        type: ``create``, ``update``, ``delete``, ``merged`` (it shows as part of ``into`` from here on),
            ``conflict`` (one or more opened) or ``settled``.
        fields: the fields that were written.
        origin: ``local`` or ``remote``.
        conflicts: ids of the conflicts that opened, or were settled.
        into: the record that a merged one shows as part of.
    """

    model: str
    record_id: str
    type: str
    fields: frozenset[str] = frozenset()
    origin: str = "local"
    conflicts: tuple[str, ...] = ()
    into: str = ""


@dataclass(slots=True, kw_only=True)
class State:
    """The shared parts of an open replica; everything in it is used by its owner thread alone.

    Args:
        moved: partition → author → head of another author that moved since our previous entry there, and that no
            other one listed has seen.
        named_records: the maximal space records that our last entry knew of.
    """

    store: Store
    schema: Schema
    ledger: Ledger
    documents: DocumentCache
    records: RecordSet
    clock: HybridClock
    lease: Lease
    identity: Identity | None
    space: bytes
    now_ms: Callable[[], int]
    entropy: Callable[[int], bytes]
    new_record_id: Callable[[], str]
    moved: dict[str, dict[Author, Head]] = field(default_factory=dict)
    named_records: tuple[bytes, ...] = ()
    totals: Totals = field(default_factory=Totals)
    keeping: KeepingPolicy = KEEPING
    resting: Resting = field(init=False)
    """what cannot reach a device before something that is set aside for it does"""
    locks: Callable[[DocumentKey], bool] = lambda _: False
    """whether a deleted record may not be written to any more (`horizons.Horizons.locks`)"""
    has_settled: Callable[[str], bool] = lambda _: False
    """whether a horizon may have removed documents of a partition"""
    is_settled: Callable[[str, Author, int], bool] = lambda *_: False
    """whether what an entry changed may be gone for good (`horizons.Horizons.is_settled`)"""
    doubted: dict[tuple[str, Author], int] = field(default_factory=dict)
    """chains of ours that a peer holds differently → the sequence up to which they are surely alike"""
    _tips: dict[str, tuple[tuple[int, int, int], dict[bytes, HorizonRecord]]] = field(default_factory=dict)
    """`horizon_tips` by partition, with what they stand for: end and generation of the log, number of horizons"""

    def __post_init__(self) -> None:
        self.resting = Resting(self.store, self.ledger)

    def saw(self, partition: str, head: Head, heads: tuple[Head, ...]) -> None:
        """Note that an entry of another author was applied; what it saw need not be named any more."""
        moved = self.moved.setdefault(partition, {})
        for seen in heads:
            held = moved.get(seen.author)
            if held is not None and held.sequence <= seen.sequence:
                del moved[seen.author]
        moved[head.author] = head

    def heads_to_name(self, partition: str, documents: Collection[DocumentKey] = ()) -> tuple[Head, ...]:
        """The heads that a new entry names; the most recent ones where there are more than an entry may name.

        Args:
            partition: of the entry.
            documents: which it touches: where none of them rests on what is set aside for a device, nor does the entry.
        """
        heads = list(self.moved.get(partition, {}).values())
        if self.resting.look() and self.resting.documents.isdisjoint(documents):
            named = (self.resting.passed_over(partition, head) for head in heads)
            heads = [head for head in named if head is not None]
        return tuple(heads[-ENTRY_LIMITS.heads_max :])

    def records_to_name(self) -> tuple[bytes, ...]:
        """The space records that a new entry names: the maximal ones, where they changed since the last entry."""
        heads = self.records.heads()
        return () if heads == self.named_records else heads

    def name_everything(self) -> None:
        """Have the next entry name every author's end and all maximal records: what moved is not kept in the store."""
        own = None if self.identity is None else self.identity.author
        self.moved = {
            partition: {author: self.ledger.head(partition, author) for author in ends if author != own}
            for partition, ends in self.ledger.heads.items()
        }
        self.named_records = ()

    def took_heads(self, partition: str) -> None:
        """Note that a committed entry named them; what it may have passed over is named again."""
        moved = self.moved.pop(partition, {})
        if self.resting.look():
            aside = {author: head for author, head in moved.items() if self.resting.root_of(author, head.sequence)}
            self.moved[partition] = aside
        self.named_records = self.records.heads()

    def add_record(self, record: AnyRecord) -> bool:
        """Keep a verified space record, in the caller's store transaction; True where it was new and is kept."""
        held = self.records.name_of(record.public_key) if isinstance(record, NameRecord) else None
        if not self.records.add(record):
            return False
        last = next(self.store.scan(Table.RECORD, reverse=True, limit=1), None)
        number = 1 if last is None else key_number(last[0]) + 1
        self.store.put(Table.RECORD, number_key(number), encode_record(record))
        if held is not None:
            self._remove_record(encode_record(held))
        return True

    def _remove_record(self, data: bytes) -> None:
        """Let go of a record; the new one has its number by then, so that no number is used twice."""
        for key, row in self.store.scan(Table.RECORD):
            if row == data:
                self.store.delete(Table.RECORD, key)
                return

    def horizons(self) -> tuple[bytes, ...]:
        """The latest horizons whose vector this replica holds: it writes to nothing that they lock.

        One that names what is not here is not confirmed: what it locks may be shown as live here, and be written to.
        """
        partitions = {record.partition for record in self.records.horizons().values()}
        return tuple(sorted(name for partition in partitions for name in self.horizon_tips(partition))[:HORIZONS_MAX])

    def horizon_tips(self, partition: str) -> dict[bytes, HorizonRecord]:
        """The latest horizons of a partition whose vector this replica holds, by id; the furthest first."""
        stands_for = (self.ledger.end, self.ledger.folded.generation, len(self.records.horizons()))
        known = self._tips.get(partition)
        if known is None or known[0] != stands_for:
            found = self.records.horizon_tips(partition, is_held=self.ledger.covers)
            known = self._tips[partition] = (stands_for, found)
        return known[1]

    def keep_evidence(self, run: Run, *, is_own: bool = False) -> None:
        """Keep a run that continues another branch than ours, in a store transaction of its own.

        Args:
            run: the run; one too many is not kept, as somebody else has it.
            is_own: it was taken out of our log, and nobody is known to have it.
        """
        if is_own or self.store.count(Table.EVIDENCE) < EVIDENCE_MAX:
            with self.store.transaction():
                self.store.put(Table.EVIDENCE, blake3(run.body).digest(16), encode_run(run))

    def reload(self) -> None:
        """Take everything from the store again, after a rollback."""
        self.ledger.forget()  # where something cannot be read, nothing of before is told
        self._tips.clear()
        self.documents.clear()
        self.resting.reset()
        self.records = load_records(self.store)
        self.ledger.reload()
        self.name_everything()

    def follow(self) -> None:
        """Take from the store what another process wrote since; for replicas that are opened read-only."""
        self.resting.reset()  # what is set aside is in no log
        if self.ledger.is_behind():
            self.reload()

    def name_of(self, author: Author) -> str:
        """The device that writes under an author, as far as a record tells."""
        key = self.records.bound_key(author)
        return f"author:{author}" if key is None else device_id(key)

    def names(self) -> Mapping[DeviceId, str]:
        """What devices call themselves."""
        return self.records.names()

    def device(self) -> DeviceId | None:
        """This device, unless the replica is read-only."""
        return None if self.identity is None else self.identity.key.device_id


def load_records(store: Store) -> RecordSet:
    """All space records of a store."""
    return RecordSet(decode_record(data) for _, data in store.scan(Table.RECORD))


@dataclass(frozen=True, slots=True, kw_only=True)
class Touched:
    """A document that a transaction changed, and how, for deriving and publishing.

    Args:
        key: the document.
        fields: the fields that were written.
        text_only: whether nothing but texts changed.
        settles_at: log position of the first operation that may have settled a conflict of which the document need not
            tell: whether the record stays deleted, or one of a field.
    """

    key: DocumentKey
    fields: frozenset[str]
    text_only: bool
    settles_at: int | None = None
