"""Declarations that would silently mean something else are refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import pytest

from crdt_sync.core.kinds import Counter, Set, Text
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
