"""Declarations: what can work, what cannot and says so when the class is made, and objects attached to no replica."""

from __future__ import annotations

import copy
import json
import pickle
from typing import Annotated, Any, Self

import pytest
from pydantic import (
    BaseModel,
    Field,
    TypeAdapter,
    ValidationError,
    ValidationInfo,
    create_model,
    field_validator,
    model_validator,
)

from crdt_sync import Counter, List, Map, Model, Replica, Set, Text, ask
from crdt_sync.core.kinds import AskRegister, CounterKind, PlainRegister, SetKind, TextKind
from crdt_sync.core.model import spec_of
from crdt_sync.core.validating import validate_change
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
        ("M", None, {"on_edit_after_delete": "nobody_wins"}),
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


def test_a_detached_object_needs_no_values_of_what_starts_empty() -> None:
    class Started(Model):
        title: str
        text: Text
        votes: Counter
        tags: Set[int]
        steps: List[str]
        named: Map[str, Annotated[int, ask()]]

    made: Any = Started
    one, two = made(title="t"), made(title="t")
    empty = {"text": "", "votes": 0, "tags": set(), "steps": [], "named": {}}
    assert one.model_dump() == {"title": "t", **empty}
    one.tags.add(1)
    assert two.tags == set()
    with pytest.raises(ValidationError, match="title"):
        made()
    with Replica.open(":memory:", [Started]) as replica:
        live = replica.create(Started, title="t")
        assert {name: value for name, value in dict(live).items() if name in empty} == empty
        assert not list(replica.invalid())


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


class Span(Model):
    start: int = 0
    end: int = 100
    title: Annotated[str, Field(max_length=5)] = ""

    @model_validator(mode="before")
    @classmethod
    def takes_fields(cls, data: Any) -> Any:
        return {**data}  # an object is no mapping: what pydantic gives on assigning

    @model_validator(mode="after")
    def in_order(self) -> Self:
        if self.start > self.end:
            raise ValueError("the start is after the end")
        return self


class Checked(Model):
    start: int = 0
    end: int = 100

    @field_validator("end")
    @classmethod
    def in_order(cls, value: int, info: ValidationInfo) -> int:
        if value < info.data.get("start", value):
            raise ValueError("the start is after the end")
        return value


@pytest.mark.parametrize("order", [("start", "end"), ("end", "start")])
@pytest.mark.parametrize("model", [Span, Checked])
def test_an_update_is_judged_by_its_final_state(model: Any, order: tuple[str, str]) -> None:
    with Replica.open(":memory:", [model]) as replica:
        record = replica.create(model, start=1, end=5)
        for start, end in ((10, 20), (1, 2)):
            wanted = {"start": start, "end": end}
            replica.update(record, **{name: wanted[name] for name in order})
            assert (record.start, record.end) == (start, end)
        with pytest.raises(InvalidValueError, match="after the end"):
            replica.update(record, **{name: {"start": 9, "end": 3}[name] for name in order})
        with pytest.raises(InvalidValueError) as refusal:
            replica.update(record, start=3, end="x")
        assert refusal.value.field == "end"
        assert (record.start, record.end) == (1, 2)


def test_one_field_is_judged_beside_the_others() -> None:
    with Replica.open(":memory:", [Span]) as replica:
        span = replica.create(Span, start=1, end=5)
        with pytest.raises(InvalidValueError, match="after the end"):
            span.start = 6
        span.start = 4
        assert span.start == 4


def test_what_is_not_valid_any_more_does_not_hold_up_other_fields() -> None:
    class Late(Model):
        start: int = 0
        end: int = 100
        title: Annotated[str, Field(max_length=5)] = ""

        @model_validator(mode="after")
        def in_order(self) -> Self:
            if self.start > self.end:
                raise ValueError("the start is after the end")
            return self

    current = {"start": 1, "end": 5, "title": "much too long"}
    assert validate_change(Late, current, {"start": 10, "end": 20}) == {"start": 10, "end": 20}
    assert validate_change(Late, current, {"start": 2}) == {"start": 2}
    with pytest.raises(InvalidValueError, match="after the end"):
        validate_change(Late, current, {"start": 10})


class Shelf(BaseModel):
    notes: list[Note]


def test_live_records_are_serialised_as_they_are_now() -> None:
    with Replica.open(":memory:", [Note]) as replica:
        note = replica.create(Note, code="c", tags=[1], text="n")
        note.votes.increment(2)
        now = {"code": "c", "title": "t", "size": 0, "due": None, "text": "n", "votes": 2, "tags": {1}}
        as_json = now | {"tags": [1]}
        assert dict(note) == now
        assert json.loads(note.model_dump_json()) == as_json
        assert note.model_dump(mode="json", exclude={"due"}) == {k: v for k, v in as_json.items() if k != "due"}
        assert json.loads(TypeAdapter(list[Note]).dump_json([note])) == [as_json]
        assert Shelf(notes=[note]).model_dump() == {"notes": [now]}
        assert json.loads(note.model_dump_json(include={"code", "votes"})) == {"code": "c", "votes": 2}


def test_copies_of_live_records_are_attached_to_nothing() -> None:
    with Replica.open(":memory:", [Note]) as replica:
        note = replica.create(Note, code="c", tags=[1], text="n")
        for made in (copy.copy(note), copy.deepcopy(note), copy.deepcopy([note])[0], note.model_copy()):
            assert type(made) is Note
            assert made.model_dump() == note.model_dump()
            made.title = "changed"
            with pytest.raises(ModelError):
                _ = made.id
        assert note.model_copy(update={"title": "u"}).title == "u"
        assert note.title == "t"
        with pytest.raises(ModelError, match="pickled") as refusal:
            pickle.dumps(note)
        assert refusal.value.hint
        assert pickle.loads(pickle.dumps(copy.copy(note))) == copy.copy(note)  # noqa: S301  our own bytes


def test_the_json_schema_of_what_is_serialised_names_the_fields() -> None:
    assert set(Note.model_json_schema(mode="serialization")["properties"]) == set(Note.model_fields)
