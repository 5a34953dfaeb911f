"""A past that was rewound or doubled: restored backups and cloned machines, noticed by a peer, and nothing lost."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crdt_sync import Replica
from crdt_sync.core.content import Content, Dot, RegisterValue, read_register, write_register
from crdt_sync.core.ids import DEFAULT_PARTITION, Author, RecordId, document_key
from crdt_sync.core.layout import KeyClass, map_key, parse_map_key
from crdt_sync.core.model import bind
from crdt_sync.errors import RecordDeletedError
from crdt_sync.replica.fork import _Rename
from crdt_sync.testing.exchange import ExchangeReport, exchange
from tests.unit.replica.devices import ACTS, Person, Task, memory, on_disk, picture, state_of


class Machine:
    """A device whose disk, state directory included, can be taken back to an earlier moment."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self._now, self._then = place / "now", place / "then"
        self._opened = 0
        self._now.mkdir()

    @contextmanager
    def on(self) -> Iterator[Replica]:
        self._opened += 1
        with on_disk(self._now, seed=self._opened) as replica:
            yield replica

    def remember(self) -> None:
        shutil.rmtree(self._then, ignore_errors=True)
        shutil.copytree(self._now, self._then)

    def rewind(self) -> None:
        shutil.rmtree(self._now)
        shutil.copytree(self._then, self._now)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


@pytest.fixture
def peer() -> Iterator[Replica]:
    with memory(99) as opened:
        yield opened


def author_of(replica: Replica) -> Author:
    identity = state_of(replica).identity
    assert identity is not None
    return identity.author


def settled(replica: Replica, peer: Replica) -> ExchangeReport:
    """Exchange until proven equal: a fork takes a second session at the most."""
    report = exchange(replica, peer)
    if not report.proven_equal:
        report = exchange(replica, peer)
    assert report.proven_equal
    assert picture(replica)["rows"] == picture(peer)["rows"]
    assert [conflict.id for conflict in replica.conflicts()] == [conflict.id for conflict in peer.conflicts()]
    return report


def test_a_machine_taken_back_writes_under_a_new_author_before_its_next_write(machine: Machine, peer: Replica) -> None:
    with machine.on() as replica:
        task = replica.create(Task, title="old")
        exchange(replica, peer)
    machine.remember()
    with machine.on() as replica:
        replica.get(Task, task.id).title = "lost"
        exchange(replica, peer)
        before, epoch = author_of(replica), replica.port.epoch
    machine.rewind()
    with machine.on() as replica:
        assert author_of(replica) == before, "nothing here can tell that the disk was taken back"
        settled(replica, peer)
        assert author_of(replica) != before
        assert replica.port.epoch != epoch
        assert replica.get(Task, task.id).title == "lost"
        replica.get(Task, task.id).title = "goes on"
        settled(replica, peer)
        assert peer.get(Task, task.id).title == "goes on"


