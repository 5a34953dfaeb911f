"""Field values as typed and as JSON."""

from __future__ import annotations

import json
import math
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any, Literal
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from crdt_sync import Counter, Model, Set, Text, ask
from crdt_sync.cli.values import (
    EXACT,
    Operator,
    element_of_text,
    json_of_value,
    parse_assignment,
    parse_json,
    value_of_json,
    value_of_text,
)
from crdt_sync.core import codec
from crdt_sync.core.kinds import SetKind
from crdt_sync.core.model import spec_of
from crdt_sync.errors import InputError, InvalidValueError


class Colour(Enum):
    RED = "red"


class Everything(Model):
    text: str = ""
    number: int = 0
    real: float = 0.0
    flag: bool = False
    raw: bytes = b""
    day: date | None = None
    moment: datetime | None = ask(default=None)
    clock: time | None = None
    span: timedelta | None = None
    price: Decimal | None = None
    name: UUID | None = None
    colour: Colour = Colour.RED
    state: Literal["new", "done"] = "new"
    either: int | str = 0
    items: list[int] = Field(default_factory=list)
    pair: tuple[int, str] = (0, "")
    free: dict[str, Any] = Field(default_factory=dict)
    anything: Any = None
    notes: Text
    votes: Counter
    tags: Set[str]
    days: Set[date]


KINDS = spec_of(Everything).fields


@pytest.mark.parametrize(
    ("text", "field", "operator", "rest"),
    [
        ("a=b", "a", "=", "b"),
        ("a=", "a", "=", ""),
        ("a=b=c", "a", "=", "b=c"),
        ("a:=1", "a", ":=", "1"),
        ("a+=1", "a", "+=", "1"),
        ("a-=-1", "a", "-=", "-1"),
        ("a=x\ny", "a", "=", "x\ny"),
        ("due__lt=1", "due__lt", "=", "1"),
    ],
)
def test_an_assignment_is_taken_apart(text: str, field: str, operator: str, rest: str) -> None:
    found = parse_assignment(text)
    assert (found.field, found.operator, found.text) == (field, Operator(operator), rest)


@pytest.mark.parametrize("text", ["", "a", "=a", "1a=2", "a b=c", "a*=2", "ä=1"])
def test_what_is_no_assignment_is_refused(text: str) -> None:
    with pytest.raises(InputError):
        parse_assignment(text)


@pytest.mark.parametrize(
    ("field", "text", "value"),
    [
        ("text", "[1]", "[1]"),
        ("text", "3", "3"),
        ("number", "3", 3),
        ("real", "1.5", 1.5),
        ("flag", "yes", True),
        ("raw", "é", "é".encode()),
        ("day", "2026-01-31", date(2026, 1, 31)),
        ("moment", "2026-01-31T10:00:00Z", datetime(2026, 1, 31, 10, tzinfo=UTC)),
        ("clock", "10:30", time(10, 30)),
        ("span", "PT90S", timedelta(seconds=90)),
        ("price", "1.50", Decimal("1.50")),
        ("name", "018f0000-0000-7000-8000-000000000000", UUID("018f0000-0000-7000-8000-000000000000")),
        ("colour", "red", Colour.RED),
        ("state", "done", "done"),
        ("either", "3", "3"),
        ("items", "[1, 2]", [1, 2]),
        ("pair", '[1, "a"]', (1, "a")),
        ("free", '{"a": [null]}', {"a": [None]}),
        ("anything", "x", "x"),
        ("notes", "[x", "[x"),
        ("votes", "3", 3),
        ("tags", '["a"]', {"a"}),
        ("days", '["2026-01-31"]', {date(2026, 1, 31)}),
    ],
)
def test_typed_text_becomes_the_value_that_is_meant(field: str, text: str, value: Any) -> None:
    found = value_of_text(KINDS[field], text, model="Everything")
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("field", "text"),
    [("number", "x"), ("day", "soon"), ("tags", "a"), ("state", "old"), ("votes", "1.5"), ("items", '["x"]')],
)
def test_text_of_the_wrong_type_is_refused_without_telling_it(field: str, text: str) -> None:
    with pytest.raises(InvalidValueError) as refused:
        value_of_text(KINDS[field], text, model="Everything")
    assert refused.value.field == field
    assert refused.value.message.startswith(f"Everything.{field}: ")


EXAMPLES: list[tuple[str, Any]] = [
    ("text", 'quote " and 😀'),
    ("number", 2**70),
    ("real", 1e300),
    ("real", math.inf),
    ("raw", b"\xff\x00"),
    ("day", date(1, 1, 1)),
    ("day", None),
    ("moment", datetime(2026, 1, 31, 10, tzinfo=UTC)),
    ("moment", datetime(2026, 1, 31, 10, 0, 0, 1)),  # noqa: DTZ001  a naive one is a value too
    ("clock", time(23, 59, 59, 999999)),
    ("span", timedelta(days=-1, microseconds=1)),
    ("price", Decimal("1.50")),
    ("name", UUID(int=7)),
    ("colour", Colour.RED),
    ("either", "3"),
    ("items", [1, 2]),
    ("pair", (1, "a")),
    ("free", {"a": [1, {"b": None}], "t": (1, 2), "d": Decimal("1.0")}),
    ("free", {EXACT: "beef"}),
    ("anything", (1, date(2026, 1, 1))),
    ("tags", {"b", "a"}),
    ("days", {date(2026, 1, 31), date(2025, 1, 1)}),
]


@pytest.mark.parametrize(("field", "value"), EXAMPLES, ids=[f"{field}-{at}" for at, (field, _) in enumerate(EXAMPLES)])
def test_json_gives_every_value_back_equal_and_of_the_same_type(field: str, value: Any) -> None:
    data = parse_json(json.dumps(json_of_value(KINDS[field], value)), what="it")
    back = value_of_json(KINDS[field], data, model="Everything")
    assert back == value
    assert repr(type(back)) == repr(type(value))
    if not isinstance(value, set):
        assert codec.encode(back) == codec.encode(value)


def test_nan_is_kept() -> None:
    back = value_of_json(KINDS["real"], json_of_value(KINDS["real"], math.nan), model="Everything")
    assert math.isnan(back)


@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats(allow_nan=False)
        | st.text()
        | st.decimals(allow_nan=False),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    )
)
def test_json_gives_any_nested_value_back(value: Any) -> None:
    back = value_of_json(KINDS["anything"], json_of_value(KINDS["anything"], value), model="Everything")
    assert codec.encode(back) == codec.encode(value)


def test_a_set_is_listed_in_one_order() -> None:
    assert json_of_value(KINDS["tags"], {"c", "a", "b"}) == ["a", "b", "c"]


def test_an_element_is_read_by_its_type() -> None:
    kind = KINDS["days"]
    assert isinstance(kind, SetKind)
    assert element_of_text(kind, "2026-01-31", model="Everything") == date(2026, 1, 31)
    with pytest.raises(InvalidValueError):
        element_of_text(kind, "x", model="Everything")


@pytest.mark.parametrize("text", ["", "{", "NaN", '{"a": 1, "a": 2}', "[" * 100_000, "1" * 10_000])
def test_what_is_no_json_is_refused(text: str) -> None:
    with pytest.raises(InputError):
        parse_json(text, what="it")


@pytest.mark.parametrize("data", ["zz", 3, "c1", ""])
def test_an_exact_value_that_is_none_is_refused(data: Any) -> None:
    with pytest.raises(InvalidValueError):
        value_of_json(KINDS["anything"], {EXACT: data}, model="Everything")
