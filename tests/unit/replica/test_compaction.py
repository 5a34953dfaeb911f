"""Compaction: what is folded stays readable, and whoever comes back late neither loses nor brings back anything."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from crdt_sync import Model, Replica
from crdt_sync.errors import InputError, RecordNotFoundError
from crdt_sync.replica.checking import check_store
from crdt_sync.replica.compactor import AUTOMATIC_RETENTION_MS
from crdt_sync.replica.history import COMPACTED
from crdt_sync.replica.keeping_policy import KeepingPolicy
from crdt_sync.replica.state import Change
from crdt_sync.storage.base import Table
from crdt_sync.testing.exchange import exchange
from tests.unit.replica.devices import Dice, Person, Task, memory, on_disk, picture, state_of, store_of


def sync(one: Replica, other: Replica) -> None:
    report = exchange(one, other)
    assert report.proven_equal, (report.left_end, report.right_end)


def sync_all(hub: Replica, *others: Replica, rounds: int = 2) -> None:
    for _ in range(rounds):
        for other in others:
            sync(other, hub)


def rows(replica: Replica, table: Table = Table.LOG) -> int:
    return store_of(replica).count(table)


def shown(replica: Replica) -> dict[str, dict[str, object]]:
    models: tuple[type[Model], ...] = (Task, Person)
    return {model.__name__: {item.id: item.model_dump() for item in replica.find(model)} for model in models}


def remove_for_good(hub: Replica, *others: Replica) -> None:
    """Compact in two rounds, as it takes to have deleted records gone."""
    assert hub.compact().horizon_made
    sync_all(hub, *others)
    hub.compact()
    sync_all(hub, *others)


@pytest.fixture
def three() -> Iterator[tuple[Replica, Replica, Replica]]:
    with memory(1) as hub, memory(2) as desk, memory(3) as phone:
        yield hub, desk, phone


def test_what_everybody_holds_leaves_the_log_and_stays_as_it_was(three: tuple[Replica, Replica, Replica]) -> None:
    hub, desk, phone = three
    task = hub.create(Task, title="a", due=date(2025, 1, 1))
    sync_all(hub, desk, phone)
    for replica in three:
        mine = replica.get(Task, task.id)
        mine.due = date(2025, 2, three.index(replica) + 1)
        mine.notes.append("né😀")
        mine.votes.increment(1)
    sync_all(hub, desk, phone)
    before, fingerprint = shown(hub), hub.port.fingerprint("")
    conflicts = [conflict.id for conflict in hub.conflicts()]
    report = hub.compact()
    assert report.rows_before >= 4
    assert (report.rows_after, report.waiting_for) == (0, ())
    assert shown(hub) == before
    assert hub.port.fingerprint("") == fingerprint
    assert [conflict.id for conflict in hub.conflicts()] == conflicts != []
    sync_all(hub, desk, phone)  # the others have folded nothing
    for replica in (desk, phone, hub):
        replica.get(Task, task.id).notes.insert(0, "later ")
    sync_all(hub, desk, phone)
    assert shown(hub) == shown(desk) == shown(phone)


def test_history_begins_with_what_was_folded(three: tuple[Replica, Replica, Replica]) -> None:
    hub, desk, phone = three
    task = hub.create(Task, title="a")
    sync_all(hub, desk, phone)
    hub.compact()
    task.title = "b"
    first, second = hub.history(task)
    assert (first.device_id, first.live) == (COMPACTED, True)
    assert {change.field: change.new for change in first.changes}["title"] == "a"
    assert [(change.old, change.new) for change in second.changes] == [("a", "b")]


def test_nothing_is_folded_that_one_device_lacks(three: tuple[Replica, Replica, Replica]) -> None:
    hub, desk, phone = three
    sync_all(hub, desk, phone)
    task = hub.create(Task, title="a")
    sync_all(hub, desk)
    report = hub.compact()
    assert report.rows_after == report.rows_before == 1
    assert report.waiting_for == (phone.device_id,)
    sync(phone, hub)
    sync_all(hub, desk, phone)
    assert hub.compact().rows_after == 0
    assert phone.get(Task, task.id).title == "a"


def test_device_that_was_long_silent_is_not_waited_for_where_the_user_says_so(
    three: tuple[Replica, Replica, Replica],
) -> None:
    hub, desk, phone = three
    sync_all(hub, desk, phone)
    task = hub.create(Task, title="a")
    sync_all(hub, desk)
    assert hub.compact(retention_s=3600).rows_after == 1
    assert hub.compact(retention_s=0).rows_after == 0
    phone.create(Task, title="unsent")
    sync(phone, hub)
    assert phone.get(Task, task.id).title == "a"
    assert shown(phone) == shown(hub)
    wrong: tuple[Any, ...] = (-1, float("nan"), float("inf"), "x", [], True)
    for retention_s in wrong:
        with pytest.raises(InputError):
            hub.compact(retention_s=retention_s)
        with pytest.raises(InputError):
            hub.compaction_outlook(retention_s=retention_s)


def test_new_device_gets_content_in_place_of_what_was_folded(three: tuple[Replica, Replica, Replica]) -> None:
    hub, desk, phone = three
    for number in range(30):
        hub.create(Task, title=f"{number}")
    sync_all(hub, desk, phone)
    hub.compact()
    late = hub.create(Task, title="late")
    with memory(4) as fresh, memory(5) as fresher:
        told: list[Change] = []
        fresh.observe(told.append)
        sync(fresh, hub)
        assert shown(fresh) == shown(hub)
        assert {change.record_id for change in told} == {task.id for task in hub.find(Task)}
        fresh.get(Task, late.id).title = "by the new one"
        sync(fresher, fresh)  # it can pass everything on
        sync(fresher, desk)
        sync_all(hub, fresh, fresher, desk, phone)
        assert shown(fresher) == shown(desk) == shown(hub)
        assert desk.get(Task, late.id).title == "by the new one"


def test_deleted_records_go_from_every_replica_in_two_rounds(three: tuple[Replica, Replica, Replica]) -> None:
    hub, desk, phone = three
    kept, gone = hub.create(Task, title="kept"), hub.create(Task, title="gone")
    person = hub.create(Person, email="a@b.c")
    sync_all(hub, desk, phone)
    desk.delete(desk.get(Task, gone.id))
    desk.delete(desk.get(Person, person.id))
    sync_all(hub, desk, phone)
    assert hub.compact().documents_after == 3
    sync_all(hub, desk, phone)
    with pytest.raises(RecordNotFoundError):
        phone.restore(Task, gone.id)  # it is on its way out
    hub.compact()
    sync_all(hub, desk, phone)
    assert [rows(replica, Table.VERSION) for replica in three] == [2, 2, 2]
    assert [task.id for task in phone.find(Task)] == [kept.id]
    again = phone.create(Person, email="a@b.c")  # a natural key can come back, so its record never goes
    sync_all(hub, desk, phone)
    assert desk.get(Person, again.id).email == "a@b.c"
    with memory(4) as fresh:
        sync(fresh, hub)
        assert rows(fresh, Table.VERSION) == 2


def test_record_that_was_restored_in_time_stays(three: tuple[Replica, Replica, Replica]) -> None:
    hub, desk, phone = three
    task = hub.create(Task, title="a")
    sync_all(hub, desk, phone)
    hub.delete(task)
    sync_all(hub, desk, phone)
    phone.restore(Task, task.id)  # before it knows of any horizon
    remove_for_good(hub, desk, phone)
    assert [replica.get(Task, task.id).title for replica in three] == ["a", "a", "a"]


class Away:
    """A device that was away while the others forgot it, removed a record for good and folded everything."""

    def __init__(self, hub: Replica, desk: Replica, phone: Replica) -> None:
        self.hub, self.desk, self.phone = hub, desk, phone
        made = [hub.create(Task, title=name) for name in ("removed", "edited", "untouched", "forgotten")]
        self.removed, self.edited, self.untouched, self.forgotten = (task.id for task in made)
        sync_all(hub, desk, phone)

    def leave(self) -> None:
        self.hub.forget_device(str(self.phone.device_id))
        for name in (self.removed, self.forgotten):
            self.hub.delete(self.hub.get(Task, name))
        self.desk.get(Task, self.edited).size = 7
        sync_all(self.hub, self.desk)
        remove_for_good(self.hub, self.desk)
        self.hub.compact()
        assert rows(self.hub) == 0
        assert rows(self.hub, Table.VERSION) == 2

    def titles(self, replica: Replica) -> list[str]:
        return sorted(task.title for task in replica.find(Task))


def test_device_that_was_away_brings_nothing_back(three: tuple[Replica, Replica, Replica]) -> None:
    away = Away(*three)
    away.leave()
    sync(away.phone, away.hub)
    sync_all(*three)
    assert [away.titles(replica) for replica in three] == [["edited", "untouched"]] * 3
    assert [rows(replica, Table.VERSION) for replica in three] == [2, 2, 2]


def test_device_that_was_away_loses_nothing_of_its_own(three: tuple[Replica, Replica, Replica]) -> None:
    away = Away(*three)
    phone = away.phone
    phone.get(Task, away.removed).title = "removed, edited away"
    phone.get(Task, away.edited).notes.append("by phone")
    phone.get(Task, away.untouched).title = "touched"
    with phone.transaction():
        phone.get(Task, away.removed).votes.increment(3)
        phone.create(Task, title="new")
    away.leave()
    told: list[Change] = []
    phone.observe(told.append)
    sync(phone, away.hub)
    sync_all(*three)
    assert [away.titles(replica) for replica in three] == [["edited", "new", "removed, edited away", "touched"]] * 3
    edited = away.desk.get(Task, away.edited)
    assert (edited.size, str(edited.notes)) == (7, "by phone")
    assert [int(replica.get(Task, away.removed).votes) for replica in three] == [3, 3, 3]
    assert [change.record_id for change in told if change.type == "delete"] == [away.forgotten]
    assert phone.pending_count() == 0
    fingerprints = {replica.port.fingerprint("") for replica in three}
    assert len(fingerprints) == 1
    assert phone.device_id not in away.hub.compact().waiting_for


def test_device_that_was_forgotten_is_waited_for_again(three: tuple[Replica, Replica, Replica]) -> None:
    away = Away(*three)
    away.leave()
    sync(away.phone, away.hub)
    sync_all(*three)
    away.hub.create(Task, title="later")
    sync_all(away.hub, away.desk)
    assert away.hub.compact().waiting_for == (away.phone.device_id,)


def test_only_another_enrolled_device_is_forgotten(replica: Replica) -> None:
    for device in ("nobody", str(replica.device_id)):
        with pytest.raises(InputError):
            replica.forget_device(device)


def test_restored_backup_below_the_floor_catches_up(tmp_path: Path) -> None:
    with memory(1) as hub:
        with on_disk(tmp_path, seed=2) as desk:
            sync_all(hub, desk)
            desk.create(Task, title="in the backup")
            sync_all(hub, desk)
        backup = (tmp_path / "a.db").read_bytes()
        with on_disk(tmp_path, seed=3) as desk:
            desk.create(Task, title="after the backup")
            sync_all(hub, desk)
            assert hub.compact().rows_after == 0
        (tmp_path / "a.db").write_bytes(backup)
        with on_disk(tmp_path, seed=4) as desk:
            desk.create(Task, title="on the restored one")
            sync_all(hub, desk)
            assert shown(desk) == shown(hub)
            assert len(desk.find(Task)) == 3
            assert check_store(store_of(desk)).listed == []


@pytest.mark.parametrize("steps", range(8))
def test_compaction_goes_on_where_it_was_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps: int) -> None:
    monkeypatch.setattr("crdt_sync.replica.compaction.STEP_ROWS", 4)
    with memory(1) as hub:
        desk = on_disk(tmp_path, seed=2)
        tasks = [desk.create(Task, title=f"{number}").id for number in range(3)]
        for number in range(12):
            desk.get(Task, tasks[number % 3]).notes.append(f"{number} ")
        sync_all(hub, desk)
        before, folding = shown(desk), desk.port._compactor._folding
        folding.begin({"": dict.fromkeys(state_of(desk).ledger.heads[""], 10**6)})
        for _ in range(steps):
            folding.step(touches_max=5)
        desk._opened.state.store.close()  # as a kill leaves it: nothing is brought up to date
        assert desk._opened.lock is not None
        desk._opened.lock.release()
        with on_disk(tmp_path, seed=3) as desk:
            assert shown(desk) == before
            assert check_store(store_of(desk)).listed == []
            with memory(4) as fresh:
                sync(fresh, desk)  # what is under way is finished first
                assert shown(fresh) == before
            desk.get(Task, tasks[0]).notes.append("end")
            sync_all(hub, desk)
            assert desk.compact(retention_s=0).rows_after == 0
            assert check_store(store_of(desk)).listed == []
        with on_disk(tmp_path, seed=5) as desk:
            assert shown(desk) == shown(hub)


def test_automatic_compaction_waits_until_it_is_worth_it() -> None:
    with memory(1) as hub:
        state_of(hub).keeping = KeepingPolicy(rows_min=20)
        for number in range(25):
            hub.create(Task, title=f"{number}")
        assert not hub.compact_some()  # nobody else is known: whoever comes gets the entries
        assert rows(hub) == 25
        with memory(2) as desk:
            sync_all(hub, desk)
            hub.port._compactor._looked_ms = 0
            assert hub.compact_some()
            while hub.compact_some():
                pass
            assert rows(hub) == 0
            sync_all(hub, desk)
            assert shown(hub) == shown(desk)


def test_automatic_compaction_does_not_wait_for_who_was_silent_for_long() -> None:
    dice = Dice(1)
    with memory(dice=dice) as hub, memory(2) as desk, memory(3) as phone:
        state_of(hub).keeping = KeepingPolicy(rows_min=3)
        sync_all(hub, desk, phone)
        for number in range(5):
            hub.create(Task, title=f"{number}")
        sync_all(hub, desk)
        assert not hub.compact_some()  # the phone may come
        dice.now_ms += AUTOMATIC_RETENTION_MS
        for replica in (hub, desk):
            replica.create(Task, title="lately")
        state_of(desk).now_ms = lambda: dice.now_ms
        sync_all(hub, desk)
        while hub.compact_some():
            pass
        assert rows(hub) == 0
        (silent,) = hub.compaction_outlook().waiting_for
        assert (silent.device_id, silent.entries) == (phone.device_id, 7)
        phone.create(Task, title="unsent")
        sync_all(hub, phone, desk)
        assert shown(phone) == shown(hub) == shown(desk)
        assert len(phone.find(Task)) == 8


def test_outlook_tells_what_compacting_does_and_changes_nothing(three: tuple[Replica, Replica, Replica]) -> None:
    hub, desk, phone = three
    task, gone = hub.create(Task, title="a"), hub.create(Task, title="gone")
    for day in range(1, 6):
        task.due = date(2025, 1, day)
    hub.delete(gone)
    sync_all(hub, desk, phone)
    before = picture(hub)
    found = hub.compaction_outlook()
    assert (found.rows, found.rows_to_fold, found.documents) == (8, 8, 2)
    assert (found.records_to_remove, found.values_to_remove, found.waiting_for) == (1, 4, ())
    assert picture(hub) == before
    report = hub.compact()
    assert report.rows_before - report.rows_after == found.rows_to_fold
    sync_all(hub, desk, phone)
    report = hub.compact()
    assert (report.documents_before - report.documents_after, report.values_removed) == (1, 4)
    sync_all(hub, desk, phone)
    found = phone.compaction_outlook()
    assert (found.records_to_remove, found.values_to_remove) == (0, 0)
    task.title = "b"
    (desk_waits, phone_waits) = hub.compaction_outlook().waiting_for
    assert {desk_waits.device_id, phone_waits.device_id} == {desk.device_id, phone.device_id}
    assert (desk_waits.entries, phone_waits.entries) == (1, 1)
    assert desk_waits.heard_ms is not None


def test_repair_builds_documents_from_their_bases(three: tuple[Replica, Replica, Replica]) -> None:
    hub, desk, phone = three
    task = hub.create(Task, title="a")
    sync_all(hub, desk, phone)
    hub.compact()
    task.title = "b"
    with store_of(hub).transaction():
        for key, _ in list(store_of(hub).scan(Table.VERSION)):
            store_of(hub).put(Table.VERSION, key, bytes(16))
    sync_all(hub, desk, phone)
    assert hub.get(Task, task.id).title == desk.get(Task, task.id).title == "b"


KILLED = """
import sys
from crdt_sync import Replica
from tests.unit.replica.devices import Person, Task
replica = Replica.open(sys.argv[1], [Task, Person], state_dir=sys.argv[2], durability="normal")
replica.compact(progress=lambda done, total: (print(done, flush=True), sys.stdin.readline()))
"""


@pytest.mark.parametrize("steps", [1, 2])
def test_process_that_is_killed_while_it_compacts_leaves_a_sound_store(tmp_path: Path, steps: int) -> None:
    with on_disk(tmp_path, seed=1) as desk:
        for number in range(600):
            desk.create(Task, title=f"{number}")
        with memory(2) as hub:
            sync_all(hub, desk)
        before = shown(desk)
    command = [sys.executable, "-c", KILLED, str(tmp_path / "a.db"), str(tmp_path / "state")]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None
    assert process.stdout is not None
    for step in range(1, steps + 1):
        assert int(process.stdout.readline()) > 0
        if step < steps:
            process.stdin.write("\n")
            process.stdin.flush()
    process.kill()
    process.communicate()
    with on_disk(tmp_path, seed=400) as desk:
        assert 0 < rows(desk) < 600
        assert check_store(store_of(desk)).listed == []
        assert shown(desk) == before
        assert desk.compact().rows_after == 0
        assert shown(desk) == before
        assert check_store(store_of(desk)).listed == []
