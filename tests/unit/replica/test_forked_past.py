"""Undo after a fork: what was written again under a new author is still one's own, and what others wrote is not."""

from __future__ import annotations

from pathlib import Path

from crdt_sync import Replica
from crdt_sync.testing.exchange import exchange
from tests.unit.replica.devices import Task, memory
from tests.unit.replica.test_forks import Machine, author_of


def forked(machine: Machine, peer: Replica, name: str, *, undone: int) -> None:
    """Write three times on a machine that was taken back, take some of it back, and find out about the fork."""
    with machine.on() as replica:
        task = replica.get(Task, name)
        task.title = "mine"
        task.notes.delete(0, 4)
        task.votes.increment(3)
        for _ in range(undone):
            assert replica.undo() is not None
        for _ in range(3):
            exchange(replica, peer)
        assert exchange(replica, peer).proven_equal


def start(tmp_path: Path, peer: Replica) -> tuple[Machine, str]:
    machine = Machine(tmp_path)
    name = machine.start(peer, title="made", notes="some text")
    machine.lose(peer, lambda replica: setattr(replica.get(Task, name), "size", 7))
    return machine, name


def test_what_was_written_again_is_undone_and_redone(tmp_path: Path) -> None:
    with memory(99) as peer:
        machine, name = start(tmp_path, peer)
        forked(machine, peer, name, undone=0)
        with machine.on() as replica:
            task = replica.get(Task, name)
            after = task.model_dump()
            assert (task.title, str(task.notes), int(task.votes), task.size) == ("mine", " text", 3, 7)
            for _ in range(3):
                report = replica.undo()
                assert report is not None
                assert report.skipped == ()
            assert (task.title, str(task.notes), int(task.votes), task.size) == ("made", "some text", 0, 7)
            for _ in range(3):
                assert replica.redo() is not None
            assert task.model_dump() == after
            exchange(replica, peer)
            assert peer.get(Task, name).model_dump() == after


def test_text_that_was_put_back_before_is_known_for_what_it_stands_for(tmp_path: Path) -> None:
    """The units that were put back have other ids after the fork."""
    with memory(99) as peer:
        machine, name = start(tmp_path, peer)
        forked(machine, peer, name, undone=2)
        with machine.on() as replica:
            task = replica.get(Task, name)
            assert str(task.notes) == "some text"
            assert replica.redo() is not None
            assert str(task.notes) == " text"
            assert replica.undo() is not None
            assert str(task.notes) == "some text"


def test_what_a_peer_wrote_meanwhile_stays(tmp_path: Path) -> None:
    with memory(99) as peer:
        machine, name = start(tmp_path, peer)
        forked(machine, peer, name, undone=0)
        theirs = peer.get(Task, name)
        theirs.title = "theirs"
        theirs.notes.append("!")
        with machine.on() as replica:
            exchange(replica, peer)
            task = replica.get(Task, name)
            for _ in range(3):
                assert replica.undo() is not None
            assert (task.title, str(task.notes), int(task.votes)) == ("theirs", "some text!", 0)


def test_insertion_that_was_deleted_and_put_back_is_undone_after_the_fork(tmp_path: Path) -> None:
    """What was put back stands for what was inserted, under the ids that both have since."""
    with memory(99) as peer:
        machine, name = start(tmp_path, peer)
        with machine.on() as replica:
            author = author_of(replica)
            task = replica.get(Task, name)
            task.notes.insert(0, "né😀 ")
            task.notes.delete(0, 3)
            assert replica.undo() is not None
            for _ in range(3):
                exchange(replica, peer)
            assert author_of(replica) != author  # they were written again
            assert str(task.notes) == "né😀 some text"
            assert replica.undo() is not None
            assert str(task.notes) == "some text"
            assert replica.redo() is not None
            assert str(task.notes) == "né😀 some text"
