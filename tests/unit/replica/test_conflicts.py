"""Conflicts: the same on every device, told to observers, settled once for all."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from crdt_sync import Change, Replica
from crdt_sync.core.conflict import UNKNOWN, ConflictKind
from crdt_sync.core.limits import ENTRY_LIMITS
from crdt_sync.errors import ConflictNotFoundError
from crdt_sync.testing.exchange import exchange
from tests.unit.replica.devices import Person, Task, memory, on_disk

DAYS = [date(2025, 1, day) for day in range(1, 30)]


@pytest.fixture
def clash(pair: tuple[Replica, Replica]) -> tuple[Replica, Replica, Task, Task]:
    """Two devices that moved one date to different days at once."""
    left, right = pair
    mine = left.create(Task, title="t", due=DAYS[0])
    exchange(left, right)
    theirs = right.get(Task, mine.id)
    mine.due = DAYS[1]
    theirs.due = DAYS[2]
    assert exchange(left, right).proven_equal
    return left, right, mine, theirs


def test_a_clash_is_one_conflict_alike_on_both(clash: tuple[Replica, Replica, Task, Task]) -> None:
    left, right, mine, theirs = clash
    (conflict,) = left.conflicts()
    assert right.conflicts() == [conflict]
    assert conflict.kind is ConflictKind.CONCURRENT_EDIT
    assert (conflict.model, conflict.record_id, conflict.field) == ("Task", mine.id, "due")
    assert conflict.base == DAYS[0]
    assert {item.value: item.device_id for item in conflict.candidates} == {
        DAYS[1]: left.device_id,
        DAYS[2]: right.device_id,
    }
    assert conflict.candidates[0].timestamp >= conflict.candidates[1].timestamp
    assert conflict.value == conflict.candidates[0].value == mine.due == theirs.due


def test_conflicts_are_found_by_model_record_and_kind(clash: tuple[Replica, Replica, Task, Task]) -> None:
    left, _, mine, _ = clash
    other = left.create(Task)
    found = left.conflicts()
    assert left.conflicts(model=Task) == left.conflicts(record=mine) == found
    assert left.conflicts(kind="concurrent_edit") == left.conflicts(kind=ConflictKind.CONCURRENT_EDIT) == found
    assert left.conflicts(model=Person) == left.conflicts(record=other) == []
    assert left.conflicts(model=Person, record=mine) == []


@pytest.mark.parametrize("choice", [0, 1, None, "other"])
def test_settling_on_one_device_settles_it_on_all(
    clash: tuple[Replica, Replica, Task, Task], choice: int | str | None
) -> None:
    left, right, mine, theirs = clash
    (conflict,) = right.conflicts()
    if isinstance(choice, int):
        wanted = conflict.candidates[choice].value
        right.resolve(conflict, take=conflict.candidates[choice])
    else:
        wanted = DAYS[9] if choice else None
        right.resolve(conflict, value=str(wanted) if wanted else None)
    assert right.conflicts() == []
    assert theirs.due == wanted
    assert exchange(left, right).proven_equal
    assert left.conflicts() == []
    assert mine.due == wanted
    with pytest.raises(ConflictNotFoundError):
        left.resolve(conflict, value=DAYS[5])


def test_a_later_candidate_stays_and_is_a_new_conflict(clash: tuple[Replica, Replica, Task, Task]) -> None:
    left, right, mine, _ = clash
    with memory(3) as third:
        exchange(left, third)
        (conflict,) = left.conflicts()
        third.resolve(third.conflicts()[0], value=DAYS[7])
        left.resolve(conflict, value=DAYS[8])
        assert exchange(left, third).proven_equal
        (again,) = left.conflicts()
        assert again.id != conflict.id
        assert {item.value for item in again.candidates} == {DAYS[7], DAYS[8]}
        assert third.conflicts() == [again]
        exchange(left, right)
        assert right.conflicts() == [again]
        left.resolve(again, take=again.candidates[1])
        exchange(left, right)
        exchange(left, third)
        assert left.conflicts() == right.conflicts() == third.conflicts() == []
        assert mine.due == again.candidates[1].value


def test_equal_choices_made_at_once_are_no_conflict(clash: tuple[Replica, Replica, Task, Task]) -> None:
    left, right, mine, _ = clash
    for replica in (left, right):
        replica.resolve(replica.conflicts()[0], value=DAYS[4])
    assert exchange(left, right).proven_equal
    assert left.conflicts() == right.conflicts() == []
    assert mine.due == DAYS[4]


def test_the_settling_knows_only_its_candidates(pair: tuple[Replica, Replica]) -> None:
    """A conflict object that is settled after a third value arrived leaves that one standing."""
    left, right = pair
    with memory(3) as third:
        mine = left.create(Task, due=DAYS[0])
        exchange(left, right)
        exchange(left, third)
        mine.due = DAYS[1]
        right.get(Task, mine.id).due = DAYS[2]
        third.get(Task, mine.id).due = DAYS[3]
        exchange(left, right)
        (old,) = left.conflicts()
        exchange(left, third)
        (wider,) = left.conflicts()
        assert len(wider.candidates) == 3
        left.resolve(old, value=DAYS[10])
        (rest,) = left.conflicts()
        assert {item.value for item in rest.candidates} == {DAYS[3], DAYS[10]}
        assert exchange(left, third).proven_equal
        assert third.conflicts() == [rest]


def test_an_open_transaction_sees_the_conflicts_that_it_settles_and_brings_back(
    clash: tuple[Replica, Replica, Task, Task],
) -> None:
    left, _, mine, _ = clash
    (conflict,) = left.conflicts()
    with left.transaction():
        left.delete(mine)
        assert left.conflicts() == left.conflicts(record=mine) == left.conflicts(model=Task) == []
        left.restore(Task, mine.id)
        assert left.conflicts() == [conflict]
        left.resolve(conflict, value=DAYS[5])
        assert left.conflicts() == []
    assert left.conflicts() == []


def test_an_open_transaction_sees_the_conflicts_of_a_record_that_it_restores(
    clash: tuple[Replica, Replica, Task, Task],
) -> None:
    left, _, mine, _ = clash
    (conflict,) = left.conflicts()
    left.delete(mine)
    assert left.conflicts() == []
    with left.transaction():
        left.restore(Task, mine.id)
        left.create(Task)
        assert left.conflicts() == left.conflicts(record=mine) == left.conflicts(model=Task) == [conflict]
        assert left.conflicts(model=Person) == []
    assert left.conflicts() == [conflict]


def test_equal_values_written_at_once_are_no_conflict(pair: tuple[Replica, Replica]) -> None:
    left, right = pair
    mine = left.create(Task, due=DAYS[0])
    exchange(left, right)
    mine.due = DAYS[1]
    right.get(Task, mine.id).due = DAYS[1]
    exchange(left, right)
    assert left.conflicts() == []


def test_another_write_of_the_field_settles_it_too(clash: tuple[Replica, Replica, Task, Task]) -> None:
    left, right, mine, _ = clash
    mine.due = DAYS[20]
    assert left.conflicts() == []
    assert [item.value for item in left.candidates(mine, "due")] == [DAYS[20]]
    exchange(left, right)
    assert right.conflicts() == []


def test_choosing_the_shown_value_by_assignment_settles_it(clash: tuple[Replica, Replica, Task, Task]) -> None:
    left, _, mine, _ = clash
    shown = mine.due
    mine.due = shown
    assert left.conflicts() == []
    assert mine.due == shown


def test_observers_are_told_of_both(pair: tuple[Replica, Replica]) -> None:
    left, right = pair
    mine = left.create(Task, due=DAYS[0])
    exchange(left, right)
    seen: list[Change] = []
    right.observe(seen.append)
    mine.due = DAYS[1]
    right.get(Task, mine.id).due = DAYS[2]
    exchange(left, right)
    (conflict,) = right.conflicts()
    opened = [change for change in seen if change.type == "conflict"]
    assert [(change.conflicts, change.fields, change.origin) for change in opened] == [
        ((conflict.id,), frozenset(("due",)), "remote")
    ]
    right.resolve(conflict, value=DAYS[5])
    (settled,) = (change for change in seen if change.type == "settled")
    assert (settled.conflicts, settled.origin, settled.record_id) == ((conflict.id,), "local", mine.id)


def test_a_deleted_record_has_no_conflicts_until_it_is_back(clash: tuple[Replica, Replica, Task, Task]) -> None:
    left, _, mine, _ = clash
    (conflict,) = left.conflicts()
    left.delete(mine)
    assert left.conflicts() == []
    left.restore(Task, mine.id)
    assert left.conflicts() == [conflict]


def test_conflicts_are_there_after_opening_again(tmp_path: Path) -> None:
    with on_disk(tmp_path) as replica, memory(2) as other:
        mine = replica.create(Task, due=DAYS[0])
        exchange(replica, other)
        mine.due = DAYS[1]
        other.get(Task, mine.id).due = DAYS[2]
        exchange(replica, other)
        before = replica.conflicts()
    with on_disk(tmp_path, seed=1) as replica:
        assert replica.conflicts() == before
        replica.resolve(before[0], value=DAYS[3])
        assert replica.conflicts() == []


def test_the_base_is_unknown_once_too_many_values_are_kept(pair: tuple[Replica, Replica]) -> None:
    left, right = pair
    mine = left.create(Task, due=DAYS[0])
    exchange(left, right)
    theirs = right.get(Task, mine.id)
    theirs.due = DAYS[1]
    for day in range(ENTRY_LIMITS.hidden_values_max + 4):
        mine.due = DAYS[2 + day]
    assert exchange(left, right).proven_equal
    (conflict,) = left.conflicts()
    assert conflict.base in (DAYS[0], UNKNOWN)
    assert right.conflicts() == [conflict]


def test_the_base_of_fields_nobody_wrote_is_the_default(pair: tuple[Replica, Replica]) -> None:
    left, right = pair
    mine = left.create(Task)
    exchange(left, right)
    mine.due = DAYS[1]
    right.get(Task, mine.id).due = DAYS[2]
    exchange(left, right)
    assert left.conflicts()[0].base is None


def test_plain_fields_show_the_latest_and_keep_the_other_readable(pair: tuple[Replica, Replica]) -> None:
    left, right = pair
    mine = left.create(Task, title="t")
    exchange(left, right)
    theirs = right.get(Task, mine.id)
    theirs.title = "theirs"
    for _ in range(100):  # our clock goes on, so that our write is the later one
        left._state.now_ms()
    mine.title = "mine"
    exchange(left, right)
    assert left.conflicts() == []
    assert mine.title == theirs.title == "mine"
    assert [item.value for item in right.candidates(theirs, "title")] == ["mine", "theirs"]
    theirs.title = "later"
    assert [item.value for item in right.candidates(theirs, "title")] == ["later"]
    assert right.candidates(theirs, "notes") == ()
