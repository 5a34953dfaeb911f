"""What there is besides this copy: what other devices are known to hold, and backups."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path

from crdt_sync.core.ids import Author, DeviceId, device_id, split_document_key
from crdt_sync.errors import InputError
from crdt_sync.protocol.durable import DurableVector
from crdt_sync.protocol.vectors import Vector
from crdt_sync.replica.arguments import checked_path
from crdt_sync.replica.backup import BackupReport, back_up
from crdt_sync.replica.holdings import HoldingsBook
from crdt_sync.replica.home_peers import HomePeer, home_peers
from crdt_sync.replica.journal import Journal
from crdt_sync.replica.kept_content import KeptContent
from crdt_sync.replica.operations import SyncOperation
from crdt_sync.replica.own_operation import own_row
from crdt_sync.replica.rows import NO_ENTRY
from crdt_sync.replica.state import State
from crdt_sync.storage.base import Progress, Table


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceHolding:
    """How much of what is here another device is known to hold.

    Args:
        device_id: the device.
        told_ms: when it signed what it held, by its own clock, milliseconds since 1970.
        missing: entries that are here and that it is not known to hold.
        lacks_content: whether it is not known to hold the content here that is in no entry.
    """

    device_id: DeviceId
    told_ms: int
    missing: int
    lacks_content: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class WipeSafety:
    """Whether this device's store may be wiped without a loss; true in a condition where it may.

    Args:
        entries: how many entries are here.
        devices: the other devices that ever told what they hold, those that lack least first.
        pending: operations of this device that wait for a home peer.
        failed: operations of this device that were refused: no other device has them.
        parked: runs of branches that stayed apart, kept here as evidence; they count for nothing here.
        local_keys: keys in `Replica.local`. They are private to the device and go with it; they count for nothing here.
        kept_content: records with content that is in no entry, as after a repair: no count of entries tells who has it.
    """

    entries: int
    devices: tuple[DeviceHolding, ...]
    pending: int
    failed: int
    parked: int
    local_keys: int
    kept_content: int = 0

    def __bool__(self) -> bool:
        return any(holding.missing == 0 and not holding.lacks_content for holding in self.devices)


class DurabilityCalls(ABC):
    """What a replica offers about copies of its data.

    A device counts as holding what it said, with its signature, to hold durably. Each says so when a session has proven
    that both sides are equal, and once a minute while one is open; replicas pass the latest word of each on. What it
    shows at the beginning of a session to hold no more counts no more, at once. A device that was wiped since, and was
    not met here, is not known to be wiped.
    """

    _state: State
    _journal: Journal

    @abstractmethod
    def _check(self) -> None:
        """Raise where the replica is closed or in another thread."""

    @abstractmethod
    def _check_idle(self) -> None:
        """Raise where the replica is closed, in another thread, or amid a transaction."""

    def durability(self, operation: SyncOperation, /) -> tuple[DeviceId, ...]:
        """The other devices that are known to hold an operation of this one durably, in order of their ids.

        Args:
            operation: as `operations` gives it; what happened to it since then counts.

        Raises:
            InputError: it is no operation of this replica.
        """
        self._check()
        _, row = own_row(self._journal, operation, device_id=str(self._state.device() or ""))
        partition, own = split_document_key(row.document)[0], self._state.ledger.vector()
        if row.sequence == NO_ENTRY or row.author not in own.get(partition, {}):
            return ()
        book = HoldingsBook(self._state)
        return tuple(
            sorted(
                device_id(key)
                for key, vector in self._others(book).items()
                if book.reach(vector, partition, row.author, own=own) >= row.sequence
            )
        )

    def safe_to_wipe(self) -> WipeSafety:
        """Whether another device is known to hold everything that is here; if none is, what each lacks."""
        self._check()
        store, own = self._state.store, self._state.ledger.vector()
        book, kept = HoldingsBook(self._state), KeptContent(store)
        documents, holders = kept.documents, kept.holders
        holdings = [
            DeviceHolding(
                device_id=device_id(key),
                told_ms=vector.stamp,
                missing=_missing(book, vector, own),
                lacks_content=bool(documents) and device_id(key) not in holders,
            )
            for key, vector in self._others(book).items()
        ]
        return WipeSafety(
            entries=sum(position.sequence for ends in own.values() for position in ends.values()),
            devices=tuple(
                sorted(holdings, key=lambda holding: (holding.missing, holding.lacks_content, holding.device_id))
            ),
            pending=self._journal.pending_count(),
            failed=self._journal.failed_count(),
            parked=store.count(Table.EVIDENCE),
            local_keys=store.count(Table.LOCAL),
            kept_content=documents,
        )

    def home_peers(self) -> tuple[HomePeer, ...]:
        """The peers that are home: a change is completed once one of them holds it durably, whoever else does.

        They are those that the `SyncManager` which was entered last was given. Where it was given none, or there never
        was one, there are none here, and every peer is home.
        """
        self._check()
        return home_peers(self._state.store)

    def backup(self, path: str | Path, /, *, progress: Progress | None = None) -> BackupReport:
        """Copy the store into a new file while it is in use, and check the copy.

        Opened at the old place, in place of a lost store, or elsewhere, the copy goes on as what it is: under a new
        epoch and a new author. The device's key is not in it.

        Args:
            path: where nothing is yet.
            progress: called with (rows checked, rows in total).

        Raises:
            StoreError: something exists at ``path``, it cannot be written, or the store is damaged; nothing is left
                there.
            TransactionError: a transaction is open.
        """
        self._check_idle()
        if progress is not None and not callable(progress):
            raise InputError("progress is a function of two numbers", hint="Leave it out, or give a function.")
        return back_up(self._state.store, checked_path(path, what="the path of a backup"), progress=progress)

    def _others(self, book: HoldingsBook) -> dict[bytes, DurableVector]:
        """The latest word of each device but this one, by public key.

        A store that was copied, or that lost its key, has the word of the device that it was. Whether that one is
        another device by now shows where it holds something that was written here since.
        """
        identity, records, lease = self._state.identity, self._state.records, self._state.lease
        own = lease.own_authors()
        mine = {records.bound_key(author) for author in own}
        if identity is not None:
            mine.add(identity.key.public_key)
        before = {records.bound_key(author) for author in lease.journaled_authors()} - mine
        return {
            key: vector
            for key, vector in book.held().items()
            if key not in mine and (key not in before or _holds_any(vector, own))
        }


def _holds_any(vector: DurableVector, authors: frozenset[Author]) -> bool:
    return any(not authors.isdisjoint(ends) for ends in vector.vector.values())


def _missing(book: HoldingsBook, vector: DurableVector, own: Vector) -> int:
    """How many entries of ours a device is not known to hold."""
    return sum(
        max(0, position.sequence - book.reach(vector, partition, author, own=own))
        for partition, ends in own.items()
        for author, position in ends.items()
    )
