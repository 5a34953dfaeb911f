"""A change that failed is taken back as if it had never been made; nothing else is lost, and the journal keeps it."""

from __future__ import annotations

import random
from contextlib import suppress
from pathlib import Path

import pytest

from crdt_sync import Change, List, Map, Model, Replica, ask
from crdt_sync.errors import InputError, RecordExistsError, StoreError, StoreReadOnlyError, TransactionError
from crdt_sync.replica.checking import check_store
from crdt_sync.replica.rows import number_key
from crdt_sync.storage.base import Table
from crdt_sync.testing.disks import Disk, Fault, Loss
from crdt_sync.testing.exchange import exchange
from tests.unit.replica.devices import Person, Task, memory, on_disk, store_of
from tests.unit.replica.test_home import author_of, refuse, statuses
from tests.unit.replica.test_set_aside import Poison, failing, meet, poisoned, relay, titles


def sound(replica: Replica) -> None:
    assert check_store(store_of(replica)).listed == []
    assert replica.check().listed == []


def test_a_refused_creation_goes_and_what_is_behind_it_comes_through() -> None:
    with memory(1) as replica, memory(2) as hub:
        replica.create(Task, title="before")
        exchange(replica, hub)
        bad = replica.create(Task, title="refused", notes="long", tags={"a"})
        fine = replica.create(Task, title="behind it")
        fine.notes.append("text")
        bad.title = "on top of it"
        fine.votes.increment(3)
        refuse(replica, by=hub, sequence=2)
        author = author_of(replica)
        changes: list[Change] = []
        replica.observe(changes.append)
        taken = replica.revert(replica.operation("2"))
        assert [(item.id, item.status.value, dict(item.data).get("title")) for item in taken] == [
            ("2", "failed", "refused"),
            ("5", "failed", "on top of it"),
        ]
        assert [item.error for item in taken] == ["reverted: screening: no"] * 2
        assert {(change.record_id, change.type) for change in changes} >= {(bad.id, "delete")}
        assert titles(replica) == {"before", "behind it"}
        assert author_of(replica) != author
        assert statuses(replica) == ["completed", "failed", "pending", "pending", "failed", "pending"]
        sound(replica)
        assert exchange(replica, hub).proven_equal
        assert statuses(replica) == ["completed", "failed", "completed", "completed", "failed", "completed"]
        (found,) = hub.find(Task, title="behind it")
        assert (str(found.notes), int(found.votes)) == ("text", 3)
        sound(replica)
        sound(hub)
        replica.create(Task, title="goes on")
        assert exchange(replica, hub).proven_equal
        assert replica.retry() == 0, "what was taken back is not tried again"
        assert replica.durability(taken[0]) == ()


def test_a_refused_edit_leaves_the_record_as_it_was_before_with_what_others_wrote_meanwhile() -> None:
    with memory(1) as replica, memory(2) as hub, memory(3) as other:
        task = replica.create(Task, title="first", notes="common ")
        exchange(replica, hub)
        exchange(other, hub)
        task.title = "refused"
        task.notes.append("mine")
        theirs = other.get(Task, task.id)
        theirs.done = True
        theirs.notes.insert(0, "theirs ")
        relay(other, replica)
        assert (task.title, task.done) == ("refused", True)
        refuse(replica, by=hub, sequence=2)
        assert len(replica.revert(replica.operation("2"))) == 2
        assert (task.title, task.done, str(task.notes)) == ("first", True, "theirs common ")
        sound(replica)
        exchange(other, hub)
        assert exchange(replica, hub).proven_equal
        assert hub.get(Task, task.id).title == "first"


def test_a_deletion_that_was_refused_brings_the_record_back() -> None:
    with memory(1) as replica, memory(2) as hub:
        task = replica.create(Task, title="kept")
        exchange(replica, hub)
        replica.delete(task)
        refuse(replica, by=hub, sequence=2)
        replica.revert(replica.operation("2"))
        assert titles(replica) == {"kept"}
        sound(replica)
        assert exchange(replica, hub).proven_equal


def test_transactions_are_taken_back_whole() -> None:
    with memory(1) as replica, memory(2) as hub:
        first, second, third = (replica.create(Task, title=title) for title in ("a", "b", "c"))
        exchange(replica, hub)
        with replica.transaction():
            first.title = "a refused"
            second.title = "b refused"
        with replica.transaction():
            second.done = True
            third.done = True
        third.title = "c on top of that"
        replica.create(Task, title="d")
        refuse(replica, by=hub, sequence=4)
        taken = replica.revert(replica.operation("5"))
        assert [item.id for item in taken] == ["4", "5", "6", "7", "8"]
        assert titles(replica) == {"a", "b", "c", "d"}
        assert not any(task.done for task in replica.find(Task))
        sound(replica)
        assert exchange(replica, hub).proven_equal


