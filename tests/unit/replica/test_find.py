"""Queries: every comparison on every kind of value, order, limits, and the file as any SQLite tool reads it."""

from __future__ import annotations

import json
import math
import sqlite3
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal, NewType
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from pydantic import Field
from typing_extensions import TypeAliasType

from crdt_sync import Counter, Model, Replica, Set, Text, ask
from tests.unit.replica.devices import memory, on_disk


class Color(Enum):
    RED = "red"
    BLUE = "blue"


class Thing(Model):
    name: str
    size: int | None = None
    weight: float = 0.0
    price: Decimal | None = None
    day: date | None = ask(default=None)
    at: datetime | None = None
    color: Color = Color.RED
    state: Literal["new", "old"] = "new"
    flag: bool = False
    key: UUID | None = None
    data: bytes = b""
    items: list[int] = Field(default_factory=list)
    notes: Text
    votes: Counter
    tags: Set[str]


BERLIN, TOKYO = ZoneInfo("Europe/Berlin"), ZoneInfo("Asia/Tokyo")
NOON = datetime(2025, 6, 1, 12, 0, tzinfo=UTC)
KEY = UUID(int=7)

ROWS: list[dict[str, Any]] = [
    {"name": "a", "size": 1, "price": "9.5", "day": date(2025, 1, 1), "at": NOON.astimezone(TOKYO)},
    {"name": "b", "size": 10, "price": "10.25", "day": date(2024, 12, 31), "at": NOON + timedelta(hours=1)},
    {"name": "c", "size": 2**70, "price": "-100", "at": (NOON - timedelta(hours=1)).astimezone(BERLIN)},
    {"name": "d", "size": None, "price": None, "color": Color.BLUE, "state": "old", "flag": True, "key": KEY},
    {"name": "é😀", "size": -5, "price": "10.250", "weight": 1.5, "data": b"\0x", "items": [1, 2], "votes": 3},
]


@pytest.fixture(scope="module")
def things() -> Replica:
    replica = memory(0, Thing)
    for number, row in enumerate(ROWS):
        tags = ["all", "odd" if number % 2 else "even", row["name"]]
        replica.create(Thing, **row, notes=f"note of {row['name']}", tags=tags)
    return replica


QUESTIONS: list[tuple[str, dict[str, Any], str]] = [
    ("equal", {"name": "a"}, "a"),
    ("equal to a non-ASCII text", {"name": "é😀"}, "é"),
    ("not equal", {"name__ne": "a"}, "bcdé"),
    ("all", {}, "abcdé"),
    ("none", {"name": "zz"}, ""),
    ("two conditions", {"size__gt": 0, "name__lt": "c"}, "ab"),
    ("equal int", {"size": 10}, "b"),
    ("ints compare as numbers", {"size__gt": 9}, "bc"),
    ("a big int", {"size": 2**70}, "c"),
    ("between", {"size__ge": 1, "size__le": 10}, "ab"),
    ("less than", {"size__lt": 1}, "é"),
    ("an int with a float", {"size__lt": 1.5}, "aé"),
    ("is none", {"size": None}, "d"),
    ("is not none", {"size__ne": None}, "abcé"),
    ("not equal includes none", {"size__ne": 1}, "bcdé"),
    ("in", {"size__in": [1, 10, 99]}, "ab"),
    ("in with none", {"size__in": [1, None]}, "ad"),
    ("in nothing", {"size__in": []}, ""),
    ("in a tuple", {"name__in": ("a", "b")}, "ab"),
    ("equal decimal", {"price": Decimal("10.25")}, "bé"),
    ("decimals compare as numbers", {"price__gt": Decimal("9.9")}, "bé"),
    ("negative decimal", {"price__lt": Decimal(0)}, "c"),
    ("decimal in", {"price__in": [Decimal("9.50"), Decimal(-100)]}, "ac"),
    ("decimal with an int", {"price__ge": 10}, "bé"),
    ("date", {"day": date(2025, 1, 1)}, "a"),
    ("date less", {"day__lt": date(2025, 1, 1)}, "b"),
    ("date as text", {"day__ge": "2024-12-31"}, "ab"),
    ("date none", {"day": None}, "cdé"),
    ("datetime in another zone", {"at": NOON.astimezone(BERLIN)}, "a"),
    ("datetime less", {"at__lt": NOON}, "c"),
    ("datetime greater", {"at__gt": NOON.astimezone(timezone(timedelta(hours=-11)))}, "b"),
    ("enum", {"color": Color.BLUE}, "d"),
    ("enum by value", {"color": "blue"}, "d"),
    ("enum in", {"color__in": [Color.BLUE, Color.RED]}, "abcdé"),
    ("literal", {"state": "old"}, "d"),
    ("bool", {"flag": True}, "d"),
    ("bool false", {"flag": False}, "abcé"),
    ("uuid", {"key": KEY}, "d"),
    ("uuid as text", {"key": str(KEY)}, "d"),
    ("bytes", {"data": b"\0x"}, "é"),
    ("bytes contains", {"data__contains": b"x"}, "é"),
    ("bytes contains no digits", {"data__contains": "78"}, ""),
    ("float", {"weight__gt": 1}, "é"),
    ("float with a decimal", {"weight": Decimal("1.5")}, "é"),
    ("float less than a decimal", {"weight__lt": Decimal("1.5")}, "abcd"),
    ("int among decimals", {"size__in": [Decimal(10), Decimal("1.5"), Decimal(2**70)]}, "bc"),
    ("list equal", {"items": [1, 2]}, "é"),
    ("list contains", {"items__contains": 2}, "é"),
    ("text contains", {"notes__contains": "of b"}, "b"),
    ("text equal", {"notes": "note of a"}, "a"),
    ("str contains", {"name__contains": "😀"}, "é"),
    ("contains takes no wildcards", {"name__contains": "%"}, ""),
    ("counter", {"votes": 3}, "é"),
    ("counter less", {"votes__lt": 3}, "abcd"),
    ("set contains", {"tags__contains": "odd"}, "bd"),
    ("set contains no part", {"tags__contains": "od"}, ""),
    ("set equal", {"tags": {"all", "odd", "b"}}, "b"),
]


