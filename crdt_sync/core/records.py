"""Signed space records: what devices agree on about the space itself, replicated before the data.

This version knows the binding of an author to the device that may write under it, horizons and devices that are not
waited for any more (`core.horizons`), and names of devices (`core.naming`). End records and roles are further kinds of
the same carrier. A set of records is evaluated alike in any order of arrival.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, NewType

import msgpack
from blake3 import blake3

from crdt_sync.core.entry import RECORD_HASH_BYTES
from crdt_sync.core.horizons import FORGET, HORIZON, ForgetRecord, HorizonRecord, read_forget, read_horizon
from crdt_sync.core.ids import AUTHOR_MAX, Author, DeviceId, author_of, device_id
from crdt_sync.core.limits import ENTRY_LIMITS
from crdt_sync.core.naming import NAME, NameRecord, read_name
from crdt_sync.errors import LimitError, MalformedEntryError

RecordHash = NewType("RecordHash", bytes)
"""16 bytes naming a space record."""

OPEN_SPACE = blake3(b"crdt_sync open space").digest()
"""The constant id of the space that all never-paired stores share."""

RECORD_BYTES_MAX = 64 * 1024
SALT_BYTES = 8


class RecordKind(IntEnum):
    """What a space record states."""

    BIND_AUTHOR = 1
    HORIZON = HORIZON
    FORGET = FORGET
    NAME = NAME


@dataclass(frozen=True, slots=True, kw_only=True)
class SpaceRecord:
    """A signed statement about the space.

    Args:
        kind: what it states.
        space: 32 bytes, the space it is made for.
        parents: the maximal records that its maker knew (at most `EntryLimits.heads_max`).
        author: the author that it binds; it follows from the key and the salt (`ids.author_of`).
        salt: 8 random bytes.
        public_key: 32 bytes, the Ed25519 key of the device that made it.
        signature: 64 bytes over `statement`.
    """

    kind: RecordKind
    space: bytes
    parents: tuple[bytes, ...]
    author: Author
    salt: bytes
    public_key: bytes
    signature: bytes = b""

    def statement(self) -> bytes:
        """The bytes that the device signs."""
        fields = (int(self.kind), self.space, self.parents, self.author, self.salt, self.public_key)
        packed: bytes = msgpack.packb(fields)
        return b"crdt_sync record 0\0" + packed

    def hash(self) -> RecordHash:
        """The record's name; the signature is left out, so that nobody can make two names of one statement."""
        return RecordHash(blake3(self.statement()).digest(RECORD_HASH_BYTES))


AnyRecord = SpaceRecord | HorizonRecord | ForgetRecord | NameRecord
"""Every kind of record that this version knows."""


_READ: dict[int, Callable[[tuple[Any, ...]], AnyRecord]] = {
    HORIZON: read_horizon,
    FORGET: read_forget,
    NAME: read_name,
}


def encode_record(record: AnyRecord) -> bytes:
    """Encode a signed record."""
    if not isinstance(record, SpaceRecord):
        other: bytes = msgpack.packb((*record.fields(), record.signature))
        return other
    packed: bytes = msgpack.packb(
        (
            int(record.kind),
            record.space,
            record.parents,
            record.author,
            record.salt,
            record.public_key,
            record.signature,
        )
    )
    return packed


def decode_record(data: bytes) -> AnyRecord:
    """Decode a record; the caller verifies its signature.

    Raises:
        MalformedEntryError: not a record, or of a kind that this version does not know.
        LimitError: larger than the space allows.
    """
    if len(data) > RECORD_BYTES_MAX:
        raise LimitError("a space record larger than the space allows")
    try:
        raw: Any = msgpack.unpackb(data, use_list=False, strict_map_key=True)
        read = _READ.get(raw[0]) if type(raw[0]) is int else None
        if read is not None:
            return read(raw)
        kind, space, parents, author, salt, public_key, signature = raw
        shapes = [(space, 32), (salt, SALT_BYTES), (public_key, 32), (signature, 64)]
        shapes += [(parent, RECORD_HASH_BYTES) for parent in parents]
        if any(type(item) is not bytes or len(item) != size for item, size in shapes):
            raise MalformedEntryError("a space record of the wrong shape")
        if len(parents) > ENTRY_LIMITS.heads_max or type(author) is not int or not 1 <= author <= AUTHOR_MAX:
            raise MalformedEntryError("a space record with values out of range")
        if author_of(public_key, salt) != author:
            raise MalformedEntryError("a binding of an author that does not follow from its device's key")
        return SpaceRecord(
            kind=RecordKind(kind),
            space=space,
            parents=parents,
            author=Author(author),
            salt=salt,
            public_key=public_key,
            signature=signature,
        )
    except (ValueError, TypeError, LookupError, RecursionError, msgpack.exceptions.UnpackException):
        raise MalformedEntryError("bytes that are no space record") from None


