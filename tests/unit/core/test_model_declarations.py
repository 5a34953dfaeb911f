"""Declarations that would silently mean something else are refused."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import pytest
from pydantic import ConfigDict, TypeAdapter, create_model

from crdt_sync.core.kinds import Counter, Set, Text, ask
from crdt_sync.core.model import Model
from crdt_sync.errors import SchemaError

if TYPE_CHECKING:
    from decimal import Decimal


def test_a_text_that_may_be_none_is_refused() -> None:
    with pytest.raises(SchemaError, match="stand alone"):

        class Note(Model):
            body: Text | None = None


def test_a_container_of_live_kinds_is_refused() -> None:
    with pytest.raises(SchemaError, match="stand alone"):

        class Poll(Model):
            votes: dict[str, Counter]

    with pytest.raises(SchemaError, match="stand alone"):

        class Nested(Model):
            sets: Set[Set[str]]


def test_an_annotated_text_is_refused_or_a_text() -> None:
    class Note(Model):
        body: Annotated[Text, "shown first"]

    assert type(Note.__crdt_spec__.fields["body"]).__name__ == "TextKind"


def test_a_type_that_is_there_for_type_checkers_only_is_refused() -> None:
    with pytest.raises(SchemaError, match="cannot be resolved"):

        class Price(Model):
            amount: Decimal


def test_two_underscores_are_refused() -> None:
    with pytest.raises(SchemaError, match="comparison"):

        class Task(Model):
            due__date: str = ""


class Odd:
    """No type that pydantic knows."""


@pytest.mark.parametrize(
    "annotation",
    [Odd, list[Odd], Odd | None, dict[str, Odd], Set[Odd], Annotated[Odd, 5], 5, Callable[[], int], Callable | None],
    ids=repr,
)
@pytest.mark.parametrize("default", [..., None, ask()], ids=["plain", "default", "ask"])
def test_a_type_of_which_no_value_can_be_kept_is_refused(annotation: Any, default: Any) -> None:
    if default is None and getattr(annotation, "__origin__", None) is Set:
        default = ...
    with pytest.raises(SchemaError) as caught:
        create_model("Thing", __base__=Model, name=(str, ""), odd=(annotation, default))
    assert "'Thing', field 'odd'" in caught.value.message
    assert "models.md" in caught.value.hint
    assert "\n" not in caught.value.message
    assert caught.value.__cause__ is None


def test_a_constraint_that_cannot_be_is_refused() -> None:
    with pytest.raises(SchemaError, match="'Thing', field 'size'"):

        class Thing(Model):
            size: int = ask(gt="many")

    strange: Any = "strange"
    with pytest.raises(SchemaError, match="'Strange'"):

        class Strange(Model):
            model_config = ConfigDict(extra=strange)

            size: int


def test_types_of_a_function_are_known_to_models_made_in_it() -> None:
    class Money(float):
        @classmethod
        def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
            return handler(float)

    class Price(Model):
        amount: Money

    assert Price.__pydantic_complete__
    assert TypeAdapter(list[Price]).validate_python([{"amount": "1.5"}])[0].amount == 1.5
    assert math.isclose(Price(amount=Money(2)).amount, 2)
