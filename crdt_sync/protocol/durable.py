"""Signed durable vectors: what a device says, under its signature, that it holds; passed on by whoever knows it.

Compaction rests on them: an entry is folded once the latest vectors of all enrolled devices cover it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from crdt_sync.core.entry import RECORD_HASH_BYTES
from crdt_sync.core.ids import Author
from crdt_sync.protocol.codes import ErrorCode, MessageType, PeerError
from crdt_sync.protocol.fields import bounded, exactly, integer, sized
from crdt_sync.protocol.limits import WireLimits
from crdt_sync.protocol.vectors import Position, flatten_vector, restore_vector
from crdt_sync.protocol.wire import pack, unpack

KEY_BYTES = 32
SIGNATURE_BYTES = 64
STAMP_MAX = 2**48 - 1
HORIZONS_MAX = 16
"""Horizons that one vector names."""
DURABLE_BYTES_MAX = 64 * 1024
"""Of one signed vector; a device with more authors than fit tells none, so nothing is folded on its account."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DurableVector:
    """What one device held durably when it signed this.

    Args:
        public_key: 32 bytes, the device's.
        stamp: grows with every vector that the device signs; ms since 1970, unless its clock went back.
        vector: positions by partition and author, with the first 16 bytes of each chain hash.
        horizons: ids of the latest horizons that it has applied, 16 bytes each.
        signature: 64 bytes over `statement`.
    """

    public_key: bytes
    stamp: int
    vector: Mapping[str, Mapping[Author, Position]]
    horizons: tuple[bytes, ...] = ()
    signature: bytes = b""

    def statement(self, space: bytes) -> bytes:
        """The bytes that the device signs."""
        fields = (space, self.public_key, self.stamp, flatten_vector(self.vector), self.horizons)
        return b"crdt_sync holding 0\0" + pack(fields)

    def encode(self) -> bytes:
        """The bytes that are kept and passed on."""
        return pack((self.public_key, self.stamp, flatten_vector(self.vector), self.horizons, self.signature))


def decode_durable(data: bytes, limits: WireLimits) -> DurableVector:
    """Read a signed vector; the caller verifies the signature.

    Raises:
        PeerError: it is none.
    """
    items = unpack(data, items_max=2 * limits.partitions_max + HORIZONS_MAX + 8)
    public_key, stamp, flat, horizons, signature = exactly(items, 5)
    if type(flat) is not tuple or type(horizons) is not tuple or len(horizons) > HORIZONS_MAX:
        raise PeerError(ErrorCode.MALFORMED, "a signed vector of the wrong shape")
    return DurableVector(
        public_key=sized(public_key, KEY_BYTES),
        stamp=integer(stamp, STAMP_MAX),
        vector=restore_vector(flat, limits),
        horizons=tuple([sized(name, RECORD_HASH_BYTES) for name in horizons]),
        signature=sized(signature, SIGNATURE_BYTES),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Holdings:
    """Signed vectors that the receiver does not know yet: the sender's own, and the latest of others."""

    TYPE: ClassVar = MessageType.HOLDINGS
    vectors: tuple[bytes, ...]

    def payload(self) -> bytes:
        return pack(self.vectors)

    @classmethod
    def read(cls, payload: bytes, limits: WireLimits) -> Holdings:
        items: tuple[Any, ...] = unpack(payload, items_max=limits.holdings_max)
        return cls(vectors=tuple([bounded(item, DURABLE_BYTES_MAX) for item in items]))