def test_one_behind_the_first_that_failed_leaves_that_to_be_tried_under_the_new_author() -> None:
    with memory(1) as replica, memory(2) as hub:
        for title in ("a", "b", "c"):
            replica.create(Task, title=title)
        refuse(replica, by=hub, sequence=1)
        replica.revert(replica.operation("2"))
        assert statuses(replica) == ["pending", "failed", "pending"]
        assert exchange(replica, hub).proven_equal
        assert titles(hub) == {"a", "c"}


def test_natural_keys_and_settled_questions() -> None:
    with memory(1) as replica, memory(2) as hub:
        hub.create(Person, email="a@b.c", name="theirs", age=1)
        replica.create(Person, email="a@b.c", name="mine", age=2)
        relay(hub, replica)
        (conflict,) = replica.conflicts()
        replica.resolve(conflict, value=3)
        refuse(replica, by=hub, sequence=1)
        assert len(replica.revert(replica.operation("1"))) == 2
        (person,) = replica.find(Person)
        assert (person.name, person.age) == ("theirs", 1)
        assert list(replica.conflicts()) == []
        sound(replica)
        assert exchange(replica, hub).proven_equal


def test_undo_does_not_know_what_was_taken_back() -> None:
    with memory(1) as replica, memory(2) as hub:
        replica.create(Task, title="before")
        exchange(replica, hub)
        replica.create(Task, title="refused")
        replica.create(Task, title="behind it")
        refuse(replica, by=hub, sequence=2)
        replica.revert(replica.operation("2"))
        assert replica.undo() is not None
        assert titles(replica) == {"before"}
        assert replica.undo() is not None
        assert titles(replica) == set()
        assert replica.undo() is None
        assert exchange(replica, hub).proven_equal


def test_what_a_peer_dies_of_can_be_taken_back() -> None:
    with memory(1) as replica, memory(2) as hub:
        replica.create(Task, title="poison")
        replica.create(Task, title="behind it")
        with poisoned(Poison(author_of(replica), 1, failing), at=hub):
            for _ in range(8):
                meet(replica, hub)
        assert statuses(replica) == ["failed", "completed"]
        replica.revert(replica.operation("1"))
        assert replica.set_aside() == ()
        assert meet(replica, hub).proven_equal
        assert titles(hub) == {"behind it"}


def test_where_nothing_else_was_written_the_fingerprint_is_made_anew() -> None:
    with memory(1) as replica, memory(2) as hub:
        replica.create(Task, title="poison")
        with poisoned(Poison(author_of(replica), 1, failing), at=hub):
            for _ in range(8):
                meet(replica, hub)
        replica.revert(replica.operation("1"))
        assert meet(replica, hub).proven_equal


def test_what_a_device_turns_out_to_have_after_all_comes_back() -> None:
    """It took the entry, and was gone before it could say so."""
    with memory(1) as replica, memory(2) as hub, memory(3) as other:
        replica.create(Task, title="a")
        replica.create(Task, title="b")
        relay(replica, other)
        refuse(replica, by=hub, sequence=1)
        replica.revert(replica.operation("1"))
        assert exchange(replica, hub).proven_equal
        exchange(replica, other)
        exchange(replica, other)
        assert titles(replica) == titles(other) == {"a", "b"}
        sound(replica)


def test_what_others_have_or_wrote_on_cannot_be_taken_back() -> None:
    with memory(1) as replica, memory(2) as hub, memory(3) as other:
        replica.create(Task, title="a")
        replica.create(Task, title="b")
        with pytest.raises(InputError, match="operation 1 is pending"):
            replica.revert(replica.operation("1"))
        relay(replica, other)
        other.create(Task, title="on top of it")
        relay(other, replica)
        refuse(replica, by=hub, sequence=1)
        with pytest.raises(InputError, match="others have written on"):
            replica.revert(replica.operation("1"))
        with pytest.raises(InputError, match="an operation is expected, not a str"):
            replica.revert("1")  # type: ignore[arg-type]  # wrong on purpose
        with replica.transaction(), pytest.raises(TransactionError):
            replica.revert(replica.operation("1"))
        assert titles(replica) == {"a", "b", "on top of it"}
        assert statuses(replica) == ["failed", "failed"]
        sound(replica)


def test_what_was_taken_back_is_not_taken_back_or_tried_again() -> None:
    with memory(1) as replica, memory(2) as hub:
        replica.create(Task, title="a")
        refuse(replica, by=hub, sequence=1)
        operation = replica.operation("1")
        (taken,) = replica.revert(operation)
        assert taken.data["title"] == "a", "it can be exported"
        for call in (replica.revert, replica.retry):
            with pytest.raises(InputError, match="was taken back"):
                call(operation)
        assert titles(replica) == set()
        assert (replica.metrics().pending, replica.metrics().failed) == (0, 1)
        assert exchange(replica, hub).proven_equal


