"""What devices said of themselves in a session, where that is less than what they had signed before.

A store that was wiped, or put back from a backup, holds less than its device once signed for; whoever meets it learns
that at once, and keeps it here until the device itself says or signs otherwise. What others pass on of it may be older.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from crdt_sync.core.ids import Author, DeviceId
from crdt_sync.protocol.limits import WireLimits
from crdt_sync.protocol.vectors import WIRE_HASH_BYTES, Position, Vector, flatten_vector, restore_vector
from crdt_sync.replica.kept_content import KeptContent
from crdt_sync.replica.packing import pack_values, unpack_shaped
from crdt_sync.storage.base import Store, Table

STATED: Final = b"\0n"
"""How keys begin that say what a device stated."""
_LIMITS: Final = WireLimits()


def stated_by(store: Store, device: DeviceId) -> Vector | None:
    """What a device said that it holds; None where what it signed stands."""
    data = store.get(Table.HOLDING, STATED + device.encode())
    return None if data is None else read_stated(data)


def read_stated(data: bytes) -> Vector:
    """Read a row.

    Raises:
        CorruptStoreError, PeerError: it cannot be read.
    """
    (flat,) = unpack_shaped(data, ([object],), table=Table.HOLDING)
    return restore_vector(flat, _LIMITS)


def note_stated(store: Store, device: DeviceId, stated: Vector, *, signed: Vector) -> None:
    """Note what a device said at the beginning of a session, in a store transaction of its own.

    Args:
        store: where.
        device: which one.
        stated: all that it holds durably, but for chains of which it holds another branch.
        signed: what it is known to have signed for.
    """
    name = STATED + device.encode()
    row = None if _covers(stated, signed) else pack_values(flatten_vector(stated))
    if row == store.get(Table.HOLDING, name):
        return
    with store.transaction():
        if row is None:
            store.delete(Table.HOLDING, name)
        else:
            store.put(Table.HOLDING, name, row)


def note_more(store: Store, device: DeviceId, positions: Vector, *, signed: Vector) -> None:
    """Note what a device has acknowledged since it stated less, in a store transaction of its own."""
    stated = stated_by(store, device)
    if stated is not None:
        merged = {partition: dict(ends) for partition, ends in stated.items()}
        for partition, ends in positions.items():
            said = merged.setdefault(partition, {})
            said.update({name: end for name, end in ends.items() if name not in said or _reaches(end, said[name])})
        note_stated(store, device, merged, signed=signed)


def note_nothing(store: Store, device: DeviceId) -> None:
    """A device counts as holding nothing until it is met again, in the caller's store transaction."""
    KeptContent(store).drop_holder(device)
    store.put(Table.HOLDING, STATED + device.encode(), pack_values([]))


def forget_stated(store: Store, device: DeviceId) -> None:
    """What a device signs now stands, in the caller's store transaction."""
    store.delete(Table.HOLDING, STATED + device.encode())


def as_stated(signed: Vector, stated: Vector) -> dict[str, dict[Author, Position]]:
    """What of a signed vector stands after what its device said since."""
    return {
        partition: {
            author: position if _reaches(said[author], position) else said[author]
            for author, position in ends.items()
            if author in said
        }
        for partition, ends in signed.items()
        if (said := stated.get(partition, {}))
    }


def _covers(stated: Vector, signed: Vector) -> bool:
    def covered(said: Mapping[Author, Position], ends: Mapping[Author, Position]) -> bool:
        return all(author in said and _reaches(said[author], position) for author, position in ends.items())

    return all(covered(stated.get(partition, {}), ends) for partition, ends in signed.items())


def _reaches(said: Position, signed: Position) -> bool:
    if said.sequence == signed.sequence:
        return said.hash[:WIRE_HASH_BYTES] == signed.hash[:WIRE_HASH_BYTES]
    return said.sequence > signed.sequence