class RecordSet:
    """All verified records of a space, evaluated alike whatever the order in which they came.

    Invariants:
        1. Of several bindings of one author the one with the smallest record hash holds.
        2. `heads` are the records that no other record names as a parent, in order of hash.
        3. A device is enrolled while a binding of it is named in no record that forgets it.
        4. Of a device's names only the one that holds is kept.
    """

    def __init__(self, records: Iterable[AnyRecord] = ()) -> None:
        self._by_hash: dict[RecordHash, AnyRecord] = {}
        self._devices: dict[bytes, set[bytes]] = {}
        self._forgotten: set[bytes] = set()
        self._horizons: dict[bytes, HorizonRecord] = {}
        self._named: set[bytes] = set()
        self._bindings: dict[Author, tuple[RecordHash, bytes]] = {}
        self._names: dict[bytes, NameRecord] = {}
        for record in records:
            self.add(record)

    def __contains__(self, record_hash: bytes) -> bool:
        return record_hash in self._by_hash

    def __len__(self) -> int:
        return len(self._by_hash) + len(self._names)

    def add(self, record: AnyRecord) -> bool:
        """Take in a verified record; True where it was new and is kept."""
        if isinstance(record, NameRecord):
            return self._add_name(record)
        name = RecordHash(record.hash())
        if name in self._by_hash:
            return False
        self._by_hash[name] = record
        self._named.update(record.parents)
        if isinstance(record, HorizonRecord):
            self._horizons[name] = record
            return True
        if isinstance(record, ForgetRecord):
            self._forgotten.update(record.bindings)
            return True
        self._devices.setdefault(record.public_key, set()).add(name)
        held = self._bindings.get(record.author)
        if held is None or name < held[0]:
            self._bindings[record.author] = (name, record.public_key)
        return True

    def _add_name(self, record: NameRecord) -> bool:
        held = self._names.get(record.public_key)
        if held is not None and held.rank() >= record.rank():
            return False
        self._names[record.public_key] = record
        return True

    def name_of(self, public_key: bytes) -> NameRecord | None:
        """What a device calls itself."""
        return self._names.get(public_key)

    def names(self) -> Mapping[DeviceId, str]:
        """The names of all devices that have one."""
        return {device_id(key): record.name for key, record in self._names.items()}

    def bound_key(self, author: Author) -> bytes | None:
        """The public key of the device that may write under ``author``, or None where no record binds it."""
        held = self._bindings.get(author)
        return None if held is None else held[1]

    def binding(self, author: Author) -> RecordHash | None:
        """The record that binds ``author``."""
        held = self._bindings.get(author)
        return None if held is None else held[0]

    def heads(self) -> tuple[RecordHash, ...]:
        """The maximal records, at most `EntryLimits.heads_max` of them."""
        maximal = sorted(name for name in self._by_hash if name not in self._named)
        return tuple(maximal[: ENTRY_LIMITS.heads_max])

    def public_keys(self) -> frozenset[bytes]:
        """The keys of all devices with a binding."""
        return frozenset(self._devices)

    def bindings_of(self, public_key: bytes) -> frozenset[bytes]:
        """The ids of the records that bind an author to a device."""
        return frozenset(self._devices.get(public_key, ()))

    def enrolled(self) -> frozenset[bytes]:
        """The keys of the devices that compaction waits for."""
        return frozenset(key for key, names in self._devices.items() if not names <= self._forgotten)

    def horizons(self) -> Mapping[bytes, HorizonRecord]:
        """All horizons, by id."""
        return self._horizons

    def settled_by(self, later: HorizonRecord) -> HorizonRecord | None:
        """The horizon that a later one settles; None where it names none that is known, or one that it cannot settle.

        One of another partition, or with something in its past that the later one lacks, was not waited for.
        """
        earlier = self._horizons.get(later.previous)
        fits = earlier is not None and earlier.partition == later.partition and later.reaches(earlier)
        return earlier if fits else None

    def settled_partitions(self) -> frozenset[str]:
        """The partitions of which a horizon may have removed documents."""
        return frozenset(record.partition for record in self._horizons.values() if self.settled_by(record) is not None)

    def horizon_tips(self, partition: str, *, is_held: Callable[[HorizonRecord], bool]) -> dict[bytes, HorizonRecord]:
        """The horizons of a partition that no other one settles, nor reaches as far as, by id; the furthest first.

        Args:
            partition: of which they speak.
            is_held: whether a horizon's vector is held; others count for nothing, whatever they claim.
        """
        held = {
            name: record for name, record in self._horizons.items() if record.partition == partition and is_held(record)
        }
        settled = {record.previous for record in held.values() if self.settled_by(record) is not None}
        open_ = [
            (-sum(position.sequence for position in record.vector.values()), name, record)
            for name, record in held.items()
            if name not in settled
        ]
        tips: dict[bytes, HorizonRecord] = {}
        for _, name, record in sorted(open_, key=lambda item: item[:2]):
            if not any(tip.reaches(record) for tip in tips.values()):
                tips[name] = record
        return tips
