"""The part of `Replica` that looks after the soundness of its store."""

from __future__ import annotations

from abc import ABC, abstractmethod

from crdt_sync.replica.checking.findings import CheckReport
from crdt_sync.replica.checking.whole import check_store
from crdt_sync.replica.state import State
from crdt_sync.storage.base import Progress


class ChecksStore(ABC):
    """What a replica offers against damage; what the store keeps is docs/spec/storage.md."""

    _state: State

    @abstractmethod
    def _check_idle(self) -> None:
        """Raise where the replica is closed, in another thread, or amid a transaction."""

    def check(self, *, progress: Progress | None = None) -> CheckReport:
        """Compare everything in the store with everything else in it: checksums, chains, signatures, derived state.

        Nothing is changed, and damage is reported, not raised. It takes about as long as a first sync of all data.

        Args:
            progress: called with (rows whose checksum was compared, rows in total).

        Raises:
            TransactionError: a transaction is open.
        """
        self._check_idle()
        return check_store(self._state.store, progress=progress)
