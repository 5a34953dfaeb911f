"""Batches that a peer sends: numbered, noted, and turned into what the host is told."""

from __future__ import annotations

from crdt_sync.protocol.comparing import Documents
from crdt_sync.protocol.events import DocumentsReceived, RunsReceived, SnapshotReceived
from crdt_sync.protocol.flow import Inflow, run_head
from crdt_sync.protocol.messages import Runs
from crdt_sync.protocol.reconciling import Reconciling
from crdt_sync.protocol.snapshots import Snapshot, Snapshots
from crdt_sync.protocol.standing import Standing

BatchEvent = RunsReceived | DocumentsReceived | SnapshotReceived


class Receiving:
    """Takes in the batches of one session.

    Invariant: runs of a peer that is below our floor are numbered and acknowledged, but not handed to the host: they
    may rest on what is gone here. The acknowledgement says so, and the peer sends them again when it has taken over.
    """

    def __init__(self, inflow: Inflow, standing: Standing, reconciling: Reconciling, snapshots: Snapshots) -> None:
        self._inflow = inflow
        self._standing = standing
        self._reconciling = reconciling
        self._snapshots = snapshots

    def receive(self, message: Runs | Documents | Snapshot, size_bytes: int) -> BatchEvent:
        """Number a batch; raises `PeerError`."""
        if isinstance(message, Runs):
            return self._receive_runs(message, size_bytes)
        batch = self._inflow.receive_batch(size_bytes, ())
        if isinstance(message, Snapshot):
            return SnapshotReceived(
                batch=batch,
                partition=message.partition,
                first=message.first,
                documents=message.documents,
                voucher=message.voucher,
            )
        self._reconciling.receive_documents(message, batch)
        return DocumentsReceived(batch=batch, partition=message.partition, documents=message.documents)

    def _receive_runs(self, message: Runs, size_bytes: int) -> RunsReceived:
        heads = tuple([run_head(run) for run in message.runs])
        batch = self._inflow.receive_batch(size_bytes, heads)
        self._standing.advance(heads)
        behind = self._snapshots.behind
        is_early = bool(behind) and any(partition in behind for partition, *_ in heads)
        return RunsReceived(batch=batch, runs=() if is_early else message.runs)