def test_both_branches_survive_in_every_kind_of_field(machine: Machine, peer: Replica) -> None:
    with machine.on() as replica:
        task = replica.create(Task, title="t", notes="middle", tags=["both", "x"], votes=1)
        gone, kept = replica.create(Task, title="gone"), replica.create(Task, title="kept")
        exchange(replica, peer)
        names = (task.id, gone.id, kept.id)
    machine.remember()
    with machine.on() as replica:
        task, _, kept = (replica.get(Task, name) for name in names)
        task.notes.insert(0, "first ")
        task.votes.increment(10)
        task.tags.add("one")
        task.due = date(2025, 1, 1)
        replica.create(Person, email="a@b", visits=1)
        replica.delete(kept)
        exchange(replica, peer)
        before = author_of(replica)
    machine.rewind()
    with machine.on() as replica:
        task, gone, kept = (replica.get(Task, name) for name in names)
        task.notes.append(" last")
        task.notes.insert(6, " and end")
        task.votes.increment(100)
        task.votes.increment(1000)
        task.tags.add("two")
        task.tags.discard("x")
        task.due = date(2025, 2, 1)
        task.due = date(2025, 2, 2)
        task.title = "second branch"
        replica.create(Person, email="a@b", visits=2)
        replica.create(Task, title="new")
        kept.title = "edited while deleted"
        replica.delete(gone)
        pending = [operation.id for operation in replica.operations(status="pending")]
        settled(replica, peer)
        assert author_of(replica) != before
        for device in (replica, peer):
            task = device.get(Task, names[0])
            assert str(task.notes) == "first middle and end last"
            assert int(task.votes) == 1111
            assert set(task.tags) == {"both", "one", "two"}
            assert task.title == "second branch"
            (conflict,) = device.conflicts()
            assert {candidate.value for candidate in conflict.candidates} == {date(2025, 1, 1), date(2025, 2, 2)}
            assert conflict.base is None
            assert device.count(Task, title="new") == 1
            assert device.count(Task, title="gone") == 0
            assert device.get(Task, names[2]).title == "edited while deleted"
            (person,) = device.find(Person)
            assert int(person.visits) == 3
        done = {operation.id for operation in replica.operations(status="completed")}
        assert done >= set(pending)
    with machine.on() as replica:
        settled(replica, peer)


def test_the_branches_part_in_the_middle_of_what_the_peer_lacks(machine: Machine, peer: Replica) -> None:
    with machine.on() as replica:
        task = replica.create(Task, notes="0")
        exchange(replica, peer)
        for number in range(1, 4):
            task.notes.append(str(number))
    machine.remember()
    with machine.on() as replica:
        replica.get(Task, task.id).notes.append("a")
        exchange(replica, peer)
    machine.rewind()
    with machine.on() as replica:
        task = replica.get(Task, task.id)
        task.notes.insert(2, "b")
        task.notes.insert(0, "c")
        settled(replica, peer)
        assert str(task.notes) == str(peer.get(Task, task.id).notes) == "c01b23a"


def test_a_third_device_gets_both_branches(machine: Machine, peer: Replica) -> None:
    with memory(50) as third:
        with machine.on() as replica:
            task = replica.create(Task, notes="0")
            exchange(replica, peer)
            exchange(peer, third)
        machine.remember()
        with machine.on() as replica:
            replica.get(Task, task.id).notes.append("a")
            exchange(replica, peer)
        machine.rewind()
        with machine.on() as replica:
            replica.get(Task, task.id).notes.append("b")
            settled(replica, peer)
            settled(third, peer)
            settled(third, replica)
            assert sorted(str(third.get(Task, task.id).notes)) == ["0", "a", "b"]


def test_branches_that_were_both_sent_are_reported_and_end_no_session(
    machine: Machine, peer: Replica, caplog: pytest.LogCaptureFixture
) -> None:
    with memory(50) as third:
        with machine.on() as replica:
            task = replica.create(Task, notes="0")
            exchange(replica, peer)
            exchange(peer, third)
        machine.remember()
        with machine.on() as replica:
            replica.get(Task, task.id).notes.append("a")
            exchange(replica, peer)
        machine.rewind()
        with machine.on() as replica:
            task = replica.get(Task, task.id)
            task.notes.append("b")
            exchange(replica, third)
            report = exchange(replica, peer)
            assert not report.proven_equal
            assert report.left_end is not None
            assert report.left_end.code == "bye"
            assert str(task.notes) == "0b"
            task.notes.append("c")
            assert exchange(replica, third).proven_equal
            assert str(third.get(Task, task.id).notes) == "0bc"
            assert exchange(replica, peer).left_end == report.left_end
    assert "somebody else wrote under our author" in caplog.text


