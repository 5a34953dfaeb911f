"""First, greatest and least: what concurrent values come to, and which assignments write anything."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic.fields import FieldInfo

from crdt_sync import Model, Replica, first, max_, min_
from crdt_sync.core import codec
from crdt_sync.core.content import write_register
from crdt_sync.core.kinds import First, Greatest, Least, Put
from crdt_sync.core.layout import KeyClass, map_key
from crdt_sync.errors import InvalidValueError, SchemaError
from tests.unit.core.kinds.sites import Site, meet, trio
from tests.unit.core.values import scalars, values

Numbers = int | float | Decimal | None
FIRST = First("f", FieldInfo(annotation=Any, default=None))
MOST = Greatest("f", FieldInfo(annotation=Numbers, default=None))
LEAST = Least("f", FieldInfo(annotation=Numbers, default=None))
numbers = st.one_of(st.integers(), st.floats(allow_nan=False), st.decimals(allow_nan=False))
writes = st.lists(st.tuples(st.integers(0, 2), numbers, st.integers(2, 60), st.booleans()), min_size=1, max_size=8)


@pytest.mark.parametrize(("kind", "choose"), [(MOST, max), (LEAST, min)], ids=["max_", "min_"])
@given(start=st.none() | numbers, made=writes)
def test_the_end_of_the_order_shows(kind: Any, choose: Any, start: Any, made: list[tuple[int, Any, int, bool]]) -> None:
    sites = trio(f=start)
    for writer, value, hlc, meets in made:
        site = sites[writer]
        site.write(kind.assign(site.content(), kind.validate(value), context=site.at(hlc)))
        if meets:
            meet(*sites)
    meet(*sites)
    shown = [kind.read(site.content()) for site in sites]
    assert shown[0] == choose([value for value in (start, *(item[1] for item in made)) if value is not None])
    assert len({(type(value), repr(value)) for value in shown}) == 1
    assert kind.candidates(sites[0].content()) == []


@given(st.lists(st.tuples(st.integers(0, 2), values, st.integers(2, 60)), min_size=1, max_size=6))
def test_what_is_first_stays(made: list[tuple[int, Any, int]]) -> None:
    sites = trio()
    given_: dict[int, tuple[int, int, bytes]] = {}
    for writer, value, hlc in made:
        site, data = sites[writer], codec.encode(value)
        if site.author in given_ and given_[site.author][2] != data:
            with pytest.raises(InvalidValueError):
                FIRST.assign(site.content(), value, context=site.at(hlc))
            continue
        changes = FIRST.assign(site.content(), value, context=site.at(hlc))
        assert bool(changes) is (value is not None and site.author not in given_)
        site.write(changes)
        if changes:
            given_[site.author] = (hlc, site.author, data)
    meet(*sites)
    expected = min(given_.values())[2] if given_ else codec.encode(None)
    assert {codec.encode(FIRST.read(site.content())) for site in sites} == {expected}


def test_a_creation_counts() -> None:
    one, two, _ = sites = trio(f=5)
    assert LEAST.assign(one.content(), 7, context=one.at(3)) == []
    assert MOST.assign(one.content(), 5.0, context=one.at(3)) == [], "equal is not more"
    with pytest.raises(InvalidValueError):
        FIRST.assign(two.content(), 6, context=two.at(3))
    assert FIRST.assign(two.content(), 5, context=two.at(3)) == []
    two.create(0, f=4)
    meet(*sites)
    assert (FIRST.read(one.content()), MOST.read(one.content()), LEAST.read(one.content())) == (4, 5, 4)


def test_none_is_no_value() -> None:
    one, *_ = trio(f=None)
    for kind in (FIRST, MOST, LEAST):
        assert kind.read(one.content()) is None
        assert kind.assign(one.content(), None, context=one.at(2)) == []
    one.write(LEAST.assign(one.content(), 3, context=one.at(3)))
    assert LEAST.assign(one.content(), None, context=one.at(4)) == []
    assert LEAST.read(one.content()) == 3


@pytest.mark.parametrize("value", [float("nan"), Decimal("nan")])
def test_nan_has_no_place_in_an_order(value: Any) -> None:
    for kind in (MOST, LEAST):
        with pytest.raises(InvalidValueError):
            kind.validate(value)
    assert FIRST.validate(value) is value


@given(st.lists(scalars, min_size=2, max_size=6), st.randoms())
def test_values_of_any_types_have_one_order(found: list[Any], random: Any) -> None:
    """Another version of the model may have written anything: everybody must still show the same."""
    kind = Greatest("f", FieldInfo(annotation=int | None, default=None))
    shown = set()
    for _ in range(2):
        random.shuffle(found)
        reader = Site(9)
        for author, value in enumerate(found, start=1):
            site = Site(author)
            cell = write_register(7, {}, codec.encode(value))
            site.write([Put(map_key(KeyClass.LATTICE, site.author, field="f"), cell)])
            reader.take(site)
        shown.add(codec.encode(kind.read(reader.content())))
    assert len(shown) == 1


def test_instants_compare_by_the_offset_that_they_were_written_with() -> None:
    kind = Greatest("f", FieldInfo(annotation=datetime | None, default=None))
    late = datetime(2025, 6, 1, 12, tzinfo=ZoneInfo("America/New_York"))
    early = datetime(2025, 6, 1, 13, tzinfo=UTC)
    one, two, _ = sites = trio()
    one.write(kind.assign(one.content(), early, context=one.at(2)))
    two.write(kind.assign(two.content(), late, context=two.at(2)))
    meet(*sites)
    assert kind.read(one.content()) == late
    assert kind.assign(one.content(), late.replace(tzinfo=None), context=one.at(3)) == [], "without a zone comes before"


class Colour(Enum):
    RED = 1


@pytest.mark.parametrize("annotation", [list[int], Any, Colour, int | list[int], dict[str, int], None])
def test_types_without_an_order_are_refused(annotation: Any) -> None:
    with pytest.raises(SchemaError):
        type("Bad", (Model,), {"__annotations__": {"f": annotation}, "f": max_(default=None)})


class Race(Model):
    winner: str | None = first(default=None)
    best: timedelta | None = min_(default=None)
    longest: Decimal = max_(default=Decimal(0), ge=0)
    day: date | None = max_(default=None)
    hour: time | None = min_(default=None)
    code: UUID | None = max_(default=None)


def test_through_a_replica() -> None:
    with Replica.open(":memory:", models=[Race]) as replica:
        race = replica.create(Race, longest="3.5")
        assert (race.winner, race.best, race.longest) == (None, None, Decimal("3.5"))
        race.winner = "ann"
        race.longest = Decimal(3)
        race.best = timedelta(seconds=9)
        race.best = timedelta(seconds=8)
        race.day, race.hour = date(2025, 1, 1), time(3)
        assert (race.winner, race.best, race.longest) == ("ann", timedelta(seconds=8), Decimal("3.5"))
        with pytest.raises(InvalidValueError):
            replica.update(race, winner="bob", longest=99)
        assert race.longest == Decimal("3.5"), "nothing was changed"
        with pytest.raises(InvalidValueError):
            race.longest = Decimal(-1)
        assert [item.id for item in replica.find(Race, winner="ann", longest__gt=3)] == [race.id]
        assert replica.candidates(race, "longest") == ()
        assert dict(list(replica.operations())[1].data) == {"winner": "ann"}
