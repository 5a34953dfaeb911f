"""The part of `Replica` that looks after the soundness of its store."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path

from crdt_sync.replica.arguments import checked_path
from crdt_sync.replica.checking.findings import CheckReport
from crdt_sync.replica.checking.whole import check_store
from crdt_sync.replica.opening import default_state_dir
from crdt_sync.replica.repairing import RepairReport, repair_store
from crdt_sync.replica.restoring import RestoreReport, put_back
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

    @staticmethod
    def repair(
        path: str | Path,
        /,
        *,
        state_dir: str | Path | None = None,
        dry_run: bool = False,
        progress: Progress | None = None,
    ) -> RepairReport:
        """Mend a damaged store that nobody has open, as far as what is in it allows; what is missing a sync fetches.

        A new file is made of what is sound, checked, and put in the store's place in one step; the damaged one stays
        beside it, and so does a quarantine file with each row that could not stay. A sound store is left as it is.
        Where entries were lost, the store goes on under a new epoch and a new author.

        Args:
            path: of the store.
            state_dir: where keys and fences are kept, instead of the user's state directory.
            dry_run: tell what would be done, and leave everything as it is.
            progress: called with (rows taken over, rows in total).

        Raises:
            InputError: a path that cannot be.
            StoreInUseError: somebody has it open.
            StoreNotFoundError, NotAStoreError, StoreVersionError: it is no store of this version.
            CorruptStoreError: the file cannot be read at all.
            StoreError: there is no space for copies beside it. After each of these nothing was changed.
        """
        where = default_state_dir() if state_dir is None else checked_path(state_dir, what="state_dir")
        place = checked_path(path, what="the path of a store")
        return repair_store(place, state_dir=where, dry_run=dry_run, progress=progress)

    @staticmethod
    def put_back(path: str | Path, backup: str | Path, /, *, state_dir: str | Path | None = None) -> RestoreReport:
        """Put a copy of a backup in the place of a store that nobody has open, and that may be gone or damaged.

        What was there stays beside it under another name. The store goes on under a new epoch and a new author.

        Args:
            path: of the store.
            backup: a file that `backup` made.
            state_dir: where keys and fences are kept, instead of the user's state directory.

        Raises:
            InputError: a path that cannot be.
            StoreError: the backup is of another store; or there is no space.
            StoreNotFoundError, NotAStoreError, StoreVersionError, CorruptStoreError: the backup cannot be used.
            StoreInUseError: somebody has the store open. After each of these nothing was changed.
        """
        where = default_state_dir() if state_dir is None else checked_path(state_dir, what="state_dir")
        place, copy = checked_path(path, what="the path of a store"), checked_path(backup, what="the path of a backup")
        return put_back(place, copy, state_dir=where)
