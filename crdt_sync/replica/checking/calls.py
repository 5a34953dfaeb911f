"""The part of `Replica` that looks after the soundness of its store."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path

from crdt_sync.errors import StoreReadOnlyError
from crdt_sync.replica.arguments import checked_path
from crdt_sync.replica.checking.findings import CheckReport
from crdt_sync.replica.checking.whole import check_store
from crdt_sync.replica.opening import default_state_dir
from crdt_sync.replica.port import Port
from crdt_sync.replica.repairing import RepairReport, repair_store
from crdt_sync.replica.repairing.returning import Returning, ReturnReport
from crdt_sync.replica.restoring import RestoreReport, put_back
from crdt_sync.replica.state import State
from crdt_sync.storage.base import Progress


class ChecksStore(ABC):
    """What a replica offers against damage; what the store keeps is docs/spec/storage.md."""

    _state: State
    port: Port
    """What sessions and their pumps use."""

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

    def put_back_quarantined(self, file: str | Path, /) -> ReturnReport:
        """Take back from a quarantine file what is sound now, as entries are whose missing predecessor has arrived.

        Each row is judged as if a stranger had sent it: by its chain, its signature and what it rests on. So the file
        may be read back at any time, and again. Entries, space records and own operations come back; what follows from
        the log, or what nobody signed, does not.

        Args:
            file: as a repair wrote it; it is left as it is.

        Raises:
            InputError: a path that cannot be, or a file that cannot be read or is no quarantine file.
            StoreReadOnlyError: the replica was opened read-only.
            TransactionError: a transaction is open.
        """
        self._check_idle()
        path = checked_path(file, what="the path of a quarantine file")
        if self._state.identity is None:
            raise StoreReadOnlyError("the replica was opened read-only")
        return Returning(self._state, self.port).run(path)

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
