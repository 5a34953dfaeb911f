"""When two values are one: the rule by which concurrent writes do not clash, and the one by which nothing changed."""

from __future__ import annotations

from datetime import datetime, time
from decimal import Decimal
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


def _moment(value: datetime | time) -> tuple[str, int, str | None]:
    """What tells moments apart that may be equal: text with the offset, fold, and the zone's name."""
    return value.isoformat(), value.fold, getattr(value.tzinfo, "key", None)


def is_same(left: Any, right: Any) -> bool:
    """Whether nobody could tell two decoded values apart: what `==` passes over counts, and NaN is itself."""
    if left is right:
        return True
    if type(left) is not type(right):
        return False
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(is_same(left[key], right[key]) for key in left)
    if isinstance(left, list | tuple):
        return len(left) == len(right) and all(is_same(a, b) for a, b in zip(left, right, strict=True))
    if isinstance(left, set):
        ours = {item: item for item in left}
        return left == right and all(is_same(ours[item], item) for item in right)
    if isinstance(left, datetime | time):
        return _moment(left) == _moment(right)
    if isinstance(left, float | Decimal):
        return repr(left) == repr(right)
    return bool(left == right)
