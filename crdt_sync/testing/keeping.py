"""Whether a merge of lists, tuples or dicts keeps what its users wrote."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from crdt_sync.core import codec
from crdt_sync.core.conflict import UNKNOWN


def lost_elements(base: Any, candidates: Sequence[Any], answer: Any) -> list[Any]:
    """What is missing in a merged value: elements or keys that somebody added, and those that everybody kept.

    What somebody removed may be there or not. Where the base is not known, no addition can be told from what others
    removed: only what all candidates hold is asked for. Of other values nothing is.

    Args:
        base: the common ancestor, or `UNKNOWN`.
        candidates: the concurrent values.
        answer: what they came to.
    """
    held = [_elements(item) for item in candidates]
    found = _elements(answer)
    if found is None or any(item is None for item in held):
        return []
    sides = [item for item in held if item is not None]
    kept = set.intersection(*map(set, sides))
    before = set() if base is UNKNOWN else set(_elements(base) or ())
    wanted = kept if base is UNKNOWN else kept | {name for side in sides for name in side if name not in before}
    return [codec.decode(name) for name in sorted(wanted - set(found))]


def _elements(value: Any) -> list[bytes] | None:
    """Elements, or keys, as value bytes; None of what has none."""
    return [codec.encode(item) for item in value] if isinstance(value, list | tuple | dict) else None
