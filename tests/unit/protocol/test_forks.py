"""Two branches of one author: both sides notice, nothing is merged silently, everybody else's data still flows."""

from __future__ import annotations

import copy

from crdt_sync.core.ids import Author
from crdt_sync.protocol.events import Acknowledged, AllProven, ForeignFork, OwnAhead, OwnFork
from crdt_sync.protocol.states import Phase
from crdt_sync.protocol.vectors import WIRE_HASH_BYTES
from tests.unit.protocol.replicas import FakeReplica, Pair


def forked(*, left_more: int = 0, right_more: int = 0) -> tuple[FakeReplica, FakeReplica]:
    """The right replica is a copy of the left one; both went on writing under one author."""
    left = FakeReplica(1)
    left.write("a=1", "b=1")
    right = copy.deepcopy(left)
    left.write("left=1", *[f"l{index}=1" for index in range(left_more)])
    right.write("right=1", *[f"r{index}=1" for index in range(right_more)])
    return left, right


def test_the_same_sequence_with_another_hash_is_an_own_fork_on_both_sides() -> None:
    left, right = forked()
    author = left.author
    pair = Pair(left, right)
    pair.settle()
    for end, other in ((pair.left, right), (pair.right, left)):
        (fork,) = end.of(OwnFork)
        assert isinstance(fork, OwnFork)
        assert (fork.partition, fork.author, fork.position.sequence) == ("", author, 3)
        held = other.hash_at("", author, 3)
        assert held is not None
        assert fork.position.hash == held[:WIRE_HASH_BYTES]
        assert end.runs == []
        assert end.ended is None
        assert end.of(AllProven) == []
        told = [event.vector for event in end.seen if isinstance(event, Acknowledged)]
        assert told == [{}]


def test_a_shorter_branch_is_told_by_the_side_that_can_see_it() -> None:
    for left_more, right_more in ((0, 5), (5, 0)):
        left, right = forked(left_more=left_more, right_more=right_more)
        pair = Pair(left, right)
        pair.settle()
        for end in pair.ends():
            assert len(end.of(OwnFork)) == 1


def test_a_third_sees_a_foreign_fork_and_everything_else_flows() -> None:
    left, right = forked()
    third = FakeReplica(3)
    third.write("third=1")
    Pair(left, third).settle()
    pair = Pair(third, right)
    right.write("other=1", partition="other")
    right.write("more=1", partition="more")
    pair.settle()
    (fork,) = pair.left.of(ForeignFork)
    assert isinstance(fork, ForeignFork)
    assert fork.author == left.author
    assert pair.right.of(OwnFork) != []
    assert third.vector()["other"] == right.vector()["other"]
    assert right.vector()[""][third.author].sequence == 1
    third.write("later=1")
    pair.left.session.wake()
    pair.settle()
    assert right.vector()[""][third.author].sequence == 2


def test_a_restored_backup_learns_that_it_is_behind_itself() -> None:
    left, right = FakeReplica(1), FakeReplica(2)
    left.write("a=1")
    backup = copy.deepcopy(left)
    left.write("b=1")
    Pair(left, right).settle()
    pair = Pair(backup, right)
    pair.settle()
    (ahead,) = pair.left.of(OwnAhead)
    assert isinstance(ahead, OwnAhead)
    assert (ahead.author, ahead.position.sequence) == (backup.author, 2)
    assert pair.equal()
    assert pair.left.session.state is Phase.LIVE


def test_a_branch_that_arrives_as_a_run_is_parked_and_told() -> None:
    left, right = FakeReplica(1), FakeReplica(2)
    pair = Pair(left, right)
    pair.settle()
    clone = copy.deepcopy(left)
    clone.write("clone=1")
    Pair(clone, right).settle()
    left.write("left=1")
    pair.left.session.wake()
    pair.settle()
    assert len(right.evidence) == 1
    assert pair.left.of(OwnFork) != []


def test_no_fingerprints_are_computed_where_a_fork_keeps_vectors_apart() -> None:
    left, right = forked()
    pair = Pair(left, right)
    for index in range(5):
        left.write(f"n{index}=1")
        pair.left.session.wake()
        pair.settle()
        pair.tick()
    assert left.fingerprints_computed == right.fingerprints_computed == 0


def test_a_settled_fork_is_equal_again_on_the_same_session() -> None:
    left, right = forked(left_more=1)
    pair = Pair(left, right)
    pair.settle()
    # The right side gives up its branch and writes it again under a new author.
    common = copy.deepcopy(right.entries["", left.author][:2])
    right.entries.clear()
    right.hashes.clear()
    right.documents.clear()
    right.author = Author(left.author + 99)
    right.authors.add(right.author)
    right._append("", left.author, common)
    right.write("right=1")
    pair.right.session.restate()
    pair.right.session.wake()
    pair.settle()
    assert left.vector() == right.vector()
    assert pair.equal()
    for end in pair.ends():
        assert end.session.state is Phase.LIVE
        assert len(end.of(OwnFork)) == 1
