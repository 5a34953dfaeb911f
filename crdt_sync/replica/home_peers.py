"""Which peers are home: those that the app named for its `SyncManager`; where it named none, every peer is (ADR 19).

An app names addresses. Home is the device that answered last at one of them; what the store keeps of an address is the
url without what may be secret in it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from crdt_sync.core.ids import DeviceId
from crdt_sync.core.logs import shown_url
from crdt_sync.replica.packing import pack_values, unpack_shaped
from crdt_sync.replica.rows import after_prefix
from crdt_sync.storage.base import Store, Table

_MET: Final = b"\0u"
"""How keys begin that say which device was met at an address."""
_GONE: Final = b"-"
"""Stands before such a device that was given up: it counts as nobody until it is waited for again, or met there."""
MET_MAX: Final = 64
"""Addresses of which is kept who was met there, beside those that are home."""
_HOME: Final = b"\0h"
"""The key of the addresses that are home."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HomePeer:
    """A peer that the app named.

    Args:
        address: where it is dialled, without user, password and query.
        device_id: the device that answered there last; None where none has yet.
    """

    address: str
    device_id: DeviceId | None


def home_peers(store: Store) -> tuple[HomePeer, ...]:
    """The peers that were named last; none where every peer is home."""
    data = store.get(Table.HOLDING, _HOME)
    return tuple(HomePeer(address=place, device_id=met_at(store, place)) for place in read_home(data))


def read_home(data: bytes | None) -> tuple[str, ...]:
    """Read the row of the addresses.

    Raises:
        CorruptStoreError: it cannot be read.
    """
    places: tuple[str, ...] = () if data is None else unpack_shaped(data, ([str],), table=Table.HOLDING)[0]
    return places


def home_devices(store: Store) -> frozenset[DeviceId] | None:
    """The devices that are home; None where all are."""
    peers = home_peers(store)
    return frozenset(peer.device_id for peer in peers if peer.device_id is not None) if peers else None


def is_home(store: Store, device: DeviceId) -> bool:
    """Whether a device is home."""
    devices = home_devices(store)
    return devices is None or device in devices


def name_home(store: Store, addresses: Iterable[str]) -> None:
    """Have these addresses be home, in place of those named before; in the caller's store transaction."""
    places = list(dict.fromkeys(map(shown_url, addresses)))
    if places:
        store.put(Table.HOLDING, _HOME, pack_values(places))
    else:
        store.delete(Table.HOLDING, _HOME)


def is_named(store: Store, addresses: Iterable[str]) -> bool:
    """Whether just these addresses are home now."""
    return [peer.address for peer in home_peers(store)] == list(dict.fromkeys(map(shown_url, addresses)))


def met_at(store: Store, address: str) -> DeviceId | None:
    """The device that answered last at an address; None where none did, or it was given up since."""
    data = store.get(Table.HOLDING, _key(address))
    return None if data is None or data.startswith(_GONE) else DeviceId(data.decode())


def note_met_at(store: Store, address: str, device: DeviceId) -> None:
    """Note who answers at an address, in the caller's store transaction."""
    key = _key(address)
    if store.get(Table.HOLDING, key) is None:
        _make_room(store, device)
    store.put(Table.HOLDING, key, device.encode())


def leave_home(store: Store, device: DeviceId) -> None:
    """A device is given up: nobody is at the addresses where it answered, in the caller's store transaction."""
    for key, value in _met(store):
        if value == device.encode():
            store.put(Table.HOLDING, key, _GONE + value)


def come_home(store: Store, device: DeviceId) -> bool:
    """A device that was given up is waited for again: whether it answers anywhere. In the caller's transaction."""
    keys = [key for key, value in _met(store) if value == _GONE + device.encode()]
    for key in keys:
        store.put(Table.HOLDING, key, device.encode())
    return bool(keys)


def _make_room(store: Store, device: DeviceId) -> None:
    """Let go of one address where there are too many: where the same device was met, if there is one."""
    home = {_key(peer.address) for peer in home_peers(store)}
    spare = {key: value for key, value in _met(store) if key not in home}
    if len(spare) >= MET_MAX:
        same = (key for key, value in spare.items() if value.removeprefix(_GONE) == device.encode())
        store.delete(Table.HOLDING, next(same, next(iter(spare))))


def _met(store: Store) -> list[tuple[bytes, bytes]]:
    return list(store.scan(Table.HOLDING, start=_MET, end=after_prefix(_MET)))


def _key(address: str) -> bytes:
    return _MET + shown_url(address).encode()