@pytest.mark.parametrize(("filters", "found"), [case[1:] for case in QUESTIONS], ids=[case[0] for case in QUESTIONS])
def test_a_question_finds_exactly_what_matches(things: Replica, filters: dict[str, Any], found: str) -> None:
    records = things.find(Thing, **filters)
    assert {record.name[0] for record in records} == set(found)
    assert things.count(Thing, **filters) == len(records) == len(found)
    assert [record.id for record in records] == sorted(record.id for record in records)


Price = NewType("Price", Decimal)
Amount = TypeAliasType("Amount", Annotated[Decimal, Field(ge=0)])
Sizes = TypeAliasType("Sizes", list[int] | None)


class Named(Model):
    """Types under other names, and with constraints inside of a union."""

    price: Price = Price(Decimal(0))
    amount: Amount = Decimal(0)
    maybe: Annotated[Decimal, Field(ge=0)] | None = None
    both: Amount | Price | None = None
    sizes: Sizes = None
    names: Annotated[dict[str, int], Field(max_length=3)] | None = None


def test_types_under_other_names_are_compared_as_what_they_are() -> None:
    with memory(3, Named) as replica:
        replica.create(
            Named, **dict.fromkeys(("price", "amount", "maybe", "both"), Decimal(9)), sizes=[1], names={"k": 1}
        )
        replica.create(Named, **dict.fromkeys(("price", "amount", "maybe", "both"), Decimal(10)), sizes=[22])
        for field in ("price", "amount", "maybe", "both"):
            below: dict[str, Any] = {f"{field}__lt": Decimal("9.5")}
            assert [record.price for record in replica.find(Named, **below)] == [9], field
            assert [record.price for record in replica.find(Named, order_by=f"-{field}")] == [10, 9], field
        assert [record.price for record in replica.find(Named, sizes__contains=2)] == []
        assert [record.price for record in replica.find(Named, sizes__contains=22)] == [10]
        assert [record.price for record in replica.find(Named, names__contains="k")] == [9]


@pytest.mark.parametrize(
    ("order", "names"),
    [
        ("name", "abcdé"),
        ("-name", "édcba"),
        ("size", "déabc"),
        ("-size", "cbaéd"),
        (["-price", "name"], "béacd"),
        ("day", None),
        (("flag", "-name"), "écbad"),
        ("-votes", None),
        ("at", None),
    ],
)
def test_order(things: Replica, order: Any, names: str | None) -> None:
    records = things.find(Thing, order_by=order)
    assert len(records) == 5
    if names is not None:
        assert "".join(record.name[0] for record in records) == names
    pages = [things.find(Thing, order_by=order, limit=2, offset=start)[:] for start in range(0, 6, 2)]
    assert [record for page in pages for record in page] == records


class Reading(Model):
    """Numbers that may be NaN."""

    real: float | None = None
    price: Decimal | None = Field(default=None, allow_inf_nan=True)
    free: Any = None


