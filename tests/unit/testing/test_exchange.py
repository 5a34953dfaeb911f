"""The exchange without a network: whole, cut anywhere, repeated, and with somebody writing in between."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crdt_sync import Replica
from crdt_sync.testing.exchange import Exchange, exchange
from crdt_sync.transport.memory import Fate, Fates, Frame
from tests.unit.replica.devices import Task, memory, picture


def cut_at(number: int, *, fate: Fate = Fate.CUT) -> Fates:
    """Every frame arrives up to the one of this number."""
    counter = itertools.count()

    def decide(frame: Frame) -> Fate:
        return fate if next(counter) == number else Fate.DELIVER

    return decide


@pytest.mark.parametrize("fate", [Fate.CUT, Fate.CUT_AND_LOSE])
def test_a_cut_anywhere_loses_nothing(fate: Fate) -> None:
    for number in range(16):
        with memory(1) as left, memory(2) as right:
            mine = left.create(Task, title="l", notes="n" * 5_000)
            right.create(Task, title="r")
            report = exchange(left, right, fates=cut_at(number, fate=fate))
            codes = {end.code for end in (report.left_end, report.right_end) if end is not None}
            assert report.proven_equal or "lost" in codes
            mine.notes.append("more")
            again = exchange(right, left)
            assert again.proven_equal
            assert picture(left)["rows"] == picture(right)["rows"]
            assert left.pending_count() == right.pending_count() == 0


@given(st.lists(st.integers(0, 12), max_size=5))
def test_any_number_of_cut_exchanges_comes_to_the_same(cuts: list[int]) -> None:
    with memory(1) as left, memory(2) as right:
        task = left.create(Task, title="0")
        for number in cuts:
            exchange(left, right, fates=cut_at(number))
            task.votes.increment()
            for found in right.find(Task):
                found.votes.increment()
        assert exchange(left, right).proven_equal
        assert int(task.votes) == int(right.get(Task, task.id).votes)


def test_nothing_is_sent_twice(pair: tuple[Replica, Replica]) -> None:
    left, right = pair
    left.create(Task)
    first = exchange(left, right)
    assert (first.left.entries_in, first.right.entries_in) == (0, 1)
    assert (first.left.entries_out, first.right.entries_out) == (1, 0)
    second = exchange(left, right)
    assert (second.left.entries_in, second.right.entries_in) == (0, 0)
    assert (second.left.entries_out, second.right.entries_out) == (0, 0)
    assert second.right.bytes_in < first.right.bytes_in


def test_entries_are_counted_alike_where_they_leave_and_where_they_arrive(pair: tuple[Replica, Replica]) -> None:
    left, right = pair
    task = left.create(Task, notes="n" * 100_000)
    right.create(Task)
    joined = Exchange(left, right)
    joined.settle()
    for number in range(5):
        task.notes.append(f"{number}" * 100_000)  # more than one batch, and more than one run
    joined.settle()
    for _ in range(3):
        task.votes.increment()
    joined.settle()
    report = joined.report(proven_equal=False)
    one, other = report.left, report.right
    assert (one.entries_out, one.entries_in) == (other.entries_in, other.entries_out) == (9, 1)


def test_writes_in_between_are_sent_live(pair: tuple[Replica, Replica]) -> None:
    left, right = pair
    joined = Exchange(left, right)
    joined.settle()
    task = left.create(Task, title="live")
    joined.settle()
    assert right.get(Task, task.id).title == "live"
    right.get(Task, task.id).title = "back"
    joined.settle()
    assert task.title == "back"
    assert joined.prove()
    joined.close()
    assert left.pending_count() == right.pending_count() == 0


def test_observers_may_write_and_it_still_settles(pair: tuple[Replica, Replica]) -> None:
    left, right = pair

    def answer(change: object) -> None:
        for found in right.find(Task, done=False):
            found.done = True

    right.observe(answer)
    task = left.create(Task)
    assert exchange(left, right).proven_equal
    assert task.done


def test_a_device_does_not_talk_to_itself(replica: Replica) -> None:
    report = exchange(replica, replica)
    assert not report.proven_equal
    assert report.left_end is not None
