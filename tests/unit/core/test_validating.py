"""What is wrong with a record as it stands, and which of its edits go through all the same."""

from __future__ import annotations

from typing import Annotated, Any, Self

import pytest
from pydantic import AfterValidator, Field, field_validator, model_validator

from crdt_sync import Model, Set
from crdt_sync.core.validating import WHOLE_RECORD, complaints, validate_change, validate_creation
from crdt_sync.errors import InvalidValueError


class Coded(Model):
    code: str = ""
    size: int = 0
    tags: Set[str]

    @field_validator("code")
    @classmethod
    def upper(cls, value: str) -> str:
        if not value.isupper():
            raise ValueError("upper case please")
        return value

    @field_validator("size", mode="before")
    @classmethod
    def known(cls, value: Any) -> Any:
        return {1: 1, 2: 2}[value]

    @field_validator("tags")
    @classmethod
    def few(cls, value: set[str]) -> set[str]:
        if len(value) > 1:
            raise ValueError("one tag at most")
        return value


class Span(Model):
    low: int = 0
    high: int = 9
    title: Annotated[str, Field(max_length=5)] = ""
    limit: Annotated[int, AfterValidator(lambda number: 12 // number)] | None = None

    @model_validator(mode="after")
    def in_order(self) -> Self:
        if self.low > self.high:
            raise ValueError("low is above high")
        return self


class Odd(Model):
    kind: str = ""
    extra: dict[str, str] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def known(cls, values: dict[str, Any]) -> dict[str, Any]:
        values["extra"][values["kind"]] = "seen"
        return values

    @model_validator(mode="after")
    def complete(self) -> Self:
        _ = self.extra["x"]
        return self


SPAN = {"low": 7, "high": 3, "title": "", "limit": None}


def test_what_a_validator_of_a_field_refuses_is_wrong() -> None:
    assert not complaints(Coded, {"code": "ABC", "size": 1, "tags": {"a"}})
    assert complaints(Coded, {"code": "abc", "size": 5, "tags": {"a", "b"}}) == {
        "code": "Value error, upper case please",
        "size": "a validator raised KeyError",
        "tags": "Value error, one tag at most",
    }


def test_a_default_is_taken_whatever_a_validator_says() -> None:
    """As pydantic does."""
    assert not complaints(Coded, {"code": "", "size": 0, "tags": set()})


def test_what_fields_are_together_is_wrong_for_the_whole_record() -> None:
    assert not complaints(Span, {**SPAN, "low": 1})
    assert complaints(Span, SPAN) == {WHOLE_RECORD: "Value error, low is above high"}
    assert complaints(Span, {**SPAN, "title": "too long"}).keys() == {"title", WHOLE_RECORD}
    assert complaints(Span, {**SPAN, "low": "x", "limit": 0}) == {
        "low": "Input should be a valid integer",
        "limit": "its type raised ZeroDivisionError",
        WHOLE_RECORD: "a validator raised TypeError",
    }


def test_a_validator_that_fails_otherwise_is_told_too_and_changes_nothing() -> None:
    values: dict[str, Any] = {"kind": "a", "extra": {}}
    assert complaints(Odd, values) == {WHOLE_RECORD: "a validator raised KeyError"}
    assert values == {"kind": "a", "extra": {}}


def test_a_record_that_was_refused_already_can_be_edited_and_mended_in_steps() -> None:
    assert validate_change(Span, SPAN, {"title": "new"}) == {"title": "new"}
    assert validate_change(Span, SPAN, {"low": 5}) == {"low": 5}
    assert validate_change(Span, SPAN, {"high": 4, "title": "x"}) == {"high": 4, "title": "x"}
    assert validate_change(Span, {**SPAN, "limit": 0}, {"low": 2}) == {"low": 2}
    for wrong in ({"low": "x"}, {"low": "x", "title": "y"}, {"title": "too long"}, {"title": "ok", "low": None}):
        with pytest.raises(InvalidValueError) as caught:
            validate_change(Span, SPAN, wrong)
        assert caught.value.field in wrong


def test_a_record_that_was_right_stays_right() -> None:
    """Also where another field holds what does not fit."""
    for current in ({**SPAN, "low": 1}, {**SPAN, "low": 1, "title": "too long"}, {**SPAN, "low": 1, "limit": 0}):
        assert validate_change(Span, current, {"low": 3}) == {"low": 3}
        for wrong in ({"low": 4}, {"low": 4, "high": 3}):
            with pytest.raises(InvalidValueError, match="low is above high") as caught:
                validate_change(Span, current, wrong)
            assert caught.value.field == WHOLE_RECORD


def test_a_creation_is_judged_whole() -> None:
    with pytest.raises(InvalidValueError, match="low is above high"):
        validate_creation(Span, {"low": 10})
    with pytest.raises(InvalidValueError, match="a validator raised KeyError") as caught:
        validate_creation(Coded, {"size": 9})
    assert caught.value.field == "size"
    with pytest.raises(InvalidValueError, match="Odd: a validator raised KeyError"):
        validate_creation(Odd, {"kind": "a", "extra": {}})


def test_a_default_factory_that_fails_is_an_invalid_value() -> None:
    class Made(Model):
        at: int = Field(default_factory=lambda: 1 // 0)

    with pytest.raises(InvalidValueError, match="ZeroDivisionError"):
        validate_creation(Made, {})