@pytest.mark.parametrize("field", ["real", "price", "free"])
def test_nan_is_found_and_is_neither_less_nor_greater(field: str) -> None:
    with memory(3, Reading) as replica:

        def found(operator: str, value: Any) -> list[Reading]:
            question: dict[str, Any] = {field + operator: value}
            return replica.find(Reading, **question)

        made: list[dict[str, Any]] = [{field: value} for value in (Decimal("NaN"), Decimal(1), None)]
        nan, one, none = (replica.create(Reading, **values) for values in made)
        for value in (math.nan, Decimal("NaN")):
            assert found("", value) == [nan]
            assert set(found("__ne", value)) == {one, none}
            assert set(found("__in", [value, Decimal(1)])) == {nan, one}
        if field != "free":  # there a Decimal is text
            assert found("__ge", 0) == [one]
            assert not any(found(f"__{less}", math.nan) for less in ("lt", "le", "gt", "ge"))


def test_limits(things: Replica) -> None:
    assert len(things.find(Thing, limit=3)) == 3
    assert things.find(Thing, limit=0) == []
    assert len(things.find(Thing, limit=99)) == 5
    assert things.find(Thing, offset=99) == []


def test_by_id(things: Replica) -> None:
    (record,) = things.find(Thing, name="a")
    assert things.find(Thing, id=record.id) == [record]
    assert things.find(Thing, id__in=[record.id]) == [record]


def test_live_field_objects_stand_for_their_values(things: Replica) -> None:
    (record,) = things.find(Thing, name="é😀")
    assert things.find(Thing, notes=record.notes) == [record]
    assert things.find(Thing, votes=record.votes) == [record]
    assert things.find(Thing, tags=record.tags) == [record]


def test_what_was_just_written_is_found() -> None:
    with memory(3, Thing) as replica:
        thing = replica.create(Thing, name="x", notes="first")
        thing.notes.replace("second")
        assert replica.find(Thing, notes__contains="second") == [thing]
        assert replica.find(Thing, notes__contains="first") == []
        thing.tags.add("t")
        thing.votes.increment()
        assert replica.find(Thing, tags__contains="t", votes=1) == [thing]
        replica.delete(thing)
        assert replica.find(Thing) == []


def test_a_transaction_finds_its_own_writes() -> None:
    with memory(3, Thing) as replica:
        kept = replica.create(Thing, name="kept")
        with replica.transaction():
            made = replica.create(Thing, name="made")
            assert replica.find(Thing, name="made") == [made]
            made.name = "changed"
            assert replica.find(Thing, name="made") == []
            assert replica.count(Thing) == 2
            replica.delete(made)
            replica.delete(kept)
            assert replica.find(Thing) == []
        assert replica.find(Thing) == []


def test_what_a_transaction_found_and_deleted_later_is_not_left_behind() -> None:
    with memory(3, Thing) as replica:
        with replica.transaction():
            made = replica.create(Thing, name="made")
            assert replica.count(Thing) == 1
            replica.delete(made)
        assert replica.count(Thing) == 0


def test_a_rollback_takes_back_what_a_transaction_found() -> None:
    with memory(3, Thing) as replica:
        replica.create(Thing, name="kept")
        seen: list[int] = []

        def fail() -> None:
            with replica.transaction():
                replica.create(Thing, name="made")
                seen.append(replica.count(Thing))
                raise KeyError

        with pytest.raises(KeyError):
            fail()
        assert seen == [2]
        assert [thing.name for thing in replica.find(Thing)] == ["kept"]


def test_any_sqlite_tool_reads_the_tables(tmp_path: Path) -> None:
    with on_disk(tmp_path, Thing) as replica:
        for row in ROWS:
            replica.create(Thing, **row, tags=["b", "a"])
        gone = replica.create(Thing, name="gone")
        replica.delete(gone)
        (first,) = replica.find(Thing, name="a")
        name = first.id
    plain = sqlite3.connect(tmp_path / "a.db")
    plain.row_factory = sqlite3.Row
    rows = {row["name"]: dict(row) for row in plain.execute("SELECT * FROM Thing")}
    assert rows.keys() == {row["name"] for row in ROWS}
    assert rows["a"]["id"] == name
    assert rows["a"]["day"] == "2025-01-01"
    assert rows["a"]["at"] == "2025-06-01 12:00:00.000000+00:00"
    assert rows["a"]["price"] == "9.5"
    assert json.loads(rows["a"]["tags"]) == ["a", "b"]
    assert rows["d"]["color"] == "blue"
    assert rows["d"]["flag"] == 1
    assert plain.execute("SELECT count(*) FROM Thing WHERE at < '2025-06-01 12:00'").fetchone()[0] == 1
    assert plain.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
    assert plain.execute("SELECT name FROM Thing, json_each(items) WHERE value = 2").fetchone()[0] == "é😀"
    plain.close()
