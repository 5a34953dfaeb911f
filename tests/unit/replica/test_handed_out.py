"""What was on its way as a line broke may be there: where a fork is met it is not written again, and counted twice."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import pytest

from crdt_sync import Replica
from crdt_sync.core.ids import Author
from crdt_sync.errors import CorruptStoreError, InputError, StoreFullError
from crdt_sync.protocol.source import EntryStatus, Position, StatusKind
from crdt_sync.replica.content import NO_HEAD
from crdt_sync.replica.handed_out import HANDED, HandedOut, read_handed
from crdt_sync.replica.packing import pack_values
from crdt_sync.storage.base import Table
from crdt_sync.storage.sqlite import open_sqlite
from crdt_sync.testing.exchange import exchange
from crdt_sync.transport.memory import End, Fate, Frame
from tests.unit.replica.devices import Task, memory, on_disk, state_of, store_of
from tests.unit.replica.test_forks import Machine, author_of, settled
from tests.unit.replica.test_home import device_of
from tests.unit.replica.test_set_aside import Poison, failing, meet, poisoned


def hand_out(replica: Replica, other: Replica, *, arrives: bool = True) -> None:
    """Send somebody what there is; the line breaks before he answers, or before anything of it gets there."""
    end = state_of(other).ledger.end

    def fate(frame: Frame) -> Fate:
        is_answer = frame.sender is End.LISTENER and state_of(other).ledger.end > end
        is_lost = not arrives and frame.sender is End.DIALER and replica.port._handed_out._given
        return Fate.CUT if is_answer or is_lost else Fate.DELIVER

    assert exchange(replica, other, fates=fate).left_end
    assert (state_of(other).ledger.end > end) == arrives


@contextmanager
def killed(replica: Replica) -> Iterator[None]:
    """The process ends in no good order."""
    with patch.object(type(replica.port), "keep_handed_out"), patch.object(state_of(replica).lease, "release"):
        yield
        replica.close()


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def votes(replica: Replica, name: str) -> int:
    return int(replica.get(Task, name).votes)


@pytest.mark.parametrize("end", ["none", "closed", "killed", "closed after it was killed"])
def test_a_branch_that_was_handed_out_stays_apart(machine: Machine, end: str) -> None:
    with memory(99) as peer, memory(50) as third:
        name = machine.start(peer)
        exchange(peer, third)
        machine.lose(peer, lambda replica: replica.get(Task, name).votes.increment(10))
        with machine.on() as replica:
            replica.get(Task, name).votes.increment(1)
            hand_out(replica, third)
            if end == "none":
                exchange(replica, peer)
            elif end.endswith("killed"):
                with killed(replica):
                    pass
        if end.startswith("closed after"):
            with machine.on():
                pass
        with machine.on() as replica:
            for _ in range(3):
                exchange(replica, peer)
                exchange(replica, third)
                exchange(peer, third)
            assert [votes(each, name) for each in (replica, peer, third)] == [1, 10, 1]
            assert all(each.forks() for each in (replica, peer, third))


@pytest.mark.parametrize("arrives", [True, False])
def test_what_was_written_behind_it_is_not_sent(machine: Machine, arrives: bool) -> None:
    """Of what a device was handed before the branches part, nothing follows."""
    with memory(99) as peer, memory(50) as third:
        name = machine.start(peer)
        with machine.on() as replica:
            hand_out(replica, third, arrives=arrives)
        machine.lose(peer, lambda replica: replica.get(Task, name).votes.increment(10))
        with machine.on() as replica:
            replica.get(Task, name).votes.increment(1)
        with machine.on() as replica:
            settled(replica, peer)
            assert votes(peer, name) == 11


@pytest.mark.parametrize("is_handed_out", [True, False])
def test_what_was_handed_to_others_is_not_taken_back(*, is_handed_out: bool) -> None:
    """But for the device that failed at it, also where the line to it broke once."""
    with memory(1) as replica, memory(2) as hub, memory(3) as third:
        task = replica.create(Task, title="before")
        for other in (hub, third):
            assert exchange(replica, other).proven_equal
        replica.create(Task, title="poison")
        task.votes.increment(3)
        hand_out(replica, hub, arrives=False)
        with poisoned(Poison(author_of(replica), 2, failing), at=hub):
            if is_handed_out:
                hand_out(replica, third)
            for _ in range(9):
                meet(replica, hub)
            if is_handed_out:
                with pytest.raises(InputError, match="cannot be taken back"):
                    replica.revert(replica.operation("2"))
            else:
                assert replica.revert(replica.operation("2"))
            for _ in range(2):
                meet(replica, third)
                meet(replica, hub)
            assert votes(replica, task.id) == votes(third, task.id) == 3


def test_what_a_device_did_not_take_it_does_not_hold() -> None:
    with memory(1) as replica, memory(2) as other:
        handed, device, author = HandedOut(state_of(replica)), device_of(other), author_of(replica)
        handed.note(device, [(b"", "", author, 7), (b"", "", Author(5), 9)])
        assert (handed.last(author), handed.last(Author(5))) == (7, 0), "what others wrote is not ours to write again"
        status = EntryStatus(partition="", author=author, sequence=4, kind=StatusKind.REFUSED, code="forked")
        on_another_branch = {"": {author: Position(sequence=6, hash=NO_HEAD)}}
        handed.answered(device, on_another_branch, [status], is_all=False)
        assert handed.last(author) == 3
        handed.lost(device)
        handed.answered(device, {}, [replace(status, sequence=1)], is_all=True)
        assert handed.last(author) == 3, "it may still arrive"


def test_what_a_device_did_not_take_is_of_one_partition() -> None:
    """Each partition has a chain of its own."""
    with memory(1) as replica, memory(2) as other:
        handed, device, author = HandedOut(state_of(replica)), device_of(other), author_of(replica)
        handed.note(device, [(b"", "", author, 7), (b"", "elsewhere", author, 3)])
        status = EntryStatus(partition="elsewhere", author=author, sequence=2, kind=StatusKind.REFUSED, code="forked")
        handed.answered(device, {}, [status], is_all=False)
        assert handed.last(author) == 7
        handed.lost(device)
        assert handed.last(author) == 7


def test_a_device_that_ended_the_session_says_itself_what_it_took() -> None:
    with memory(1) as replica, memory(2) as other:
        handed, device, author = HandedOut(state_of(replica)), device_of(other), author_of(replica)
        handed.note(device, [(b"", "", author, 7)])
        handed.answered(device, {}, [], is_all=True)
        assert handed.last(author) == 7
        handed.closed(device)
        handed.answered(device, {}, [], is_all=True)
        assert handed.last(author) == 0


def test_a_full_disk_keeps_nothing_from_being_sent(caplog: pytest.LogCaptureFixture) -> None:
    with memory(1) as replica, memory(2) as other:
        replica.create(Task, title="rescued")
        handed = HandedOut(state_of(replica))
        with patch.object(store_of(replica), "put", side_effect=StoreFullError("no space")):
            handed.note(device_of(other), [(b"", "", author_of(replica), 1)])
        assert "remembered while this runs only" in caplog.text
        assert handed.last(author_of(replica)) == 1
        handed.keep()
        row = store_of(replica).get(Table.META, HANDED) or b""
        assert read_handed(row) == (False, {device_of(other): {author_of(replica): 1}}), "there is room again"


@pytest.mark.parametrize(
    "row", [b"", pack_values(2, {}), pack_values(0, {"a": {0: 1}}), pack_values(0, {1: 1}), b"\xc0"]
)
def test_a_row_that_makes_no_sense_is_found(tmp_path: Path, row: bytes) -> None:
    with pytest.raises(CorruptStoreError):
        read_handed(row)
    with on_disk(tmp_path) as replica:
        replica.create(Task)
    with open_sqlite(tmp_path / "a.db") as store, store.transaction():
        store.put(Table.META, HANDED, row)
    report = Replica.repair(tmp_path / "a.db", state_dir=tmp_path / "state")
    assert (report.before.ok, report.after.ok) == (False, True)
    with open_sqlite(tmp_path / "a.db") as store:
        assert read_handed(store.get(Table.META, HANDED) or b"") == (True, {}), "all that is there may be elsewhere"
