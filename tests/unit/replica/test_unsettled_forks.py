"""Forks that nobody can settle yet: what they hold up, what is told of them, and how a person gets out of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import msgpack
import pytest

from crdt_sync import Fork, Replica
from crdt_sync.core.entry import ChainHash, decode_run, split_entries
from crdt_sync.core.ids import DEFAULT_PARTITION, Author, DeviceId
from crdt_sync.errors import CorruptStoreError, InputError
from crdt_sync.protocol.source import EntryStatus, StatusKind
from crdt_sync.protocol.vectors import Position
from crdt_sync.replica import branches
from crdt_sync.replica.branches import note_alike, note_fork
from crdt_sync.replica.fork_notes import DEVICES_MAX, FORKS_MAX
from crdt_sync.replica.holdings import HoldingsBook
from crdt_sync.replica.state import EVIDENCE_MAX
from crdt_sync.replica.stated import stated_by
from crdt_sync.storage.base import Table
from crdt_sync.testing.exchange import exchange
from tests.unit.replica.devices import START_MS, Dice, Task, memory, picture, state_of, store_of
from tests.unit.replica.test_accept import runs_of, signed
from tests.unit.replica.test_forks import Machine, appending, author_of


class World:
    """A machine, one of whose branches ``left`` holds and the other one ``right``."""

    def __init__(self, place: Path) -> None:
        self.machine = Machine(place)
        self.left, self.right = memory(60), memory(61)
        self.name = self.machine.start(self.left, title="shared", notes="0")
        exchange(self.left, self.right)

    def fork(self, *, again: bool = True) -> None:
        self.machine.lose(self.left, appending(self.name, "a"), lambda replica: replica.create(Task, title="lost"))
        with self.machine.on() as replica:
            replica.get(Task, self.name).notes.append("b")
            if again:
                replica.create(Task, title="kept")
            exchange(replica, self.right)
            self.device = replica.device_id
            self.author = author_of(replica)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    with made.left, made.right:
        yield made


def device_of(replica: Replica) -> DeviceId:
    assert replica.device_id is not None
    return DeviceId(replica.device_id)


def records_of(replica: Replica, fork: Fork) -> dict[str, tuple[bool, bool]]:
    """Title of each record that a fork affects, as far as it is shown here → whether here, whether kept."""
    titles = {task.id: task.title for task in replica.find(Task)}
    return {
        titles.get(item.record_id, "not here"): (item.here, item.kept)
        for item in replica.forked_records(fork)
        if item.model == "Task"
    }


def test_others_see_whose_branches_differ_since_when_and_where(world: World) -> None:
    assert world.left.forks() == ()
    world.fork()
    assert not exchange(world.left, world.right).proven_equal
    for here, there in ((world.left, world.right), (world.right, world.left)):
        (fork,) = here.forks()
        assert (fork.author, fork.device_id, fork.is_own) == (world.author, world.device, False)
        assert fork.devices == (device_of(there),)
        assert START_MS < fork.first_seen_ms == fork.last_seen_ms
        assert fork.shared < fork.differs_at
        assert fork.kept == 0
    exchange(world.left, world.right)
    assert len(world.left.forks()) == 1


def test_what_a_fork_affects_is_told_by_record(world: World) -> None:
    world.fork()
    world.right.create(Task, title="on top of it")
    exchange(world.left, world.right)
    (fork,) = world.right.forks()
    assert fork.shared == 1, "the other one had signed so much before"
    assert records_of(world.right, fork) == {
        "shared": (True, False),
        "kept": (True, False),
        "on top of it": (True, False),
    }


def test_a_third_branch_may_part_earlier(world: World) -> None:
    world.fork()
    exchange(world.left, world.right)
    with memory(80) as third:
        device = device_of(third)
    state = state_of(world.right)
    note_fork(state, DEFAULT_PARTITION, world.author, differs_at=2, device=device)
    (fork,) = world.right.forks()
    assert (fork.shared, fork.differs_at) == (0, 2)
    assert len(world.right.forked_records(fork)) == 2


def test_the_device_itself_knows_what_the_other_branch_did(world: World) -> None:
    world.fork()
    with world.machine.on() as replica:
        exchange(replica, world.left)
        (fork,) = replica.forks()
        assert (fork.is_own, fork.shared, fork.kept) == (True, 1, 2)
        assert fork.devices == (device_of(world.left),)
        assert records_of(replica, fork) == {"shared": (True, True), "kept": (True, False), "not here": (False, True)}
    with world.machine.on() as replica:
        assert replica.forks() == (fork,)


def test_a_fork_that_is_settled_is_told_of_no_more(world: World) -> None:
    world.machine.lose(world.left, appending(world.name, "a"))
    with world.machine.on() as replica:
        replica.get(Task, world.name).notes.append("b")
        exchange(replica, world.left)
        exchange(replica, world.left)
        exchange(world.left, world.right)
        exchange(replica, world.right)
        assert exchange(replica, world.left).proven_equal
        assert [held.forks() for held in (replica, world.left, world.right)] == [(), (), ()]


def test_what_does_not_rest_on_a_branch_goes_on_and_what_does_waits(world: World) -> None:
    with memory(62) as apart, memory(63) as resting:
        exchange(apart, world.right)
        exchange(resting, world.right)
        world.fork()
        apart.create(Task, title="apart")
        apart.get(Task, world.name).title = "apart too"
        exchange(resting, world.right)
        resting.create(Task, title="on the other branch")
        exchange(resting, world.right)
        exchange(apart, world.right)
        for _ in range(2):
            exchange(world.right, world.left)
        assert world.left.count(Task, title="apart") == 1
        assert world.left.get(Task, world.name).title == "apart too"
        assert world.left.count(Task, title="on the other branch") == 0
    with memory(64) as unaware:
        unaware.create(Task, title="later")
        exchange(unaware, world.left)
        exchange(world.left, world.right)
        assert world.right.count(Task, title="later") == 1


def test_what_is_written_amid_the_discovery_names_the_branch_that_it_rests_on(world: World) -> None:
    """It was once taken by those who hold the other branch, whose units have the same names."""
    world.machine.lose(world.left, appending(world.name, "wxyz"))
    with world.machine.on() as replica:
        replica.get(Task, world.name).notes.append("b")
        exchange(replica, world.right)
        replica.get(Task, world.name).notes.append("c")
        replica.port.own_fork(DEFAULT_PARTITION, author_of(replica), device=device_of(world.left))
        replica.get(Task, world.name).notes.append("d")
        for _ in range(2):
            exchange(replica, world.left)
            exchange(replica, world.right)
        assert str(world.right.get(Task, world.name).notes) == "0bcd"
        assert str(world.left.get(Task, world.name).notes) == "0wxyz"
        assert len(world.left.forks()) == 1


def test_a_device_that_begins_anew_takes_the_other_branch_over(world: World) -> None:
    """What a person can do: choose a branch, carry the values of the other one over, and let the fork go."""
    world.fork()
    exchange(world.left, world.right)
    gone = device_of(world.right)
    with memory(71) as anew:
        assert exchange(anew, world.left).proven_equal
        anew.get(Task, world.name).notes.append("b")
        anew.create(Task, title="kept")
        assert exchange(anew, world.left).proven_equal
        assert str(world.left.get(Task, world.name).notes) == "0ab"
        assert world.left.forks() != ()
        world.left.forget_device(gone)
        assert world.left.forks() == anew.forks() == ()


def test_a_device_that_was_wiped_and_keeps_its_key_is_no_fork_any_more(world: World) -> None:
    world.fork()
    exchange(world.left, world.right)
    (fork,) = world.left.forks()
    vector = world.left.port.vector()
    ahead = {DEFAULT_PARTITION: {world.author: Position(99, ChainHash(bytes(32)))}}
    world.left.port.acknowledged(fork.devices[0], ahead, (), but_for=frozenset())
    assert world.left.forks() == (fork,), "it may be ahead on the other branch"
    world.left.port.acknowledged(fork.devices[0], vector, (), but_for=frozenset())
    assert world.left.forks() == ()


def test_a_claim_of_a_peer_is_told_as_that_and_goes_with_its_next_word() -> None:
    with memory(1) as replica, memory(2) as peer:
        replica.create(Task, title="mine")
        exchange(replica, peer)
        author, device = author_of(replica), device_of(peer)
        position = Position(1, state_of(replica).ledger.end_of(DEFAULT_PARTITION, author).hash)
        assert device_of(replica) in replica.port.branch_met(DEFAULT_PARTITION, author, position, device=device)
        (fork,) = replica.forks()
        assert (fork.is_own, fork.devices, fork.kept) == (True, (device,), 0)
        exchange(replica, peer)
        assert replica.forks() == ()


def test_notes_and_evidence_are_bounded(world: World) -> None:
    world.fork()
    with world.machine.on() as replica:
        exchange(replica, world.left)
        state = state_of(replica)
        for number in range(2 * FORKS_MAX):
            note_fork(state, DEFAULT_PARTITION, Author(number + 1), differs_at=1, device=device_of(world.left))
        assert len(replica.forks()) == FORKS_MAX
        note_fork(state, DEFAULT_PARTITION, world.author, differs_at=3, device=device_of(world.left))
        assert world.author in {fork.author for fork in replica.forks()}, (
            "what is claimed keeps out nothing that is met"
        )
        unknown = EntryStatus(
            partition="", author=Author(5), sequence=1, kind=StatusKind.PARKED, code="forked", reason="", retry=False
        )
        before = store_of(replica).get(Table.META, b"forks")
        replica.port.acknowledged(device_of(world.right), {}, [unknown])
        assert store_of(replica).get(Table.META, b"forks") == before
        for number in range(2 * DEVICES_MAX):
            note_fork(state, DEFAULT_PARTITION, world.author, differs_at=1, device=DeviceId(f"device {number}"))
        noted = store_of(replica).get(Table.META, b"forks")
        assert noted is not None
        assert noted.count(b"device ") < DEVICES_MAX
        ((_, data),) = store_of(replica).scan(Table.EVIDENCE)
        run = decode_run(data)
        for number in range(EVIDENCE_MAX + 5):
            body = run.body + bytes(number)
            state.keep_evidence(replace(run, body=body))
        assert store_of(replica).count(Table.EVIDENCE) == EVIDENCE_MAX


def test_more_devices_than_are_noted_cost_nothing_when_they_are_met_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each meeting with one wrote the notes anew, and had the word of the device that wrote both branches not count."""
    monkeypatch.setattr(branches, "DEVICES_MAX", 2)
    dice = Dice(1)
    with ExitStack() as stack:
        replica = stack.enter_context(memory(1, dice=dice))
        writer, *others = (stack.enter_context(memory(seed)) for seed in range(2, 7))
        for device in (*others, writer):
            device.create(Task, title="shared")
            exchange(device, replica)
        state, author = state_of(replica), author_of(writer)

        def met(device: Replica) -> int | None:
            return note_fork(state, DEFAULT_PARTITION, author, differs_at=1, device=device_of(device))

        for device in others:
            met(device)
        exchange(writer, replica)
        assert stated_by(store_of(replica), device_of(writer)) is None, "it said anew what it holds"
        before = picture(replica)
        for _ in range(3):
            for device in others:
                dice.now_ms += 61_000
                assert met(device) is None
        assert picture(replica) == before
        dice.now_ms += 3_600_000
        met(others[-1])
        (fork,) = replica.forks()
        assert (fork.devices, fork.last_seen_ms) == (tuple(map(device_of, others[:2])), dice.now_ms)
        assert stated_by(store_of(replica), device_of(writer)) is None
        replica.forget_device(device_of(others[0]))
        met(others[2])
        (fork,) = replica.forks()
        assert fork.devices == (device_of(others[1]), device_of(others[2])), "who is not waited for makes room"


