"""What a device cannot take in holds up nothing that was written beside it: that goes under another author."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

import pytest

from crdt_sync import Replica
from crdt_sync.core.entry import decode_run, split_entries
from crdt_sync.core.ids import DEFAULT_PARTITION
from crdt_sync.errors import StoreFullError
from crdt_sync.protocol.care import Flight
from crdt_sync.replica.checking import check_store
from crdt_sync.replica.holdings import HoldingsBook
from crdt_sync.replica.resting import Resting
from crdt_sync.replica.set_aside import Fault, doubts
from crdt_sync.testing.exchange import exchange
from tests.unit.replica.devices import Task, memory, on_disk, state_of, store_of
from tests.unit.replica.test_accept import runs_of, signed
from tests.unit.replica.test_home import author_of, device_of, statuses
from tests.unit.replica.test_set_aside import Poison, failing, meet, poisoned, relay, titles


def sound(replica: Replica) -> None:
    assert check_store(store_of(replica)).listed == []
    assert replica.check().listed == []


def test_what_is_behind_it_and_touches_other_records_goes_under_another_author() -> None:
    with memory(1) as replica, memory(2) as hub:
        replica.create(Task, title="before")
        bad = replica.create(Task, title="poison")
        fine = replica.create(Task, title="beside it")
        fine.notes.append("a text")
        bad.title = "poison, edited"
        fine.votes.increment(2)
        first = author_of(replica)
        with poisoned(Poison(first, 2, failing), at=hub):
            for _ in range(9):
                meet(replica, hub)
            assert titles(hub) == {"before", "beside it"}
            (found,) = hub.find(Task, title="beside it")
            assert (str(found.notes), int(found.votes)) == ("a text", 2)
            assert titles(replica) == {"before", "poison, edited", "beside it"}, "nothing is taken back here"
            assert statuses(replica) == ["completed", "failed", "completed", "completed", "pending", "completed"]
            poison, edit = replica.operation("2"), replica.operation("5")
            assert poison.error.startswith("set_aside: 5 sessions")
            assert edit.error.startswith("waits for operation 2, which is set aside: the peer ended")
            assert (poison.attempts, edit.attempts) == (5, 0)
            replica.create(Task, title="a day later")
            meet(replica, hub)
            assert "a day later" in titles(hub)
            assert statuses(replica)[-1] == "completed"
            sound(replica)
            sound(hub)
        assert replica.retry(poison) == 1
        assert meet(replica, hub).proven_equal
        assert set(statuses(replica)) == {"completed"}
        assert titles(hub) == {"before", "beside it", "a day later", "poison, edited"}
        sound(hub)


def test_edits_of_it_and_of_others_in_turn() -> None:
    with memory(1) as replica, memory(2) as hub:
        bad = replica.create(Task, title="poison")
        with poisoned(Poison(author_of(replica), 1, failing), at=hub):
            for _ in range(8):
                meet(replica, hub)
            for number in range(3):
                bad.title = f"poison {number}"
                replica.create(Task, title=f"beside {number}")
                meet(replica, hub)
            assert titles(hub) == {f"beside {number}" for number in range(3)}
            assert statuses(replica) == ["failed", *["pending", "completed"] * 3]
            sound(replica)
        replica.retry()
        assert meet(replica, hub).proven_equal


def test_one_who_has_seen_somebody_elses_goes_on_beside_it() -> None:
    with memory(1) as replica, memory(2) as hub, memory(3) as other:
        replica.create(Task, title="poison")
        relay(replica, other)
        bad = next(iter(other.find(Task)))
        other.create(Task, title="beside it")
        bad.done = True
        with poisoned(Poison(author_of(replica), 1, failing), at=hub):
            for _ in range(9):
                meet(other, hub)
            assert titles(hub) == {"beside it"}
            assert statuses(other) == ["completed", "pending"]
            assert "which is set aside" in other.operation("2").error
            sound(other)
        other.retry()
        assert meet(other, hub).proven_equal


def test_what_somebody_else_has_already_waits_and_says_for_what() -> None:
    with memory(1) as replica, memory(2) as hub, memory(3) as other:
        replica.create(Task, title="poison")
        replica.create(Task, title="behind it")
        exchange(replica, other)
        assert statuses(replica) == ["completed", "completed"]
        with poisoned(Poison(author_of(replica), 1, failing), at=hub):
            for _ in range(9):
                meet(replica, hub)
            replica.create(Task, title="later")
            meet(replica, hub)
            assert titles(hub) == {"later"}


def test_a_full_disk_as_a_new_author_is_drawn_leaves_nothing_that_a_later_entry_names() -> None:
    with memory(1) as replica, memory(2) as hub, memory(3) as other:
        replica.create(Task, title="poison")
        exchange(replica, other)
        with poisoned(Poison(author_of(replica), 1, failing), at=hub):
            for _ in range(9):
                meet(replica, hub)
            full = patch.object(HoldingsBook, "say_anew", side_effect=StoreFullError("no space"))
            with full, pytest.raises(StoreFullError):
                replica.create(Task, title="too late")
        replica.retry()
        replica.create(Task, title="after")
        sound(replica)
        assert meet(replica, hub).proven_equal
        assert titles(hub) == {"poison", "after"}
        assert statuses(replica) == ["completed", "completed"]


def test_what_is_void_behind_somebodys_last_entry_is_not_read() -> None:
    with memory(1) as replica, memory(2) as hub, memory(3) as other:
        replica.create(Task, title="poison")
        replica.create(Task, title="beside it")
        other.create(Task, title="from elsewhere")
        good = split_entries(decode_run(runs_of(other)[0]).body)[0]
        replica.port.accept_records(other.port.space_records(0)[0])
        assert replica.port.accept_runs([signed(other, [good, b"\xc1 no entry"])]).entries == 1
        with poisoned(Poison(author_of(replica), 1, failing), at=hub):
            for _ in range(9):
                meet(replica, hub)
            replica.create(Task, title="later")
            meet(replica, hub)
            assert titles(hub) == {"beside it", "from elsewhere", "later"}
            sound(replica)


def test_an_answer_that_changes_nothing_has_the_log_not_read_again() -> None:
    with memory(1) as replica, memory(2) as hub:
        replica.create(Task, title="poison")
        with poisoned(Poison(author_of(replica), 1, failing), at=hub):
            for _ in range(9):
                meet(replica, hub)
            for number in range(20):
                replica.create(Task, title=f"beside {number}")
            meet(replica, hub)
            with patch.object(Resting, "_take", autospec=True, side_effect=Resting._take) as taken:
                replica.create(Task, title="later")
                meet(replica, hub)
                replica.create(Task, title="later still")
            assert "later" in titles(hub)
            assert taken.call_count <= 2
            (held,) = doubts(store_of(replica))
            with store_of(replica).transaction():
                assert not held.note_answer({}, {})
                assert held.note_answer({}, {replica.set_aside()[0].author: 1})


@contextmanager
def set_aside() -> Iterator[tuple[Replica, Replica, Replica]]:
    """A replica with an entry that is set aside for a hub, and rests on it what another device has already."""
    with memory(1) as replica, memory(2) as hub, memory(3) as other:
        hub.create(Task, title="of the hub")
        exchange(hub, other)
        replica.create(Task, title="poison")
        replica.create(Task, title="behind it")
        exchange(replica, other)
        with poisoned(Poison(author_of(replica), 1, failing), at=hub):
            for _ in range(9):
                meet(replica, hub)
        assert replica.set_aside()
        assert state_of(replica).resting.look()
        assert state_of(replica).resting.by_name_only
        yield replica, hub, other


def test_what_was_set_aside_for_a_device_that_is_forgotten_is_not_any_more() -> None:
    with set_aside() as (replica, hub, _):
        replica.forget_device(device_of(hub))
        replica.port.step_around()
        assert (replica.set_aside(), state_of(replica).resting.by_name_only) == ((), [])
        assert meet(replica, hub).proven_equal, "should it come back, that is found out anew"


def test_what_a_device_that_another_one_forgot_was_not_sent_is_not_set_aside_any_more() -> None:
    with set_aside() as (replica, hub, other):
        other.forget_device(device_of(hub))
        replica.port.accept_records(other.port.space_records(0)[0])
        replica.port.step_around()
        assert (replica.set_aside(), state_of(replica).resting.by_name_only) == ((), [])


def test_what_was_folded_is_not_looked_for() -> None:
    """Rows that are in the bases by now were to be written again in each session, and an author was drawn for them."""
    with set_aside() as (replica, _, other):
        exchange(replica, other)
        replica.compact(retention_s=0)
        assert state_of(replica).ledger.floors[DEFAULT_PARTITION].keys() >= {author_of(replica)}
        author = author_of(replica)
        for _ in range(3):
            assert exchange(replica, other).proven_equal
        replica.create(Task, title="later")
        assert author_of(replica) == author
        assert state_of(replica).resting.by_name_only == []
        assert exchange(replica, other).proven_equal


def test_a_reader_is_told_of_what_is_set_aside_since(tmp_path: Path) -> None:
    with on_disk(tmp_path) as replica, memory(2) as hub:
        replica.create(Task, title="poison").title = "poison, edited"
        with Replica.open(tmp_path / "a.db", [Task], read_only=True) as reader:
            assert [item.error for item in reader.operations()] == [""] * 2
            flight = Flight(partition="", author=author_of(replica), first=1, last=1, until=100, alone=True)
            for _ in range(9):
                replica.port.ended_at(device_of(hub), flight, Fault.FAILURE, reason="closed", epoch=bytes(8))
            errors = [item.error for item in replica.operations()]
            assert any(error.startswith("waits for") for error in errors)
            assert [item.error for item in reader.operations()] == errors
