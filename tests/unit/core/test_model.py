"""Declarations: what can work, what cannot and says so when the class is made, and objects attached to no replica."""

from __future__ import annotations

from typing import Annotated, Any

import pytest
from pydantic import BaseModel, Field, PydanticUserError, create_model, field_validator

from crdt_sync import Counter, Model, Replica, Set, Text, ask
from crdt_sync.core.kinds import AskRegister, CounterKind, PlainRegister, SetKind, TextKind
from crdt_sync.core.model import spec_of
from crdt_sync.errors import InvalidValueError, ModelError, SchemaError


class Note(Model, key=("code",), version=2):
    code: str
    title: str = "t"
    size: Annotated[int, Field(ge=0)] = 0
    due: int | None = ask(default=None)
    text: Text
    votes: Counter
    tags: Set[int]

    @field_validator("title")
    @classmethod
    def no_shouting(cls, value: str) -> str:
        if value.isupper():
            raise ValueError("do not shout")
        return value.strip()


def test_a_declaration_says_how_each_field_merges() -> None:
    spec = spec_of(Note)
    assert {name: type(kind) for name, kind in spec.fields.items()} == {
        "code": PlainRegister,
        "title": PlainRegister,
        "size": PlainRegister,
        "due": AskRegister,
        "text": TextKind,
        "votes": CounterKind,
        "tags": SetKind,
    }
    assert (spec.name, spec.key, spec.version, spec.on_edit_after_delete) == ("Note", ("code",), 2, "edit_wins")
    assert spec.required == {"code"}


def test_models_inherit_fields() -> None:
    class Longer(Note):
        more: int = 0

    assert list(spec_of(Longer).fields) == [*spec_of(Note).fields, "more"]
    assert spec_of(Longer).key == ()


def declare(name: str = "M", *, fields: dict[str, Any] | None = None, **keywords: Any) -> type[Model]:
    return create_model(name, __base__=Model, __cls_kwargs__=keywords, **(fields or {"a": (str, "")}))


@pytest.mark.filterwarnings("ignore:Field name:UserWarning")  # pydantic's own of a field named like an attribute
@pytest.mark.parametrize(
    ("name", "fields", "keywords"),
    [
        ("M", None, {"unknown": 1}),
        ("M", None, {"on_edit_after_delete": "delete_wins"}),
        ("M", None, {"on_edit_after_delete": "ask"}),
        ("M", None, {"key": "a"}),
        ("M", None, {"key": ("b",)}),
        ("M", None, {"key": ("a", "a")}),
        ("M", None, {"key": 5}),
        ("M", {"a": (Text, ...)}, {"key": ("a",)}),
        ("M", {"a": (Counter, ...)}, {"key": ("a",)}),
        ("M", {"a": (Set[str], ...)}, {"key": ("a",)}),
        ("M", {"a": (str, ask(default=""))}, {"key": ("a",)}),
        ("M", {"id": (str, "")}, {}),
        ("M", {"a": (str, ""), "A": (str, "")}, {}),
        ("M", {"é": (str, "")}, {}),
        ("M", {"f" * 65: (str, "")}, {}),
        ("M", {"a": (Text, "default")}, {}),
        ("M", {"a": (Counter, 5)}, {}),
        ("M", {"a": (Set[str], Field(default_factory=set))}, {}),
        ("sqlite_x", None, {}),
        ("SQLiteX", None, {}),
        ("Mé", None, {}),
        ("_M", None, {}),
        ("M" * 65, None, {}),
        ("M", {"a": (str, ""), "b": (Text | None, None)}, {}),
        ("M", {"a": (list[Counter], [])}, {}),
        ("M", {"a": (Set[dict[str, int]], ...)}, {}),
    ],
)
def test_what_cannot_work_is_refused_at_the_declaration(
    name: str, fields: dict[str, Any] | None, keywords: dict[str, Any]
) -> None:
    with pytest.raises(SchemaError) as refusal:
        declare(name, fields=fields, **keywords)
    assert refusal.value.hint


def test_types_that_no_value_can_have_are_refused_by_pydantic() -> None:
    class Foreign:
        pass

    with pytest.raises(PydanticUserError):
        declare(fields={"a": (Foreign, ...)})


def test_a_detached_object_is_a_plain_pydantic_object() -> None:
    note = Note(code="c", text="x", votes=0, tags={1})
    assert (note.title, note.code) == ("t", "c")
    assert note == Note(code="c", text="x", votes=0, tags={1})
    assert note.model_dump()["tags"] == {1}
    assert "code='c'" in repr(note)
    note.title = "u"
    assert note.title == "u"
    with pytest.raises(ModelError):
        _ = note.id
    with pytest.raises(AttributeError):
        _ = Note.title


def test_validators_and_constraints_hold_for_live_records() -> None:
    with Replica.open(":memory:", [Note]) as replica:
        note = replica.create(Note, code="c", title="  padded ")
        assert note.title == "padded"
        note.title = " again "
        assert note.title == "again"
        for values in ({"title": "LOUD"}, {"size": -1}):
            with pytest.raises(InvalidValueError):
                replica.update(note, **values)
            with pytest.raises(InvalidValueError):
                replica.create(Note, code="d", **values)
        assert replica.count(Note) == 1


def test_live_records_are_models_in_every_way() -> None:
    with Replica.open(":memory:", [Note]) as replica:
        note = replica.create(Note, code="c", tags=[1], text="n")
        assert isinstance(note, BaseModel)
        assert note.model_dump() == {
            "code": "c",
            "title": "t",
            "size": 0,
            "due": None,
            "text": "n",
            "votes": 0,
            "tags": {1},
        }
        assert note.model_dump(include={"code"}) == {"code": "c"}
        assert note.model_dump_json() is not None
        assert dict(note.model_dump()) == replica.get(Note, note.id).model_dump()
        assert len({note, replica.get(Note, note.id)}) == 1