def test_a_reader_is_told_too(world: World) -> None:
    world.fork()
    with world.machine.on() as replica:
        exchange(replica, world.left)
        told = replica.forks()
        with Replica.open(world.machine.place / "now" / "a.db", [Task], read_only=True) as reader:
            assert reader.forks() == told
            assert len(reader.forked_records(told[0])) == 3


def test_what_is_no_fork_is_refused() -> None:
    with memory(1) as replica, pytest.raises(InputError, match="a fork is expected"):
        replica.forked_records("fork")  # type: ignore[arg-type]  # what a user may do


def test_an_error_says_where_to_look(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.fork()
    exchange(world.left, world.right)
    assert "a peer holds another branch" in caplog.text


@pytest.mark.parametrize("data", [b"\xc1", b"\x01", b"\x91\x01", msgpack.packb([("", 1, 1, "x", 0, 1, [])])])
def test_notes_that_make_no_sense_are_damage(data: bytes) -> None:
    with memory(1) as replica:
        store = store_of(replica)
        with store.transaction():
            store.put(Table.META, b"forks", data)
        with pytest.raises(CorruptStoreError, match="the notes of forks"):
            replica.forks()
        assert replica.check().total == 1


def test_a_device_further_on_the_other_branch_does_not_hold_this_one(world: World) -> None:
    """It was once taken to hold all that is here, since it is ahead: the store was safe to wipe, and was folded."""
    world.fork(again=False)
    exchange(world.left, world.right)
    vectors = HoldingsBook(state_of(world.left)).unknown_to({}, world.left.port.vector())
    assert world.right.port.accept_holdings(vectors, sender=b"") == 1
    ends = [held.port.vector()[DEFAULT_PARTITION][world.author].sequence for held in (world.left, world.right)]
    assert ends == [3, 2]
    devices = world.right.safe_to_wipe().devices
    assert {item.device_id: item.missing for item in devices}[device_of(world.left)] == 2, (
        "what is past our end may part anywhere"
    )
    with world.machine.on() as replica:
        exchange(replica, world.right)
        world.right.forget_device(device_of(replica))
    world.right.compact()
    floors = state_of(world.right).ledger.floors.get(DEFAULT_PARTITION, {})
    assert world.author not in floors or floors[world.author].sequence == 1


def test_the_word_of_a_device_that_was_rewound_counts_no_more_until_it_is_met_again(world: World) -> None:
    """Its word of before was taken for good: the one device that held a branch was safe to wipe."""
    world.fork()
    assert world.device is not None
    assert world.left.safe_to_wipe(), "nobody can know better yet"
    exchange(world.left, world.right)
    assert world.left.forks()
    for replica in (world.left, world.right):
        safety = replica.safe_to_wipe()
        assert not safety
        assert {item.device_id: item.missing for item in safety.devices}[world.device] == safety.entries
    with world.machine.on() as replica:
        exchange(replica, world.right)
        assert world.right.safe_to_wipe()
        exchange(replica, world.left)
        assert not world.left.safe_to_wipe()
        exchange(world.left, world.right)
        assert not world.left.safe_to_wipe()
        assert world.right.safe_to_wipe(), "it is met with the same devices as before"


def test_a_fork_of_our_own_and_one_of_nobody_correct_no_word(world: World) -> None:
    with world.machine.on() as replica:
        exchange(replica, world.right)
        assert replica.safe_to_wipe()
        state = state_of(replica)
        note_fork(state, DEFAULT_PARTITION, author_of(replica), differs_at=1, device=device_of(world.left))
        note_fork(state, DEFAULT_PARTITION, Author(7), differs_at=1, device=device_of(world.left))
        assert replica.safe_to_wipe()


def test_what_is_no_entry_on_the_other_branch_is_not_counted() -> None:
    with memory(1) as replica, memory(2) as other:
        for title in ("a", "b"):
            other.create(Task, title=title)
        held = [data for run in runs_of(other) for data in split_entries(decode_run(run).body)]
        replica.port.accept_records(other.port.space_records(0)[0])
        replica.port.accept_runs([signed(other, held)])
        replica.port.accept_runs([signed(other, [held[1], b"\xc1 no entry"])])
        (fork,) = replica.forks()
        assert (fork.shared, fork.kept) == (0, 1)
        assert len(replica.forked_records(fork)) == 2


def test_a_fork_that_is_settled_takes_no_note_along_of_one_that_nobody_is_known_to_hold() -> None:
    """One that was noted from evidence alone names no device."""
    with memory(1) as replica, memory(2) as one, memory(3) as other:
        for device in (one, other):
            device.create(Task, title="a")
            exchange(device, replica)
        state = state_of(replica)
        note_fork(state, DEFAULT_PARTITION, author_of(one), differs_at=1, device=None)
        note_fork(state, DEFAULT_PARTITION, author_of(other), differs_at=1, device=device_of(other))
        assert len(replica.forks()) == 2
        note_alike(state, device_of(other), replica.port.vector(), apart=frozenset())
        assert [fork.author for fork in replica.forks()] == [author_of(one)]
