"""How much a store keeps of what it could let go, and from when on it is worth letting go of it without being asked."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class KeepingPolicy:
    """Bounds of what a replica keeps; the defaults are what apps get, a soak reaches smaller ones sooner.

    Args:
        interval_ms: between two looks whether there is enough to fold.
        rows_min: rows of the log that have to be waiting before they are folded.
        removals_min: deleted records and hidden values that have to be waiting before a horizon is made for them.
        operations_kept: completed operations that stay in the journal when their entries are folded.
        results_kept: rows of the sync log; operations that came through together are one row.
    """

    interval_ms: int = 60_000
    rows_min: int = 1_000
    removals_min: int = 100
    operations_kept: int = 1_000
    results_kept: int = 10_000


KEEPING = KeepingPolicy()
"""What every replica has that is given no other one."""
