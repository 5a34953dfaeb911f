"""Values of every type that a field may hold, for Hypothesis."""

from __future__ import annotations

import math
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from hypothesis import strategies as st

FIXED_ZONES = [UTC, timezone(timedelta(hours=5, minutes=45)), timezone(timedelta(hours=-11))]
ZONES = [*FIXED_ZONES, ZoneInfo("Europe/Berlin"), ZoneInfo("America/New_York"), ZoneInfo("UTC")]

texts = st.text(st.characters(exclude_categories=["Cs"]))
scalars: st.SearchStrategy[Any] = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-(2**200), 2**200),
    st.floats(allow_nan=False),
    texts,
    st.binary(),
    st.dates(),
    st.datetimes(timezones=st.none() | st.sampled_from(ZONES)),
    st.times(timezones=st.none() | st.sampled_from(FIXED_ZONES)),
    st.timedeltas(),
    st.decimals(allow_nan=False),
    st.uuids(),
)
values: st.SearchStrategy[Any] = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=4).map(tuple),
        st.dictionaries(texts, inner, max_size=4),
    ),
    max_leaves=12,
)


fractions: st.SearchStrategy[Any] = st.floats() | st.decimals().filter(lambda value: not value.is_snan())
moments: st.SearchStrategy[Any] = st.datetimes(timezones=st.none() | st.sampled_from(FIXED_ZONES) | st.timezones())
anything: st.SearchStrategy[Any] = values | fractions | moments
"""Values of a field of any type: with NaN, and with the zones, gaps and folds that Hypothesis knows."""

UNEQUAL: tuple[Any, ...] = (math.nan, Decimal("NaN"), Decimal("-NaN123"), [math.nan], {"a": (Decimal("NaN"),)})
"""Values that are not equal to themselves, or hold what is not."""

LOOKALIKES: tuple[Any, ...] = (
    *(0, False, 0.0, -0.0, Decimal(0), Decimal("-0"), Decimal("0.00"), Decimal("0E+100"), timedelta(0), 1, True, 1.0),
    *(Decimal("1.0"), Decimal("1.00"), "1", b"1", "NaN", "", b"", (), [], {}, [1], [True], (1,), {"a": 1}, {"a": 1.0}),
    *("2025-01-01", date(2025, 1, 1), datetime(2025, 1, 1, tzinfo=UTC)),
    datetime(2025, 1, 1),  # noqa: DTZ001  naive ones are values too
    *(str(UUID(int=1)), UUID(int=1), datetime(2025, 6, 1, 12, tzinfo=ZoneInfo("Europe/Berlin"))),
    *(datetime(2025, 6, 1, 10, tzinfo=UTC), datetime(2025, 6, 1, 12, tzinfo=timezone(timedelta(hours=2)))),
    *(datetime(2025, 10, 26, 2, 30, tzinfo=ZoneInfo("Europe/Berlin"), fold=fold) for fold in (0, 1)),
    *(datetime(2025, 10, 26, 2, 30, fold=fold) for fold in (0, 1)),  # noqa: DTZ001  as above
    *(time(2, 30), time(2, 30, fold=1), time(2, 30, tzinfo=UTC), time(3, 30, tzinfo=timezone(timedelta(hours=1)))),
)
"""Values that are equal, or written alike, and not the same; neighbours are alike."""

ENDS: tuple[Any, ...] = (
    *(None, -1, 2**53 + 1, 2**63 - 1, 2**63, 2**64, -(2**63) - 1, 2**13_999 - 1, math.inf, -math.inf, 5e-324),
    *("\0", "é😀", "x" * 1_000, b"\xff\0", Decimal("Infinity"), Decimal("-Infinity"), Decimal("1.50")),
    *(Decimal("1E+999999"), Decimal("-1E-999999"), date.min, date.max, timedelta.min, timedelta.max),
    *(timedelta(microseconds=1), datetime.min, datetime.max, time.min, time.max, UUID(int=2**128 - 1)),  # noqa: DTZ901  as above
    datetime.min.replace(tzinfo=ZoneInfo("Asia/Tokyo")),
    datetime.max.replace(tzinfo=ZoneInfo("America/New_York")),
    datetime(2025, 3, 30, 2, 30, tzinfo=ZoneInfo("Europe/Berlin")),
    datetime(1880, 1, 1, tzinfo=ZoneInfo("Europe/Berlin")),
    {"": [{"$value": "c0"}], "a/b": {"~": (b"", None)}},
    [[[(((),),)]]],
)
"""The ends of what there is, and what is rare."""

EDGES = (*LOOKALIKES, *ENDS, *UNEQUAL)


def alike(left: Any, right: Any) -> bool:
    """The same value: 1.50 is not 1.5, -0.0 is not 0.0, a zone is not its offset, and NaN is NaN."""
    if type(left) is not type(right):
        return False
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(alike(left[key], right[key]) for key in left)
    if isinstance(left, list | tuple):
        return len(left) == len(right) and all(map(alike, left, right))
    if isinstance(left, set):
        return alike(sorted(left, key=repr), sorted(right, key=repr))
    return repr(left) == repr(right) and bool(left == right or left != left)  # noqa: PLR0124  NaN is not itself
