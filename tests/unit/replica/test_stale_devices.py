"""A device that comes back late, from before or after either horizon, with unsent edits of all sorts of records."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from pydantic import create_model

from crdt_sync import Counter, Model, Replica, Text, ask, field
from crdt_sync.errors import RecordError
from crdt_sync.replica.checking import check_store
from crdt_sync.storage.base import Table
from tests.unit.replica.devices import memory, store_of, sync

OLD: Any = create_model(
    "Note", __base__=Model, title=(str, ""), due=(int, ask(default=0)), body=(Text, ...), votes=(Counter, ...)
)
NEW: Any = create_model(
    "Note",
    __base__=Model,
    heading=(str, field(default="", renamed_from="title")),
    until=(int, ask(default=0, renamed_from="due")),
    body=(Text, ...),
    votes=(Counter, ...),
)


class Part(Model, unique=("code",), on_duplicate="merge"):
    code: str
    title: str = ""
    due: int = ask(default=0)


@dataclass
class Stale:
    """Two devices with the new version of an app, and one with the old version that will be away."""

    hub: Replica
    desk: Replica
    phone: Replica
    ids: dict[str, str]

    @property
    def all(self) -> tuple[Replica, Replica, Replica]:
        return self.hub, self.desk, self.phone

    def note(self, name: str) -> Any:
        return self.phone.get(OLD, self.ids[name])

    def new(self, replica: Replica, name: str) -> Any:
        return replica.get(NEW, self.ids[name])

    def headings(self, replica: Replica) -> list[str]:
        model, field_name = (OLD, "title") if replica is self.phone else (NEW, "heading")
        return sorted(getattr(note, field_name) for note in replica.find(model))


@pytest.fixture
def stale() -> Iterator[Stale]:
    with memory(1, NEW, Part) as hub, memory(2, NEW, Part) as desk, memory(3, OLD, Part) as phone:
        names = ("live", "deleted", "edited and deleted", "other")
        ids: dict[str, str] = {name: hub.create(NEW, heading=name).id for name in names}
        for number in range(1, 6):
            hub.get(NEW, ids["live"]).until = number
        ids["hub's part"] = hub.create(Part, code="x", title="by hub").id
        ids["desk's part"] = desk.create(Part, code="x", title="by desk").id
        sync(hub, desk, phone)
        yield Stale(hub, desk, phone, ids)


def delete(stale: Stale, *names: str) -> None:
    for name in names:
        stale.hub.delete(stale.new(stale.hub, name))


def edit_live(stale: Stale) -> None:
    note = stale.note("live")
    note.title, note.due = "by phone", 77
    note.body.append("phone ")
    note.votes.increment(2)


def edit_merged(stale: Stale) -> None:
    (part,) = stale.phone.find(Part)
    part.title, part.due = "by phone", 9


def edit_deleted(stale: Stale) -> None:
    note = stale.note("edited and deleted")
    note.title = "still wanted"
    note.body.append("phone ")


def create_new(stale: Stale) -> None:
    stale.phone.create(OLD, title="new", body="phone ")


def write_and_undo(stale: Stale) -> None:
    note = stale.note("other")
    note.title = "first"
    note.title = "second"
    stale.phone.undo()


def check_live(stale: Stale) -> None:
    for replica in (stale.hub, stale.desk):
        note = stale.new(replica, "live")
        assert (note.heading, str(note.body), int(note.votes)) == ("by phone", "phone ", 2)
        assert {item.value for item in replica.candidates(note, "until")} in ({77}, {77, 6})


def check_merged(stale: Stale) -> None:
    for replica in stale.all:
        (part,) = replica.find(Part)
        assert (part.title, part.due) == ("by phone", 9)
        assert replica.get(Part, stale.ids["hub's part"]).id == replica.get(Part, stale.ids["desk's part"]).id


def check_new(stale: Stale) -> None:
    found: list[Any] = stale.hub.find(NEW, heading="new")
    assert [str(note.body) for note in found] == ["phone "]


def check_undone(stale: Stale) -> None:
    assert stale.new(stale.desk, "other").heading == "first"
    report = stale.phone.redo()
    assert report is not None
    sync(stale.hub, stale.phone, stale.desk)
    assert stale.new(stale.desk, "other").heading == "second"
    stale.new(stale.desk, "other").heading = "by desk"
    sync(stale.hub, stale.desk, stale.phone)
    stale.phone.undo()
    sync(stale.hub, stale.desk, stale.phone)
    assert stale.new(stale.hub, "other").heading == "by desk"  # somebody else's later edit


EDITS: dict[str, tuple[Callable[[Stale], None], Callable[[Stale], None]]] = {
    "live": (edit_live, check_live),
    "merged": (edit_merged, check_merged),
    "new": (create_new, check_new),
    "undo": (write_and_undo, check_undone),
    "nothing": (lambda _: None, lambda _: None),
}


def compact_to_the_end(stale: Stale) -> None:
    for _ in range(3):
        stale.hub.compact()
        sync(stale.hub, stale.desk)
    assert store_of(stale.hub).count(Table.LOG) == 0


@pytest.mark.parametrize("edit", EDITS)
@pytest.mark.parametrize("left", ["before J", "between J and K", "after K"])
def test_nothing_comes_back_and_nothing_is_lost(stale: Stale, left: str, edit: str) -> None:
    hub, desk, phone = stale.all
    write, check = EDITS[edit]
    if left == "before J":
        hub.forget_device(str(phone.device_id))
        write(stale)
    delete(stale, "deleted", "edited and deleted")
    stale.new(hub, "live").until = 6
    sync(hub, desk, *([] if left == "before J" else [phone]))
    assert hub.compact().horizon_made
    sync(hub, desk, *([] if left == "before J" else [phone]))
    if left == "between J and K":
        write(stale)
    hub.compact()
    sync(hub, desk, *([phone] if left == "after K" else []))
    if left == "after K":
        write(stale)
    if left != "before J":
        hub.forget_device(str(phone.device_id))
    compact_to_the_end(stale)
    sync(hub, phone, desk)
    sync(hub, phone, desk)
    for name in ("deleted", "edited and deleted"):
        for replica in stale.all:
            with pytest.raises(RecordError):
                replica.get(OLD if replica is phone else NEW, stale.ids[name])
    check(stale)
    sync(hub, phone, desk)
    assert stale.headings(hub) == stale.headings(desk) == stale.headings(phone)
    assert phone.pending_count() == 0
    for replica in stale.all:
        assert check_store(store_of(replica)).listed == []
        assert store_of(replica).count(Table.VERSION) == (5 if edit == "new" else 4)


def test_edit_of_what_was_removed_meanwhile_brings_it_back_under_the_fields_of_its_app(stale: Stale) -> None:
    hub, desk, phone = stale.all
    hub.forget_device(str(phone.device_id))
    edit_deleted(stale)
    delete(stale, "deleted", "edited and deleted")
    sync(hub, desk)
    compact_to_the_end(stale)
    assert store_of(hub).count(Table.VERSION) == 4
    sync(hub, phone, desk)
    assert stale.headings(hub) == stale.headings(desk) == stale.headings(phone) == ["live", "other", "still wanted"]
    again = stale.new(desk, "edited and deleted")
    assert (again.heading, str(again.body)) == ("still wanted", "phone ")
    phone.undo()
    sync(hub, phone, desk)
    for replica in stale.all:
        assert check_store(store_of(replica)).listed == []


def test_undo_after_coming_back_takes_back_what_is_folded_nowhere(stale: Stale) -> None:
    hub, desk, phone = stale.all
    hub.forget_device(str(phone.device_id))
    edit_live(stale)
    stale.new(hub, "live").heading = "by hub"
    sync(hub, desk)
    compact_to_the_end(stale)
    sync(hub, phone, desk)
    while phone.undo() is not None:
        pass
    sync(hub, phone, desk)
    note = stale.new(desk, "live")
    assert (str(note.body), int(note.votes)) == ("", 0)
    assert {note.heading for note in (stale.new(hub, "live"), note)} <= {"by hub", "live"}


def test_deletion_by_the_one_away_of_what_others_edited(stale: Stale) -> None:
    """An edit that the deletion did not see wins, whatever was folded meanwhile."""
    hub, desk, phone = stale.all
    hub.forget_device(str(phone.device_id))
    phone.delete(stale.note("live"))
    phone.delete(stale.note("other"))
    stale.new(desk, "live").heading = "still edited"
    sync(hub, desk)
    compact_to_the_end(stale)
    sync(hub, phone, desk)
    sync(hub, phone, desk)
    for replica in stale.all:
        assert stale.headings(replica) == ["deleted", "edited and deleted", "still edited"]
