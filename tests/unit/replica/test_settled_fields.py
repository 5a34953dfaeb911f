"""Settled conflicts of fields are told on every replica alike, however much was written before it heard of them."""

from __future__ import annotations

from random import Random
from typing import Annotated

import pytest

from crdt_sync import Map, Model, Replica, ask, three_way
from crdt_sync.core.conflict import Settled
from crdt_sync.testing.exchange import exchange
from tests.unit.replica.devices import START_MS, Dice, memory

LATER = 20
"""Writes behind which a document has let go of what they superseded."""


class Task(Model):
    due: int = ask(default=0)
    place: dict[str, int] = three_way(default_factory=dict)
    prefs: Map[str, Annotated[int, ask()]]


class Person(Model, unique=("mail",)):
    mail: str
    due: int = ask(default=0)


def opened(count: int) -> list[Replica]:
    return [memory(seed + 1, Task, Person, dice=Dice(seed + 1, now_ms=START_MS + seed)) for seed in range(count)]


def meet(replicas: list[Replica]) -> None:
    for one in replicas:
        for other in replicas:
            if one is not other:
                assert exchange(one, other).proven_equal


def told(replica: Replica) -> list[Settled]:
    return replica.settled()


def test_who_wrote_the_overruled_value_hears_of_it_after_many_later_writes() -> None:
    first, second, late = opened(3)
    task = first.create(Task)
    exchange(first, second)
    task.due = 1
    second.get(Task, task.id).due = 2
    exchange(first, second)
    (conflict,) = first.conflicts()
    first.resolve(conflict, take=conflict.candidates[1])
    (settled,) = told(first)
    for number in range(LATER):
        task.due = 10 + number
    meet([first, second, late])
    assert told(second) == told(late) == [settled]
    assert settled.id == conflict.id


def test_what_a_resolution_itself_removes_is_told() -> None:
    first, second, late = opened(3)
    task = first.create(Task)
    exchange(first, second)
    second.get(Task, task.id).due = 1
    for number in range(LATER):
        task.due = 10 + number
    exchange(first, second)
    (conflict,) = second.conflicts()
    second.resolve(conflict, value=5)
    (settled,) = told(second)
    assert settled.candidates == conflict.candidates
    meet([first, second, late])
    assert told(first) == told(late) == [settled]


def test_what_a_concurrent_write_removed_before_is_told() -> None:
    first, second, third = opened(3)
    task = first.create(Task)
    meet([first, second, third])
    task.due = 1
    second.get(Task, task.id).due = 2
    exchange(first, second)
    exchange(first, third)
    for number in range(LATER):
        third.get(Task, task.id).due = 10 + number
    (conflict,) = first.conflicts()
    first.resolve(conflict, value=3)
    (mine,) = told(first)
    meet([first, second, third])
    assert told(first) == told(second) == told(third)
    assert mine in told(third)


def test_of_an_entry_that_was_taken_out_and_of_a_record_that_was_deleted_at_once() -> None:
    first, second, late = opened(3)
    task = first.create(Task, prefs={"a": 0})
    exchange(first, second)
    task.due, task.prefs["a"] = 1, 1
    other = second.get(Task, task.id)
    other.due, other.prefs["a"] = 2, 2
    exchange(first, second)
    for conflict in first.conflicts():
        first.resolve(conflict, take=conflict.candidates[0])
    del task.prefs["a"]
    first.delete(task)
    assert len(told(first)) == 2
    meet([first, second, late])
    assert told(second) == told(late) == told(first)


def test_a_write_to_two_merged_records_is_told_once() -> None:
    first, second, third = opened(3)
    ann = first.create(Person, mail="ann")
    second.create(Person, mail="ann")
    meet([first, second, third])
    ann.due = 1
    third.find(Person)[0].due = 2
    meet([first, second, third])
    (conflict,) = third.conflicts()
    third.resolve(conflict, value=3)
    for number in range(LATER):
        third.find(Person)[0].due = 10 + number
    meet([first, second, third])
    assert [len(told(replica)) for replica in (first, second, third)] == [1, 1, 1]
    assert told(first) == told(second) == told(third)
    assert [candidate.value for candidate in told(first)[0].candidates] == [1, 2]


@pytest.mark.parametrize("seed", range(8))
def test_any_history_is_told_alike_everywhere(seed: int) -> None:
    dice = Random(seed)
    replicas = opened(dice.randint(2, 4))
    name = replicas[0].create(Task, place={"x": 0, "y": 0}).id
    meet(replicas)
    for number in range(120):
        replica = dice.choice(replicas)
        task = replica.get(Task, name)
        match dice.randrange(9):
            case 0 | 1:
                exchange(replica, dice.choice([item for item in replicas if item is not replica]))
            case 2:
                for conflict in replica.conflicts():
                    replica.resolve(conflict, take=dice.choice(conflict.candidates))
            case 3 | 4 | 5:
                task.place = {**task.place, dice.choice("xyz"): number}
            case _:
                task.due = number
    late = memory(99, Task, Person)
    meet([*replicas, late])
    for replica in (*replicas[1:], late):
        assert told(replica) == told(replicas[0])
