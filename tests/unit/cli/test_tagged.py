"""Values that JSON cannot hold, as people read and write them at a terminal."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given

from crdt_sync import Model
from crdt_sync.cli.tagged import tagged, untagged
from crdt_sync.cli.values import EXACT, json_of_value, value_of_json
from crdt_sync.core import codec
from crdt_sync.core.equality import is_same
from crdt_sync.core.model import spec_of
from crdt_sync.errors import InputError
from tests.unit.core.values import EDGES, anything


class Task(Model):
    value: Any = None
    mixed: dict[str, date] | list[Any] | None = None


KIND = spec_of(Task).fields["value"]

SHOWN = [
    ({"k": Decimal("1.50"), "e": 1}, {"k": {"$decimal": "1.50"}, "e": 1}),
    ((1, 2), {"$tuple": [1, 2]}),
    ([date(2026, 1, 31), (b"\0",)], [{"$date": "2026-01-31"}, {"$tuple": [{"$bytes": "AA=="}]}]),
    (datetime(2026, 1, 1, 12, tzinfo=UTC), {"$datetime": "2026-01-01T12:00:00+00:00"}),
    (
        [datetime(2026, 1, 1, 12, tzinfo=ZoneInfo("Europe/Berlin"))],
        [{"$datetime": "2026-01-01T12:00:00+01:00[Europe/Berlin]"}],
    ),
    ([time(1, 2)], [{"$time": "01:02:00"}]),
    ([timedelta(days=1, seconds=2)], [{"$timedelta": "P1DT2S"}]),
    ([UUID(int=1)], [{"$uuid": "00000000-0000-0000-0000-000000000001"}]),
    ([float("inf"), float("nan")], [{"$float": "inf"}, {"$float": "nan"}]),
    (
        {"a": {"$date": "no date"}, "b": ()},
        {"a": {EXACT: codec.encode({"$date": "no date"}).hex()}, "b": {"$tuple": []}},
    ),
]


@pytest.mark.parametrize(("value", "shown"), SHOWN)
def test_values_are_shown_so_that_people_can_read_them(value: Any, shown: Any) -> None:
    data = json_of_value(KIND, value)
    assert tagged(data) == shown
    assert is_same(value_of_json(KIND, untagged(shown), model="Task"), value)


@given(anything)
def test_what_was_shown_is_read_as_the_same_value(value: Any) -> None:
    data = json_of_value(KIND, value)
    assert is_same(value_of_json(KIND, untagged(tagged(data)), model="Task"), value)


@pytest.mark.parametrize("value", EDGES)
def test_rare_values_come_back_too(value: Any) -> None:
    data = json_of_value(KIND, value)
    assert is_same(value_of_json(KIND, untagged(tagged(data)), model="Task"), value)


@pytest.mark.parametrize(
    "data",
    [
        *({"$date": "tomorrow"}, {"$date": 1}, {"$tuple": "ab"}, {"$decimal": "x"}, {"$uuid": "1"}, {"$bytes": "ä"}),
        *({EXACT: "zz"}, {"$datetime": "2026-01-01T12:00:00+01:00[No/Where]"}, [{"$timedelta": "long"}]),
    ],
)
def test_what_is_no_such_value_is_refused(data: Any) -> None:
    with pytest.raises(InputError):
        untagged(data)


def test_bytes_that_are_no_value_stay_as_they_are() -> None:
    assert tagged({"a": {EXACT: "zz"}}) == {"a": {EXACT: "zz"}}
