"""What waits at a peer is sent again when it can be taken in, once; what never can be is sent once in a session."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

import pytest

from crdt_sync import Replica
from crdt_sync.core.entry import decode_run
from crdt_sync.core.ids import Author
from crdt_sync.protocol.source import RunPage, Vector
from crdt_sync.replica import awaiting
from crdt_sync.replica.accept import Batch
from crdt_sync.replica.ledger import Ledger
from crdt_sync.replica.port import Port
from crdt_sync.testing.exchange import Exchange, exchange
from tests.unit.replica.devices import Task, memory
from tests.unit.replica.test_home import author_of
from tests.unit.replica.test_set_aside import relay, titles
from tests.unit.replica.test_unsettled_forks import World


@contextmanager
def taking(replica: Replica) -> Iterator[list[Author]]:
    """Whose runs are handed to a replica, one after another."""
    accept, seen = Port.accept_runs, list[Author]()

    def noted(port: Port, runs: Sequence[bytes]) -> Batch:
        if port is replica.port:
            seen.extend(decode_run(run).author for run in runs)
        return accept(port, runs)

    with patch.object(Port, "accept_runs", noted):
        yield seen


@contextmanager
def without(replica: Replica, *authors: Author) -> Iterator[None]:
    """A replica that passes nothing on of some authors, as one does that lost it."""
    runs_after = Port.runs_after

    def fewer(port: Port, cursor: int, known: Vector, *, bytes_max: int) -> RunPage:
        page = runs_after(port, cursor, known, bytes_max=bytes_max)
        if port is not replica.port:
            return page
        kept = [run for run in page.runs if run[2] not in authors]
        return RunPage(tuple(kept), page.cursor, more=page.more)

    with patch.object(Port, "runs_after", fewer):
        yield


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    with made.left, made.right:
        yield made


def test_what_can_never_be_taken_in_is_sent_once_whatever_else_comes(world: World) -> None:
    with memory(63) as resting, memory(64) as other:
        exchange(resting, world.right)
        world.fork()
        exchange(resting, world.right)
        resting.create(Task, title="on the other branch")
        exchange(resting, world.right)
        pair = Exchange(world.right, world.left)
        with taking(world.left) as taken:
            pair.settle()
            assert taken.count(author_of(resting)) == 1
            for number in range(3):
                other.create(Task, title=f"from another session {number}")
                relay(other, world.left)
                waiting = pair.right.conversation._awaited
                waiting._looked_at = (0, *waiting._looked_at[1:])
                with patch.object(Ledger, "hash_at") as asked:
                    assert waiting.take() == frozenset()
                assert not asked.called, "the log is not even looked into"
                pair.right.conversation.wake()
                pair.settle()
                other.create(Task, title=f"from this session {number}")
                relay(other, world.right)
                pair.left.conversation.wake()
                pair.settle()
            assert taken.count(author_of(resting)) == 1
        assert world.left.count(Task, title="on the other branch") == 0
        news = [{title for title in titles(held) if title.startswith("from")} for held in (world.left, world.right)]
        assert [len(titles) for titles in news] == [6, 6]
        pair.close()


def test_beside_what_never_can_be_taken_in_what_can_goes_again_and_alone(world: World) -> None:
    with memory(62) as writer, memory(63) as resting, memory(65) as waiting:
        for device in (resting, waiting):
            exchange(device, world.right)
        world.fork()
        exchange(resting, world.right)
        resting.create(Task, title="on the other branch")
        exchange(resting, world.right)
        writer.create(Task, title="first")
        exchange(writer, waiting)
        waiting.create(Task, title="rests on it")
        exchange(waiting, world.right)
        with taking(world.left) as taken:
            pair = Exchange(world.right, world.left)
            with without(world.right, author_of(writer)):
                pair.settle()
                assert {*taken} >= {author_of(resting), author_of(waiting)}
                taken.clear()
                relay(writer, world.left)
                pair.right.conversation.wake()
                pair.settle()
        assert taken == [author_of(writer), author_of(waiting)]
        assert world.left.count(Task, title="rests on it") == 1
        pair.close()


def conversation_of(*writers: Replica, turns: int) -> None:
    """Each answers the one before."""
    for turn in range(turns):
        writers[turn % 2].create(Task, title=f"turn {turn}")
        exchange(*writers)


@pytest.mark.parametrize("known", [awaiting.WAITING_MAX, 1])
def test_entries_that_wait_for_each_other_come_in_one_go(known: int) -> None:
    with memory(1) as first, memory(2) as one, memory(3) as other, memory(4) as hub:
        first.create(Task, title="first")
        exchange(first, one)
        conversation_of(one, other, turns=8)
        pair = Exchange(other, hub)
        with without(other, author_of(first)), patch.object(awaiting, "WAITING_MAX", known):
            pair.settle()
            assert titles(hub) == set()
            with taking(hub) as taken:
                relay(first, hub)
                pair.right.conversation.wake()
                before = pair.flights
                pair.settle()
            assert len(titles(hub)) == 9
            assert pair.flights - before <= 4
            assert len(taken) == len(titles(hub))
        pair.close()


def test_what_waited_for_a_record_goes_again_when_another_session_brings_it() -> None:
    with memory(1) as writer, memory(2) as device, memory(3) as hub:
        writer.create(Task, title="first")
        exchange(writer, device)
        records = Port.space_records

        def withheld(port: Port, after: int) -> tuple[tuple[bytes, ...], int]:
            held, end = records(port, after)
            mine = {*writer.port.space_records(0)[0]} if port is device.port else set()
            return tuple(record for record in held if record not in mine), end

        pair = Exchange(device, hub)
        with patch.object(Port, "space_records", withheld), taking(hub) as taken:
            pair.settle()
            assert titles(hub) == set()
            device.create(Task, title="later")
            pair.settle()
            assert taken.count(author_of(writer)) == 1
            hub.port.accept_records(records(writer.port, 0)[0])
            pair.right.conversation.wake()
            pair.settle()
        assert titles(hub) == {"first", "later"}
        pair.close()


def test_a_chain_that_came_otherwise_is_not_asked_for() -> None:
    with memory(1) as writer, memory(2) as device, memory(3) as hub:
        writer.create(Task, title="first")
        exchange(writer, device)
        device.create(Task, title="rests on it")
        pair = Exchange(device, hub)
        with without(device, author_of(writer)):
            pair.settle()
        with taking(hub) as taken:
            exchange(device, hub)
            pair.right.conversation.wake()
            pair.settle()
        assert taken == [author_of(writer), author_of(device)]
        pair.close()
