"""Values of declared types: enums, unions, orders, attributes of texts; and what is refused since it would not last."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import date, datetime, time, timedelta, tzinfo
from decimal import Decimal
from enum import Enum, Flag, IntEnum, IntFlag, StrEnum
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any, Literal
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import settings as Settings  # noqa: N812  it is a class
from hypothesis import strategies as st
from pydantic import AfterValidator, Field

from crdt_sync import List, Map, Model, Replica, Set, Text, ask, max_, min_, three_way
from crdt_sync.errors import CRDTSyncError, InvalidValueError, UnrepresentableValueError
from crdt_sync.testing.exchange import exchange
from tests.unit.core.values import EDGES, FIXED_ZONES, ZONES, alike, texts
from tests.unit.replica.devices import memory, on_disk


class Colour(Enum):
    RED = "red"
    BLUE = 2
    HALF = 0.5
    RAW = b"raw"
    DAY = date(2025, 1, 1)
    PRICE = Decimal("1.50")
    PAIR = (1, "one")
    ITEMS = [1]  # noqa: RUF012  a value like any other


class Level(IntEnum):
    LOW = 1
    HIGH = 2


class Name(StrEnum):
    ANN = "ann"


class Right(Flag):
    READ = 1
    WRITE = 2


class Mode(IntFlag):
    A = 1
    B = 2


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
    amount: Decimal | None = Field(default=None, allow_inf_nan=True)
    name: UUID | None = None
    colour: Colour | None = None
    level: Level | None = ask(default=None)
    person: Name | None = three_way(default=None)
    right: Right | None = None
    mode: Mode | None = None
    letter: Literal["a", b"a", 1] | None = None
    either: bytes | str | UUID | date | Decimal | None = None
    when: date | datetime | time | timedelta | str | None = None
    parts: list[dict[str, tuple[Colour, Decimal]]] | None = None
    colours: List[Colour]
    levels: Map[str, Annotated[Level | str, ask()]]
    shades: Set[Colour | tuple[Level, ...]]


FINITE = st.decimals(allow_nan=False, allow_infinity=False)
"""What pydantic takes for a Decimal unless the field says otherwise."""
NUMBERS = st.decimals().filter(lambda value: not value.is_snan())
MOMENTS = st.datetimes(timezones=st.none() | st.sampled_from(ZONES) | st.timezones())
CLOCKS = st.times(timezones=st.none() | st.sampled_from(FIXED_ZONES))
colours = st.sampled_from(Colour)
hashable = colours.filter(lambda value: value is not Colour.ITEMS)

TYPED = st.fixed_dictionaries(
    {},
    optional={
        "flag": st.booleans(),
        "whole": st.integers() | st.integers(-(2**400), 2**400),
        "real": st.floats(),
        "text": texts,
        "raw": st.binary(),
        "moment": MOMENTS,
        "day": st.dates(),
        "clock": CLOCKS,
        "span": st.timedeltas(),
        "price": FINITE,
        "amount": NUMBERS,
        "name": st.uuids(),
        "colour": colours,
        "level": st.sampled_from(Level),
        "person": st.sampled_from(Name),
        "right": st.sampled_from([*Right, Right(0), ~Right(0)]),
        "mode": st.sampled_from([*Mode, Mode(0), Mode.A | Mode.B]),
        "letter": st.sampled_from(["a", b"a", 1]),
        "either": st.binary() | texts | st.uuids() | st.uuids().map(str) | st.dates() | st.dates().map(str) | FINITE,
        "when": st.dates() | MOMENTS | CLOCKS | st.timedeltas() | st.dates().map(str) | texts,
        "parts": st.lists(st.dictionaries(texts, st.tuples(colours, FINITE), max_size=2), max_size=2),
        "colours": st.lists(colours, max_size=4),
        "levels": st.dictionaries(texts, st.sampled_from(Level) | texts, max_size=3),
        "shades": st.sets(hashable | st.tuples(st.sampled_from(Level)), max_size=4),
    },
)
LIVE = {"colours": list, "levels": dict, "shades": set}


def check(replica: Replica, names: Sequence[str], given_: Sequence[dict[str, Any]]) -> None:
    """Read records and find them by each value that they were given."""
    for name, fields in zip(names, given_, strict=True):
        record = replica.get(Typed, name)
        for field, value in fields.items():
            assert alike(LIVE.get(field, lambda it: it)(getattr(record, field)), value), field
            question: dict[str, Any] = {field: value}
            assert record in replica.find(Typed, **question), (field, value)


@Settings(max_examples=15)
@given(st.lists(TYPED, min_size=3, max_size=8))
def test_in_a_field_of_its_type(given_: list[dict[str, Any]]) -> None:
    with TemporaryDirectory() as folder, memory(2, Typed) as two:
        with on_disk(Path(folder), Typed) as one:
            with one.transaction():
                names = [one.create(Typed, **fields).id for fields in given_]
            exchange(one, two)
            check(two, names, given_)
            later = [*given_[1:], given_[0]]
            with two.transaction():
                for name, fields in zip(names, later, strict=True):
                    two.update(two.get(Typed, name), **fields)
            exchange(one, two)
            check(two, names, later)
        with Replica.open(Path(folder) / "a.db", models=[Typed], state_dir=Path(folder) / "state") as one:
            check(one, names, later)
            assert list(one.invalid()) == []
            for name, before, after in zip(names, given_, later, strict=True):
                told = [(change.field, change.new) for item in one.history(Typed, name) for change in item.changes]
                assert all(
                    any(alike(new, value) for field, new in told if field == wanted)
                    for fields in (before, after)
                    for wanted, value in fields.items()
                )


class Ends(Model):
    most_bool: bool | None = max_(default=None)
    least_bool: bool | None = min_(default=None)
    most_number: int | float | Decimal | None = max_(default=None)
    least_number: int | float | Decimal | None = min_(default=None)
    most_str: str | None = max_(default=None)
    least_str: str | None = min_(default=None)
    most_bytes: bytes | None = max_(default=None)
    least_bytes: bytes | None = min_(default=None)
    most_datetime: datetime | None = max_(default=None)
    least_datetime: datetime | None = min_(default=None)
    most_date: date | None = max_(default=None)
    least_date: date | None = min_(default=None)
    most_time: time | None = max_(default=None)
    least_time: time | None = min_(default=None)
    most_timedelta: timedelta | None = max_(default=None)
    least_timedelta: timedelta | None = min_(default=None)
    most_uuid: UUID | None = max_(default=None)
    least_uuid: UUID | None = min_(default=None)


def of_type(*types: type) -> list[Any]:
    return [value for value in EDGES if type(value) in types and value == value]  # noqa: PLR0124  not NaN


ORDERED: dict[str, st.SearchStrategy[Any]] = {
    "bool": st.booleans(),
    "number": st.integers() | st.floats(allow_nan=False) | FINITE | st.sampled_from(of_type(int, float)),
    "str": texts,
    "bytes": st.binary(),
    "datetime": MOMENTS | st.sampled_from(of_type(datetime)),
    "date": st.dates() | st.sampled_from(of_type(date)),
    "time": CLOCKS | st.sampled_from(of_type(time)),
    "timedelta": st.timedeltas() | st.sampled_from(of_type(timedelta)),
    "uuid": st.uuids(),
}


@Settings(max_examples=15)
@given(st.fixed_dictionaries({name: st.lists(found, min_size=2, max_size=4) for name, found in ORDERED.items()}))
def test_as_the_end_of_an_order(given_: dict[str, list[Any]]) -> None:
    with memory(1, Ends) as one, memory(2, Ends) as two:
        here = one.create(Ends)
        exchange(one, two)
        there = two.get(Ends, here.id)
        for name, values in given_.items():
            for at, value in enumerate(values):
                replica, record = ((one, here), (two, there))[at % 2]
                replica.update(record, **{f"most_{name}": value, f"least_{name}": value})
        exchange(one, two)
        for name, values in given_.items():
            for field in (f"most_{name}", f"least_{name}"):
                shown = getattr(here, field)
                assert any(alike(shown, value) for value in values), (field, shown)
                assert alike(shown, getattr(there, field))
                assert two.find(Ends, **{field: shown}) == [there]
        assert list(one.invalid()) == []


class Note(Model):
    text: Text


attributes = st.dictionaries(
    st.sampled_from(["b", "bold", "href"]),
    st.none() | st.booleans() | st.integers(1 - 2**53, 2**53 - 1) | st.text(st.characters(codec="utf-8"), max_size=20),
    max_size=3,
)


@Settings(max_examples=15)
@given(st.lists(st.tuples(texts.filter(bool), attributes), min_size=1, max_size=6))
@example([("a", {"b": True}), ("b", {"b": 1}), ("c", {"b": "1"}), ("d", {"b": None}), ("\0e", {"b": '"\0'})])
@example([("a", {"b": 2**53 - 1}), ("b", {"b": 1 - 2**53}), ("c", {"b": False}), ("d", {"b": 0}), ("e", {"b": ""})])
def test_as_an_attribute_of_a_text(pieces: list[tuple[str, dict[str, Any]]]) -> None:
    wanted: list[tuple[str, dict[str, Any]]] = []
    for text, given_ in pieces:
        held = {name: value for name, value in given_.items() if value is not None}
        before = wanted.pop()[0] if wanted and alike(wanted[-1][1], held) else ""
        wanted.append((before + text, held))
    whole = "".join(text for text, _ in pieces)
    with TemporaryDirectory() as folder, memory(2, Note) as two:
        with on_disk(Path(folder), Note) as one:
            note = one.create(Note)
            for text, given_ in pieces:
                note.text.insert(len(note.text), text, given_)
            exchange(one, two)
        with Replica.open(Path(folder) / "a.db", models=[Note], state_dir=Path(folder) / "state") as one:
            for replica in (one, two):
                record = replica.get(Note, note_id(replica))
                assert str(record.text) == whole
                assert alike(record.text.runs(), wanted)
                assert replica.find(Note, text=whole) == replica.find(Note, text__contains=whole) == [record]


def note_id(replica: Replica) -> str:
    (note,) = replica.find(Note)
    return note.id


class NoOffset(tzinfo):
    """A zone that does not know its offset, so that its times are times of no zone."""

    def utcoffset(self, moment: datetime | None, /) -> None:
        return None

    def dst(self, moment: datetime | None, /) -> None:
        return None

    def tzname(self, moment: datetime | None, /) -> None:
        return None


class Open(Model):
    anything: Any = None
    loud: Annotated[str, AfterValidator(lambda text: text + "!")] | None = None
    shade: Colour | str | None = None
    price: Decimal | None = None
    best: Any = ask(default=None)
    most: float | None = max_(default=None)
    items: List[Any]
    entries: Map[str, Any]
    members: Set[Any]


SURROGATE = "\ud800"
NOT_KEPT: list[tuple[str, Any, type[CRDTSyncError]]] = [
    *(("anything", value, UnrepresentableValueError) for value in (Level.LOW, Colour.RED, Right.READ, Name.ANN)),
    *(
        ("anything", value, UnrepresentableValueError)
        for value in (1j, object(), {1}, bytearray(b"x"), {1: 2}, range(2))
    ),
    *(
        ("anything", value, UnrepresentableValueError)
        for value in (Decimal("sNaN"), SURROGATE, [SURROGATE], {SURROGATE: 1})
    ),
    ("anything", [Level.LOW], UnrepresentableValueError),
    ("anything", datetime(2025, 1, 1, tzinfo=NoOffset()), UnrepresentableValueError),
    ("anything", time(1, tzinfo=ZoneInfo("Europe/Berlin")), UnrepresentableValueError),
    ("best", (Level.LOW,), UnrepresentableValueError),
    ("loud", "a", UnrepresentableValueError),
    ("shade", Colour.RED, UnrepresentableValueError),
    ("price", Decimal("NaN"), InvalidValueError),
    ("most", math.nan, InvalidValueError),
    ("items", [Level.LOW], UnrepresentableValueError),
    ("entries", {"a": {"b": Colour.RED}}, UnrepresentableValueError),
    ("entries", {SURROGATE: 1}, UnrepresentableValueError),
    *(
        ("members", {value}, UnrepresentableValueError)
        for value in (math.nan, Decimal("NaN"), (math.nan,), ((1, Decimal("NaN")),))
    ),
    *(
        ("members", {value}, UnrepresentableValueError)
        for value in (Level.LOW, (Level.LOW,), (1, (Colour.RED,)), SURROGATE)
    ),
    ("members", {frozenset((1,))}, UnrepresentableValueError),
    ("members", [[1]], InvalidValueError),
    ("members", [Decimal("sNaN")], InvalidValueError),
    ("members", [([1],)], InvalidValueError),
]


@pytest.mark.parametrize(
    ("field", "value", "error"), NOT_KEPT, ids=[f"{at}-{case[0]}" for at, case in enumerate(NOT_KEPT)]
)
def test_what_would_not_come_back_is_refused_with_a_hint(field: str, value: Any, error: type[CRDTSyncError]) -> None:
    with memory(1, Open) as replica:
        record = replica.create(Open, anything="kept")
        before = replica.port.vector()
        for write in (lambda: replica.create(Open, **{field: value}), lambda: setattr(record, field, value)):
            with pytest.raises(error) as refused:
                write()
            assert type(refused.value) is error
            assert refused.value.hint
        assert replica.port.vector() == before
        assert replica.count(Open) == 1


@pytest.mark.parametrize("value", [math.nan, Decimal("NaN"), (math.nan,)])
def test_nan_is_no_element_of_a_set_and_the_hint_says_why(value: Any) -> None:
    with memory(1, Open) as replica:
        record = replica.create(Open, members={1})
        for act in (record.members.add, record.members.discard):
            with pytest.raises(UnrepresentableValueError, match="NaN") as refused:
                act(value)
            assert "List" in refused.value.hint
        assert value not in record.members
        record.items.append(value)
        assert alike(list(record.items), [value])
