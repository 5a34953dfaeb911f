"""Content whose author's binding is lost: everybody takes it in all the same, and it counts once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from crdt_sync import Replica
from crdt_sync.storage.base import Table
from crdt_sync.testing.exchange import exchange
from tests.unit.replica.damaging import MODELS
from tests.unit.replica.devices import Person, Task, memory, store_of, sync
from tests.unit.replica.test_repair import lose, opened, peer, repaired, zero


def write(replica: Replica) -> None:
    replica.create(Task, title="first", notes="abc").votes.increment(3)


def content(replica: Replica) -> list[tuple[str, str, int]]:
    return [(task.title, str(task.notes), int(task.votes)) for task in replica.find(Task)]


@pytest.fixture
def unbound(tmp_path: Path) -> Path:
    """A repaired store whose only binding was lost before anybody else had it."""
    with opened(tmp_path) as replica:
        write(replica)
    zero(tmp_path, Table.RECORD)
    assert repaired(tmp_path).kept_content
    return tmp_path


@pytest.mark.parametrize("damage", [lose, zero])
def test_it_reaches_everybody(tmp_path: Path, damage: Callable[[Path, Table], bytes]) -> None:
    with opened(tmp_path) as replica:
        write(replica)
    damage(tmp_path, Table.RECORD)
    assert repaired(tmp_path).kept_content
    with opened(tmp_path) as replica, peer(tmp_path) as other, memory(5, *MODELS) as third:
        replica.find(Task)[0].votes.increment(4)
        other.create(Person, email="a@b", name="Ada")
        sync(other, replica)
        sync(other, third)
        assert content(replica) == content(other) == content(third) == [("first", "abc", 7)]
        assert all(each.check().ok for each in (replica, other, third))


def test_it_outlives_the_device_that_wrote_it(tmp_path: Path) -> None:
    with opened(tmp_path) as replica, memory(5, *MODELS) as writer:
        write(writer)
        assert exchange(replica, writer).proven_equal
    number = 1  # behind the replica's own
    zero(tmp_path, Table.RECORD, number)
    assert repaired(tmp_path).kept_content
    with opened(tmp_path) as replica, memory(6, *MODELS) as third:
        sync(replica, third)
        assert content(replica) == content(third) == [("first", "abc", 3)]


def test_who_is_too_late_for_entries_gets_it_too(unbound: Path) -> None:
    with opened(unbound) as replica, peer(unbound) as other, memory(5, *MODELS) as late:
        other.create(Task, title="second")
        for _ in range(2):
            sync(other, replica)
            other.compact(retention_s=0)
            replica.compact(retention_s=0)
        assert store_of(other).count(Table.BASE) == 2
        sync(other, late)
        assert sorted(content(late)) == sorted(content(replica)) == [("first", "abc", 3), ("second", "", 0)]
        assert late.check().ok


def test_its_entries_may_come_later(tmp_path: Path) -> None:
    with opened(tmp_path) as replica, peer(tmp_path) as away:
        write(replica)
        assert exchange(replica, away).proven_equal
    zero(tmp_path, Table.RECORD)
    assert repaired(tmp_path).kept_content
    with opened(tmp_path) as replica, peer(tmp_path) as away, memory(5, *MODELS) as other:
        sync(other, replica)
        assert content(other) == [("first", "abc", 3)]
        away.find(Task)[0].votes.increment(4)
        sync(other, away, replica)
        for each in (replica, other, away):
            assert content(each) == [("first", "abc", 7)]
            assert each.check().ok


def test_what_was_folded_of_it_reaches_everybody_too(tmp_path: Path) -> None:
    with opened(tmp_path) as replica, peer(tmp_path) as gone:
        write(replica)
        for _ in range(2):
            sync(gone, replica)
            replica.compact(retention_s=0)
        assert store_of(replica).count(Table.BASE) == 1
        replica.find(Task)[0].votes.increment(4)
    zero(tmp_path, Table.RECORD)
    assert repaired(tmp_path).changed
    with opened(tmp_path) as replica, memory(5, *MODELS) as other:
        sync(replica, other)
        assert content(replica) == content(other) == [("first", "abc", 7)]
        assert replica.check().ok
        assert other.check().ok
