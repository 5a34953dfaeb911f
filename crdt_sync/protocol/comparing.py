"""Messages that prove equality, and those that repair by content where it fails."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any, ClassVar

from crdt_sync.core.ids import DocumentKey
from crdt_sync.protocol.codes import ErrorCode, MessageType, PeerError
from crdt_sync.protocol.fields import COUNT_MAX, boolean, document, exactly, flattened, integer, one_count, pairs, sized
from crdt_sync.protocol.limits import WireLimits
from crdt_sync.protocol.vectors import check_partition
from crdt_sync.protocol.wire import pack, unpack

SHORT_HASH_BYTES = 8
FINGERPRINT_BYTES = 16
VERSION_BYTES = 16
STATE_VECTOR_BYTES_MAX = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Fingerprint:
    """What the sender holds of a partition, at which vector.

    Args:
        vector_hash: first 8 bytes of `vector_hash`. fingerprint: 16 bytes.
        round: repairs finished so far; fingerprints of different rounds are not compared.
        token: the latest proof request that the sender had received.
    """

    TYPE: ClassVar = MessageType.FINGERPRINT
    partition: str
    vector_hash: bytes
    fingerprint: bytes
    round: int = 0
    token: int = 0

    def payload(self) -> bytes:
        items: list[Any] = [self.partition, self.vector_hash + self.fingerprint]
        if self.round or self.token:
            items += [self.round, self.token]
        return pack(items)

    @classmethod
    def read(cls, payload: bytes, limits: WireLimits) -> Fingerprint:
        items = unpack(payload, items_max=4)
        partition, both, round_, token = (*items, 0, 0) if len(items) == 2 else exactly(items, 4)
        sized(both, SHORT_HASH_BYTES + FINGERPRINT_BYTES)
        return cls(
            partition=check_partition(partition),
            vector_hash=both[:SHORT_HASH_BYTES],
            fingerprint=both[SHORT_HASH_BYTES:],
            round=integer(round_, limits.rounds_max),
            token=integer(token, COUNT_MAX),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """The sender wants fingerprints that are at or after this request."""

    TYPE: ClassVar = MessageType.PROOF
    token: int

    def payload(self) -> bytes:
        return pack((self.token,))

    @classmethod
    def read(cls, payload: bytes, _limits: WireLimits) -> Proof:
        return cls(token=one_count(payload))


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """A page of (document, version), ascending, over all pages of a round; the last one is ``final``."""

    TYPE: ClassVar = MessageType.LISTING
    partition: str
    round: int
    final: bool
    pairs: tuple[tuple[DocumentKey, bytes], ...]

    def payload(self) -> bytes:
        keys = [key for key, _ in self.pairs]
        return pack((self.partition, self.round, self.final, keys, b"".join(version for _, version in self.pairs)))

    @classmethod
    def read(cls, payload: bytes, limits: WireLimits) -> Listing:
        items = unpack(payload, items_max=max(5, 4 * limits.listing_page_keys))
        partition, round_, final, keys, versions = exactly(items, 5)
        if type(keys) is not tuple:
            raise PeerError(ErrorCode.MALFORMED, "a listing of the wrong shape")
        sized(versions, VERSION_BYTES * len(keys))
        listed = tuple(
            [
                (document(key), versions[start : start + VERSION_BYTES])
                for key, start in zip(keys, range(0, len(versions), VERSION_BYTES), strict=True)
            ]
        )
        if any(first[0] >= second[0] for first, second in itertools.pairwise(listed)):
            raise PeerError(ErrorCode.MALFORMED, "a listing out of order")
        round_ = integer(round_, limits.rounds_max, least=1)
        return cls(partition=check_partition(partition), round=round_, final=boolean(final), pairs=listed)


@dataclass(frozen=True, slots=True, kw_only=True)
class Want:
    """Documents whose content the sender lacks, each with the state vector that it holds."""

    TYPE: ClassVar = MessageType.WANT
    partition: str
    documents: tuple[tuple[DocumentKey, bytes], ...]

    def payload(self) -> bytes:
        return pack((self.partition, *flattened(self.documents)))

    @classmethod
    def read(cls, payload: bytes, limits: WireLimits) -> Want:
        items = unpack(payload, items_max=1 + 8 * limits.want_page_keys)
        documents = pairs(items[1:], STATE_VECTOR_BYTES_MAX)
        if not documents:
            raise PeerError(ErrorCode.MALFORMED, "a request for no document")
        return cls(partition=check_partition(items[0]), documents=documents)


@dataclass(frozen=True, slots=True, kw_only=True)
class Documents:
    """A batch in answer to a `Want`: the content that the asking side lacks. ``final``: the request is answered."""

    TYPE: ClassVar = MessageType.DOCUMENTS
    partition: str
    final: bool
    documents: tuple[tuple[DocumentKey, bytes], ...]

    def payload(self) -> bytes:
        return pack((self.partition, self.final, *flattened(self.documents)))

    @classmethod
    def read(cls, payload: bytes, limits: WireLimits) -> Documents:
        items = unpack(payload, items_max=2 + 8 * limits.want_page_keys)
        if len(items) < 2:
            raise PeerError(ErrorCode.MALFORMED, "documents of the wrong shape")
        documents = pairs(items[2:], limits.packet_bytes_max)
        return cls(partition=check_partition(items[0]), final=boolean(items[1]), documents=documents)
