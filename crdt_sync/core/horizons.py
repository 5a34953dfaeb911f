"""Two kinds of signed space records on which compaction rests: horizons, and devices that are not waited for any more.

A *horizon* names a vector that every enrolled device held when it was made. A later horizon that names it as the one
before it settles it: what was deleted as of the earlier one, and was not touched until the later one, is gone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import msgpack
from blake3 import blake3

from crdt_sync.core.entry import RECORD_HASH_BYTES, SEQUENCE_MAX
from crdt_sync.core.ids import AUTHOR_MAX, Author
from crdt_sync.core.limits import ENTRY_LIMITS
from crdt_sync.errors import MalformedEntryError

HORIZON: Final = 2
FORGET: Final = 3
"""Numbers of the kinds of record; a binding is 1."""
POSITION_HASH_BYTES: Final = 16
_KEY_BYTES, _SIGNATURE_BYTES, _SPACE_BYTES = 32, 64, 32


class HorizonPosition(NamedTuple):
    """An entry of an author's chain: its sequence, and the first 16 bytes of the chain hash there."""

    sequence: int
    hash: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class HorizonRecord:
    """A vector that all enrolled devices held.

    Args:
        space: 32 bytes.
        parents: the maximal records that its maker knew.
        partition: of which it speaks.
        previous: id of the horizon that it settles (16 bytes); empty where it settles none.
        vector: position by author.
        public_key: 32 bytes, of the device that made it.
        signature: 64 bytes over `statement`.
    """

    space: bytes
    parents: tuple[bytes, ...]
    partition: str
    previous: bytes
    vector: Mapping[Author, HorizonPosition]
    public_key: bytes
    signature: bytes = b""

    @property
    def kind(self) -> int:
        """Its number among the kinds of record."""
        return HORIZON

    def fields(self) -> tuple[Any, ...]:
        """What is signed, in order."""
        flat = [(author, *position) for author, position in sorted(self.vector.items())]
        return (HORIZON, self.space, self.parents, self.partition, self.previous, flat, self.public_key)

    def statement(self) -> bytes:
        """The bytes that the device signs."""
        return _statement(self.fields())

    def hash(self) -> bytes:
        """The record's id (16 bytes)."""
        return blake3(self.statement()).digest(RECORD_HASH_BYTES)

    def covers(self, author: Author, sequence: int) -> bool:
        """Whether an entry lies in the horizon's past."""
        held = self.vector.get(author)
        return held is not None and sequence <= held.sequence

    def reaches(self, other: HorizonRecord) -> bool:
        """Whether everything in another horizon's past lies in this one's."""
        return all(self.covers(author, position.sequence) for author, position in other.vector.items())


@dataclass(frozen=True, slots=True, kw_only=True)
class ForgetRecord:
    """A device is not waited for any more, until it binds another author.

    Args:
        space: 32 bytes.
        parents: the maximal records that its maker knew.
        device: 32 bytes, the public key of the device that is forgotten.
        bindings: ids of its bindings that the maker knew; a later one enrols it again.
        public_key: 32 bytes, of the device that made the record.
        signature: 64 bytes over `statement`.
    """

    space: bytes
    parents: tuple[bytes, ...]
    device: bytes
    bindings: tuple[bytes, ...]
    public_key: bytes
    signature: bytes = b""

    @property
    def kind(self) -> int:
        """Its number among the kinds of record."""
        return FORGET

    def fields(self) -> tuple[Any, ...]:
        """What is signed, in order."""
        return (FORGET, self.space, self.parents, self.device, self.bindings, self.public_key)

    def statement(self) -> bytes:
        """The bytes that the device signs."""
        return _statement(self.fields())

    def hash(self) -> bytes:
        """The record's id (16 bytes)."""
        return blake3(self.statement()).digest(RECORD_HASH_BYTES)


def read_horizon(raw: tuple[Any, ...]) -> HorizonRecord:
    """A horizon from its unpacked fields and signature.

    Raises:
        MalformedEntryError, ValueError, TypeError: it is none.
    """
    _, space, parents, partition, previous, flat, public_key, signature = raw
    if type(partition) is not str or len(partition.encode()) > ENTRY_LIMITS.name_bytes_max:
        raise MalformedEntryError("a horizon of a partition that cannot be")
    if type(previous) is not bytes or len(previous) not in (0, RECORD_HASH_BYTES):
        raise MalformedEntryError("a horizon after something that is no record")
    vector: dict[Author, HorizonPosition] = {}
    for author, sequence, digest in flat:
        in_range = type(author) is int and type(sequence) is int and 1 <= sequence <= SEQUENCE_MAX
        if not in_range or not max(vector, default=0) < author <= AUTHOR_MAX:
            raise MalformedEntryError("a horizon with positions out of order or range")
        vector[Author(author)] = HorizonPosition(sequence, _sized(digest, POSITION_HASH_BYTES))
    return HorizonRecord(
        space=_sized(space, _SPACE_BYTES),
        parents=_ids(parents),
        partition=partition,
        previous=previous,
        vector=vector,
        public_key=_sized(public_key, _KEY_BYTES),
        signature=_sized(signature, _SIGNATURE_BYTES),
    )


def read_forget(raw: tuple[Any, ...]) -> ForgetRecord:
    """A forgetting from its unpacked fields and signature.

    Raises:
        MalformedEntryError, ValueError, TypeError: it is none.
    """
    _, space, parents, device, bindings, public_key, signature = raw
    return ForgetRecord(
        space=_sized(space, _SPACE_BYTES),
        parents=_ids(parents),
        device=_sized(device, _KEY_BYTES),
        bindings=_ids(bindings, most=ENTRY_LIMITS.authors_max),
        public_key=_sized(public_key, _KEY_BYTES),
        signature=_sized(signature, _SIGNATURE_BYTES),
    )


def _statement(fields: tuple[Any, ...]) -> bytes:
    packed: bytes = msgpack.packb(fields)
    return b"crdt_sync record 0\0" + packed


def _ids(items: Any, *, most: int = ENTRY_LIMITS.heads_max) -> tuple[bytes, ...]:
    if type(items) is not tuple or len(items) > most:
        raise MalformedEntryError("a space record that names more records than it may")
    return tuple([_sized(item, RECORD_HASH_BYTES) for item in items])


def _sized(item: Any, size: int) -> bytes:
    if type(item) is not bytes or len(item) != size:
        raise MalformedEntryError("a space record of the wrong shape")
    return item
