"""What a session tells its host. Events come in the order in which they must be handled."""

from __future__ import annotations

from dataclasses import dataclass

from crdt_sync.core.ids import Author, DocumentKey
from crdt_sync.protocol.codes import ErrorCode
from crdt_sync.protocol.durable import DurableVector
from crdt_sync.protocol.opening import Hello
from crdt_sync.protocol.source import EntryStatus, Voucher
from crdt_sync.protocol.vectors import Position, Vector


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerReady:
    """The peer's hello has come and its version and limits fit."""

    hello: Hello


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordsReceived:
    """Space records that this replica lacked when the session began. Store them before any run that follows."""

    records: tuple[bytes, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunsReceived:
    """A batch of encoded runs. Verify, apply, commit durably, then call `Session.persisted(batch, outcome)`."""

    batch: int
    runs: tuple[bytes, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentsReceived:
    """Content that was asked for. Screen, merge, commit durably, then call `Session.persisted(batch, outcome)`."""

    batch: int
    partition: str
    documents: tuple[tuple[DocumentKey, bytes], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotReceived:
    """Content that stands for entries which the peer has folded. Stage it; with the voucher, take it over.

    Everything is to be durable before `Session.persisted(batch, outcome)`; after a page with a voucher that was taken
    over also call `Session.took_over`.

    Args:
        first: what was staged of this partition before is void.
        voucher: of the last page: the floor that the content stands for, signed by the peer.
    """

    batch: int
    partition: str
    first: bool
    documents: tuple[tuple[DocumentKey, bytes], ...]
    voucher: Voucher | None


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldingsReceived:
    """Signed vectors of devices, not verified yet."""

    vectors: tuple[DurableVector, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Acknowledged:
    """What the peer holds durably, as far as it told since the last such event, and what it did not apply.

    Comes once with the peer's whole vector, then with each acknowledgement.

    Args:
        vector: positions by partition and author, forked authors left out; sequence 0: the peer holds nothing. The hash
            is whole where it is of an acknowledged run or equals our own position, else it may be only the first 16
            bytes of the chain hash.
        but_for: None where the peer may hold more; else this is all that it holds, but for these authors, of which it
            holds another branch.
    """

    vector: Vector
    statuses: tuple[EntryStatus, ...] = ()
    but_for: frozenset[Author] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnFork:
    """Somebody else wrote under an author of ours: a restored backup or a clone. Lease a new author before writing.

    Args:
        position: what the peer holds, with the first 16 bytes of its chain hash.
    """

    partition: str
    author: Author
    position: Position


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnAhead:
    """The peer holds more of an author of ours than this replica: a restored backup. Lease a new author before writing.

    The missing entries come in the stream like any other's.
    """

    partition: str
    author: Author
    position: Position


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignFork:
    """Peer and replica hold different branches of another device's author; this session leaves that author alone."""

    partition: str
    author: Author
    position: Position


@dataclass(frozen=True, slots=True, kw_only=True)
class ProvenEqual:
    """Both sides hold equal content of a partition, at equal vectors.

    Args:
        vector_hash: `vector_hash` of the partition, 16 bytes.
        fingerprint: of what both hold there, 16 bytes.
        token: the latest own `request_proof` that this proof is at or after, if there was one.
    """

    partition: str
    vector_hash: bytes
    fingerprint: bytes
    token: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class AllProven:
    """Every partition is proven equal since the session began, or since `request_proof` gave ``token``."""

    token: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ContentDiffers:
    """Fingerprints differ at equal vectors in these documents. Derive them anew, then call `Session.repaired`."""

    partition: str
    keys: tuple[DocumentKey, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Drained:
    """Nothing is left to send, and the peer has acknowledged all that was sent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """The session is over; nothing follows.

    Args:
        by_peer: the peer ended it; else this side did, because of what the peer sent or because of `Session.close`.
        retry_after_s: when the ending side thinks that trying again makes sense, in seconds.
    """

    code: ErrorCode
    text: str
    retry_after_s: float | None
    by_peer: bool


Received = RecordsReceived | RunsReceived | DocumentsReceived | SnapshotReceived | HoldingsReceived
"""What the host takes in."""

Event = (
    PeerReady
    | RecordsReceived
    | RunsReceived
    | DocumentsReceived
    | SnapshotReceived
    | HoldingsReceived
    | Acknowledged
    | OwnFork
    | OwnAhead
    | ForeignFork
    | ProvenEqual
    | AllProven
    | ContentDiffers
    | Drained
    | Ended
)
