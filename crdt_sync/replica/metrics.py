"""Metrics: how sync is going, in numbers. `prometheus.py` gives them to Prometheus."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final

from crdt_sync.core.clock import physical_ms
from crdt_sync.errors import InputError
from crdt_sync.replica.journal import Journal
from crdt_sync.replica.operations import OperationStatus
from crdt_sync.replica.report import Moved
from crdt_sync.replica.state import State
from crdt_sync.replica.totals import Totals
from crdt_sync.storage.base import Table

RECENT_MAX: Final = 1_000
"""Operations that processing times are taken from: the latest that were completed ..."""
LOOKED_AT_MAX: Final = 10_000
"""... among so many of the latest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessingTime:
    """From the commit of an operation to the word of a home peer that it holds it, milliseconds.

    Args:
        number: operations that it is taken from: the latest that were completed.
        mean_ms: their mean.
        p50_ms: half of them took no longer.
        p95_ms: 95 of 100 took no longer.
        p99_ms: 99 of 100 took no longer.
    """

    number: int
    mean_ms: float
    p50_ms: int
    p95_ms: int
    p99_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Metrics:
    """How sync is going. Counts go on over opens; those of a process that was killed may be missing in part.

    Args:
        pending: operations that wait for a home peer.
        completed: operations that a home peer holds.
        failed: operations that were refused.
        success_rate: completed / (completed + failed); None before the first result.
        oldest_pending_s: how long the oldest pending operation has waited; None where none waits.
        processing: how long operations took; None before the first was completed.
        conflicts_open: conflicts that wait for a choice.
        conflicts_opened: conflicts that were ever seen to open here.
        foreign_entries: entries of other devices that were applied.
        conflict_rate: conflicts opened for 1,000 foreign entries; None before the first.
        entries_drifted: foreign entries whose time was too far ahead to follow.
        entries_refused: foreign entries that were refused.
        entries_parked: foreign entries that were set aside, to be judged when more is known.
        sessions: conversations with peers that got past the handshake and ended.
        reconnects: tries to reach a peer again, after a loss or in vain, by `connect` and `SyncManager`.
        clock_offset_s: the clock of the peer that said hello last, minus ours; None before the first.
        traffic: bytes and messages each way, handshakes included.
    """

    pending: int
    completed: int
    failed: int
    success_rate: float | None
    oldest_pending_s: float | None
    processing: ProcessingTime | None
    conflicts_open: int
    conflicts_opened: int
    foreign_entries: int
    conflict_rate: float | None
    entries_drifted: int
    entries_refused: int
    entries_parked: int
    sessions: int
    reconnects: int
    clock_offset_s: float | None
    traffic: Moved


def metrics_of(state: State, journal: Journal) -> Metrics:
    """The metrics of an open replica."""
    totals = Totals.of(state.store) if state.identity is None else state.totals
    pending, failed = journal.pending_count(), journal.failed_count()
    completed = _made(journal) - pending - failed
    oldest = next((row for _, row in journal.rows(status=OperationStatus.PENDING)), None)
    return Metrics(
        pending=pending,
        completed=completed,
        failed=failed,
        success_rate=completed / (completed + failed) if completed + failed else None,
        oldest_pending_s=None if oldest is None else max(0, state.now_ms() - physical_ms(oldest.hlc)) / 1000,
        processing=_processing(journal),
        conflicts_open=state.store.count(Table.CONFLICT),
        conflicts_opened=totals.conflicts_opened,
        foreign_entries=totals.foreign_entries,
        conflict_rate=totals.conflicts_opened / totals.foreign_entries * 1000 if totals.foreign_entries else None,
        entries_drifted=totals.drifted,
        entries_refused=totals.refused,
        entries_parked=totals.parked,
        sessions=totals.sessions,
        reconnects=totals.reconnects,
        clock_offset_s=totals.clock_offset_ms / 1000 if totals.hellos or totals.sessions else None,
        traffic=Moved(
            bytes_in=totals.bytes_in,
            bytes_out=totals.bytes_out,
            messages_in=totals.messages_in,
            messages_out=totals.messages_out,
        ),
    )


def _made(journal: Journal) -> int:
    """How many operations were ever made; compaction lets go of old ones that were completed."""
    try:
        return int(journal.last_id())
    except InputError:
        return 0  # none yet


def _processing(journal: Journal) -> ProcessingTime | None:
    latest = (row for _, row in islice(journal.rows(latest_first=True), LOOKED_AT_MAX))
    times = [max(0, row.finished_ms - physical_ms(row.hlc)) for row in latest if row.finished_ms and not row.error]
    del times[RECENT_MAX:]
    if not times:
        return None
    times.sort()
    return ProcessingTime(
        number=len(times),
        mean_ms=sum(times) / len(times),
        p50_ms=_percentile(times, 50),
        p95_ms=_percentile(times, 95),
        p99_ms=_percentile(times, 99),
    )


def _percentile(ascending: Sequence[int], percent: int) -> int:
    """The nearest-rank percentile."""
    return ascending[max(0, -(-len(ascending) * percent // 100) - 1)]
