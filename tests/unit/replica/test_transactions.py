"""Transactions: one entry, one commit, whole or not at all."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crdt_sync import Replica
from crdt_sync.core.limits import ENTRY_LIMITS
from crdt_sync.errors import (
    InvalidValueError,
    RecordDeletedError,
    RecordExistsError,
    TransactionError,
)
from crdt_sync.replica import Change
from crdt_sync.testing.exchange import exchange
from tests.unit.replica.devices import ACTS, Person, Task, memory, picture, state_of, store_of


class Stop(Exception):  # noqa: N818  it is none of ours
    """What a test raises inside of a transaction."""


def test_everything_in_a_transaction_is_one_entry(replica: Replica) -> None:
    seen: list[Change] = []
    replica.observe(seen.append)
    with replica.transaction():
        task = replica.create(Task, title="x")
        task.title = "y"
        task.notes.insert(0, "n")
        other = replica.create(Task)
        replica.delete(other)
        assert task.title == "y"
        assert seen == []
    assert state_of(replica).ledger.end == 1
    assert replica.get(Task, task.id).title == "y"
    assert [change.record_id for change in seen] == [task.id]


def test_an_empty_transaction_leaves_nothing(replica: Replica) -> None:
    before = picture(replica)
    with replica.transaction():
        pass
    assert picture(replica) == before


def test_an_error_rolls_everything_back(replica: Replica) -> None:
    task = replica.create(Task, title="x", notes="n", tags=["a"])
    before = picture(replica)
    with pytest.raises(Stop), replica.transaction():  # noqa: PT012  the whole block is refused
        task.title = "y"
        task.notes.append("!")
        task.tags.add("b")
        task.votes.increment()
        replica.create(Task)
        replica.create(Person, email="a@b")
        replica.delete(task)
        raise Stop
    assert picture(replica) == before
    assert (task.title, str(task.notes), set(task.tags), int(task.votes)) == ("x", "n", {"a"}, 0)
    task.title = "z"
    assert replica.find(Task, title="z") == [task]


def test_an_inner_transaction_joins_the_outer_one(replica: Replica) -> None:
    with replica.transaction():
        replica.create(Task)
        with replica.transaction():
            replica.create(Task)
    assert state_of(replica).ledger.end == 1
    assert replica.count(Task) == 2


def test_a_swallowed_error_of_an_inner_transaction_rolls_all_back(replica: Replica) -> None:
    before = picture(replica)
    with pytest.raises(TransactionError), replica.transaction():  # noqa: PT012  the whole block is refused
        replica.create(Task)
        with pytest.raises(Stop), replica.transaction():  # noqa: PT012  the whole block is refused
            replica.create(Task)
            raise Stop
    assert picture(replica) == before
    replica.create(Task)
    assert replica.count(Task) == 1


def test_a_refused_call_does_not_break_the_transaction(replica: Replica) -> None:
    person = replica.create(Person, email="a@b")
    gone = replica.create(Task)
    replica.delete(gone)
    with replica.transaction():
        with pytest.raises(RecordExistsError):
            replica.create(Person, email="a@b")
        with pytest.raises(InvalidValueError):
            replica.update(person, age="old")
        with pytest.raises(InvalidValueError):
            person.bio.insert(99, "x")
        with pytest.raises(InvalidValueError):
            replica.update(person, visits=7)
        with pytest.raises(RecordDeletedError):
            replica.delete(gone)
        person.name = "kept"
    assert person.name == "kept"


def test_a_write_that_fails_half_way_breaks_the_transaction(replica: Replica, monkeypatch: pytest.MonkeyPatch) -> None:
    task = replica.create(Task, title="x")
    before = picture(replica)
    with pytest.raises(TransactionError), replica.transaction():  # noqa: PT012  the whole block is refused
        replica.create(Task)
        with monkeypatch.context() as patch:
            patch.setattr("crdt_sync.replica.documents.merge_map", _fail)
            with pytest.raises(Stop):
                task.title = "half"
    assert picture(replica) == before
    assert task.title == "x"


def _fail(*args: object, **options: object) -> None:
    raise Stop


@pytest.mark.parametrize("call", ["put", "put_many", "put_rows"])
def test_a_store_that_fails_at_the_commit_loses_nothing_older(
    replica: Replica, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    task = replica.create(Task, title="x", notes="n")
    before = picture(replica)
    with monkeypatch.context() as patch:
        patch.setattr(store_of(replica), call, _fail)
        with pytest.raises(Stop):
            task.title = "y"
        with pytest.raises(Stop):
            task.notes.append("y")
        with pytest.raises(Stop):
            replica.create(Task)
    assert picture(replica) == before
    assert (task.title, str(task.notes)) == ("x", "n")
    task.title = "y"
    assert replica.find(Task, title="y") == [task]


def test_a_transaction_of_too_many_records_is_refused_whole(replica: Replica, monkeypatch: pytest.MonkeyPatch) -> None:
    assert ENTRY_LIMITS.documents_max == 10_000
    limits = type(ENTRY_LIMITS)(documents_max=3)
    monkeypatch.setattr("crdt_sync.replica.transaction.ENTRY_LIMITS", limits)
    before = picture(replica)
    with pytest.raises(TransactionError), replica.transaction():  # noqa: PT012  the whole block is refused
        for _ in range(4):
            replica.create(Task)
    assert picture(replica) == before


def test_an_observer_may_write(replica: Replica) -> None:
    task = replica.create(Task)

    def follow(change: Change) -> None:
        if "title" in change.fields:
            task.votes.increment()

    replica.observe(follow)
    task.title = "y"
    assert int(task.votes) == 1


@given(
    rounds=st.lists(
        st.tuples(st.booleans(), st.booleans(), st.lists(st.sampled_from(sorted(ACTS)), max_size=6)), max_size=6
    )
)
def test_any_transaction_is_accepted_by_others(rounds: list[tuple[bool, bool, list[str]]]) -> None:
    """(which device writes, whether it creates the record in it, what it does) → equal content, nothing refused."""
    with memory(1) as left, memory(2) as right:
        left.create(Task, title="first")
        for is_left, creates, acts in rounds:
            device = left if is_left else right
            with device.transaction():
                found = device.find(Task)
                task = device.create(Task) if creates or not found else found[-1]
                for act in acts:
                    try:
                        ACTS[act](device, task)
                    except RecordDeletedError:
                        continue  # it goes on with the next act
            if not creates:
                report = exchange(left, right)
                assert report.proven_equal
                assert report.left.statuses == report.right.statuses == 0
        assert exchange(left, right).proven_equal
        assert picture(left)["rows"] == picture(right)["rows"]
