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
from crdt_sync.storage.base import Store, Table

_MET: Final = b"\0u"
"""How keys begin that say which device was met at an address."""
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
    """The device that answered last at an address."""
    data = store.get(Table.HOLDING, _MET + shown_url(address).encode())
    return None if data is None else DeviceId(data.decode())


def note_met_at(store: Store, address: str, device: DeviceId) -> None:
    """Note who answers at an address, in the caller's store transaction."""
    store.put(Table.HOLDING, _MET + shown_url(address).encode(), device.encode())
