"""docs/reference/models.md: its code runs, and its lists are those of the code."""

from __future__ import annotations

import inspect
import re
import types
from pathlib import Path
from typing import Any

import pytest
from pydantic import create_model

from crdt_sync import Counter, List, Map, Model, Replica, Set, Text
from crdt_sync.core.codec import _Ext  # the types that the page must name
from crdt_sync.core.kinds import (
    AskRegister,
    CounterKind,
    FieldKind,
    First,
    Greatest,
    Least,
    ListKind,
    MapKind,
    MergeWithRegister,
    PlainRegister,
    SetKind,
    TextKind,
    ThreeWayRegister,
)
from crdt_sync.core.model import spec_of
from crdt_sync.errors import SchemaError, UnrepresentableValueError

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "reference" / "models.md").read_text(encoding="utf-8")


class Bag(Model):
    anything: Any = None
    plain_set: set[int] | None = None


def declared() -> dict[str, Any]:
    """What the page's example declares."""
    (block,) = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    scope: dict[str, Any] = {"__name__": "models"}
    exec(compile(block, "models.md", "exec", dont_inherit=True), scope)  # noqa: S102  code of our own page
    return scope


def test_example_declares_the_kinds_that_the_page_lists() -> None:
    scope = declared()
    kinds: dict[str, type[FieldKind]] = {name: type(kind) for name, kind in spec_of(scope["Task"]).fields.items()}
    assert kinds == {
        "title": PlainRegister,
        "state": PlainRegister,
        "price": PlainRegister,
        "due": AskRegister,
        "address": ThreeWayRegister,
        "stage": MergeWithRegister,
        "taken_by": First,
        "best": Greatest,
        "earliest": Least,
        "parent": PlainRegister,
        "notes": TextKind,
        "votes": CounterKind,
        "tags": SetKind,
        "steps": ListKind,
        "prefs": MapKind,
    }
    with Replica.open(":memory:", models=[scope["Task"], scope["Country"]]) as replica:
        task = replica.create(scope["Task"], title="a", notes="b", votes=3, tags=["c"])
        assert (str(task.notes), int(task.votes), set(task.tags), task.state) == ("b", 3, {"c"}, scope["State"].OPEN)
        one = replica.create(scope["Country"], code="pt")
        assert spec_of(scope["Country"]).natural_id({"code": "pt"}) == one.id


def test_class_keywords_are_those_of_the_class() -> None:
    parameters = inspect.signature(Model.__pydantic_init_subclass__).parameters.values()
    taken = [item.name for item in parameters if item.kind is inspect.Parameter.KEYWORD_ONLY]
    section = PAGE.partition("## Class keywords")[2].partition("\n## ")[0]
    assert re.findall(r"^\| `(\w+)`", section, re.MULTILINE) == taken
    for planned in re.findall(r"`(\w+)`", section.partition("Planned")[2]):
        with pytest.raises(SchemaError):
            types.new_class("Planned", (Model,), {planned: None})


def test_every_type_with_an_extension_is_listed() -> None:
    names = {
        "DATETIME": "datetime",
        "DATE": "date",
        "DECIMAL": "Decimal",
        "UUID": "UUID",
        "BIG_INT": "ints of up to 13,999 bits",
    }
    names |= {"TIME": "time", "TIMEDELTA": "timedelta", "TUPLE": "tuple"}
    assert {member.name for member in _Ext} == set(names)
    assert [name for name in names.values() if name not in PAGE] == []


@pytest.mark.parametrize("value", [{1}, object(), "\ud800", {1: 2}], ids=["set", "object", "surrogate", "int keys"])
def test_what_the_page_says_cannot_be_stored_is_refused(value: object) -> None:
    with Replica.open(":memory:", models=[Bag]) as replica:
        bag = replica.create(Bag)
        with pytest.raises(UnrepresentableValueError):
            bag.anything = value
        with pytest.raises(UnrepresentableValueError):
            bag.plain_set = {1}
        assert bag.anything is None


@pytest.mark.parametrize(
    "kind", [Text, Counter, Set[str], List[str], Map[str, int]], ids=["text", "counter", "set", "list", "map"]
)
def test_kinds_that_start_empty_take_no_default(kind: Any) -> None:
    with pytest.raises(SchemaError):
        create_model("Defaulted", __base__=Model, a=(kind, None))
