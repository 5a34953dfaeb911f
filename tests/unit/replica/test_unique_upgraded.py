"""Records are compared by the values that they show, also where an app's upgrade function reads those."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import pytest
from pydantic import create_model

from crdt_sync import Model, Replica
from crdt_sync.errors import RecordExistsError
from crdt_sync.testing.exchange import exchange
from tests.unit.replica.devices import START_MS, Dice, memory, on_disk, state_of


class OldPerson(Model):
    first: str = ""
    last: str = ""
    size: int = 0


class NewPerson(Model):
    name: str = ""
    size: int = 0

    @classmethod
    def __upgrade__(cls, values: dict[str, Any]) -> dict[str, Any]:
        if "name" not in values and "last" in values:
            values["name"] = f"{values['first']} {values['last']}"
        return values


def old_version(**keywords: Any) -> Any:
    return create_model("Person", __base__=OldPerson, __cls_kwargs__=keywords)


def new_version(on_duplicate: Literal["merge", "keep_both", "ask"] = "merge") -> Any:
    keywords: Any = {"version": 2, "unique": ("name",), "on_duplicate": on_duplicate}
    return create_model("Person", __base__=NewPerson, __cls_kwargs__=keywords)


Old, New, Asking = old_version(), new_version(), new_version("ask")


def three(old: Any, new: Any) -> tuple[Replica, Replica, Replica]:
    """A device with the old version of the app, and two with the new one."""
    dice = [Dice(seed, now_ms=START_MS + seed) for seed in range(3)]
    return memory(0, old, dice=dice[0]), memory(1, new, dice=dice[1]), memory(2, new, dice=dice[2])


def meet(*replicas: Replica) -> None:
    """All of them hold the same afterwards, and nobody has more to say: what is linked is not linked again."""
    for _ in range(2):
        for other in replicas[1:]:
            assert exchange(replicas[0], other).proven_equal
    ends = [state_of(replica).ledger.end for replica in replicas]
    for other in replicas[1:]:
        assert exchange(replicas[0], other).proven_equal
    assert [state_of(replica).ledger.end for replica in replicas] == ends


def shown(replica: Replica, model: Any) -> list[dict[str, Any]]:
    return sorted((dict(record) for record in replica.find(model)), key=repr)


def test_a_record_that_shows_the_same_is_refused() -> None:
    with memory(0, Old) as old, memory(1, New) as new:
        person: Any = old.create(Old, first="Ann", last="Smith")
        exchange(old, new)
        with pytest.raises(RecordExistsError) as refused:
            new.create(New, name="Ann Smith")
        assert refused.value.record_id == person.id
        other: Any = new.create(New, name="Bo")
        with pytest.raises(RecordExistsError):
            other.name = "Ann Smith"
        new.get(New, person.id).name = "Anne Smith"
        other.name = "Ann Smith"


def test_records_that_show_the_same_merge_alike_on_every_device_of_one_version() -> None:
    old, one, other = three(Old, New)
    with old, one, other:
        person: Any = old.create(Old, first="Ann", last="Smith", size=1)
        meet(old, one)
        other.create(New, name="Ann Smith", size=2)
        meet(one, old, other)
        assert shown(one, New) == shown(other, New) == [{"name": "Ann Smith", "size": 2}]
        assert len(old.find(Old)) == 2  # its records have nothing in common, as far as it can tell
        (merged,) = one.find(New)
        assert merged.id == person.id
        merged.size = 3
        meet(one, old, other)
        assert shown(one, New) == shown(other, New) == [{"name": "Ann Smith", "size": 3}]
        assert {record.size for record in old.find(Old)} == {3}
        person.size = 4
        meet(one, old, other)
        assert shown(one, New) == shown(other, New)
        merged.name = "Ann Jones"
        meet(one, old, other)
        assert shown(one, New) == shown(other, New)
        assert len(shown(one, New)) == 1  # they are linked by now, whatever becomes of their names


def test_a_question_about_them_is_the_same_on_every_device_of_one_version() -> None:
    old, one, other = three(Old, Asking)
    with old, one, other:
        old.create(Old, first="Ann", last="Smith", size=1)
        other.create(Asking, name="Ann Smith", size=2)
        meet(one, old, other)
        (mine,), (theirs,) = one.conflicts(), other.conflicts()
        assert mine == theirs
        assert mine.paths == ("/size",)
        one.resolve(mine, take=mine.candidates[0])
        meet(one, old, other)
        assert shown(one, Asking) == shown(other, Asking) == [{"name": "Ann Smith", "size": 2}]
        assert one.conflicts() == other.conflicts() == []


def test_what_an_old_version_merged_by_what_it_sees_stays_merged_for_all() -> None:
    comparing = old_version(unique=("first",))
    old, one, other = three(comparing, New)
    with old, one, other:
        first: Any = old.create(comparing, first="Ann", last="Smith", size=1)
        with memory(3, comparing, dice=Dice(3, now_ms=START_MS + 9)) as apart:
            apart.create(comparing, first="Ann", last="Jones", size=2)
            meet(old, apart, one, other)
        assert len(old.find(comparing)) == 1
        assert shown(one, New) == shown(other, New)
        assert len(shown(one, New)) == 2
        first.size = 3
        meet(old, one, other)
        assert [person["size"] for person in shown(one, New)] == [3]
        assert shown(one, New) == shown(other, New)
        one.find(New)[0].name = "Ann Smith-Jones"
        meet(old, one, other)
        assert shown(one, New) == shown(other, New) == [{"name": "Ann Smith-Jones", "size": 3}]


def test_what_an_older_version_left_is_compared_once_the_new_one_opens_it(tmp_path: Path) -> None:
    with on_disk(tmp_path, Old) as replica:
        for _ in range(2):
            replica.create(Old, first="Ann", last="Smith")
    with on_disk(tmp_path, New, seed=1) as replica:
        assert shown(replica, New) == [{"name": "Ann Smith", "size": 0}]
    with on_disk(tmp_path, Old, seed=2) as replica:
        assert len(replica.find(Old)) == 2


def test_what_cannot_be_stored_is_not_compared_but_what_is_stored() -> None:
    class Odd(Model, unique=("name",)):
        name: Any = ""

        @classmethod
        def __upgrade__(cls, values: dict[str, Any]) -> dict[str, Any]:
            return values | {"name": {"x"}}

    with memory(0, Odd) as replica:
        for name in "ab":
            replica.create(Odd, name=name)
        assert [record.name for record in replica.find(Odd)] == ["a", "b"]
