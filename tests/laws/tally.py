"""How many examples each law was held against, so that a run can be quoted."""

from __future__ import annotations

from collections import Counter

_tried: Counter[str] = Counter()


def note(law: str) -> None:
    """One more example is tried."""
    _tried[law] += 1


def take() -> dict[str, int]:
    """Law → examples since the last time."""
    counts = dict(_tried)
    _tried.clear()
    return counts
