"""The part of `Replica` that keeps a store small."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable

from crdt_sync.core.ids import DeviceId
from crdt_sync.errors import InputError
from crdt_sync.replica.compactor import CompactionReport
from crdt_sync.replica.outlook import CompactionOutlook
from crdt_sync.replica.port import Port


class KeepsSmall(ABC):
    """What a replica offers about compaction; how it works: docs/adr/0013-compaction.md."""

    port: Port

    @abstractmethod
    def _check_idle(self) -> None:
        """Raise where the replica is closed, in another thread, or amid a transaction."""

    @abstractmethod
    def _check(self) -> None:
        """Raise where the replica is closed or in another thread."""

    def compact(
        self, *, retention_s: float | None = None, progress: Callable[[int, int], None] | None = None
    ) -> CompactionReport:
        """Fold what every device of the space holds into its documents, and send deleted records on their way out.

        Values, versions and conflicts stay as they are; `history` begins with what was folded as one item.

        Args:
            retention_s: devices that have told nothing for so long are not waited for, as far as the log goes.
            progress: called with (rows done, rows in total).

        Raises:
            InputError: ``retention_s`` is no number, or below 0, or without an end.
            StoreReadOnlyError: opened read-only.
            TransactionError: a transaction is open.
        """
        self._check_idle()
        return self.port.compact(retention_ms=_milliseconds(retention_s), progress=progress)

    def compaction_outlook(self, *, retention_s: float | None = None) -> CompactionOutlook:
        """What `compact` would do now, and which devices hold it up; nothing is changed.

        Args:
            retention_s: as for `compact`.

        Raises:
            InputError: as for `compact`.
            TransactionError: a transaction is open.
        """
        self._check_idle()
        return self.port.compaction_outlook(retention_ms=_milliseconds(retention_s))

    def compact_some(self) -> bool:
        """Do a little of what is worth compacting, as `serve` and `SyncManager` do now and then.

        Returns:
            Whether there is more to do at once. Nothing happens amid a transaction.
        """
        self._check()
        return not self.port.busy() and self.port.compact_some()

    def forget_device(self, device: str, /) -> None:
        """Wait for a device no more when compacting, on every replica; it is enrolled again when it comes back.

        Args:
            device: its id.

        Raises:
            InputError: no such device is enrolled, or it is this one.
            StoreReadOnlyError: opened read-only.
        """
        self._check_idle()
        self.port.forget_device(DeviceId(device))


def _milliseconds(retention_s: float | None) -> int | None:
    if retention_s is None:
        return None
    if type(retention_s) not in (int, float) or not 0 <= retention_s < math.inf:
        raise InputError("retention_s is a number of seconds from 0", hint="Leave it out to wait for every device.")
    return int(retention_s * 1000)
