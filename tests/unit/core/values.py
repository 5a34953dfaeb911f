"""Values of every type that a field may hold, for Hypothesis."""

from __future__ import annotations

from datetime import UTC, timedelta, timezone
from typing import Any
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


def alike(left: Any, right: Any) -> bool:
    """Equal, of the same type, and as exact: 1.50 is not 1.5, -0.0 is not 0.0, and a zone is not its offset."""
    if type(left) is not type(right):
        return False
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(alike(left[key], right[key]) for key in left)
    if isinstance(left, list | tuple):
        return len(left) == len(right) and all(map(alike, left, right))
    if hasattr(left, "tzinfo"):
        return bool(left == right) and repr(left.utcoffset()) == repr(right.utcoffset()) and left.fold == right.fold
    return repr(left) == repr(right)
