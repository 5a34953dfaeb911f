"""The part of `Replica` that is about what devices are called."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from types import MappingProxyType

from crdt_sync.core.ids import DeviceId
from crdt_sync.core.naming import checked_name
from crdt_sync.errors import StoreReadOnlyError
from crdt_sync.replica.observers import Observers
from crdt_sync.replica.opening import write_name
from crdt_sync.replica.state import State, load_records


class NamesDevices(ABC):
    """What a replica offers about names of devices. They replicate; each device names itself."""

    _state: State
    _observers: Observers

    @abstractmethod
    def _check_idle(self) -> None:
        """Raise where the replica is closed, in another thread, or amid a transaction."""

    @abstractmethod
    def _check(self) -> None:
        """Raise where the replica is closed or in another thread."""

    @property
    def device_names(self) -> Mapping[DeviceId, str]:
        """What the devices of the space call themselves, by device id; several may have chosen one name.

        A name is what another device wrote: show it with a part of the id, and without what is not printable.
        """
        self._check()
        is_reader = self._state.identity is None  # another process may have written a name and nothing else
        records = load_records(self._state.store) if is_reader else self._state.records
        return MappingProxyType(dict(records.names()))

    def name_device(self, name: str, /) -> None:
        """Call this device by another name, here and on every replica that hears of it.

        Args:
            name: 1 to 64 printable characters; spaces around it are left out.

        Raises:
            InputError: no such name; nothing was changed.
            StoreReadOnlyError: opened read-only.
            TransactionError: a transaction is open.
        """
        self._check_idle()
        if self._state.identity is None:
            raise StoreReadOnlyError("this replica was opened read-only")
        if write_name(self._state, checked_name(name)):
            self._observers.wake()
