"""When two values are the same: by what anybody could tell of them, NaN included."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta, timezone
from decimal import Decimal
from itertools import product
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from crdt_sync.core import codec, equality
from crdt_sync.core.conflict import Candidate, Conflict, ConflictKind
from crdt_sync.core.content import Dot
from crdt_sync.core.equality import canonical, is_same
from crdt_sync.core.ids import Author, RecordId
from tests.unit.core.values import EDGES, alike, anything


def test_values_that_are_equal_or_written_alike_are_told_apart() -> None:
    copies = [codec.decode(codec.encode(value)) for value in EDGES]
    for (at, left), (place, right) in product(enumerate(EDGES), enumerate(copies)):
        assert is_same(left, right) == alike(left, right) == (at == place), (left, right)
        assert is_same({"a": [left]}, {"a": [right]}) == (at == place)


@given(anything, anything)
def test_a_value_is_the_same_as_what_has_its_bytes(left: Any, right: Any) -> None:
    assert is_same(left, codec.decode(codec.encode(left)))
    assert is_same(left, right) == is_same(right, left) == (codec.encode(left) == codec.encode(right))


def as_written(value: Any) -> Any:
    return codec.decode(codec.encode(value), named_zones=False)


def stands_for_the_same(left: Any, right: Any) -> bool:
    return codec.encode(canonical(left)) == codec.encode(canonical(right))


ENDS_OF_TIME = (
    *(datetime.max.replace(tzinfo=timezone(timedelta(hours=hours))) for hours in (-23, -5, 0, 23)),
    *(datetime.min.replace(tzinfo=timezone(timedelta(hours=hours))) for hours in (-23, 0, 5, 23)),
    datetime(9999, 12, 31, 23, 59, tzinfo=timezone(timedelta(hours=-5))),
    datetime(9999, 12, 31, 22, 59, tzinfo=timezone(timedelta(hours=-6))),
    datetime(1, 1, 1, 1, tzinfo=timezone(timedelta(hours=5))),
    datetime(1, 1, 1, 2, tzinfo=timezone(timedelta(hours=6))),
)
TIMES = (
    *(time(hour, 30, tzinfo=timezone(timedelta(hours=hour))) for hour in range(24)),
    *(time(1, tzinfo=timezone(timedelta(hours=3))), time(0, tzinfo=timezone(timedelta(hours=2)))),
    *(time(22, tzinfo=UTC), time(23, tzinfo=timezone(timedelta(hours=-3))), time(2, tzinfo=UTC)),
    time(22, tzinfo=timezone(timedelta(hours=-4))),
)
NUMBERS = tuple(map(Decimal, ("100", "1E+2", "1.00E+2", "0.10", "0.1")))


def test_values_that_are_alike_have_one_form_and_no_others_have() -> None:
    found = [*EDGES, *ENDS_OF_TIME, *TIMES, *NUMBERS]
    for left, right in product(found, found):
        expected = equality.alike(as_written(left), as_written(right))
        assert stands_for_the_same(left, right) == expected, (left, right)
        assert stands_for_the_same({"a": [left]}, {"a": [right]}) == expected


moments = st.datetimes(timezones=st.timedeltas(timedelta(hours=-23), timedelta(hours=23)).map(timezone))
decimals = st.decimals(allow_nan=False) | st.integers(-5, 5).map(lambda places: Decimal(10).scaleb(places))


@given(st.one_of(*(st.tuples(kind, kind) for kind in (anything, moments, decimals))))
def test_any_values_that_are_alike_have_one_form(pair: tuple[Any, Any]) -> None:
    left, right = pair
    assert stands_for_the_same(left, right) == equality.alike(as_written(left), as_written(right))
    assert equality.alike(as_written(canonical(left)), as_written(left))


def test_the_class_that_an_offset_has_is_of_no_matter() -> None:
    """What pydantic reads from ISO text has another than what the codec gives."""
    for kind, text in ((datetime, "2025-10-26T02:30:00+02:00"), (time, "02:30:00+02:00")):
        read: Any = TypeAdapter(kind).validate_python(text)
        assert repr(read) != repr(codec.decode(codec.encode(read)))
        assert is_same(read, codec.decode(codec.encode(read)))


def test_sets_are_compared_by_their_elements() -> None:
    assert is_same({1, (True, "a")}, {(True, "a"), 1})
    assert not is_same({1, (True, "a")}, {1, (1, "a")})
    assert not is_same({1}, {1.0})
    assert not is_same({1}, {1, 2})


def test_conflicts_are_equal_where_their_values_are_the_same() -> None:
    def conflict(value: Any) -> Conflict:
        candidate = Candidate(value=value, device_id="d", timestamp=1, dot=Dot(Author(1), 1))
        return Conflict(
            id="0" * 32,
            kind=ConflictKind.CONCURRENT_EDIT,
            model="Task",
            record_id=RecordId("00000000-0000-7000-8000-000000000001"),
            field="due",
            register="due",
            paths=(),
            base=None,
            candidates=(candidate,),
            value=value,
        )

    for value in EDGES:
        copy = codec.decode(codec.encode(value))
        assert conflict(value) == conflict(copy)
        assert hash(conflict(value)) == hash(conflict(copy))
        assert hash(conflict(value).candidates[0]) == hash(conflict(copy).candidates[0])
    assert conflict(1) != conflict(True)
    assert conflict(1).candidates != conflict(1.0).candidates
    assert conflict(1) != 1
    assert conflict(1).candidates[0] != 1
