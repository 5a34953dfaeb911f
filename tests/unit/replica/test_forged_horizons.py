"""Until there are roles any bound device may make horizons and forget devices: what it can do with that, and cannot."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

import pytest

from crdt_sync import Replica
from crdt_sync.core.entry import ChainHash
from crdt_sync.core.horizons import POSITION_HASH_BYTES, ForgetRecord, HorizonPosition, HorizonRecord
from crdt_sync.core.ids import Author
from crdt_sync.core.records import encode_record
from crdt_sync.storage.base import Table
from tests.unit.replica.devices import Task, memory, state_of, store_of, sync

Four = tuple[Replica, Replica, Replica, Replica]
Positions = Mapping[Author, HorizonPosition]


@pytest.fixture
def four() -> Iterator[Four]:
    """Three honest devices, and one that forges; all hold a task that was deleted, and one that is live."""
    with memory(1) as hub, memory(2) as desk, memory(3) as phone, memory(4) as forger:
        hub.create(Task, title="dead")
        hub.create(Task, title="live")
        sync(hub, desk, phone, forger)
        forger.create(Task, title="it is bound")
        sync(hub, desk, phone, forger)
        (dead,) = hub.find(Task, title="dead")
        hub.delete(dead)
        sync(hub, desk, phone, forger)
        yield hub, desk, phone, forger


def held_by(replica: Replica) -> dict[Author, HorizonPosition]:
    heads = state_of(replica).ledger.heads[""]
    return {author: HorizonPosition(end.sequence, end.hash[:POSITION_HASH_BYTES]) for author, end in heads.items()}


def further(vector: Positions) -> dict[Author, HorizonPosition]:
    """More than anybody has written."""
    return {author: HorizonPosition(held.sequence + 1000, held.hash) for author, held in vector.items()}


def forged(forger: Replica, vector: Positions, *, previous: bytes = b"", partition: str = "") -> HorizonRecord:
    state = state_of(forger)
    made = HorizonRecord(
        space=state.space,
        parents=state.records.heads(),
        partition=partition,
        previous=previous,
        vector=dict(sorted(vector.items())),
        public_key=forger.port.key.public_key,
    )
    return replace(made, signature=forger.port.key.sign(made.statement()))


def hand_out(record: HorizonRecord | ForgetRecord, *replicas: Replica) -> None:
    for replica in replicas:
        for _ in range(2):  # the second is a replay
            replica.port.accept_records([encode_record(record)])


def titles(replica: Replica) -> list[str]:
    return sorted(task.title for task in replica.find(Task))


def dead_id(replica: Replica) -> str:
    (key,) = (key for key, _ in store_of(replica).scan(Table.VERSION) if not _is_shown(replica, key))
    return key_id(key)


def key_id(key: bytes) -> str:
    raw = key[-16:].hex()
    return f"{raw[:8]}-{raw[8:12]}-{raw[12:16]}-{raw[16:20]}-{raw[20:]}"


def _is_shown(replica: Replica, key: bytes) -> bool:
    return replica.count(Task, id=key_id(key)) > 0


def test_vector_that_nobody_holds_locks_nothing_and_stops_nobody(four: Four) -> None:
    hub, desk, phone, forger = four
    hand_out(forged(forger, further(held_by(forger))), *four)
    desk.restore(Task, dead_id(desk))
    sync(*four)
    desk.delete(desk.find(Task, title="dead")[0])
    sync(*four)
    assert hub.compact().horizon_made
    sync(*four)
    hub.compact()
    sync(*four)
    assert [store_of(replica).count(Table.VERSION) for replica in four] == [2, 2, 2, 2]
    assert titles(phone) == ["it is bound", "live"]


@pytest.mark.parametrize("how", ["alone", "of another partition", "of nothing", "short of it", "of itself"])
def test_later_horizon_without_a_fitting_earlier_one_removes_nothing(four: Four, how: str) -> None:
    forger = four[3]
    vector = held_by(forger)
    first = forged(forger, vector, partition="p" if how == "of another partition" else "")
    later = {
        "alone": forged(forger, vector),
        "of another partition": forged(forger, vector, previous=first.hash()),
        "of nothing": forged(forger, vector, previous=bytes(16)),
        "short of it": forged(forger, dict(list(vector.items())[:1]), previous=first.hash()),
        "of itself": forged(forger, vector, previous=first.hash()[::-1]),
    }[how]
    hand_out(first, *four)
    hand_out(later, *four)
    sync(*four)
    assert [store_of(replica).count(Table.VERSION) for replica in four] == [3, 3, 3, 3]


def test_vector_on_another_branch_counts_for_nothing(four: Four) -> None:
    hub, desk, _phone, forger = four
    other = {
        author: HorizonPosition(held.sequence, bytes(POSITION_HASH_BYTES)) for author, held in held_by(hub).items()
    }
    first = forged(forger, other)
    hand_out(first, *four)
    hand_out(forged(forger, other, previous=first.hash()), *four)
    desk.restore(Task, dead_id(desk))
    sync(*four)
    assert titles(hub) == ["dead", "it is bound", "live"]


def test_live_record_that_nobody_deleted_stays(four: Four) -> None:
    hub, _desk, phone, forger = four
    phone.find(Task, title="live")[0].notes.append("unsent")
    vector = held_by(forger)
    first = forged(forger, vector)
    hand_out(first, *four)
    hand_out(forged(forger, vector, previous=first.hash()), *four)
    sync(*four)
    assert [titles(replica) for replica in four] == [["it is bound", "live"]] * 4
    assert [str(replica.find(Task, title="live")[0].notes) for replica in four] == ["unsent"] * 4
    assert store_of(hub).count(Table.VERSION) == 2  # the dead one is gone


def test_record_that_was_restored_meanwhile_comes_back_with_all_it_had(four: Four) -> None:
    """Nobody can tell that the forger's vectors were not waited for; whoever touched the record keeps it."""
    hub, desk, phone, forger = four
    vector = held_by(forger)
    record = dead_id(phone)
    phone.restore(Task, record)
    phone.get(Task, record).notes.append("unsent")
    first = forged(forger, vector)
    hand_out(first, *four)
    hand_out(forged(forger, vector, previous=first.hash()), *four)
    sync(*four)
    for replica in four:
        again = replica.get(Task, record)
        assert (again.title, str(again.notes)) == ("dead", "unsent")
    assert [replica.pending_count() for replica in four] == [0, 0, 0, 0]
    sync(hub, desk)


