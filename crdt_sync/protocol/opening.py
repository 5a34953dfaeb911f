"""Messages of the opening: who speaks, and what it holds of records and entries."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import ClassVar

from crdt_sync.core.entry import RECORD_HASH_BYTES
from crdt_sync.core.ids import Author
from crdt_sync.protocol.codes import ErrorCode, MessageType, PeerError
from crdt_sync.protocol.fields import bounded, sized
from crdt_sync.protocol.limits import CREDIT_BYTES_FLOOR, FRAME_BYTES_FLOOR, WireLimits
from crdt_sync.protocol.source import Source
from crdt_sync.protocol.vectors import VECTOR_HASH_BYTES, Position, flatten_vector, restore_vector
from crdt_sync.protocol.wire import pack, unpack

FRAME_BYTES_LOG2_MAX = 30
CREDIT_BYTES_LOG2_MAX = 40
TIME_MS_MAX = 2**48 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Hello:
    """Who speaks, since when, at what time, and what it can take.

    Args:
        replica_id: 16 bytes. epoch: 8 bytes.
        time_ms: the sender's clock, in ms since 1970.
        version_low: lowest and ``version_high`` highest version of the wire that it speaks.
        frame_bytes_log2: largest frame it takes; ``credit_bytes_log2`` the window of bulk data it grants.
    """

    TYPE: ClassVar = MessageType.HELLO
    LAYOUT: ClassVar = struct.Struct(">16s8s6sBBBB")
    replica_id: bytes
    epoch: bytes
    time_ms: int
    version_low: int
    version_high: int
    frame_bytes_log2: int
    credit_bytes_log2: int

    @classmethod
    def of(cls, source: Source, limits: WireLimits, versions: tuple[int, ...], *, now_ms: int) -> Hello:
        """The hello of this side."""
        return cls(
            replica_id=source.replica_id,
            epoch=source.epoch,
            time_ms=min(max(0, now_ms), TIME_MS_MAX),
            version_low=min(versions),
            version_high=max(versions),
            frame_bytes_log2=limits.frame_bytes_log2,
            credit_bytes_log2=limits.credit_bytes_log2,
        )

    def payload(self) -> bytes:
        """The message's bytes behind type and length."""
        return self.LAYOUT.pack(
            self.replica_id,
            self.epoch,
            self.time_ms.to_bytes(6, "big"),
            self.version_low,
            self.version_high,
            self.frame_bytes_log2,
            self.credit_bytes_log2,
        )

    @classmethod
    def read(cls, payload: bytes, _limits: WireLimits) -> Hello:
        """Read a payload that anybody may have sent; raises `PeerError`."""
        if not cls.LAYOUT.size <= len(payload) <= 1024:  # a later version may append
            raise PeerError(ErrorCode.MALFORMED, "a hello of the wrong size")
        replica, epoch, time, low, high, frame, credit = cls.LAYOUT.unpack_from(payload)
        return cls(
            replica_id=replica,
            epoch=epoch,
            time_ms=int.from_bytes(time, "big"),
            version_low=low,
            version_high=high,
            frame_bytes_log2=frame,
            credit_bytes_log2=credit,
        )

    def agree(self, limits: WireLimits, versions: tuple[int, ...]) -> int:
        """Check a peer's hello against our side; returns the largest frame that both take. Raises `PeerError`."""
        if not any(self.version_low <= version <= self.version_high for version in versions):
            raise PeerError(ErrorCode.VERSION, "no version of the wire in common")
        if self.frame_bytes_log2 < FRAME_BYTES_FLOOR.bit_length() - 1:
            raise PeerError(ErrorCode.LIMITS, "frames too small to work with")
        if not CREDIT_BYTES_FLOOR.bit_length() - 1 <= self.credit_bytes_log2 <= CREDIT_BYTES_LOG2_MAX:
            raise PeerError(ErrorCode.LIMITS, "a window too small, or too large, to work with")
        return min(limits.frame_bytes_max, 1 << min(self.frame_bytes_log2, FRAME_BYTES_LOG2_MAX))


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """The ids of all space records that the sender holds: the first 16 bytes of each one's blake3."""

    TYPE: ClassVar = MessageType.HELD
    ids: tuple[bytes, ...]

    def payload(self) -> bytes:
        return b"".join(self.ids)

    @classmethod
    def read(cls, payload: bytes, limits: WireLimits) -> Held:
        size = RECORD_HASH_BYTES
        if len(payload) % size:
            raise PeerError(ErrorCode.MALFORMED, "record ids that do not add up")
        if len(payload) // size > limits.records_max:
            raise PeerError(ErrorCode.TOO_LARGE, "more record ids than allowed")
        return cls(ids=tuple([payload[start : start + size] for start in range(0, len(payload), size)]))


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldDigest:
    """One hash over the ids of all space records that the sender holds, where a list would be long."""

    TYPE: ClassVar = MessageType.HELD_DIGEST
    digest: bytes

    def payload(self) -> bytes:
        return self.digest

    @classmethod
    def read(cls, payload: bytes, _limits: WireLimits) -> HeldDigest:
        return cls(digest=sized(payload, RECORD_HASH_BYTES))


@dataclass(frozen=True, slots=True, kw_only=True)
class Records:
    """Space records that the receiver lacks, in the order in which the sender got them."""

    TYPE: ClassVar = MessageType.RECORDS
    records: tuple[bytes, ...]

    def payload(self) -> bytes:
        return pack(self.records)

    @classmethod
    def read(cls, payload: bytes, limits: WireLimits) -> Records:
        records = unpack(payload, items_max=limits.records_max)
        for record in records:
            if bounded(record, limits.record_bytes_max) == b"":
                raise PeerError(ErrorCode.MALFORMED, "an empty record")
        return cls(records=records)


@dataclass(frozen=True, slots=True, kw_only=True)
class VectorMessage:
    """What the sender holds durably, in full. A later one replaces all that was said before."""

    TYPE: ClassVar = MessageType.VECTOR
    vector: dict[str, dict[Author, Position]]

    def payload(self) -> bytes:
        return pack(flatten_vector(self.vector))

    @classmethod
    def read(cls, payload: bytes, limits: WireLimits) -> VectorMessage:
        return cls(vector=restore_vector(unpack(payload, items_max=2 * limits.partitions_max + 2), limits))


@dataclass(frozen=True, slots=True, kw_only=True)
class VectorDigest:
    """One hash over the whole vector, where it would be long."""

    TYPE: ClassVar = MessageType.VECTOR_DIGEST
    digest: bytes

    def payload(self) -> bytes:
        return self.digest

    @classmethod
    def read(cls, payload: bytes, _limits: WireLimits) -> VectorDigest:
        return cls(digest=sized(payload, VECTOR_HASH_BYTES))
