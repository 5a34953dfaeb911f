"""Natural keys: two devices that create the same thing create one record."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from crdt_sync import Model, Replica
from crdt_sync.errors import RecordExistsError
from crdt_sync.testing.exchange import exchange
from tests.unit.replica.devices import Person, memory


class Slot(Model, key=("room", "day")):
    room: str
    day: date
    owner: str = ""


def test_created_at_once_it_is_one_record(pair: tuple[Replica, Replica]) -> None:
    left, right = pair
    mine = left.create(Person, email="a@b", name="left", bio="L", visits=1, groups=["l"])
    theirs = right.create(Person, email="a@b", age=5, bio="R", visits=2, groups=["r"])
    assert mine.id == theirs.id
    assert exchange(left, right).proven_equal
    for replica in pair:
        (person,) = replica.find(Person)
        assert sorted(str(person.bio)) == ["L", "R"]
        assert (int(person.visits), set(person.groups)) == (3, {"l", "r"})
        assert person.age == 5
        assert [item.value for item in replica.candidates(person, "name")] == ["left"]
    mine.name = "settled"
    assert exchange(left, right).proven_equal
    assert [item.value for item in right.candidates(theirs, "name")] == ["settled"]


def test_different_answers_given_at_creation_are_a_conflict(pair: tuple[Replica, Replica]) -> None:
    left, right = pair
    left.create(Person, email="a@b", age=4)
    right.create(Person, email="a@b", age=5)
    assert exchange(left, right).proven_equal
    (conflict,) = left.conflicts()
    assert {item.value for item in conflict.candidates} == {4, 5}
    assert right.conflicts() == [conflict]
    left.resolve(conflict, value=6)
    exchange(left, right)
    assert right.conflicts() == []
    assert right.find(Person)[0].age == 6


def test_an_existing_one_is_refused(replica: Replica) -> None:
    replica.create(Person, email="a@b")
    with pytest.raises(RecordExistsError):
        replica.create(Person, email="a@b", name="again")
    assert replica.create(Person, email="A@b").id != replica.find(Person, email="a@b")[0].id


def test_creating_a_deleted_one_again_restores_and_writes_it(pair: tuple[Replica, Replica]) -> None:
    left, right = pair
    person = left.create(Person, email="a@b", name="old", age=1, bio="old", visits=5, groups=["x", "y"])
    exchange(left, right)
    left.delete(person)
    exchange(left, right)
    again = right.create(Person, email="a@b", age=2, bio="new", visits=7, groups=["y", "z"])
    assert again.id == person.id
    assert exchange(left, right).proven_equal
    assert (person.name, person.age, str(person.bio), int(person.visits)) == ("old", 2, "new", 7)
    assert set(person.groups) == {"y", "z"}
    assert left.conflicts() == []


def test_creating_again_what_was_never_changed_only_restores_it(replica: Replica) -> None:
    person = replica.create(Person, email="a@b")
    replica.delete(person)
    assert replica.create(Person, email="a@b") == person
    assert replica.count(Person) == 1


@pytest.mark.parametrize(
    ("values", "same"),
    [
        ({"room": "a", "day": date(2025, 1, 1)}, True),
        ({"room": "a", "day": "2025-01-01"}, True),
        ({"room": "b", "day": date(2025, 1, 1)}, False),
        ({"room": "a", "day": date(2025, 1, 2)}, False),
    ],
)
def test_the_id_follows_from_all_key_fields(values: dict[str, Any], same: bool) -> None:
    with memory(1, Slot) as left, memory(2, Slot) as right:
        first = left.create(Slot, room="a", day=date(2025, 1, 1))
        assert (right.create(Slot, **values).id == first.id) is same
