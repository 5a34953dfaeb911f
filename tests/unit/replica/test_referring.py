"""References follow merged records: in queries, in sets, and by `get`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from pydantic import Field

from crdt_sync import List, Map, Model, Ref, Replica, Set
from crdt_sync.testing.exchange import exchange
from tests.unit.replica.devices import START_MS, Dice, memory


class Person(Model, unique=("email",)):
    email: str | None


class Task(Model):
    title: str
    owner: Ref[Person] | None = None
    many: List[Ref[Person]]
    team: Set[Ref[Person]]
    places: Map[str, Ref[Person]]
    plain: list[Ref[Person]] = Field(default_factory=list)


@pytest.fixture
def two() -> Iterator[tuple[Replica, Replica]]:
    """Two devices that both created Ann and a task of hers, and one a task of nobody's."""
    one, other = (memory(seed + 1, Person, Task, dice=Dice(seed + 1, now_ms=START_MS + seed)) for seed in range(2))
    for replica, title in ((one, "a"), (other, "b")):
        ann = replica.create(Person, email="ann")
        replica.create(Task, title=title, owner=ann, many=[ann], team=[ann], places={"k": ann}, plain=[ann])
    one.create(Task, title="c", owner=one.create(Person, email="bob"))
    assert exchange(one, other).proven_equal
    yield one, other
    one.close()
    other.close()


def titles(found: list[Task]) -> list[str]:
    return sorted(task.title for task in found)


def test_a_query_finds_references_by_any_id_of_a_merged_record(two: tuple[Replica, Replica]) -> None:
    for replica in two:
        (ann,) = replica.find(Person, email="ann")
        (bob,) = replica.find(Person, email="bob")
        (alias,) = replica.also_known_as(ann)
        for named in (ann, ann.id, alias, Ref["Person"](alias)):
            assert titles(replica.find(Task, owner=named)) == ["a", "b"]
            assert replica.count(Task, owner=named) == 2
            assert titles(replica.find(Task, owner__ne=named)) == ["c"]
            assert titles(replica.find(Task, owner__in=[named])) == ["a", "b"]
            assert titles(replica.find(Task, owner__in=[bob, named])) == ["a", "b", "c"]
            assert titles(replica.find(Task, many__contains=named)) == ["a", "b"]
            assert titles(replica.find(Task, team__contains=named)) == ["a", "b"]
            assert titles(replica.find(Task, plain__contains=named)) == ["a", "b"]
        assert titles(replica.find(Task, owner=bob)) == ["c"]
        assert titles(replica.find(Task, owner=None)) == []
        assert replica.find(Task, many__contains="no id") == []


def test_a_set_holds_a_merged_record_once(two: tuple[Replica, Replica]) -> None:
    one, other = two
    (ann,) = one.find(Person, email="ann")
    (bob,) = one.find(Person, email="bob")
    (alias,) = one.also_known_as(ann)
    (task,) = one.find(Task, title="b")
    assert set(task.team) == {Ref["Person"](ann.id)}
    task.team.add(Ref["Person"](ann.id))
    task.team.add(Ref["Person"](bob.id))
    assert (len(task.team), set(task.team)) == (2, {Ref["Person"](ann.id), Ref["Person"](bob.id)})
    assert all(Ref["Person"](name) in task.team for name in (ann.id, alias, bob.id))
    task.team.discard(Ref["Person"](ann.id))
    assert set(task.team) == {Ref["Person"](bob.id)}
    assert exchange(one, other).proven_equal
    assert set(other.get(Task, task.id).team) == {Ref["Person"](bob.id)}
    assert alias not in str(other.get(Task, task.id).team)


def test_get_follows_and_references_are_values(two: tuple[Replica, Replica]) -> None:
    for replica in two:
        (ann,) = replica.find(Person, email="ann")
        (alias,) = replica.also_known_as(ann)
        owners = [task.owner for task in replica.find(Task, owner=ann, order_by="title")]
        assert {owner.id for owner in owners if owner} == {ann.id, alias}
        assert [owner.get(replica) for owner in owners if owner] == [ann, ann]