def test_forgetting_a_live_device_loses_nothing_that_it_had_not_sent(four: Four) -> None:
    hub, desk, phone, forger = four
    phone.find(Task, title="live")[0].notes.append("unsent")
    phone.create(Task, title="new")
    state = state_of(forger)
    for victim in (phone, desk, hub):
        key = victim.port.key.public_key
        made = ForgetRecord(
            space=state.space,
            parents=state.records.heads(),
            device=key,
            bindings=tuple(sorted(state.records.bindings_of(key))),
            public_key=forger.port.key.public_key,
        )
        hand_out(replace(made, signature=forger.port.key.sign(made.statement())), *four)
    for _ in range(3):
        forger.compact(retention_s=0)
    sync(forger, hub, desk, phone)
    for replica in four:
        assert titles(replica) == ["it is bound", "live", "new"]
        assert str(replica.find(Task, title="live")[0].notes) == "unsent"
    enrolled = state_of(forger).records.enrolled()
    assert {replica.port.key.public_key for replica in four} == enrolled


def test_flood_of_horizons_does_not_keep_an_honest_one_from_being_made(four: Four) -> None:
    hub, desk, phone, forger = four
    for number in range(40):
        vector = {
            author: HorizonPosition(held.sequence + number + 1, held.hash) for author, held in held_by(hub).items()
        }
        vector[Author(number + 1)] = HorizonPosition(1, ChainHash(bytes(32))[:POSITION_HASH_BYTES])
        hand_out(forged(forger, vector), *four)
    assert hub.compact().horizon_made
    sync(*four)
    hub.compact()
    sync(*four)
    assert [store_of(replica).count(Table.VERSION) for replica in (hub, desk, phone)] == [2, 2, 2]
