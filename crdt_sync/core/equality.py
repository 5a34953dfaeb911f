"""When two values are one: the rule by which concurrent writes do not clash."""

from __future__ import annotations

from datetime import datetime, time
from typing import Any


def alike(left: Any, right: Any) -> bool:
    """Whether values of different bytes are equal and of the same type, judged alike on every machine.

    Datetimes with a zone differ where their bytes do: their instant follows from the machine's own list of zones. And
    a datetime's fold, which `==` passes over, makes another one.
    """
    if type(left) is not type(right):
        return False
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(alike(left[key], right[key]) for key in left)
    if isinstance(left, list | tuple):
        return len(left) == len(right) and all(alike(a, b) for a, b in zip(left, right, strict=True))
    if isinstance(left, datetime) and (left.tzinfo is not None or right.tzinfo is not None):
        return False
    if isinstance(left, datetime | time) and left.fold != right.fold:
        return False
    return bool(left == right) or (left != left and right != right)  # noqa: PLR0124  only NaN differs from itself
