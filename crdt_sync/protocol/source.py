"""What a session reads of its replica: a narrow, read-only view that the replica implements."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple, Protocol

from crdt_sync.core.entry import ChainHash
from crdt_sync.core.ids import Author, DocumentKey
from crdt_sync.protocol.care import Care
from crdt_sync.protocol.durable import DurableVector
from crdt_sync.protocol.vectors import Position, Vector

__all__ = [
    "ApplyOutcome",
    "EntryStatus",
    "Lacking",
    "Position",
    "Postponed",
    "RunPage",
    "SentRun",
    "SnapshotPage",
    "Source",
    "StatusKind",
    "Vector",
    "Voucher",
]

SentRun = tuple[bytes, str, Author, int]
"""An encoded run, its partition, its author and the sequence of its last entry."""


Postponed = Mapping[tuple[str, Author], tuple[int, int]]
"""Whose entries wait, by partition and author: the first one's sequence, and its place in the log."""


class RunPage(NamedTuple):
    """Some runs of the log in the order in which they were applied.

    Args:
        runs: whole runs; empty only if nothing is left or all that was looked at is known to the peer.
        cursor: where the next page begins.
        more: there may be runs after the cursor.
    """

    runs: tuple[SentRun, ...]
    cursor: int
    more: bool


class Voucher(NamedTuple):
    """The end of a snapshot: the floor that the content stands for, vouched for by the sender.

    Args:
        floor: positions by author, with whole chain hashes.
        signature: 64 bytes over `snapshots.snapshot_statement`.
    """

    floor: dict[Author, Position]
    signature: bytes


class SnapshotPage(NamedTuple):
    """A part of a partition's bases, ascending; the last one carries the voucher."""

    documents: tuple[tuple[DocumentKey, bytes], ...]
    voucher: Voucher | None


class StatusKind(str, Enum):
    """What became of an entry that was not applied."""

    REFUSED = "refused"
    """For good: it cuts its author's chain there."""
    PARKED = "parked"
    """Kept until something that it needs arrives; cuts nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EntryStatus:
    """An entry that was received and not applied.

    Args:
        code: `EntryError.code` or another short name.
        reason: for people; at most 200 characters, without record contents.
        retry: sending it again later can help.
    """

    partition: str
    author: Author
    sequence: int
    kind: StatusKind
    code: str
    reason: str = ""
    retry: bool = False


class Lacking(NamedTuple):
    """A document that a parked entry waits for: a horizon removed it here, and whoever sends the entry has it.

    Args:
        document: its address.
        author: whose entry waits.
        sequence: of that entry.
    """

    document: DocumentKey
    author: Author
    sequence: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ApplyOutcome:
    """What became of a batch. What is not named here was applied, or known before.

    Args:
        statuses: of what was not applied.
        lacking: documents to be fetched from whoever sent the batch.
    """

    statuses: tuple[EntryStatus, ...] = ()
    lacking: tuple[Lacking, ...] = ()


class Source(Protocol):
    """A replica as its sessions see it. Everything it tells is durable.

    Invariants:
        1. `vector` and `runs_after` agree: every run up to the vector is reachable from cursor 0.
        2. `runs_after` gives runs in the order in which they were applied, so a cause comes before its effects.
        3. Cursors only grow; a run keeps its place, and one that is given up (a settled fork) leaves a gap.
    """

    @property
    def space(self) -> bytes:
        """32 bytes."""

    @property
    def replica_id(self) -> bytes:
        """16 bytes."""

    @property
    def epoch(self) -> bytes:
        """8 bytes: the generation of this store's past."""

    def vector(self) -> Vector:
        """What this replica holds durably. The session does not change it and keeps no reference across calls."""

    def hash_at(self, partition: str, author: Author, sequence: int) -> ChainHash | None:
        """The chain hash after an entry, or None where this replica does not know it."""

    def own_authors(self) -> frozenset[Author]:
        """Every author that this replica has ever leased."""

    def runs_after(self, cursor: int, known: Vector, *, bytes_max: int) -> RunPage:
        """Whole runs after ``cursor`` that ``known`` does not cover, up to ``bytes_max`` or one larger run."""

    def postponed(self) -> Postponed:
        """What `runs_after` leaves out for now; the session sends it when it is named here no more."""

    def space_records(self, after: int) -> tuple[tuple[bytes, ...], int]:
        """Encoded space records after a cursor, in order of arrival, and the next cursor; no records: the end."""

    def partitions(self) -> tuple[str, ...]:
        """Partitions that hold anything."""

    def fingerprint(self, partition: str) -> bytes:
        """16 bytes over (document, version) of a whole partition; defined for an empty one."""

    def horizon(self, partition: str) -> bytes:
        """Names the horizons that this replica has applied in a partition; empty for none.

        Fingerprints are compared at equal ones only: a horizon removes documents without moving the vector.
        """

    def floors(self) -> Vector:
        """What was folded: each author's last entry that is in no run any more, with its whole hash."""

    def snapshot(
        self, partition: str, *, after: DocumentKey | None, root: bytes, keys_max: int, bytes_max: int
    ) -> SnapshotPage:
        """The bases of a partition after ``after``, ascending; with the last ones a voucher for all of them.

        Args:
            partition: whose.
            after: the last document of the page before.
            root: `snapshots.content_root` of the pages before.
            keys_max: documents in this page at most.
            bytes_max: of content, unless a single document is larger.
        """

    def holdings(self, known: Mapping[bytes, int]) -> tuple[DurableVector, ...]:
        """Signed vectors that somebody lacks who knows of each public key the one with this stamp; our own is fresh."""

    def holdings_known(self, public_key: bytes) -> Mapping[bytes, int]:
        """What a device knew of signed vectors at the end of its last proven session: public key → stamp."""

    def held_back(self, public_key: bytes) -> Mapping[Author, int]:
        """What a device has refused and is not sent again: author → the first such entry."""

    def handed_out(self, public_key: bytes, runs: Sequence[SentRun]) -> None:
        """These are on their way: the device may hold them from now on, whatever becomes of the session."""

    def care(self, public_key: bytes) -> Care:
        """How to send to a device with which sessions ended at some entry."""

    def listing(
        self, partition: str, *, after: DocumentKey | None, limit: int
    ) -> tuple[tuple[DocumentKey, bytes], ...]:
        """Documents and their 16-byte versions, ascending by key, after ``after``."""

    def state_vector(self, document: DocumentKey) -> bytes:
        """The engine's encoded state vector of a document; of one that does not exist, that of an empty one."""

    def content(self, document: DocumentKey, state_vector: bytes) -> bytes | None:
        """The update that somebody at ``state_vector`` lacks; None if the document does not exist here.

        ``state_vector`` comes from a peer. Raise any `EntryError` for one that cannot be read.
        """
