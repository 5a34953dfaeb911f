"""Every value that a field may hold comes back equal and of the same type: here, on a peer, and from the disk."""

from __future__ import annotations

import math
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum, IntEnum
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import UUID

from hypothesis import given
from hypothesis import settings as Settings  # noqa: N812  it is a class
from hypothesis import strategies as st

from crdt_sync import List, Map, Model, Replica, ask, first, three_way
from crdt_sync.testing.exchange import exchange
from tests.unit.core.values import FIXED_ZONES, ZONES, alike, texts, values
from tests.unit.replica.devices import memory, on_disk


class Colour(Enum):
    RED = "red"
    BLUE = 2


class Level(IntEnum):
    LOW = 1
    HIGH = 2


class Anything(Model):
    plain: Any = None
    asking: Any = ask(default=None)
    merged: Any = three_way(default=None)
    once: Any = first(default=None)
    items: List[Any]
    entries: Map[str, Any]


class Typed(Model):
    flag: bool | None = None
    whole: int | None = None
    real: float | None = None
    text: str | None = None
    raw: bytes | None = None
    moment: datetime | None = None
    day: date | None = None
    clock: time | None = None
    span: timedelta | None = None
    price: Decimal | None = None
    name: UUID | None = None
    colour: Colour | None = None
    level: Level | None = None
    parts: list[dict[str, tuple[Colour, Decimal]]] | None = None


anything = values | st.floats() | st.decimals(allow_nan=True).filter(lambda value: not value.is_snan())
FINITE = st.decimals(allow_nan=False, allow_infinity=False)
"""What pydantic takes for a Decimal unless the field says otherwise."""

TYPED = st.fixed_dictionaries(
    {},
    optional={
        "flag": st.booleans(),
        "whole": st.integers() | st.integers(-(2**400), 2**400),
        "real": st.floats(),
        "text": texts,
        "raw": st.binary(),
        "moment": st.datetimes(timezones=st.none() | st.sampled_from(ZONES)),
        "day": st.dates(),
        "clock": st.times(timezones=st.none() | st.sampled_from(FIXED_ZONES)),
        "span": st.timedeltas(),
        "price": FINITE,
        "name": st.uuids(),
        "colour": st.sampled_from(Colour),
        "level": st.sampled_from(Level),
        "parts": st.lists(
            st.dictionaries(texts, st.tuples(st.sampled_from(Colour), FINITE), max_size=2),
            max_size=2,
        ),
    },
)


def same(left: Any, right: Any) -> bool:
    if type(left) is float and math.isnan(left):
        return type(right) is float and math.isnan(right)
    return alike(left, right)


@Settings(max_examples=60)
@given(value=anything, later=anything)
def test_in_a_field_of_any_kind(value: Any, later: Any) -> None:
    with memory(1, Anything) as one, memory(2, Anything) as two:
        made = one.create(
            Anything, plain=value, asking=value, merged=value, once=value, items=[value], entries={"key": value}
        )
        exchange(one, two)
        for record in (made, two.get(Anything, made.id)):
            assert all(same(getattr(record, name), value) for name in ("plain", "asking", "merged", "once"))
            assert same(record.items[0], value)
            assert same(record.entries["key"], value)
        other: Any = two.get(Anything, made.id)
        two.update(other, plain=later, asking=later, merged=later, entries={"other": later})
        other.items[0] = later
        exchange(one, two)
        for name in ("plain", "asking", "merged"):
            assert same(getattr(made, name), later), name
        assert same(list(made.items), [later])
        assert same(dict(made.entries), {"other": later})


@Settings(max_examples=40)
@given(given_=TYPED)
def test_in_a_typed_field_and_from_the_disk(given_: dict[str, Any]) -> None:
    with TemporaryDirectory() as folder:
        with on_disk(Path(folder), Typed) as replica:
            name = replica.create(Typed, **given_).id
        with Replica.open(Path(folder) / "a.db", models=[Typed], state_dir=Path(folder) / "state") as replica:
            record = replica.get(Typed, name)
            assert all(same(getattr(record, field), value) for field, value in given_.items())
            (found,) = replica.find(Typed, id=name)
            assert found == record
