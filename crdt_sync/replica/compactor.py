"""Compaction of one replica: when it folds, what it tells and takes from peers, and which horizons it makes."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from crdt_sync.core.ids import Author, DeviceId, DocumentKey, device_id
from crdt_sync.core.logs import told
from crdt_sync.errors import EntryError, InputError, StoreReadOnlyError
from crdt_sync.protocol.durable import DurableVector
from crdt_sync.protocol.source import ApplyOutcome, SnapshotPage, Vector, Voucher
from crdt_sync.replica.accept import Batch
from crdt_sync.replica.compaction import Folding
from crdt_sync.replica.content import refused_content
from crdt_sync.replica.holdings import HoldingsBook
from crdt_sync.replica.home import note_gone
from crdt_sync.replica.horizons import Horizons
from crdt_sync.replica.journal import Journal
from crdt_sync.replica.outlook import CompactionOutlook, awaited
from crdt_sync.replica.reverting import Reverted, revert
from crdt_sync.replica.rows import number_key
from crdt_sync.replica.staging import discard, floor_of, snapshot_page, stage
from crdt_sync.replica.state import Change, State
from crdt_sync.replica.takeover import take_over
from crdt_sync.replica.taking import begun, go_on
from crdt_sync.storage.base import Table

log = logging.getLogger("crdt_sync.replica")

AUTOMATIC_RETENTION_MS = 90 * 86_400_000
"""What is folded without being asked to does not wait for devices that told nothing for so long; deletions do."""
AUTOMATIC_TOUCHES = 256
"""Operations that are folded in one go while an event loop waits: some 20 ms."""

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class CompactionReport:
    """What a compaction did, and what it could not do.

    Args:
        rows_before: rows of the log.
        rows_after: of them left.
        documents_folded: bases that were written.
        documents_before: documents, deleted records among them.
        documents_after: of them left.
        operations_dropped: completed operations that left the journal.
        values_removed: superseded values that nobody needs any more, taken out of live records.
        bytes_before: of the store's file; 0 for one in memory.
        bytes_after: the same afterwards.
        waiting_for: devices without which more could be folded.
        horizon_made: whether deleted records, or superseded values, are on their way out: they go when every device has
            synced again.
    """

    rows_before: int
    rows_after: int
    documents_folded: int
    documents_before: int
    documents_after: int
    operations_dropped: int
    values_removed: int
    bytes_before: int
    bytes_after: int
    waiting_for: tuple[DeviceId, ...]
    horizon_made: bool


class Compactor:
    """Implements the part of `protocol.source.Source` that is about compaction, and compacts.

    Args:
        state: the replica.
        journal: its operations.
        own_vector: what this replica holds durably, as its sessions tell it.
        acknowledged: the last entry under an author of ours that anybody has acknowledged.
        sent: the last one that anybody has acknowledged, or may hold without that.
        taken: the last one that anybody has, or may have, but for those who did not take what failed.
        publish: tells observers.
        wake: wakes sessions: there is a new record.
    """

    def __init__(
        self,
        state: State,
        journal: Journal,
        *,
        own_vector: Callable[[], Vector],
        acknowledged: Callable[[Author], int],
        sent: Callable[[Author], int],
        taken: Callable[[Author], int],
        publish: Callable[[Sequence[Change]], None],
        wake: Callable[[], None],
    ) -> None:
        self._state = state
        self._journal = journal
        self._own_vector = own_vector
        self._said_held = acknowledged
        self._sent = sent
        self._taken = taken
        self._publish = publish
        self._wake = wake
        self._book = HoldingsBook(state)
        self._horizons = Horizons(state, self._book)
        self._folding = Folding(state, journal)
        self._looked_ms = 0
        state.locks = self._horizons.locks
        state.has_settled = self._horizons.has_settled
        state.is_settled = self._horizons.is_settled
        self._finish_begun()
        self.apply_due()  # a process that was killed may have left some

    # ── what sessions read ───────────────────────────────────────────────────────────────────────────────────────────

    def horizon(self, partition: str) -> bytes:
        """Names the horizons that were applied in a partition."""
        return self._horizons.digest(partition)

    def floors(self) -> Vector:
        """What was folded. A folding that is under way is finished first, since bases are ahead of the floor then."""
        self._publish(self._finish_begun())
        while self._folding.target:
            self._folding.step()
        return {partition: floor_of(self._state, partition) for partition in self._state.ledger.floors}

    def snapshot(
        self, partition: str, *, after: DocumentKey | None, root: bytes, keys_max: int, bytes_max: int
    ) -> SnapshotPage:
        """Some bases of a partition."""
        return snapshot_page(self._state, partition, after=after, root=root, keys_max=keys_max, bytes_max=bytes_max)

    def holdings(self, known: Mapping[bytes, int]) -> tuple[DurableVector, ...]:
        """Signed vectors that somebody lacks."""
        return self._book.unknown_to(known, self._own_vector())

    def holdings_known(self, public_key: bytes) -> Mapping[bytes, int]:
        """What a device knew of signed vectors at the end of its last proven session."""
        return self._book.known_to(public_key)

    # ── what sessions hand in ────────────────────────────────────────────────────────────────────────────────────────

    def accept_holdings(self, vectors: Iterable[DurableVector], *, sender: bytes) -> int:
        """Keep signed vectors; returns how many were new."""
        return self._book.accept(vectors, sender=sender)

    def told_holdings(self, public_key: bytes, known: Mapping[bytes, int]) -> None:
        """Note what a device knows of signed vectors."""
        self._book.note_known(public_key, known)

    def accept_snapshot(
        self,
        partition: str,
        documents: Sequence[tuple[DocumentKey, bytes]],
        *,
        is_first: bool,
        voucher: Voucher | None,
        public_key: bytes,
    ) -> Batch:
        """Stage a page of a peer's bases; with the voucher, take them over. `Batch.restated` says that they were."""
        batch = Batch(changes=self._finish_begun())
        try:
            stage(self._state, partition, documents, is_first=is_first)
            if voucher is not None:
                batch.changes += take_over(
                    self._state,
                    self._horizons,
                    self._journal,
                    partition,
                    voucher=voucher,
                    public_key=public_key,
                    acknowledged=self._said_held,
                    sent=self._sent,
                )
                batch.changes += self.apply_due()
                batch.restated = True
        except EntryError as error:
            told(log, logging.WARNING, "a snapshot was refused", reason=error.message)
            discard(self._state, partition)
            batch.outcome = ApplyOutcome(statuses=(refused_content(self._state, partition, error),))
        return batch

    def revert(self, operation_id: str) -> Reverted:
        """Take back a change that failed."""
        return revert(self._state, self._journal, self._horizons, operation_id, sent=self._taken)

    def apply_due(self) -> list[Change]:
        """Apply the horizons whose vector this replica has come to hold."""
        changes: list[Change] = []
        if self._state.identity is None or not self._state.records.horizons():
            return changes
        while due := self._horizons.due():
            changes += self._horizons.apply(due[0])
        return changes

    def _finish_begun(self) -> list[Change]:
        """Bring what was being taken over from a peer, when something went wrong, to its end."""
        if self._state.identity is None:
            return []
        return [
            change
            for partition in begun(self._state)
            for change in go_on(self._state, self._horizons, self._journal, partition)
        ]

    # ── compacting ───────────────────────────────────────────────────────────────────────────────────────────────────

    def compact(self, *, retention_ms: int | None = None, progress: Progress | None = None) -> CompactionReport:
        """Fold what every device holds, and send deleted records on their way out; see `Replica.compact`."""
        self._require_writable()
        store = self._state.store
        rows, documents, size = store.count(Table.LOG), store.count(Table.VERSION), self._bytes()
        own = self._own_vector()
        changes = self.apply_due()
        made = self._propose(own, removals_min=1)
        changes += self.apply_due()
        values = self._trim(own)  # before folding: the log tells what was written since the horizon
        folded = self._fold(own, retention_ms=retention_ms, progress=progress)
        dropped = self._folding.trim_journal()
        store.give_back()
        self._publish(changes)
        return CompactionReport(
            rows_before=rows,
            rows_after=store.count(Table.LOG),
            documents_folded=folded,
            documents_before=documents,
            documents_after=store.count(Table.VERSION),
            operations_dropped=dropped,
            values_removed=values,
            bytes_before=size,
            bytes_after=self._bytes(),
            waiting_for=tuple(device.device_id for device in awaited(self._state, self._book, own)),
            horizon_made=made,
        )

    def outlook(self, *, retention_ms: int | None = None) -> CompactionOutlook:
        """What `compact` would do now; see `Replica.compaction_outlook`."""
        store, own = self._state.store, self._own_vector()
        reach = max(self._folding.target, self._folding.reach(self._acknowledged(own, retention_ms=retention_ms)))
        records = values = 0
        for partition in own:
            dead, hidden = self._horizons.waiting(partition, own)
            records, values = records + dead, values + hidden
        return CompactionOutlook(
            rows=store.count(Table.LOG),
            rows_to_fold=store.count(Table.LOG, end=number_key(reach + 1)),
            documents=store.count(Table.VERSION),
            records_to_remove=records,
            values_to_remove=values,
            waiting_for=awaited(self._state, self._book, own),
        )

    def compact_some(self) -> bool:
        """Do a little of what is worth doing without being asked to; whether there is more to do at once.

        A replica that knows no other device is left as it is: whoever comes first gets its entries.
        """
        state = self._state
        if state.identity is None or state.doubted:
            return False
        if self._folding.target:
            is_last = self._folding.step(touches_max=AUTOMATIC_TOUCHES).is_last
            if is_last:
                self._folding.trim_journal()
            return not is_last
        now_ms, keeping = state.now_ms(), state.keeping
        if 0 <= now_ms - self._looked_ms < keeping.interval_ms or len(state.records.enrolled()) < 2:
            return False
        self._looked_ms = now_ms
        if state.store.count(Table.LOG) < keeping.rows_min:
            return False
        own = self._own_vector()
        acknowledged = self._acknowledged(own, retention_ms=AUTOMATIC_RETENTION_MS)
        reach = self._folding.reach(acknowledged)
        if state.store.count(Table.LOG, end=number_key(reach + 1)) < keeping.rows_min:
            return False
        crowded = tuple(self._folding.crowded)
        self._propose(own, removals_min=keeping.removals_min, among=crowded)
        self._publish(self.apply_due())
        self._trim(own, among=crowded)
        return self._folding.begin(acknowledged) > 0

    def forget(self, device: DeviceId) -> None:
        """Wait for a device no more; see `Replica.forget_device`."""
        self._require_writable()
        keys = [key for key in self._state.records.enrolled() if device_id(key) == device]
        if not keys:
            raise InputError(f"no device {device} is enrolled here", hint="`crdt-sync status` lists the devices.")
        identity = self._state.identity
        if identity is not None and keys[0] == identity.key.public_key:
            raise InputError("a device cannot forget itself", hint="Say it on another device.")
        with self._state.store.transaction():
            self._horizons.forget(keys[0])
            note_gone(self._state, self._journal, device)
        self._wake()

    def _fold(self, own: Vector, *, retention_ms: int | None, progress: Progress | None) -> int:
        acknowledged = self._acknowledged(own, retention_ms=retention_ms)
        rows = documents = 0
        while total := self._folding.begin(acknowledged):
            total += rows
            is_last = False
            while not is_last:
                step = self._folding.step()
                rows, documents, is_last = rows + step.rows, documents + step.documents, step.is_last
                if progress is not None:
                    progress(rows, max(rows, total))
        return documents

    def _trim(self, own: Vector, *, among: Collection[DocumentKey] | None = None) -> int:
        gone = sum(self._horizons.trim(partition, among=among) for partition in own)
        if gone:
            self._wake()
        return gone

    def _propose(self, own: Vector, *, removals_min: int, among: Collection[DocumentKey] | None = None) -> bool:
        acknowledged = self._acknowledged(own, retention_ms=None)
        self._book.unknown_to({}, own)  # our own is signed anew, and names the horizons that we know
        proposed = [
            self._horizons.propose(partition, own, acknowledged, removals_min=removals_min, among=among)
            for partition in own
        ]
        if any(proposed):
            self._wake()
        return any(proposed)

    def _acknowledged(self, own: Vector, *, retention_ms: int | None) -> dict[str, dict[Author, int]]:
        devices = set(self._state.records.enrolled())
        if retention_ms is not None:
            oldest = self._state.now_ms() - retention_ms
            held = self._book.latest()
            devices = {key for key in devices if key not in held or held[key].stamp >= oldest}
        return self._book.acknowledged(own, devices)

    def _bytes(self) -> int:
        path = self._state.store.path
        return 0 if path is None else path.stat().st_size

    def _require_writable(self) -> None:
        if self._state.identity is None:
            raise StoreReadOnlyError("a replica that was opened read-only cannot be compacted")
