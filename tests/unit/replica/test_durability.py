"""What other devices are known to hold: never more than they said, with their signature."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest

from crdt_sync import Replica
from crdt_sync.core.entry import ChainHash
from crdt_sync.errors import InputError, StoreClosedError
from crdt_sync.replica.holdings import HoldingsBook
from crdt_sync.replica.operations import SyncOperation
from crdt_sync.testing.exchange import exchange
from tests.unit.replica.devices import Task, memory, on_disk, state_of


def sync(one: Replica, other: Replica) -> None:
    assert exchange(one, other).proven_equal


@pytest.fixture
def three() -> Iterator[tuple[Replica, Replica, Replica]]:
    with memory(1) as hub, memory(2) as desk, memory(3) as phone:
        yield hub, desk, phone


def test_what_nobody_took_is_held_by_nobody(three: tuple[Replica, Replica, Replica]) -> None:
    desk = three[1]
    desk.create(Task, title="a")
    assert desk.durability(desk.last_operation()) == ()
    safety = desk.safe_to_wipe()
    assert not safety
    assert (safety.entries, safety.devices, safety.pending) == (1, (), 1)


def test_what_a_device_signed_for_is_held_and_what_came_later_is_not(three: tuple[Replica, Replica, Replica]) -> None:
    hub, desk, _ = three
    desk.create(Task, title="a")
    sync(desk, hub)
    first = desk.last_operation()
    assert desk.durability(first) == (hub.device_id,)
    assert desk.safe_to_wipe()
    desk.create(Task, title="b")
    assert desk.durability(first) == (hub.device_id,)
    assert desk.durability(desk.last_operation()) == ()
    safety = desk.safe_to_wipe()
    assert not safety
    assert [(item.device_id, item.missing) for item in safety.devices] == [(hub.device_id, 1)]


def test_what_came_from_others_must_be_elsewhere_too(three: tuple[Replica, Replica, Replica]) -> None:
    hub, desk, phone = three
    sync(desk, hub)
    phone.create(Task, title="a")
    sync(phone, desk)
    assert desk.safe_to_wipe()  # the phone has it
    phone.create(Task, title="b")
    sync(phone, desk)
    sync(hub, desk)
    assert [(item.device_id, item.missing) for item in desk.safe_to_wipe().devices] == sorted(
        [(hub.device_id, 0), (phone.device_id, 0)]
    )


def test_the_word_of_a_device_is_passed_on(three: tuple[Replica, Replica, Replica]) -> None:
    hub, desk, phone = three
    desk.create(Task, title="a")
    for _ in range(2):
        sync(desk, hub)
        sync(phone, hub)
    sync(desk, hub)
    assert desk.durability(desk.last_operation()) == tuple(sorted((str(hub.device_id), str(phone.device_id))))


def test_a_hub_that_lost_what_it_had_no_longer_counts(tmp_path: Path) -> None:
    with memory(2) as desk:
        with on_disk(tmp_path, name="hub.db") as hub:
            sync(desk, hub)
        shutil.copy(tmp_path / "hub.db", tmp_path / "backup.db")
        desk.create(Task, title="a")
        with on_disk(tmp_path, name="hub.db", seed=1) as hub:
            sync(desk, hub)
        assert desk.safe_to_wipe()
        for name in ("hub.db", "hub.db-wal", "hub.db-shm"):
            (tmp_path / name).unlink(missing_ok=True)
        shutil.copy(tmp_path / "backup.db", tmp_path / "hub.db")
        with on_disk(tmp_path, name="hub.db", seed=2) as hub:
            lost = state_of(hub)
            words = HoldingsBook(lost).unknown_to({}, lost.ledger.vector())
            assert HoldingsBook(state_of(desk)).accept(words) == 1
            assert desk.durability(desk.last_operation()) == ()
            assert not desk.safe_to_wipe()
            sync(desk, hub)
            assert desk.safe_to_wipe()


def test_a_forged_or_an_older_word_counts_for_nothing(three: tuple[Replica, Replica, Replica]) -> None:
    hub, desk, _ = three
    sync(desk, hub)
    desk.create(Task, title="a")
    book = HoldingsBook(state_of(desk))
    word = book.latest()[state_of(hub).identity.key.public_key]  # type: ignore[union-attr]  # it was opened for writing
    claim = replace(word, stamp=word.stamp + 1, vector=state_of(desk).ledger.vector())
    assert book.accept([claim]) == 0
    assert desk.durability(desk.last_operation()) == ()
    assert not desk.safe_to_wipe()


def test_a_device_on_another_branch_does_not_hold_ours(three: tuple[Replica, Replica, Replica]) -> None:
    hub, desk, _ = three
    desk.create(Task, title="a")
    sync(desk, hub)
    state = state_of(desk)
    book = HoldingsBook(state)
    word = book.latest()[state_of(hub).identity.key.public_key]  # type: ignore[union-attr]  # it was opened for writing
    ends = {
        partition: {author: replace(position, hash=ChainHash(bytes(32))) for author, position in positions.items()}
        for partition, positions in word.vector.items()
    }
    own = state.ledger.vector()
    (author,) = own[""]
    assert book.reach(word, "", author, own=own) == 1
    assert book.reach(replace(word, vector=ends), "", author, own=own) == 0


def test_a_copy_does_not_take_itself_for_another_device(tmp_path: Path) -> None:
    with on_disk(tmp_path) as laptop, memory(5) as hub:
        laptop.create(Task, title="a")
        sync(laptop, hub)
    shutil.copy(tmp_path / "a.db", tmp_path / "b.db")
    with on_disk(tmp_path, name="b.db", state="elsewhere", seed=1) as copy:
        assert copy.safe_to_wipe()  # the hub has it
        assert [item.device_id for item in copy.safe_to_wipe().devices] == [hub.device_id]
        copy.create(Task, title="b")
        with on_disk(tmp_path, seed=2) as laptop:
            sync(copy, laptop)
            held = copy.durability(copy.last_operation())
            assert held == (laptop.device_id,)  # by now it is seen to be another one


def test_a_reader_does_not_take_its_own_word_for_another_devices(tmp_path: Path) -> None:
    with on_disk(tmp_path) as laptop, memory(5) as hub:
        laptop.create(Task, title="a")
        sync(laptop, hub)
        laptop.create(Task, title="b")
        sync(laptop, memory(6))
    with Replica.open(tmp_path / "a.db", [Task], read_only=True, state_dir=tmp_path / "state") as reader:
        assert len(reader.safe_to_wipe().devices) == 2
        assert laptop.device_id not in {item.device_id for item in reader.safe_to_wipe().devices}


def test_an_operation_of_another_replica_is_not_answered_for(three: tuple[Replica, Replica, Replica]) -> None:
    hub, desk, phone = three
    desk.create(Task, title="a")
    sync(desk, hub)
    phone.create(Task, title="b")
    foreign = phone.last_operation()
    assert foreign.id == desk.last_operation().id
    for ask in (desk.durability, desk.retry, desk.revert, lambda item: desk.sync_log(operation=item)):
        with pytest.raises(InputError, match="operation 1 is another one here"):
            ask(foreign)
    assert phone.durability(foreign) == ()


def test_wrong_arguments(three: tuple[Replica, Replica, Replica]) -> None:
    hub, desk, _ = three
    desk.create(Task, title="a")
    with pytest.raises(InputError) as error:
        desk.durability(cast("SyncOperation", "1"))
    assert error.value.hint
    with pytest.raises(InputError):
        hub.durability(desk.last_operation())
    desk.close()
    with pytest.raises(StoreClosedError):
        desk.safe_to_wipe()