@settings(max_examples=60)
@given(
    shared=st.lists(st.sampled_from(sorted(ACTS)), max_size=4),
    first=st.lists(st.sampled_from(sorted(ACTS)), min_size=1, max_size=5),
    second=st.lists(st.sampled_from(sorted(ACTS)), min_size=1, max_size=5),
    sent=st.integers(0, 4),
)
def test_any_two_branches_come_together(shared: list[str], first: list[str], second: list[str], sent: int) -> None:
    """``sent``: after so many of the shared acts the peer was told, before the branches part."""
    with tempfile.TemporaryDirectory() as place, memory(99) as peer, memory(50) as third:
        machine = Machine(Path(place))
        with machine.on() as replica:
            name = replica.create(Task, title="t", notes="n😀n", tags=["x"], votes=1).id
            for at, act in enumerate(shared):
                if at == sent:
                    exchange(replica, peer)
                _do(replica, name, act)
        machine.remember()
        with machine.on() as replica:
            _do(replica, name, *first)
            exchange(replica, peer)
        machine.rewind()
        with machine.on() as replica:
            _do(replica, name, *second)
            settled(replica, peer)
            settled(third, replica)
            votes = 1 + 2 * (shared + first + second).count("count")
            assert replica._state.counts.refused == peer._state.counts.refused == 0
            if "delete" not in (*shared, *first, *second):
                assert int(peer.get(Task, name).votes) == votes


def _do(replica: Replica, name: str, *acts: str) -> None:
    for act in acts:
        with contextlib.suppress(RecordDeletedError):  # the next act may restore it
            ACTS[act](replica, replica.restore(Task, name) if act == "restore" else _record(replica, name))


def _record(replica: Replica, name: str) -> Task:
    """The record, also where it is deleted."""
    return bind(Task, replica._records, document_key(DEFAULT_PARTITION, "Task", RecordId(name)))


def test_what_was_written_after_an_unclean_end_is_written_again_with_the_branch(
    machine: Machine, peer: Replica
) -> None:
    with machine.on() as replica:
        task = replica.create(Task, title="t", notes="middle")
        exchange(replica, peer)
    machine.remember()
    with machine.on() as replica:
        replica.get(Task, task.id).notes.append(" lost")
        exchange(replica, peer)
    machine.rewind()
    with machine.on() as replica:
        replica.get(Task, task.id).notes.insert(0, "kept ")
        state_of(replica).lease.release = lambda identity: None  # type: ignore[method-assign]  # an unclean end
    with machine.on() as replica:
        replica.create(Task, title="under the next author")
        settled(replica, peer)
        assert str(peer.get(Task, task.id).notes) == "kept middle lost"
        assert peer.count(Task, title="under the next author") == 1
        assert list(replica.operations(status="pending")) == []
        assert list(replica.operations(status="failed")) == []
        replica.create(Task, title="later")
        settled(replica, peer)


def test_a_claim_that_nothing_follows_holds_our_entries_back_for_its_session_only() -> None:
    with memory(1) as replica, memory(2) as peer:
        replica.create(Task, title="mine")
        replica.port.own_fork(DEFAULT_PARTITION, author_of(replica))
        assert replica.port.runs_after(0, {}, bytes_max=10_000).runs == ()
        replica.port.end_doubt()
        exchange(replica, peer)
        assert peer.count(Task, title="mine") == 1


@pytest.mark.parametrize(("seen", "expected"), [(5, {7: 5}), (9, {7: 5, 8: 9})])
def test_an_entry_of_a_map_keeps_what_it_saw_before_the_fork(seen: int, expected: dict[int, int]) -> None:
    """Its register is named by field and entry: what both branches have stays the old author's."""
    old, new = Author(7), Author(8)
    key = map_key(KeyClass.CAUSAL, old, field="days/a", rest="5")
    held = RegisterValue(Dot(old, 5), 1, b"\x01", {}, key)
    rename = _Rename(old=old, new=new, start=9, shift=0, content=Content(causal={"days/a": [held]}))
    later = parse_map_key(map_key(KeyClass.CAUSAL, old, field="days/a", rest="10"))
    written = rename.value(later, write_register(2, {old: seen}, b"\x02"))
    assert read_register(written) == (2, expected, b"\x02")
