"""Strategies for an app's models: what they draw is what the models take, and it is done on live records.

No `from __future__ import annotations`: pydantic resolves the models of this module as they are declared.
"""

import enum
from datetime import date
from decimal import Decimal
from typing import Annotated, Any, Literal

import pytest
from annotated_types import Ge, Le, MinLen
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy
from pydantic import Field, StringConstraints, field_validator, model_validator

from crdt_sync import Counter, List, Map, Model, Ref, Replica, Set, Text, ask, first, max_, three_way
from crdt_sync.errors import InputError, InvalidValueError, SchemaError
from crdt_sync.testing import Edit, edits, histories, records
from crdt_sync.testing.steps import Carry, Create


class Mood(enum.Enum):
    GOOD = "good"
    BAD = "bad"


class Person(Model, unique=("email",)):
    email: str | None = None
    age: int = Field(default=0, ge=0, le=150)


class Ticket(Model, key=("code",)):
    code: str = Field(pattern=r"^[A-Z]{2}-\d{1,3}$")
    size: Annotated[int, Ge(1), Le(3)] = 1
    stars: list[Annotated[int, Ge(0), Le(5)]] = three_way(default_factory=list)
    slug: Annotated[str, StringConstraints(min_length=2, max_length=4)] = "none"
    price: Decimal | None = Field(default=None, max_digits=6, decimal_places=2)
    state: Literal["new", "done"] = ask(default="new")
    mood: Mood | None = None
    due: date | None = first(default=None)
    best: int = max_(default=0)
    owner: Ref["Person"] | None = None
    body: str = three_way(default="")
    any: Any = None
    names: Set[Annotated[str, MinLen(2)]]
    steps: List[Mood]
    days: Map[str, Annotated[int, ask(), Ge(1)]]
    notes: Text
    votes: Counter
    even: int = 0
    low: int = 0
    high: int = 0

    @field_validator("even")
    @classmethod
    def is_even(cls, value: int) -> int:
        if value % 2:
            raise ValueError("odd")
        return value

    @model_validator(mode="after")
    def ordered(self) -> "Ticket":
        if self.low > self.high:
            raise ValueError("low is above high")
        return self


def drawn(strategy: SearchStrategy[Any], *, examples: int = 60) -> list[Any]:
    found = []

    @settings(max_examples=examples, database=None, derandomize=True)
    @given(strategy)
    def draw(item: Any) -> None:
        found.append(item)

    draw()
    return found


@pytest.mark.parametrize("model", [Person, Ticket])
def test_records_are_taken_by_create_as_they_are(model: type[Model]) -> None:
    for values in drawn(records(model)):
        with Replica.open(":memory:", [Person, Ticket]) as replica:
            made = replica.create(model, **values)
            assert list(replica.invalid()) == []
            for name, value in values.items():
                if name not in {"names", "steps", "days", "notes", "votes", "any"}:
                    assert getattr(made, name) == value


def test_constraints_of_types_are_kept() -> None:
    tickets = drawn(records(Ticket), examples=150)
    assert {item["size"] for item in tickets if "size" in item} == {1, 2, 3}
    assert all(0 <= star <= 5 for item in tickets for star in item.get("stars", ()))
    assert all(2 <= len(item["slug"]) <= 4 for item in tickets if "slug" in item)
    assert all(day >= 1 for item in tickets for day in item.get("days", {}).values())
    assert {item["state"] for item in tickets if "state" in item} == {"new", "done"}
    assert any("owner" not in item for item in tickets), "what has a default is left out at times"


def test_every_edit_is_taken_or_refused_as_a_user_would_be() -> None:
    refused = 0
    done = set()
    with Replica.open(":memory:", [Person, Ticket]) as replica:
        ticket = replica.create(Ticket, code="AB-1", low=0, high=0, steps=[Mood.GOOD], notes="text")
        for edit in drawn(edits(Ticket), examples=400):
            assert edit.field != "code", "the natural key stays"
            try:
                edit.apply(ticket)
            except InvalidValueError:
                refused += 1
            else:
                done.add((edit.field, edit.do))
        assert list(replica.invalid()) == []
    assert refused
    assert {do for _, do in done} >= {"set", "increment", "add", "discard", "insert", "delete", "format"}
    assert {do for field, do in done if field in {"steps", "days"}} >= {"insert", "put", "move", "pop", "remove"}


def test_an_edit_that_there_is_not_is_refused() -> None:
    with Replica.open(":memory:", [Ticket]) as replica:
        ticket = replica.create(Ticket, code="AB-1")
        with pytest.raises(InputError, match="there is no edit 'burn'"):
            Edit(field="votes", do="burn").apply(ticket)


def test_unique_values_are_drawn_twice() -> None:
    pairs = drawn(st.tuples(records(Person), records(Person)), examples=100)
    emails = [(one.get("email"), other.get("email")) for one, other in pairs]
    assert any(one == other is not None for one, other in emails)
    assert any(one != other for one, other in emails)


def test_ones_own_strategies_are_used() -> None:
    for values in drawn(records(Person, values={"email": st.just("a@b")})):
        assert values.get("email", "a@b") == "a@b"


def test_histories_begin_with_records_that_everybody_has() -> None:
    for history in drawn(histories([Person, Ticket], replicas=3), examples=10):
        assert history.replicas == 3
        begun = history.steps[:4]
        assert [type(step) for step in begun] == [Create, Create, Carry, Carry]
        assert [step.model for step in begun[:2]] == ["Person", "Ticket"]


def test_histories_have_everything_in_them() -> None:
    kinds = {type(step).__name__ for history in drawn(histories([Person]), examples=80) for step in history.steps}
    assert kinds == {
        "Create", "Change", "Race", "Delete", "Restore", "Resolve", "Meet", "Carry", "Reopen", "TakeBack",
        "Compact", "Wait",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("values", "problem"),
    [({"Person.nothing": st.just(1)}, "'Person.nothing' is no field"), ({"Nobody.email": st.none()}, "is no field")],
)
def test_names_that_are_no_fields_are_refused(values: dict[str, Any], problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        histories([Person], values=values)


def test_a_field_that_is_not_there_is_refused() -> None:
    with pytest.raises(SchemaError, match="has no field 'nothing'"):
        records(Person, values={"nothing": st.just(1)})


@pytest.mark.parametrize(("models", "replicas"), [([], 2), ([Person], 1), ([Person], 9)])
def test_numbers_that_cannot_be_are_refused(models: list[type[Model]], replicas: int) -> None:
    with pytest.raises(InputError, match="2 to 8 replicas"):
        histories(models, replicas)
