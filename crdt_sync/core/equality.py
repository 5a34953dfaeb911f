"""When two values are one: the rule by which concurrent writes do not clash, and the one by which nothing changed."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any, Final

_DAY: Final = timedelta(hours=23, minutes=59)
_OFFSETS: Final = (timedelta(0), _DAY, -_DAY)
"""The first in which a moment can be written stands for all offsets; UTC cannot write those at the ends of time."""
_ANY_DATE: Final = date(2000, 1, 2)


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


def canonical(value: Any) -> Any:
    """The value that stands for all that are `alike` one, so that the bytes of two are equal where they are alike."""
    if isinstance(value, float):
        return float("nan") if value != value else value + 0.0  # noqa: PLR0124  NaN; and -0.0 + 0.0 is 0.0
    if isinstance(value, Decimal):
        return _canonical_decimal(value)
    if isinstance(value, datetime):
        return value if value.utcoffset() is None else _at_first_offset(value)
    if isinstance(value, time):
        return value if value.utcoffset() is None else _time_at_first_offset(value)
    if isinstance(value, list | tuple):
        return type(value)(map(canonical, value))
    if isinstance(value, dict):
        return {key: canonical(item) for key, item in value.items()}
    return value


def _canonical_decimal(value: Decimal) -> Decimal:
    """Without zeros at the end, and without what tells zeros and NaNs apart; `normalize` would round."""
    sign, digits, exponent = value.as_tuple()
    if not isinstance(exponent, int):
        return Decimal("NaN") if value.is_nan() else value
    if not any(digits):
        return Decimal(0)
    kept = len(digits)
    while not digits[kept - 1]:
        kept -= 1
    return Decimal((sign, digits[:kept], exponent + len(digits) - kept))


def _at_first_offset(value: datetime) -> datetime:
    wall, offset = value.replace(tzinfo=None, fold=0), value.utcoffset() or timedelta(0)
    for other in _OFFSETS:
        try:
            return (wall + (other - offset)).replace(tzinfo=timezone(other))
        except OverflowError:
            continue  # beyond the ends of time at this offset
    return value


def _time_at_first_offset(value: time) -> time:
    """The same time at another offset, where that is on the same day: times of two days are not equal."""
    wall, offset = datetime.combine(_ANY_DATE, value.replace(tzinfo=None)), value.utcoffset() or timedelta(0)
    for other in _OFFSETS:
        moved = wall + (other - offset)
        if moved.date() == _ANY_DATE:
            return moved.time().replace(tzinfo=timezone(other), fold=0)
    return value


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
