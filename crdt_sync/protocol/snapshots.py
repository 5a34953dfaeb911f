"""Content first: what a peer below our floor gets in place of the entries that were folded, and what it rests on.

A replica's *floor* is, for each author, the last entry that it folded. A peer that holds less than the floor of a
partition cannot be sent the entries in between, so it gets the bases of all documents of the partition, which hold
exactly the entries up to the floor, then the floor itself under the sender's signature, and then entries as usual.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from blake3 import blake3

from crdt_sync.core.entry import SEQUENCE_MAX, ChainHash
from crdt_sync.core.ids import AUTHOR_MAX, Author, DocumentKey
from crdt_sync.protocol.codes import ErrorCode, MessageType, PeerError
from crdt_sync.protocol.fields import bounded, pairs, sized
from crdt_sync.protocol.limits import WireLimits
from crdt_sync.protocol.source import Source, Voucher
from crdt_sync.protocol.vectors import Position, Vector, check_partition
from crdt_sync.protocol.wire import pack, unpack

ROOT_BYTES = 32
SIGNATURE_BYTES = 64
_HASH_BYTES = 32
_AUTHOR_BYTES = 5
_SEQUENCE_BYTES = 7
_FLOOR_BYTES = _AUTHOR_BYTES + _SEQUENCE_BYTES + _HASH_BYTES


def content_root(documents: Mapping[DocumentKey, bytes] | list[tuple[DocumentKey, bytes]], *, seed: bytes) -> bytes:
    """Go on with a hash over documents and their states, in ascending order of address (32 bytes)."""
    items = documents.items() if isinstance(documents, Mapping) else documents
    for key, state in items:
        seed = blake3(seed + bytes((len(key),)) + key + blake3(state).digest()).digest()
    return seed


EMPTY_ROOT = blake3(b"crdt_sync snapshot").digest()


def snapshot_statement(space: bytes, *, partition: str, floor: Mapping[Author, Position], root: bytes) -> bytes:
    """The bytes that the sender of a snapshot signs."""
    name = partition.encode()
    return b"".join((b"crdt_sync snapshot 0\0", space, bytes((len(name),)), name, root, _pack_floor(floor)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """A page of bases. ``first``: what came before for this partition is void.

    The page with a voucher is the last one.
    """

    TYPE: ClassVar = MessageType.SNAPSHOT
    partition: str
    first: bool
    documents: tuple[tuple[DocumentKey, bytes], ...]
    voucher: Voucher | None = None

    def payload(self) -> bytes:
        floor, signature = (b"", b"") if self.voucher is None else self.voucher
        packed = _pack_floor(floor) if isinstance(floor, dict) else floor
        items = (item for pair in self.documents for item in pair)
        return pack((self.partition, self.first, packed, signature, *items))

    @classmethod
    def read(cls, payload: bytes, limits: WireLimits) -> Snapshot:
        items = unpack(payload, items_max=4 + 2 * limits.listing_page_keys)
        if len(items) < 4 or type(items[1]) is not bool:
            raise PeerError(ErrorCode.MALFORMED, "a snapshot of the wrong shape")
        voucher = None
        if items[3] != b"":
            voucher = Voucher(_read_floor(items[2], limits), sized(items[3], SIGNATURE_BYTES))
        documents = pairs(items[4:], limits.packet_bytes_max)
        if any(first[0] >= second[0] for first, second in itertools.pairwise(documents)):
            raise PeerError(ErrorCode.MALFORMED, "a snapshot out of order")
        return cls(partition=check_partition(items[0]), first=items[1], documents=documents, voucher=voucher)


class Snapshots:
    """Which partitions the peer is below our floor in, and how far it has been sent content.

    Invariant: until the peer states a vector that is not below our floor, nothing that it sends of this partition is
    handed to the host; it is told what is held instead, and sends it again.
    """

    def __init__(self, source: Source, limits: WireLimits) -> None:
        self._source = source
        self._limits = limits
        self.behind: set[str] = set()
        self._due: list[str] = []
        self._after: DocumentKey | None = None
        self._root = EMPTY_ROOT
        self._floor: Mapping[Author, Position] = {}

    def look(self, known: Vector) -> None:
        """The peer stated its vector in full."""
        floors = self._source.floors()
        self.behind = {name for name, floor in floors.items() if is_below(known.get(name, {}), floor)}
        self._due = sorted(self.behind)
        self._after, self._root = None, EMPTY_ROOT

    @property
    def at_end(self) -> bool:
        """Everything that the peer needs was sent."""
        return not self._due

    def next_message(self) -> Snapshot | None:
        """The next page."""
        if not self._due:
            return None
        partition = self._due[0]
        floor = self._source.floors().get(partition, {})
        if self._after is None or floor != self._floor:
            self._after, self._root, self._floor = None, EMPTY_ROOT, dict(floor)
        first = self._after is None
        page = self._source.snapshot(
            partition,
            after=self._after,
            root=self._root,
            keys_max=self._limits.listing_page_keys,
            bytes_max=self._limits.batch_bytes_max,
        )
        self._root = content_root(list(page.documents), seed=self._root)
        if page.documents:
            self._after = page.documents[-1][0]
        if page.voucher is not None:
            self._due.pop(0)
            self._after, self._root = None, EMPTY_ROOT
        return Snapshot(partition=partition, first=first, documents=page.documents, voucher=page.voucher)


def is_below(known: Mapping[Author, Position], floor: Mapping[Author, Position]) -> bool:
    """Whether somebody at these positions lacks entries up to a floor."""
    return any(
        position.sequence > (known[author].sequence if author in known else 0) for author, position in floor.items()
    )


def _pack_floor(floor: Mapping[Author, Position]) -> bytes:
    return b"".join(
        author.to_bytes(_AUTHOR_BYTES, "big") + position.sequence.to_bytes(_SEQUENCE_BYTES, "big") + position.hash
        for author, position in sorted(floor.items())
    )


def _read_floor(data: object, limits: WireLimits) -> dict[Author, Position]:
    packed = bounded(data, limits.authors_max * _FLOOR_BYTES)
    if len(packed) % _FLOOR_BYTES:
        raise PeerError(ErrorCode.MALFORMED, "a floor that does not add up")
    floor: dict[Author, Position] = {}
    previous = 0
    for start in range(0, len(packed), _FLOOR_BYTES):
        author = int.from_bytes(packed[start : start + _AUTHOR_BYTES], "big")
        middle = start + _AUTHOR_BYTES
        sequence = int.from_bytes(packed[middle : middle + _SEQUENCE_BYTES], "big")
        if not previous < author <= AUTHOR_MAX or not 1 <= sequence <= SEQUENCE_MAX:
            raise PeerError(ErrorCode.MALFORMED, "authors of a floor out of order or range")
        floor[Author(author)] = Position(sequence, ChainHash(packed[middle + _SEQUENCE_BYTES : start + _FLOOR_BYTES]))
        previous = author
    return floor
