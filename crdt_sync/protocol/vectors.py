"""State vectors of a replica: the last entry of each author that it holds durably, in each partition.

On the wire a vector is ``[partition, positions, partition, positions, ...]``, partitions ascending. ``positions`` is
one byte ``w`` and then, for each author ascending, 5 bytes of author, ``w`` bytes of sequence and the first 16 bytes of
the chain hash, all big-endian. A fixed width keeps the parser a slice; ``w`` is as small as the highest sequence
allows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from blake3 import blake3

from crdt_sync.core.entry import SEQUENCE_MAX, ChainHash
from crdt_sync.core.ids import AUTHOR_MAX, Author
from crdt_sync.core.limits import ENTRY_LIMITS
from crdt_sync.protocol.codes import ErrorCode, PeerError
from crdt_sync.protocol.limits import WireLimits

WIRE_HASH_BYTES = 16
VECTOR_HASH_BYTES = 16
_AUTHOR_BYTES = 5


@dataclass(frozen=True, slots=True)
class Position:
    """An entry of an author's chain.

    Args:
        sequence: 1 for the first entry; 0 means none.
        hash: the chain hash there, 32 bytes; of a position that only the peer holds, its first 16 bytes.
    """

    sequence: int
    hash: ChainHash


Vector = Mapping[str, Mapping[Author, Position]]
"""Positions by partition and author."""


def vector_hash(positions: Mapping[Author, Position], *, horizon: bytes = b"") -> bytes:
    """Name one partition's vector by 16 bytes; equal hashes mean equal vectors, chain hashes included.

    Args:
        positions: by author.
        horizon: names what was removed at horizons, which moves no vector; empty for nothing.
    """
    digest = blake3(derive_key_context="crdt_sync 2026 vector")
    digest.update(
        b"".join(
            author.to_bytes(_AUTHOR_BYTES, "big") + position.sequence.to_bytes(7, "big") + position.hash
            for author, position in sorted(positions.items())
        )
    )
    digest.update(horizon)
    return digest.digest(VECTOR_HASH_BYTES)


def pack_positions(positions: Mapping[Author, Position]) -> bytes:
    """Encode one partition's positions."""
    highest = max((position.sequence for position in positions.values()), default=0)
    width = max(1, (highest.bit_length() + 7) // 8)
    parts = [bytes((width,))]
    for author, position in sorted(positions.items()):
        parts.append(author.to_bytes(_AUTHOR_BYTES, "big"))
        parts.append(position.sequence.to_bytes(width, "big"))
        parts.append(position.hash[:WIRE_HASH_BYTES].ljust(WIRE_HASH_BYTES, b"\0"))
    return b"".join(parts)


def unpack_positions(data: Any, limits: WireLimits) -> dict[Author, Position]:
    """Decode one partition's positions; raises `PeerError`."""
    if type(data) is not bytes or not data or not 1 <= data[0] <= 7:
        raise PeerError(ErrorCode.MALFORMED, "positions of the wrong shape")
    middle = _AUTHOR_BYTES + data[0]
    size = middle + WIRE_HASH_BYTES
    if (len(data) - 1) % size:
        raise PeerError(ErrorCode.MALFORMED, "positions that do not add up")
    if (len(data) - 1) // size > limits.authors_max:
        raise PeerError(ErrorCode.TOO_LARGE, "more authors than a vector may have")
    positions: dict[Author, Position] = {}
    previous = 0
    for start in range(1, len(data), size):
        author = int.from_bytes(data[start : start + _AUTHOR_BYTES], "big")
        sequence = int.from_bytes(data[start + _AUTHOR_BYTES : start + middle], "big")
        if not previous < author <= AUTHOR_MAX or sequence > SEQUENCE_MAX:
            raise PeerError(ErrorCode.MALFORMED, "authors out of order or range")
        positions[Author(author)] = Position(sequence, ChainHash(data[start + middle : start + size]))
        previous = author
    return positions


def flatten_vector(vector: Vector) -> list[str | bytes]:
    """The message form of a vector; equal vectors give equal forms."""
    flat: list[str | bytes] = []
    for partition in sorted(vector):
        if vector[partition]:
            flat += (partition, pack_positions(vector[partition]))
    return flat


def restore_vector(flat: tuple[Any, ...], limits: WireLimits) -> dict[str, dict[Author, Position]]:
    """Read the message form; raises `PeerError`."""
    if len(flat) % 2:
        raise PeerError(ErrorCode.MALFORMED, "a vector of odd length")
    if len(flat) // 2 > limits.partitions_max:
        raise PeerError(ErrorCode.TOO_LARGE, "more partitions than a vector may have")
    vector: dict[str, dict[Author, Position]] = {}
    previous: str | None = None
    for partition, data in zip(flat[::2], flat[1::2], strict=True):
        check_partition(partition)
        if previous is not None and partition <= previous:
            raise PeerError(ErrorCode.MALFORMED, "partitions out of order")
        vector[partition] = unpack_positions(data, limits)
        previous = partition
    return vector


def flat_digest(flat: list[str | bytes]) -> bytes:
    """Name a whole vector by 16 bytes of hash over its message form."""
    digest = blake3(derive_key_context="crdt_sync 2026 vector of all partitions")
    for item in flat:
        data = item.encode() if isinstance(item, str) else item
        digest.update(len(data).to_bytes(4, "big") + data)
    return digest.digest(VECTOR_HASH_BYTES)


def check_partition(value: Any) -> str:
    """A partition's name as it comes from a peer; raises `PeerError`."""
    if not isinstance(value, str) or len(value.encode("utf-8", "surrogatepass")) > ENTRY_LIMITS.name_bytes_max:
        raise PeerError(ErrorCode.MALFORMED, "a partition's name of the wrong shape")
    return value
