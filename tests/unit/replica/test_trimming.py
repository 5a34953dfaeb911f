"""Superseded values that nobody needs any more leave every replica; nothing that is shown changes by it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Annotated, Any

import pytest

from crdt_sync import UNKNOWN, Map, Model, Replica, ask, three_way
from crdt_sync.core.entry import OperationType
from crdt_sync.core.ids import RecordId, document_key
from crdt_sync.core.kinds import Drop, Put, Write
from crdt_sync.core.layout import KeyClass, map_key
from crdt_sync.errors import RecordError
from crdt_sync.replica.checking import check_store
from crdt_sync.replica.horizons import Horizons
from crdt_sync.replica.keeping_policy import KeepingPolicy
from crdt_sync.replica.state import Change
from crdt_sync.replica.transaction import LocalTransaction
from crdt_sync.storage.base import Table
from tests.unit.replica.devices import Task, memory, state_of, store_of, sync
from tests.unit.replica.test_forks import Machine, appending, settled, unfinished


class Note(Model):
    title: str = ""
    due: int = ask(default=0)
    place: dict[str, int] = three_way(default_factory=dict)
    days: Map[str, Annotated[int, ask()]]


class Gone(Model, on_edit_after_delete="delete_wins"):
    due: int = ask(default=0)


class Asked(Model, on_edit_after_delete="ask"):
    due: int = ask(default=0)


class Twin(Model, unique=("name",), on_duplicate="merge"):
    name: str
    due: int = ask(default=0)


MODELS = (Note, Gone, Asked, Twin)
Three = tuple[Replica, Replica, Replica]


@pytest.fixture
def three() -> Iterator[Three]:
    with memory(1, *MODELS) as hub, memory(2, *MODELS) as desk, memory(3, *MODELS) as phone:
        yield hub, desk, phone


def hidden(replica: Replica, model: type[Model], record: str) -> int:
    """Values of a record's registers that are kept beside those shown."""
    causal = state_of(replica).documents.get(document_key("", model.__name__, RecordId(record))).content(()).causal
    return sum(map(len, causal.values())) - len(causal)


def edited(replicas: Three, *, times: int = 9) -> str:
    """A note that all devices wrote to in turns, each having seen the one before."""
    record = replicas[0].create(Note, title="a", due=1).id
    sync(*replicas)
    for number in range(times):
        note = replicas[number % 3].get(Note, record)
        note.due, note.days["a"] = 100 + number, number
        note.place = {**note.place, str(number % 4): number}
        sync(*replicas)
    return record


def compact_twice(hub: Replica, *others: Replica) -> int:
    """Both horizons, and a sync after each; returns how many values the second compaction removed."""
    assert hub.compact().horizon_made
    sync(hub, *others)
    gone = hub.compact().values_removed
    sync(hub, *others)
    return gone


def test_superseded_values_go_and_nothing_else_changes(three: Three) -> None:
    hub, desk, phone = three
    record = edited(three)
    before = [(item.type, item.device_id, item.changes) for item in phone.history(Note, record)]
    values = hub.get(Note, record).model_dump()
    told: list[Change] = []
    desk.observe(told.append)
    assert hidden(desk, Note, record) == 3 * 8
    assert compact_twice(*three) == 3 * 8
    for replica in three:
        assert hidden(replica, Note, record) == 0
        assert replica.get(Note, record).model_dump() == values
        assert (list(replica.conflicts()), replica.pending_count()) == ([], 0)
        assert check_store(store_of(replica)).listed == []
    assert told == []
    assert [(item.type, item.device_id, item.changes) for item in phone.history(Note, record)] == before


def test_later_clashes_find_their_base(three: Three) -> None:
    hub, desk, phone = three
    record = edited(three)
    compact_twice(*three)
    base = desk.get(Note, record).place
    desk.get(Note, record).place = {**base, "desk": 1}
    phone.get(Note, record).place = {**base, "phone": 2}
    desk.get(Note, record).due, phone.get(Note, record).due = 7, 8
    sync(*three)
    assert hub.get(Note, record).place == {**base, "desk": 1, "phone": 2}
    (conflict,) = hub.conflicts()
    assert (conflict.field, conflict.base) == ("due", 108)


def test_compacting_comes_to_an_end(three: Three) -> None:
    _hub, _desk, _phone = three
    edited(three)
    compact_twice(*three)
    for _ in range(3):
        for replica in three:
            report = replica.compact()
            assert (report.values_removed, report.horizon_made) == (0, False)
            sync(*three)
    assert [store_of(replica).count(Table.LOG) for replica in three] == [0, 0, 0]


