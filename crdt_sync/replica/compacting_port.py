"""The part of `Port` that is about compaction: what sessions read and hand in, and what the facade asks for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeVar

from crdt_sync.core.ids import DeviceId, DocumentKey
from crdt_sync.protocol.durable import DurableVector
from crdt_sync.protocol.events import SnapshotReceived
from crdt_sync.protocol.source import SnapshotPage, Vector
from crdt_sync.replica.accept import Batch
from crdt_sync.replica.compactor import CompactionReport, Compactor, Progress
from crdt_sync.replica.outlook import CompactionOutlook
from crdt_sync.replica.reverting import Reverted
from crdt_sync.replica.state import Change, State

R = TypeVar("R")


class CompactingPort:
    """What `Port` inherits.

    Args:
        state: the replica.
        compactor: of the same replica.
        check: raises where the replica is closed, in another thread, or amid a local transaction.
    """

    takeovers = 0
    """How often a peer's bases were taken over; sessions with others that began before cannot pass them on."""

    def __init__(self, state: State, compactor: Compactor, *, check: Callable[[], None]) -> None:
        self._state = state
        self._compactor = compactor
        self._check = check

    # ── Source ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def horizon(self, partition: str) -> bytes:
        """Names the horizons that were applied in a partition."""
        return self._compactor.horizon(partition)

    def floors(self) -> Vector:
        """What was folded."""
        self._check()
        return self._guarded(self._compactor.floors)

    def snapshot(
        self, partition: str, *, after: DocumentKey | None, root: bytes, keys_max: int, bytes_max: int
    ) -> SnapshotPage:
        """Some bases of a partition."""
        self._check()
        self._state.store.flush()  # bases may have been folded since the log last grew
        return self._compactor.snapshot(partition, after=after, root=root, keys_max=keys_max, bytes_max=bytes_max)

    def holdings(self, known: Mapping[bytes, int]) -> tuple[DurableVector, ...]:
        """Signed vectors that somebody lacks."""
        self._check()
        vectors = self._compactor.holdings(known)
        if vectors:
            self._state.store.flush()  # ours names horizons, which may have been applied since the log last grew
        return vectors

    def holdings_known(self, public_key: bytes) -> Mapping[bytes, int]:
        """What a device knew of signed vectors at the end of its last proven session."""
        return self._compactor.holdings_known(public_key)

    # ── what sessions hand in ────────────────────────────────────────────────────────────────────────────────────────

    def accept_holdings(self, vectors: Iterable[DurableVector], *, sender: bytes) -> int:
        """Keep signed vectors that are newer than those known; returns how many were.

        Args:
            vectors: what came.
            sender: public key of the device that sent them.
        """
        self._check()
        return self._compactor.accept_holdings(vectors, sender=sender)

    def told_holdings(self, public_key: bytes, known: Mapping[bytes, int]) -> None:
        """Note what a device knows of signed vectors."""
        self._check()
        self._compactor.told_holdings(public_key, known)

    def accept_snapshot(self, event: SnapshotReceived, public_key: bytes) -> Batch:
        """Stage a page of a peer's bases, or take them over, durably. `Batch.restated` says that they were taken."""
        self._check()
        batch = self._guarded(
            lambda: self._compactor.accept_snapshot(
                event.partition,
                event.documents,
                is_first=event.first,
                voucher=event.voucher,
                public_key=public_key,
            )
        )
        self._state.store.flush()
        self.takeovers += batch.restated
        return batch

    # ── what the facade asks for ─────────────────────────────────────────────────────────────────────────────────────

    def compact(self, *, retention_ms: int | None, progress: Progress | None) -> CompactionReport:
        """Compact; see `Replica.compact`."""
        self._check()
        return self._guarded(lambda: self._compactor.compact(retention_ms=retention_ms, progress=progress))

    def compaction_outlook(self, *, retention_ms: int | None) -> CompactionOutlook:
        """What compacting would do; see `Replica.compaction_outlook`."""
        self._check()
        return self._compactor.outlook(retention_ms=retention_ms)

    def compact_some(self) -> bool:
        """Compact a little; see `Replica.compact_some`."""
        self._check()
        return self._guarded(self._compactor.compact_some)

    def forget_device(self, device: DeviceId) -> None:
        """Wait for a device no more; see `Replica.forget_device`."""
        self._check()
        self._guarded(lambda: self._compactor.forget(device))

    def revert(self, operation_id: str) -> Reverted:
        """Take back what failed, durably; see `Replica.revert`."""
        self._check()
        return self._guarded(lambda: self._compactor.revert(operation_id))

    # ── inside ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def _apply_horizons(self) -> Sequence[Change]:
        return self._guarded(self._compactor.apply_due)

    def _guarded(self, work: Callable[[], R]) -> R:
        try:
            return work()
        except BaseException:
            self._state.reload()
            raise