def test_a_crash_at_any_operation_of_the_disk_leaves_all_or_nothing(tmp_path: Path) -> None:
    for point in range(1, 60, 7):
        place = tmp_path / str(point)
        place.mkdir()
        with Disk(seed=point) as disk, memory(2) as hub:
            replica = on_disk(place)
            replica.create(Task, title="refused")
            replica.create(Task, title="behind it")
            refuse(replica, by=hub, sequence=1)
            disk.fail(Fault.POWER, after=point)
            with suppress(StoreError):
                replica.revert(replica.operation("1"))
            with suppress(StoreError):
                replica.close()
            disk.power_on(loss=Loss.SOME)
            with on_disk(place, seed=1) as again:
                assert titles(again) in ({"refused", "behind it"}, {"behind it"})
                sound(again)
                again.retry()
                assert exchange(again, hub).proven_equal
                assert titles(hub) == titles(again)


def test_a_reader_takes_nothing_back(tmp_path: Path) -> None:
    with on_disk(tmp_path) as replica, memory(2) as hub:
        replica.create(Task, title="a")
        refuse(replica, by=hub, sequence=1)
    reader = Replica.open(tmp_path / "a.db", [Task], read_only=True, state_dir=tmp_path / "state")
    with reader, pytest.raises(StoreReadOnlyError):
        reader.revert(reader.operation("1"))


class Badge(Model, unique=("code",)):
    code: str
    title: str = ""
    due: int | None = ask(default=None)
    steps: List[str]
    prefs: Map[str, int]


def edit(replica: Replica, dice: random.Random) -> None:
    """One transaction of one to three changes to any records."""
    with replica.transaction():
        for _ in range(dice.randint(1, 3)):
            tasks, badges = list(replica.find(Task, order_by="title")), list(replica.find(Badge, order_by="title"))
            free = [code for code in "0123456789" if code not in {badge.code for badge in badges}]
            match dice.randrange(7):
                case 0:
                    replica.create(Task, title=f"task {dice.random()}", notes="some text", votes=1, tags={"x"})
                case 1:
                    replica.create(Badge, code=free[0], title=f"badge {dice.random()}", steps=["a"])
                case 2 if tasks:
                    notes = dice.choice(tasks).notes
                    notes.insert(dice.randint(0, len(notes)), "more ")
                case 3 if tasks:
                    task = dice.choice(tasks)
                    task.votes.increment(dice.randint(1, 9))
                    task.tags.add(str(dice.randrange(5)))
                case 4 if badges:
                    badge = dice.choice(badges)
                    badge.steps.append(str(dice.random()))
                    badge.prefs["k"] = dice.randrange(100)
                    badge.due = dice.randrange(100)
                case 5 if badges:
                    dice.choice(badges).code = dice.choice(free)
                case 6 if tasks and dice.random() < 0.5:
                    replica.delete(dice.choice(tasks))
                case _:
                    replica.create(Task, title=f"task {dice.random()}")


@pytest.mark.parametrize("seed", [*range(20), 110, 139])  # the last two have merged records beside what goes
def test_whatever_was_written_the_rest_comes_through(seed: int) -> None:
    dice = random.Random(seed)
    with memory(1, Task, Badge) as replica, memory(2, Task, Badge) as hub, memory(3, Task, Badge) as other:
        for _ in range(3):
            edit(replica, dice)
        exchange(replica, hub)
        exchange(other, hub)
        begun = replica.port.vector()[""][author_of(replica)].sequence
        for _ in range(dice.randint(1, 8)):
            edit(replica, dice)
            if dice.random() < 0.4:
                edit(other, dice)
                relay(other, replica)
        last = replica.port.vector()[""][author_of(replica)].sequence
        refuse(replica, by=hub, sequence=dice.randint(begun + 1, last))
        failed = list(replica.operations(status="failed"))
        taken = replica.revert(dice.choice(failed))
        sound(replica)
        exchange(other, hub)
        assert exchange(replica, hub).proven_equal
        assert {item.id for item in replica.operations(status="failed")} == {item.id for item in taken}
        edit(replica, dice)
        with suppress(RecordExistsError):  # somebody's badge may have a code by now
            while replica.undo() is not None:
                pass
        sound(replica)
        assert exchange(replica, hub).proven_equal
        sound(hub)


def test_a_repair_keeps_what_was_taken_back(tmp_path: Path) -> None:
    with on_disk(tmp_path) as replica, memory(2) as hub:
        bad = replica.create(Task, title="refused")
        bad.title = "refused, too"
        replica.create(Task, title="fine")
        refuse(replica, by=hub, sequence=1)
        replica.revert(replica.operation("1"))
        with store_of(replica).transaction():
            store_of(replica).delete(Table.OPERATION, number_key(3))
            store_of(replica).delete(Table.PENDING, number_key(3))
    Replica.repair(tmp_path / "a.db", state_dir=tmp_path / "state")
    with on_disk(tmp_path, seed=1) as replica:
        shown = [(item.id, item.status.value, item.data["title"]) for item in replica.operations()]
        assert shown == [("1", "failed", "refused"), ("2", "failed", "refused, too"), ("3", "pending", "fine")]
        sound(replica)
