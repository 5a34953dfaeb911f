"""Values that no longer fit their field are given as stored, found, and mended by an ordinary write."""

from __future__ import annotations

from datetime import date
from enum import Enum
from typing import Any, Self

import pytest
from pydantic import Field, create_model, field_validator, model_validator

from crdt_sync import Counter, InvalidField, List, Map, Model, Replica, Set, Text, ask, three_way
from crdt_sync.errors import InvalidValueError
from crdt_sync.testing.exchange import exchange
from tests.unit.replica.devices import memory


class OldMood(Enum):
    CALM = "calm"
    WILD = "wild"


class NewMood(Enum):
    CALM = "calm"


Old: Any = create_model(
    "Note",
    __base__=Model,
    title=(str, "t"),
    size=(str, ""),
    mood=(OldMood, OldMood.CALM),
    due=(str | None, ask(default=None)),
    extra=(str, three_way(default="")),
    count=(int, 0),
    tags=(Set[str], ...),
    steps=(List[str], ...),
    prefs=(Map[str, str], ...),
    notes=(Text, ...),
    votes=(Counter, ...),
)
New: Any = create_model(
    "Note",
    __base__=Model,
    title=(str, "t"),
    size=(int, 0),
    mood=(NewMood, NewMood.CALM),
    due=(date, ask(default=None)),
    extra=(dict[str, int], three_way(default={})),
    count=(int, Field(default=0, ge=0)),
    tags=(Set[int], ...),
    steps=(List[int], ...),
    prefs=(Map[str, int], ...),
    notes=(Text, ...),
    votes=(Counter, ...),
    added=(int, ...),
)
WRONG = {
    "size": "large",
    "mood": OldMood.WILD,
    "due": "soon",
    "extra": "x",
    "count": -1,
    "tags": {"a"},
    "steps": ["b"],
    "prefs": {"k": "c"},
}


def wrong_fields(replica: Replica, what: Any = None) -> dict[str, InvalidField]:
    return {item.field: item for item in replica.invalid(what)}


def test_values_that_do_not_fit_are_found_and_break_nothing() -> None:
    with memory(0, Old) as old, memory(1, New) as new:
        right: Any = old.create(Old)
        note: Any = old.create(Old, **WRONG)
        assert not list(old.invalid())
        exchange(old, new)
        found = wrong_fields(new, New)
        assert {name: item.raw for name, item in found.items()} == {**WRONG, "mood": "wild", "added": None}
        assert {item.record_id for item in new.invalid() if item.field == "due"} == {note.id}
        assert found["size"].reason == "Input should be a valid integer"
        assert all("large" not in item.reason for item in found.values())
        shown: Any = new.get(New, note.id)
        assert (shown.size, shown.mood, shown.title, shown.due) == ("large", "wild", "t", "soon")
        assert new.find(New, title="t", votes=0, order_by="size")
        assert new.count(New) == 2
        assert shown.model_dump_json()
        new.update(shown, title="u", added=1)
        exchange(old, new)
        assert note.title == "u"
        assert note.size == "large"
        assert set(wrong_fields(new, shown)) == set(WRONG)
        assert set(wrong_fields(new, new.get(New, right.id))) == {"size", "extra", "added"}


def test_an_ordinary_write_mends_it() -> None:
    with memory(0, Old) as old, memory(1, New) as new:
        note: Any = old.create(Old, **WRONG)
        exchange(old, new)
        shown: Any = new.get(New, note.id)
        new.update(
            shown,
            size=1,
            mood=NewMood.CALM,
            due=date(2025, 1, 1),
            extra={},
            count=1,
            tags={1},
            steps=[1],
            prefs={"k": 1},
            added=1,
        )
        assert not list(new.invalid())
        assert exchange(old, new).proven_equal
        assert set(wrong_fields(old)) == {"size", "due", "extra", "tags", "steps", "prefs"}


@pytest.mark.parametrize("value", [None, 3])
def test_a_default_of_another_type_is_no_complaint(value: Any) -> None:
    model: Any = create_model("Odd", __base__=Model, due=(date, value))
    with memory(0, model) as replica:
        replica.create(model)
        assert not list(replica.invalid())


class Booking(Model):
    low: int = 0
    high: int = 9
    code: str = "A"
    tags: Set[str]

    @model_validator(mode="after")
    def in_order(self) -> Self:
        if self.low > self.high:
            raise ValueError("low is above high")
        return self

    @field_validator("code")
    @classmethod
    def upper(cls, value: str) -> str:
        if not value.isupper():
            raise ValueError("upper case please")
        return value


def test_edits_that_do_not_fit_together_are_found_and_hold_up_nothing() -> None:
    with memory(0, Booking) as left, memory(1, Booking) as right:
        booking = left.create(Booking)
        exchange(left, right)
        booking.low = 7
        right.get(Booking, booking.id).high = 3
        assert exchange(left, right).proven_equal
        (found,) = left.invalid()
        assert (found.field, found.reason) == ("", "Value error, low is above high")
        assert found.raw == {"low": 7, "high": 3, "code": "A", "tags": set()}
        assert [item.field for item in right.invalid(right.get(Booking, booking.id))] == [""]
        left.update(booking, code="B")
        left.update(booking, tags={"x"})
        with pytest.raises(InvalidValueError, match="upper case"):
            booking.code = "c"
        booking.low = 5
        booking.high = 6
        assert not list(left.invalid())
        with pytest.raises(InvalidValueError, match="low is above high"):
            booking.low = 7


def test_a_value_that_a_newer_validator_refuses_is_found() -> None:
    older: Any = create_model("Booking", __base__=Model, code=(str, ""), tags=(Set[str], ...))
    with memory(0, older) as old, memory(1, Booking) as new:
        booking = old.create(older, code="abc")
        exchange(old, new)
        assert [(item.field, item.raw, item.reason) for item in new.invalid()] == [
            ("code", "abc", "Value error, upper case please")
        ]
        new.get(Booking, booking.id).code = "ABC"
        assert not list(new.invalid())


def test_what_does_not_fit_can_be_taken_out_by_itself() -> None:
    """Elements and entries, whatever their type; a typing error is refused as ever."""
    strange = {"t", 2.5, date(2025, 1, 1), (1, "a"), b"x", None}
    older: Any = create_model(
        "Task", __base__=Model, tags=(Set[Any], ...), steps=(List[Any], ...), prefs=(Map[str, Any], ...)
    )
    newer: Any = create_model(
        "Task", __base__=Model, tags=(Set[int], ...), steps=(List[int], ...), prefs=(Map[str, int], ...)
    )
    with memory(0, older) as old, memory(1, newer) as new:
        task = old.create(older, tags={*strange, 7}, steps=[*strange, 7], prefs=dict.fromkeys(map(str, strange), "x"))
        exchange(old, new)
        shown: Any = new.get(newer, task.id)
        with pytest.raises(InvalidValueError):
            shown.tags.discard("u")
        for element in strange:
            shown.tags.discard(element)
            shown.steps.remove(element)
            del shown.prefs[str(element)]
        assert dict(shown) == {"tags": {7}, "steps": [7], "prefs": {}}
        assert not list(new.invalid())
        shown.tags.discard(7)
        assert not shown.tags
