"""References: declared by class or name, taken from records and ids, found by them, and never more than an id.

No `from __future__ import annotations`: under it a linter would take the quotes of `Ref["Person"]` for needless.
"""

import copy
import pickle
from typing import Annotated, Any
from uuid import UUID, uuid4

import pytest

from crdt_sync import List, Map, Model, Ref, Replica, Set, ask
from crdt_sync.errors import (
    InputError,
    InvalidValueError,
    ModelError,
    RecordNotFoundError,
    UnknownModelError,
)
from crdt_sync.replica.schema import Schema, models_of

ID = "01970000-0000-7000-8000-000000000001"


class Note(Model):
    owner: Ref["Person"] | None = None
    parent: Ref["Note"] | None = ask(default=None)
    mentions: List[Ref["Person"]]
    roles: Map[str, Annotated[Ref["Person"], ask()]]
    seen_by: Set[Ref["Person"]]
    pair: list[Ref["Person"]] | None = None


class Person(Model):
    name: str = ""
    home: Ref[Note] | None = None


@pytest.fixture
def replica() -> Any:
    with Replica.open(":memory:", models=[Note, Person]) as opened:
        yield opened


def test_a_field_takes_a_record_a_reference_or_an_id(replica: Any) -> None:
    ann, bob = replica.create(Person, name="ann"), replica.create(Person, name="bob")
    note = replica.create(Note, owner=ann)
    assert (note.owner.id, note.owner.model, note.owner.get(replica).name) == (ann.id, "Person", "ann")
    assert note.owner
    for value in (bob, Ref[Person](bob.id), Ref["Person"](bob.id), bob.id, UUID(bob.id), bob.id.upper()):
        note.owner = ann
        note.owner = value
        assert note.owner == Ref[Person](bob.id)
        assert type(note.owner) is Ref["Person"]
    note.parent = note
    assert note.parent.get(replica) == note
    note.owner = None
    assert note.owner is None


def test_records_are_found_by_what_they_refer_to(replica: Any) -> None:
    ann, bob = replica.create(Person), replica.create(Person)
    note = replica.create(Note, owner=ann)
    for value in (ann, note.owner, ann.id):
        assert [item.id for item in replica.find(Note, owner=value)] == [note.id]
    assert replica.count(Note, owner=bob) == replica.count(Note, owner=None) == 0
    assert replica.count(Note, owner__in=[bob, ann]) == replica.count(Note, owner__ne=bob) == 1
    with pytest.raises(ModelError):
        replica.find(Note, owner=note)
    with pytest.raises(InvalidValueError):
        replica.find(Note, owner="ann")


def test_a_reference_to_nothing_is_a_typed_error(replica: Any) -> None:
    note = replica.create(Note, owner=ID)
    with pytest.raises(RecordNotFoundError):
        note.owner.get(replica)
    ann = replica.create(Person)
    note.owner = ann
    replica.delete(ann)
    with pytest.raises(RecordNotFoundError):
        note.owner.get(replica)
    replica.restore(Person, note.owner.id)
    assert note.owner.get(replica) == ann
    with Replica.open(":memory:", models=[Note]) as other, pytest.raises(UnknownModelError):
        note.owner.get(other)


@pytest.mark.parametrize("value", ["ann", 5, b"x", [], "", {"id": ID}])
def test_what_is_no_id_is_refused(replica: Any, value: Any) -> None:
    note = replica.create(Note)
    with pytest.raises(InvalidValueError):
        note.owner = value
    with pytest.raises(InvalidValueError):
        note.mentions.append(value)
    assert (note.owner, len(note.mentions)) == (None, 0)


def test_other_records_are_refused(replica: Any) -> None:
    note = replica.create(Note)
    for value in (note, Person(name="detached"), Ref[Note](ID)):
        with pytest.raises(ModelError):
            note.owner = value
        with pytest.raises(ModelError):
            replica.create(Note, owner=value)
    assert note.owner is None


def test_collections_hold_references(replica: Any) -> None:
    ann, bob = replica.create(Person), replica.create(Person)
    note = replica.create(Note, mentions=[ann], roles={"editor": bob}, seen_by={ann.id}, pair=[ann, bob.id])
    note.mentions.append(bob.id)
    note.roles["author"] = ann
    note.seen_by.add(bob)
    note.seen_by.discard(ann)
    one, two = Ref[Person](ann.id), Ref[Person](bob.id)
    assert list(note.mentions) == [one, two] == note.pair
    assert dict(note.roles) == {"author": one, "editor": two}
    assert set(note.seen_by) == {two}
    assert [person.get(replica).id for person in note.mentions] == [ann.id, bob.id]
    assert replica.count(Note, mentions__contains=bob.id) == 1


def test_dumps_as_an_id(replica: Any) -> None:
    note = replica.create(Note, owner=ID, mentions=[ID])
    assert note.model_dump()["owner"] == Ref[Person](ID)
    assert note.model_dump(mode="json")["owner"] == ID
    assert f'"owner":"{ID}"' in note.model_dump_json()
    plain = Note.model_validate_json(note.model_dump_json())
    assert plain.owner == note.owner
    assert Note.model_json_schema()["properties"]["owner"]["anyOf"][0] == {"type": "string", "format": "uuid"}
    assert dict(replica.last_operation().data)["owner"] == ID


def test_references_are_values() -> None:
    one = Ref["Person"](ID)
    assert one == copy.copy(one) == copy.deepcopy(one) == pickle.loads(pickle.dumps(one)) == Ref[Person](ID)  # noqa: S301  # the test's own pickle
    assert one != Ref["Note"](ID)
    assert one != ID
    assert len({one, Ref[Person](ID), Ref["Note"](ID)}) == 2
    assert (repr(one), str(one)) == (f"Ref['Person']({ID!r})", ID)
    assert Ref["Person"](uuid4()) != one
    with pytest.raises(InputError):
        Ref["Person"]("no id")
    with pytest.raises(ModelError):
        Ref(ID)
    for wrong in (5, "no name", None):
        with pytest.raises(TypeError):
            Ref.__class_getitem__(wrong)
    with pytest.raises(TypeError):
        Ref["Person"]["Note"]


def test_a_description_gives_the_models_back() -> None:
    described = Schema([Note, Person]).describe()
    again = models_of(described)
    assert Schema(again).describe() == described
    with Replica.open(":memory:", models=again) as replica:
        person = replica.create(replica.model("Person"))
        note: Any = replica.create(replica.model("Note"), owner=person, mentions=[person], roles={"a": person})
        assert note.owner == Ref["Person"](person.id)
        assert list(note.mentions) == [note.owner]
