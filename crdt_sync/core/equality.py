"""When two values are one: the rule by which concurrent writes do not clash."""

from __future__ import annotations

from datetime import datetime, time
from typing import Any


def alike(left: Any, right: Any) -> bool:
    """Whether values of different bytes are equal and of the same type, judged alike on every machine.

    Datetimes with a zone are equal where their instants are, by the offsets that their writers knew; the values must
    be decoded so (``codec.decode(…, named_zones=False)``). Of those without a zone the fold, which `==` passes over,
    makes another one.
    """
    if type(left) is not type(right):
        return False
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(alike(left[key], right[key]) for key in left)
    if isinstance(left, list | tuple):
        return len(left) == len(right) and all(alike(a, b) for a, b in zip(left, right, strict=True))
    if isinstance(left, datetime | time) and left.tzinfo is None and left.fold != right.fold:
        return False
    return bool(left == right) or (left != left and right != right)  # noqa: PLR0124  only NaN differs from itself