def test_only_who_made_the_later_horizon_removes_values(three: Three) -> None:
    hub, desk, phone = three
    record = edited(three)
    assert hub.compact().horizon_made
    sync(*three)
    report = desk.compact()  # makes the later one
    assert (report.horizon_made, report.values_removed) == (True, 24)
    sync(*three)
    assert phone.compact().values_removed == hub.compact().values_removed == 0
    assert [hidden(replica, Note, record) for replica in three] == [0, 0, 0]


def test_another_device_sees_to_it_where_the_maker_never_comes_back(
    three: Three, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub, desk, _phone = three
    record = edited(three)
    assert hub.compact().horizon_made
    sync(*three)
    with monkeypatch.context() as patch:
        patch.setattr(Horizons, "trim", lambda *_, **__: 0)  # it ends before it removes anything
        assert hub.compact().horizon_made
    sync(*three)
    assert hidden(desk, Note, record) == 24
    assert desk.compact().values_removed == 24  # by a horizon of its own


def test_ancestor_of_values_that_clash_is_kept(three: Three) -> None:
    hub, desk, phone = three
    record = edited(three)
    desk.get(Note, record).due, phone.get(Note, record).due = 7, 8
    sync(*three)
    compact_twice(*three)
    (conflict,) = hub.conflicts()
    assert conflict.base == 108
    hub.resolve(conflict, value=9)
    sync(*three)
    compact_twice(*three)
    assert hidden(phone, Note, record) == 0
    assert [item.chosen.value for item in phone.settled(model=Note)] == [9]


def test_what_was_written_since_the_first_horizon_waits_for_the_next(three: Three) -> None:
    hub, desk, _phone = three
    record = edited(three)
    assert hub.compact().horizon_made
    desk.get(Note, record).due = 5
    sync(*three)
    assert hub.compact().values_removed == 24  # all below the value that the first horizon covers
    sync(*three)
    assert hidden(hub, Note, record) == 1
    compact_twice(*three)
    assert hidden(desk, Note, record) == 0


@pytest.mark.parametrize("model", [Note, Gone, Asked])
def test_removal_brings_back_nothing_that_was_deleted_at_the_same_time(three: Three, model: type[Any]) -> None:
    hub, desk, phone = three
    record = hub.create(model).id
    for number in range(5):
        hub.get(model, record).due = number + 1
    sync(*three)
    assert hub.compact().horizon_made
    sync(*three)
    desk.delete(desk.get(model, record))
    assert hub.compact().values_removed == 4
    sync(*three)
    for replica in three:
        with pytest.raises(RecordError):
            replica.get(model, record)
        assert list(replica.conflicts()) == []
    phone.restore(model, record)
    sync(*three)
    assert [replica.get(model, record).due for replica in three] == [5, 5, 5]


def test_edit_at_the_same_time_is_an_edit_of_the_deleted(three: Three) -> None:
    hub, desk, _phone = three
    record = edited(three)
    assert hub.compact().horizon_made
    sync(*three)
    desk.delete(desk.get(Note, record))
    assert hub.compact().values_removed == 24
    hub.get(Note, record).title = "still wanted"
    sync(*three)
    assert [replica.get(Note, record).title for replica in three] == ["still wanted"] * 3


def test_records_that_are_shown_as_one_keep_theirs(three: Three) -> None:
    hub, desk, phone = three
    records = [replica.create(Twin, name="a").id for replica in (hub, desk)]
    for replica in (hub, desk):
        (twin,) = replica.find(Twin)
        twin.due, twin.due, twin.due = 1, 2, 3
    sync(*three)
    phone.get(Twin, records[0]).due = 4
    sync(*three)
    kept = [hidden(hub, Twin, record) for record in records]
    hub.compact()
    sync(*three)
    assert hub.compact().values_removed == 0
    assert [hidden(hub, Twin, record) for record in records] == kept


def test_device_that_was_not_waited_for_loses_nothing_and_is_asked(three: Three) -> None:
    hub, desk, phone = three
    record = edited(three)
    phone.get(Note, record).due = 50
    phone.get(Note, record).place = {"phone": 1}
    hub.forget_device(str(phone.device_id))
    desk.get(Note, record).due = 60
    sync(hub, desk)
    compact_twice(hub, desk)
    assert hidden(desk, Note, record) == 0
    sync(*three)
    for replica in three:
        (conflict,) = (conflict for conflict in replica.conflicts() if conflict.field == "due")
        assert {item.value for item in conflict.candidates} == {50, 60}
        assert conflict.base is UNKNOWN
    assert {conflict.id for conflict in hub.conflicts()} == {conflict.id for conflict in phone.conflicts()}


def test_values_are_removed_without_being_asked_to(three: Three) -> None:
    hub, _desk, _phone = three
    state_of(hub).keeping = KeepingPolicy(rows_min=1, interval_ms=0, removals_min=20)
    record = edited(three)
    for number in range(4):
        while hub.compact_some():
            pass
        sync(*three)
        hub.create(Note, title=f"{number}")  # something to fold
        sync(*three)
    assert [hidden(replica, Note, record) for replica in three] == [0, 0, 0]


def test_fork_writes_the_removal_again(tmp_path: Path) -> None:
    """The machine is taken back to before both sides removed the same values."""
    machine = Machine(tmp_path)
    with memory(99) as peer:
        name = machine.start(peer, title="a")
        with machine.on() as replica:
            for day in range(1, 9):
                replica.get(Task, name).due = date(2025, 1, day)
            sync(peer, replica)
            assert replica.compact().horizon_made
            sync(peer, replica)
        machine.lose(peer, lambda replica: replica.compact(), appending(name, "lost "))
        with machine.on() as replica:
            replica.get(Task, name).votes.increment(1)
            assert replica.compact().values_removed == 7
            settled(replica, peer)
            assert unfinished(replica) == []
            assert [hidden(item, Task, name) for item in (replica, peer)] == [0, 0]
            assert (replica.get(Task, name).due, str(peer.get(Task, name).notes)) == (date(2025, 1, 8), "lost ")
            assert check_store(store_of(replica)).listed == []


def test_newcomer_and_repair_take_the_values_as_they_are(three: Three) -> None:
    hub, desk, phone = three
    record = edited(three)
    compact_twice(*three)
    hub.compact()
    with memory(4, *MODELS) as fresh:
        sync(hub, fresh)
        assert hidden(fresh, Note, record) == 0
        assert fresh.get(Note, record).model_dump() == hub.get(Note, record).model_dump()
        fresh.get(Note, record).due, desk.get(Note, record).due = 1, 2
        sync(hub, fresh, desk, phone)
        (conflict,) = phone.conflicts()
        assert conflict.base == 108


def test_value_in_sight_that_is_removed_so_is_no_secret(three: Three) -> None:
    """A bound device can write any value; it can also take one away, but not without being seen."""
    hub, desk, _phone = three
    record = hub.create(Note, due=1).id
    hub.get(Note, record).due = 2
    hub.get(Note, record).due = 3
    sync(*three)
    told: list[Change] = []
    desk.observe(told.append)
    state, key = state_of(hub), document_key("", "Note", RecordId(record))
    latest = max(state.documents.get(key).content(()).causal["due"], key=lambda item: item.hlc)
    transaction = LocalTransaction(state, None)
    moves = Put(map_key(KeyClass.ALIAS, transaction.context.author), b"")
    with state.store.transaction():
        writes: list[Write] = [Drop(latest.key), moves]
        transaction.write(key, writes, operation=OperationType.UPDATE, fields=frozenset({"due"}))
        transaction.commit()
    transaction.committed()
    sync(*three)
    assert desk.get(Note, record).due == 2
    assert [(change.type, change.fields) for change in told] == [("update", frozenset({"due"}))]
    *_, last = desk.history(Note, record)
    assert [(change.old, change.new) for change in last.changes] == [(3, 2)]
    assert last.device_id == hub.device_id


def test_check_of_a_store_knows_what_the_journal_does_not(three: Three) -> None:
    """A device that wrote nothing itself removes values of one record, twice."""
    hub, desk, phone = three
    record = desk.create(Note, due=1).id
    for _ in range(2):
        for number in range(3):
            desk.get(Note, record).due = 10 + number
            desk.get(Note, record).due = 20 + number
        sync(*three)
        assert compact_twice(hub, desk, phone) > 0
        assert list(hub.operations()) == []
        assert check_store(store_of(hub)).listed == []


def test_replica_that_does_not_know_the_model_sees_to_it_as_well(three: Three) -> None:
    """As a hub does that is opened without the app's models."""
    _, desk, phone = three
    with memory(7, Twin) as hub:
        record = desk.create(Note, due=1).id
        for number in range(4):
            desk.get(Note, record).due = 10 + number
        sync(hub, desk, phone)
        assert compact_twice(hub, desk, phone) == 3
        assert [hidden(replica, Note, record) for replica in (hub, desk, phone)] == [0, 0, 0]
        assert phone.get(Note, record).due == 13
        assert check_store(store_of(hub)).listed == []
